/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provenance.h - SLSA provenance of a build's results: v1, and v0.2 for those who ask for it
 *
 * The document is BuildKit v0.34's, member by member (docs/attestations in its repository).
 */
#ifndef MINKE_BUILDKIT_PROVENANCE_H
#define MINKE_BUILDKIT_PROVENANCE_H

#include "buildkit/capture.h"
#include "buildkit/request.h"
#include "export/export.h"

#define PREDICATE_SLSA1 "https://slsa.dev/provenance/v1"
#define PREDICATE_SLSA02 "https://slsa.dev/provenance/v0.2"
#define MT_IN_TOTO "application/vnd.in-toto+json"

/* attest:provenance=... */
struct provenance_options {
    bool max;
    bool slsa02;
    bool inline_only; /* only with images */
    bool reproducible;
    bool complete; /* fail where something cannot be named */
    char *builder_id, *filename;
};
/* `attrs`: string map. Errors: BuildKit's texts. */
struct error *provenance_options_parse(const struct map *attrs, struct provenance_options *ret) MUST_CHECK;
void provenance_options_deinit(struct provenance_options *o);

/* The layers of one output of a step, lowest first. */
struct output_layers {
    struct digest vertex;
    size_t index;
    uint32_t *layers; /* indexes into provenance.layer_ids */
    size_t len;
};

/* Of one result.  Once captured, it is told without the job, which may close before. */
struct provenance {
    struct build *build;
    struct ref *ref;     /* NULL: a scratch result, of which nothing was captured */
    struct llb_def *def; /* of the result; a reference */
    struct output_layers *outputs;
    size_t output_count;
    struct map layer_ids;          /* each once, id -> its index + 1 */
    const struct request *request; /* whose result it is */
    struct capture capture;
    json_t *root; /* the build's own request, where it differs; NULL: none */
    char *target; /* its platform; NULL: unknown */
};
void provenance_deinit(struct provenance *p);
/* What the result `ref` was made from: its own sources, those of everything else its frontend solved, and the
 * images that were looked up.  `id`: its platform id in a result of several, else NULL. */
struct error *provenance_capture(struct build *u, const struct frontend_result *res, const char *id,
                                 struct ref *ref, struct provenance *ret) MUST_CHECK;
/* Complete, if `o` wants that: ERR_UNKNOWN that lists what is missing. */
struct error *provenance_check(const struct provenance *p, const struct provenance_options *o) MUST_CHECK;
/* The predicate as indented JSON, appended.  `layers`: what an image's layers were exported as (by layer id),
 * or NULL.  Reads the store: a layer that has gone since is left out. */
struct error *provenance_write(const struct provenance *p, const struct provenance_options *o,
                               const struct map *layers, struct buf *out) MUST_CHECK;

/* The members of all *.json of `dir` (later names win), for the environment part; NULL when there is no such
 * folder.  Errors: what is no object, names that are built in. */
struct error *provenance_env_load(const char *dir, json_t **ret) MUST_CHECK;

/* refs.platforms of a result, normalised: platform of each id, in order. */
struct result_platform {
    char *id;
    struct platform platform;
};
struct result_platforms {
    struct result_platform *v;
    size_t len;
};
void result_platforms_deinit(struct result_platforms *p);
/* Without that metadata: the config's platform, else this host's. */
struct error *result_platforms(const struct frontend_result *r, struct result_platforms *ret) MUST_CHECK;

#endif
