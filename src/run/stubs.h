/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stubs.h - leave no empty files and directories behind that the runtime made to mount on
 *
 * Before the step every mount point that does not exist is noted by the place where it really lies.
 * Afterwards those that are there and still empty go, and the times of their directories are put back.  The
 * step may have replaced any component by a link: a path with a link in it is left alone.
 */
#ifndef MINKE_RUN_STUBS_H
#define MINKE_RUN_STUBS_H

#include "base/base.h"
#include "base/vec.h"

struct stubs {
    int root_fd; /* borrowed */
    struct strv
        paths; /* clean, absolute, without links when they were noted; a deeper one before its parent */
    struct strv above; /* missing directories above mount points: the runtime makes them, too */
};

void stubs_init(struct stubs *s, int root_fd);
void stubs_deinit(struct stubs *s);
/* `dest` is a mount point; with `parents` its missing parents are noted too. */
void stubs_note(struct stubs *s, const char *dest, bool parents);
/* Remove what is still empty.  What cannot be removed stays; the sticky bit that crun gives to directories
 * above mount points goes. */
void stubs_clean(struct stubs *s);

/* Open a directory below root_fd (clean absolute path) that has no link in it and lies on the same mount:
 * O_RDONLY, or -errno. */
int open_dir_no_links(int root_fd, const char *path) MUST_CHECK;

#endif
