/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regex.h - a small regular expression engine that runs in linear time
 *
 * Path patterns and ${var/pattern/x} are defined by translation to Go's regular expressions; what such
 * translations can contain is supported here with Go's meaning: literals, `.`, classes with ranges and
 * [:names:], `^ $`, \A \z \b \B, \d \s \w, character escapes, groups (not remembered), and `* + ?` with their
 * lazy forms.  No alternatives, counts or \p{..}. A program is immutable: matching is safe from any thread.
 */
#ifndef MINKE_BASE_REGEX_H
#define MINKE_BASE_REGEX_H

#include "base/base.h"
#include "base/buf.h"

struct regex;

/* 0, -EINVAL not an expression, -E2BIG over LIMIT_REGEX_BYTES. */
int regex_compile(const char *pattern, size_t len, struct regex **ret) MUST_CHECK;
void regex_free(struct regex *re);
/* The leftmost match at or behind `from` (an index; `^` and \b see what stands before it). */
bool regex_find(const struct regex *re, const char *s, size_t len, size_t from, size_t *ret_start,
                size_t *ret_end);
bool regex_matches(const struct regex *re, const char *s, size_t len);
/* All matches replaced; $0 and ${0} in `with` stand for the match, $$ for a dollar, other names for nothing.
 * Appends to out; -E2BIG when that grows by more than `limit` bytes. */
int regex_replace_all(const struct regex *re, const char *s, size_t len, const char *with, size_t limit,
                      struct buf *out) MUST_CHECK;

#endif
