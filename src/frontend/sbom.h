/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sbom.h - a software bill of materials of a result: a scanner image looks at it and writes statements
 *
 * The protocol is BuildKit's (its docs/attestations/sbom-protocol.md): the result lies below
 * /run/src/core/sbom, other trees below /run/src/extras/sbom-NAME, and what the scanner writes to /run/out is
 * the attestation bundle.
 */
#ifndef MINKE_FRONTEND_SBOM_H
#define MINKE_FRONTEND_SBOM_H

#include "frontend/frontend.h"

struct sbom_options {
    bool wanted;
    char *generator;   /* image with its tag */
    struct map params; /* string map: BUILDKIT_SCAN_<key>=<value> for the scanner */
};
/* Every attestation that the options ask for ("attest:TYPE", "build-arg:BUILDKIT_ATTEST_TYPE"): its type in
 * small letters and its fields ("mode=max,version=v1").  Errors: of `fn`, which may be NULL; no such type;
 * bad CSV. */
typedef struct error *(*attest_fn)(void *ctx, const char *type, const struct map *fields);
struct error *attest_options_each(const struct map *opts, attest_fn fn, void *ctx) MUST_CHECK;
/* From attest:sbom, or build-arg:BUILDKIT_ATTEST_SBOM. `noun`: what errors call the image, "generator" or
 * "scanner". */
struct error *sbom_options_parse(const struct map *opts, const char *noun,
                                 struct sbom_options *ret) MUST_CHECK;
void sbom_options_deinit(struct sbom_options *o);

/* A tree besides the result: another stage, the build context. */
struct sbom_extra {
    char *name;
    struct llb_def *def; /* a reference */
};

struct sbom_scanner {
    struct bridge *bridge;
    const struct sbom_options *options;
    const struct platform *platform;
    struct strv args, env; /* of the image */
    char *dir;
};
/* Look the image up.  All is borrowed. Errors: no such image; "scanner X does not have cmd". */
struct error *sbom_scanner_open(struct bridge *b, const struct sbom_options *o,
                                const struct platform *platform, const char *resolve_mode,
                                struct sbom_scanner *ret) MUST_CHECK;
void sbom_scanner_deinit(struct sbom_scanner *s);
/* Have the result `id` (definition `core`, NULL: scratch) scanned; the attestation is added to `ret`, its ref
 * not run yet. */
struct error *sbom_scan(struct sbom_scanner *s, const char *id, const struct llb_def *core,
                        const struct sbom_extra *extras, size_t count, bool ignore_cache,
                        struct frontend_result *ret) MUST_CHECK;

#endif
