/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_dir.c - the directories that a copy is in
 *
 * A frame is one directory of the source with its counterpart; frames are on the heap, so depth costs no
 * stack.  A directory that no include pattern named is made only when something below it is copied.  Owner,
 * mode and times of a directory are set when all of it has been copied.
 */
#include "op/copier.h"

#include "base/limits.h"
#include "io/path.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

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
    CLEANUP(freep) char *name = copier_dst_name(c);

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
        copier_times(c, &f->st, t);
        if (futimens(fd, t) < 0)
            e = copier_dst_err(c, -errno, "utimes");
    }
    copier_drop_dir(f);
    return e;
}

struct error *copier_leave_dir(struct copier *c)
{
    bool left = false;

    if (c->o->packed != NULL)
        TRY(copier_packed_dir(c, &left));
    if (left)
        return NULL;
    struct frame f = copier_pop(c);

    return copier_finish_dir(c, &f);
}

struct error *copier_enter_dir(struct copier *c, int src_dir, const char *src, const char *dst,
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
