/* SPDX-License-Identifier: Apache-2.0 */
/* copy.c - one copy: where it begins and where it goes; and the directories on the way there */
#include "op/copier.h"

#include "base/bytes.h"
#include "io/path.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

char *copy_clean(const char *path)
{
    CLEANUP(freep) char *clean = path_join("/", path);

    if (str_has_suffix(path, "/."))
        return xasprintf("%s%s.", clean, streq(clean, "/") ? "" : "/");
    if (str_has_suffix(path, "/") && !streq(clean, "/"))
        return xasprintf("%s/", clean);
    return TAKE(clean);
}

struct error *copy_path_err(int r, const char *op, const char *path)
{
    if (r == -ECANCELED || r == -ETIMEDOUT)
        return task_error(r, "%s %s", op, path);
    char text[128];
    const char *s = strerror_r(-r, text, sizeof text);
    CLEANUP(freep) char *lower = str_lower(s); /* Go prints errno texts in lower case */
    struct error *e = err_new(err_kind_from_errno(-r), "%s %s: %s", op, path, lower);

    e->errnum = -r;
    return e;
}

struct timespec copier_stamp(int64_t ns)
{
    return (struct timespec){ .tv_sec = ns / NS_PER_SEC, .tv_nsec = ns % NS_PER_SEC };
}

int copy_set_meta(int dir_fd, const char *name, const struct file_owner *owner, int mode,
                  int64_t timestamp_ns)
{
    struct timespec t[2] = { copier_stamp(timestamp_ns), copier_stamp(timestamp_ns) };

    if (owner != NULL && fchownat(dir_fd, name, owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    int r = mode >= 0 ? path_chmod(dir_fd, name, (mode_t)mode) : 0;

    if (r < 0)
        return r;
    if (timestamp_ns != -1 && utimensat(dir_fd, name, t, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return 0;
}

/* One more component: an O_PATH descriptor of the directory, made when missing (*ret_made). */
static int enter(int dir_fd, const char *name, uint32_t mode, const struct file_owner *owner, int64_t ts,
                 bool *ret_made)
{
    int fd = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), r;

    *ret_made = false;
    if (fd >= 0 || errno != ENOENT)
        return fd >= 0 ? fd : errno == ELOOP ? -ENOTDIR : -errno;
    if (mkdirat(dir_fd, name, mode & 0777) < 0)
        return -errno;
    *ret_made = true;
    r = copy_set_meta(dir_fd, name, owner, (int)(mode & 0777), ts);
    if (r < 0)
        return r;
    fd = openat(dir_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The descriptor of a resolved directory path, made as far as it is missing; `made` (may be NULL) gets the
 * paths. */
static int make_path(int root, const char *real, uint32_t mode, const struct file_owner *owner, int64_t ts,
                     struct strv *made)
{
    CLEANUP(freep) char *copy = xstrdup(real);
    int fd = path_open(root, "/", O_PATH | O_DIRECTORY, 0);

    for (char *p = copy, *part; fd >= 0 && (part = strsep(&p, "/")) != NULL;) {
        CLEANUP(closep) int above = -1;
        bool is_new;

        if (part[0] == '\0')
            continue;
        above = fd;
        fd = enter(above, part, mode, owner, ts, &is_new);
        if (is_new && made != NULL)
            strv_addf(made, "%.*s", (int)((size_t)(part - copy) + strlen(part)), real);
    }
    return fd;
}

static struct error *mkdirs_fd(int root, const char *path, uint32_t mode, const struct file_owner *owner,
                               int64_t ts, struct strv *made, int *ret_fd)
{
    CLEANUP(freep) char *real = NULL;
    CLEANUP(freep) char *shown = path_clean(path);
    int r = path_resolve(root, path, &real);

    if (r >= 0)
        r = make_path(root, real, mode, owner, ts, made);
    if (r < 0)
        return copy_path_err(r, "mkdir", shown);
    *ret_fd = r;
    return NULL;
}

struct error *copy_mkdirs(int root, const char *path, uint32_t mode, const struct file_owner *owner,
                          int64_t timestamp_ns)
{
    CLEANUP(closep) int fd = -1;

    return mkdirs_fd(root, path, mode, owner, timestamp_ns, NULL, &fd);
}

static void copier_deinit(struct copier *c)
{
    while (c->depth > 0)
        copier_drop_dir(&c->frames[--c->depth]);
    free(c->frames);
    map_deinit(&c->links);
    free(c->chunk);
    free(c->dst_name);
    free(c->dst_path);
    free(c->src_real);
    strv_deinit(&c->made);
    closep(&c->dst_dir);
    buf_deinit(&c->path);
    pattern_set_deinit(&c->include);
    pattern_set_deinit(&c->exclude);
}

static struct error *init_patterns(struct pattern_set *set, const struct strv *patterns)
{
    if (patterns == NULL || patterns->len == 0)
        return NULL;
    return pattern_set_init(set, (const char *const *)patterns->v, patterns->len);
}

/* Where the source lies: its parent's descriptor and its name there. */
static struct error *open_source(int root, const char *src, bool follow, int *ret_dir, char **ret_name,
                                 char **ret_path)
{
    CLEANUP(freep) char *clean = path_join("/", src);
    CLEANUP(freep) char *real = NULL;
    int r = follow ? path_resolve(root, clean, &real) : 0;

    if (r == 0)
        r = path_open_parent(root, real != NULL ? real : clean, false, 0, ret_name);
    if (r < 0)
        return copy_path_err(r, "lstat", clean);
    *ret_dir = r;
    *ret_path = TAKE(clean);
    return NULL;
}

/* The source without links in its parents, as what is packed is found. */
static struct error *find_real(struct copier *c, int root, const char *src, bool follow)
{
    CLEANUP(freep) char *dir = path_dir(src);
    CLEANUP(freep) char *base = path_base(src);
    CLEANUP(freep) char *real = NULL;
    CLEANUP(freep) char *joined = NULL;
    int r = path_resolve(root, follow ? src : dir, &real);

    if (r < 0)
        return copy_path_err(r, "lstat", src);
    joined = follow ? TAKE(real) : path_join(real, base);
    c->src_real = xstrdup(joined + strspn(joined, "/"));
    return NULL;
}

/* What the source is: a packed file, or what its parent has under that name. */
static struct error *look_at_source(struct copier *c, int root, const char *path, int dir, const char *name,
                                    struct copy_packed_file *file, bool *ret_packed, struct stat *st)
{
    const struct copy_packed *p = c->o->packed;

    *ret_packed = false;
    if (p != NULL) {
        TRY(find_real(c, root, path, c->o->follow_links));
        *ret_packed = p->find(p->ctx, c->src_real, file);
    }
    if (*ret_packed)
        *st = copier_packed_stat(file);
    else if (fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) < 0)
        return copy_path_err(-errno, "lstat", path);
    return NULL;
}

/* The destination's directory part exists before anything is looked at: "a/b" makes a, "a/b/" and "a/b/."
 * make b. */
static struct error *make_dest(struct copier *c, const char *dst)
{
    const struct copy_options *o = c->o;
    const char *slash = strrchr(dst, '/');
    const char *file = slash == NULL ? dst : slash + 1;
    uint32_t mode = o->mode >= 0 ? (uint32_t)o->mode : 0755;
    CLEANUP(freep) char *dir = NULL;
    CLEANUP(closep) int fd = -1;

    if (file[0] == '\0' || streq(file, "."))
        dir = xstrdup(dst);
    else
        dir = xstrndup(dst, slash == NULL ? 0 : (size_t)(slash - dst) + 1);
    return dir[0] == '\0' ? NULL
                          : mkdirs_fd(c->dst_root, dir, mode, o->owner, o->timestamp_ns, &c->made, &fd);
}

/* dst, resolved; a directory takes the source by its base name, unless it takes the contents of one. */
static struct error *open_dest(struct copier *c, const char *src, const char *dst, const struct stat *src_st)
{
    const struct copy_options *o = c->o;
    CLEANUP(freep) char *clean = path_clean(dst);
    CLEANUP(freep) char *base = path_base(src);
    CLEANUP(freep) char *dir = NULL;
    uint32_t mode = o->mode >= 0 ? (uint32_t)o->mode : 0755;
    bool src_dir = S_ISDIR(src_st->st_mode), exists;
    struct stat st;
    int r = path_resolve(c->dst_root, clean, &c->dst_path);

    if (r < 0)
        return copy_path_err(r, "lstat", clean);
    r = path_stat(c->dst_root, c->dst_path, false, &st);
    if (r < 0 && r != -ENOENT)
        return copy_path_err(r, "failed to lstat destination path: stat", c->dst_path);
    exists = r == 0;
    if (exists && ((!o->dir_contents && src_dir) || (!src_dir && S_ISDIR(st.st_mode)))) {
        char *joined = path_join(c->dst_path, streq(base, "/") ? "." : base);

        free(c->dst_path);
        c->dst_path = joined;
    }
    dir = path_dir(c->dst_path);
    if (o->dir_contents && src_dir && !exists) {
        CLEANUP(closep) int fd = -1;

        TRY(mkdirs_fd(c->dst_root, c->dst_path, mode, o->owner, o->timestamp_ns, &c->made, &fd));
    }
    TRY(mkdirs_fd(c->dst_root, dir, mode, o->owner, o->timestamp_ns, &c->made, &c->dst_dir));
    c->dst_name = streq(c->dst_path, "/") ? xstrdup(".") : path_base(c->dst_path);
    return NULL;
}

/* What was put into directories that this copy made changed their times again. */
static struct error *restamp(const struct copier *c)
{
    const int64_t ts = c->o->timestamp_ns;
    const struct timespec t[2] = { copier_stamp(ts), copier_stamp(ts) };

    for (size_t i = c->made.len; ts != -1 && i > 0; i--) {
        CLEANUP(closep) int fd = path_open(c->dst_root, c->made.v[i - 1], O_RDONLY | O_DIRECTORY, 0);

        if (fd < 0 || futimens(fd, t) < 0)
            return copy_path_err(fd < 0 ? fd : -errno, "utimes", c->made.v[i - 1]);
    }
    return NULL;
}

struct error *copy_path(int src_root, const char *src, int dst_root, const char *dst,
                        const struct copy_options *o)
{
    CLEANUP(copier_deinit)
    struct copier c = { .o = o, .dst_dir = -1, .dst_root = dst_root, .upper_from = SIZE_MAX };
    CLEANUP(closep) int src_dir = -1;
    CLEANUP(freep) char *name = NULL;
    CLEANUP(freep) char *shown = NULL;
    struct copy_packed_file file;
    struct stat st;
    bool packed;

    TRY(init_patterns(&c.include, o->include));
    TRY(init_patterns(&c.exclude, o->exclude));
    TRY(make_dest(&c, dst));
    TRY(open_source(src_root, src, o->follow_links, &src_dir, &name, &shown));
    c.src_path = shown;
    TRY(look_at_source(&c, src_root, shown, src_dir, name, &file, &packed, &st));
    TRY(open_dest(&c, src, dst, &st));
    if (packed) {
        TRY(copier_packed_file(&c, &file, c.dst_name));
    } else {
        TRY(copier_entry(&c, src_dir, name, c.dst_name, DT_UNKNOWN));
        TRY(copier_workers_end(&c, copier_walk(&c)));
    }
    return restamp(&c);
}
