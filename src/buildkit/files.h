/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.h - what a bridge's client reads of a tree that may be hostile: a file, what a file is, a directory
 *
 * `root` is a directory descriptor; links are followed inside it.  Errors name the path that was asked for:
 * ERR_NOT_FOUND, ERR_INVALID, ERR_EXHAUSTED for a file over LIMIT_CONTROL_FILE.
 */
#ifndef MINKE_BUILDKIT_FILES_H
#define MINKE_BUILDKIT_FILES_H

#include "frontend/frontend.h"

/* A regular file, or a part of it; appended. `o` may be NULL. */
struct error *files_read(int root, const char *path, const struct read_file_options *o,
                         struct buf *out) MUST_CHECK;
/* Of what the path leads to below the root. */
struct error *files_stat(int root, const char *path, struct file_stat *ret) MUST_CHECK;
/* Of what the absolute path leads to; of the link when it leads out, as an absolute one does: other mounts
 * may be there. */
struct error *files_stat_through(int root, const char *path, struct file_stat *ret) MUST_CHECK;
/* Entries by name (base names), those that match `include` unless it is NULL or ""; *ret malloc'd. */
struct error *files_list(int root, const char *path, const char *include, struct file_stat **ret,
                         size_t *ret_count) MUST_CHECK;

#endif
