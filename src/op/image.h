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
    bool fetch_any; /* fetch takes blobs of any size, not only documents */
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

/* An image's place, with the credentials of `access`; `ref` may begin with "docker-image://". */
struct error *registry_image_init(const struct op_config *c, const char *ref,
                                  const struct image_access *access, struct lease *lease,
                                  struct registry_image *r) MUST_CHECK;
void registry_image_deinit(struct registry_image *r);
/* What the image store says the name is. */
struct error *local_target(struct provider *p, const struct reference *ref, struct descriptor *ret,
                           bool *ret_found) MUST_CHECK;

/* A content store in the client's process. */
struct layout {
    struct provider provider;
    struct session *session; /* owned */
    char *store_id;          /* "oci:NAME", "local:PATH"; owned */
};
/* Takes the session and the id. */
void layout_init(struct layout *l, struct store *store, struct lease *lease, struct session *session,
                 char *store_id);
void layout_deinit(struct layout *l);

/* A document's bytes, brought into the store when they are not there. */
struct error *provider_document(struct provider *p, const struct descriptor *d, struct buf *out) MUST_CHECK;
bool provider_has(const struct provider *p, const struct digest *d); /* is the blob in the store */
/* A document that is in the store, by what it says it is. */
struct error *provider_describe(struct provider *p, const struct digest *d,
                                struct descriptor *ret) MUST_CHECK;
/* A blob of any size into the store, as it is. */
struct error *provider_keep(struct provider *p, const struct descriptor *d) MUST_CHECK;
/* Layers as a snapshot, fetched and unpacked where they are not here.  `what`: for the ledger.  Rows go to
 * `reporter` (may be NULL). */
struct provider_layers {
    const struct descriptor *blobs; /* lowest first */
    const struct digest *diff_ids;
    const int64_t *created_ns;  /* NULL: not known */
    const char *const *made_by; /* what each was made by; NULL, or an entry NULL: `what` */
    size_t count;
    const char *what;
};
struct error *provider_unpack(struct provider *p, const struct provider_layers *l,
                              struct vertex_reporter *reporter, struct snapshot **ret) MUST_CHECK;

/* Manifest and config of `target` for o's platform. */
struct error *provider_resolve(struct provider *p, const char *ref, const struct descriptor *target,
                               const struct image_resolve_options *o,
                               struct resolved_manifest *ret) MUST_CHECK;
struct error *provider_pull(struct provider *provider, const char *ref, const struct resolved_manifest *m,
                            struct vertex_reporter *reporter, struct snapshot **ret) MUST_CHECK;

#endif
