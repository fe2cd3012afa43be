/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of directory trees: listing, comparing, copying. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/limits.h"
#include "io/copy.h"
#include "io/path.h"
#include "snapshot/internal.h"
#include "task/task.h"

#define OPAQUE "trusted.overlay.opaque"

bool is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == 0;
}

int make_whiteout(int dir_fd, const char *name)
{
    return mknodat(dir_fd, name, S_IFCHR, 0) < 0 ? -errno : 0;
}

int set_opaque(int dir_fd)
{
    return fsetxattr(dir_fd, OPAQUE, "y", 1, 0) < 0 ? -errno : 0;
}

int is_opaque(int dir_fd)
{
    char value[4];
    ssize_t n = fgetxattr(dir_fd, OPAQUE, value, sizeof(value));
    if (n < 0)
        return errno == ENODATA || errno == ENOTSUP || errno == ERANGE ? 0 : -errno;
    return n == 1 && value[0] == 'y';
}

int list_dir(int dir_fd, struct strv *ret)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        int r = -errno;
        closep(&fd);
        return r;
    }
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (e == NULL)
            break;
        if (!streq(e->d_name, ".") && !streq(e->d_name, ".."))
            strv_add(ret, e->d_name);
    }
    int r = -errno;
    closedir(dir);
    strv_sort(ret);
    return r;
}

/* ---- comparing -------------------------------------------------------------------------------------------
 */

static int open_file(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

/* Of an entry by way of its directory: neither followed nor opened. */
static ssize_t get_capability(int dir_fd, const char *name, char *value, size_t cap)
{
    CLEANUP(freep) char *path = xasprintf("/proc/self/fd/%d/%s", dir_fd, name);
    ssize_t n = lgetxattr(path, "security.capability", value, cap);
    return n < 0 && (errno == ENODATA || errno == ENOTSUP) ? 0 : n < 0 ? -errno : n;
}

static int same_capability(int a_dir, const char *a_name, int b_dir, const char *b_name)
{
    char a[256], b[256];
    ssize_t an = get_capability(a_dir, a_name, a, sizeof(a));
    ssize_t bn = get_capability(b_dir, b_name, b, sizeof(b));
    if (an < 0 || bn < 0)
        return (int)MIN(an, bn);
    return an == bn && memcmp(a, b, (size_t)an) == 0;
}

static int same_link(int a_dir, const char *a_name, int b_dir, const char *b_name)
{
    char a[LIMIT_PATH + 1], b[LIMIT_PATH + 1];
    ssize_t an = readlinkat(a_dir, a_name, a, sizeof(a));
    if (an < 0)
        return -errno;
    ssize_t bn = readlinkat(b_dir, b_name, b, sizeof(b));
    if (bn < 0)
        return -errno;
    return an == bn && memcmp(a, b, (size_t)an) == 0;
}

static int same_content(int a_dir, const char *a_name, int b_dir, const char *b_name, int64_t size)
{
    enum { CHUNK = 32 * 1024 };
    CLEANUP(closep) int a = open_file(a_dir, a_name);
    CLEANUP(closep) int b = open_file(b_dir, b_name);
    CLEANUP(freep) char *buf = xmalloc(2 * CHUNK);
    if (a < 0 || b < 0)
        return MIN(a, b);
    for (int64_t at = 0; at < size;) {
        size_t want = (size_t)MIN(size - at, (int64_t)CHUNK);
        ssize_t an = pread(a, buf, want, at);
        ssize_t bn = an > 0 ? pread(b, buf + CHUNK, (size_t)an, at) : an;
        if (an < 0 || bn < 0)
            return -errno;
        if (an == 0 || bn != an || memcmp(buf, buf + CHUNK, (size_t)an) != 0)
            return 0;
        at += an;
    }
    return 1;
}

int same_entry(int a_dir, const char *a_name, const struct stat *a, int b_dir, const char *b_name,
               const struct stat *b)
{
    if (a->st_mode != b->st_mode || a->st_uid != b->st_uid || a->st_gid != b->st_gid ||
        a->st_rdev != b->st_rdev)
        return 0;
    if (S_ISREG(a->st_mode) || S_ISDIR(a->st_mode)) {
        int r = same_capability(a_dir, a_name, b_dir, b_name);
        if (r <= 0)
            return r;
    }
    if (S_ISDIR(a->st_mode))
        return 1;
    if (a->st_size != b->st_size || a->st_mtim.tv_sec != b->st_mtim.tv_sec ||
        a->st_mtim.tv_nsec != b->st_mtim.tv_nsec)
        return 0;
    if (a->st_mtim.tv_nsec != 0)
        return 1;
    if (S_ISLNK(a->st_mode))
        return same_link(a_dir, a_name, b_dir, b_name);
    return S_ISREG(a->st_mode) && a->st_size > 0 ? same_content(a_dir, a_name, b_dir, b_name, a->st_size) : 1;
}

/* ---- copying ---------------------------------------------------------------------------------------------
 */

int copy_metadata(int src_fd, const struct stat *st, int dst_fd)
{
    const struct timespec times[2] = { st->st_atim, st->st_mtim };
    if (fchown(dst_fd, st->st_uid, st->st_gid) < 0 || fchmod(dst_fd, st->st_mode & 07777) < 0)
        return -errno;
    int r = copy_xattrs(src_fd, dst_fd);
    if (r < 0)
        return r;
    return futimens(dst_fd, times) < 0 ? -errno : 0;
}

static int copy_file(int src_dir, const char *src_name, const struct stat *st, int dst_dir,
                     const char *dst_name)
{
    CLEANUP(closep) int src = open_file(src_dir, src_name);
    if (src < 0)
        return src;
    CLEANUP(closep) int dst = openat(dst_dir, dst_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (dst < 0)
        return -errno;
    int r = copy_content(src, dst, st->st_size);
    return r < 0 ? r : copy_metadata(src, st, dst);
}

static int copy_dir(int src_dir, const char *src_name, const struct stat *st, int dst_dir,
                    const char *dst_name)
{
    if (mkdirat(dst_dir, dst_name, 0700) < 0 && errno != EEXIST)
        return -errno;
    CLEANUP(closep) int src = openat(src_dir, src_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(closep) int dst = openat(dst_dir, dst_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return src < 0 || dst < 0 ? -errno : copy_metadata(src, st, dst);
}

static int copy_node(int src_dir, const char *src_name, const struct stat *st, int dst_dir,
                     const char *dst_name)
{
    char target[LIMIT_PATH + 1];
    const struct timespec times[2] = { st->st_atim, st->st_mtim };
    if (S_ISLNK(st->st_mode)) {
        ssize_t n = readlinkat(src_dir, src_name, target, sizeof(target) - 1);
        if (n < 0)
            return -errno;
        target[n] = '\0';
        if (symlinkat(target, dst_dir, dst_name) < 0)
            return -errno;
    } else if (mknodat(dst_dir, dst_name, st->st_mode, st->st_rdev) < 0) {
        return -errno;
    }
    if (fchownat(dst_dir, dst_name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    int r = S_ISLNK(st->st_mode) ? 0 : path_chmod(dst_dir, dst_name, st->st_mode & 07777);
    if (r < 0)
        return r;
    return utimensat(dst_dir, dst_name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int copy_entry(int src_dir, const char *src_name, const struct stat *st, int dst_dir, const char *dst_name)
{
    if (S_ISDIR(st->st_mode))
        return copy_dir(src_dir, src_name, st, dst_dir, dst_name);
    if (S_ISREG(st->st_mode))
        return copy_file(src_dir, src_name, st, dst_dir, dst_name);
    return copy_node(src_dir, src_name, st, dst_dir, dst_name);
}

struct tree_copy {
    int dst_root;
    struct map links; /* inode -> path below dst_root */
};

static int copy_children(struct tree_copy *c, int src_fd, int dst_fd, const char *path, int depth);

static int copy_child(struct tree_copy *c, int src_fd, int dst_fd, const char *dir, const char *name,
                      int depth)
{
    struct stat st;
    char key[48];
    CLEANUP(freep) char *path = xasprintf("%s%s%s", dir, *dir != '\0' ? "/" : "", name);
    if (fstatat(src_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
        snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
        const char *first = strmap_get(&c->links, key);
        if (first != NULL)
            return linkat(c->dst_root, first, dst_fd, name, 0) < 0 ? -errno : 0;
        strmap_set(&c->links, key, path);
    }
    if (!S_ISDIR(st.st_mode))
        return copy_entry(src_fd, name, &st, dst_fd, name);
    if (mkdirat(dst_fd, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    CLEANUP(closep) int src = openat(src_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(closep) int dst = openat(dst_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (src < 0 || dst < 0)
        return -errno;
    int r = copy_children(c, src, dst, path, depth + 1);
    return r < 0 ? r : copy_metadata(src, &st, dst); /* times last */
}

static int copy_children(struct tree_copy *c, int src_fd, int dst_fd, const char *path, int depth)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    int r = depth > LIMIT_PATH_DEPTH ? -ENAMETOOLONG : task_check_sys();
    if (r == 0)
        r = list_dir(src_fd, &names);
    for (size_t i = 0; r == 0 && i < names.len; i++)
        r = copy_child(c, src_fd, dst_fd, path, names.v[i], depth);
    return r;
}

int copy_tree(int src_fd, int dst_fd)
{
    struct tree_copy c = { .dst_root = dst_fd };
    strmap_init(&c.links);
    int r = copy_children(&c, src_fd, dst_fd, "", 0);
    map_deinit(&c.links);
    return r;
}
