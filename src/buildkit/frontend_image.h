/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frontend_image.h - frontends by name, and those that are images: gateway.v0
 */
#ifndef MINKE_BUILDKIT_FRONTEND_IMAGE_H
#define MINKE_BUILDKIT_FRONTEND_IMAGE_H

#include "buildkit/builder.h"

/* May this build run the frontend that `source` names ("docker/dockerfile:1")?  ERR_FORBIDDEN "'%s' is not an
 * allowed gateway source"; a name that means the frontend in this program alone ("dockerfile.v0") is. */
struct error *frontend_check_source(const struct builder_config *c, const char *source) MUST_CHECK;
/* The frontend of that name; ERR_NOT_FOUND when it is unknown or switched off. */
struct error *frontend_by_name(const struct builder_config *c, const char *name, frontend_fn *ret) MUST_CHECK;
/* Run the image that the option "source" names: a container whose process is our gRPC client over its stdin
 * and stdout.  `b` is the bridge of a request of its own. */
struct error *frontend_image_run(struct bridge *b, const struct map *opts, const struct map *inputs,
                                 struct frontend_result *ret) MUST_CHECK;

#endif
