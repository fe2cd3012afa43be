/* SPDX-License-Identifier: Apache-2.0 */
/* bridge.c - what a frontend may ask of its build, in process; the LLBBridge service calls the same functions
 */
#include "buildkit/files.h"
#include "buildkit/frontend_image.h"
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

struct error *bridge_solve(struct bridge *b, struct policy_rules extra, struct llb_def *def, struct ref **ret)
{
    struct llb_def *allowed;

    if (llb_def_is_scratch(def)) {
        llb_def_unref(def);
        *ret = NULL;
        return NULL;
    }
    TRY(policy_apply(of(b), extra, def, &allowed));
    struct error *e = job_ref(of(b)->job, allowed, ret);

    if (e != NULL) {
        llb_def_unref(allowed);
        return e;
    }
    llb_def_unref(def);
    request_add_ref(request_of(b), *ret);
    return NULL;
}

static struct error *solve(struct bridge *b, struct llb_def *def, struct ref **ret)
{
    return bridge_solve(b, (struct policy_rules){ 0 }, def, ret);
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
    frontend_fn fn;
    struct request *r;
    struct error *e;

    TRY(frontend_by_name(of(b)->builder->config, name, &fn));
    r = request_new(request_of(b), name, opts, inputs);
    r->ahead = ahead_begin(r);
    e = frontend_failure(fn(&r->bridge, &r->args, &r->inputs, ret));
    ahead_end(TAKE(r->ahead), e == NULL);
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
        *ret_fd = layer_dir(of(b)->builder->config->store, snapshot_layer_id(*ret_snapshot, 0));
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

static const char *image_name(const char *identifier)
{
    const char *rest = strstr(identifier, "://");

    return rest == NULL ? identifier : rest + 3;
}

static void note_image(struct request *r, const Pb__Platform *platform,
                       const Gw__ResolveSourceMetaResponse *meta)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };
    struct resolved_image image = { .ref = (char *)image_name(meta->source->identifier),
                                    .digest = meta->image->digest };

    if (platform != NULL)
        platform_from_pb(platform, &p);
    request_add_image(r, &image, platform == NULL ? NULL : &p,
                      str_has_prefix(meta->source->identifier, "oci-layout://"));
}

struct error *bridge_source_meta(struct bridge *b, struct pb_arena *a, const Gw__ResolveSourceMetaRequest *q,
                                 Gw__ResolveSourceMetaResponse **ret)
{
    TRY(source_meta(of(b), request_of(b)->ahead, a, q, true, ret));
    if ((*ret)->image != NULL)
        note_image(request_of(b), q->platform, *ret);
    return NULL;
}

static Kv__Str *source_attr(struct pb_arena *a, const char *key, const char *value)
{
    Kv__Str *kv = PB_NEW(a, kv__str);

    kv->key = pb_str(a, key);
    kv->value = pb_str(a, value);
    return kv;
}

/* "docker-image://.." or, of the client's layout, "oci-layout://..". */
static Pb__SourceOp *image_source_op(struct pb_arena *a, const char *ref,
                                     const struct resolve_image_options *o)
{
    Pb__SourceOp *op = PB_NEW(a, pb__source_op);

    op->identifier = pb_strf(a, "%s://%s", o->oci_layout ? "oci-layout" : "docker-image", ref);
    if (!o->oci_layout)
        return op;
    op->attrs = pb_array(a, 2);
    if (o->session_id != NULL && *o->session_id != '\0')
        op->attrs[op->n_attrs++] = source_attr(a, "oci.session", o->session_id);
    if (o->store_id != NULL && *o->store_id != '\0')
        op->attrs[op->n_attrs++] = source_attr(a, "oci.store", o->store_id);
    return op;
}

static struct error *resolve_image(struct bridge *b, const char *ref, const struct resolve_image_options *o,
                                   struct resolved_image *ret)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Gw__ResolveSourceMetaRequest q = GW__RESOLVE_SOURCE_META_REQUEST__INIT;
    Gw__ResolveSourceMetaResponse *meta;

    q.source = image_source_op(&a, ref, o);
    q.log_name = pb_str(&a, o->log_name);
    q.resolve_mode = pb_str(&a, o->resolve_mode);
    if (o->platform != NULL)
        q.platform = platform_to_pb(&a, o->platform);
    TRY(bridge_source_meta(b, &a, &q, &meta));
    if (meta->image == NULL) {
        ret->other = xstrdup(meta->source->identifier);
        return NULL;
    }
    ret->ref = xstrdup(image_name(meta->source->identifier));
    ret->digest = xstrdup(meta->image->digest);
    buf_add(&ret->config, meta->image->config.data, meta->image->config.len);
    return NULL;
}

/* "+0130" in seconds; 0 for what is no zone. */
static int zone_offset(const char *zone)
{
    int64_t number;

    if (strlen(zone) != 5 || (zone[0] != '+' && zone[0] != '-') || strspn(zone + 1, "0123456789") != 4 ||
        parse_i64(zone + 1, &number) < 0)
        return 0;
    number = number / 100 * 3600 + number % 100 * 60;
    return (int)(zone[0] == '-' ? -number : number);
}

/* "committer NAME <MAIL> SECONDS ZONE" among a commit's header lines. */
static bool commit_time(const char *object, struct source_time *ret)
{
    const char *end = strstr(object, "\n\n"), *line = strstr(object, "\ncommitter "), *p;
    CLEANUP(freep) char *number = NULL;

    if (line == NULL || (end != NULL && line > end))
        return false;
    CLEANUP(freep) char *text = xstrndup(line + 1, strcspn(line + 1, "\n"));

    p = strrchr(text, '>');
    if (p == NULL || p[1] != ' ')
        return false;
    number = xstrndup(p + 2, strcspn(p + 2, " "));
    p += 2 + strlen(number);
    ret->offset = *p == ' ' ? zone_offset(p + 1) : 0;
    return parse_i64(number, &ret->seconds) == 0;
}

static struct error *source_time(struct bridge *b, const Pb__SourceOp *op, const char *log_name,
                                 struct source_time *ret)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Gw__ResolveSourceMetaRequest q = GW__RESOLVE_SOURCE_META_REQUEST__INIT;
    Gw__ResolveSourceGitRequest git = GW__RESOLVE_SOURCE_GIT_REQUEST__INIT;
    Gw__ResolveSourceMetaResponse *meta;

    git.return_object = true;
    q.source = (Pb__SourceOp *)op;
    q.log_name = (char *)log_name;
    if (str_has_prefix(op->identifier, "git://"))
        q.git = &git;
    TRY(bridge_source_meta(b, &a, &q, &meta));
    *ret = (struct source_time){ 0 };
    if (meta->git != NULL) {
        const char *object = pb_strf(&a, "%.*s", (int)meta->git->commit_object.len,
                                     (const char *)meta->git->commit_object.data);

        ret->known = commit_time(object, ret);
        if (!ret->known)
            return err_new(ERR_UNKNOWN, "invalid commit object: missing committer header");
    } else if (meta->http != NULL && meta->http->last_modified != NULL) {
        ret->seconds = meta->http->last_modified->seconds;
        ret->known = true;
    }
    return NULL;
}

static struct error *evaluate(struct bridge *b, struct ref *ref)
{
    return ref == NULL ? NULL : ref_evaluate(ref);
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

static struct error *check_frontend(struct bridge *b, const char *source)
{
    return frontend_failure(frontend_check_source(of(b)->builder->config, source));
}

static void import_caches(struct bridge *b, const struct cache_imports *l)
{
    build_import_caches(of(b), l);
}

static bool needed_before(struct bridge *b, const char *what)
{
    return ahead_needed_before(request_of(b)->ahead, what);
}

static void note_needed(struct bridge *b, const char *what)
{
    ahead_note_needed(request_of(b)->ahead, what);
}

static const struct bridge_ops bridge_ops = {
    .solve = solve,
    .solve_frontend = solve_frontend,
    .read_file = read_file,
    .stat_file = stat_file,
    .read_dir = bridge_read_dir,
    .resolve_image = resolve_image,
    .source_time = source_time,
    .evaluate = evaluate,
    .ref_def = def_of,
    .warn = warn,
    .check_frontend = check_frontend,
    .import_caches = import_caches,
    .needed_before = needed_before,
    .note_needed = note_needed,
};

void bridge_init(struct request *r)
{
    r->bridge.ops = &bridge_ops;
    r->bridge.workers = platform_supported(&r->bridge.worker_count);
}
