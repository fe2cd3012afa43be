/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache_import.h - build caches from registries, from images that carry one, and from the client's
 * directories
 */
#ifndef MINKE_OP_CACHE_IMPORT_H
#define MINKE_OP_CACHE_IMPORT_H

#include "op/op.h"
#include "solver/cache.h"

struct cache_list {
    struct remote_cache **v;
    size_t len;
};
void cache_list_deinit(struct cache_list *l);

/* Read the records; no layer.  type: registry (attrs ref), local (src, digest).  Documents go to the store
 * under `lease`.  Errors: "unknown cache importer: TYPE", "failed to configure TYPE cache importer: ...". */
struct error *op_cache_import(const struct op_config *c, const char *type, const struct map *attrs,
                              const struct session_group *sessions, struct lease *lease,
                              struct vertex_reporter *reporter, struct cache_list *ret) MUST_CHECK;

/* The layers of a result of such a cache, lowest first, as it lists them.  Borrowed; *ret is malloc'd. */
struct cache_blob {
    const struct descriptor *blob;
    struct digest diff_id;
    int64_t created_ns;
};
struct error *op_cache_layers(const struct remote_cache *c, const struct cache_result *r,
                              struct cache_blob **ret, size_t *ret_count) MUST_CHECK;
/* Can that layer still be had?  Only a client's directory is asked: a registry keeps what its manifests name.
 */
struct error *op_cache_has(const struct remote_cache *c, const struct descriptor *blob, bool *ret) MUST_CHECK;
/* One of its layers into the store, as it is. */
struct error *op_cache_fetch(const struct remote_cache *c, const struct session_group *sessions,
                             struct lease *lease, const struct descriptor *blob) MUST_CHECK;

#endif
