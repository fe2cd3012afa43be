/* SPDX-License-Identifier: Apache-2.0 */
/* answer.h - what answers to subrequests are made of: metadata of a result, places in JSON */
#ifndef MINKE_FRONTEND_DOCKERFILE_ANSWER_H
#define MINKE_FRONTEND_DOCKERFILE_ANSWER_H

#include "frontend/dockerfile/convert.h"
#include "frontend/dockerfile/parser.h"

#include <jansson.h>

/* result.txt and its like. */
void answer_set_text(struct frontend_result *r, const char *key, const struct buf *text);
/* result.json and the version of its form. */
void answer_set_document(struct frontend_result *r, const struct buf *text, const char *version);
/* result.json as MarshalIndent writes it, and the version of its form; `j` is taken. */
void answer_set_json(struct frontend_result *r, json_t *j, const char *version);
/* A member that is left out when the text is empty. */
void answer_set_member(json_t *j, const char *key, const char *text);
/* {"start":{"line":3},"end":{"line":3}} */
json_t *answer_range(int line);
/* {"ranges":[{"start":{"line":3},"end":{"line":3}}]}, a range for every line. */
json_t *answer_location(struct df_lines lines);
/* The conversion that answers a subrequest: the first platform of the build. */
struct convert_options answer_conversion(struct dockerui *ui, const struct dockerui_source *src,
                                         void (*warn)(void *ctx, const struct lint_warning *w),
                                         void *warn_ctx);

/* frontend.lint: checks of all stages, or of what the target needs.  Waits. */
struct error *answer_lint(struct dockerui *ui, const struct dockerui_source *src,
                          struct frontend_result *ret) MUST_CHECK;

#endif
