/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/frontend_image.h"

#include "base/limits.h"
#include "base/log.h"
#include "buildkit/internal.h"
#include "frontend/dockerfile/build.h"
#include "frontend/dockerfile/dockerui.h"
#include "oci/reference.h"
#include "snapshot/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#define METADATA_FILE "/run/config/buildkit/metadata/frontend.bin"

/* ---- which frontend
 * -----------------------------------------------------------------------------------------------------------
 */

struct error *frontend_check_source(const struct builder_config *c, const char *source)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(freep) char *name = NULL;

    if (streq(source, "dockerfile.v0"))
        return NULL;
    if (c->no_gateway_frontend)
        return err_new(ERR_NOT_FOUND, "invalid frontend: gateway.v0");
    if (c->frontend_repositories.len == 0)
        return NULL;
    TRY(reference_parse(source, &r));
    name = reference_name(&r);
    for (size_t i = 0; i < c->frontend_repositories.len; i++) {
        CLEANUP(reference_deinit) struct reference allowed = { 0 };
        CLEANUP(freep) char *allowed_name = NULL;

        TRY(reference_parse(c->frontend_repositories.v[i], &allowed));
        allowed_name = reference_name(&allowed);
        if (streq(name, allowed_name))
            return NULL;
    }
    return err_new(ERR_FORBIDDEN, "'%s' is not an allowed gateway source", source);
}

/* docker's Dockerfile images are this program's own frontend. */
static struct error *gateway_build(struct bridge *b, const struct map *opts, const struct map *inputs,
                                   struct frontend_result *ret)
{
    const struct builder_config *c = CONTAINER_OF(b, struct request, bridge)->build->builder->config;
    const char *source = strmap_get(opts, "source");

    if (source == NULL || *source == '\0')
        return err_new(ERR_INVALID, "no source specified for gateway");
    TRY(frontend_check_source(c, source));
    if (frontend_is_builtin(source) && !c->no_dockerfile_frontend)
        return frontend_dockerfile_build(b, opts, inputs, ret);
    return frontend_image_run(b, opts, inputs, ret);
}

struct error *frontend_by_name(const struct builder_config *c, const char *name, frontend_fn *ret)
{
    *ret = NULL;
    if (streq(name, "dockerfile.v0") && !c->no_dockerfile_frontend)
        *ret = frontend_dockerfile_build;
    else if (streq(name, "gateway.v0") && !c->no_gateway_frontend)
        *ret = gateway_build;
    return *ret != NULL ? NULL : err_new(ERR_NOT_FOUND, "invalid frontend: %s", name);
}

/* ---- its image
 * ---------------------------------------------------------------------------------------------------------------
 */

struct image_run {
    struct bridge *bridge;
    struct build *build;
    const struct map *opts, *inputs;
    const char *source;
    struct df_image image; /* its config */
    struct buf definition; /* what it was made from, for itself to read */
    struct snapshot *snapshot;
    struct gateway gateway;
    struct buf last_words; /* the newest line that it wrote to stderr */
};

/* The state of the image: a context that stands for its name, or what the registry has. */
static struct error *find_state(struct image_run *i, struct dockerui *ui, struct llb_builder *b,
                                struct llb_state *ret)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(resolved_image_deinit) struct resolved_image image = { 0 };
    CLEANUP(freep) char *full = NULL, *log_name = NULL, *pinned = NULL;
    struct named_context_options none = { 0 };
    struct resolve_image_options o = { .resolve_mode = llb_resolve_mode_name(ui->resolve_mode) };
    struct named_context *nc = NULL;
    bool has_image;

    TRY(named_context_find(ui, i->source, &none, &nc));
    if (nc != NULL) {
        struct error *e = named_context_load(ui, b, nc, ret, &i->image, &has_image);

        named_context_free(nc);
        return e;
    }
    TRY(reference_parse(i->source, &r));
    reference_add_default_tag(&r);
    full = reference_string(&r);
    log_name = xasprintf("resolve image config for docker-image://%s", full);
    o.log_name = log_name;
    TRY(bridge_resolve_image(i->bridge, full, &o, &image));
    TRY(df_image_parse(image.config.data, image.config.len, &i->image));
    if (r.digest == NULL && image.digest[0] != '\0')
        r.digest = xstrdup(image.digest);
    pinned = reference_string(&r);
    *ret = llb_frontend_image(b, pinned, ui->resolve_mode, &(struct llb_options){ 0 });
    return NULL;
}

static struct error *solve_image(struct image_run *i)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    struct llb_def *def = NULL;
    struct llb_state state;
    struct dockerui ui;
    struct ref *ref = NULL;
    struct error *e;

    TRY(dockerui_init(&ui, i->bridge, i->opts, i->inputs));
    e = find_state(i, &ui, b, &state);
    if (e == NULL)
        e = llb_marshal(b, state, NULL, &def);
    dockerui_deinit(&ui);
    TRY(e);
    e = i->bridge->ops->solve(i->bridge, def, &ref);
    if (e != NULL) {
        llb_def_unref(def);
        return e;
    }
    if (ref == NULL)
        return err_new(ERR_UNKNOWN, "gateway source didn't return default result");
    llb_def_encode(ref_def(ref), &i->definition);
    return ref_result(ref, &i->snapshot);
}

/* "a,b+forward" */
static bool list_has_cap(const char *list, const char *cap)
{
    CLEANUP(strv_deinit) struct strv caps = { 0 };

    strv_split(&caps, list != NULL ? list : "", ',');
    for (size_t i = 0; i < caps.len; i++) {
        caps.v[i][strcspn(caps.v[i], "+")] = '\0';
        if (streq(caps.v[i], cap))
            return true;
    }
    return false;
}

static struct error *check_cap(const struct image_run *i, const char *cap)
{
    CLEANUP(buf_deinit) struct buf json = { 0 };
    struct error *e;

    if (cap[0] == '\0' || list_has_cap(strmap_get(&i->image.labels, "moby.buildkit.frontend.caps"), cap))
        return NULL;
    e = err_new(ERR_UNIMPLEMENTED, "unsupported frontend capability %s", cap);
    buf_adds(&json, "{\"name\":");
    buf_add_json_string(&json, cap, strlen(cap), true);
    buf_addc(&json, '}');
    err_add_detail(e, "github.com/moby/buildkit/errdefs.FrontendCap+json", json.data, json.len);
    return e;
}

/* What the client asks of a frontend must be on the image's label. */
static struct error *check_caps(const struct image_run *i)
{
    const char *wanted = strmap_get(i->opts, "frontend.caps");
    CLEANUP(strv_deinit) struct strv caps = { 0 };

    strv_split(&caps, wanted != NULL ? wanted : "", ',');
    for (size_t k = 0; k < caps.len; k++) {
        caps.v[k][strcspn(caps.v[k], "+")] = '\0';
        TRY(check_cap(i, caps.v[k]));
    }
    return i->inputs != NULL && i->inputs->len > 0 ? check_cap(i, "moby.buildkit.frontend.inputs") : NULL;
}

/* ---- its environment
 * -----------------------------------------------------------------------------------------------------------
 */

static json_t *platform_json(const Pb__Platform *p)
{
    json_t *o = json_pack("{s:s, s:s}", "architecture", p->architecture, "os", p->os);

    if (p->variant[0] != '\0')
        json_object_set_new(o, "variant", json_string(p->variant));
    return o;
}

/* Go's client.WorkerInfo. */
static char *workers_json(const Bkt__WorkerRecord *w)
{
    json_t *labels = json_object(), *platforms = json_array(), *all;
    char *text;

    for (size_t i = 0; i < w->n_labels; i++)
        json_object_set_new(labels, w->labels[i]->key, json_string(w->labels[i]->value));
    for (size_t i = 0; i < w->n_platforms; i++)
        json_array_append_new(platforms, platform_json(w->platforms[i]));
    all = json_pack("[{s:s, s:o, s:o, s:n, s:{s:s, s:s, s:s}, s:n}]", "id", w->id, "labels", labels,
                    "platforms", platforms, "gcPolicy", "buildkitVersion", "package",
                    w->buildkit_version->package, "version", w->buildkit_version->version, "revision",
                    w->buildkit_version->revision, "cdiDevices");
    text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return text;
}

static void fill_env(const struct image_run *i, struct strv *env)
{
    const struct builder *b = i->build->builder;
    CLEANUP(freep) char *workers = workers_json(b->worker);

    strv_copy(env, &i->image.env);
    for (size_t k = 0; k < i->opts->len; k++)
        strv_addf(env, "BUILDKIT_FRONTEND_OPT_%zu=%s=%s", k, i->opts->entries[k].key,
                  (const char *)i->opts->entries[k].value);
    strv_addf(env, "BUILDKIT_SESSION_ID=%s", i->bridge->session_id);
    strv_addf(env, "BUILDKIT_WORKERS=%s", workers);
    strv_addf(env, "BUILDKIT_EXPORTEDPRODUCT=%s", b->config->engine ? "docker" : "buildkit");
}

/* ---- its process
 * ---------------------------------------------------------------------------------------------------------------
 */

struct image_process {
    struct image_run *run;
    int in[2], out[2], err[2]; /* pipes: read end, write end */
    struct scope *scope;       /* of the container: cancelled when the connection ends first */
    struct mutex lock;
    bool lost; /* under lock: the connection ended first */
};

static void close_pipes(struct image_process *p)
{
    for (int i = 0; i < 2; i++) {
        closep(&p->in[i]);
        closep(&p->out[i]);
        closep(&p->err[i]);
    }
}

static struct error *open_pipes(struct image_process *p)
{
    if (pipe2(p->in, O_CLOEXEC) < 0 || pipe2(p->out, O_CLOEXEC) < 0 || pipe2(p->err, O_CLOEXEC) < 0)
        return err_sys(errno, "make a pipe");
    return NULL;
}

/* Its connection, over its stdin and stdout.  Our own copies of the container's ends stay open until it is
 * gone, so that only what is no HTTP/2 ends the connection before. */
static struct error *serve(void *arg)
{
    struct image_process *p = arg;
    struct gateway_door door = { .builder = p->run->build->builder, .gateway = &p->run->gateway };
    const struct rpc_service bridge = { "moby.buildkit.v1.frontend.LLBBridge", gateway_methods,
                                        gateway_method_count, &door, .plain_errors = true };
    const struct rpc_service health = { "grpc.health.v1.Health", health_methods, health_method_count,
                                        door.builder };
    const struct rpc_service *list[] = { &bridge, &health };
    struct rpc_server server = { .services = list, .service_count = ARRAY_LEN(list) };
    struct error *e = rpc_serve_stream(&server, stream_from_fds(TAKE_FD(p->out[0]), TAKE_FD(p->in[1])));

    if (e != NULL && !err_is(e, ERR_CANCELLED))
        log_info("a frontend image's connection failed", "source", p->run->source, "error", e->message);
    err_free(e);
    mutex_lock(&p->lock);
    p->lost = true;
    mutex_unlock(&p->lock);
    scope_cancel(p->scope, NULL);
    return NULL;
}

static void note_line(struct image_run *i, const char *line, size_t len, bool show)
{
    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == ' '))
        len--;
    if (len == 0)
        return;
    buf_clear(&i->last_words);
    buf_add(&i->last_words, line, len);
    if (show)
        log_info("frontend image", "source", i->source, "says", buf_str(&i->last_words));
}

/* Its stderr goes to the log, line by line, up to a bound. */
static struct error *read_stderr(void *arg)
{
    struct image_process *p = arg;
    CLEANUP(buf_deinit) struct buf line = { 0 };
    size_t total = 0;
    char chunk[4096];
    ssize_t n;

    for (;;) {
        int r = task_wait_fd(p->err[0], POLLIN);

        if (r < 0)
            return NULL;
        n = read(p->err[0], chunk, sizeof(chunk));
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            break;
        for (ssize_t k = 0; k < n; k++) {
            if (chunk[k] != '\n' && line.len < LIMIT_FRONTEND_LINE)
                buf_addc(&line, chunk[k]);
            if (chunk[k] != '\n')
                continue;
            total += line.len;
            note_line(p->run, line.data, line.len, total <= LIMIT_FRONTEND_LOG);
            buf_clear(&line);
        }
    }
    note_line(p->run, line.data, line.len, total + line.len <= LIMIT_FRONTEND_LOG);
    return NULL;
}

static bool wants_no_network(const struct image_run *i)
{
    const char *label = strmap_get(&i->image.labels, "moby.buildkit.frontend.network.none");
    bool none = false;

    return label != NULL && parse_bool(label, &none) == 0 && none;
}

static struct error *run_container(struct image_process *p, int root_fd, int *ret_code)
{
    struct image_run *i = p->run;
    CLEANUP(strv_deinit) struct strv env = { 0 };
    CLEANUP(strv_deinit) struct strv args = { 0 };
    struct run_secret_file metadata = {
        .dest = METADATA_FILE, .data = i->definition.data, .len = i->definition.len, .mode = 0400
    };

    fill_env(i, &env);
    if (i->image.entrypoint.len > 0)
        strv_copy(&args, &i->image.entrypoint);
    else
        strv_add(&args, "/run");
    struct run_spec spec = {
        .rootfs_fd = root_fd,
        .args = (const char *const *)args.v,
        .env = (const char *const *)env.v,
        .cwd = i->image.working_dir,
        .network = wants_no_network(i) ? RUN_NET_NONE : RUN_NET_BRIDGE,
        .secrets = &metadata,
        .secret_count = 1,
        .remove_mount_stubs = true,
        .stdin_fd = p->in[0],
        .stdout_fd = p->out[1],
        .stderr_fd = p->err[1],
    };

    scope_enter(p->scope);
    struct error *e = runner_run(i->build->builder->config->ops->runner, &spec, ret_code);
    scope_leave(p->scope);
    return e;
}

/* What its end means.  `e` and `code`: of the container; `e` is taken. */
static struct error *outcome(struct image_process *p, struct error *e, int code)
{
    struct image_run *i = p->run;
    const char *words = buf_str(&i->last_words);
    bool lost;

    mutex_lock(&p->lock);
    lost = p->lost;
    mutex_unlock(&p->lock);
    struct error *cancelled = task_check(); /* the build's own end says more than the container's */
    if (cancelled != NULL) {
        err_free(e);
        return cancelled;
    }
    if (i->gateway.failure != NULL) { /* it said so itself */
        err_free(e);
        return TAKE(i->gateway.failure);
    }
    if (e != NULL && lost && err_is(e, ERR_CANCELLED)) {
        err_free(e);
        return err_new(ERR_UNKNOWN, "frontend %s: frontend grpc server closed unexpectedly%s%s", i->source,
                       *words != '\0' ? ": " : "", words);
    }
    if (e != NULL)
        return err_wrap(e, "frontend %s", i->source);
    if (code != 0) {
        CLEANUP(freep) char *json = xasprintf("{\"Code\":%d}", code);

        e = err_new(ERR_UNKNOWN, "frontend %s: exit code: %d%s%s", i->source, code,
                    *words != '\0' ? ": " : "", words);
        err_add_detail(e, "github.com/moby/buildkit/gatewayapi.ExitMessage+json", json, strlen(json));
        return e;
    }
    return i->gateway.returned
               ? NULL
               : err_new(ERR_UNKNOWN, "frontend %s: no result for incomplete build", i->source);
}

static struct error *run_process(struct image_run *i, int root_fd)
{
    struct image_process p = { .run = i, .in = { -1, -1 }, .out = { -1, -1 }, .err = { -1, -1 } };
    struct group connection, log;
    struct error *e = open_pipes(&p);
    int code = 0;

    mutex_init(&p.lock);
    group_open(&connection, GROUP_KEEP_GOING);
    group_open(&log, GROUP_KEEP_GOING);
    p.scope = scope_new(NULL);
    if (e == NULL)
        e = group_spawn(&connection, "frontend", serve, &p);
    if (e == NULL)
        e = group_spawn(&log, "frontend stderr", read_stderr, &p);
    if (e == NULL)
        e = run_container(&p, root_fd, &code);
    closep(&p.in[0]);
    closep(&p.out[1]);
    closep(&p.err[1]);
    mutex_lock(&p.lock);
    bool lost = p.lost;
    mutex_unlock(&p.lock);
    /* What it wrote in the end is read before the connection is over. */
    err_free(group_join(&connection));
    err_free(group_join(&log));
    p.lost = lost;
    e = outcome(&p, e, code);
    close_pipes(&p);
    scope_unref(p.scope);
    mutex_deinit(&p.lock);
    return e;
}

static struct error *run_image(struct image_run *i)
{
    struct active *root = NULL;
    struct error *e;

    TRY(solve_image(i));
    TRY(check_caps(i));
    TRY(active_begin(i->build->builder->config->store, i->snapshot, &root));
    e = run_process(i, active_fd(root));
    active_abandon(root);
    return e;
}

struct error *frontend_image_run(struct bridge *b, const struct map *opts, const struct map *inputs,
                                 struct frontend_result *ret)
{
    struct request *r = CONTAINER_OF(b, struct request, bridge);
    struct image_run i = {
        .bridge = b, .build = r->build, .opts = opts, .inputs = inputs, .source = strmap_get(opts, "source")
    };
    struct error *e;

    df_image_init(&i.image);
    gateway_init(&i.gateway, r);
    e = run_image(&i);
    if (e == NULL) {
        *ret = i.gateway.result;
        i.gateway.result = (struct frontend_result){ 0 };
    }
    gateway_deinit(&i.gateway);
    snapshot_unref(i.snapshot);
    buf_deinit(&i.definition);
    buf_deinit(&i.last_words);
    df_image_deinit(&i.image);
    return e;
}
