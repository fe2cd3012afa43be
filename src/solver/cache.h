/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - a build cache that came from elsewhere, and this builder's records as one that goes elsewhere
 *
 * Records name steps by digests that are the same on every machine (docs/cache.md): record(v) = H(op) with
 * links to the records of its inputs, or to a record that is the content digest of what the step reads of an
 * input.  A step whose record has layers is a hit without anything being fetched; a step whose record has
 * none is at least not run before somebody needs its result.
 */
#ifndef MINKE_SOLVER_CACHE_H
#define MINKE_SOLVER_CACHE_H

#include "oci/cache_config.h"
#include "solver/solver.h"

struct remote_cache; /* shared (ref); immutable */

struct remote_cache_ops {
    /* The layers of a result as a snapshot, fetched with the credentials of c's sessions. */
    struct error *(*load)(void *ctx, struct op_context *c, const struct cache_result *r,
                          struct snapshot **ret);
    void (*free)(void *ctx);
};
/* `config` is taken, `ctx` freed with the last reference.  `id` says what it is (copied): caches of one id
 * have the same records. */
struct remote_cache *remote_cache_new(const char *id, struct cache_config *config,
                                      const struct remote_cache_ops *ops, void *ctx);
struct remote_cache *remote_cache_ref(struct remote_cache *c);
void remote_cache_unref(struct remote_cache *c);                              /* NULL is fine */
const struct cache_config *remote_cache_config(const struct remote_cache *c); /* borrowed */
void *remote_cache_ctx(const struct remote_cache *c,
                       const struct remote_cache_ops *ops); /* NULL: not of them */

/* Refs of the job that are solved from now on look into it too.  Takes the reference. */
void job_add_cache(struct job *j, struct remote_cache *c);

/* ---- records of a solved ref
 * ------------------------------------------------------------------------------------------------------------
 */

struct cache_step_result {
    struct snapshot *snapshot;         /* here; NULL: */
    struct remote_cache *remote;       /* elsewhere; NULL too: nowhere */
    const struct cache_result *result; /* of remote */
};
/* Records without layers, and beside each where its result is. */
struct cache_steps {
    struct cache_config config;
    struct cache_step_result *results; /* by record */
    struct map seen;                   /* what there is a record of -> its index + 1 */
};
void cache_steps_deinit(struct cache_steps *s);
/* Add the records of what r, which is solved, was made of: inputs before those that link to them.  Reads
 * inputs for their content digests.  *ret: the record of r itself; SIZE_MAX for a source. */
struct error *ref_cache_steps(struct ref *r, struct cache_steps *s, size_t *ret) MUST_CHECK;

#endif
