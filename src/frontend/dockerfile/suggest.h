/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suggest.h - "(did you mean X?)"
 *
 * The option at the smallest edit distance below 3; of equals, the first.  An exact match suggests nothing.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_SUGGEST_H
#define MINKE_FRONTEND_DOCKERFILE_SUGGEST_H

#include "base/base.h"
#include "base/error.h"

/* New string or NULL.  Without case_sensitive the answer takes over the case of `val` when that is all upper
 * or lower. */
char *suggest_find(const char *val, const char *const *options, size_t count, bool case_sensitive);
/* Append " (did you mean X?)" to the message when there is something to suggest.  Takes and returns `e`;
 * *ret_done (may be NULL) tells whether it did. */
struct error *suggest_wrap(struct error *e, const char *val, const char *const *options, size_t count,
                           bool case_sensitive, bool *ret_done) MUST_CHECK;

#endif
