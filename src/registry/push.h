/* SPDX-License-Identifier: Apache-2.0 */
/*
 * push.h - an image in the store goes to a registry: blobs first, then documents, children before parents
 *
 * A blob that the registry has is not sent; one that another repository of the same registry is known to have
 * is mounted from there.  No mirror is asked.  Blobs go side by side, at most max_uploads at once in the
 * whole daemon.  A broken upload is begun again.  Pushing is idempotent.  An object belongs to one task.
 */
#ifndef MINKE_REGISTRY_PUSH_H
#define MINKE_REGISTRY_PUSH_H

#include "registry/registry.h"

struct registry_push_options {
    const struct reference *ref;      /* where to.  No tag and no digest: by digest only.  Borrowed */
    const struct registry_auth *auth; /* NULL: anonymous.  Borrowed */
    bool insecure;                    /* do not verify TLS, take plain HTTP too */
    /* Layers and other blobs, not configs and documents. Actions: "waiting", "pushing", "exists", "mounted
     * from REPOSITORY", "pushed".  May be NULL.  Borrowed */
    const struct registry_progress *progress;
    /* A blob that neither the registry nor the store has is asked for here, to be put into the store.  NULL:
     * everything is there. */
    struct error *(*bring)(void *ctx, const struct descriptor *d);
    void *ctx;
};

struct registry_push;
/* Read the documents that `target` (manifest or index) reaches.  The caller's lease holds them.  Errors:
 * ERR_NOT_FOUND "content sha256:..: not found" when some of it is not in the store. */
struct error *registry_push_begin(struct registry *r, const struct registry_push_options *o, struct store *s,
                                  const struct descriptor *target, struct registry_push **ret) MUST_CHECK;
/* Errors: as users of docker know them; ERR_UNAUTHORIZED "push access denied, ...". */
struct error *registry_push_blobs(struct registry_push *p) MUST_CHECK;
/* After the blobs: all documents by digest, the target by its tag when there is one. */
struct error *registry_push_manifests(struct registry_push *p) MUST_CHECK;
void registry_push_end(struct registry_push *p); /* NULL is fine */

/* Remember that the registry has a document in that repository: registry_knows_document(). */
void registry_note_document(struct store *s, const struct reference *ref, const struct digest *d);
/* Remember where a blob can be mounted from, for layers that were pulled or pushed. */
void registry_note_source(struct store *s, const struct reference *ref, const struct digest *d);

#endif
