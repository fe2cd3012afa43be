/* SPDX-License-Identifier: Apache-2.0 */
#include "session/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/bytes.h"
#include "io/path.h"

void place_init(struct place *p, int dir_fd)
{
    *p = (struct place){
        .dir_fd = dir_fd, .umask = process_umask(), .uid = geteuid(), .gid = getegid(), .parent_fd = -1
    };
}

/* Each way in that changes the tree begins with this. */
static int announce_change(struct place *p)
{
    int r = p->changing == NULL || p->changed ? 0 : p->changing(p->ctx);

    p->changed = true;
    return r;
}

void place_deinit(struct place *p)
{
    free(p->parent);
    closep(&p->parent_fd);
}

static int open_strict(int dir_fd, const char *path, int flags, mode_t mode)
{
    struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC | O_NOFOLLOW),
                            .mode = mode,
                            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
    long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));

    return fd < 0 ? -errno : (int)fd;
}

/* The directory that holds `path`; borrowed until the next call.  Entries come in order: it seldom changes.
 */
static int parent_of(struct place *p, const char *path, const char **ret_base)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash != NULL ? (size_t)(slash - path) : 0;

    *ret_base = slash != NULL ? slash + 1 : path;
    if (slash == NULL)
        return p->dir_fd;
    if (p->parent != NULL && strlen(p->parent) == len && memcmp(p->parent, path, len) == 0)
        return p->parent_fd;
    closep(&p->parent_fd);
    p->parent_fd = -1;
    free(p->parent);
    p->parent = xstrndup(path, len);
    int fd = open_strict(p->dir_fd, p->parent, O_PATH | O_DIRECTORY, 0);

    if (fd < 0) {
        free(TAKE(p->parent));
        return fd;
    }
    return p->parent_fd = fd;
}

static void forget_parent(struct place *p)
{
    closep(&p->parent_fd);
    p->parent_fd = -1;
    free(TAKE(p->parent));
}

/* ---- removal ---- */

int place_remove(struct place *p, const char *path)
{
    const char *base;
    int r = announce_change(p), fd = r < 0 ? r : parent_of(p, path, &base);

    if (fd < 0)
        return fd;
    if (unlinkat(fd, base, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    r = path_remove_all(fd, base);
    forget_parent(p);
    return r;
}

int place_clear(struct place *p)
{
    int fd = openat(p->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    int r = 0;

    if (d == NULL) {
        r = -errno;
        closep(&fd);
        return r;
    }
    for (struct dirent *one; r == 0 && (one = readdir(d)) != NULL;) {
        if (streq(one->d_name, ".") || streq(one->d_name, ".."))
            continue;
        r = announce_change(p);
        if (r == 0)
            r = path_remove_all(p->dir_fd, one->d_name);
    }
    closedir(d);
    return r;
}

/* ---- metadata ---- */

static struct timespec to_timespec(int64_t ns)
{
    int64_t rest = ns % NS_PER_SEC;

    if (rest < 0)
        rest += NS_PER_SEC;
    return (struct timespec){ .tv_sec = (ns - rest) / NS_PER_SEC, .tv_nsec = rest };
}

static bool owner_differs(const struct place *p, const struct sync_entry *e)
{
    return p->group_sticks || e->uid != p->uid || e->gid != p->gid;
}

/* Attributes of overlayfs would change what a layer means; a foreign tree has no say in that.  Capabilities
 * of files do not survive in the original, which sets the owner last: the layers of both are to be equal. */
static bool xattr_allowed(const char *key)
{
    return !str_has_prefix(key, "trusted.overlay.") && !str_has_prefix(key, "user.overlay.") &&
           !streq(key, "security.capability");
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* What a filesystem or a file type cannot hold is left out, as the original does. */
static void set_xattrs(const struct sync_entry *e, int fd, const char *path)
{
    const uint8_t *p = e->xattrs, *end;

    if (e->xattrs_len == 0)
        return;
    end = p + e->xattrs_len;
    while (p < end) {
        uint32_t key_len = get_u32(p);
        CLEANUP(freep) char *key = xstrndup((const char *)p + 4, key_len);

        p += 4 + key_len;
        uint32_t len = get_u32(p);

        if (xattr_allowed(key)) {
            if (path != NULL)
                (void)!lsetxattr(path, key, p + 4, len, 0);
            else
                (void)!fsetxattr(fd, key, p + 4, len, 0);
        }
        p += 4 + len;
    }
}

/* Owner first: changing it clears setuid and capabilities. */
static int set_owner_mode(struct place *p, int fd, const struct sync_entry *e, bool force_mode)
{
    mode_t mode = go_mode_to_stat(e->mode) & 07777;
    bool owner = owner_differs(p, e);

    if (owner && fchown(fd, e->uid, e->gid) < 0)
        return -errno;
    if ((force_mode || owner || (mode & 07000) != 0 || (mode & p->umask) != 0) && fchmod(fd, mode) < 0)
        return -errno;
    set_xattrs(e, fd, NULL);
    return 0;
}

int place_finish(struct place *p, int fd, const struct sync_entry *e)
{
    struct timespec t = to_timespec(e->mtime_ns), both[2] = { t, t };
    int r = set_owner_mode(p, fd, e, false);

    if (r == 0 && futimens(fd, both) < 0)
        r = -errno;
    return r;
}

int place_update_dir(struct place *p, const struct sync_entry *e)
{
    int r = announce_change(p);
    CLEANUP(closep) int fd = r < 0 ? r : open_strict(p->dir_fd, e->path, O_RDONLY | O_DIRECTORY, 0);

    if (fd < 0)
        return fd;
    p->group_sticks |= (e->mode & GO_MODE_SETGID) != 0;
    if (fchown(fd, e->uid, e->gid) < 0)
        return -errno;
    return set_owner_mode(p, fd, e, true);
}

int place_touch(struct place *p, const struct sync_entry *e)
{
    int r = announce_change(p);
    CLEANUP(closep) int fd = r < 0 ? r : open_strict(p->dir_fd, e->path, O_RDONLY | O_DIRECTORY, 0);
    struct timespec t = to_timespec(e->mtime_ns), both[2] = { t, t };

    if (fd < 0)
        return fd;
    return futimens(fd, both) < 0 ? -errno : 0;
}

/* ---- making ---- */

/* Metadata of what cannot be opened: by directory and name. */
static int finish_node(struct place *p, int parent, const char *base, const struct sync_entry *e)
{
    struct timespec t = to_timespec(e->mtime_ns), both[2] = { t, t };
    bool link = (e->mode & GO_MODE_SYMLINK) != 0;

    if (owner_differs(p, e) && fchownat(parent, base, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    int r = link ? 0 : path_chmod(parent, base, go_mode_to_stat(e->mode) & 07777);

    if (r < 0)
        return r;
    if (e->xattrs_len > 0) {
        char dir[32];

        fd_path(dir, parent);
        CLEANUP(freep) char *path = xasprintf("%s/%s", dir, base);

        set_xattrs(e, -1, path);
    }
    return utimensat(parent, base, both, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int make_dir(struct place *p, int parent, const char *base, const struct sync_entry *e)
{
    if (mkdirat(parent, base, go_mode_to_stat(e->mode) & 0777) < 0)
        return -errno;
    bool plain = !owner_differs(p, e) &&
                 (e->mode & (GO_MODE_SETUID | GO_MODE_SETGID | GO_MODE_STICKY)) == 0 &&
                 (e->mode & 0777 & p->umask) == 0 && e->xattrs_len == 0;

    return plain ? 0 : place_update_dir(p, e);
}

int place_make(struct place *p, const struct sync_entry *e)
{
    const char *base;
    int r = announce_change(p), parent = r < 0 ? r : parent_of(p, e->path, &base);

    if (parent < 0)
        return parent;
    if ((e->mode & GO_MODE_DIR) != 0)
        return make_dir(p, parent, base, e);
    if ((e->mode & GO_MODE_SYMLINK) != 0) {
        if (symlinkat(e->linkname != NULL ? e->linkname : "", parent, base) < 0)
            return -errno;
    } else if (mknodat(parent, base, go_mode_to_stat(e->mode),
                       makedev((unsigned)e->devmajor, (unsigned)e->devminor)) < 0) {
        return -errno;
    }
    return finish_node(p, parent, base, e);
}

int place_link(struct place *p, const struct sync_entry *e)
{
    int r = announce_change(p);
    CLEANUP(closep) int target = r < 0 ? r : open_strict(p->dir_fd, e->linkname, O_PATH, 0);
    const char *base;
    char path[32];

    if (target < 0)
        return target;
    int parent = parent_of(p, e->path, &base);

    if (parent < 0)
        return parent;
    fd_path(path, target);
    return linkat(AT_FDCWD, path, parent, base, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int place_create(struct place *p, const struct sync_entry *e)
{
    int r = announce_change(p);

    return r < 0 ? r
                 : open_strict(p->dir_fd, e->path, O_WRONLY | O_CREAT | O_EXCL,
                               go_mode_to_stat(e->mode) & 0777);
}
