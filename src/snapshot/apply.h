/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apply.h - an image layer's tar into an overlay directory (private to the room)
 *
 * The archive is hostile: every path is opened below the layer's root by openat2, links are made but never
 * followed out, attributes that mean something to overlayfs are dropped.  What depends on the layers below
 * (directories that the archive implies but does not describe, hard links to files it does not hold) is noted
 * and fixed when those are there.
 */
#ifndef MINKE_SNAPSHOT_APPLY_H
#define MINKE_SNAPSHOT_APPLY_H

#include "base/vec.h"
#include "snapshot/internal.h"

struct apply_result {
    int64_t bytes;       /* on disk, roughly: content rounded up to blocks */
    struct strv implied; /* directories to take their metadata from below, parents first */
    struct strv linked;  /* pairs: new name, target that is not in this layer */
};
void apply_result_deinit(struct apply_result *r);
/* root_fd: the empty fs folder, opened for reading. */
struct error *apply_tar(int root_fd, struct stream *tar, struct apply_result *ret) MUST_CHECK;
/* Do what was noted, with a view of the layers below. */
struct error *apply_fix(int root_fd, int lower_fd, const struct apply_result *r) MUST_CHECK;

#endif
