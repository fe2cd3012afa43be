/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - the one place on disk: blobs, image names, layer and cache records, leases; one SQLite file and
 * directories
 *
 *   ROOT/minke.db          SQLite, WAL; every table is readable with a stock client
 *   ROOT/blobs/sha256/HEX  compressed layers, configs, manifests, indexes
 *   ROOT/ingest/KEY        blobs under way; survive for resuming
 *   ROOT/layers/ID/fs      one layer as overlayfs wants it (snapshot/)
 *   ROOT/mounts/ID/fs      a cache mount of RUN steps (snapshot/)
 *   ROOT/history           what the history keeps of builds (buildkit/)
 *   ROOT/work              scratch below the same filesystem: overlay work folders, half-made layers; emptied
 * at start
 *
 * Crash rule: data first, under a temporary name, then rename and row in one transaction.  At start whatever
 * no row names is removed.  kill -9 at any instant leaves every listed image whole and no byte unaccounted
 * for.  For power cuts: rows say whether their data was synced; store_sync makes it so with one syncfs for
 * all (store_run does it in the background), and a start under another boot id checks the blobs and drops the
 * layers that were not.  So no build waits for the disk.
 *
 * Thread-safe.  Calls wait for disk and for the database's lock, never for the network.
 */
#ifndef MINKE_STORE_STORE_H
#define MINKE_STORE_STORE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"
#include "io/stream.h"
#include "oci/descriptor.h"

struct store;

/* Open or create (0700 whole tree).  `root` is copied.  The database is opened, and after an unclean end the
 * tree swept, at the first use (store_run does it at once).  Errors: ERR_CONFLICT another process has it. */
struct error *store_open(const char *root, struct store **ret) MUST_CHECK;
void store_close(struct store *s); /* writes what waits, syncs, marks a clean end */
/* In a task of the daemon's: opens the database, writes last uses, syncs, and calls `synced` (may be NULL)
 * behind each sync.  Ends by cancellation. */
struct error *store_run(struct store *s, void (*synced)(void *ctx), void *ctx) MUST_CHECK;
/* Make all published data durable now. */
struct error *store_sync(struct store *s) MUST_CHECK;
/* Is this the first run since the machine started?  Then files that were not synced may have lost content.
 * Known once the database is open: after any call that reads it. */
bool store_is_first_of_boot(const struct store *s);
int store_root_fd(const struct store *s); /* borrowed */
int store_work_fd(const struct store *s); /* ROOT/work */
/* The path of `name` in the scratch folder, for programs that take only paths. New string. */
char *store_work_path(const struct store *s, const char *name);
/* Remove work/<name> soon: in the background while store_run runs, else now.  Removing directories waits for
 * the filesystem's journal, and nobody has to wait for that.  Never fails: what cannot be removed goes at the
 * next start. */
void store_discard(struct store *s, const char *work_name);

/* ---- leases: what a running job holds against garbage collection -----------------------------------------
 */

/* A lease protects the blobs and layers added to it until it is closed.  Lost with the process (rows go at
 * start). */
struct lease;
struct error *lease_open(struct store *s, struct lease **ret) MUST_CHECK;
void lease_add_blob(struct lease *l, const struct digest *d);
void lease_add_layer(struct lease *l, const char *layer_id);
void lease_close(struct lease *l); /* NULL is fine */

/* ---- blobs -----------------------------------------------------------------------------------------------
 */

struct blob_info {
    struct digest digest;
    int64_t size;
    int64_t created_ns;
    char layer_id[40]; /* not "": virtual, the uncompressed tar of that layer, streamed from its directory */
};
/* ERR_NOT_FOUND "content <digest>: not found". */
struct error *blob_stat(struct store *s, const struct digest *d, struct blob_info *ret) MUST_CHECK;
/* A stream of the content; a virtual blob is made on the fly and verified at its end. */
struct error *blob_open(struct store *s, const struct digest *d, struct stream **ret) MUST_CHECK;
/* Whole content of at most `limit` bytes (manifests, configs). */
struct error *blob_read(struct store *s, const struct digest *d, size_t limit, struct buf *out) MUST_CHECK;
/* A descriptor of a blob that is a file (not virtual). */
struct error *blob_open_fd(struct store *s, const struct digest *d, int *ret_fd) MUST_CHECK;
/* All, by digest; a zeroed list to begin with, list malloc'd. */
struct blob_list {
    struct blob_info *list;
    size_t count;
};
struct error *blob_list(struct store *s, struct blob_list *ret) MUST_CHECK;
/* Content that is in memory. Idempotent. */
struct error *blob_put(struct store *s, struct lease *l, const void *data, size_t len,
                       struct digest *ret) MUST_CHECK;

/* Streaming write.  `key` names the attempt (the digest for pulls): at most one writer per key, the second
 * waits. */
struct ingest;
struct error *ingest_begin(struct store *s, struct lease *l, const char *key, int64_t *ret_have_bytes,
                           struct ingest **ret) MUST_CHECK;
struct error *ingest_write(struct ingest *i, const void *data, size_t len) MUST_CHECK;
struct error *ingest_reset(struct ingest *i) MUST_CHECK; /* forget what earlier attempts left */
/* Verify against `expected` ("" = any) and `size` (-1 = any), then publish.  Errors: ERR_INVALID "... digest
 * mismatch ...". */
struct error *ingest_commit(struct ingest *i, const struct digest *expected, int64_t size,
                            struct digest *ret) MUST_CHECK;
void ingest_close(struct ingest *i, bool keep_partial); /* after commit, or to abandon */
/* Those under way, by key; a zeroed list to begin with. */
struct ingest_info {
    char *key;
    int64_t size; /* so far */
    int64_t started_ns, updated_ns;
};
struct ingest_list {
    struct ingest_info *list;
    size_t count;
};
void ingest_list_deinit(struct ingest_list *l);
void ingest_list(struct store *s, struct ingest_list *ret);

/* ---- images by name --------------------------------------------------------------------------------------
 */

/* name: canonical reference ("docker.io/library/busybox:latest"), or a dangling name
 * "moby-dangling@sha256:..". */
struct image_record {
    char *name;
    struct descriptor target; /* manifest or index */
    int64_t created_ns, updated_ns;
    struct map labels; /* string map */
};
void image_record_deinit(struct image_record *r);
/* Point `name` at target; what it names must be in the store (layers may be virtual).  Replaces. */
struct error *image_put(struct store *s, const char *name, const struct descriptor *target) MUST_CHECK;
/* The same with labels (string map; NULL: none). */
struct error *image_put_labelled(struct store *s, const char *name, const struct descriptor *target,
                                 const struct map *labels) MUST_CHECK;
struct error *image_get(struct store *s, const char *name, struct image_record *ret) MUST_CHECK;
struct error *image_remove(struct store *s, const char *name) MUST_CHECK;
/* All, sorted by name; *ret malloc'd, deinit each. */
struct error *image_list(struct store *s, struct image_record **ret, size_t *ret_count) MUST_CHECK;
struct error *image_list_by_target(struct store *s, const struct digest *d, struct image_record **ret,
                                   size_t *ret_count) MUST_CHECK;

/* Counts changes of names since start: an unchanged number means that image_list gives the same. */
uint64_t images_version(struct store *s);
/* Does a name reach all that it needs?  ERR_NOT_FOUND names the first missing blob. */
struct error *image_check(struct store *s, const struct descriptor *target) MUST_CHECK;

/* ---- cache records of the solver -------------------------------------------------------------------------
 */

/* key and result id are opaque strings of the solver/snapshot; preimage: compact form of what the key was
 * made of (may be NULL). */
struct error *cache_put(struct store *s, const char *key, const char *result_id, const void *preimage,
                        size_t len) MUST_CHECK;
/* *ret_result_id malloc'd; NULL when absent (not an error). Bumps last use. */
struct error *cache_find(struct store *s, const char *key, char **ret_result_id) MUST_CHECK;
/* Records that have a pre-image, newest first, until fn returns false.  The database is locked meanwhile: fn
 * must not call the store. */
struct error *cache_walk(struct store *s,
                         bool (*fn)(void *ctx, const char *key, const char *result, const void *preimage,
                                    size_t len),
                         void *ctx) MUST_CHECK;

/* Small key/value facts of other rooms (worker id, salt, context slots). *ret malloc'd, NULL when absent. */
struct error *fact_get(struct store *s, const char *key, char **ret) MUST_CHECK;
struct error *fact_put(struct store *s, const char *key,
                       const char *value) MUST_CHECK; /* value NULL: forget it */
/* All whose key begins with `prefix`, added to a string map. */
struct error *fact_list(struct store *s, const char *prefix, struct map *ret) MUST_CHECK;

/* ---- records of builds, by numbers that the caller gives
 * ---------------------------------------------------------
 */

/* Written anew when there is one. */
struct error *build_record_put(struct store *s, int64_t id, const char *ref, const void *data,
                               size_t len) MUST_CHECK;
struct error *build_record_remove(struct store *s, int64_t id) MUST_CHECK; /* none: not an error */
/* All by their numbers.  The database is locked meanwhile: `each` must not call the store. */
struct error *build_record_walk(struct store *s,
                                void (*each)(void *ctx, int64_t id, const void *data, size_t len),
                                void *ctx) MUST_CHECK;

/* ---- filters in containerd's syntax ----------------------------------------------------------------------
 */

struct filters;
/* A record's text of that field, NULL when it has none; what had to be made for it is left in *made. */
typedef const char *(*filter_field_fn)(const void *record, const char *field, char **made);
/* `list` may be NULL; an entry "" passes everything.  ERR_INVALID "parse error: ...". */
struct error *filters_parse(const struct strv *list, struct filters **ret) MUST_CHECK;
/* Does the record pass one of them?  True when there are none. */
bool filters_pass(const struct filters *f, filter_field_fn field, const void *record);
void filters_free(struct filters *f); /* NULL is fine */
void filters_freep(struct filters **f);

/* ---- the disk ledger and garbage collection --------------------------------------------------------------
 */

/* One row of `docker buildx du` (protocol.md 3.1 UsageRecord, section 9 for types and descriptions). */
struct usage_record {
    char *id, *description;
    struct strv parents;
    const char *type; /* internal, frontend, source.local, source.git.checkout, exec.cachemount, regular */
    bool mutable_, in_use, shared;
    int64_t size, created_ns, last_used_ns, usage_count; /* last_used_ns 0: never */
};
void usage_record_deinit(struct usage_record *r);
struct error *usage_list(struct store *s, struct usage_record **ret, size_t *ret_count) MUST_CHECK;

struct prune_options {
    bool all;        /* also internal, frontend and image-referenced records */
    int64_t keep_ns; /* only records unused for longer */
    int64_t reserved_bytes, max_used_bytes, min_free_bytes;
    struct strv filters; /* containerd syntax; [""] means none (trap 16) */
};
/* Remove cache records, oldest use first, then what nothing reaches any more (store_collect).  `removed` is
 * called for each record (may be NULL). */
struct error *store_prune(struct store *s, const struct prune_options *o,
                          void (*removed)(void *ctx, const struct usage_record *r), void *ctx) MUST_CHECK;
/* Records of `usage_list` that pass containerd's filters (may be NULL or [""]); ERR_INVALID for a malformed
 * one. */
struct error *usage_filter(struct usage_record *list, size_t count, const struct strv *filters,
                           bool *ret_pass) MUST_CHECK;
/* Drop blobs and layers that neither image, cache record nor lease reaches. *ret_bytes freed (may be NULL).
 */
struct error *store_collect(struct store *s, int64_t *ret_bytes) MUST_CHECK;

#endif
