/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export.h - a build's result to where it is wanted: the image store, or a tree, tar or layout at the client
 */
#ifndef MINKE_EXPORT_EXPORT_H
#define MINKE_EXPORT_EXPORT_H

#include "frontend/frontend.h"
#include "registry/registry.h"
#include "solver/solver.h"

struct cache_source;

/* One result of a build with everything evaluated. */
struct export_ref {
    const char *key;           /* platform id; NULL for the single ref */
    const char *id;            /* platform id, always */
    struct platform platform;  /* from refs.platforms, else the config's, else the host */
    struct snapshot *snapshot; /* NULL: scratch */
    const void *config;        /* containerimage.config bytes; NULL: none */
    size_t config_len;
    const struct cache_source *inline_cache; /* goes into the image; NULL: none */
};
/* Something attested of a result.  Its content is a file or a folder of `snapshot`, or made when it is asked
 * for. */
struct export_attestation {
    const char *id;   /* of the result's platform */
    bool bundle;      /* `path` is a folder of in-toto statements */
    bool inline_only; /* goes into images only */
    const char *path; /* "provenance.json" */
    const char *predicate_type;
    const char *sbom_core;     /* the SBOM of the result itself has this name; NULL: none of it */
    struct snapshot *snapshot; /* NULL: content() */
    const struct frontend_subject *subjects; /* none: the result itself */
    size_t subject_count;
    /* The predicate as JSON, appended. `layers`: layer id -> struct descriptor *, as the image has them; NULL
     * outside images. */
    struct error *(*content)(void *ctx, const struct map *layers, struct buf *out);
    void *ctx;
};
struct export_source {
    struct export_ref *refs;
    size_t ref_count;
    bool multi;
    const struct export_attestation *attestations;
    size_t attestation_count;
    const struct frontend_result *result; /* metadata (refs.platforms, annotations ...), borrowed */
};

struct export_context {
    struct solver *solver;
    struct store *store;
    struct registry *registry; /* NULL: nothing can be pushed */
    struct session_group sessions;
    struct progress *progress;
    const char *session_id;
    const char *build_ref;
    int index; /* in Exporters */
    const char *hostname;
    const char *version; /* of the builder, for SBOMs */
    int compatibility;   /* version asked for */
    bool names_images;   /* there is a list of images: without one nobody could remove what a name keeps */
    /* Called when an image name was pointed at something (events). May be NULL. */
    void (*named)(void *ctx, const char *name, const struct descriptor *target);
    void *ctx;
};

struct exporter; /* resolved before the build starts: unknown types and attributes fail early */
/* type: image, moby, local, tar, oci, docker ("exporter \"x\" could not be found"); attrs: string map,
 * borrowed. */
struct error *exporter_resolve(const char *type, const struct map *attrs, struct exporter **ret) MUST_CHECK;
void exporter_free(struct exporter *e);
const char *exporter_type(const struct exporter *e);        /* "image" for moby, as history wants it */
bool exporter_needs_layers(const struct exporter *e);       /* it makes manifests: of layers by digest */
const struct map *exporter_attrs(const struct exporter *e); /* with defaults filled */
/* Export; `response` (string map) gets containerimage.digest, image.name, ... */
struct error *exporter_run(struct exporter *e, const struct export_context *c,
                           const struct export_source *src, struct map *response) MUST_CHECK;

#endif
