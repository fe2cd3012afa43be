/* SPDX-License-Identifier: Apache-2.0 */
#include "solver/content.h"

#include "base/limits.h"
#include "io/path.h"
#include "oci/digest.h"
#include "task/task.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define LINK_MAX_FOLLOW 255

/* ---- the index of a synced tree
 * ---------------------------------------------------------------------------------------------- */

/* Go's os.FileMode to st_mode. */
static uint32_t unix_mode(uint32_t go)
{
    uint32_t m = go & 0777;

    if (go & (1U << 31))
        m |= S_IFDIR;
    else if (go & (1U << 27))
        m |= S_IFLNK;
    else if (go & (1U << 26))
        m |= (go & (1U << 21)) ? S_IFCHR : S_IFBLK;
    else if (go & (1U << 25))
        m |= S_IFIFO;
    else if (go & (1U << 24))
        m |= S_IFSOCK;
    else
        m |= S_IFREG;
    if (go & (1U << 23))
        m |= S_ISUID;
    if (go & (1U << 22))
        m |= S_ISGID;
    if (go & (1U << 20))
        m |= S_ISVTX;
    return m;
}

/* fsutil's order: '/' before every other byte. */
static int path_order(const char *a, const char *b)
{
    for (; *a != '\0' && *a == *b; a++, b++)
        ;
    int x = *a == '/' ? 1 : *a == '\0' ? 0 : (unsigned char)*a + 2;
    int y = *b == '/' ? 1 : *b == '\0' ? 0 : (unsigned char)*b + 2;

    return x - y;
}

/* First entry that is not before `path`. */
static size_t index_find(const struct sync_index *x, const char *path)
{
    size_t lo = 0, hi = x->len;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (path_order(x->entries[mid].path, path) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static const struct sync_entry *index_get(const struct sync_index *x, const char *path)
{
    size_t i = index_find(x, path);

    return i < x->len && streq(x->entries[i].path, path) ? &x->entries[i] : NULL;
}

static bool is_link(const struct sync_entry *e)
{
    return S_ISLNK(unix_mode(e->mode));
}

/* Component by component, as the kernel does with RESOLVE_IN_ROOT. */
static int index_resolve(const struct sync_index *x, const char *path, bool follow, char **ret)
{
    CLEANUP(freep) char *rest = xstrdup(path);
    CLEANUP(buf_deinit) struct buf at = { 0 };
    const struct sync_entry *e = NULL;
    int links = 0;
    char *p = rest;

    for (;;) {
        p += strspn(p, "/");
        if (*p == '\0')
            break;
        size_t n = strcspn(p, "/"), before = at.len;
        bool last = p[n + strspn(p + n, "/")] == '\0';

        if (n == 1 && p[0] == '.') {
            p += n;
            continue;
        }
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            const char *slash = at.len == 0 ? NULL : memrchr(at.data, '/', at.len);

            buf_truncate(&at, slash == NULL ? 0 : (size_t)(slash - at.data));
            p += n;
            continue;
        }
        if (at.len > 0)
            buf_addc(&at, '/');
        buf_add(&at, p, n);
        e = index_get(x, buf_str(&at));
        if (e == NULL)
            return -ENOENT;
        p += n;
        if (!is_link(e) || (last && !follow))
            continue;
        if (++links > LINK_MAX_FOLLOW)
            return -ELOOP;
        char *joined = xasprintf("%s/%s", e->linkname == NULL ? "" : e->linkname, p);

        buf_truncate(&at, e->linkname != NULL && e->linkname[0] == '/' ? 0 : before);
        free(rest);
        p = rest = joined;
    }
    *ret = xstrdup(buf_str(&at));
    return 0;
}

static bool below(const char *path, const char *root, size_t root_len)
{
    return root_len == 0 ||
           (strncmp(path, root, root_len) == 0 && (path[root_len] == '\0' || path[root_len] == '/'));
}

static struct error *index_walk(const struct sync_index *x, const char *root, content_visit visit, void *ctx)
{
    size_t root_len = strlen(root), i = root_len == 0 ? 0 : index_find(x, root);

    if (root_len == 0) {
        struct content_entry top = { .path = "", .mode = S_IFDIR | 0755 };
        bool skip = false;

        TRY(visit(ctx, &top, &skip));
        if (skip)
            return NULL;
    }
    while (i < x->len && below(x->entries[i].path, root, root_len)) {
        const struct sync_entry *s = &x->entries[i++];
        bool skip = false;
        struct content_entry e = {
            .path = s->path,
            .mode = unix_mode(s->mode),
            .uid = s->uid,
            .gid = s->gid,
            .major = (uint32_t)s->devmajor,
            .minor = (uint32_t)s->devminor,
            .link = is_link(s) ? s->linkname : NULL,
        };

        TRY(visit(ctx, &e, &skip));
        for (size_t n = strlen(s->path); skip && i < x->len && below(x->entries[i].path, s->path, n);)
            i++;
    }
    return NULL;
}

/* ---- a mounted tree
 * ----------------------------------------------------------------------------------------------------------
 */

static int fs_resolve(int root_fd, const char *path, bool follow, char **ret)
{
    CLEANUP(freep) char *clean = path_join("/", path);
    CLEANUP(freep) char *real = NULL;
    struct stat st;
    int r;

    if (follow || streq(clean, "/")) {
        r = path_resolve(root_fd, clean, &real);
    } else {
        CLEANUP(freep) char *dir = path_dir(clean);
        CLEANUP(freep) char *base = path_base(clean);
        CLEANUP(freep) char *real_dir = NULL;

        r = path_resolve(root_fd, dir, &real_dir);
        if (r == 0)
            real = path_join(real_dir, base);
    }
    if (r < 0)
        return r;
    r = path_stat(root_fd, real, false, &st);
    if (r < 0)
        return r == -ENOTDIR ? -ENOENT : r;
    *ret = xstrdup(real + strspn(real, "/"));
    return 0;
}

struct dir_frame {
    struct strv names;
    size_t next;
    size_t path_len;
};

static int read_names(int root_fd, const char *path, struct strv *names)
{
    int fd = path_open(root_fd, path[0] == '\0' ? "." : path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);

    if (fd < 0)
        return fd;
    if (d == NULL) {
        close(fd);
        return -ENOMEM;
    }
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (!streq(e->d_name, ".") && !streq(e->d_name, ".."))
            strv_add(names, e->d_name);
    closedir(d);
    strv_sort(names);
    return 0;
}

static struct error *fs_visit(int root_fd, const char *path, content_visit visit, void *ctx,
                              bool *ret_descend)
{
    CLEANUP(freep) char *link = NULL;
    struct stat st;
    bool skip = false;

    TRY_SYS(path_stat(root_fd, path[0] == '\0' ? "/" : path, false, &st), "stat /%s", path);
    if (S_ISLNK(st.st_mode))
        TRY_SYS(path_readlink(root_fd, path, &link), "readlink /%s", path);
    struct content_entry e = {
        .path = path,
        .mode = st.st_mode,
        .uid = st.st_uid,
        .gid = st.st_gid,
        .link = link,
    };
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
        e.major = major(st.st_rdev);
        e.minor = minor(st.st_rdev);
    }
    TRY(visit(ctx, &e, &skip));
    *ret_descend = S_ISDIR(st.st_mode) && !skip;
    return NULL;
}

static void frames_free(struct dir_frame *frames, size_t count)
{
    for (size_t i = 0; i < count; i++)
        strv_deinit(&frames[i].names);
    free(frames);
}

/* Names are sorted per directory, which with "directory before its children" is the index's order. */
static struct error *fs_walk(int root_fd, const char *root, content_visit visit, void *ctx)
{
    CLEANUP(buf_deinit) struct buf path = { 0 };
    struct dir_frame *frames = NULL;
    size_t depth = 0;
    bool descend;
    struct error *e;

    buf_adds(&path, root);
    e = fs_visit(root_fd, buf_str(&path), visit, ctx, &descend);
    while (e == NULL) {
        if (descend) {
            int r = depth >= LIMIT_PATH_DEPTH ? -ENAMETOOLONG : 0;

            frames = xreallocarray(frames, depth + 1, sizeof *frames);
            frames[depth++] = (struct dir_frame){ .path_len = path.len };
            if (r == 0)
                r = read_names(root_fd, buf_str(&path), &frames[depth - 1].names);
            if (r == 0)
                r = task_check_sys();
            if (r < 0) {
                e = task_error(r, "read /%s", buf_str(&path));
                break;
            }
        }
        while (depth > 0 && frames[depth - 1].next == frames[depth - 1].names.len)
            strv_deinit(&frames[--depth].names);
        if (depth == 0)
            break;
        struct dir_frame *f = &frames[depth - 1];

        buf_truncate(&path, f->path_len);
        if (path.len > 0)
            buf_addc(&path, '/');
        buf_adds(&path, f->names.v[f->next++]);
        e = fs_visit(root_fd, buf_str(&path), visit, ctx, &descend);
    }
    frames_free(frames, depth);
    return e;
}

static struct error *hash_fd(int fd, const char *path, uint8_t ret[32])
{
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    CLEANUP(freep) char *block = xmalloc(256 * KIB);
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_new(ERR_INVALID, "/%s is not a regular file", path);
    while ((n = read(fd, block, 256 * KIB)) != 0) {
        if (n < 0 && errno != EINTR)
            return err_sys(errno, "read /%s", path);
        hasher_add(h, block, (size_t)MAX(n, 0));
        TRY(task_check());
    }
    hasher_sum_raw(h, ret);
    return NULL;
}

/* ---- either
 * ------------------------------------------------------------------------------------------------------------------
 */

int content_resolve(const struct content_view *v, const char *path, bool follow, char **ret)
{
    if (v->index != NULL)
        return index_resolve(v->index, path, follow, ret);
    return fs_resolve(v->root_fd, path, follow, ret);
}

struct error *content_walk(const struct content_view *v, const char *path, content_visit visit, void *ctx)
{
    if (v->index != NULL)
        return index_walk(v->index, path, visit, ctx);
    return fs_walk(v->root_fd, path, visit, ctx);
}

struct error *content_of(const struct content_view *v, const char *path, uint8_t ret[32])
{
    CLEANUP(closep) int fd = -1;

    if (v->index != NULL) {
        const struct sync_entry *e = index_get(v->index, path);

        for (int i = 0; e != NULL && e->linkname != NULL && i < LINK_MAX_FOLLOW;
             i++) /* a hard link: the file named first */
            e = index_get(v->index, e->linkname);
        if (e == NULL)
            return err_new(ERR_INTERNAL, "no content of /%s is known", path);
        memcpy(ret, e->content, 32);
        return NULL;
    }
    fd = path_open(v->root_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
    TRY_SYS(fd, "open /%s", path);
    return hash_fd(fd, path, ret);
}

static bool counts(const char *name)
{
    return !str_has_prefix(name, "trusted.overlay.") && !streq(name, "security.selinux");
}

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void add_xattr(struct buf *out, const char *name, size_t name_len, const void *value, size_t len)
{
    buf_add(out, name, name_len);
    buf_addf(out, "=%zu:", len);
    buf_add(out, value, len);
}

/* As session.h packs them; they are sorted there. */
static void index_xattrs(const struct sync_entry *e, struct buf *out)
{
    const uint8_t *p = e == NULL ? NULL : e->xattrs;
    size_t left = p == NULL ? 0 : e->xattrs_len;

    while (left >= 8) {
        size_t name = le32(p), value;

        if (name > left - 8)
            return;
        value = le32(p + 4 + name);
        if (value > left - 8 - name)
            return;
        add_xattr(out, (const char *)p + 4, name, p + 8 + name, value);
        p += 8 + name + value;
        left -= 8 + name + value;
    }
}

struct error *content_xattrs(const struct content_view *v, const char *path, struct buf *out)
{
    CLEANUP(closep) int fd = -1;
    CLEANUP(freep) char *names = NULL;
    CLEANUP(freep) char *value = NULL;
    CLEANUP(strv_deinit) struct strv sorted = { 0 };
    char proc[32];
    ssize_t n;

    if (v->index != NULL) {
        index_xattrs(index_get(v->index, path), out);
        return NULL;
    }
    fd = path_open(v->root_fd, path[0] == '\0' ? "/" : path, O_PATH | O_NOFOLLOW, 0);
    TRY_SYS(fd, "open /%s", path);
    fd_path(proc, fd);
    n = listxattr(proc, NULL, 0);
    if (n <= 0)
        return NULL; /* none, or a filesystem or file type without any */
    names = xmalloc((size_t)n);
    n = listxattr(proc, names, (size_t)n);
    for (const char *p = names; n > 0 && p < names + n; p += strlen(p) + 1)
        if (counts(p))
            strv_add(&sorted, p);
    strv_sort(&sorted);
    for (size_t i = 0; i < sorted.len; i++) {
        ssize_t len = getxattr(proc, sorted.v[i], NULL, 0);

        value = xrealloc(value, (size_t)MAX(len, (ssize_t)0) + 1);
        len = len < 0 ? -1 : getxattr(proc, sorted.v[i], value, (size_t)len);
        if (len >= 0)
            add_xattr(out, sorted.v[i], strlen(sorted.v[i]), value, (size_t)len);
    }
    return NULL;
}
