/* SPDX-License-Identifier: Apache-2.0 */
/* copy_walk.c - the walk of a copy: which entries there are, and which of them are included */
#include "op/copier.h"

#include "task/task.h"

#include <errno.h>
#include <fcntl.h>

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

struct error *copier_entry(struct copier *c, int src_dir, const char *src, const char *dst,
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
            TRY(copier_clear(c, copier_dst_dir(c), dst, true));
        }
        return copier_enter_dir(c, src_dir, src, dst, &st, in, TAKE(include), TAKE(exclude));
    }
    if (!in)
        return NULL;
    TRY(copier_make_parents(c));
    dst_dir = copier_dst_dir(c);
    plain = c->depth > 0 && c->frames[c->depth - 1].plain;
    if (c->depth == 0 || !c->frames[c->depth - 1].created)
        TRY(copier_clear(c, dst_dir, dst, false));
    return from >= 0 ? copier_regular(c, from, dst_dir, dst, &st, plain)
                     : copier_leaf(c, src_dir, src, dst_dir, dst, &st);
}

struct error *copier_walk(struct copier *c)
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
            TRY(copier_leave_dir(c));
            continue;
        }
        if (streq(d->d_name, ".") || streq(d->d_name, ".."))
            continue;
        if (c->path.len > 0)
            buf_addc(&c->path, '/');
        buf_adds(&c->path, d->d_name);
        TRY(copier_entry(c, f->src_fd, d->d_name, d->d_name, d->d_type));
    }
    return NULL;
}
