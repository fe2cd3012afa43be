/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Overlay mounts by the new mount API: layers are named one by one through descriptors, so neither a page of
 * options nor a path with a colon is a limit.  Kernels before 6.5 get one string of short paths and mount(2),
 * cloned from a temporary place.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "snapshot/internal.h"

/* Descriptors of a stack: lower[0] is the uppermost. */
struct stack {
    int *lower;
    size_t count;
    int upper, work; /* borrowed, -1 none */
    bool lasting;    /* the upper folder outlives this mount */
};

static void stack_deinit(struct stack *k)
{
    for (size_t i = 0; i < k->count; i++)
        close(k->lower[i]);
    free(k->lower);
}

static int open_empty(struct store *s)
{
    if (mkdirat(store_work_fd(s), "empty", 0755) < 0 && errno != EEXIST)
        return -errno;
    int fd = openat(store_work_fd(s), "empty", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

/* Is layer `at` there a second time, further up?  An image may hold equal layers (two steps that changed
 * nothing), overlayfs refuses the same folder twice, and all that a layer says stands or falls with its
 * uppermost copy. */
static bool is_repeated(const struct strv *layers, size_t at)
{
    for (size_t i = at + 1; i < layers->len; i++)
        if (streq(layers->v[i], layers->v[at]))
            return true;
    return false;
}

/* Below all layers, in any order: they are empty directories.  Where no more fit, whiteouts may be listed. */
static struct error *open_skeletons(struct store *s, const struct strv *layers, struct stack *k)
{
    for (size_t i = 0; i < layers->len && k->count < LIMIT_LAYERS; i++) {
        int fd = layer_skeleton(s, layers->v[i]);
        if (fd == -ENOENT)
            continue;
        TRY_SYS(fd, "open the skeleton of layer %s", layers->v[i]);
        if (is_repeated(layers, i))
            close(fd);
        else
            k->lower[k->count++] = fd;
    }
    return NULL;
}

static struct error *open_stack(struct store *s, const struct strv *layers, struct stack *k)
{
    if (layers->len > LIMIT_LAYERS)
        return err_new(ERR_EXHAUSTED, "%zu layers are more than the %d that one mount can hold", layers->len,
                       LIMIT_LAYERS);
    k->lower = xcalloc(2 * layers->len + 2, sizeof(int));
    for (size_t i = layers->len; i > 0; i--) {
        if (is_repeated(layers, i - 1))
            continue;
        int fd = layer_dir(s, layers->v[i - 1]);
        TRY_SYS(fd, "open layer %s", layers->v[i - 1]);
        k->lower[k->count++] = fd;
    }
    TRY(open_skeletons(s, layers, k));
    /* overlayfs wants one lower folder below an upper one, and two without */
    size_t want = k->upper >= 0 ? 1 : 2;
    while (k->count < want) {
        int fd = open_empty(s);
        TRY_SYS(fd, "open an empty folder");
        k->lower[k->count++] = fd;
    }
    return NULL;
}

static int set_string(int fs_fd, const char *key, const char *value)
{
    return fsconfig(fs_fd, FSCONFIG_SET_STRING, key, value, 0) < 0 ? -errno : 0;
}

static int set_path(int fs_fd, const char *key, int fd)
{
    char path[32];
    fd_path(path, fd);
    return set_string(fs_fd, key, path);
}

/* Options that keep a layer portable, and the one that spares the disk: the store syncs what it keeps. */
static int set_options(int fs_fd, const struct stack *k)
{
    static const char *const options[][2] = {
        { "index", "off" }, { "metacopy", "off" }, { "redirect_dir", "nofollow" }, { "xino", "off" }
    };
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        int r = set_string(fs_fd, options[i][0], options[i][1]);
        if (r < 0 && r != -EINVAL) /* an older kernel does not know it, nor do it */
            return r;
    }
    /* overlayfs never mounts a volatile upper folder again */
    bool once = k->upper >= 0 && !k->lasting;
    if (once && fsconfig(fs_fd, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0 && errno != EINVAL)
        return -errno;
    return 0;
}

static int configure(int fs_fd, const struct stack *k)
{
    int r = set_string(fs_fd, "source", "overlay"); /* what df and /proc/mounts call it */
    for (size_t i = 0; r == 0 && i < k->count; i++)
        r = set_path(fs_fd, "lowerdir+", k->lower[i]);
    if (r == 0 && k->upper >= 0) {
        r = set_path(fs_fd, "upperdir", k->upper);
        if (r == 0)
            r = set_path(fs_fd, "workdir", k->work);
    }
    if (r == 0)
        r = set_options(fs_fd, k);
    if (r == 0 && fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        r = -errno;
    return r;
}

static int mount_new(const struct stack *k)
{
    CLEANUP(closep) int fs_fd = fsopen("overlay", FSOPEN_CLOEXEC);
    if (fs_fd < 0)
        return -errno;
    int r = configure(fs_fd, k);
    if (r < 0)
        return r;
    int fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, k->upper >= 0 ? 0 : MOUNT_ATTR_RDONLY);
    return fd >= 0 ? fd : -errno;
}

/* mount(2) on a temporary folder, cloned and taken off again. */
static int mount_old(struct store *s, const struct stack *k)
{
    CLEANUP(buf_deinit) struct buf options = { 0 };
    char name[LAYER_ID_LEN + 1];
    buf_adds(&options, "index=off,lowerdir=");
    for (size_t i = 0; i < k->count; i++)
        buf_addf(&options, "%s/proc/self/fd/%d", i > 0 ? ":" : "", k->lower[i]);
    if (k->upper >= 0)
        buf_addf(&options, ",upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d", k->upper, k->work);
    if (options.len >= 4096)
        return -E2BIG;
    random_id(name, LAYER_ID_LEN);
    if (mkdirat(store_work_fd(s), name, 0700) < 0)
        return -errno;
    CLEANUP(freep) char *target = store_work_path(s, name);
    int fd = -1;
    int r = mount("overlay", target, "overlay", k->upper >= 0 ? 0 : MS_RDONLY, options.data) < 0 ? -errno : 0;
    if (r == 0) {
        fd = open_tree(AT_FDCWD, target, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        r = fd < 0 ? -errno : 0;
        umount2(target, MNT_DETACH);
    }
    unlinkat(store_work_fd(s), name, AT_REMOVEDIR);
    return r < 0 ? r : fd;
}

/* A folder as a read-only mount of its own. */
static int mount_tree(int dir_fd, const char *path)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
    int fd = open_tree(dir_fd, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 && errno != ENOSYS) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

/* Known after the first mount. */
static atomic_bool kernel_is_old;

static struct error *mount_layers(struct store *s, const struct strv *layers, int upper_fd, int work_fd,
                                  bool lasting, int *ret_fd)
{
    CLEANUP(stack_deinit) struct stack k = { .upper = upper_fd, .work = work_fd, .lasting = lasting };
    if (layers->len == 0 && upper_fd < 0) { /* overlayfs refuses the same empty folder twice */
        CLEANUP(closep) int empty = open_empty(s);
        int mounted = empty < 0 ? empty : mount_tree(store_work_fd(s), "empty");
        TRY_SYS(mounted, "mount an empty folder");
        *ret_fd = mounted;
        return NULL;
    }
    TRY(open_stack(s, layers, &k));
    int fd = atomic_load(&kernel_is_old) ? -EINVAL : mount_new(&k);
    if (fd == -EINVAL || fd == -ENOSYS) {
        int old = mount_old(s, &k);
        if (old >= 0)
            atomic_store(&kernel_is_old, true);
        fd = old;
    }
    TRY_SYS(fd, "mount %zu layers", layers->len);
    *ret_fd = fd;
    return NULL;
}

struct error *overlay_mount_ids(struct store *s, const struct strv *layers, int *ret_fd)
{
    return mount_layers(s, layers, -1, -1, false, ret_fd);
}

struct error *overlay_mount(struct store *s, const struct snapshot *snap, int upper_fd, int work_fd,
                            bool lasting, int *ret_fd)
{
    CLEANUP(strv_deinit) struct strv ids = { 0 };
    for (size_t i = 0; snap != NULL && i < snap->count; i++)
        strv_add(&ids, snap->layers[i]);
    return mount_layers(s, &ids, upper_fd, work_fd, lasting, ret_fd);
}

static struct error *complete(const struct snapshot *s)
{
    return s->tree_ops->complete != NULL ? s->tree_ops->complete(s->tree_ctx) : NULL;
}

struct error *snapshot_mount_ro(struct snapshot *s, int *ret_fd)
{
    if (s->tree == NULL)
        return overlay_mount(s->store, s, -1, -1, false, ret_fd);
    TRY(complete(s));
    int fd = mount_tree(AT_FDCWD, s->tree);
    TRY_SYS(fd, "mount \"%s\"", s->tree);
    *ret_fd = fd;
    return NULL;
}

struct error *snapshot_open_tree(struct snapshot *s, int *ret_fd)
{
    assert(s->tree != NULL);
    TRY(complete(s));
    int fd = open(s->tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(errno, "open \"%s\"", s->tree);
    *ret_fd = fd;
    return NULL;
}

struct error *snapshot_mount_rw(struct snapshot *s, const char *upper, const char *work, int *ret_fd)
{
    CLEANUP(closep) int upper_fd = open(upper, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(closep) int work_fd = open(work, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (s->tree != NULL)
        return err_new(ERR_INVALID, "a tree snapshot cannot have children");
    if (upper_fd < 0 || work_fd < 0)
        return err_sys(errno, "open \"%s\"", upper_fd < 0 ? upper : work);
    return overlay_mount(s->store, s, upper_fd, work_fd, true, ret_fd);
}
