/* SPDX-License-Identifier: Apache-2.0 */
#include "op/unpack.h"

#include "base/limits.h"
#include "io/path.h"
#include "oci/compress.h"
#include "oci/tar.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

struct dir_time {
    char *path;
    struct timespec mtime;
};

struct unpacker {
    struct tar_reader *reader;
    int root;
    const struct file_owner *owner;
    bool keep_kind;
    struct dir_time *dirs; /* their times are set last */
    size_t dir_count;
    char *block;
};

static struct error *entry_error(int r, const struct tar_entry *e)
{
    return copy_path_err(r, "unpack", e->name);
}

/* Attributes are best effort: a filesystem may not have them. */
static void set_xattrs(const char *path, const struct tar_entry *e)
{
    for (size_t i = 0; i < e->xattr_count; i++)
        if (!str_has_prefix(e->xattrs[i].name, "trusted.overlay."))
            (void)!setxattr(path, e->xattrs[i].name, e->xattrs[i].value, e->xattrs[i].len, 0);
}

/* All by a descriptor: what is unpacked into may be a running container's, whose processes put links where a
 * file was made a moment ago, and a link is followed on the host. */
static struct error *set_meta(struct unpacker *u, int dir, const char *base, const struct tar_entry *e)
{
    struct file_owner owner =
        u->owner != NULL ? *u->owner : (struct file_owner){ (uint32_t)e->uid, (uint32_t)e->gid };
    struct timespec t[2] = { { e->mtime, e->mtime_nsec }, { e->mtime, e->mtime_nsec } };
    CLEANUP(closep) int fd = openat(dir, base, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    char path[32];

    if (fd < 0 || fstat(fd, &st) < 0)
        return entry_error(-errno, e);
    if ((st.st_uid != owner.uid || st.st_gid != owner.gid) &&
        fchownat(fd, "", owner.uid, owner.gid, AT_EMPTY_PATH) < 0)
        return entry_error(-errno, e);
    fd_path(path, fd);
    if (!S_ISLNK(st.st_mode)) { /* by its entry or, behind a hard link, by itself */
        set_xattrs(path, e);
        if (chmod(path, e->mode & 07777) < 0)
            return entry_error(-errno, e);
    }
    if (e->type == TAR_HARDLINK && S_ISLNK(st.st_mode))
        return NULL;
    if (e->type != TAR_DIR && utimensat(dir, base, t, AT_SYMLINK_NOFOLLOW) < 0)
        return entry_error(-errno, e);
    return NULL;
}

static struct error *check_kind(const struct unpacker *u, int dir, const char *base,
                                const struct tar_entry *e)
{
    struct stat st;

    if (!u->keep_kind || fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        S_ISDIR(st.st_mode) == (e->type == TAR_DIR))
        return NULL;
    return S_ISDIR(st.st_mode)
               ? err_new(ERR_INVALID, "cannot overwrite directory \"%s\" with non-directory", e->name)
               : err_new(ERR_INVALID, "cannot overwrite non-directory \"%s\" with directory", e->name);
}

/* What lies at the path goes, unless a directory meets a directory. */
static int clear(int dir, const char *base, const struct tar_entry *e, bool *ret_keep)
{
    struct stat st;

    *ret_keep = false;
    if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    *ret_keep = S_ISDIR(st.st_mode) && e->type == TAR_DIR;
    return *ret_keep ? 0 : path_remove_all(dir, base);
}

static struct error *write_data(struct unpacker *u, int fd, const struct tar_entry *e)
{
    off_t at = 0;

    for (;;) {
        int64_t hole = tar_reader_skip_hole(u->reader);
        ssize_t n = hole > 0 ? 0 : tar_reader_read(u->reader, u->block, 128 * KIB);

        at += hole;
        if (hole > 0)
            continue;
        if (n < 0)
            return entry_error((int)n, e);
        if (n == 0)
            break;
        for (ssize_t done = 0; done < n;) {
            ssize_t w = pwrite(fd, u->block + done, (size_t)(n - done), at);

            if (w < 0 && errno != EINTR)
                return entry_error(-errno, e);
            done += MAX(w, 0);
            at += MAX(w, 0);
        }
        TRY(task_check());
    }
    return ftruncate(fd, at) < 0 ? entry_error(-errno, e) : NULL;
}

static struct error *make_file(struct unpacker *u, int dir, const char *base, const struct tar_entry *e)
{
    CLEANUP(closep) int fd = openat(dir, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return entry_error(-errno, e);
    return write_data(u, fd, e);
}

static int make_hardlink(struct unpacker *u, int dir, const char *base, const struct tar_entry *e)
{
    CLEANUP(freep) char *name = NULL;
    int from = path_open_parent(u->root, e->linkname, false, 0, &name), r;

    if (from < 0)
        return from;
    r = linkat(from, name, dir, base, 0) < 0 ? -errno : 0;
    close(from);
    return r;
}

static struct error *make_entry(struct unpacker *u, int dir, const char *base, const struct tar_entry *e,
                                bool there)
{
    int r = 0;

    switch (e->type) {
    case TAR_FILE:
        return make_file(u, dir, base, e);
    case TAR_DIR:
        r = there || mkdirat(dir, base, 0700) == 0 ? 0 : -errno;
        break;
    case TAR_SYMLINK:
        r = symlinkat(e->linkname, dir, base) < 0 ? -errno : 0;
        break;
    case TAR_HARDLINK:
        r = make_hardlink(u, dir, base, e);
        break;
    case TAR_CHAR:
    case TAR_BLOCKDEV:
    case TAR_FIFO: {
        mode_t kind = e->type == TAR_CHAR ? S_IFCHR : e->type == TAR_FIFO ? S_IFIFO : S_IFBLK;

        r = mknodat(dir, base, kind | 0600, makedev(e->dev_major, e->dev_minor)) < 0 ? -errno : 0;
        break;
    }
    }
    return r < 0 ? entry_error(r, e) : NULL;
}

static void note_dir(struct unpacker *u, const struct tar_entry *e)
{
    u->dirs = xreallocarray(u->dirs, u->dir_count + 1, sizeof *u->dirs);
    u->dirs[u->dir_count++] = (struct dir_time){ xstrdup(e->name), { e->mtime, e->mtime_nsec } };
}

static struct error *unpack_entry(struct unpacker *u, const struct tar_entry *e)
{
    CLEANUP(freep) char *base = NULL;
    CLEANUP(closep) int dir = -1;
    bool there = true;
    int r;

    if (strlen(e->name) > LIMIT_PATH)
        return err_new(ERR_INVALID, "unpack: path too long");
    r = dir = path_open_parent(u->root, e->name, true, 0755, &base);
    if (r < 0)
        return entry_error(r, e);
    if (streq(base, ".")) /* the destination keeps its own owner and mode, as everywhere */
        return NULL;
    TRY(check_kind(u, dir, base, e));
    r = clear(dir, base, e, &there);
    if (r < 0)
        return entry_error(r, e);
    TRY(make_entry(u, dir, base, e, there));
    if (e->type == TAR_DIR)
        note_dir(u, e);
    return set_meta(u, dir, base, e); /* of a hard link as well: what is said last counts */
}

static void set_dir_times(struct unpacker *u)
{
    while (u->dir_count > 0) {
        struct dir_time *d = &u->dirs[--u->dir_count];
        CLEANUP(closep) int fd = path_open(u->root, d->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        struct timespec t[2] = { d->mtime, d->mtime };

        if (fd >= 0)
            (void)!futimens(fd, t); /* gone or replaced since: nothing to set */
        free(d->path);
    }
    free(u->dirs);
}

static struct error *unpack_tar(struct stream *tar, int root, const struct unpack_options *o)
{
    CLEANUP(freep) char *block = xmalloc(128 * KIB);
    struct unpacker u = { .reader = tar_reader_new(tar),
                          .root = root,
                          .owner = o->owner,
                          .keep_kind = o->keep_kind,
                          .block = block };
    struct tar_entry *entry;
    struct error *e;

    while ((e = tar_reader_next(u.reader, &entry)) == NULL && entry != NULL &&
           (e = unpack_entry(&u, entry)) == NULL)
        ;
    set_dir_times(&u);
    tar_reader_free(u.reader);
    return e;
}

struct error *op_unpack_into(struct stream *archive, int root_fd, const struct unpack_options *o)
{
    CLEANUP(stream_closep) struct stream *plain = NULL;

    TRY(decompress_stream(archive, &plain));
    return unpack_tar(plain, root_fd, o);
}

struct error *op_unpack_archive(struct stream *archive, int root_fd, const struct file_owner *owner)
{
    return op_unpack_into(archive, root_fd, &(struct unpack_options){ .owner = owner });
}

/* Does the file begin like an archive?  A file that cannot be read as one is simply a file. */
static bool is_archive(int fd)
{
    CLEANUP(stream_closep) struct stream *plain = NULL;
    struct tar_reader *r;
    struct tar_entry *entry = NULL;
    struct error *e = decompress_stream(stream_from_fd(fcntl(fd, F_DUPFD_CLOEXEC, 3)), &plain);

    if (e == NULL) {
        r = tar_reader_new(plain);
        e = tar_reader_next(r, &entry);
        tar_reader_free(r);
    }
    bool is = e == NULL && entry != NULL;

    err_free(e);
    return is;
}

/* A packed file is read from memory. */
static int open_packed(const struct copy_packed *p, int src_root, const char *src)
{
    CLEANUP(freep) char *real = NULL;
    CLEANUP(freep) char *bytes = NULL;
    CLEANUP(closep) int fd = -1;
    struct copy_packed_file f;
    int r = path_resolve(src_root, src, &real);

    if (r < 0)
        return r;
    if (!p->find(p->ctx, real + strspn(real, "/"), &f))
        return -ENOENT;
    bytes = xmalloc(COPY_PACKED_MAX);
    r = p->read(p->ctx, f.id, bytes);
    if (r < 0)
        return r;
    fd = memfd_create("archive", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = fd_write_all(fd, bytes, f.size);
    if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
        r = -errno;
    return r < 0 ? r : TAKE_FD(fd);
}

/* A negative number when it is no regular file that can be read. */
static int open_file(int src_root, const char *src, const struct copy_packed *packed)
{
    CLEANUP(closep) int fd = -1;
    struct stat st;

    if (path_stat(src_root, src, true, &st) < 0)
        return packed != NULL ? open_packed(packed, src_root, src) : -ENOENT;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    fd = path_open(src_root, src, O_RDONLY | O_NONBLOCK, 0);
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? TAKE_FD(fd) : -EINVAL;
}

struct error *unpack_if_archive(int src_root, const char *src, int dst_root, const char *dst,
                                const struct copy_options *o, bool *ret_unpacked)
{
    CLEANUP(closep) int fd = open_file(src_root, src, o->packed);
    CLEANUP(closep) int dir = -1;

    *ret_unpacked = false;
    if (fd < 0 || !is_archive(fd))
        return NULL;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(errno, "read %s", src);
    TRY(copy_mkdirs(dst_root, dst, 0755, o->owner, o->timestamp_ns));
    dir = path_open(dst_root, dst, O_RDONLY | O_DIRECTORY, 0);
    TRY_SYS(dir, "open %s", dst);
    TRY(op_unpack_archive(stream_from_fd(TAKE_FD(fd)), dir, o->owner));
    *ret_unpacked = true;
    return NULL;
}
