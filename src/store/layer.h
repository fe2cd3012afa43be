/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer.h - rows of layers, snapshots and cache mounts: what the snapshot room keeps in the store
 *
 * A layer's directory is made in work/ and renamed to layers/<id> by layer_publish, which writes its row in
 * the same breath.
 */
#ifndef MINKE_STORE_LAYER_H
#define MINKE_STORE_LAYER_H

#include "store/store.h"

#define LAYER_ID_LEN 25

struct layer_row {
    char *id, *parent;     /* parent: the layer below when it was made, for the ledger; "" none */
    struct digest diff_id; /* "" until made */
    int64_t tar_size;
    char *chain;  /* "": stands anywhere; else the chain ID it was unpacked for */
    int64_t size; /* bytes on disk */
    int64_t created_ns;
    char *description, *type;
    bool no_record; /* not in the ledger: a pulled layer that no build used */
};
void layer_row_deinit(struct layer_row *r);

/* Rename work/<work_name> to layers/<row->id> and write the row; the directory holds `fs`.  `lease` (may be
 * NULL) gets the layer. */
struct error *layer_publish(struct store *s, struct lease *lease, const char *work_name,
                            const struct layer_row *row) MUST_CHECK;
struct error *layer_get(struct store *s, const char *id,
                        struct layer_row *ret) MUST_CHECK; /* ERR_NOT_FOUND */
/* The layer with that diff ID that stands anywhere, or was made for `chain`.  *ret_id malloc'd, NULL: none.
 */
struct error *layer_find_by_diff_id(struct store *s, const struct digest *diff_id, const char *chain,
                                    char **ret_id) MUST_CHECK;
/* Keep the diff ID; the uncompressed tar becomes a virtual blob when `canonical` says that our writer makes
 * those bytes. */
struct error *layer_set_diff_id(struct store *s, const char *id, const struct digest *diff_id,
                                int64_t tar_size, bool canonical) MUST_CHECK;
/* Into the ledger, when it is not there yet. */
struct error *layer_make_record(struct store *s, const char *id, const char *description) MUST_CHECK;
/* What the step that made a layer fetched on its way, as text; NULL when nobody said. New string. */
struct error *layer_set_fetched(struct store *s, const char *id, const char *text) MUST_CHECK;
struct error *layer_fetched(struct store *s, const char *id, char **ret) MUST_CHECK;
/* The ledger's type of a layer whose type nobody named yet. */
struct error *layer_set_type(struct store *s, const char *id, const char *type) MUST_CHECK;
/* The blob that a layer came as or was compressed to: kept, so that it goes out the same way.  Several may be
 * known for a diff ID. */
struct error *diff_id_blob_put(struct store *s, const struct digest *diff_id,
                               const struct descriptor *blob) MUST_CHECK;
/* One whose content is here; with `media_type` (may be NULL) only of that type.  *ret_found tells. */
struct error *diff_id_blob_find(struct store *s, const struct digest *diff_id, const char *media_type,
                                struct descriptor *ret, bool *ret_found) MUST_CHECK;
/* Hold against collection while a snapshot lives; counted.  Adds and then asks: ERR_NOT_FOUND when the row is
 * gone (not held). */
struct error *layer_hold(struct store *s, const char *id) MUST_CHECK;
/* The layers of a snapshot, lowest first; shared, immutable.  They are held as long as somebody
 * has a reference. */
struct layer_chain {
    char *const *ids;
    size_t count;
};
/* Whether they are there or not. */
struct layer_chain *layer_chain_hold(struct store *s, char *const *ids, size_t count);
void layer_chain_release(struct layer_chain *l); /* NULL is fine */
void layer_release(struct store *s, const char *id);
void layer_touch(struct store *s, const char *id); /* last use; written later, in a batch */
int layer_dir(struct store *s, const char *id);    /* O_PATH of layers/<id>/fs, or a negative errno */
/* The same of layers/<id>/skeleton, -ENOENT for nearly all: what must lie below the layer where it stands
 * without those that it was made on (snapshot/skeleton.c). */
int layer_skeleton(struct store *s, const char *id);
/* work/<work_name> becomes that; the first one stays. */
struct error *layer_skeleton_put(struct store *s, const char *id, const char *work_name) MUST_CHECK;

/* Snapshots: id to list of layer ids, lowest first. */
struct error *snapshot_row_put(struct store *s, const char *id, const struct strv *layers) MUST_CHECK;
/* Its layers, which are all there and from now on held. ERR_NOT_FOUND */
struct error *snapshot_row_hold(struct store *s, const char *id, struct layer_chain **ret) MUST_CHECK;

/* Cache mounts: directories ROOT/mounts/<id>/fs. */
struct error *mount_row_list(struct store *s, const char *cache_id,
                             struct strv *ret_ids) MUST_CHECK; /* oldest first */
/* The mounts of that cache id and of it over any base lose the id: nobody finds them again. Their ids. */
struct error *mount_row_forget(struct store *s, const char *cache_id, struct strv *ret_ids) MUST_CHECK;
struct error *mount_row_put(struct store *s, const char *work_name, const char *id, const char *cache_id,
                            const char *description) MUST_CHECK;
struct error *mount_row_used(struct store *s, const char *id) MUST_CHECK;
struct error *mount_remove(struct store *s, const char *id) MUST_CHECK; /* row and directory */
int mount_dir(struct store *s, const char *id); /* O_PATH of mounts/<id>/fs, or a negative errno */
/* Counted holds of cache mounts; false: the caller is not the only one. */
void mount_hold(struct store *s, const char *id);
/* The same for one that was listed: ERR_NOT_FOUND, and not held, when it is gone. */
struct error *mount_hold_row(struct store *s, const char *id) MUST_CHECK;
void mount_release(struct store *s, const char *id);

#endif
