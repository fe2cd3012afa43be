/* SPDX-License-Identifier: Apache-2.0 */
/* copy_meta.c - owner, mode, times and attributes of a copy's entries; what errors call them */
#include "op/copier.h"

#include "io/copy.h"
#include "io/path.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The current entry as seen from its root. */
static char *src_name(const struct copier *c)
{
    return path_join(c->src_path, buf_str(&c->path));
}

char *copier_dst_name(const struct copier *c)
{
    return path_join(c->dst_path, buf_str(&c->path));
}

struct error *copier_src_err(const struct copier *c, int r, const char *op)
{
    CLEANUP(freep) char *name = src_name(c);

    return copy_path_err(r, op, name);
}

struct error *copier_dst_err(const struct copier *c, int r, const char *op)
{
    CLEANUP(freep) char *name = copier_dst_name(c);

    return copy_path_err(r, op, name);
}

struct error *copier_mode(const struct copier *c, const struct stat *st, mode_t *ret)
{
    const struct copy_options *o = c->o;
    uint32_t m = st->st_mode & 07777;

    if (o->mode_text != NULL && o->mode_text[0] != '\0') {
        if (mode_apply(o->mode_text, m, S_ISDIR(st->st_mode), &m) < 0)
            return err_new(ERR_INVALID, "invalid mode \"%s\"", o->mode_text);
    } else if (o->mode >= 0) {
        m = (uint32_t)o->mode & 07777;
    }
    *ret = m;
    return NULL;
}

void copier_times(const struct copier *c, const struct stat *st, struct timespec t[2])
{
    if (c->o->timestamp_ns != -1) {
        t[0] = t[1] = copier_stamp(c->o->timestamp_ns);
        return;
    }
    t[0] = st->st_atim;
    t[1] = st->st_mtim;
}

struct file_owner copier_owner(const struct copier *c, const struct stat *st)
{
    return c->o->owner != NULL ? *c->o->owner : (struct file_owner){ st->st_uid, st->st_gid };
}

struct error *copier_set_meta(const struct copier *c, int src_fd, int dst_fd, const struct stat *st,
                              int made_mode)
{
    struct file_owner owner = copier_owner(c, st);
    struct timespec t[2];
    mode_t mode;

    TRY(copier_mode(c, st, &mode));
    copier_times(c, st, t);
    if ((made_mode < 0 || owner.uid != 0 || owner.gid != 0) && fchown(dst_fd, owner.uid, owner.gid) < 0)
        return copier_dst_err(c, -errno, "lchown");
    if ((made_mode < 0 || ((mode_t)made_mode & ~process_umask()) != mode) && fchmod(dst_fd, mode) < 0)
        return copier_dst_err(c, -errno, "chmod");
    if (src_fd >= 0 && flistxattr(src_fd, NULL, 0) > 0) {
        int r = copy_xattrs(src_fd, dst_fd);

        if (r < 0 && r != -EPERM && r != -EACCES)
            return copier_dst_err(c, r, "setxattr");
    }
    if (futimens(dst_fd, t) < 0)
        return copier_dst_err(c, -errno, "utimes");
    return NULL;
}

struct error *copier_set_meta_at(const struct copier *c, int src_dir, const char *src, int dst_dir,
                                 const char *dst, const struct stat *st)
{
    struct file_owner owner = copier_owner(c, st);
    CLEANUP(closep) int from = openat(src_dir, src, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(closep) int to = openat(dst_dir, dst, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct timespec t[2];
    mode_t mode;

    TRY(copier_mode(c, st, &mode));
    copier_times(c, st, t);
    if (fchownat(dst_dir, dst, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) < 0)
        return copier_dst_err(c, -errno, "lchown");
    int r = S_ISLNK(st->st_mode) ? 0 : path_chmod(dst_dir, dst, mode);

    if (r < 0)
        return copier_dst_err(c, r, "chmod");
    if (from >= 0 && to >= 0 && !S_ISLNK(st->st_mode)) {
        r = copy_xattrs(from, to);
        if (r < 0 && r != -EPERM && r != -EACCES && r != -EBADF)
            return copier_dst_err(c, r, "setxattr");
    }
    if (utimensat(dst_dir, dst, t, AT_SYMLINK_NOFOLLOW) < 0)
        return copier_dst_err(c, -errno, "utimes");
    return NULL;
}
