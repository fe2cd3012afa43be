/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user.h - who "name", "uid" or "user:group" is, by /etc/passwd and /etc/group of a root that may be hostile
 *
 * A number is never looked up as a name.  Ids above 2^31 - 1 are refused: the kernel takes the largest for
 * "leave as it is". Both files are read at most up to LIMIT_PASSWD_FILE, and only when they are regular
 * files.
 */
#ifndef MINKE_RUN_USER_H
#define MINKE_RUN_USER_H

#include "base/base.h"
#include "base/error.h"

struct run_user {
    uint32_t uid, gid;
    uint32_t *gids; /* supplementary groups, owned */
    size_t gid_count;
};
void run_user_deinit(struct run_user *u);

/* `spec`: "" or NULL is root.  ERR_INVALID with the texts of moby's user package ("unable to find user x: no
 * matching entries in passwd file") when it cannot be found. */
struct error *run_user_find(int root_fd, const char *spec, struct run_user *ret) MUST_CHECK;
/* The home of `uid` by the root's /etc/passwd, "/" when it has none there. Owned by the caller. */
struct error *run_user_home(int root_fd, uint32_t uid, char **ret) MUST_CHECK;
/* Add one group by name or number (docker run --group-add). */
struct error *run_user_add_group(int root_fd, struct run_user *u, const char *group) MUST_CHECK;

#endif
