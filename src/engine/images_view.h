/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images_view.h - one image, looked at whole; for images_*.c that show images
 */
#ifndef MINKE_ENGINE_IMAGES_VIEW_H
#define MINKE_ENGINE_IMAGES_VIEW_H

#include "engine/images.h"

/* A target with its names and its variants; what is not in the store is left out. */
struct image_view {
    struct descriptor target;
    struct strv names;
    char *parent;     /* what a classic build made it from; NULL: nothing known */
    int64_t named_ns; /* newest time a name was put */
    struct image_variant
        variant; /* the one that stands for the image; descriptor.media_type NULL when none is here */
};
void image_view_deinit(struct image_view *v);
/* The container configuration of its variant; NULL when there is none.  Borrowed. */
json_t *image_view_config(const struct image_view *v);
/* RepoTags and RepoDigests. */
void image_view_names(struct engine *e, const struct image_view *v, json_t *tags, json_t *digests);
/* "Manifests": what the target consists of, with what is here of each. */
json_t *image_view_manifests(struct engine *e, const struct image_view *v);
/* A time of an image's config or of a row of its history; 0 when it says none. */
int64_t image_config_time(const json_t *config, const char *key);

/* What a variant takes in the store. */
struct image_sizes {
    int64_t content;  /* documents and blobs as they came */
    int64_t unpacked; /* layers */
};
struct image_sizes image_variant_sizes(struct engine *e, const struct image_variant *v);

#endif
