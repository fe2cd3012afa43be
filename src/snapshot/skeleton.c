/* SPDX-License-Identifier: Apache-2.0 */
/*
 * skeleton.c - what a layer's whiteouts stand on where the layers below it are gone
 *
 * overlayfs hides whiteouts when it merges a directory from several layers; of a directory that only one
 * layer has, it shows them in the listing (and finds nothing when they are asked for).  A difference is a
 * layer without what it was made on, so beside it lies a skeleton: empty directories in the places of those
 * that hold whiteouts.  A mount puts it below all layers, where it shows nothing and makes those directories
 * merged ones.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "snapshot/internal.h"
#include "task/task.h"

static int find(int dir_fd, const char *path, int depth, struct strv *ret);

/* 1: a whiteout, 0: something else (searched, if it is a directory), negative errno. */
static int look(int dir_fd, const struct dirent *d, const char *path, int depth, struct strv *ret)
{
    struct stat st = { .st_mode = DTTOIF(d->d_type) };
    if (streq(d->d_name, ".") || streq(d->d_name, ".."))
        return 0;
    bool unsure = d->d_type == DT_CHR || d->d_type == DT_UNKNOWN;
    if (unsure && fstatat(dir_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return is_whiteout(&st);
    CLEANUP(freep) char *child = path_join(path, d->d_name);
    int fd = openat(dir_fd, d->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : find(fd, child, depth + 1, ret);
}

/* Paths of the directories in `dir_fd` (taken; not of itself) that hold whiteouts. `path` is where it is. */
static int find(int dir_fd, const char *path, int depth, struct strv *ret)
{
    DIR *dir = fdopendir(dir_fd);
    bool holds = false;
    if (dir == NULL) {
        close(dir_fd);
        return -errno;
    }
    int r = depth > LIMIT_PATH_DEPTH ? -ENAMETOOLONG : task_check_sys();
    while (r >= 0) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (d == NULL)
            break;
        r = look(dir_fd, d, path, depth, ret);
        holds = holds || r > 0;
    }
    if (r >= 0)
        r = -errno;
    closedir(dir);
    if (r == 0 && holds && depth > 0)
        strv_add(ret, path);
    return r;
}

static int make_dirs_of(int root_fd, const struct strv *paths)
{
    for (size_t i = 0; i < paths->len; i++) {
        CLEANUP(closep) int fd = path_mkdirs(root_fd, paths->v[i], 0755);
        if (fd < 0)
            return fd;
    }
    return 0;
}

static struct error *make(struct store *s, const char *layer_id, const struct strv *paths)
{
    char id[LAYER_ID_LEN + 1];
    random_id(id, LAYER_ID_LEN);
    if (mkdirat(store_work_fd(s), id, 0755) < 0)
        return err_sys(errno, "make a skeleton");
    CLEANUP(closep) int root = openat(store_work_fd(s), id, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = root < 0 ? -errno : make_dirs_of(root, paths);
    if (r == 0)
        return layer_skeleton_put(s, layer_id, id);
    store_discard(s, id);
    return task_error(r, "make a skeleton");
}

static struct error *make_one(struct store *s, const char *layer_id)
{
    CLEANUP(strv_deinit) struct strv paths = { 0 };
    CLEANUP(closep) int there = layer_skeleton(s, layer_id);
    if (there >= 0)
        return NULL;
    CLEANUP(closep) int layer = layer_dir(s, layer_id);
    int fd = layer < 0 ? layer : openat(layer, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd >= 0 ? find(fd, "/", 0, &paths) : layer < 0 ? layer : -errno;
    if (r < 0)
        return task_error(r, "look for whiteouts");
    return paths.len > 0 ? make(s, layer_id, &paths) : NULL;
}

struct error *snapshot_make_skeletons(struct snapshot *snap)
{
    for (size_t i = 0; i < snap->count; i++)
        TRY(make_one(snap->store, snap->layers[i]));
    return NULL;
}
