/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pattern.h - path patterns as .dockerignore has them
 *
 * `*` and `?` stop at '/', `**` does not, [..] is a class, '\' escapes, a leading '!' takes back what earlier
 * patterns matched; the last match wins.  Semantics, oddities too, are those of moby/patternmatcher, which
 * fsutil filters, COPY
 * --exclude and .dockerignore share.  Time is linear in pattern length times path length for every pattern.
 * A set is immutable after init: matching is safe from any thread.
 */
#ifndef MINKE_IO_PATTERN_H
#define MINKE_IO_PATTERN_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"

struct pattern; /* one compiled pattern */

struct pattern_set {
    struct pattern *patterns;
    size_t count;
    bool exclusions; /* at least one '!' */
};
/* Blank patterns are dropped.  Errors: ERR_INVALID `illegal exclusion pattern: "!"`, "syntax error in
 * pattern". */
struct error *pattern_set_init(struct pattern_set *s, const char *const *patterns, size_t count) MUST_CHECK;
void pattern_set_deinit(struct pattern_set *s);

/* The cleaned pattern without '!'. Borrowed. */
const char *pattern_text(const struct pattern_set *s, size_t index);
bool pattern_is_exclusion(const struct pattern_set *s, size_t index);

/* Is the path, or a directory above it, matched and not excluded later?  `path` is slash-delimited, relative,
 * clean. Errors: ERR_INVALID "syntax error in pattern" (only now for classes that cannot be compiled). */
struct error *pattern_set_match(const struct pattern_set *s, const char *path, bool *ret) MUST_CHECK;

/* The same while walking a tree: `parent` is the info of the directory above (NULL for the root: parents are
 * then tried one by one), `info` receives one bool per pattern (`count` of them, memory of the caller,
 * not that of `parent`). */
struct error *pattern_set_match_walk(const struct pattern_set *s, const char *path, const bool *parent,
                                     bool *info, bool *ret) MUST_CHECK;

#endif
