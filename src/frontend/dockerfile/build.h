/* SPDX-License-Identifier: Apache-2.0 */
/*
 * build.h - the Dockerfile frontend ("dockerfile.v0")
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_BUILD_H
#define MINKE_FRONTEND_DOCKERFILE_BUILD_H

#include "frontend/frontend.h"

/* See frontend_fn.  Platforms are converted at the same time.  Errors about the file carry errdefs.Source
 * details. */
struct error *frontend_dockerfile_build(struct bridge *b, const struct map *opts, const struct map *inputs,
                                        struct frontend_result *ret) MUST_CHECK;

#endif
