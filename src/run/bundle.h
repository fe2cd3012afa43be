/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bundle.h - what one container needs on disk, without a disk: a detached tmpfs and detached mounts
 *
 * A bundle is a tmpfs that is in nobody's mount table.  It holds config.json, small files (secrets, hosts),
 * sockets and empty mount points.  The runtime starts in a mount namespace of its own, where bundle_enter()
 * puts the tmpfs at `path`, the root file system on `path`/rootfs and every source on `path`/m/<n>.  When the
 * runtime and the container are gone, so is all of it: there is nothing to unmount, and a killed daemon leaks
 * no mount and no secret.
 *
 *     EXEC_ROOT/bundle            an empty directory on the host; in the runtime's namespace:
 *         config.json  log  pid
 *         rootfs/                 <- the writable root
 *         m/0 m/1 ..              <- bind sources, resolved by descriptor beforehand
 *         f/0 f/1 ..              small files and sockets, bound from here
 *
 * One task prepares and uses a bundle.
 */
#ifndef MINKE_RUN_BUNDLE_H
#define MINKE_RUN_BUNDLE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"

struct bundle_mount {
    int fd; /* owned: a detached clone, or (`borrowed`) the caller's detached mount that this kernel cannot
               clone */
    bool borrowed;
    char *selector; /* only with `borrowed`: resolved after it is attached; NULL: itself */
    char point[16]; /* "m/3" */
    char stage[16]; /* "d/3", where a borrowed mount with a selector goes first */
};

struct bundle {
    int dir_fd;       /* the tmpfs */
    const char *path; /* borrowed */
    struct bundle_mount root;
    struct bundle_mount *mounts;
    size_t mount_count, file_count;
    bool hide_unified_cgroup; /* so that crun sees a v1 host on a hybrid one */
};

/* `path` is an empty directory of the host; it stays untouched there. */
struct error *bundle_init(struct bundle *b, const char *path) MUST_CHECK;
void bundle_deinit(struct bundle *b);

/* The root: a mount descriptor or a directory.  On kernels before 6.15 a detached mount is consumed (its
 * files stay reachable through the descriptor).  With `readonly` nothing in it can be written. */
struct error *bundle_set_root(struct bundle *b, int root_fd) MUST_CHECK;
/* A bind source: `selector` (may be NULL) is resolved inside source_fd, links too.  *ret_path (owned by the
 * caller) is the path to name in config.json.  ERR_NOT_FOUND when the selector is not there. */
struct error *bundle_add_mount(struct bundle *b, int source_fd, const char *selector, bool readonly,
                               char **ret_path) MUST_CHECK;
/* A file with this content. */
struct error *bundle_add_file(struct bundle *b, const void *data, size_t len, uint32_t uid, uint32_t gid,
                              uint32_t mode, char **ret_path) MUST_CHECK;
/* A listening unix socket; *ret_fd is the caller's. */
struct error *bundle_add_socket(struct bundle *b, uint32_t uid, uint32_t gid, uint32_t mode, int *ret_fd,
                                char **ret_path) MUST_CHECK;
/* A file of the bundle's own ("config.json"). */
struct error *bundle_write(struct bundle *b, const char *name, const void *data, size_t len) MUST_CHECK;
/* Append the content of a file of the bundle's own; an absent one is empty. */
void bundle_read(struct bundle *b, const char *name, struct buf *out, size_t limit);

/* In a vforked child: a mount namespace of its own with all of the above in place.  Raw system calls only.  0
 * or -errno. */
int bundle_enter(void *bundle);

#endif
