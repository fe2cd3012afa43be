/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk that is pulled: reading the stream takes one step after the other, so no task and no pipe stand
 * between a directory and the digest of its tar.  File content is read straight into the reader's buffer.
 */
#include "store/layer_tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/vec.h"
#include "oci/tar.h"
#include "task/task.h"

#define CHUNK ((size_t)1 << 20)

/* One open directory of the path that the walk is in. */
struct frame {
    int fd;
    char *text;   /* all names, each with its NUL */
    char **names; /* sorted, into text */
    size_t count, at;
    size_t path_len; /* of the directory's path with its slash */
};

struct layer_tar {
    struct stream base;
    struct frame *frames;
    size_t depth, cap;
    struct buf path;    /* the current directory, "a/b/" */
    struct buf pending; /* header blocks and padding not read yet */
    size_t pending_at;
    int64_t newest_s; /* no time is written that is later */
    int content_fd;
    int64_t content_left;
    size_t padding;   /* behind the content */
    struct map links; /* inode number -> the name that came first */
    bool live;        /* the tree is in use */
    bool plain;       /* no layer: without whiteouts */
    bool ended;
};

/* ---- directories -----------------------------------------------------------------------------------------
 */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(DIR *dir, struct frame *f)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    size_t count = 0;
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (e == NULL)
            break;
        if (streq(e->d_name, ".") || streq(e->d_name, ".."))
            continue;
        buf_add(&text, e->d_name, strlen(e->d_name) + 1);
        count++;
    }
    if (errno != 0)
        return -errno;
    f->text = buf_take(&text);
    f->names = xcalloc(count > 0 ? count : 1, sizeof(char *));
    char *p = f->text;
    for (size_t i = 0; i < count; i++, p += strlen(p) + 1)
        f->names[i] = p;
    f->count = count;
    qsort(f->names, count, sizeof(char *), compare_names);
    return 0;
}

/* Takes fd. */
static int push_dir(struct layer_tar *t, int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    struct frame f = { .fd = fd, .path_len = t->path.len };
    int r = dir == NULL ? -errno : read_names(dir, &f);
    if (dir != NULL)
        closedir(dir);
    else if (copy >= 0)
        close(copy);
    if (r == 0 && t->depth >= LIMIT_PATH_DEPTH)
        r = -ENAMETOOLONG;
    if (r < 0) {
        close(fd);
        free(f.text);
        free(f.names);
        return r;
    }
    if (t->depth == t->cap) {
        t->cap = t->cap > 0 ? t->cap * 2 : 16;
        t->frames = xreallocarray(t->frames, t->cap, sizeof(*t->frames));
    }
    t->frames[t->depth++] = f;
    return 0;
}

static void pop_dir(struct layer_tar *t)
{
    struct frame *f = &t->frames[--t->depth];
    close(f->fd);
    free(f->text);
    free(f->names);
    buf_truncate(&t->path, t->depth > 0 ? t->frames[t->depth - 1].path_len : 0);
}

/* ---- entries ---------------------------------------------------------------------------------------------
 */

static int read_xattr(int fd, const char *name, struct buf *value)
{
    ssize_t n = fgetxattr(fd, name, NULL, 0);
    if (n < 0)
        return errno == ENODATA ? 0 : -errno;
    buf_clear(value);
    buf_reserve(value, (size_t)n + 1);
    n = fgetxattr(fd, name, value->data, (size_t)n);
    if (n < 0)
        return -errno;
    value->len = (size_t)n;
    return 1;
}

/* The attributes that a layer keeps; *ret_opaque for overlayfs's mark. */
static int collect_xattrs(int fd, struct tar_entry *e, bool *ret_opaque)
{
    char list[4096];
    CLEANUP(buf_deinit) struct buf big = { 0 };
    CLEANUP(buf_deinit) struct buf value = { 0 };
    char *names = list;
    ssize_t n = flistxattr(fd, list, sizeof(list));
    if (n < 0 && errno == ERANGE) {
        buf_reserve(&big, 65536);
        names = big.data;
        n = flistxattr(fd, names, 65536);
    }
    if (n <= 0)
        return n < 0 && errno != ENOTSUP ? -errno : 0;
    for (const char *name = names; name < names + n; name += strlen(name) + 1) {
        bool opaque = streq(name, "trusted.overlay.opaque");
        if (!opaque && !streq(name, "security.capability"))
            continue;
        int r = read_xattr(fd, name, &value);
        if (r < 0)
            return r;
        if (opaque)
            *ret_opaque = value.len == 1 && value.data[0] == 'y';
        else if (r > 0 && value.len > 0)
            tar_entry_add_xattr(e, name, value.data, value.len);
    }
    return 0;
}

/* A mark without metadata: ".wh.<name>". */
static void add_mark(struct layer_tar *t, const char *name)
{
    CLEANUP(freep) char *whole = xasprintf("%s.wh.%s", buf_str(&t->path), name);
    struct tar_entry e = { .type = TAR_FILE, .name = whole };
    tar_add_header(&t->pending, &e);
}

/* The name that the inode had first, or NULL after noting this one. Borrowed. */
static const char *link_target(struct layer_tar *t, const struct stat *st, const char *name)
{
    char key[24];
    snprintf(key, sizeof(key), "%llx", (unsigned long long)st->st_ino);
    const char *first = strmap_get(&t->links, key);
    if (first == NULL)
        strmap_set(&t->links, key, name);
    return first;
}

static void fill_entry(struct tar_entry *e, const struct stat *st)
{
    e->mode = st->st_mode & 07777;
    e->uid = st->st_uid;
    e->gid = st->st_gid;
    e->mtime = st->st_mtim.tv_sec;
    switch (st->st_mode & S_IFMT) {
    case S_IFDIR:
        e->type = TAR_DIR;
        break;
    case S_IFLNK:
        e->type = TAR_SYMLINK;
        break;
    case S_IFCHR:
    case S_IFBLK:
        e->type = S_ISCHR(st->st_mode) ? TAR_CHAR : TAR_BLOCKDEV;
        e->dev_major = major(st->st_rdev);
        e->dev_minor = minor(st->st_rdev);
        break;
    case S_IFIFO:
        e->type = TAR_FIFO;
        break;
    default:
        e->type = TAR_FILE;
        e->size = st->st_size;
    }
}

static int read_link(int dir_fd, const char *name, const struct stat *st, char **ret)
{
    size_t cap = (size_t)st->st_size + 2;
    CLEANUP(freep) char *target = xcalloc(1, MAX(cap, (size_t)LIMIT_PATH + 1));
    ssize_t n = readlinkat(dir_fd, name, target, MAX(cap, (size_t)LIMIT_PATH + 1) - 1);
    if (n < 0)
        return -errno;
    *ret = TAKE(target);
    return 0;
}

static int open_entry(const struct frame *f, const char *name, const struct stat *st)
{
    int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (S_ISDIR(st->st_mode) ? O_DIRECTORY : 0);
    int fd = openat(f->fd, name, flags);
    return fd >= 0 ? fd : -errno;
}

/* A file or directory with an open descriptor, which is taken. */
static int add_opened(struct layer_tar *t, struct tar_entry *e, int fd)
{
    bool opaque = false;
    int r = collect_xattrs(fd, e, &opaque);
    if (r < 0) {
        close(fd);
        return r;
    }
    tar_add_header(&t->pending, e);
    if (e->type == TAR_DIR) {
        buf_clear(&t->path);
        buf_adds(&t->path, e->name);
        if (opaque)
            add_mark(t, ".wh..opq");
        return push_dir(t, fd);
    }
    if (e->type == TAR_FILE && e->size > 0) {
        t->content_fd = fd;
        t->content_left = e->size;
        t->padding = tar_padding(e->size);
        return 0;
    }
    close(fd);
    return 0;
}

static int add_entry(struct layer_tar *t, const struct frame *f, const char *name, const struct stat *st)
{
    CLEANUP(tar_entry_deinit) struct tar_entry e = { 0 };
    fill_entry(&e, st);
    e.mtime = MIN(e.mtime, t->newest_s);
    e.name = xasprintf("%s%s%s", buf_str(&t->path), name, e.type == TAR_DIR ? "/" : "");
    int r = 0;
    int fd = -1;
    if (S_ISLNK(st->st_mode))
        r = read_link(f->fd, name, st, &e.linkname);
    else if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))
        r = fd = open_entry(f, name, st);
    if (r < 0)
        return r;
    if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
        const char *first = link_target(t, st, e.name);
        if (first != NULL) {
            e.type = TAR_HARDLINK;
            e.size = 0;
            free(e.linkname);
            e.linkname = xstrdup(first);
        }
    }
    if (fd >= 0)
        return add_opened(t, &e, fd);
    tar_add_header(&t->pending, &e);
    return 0;
}

/* One step of the walk: something pending, a content to read, or the end. */
static int step(struct layer_tar *t)
{
    struct stat st;
    if (t->depth == 0) {
        tar_add_end(&t->pending);
        t->ended = true;
        return 0;
    }
    struct frame *f = &t->frames[t->depth - 1];
    if (f->at == f->count) {
        pop_dir(t);
        return 0;
    }
    const char *name = f->names[f->at++];
    if (fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return t->live && errno == ENOENT ? 0 : -errno;
    if (S_ISSOCK(st.st_mode))
        return 0;
    if (!t->plain && S_ISCHR(st.st_mode) && st.st_rdev == 0) {
        add_mark(t, name);
        return 0;
    }
    int r = add_entry(t, f, name, &st);
    bool vanished = t->live && (r == -ENOENT || r == -ELOOP || r == -ENOTDIR || r == -ENXIO);
    return vanished ? 0 : r;
}

/* ---- the stream ------------------------------------------------------------------------------------------
 */

static ssize_t read_content(struct layer_tar *t, void *buf, size_t cap)
{
    static const char zeros[TAR_BLOCK];
    ssize_t n = read(t->content_fd, buf, (size_t)MIN((int64_t)cap, t->content_left));
    if (n == 0 && t->live) {
        n = MIN((int64_t)cap, t->content_left);
        memset(buf, 0, (size_t)n);
    }
    if (n <= 0)
        return n < 0 ? -errno : -EIO; /* a layer does not shrink */
    t->content_left -= n;
    if (t->content_left == 0) {
        close(TAKE_FD(t->content_fd));
        buf_add(&t->pending, zeros, t->padding);
    }
    return n;
}

/* As much as fits, so that a digest is not fed block by block. */
static ssize_t tar_read(struct stream *base, void *buf, size_t cap)
{
    struct layer_tar *t = CONTAINER_OF(base, struct layer_tar, base);
    char *p = buf;
    size_t have = 0;
    while (have < cap) {
        size_t pending = t->pending.len - t->pending_at;
        ssize_t n;
        if (pending > 0) {
            n = (ssize_t)MIN(pending, cap - have);
            memcpy(p + have, t->pending.data + t->pending_at, (size_t)n);
            t->pending_at += (size_t)n;
            if (t->pending_at == t->pending.len) {
                buf_clear(&t->pending);
                t->pending_at = 0;
            }
        } else if (t->content_fd >= 0) {
            n = read_content(t, p + have, cap - have);
        } else if (t->ended) {
            break;
        } else {
            n = step(t);
        }
        if (n < 0)
            return have > 0 && n == -EINTR ? (ssize_t)have : n;
        have += (size_t)n;
    }
    int r = task_check_sys();
    return r < 0 ? r : (ssize_t)have;
}

static ssize_t tar_write(struct stream *base, const void *buf, size_t len)
{
    return -EBADF;
}

static int tar_shut(struct stream *base)
{
    return 0;
}

static void tar_close(struct stream *base)
{
    struct layer_tar *t = CONTAINER_OF(base, struct layer_tar, base);
    while (t->depth > 0)
        pop_dir(t);
    if (t->content_fd >= 0)
        close(t->content_fd);
    free(t->frames);
    buf_deinit(&t->path);
    buf_deinit(&t->pending);
    map_deinit(&t->links);
    free(t);
}

static const struct stream_ops tar_ops = {
    .read = tar_read, .write = tar_write, .shut = tar_shut, .close = tar_close
};

struct error *layer_tar_open(int dir_fd, struct stream **ret)
{
    return layer_tar_open_clamped(dir_fd, INT64_MAX, ret);
}

static struct layer_tar *tar_new(int64_t newest_s)
{
    struct layer_tar *t = NEW(struct layer_tar);
    t->base.ops = &tar_ops;
    t->newest_s = newest_s;
    t->content_fd = -1;
    strmap_init(&t->links);
    return t;
}

/* The directory itself, below which all others are. */
static int add_prefix(struct layer_tar *t, int dir_fd, const char *prefix, bool shown)
{
    CLEANUP(tar_entry_deinit) struct tar_entry e = { 0 };
    struct stat st;
    bool opaque;
    if (fstat(dir_fd, &st) < 0)
        return -errno;
    fill_entry(&e, &st);
    e.name = xasprintf("%s/", prefix);
    buf_adds(&t->path, e.name);
    int r = shown ? collect_xattrs(dir_fd, &e, &opaque) : 0;
    if (r == 0 && shown)
        tar_add_header(&t->pending, &e);
    return r;
}

/* The first frame holds that name alone. */
static void keep_only(struct frame *f, const char *only)
{
    f->count = f->at = 0;
    free(f->text);
    f->text = xstrdup(only);
    free(f->names);
    f->names = xcalloc(1, sizeof(char *));
    f->names[f->count++] = f->text;
}

struct error *tree_tar_open(int dir_fd, const char *prefix, const char *only, struct stream **ret)
{
    struct layer_tar *t = tar_new(INT64_MAX);
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = fd < 0 ? -errno : 0;
    t->live = t->plain = true;
    if (r == 0 && *prefix != '\0') {
        r = add_prefix(t, fd, prefix, only == NULL);
        if (r < 0)
            close(fd);
    }
    if (r == 0)
        r = push_dir(t, fd);
    if (r < 0) {
        tar_close(&t->base);
        return err_sys(-r, "read a directory");
    }
    if (only != NULL)
        keep_only(&t->frames[0], only);
    *ret = &t->base;
    return NULL;
}

struct error *layer_tar_open_clamped(int dir_fd, int64_t newest_s, struct stream **ret)
{
    struct layer_tar *t = tar_new(newest_s);
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 ? -errno : push_dir(t, fd);
    if (r < 0) {
        tar_close(&t->base);
        return err_sys(-r, "read a layer's directory");
    }
    *ret = &t->base;
    return NULL;
}

struct error *layer_tar_open_live(int dir_fd, struct stream **ret)
{
    TRY(layer_tar_open(dir_fd, ret));
    CONTAINER_OF(*ret, struct layer_tar, base)->live = true;
    return NULL;
}

struct error *layer_tar_digest(int dir_fd, struct digest *ret, int64_t *ret_size)
{
    CLEANUP(stream_closep) struct stream *in = NULL;
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    CLEANUP(freep) char *chunk = xmalloc(CHUNK);
    int64_t size = 0;
    ssize_t n;
    TRY(layer_tar_open(dir_fd, &in));
    while ((n = stream_read(in, chunk, CHUNK)) > 0) {
        hasher_add(h, chunk, (size_t)n);
        size += n;
    }
    if (n < 0)
        return task_error((int)n, "read a layer's directory");
    *ret = hasher_sum(h);
    *ret_size = size;
    return NULL;
}
