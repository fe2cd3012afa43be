/* SPDX-License-Identifier: Apache-2.0 */
/*
 * word_pattern.h - shell patterns in ${NAME#pattern}, ${NAME%pattern} and ${NAME/pattern/with} (inside of
 * words.h)
 *
 * `*` and `?` are wild, brackets are not; a backslash escapes those two and itself.  Errors: ERR_INVALID
 * "invalid pattern (..) in substitution: ...".
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_WORD_PATTERN_H
#define MINKE_FRONTEND_DOCKERFILE_WORD_PATTERN_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"

/* `value` without what the pattern matches in front, or at the end; the longest match or the shortest.
 * Appended. */
struct error *word_pattern_trim(const struct buf *pattern, const char *value, bool suffix, bool greedy,
                                struct buf *out) MUST_CHECK;
/* `value` with the first match replaced, or all of them. Appended. *ret_too_big: replacing all was given up
 * behind LIMIT_WORD_BYTES. */
struct error *word_pattern_replace(const struct buf *pattern, const char *value, bool all,
                                   const struct buf *with, struct buf *out, bool *ret_too_big) MUST_CHECK;

#endif
