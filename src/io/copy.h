/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.h - move file content and metadata between descriptors
 *
 * Content goes by reflink where the filesystem can, else copy_file_range, else read and write.  Wait point
 * between chunks.
 */
#ifndef MINKE_IO_COPY_H
#define MINKE_IO_COPY_H

#include "base/base.h"

#include <sys/stat.h>

/* Copy `size` bytes (or to the end when negative); holes are kept.  0 or a negative errno. */
int copy_content(int src_fd, int dst_fd, int64_t size) MUST_CHECK;
/* Copy extended attributes from one O_PATH or open descriptor to another; an attribute that the target cannot
 * hold is skipped only when errno is ENOTSUP; trusted.overlay.* and security.selinux are never copied. */
int copy_xattrs(int src_fd, int dst_fd) MUST_CHECK;

#endif
