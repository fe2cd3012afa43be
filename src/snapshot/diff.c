/* SPDX-License-Identifier: Apache-2.0 */
/* What one snapshot has over another: a suffix of its layers, or a new layer made by comparing the two trees.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "snapshot/internal.h"
#include "task/task.h"

static bool is_prefix(const struct snapshot *lower, const struct snapshot *upper)
{
    if (lower->count > upper->count)
        return false;
    for (size_t i = 0; i < lower->count; i++) {
        if (!streq(lower->layers[i], upper->layers[i]))
            return false;
    }
    return true;
}

static struct error *suffix(struct snapshot *upper, size_t from, struct snapshot **ret)
{
    CLEANUP(strv_deinit) struct strv layers = { 0 };
    for (size_t i = from; i < upper->count; i++)
        strv_add(&layers, upper->layers[i]);
    return snapshot_make(upper->store, &layers, ret);
}

/* ---- comparing trees -------------------------------------------------------------------------------------
 */

struct compare {
    struct map links; /* inode of the upper view -> path in the new layer */
    int out_root;
    int64_t bytes;
};

static int compare_dirs(struct compare *c, int lower, int upper, int out, const char *path, int depth,
                        bool *any);

/* lower's entry: 1 there, 0 not, negative errno. */
static int stat_in(int dir_fd, const char *name, struct stat *ret)
{
    if (dir_fd < 0)
        return 0;
    if (fstatat(dir_fd, name, ret, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
}

static int open_dir(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

static int compare_dir(struct compare *c, int lower, int upper, int out, const char *name,
                       const struct stat *st, const char *path, int depth, bool *any)
{
    struct stat below;
    bool changed = false;
    int exists = stat_in(lower, name, &below);
    if (exists < 0)
        return exists;
    bool both = exists > 0 && S_ISDIR(below.st_mode);
    CLEANUP(closep) int up = open_dir(upper, name);
    CLEANUP(closep) int low = both ? open_dir(lower, name) : -1;
    if (up < 0 || (both && low < 0))
        return up < 0 ? up : low;
    if (mkdirat(out, name, 0700) < 0)
        return -errno;
    CLEANUP(closep) int dir = open_dir(out, name);
    if (dir < 0)
        return dir;
    int r = compare_dirs(c, low, up, dir, path, depth + 1, &changed);
    int same = r == 0 && both ? same_entry(upper, name, st, lower, name, &below) : 0;
    if (r < 0 || same < 0)
        return r < 0 ? r : same;
    if (same > 0 && !changed)
        return unlinkat(out, name, AT_REMOVEDIR) < 0 ? -errno : 0;
    *any = true;
    c->bytes += 4096;
    return copy_metadata(up, st, dir);
}

static int compare_other(struct compare *c, int lower, int upper, int out, const char *name,
                         const struct stat *st, const char *path, bool *any)
{
    struct stat below;
    char key[48];
    int exists = stat_in(lower, name, &below);
    int same = exists > 0 ? same_entry(upper, name, st, lower, name, &below) : exists;
    if (same != 0)
        return MIN(same, 0);
    *any = true;
    if (st->st_nlink > 1) {
        snprintf(key, sizeof(key), "%llx:%llx", (unsigned long long)st->st_dev,
                 (unsigned long long)st->st_ino);
        const char *first = strmap_get(&c->links, key);
        if (first != NULL)
            return linkat(c->out_root, first, out, name, 0) < 0 ? -errno : 0;
        strmap_set(&c->links, key, path);
    }
    c->bytes += S_ISREG(st->st_mode) ? (int64_t)st->st_blocks * 512 : 0;
    return copy_entry(upper, name, st, out, name);
}

static int hide_removed(int lower, int upper, int out, bool *any)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    struct stat st;
    int r = lower >= 0 ? list_dir(lower, &names) : 0;
    for (size_t i = 0; r == 0 && i < names.len; i++) {
        int exists = stat_in(upper, names.v[i], &st);
        if (exists < 0)
            return exists;
        if (exists > 0)
            continue;
        r = make_whiteout(out, names.v[i]);
        *any = true;
    }
    return r;
}

static int compare_dirs(struct compare *c, int lower, int upper, int out, const char *path, int depth,
                        bool *any)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    int r = depth > LIMIT_PATH_DEPTH ? -ENAMETOOLONG : task_check_sys();
    if (r == 0)
        r = list_dir(upper, &names);
    for (size_t i = 0; r == 0 && i < names.len; i++) {
        struct stat st;
        CLEANUP(freep) char *child = xasprintf("%s%s%s", path, *path != '\0' ? "/" : "", names.v[i]);
        if (fstatat(upper, names.v[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
            r = -errno;
        else if (S_ISDIR(st.st_mode))
            r = compare_dir(c, lower, upper, out, names.v[i], &st, child, depth, any);
        else
            r = compare_other(c, lower, upper, out, names.v[i], &st, child, any);
    }
    return r < 0 ? r : hide_removed(lower, upper, out, any);
}

static struct error *compare_into(struct snapshot *lower, struct snapshot *upper, int out, int64_t *ret_bytes)
{
    struct compare c = { .out_root = out };
    CLEANUP(closep) int low = -1;
    CLEANUP(closep) int up = -1;
    struct stat st;
    bool any = false;
    TRY(snapshot_mount_ro(lower, &low));
    TRY(snapshot_mount_ro(upper, &up));
    if (fstat(up, &st) < 0 || fchown(out, st.st_uid, st.st_gid) < 0 || fchmod(out, st.st_mode & 07777) < 0)
        return err_sys(errno, "compare snapshots");
    strmap_init(&c.links);
    int r = compare_dirs(&c, low, up, out, "", 0, &any);
    map_deinit(&c.links);
    *ret_bytes = c.bytes;
    return r < 0 ? task_error(r, "compare snapshots") : NULL;
}

static struct error *make_difference(struct store *s, struct snapshot *lower, struct snapshot *upper,
                                     const char *id, struct snapshot **ret)
{
    CLEANUP(freep) char *path = xasprintf("%s/fs", id);
    int64_t bytes = 0;
    if (mkdirat(store_work_fd(s), id, 0700) < 0 || mkdirat(store_work_fd(s), path, 0755) < 0)
        return err_sys(errno, "create a layer");
    CLEANUP(closep) int out = openat(store_work_fd(s), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (out < 0)
        return err_sys(errno, "create a layer");
    TRY(compare_into(lower, upper, out, &bytes));
    struct layer_row row = {
        .id = (char *)id, .size = bytes, .created_ns = now_ns(), .description = (char *)"diff"
    };
    struct lease *l;
    TRY(lease_open(s, &l));
    struct error *e = layer_publish(s, l, id, &row);
    if (e == NULL)
        e = snapshot_extend(s, NULL, id, ret);
    lease_close(l);
    return e;
}

struct error *snapshot_diff(struct store *s, struct snapshot *lower, struct snapshot *upper,
                            struct snapshot **ret)
{
    if ((lower != NULL && lower->tree != NULL) || (upper != NULL && upper->tree != NULL))
        return err_new(ERR_INVALID, "a tree snapshot has no layers to compare");
    if (lower == NULL || lower->count == 0) {
        *ret = upper != NULL ? snapshot_ref(upper) : snapshot_empty(s);
        return NULL;
    }
    CLEANUP(snapshot_unrefp) struct snapshot *empty = upper == NULL ? snapshot_empty(s) : NULL;
    CLEANUP(snapshot_unrefp) struct snapshot *diff = NULL;
    struct snapshot *up = upper != NULL ? upper : empty;
    if (is_prefix(lower, up)) {
        TRY(suffix(up, lower->count, &diff));
    } else {
        char id[LAYER_ID_LEN + 1];
        random_id(id, LAYER_ID_LEN);
        struct error *e = make_difference(s, lower, up, id, &diff);
        if (e != NULL) {
            store_discard(s, id);
            return e;
        }
    }
    TRY(snapshot_make_skeletons(diff));
    *ret = TAKE(diff);
    return NULL;
}
