/* SPDX-License-Identifier: Apache-2.0 */
/* bridge.c - what a frontend may ask of its build, in process; the LLBBridge service calls the same functions
 */
#include "buildkit/files.h"
#include "buildkit/internal.h"
#include "store/layer.h"

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

static struct error *no_such(const char *what, const char *path)
{
    return err_new(ERR_NOT_FOUND, "%s %s: no such file or directory", what, path);
}

static struct error *read_file(struct bridge *b, struct ref *ref, const char *path,
                               const struct read_file_options *o, struct buf *out)
{
    CLEANUP(snapshot_unrefp) struct snapshot *s = NULL;
    CLEANUP(closep) int root = -1;

    TRY(mount_ref(b, ref, &s, &root));
    return root < 0 ? no_such("open", path) : files_read(root, path, o, out);
}

static struct error *stat_file(struct bridge *b, struct ref *ref, const char *path, struct file_stat *ret)
{
    CLEANUP(snapshot_unrefp) struct snapshot *s = NULL;
    CLEANUP(closep) int root = -1;

    TRY(mount_ref(b, ref, &s, &root));
    return root < 0 ? no_such("lstat", path) : files_stat(root, path, ret);
}

struct error *bridge_read_dir(struct bridge *b, struct ref *ref, const char *path, const char *include,
                              struct file_stat **ret, size_t *ret_count)
{
    CLEANUP(snapshot_unrefp) struct snapshot *s = NULL;
    CLEANUP(closep) int root = -1;

    TRY(mount_ref(b, ref, &s, &root));
    return root < 0 ? no_such("open", path) : files_list(root, path, include, ret, ret_count);
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
