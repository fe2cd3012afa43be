/* SPDX-License-Identifier: Apache-2.0 */
#include "run/bundle.h"

#include "io/path.h"
#include "io/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define BUNDLE_SIZE "67108864"
#define UNIFIED_CGROUP "/sys/fs/cgroup/unified"
#define SOCKET_BACKLOG 64

/* ---- the tmpfs
 * ----------------------------------------------------------------------------------------------------------------
 */

static int tmpfs_new(void)
{
    CLEANUP(closep) int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);

    if (fs < 0)
        return -errno;
    if (fsconfig(fs, FSCONFIG_SET_STRING, "source", "minke", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 ||
        fsconfig(fs, FSCONFIG_SET_STRING, "size", BUNDLE_SIZE, 0) < 0)
        return -errno;
    /* Secrets stay out of swap where the kernel (6.4) can promise that. */
    if (fsconfig(fs, FSCONFIG_SET_FLAG, "noswap", NULL, 0) < 0 && errno != EINVAL)
        return -errno;
    if (fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    int fd = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    return fd < 0 ? -errno : fd;
}

struct error *bundle_init(struct bundle *b, const char *path)
{
    static const char *const dirs[] = { "rootfs", "m", "f", "d" };
    int fd = tmpfs_new();

    memset(b, 0, sizeof(*b));
    b->dir_fd = -1;
    b->root.fd = -1;
    if (fd < 0)
        return err_sys(-fd, "make the tmpfs of a bundle");
    b->dir_fd = fd;
    b->path = path;
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        if (mkdirat(fd, dirs[i], 0700) < 0)
            return err_sys(errno, "make %s in a bundle", dirs[i]);
    return NULL;
}

static void mount_deinit(struct bundle_mount *m)
{
    if (!m->borrowed && m->fd >= 0)
        close(m->fd);
    free(m->selector);
}

void bundle_deinit(struct bundle *b)
{
    if (b->path == NULL)
        return;
    mount_deinit(&b->root);
    for (size_t i = 0; i < b->mount_count; i++)
        mount_deinit(&b->mounts[i]);
    free(b->mounts);
    closep(&b->dir_fd);
    memset(b, 0, sizeof(*b));
    b->dir_fd = -1;
    b->root.fd = -1;
}

struct error *bundle_write(struct bundle *b, const char *name, const void *data, size_t len)
{
    CLEANUP(closep)
    int fd = openat(b->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_sys(errno, "create %s in a bundle", name);
    TRY_SYS(fd_write_all(fd, data, len), "write %s in a bundle", name);
    return NULL;
}

void bundle_read(struct bundle *b, const char *name, struct buf *out, size_t limit)
{
    CLEANUP(closep) int fd = openat(b->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    char chunk[4096];
    ssize_t n;

    while (fd >= 0 && out->len < limit && (n = read(fd, chunk, MIN(sizeof(chunk), limit - out->len))) > 0)
        buf_add(out, chunk, (size_t)n);
}

static struct error *set_owner(struct bundle *b, const char *name, uint32_t uid, uint32_t gid, uint32_t mode)
{
    int r = fchownat(b->dir_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno
                                                                         : path_chmod(b->dir_fd, name, mode);

    TRY_SYS(r, "set owner and mode of %s in a bundle", name);
    return NULL;
}

struct error *bundle_add_file(struct bundle *b, const void *data, size_t len, uint32_t uid, uint32_t gid,
                              uint32_t mode, char **ret_path)
{
    char name[16];

    snprintf(name, sizeof(name), "f/%zu", b->file_count);
    TRY(bundle_write(b, name, data, len));
    TRY(set_owner(b, name, uid, gid, mode));
    b->file_count++;
    *ret_path = xasprintf("%s/%s", b->path, name);
    return NULL;
}

struct error *bundle_add_socket(struct bundle *b, uint32_t uid, uint32_t gid, uint32_t mode, int *ret_fd,
                                char **ret_path)
{
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    char name[16];

    if (fd < 0)
        return err_sys(errno, "make a socket");
    snprintf(name, sizeof(name), "f/%zu", b->file_count);
    /* The directory has no path out here, so it is named through its descriptor. */
    snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d/%s", b->dir_fd, name);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, SOCKET_BACKLOG) < 0)
        return err_sys(errno, "listen on a socket of a bundle");
    TRY(set_owner(b, name, uid, gid, mode));
    b->file_count++;
    *ret_path = xasprintf("%s/%s", b->path, name);
    *ret_fd = TAKE_FD(fd);
    return NULL;
}

/* ---- sources
 * ------------------------------------------------------------------------------------------------------------------
 */

static struct error *set_readonly(int mount_fd)
{
    struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

    if (mount_setattr(mount_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
        return err_sys(errno, "make a mount read-only");
    return NULL;
}

/* Clone what `fd` names.  *ret_fd is -1 when the kernel cannot: the mount is detached and the kernel older
 * than 6.15. */
static struct error *clone_tree(int fd, bool readonly, int *ret_fd)
{
    CLEANUP(closep)
    int clone = open_tree(fd, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

    if (clone < 0 && errno != EINVAL)
        return err_sys(errno, "clone a mount");
    if (clone >= 0 && readonly)
        TRY(set_readonly(clone));
    *ret_fd = TAKE_FD(clone);
    return NULL;
}

struct error *bundle_set_root(struct bundle *b, int root_fd)
{
    int fd = -1;

    TRY(clone_tree(root_fd, false, &fd));
    b->root.borrowed = fd < 0;
    b->root.fd = fd < 0 ? root_fd : fd;
    snprintf(b->root.point, sizeof(b->root.point), "rootfs");
    return NULL;
}

/* An empty file or directory to mount on. */
static struct error *make_point(struct bundle *b, const char *name, bool is_dir)
{
    int r = is_dir ? mkdirat(b->dir_fd, name, 0700) : mknodat(b->dir_fd, name, S_IFREG | 0600, 0);

    return r < 0 ? err_sys(errno, "make mount point %s in a bundle", name) : NULL;
}

static struct error *open_source(int source_fd, const char *selector, int *ret_fd)
{
    int fd = path_open(source_fd, selector != NULL ? selector : "/", O_PATH, 0);

    /* A file is its own root: nothing can be resolved inside it. */
    if (fd == -ENOTDIR && (selector == NULL || streq(selector, "/") || *selector == '\0'))
        fd = fcntl(source_fd, F_DUPFD_CLOEXEC, 3);
    TRY_SYS(fd, "%s", selector != NULL ? selector : "/");
    *ret_fd = fd;
    return NULL;
}

struct error *bundle_add_mount(struct bundle *b, int source_fd, const char *selector, bool readonly,
                               char **ret_path)
{
    CLEANUP(closep) int source = -1;
    struct bundle_mount m = { .fd = -1 };
    struct stat st;

    TRY(open_source(source_fd, selector, &source));
    if (fstat(source, &st) < 0)
        return err_sys(errno, "%s", selector != NULL ? selector : "/");
    TRY(clone_tree(source, readonly, &m.fd));
    snprintf(m.point, sizeof(m.point), "m/%zu", b->mount_count);
    snprintf(m.stage, sizeof(m.stage), "d/%zu", b->mount_count);
    if (m.fd < 0) {
        m.borrowed = true;
        m.fd = source_fd;
        m.selector = selector != NULL ? xstrdup(selector) : xstrdup("/");
    }
    b->mounts = xreallocarray(b->mounts, b->mount_count + 1, sizeof(m));
    b->mounts[b->mount_count++] = m;
    TRY(make_point(b, m.point, S_ISDIR(st.st_mode)));
    if (m.borrowed)
        TRY(make_point(b, m.stage, true));
    *ret_path = xasprintf("%s/%s", b->path, m.point);
    return NULL;
}

/* ---- in the child
 * -------------------------------------------------------------------------------------------------------------
 */

static int attach(int mount_fd, int at_fd, const char *path)
{
    return move_mount(mount_fd, "", at_fd, path, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

/* A detached mount that could not be cloned before: attach it as it is, then clone from there.  The same
 * mount may serve several sources; the first one attaches it, and the others find it attached. */
static int attach_staged(const struct bundle *b, const struct bundle_mount *m)
{
    struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
    int r = attach(m->fd, b->dir_fd, m->stage);

    if (r < 0 && r != -EINVAL)
        return r;
    int fd = (int)syscall(SYS_openat2, m->fd, m->selector, &how, sizeof(how));
    if (fd < 0)
        return -errno;
    int clone = open_tree(fd, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (clone < 0)
        return -errno;
    return attach(clone, b->dir_fd, m->point);
}

int bundle_enter(void *bundle)
{
    const struct bundle *b = bundle;
    int r;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    if (b->hide_unified_cgroup && umount2(UNIFIED_CGROUP, MNT_DETACH) < 0)
        return -errno;
    if (b->dir_fd < 0)
        return 0;
    r = attach(b->dir_fd, AT_FDCWD, b->path);
    if (r == 0 && b->root.fd >= 0)
        r = attach(b->root.fd, b->dir_fd, b->root.point);
    for (size_t i = 0; r == 0 && i < b->mount_count; i++) {
        const struct bundle_mount *m = &b->mounts[i];

        r = m->borrowed ? attach_staged(b, m) : attach(m->fd, b->dir_fd, m->point);
    }
    return r;
}
