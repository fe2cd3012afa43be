/* SPDX-License-Identifier: Apache-2.0 */
/* Writable children of snapshots.  work/<id>/fs is the upper folder and becomes the layer's directory by a
 * rename; overlayfs's own folder is work/<id>.w beside it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "snapshot/internal.h"

struct active {
    struct store *store;
    struct snapshot *parent; /* NULL: scratch */
    char id[LAYER_ID_LEN + 1];
    char overlay_name[LAYER_ID_LEN + 3]; /* <id>.w */
    int upper_fd;
    int mount_fd;
    char *attached;
};

static int make_dir(int dir_fd, const char *name, mode_t mode)
{
    if (mkdirat(dir_fd, name, mode) < 0)
        return -errno;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 ? fd : -errno;
}

/* The new root folder looks as the one below it. */
static int copy_root_metadata(struct active *a)
{
    struct stat st = { .st_mode = 0755 };
    if (a->parent != NULL && a->parent->count > 0) {
        CLEANUP(closep) int lower = layer_dir(a->store, snapshot_top(a->parent));
        if (lower < 0 || fstat(lower, &st) < 0)
            return lower < 0 ? lower : -errno;
    }
    if (fchown(a->upper_fd, st.st_uid, st.st_gid) < 0 || fchmod(a->upper_fd, st.st_mode & 07777) < 0)
        return -errno;
    return 0;
}

static struct error *prepare(struct active *a)
{
    int work_fd = store_work_fd(a->store);
    CLEANUP(closep) int dir = make_dir(work_fd, a->id, 0700);
    TRY_SYS(dir, "create a writable layer");
    a->upper_fd = make_dir(dir, "fs", 0755);
    TRY_SYS(a->upper_fd, "create a writable layer");
    TRY_SYS(copy_root_metadata(a), "create a writable layer");
    CLEANUP(closep) int overlay_work = make_dir(work_fd, a->overlay_name, 0700);
    TRY_SYS(overlay_work, "create a writable layer");
    return overlay_mount(a->store, a->parent, a->upper_fd, overlay_work, false, &a->mount_fd);
}

struct error *active_begin(struct store *s, struct snapshot *parent, struct active **ret)
{
    if (parent != NULL && parent->tree != NULL)
        return err_new(ERR_INVALID, "a tree snapshot cannot have children");
    struct active *a = NEW(struct active);
    a->store = s;
    a->parent = snapshot_ref(parent);
    a->upper_fd = a->mount_fd = -1;
    random_id(a->id, LAYER_ID_LEN);
    snprintf(a->overlay_name, sizeof(a->overlay_name), "%s.w", a->id);
    struct error *e = prepare(a);
    if (e != NULL)
        active_abandon(a);
    else
        *ret = a;
    return e;
}

int active_fd(const struct active *a)
{
    return a->mount_fd;
}

int active_upper_fd(const struct active *a)
{
    return a->upper_fd;
}

struct error *active_attach(struct active *a, const char *path)
{
    if (move_mount(a->mount_fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return err_sys(errno, "attach at \"%s\"", path);
    a->attached = xstrdup(path);
    return NULL;
}

static void unmount(struct active *a)
{
    if (a->attached != NULL && umount2(a->attached, MNT_DETACH) < 0)
        log_warn("cannot unmount", "path", a->attached);
    free(TAKE(a->attached));
    if (a->mount_fd >= 0)
        close(TAKE_FD(a->mount_fd));
}

static void active_free(struct active *a)
{
    unmount(a);
    if (a->upper_fd >= 0)
        close(a->upper_fd);
    snapshot_unref(a->parent);
    free(a);
}

void active_abandon(struct active *a)
{
    if (a == NULL)
        return;
    unmount(a);
    store_discard(a->store, a->id);
    store_discard(a->store, a->overlay_name);
    active_free(a);
}

static struct error *settle(struct active *a, int64_t *ret_size)
{
    CLEANUP(closep) int lower = -1;
    if (a->parent != NULL && a->parent->count > 0)
        TRY(snapshot_mount_ro(a->parent, &lower));
    return settle_layer(a->upper_fd, lower, ret_size);
}

struct error *active_commit(struct active *a, const char *description, const char *type,
                            struct snapshot **ret)
{
    int64_t size;
    unmount(a);
    TRY(settle(a, &size));
    struct layer_row row = { .id = a->id,
                             .parent = (char *)snapshot_top(a->parent),
                             .size = size,
                             .created_ns = now_ns(),
                             .description = (char *)description,
                             .type = (char *)type };
    struct lease *l;
    TRY(lease_open(a->store, &l));
    struct error *e = layer_publish(a->store, l, a->id, &row);
    if (e == NULL)
        e = snapshot_extend(a->store, a->parent, a->id, ret);
    lease_close(l);
    if (e == NULL) {
        store_discard(a->store, a->overlay_name);
        active_free(a);
    }
    return e;
}
