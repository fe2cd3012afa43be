/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.h - owners by name, as an image's /etc/passwd and /etc/group give them
 */
#ifndef MINKE_OP_USER_H
#define MINKE_OP_USER_H

#include "op/copy.h"

/* The user's uid and gid from the root's /etc/passwd: bounded, regular files only. A user or file that is not
 * there gives false and leaves *ret alone. */
struct error *user_by_name(int root, const char *name, struct file_owner *ret, bool *ret_found) MUST_CHECK;
struct error *group_by_name(int root, const char *name, uint32_t *ret_gid, bool *ret_found) MUST_CHECK;

#endif
