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
#include "base/limits.h"
#include "base/log.h"
#include "io/copy.h"
#include "io/path.h"
#include "snapshot/internal.h"

#define LINKS_LATER 64 /* descriptors that wait for a commit */

/* A file to be replaced by a link once the overlay is gone. */
struct later {
    char *path; /* in the upper folder */
    int from_fd;
};

struct active {
    struct store *store;
    struct snapshot *parent; /* NULL: scratch */
    char id[LAYER_ID_LEN + 1];
    char overlay_name[LAYER_ID_LEN + 3]; /* <id>.w */
    int upper_fd;
    int mount_fd;
    char *attached;
    struct later later[LINKS_LATER];
    size_t later_count;
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

bool active_link_later(struct active *a, int to_fd, int from_fd)
{
    char name[32], path[LIMIT_PATH];
    struct stat to, from;
    ssize_t n;
    int fd;

    if (a->later_count == LINKS_LATER || fstat(from_fd, &from) < 0 || fstat(a->upper_fd, &to) < 0 ||
        from.st_dev != to.st_dev)
        return false;
    fd_path(name, to_fd);
    n = readlink(name, path, sizeof(path) - 1);
    if (n <= 0 || path[0] != '/')
        return false;
    path[n] = '\0';
    /* a detached mount's files are named from its root: believe it only if that is the file */
    CLEANUP(closep) int again = path_open(a->mount_fd, path, O_PATH | O_NOFOLLOW, 0);
    struct stat st;
    if (again < 0 || fstat(again, &st) < 0 || fstat(to_fd, &to) < 0 || st.st_ino != to.st_ino ||
        st.st_dev != to.st_dev)
        return false;
    fd = fcntl(from_fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return false;
    a->later[a->later_count++] = (struct later){ xstrdup(path), fd };
    return true;
}

static void drop_later(struct active *a)
{
    while (a->later_count > 0) {
        struct later *l = &a->later[--a->later_count];
        free(l->path);
        close(l->from_fd);
    }
}

/* Where a link cannot be made (too many of that file): the content after all. */
static int write_content(int parent, const char *base, int from_fd)
{
    CLEANUP(closep) int to = openat(parent, base, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    char name[32];
    struct stat st;
    int r;

    if (to < 0 || fstat(to, &st) < 0)
        return -errno;
    fd_path(name, from_fd);
    CLEANUP(closep) int from = open(name, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return -errno;
    r = copy_content(from, to, -1);
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, st.st_mtim };
    return r == 0 && futimens(to, times) < 0 ? -errno : r;
}

/* The overlay is unmounted: the upper folder is an ordinary tree of ours. */
static struct error *link_now(struct active *a)
{
    for (size_t i = 0; i < a->later_count; i++) {
        const struct later *l = &a->later[i];
        CLEANUP(freep) char *base = NULL;
        CLEANUP(closep) int parent = path_open_parent(a->upper_fd, l->path, false, 0, &base);
        char temporary[32] = ".minke-";
        int r = 0;

        TRY_SYS(parent, "settle \"%s\"", l->path);
        random_hex(temporary + 7, 8);
        if (linkat(l->from_fd, "", parent, temporary, AT_EMPTY_PATH) < 0)
            r = write_content(parent, base, l->from_fd);
        else if (renameat(parent, temporary, parent, base) < 0)
            r = -errno;
        TRY_SYS(r, "settle \"%s\"", l->path);
    }
    drop_later(a);
    return NULL;
}

static void active_free(struct active *a)
{
    drop_later(a);
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
    TRY(link_now(a));
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
