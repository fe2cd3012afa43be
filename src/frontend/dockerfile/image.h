/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - image config as the Dockerfile frontend works on it (moby's DockerOCIImage)
 *
 * Known fields only: what a base image's config has besides is dropped, as BuildKit does.  Written in Go's
 * field order and escaping, so that the same Dockerfile gives the same config digest.  All strings are owned;
 * a zeroed struct is an empty image.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_IMAGE_H
#define MINKE_FRONTEND_DOCKERFILE_IMAGE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"
#include "oci/platform.h"

struct df_history {
    char *created;                       /* as printed, NULL: none */
    char *created_by, *author, *comment; /* NULL or "": none */
    bool empty_layer;
};

struct df_image {
    char *created, *author;
    struct platform platform;
    char *rootfs_type;
    bool has_diff_ids; /* else null */
    struct strv diff_ids;
    struct df_history *history;
    size_t history_count;

    /* config */
    char *user, *working_dir, *stop_signal; /* NULL or "": none */
    struct map exposed_ports, volumes;      /* sets: keys count, values are "" */
    struct map labels;                      /* string map */
    struct strv env, entrypoint, cmd, on_build, shell;
    struct map env_places; /* name -> place in env + 1, of the first env_indexed entries */
    size_t env_indexed;
    bool args_escaped;
    bool has_health;
    struct df_health {
        struct strv test;
        int64_t interval, timeout, start_period, start_interval;
        int64_t retries;
    } health;
};

void df_image_init(struct df_image *i); /* needed before maps are used; deinit is safe without */
void df_image_deinit(struct df_image *i);
/* Replaces what `dst` holds. */
void df_image_copy(struct df_image *dst, const struct df_image *src);
void df_image_move(struct df_image *dst, struct df_image *src); /* src is empty then */
/* The image of `FROM scratch`: root directory, default PATH except on windows. */
void df_image_init_scratch(struct df_image *i, const struct platform *p);
/* ERR_INVALID when it is no JSON or a field has the wrong type. */
struct error *df_image_parse(const void *json, size_t len, struct df_image *ret) MUST_CHECK;
void df_image_encode(const struct df_image *i, struct buf *out);

/* One more entry, empty. Borrowed, good until the next. */
struct df_history *df_image_push_history(struct df_image *i);
/* One entry: `created_by` is taken, `created` may be NULL. */
void df_image_add_history(struct df_image *i, char *created_by, bool empty_layer, const char *created);
/* KEY=VALUE in the environment: replaced in its place, or added at the end. */
void df_image_set_env(struct df_image *i, const char *key, const char *value);
/* Replace an owned string. */
void str_replace(char **dst, const char *value);

const char *default_path_env(const char *os);

#endif
