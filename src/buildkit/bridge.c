/* SPDX-License-Identifier: Apache-2.0 */
/* bridge.c - what a frontend may ask of its build, in process; the LLBBridge service calls the same functions
 */
#include "buildkit/internal.h"

#include "base/limits.h"
#include "io/path.h"
#include "session/sync.h"
#include "store/layer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static struct request *request_of(struct bridge *b)
{
    return CONTAINER_OF(b, struct request, bridge);
}

static struct build *of(struct bridge *b)
{
    return request_of(b)->build;
}

static struct error *solve(struct bridge *b, struct llb_def *def, struct ref **ret)
{
    if (llb_def_is_scratch(def)) {
        llb_def_unref(def);
        *ret = NULL;
        return NULL;
    }
    TRY(job_ref(of(b)->job, def, ret));
    request_add_ref(request_of(b), *ret);
    return NULL;
}

/* What is wrong with the Dockerfile has no code of its own in BuildKit, and clients print every code but
 * unknown. */
static struct error *frontend_failure(struct error *e)
{
    if (err_is(e, ERR_INVALID) || err_is(e, ERR_NOT_FOUND) || err_is(e, ERR_EXISTS) ||
        err_is(e, ERR_FORBIDDEN) || err_is(e, ERR_CONFLICT) || err_is(e, ERR_RANGE))
        e->kind = ERR_UNKNOWN;
    return e;
}

static struct error *solve_frontend(struct bridge *b, const char *name, const struct map *opts,
                                    const struct map *inputs, struct frontend_result *ret)
{
    frontend_fn fn = frontend_find(name);
    struct request *r;
    struct error *e;

    if (fn == NULL)
        return err_new(ERR_NOT_FOUND, "invalid frontend: %s", name);
    r = request_new(request_of(b), name, opts, inputs);
    e = frontend_failure(fn(&r->bridge, &r->args, &r->inputs, ret));
    if (e == NULL)
        request_adopt(r->parent, r);
    else
        request_free(r);
    return e;
}

/* ---- files of a ref
 * -------------------------------------------------------------------------------------------------------- */

/* A read-only descriptor of the ref's root; -1 for scratch. */
static struct error *mount_ref(struct bridge *b, struct ref *ref, struct snapshot **ret_snapshot, int *ret_fd)
{
    *ret_fd = -1;
    if (ref == NULL)
        return NULL;
    TRY(ref_result(ref, ret_snapshot));
    if (*ret_snapshot == NULL)
        return NULL;
    if (snapshot_is_tree(*ret_snapshot)) /* no mount for a look into the context */
        return snapshot_open_tree(*ret_snapshot, ret_fd);
    if (snapshot_layer_count(*ret_snapshot) == 1) { /* nor for what is one folder */
        *ret_fd = layer_dir(of(b)->builder->config->store, snapshot_layer(*ret_snapshot, 0)->id);
        TRY_SYS(*ret_fd, "open the layer");
        return NULL;
    }
    return snapshot_mount_ro(*ret_snapshot, ret_fd);
}

static struct error *path_error(int r, const char *what, const char *path)
{
    if (r == -ENOENT || r == -ENOTDIR)
        return err_new(ERR_NOT_FOUND, "%s %s: no such file or directory", what, path);
    return err_sys(-r, "%s %s", what, path);
}

static struct error *read_range(int fd, const char *path, int64_t size, const struct read_file_options *o,
                                struct buf *out)
{
    int64_t offset = o == NULL ? 0 : o->offset, want = size - offset;
    bool ranged = o != NULL && o->length > 0;

    if (offset < 0 || (o != NULL && o->length < 0))
        return err_new(ERR_INVALID, "invalid range for %s", path);
    if (ranged)
        want = MIN(want, MIN(o->length, (int64_t)LIMIT_CONTROL_FILE + 1));
    if (want <= 0)
        return NULL;
    if (want > (int64_t)LIMIT_CONTROL_FILE + (ranged ? 1 : 0))
        return err_new(ERR_EXHAUSTED, "%s exceeds maximum allowed size of %zu bytes", path,
                       LIMIT_CONTROL_FILE);
    buf_reserve(out, (size_t)want);
    while (want > 0) {
        char chunk[65536];
        ssize_t n = pread(fd, chunk, MIN((size_t)want, sizeof(chunk)), offset);
        if (n < 0)
            return err_sys(errno, "read %s", path);
        if (n == 0)
            break;
        buf_add(out, chunk, (size_t)n);
        want -= n;
        offset += n;
    }
    return NULL;
}

static struct error *read_file(struct bridge *b, struct ref *ref, const char *path,
                               const struct read_file_options *o, struct buf *out)
{
    CLEANUP(snapshot_unrefp) struct snapshot *s = NULL;
    CLEANUP(closep) int root = -1;
    CLEANUP(closep) int at = -1;
    CLEANUP(closep) int fd = -1;
    char name[32];
    struct stat st;

    if (o != NULL && (o->offset < 0 || o->length < 0))
        return err_new(ERR_INVALID, "invalid range for %s", path);
    TRY(mount_ref(b, ref, &s, &root));
    if (root < 0)
        return err_new(ERR_NOT_FOUND, "open %s: no such file or directory", path);
    at = path_open(root, path, O_PATH, 0);
    if (at < 0)
        return path_error(at, "open", path);
    if (fstat(at, &st) < 0)
        return err_sys(errno, "stat %s", path);
    if (!S_ISREG(st.st_mode)) /* type first: a FIFO or a device is never opened */
        return S_ISDIR(st.st_mode) ? err_new(ERR_INVALID, "read %s: is a directory", path)
                                   : err_new(ERR_INVALID, "%s is not a regular file", path);
    fd_path(name, at);
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(errno, "open %s", path);
    return read_range(fd, path, st.st_size, o, out);
}

static void fill_stat(struct file_stat *ret, const char *name, const struct stat *st, char *linkname)
{
    *ret = (struct file_stat){
        .path = xstrdup(name),
        .mode = go_mode_from_stat(st->st_mode),
        .uid = st->st_uid,
        .gid = st->st_gid,
        .size = S_ISDIR(st->st_mode) ? 0 : st->st_size,
        .mtime_ns = st->st_mtim.tv_sec * NS_PER_SEC + st->st_mtim.tv_nsec,
        .linkname = linkname,
    };
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
        ret->devmajor = major(st->st_rdev);
        ret->devminor = minor(st->st_rdev);
    }
}

static struct error *stat_file(struct bridge *b, struct ref *ref, const char *path, struct file_stat *ret)
{
    CLEANUP(snapshot_unrefp) struct snapshot *s = NULL;
    CLEANUP(closep) int root = -1;
    CLEANUP(freep) char *base = NULL;
    char *link = NULL;
    struct stat st;
    int r;

    TRY(mount_ref(b, ref, &s, &root));
    if (root < 0)
        return err_new(ERR_NOT_FOUND, "lstat %s: no such file or directory", path);
    r = path_stat(root, path, false, &st);
    if (r < 0)
        return path_error(r, "lstat", path);
    if (S_ISLNK(st.st_mode) && (r = path_readlink(root, path, &link)) < 0)
        return path_error(r, "readlink", path);
    base = path_base(path);
    fill_stat(ret, base, &st, link);
    return NULL;
}

struct listing {
    struct file_stat *v;
    size_t len, cap;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file_stat *)a)->path, ((const struct file_stat *)b)->path);
}

static struct error *list_dir(DIR *d, const char *path, const char *include, struct listing *l)
{
    struct dirent *de;

    while (errno = 0, (de = readdir(d)) != NULL) {
        char target[LIMIT_PATH];
        struct stat st;
        char *link = NULL;
        if (streq(de->d_name, ".") || streq(de->d_name, ".."))
            continue;
        if (include != NULL && include[0] != '\0') {
            int m = path_match(include, de->d_name);
            if (m < 0)
                return err_new(ERR_INVALID, "invalid pattern %s: syntax error in pattern", include);
            if (m == 0)
                continue;
        }
        if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return err_sys(errno, "lstat %s/%s", path, de->d_name);
        if (S_ISLNK(st.st_mode)) {
            ssize_t n = readlinkat(dirfd(d), de->d_name, target, sizeof(target) - 1);
            if (n >= 0)
                link = xstrndup(target, (size_t)n);
        }
        if (l->len == l->cap) {
            l->cap = MAX((size_t)16, l->cap * 2);
            l->v = xreallocarray(l->v, l->cap, sizeof(*l->v));
        }
        fill_stat(&l->v[l->len++], de->d_name, &st, link);
    }
    return errno == 0 ? NULL : err_sys(errno, "read directory %s", path);
}

struct error *bridge_read_dir(struct bridge *b, struct ref *ref, const char *path, const char *include,
                              struct file_stat **ret, size_t *ret_count)
{
    CLEANUP(snapshot_unrefp) struct snapshot *s = NULL;
    CLEANUP(closep) int root = -1;
    struct listing l = { 0 };
    struct error *e;
    DIR *d;
    int fd;

    TRY(mount_ref(b, ref, &s, &root));
    if (root < 0)
        return err_new(ERR_NOT_FOUND, "open %s: no such file or directory", path);
    fd = path_open(root, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return path_error(fd, "open", path);
    d = fdopendir(fd);
    if (d == NULL) {
        e = err_sys(errno, "open %s", path);
        close(fd);
        return e;
    }
    e = list_dir(d, path, include, &l);
    closedir(d);
    if (e != NULL) {
        for (size_t i = 0; i < l.len; i++)
            file_stat_deinit(&l.v[i]);
        free(l.v);
        return e;
    }
    if (l.len > 0)
        qsort(l.v, l.len, sizeof(*l.v), by_name);
    *ret = l.v;
    *ret_count = l.len;
    return NULL;
}

/* ---- images, evaluation, warnings
 * ---------------------------------------------------------------------------------------------- */

static struct error *resolve_now(struct build *u, const char *ref, const struct resolve_image_options *o,
                                 struct resolved_image *ret)
{
    struct image_resolve_options io = { .mode = o->resolve_mode, .platform = o->platform };
    struct image_access access = { .sessions = job_sessions(u->job) };
    struct resolved_manifest m = { 0 };

    if (o->oci_layout)
        TRY(op_layout_resolve(u->builder->config->ops, ref, o->session_id, o->store_id, &io, &access,
                              u->lease, &m));
    else
        TRY(op_image_resolve(u->builder->config->ops, ref, &io, &access, u->lease, &m));
    ret->ref = xstrdup(ref);
    ret->digest = xstrdup(m.target.digest.s);
    buf_add(&ret->config, m.config.data, m.config.len);
    resolved_manifest_deinit(&m);
    return NULL;
}

static struct error *resolve_image(struct bridge *b, const char *ref, const struct resolve_image_options *o,
                                   struct resolved_image *ret)
{
    struct build *u = of(b);
    struct vertex_reporter *r = NULL;
    struct error *e;

    if (o->log_name != NULL && o->log_name[0] != '\0') {
        r = reporter_new(job_progress(u->job), NULL, o->log_name);
        reporter_start(r);
    }
    e = resolve_now(u, ref, o, ret);
    if (r != NULL) {
        reporter_complete(r, e);
        reporter_free(r);
    }
    if (e == NULL)
        request_add_image(request_of(b), ret, o->platform, o->oci_layout);
    return e;
}

static struct error *evaluate(struct bridge *b, struct ref *ref)
{
    CLEANUP(snapshot_unrefp) struct snapshot *s = NULL;

    return ref == NULL ? NULL : ref_result(ref, &s);
}

static const struct llb_def *def_of(struct bridge *b, struct ref *ref)
{
    return ref == NULL ? NULL : ref_def(ref);
}

static struct error *warn(struct bridge *b, const struct frontend_warning *w)
{
    struct progress_event e = {
        .kind = PROGRESS_WARNING,
        .vertex = w->digest,
        .warning = { .level = w->level,
                     .short_text = w->short_text,
                     .url = w->url,
                     .detail = w->detail == NULL ? NULL : (const char *const *)w->detail->v,
                     .detail_count = w->detail == NULL ? 0 : w->detail->len,
                     .info = w->info,
                     .ranges = w->ranges,
                     .range_count = w->range_count },
    };

    progress_warn(job_progress(of(b)->job), &e);
    return NULL;
}

static const struct bridge_ops bridge_ops = {
    .solve = solve,
    .solve_frontend = solve_frontend,
    .read_file = read_file,
    .stat_file = stat_file,
    .read_dir = bridge_read_dir,
    .resolve_image = resolve_image,
    .evaluate = evaluate,
    .ref_def = def_of,
    .warn = warn,
};

void bridge_init(struct request *r)
{
    r->bridge.ops = &bridge_ops;
    r->bridge.workers = platform_supported(&r->bridge.worker_count);
}
