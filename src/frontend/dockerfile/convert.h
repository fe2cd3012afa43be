/* SPDX-License-Identifier: Apache-2.0 */
/*
 * convert.h - a Dockerfile to a build definition and an image config, for one platform
 *
 *   text -> stages -> build stages (names, base images resolved) -> every instruction of every stage that the
 * target needs is dispatched in file order -> the target's state is marshalled
 *
 * The result equals that of BuildKit v0.34's dockerfile2llb byte for byte (tests/oracle).  A conversion
 * belongs to one task, which opens a group to resolve base images at the same time; several conversions share
 * a `struct dockerui`.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_CONVERT_H
#define MINKE_FRONTEND_DOCKERFILE_CONVERT_H

#include "base/base.h"
#include "base/error.h"
#include "frontend/dockerfile/dockerui.h"
#include "frontend/dockerfile/image.h"
#include "frontend/dockerfile/lint.h"
#include "frontend/sbom.h"

struct outline;

struct convert_options {
    struct dockerui *ui;
    const struct llb_source_map *source;
    const struct platform *target; /* NULL: the build platform, or what the base image has */
    void (*warn)(void *ctx, const struct lint_warning *w); /* NULL: no checks */
    void *warn_ctx;
    struct outline *outline; /* filled when not NULL; released by the caller */
    bool all_stages;         /* every stage of the file is looked at, not only those that the target needs */
    bool sbom;               /* tell what an SBOM scanner is to see besides the result */
    bool only_check;         /* end behind the checks: nothing is marshalled, the result stays empty */
};

struct convert_result {
    struct llb_def *def;
    struct df_image image;
    bool has_base;
    struct df_image base_image; /* config of the image that the target's chain starts from, as it was */
    bool has_epoch;
    int64_t epoch; /* SOURCE_DATE_EPOCH, seconds */
    struct sbom_extra *extras;
    size_t extra_count;
    bool ignore_cache; /* of the target or of an extra stage */
};
void convert_result_deinit(struct convert_result *r);

/* Waits.  Errors carry locations (df_error_lines). `ret` is to be released also after an error. */
struct error *dockerfile_convert(const struct convert_options *o, struct convert_result *ret) MUST_CHECK;

#endif
