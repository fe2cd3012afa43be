/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gitref.h - is a source of ADD, or a build context, a git repository?
 *
 * "https://host/repo.git#ref:subdir", "git@host:repo.git", "git://..", "ssh://..", with the query parameters
 * of BuildKit's git URLs (protocol.md 3.5).  Pure text.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_GITREF_H
#define MINKE_FRONTEND_DOCKERFILE_GITREF_H

#include "base/base.h"
#include "base/error.h"

struct git_ref {
    char *scheme, *host, *path;            /* of the URL */
    char *remote;                          /* what git clones: without query and fragment */
    char *ref, *subdir, *checksum, *mtime; /* "" when not given */
    bool local_looking;                    /* "github.com/x/y": a git repository as a context only */
    bool keep_git_dir_set, keep_git_dir;
    bool submodules_set, submodules;
    bool fetch_by_commit;
};
void git_ref_deinit(struct git_ref *g);
/* *ret_is_git tells whether `s` is a git reference at all; then an error means that its parameters are wrong
 * (ERR_INVALID, with BuildKit's texts).  When it is none, *ret is left zeroed and NULL is returned. */
struct error *git_ref_parse(const char *s, struct git_ref *ret, bool *ret_is_git) MUST_CHECK;

#endif
