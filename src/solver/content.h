/* SPDX-License-Identifier: Apache-2.0 */
/*
 * content.h - walking what a selector names, in a mounted tree or in the index of a synced one; for this room
 * only
 *
 * Both give the same entries in the same order (a directory right before its children, names bytewise with
 * '/' lowest), so a tree and its index have one digest.
 */
#ifndef MINKE_SOLVER_CONTENT_H
#define MINKE_SOLVER_CONTENT_H

#include "session/session.h"

struct content_entry {
    const char *path; /* from the root, without leading slash; "" the root itself */
    uint32_t mode;    /* st_mode */
    uint32_t uid, gid;
    uint32_t major, minor;
    const char *link; /* symlink target; NULL: none */
};

struct content_view {
    const struct sync_index *index; /* or NULL: */
    int root_fd;
    bool scratch; /* there is no result at all: BuildKit words that differently */
};
/* Where `path` lies, symlinks of its parents (and of itself, with `follow`) resolved inside the root; clean,
 * no leading slash. -ENOENT when it is not there. */
int content_resolve(const struct content_view *v, const char *path, bool follow, char **ret) MUST_CHECK;
/* Visit the entry at `path` (resolved) and all below it. A visitor's error ends the walk; *skip leaves out
 * what lies below. */
typedef struct error *(*content_visit)(void *ctx, const struct content_entry *e, bool *skip);
struct error *content_walk(const struct content_view *v, const char *path, content_visit visit,
                           void *ctx) MUST_CHECK;
/* SHA-256 of a regular file's bytes. */
struct error *content_of(const struct content_view *v, const char *path, uint8_t ret[32]) MUST_CHECK;
/* Extended attributes that count, as text that tells them apart; appended. */
struct error *content_xattrs(const struct content_view *v, const char *path, struct buf *out) MUST_CHECK;

#endif
