/* SPDX-License-Identifier: Apache-2.0 */
/* copy_file.c - what is no directory: contents (copied, cloned or shared), further names, links, devices */
#include "op/copier.h"

#include "base/limits.h"
#include "io/copy.h"
#include "io/path.h"
#include "io/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SHARE_MIN ((off_t)MIB)     /* smaller files are copied */
#define SMALL_FILE COPY_PACKED_MAX /* up to here two system calls beat the clever ways */

static int copy_small(struct copier *c, int from, int to, size_t size)
{
    size_t have = 0;
    ssize_t n;

    if (c->chunk == NULL)
        c->chunk = xmalloc(SMALL_FILE);
    while (have < size && (n = read(from, c->chunk + have, size - have)) != 0) {
        if (n < 0 && errno != EINTR)
            return -errno;
        have += (size_t)MAX(n, 0);
    }
    return fd_write_all(to, c->chunk, have);
}

/* Tried once. */
static bool has_clones(struct copier *c, int from)
{
    if (!c->asked_clones && c->o->upper_root != NULL) {
        CLEANUP(closep) int to = openat(*c->o->upper_root, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);

        c->clones = to >= 0 && ioctl(to, FICLONE, from) == 0;
    }
    c->asked_clones = true;
    return c->clones;
}

/* May the copy be the very same file?  Only if nothing about it is to differ, and a clone will not do. */
static bool may_share(struct copier *c, int from, const struct stat *st, mode_t mode)
{
    struct file_owner owner = copier_owner(c, st);

    return c->o->share && st->st_size >= SHARE_MIN && c->o->timestamp_ns < 0 && owner.uid == st->st_uid &&
           owner.gid == st->st_gid && mode == (st->st_mode & 07777) && !has_clones(c, from);
}

static bool share_now(const struct copier *c, int from, int dst_dir, const char *dst)
{
    return c->upper_from < c->depth && linkat(from, "", dst_dir, dst, AT_EMPTY_PATH) == 0;
}

static struct error *copy_file(struct copier *c, int from, int dst_dir, const char *dst,
                               const struct stat *st, bool plain)
{
    CLEANUP(closep) int to = -1;
    mode_t mode;
    int r;

    TRY(copier_mode(c, st, &mode));
    bool share = may_share(c, from, st, mode);

    if (share && share_now(c, from, dst_dir, dst))
        return NULL;
    to = openat(dst_dir, dst, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode & 0777);
    if (to < 0)
        return copier_dst_err(c, -errno, "open");
    if (st->st_size > 0 &&
        !(share && c->o->link_later != NULL && c->o->link_later(c->o->link_ctx, to, from))) {
        r = st->st_size <= (off_t)SMALL_FILE ? copy_small(c, from, to, (size_t)st->st_size)
                                             : copy_content(from, to, st->st_size);
        if (r < 0)
            return copier_dst_err(c, r, "write");
    }
    return copier_set_meta(c, from, to, st, plain ? (int)(mode & 0777) : -1);
}

/* Another name of a file that was copied before: a link there, too. */
static struct error *copy_link(struct copier *c, const char *first, int dst_dir, const char *dst)
{
    CLEANUP(freep) char *base = NULL;
    int root = c->upper_from < c->depth ? *c->o->upper_root : c->dst_root; /* on the side where dst_dir is */
    CLEANUP(closep) int dir = path_open_parent(root, first, false, 0, &base);

    if (dir < 0 || linkat(dir, base, dst_dir, dst, 0) < 0)
        return copier_dst_err(c, dir < 0 ? dir : -errno, "link");
    return NULL;
}

static struct error *copy_symlink(struct copier *c, int src_dir, const char *src, int dst_dir,
                                  const char *dst)
{
    char target[LIMIT_PATH + 1];
    ssize_t n = readlinkat(src_dir, src, target, sizeof target);

    if (n < 0 || (size_t)n == sizeof target)
        return copier_src_err(c, n < 0 ? -errno : -ENAMETOOLONG, "readlink");
    target[n] = '\0';
    if (symlinkat(target, dst_dir, dst) < 0)
        return copier_dst_err(c, -errno, "symlink");
    return NULL;
}

static struct error *copy_special(struct copier *c, int dst_dir, const char *dst, const struct stat *st)
{
    mode_t mode = st->st_mode;

    if (S_ISCHR(mode) && st->st_rdev == 0)
        /* a whiteout: overlayfs refuses it, the upper folder would not */
        return copier_dst_err(c, -EPERM, "mknod");
    if (S_ISSOCK(mode))
        mode = (mode & 07777) | S_IFREG; /* a stub */
    if (mknodat(dst_dir, dst, mode, S_ISCHR(mode) || S_ISBLK(mode) ? st->st_rdev : 0) < 0)
        return copier_dst_err(c, -errno, "mknod");
    return NULL;
}

struct error *copier_clear(struct copier *c, int dst_dir, const char *dst, bool src_is_dir)
{
    CLEANUP(freep) char *name = NULL;
    struct stat st;
    int r;

    if (fstatat(dst_dir, dst, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? NULL : copier_dst_err(c, -errno, "lstat");
    if (c->o->always_replace && !(src_is_dir && S_ISDIR(st.st_mode))) {
        r = path_remove_all(dst_dir, dst);
        return r < 0 ? copier_dst_err(c, r, "remove") : NULL;
    }
    if (src_is_dir)
        return NULL;
    if (S_ISDIR(st.st_mode)) {
        name = copier_dst_name(c);
        return err_new(ERR_INVALID, "cannot replace to directory %s with file", name);
    }
    return unlinkat(dst_dir, dst, 0) < 0 ? copier_dst_err(c, -errno, "remove") : NULL;
}

/* Where the file went under another name; NULL: this is the first, which is noted. */
static const char *first_name(struct copier *c, const struct stat *st)
{
    char key[48];

    snprintf(key, sizeof key, "%llx:%llx", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino);
    const char *first = strmap_get(&c->links, key);

    if (first == NULL) {
        CLEANUP(freep) char *name = copier_dst_name(c);

        strmap_set(&c->links, key, name);
    }
    return first;
}

struct error *copier_regular(struct copier *c, int from, int dst_dir, const char *dst, const struct stat *st,
                             bool plain)
{
    const char *first = st->st_nlink > 1 ? first_name(c, st) : NULL;

    return first != NULL ? copy_link(c, first, dst_dir, dst) : copy_file(c, from, dst_dir, dst, st, plain);
}

struct error *copier_leaf(struct copier *c, int src_dir, const char *src, int dst_dir, const char *dst,
                          const struct stat *st)
{
    if (S_ISLNK(st->st_mode))
        TRY(copy_symlink(c, src_dir, src, dst_dir, dst));
    else
        TRY(copy_special(c, dst_dir, dst, st));
    return copier_set_meta_at(c, src_dir, src, dst_dir, dst, st);
}
