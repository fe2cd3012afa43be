/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/apply.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/limits.h"
#include "io/path.h"
#include "io/stream.h"
#include "oci/tar.h"
#include "task/task.h"

#define CHUNK (256 * KIB)
#define WHITEOUT ".wh."

struct dir_times {
    char *path;
    struct timespec times[2];
};

struct apply {
    int root_fd;
    struct tar_reader *tar;
    struct apply_result *result;
    struct map implied;     /* directories that no entry has described yet -> this struct; NULL: one has */
    struct dir_times *dirs; /* set at the end: filling a directory changes its times */
    size_t dir_count, dir_cap;
    char *parent_path; /* of the entry before, with its descriptor: archives are sorted */
    int parent_fd;
    char *chunk;
};

void apply_result_deinit(struct apply_result *r)
{
    strv_deinit(&r->implied);
    strv_deinit(&r->linked);
}

static void forget_parent(struct apply *a)
{
    free(TAKE(a->parent_path));
    if (a->parent_fd >= 0)
        close(TAKE_FD(a->parent_fd));
}

static void apply_deinit(struct apply *a)
{
    forget_parent(a);
    map_deinit(&a->implied);
    for (size_t i = 0; i < a->dir_count; i++)
        free(a->dirs[i].path);
    free(a->dirs);
    tar_reader_free(a->tar);
    free(a->chunk);
}

/* ---- parents ---------------------------------------------------------------------------------------------
 */

static int open_plain_dir(int dir_fd, const char *path)
{
    return path_open(dir_fd, path, O_RDONLY | O_DIRECTORY, 0);
}

/* A component on the way: made when it is missing, and noted.  A whiteout on the way becomes a directory that
 * hides what was. */
static int make_implied(struct apply *a, const char *path)
{
    CLEANUP(freep) char *base = NULL;
    struct stat st;
    CLEANUP(closep) int dir = path_open_parent(a->root_fd, path, false, 0, &base);
    if (dir < 0)
        return dir;
    bool hidden = fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && is_whiteout(&st);
    if (hidden && unlinkat(dir, base, 0) < 0)
        return -errno;
    if (mkdirat(dir, base, 0755) < 0)
        return -errno;
    CLEANUP(closep) int fd = openat(dir, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0755) < 0)
        return -errno;
    if (hidden)
        return set_opaque(fd);
    map_set(&a->implied, path, a);
    a->result->bytes += 4096;
    return 0;
}

static int make_parents(struct apply *a, const char *path)
{
    for (const char *slash = path;; slash++) {
        slash = strchrnul(slash, '/');
        CLEANUP(freep) char *prefix = xstrndup(path, (size_t)(slash - path));
        CLEANUP(closep) int fd = *prefix != '\0' ? open_plain_dir(a->root_fd, prefix) : -1;
        if (*prefix != '\0' && fd < 0) {
            if (fd != -ENOENT && fd != -ENOTDIR)
                return fd;
            int r = make_implied(a, prefix);
            if (r < 0)
                return r == -EEXIST ? -ENOTDIR : r;
        }
        if (*slash == '\0')
            return 0;
    }
}

/* The directory that an entry goes into; borrowed until the next call. */
static int enter_parent(struct apply *a, const char *path)
{
    const char *slash = strrchr(path, '/');
    CLEANUP(freep) char *parent = slash != NULL ? xstrndup(path, (size_t)(slash - path)) : xstrdup("");
    if (a->parent_path != NULL && streq(a->parent_path, parent))
        return a->parent_fd;
    forget_parent(a);
    int fd = open_plain_dir(a->root_fd, *parent != '\0' ? parent : ".");
    if (fd == -ENOENT || fd == -ENOTDIR) {
        int r = make_parents(a, parent);
        if (r < 0)
            return r;
        fd = open_plain_dir(a->root_fd, parent);
    }
    if (fd < 0)
        return fd;
    a->parent_fd = fd;
    a->parent_path = TAKE(parent);
    return fd;
}

/* ---- metadata --------------------------------------------------------------------------------------------
 */

/* Archives hold times that no filesystem does. */
static void entry_times(const struct tar_entry *e, struct timespec times[2])
{
    times[1] = (struct timespec){ .tv_sec = e->mtime, .tv_nsec = e->mtime_nsec };
    times[0] = times[1];
}

static bool attribute_allowed(const char *name)
{
    return !str_has_prefix(name, "trusted.overlay.") && !str_has_prefix(name, "user.overlay.") &&
           strlen(name) < 256;
}

static int set_attributes(int dir_fd, const char *base, const struct tar_entry *e)
{
    if (e->xattr_count == 0)
        return 0;
    CLEANUP(freep) char *path = xasprintf("/proc/self/fd/%d/%s", dir_fd, base);
    bool plain = e->type == TAR_FILE || e->type == TAR_DIR;
    for (size_t i = 0; i < e->xattr_count; i++) {
        const struct tar_xattr *x = &e->xattrs[i];
        if (!attribute_allowed(x->name) || lsetxattr(path, x->name, x->value, x->len, 0) == 0)
            continue;
        if (errno == ENOTSUP || (errno == EPERM && !plain && str_has_prefix(x->name, "user.")))
            continue;
        return -errno;
    }
    return 0;
}

static int owner(const struct tar_entry *e, uid_t *uid, gid_t *gid)
{
    if (e->uid < 0 || e->uid > UINT32_MAX - 1 || e->gid < 0 || e->gid > UINT32_MAX - 1)
        return -ERANGE;
    *uid = (uid_t)e->uid;
    *gid = (gid_t)e->gid;
    return 0;
}

/* Owner first (it clears mode bits), mode, attributes, times. */
static int set_metadata(int dir_fd, const char *base, const struct tar_entry *e, int fd)
{
    uid_t uid;
    gid_t gid;
    struct timespec times[2];
    int r = owner(e, &uid, &gid);
    if (r < 0)
        return r;
    if (fd >= 0 ? fchown(fd, uid, gid) < 0 : fchownat(dir_fd, base, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (fd >= 0)
        r = fchmod(fd, e->mode) < 0 ? -errno : 0;
    else if (e->type != TAR_SYMLINK)
        r = path_chmod(dir_fd, base, e->mode);
    if (r == 0)
        r = set_attributes(dir_fd, base, e);
    if (r < 0)
        return r;
    entry_times(e, times);
    if (fd >= 0 ? futimens(fd, times) < 0 : utimensat(dir_fd, base, times, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == EINVAL || errno == EOVERFLOW ? 0 : -errno;
    return 0;
}

/* ---- entries ---------------------------------------------------------------------------------------------
 */

static int write_content(struct apply *a, int fd, const struct tar_entry *e)
{
    bool holes = false;
    for (;;) {
        int64_t hole = tar_reader_skip_hole(a->tar);
        if (hole > 0) {
            if (lseek(fd, hole, SEEK_CUR) < 0)
                return -errno;
            holes = true;
        }
        ssize_t n = tar_reader_read(a->tar, a->chunk, CHUNK);
        if (n <= 0)
            return n < 0 ? (int)n : holes && ftruncate(fd, e->size) < 0 ? -errno : 0;
        int r = fd_write_all(fd, a->chunk, (size_t)n);
        if (r == 0)
            r = task_check_sys();
        if (r < 0)
            return r;
        a->result->bytes += (n + 4095) & ~(ssize_t)4095;
    }
}

static int make_file(struct apply *a, int dir_fd, const char *base, const struct tar_entry *e)
{
    CLEANUP(closep) int fd = openat(dir_fd, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = write_content(a, fd, e);
    return r < 0 ? r : set_metadata(dir_fd, base, e, fd);
}

static void note_dir_times(struct apply *a, const char *path, const struct tar_entry *e)
{
    if (a->dir_count == a->dir_cap) {
        a->dir_cap = a->dir_cap > 0 ? a->dir_cap * 2 : 64;
        a->dirs = xreallocarray(a->dirs, a->dir_cap, sizeof(*a->dirs));
    }
    struct dir_times *d = &a->dirs[a->dir_count++];
    d->path = xstrdup(path);
    entry_times(e, d->times);
}

/* Described after it was implied: nothing to take from below any more. */
static void not_implied(struct apply *a, const char *path)
{
    if (map_has(&a->implied, path))
        map_set(&a->implied, path, NULL);
}

static void tell_implied(const struct apply *a)
{
    for (size_t i = 0; i < a->implied.len; i++) {
        if (a->implied.entries[i].value != NULL)
            strv_add(&a->result->implied, a->implied.entries[i].key);
    }
}

static int make_directory(struct apply *a, int dir_fd, const char *base, const char *path,
                          const struct tar_entry *e, bool hides)
{
    if (mkdirat(dir_fd, base, 0700) < 0 && errno != EEXIST)
        return -errno;
    CLEANUP(closep) int fd = openat(dir_fd, base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = hides ? set_opaque(fd) : 0;
    if (r == 0)
        r = set_metadata(dir_fd, base, e, fd);
    if (r < 0)
        return r;
    not_implied(a, path);
    note_dir_times(a, path, e);
    a->result->bytes += 4096;
    return 0;
}

/* A link's entry describes the file once more, and what is said last counts. */
static int describe_again(int dir_fd, const char *base, const struct tar_entry *e, const struct stat *st)
{
    bool same = st->st_uid == (uid_t)e->uid && st->st_gid == (gid_t)e->gid &&
                (st->st_mode & 07777) == e->mode && st->st_mtime == e->mtime;

    return S_ISLNK(st->st_mode) || same ? 0 : set_metadata(dir_fd, base, e, -1);
}

/* Inside the layer, a link never leads out of its root: the target's parent is opened below it and the target
 * not followed. */
static int make_hard_link(struct apply *a, int dir_fd, const char *base, const char *path,
                          const struct tar_entry *e)
{
    CLEANUP(freep) char *rooted = xasprintf("/%s", e->linkname);
    CLEANUP(freep) char *target = path_clean(rooted);
    CLEANUP(freep) char *target_base = NULL;
    struct stat st;
    CLEANUP(closep) int target_dir = path_open_parent(a->root_fd, target, false, 0, &target_base);
    if (target_dir >= 0 && fstatat(target_dir, target_base, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISDIR(st.st_mode) || is_whiteout(&st))
            return -EINVAL;
        if (linkat(target_dir, target_base, dir_fd, base, 0) < 0)
            return -errno;
        return describe_again(dir_fd, base, e, &st);
    }
    if (target_dir < 0 && target_dir != -ENOENT && target_dir != -ENOTDIR)
        return target_dir;
    strv_add(&a->result->linked, path);
    strv_add(&a->result->linked, target + 1);
    return 0;
}

static int make_node(int dir_fd, const char *base, const struct tar_entry *e)
{
    mode_t type = e->type == TAR_CHAR ? S_IFCHR : e->type == TAR_BLOCKDEV ? S_IFBLK : S_IFIFO;
    dev_t dev = e->type == TAR_FIFO ? 0 : makedev(e->dev_major, e->dev_minor);
    if (mknodat(dir_fd, base, type | (e->mode & 07777), dev) < 0)
        return -errno;
    return set_metadata(dir_fd, base, e, -1);
}

static int make_symlink(int dir_fd, const char *base, const struct tar_entry *e)
{
    if (symlinkat(e->linkname, dir_fd, base) < 0)
        return -errno;
    return set_metadata(dir_fd, base, e, -1);
}

/* Room for an entry: what has its name goes, unless both are directories. *ret_hides: it was a whiteout. */
static int clear_name(struct apply *a, int dir_fd, const char *base, enum tar_type type, bool *ret_hides)
{
    struct stat st;
    *ret_hides = false;
    if (fstatat(dir_fd, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    *ret_hides = is_whiteout(&st);
    if (S_ISDIR(st.st_mode) && type == TAR_DIR)
        return 0;
    if (!S_ISDIR(st.st_mode))
        return unlinkat(dir_fd, base, 0) < 0 ? -errno : 0;
    return path_remove_all(dir_fd, base);
}

static int make_entry(struct apply *a, int dir_fd, const char *base, const char *path,
                      const struct tar_entry *e)
{
    bool hides;
    int r = clear_name(a, dir_fd, base, e->type, &hides);
    if (r < 0)
        return r;
    switch (e->type) {
    case TAR_DIR:
        return make_directory(a, dir_fd, base, path, e, hides);
    case TAR_FILE:
        return make_file(a, dir_fd, base, e);
    case TAR_HARDLINK:
        return make_hard_link(a, dir_fd, base, path, e);
    case TAR_SYMLINK:
        return make_symlink(dir_fd, base, e);
    case TAR_CHAR:
    case TAR_BLOCKDEV:
    case TAR_FIFO:
        return make_node(dir_fd, base, e);
    }
    return -EINVAL;
}

/* ".wh.name" hides a name of the layers below, ".wh..wh..opq" all of them; other names of that shape are
 * aufs's own. */
static struct error *apply_mark(int dir_fd, const char *base, const char *name)
{
    const char *hidden = base + strlen(WHITEOUT);
    if (streq(hidden, ".wh..opq")) {
        int r = set_opaque(dir_fd);
        return r < 0 ? err_sys(-r, "mark the directory of \"%s\"", name) : NULL;
    }
    if (str_has_prefix(hidden, WHITEOUT))
        return NULL;
    if (*hidden == '\0' || streq(hidden, ".") || streq(hidden, ".."))
        return err_new(ERR_INVALID, "invalid whiteout name: %s: invalid archive", base);
    int r = path_remove_all(dir_fd, hidden);
    if (r == 0)
        r = make_whiteout(dir_fd, hidden);
    return r < 0 ? err_sys(-r, "create whiteout \"%s\"", name) : NULL;
}

static struct error *apply_entry(struct apply *a, const struct tar_entry *e)
{
    if (strlen(e->name) > LIMIT_PATH)
        return err_new(ERR_INVALID, "archive entry has a name of %zu bytes", strlen(e->name));
    CLEANUP(freep) char *rooted = xasprintf("/%s", e->name);
    CLEANUP(freep) char *clean = path_clean(rooted);
    const char *path = clean + 1;
    if (*path == '\0')
        return NULL; /* the root itself is not the layer's to change */
    int dir_fd = enter_parent(a, path);
    TRY_SYS(dir_fd, "create the parent of \"%s\"", path);
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    if (strlen(base) > 255)
        return err_sys(ENAMETOOLONG, "create \"%.300s\"", path);
    if (str_has_prefix(base, WHITEOUT))
        return apply_mark(dir_fd, base, path);
    int r = make_entry(a, dir_fd, base, path, e);
    if (r == -EPIPE)
        return err_new(ERR_INVALID, "archive/tar: unexpected EOF");
    return r < 0 ? task_error(r, "create \"%s\"", path) : NULL;
}

/* Does an entry change what a path leads to? Then the open parent may be another one now. */
static bool moves_paths(const struct tar_entry *e)
{
    return e->type != TAR_FILE && e->type != TAR_HARDLINK;
}

static struct error *set_dir_times(struct apply *a)
{
    for (size_t i = 0; i < a->dir_count; i++) {
        CLEANUP(closep)
        int fd = path_open(a->root_fd, a->dirs[i].path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
        if (fd < 0) /* replaced by a later entry */
            continue;
        if (futimens(fd, a->dirs[i].times) < 0 && errno != EINVAL && errno != EOVERFLOW)
            return err_sys(errno, "set the times of \"%s\"", a->dirs[i].path);
    }
    return NULL;
}

struct error *apply_tar(int root_fd, struct stream *tar, struct apply_result *ret)
{
    CLEANUP(apply_deinit) struct apply a = { .root_fd = root_fd, .result = ret, .parent_fd = -1 };
    struct tar_entry *e;
    a.tar = tar_reader_new(tar);
    a.chunk = xmalloc(CHUNK);
    for (;;) {
        TRY(task_check());
        TRY(tar_reader_next(a.tar, &e));
        if (e == NULL)
            break;
        TRY(apply_entry(&a, e));
        if (moves_paths(e))
            forget_parent(&a);
    }
    tell_implied(&a);
    TRY(set_dir_times(&a));
    return tar_reader_drain(a.tar);
}

/* ---- what depends on the layers below --------------------------------------------------------------------
 */

static int fix_implied(int root_fd, int lower_fd, const char *path)
{
    struct stat st;
    CLEANUP(closep) int lower = path_open(lower_fd, path, O_RDONLY | O_DIRECTORY, 0);
    if (lower < 0)
        return lower == -ENOENT || lower == -ENOTDIR ? 0 : lower;
    CLEANUP(closep) int dir = path_open(root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (dir < 0)
        return dir == -ENOENT || dir == -ENOTDIR || dir == -ELOOP ? 0 : dir;
    if (fstat(lower, &st) < 0)
        return -errno;
    return copy_metadata(lower, &st, dir);
}

/* The directories on the way to `path` (absolute, no links in it) that this layer does not have yet are made,
 * and noted: they will look as those below. */
static int bring_up_parents(int root_fd, const char *path, struct strv *made)
{
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        CLEANUP(freep) char *prefix = xstrndup(path + 1, (size_t)(slash - path - 1));
        struct stat st;
        int r = path_stat(root_fd, prefix, false, &st);
        if (r == -ENOENT) {
            CLEANUP(closep) int fd = path_mkdirs(root_fd, prefix, 0755);
            r = MIN(fd, 0);
            strv_add(made, prefix);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* Where the link's target lies below: its directory with links resolved, for they may lead anywhere in this
 * layer. */
static int find_below(int lower_fd, const char *target, char **ret)
{
    CLEANUP(freep) char *dir = path_dir(target);
    CLEANUP(freep) char *base = path_base(target);
    CLEANUP(freep) char *real = NULL;
    int r = path_resolve(lower_fd, dir, &real);
    if (r == 0)
        *ret = path_join(real, base);
    return r;
}

/* Bring the target up into this layer, then link to it. */
static int fix_link(int root_fd, int lower_fd, const char *path, const char *target, struct strv *made)
{
    CLEANUP(freep) char *base = NULL;
    CLEANUP(freep) char *real = NULL;
    CLEANUP(freep) char *target_base = NULL;
    CLEANUP(freep) char *up_base = NULL;
    struct stat st;
    CLEANUP(closep) int dir = path_open_parent(root_fd, path, false, 0, &base);
    if (dir < 0)
        return dir;
    int r = find_below(lower_fd, target, &real);
    if (r < 0)
        return r;
    CLEANUP(closep) int lower = path_open_parent(lower_fd, real, false, 0, &target_base);
    if (lower < 0)
        return lower;
    if (fstatat(lower, target_base, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EPERM;
    r = bring_up_parents(root_fd, real, made);
    if (r < 0)
        return r;
    CLEANUP(closep) int up = path_open_parent(root_fd, real, false, 0, &up_base);
    if (up < 0)
        return up;
    if (faccessat(up, up_base, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        r = copy_entry(lower, target_base, &st, up, up_base);
    if (r < 0)
        return r;
    return linkat(up, up_base, dir, base, 0) < 0 && errno != EEXIST ? -errno : 0;
}

/* Children first: they would change a parent's times. */
static struct error *fix_all_implied(int root_fd, int lower_fd, const struct strv *paths)
{
    for (size_t i = paths->len; i > 0; i--)
        TRY_SYS(fix_implied(root_fd, lower_fd, paths->v[i - 1]), "create \"%s\"", paths->v[i - 1]);
    return NULL;
}

struct error *apply_fix(int root_fd, int lower_fd, const struct apply_result *r)
{
    CLEANUP(strv_deinit) struct strv made = { 0 };
    for (size_t i = 0; i + 1 < r->linked.len; i += 2) {
        const char *path = r->linked.v[i], *target = r->linked.v[i + 1];
        TRY_SYS(fix_link(root_fd, lower_fd, path, target, &made), "link \"%s\" to \"%s\"", path, target);
    }
    TRY(fix_all_implied(root_fd, lower_fd, &made));
    return fix_all_implied(root_fd, lower_fd, &r->implied);
}
