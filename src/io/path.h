/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path.h - files below a root that may be hostile
 *
 * A path that comes from outside is never concatenated for access: it is opened relative to a directory
 * descriptor with openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), so that "..", absolute links and swapped
 * components stay inside. Low tier: descriptors or negative errno.  All descriptors are O_CLOEXEC.
 */
#ifndef MINKE_IO_PATH_H
#define MINKE_IO_PATH_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"

#include <sys/stat.h>

/* Open below `root_fd`; symlinks are followed inside the root, the last one too unless flags has O_NOFOLLOW.
 */
int path_open(int root_fd, const char *path, int flags, mode_t mode) MUST_CHECK;
/* O_PATH of the parent directory; *ret_base (malloc'd) is the last component ("." for the root itself).  With
 * `make_parents` missing directories are made with `mode`. */
int path_open_parent(int root_fd, const char *path, bool make_parents, mode_t mode,
                     char **ret_base) MUST_CHECK;
/* mkdir -p below the root: O_PATH descriptor of the directory. */
int path_mkdirs(int root_fd, const char *path, mode_t mode) MUST_CHECK;
int path_stat(int root_fd, const char *path, bool follow, struct stat *ret) MUST_CHECK;
int path_readlink(int root_fd, const char *path, char **ret) MUST_CHECK; /* malloc'd */
/* Where `path` really lies, as a clean absolute path inside the root ("/usr/bin"); components that do not
 * exist are kept. */
int path_resolve(int root_fd, const char *path, char **ret) MUST_CHECK;
/* Read a regular file (type checked before it is opened for reading) of at most `limit` bytes: -EFBIG,
 * -EINVAL for other types. */
int path_read_file(int root_fd, const char *path, struct buf *out, size_t limit) MUST_CHECK;
/* Remove a tree; does not follow links, does not cross mounts; *missing* is 0. */
int path_remove_all(int dir_fd, const char *name) MUST_CHECK;

/* The mode of `name` in a directory, which may have become a link meanwhile: those are not followed but fail
 * with -EOPNOTSUPP. */
int path_chmod(int dir_fd, const char *name, mode_t mode) MUST_CHECK;

/* Lexical: Go's path.Clean / path.Join / path.Base / path.Dir for slash paths.  New strings. */
char *path_clean(const char *path);
char *path_join(const char *a, const char *b);
char *path_base(const char *path);
char *path_dir(const char *path);
/* Go's path.Match on one pattern: 1 match, 0 none, -EINVAL malformed pattern. */
int path_match(const char *pattern, const char *name);
/* Do the first `len` bytes have a *, ? or [ that no backslash stands before? */
bool path_has_wildcard(const char *s, size_t len);
/* Go's filepath.Match: the same, but what follows the part that does not match is not checked. */
int path_match_lazy(const char *pattern, const char *name);

/* What does not change while this process runs, read once: the kernel's boot id ("unknown" when it does not
 * say), and the umask, asked for without changing it (0777 when unknown).  io/facts.c. */
const char *boot_id(void);
mode_t process_umask(void);

/* Our own files: read whole, or write to a temporary name, fsync, rename, fsync the directory. */
int file_read(const char *path, struct buf *out, size_t limit) MUST_CHECK;
int file_write_atomic(int dir_fd, const char *name, const void *data, size_t len, mode_t mode) MUST_CHECK;
int make_dirs(const char *path, mode_t mode) MUST_CHECK; /* mkdir -p of a trusted path */

/* /proc/self/fd/N for calls that take only a path. dst holds 32. */
void fd_path(char dst[32], int fd);

#endif
