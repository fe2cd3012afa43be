/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the files of the store share
 *
 * Two locks: the database's (db.h) and `lock` for what is in memory.  Order: database first.  A blob or layer
 * is dropped only with the database's lock held and after a look at the leases, and published with it held;
 * so whoever first adds to a lease and then asks the database cannot lose what it was told.
 */
#ifndef MINKE_STORE_INTERNAL_H
#define MINKE_STORE_INTERNAL_H

#include "store/db.h"

#include <stdatomic.h>
#include "store/layer.h"
#include "store/store.h"

struct bump {
    int64_t last_ns, count;
};

#define RECALL_ENTRY 64  /* what an entry costs beside its texts */
#define CHAINED_LAYER 16 /* and a layer that a chain names: most are in others, too */
struct recall {
    /* of the cache */
    struct map results; /* cache key -> result id, strings */
    struct map layers;  /* snapshot id -> struct layer_chain, remembered */
    size_t cache_bytes;
    /* of content: large images do not push out what every build asks for */
    struct map rows;    /* layer id -> struct layer_row */
    struct map blobs;   /* digest -> struct blob_info */
    struct map came_as; /* diff ID -> descriptor of the blob that it came as, "": as none; strings */
    struct map whole;   /* digest of a target that was checked and has all it names -> media type; strings */
    size_t content_bytes;
    int suspended;
};

struct store {
    char *root;
    int root_fd, blobs_fd, ingest_fd, layers_fd, mounts_fd, work_fd;
    struct db db;

    struct mutex lock;
    struct cond changed;
    struct map blobs_held;     /* digest -> number of leases */
    struct map layers_held;    /* layer id -> number of leases, and of those who hold it alone */
    struct map chained_layers; /* layer id -> struct chained_layer (layer_chain.c) */
    struct map ingesting;      /* keys with a writer */
    struct map cache_bumps;    /* cache key -> struct bump, not written yet */
    struct map layer_bumps;    /* layer id -> struct bump */
    struct map mount_bumps;    /* cache mount id -> struct bump */
    struct map unmeasured;     /* ids of cache mounts whose rows say already that their size is not known */
    struct strv discarded;     /* names in work/ for the background task */
    bool running;              /* store_run is there to do it */
    bool unsynced;             /* rows wait for store_sync */
    bool first_of_boot;        /* store_is_first_of_boot; set when the database is opened */
    atomic_bool orphans;     /* files may lie without a row: the next start sweeps as after an unclean end */
    uint64_t images_version; /* counts changes of names */
    struct recall recall;
};

/* Counted holds, in store->lock. */
void hold_add_locked(struct map *m, const char *key);
void hold_drop_locked(struct map *m, const char *key);
bool blob_is_held(struct store *s, const char *digest);
bool layer_is_held(struct store *s, const char *layer_id);

/* ---- chains of layers (layer_chain.c), in store->lock
 * ------------------------------------------------------
 */

struct layer_chain *layer_chain_hold_again_locked(struct layer_chain *l); /* `l` */
/* One that is remembered stays when nobody holds it. */
void layer_chain_remember_locked(struct layer_chain *l);
void layer_chain_forget_locked(struct layer_chain *l);
bool layer_is_chained_locked(struct store *s, const char *id); /* in one that is held */

void blob_file_name(char dst[65], const struct digest *d);
/* In a transaction: the blob's row and, for a virtual one, its layer. */
struct error *blob_insert(struct store *s, const struct digest *d, int64_t size,
                          const char *layer_id) MUST_CHECK;
/* A finished file to its place, with its row. */
struct error *blob_publish(struct store *s, int dir_fd, const char *name, const struct digest *d,
                           int64_t size) MUST_CHECK;
void store_mark_unsynced(struct store *s);
/* The end of a transaction in which a file or directory came to its place: an error leaves it there without a
 * row. */
struct error *publish_end(struct store *s, struct error *e) MUST_CHECK;
/* Write waiting uses; takes the database's lock. */
struct error *bumps_flush(struct store *s) MUST_CHECK;
void bump_note(struct store *s, struct map *m, const char *key);

/* ---- look-ups that are remembered (recall.c) --------------------------------------------------------------
 */

void recall_init(struct recall *r);
void recall_deinit(struct recall *r); /* empty again */
/* A row of the cache, which may be gone meanwhile: then its snapshot is, too. */
void recall_result(struct store *s, const char *key, const char *result);
char *recall_find_result(struct store *s, const char *key); /* new string; NULL: not known here */
/* A snapshot's row; the database's lock is held. */
void recall_layers(struct store *s, const char *snapshot, struct layer_chain *l);
/* Held; NULL: not known here. */
struct layer_chain *recall_hold_layers(struct store *s, const char *snapshot);
/* What was just read or is about to be written; the database's lock is held. */
void recall_layer_row(struct store *s, const struct layer_row *row);
void recall_forget_layer_row(struct store *s, const char *id);
void recall_blob(struct store *s, const struct blob_info *info);
void recall_forget_blob(struct store *s, const char *digest); /* and what layers came as */
void recall_came_as(struct store *s, const char *diff_id, const char *descriptor);
void recall_forget_came_as(struct store *s, const char *diff_id);
void recall_whole(struct store *s, const struct descriptor *target);
bool recall_is_whole(struct store *s, const struct descriptor *target);
/* Copies; false: not known here. */
bool recall_find_layer_row(struct store *s, const char *id, struct layer_row *ret);
bool recall_find_blob(struct store *s, const char *digest, struct blob_info *ret);
char *recall_find_came_as(struct store *s, const char *diff_id); /* new string; NULL: not known here */
/* Around a transaction that may drop rows of caches, snapshots, layers or blobs. */
void recall_suspend(struct store *s);
void recall_resume(struct store *s);

/* ---- what an image name reaches --------------------------------------------------------------------------
 */

struct reach {
    struct map
        blobs; /* digest -> (void *)1: manifests, indexes, configs, layer blobs that are here or named */
    struct map diff_ids; /* digest -> (void *)1 of its configs */
};
void reach_deinit(struct reach *r);
/* Follow a manifest or index as far as its documents are here; what is missing is passed over. */
struct error *reach_target(struct store *s, const struct descriptor *target, struct reach *r) MUST_CHECK;

/* image_check in a transaction. */
struct error *image_check_locked(struct store *s, const struct descriptor *target) MUST_CHECK;

/* ---- the ledger ------------------------------------------------------------------------------------------
 */

/* All records: layers, then cache mounts, each in the order of their creation. */
struct listing {
    struct store *s;
    struct reach images;
    struct strv targets;
    struct usage_record *list;
    size_t count, cap;
};
void listing_deinit(struct listing *l);
struct error *listing_read_locked(struct listing *l) MUST_CHECK;

/* ---- dropping --------------------------------------------------------------------------------------------
 */

/* Names taken out of the database in a transaction, to be moved to work/ before the lock is given up and then
 * removed. */
struct trash {
    struct strv blobs, layers, mounts;
    int64_t bytes;
};
void trash_deinit(struct trash *t);
/* Snapshots that have one of these layers go, and the cache records that lead to them; in a transaction. */
struct error *drop_snapshots_of(struct store *s, const struct strv *layers) MUST_CHECK;
/* Ends the transaction: commit, move files away, unlock, remove them.  On `e` != NULL nothing is dropped. */
struct error *trash_commit(struct store *s, struct trash *t, struct error *e) MUST_CHECK;

#endif
