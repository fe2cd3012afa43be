/* SPDX-License-Identifier: Apache-2.0 */
#include "io/path.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/vec.h"
#include "io/stream.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RACE_RETRIES 64 /* openat2 answers EAGAIN while somebody renames around the path */
#define LINKS_MAX 255   /* symlinks followed in one path_resolve */
#define REMOVE_DEPTH                                                                                         \
    32 /* deeper directories are first moved up, so that neither stack nor descriptors run out */

void fd_path(char dst[32], int fd)
{
    snprintf(dst, 32, "/proc/self/fd/%d", fd);
}

static int open_how(int root_fd, const char *path, int flags, mode_t mode, uint64_t resolve)
{
    struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC), .resolve = resolve };

    if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE)
        how.mode = mode & 07777;
    for (int attempt = 0;; attempt++) {
        long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

        if (fd >= 0)
            return (int)fd;
        if ((errno != EAGAIN && errno != EINTR) || attempt == RACE_RETRIES)
            return -errno;
    }
}

int path_open(int root_fd, const char *path, int flags, mode_t mode)
{
    return open_how(root_fd, path[0] != '\0' ? path : ".", flags, mode,
                    RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int path_stat(int root_fd, const char *path, bool follow, struct stat *ret)
{
    CLEANUP(closep) int fd = path_open(root_fd, path, O_PATH | (follow ? 0 : O_NOFOLLOW), 0);

    if (fd < 0)
        return fd;
    return fstat(fd, ret) < 0 ? -errno : 0;
}

/* The target of the symlink that `fd` (O_PATH) is; -EINVAL for anything else. */
static int read_link_fd(int fd, char **ret)
{
    char target[LIMIT_PATH + 1];
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISLNK(st.st_mode))
        return -EINVAL;
    ssize_t n = readlinkat(fd, "", target, sizeof(target));

    if (n < 0)
        return -errno;
    if ((size_t)n == sizeof(target))
        return -ENAMETOOLONG;
    *ret = xstrndup(target, (size_t)n);
    return 0;
}

int path_readlink(int root_fd, const char *path, char **ret)
{
    CLEANUP(closep) int fd = path_open(root_fd, path, O_PATH | O_NOFOLLOW, 0);

    return fd < 0 ? fd : read_link_fd(fd, ret);
}

/* ---- resolve ---- */

struct walk {
    int root_fd;
    char *done; /* clean and absolute; holds no symlink as far as it exists */
    char *rest; /* what is still to be walked */
    int links;
};

static void walk_deinit(struct walk *w)
{
    free(w->done);
    free(w->rest);
}

static void replace(char **slot, char *with)
{
    free(*slot);
    *slot = with;
}

/* Take one component off `rest` and put it behind `done`. */
static int walk_step(struct walk *w)
{
    size_t len = strcspn(w->rest, "/");
    CLEANUP(freep) char *name = xstrndup(w->rest, len), *next = NULL, *target = NULL;
    const char *behind = w->rest + len;

    replace(&w->rest, xstrdup(behind + strspn(behind, "/")));
    next = path_join(w->done, name); /* ".." goes up, and not above the root */
    if (len == 0 || streq(name, ".") || streq(name, "..")) {
        replace(&w->done, TAKE(next));
        return 0;
    }
    int r = path_readlink(w->root_fd, next, &target);

    if (r == -EINVAL || r == -ENOENT || r == -ENOTDIR) {
        replace(&w->done, TAKE(next));
        return 0;
    }
    if (r < 0)
        return r;
    if (++w->links > LINKS_MAX)
        return -ELOOP;
    if (target[0] == '/')
        replace(&w->done, xstrdup("/"));
    replace(&w->rest, xasprintf("%s/%s", target + strspn(target, "/"), w->rest));
    return strlen(w->rest) > 2 * LIMIT_PATH ? -ENAMETOOLONG : 0;
}

int path_resolve(int root_fd, const char *path, char **ret)
{
    CLEANUP(walk_deinit) struct walk w = { .root_fd = root_fd, .done = xstrdup("/") };

    if (strlen(path) > LIMIT_PATH)
        return -ENAMETOOLONG;
    w.rest = xstrdup(path + strspn(path, "/"));
    while (w.rest[0] != '\0') {
        int r = walk_step(&w);

        if (r < 0)
            return r;
    }
    *ret = TAKE(w.done);
    return 0;
}

/* ---- directories ---- */

/* One more directory below `dir_fd`, made when missing; never through a symlink. */
static int enter_or_make(int dir_fd, const char *name, mode_t mode)
{
    if (mkdirat(dir_fd, name, mode) < 0 && errno != EEXIST)
        return -errno;
    return open_how(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0,
                    RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

int path_mkdirs(int root_fd, const char *path, mode_t mode)
{
    CLEANUP(freep) char *resolved = NULL;
    CLEANUP(strv_deinit) struct strv names = { 0 };
    int fd = path_open(root_fd, path, O_PATH | O_DIRECTORY, 0);

    if (fd != -ENOENT)
        return fd;
    int r =
        path_resolve(root_fd, path, &resolved); /* so that a link that points nowhere yet gets its target */

    if (r < 0)
        return r;
    strv_split(&names, resolved + 1, '/');
    fd = path_open(root_fd, "/", O_PATH | O_DIRECTORY, 0);
    for (size_t i = 0; i < names.len && fd >= 0; i++) {
        CLEANUP(closep) int outer = fd;

        fd = enter_or_make(outer, names.v[i], mode);
    }
    return fd;
}

int path_open_parent(int root_fd, const char *path, bool make_parents, mode_t mode, char **ret_base)
{
    CLEANUP(freep) char *clean = path_join("/", path), *dir = path_dir(clean);
    int fd =
        make_parents ? path_mkdirs(root_fd, dir, mode) : path_open(root_fd, dir, O_PATH | O_DIRECTORY, 0);

    if (fd >= 0)
        *ret_base = streq(clean, "/") ? xstrdup(".") : path_base(clean);
    return fd;
}

int make_dirs(const char *path, mode_t mode)
{
    CLEANUP(freep) char *clean = path_clean(path);

    for (char *slash = clean + 1;; slash++) {
        slash = strchrnul(slash, '/');
        char saved = *slash;

        *slash = '\0';
        if (mkdir(clean, mode) < 0 && errno != EEXIST)
            return -errno;
        *slash = saved;
        if (saved == '\0')
            break;
    }
    struct stat st;

    if (stat(clean, &st) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* ---- files ---- */

static int chmod_no_links(int dir_fd, const char *name, mode_t mode)
{
    CLEANUP(closep) int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    char path[32];

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (S_ISLNK(st.st_mode))
        return -EOPNOTSUPP;
    fd_path(path, fd);
    return chmod(path, mode) < 0 ? -errno : 0;
}

int path_chmod(int dir_fd, const char *name, mode_t mode)
{
#ifdef SYS_fchmodat2 /* Linux 6.6; a filter that does not know it may say EPERM */
    if (syscall(SYS_fchmodat2, dir_fd, name, mode, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    if (errno != ENOSYS && errno != EPERM)
        return -errno;
#endif
    return chmod_no_links(dir_fd, name, mode);
}

static int read_to_end(int fd, struct buf *out, size_t limit)
{
    struct stat st;
    size_t start = out->len;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size > 0 && (uint64_t)st.st_size > limit)
        return -EFBIG;
    for (;;) {
        size_t done = out->len - start,
               room = MIN(limit - done + 1, MAX((size_t)st.st_size + 1, (size_t)4096));

        buf_reserve(out, room);
        ssize_t n = read(fd, out->data + out->len, room);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            out->data[out->len] = '\0';
            return n < 0 ? -errno : 0;
        }
        out->len += (size_t)n;
        out->data[out->len] = '\0';
        if (out->len - start > limit) {
            buf_truncate(out, start);
            return -EFBIG;
        }
    }
}

int path_read_file(int root_fd, const char *path, struct buf *out, size_t limit)
{
    CLEANUP(closep) int handle = path_open(root_fd, path, O_PATH, 0);
    struct stat st;
    char self[32];

    if (handle < 0)
        return handle;
    if (fstat(handle, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EINVAL; /* a device or a FIFO is not even opened */
    fd_path(self, handle);
    CLEANUP(closep) int fd = open(self, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : read_to_end(fd, out, limit);
}

int file_read(const char *path, struct buf *out, size_t limit)
{
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : read_to_end(fd, out, limit);
}

static int sync_dir(int dir_fd)
{
    CLEANUP(closep)
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* dir_fd may be O_PATH */

    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int file_write_atomic(int dir_fd, const char *name, const void *data, size_t len, mode_t mode)
{
    char random[17], temporary[32];

    random_hex(random, 8);
    snprintf(temporary, sizeof(temporary), ".tmp-%s", random);
    CLEANUP(closep) int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    int r = fd_write_all(fd, data, len);

    if (r == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0 || renameat(dir_fd, temporary, dir_fd, name) < 0))
        r = -errno;
    if (r < 0) {
        (void)unlinkat(dir_fd, temporary, 0); /* the first failure is the one to tell */
        return r;
    }
    return sync_dir(dir_fd);
}

/* ---- removing trees ---- */

struct removal {
    int top_fd; /* the directory that is removed */
};

static int empty_dir(struct removal *rm, int fd, int depth);

static void closedirp(DIR **dir)
{
    if (*dir != NULL)
        closedir(*dir);
}

static int lift(struct removal *rm, int dir_fd, const char *name)
{
    char lifted[32];

    random_hex(lifted, 12);
    return renameat(dir_fd, name, rm->top_fd, lifted) < 0 ? -errno : 0;
}

static int remove_dir(struct removal *rm, int dir_fd, const char *name, int depth)
{
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return -errno;
    if (depth >= REMOVE_DEPTH)
        return lift(rm, dir_fd, name);
    int fd = open_how(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
                      RESOLVE_NO_XDEV | RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    int r = empty_dir(rm, fd, depth);

    if (r < 0)
        return r;
    return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}

static int remove_entry(struct removal *rm, int dir_fd, const char *name, unsigned char type, int depth)
{
    if (type != DT_DIR) {
        if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
            return 0;
        if (errno != EISDIR && errno != EPERM)
            return -errno;
    }
    return remove_dir(rm, dir_fd, name, depth + 1);
}

/* Remove all below `fd` (taken).  Lifted directories show up in the top directory, so that is read until
 * nothing is left. */
static int empty_dir(struct removal *rm, int fd, int depth)
{
    CLEANUP(closedirp) DIR *dir = fdopendir(fd);
    size_t removed;

    if (dir == NULL) {
        int r = -errno;

        (void)close(fd);
        return r;
    }
    do {
        removed = 0;
        rewinddir(dir);
        for (const struct dirent *entry; errno = 0, (entry = readdir(dir)) != NULL;) {
            if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
                continue;
            int r = remove_entry(rm, fd, entry->d_name, entry->d_type, depth);

            if (r < 0)
                return r;
            removed++;
        }
        if (errno != 0)
            return -errno;
    } while (removed > 0 && depth == 0);
    return 0;
}

int path_remove_all(int dir_fd, const char *name)
{
    struct removal rm;

    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    rm.top_fd = open_how(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0,
                         RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS);
    if (rm.top_fd < 0)
        return rm.top_fd == -ENOENT ? 0 : rm.top_fd;
    int r = empty_dir(&rm, rm.top_fd, 0);

    if (r < 0)
        return r;
    return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}
