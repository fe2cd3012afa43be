/* SPDX-License-Identifier: Apache-2.0 */
#include "session/walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "io/pattern.h"

/* An open directory. */
struct frame {
    int fd;
    char *path; /* from the tree's root, "" for it */
    struct strv names;
    size_t at;
    bool *included, *excluded; /* what each pattern says of this directory */
    struct sync_entry pending; /* left out so far; path NULL: given, or the root */
};

struct walk {
    const struct sync_tree *tree;
    const struct sync_send_filter *filter;
    struct pattern_set include, exclude;
    struct frame *frames;
    size_t depth, frame_cap;
    struct sync_entry *queue; /* ready to be given */
    size_t queue_at, queue_len, queue_cap;
    struct map inodes; /* of files with several names: "dev:ino" to the first path */
};

static const struct sync_send_filter no_filter;

/* ---- directories ---- */

static void frame_deinit(struct frame *f)
{
    closep(&f->fd);
    free(f->path);
    strv_deinit(&f->names);
    free(f->included);
    free(f->excluded);
    sync_entry_deinit(&f->pending);
}

static int read_names(int fd, struct strv *names)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    DIR *d = copy >= 0 ? fdopendir(copy) : NULL;

    if (d == NULL) {
        int r = -errno;

        closep(&copy);
        return r;
    }
    for (struct dirent *one; (one = readdir(d)) != NULL;)
        if (!streq(one->d_name, ".") && !streq(one->d_name, ".."))
            strv_add(names, one->d_name);
    closedir(d);
    strv_sort(names);
    return 0;
}

/* Take the descriptor and the pattern results. */
static struct error *push_frame(struct walk *w, int fd, const char *path, bool *included, bool *excluded)
{
    if (w->depth == w->frame_cap) {
        w->frame_cap = w->frame_cap == 0 ? 16 : w->frame_cap * 2;
        w->frames = xreallocarray(w->frames, w->frame_cap, sizeof(*w->frames));
    }
    struct frame *f = &w->frames[w->depth++];

    *f = (struct frame){ .fd = fd, .path = xstrdup(path), .included = included, .excluded = excluded };
    if (w->depth > LIMIT_PATH_DEPTH)
        return err_new(ERR_EXHAUSTED, "%s is nested too deep", path);
    TRY_SYS(read_names(fd, &f->names), "failed to read the directory %s", path);
    return NULL;
}

/* ---- entries ---- */

static int64_t to_ns(const struct timespec *t)
{
    return (int64_t)t->tv_sec * NS_PER_SEC + t->tv_nsec;
}

static void put_u32(struct buf *b, uint32_t v)
{
    uint8_t bytes[4] = { (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) };

    buf_add(b, bytes, sizeof(bytes));
}

static void read_xattr(const char *path, const char *key, struct buf *out)
{
    char value[LIMIT_SYNC_XATTRS / 2];
    ssize_t n = lgetxattr(path, key, value, sizeof(value));

    if (n < 0)
        return;
    put_u32(out, (uint32_t)strlen(key));
    buf_adds(out, key);
    put_u32(out, (uint32_t)n);
    buf_add(out, value, (size_t)n);
}

static void read_xattrs(int dir_fd, const char *name, struct sync_entry *e)
{
    char dir[32], list[8192];
    CLEANUP(strv_deinit) struct strv keys = { 0 };
    struct buf out = { 0 };

    fd_path(dir, dir_fd);
    CLEANUP(freep) char *path = xasprintf("%s/%s", dir, name);
    ssize_t n = llistxattr(path, list, sizeof(list));

    if (n <= 0)
        return; /* none, or a filesystem without them */
    for (const char *p = list; p < list + n; p += strlen(p) + 1)
        if (!str_has_prefix(p, "com.apple.") && !str_has_prefix(p, "trusted.overlay."))
            strv_add(&keys, p);
    strv_sort(&keys);
    for (size_t i = 0; i < keys.len; i++)
        read_xattr(path, keys.v[i], &out);
    e->xattrs_len = (uint32_t)out.len;
    e->xattrs = out.len > 0 ? (uint8_t *)buf_take(&out) : NULL;
}

static int read_link(int dir_fd, const char *name, char **ret)
{
    char target[LIMIT_PATH + 1];
    ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);

    if (n < 0)
        return -errno;
    *ret = xstrndup(target, (size_t)n);
    return 0;
}

/* -ENOENT: it vanished. */
static int read_entry(struct walk *w, int dir_fd, const char *name, const char *path, struct stat *st,
                      struct sync_entry *e)
{
    if (fstatat(dir_fd, name, st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    *e = (struct sync_entry){ .path = xstrdup(path),
                              .mode = go_mode_from_stat(st->st_mode) & ~GO_MODE_SOCKET,
                              .uid = st->st_uid,
                              .gid = st->st_gid,
                              .size = S_ISDIR(st->st_mode) ? 0 : st->st_size,
                              .mtime_ns = to_ns(&st->st_mtim) };
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
        e->devmajor = major(st->st_rdev);
        e->devminor = minor(st->st_rdev);
    }
    if (S_ISLNK(st->st_mode)) {
        int r = read_link(dir_fd, name, &e->linkname);

        if (r < 0)
            return r;
    }
    if (!w->filter->no_xattrs)
        read_xattrs(dir_fd, name, e);
    return 0;
}

/* An inode that was given under another name is a hard link to it. */
static void find_hard_link(struct walk *w, const struct stat *st, struct sync_entry *e)
{
    if (!S_ISREG(st->st_mode) || st->st_nlink < 2)
        return;
    CLEANUP(freep)
    char *key = xasprintf("%llx:%llx", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino);
    const char *first = map_get(&w->inodes, key);

    if (first != NULL)
        e->linkname = xstrdup(first);
    else
        map_set(&w->inodes, key, xstrdup(e->path));
}

/* ---- filters ---- */

/* false: left out. */
static bool adjust(const struct sync_send_filter *f, struct sync_entry *e)
{
    if (f->set_owner) {
        e->uid = f->uid;
        e->gid = f->gid;
    }
    if (f->set_mtime || (f->clamp_mtime && e->mtime_ns > f->mtime_ns))
        e->mtime_ns = f->mtime_ns;
    return f->map == NULL || f->map(f->ctx, e);
}

static struct error *match(const struct pattern_set *set, const char *path, const bool *parent,
                           bool **ret_info, bool *ret)
{
    *ret_info = xcalloc(set->count + 1, sizeof(bool));
    return pattern_set_match_walk(set, path, parent, *ret_info, ret);
}

/* What the patterns say; *ret_prune: nothing below can be wanted either. */
static struct error *wanted(struct walk *w, const struct frame *f, const char *path, bool **ret_included,
                            bool **ret_excluded, bool *ret, bool *ret_prune)
{
    bool in = true, out = false;

    *ret_prune = false;
    if (w->include.count > 0)
        TRY(match(&w->include, path, f->included, ret_included, &in));
    if (w->exclude.count > 0) {
        TRY(match(&w->exclude, path, f->excluded, ret_excluded, &out));
        *ret_prune = out && !w->exclude.exclusions;
    }
    *ret = in && !out;
    return NULL;
}

/* ---- the walk ---- */

static void enqueue(struct walk *w, struct sync_entry *e)
{
    if (w->queue_len == w->queue_cap) {
        w->queue_cap = w->queue_cap == 0 ? 8 : w->queue_cap * 2;
        w->queue = xreallocarray(w->queue, w->queue_cap, sizeof(*w->queue));
    }
    w->queue[w->queue_len++] = *e;
    *e = (struct sync_entry){ 0 };
}

/* Directories above that were left out come first, as long as the filter lets them. */
static bool enqueue_parents(struct walk *w)
{
    for (size_t i = 0; i < w->depth; i++) {
        struct sync_entry *e = &w->frames[i].pending;

        if (e->path == NULL)
            continue;
        if (!adjust(w->filter, e))
            return false;
        enqueue(w, e);
    }
    return true;
}

static struct error *descend(struct walk *w, int dir_fd, const char *name, const char *path, bool **included,
                             bool **excluded)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
        return NULL;
    if (fd < 0)
        return err_sys(errno, "failed to open %s", path);
    return push_frame(w, fd, path, TAKE(*included), TAKE(*excluded));
}

static struct error *visit(struct walk *w, const char *name)
{
    struct frame *f = &w->frames[w->depth - 1];
    int dir_fd = f->fd;
    CLEANUP(freep) char *path = *f->path != '\0' ? xasprintf("%s/%s", f->path, name) : xstrdup(name);
    CLEANUP(freep) bool *included = NULL;
    CLEANUP(freep) bool *excluded = NULL;
    CLEANUP(sync_entry_deinit) struct sync_entry e = { 0 };
    bool want, prune;
    struct stat st;

    TRY(wanted(w, f, path, &included, &excluded, &want, &prune));
    if (prune)
        return NULL;
    int r = read_entry(w, dir_fd, name, path, &st, &e);

    if (r == -ENOENT)
        return NULL;
    if (r < 0)
        return err_sys(-r, "failed to read %s", path);
    if (want) {
        if (!enqueue_parents(w) || !adjust(w->filter, &e))
            return NULL;
        find_hard_link(w, &st, &e);
        enqueue(w, &e);
    }
    if (!S_ISDIR(st.st_mode))
        return NULL;
    size_t depth = w->depth;

    TRY(descend(w, dir_fd, name, path, &included, &excluded));
    if (!want && w->depth > depth) {
        w->frames[w->depth - 1].pending = e;
        e = (struct sync_entry){ 0 };
    }
    return NULL;
}

static struct error *fill_queue(struct walk *w)
{
    w->queue_at = w->queue_len = 0;
    while (w->queue_len == 0 && w->depth > 0) {
        struct frame *f = &w->frames[w->depth - 1];

        if (f->at == f->names.len) {
            frame_deinit(f);
            w->depth--;
            continue;
        }
        CLEANUP(freep) char *name = TAKE(f->names.v[f->at]); /* the frame may move */

        f->at++;
        TRY(visit(w, name));
    }
    return NULL;
}

/* ---- life ---- */

static struct error *open_patterns(const struct strv *patterns, struct pattern_set *ret)
{
    if (patterns == NULL || patterns->len == 0)
        return NULL;
    return pattern_set_init(ret, (const char *const *)patterns->v, patterns->len);
}

struct error *walk_open(const struct sync_tree *tree, struct walk **ret)
{
    struct walk *w = NEW(struct walk);

    w->tree = tree;
    w->filter = tree->filter != NULL ? tree->filter : &no_filter;
    w->inodes.free_value = free;
    struct error *e = open_patterns(w->filter->include, &w->include);

    if (e == NULL)
        e = open_patterns(w->filter->exclude, &w->exclude);
    int fd = e == NULL ? openat(tree->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (e == NULL && fd < 0)
        e = err_sys(errno, "failed to open the tree");
    if (e == NULL)
        e = push_frame(w, fd, "", NULL, NULL);
    if (e != NULL) {
        walk_close(w);
        return e;
    }
    *ret = w;
    return NULL;
}

struct error *walk_next(struct walk *w, struct sync_entry *ret)
{
    *ret = (struct sync_entry){ 0 };
    if (w->queue_at == w->queue_len)
        TRY(fill_queue(w));
    if (w->queue_at < w->queue_len) {
        *ret = w->queue[w->queue_at];
        w->queue[w->queue_at++] = (struct sync_entry){ 0 };
    }
    return NULL;
}

void walk_close(struct walk *w)
{
    if (w == NULL)
        return;
    while (w->depth > 0)
        frame_deinit(&w->frames[--w->depth]);
    for (size_t i = w->queue_at; i < w->queue_len; i++)
        sync_entry_deinit(&w->queue[i]);
    pattern_set_deinit(&w->include);
    pattern_set_deinit(&w->exclude);
    map_deinit(&w->inodes);
    free(w->frames);
    free(w->queue);
    free(w);
}
