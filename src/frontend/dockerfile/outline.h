/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outline.h - what a target can be given: build arguments, secrets, ssh agents
 *
 * Gathered from the stages that the target needs, once they have been dispatched: the target's own first,
 * then those of its base, then those of stages that it copies from; of several with one name the first
 * counts.  In the order of the file.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_OUTLINE_H
#define MINKE_FRONTEND_DOCKERFILE_OUTLINE_H

#include "base/base.h"
#include "frontend/dockerfile/parser.h"

struct outline_item {
    char *name, *value, *description; /* "" when there is none */
    bool required;
    struct df_lines lines;
    size_t position; /* in which it was found */
};
struct outline_list {
    struct outline_item *v;
    size_t len;
};
struct outline {
    char *name, *description; /* of the target */
    struct outline_list args, secrets, ssh;
};
void outline_deinit(struct outline *o);

struct convert;
struct build_stage;
/* Errors: a word that does not expand (it did before). */
struct error *outline_gather(struct convert *c, const struct build_stage *target,
                             struct outline *ret) MUST_CHECK;

#endif
