/* SPDX-License-Identifier: Apache-2.0 */
/*
 * root.h - a container's files from outside, whether it runs or not
 *
 * The root is the container's own filesystem without proc, tmpfs and the like; bind mounts are looked up
 * beside it.  All paths are resolved inside (io/path.h), so that links of a hostile container lead nowhere
 * else.
 */
#ifndef MINKE_CONTAINER_ROOT_H
#define MINKE_CONTAINER_ROOT_H

#include "container/container.h"
#include "container/mounts.h"

struct container_root {
    struct container *container;
    int fd;                         /* of its own filesystem */
    struct container_mounts mounts; /* binds count */
    bool locked;                    /* it does not run, and cannot be started meanwhile */
};
/* Waits for a start or removal under way. */
struct error *container_root_open(struct container *ct, struct container_root *ret) MUST_CHECK;
void container_root_close(struct container_root *r);

/* Where a path really is. */
struct root_place {
    int fd;     /* of the root or a bind's source (its directory, for a file); owned */
    char *path; /* below it; absolute and clean */
    const struct container_mount *mount; /* NULL: in the root; borrowed */
};
void root_place_deinit(struct root_place *p);
/* `follow`: the last component too. Errors: ERR_NOT_FOUND. */
struct error *container_root_find(const struct container_root *r, const char *path, bool follow,
                                  struct root_place *ret) MUST_CHECK;

#endif
