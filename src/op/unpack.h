/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unpack.h - archives into a root: ADD of a local archive, docker import
 *
 * The archive is hostile: every path is resolved inside the root, links are made but not followed outside of
 * it, existing files are replaced, never written through.  Decompression happens in this process.
 */
#ifndef MINKE_OP_UNPACK_H
#define MINKE_OP_UNPACK_H

#include "io/stream.h"
#include "op/copy.h"

/* Any tar with any compression (by its magic) into `root_fd`.  `archive` is taken, also on failure.  Owner
 * NULL: the archive's. */
struct error *op_unpack_archive(struct stream *archive, int root_fd,
                                const struct file_owner *owner) MUST_CHECK;

struct unpack_options {
    const struct file_owner *owner; /* NULL: the archive's */
    bool keep_kind; /* a directory is not replaced by something else, nor the other way round */
};
struct error *op_unpack_into(struct stream *archive, int root_fd, const struct unpack_options *o) MUST_CHECK;

/* If `src` is a regular file that holds an archive, unpack it into the directory `dst` (made when missing)
 * and say so. */
struct error *unpack_if_archive(int src_root, const char *src, int dst_root, const char *dst,
                                const struct copy_options *o, bool *ret_unpacked) MUST_CHECK;

#endif
