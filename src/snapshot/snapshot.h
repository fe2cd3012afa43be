/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h - immutable results as lists of layers, mounted by overlayfs; the snapshot is the image layer
 *
 * A layer is a directory layers/<id>/fs in overlayfs form (char 0:0 whiteouts, trusted.overlay.opaque).  A
 * snapshot is a list of layers, lowest first; it is immutable and shared (ref).  Merge is concatenation, diff
 * of a prefix is a suffix; nothing is copied.  Two snapshots with the same list have the same id.  The diff
 * ID of a layer is made once, when first asked for, and kept.
 *
 * A *tree* snapshot is one directory that is not a layer (the synced context of a client); it is released,
 * not deleted, at the last unref.
 */
#ifndef MINKE_SNAPSHOT_SNAPSHOT_H
#define MINKE_SNAPSHOT_SNAPSHOT_H

#include "oci/digest.h"
#include "store/store.h"

struct snapshot; /* shared (ref) */

struct layer_info {
    const char *id;        /* borrowed from the snapshot */
    struct digest diff_id; /* "" until made */
    int64_t size;          /* bytes of the directory */
    int64_t created_ns;
    const char *description; /* borrowed */
};

struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s); /* NULL is fine */
void snapshot_unrefp(struct snapshot **s);
const char *snapshot_id(const struct snapshot *s); /* borrowed; "" for the empty one (scratch) */
size_t snapshot_layer_count(const struct snapshot *s);
const char *snapshot_layer_id(const struct snapshot *s, size_t i); /* borrowed */
const struct layer_info *snapshot_layer(const struct snapshot *s, size_t i);

/* The empty snapshot (scratch). */
struct snapshot *snapshot_empty(struct store *s);
/* By id, as kept in cache records.  ERR_NOT_FOUND when a layer of it is gone.  The layers are protected while
 * a ref lives. */
struct error *snapshot_get(struct store *s, const char *id, struct snapshot **ret) MUST_CHECK;
/* The same without asking what its layers are, for one that will perhaps only be named: snapshot_layer() may
 * be called after snapshot_load(). */
struct error *snapshot_find(struct store *s, const char *id, struct snapshot **ret) MUST_CHECK;
struct error *snapshot_load(struct snapshot *s) MUST_CHECK; /* idempotent */
/* The layers of `list` one after the other.  A layer that is there twice stays twice, so that a diff with one
 * of the list finds it as the beginning; of more than LIMIT_REPEATED_LAYERS only last places are kept, which
 * look the same. */
struct error *snapshot_merge(struct store *s, struct snapshot **list, size_t count,
                             struct snapshot **ret) MUST_CHECK;
/* What `upper` has over `lower` (either may be NULL = empty).  A prefix gives a suffix; else the trees are
 * compared. */
struct error *snapshot_diff(struct store *s, struct snapshot *lower, struct snapshot *upper,
                            struct snapshot **ret) MUST_CHECK;
/* Layers from elsewhere may be mounted here without those that they were made on, as those of a difference:
 * their whiteouts get directories to stand on (skeleton.c). */
struct error *snapshot_make_skeletons(struct snapshot *s) MUST_CHECK;
/* The first `count` layers. */
struct error *snapshot_prefix(struct snapshot *s, size_t count, struct snapshot **ret) MUST_CHECK;

/* A directory outside layers/ as a read-only result. `id` names its content. dir_path copied. */
struct tree_ops {
    void (*release)(void *ctx); /* at the last unref */
    /* Something of the tree may not lie in the directory yet: bring it there.  Called each time before
     * somebody looks into it, from any task.  NULL: all of it does. */
    struct error *(*complete)(void *ctx);
};
struct snapshot *snapshot_from_tree(struct store *s, const char *id, const char *dir_path,
                                    const struct tree_ops *ops, void *ctx);
bool snapshot_is_tree(const struct snapshot *s);
/* The ctx of a tree with these ops; NULL for every other snapshot. */
void *snapshot_tree_ctx(const struct snapshot *s, const struct tree_ops *ops);

/* ---- mounts: detached, by descriptor (fsopen/fsmount), never in anybody's mount table unless attached ----
 */

/* Read-only view. *ret_fd is a mount descriptor: use with *at calls or move_mount it. A one-layer snapshot
 * may be a plain directory fd. */
struct error *snapshot_mount_ro(struct snapshot *s, int *ret_fd) MUST_CHECK;
/* A writable overlay of the snapshot with the caller's own directories (absolute paths, on one filesystem,
 * `work` empty), which stay the caller's: for a container, whose changes outlive the daemon. *ret_fd is a
 * detached mount. */
struct error *snapshot_mount_rw(struct snapshot *s, const char *upper, const char *work,
                                int *ret_fd) MUST_CHECK;

/* A tree as the plain directory that it is, for reading: on the store's own mount, so that its files can be
 * linked into layers. */
struct error *snapshot_open_tree(struct snapshot *s, int *ret_fd) MUST_CHECK;

/* A writable child of `parent` (NULL: scratch).  Becomes a new snapshot by commit, or is dropped. */
struct active;
struct error *active_begin(struct store *s, struct snapshot *parent, struct active **ret) MUST_CHECK;
int active_fd(const struct active *a); /* mount descriptor of the writable root, borrowed */
/* The folder that takes the changes, borrowed: fit for filling a directory that was just made through
 * active_fd() (so that nothing lies below it) without the overlay's cost for every file.  Nothing else may be
 * written there. */
int active_upper_fd(const struct active *a);
/* The file open as `to_fd` below active_fd() was made empty on purpose: commit puts a hard link to the file
 * open as `from_fd` in its place, which must lie in the store and never change in place, with the metadata
 * that `to_fd` has or will have. False: no more of these, write the content. */
bool active_link_later(struct active *a, int to_fd, int from_fd);
/* Attach at an absolute path (for a runtime's bundle rootfs); detached again by commit/abandon. */
struct error *active_attach(struct active *a, const char *path) MUST_CHECK;
/* Unmount, settle the new layer, write its row.  There is always a new layer, an empty one when nothing
 * changed: image history counts on one per step.  The active is freed on success.  `description` and `type`
 * are for the ledger ("[2/3] RUN ..", "regular"). */
struct error *active_commit(struct active *a, const char *description, const char *type,
                            struct snapshot **ret) MUST_CHECK;
void active_abandon(struct active *a); /* NULL is fine; also after a failed commit. Never waits. */

/* ---- layers and tar --------------------------------------------------------------------------------------
 */

/* Make (once) and return diff ID and the size of the canonical tar of layer `i`.  Equal calls join. Waits for
 * disk and CPU. */
struct error *snapshot_layer_diff_id(struct snapshot *s, size_t i, struct digest *ret,
                                     int64_t *ret_tar_size) MUST_CHECK;
/* Layer i as a blob that the store can open now: the compressed one that it came as, when it is kept, else
 * the (virtual) uncompressed one of its diff ID.  ERR_NOT_FOUND for a pulled layer whose blob is gone and
 * whose bytes are not those of our tar writer. */
struct error *snapshot_layer_blob(struct snapshot *s, size_t i, struct descriptor *ret) MUST_CHECK;
/* The canonical tar of layer i. */
struct error *snapshot_layer_open_tar(struct snapshot *s, size_t i, struct stream **ret) MUST_CHECK;
/* An image's layers to a snapshot.  For each: `open` gives the *uncompressed* tar when the layer with that
 * diff ID is not here yet (called from several tasks at once; unpacked in parallel, in any order).  The tar
 * is verified against the diff ID. */
struct layer_source {
    struct digest diff_id;
    const char *description;       /* for the ledger; NULL: not a record of it (a plain pull) */
    const struct descriptor *blob; /* what the layer comes as, remembered for export; may be NULL */
    int64_t created_ns;            /* 0: now */
    struct error *(*open)(void *ctx, size_t index, struct stream **ret);
    void *ctx;
};
struct error *snapshot_unpack(struct store *s, const struct layer_source *layers, size_t count,
                              struct lease *lease, struct snapshot **ret) MUST_CHECK;
/* The layers with these diff IDs, when all are here; ERR_NOT_FOUND else. */
struct error *snapshot_by_diff_ids(struct store *s, const struct digest *ids, size_t count,
                                   struct snapshot **ret) MUST_CHECK;

/* ---- cache mounts (RUN --mount=type=cache) ---------------------------------------------------------------
 */

enum cache_sharing { CACHE_SHARED, CACHE_PRIVATE, CACHE_LOCKED };
struct cache_mount;
/* `id` is the full id (namespace and all; "source.local:" or "source.git:" in front makes it a record of that
 * type); `base` fills a new one (may be NULL).  CACHE_LOCKED waits; CACHE_PRIVATE takes a free one of that id
 * or makes another. */
struct error *cache_mount_acquire(struct store *s, const char *id, enum cache_sharing sharing,
                                  struct snapshot *base, const char *description,
                                  struct cache_mount **ret) MUST_CHECK;
int cache_mount_fd(const struct cache_mount *c); /* directory, borrowed */
void cache_mount_release(struct cache_mount *c);
/* Whoever asks for this id from now on, with any base, gets a new one; those in use stay as long as they are.
 */
struct error *cache_mount_forget(struct store *s, const char *id) MUST_CHECK;
/* Release and delete: what is in it is not to be seen again. */
void cache_mount_discard(struct cache_mount *c);

#endif
