/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - what the exporters share */
#ifndef MINKE_EXPORT_INTERNAL_H
#define MINKE_EXPORT_INTERNAL_H

#include "export/compress.h"
#include "export/export.h"
#include "oci/image.h"

struct exporter_kind;
struct exporter {
    const struct exporter_kind *kind;
    const char *type; /* canonical: "image" for moby */
    struct map attrs; /* string map, defaults filled */
    struct map
        annotations[4]; /* string maps by enum annotation_place; keys "platform\nkey" ("" = all platforms) */
    bool oci_types;     /* of this export: see export_defaults() */
    bool oci_artifact;  /* attestation manifests in their newer form */
    bool inline_attestations; /* what is for images only makes an index, too */
    struct layer_format format;
    bool epoch_given; /* the attribute is there: what the frontend says does not count */
    bool has_epoch;
    int64_t epoch_s;
};
enum annotation_place {
    ANNOTATE_MANIFEST,
    ANNOTATE_MANIFEST_DESCRIPTOR,
    ANNOTATE_INDEX,
    ANNOTATE_INDEX_DESCRIPTOR
};

struct exporter_kind {
    const char *type, *canonical;
    bool image; /* makes manifests */
    struct error *(*check)(struct exporter *e);
    struct error *(*run)(struct exporter *e, const struct export_context *c, const struct export_source *src,
                         struct map *response);
};

bool exporter_flag(const struct exporter *e, const char *name, bool absent); /* checked by exporter_resolve */

/* ---- image documents
 * ------------------------------------------------------------------------------------------------------ */

/* What exporting an image leaves in the store, held by `lease`. */
struct committed_image {
    struct descriptor target;   /* manifest or index */
    struct digest config;       /* of a single manifest; "" for an index */
    struct digest image_config; /* docker tar: of the image, also when it lies in an index */
    struct digest *blobs;       /* everything reachable, children before parents, no duplicates */
    size_t blob_count;
    /* docker tar: the manifest's parts */
    struct digest *layers;
    size_t layer_count;
};
void committed_image_deinit(struct committed_image *i);
/* What depends on the version of behaviour that the client asked for. */
struct error *export_defaults(struct exporter *e, const struct export_context *c,
                              const struct export_source *src) MUST_CHECK;
/* `names`: of the image. Hash what is not hashed yet, write config, manifest and index. Rows "exporting
 * layers" ... go to `r`. */
struct error *image_commit(struct exporter *e, const struct export_context *c,
                           const struct export_source *src, const struct strv *names, struct lease *lease,
                           struct vertex_reporter *r, struct committed_image *ret) MUST_CHECK;
/* Seconds since 1970; what nanoseconds in 64 bits cannot tell is refused. Errors: as Go's ParseInt. */
struct error *epoch_parse(const char *text, int64_t *ret_s) MUST_CHECK;
/* source-date-epoch of the exporter, else of the frontend's result. false: there is none. */
struct error *export_epoch(const struct exporter *e, const struct export_source *src,
                           const struct export_ref *ref, bool *ret_has, int64_t *ret_s) MUST_CHECK;
/* The image config as stored: layers, history, times filled in (a default one when the ref has none). `base`:
 * the config of the image it was built from, or NULL. `epoch_s` NULL: none. `inline_cache`: base64 of
 * records, may be empty. */
struct error *image_config_finish(const int64_t *epoch_s, const struct export_ref *ref,
                                  const struct frontend_metadata *base, const struct digest *diff_ids,
                                  size_t count, const struct buf *inline_cache, struct buf *out) MUST_CHECK;
/* Push to every name, docker's way or by digest. */
struct error *image_push(const struct exporter *e, const struct export_context *c, const struct strv *names,
                         const struct committed_image *i, struct vertex_reporter *r) MUST_CHECK;
/* What BuildKit's exporters say has no code, so clients show the bare message. */
struct error *export_err(struct error *e);
/* ExporterResponse: containerimage.digest, .config.digest, .descriptor. A layout says when it was made,
 * unless an annotation does; `created_ns` < 0: nothing says so. */
void image_response(const struct committed_image *i, int64_t created_ns, struct map *response);

/* ---- common
 * ------------------------------------------------------------------------------------------------------------------
 */

/* The export's progress vertex, started. */
struct vertex_reporter *export_reporter(const struct export_context *c, const char *name);
/* The client's session; ERR_UNKNOWN "no active session ..." */
struct error *export_session(const struct export_context *c, struct session **ret) MUST_CHECK;
/* "linux/arm64" as a folder name: separators and dots as BuildKit maps them. New string. */
char *platform_folder(const char *id);

struct error *image_exporter_check(struct exporter *e) MUST_CHECK;
struct error *image_exporter_run(struct exporter *e, const struct export_context *c,
                                 const struct export_source *src, struct map *response) MUST_CHECK;
struct error *layout_exporter_check(struct exporter *e) MUST_CHECK;
struct error *layout_exporter_run(struct exporter *e, const struct export_context *c,
                                  const struct export_source *src, struct map *response) MUST_CHECK;
struct error *local_exporter_check(struct exporter *e) MUST_CHECK;
struct error *local_exporter_run(struct exporter *e, const struct export_context *c,
                                 const struct export_source *src, struct map *response) MUST_CHECK;
struct error *tar_exporter_run(struct exporter *e, const struct export_context *c,
                               const struct export_source *src, struct map *response) MUST_CHECK;

#endif
