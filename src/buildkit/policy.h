/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - what a build's policies make of its sources
 *
 * A build has the rules of its request (llb/policy.h) and perhaps a verifier in the client's process
 * (PolicyVerifier.CheckPolicy), which is asked about each source, may ask back for what the source means now,
 * and allows, denies or converts it.  Every definition of the build and every look at a source goes through
 * both, whoever made it.
 */
#ifndef MINKE_BUILDKIT_POLICY_H
#define MINKE_BUILDKIT_POLICY_H

#include "llb/policy.h"
#include "oci/platform.h"

struct ahead;
struct build;
struct builder;

/* Rules of one request over the gateway, besides the build's. */
struct policy_rules {
    Pol__Policy *const *v;
    size_t len;
};
/* The rules of the configuration's file. */
struct error *policy_load(struct builder *b, const char *path) MUST_CHECK;
/* The definition as the policies leave it; a reference to `def` itself when nothing changes.
 * Errors: "error evaluating the source policy: source "X" denied by policy ...". */
struct error *policy_apply(struct build *u, struct policy_rules extra, struct llb_def *def,
                           struct llb_def **ret) MUST_CHECK;
/* One source op that somebody looks at; changes in place.  `verify`: ask the client's verifier as well. */
struct error *policy_apply_op(struct build *u, struct policy_rules extra, bool verify, struct pb_arena *a,
                              Pb__Op *op) MUST_CHECK;

/* A step of the live build `ref` asks for `url` through its proxy: as an http source of the build, of which
 * only the address may be converted; as solver_on_fetch().  `builder`: struct builder. */
struct error *policy_check_fetch(void *builder, const char *ref, const char *url, char **ret_url) MUST_CHECK;

/* ResolveSourceMeta: the source after the policies, and what it means now.  `ahead`: of the request that
 * asks; may be NULL. (source_meta.c) */
struct error *source_meta(struct build *u, struct ahead *ahead, struct pb_arena *a,
                          const Gw__ResolveSourceMetaRequest *q, bool verify,
                          Gw__ResolveSourceMetaResponse **ret) MUST_CHECK;

/* Platforms of messages. */
void platform_from_pb(const Pb__Platform *m, struct platform *ret);
Pb__Platform *platform_to_pb(struct pb_arena *a, const struct platform *p);

#endif
