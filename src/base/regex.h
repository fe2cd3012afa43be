/* SPDX-License-Identifier: Apache-2.0 */
/*
 * regex.h - a small regular expression engine that runs in linear time
 *
 * Path patterns and ${var/pattern/x} are defined by translation to Go's regular expressions; what such
 * translations can contain, and what policies about sources use, is supported here with Go's meaning:
 * literals,
 * `.`, classes with ranges and [:names:], `^ $`, \A \z \b \B, \d \s \w, character escapes, alternatives,
 * groups (plain, named, "(?:") with the flags i (ASCII) and s, counts and `* + ?` with their lazy forms.  No
 * \p{..}, no flags m and U.  A program is immutable: matching is safe from any thread.
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
#define REGEX_NONE SIZE_MAX
/* Groups, the whole match counted as the first. */
size_t regex_group_count(const struct regex *re);
/* As regex_find; ret[2k] and ret[2k+1] are the ends of group k, REGEX_NONE when it took no part. */
bool regex_find_groups(const struct regex *re, const char *s, size_t len, size_t from, size_t *ret);
/* All matches replaced; $0, $1, ${1}, ${name} in `with` stand for what the groups matched, $$ for a dollar,
 * other names for nothing.  Appends to out; -E2BIG when that grows by more than `limit` bytes, or over
 * LIMIT_REGEX_CAPTURES. */
int regex_replace_all(const struct regex *re, const char *s, size_t len, const char *with, size_t limit,
                      struct buf *out) MUST_CHECK;

#endif
