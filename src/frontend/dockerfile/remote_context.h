/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote_context.h - build contexts that the builder fetches: git repositories and downloads
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_REMOTE_CONTEXT_H
#define MINKE_FRONTEND_DOCKERFILE_REMOTE_CONTEXT_H

#include "frontend/dockerfile/dockerui.h"

static inline bool is_http_url(const char *s)
{
    return str_has_prefix(s, "http://") || str_has_prefix(s, "https://");
}

#define REMOTE_GIT_STEP "[internal] load git source %s" /* name of the step, with the URL */

/* What the URL of a repository leaves open. */
struct remote_git_options {
    const char *name;  /* of the step */
    const char *mtime; /* of the files; NULL: the time of the checkout */
    enum { KEEP_GIT_WHEN_ASKED, KEEP_GIT_UNLESS_DENIED, KEEP_GIT_ALWAYS } keep_git_dir; /* by the URL */
    bool advice;
};
/* The repository that `url` names.  *ret_is_git is false, and nothing else done, when it names none. */
struct error *remote_git(struct llb_builder *b, const char *url, const struct remote_git_options *o,
                         struct llb_state *ret, bool *ret_is_git) MUST_CHECK;
/* A download as the file "context". */
struct llb_state remote_file(struct llb_builder *b, const char *url, const char *name);
/* The same unpacked. */
struct llb_state remote_archive(struct llb_builder *b, const char *url, const char *name);
/* Last component of the path of an http URL, "__unnamed__" when it has none. New string. */
char *remote_filename(const char *url);
/* Does a file with this beginning count as an archive (gzip, bzip2, xz, zstd, tar)? */
bool is_archive(const void *head, size_t len);

#endif
