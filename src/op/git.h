/* SPDX-License-Identifier: Apache-2.0 */
/*
 * git.h - a commit of a git repository
 *
 * The git program runs in an environment of its own: no configuration of the host, no hooks, no templates, no
 * keys of the daemon's user, only the protocols http, https, git and ssh; what a remote chose never becomes
 * an option (security.md B7, B8, K7).  What was fetched stays in one repository for each remote; a checkout
 * happens beside it in the store's work folder, and the layer gets a copy, so git never writes into a layer.
 * Credentials travel in the environment, not in arguments or files.  A "git.bundle" stands in the remote's
 * place; signatures (OpenPGP, SSH) are checked when the source gives a key.
 */
#ifndef MINKE_OP_GIT_H
#define MINKE_OP_GIT_H

#include "base/buf.h"
#include "solver/solver.h"

extern const struct op_impl git_source;

/* A remote's host (with port) and path; false when git is not to be asked about it.  New strings. */
bool git_remote_split(const char *remote, char **ret_host, char **ret_path);
/* 40 or 64 hexadecimal digits. */
bool git_is_commit(const char *text);

/* What a source means now. */
struct git_meta {
    char *ref;                            /* "refs/heads/x"; a commit */
    char *checksum;                       /* of the commit or tag that the ref names */
    char *commit_checksum;                /* of a tag's commit; NULL */
    struct buf commit_object, tag_object; /* where objects were asked for */
};
void git_meta_deinit(struct git_meta *m);
struct error *git_resolve_meta(struct op_context *c, bool objects, struct git_meta *ret) MUST_CHECK;

#endif
