/* SPDX-License-Identifier: Apache-2.0 */
/*
 * git.h - a commit of a git repository
 *
 * The git program runs in an environment of its own: no configuration of the host, no hooks, no templates,
 * only the protocols http, https and git; what a remote chose never becomes an option (security.md B7, B8,
 * K7).  Each run fetches into a repository of its own below the store's work folder and checks out beside it;
 * the layer gets a copy, so git never writes into a layer.  Credentials travel in the environment, not in
 * arguments.
 */
#ifndef MINKE_OP_GIT_H
#define MINKE_OP_GIT_H

#include "solver/solver.h"

extern const struct op_impl git_source;

/* A remote's host (with port) and path; false when git is not to be asked about it.  New strings. */
bool git_remote_split(const char *remote, char **ret_host, char **ret_path);
/* 40 or 64 hexadecimal digits. */
bool git_is_commit(const char *text);

#endif
