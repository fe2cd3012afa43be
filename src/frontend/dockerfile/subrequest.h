/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subrequest.h - questions about a Dockerfile instead of a build of it: frontend.outline, .targets, .lint,
 * .convertllb, .subrequests.describe
 *
 * The answer is metadata only: result.json, result.txt, result.statuscode, version, in BuildKit's shape.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_SUBREQUEST_H
#define MINKE_FRONTEND_DOCKERFILE_SUBREQUEST_H

#include "frontend/dockerfile/convert.h"

/* *ret_known is false for a request that is none of ours. `warn`: what the checks find on the way, where they
 * are not the answer. Waits (base images are resolved). */
struct error *subrequest_answer(struct dockerui *ui, const struct dockerui_source *src, const char *request,
                                void (*warn)(void *ctx, const struct lint_warning *w), void *warn_ctx,
                                struct frontend_result *ret, bool *ret_known) MUST_CHECK;

#endif
