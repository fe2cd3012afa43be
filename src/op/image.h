/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - where an image's documents and layers come from; for this room only
 */
#ifndef MINKE_OP_IMAGE_H
#define MINKE_OP_IMAGE_H

#include "oci/reference.h"
#include "op/op.h"

struct provider {
    struct store *store;
    struct lease *lease; /* may be NULL */
    /* A blob into the store. */
    struct error *(*fetch)(struct provider *p, const struct descriptor *d);
    /* A blob as a stream on its way into the store. */
    struct error *(*open)(struct provider *p, const struct descriptor *d,
                          const struct registry_progress *progress, struct stream **ret);
};
struct error *provider_fetch_none(struct provider *p,
                                  const struct descriptor *d) MUST_CHECK; /* only what is here */

struct registry_image {
    struct provider provider;
    struct registry *registry;
    struct reference ref;
    const struct registry_auth *auth; /* NULL: anonymous */
    struct registry_auth session_auth;
};

/* Manifest and config of `target` for o's platform. */
struct error *provider_resolve(struct provider *p, const char *ref, const struct descriptor *target,
                               const struct image_resolve_options *o,
                               struct resolved_manifest *ret) MUST_CHECK;
struct error *provider_pull(struct provider *provider, const char *ref, const struct resolved_manifest *m,
                            struct vertex_reporter *reporter, struct snapshot **ret) MUST_CHECK;

#endif
