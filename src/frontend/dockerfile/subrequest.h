/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subrequest.h - questions about a Dockerfile instead of a build of it: frontend.lint, .targets,
 * .subrequests.describe
 *
 * The answer is metadata only: result.json, result.txt, result.statuscode, version, in BuildKit's shape.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_SUBREQUEST_H
#define MINKE_FRONTEND_DOCKERFILE_SUBREQUEST_H

#include "frontend/dockerfile/dockerui.h"

/* *ret_known is false for a request that is none of ours. Waits (checks resolve base images). */
struct error *subrequest_answer(struct dockerui *ui, const struct dockerui_source *src, const char *request,
                                struct frontend_result *ret, bool *ret_known) MUST_CHECK;

#endif
