/* SPDX-License-Identifier: Apache-2.0 */
/* cache_origin.h - where the blobs of an imported cache are; for cache_*.c */
#ifndef MINKE_OP_CACHE_ORIGIN_H
#define MINKE_OP_CACHE_ORIGIN_H

#include "op/cache_import.h"
#include "op/image.h"

/* Annotations of a layer. */
#define CACHE_UNCOMPRESSED "containerd.io/uncompressed"
#define CACHE_CREATED_AT "buildkit/createdat"
#define CACHE_DESCRIPTION "buildkit/description"

/* Where a cache's blobs are, and what is known of them. */
struct cache_origin {
    const struct op_config *ops;
    char *ref;                        /* of a registry; NULL: */
    bool insecure;                    /* that is trusted without a certificate */
    char *session_id, *store_id;      /* a directory of that session */
    struct map blobs;                 /* digest -> struct descriptor, with annotations */
    const struct remote_cache *cache; /* whose it is */
};
/* One at the same place, with no blobs yet. */
struct cache_origin *cache_origin_like(const struct cache_origin *o);
void cache_origin_add(struct cache_origin *o, const struct descriptor *blob); /* copied */
void cache_origin_free(void *origin);                                         /* NULL is fine */
void cache_origin_freep(struct cache_origin **o);
extern const struct remote_cache_ops cache_origin_ops; /* their contexts are origins */

/* One of both, for one use. */
struct cache_access {
    struct registry_image image;
    struct layout layout;
    struct provider *provider;
};
/* With the credentials of `sessions`. */
struct error *cache_access_init(const struct cache_origin *o, const struct session_group *sessions,
                                struct lease *lease, struct cache_access *a) MUST_CHECK;
void cache_access_deinit(struct cache_access *a);

#endif
