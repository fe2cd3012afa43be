/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - entries of a received tree on disk
 *
 * Paths are clean and relative.  Every access starts at dir_fd, stays below it and follows no link at all: a
 * link where a directory is expected is an error, whoever put it there.  Low tier: 0 or a negative errno.
 */
#ifndef MINKE_SESSION_PLACE_H
#define MINKE_SESSION_PLACE_H

#include "session/sync.h"

struct place {
    int dir_fd;   /* borrowed */
    mode_t umask; /* of this process: modes that it cuts are set afterwards */
    uid_t uid;    /* what new files belong to */
    gid_t gid;
    bool group_sticks; /* a directory with setgid was made: new files may have its group */
    char *parent;      /* directory that parent_fd is */
    int parent_fd;
    int (*changing)(void *ctx); /* called right before the first change; NULL */
    void *ctx;
    bool changed;
};
void place_init(struct place *p, int dir_fd);
void place_deinit(struct place *p);

/* Empty the root. */
int place_clear(struct place *p) MUST_CHECK;
/* Remove a file or a tree; what is not there is fine. */
int place_remove(struct place *p, const char *path) MUST_CHECK;
/* Directory, symlink, device or pipe with all its metadata (a directory's time is set by place_touch, when it
 * is complete). */
int place_make(struct place *p, const struct sync_entry *e) MUST_CHECK;
/* Mode, owner and attributes of a directory that is there. */
int place_update_dir(struct place *p, const struct sync_entry *e) MUST_CHECK;
int place_touch(struct place *p, const struct sync_entry *e) MUST_CHECK;
/* Hard link e->path to e->linkname, both below the root. */
int place_link(struct place *p, const struct sync_entry *e) MUST_CHECK;
/* A new regular file, open for writing; then its metadata, once it is written. */
int place_create(struct place *p, const struct sync_entry *e) MUST_CHECK;
int place_finish(struct place *p, int fd, const struct sync_entry *e) MUST_CHECK;

#endif
