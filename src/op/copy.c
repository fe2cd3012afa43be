/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - the walk of a copy
 *
 * A frame is one directory of the source with its counterpart; frames are on the heap, so depth costs no
 * stack.  A directory that no include pattern named is made only when something below it is copied.  Owner,
 * mode and times of a directory are set when all of it has been copied.
 */
#include "op/copier.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "io/copy.h"
#include "io/path.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SHARE_MIN ((off_t)MIB)     /* smaller files are copied */
#define SMALL_FILE COPY_PACKED_MAX /* up to here two system calls beat the clever ways */

/* ---- small things
 * ------------------------------------------------------------------------------------------------------------
 */

char *copy_clean(const char *path)
{
    CLEANUP(freep) char *clean = path_join("/", path);

    if (str_has_suffix(path, "/."))
        return xasprintf("%s%s.", clean, streq(clean, "/") ? "" : "/");
    if (str_has_suffix(path, "/") && !streq(clean, "/"))
        return xasprintf("%s/", clean);
    return TAKE(clean);
}

static struct error *path_err(int r, const char *op, const char *path)
{
    if (r == -ECANCELED || r == -ETIMEDOUT)
        return task_error(r, "%s %s", op, path);
    char text[128];
    const char *s = strerror_r(-r, text, sizeof text);
    CLEANUP(freep) char *lower = str_lower(s); /* Go prints errno texts in lower case */
    struct error *e = err_new(err_kind_from_errno(-r), "%s %s: %s", op, path, lower);

    e->errnum = -r;
    return e;
}

struct timespec copier_stamp(int64_t ns)
{
    return (struct timespec){ .tv_sec = ns / NS_PER_SEC, .tv_nsec = ns % NS_PER_SEC };
}

int copy_set_meta(int dir_fd, const char *name, const struct file_owner *owner, int mode,
                  int64_t timestamp_ns)
{
    struct timespec t[2] = { copier_stamp(timestamp_ns), copier_stamp(timestamp_ns) };

    if (owner != NULL && fchownat(dir_fd, name, owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (mode >= 0 && fchmodat(dir_fd, name, (mode_t)mode, 0) < 0)
        return -errno;
    if (timestamp_ns != -1 && utimensat(dir_fd, name, t, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return 0;
}

/* One more component: an O_PATH descriptor of the directory, made when missing. */
static int enter(int dir_fd, const char *name, uint32_t mode, const struct file_owner *owner, int64_t ts)
{
    int fd = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r;

    if (fd >= 0 || errno != ENOENT)
        return fd >= 0 ? fd : errno == ELOOP ? -ENOTDIR : -errno;
    if (mkdirat(dir_fd, name, mode & 0777) < 0)
        return -errno;
    r = copy_set_meta(dir_fd, name, owner, (int)(mode & 0777), ts);
    if (r < 0)
        return r;
    fd = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The descriptor of a resolved directory path, made as far as it is missing. */
static int make_path(int root, const char *real, uint32_t mode, const struct file_owner *owner, int64_t ts)
{
    CLEANUP(freep) char *copy = xstrdup(real);
    int fd = path_open(root, "/", O_PATH | O_DIRECTORY, 0);

    for (char *p = copy, *part; fd >= 0 && (part = strsep(&p, "/")) != NULL;) {
        CLEANUP(closep) int above = -1;

        if (part[0] == '\0')
            continue;
        above = fd;
        fd = enter(above, part, mode, owner, ts);
    }
    return fd;
}

static struct error *mkdirs_fd(int root, const char *path, uint32_t mode, const struct file_owner *owner,
                               int64_t ts, int *ret_fd)
{
    CLEANUP(freep) char *real = NULL;
    CLEANUP(freep) char *shown = path_clean(path);
    int r = path_resolve(root, path, &real);

    if (r >= 0)
        r = make_path(root, real, mode, owner, ts);
    if (r < 0)
        return path_err(r, "mkdir", shown);
    *ret_fd = r;
    return NULL;
}

struct error *copy_mkdirs(int root, const char *path, uint32_t mode, const struct file_owner *owner,
                          int64_t timestamp_ns)
{
    CLEANUP(closep) int fd = -1;

    return mkdirs_fd(root, path, mode, owner, timestamp_ns, &fd);
}

/* The current entry as seen from its root. */
static char *src_name(const struct copier *c)
{
    return path_join(c->src_path, buf_str(&c->path));
}

static char *dst_name(const struct copier *c)
{
    return path_join(c->dst_path, buf_str(&c->path));
}

struct error *copier_src_err(const struct copier *c, int r, const char *op)
{
    CLEANUP(freep) char *name = src_name(c);

    return path_err(r, op, name);
}

struct error *copier_dst_err(const struct copier *c, int r, const char *op)
{
    CLEANUP(freep) char *name = dst_name(c);

    return path_err(r, op, name);
}

/* ---- one entry's metadata
 * ---------------------------------------------------------------------------------------------------- */

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

static void wanted_times(const struct copier *c, const struct stat *st, struct timespec t[2])
{
    if (c->o->timestamp_ns != -1) {
        t[0] = t[1] = copier_stamp(c->o->timestamp_ns);
        return;
    }
    t[0] = st->st_atim;
    t[1] = st->st_mtim;
}

static struct file_owner wanted_owner(const struct copier *c, const struct stat *st)
{
    return c->o->owner != NULL ? *c->o->owner : (struct file_owner){ st->st_uid, st->st_gid };
}

struct error *copier_set_meta(const struct copier *c, int src_fd, int dst_fd, const struct stat *st,
                              int made_mode)
{
    struct file_owner owner = wanted_owner(c, st);
    struct timespec t[2];
    mode_t mode;

    TRY(copier_mode(c, st, &mode));
    wanted_times(c, st, t);
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

/* The same of what must not be opened: links, devices, pipes. */
static struct error *set_meta_at(const struct copier *c, int src_dir, const char *src, int dst_dir,
                                 const char *dst, const struct stat *st)
{
    struct file_owner owner = wanted_owner(c, st);
    CLEANUP(closep) int from = openat(src_dir, src, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(closep) int to = openat(dst_dir, dst, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct timespec t[2];
    mode_t mode;

    TRY(copier_mode(c, st, &mode));
    wanted_times(c, st, t);
    if (fchownat(dst_dir, dst, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) < 0)
        return copier_dst_err(c, -errno, "lchown");
    if (!S_ISLNK(st->st_mode) && fchmodat(dst_dir, dst, mode, 0) < 0)
        return copier_dst_err(c, -errno, "chmod");
    if (from >= 0 && to >= 0 && !S_ISLNK(st->st_mode)) {
        int r = copy_xattrs(from, to);

        if (r < 0 && r != -EPERM && r != -EACCES && r != -EBADF)
            return copier_dst_err(c, r, "setxattr");
    }
    if (utimensat(dst_dir, dst, t, AT_SYMLINK_NOFOLLOW) < 0)
        return copier_dst_err(c, -errno, "utimes");
    return NULL;
}

/* ---- directories
 * -------------------------------------------------------------------------------------------------------------
 */

static int above_fd(const struct copier *c, size_t level)
{
    return level == 0 ? c->dst_dir : c->frames[level - 1].dst_fd;
}

int copier_dst_dir(const struct copier *c)
{
    return above_fd(c, c->depth);
}

static struct error *not_a_dir(const struct copier *c)
{
    CLEANUP(freep) char *name = dst_name(c);

    return err_new(ERR_INVALID, "cannot copy to non-directory: %s", name);
}

/* A directory just made has nothing below it: what is put there need not go through the overlay. */
static struct error *enter_upper(struct copier *c, size_t level)
{
    struct frame *f = &c->frames[level];
    CLEANUP(freep) char *rest = NULL;
    CLEANUP(freep) char *path = NULL;
    int fd;

    if (c->o->upper_root == NULL || !f->created || c->upper_from <= level)
        return NULL;
    rest = xstrndup(buf_str(&c->path), f->path_len);
    path = path_join(c->dst_path, rest);
    fd = path_open(*c->o->upper_root, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0)
        return copier_dst_err(c, fd, "open");
    f->overlay_fd = f->dst_fd;
    f->dst_fd = fd;
    c->upper_from = level;
    return NULL;
}

/* The counterpart of frame `level`, whose parents are there. */
static struct error *make_dir(struct copier *c, size_t level)
{
    struct frame *f = &c->frames[level];
    int above = above_fd(c, level);
    struct stat st;

    if (mkdirat(above, f->name, f->st.st_mode & 0777) == 0) {
        f->created = true;
    } else if (errno != EEXIST) {
        return copier_dst_err(c, -errno, "mkdir");
    } else if (fstatat(above, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode)) {
        return not_a_dir(c);
    }
    f->dst_fd = openat(above, f->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f->dst_fd < 0)
        return copier_dst_err(c, -errno, "open");
    TRY(enter_upper(c, level));
    f->plain = f->created && geteuid() == 0 && fstat(f->dst_fd, &st) == 0 && (st.st_mode & S_ISGID) == 0;
    /* The destination itself, when it was there, keeps what it has but its time; a directory that is only on
     * the way to something keeps all but its mode. */
    f->set_meta = f->created || (level > 0 && f->included);
    f->restore_time = !f->created && level == 0;
    if (!f->set_meta && !f->restore_time && fchmod(f->dst_fd, f->st.st_mode & 07777) < 0)
        return copier_dst_err(c, -errno, "chmod");
    return NULL;
}

struct error *copier_make_parents(struct copier *c)
{
    for (size_t i = 0; i < c->depth; i++)
        if (c->frames[i].dst_fd < 0)
            TRY(make_dir(c, i));
    return NULL;
}

void copier_drop_dir(struct frame *f)
{
    if (f->dir != NULL)
        closedir(f->dir);
    else
        closep(&f->src_fd);
    closep(&f->dst_fd);
    closep(&f->overlay_fd);
    free(f->name);
    free(f->include);
    free(f->exclude);
}

struct frame copier_pop(struct copier *c)
{
    struct frame f = c->frames[--c->depth];

    if (c->upper_from == c->depth)
        c->upper_from = SIZE_MAX;
    buf_truncate(&c->path, f.path_len);
    return f;
}

struct error *copier_finish_dir(struct copier *c, struct frame *f)
{
    int fd = f->overlay_fd >= 0 ? f->overlay_fd : f->dst_fd;
    struct error *e = NULL;
    struct timespec t[2];

    if (f->dst_fd >= 0 && f->set_meta) {
        e = copier_set_meta(c, f->src_fd, fd, &f->st, -1);
    } else if (f->dst_fd >= 0 && f->restore_time) {
        wanted_times(c, &f->st, t);
        if (futimens(fd, t) < 0)
            e = copier_dst_err(c, -errno, "utimes");
    }
    copier_drop_dir(f);
    return e;
}

/* Nothing is left in its folder; of what lies in none, the workers may finish it. */
static struct error *leave_dir(struct copier *c)
{
    bool left = false;

    if (c->o->packed != NULL)
        TRY(copier_packed_dir(c, &left));
    if (left)
        return NULL;
    struct frame f = copier_pop(c);

    return copier_finish_dir(c, &f);
}

static struct error *enter_dir(struct copier *c, int src_dir, const char *src, const char *dst,
                               const struct stat *st, bool in, bool *include, bool *exclude)
{
    struct frame f = {
        .src_fd = openat(src_dir, src, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
        .dst_fd = -1,
        .overlay_fd = -1,
        .name = xstrdup(dst),
        .path_len = c->path.len,
        .st = *st,
        .included = in,
        .include = include,
        .exclude = exclude,
    };
    int r = f.src_fd < 0 ? -errno : c->depth >= LIMIT_PATH_DEPTH ? -ENAMETOOLONG : 0;

    if (r == 0) {
        f.dir = fdopendir(f.src_fd);
        r = f.dir == NULL ? -errno : 0;
    }
    if (r < 0) {
        copier_drop_dir(&f);
        return copier_src_err(c, r, "open");
    }
    if (c->depth == c->cap) {
        c->cap = MAX(c->cap * 2, (size_t)8);
        c->frames = xreallocarray(c->frames, c->cap, sizeof *c->frames);
    }
    c->frames[c->depth++] = f;
    return in ? copier_make_parents(c) : NULL;
}

/* ---- files
 * -------------------------------------------------------------------------------------------------------------------
 */

int copier_write(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno != EINTR)
            return -errno;
        data += MAX(n, (ssize_t)0);
        len -= (size_t)MAX(n, (ssize_t)0);
    }
    return 0;
}

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
    return copier_write(to, c->chunk, have);
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
    struct file_owner owner = wanted_owner(c, st);

    return c->o->share && st->st_size >= SHARE_MIN && c->o->timestamp_ns < 0 && owner.uid == st->st_uid &&
           owner.gid == st->st_gid && mode == (st->st_mode & 07777) && !has_clones(c, from);
}

static bool share_now(const struct copier *c, int from, int dst_dir, const char *dst)
{
    return c->upper_from < c->depth && linkat(from, "", dst_dir, dst, AT_EMPTY_PATH) == 0;
}

/* `from` is open on a regular file of that status. `plain`: new files in dst_dir are root's. */
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
static const struct link *find_link(const struct copier *c, const struct stat *st)
{
    for (size_t i = 0; i < c->link_count; i++)
        if (c->links[i].ino == st->st_ino && c->links[i].dev == st->st_dev)
            return &c->links[i];
    return NULL;
}

static void note_link(struct copier *c, const struct stat *st)
{
    if (c->link_count == c->link_cap) {
        c->link_cap = MAX(c->link_cap * 2, (size_t)16);
        c->links = xreallocarray(c->links, c->link_cap, sizeof *c->links);
    }
    c->links[c->link_count++] = (struct link){ st->st_dev, st->st_ino, dst_name(c) };
}

static struct error *copy_link(struct copier *c, const struct link *l, int dst_dir, const char *dst)
{
    CLEANUP(freep) char *base = NULL;
    int root = c->upper_from < c->depth ? *c->o->upper_root : c->dst_root; /* on the side where dst_dir is */
    CLEANUP(closep) int dir = path_open_parent(root, l->path, false, 0, &base);

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
        return copier_dst_err(c, -EPERM,
                              "mknod"); /* a whiteout: overlayfs refuses it, the upper folder would not */
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
        name = dst_name(c);
        return err_new(ERR_INVALID, "cannot replace to directory %s with file", name);
    }
    return unlinkat(dst_dir, dst, 0) < 0 ? copier_dst_err(c, -errno, "remove") : NULL;
}

/* ---- the walk
 * ----------------------------------------------------------------------------------------------------------------
 */

static struct error *match(const struct pattern_set *set, const char *path, const bool *above,
                           bool **ret_info, bool *ret)
{
    *ret_info = xcalloc(set->count, sizeof(bool));
    return pattern_set_match_walk(set, path, above, *ret_info, ret);
}

struct error *copier_filter(struct copier *c, bool **include, bool **exclude, bool *ret_in, bool *ret_skip)
{
    const struct frame *above = c->depth == 0 ? NULL : &c->frames[c->depth - 1];
    const char *path = buf_str(&c->path);
    bool out = false;

    *ret_in = true;
    *ret_skip = false;
    if (path[0] == '\0')
        return NULL;
    if (c->include.count > 0)
        TRY(match(&c->include, path, above == NULL ? NULL : above->include, include, ret_in));
    if (c->exclude.count > 0)
        TRY(match(&c->exclude, path, above == NULL ? NULL : above->exclude, exclude, &out));
    *ret_in = *ret_in && !out;
    *ret_skip = out && !c->exclude.exclusions;
    return NULL;
}

static struct error *copy_regular(struct copier *c, int from, int dst_dir, const char *dst,
                                  const struct stat *st, bool plain)
{
    const struct link *l;

    if (st->st_nlink > 1) {
        l = find_link(c, st);
        if (l != NULL)
            return copy_link(c, l, dst_dir, dst);
        note_link(c, st);
    }
    return copy_file(c, from, dst_dir, dst, st, plain);
}

static struct error *copy_leaf(struct copier *c, int src_dir, const char *src, int dst_dir, const char *dst,
                               const struct stat *st)
{
    if (S_ISLNK(st->st_mode))
        TRY(copy_symlink(c, src_dir, src, dst_dir, dst));
    else
        TRY(copy_special(c, dst_dir, dst, st));
    return set_meta_at(c, src_dir, src, dst_dir, dst, st);
}

/* Look at the entry; a regular file is opened, too: *ret_fd.  `type` is what the directory says of it (a
 * hint: it saves a call). */
static struct error *look(struct copier *c, int dir, const char *name, unsigned char type, struct stat *st,
                          int *ret_fd)
{
    *ret_fd = -1;
    if (type != DT_REG) {
        if (fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) < 0)
            return copier_src_err(c, -errno, "lstat");
        if (!S_ISREG(st->st_mode))
            return NULL;
    }
    *ret_fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*ret_fd < 0)
        return copier_src_err(c, -errno, "open");
    if (fstat(*ret_fd, st) < 0 || !S_ISREG(st->st_mode))
        return copier_src_err(c, -EINVAL, "open");
    return NULL;
}

/* `src` in src_dir to `dst` below the last frame (or the destination's parent). */
static struct error *copy_entry(struct copier *c, int src_dir, const char *src, const char *dst,
                                unsigned char type)
{
    CLEANUP(freep) bool *include = NULL;
    CLEANUP(freep) bool *exclude = NULL;
    CLEANUP(closep) int from = -1;
    bool in, skip, plain;
    struct stat st;
    int dst_dir;

    if ((++c->seen & 63) == 0)
        TRY(task_check());
    TRY(copier_filter(c, &include, &exclude, &in, &skip));
    if (skip || (!in && type != DT_DIR && type != DT_UNKNOWN))
        return NULL;
    TRY(look(c, src_dir, src, type, &st, &from));
    if (S_ISDIR(st.st_mode)) {
        if (in && c->o->always_replace) {
            TRY(copier_make_parents(c));
            TRY(copier_clear(c, above_fd(c, c->depth), dst, true));
        }
        return enter_dir(c, src_dir, src, dst, &st, in, TAKE(include), TAKE(exclude));
    }
    if (!in)
        return NULL;
    TRY(copier_make_parents(c));
    dst_dir = above_fd(c, c->depth);
    plain = c->depth > 0 && c->frames[c->depth - 1].plain;
    if (c->depth == 0 || !c->frames[c->depth - 1].created)
        TRY(copier_clear(c, dst_dir, dst, false));
    return from >= 0 ? copy_regular(c, from, dst_dir, dst, &st, plain)
                     : copy_leaf(c, src_dir, src, dst_dir, dst, &st);
}

static struct error *walk(struct copier *c)
{
    while (c->depth > 0) {
        struct frame *f = &c->frames[c->depth - 1];
        struct dirent *d;

        buf_truncate(&c->path, f->path_len);
        errno = 0;
        d = readdir(f->dir);
        if (d == NULL) {
            if (errno != 0)
                return copier_src_err(c, -errno, "readdirent");
            TRY(leave_dir(c));
            continue;
        }
        if (streq(d->d_name, ".") || streq(d->d_name, ".."))
            continue;
        if (c->path.len > 0)
            buf_addc(&c->path, '/');
        buf_adds(&c->path, d->d_name);
        TRY(copy_entry(c, f->src_fd, d->d_name, d->d_name, d->d_type));
    }
    return NULL;
}

static void copier_deinit(struct copier *c)
{
    while (c->depth > 0)
        copier_drop_dir(&c->frames[--c->depth]);
    free(c->frames);
    for (size_t i = 0; i < c->link_count; i++)
        free(c->links[i].path);
    free(c->links);
    free(c->chunk);
    free(c->dst_name);
    free(c->dst_path);
    free(c->src_real);
    closep(&c->dst_dir);
    buf_deinit(&c->path);
    pattern_set_deinit(&c->include);
    pattern_set_deinit(&c->exclude);
}

static struct error *init_patterns(struct pattern_set *set, const struct strv *patterns)
{
    if (patterns == NULL || patterns->len == 0)
        return NULL;
    return pattern_set_init(set, (const char *const *)patterns->v, patterns->len);
}

/* Where the source lies: its parent's descriptor and its name there. */
static struct error *open_source(int root, const char *src, bool follow, int *ret_dir, char **ret_name,
                                 char **ret_path)
{
    CLEANUP(freep) char *clean = path_join("/", src);
    CLEANUP(freep) char *real = NULL;
    int r = follow ? path_resolve(root, clean, &real) : 0;

    if (r == 0)
        r = path_open_parent(root, real != NULL ? real : clean, false, 0, ret_name);
    if (r < 0)
        return path_err(r, "lstat", clean);
    *ret_dir = r;
    *ret_path = TAKE(clean);
    return NULL;
}

/* The source without links in its parents, as what is packed is found. */
static struct error *find_real(struct copier *c, int root, const char *src, bool follow)
{
    CLEANUP(freep) char *dir = path_dir(src);
    CLEANUP(freep) char *base = path_base(src);
    CLEANUP(freep) char *real = NULL;
    CLEANUP(freep) char *joined = NULL;
    int r = path_resolve(root, follow ? src : dir, &real);

    if (r < 0)
        return path_err(r, "lstat", src);
    joined = follow ? TAKE(real) : path_join(real, base);
    c->src_real = xstrdup(joined + strspn(joined, "/"));
    return NULL;
}

/* What the source is: a packed file, or what its parent has under that name. */
static struct error *look_at_source(struct copier *c, int root, const char *path, int dir, const char *name,
                                    struct copy_packed_file *file, bool *ret_packed, struct stat *st)
{
    const struct copy_packed *p = c->o->packed;

    *ret_packed = false;
    if (p != NULL) {
        TRY(find_real(c, root, path, c->o->follow_links));
        *ret_packed = p->find(p->ctx, c->src_real, file);
    }
    if (*ret_packed)
        *st = copier_packed_stat(file);
    else if (fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) < 0)
        return path_err(-errno, "lstat", path);
    return NULL;
}

/* The destination's directory part exists before anything is looked at: "a/b" makes a, "a/b/" and "a/b/."
 * make b. */
static struct error *make_dest(int root, const char *dst, const struct copy_options *o)
{
    const char *slash = strrchr(dst, '/');
    const char *file = slash == NULL ? dst : slash + 1;
    uint32_t mode = o->mode >= 0 ? (uint32_t)o->mode : 0755;
    CLEANUP(freep) char *dir = NULL;

    if (file[0] == '\0' || streq(file, "."))
        dir = xstrdup(dst);
    else
        dir = xstrndup(dst, slash == NULL ? 0 : (size_t)(slash - dst) + 1);
    return dir[0] == '\0' ? NULL : copy_mkdirs(root, dir, mode, o->owner, o->timestamp_ns);
}

/* dst, resolved; a directory takes the source by its base name, unless it takes the contents of one. */
static struct error *open_dest(struct copier *c, const char *src, const char *dst, const struct stat *src_st)
{
    const struct copy_options *o = c->o;
    CLEANUP(freep) char *clean = path_clean(dst);
    CLEANUP(freep) char *base = path_base(src);
    CLEANUP(freep) char *dir = NULL;
    uint32_t mode = o->mode >= 0 ? (uint32_t)o->mode : 0755;
    bool src_dir = S_ISDIR(src_st->st_mode), exists;
    struct stat st;
    int r = path_resolve(c->dst_root, clean, &c->dst_path);

    if (r < 0)
        return path_err(r, "lstat", clean);
    r = path_stat(c->dst_root, c->dst_path, false, &st);
    if (r < 0 && r != -ENOENT)
        return path_err(r, "failed to lstat destination path: stat", c->dst_path);
    exists = r == 0;
    if (exists && ((!o->dir_contents && src_dir) || (!src_dir && S_ISDIR(st.st_mode)))) {
        char *joined = path_join(c->dst_path, streq(base, "/") ? "." : base);

        free(c->dst_path);
        c->dst_path = joined;
    }
    dir = path_dir(c->dst_path);
    if (o->dir_contents && src_dir && !exists)
        TRY(copy_mkdirs(c->dst_root, c->dst_path, mode, o->owner, o->timestamp_ns));
    TRY(mkdirs_fd(c->dst_root, dir, mode, o->owner, o->timestamp_ns, &c->dst_dir));
    c->dst_name = streq(c->dst_path, "/") ? xstrdup(".") : path_base(c->dst_path);
    return NULL;
}

struct error *copy_path(int src_root, const char *src, int dst_root, const char *dst,
                        const struct copy_options *o)
{
    CLEANUP(copier_deinit)
    struct copier c = { .o = o, .dst_dir = -1, .dst_root = dst_root, .upper_from = SIZE_MAX };
    CLEANUP(closep) int src_dir = -1;
    CLEANUP(freep) char *name = NULL;
    CLEANUP(freep) char *shown = NULL;
    struct copy_packed_file file;
    struct stat st;
    bool packed;

    TRY(init_patterns(&c.include, o->include));
    TRY(init_patterns(&c.exclude, o->exclude));
    TRY(make_dest(dst_root, dst, o));
    TRY(open_source(src_root, src, o->follow_links, &src_dir, &name, &shown));
    c.src_path = shown;
    TRY(look_at_source(&c, src_root, shown, src_dir, name, &file, &packed, &st));
    TRY(open_dest(&c, src, dst, &st));
    if (packed)
        return copier_packed_file(&c, &file, c.dst_name);
    TRY(copy_entry(&c, src_dir, name, c.dst_name, DT_UNKNOWN));
    return copier_workers_end(&c, walk(&c));
}

/* ---- wildcards
 * ---------------------------------------------------------------------------------------------------------------
 */

struct search {
    const struct copy_packed *packed;
    struct strv *found;
};

static int match_in(const struct search *s, int fd, const char *pattern, const char *prefix);

/* One name against the pattern's first component; with more components left, what is below it against those.
 */
static int match_name(const struct search *s, int dir_fd, const char *name, const char *pattern, size_t len,
                      const char *prefix)
{
    CLEANUP(freep) char *part = xstrndup(pattern, len);
    CLEANUP(freep) char *path = xasprintf("%s/%s", prefix, name);
    const char *rest = pattern + len + strspn(pattern + len, "/");
    CLEANUP(closep) int fd = -1;

    if (path_match(part, name) != 1)
        return 0;
    if (*rest == '\0') {
        strv_add(s->found, path);
        return 0;
    }
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? 0 : match_in(s, fd, rest, path); /* depth: components of one path */
}

static int match_packed(const struct search *s, int fd, const char *pattern, size_t len, const char *prefix)
{
    const char *dir = prefix + strspn(prefix, "/");
    struct copy_packed_file f;
    size_t at = 0;
    int r = 0;

    while (r == 0 && s->packed != NULL && s->packed->next(s->packed->ctx, dir, &at, &f))
        r = match_name(s, fd, f.name, pattern, len, prefix);
    return r;
}

static int match_in(const struct search *s, int fd, const char *pattern, const char *prefix)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), r = 0;
    DIR *d = copy < 0 ? NULL : fdopendir(copy);
    size_t len = strcspn(pattern, "/");

    if (d == NULL) {
        closep(&copy);
        return -errno;
    }
    for (struct dirent *e; r == 0 && (e = readdir(d)) != NULL;)
        if (!streq(e->d_name, ".") && !streq(e->d_name, ".."))
            r = match_name(s, fd, e->d_name, pattern, len, prefix);
    closedir(d);
    return r == 0 ? match_packed(s, fd, pattern, len, prefix) : r;
}

struct error *copy_matches(int root, const struct copy_packed *packed, const char *src, bool follow,
                           struct strv *ret)
{
    const struct search search = { packed, ret };
    const char *p = src;
    CLEANUP(freep) char *prefix = NULL;
    CLEANUP(freep) char *real = NULL;
    CLEANUP(closep) int fd = -1;
    int r;

    for (;;) {
        size_t n;

        p += strspn(p, "/");
        n = strcspn(p, "/");
        if (*p == '\0') {
            strv_add(ret, src);
            return NULL;
        }
        if (path_has_wildcard(p, n))
            break;
        p += n;
    }
    prefix = xstrndup(src, (size_t)(p - src));
    r = path_resolve(root, prefix, &real);
    if (r == 0)
        r = fd = path_open(root, real, O_RDONLY | O_DIRECTORY, 0);
    if (r >= 0)
        r = match_in(&search, fd, p, streq(real, "/") ? "" : real);
    if (r < 0)
        return path_err(r, "lstat", prefix);
    strv_sort(ret);
    return NULL;
}
