/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A step leaves in its upper folder more than what it changed: directories copied up for the sake of a child,
 * files opened for writing and left alone, whiteouts of what was never below, opaque marks on every new
 * directory.  Settling removes all that by the rules of BuildKit's differ, and turns an opaque directory over
 * an old one into whiteouts, so that the layer's tar is a function of its directory alone.  A directory keeps
 * its times: the step's, not those of our tidying.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/limits.h"
#include "snapshot/internal.h"
#include "task/task.h"

struct settle {
    int64_t bytes;
    struct map counted; /* inodes with several names */
};

static void count(struct settle *s, const struct stat *st)
{
    char key[24];
    if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
        snprintf(key, sizeof(key), "%llx", (unsigned long long)st->st_ino);
        if (map_has(&s->counted, key))
            return;
        map_set(&s->counted, key, (void *)1);
    }
    s->bytes += (int64_t)st->st_blocks * 512;
}

static int open_dir(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

/* What lies below under that name: 1, 0 none, negative errno. */
static int stat_lower(int lower_fd, const char *name, struct stat *ret)
{
    if (lower_fd < 0)
        return 0;
    if (fstatat(lower_fd, name, ret, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
}

static int settle_children(struct settle *s, int upper_fd, int lower_fd, bool opaque, int depth,
                           bool *ret_any);

static int check_redirect(int fd)
{
    char value[2];
    ssize_t n = fgetxattr(fd, "trusted.overlay.redirect", value, sizeof(value));
    return n > 0 || (n < 0 && errno == ERANGE) ? -EXDEV : 0;
}

/* Everything of the old directory that the opaque one does not have was removed. */
static int spell_out_opaque(int upper_fd, int lower_fd, bool *any)
{
    CLEANUP(strv_deinit) struct strv below = { 0 };
    struct stat st;
    int r = list_dir(lower_fd, &below);
    for (size_t i = 0; r == 0 && i < below.len; i++) {
        if (fstatat(upper_fd, below.v[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
            continue;
        r = errno != ENOENT ? -errno : make_whiteout(upper_fd, below.v[i]);
        *any = true;
    }
    return r;
}

static int settle_dir(struct settle *s, int upper_fd, const char *name, const struct stat *st, int lower_fd,
                      bool opaque, int depth, bool *any)
{
    struct stat below;
    const struct timespec times[2] = { st->st_atim, st->st_mtim };
    int exists = stat_lower(lower_fd, name, &below);
    if (exists < 0)
        return exists;
    bool merged = exists > 0 && S_ISDIR(below.st_mode);
    CLEANUP(closep) int dir = open_dir(upper_fd, name);
    if (dir < 0)
        return dir;
    CLEANUP(closep) int old = merged ? open_dir(lower_fd, name) : -1;
    if (merged && old < 0)
        return old;

    int r = check_redirect(dir);
    int own = is_opaque(dir);
    bool changed = false;
    opaque = opaque || own > 0;
    if (r == 0 && own < 0)
        r = own;
    /* Whiteouts for what an opaque directory hides are made before its children are compared: a child that is
     * equal to the old one may then go, and the old one shows again. */
    if (r == 0 && merged && opaque)
        r = spell_out_opaque(dir, old, &changed);
    if (r == 0)
        r = settle_children(s, dir, old, opaque, depth + 1, &changed);
    if (r == 0 && own > 0 && fremovexattr(dir, "trusted.overlay.opaque") < 0)
        r = -errno;
    int same = r == 0 && merged ? same_entry(upper_fd, name, st, lower_fd, name, &below) : 0;
    if (r < 0 || same < 0)
        return r < 0 ? r : same;
    if (same > 0 && !changed)
        return unlinkat(upper_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
    *any = true;
    count(s, st);
    return futimens(dir, times) < 0 ? -errno : 0;
}

static int settle_other(struct settle *s, int upper_fd, const char *name, const struct stat *st, int lower_fd,
                        bool *any)
{
    struct stat below;
    int exists = stat_lower(lower_fd, name, &below);
    if (exists < 0)
        return exists;
    int drop = is_whiteout(st) ? exists == 0
               : exists > 0    ? same_entry(upper_fd, name, st, lower_fd, name, &below)
                               : 0;
    if (drop < 0)
        return drop;
    if (drop > 0)
        return unlinkat(upper_fd, name, 0) < 0 ? -errno : 0;
    *any = true;
    count(s, st);
    return 0;
}

static int settle_children(struct settle *s, int upper_fd, int lower_fd, bool opaque, int depth,
                           bool *ret_any)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    int r = depth > LIMIT_PATH_DEPTH ? -ENAMETOOLONG : task_check_sys();
    if (r == 0)
        r = list_dir(upper_fd, &names);
    for (size_t i = 0; r == 0 && i < names.len; i++) {
        struct stat st;
        if (fstatat(upper_fd, names.v[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
            r = -errno;
        else if (S_ISDIR(st.st_mode))
            r = settle_dir(s, upper_fd, names.v[i], &st, lower_fd, opaque, depth, ret_any);
        else
            r = settle_other(s, upper_fd, names.v[i], &st, lower_fd, ret_any);
    }
    return r;
}

struct error *settle_layer(int upper_fd, int lower_fd, int64_t *ret_size)
{
    struct settle s = { 0 };
    struct stat root;
    bool any = false;
    if (fstat(upper_fd, &root) < 0)
        return err_sys(errno, "settle layer");
    const struct timespec times[2] = { root.st_atim, root.st_mtim };
    int r = settle_children(&s, upper_fd, lower_fd, false, 0, &any);
    map_deinit(&s.counted);
    if (r == -EXDEV)
        return err_new(
            ERR_UNIMPLEMENTED,
            "a renamed directory was recorded by overlayfs as a redirect, which layers cannot hold");
    if (r < 0)
        return task_error(r, "settle layer");
    if (futimens(upper_fd, times) < 0)
        return err_sys(errno, "settle layer");
    *ret_size = s.bytes;
    return NULL;
}
