/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images.h - what the Engine API does with images: find, list, inspect, history, tag, delete, prune, pull,
 * load, save, import
 *
 * An image is a name that points at a manifest or an index in the store; its id is that digest (the
 * containerd flavour of the API, protocol.md section 10).  Names are canonical
 * ("docker.io/library/busybox:latest") inside, familiar outside.
 */
#ifndef MINKE_ENGINE_IMAGES_H
#define MINKE_ENGINE_IMAGES_H

#include "engine/engine.h"
#include "oci/image.h"
#include "oci/reference.h"

/* ---- finding
 * --------------------------------------------------------------------------------------------------------------
 */

/* What a user's name, id or id prefix stands for. */
struct image_match {
    struct descriptor target;
    struct strv names; /* all canonical names of that target */
    char *name;        /* the one that was asked for; NULL when asked by id */
};
void image_match_deinit(struct image_match *m);
/* Errors: ERR_NOT_FOUND "No such image: nope:latest"; ERR_INVALID for a malformed reference. */
struct error *images_find(struct engine *e, const char *what, struct image_match *ret) MUST_CHECK;

/* One variant of an image: the manifest that serves a platform. */
struct image_variant {
    struct descriptor descriptor; /* of the manifest */
    struct image_manifest manifest;
    struct image_config config;
    bool available; /* manifest, config and all layers are here */
};
void image_variant_deinit(struct image_variant *v);
/* `platform` NULL: the host's, else any that is here.  ERR_NOT_FOUND when no variant serves it. */
struct error *images_variant(struct engine *e, const struct descriptor *target,
                             const struct platform *platform, struct image_variant *ret) MUST_CHECK;
/* The variant's layers as a snapshot, for running it. */
struct error *images_snapshot(struct engine *e, const struct image_variant *v,
                              struct snapshot **ret) MUST_CHECK;
/* Labels of a target's names (the classic builder's: what a step was made from), added to a string map. */
struct error *images_labels(struct engine *e, const struct digest *target, struct map *ret) MUST_CHECK;
#define IMAGE_LABEL_PARENT "org.mobyproject.image.parent" /* digest of the image that a step started from */
bool images_is_dangling_name(const char *name);           /* "moby-dangling@sha256:..": not shown as a tag */

/* ---- reading: JSON in the shape of API version 1.<version>; new references
 * ------------------------------------------------- */

struct image_filters {
    const struct strv *dangling, *label, *label_not, *before, *since, *reference,
        *until; /* each may be NULL */
};
/* What a list shows. */
struct image_list_options {
    bool all; /* also what steps of classic builds left that others started from */
    bool manifests, shared_size;
    int version; /* minor API version */
};
struct error *images_list(struct engine *e, const struct image_filters *f, const struct image_list_options *o,
                          json_t **ret) MUST_CHECK;
/* What all images take, each layer once. */
struct error *images_disk_size(struct engine *e, int64_t *ret) MUST_CHECK;
struct error *images_inspect(struct engine *e, const char *what, const struct platform *platform,
                             bool manifests, int version, json_t **ret) MUST_CHECK;
struct error *images_history(struct engine *e, const char *what, const struct platform *platform,
                             json_t **ret) MUST_CHECK;

/* Which attested statements, and whether with what they say. */
struct image_attestation_options {
    const struct platform *platform; /* as images_variant */
    const struct strv *types;        /* of predicates; none: all */
    bool statements;
};
/* *ret: an array, empty where nothing is attested.  Errors: as images_find, images_variant. */
struct error *images_attestations(struct engine *e, const char *what,
                                  const struct image_attestation_options *o, json_t **ret) MUST_CHECK;

/* ---- changing
 * ----------------------------------------------------------------------------------------------------------------
 */

struct error *images_tag(struct engine *e, const char *what, const char *repository,
                         const char *tag) MUST_CHECK;
/* *ret: [{"Untagged":..},{"Deleted":..}].  `prune`: with unnamed images of earlier steps that nothing else
 * was made from. */
struct error *images_delete(struct engine *e, const char *what, bool force, bool prune,
                            json_t **ret) MUST_CHECK;
/* dangling_only, or all that no container uses. */
struct error *images_prune(struct engine *e, bool dangling_only, const struct image_filters *f,
                           json_t **ret_deleted, int64_t *ret_bytes) MUST_CHECK;
void images_event(struct engine *e, const char *action, const char *id, const char *name);

/* An image of this config and these files (NULL: none): diff IDs are filled in, config and manifest written,
 * all held by `lease`; it has no name yet. */
struct df_image;
struct error *images_put(struct engine *e, struct lease *lease, struct df_image *i, struct snapshot *s,
                         struct descriptor *ret) MUST_CHECK;

/* ---- moving
 * --------------------------------------------------------------------------------------------------------------------
 */

/* Progress lines go to `line` (takes j). */
struct image_progress {
    struct error *(*line)(void *ctx, json_t *j);
    void *ctx;
};
struct error *images_pull(struct engine *e, const char *ref, const struct platform *platform,
                          const json_t *auth, const struct image_progress *p) MUST_CHECK;
/* Push one tag, or all of the repository when there is neither tag nor digest. Plain layers go out as gzip.
 */
struct error *images_push(struct engine *e, const char *image, const char *tag,
                          const struct platform *platform, const json_t *auth,
                          const struct image_progress *p) MUST_CHECK;
/* The image here that was pushed as this repository and digest. */
struct error *images_pushed_find(struct engine *e, const struct reference *r, struct digest *ret,
                                 bool *ret_found) MUST_CHECK;
/* "name@digest" of each form of a local image that was pushed to r's repository. */
struct error *images_pushed_list(struct engine *e, const struct reference *r, const struct digest *local,
                                 struct strv *ret) MUST_CHECK;
/* X-Registry-Auth for the registry's requests. */
struct image_auth {
    const json_t *json;
    const char *domain; /* of the reference */
    struct registry_auth registry;
};
/* All borrowed, for as long as the result is used; NULL when there is no `json`: anonymous. */
const struct registry_auth *image_auth_init(struct image_auth *a, const json_t *json, const char *domain);
/* A tar (any compression): OCI layout or docker archive. */
struct error *images_load(struct engine *e, struct stream *body, bool quiet,
                          const struct image_progress *p) MUST_CHECK;
/* Names to an OCI layout that docker-save readers understand too. */
struct error *images_save(struct engine *e, const struct strv *names, const struct platform *platform,
                          struct stream *out) MUST_CHECK;
/* A root filesystem's tar as a one-layer image; `changes` are Dockerfile lines (CMD, ENV ..) already applied
 * to `config`. */
struct error *images_import(struct engine *e, struct stream *body, const char *ref, const char *message,
                            const struct platform *platform, json_t *config, struct digest *ret) MUST_CHECK;

#endif
