/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/files.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "session/sync.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static struct error *path_error(int r, const char *what, const char *path)
{
    if (r == -ENOENT || r == -ENOTDIR)
        return err_new(ERR_NOT_FOUND, "%s %s: no such file or directory", what, path);
    return err_sys(-r, "%s %s", what, path);
}

static struct error *read_range(int fd, const char *path, int64_t size, const struct read_file_options *o,
                                struct buf *out)
{
    int64_t offset = o == NULL ? 0 : o->offset, want = size - offset;
    bool ranged = o != NULL && o->length > 0;

    if (offset < 0 || (o != NULL && o->length < 0))
        return err_new(ERR_INVALID, "invalid range for %s", path);
    if (ranged)
        want = MIN(want, MIN(o->length, (int64_t)LIMIT_CONTROL_FILE + 1));
    if (want <= 0)
        return NULL;
    if (want > (int64_t)LIMIT_CONTROL_FILE + (ranged ? 1 : 0))
        return err_new(ERR_EXHAUSTED, "%s exceeds maximum allowed size of %zu bytes", path,
                       LIMIT_CONTROL_FILE);
    buf_reserve(out, (size_t)want);
    while (want > 0) {
        char chunk[65536];
        ssize_t n = pread(fd, chunk, MIN((size_t)want, sizeof(chunk)), offset);
        if (n < 0)
            return err_sys(errno, "read %s", path);
        if (n == 0)
            break;
        buf_add(out, chunk, (size_t)n);
        want -= n;
        offset += n;
    }
    return NULL;
}

struct error *files_read(int root, const char *path, const struct read_file_options *o, struct buf *out)
{
    CLEANUP(closep) int at = -1;
    CLEANUP(closep) int fd = -1;
    char name[32];
    struct stat st;

    if (o != NULL && (o->offset < 0 || o->length < 0))
        return err_new(ERR_INVALID, "invalid range for %s", path);
    at = path_open(root, path, O_PATH, 0);
    if (at < 0)
        return path_error(at, "open", path);
    if (fstat(at, &st) < 0)
        return err_sys(errno, "stat %s", path);
    if (!S_ISREG(st.st_mode)) /* type first: a FIFO or a device is never opened */
        return err_new(ERR_INVALID, "open %s: not a regular file", path);
    fd_path(name, at);
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(errno, "open %s", path);
    return read_range(fd, path, st.st_size, o, out);
}

static void fill_stat(struct file_stat *ret, const char *name, const struct stat *st, char *linkname)
{
    *ret = (struct file_stat){
        .path = xstrdup(name),
        .mode = go_mode_from_stat(st->st_mode),
        .uid = st->st_uid,
        .gid = st->st_gid,
        .size = S_ISDIR(st->st_mode) ? 0 : st->st_size,
        .mtime_ns = st->st_mtim.tv_sec * NS_PER_SEC + st->st_mtim.tv_nsec,
        .linkname = linkname,
    };
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
        ret->devmajor = major(st->st_rdev);
        ret->devminor = minor(st->st_rdev);
    }
}

static struct error *stat_itself(int root, const char *path, struct file_stat *ret)
{
    CLEANUP(freep) char *base = NULL;
    char *link = NULL;
    struct stat st;
    int r;

    r = path_stat(root, path, false, &st);
    if (r < 0)
        return path_error(r, "lstat", path);
    if (S_ISLNK(st.st_mode) && (r = path_readlink(root, path, &link)) < 0)
        return path_error(r, "readlink", path);
    base = path_base(path);
    fill_stat(ret, base, &st, link);
    return NULL;
}

struct error *files_stat(int root, const char *path, struct file_stat *ret)
{
    CLEANUP(freep) char *real = NULL;
    CLEANUP(freep) char *base = NULL;
    struct stat st;
    int r = path_resolve(root, path, &real);

    if (r == 0)
        r = path_stat(root, real, false, &st);
    if (r < 0)
        return r == -ELOOP ? err_new(ERR_INVALID, "too many links") : path_error(r, "lstat", path);
    base = path_base(real);
    fill_stat(ret, base, &st, NULL);
    return NULL;
}

struct listing {
    struct file_stat *v;
    size_t len, cap;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file_stat *)a)->path, ((const struct file_stat *)b)->path);
}

static struct error *list_dir(DIR *d, const char *path, const char *include, struct listing *l)
{
    struct dirent *de;

    while (errno = 0, (de = readdir(d)) != NULL) {
        char target[LIMIT_PATH];
        struct stat st;
        char *link = NULL;
        if (streq(de->d_name, ".") || streq(de->d_name, ".."))
            continue;
        if (include != NULL && include[0] != '\0') {
            int m = path_match(include, de->d_name);
            if (m < 0)
                return err_new(ERR_INVALID, "invalid pattern %s: syntax error in pattern", include);
            if (m == 0)
                continue;
        }
        if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return err_sys(errno, "lstat %s/%s", path, de->d_name);
        if (S_ISLNK(st.st_mode)) {
            ssize_t n = readlinkat(dirfd(d), de->d_name, target, sizeof(target) - 1);
            if (n >= 0)
                link = xstrndup(target, (size_t)n);
        }
        if (l->len == LIMIT_READ_DIR) {
            free(link);
            return err_new(ERR_EXHAUSTED, "directory %s has more than %d entries", path, LIMIT_READ_DIR);
        }
        if (l->len == l->cap) {
            l->cap = MAX((size_t)16, l->cap * 2);
            l->v = xreallocarray(l->v, l->cap, sizeof(*l->v));
        }
        fill_stat(&l->v[l->len++], de->d_name, &st, link);
    }
    return errno == 0 ? NULL : err_sys(errno, "read directory %s", path);
}

struct error *files_list(int root, const char *path, const char *include, struct file_stat **ret,
                         size_t *ret_count)
{
    struct listing l = { 0 };
    struct error *e;
    DIR *d;
    int fd;

    fd = path_open(root, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return path_error(fd, "open", path);
    d = fdopendir(fd);
    if (d == NULL) {
        e = err_sys(errno, "open %s", path);
        close(fd);
        return e;
    }
    e = list_dir(d, path, include, &l);
    closedir(d);
    if (e != NULL) {
        for (size_t i = 0; i < l.len; i++)
            file_stat_deinit(&l.v[i]);
        free(l.v);
        return e;
    }
    if (l.len > 0)
        qsort(l.v, l.len, sizeof(*l.v), by_name);
    *ret = l.v;
    *ret_count = l.len;
    return NULL;
}

struct error *files_stat_through(int root, const char *path, struct file_stat *ret)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS };
    CLEANUP(freep) char *clean = path_clean(path);
    CLEANUP(freep) char *base = path_base(path);
    struct stat st;

    if (clean[0] != '/')
        return err_new(ERR_INVALID, "can't make %s relative to /", path);
    CLEANUP(closep)
    int fd = (int)syscall(SYS_openat2, root, clean[1] != '\0' ? clean + 1 : ".", &how, sizeof(how));

    if (fd < 0 && errno == EXDEV) /* the client knows what else is mounted there */
        return stat_itself(root, path, ret);
    if (fd < 0)
        return path_error(-errno, "stat", path);
    if (fstat(fd, &st) < 0)
        return err_sys(errno, "stat %s", path);
    fill_stat(ret, base, &st, NULL);
    return NULL;
}
