/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway.c - moby.buildkit.v1.frontend.LLBBridge: calls, solves, images; results, files and processes are
 * in files of their own
 *
 * A client's call names its build in the metadata `buildkit-controlapi-buildid` and runs under that build's
 * scope, so that the end of the build ends the call.
 */
#include "buildkit/build_container.h"
#include "buildkit/internal.h"

#include "base/bytes.h"
#include "base/limits.h"

/* ---- the gateway
 * ---------------------------------------------------------------------------------------------------------------
 */

void gateway_init(struct gateway *g, struct request *r)
{
    *g = (struct gateway){ .request = r };
    mutex_init(&g->lock);
    cond_init(&g->changed);
}

void gateway_deinit(struct gateway *g)
{
    if (g->request == NULL)
        return;
    for (size_t i = 0; i < g->containers.len; i++)
        build_container_stop(g->containers.entries[i].value); /* all, before one is waited for */
    for (size_t i = 0; i < g->containers.len; i++)
        build_container_free(g->containers.entries[i].value);
    map_deinit(&g->containers);
    frontend_result_deinit(&g->result);
    err_free(g->failure);
    cond_deinit(&g->changed);
    mutex_deinit(&g->lock);
}

struct error *gateway_return(struct gateway *g, struct frontend_result *result, struct error *failure)
{
    bool again;

    mutex_lock(&g->lock);
    again = g->returned;
    if (!again) {
        g->returned = true;
        g->failure = TAKE(failure);
        if (g->failure == NULL) {
            g->result = *result;
            *result = (struct frontend_result){ 0 };
        }
        cond_broadcast(&g->changed);
    }
    mutex_unlock(&g->lock);
    err_free(failure);
    return again ? err_new(ERR_UNKNOWN, "gateway result is already set") : NULL;
}

struct error *gateway_wait(struct gateway *g, struct frontend_result *ret)
{
    struct error *e = NULL;
    int r = 0;

    mutex_lock(&g->lock);
    while (!g->returned && r == 0)
        r = cond_wait(&g->changed, &g->lock);
    if (r == 0) {
        e = TAKE(g->failure);
        *ret = g->result;
        g->result = (struct frontend_result){ 0 };
    }
    mutex_unlock(&g->lock);
    return r < 0 ? task_error(r, "wait for the client's result") : e;
}

/* ---- one call
 * ---------------------------------------------------------------------------------------------------------------
 */

struct error *bridge_call_enter(struct rpc_call *call, const struct gateway_door *door, struct bridge_call *c)
{
    const char *id, *method = strrchr(rpc_method_path(call), '/') + 1;

    c->gateway = door->gateway;
    if (c->gateway != NULL)
        return NULL; /* served below its build's scope */
    id = rpc_metadata_get(call, "buildkit-controlapi-buildid");
    if (id == NULL)
        return err_new(ERR_UNKNOWN, "no buildid found in context");
    TRY(build_find(door->builder, id, BRIDGE_WAIT_NS, &c->build));
    if (c->build == NULL)
        return err_new(ERR_NOT_FOUND, "forwarding %s: no such job %s", method, id);
    c->own = scope_current();
    scope_enter(job_scope(c->build->job));
    c->gateway = &c->build->gateway;
    return NULL;
}

void bridge_call_leave(struct bridge_call *c)
{
    if (c->build != NULL) {
        scope_leave(job_scope(c->build->job));
        build_put(c->build);
        c->build = NULL;
    }
    pb_arena_deinit(&c->arena);
}

struct job *bridge_call_job(const struct bridge_call *c)
{
    return c->gateway->request->build->job;
}

struct bridge *bridge_call_bridge(const struct bridge_call *c)
{
    return &c->gateway->request->bridge;
}

struct error *bridge_call_ref(const struct bridge_call *c, const char *id, struct ref **ret)
{
    *ret = NULL;
    if (id[0] == '\0')
        return NULL; /* scratch */
    *ret = job_find_ref(bridge_call_job(c), id);
    return *ret != NULL ? NULL : err_new(ERR_UNKNOWN, "no such ref: %s", id);
}

struct error *bridge_call_failure(struct ref *ref, struct error *e)
{
    if (e != NULL && ref != NULL && !err_is(e, ERR_CANCELLED))
        ref_add_solve_detail(ref, e);
    return e;
}

/* ---- Ping, Solve, Return, Evaluate, Inputs
 * --------------------------------------------------------------------------------------- */

static struct error *ping(struct rpc_call *call, void *ctx)
{
    BRIDGE_CALL;
    const struct gateway_door *door = ctx;
    Gw__PongResponse m = GW__PONG_RESPONSE__INIT;
    Gw__PingRequest *q;

    TRY(rpc_recv_one(call, &gw__ping_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, ctx, &c));
    m.frontend_api_caps = worker_frontend_caps(&c.arena, &m.n_frontend_api_caps);
    m.llb_caps = worker_llb_caps(&c.arena, &m.n_llb_caps);
    m.workers = &door->builder->worker;
    m.n_workers = 1;
    return rpc_send(call, &m.base);
}

static struct error *solve_definition(const struct bridge_call *c, const Gw__SolveRequest *q,
                                      struct frontend_result *r)
{
    struct llb_def *def = NULL;
    struct ref *ref = NULL;
    struct error *e;

    TRY(llb_def_from_pb(q->definition, &def));
    e = bridge_solve(bridge_call_bridge(c), (struct policy_rules){ q->source_policies, q->n_source_policies },
                     def, &ref);
    if (e != NULL) {
        llb_def_unref(def);
        return e;
    }
    frontend_result_add_ref(r, NULL, ref);
    return NULL;
}

static struct error *solve_any(const struct bridge_call *c, const Gw__SolveRequest *q,
                               struct frontend_result *r)
{
    CLEANUP(map_deinit) struct map opts = { 0 };
    CLEANUP(map_deinit) struct map inputs = { 0 };
    struct bridge *b = bridge_call_bridge(c);

    if (q->n_cache_imports > 0) {
        CLEANUP(cache_imports_deinit) struct cache_imports caches = { 0 };

        cache_imports_from_entries(q->cache_imports, q->n_cache_imports, &caches);
        b->ops->import_caches(b, &caches);
    }
    if (q->frontend[0] == '\0')
        return solve_definition(c, q, r);
    if (q->definition != NULL && q->definition->n_def > 0)
        return err_new(ERR_INVALID, "cannot solve with both Definition and Frontend specified");
    strmap_from_entries(q->frontend_opt, q->n_frontend_opt, &opts);
    TRY(inputs_from_entries(q->frontend_inputs, q->n_frontend_inputs, &inputs));
    return b->ops->solve_frontend(b, q->frontend, &opts, &inputs, r);
}

static struct error *evaluate_now(const struct bridge_call *c, struct ref *ref)
{
    struct bridge *b = bridge_call_bridge(c);

    return bridge_call_failure(ref, b->ops->evaluate(b, ref));
}

/* Until the call's client gives it up, or the evaluation has ended. */
static struct error *watch_call(void *arg)
{
    struct scope *evaluation = arg;
    int r = 0;

    while (r == 0)
        r = task_sleep(3600 * NS_PER_SEC);
    scope_cancel(evaluation, task_check());
    return NULL;
}

/* Under both scopes, the build's and the call's: what only this call waits for ends with either. */
static struct error *evaluate_ref(const struct bridge_call *c, struct ref *ref)
{
    struct scope *evaluation;
    struct group watch;
    struct error *e;

    if (c->own == NULL)
        return evaluate_now(c, ref);
    evaluation = scope_new(NULL);
    scope_enter(c->own);
    group_open(&watch, GROUP_KEEP_GOING);
    e = group_spawn(&watch, "call watch", watch_call, evaluation);
    scope_leave(c->own);
    if (e == NULL) {
        scope_enter(evaluation);
        e = evaluate_now(c, ref);
        scope_leave(evaluation);
    }
    group_deinit(&watch);
    scope_unref(evaluation);
    return e;
}

static struct error *solve(struct rpc_call *call, void *ctx)
{
    BRIDGE_CALL;
    CLEANUP(frontend_result_deinit) struct frontend_result r = { 0 };
    Gw__SolveResponse m = GW__SOLVE_RESPONSE__INIT;
    Gw__SolveRequest *q;

    TRY(rpc_recv_one(call, &gw__solve_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, ctx, &c));
    TRY(solve_any(&c, q, &r));
    for (size_t i = 0; q->evaluate && i < r.ref_count; i++)
        TRY(evaluate_ref(&c, r.refs[i].ref));
    TRY(gateway_result_message(&c.arena, &r, &m.result));
    if (!q->allow_result_return) {
        m.ref = r.ref_count > 0 && r.refs[0].ref != NULL ? (char *)ref_id(r.refs[0].ref) : (char *)"";
        m.result = NULL;
    }
    return rpc_send(call, &m.base);
}

static struct error *ret(struct rpc_call *call, void *ctx)
{
    BRIDGE_CALL;
    CLEANUP(frontend_result_deinit) struct frontend_result r = { 0 };
    Gw__ReturnResponse m = GW__RETURN_RESPONSE__INIT;
    CLEANUP(err_freep) struct error *failure = NULL;
    Gw__ReturnRequest *q;

    TRY(rpc_recv_one(call, &gw__return_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, ctx, &c));
    failure = pb_to_error(q->error);
    if (q->error != NULL && failure == NULL)
        return err_new(ERR_UNKNOWN, "gateway return must be either result or err");
    if (q->error == NULL && q->result == NULL)
        return err_new(ERR_INVALID, "result is required");
    if (failure == NULL)
        TRY(gateway_result_from_message(&c, q->result, &r));
    if (c.build != NULL && !c.build->driven)
        return err_new(ERR_CONFLICT, "build %s is not driven by a gateway", c.build->ref);
    TRY(gateway_return(c.gateway, &r, TAKE(failure)));
    bridge_call_leave(&c); /* the build may end at once: the answer must not be cancelled with it */
    return rpc_send(call, &m.base);
}

static struct error *evaluate(struct rpc_call *call, void *ctx)
{
    BRIDGE_CALL;
    Gw__EvaluateResponse m = GW__EVALUATE_RESPONSE__INIT;
    Gw__EvaluateRequest *q;
    struct ref *ref;

    TRY(rpc_recv_one(call, &gw__evaluate_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, ctx, &c));
    TRY(bridge_call_ref(&c, q->ref, &ref));
    TRY(evaluate_ref(&c, ref));
    return rpc_send(call, &m.base);
}

static struct error *inputs(struct rpc_call *call, void *ctx)
{
    BRIDGE_CALL;
    Gw__InputsResponse m = GW__INPUTS_RESPONSE__INIT;
    Gw__InputsRequest *q;

    TRY(rpc_recv_one(call, &gw__inputs_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, ctx, &c));
    const struct map *in = &c.gateway->request->inputs;
    m.definitions = pb_array(&c.arena, in->len);
    for (size_t i = 0; i < in->len; i++) {
        CLEANUP(buf_deinit) struct buf b = { 0 };
        Bk__DefinitionEntry *entry = m.definitions[m.n_definitions++] =
            PB_NEW(&c.arena, bk__definition_entry);
        entry->key = in->entries[i].key;
        llb_def_encode(in->entries[i].value, &b);
        TRY(pb_unpack(&pb__definition__descriptor, pb_mem(&c.arena, b.data, b.len), b.len, &c.arena,
                      &entry->value));
    }
    return rpc_send(call, &m.base);
}

/* ---- images
 * --------------------------------------------------------------------------------------------------------------------------
 */

static Kv__Str *attr_of(struct pb_arena *a, const char *key, char *value)
{
    Kv__Str *kv = PB_NEW(a, kv__str);

    kv->key = pb_str(a, key);
    kv->value = value;
    return kv;
}

/* The older call as the newer one. */
static struct error *image_request(struct pb_arena *a, const Gw__ResolveImageConfigRequest *q,
                                   Gw__ResolveSourceMetaRequest *ret)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    CLEANUP(freep) char *full = NULL;
    bool layout = q->resolver_type == 1;

    TRY(err_wrap(reference_parse(q->ref, &ref), "could not parse reference \"%s\"", q->ref));
    full = reference_string(&ref);
    ret->source = PB_NEW(a, pb__source_op);
    ret->source->identifier = pb_strf(a, "%s://%s", layout ? "oci-layout" : "docker-image", full);
    ret->source->attrs = pb_array(a, 2);
    if (layout && *q->session_id != '\0')
        ret->source->attrs[ret->source->n_attrs++] = attr_of(a, "oci.session", q->session_id);
    if (layout && *q->store_id != '\0')
        ret->source->attrs[ret->source->n_attrs++] = attr_of(a, "oci.store", q->store_id);
    ret->platform = q->platform;
    ret->log_name = q->log_name;
    ret->resolve_mode = q->resolve_mode;
    ret->source_policies = q->source_policies;
    ret->n_source_policies = q->n_source_policies;
    return NULL;
}

static struct error *resolve_image_config(struct rpc_call *call, void *ctx)
{
    BRIDGE_CALL;
    Gw__ResolveImageConfigResponse m = GW__RESOLVE_IMAGE_CONFIG_RESPONSE__INIT;
    Gw__ResolveSourceMetaRequest meta_q = GW__RESOLVE_SOURCE_META_REQUEST__INIT;
    Gw__ResolveSourceMetaResponse *meta;
    Gw__ResolveImageConfigRequest *q;

    TRY(rpc_recv_one(call, &gw__resolve_image_config_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, ctx, &c));
    TRY(image_request(&c.arena, q, &meta_q));
    TRY(err_wrap(bridge_source_meta(bridge_call_bridge(&c), &c.arena, &meta_q, &meta),
                 "failed to resolve source metadata for %s", q->ref));
    if (meta->image == NULL)
        return err_new(ERR_UNKNOWN, "ref mutated by policy to non-image: docker-image://%s -> %s", q->ref,
                       meta->source->identifier);
    m.digest = meta->image->digest;
    m.ref = strstr(meta->source->identifier, "://") + 3;
    m.config = meta->image->config;
    return rpc_send(call, &m.base);
}

static struct error *resolve_source_meta(struct rpc_call *call, void *ctx)
{
    BRIDGE_CALL;
    Gw__ResolveSourceMetaResponse *m;
    Gw__ResolveSourceMetaRequest *q;

    TRY(rpc_recv_one(call, &gw__resolve_source_meta_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, ctx, &c));
    TRY(bridge_source_meta(bridge_call_bridge(&c), &c.arena, q, &m));
    return rpc_send(call, &m->base);
}

/* ---- warnings
 * -------------------------------------------------------------------------------------------------------------------------
 */

static struct error *warn(struct rpc_call *call, void *ctx)
{
    BRIDGE_CALL;
    CLEANUP(strv_deinit) struct strv detail = { 0 };
    CLEANUP(freep) struct llb_range *ranges = NULL;
    Gw__WarnResponse m = GW__WARN_RESPONSE__INIT;
    struct llb_source_info info = { 0 };
    Gw__WarnRequest *q;

    TRY(rpc_recv_one(call, &gw__warn_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, ctx, &c));
    for (size_t i = 0; i < q->n_detail; i++)
        strv_addn(&detail, (const char *)q->detail[i].data, q->detail[i].len);
    ranges = xcalloc(q->n_ranges + 1, sizeof(*ranges));
    for (size_t i = 0; i < q->n_ranges; i++) {
        const Pb__Position *s = q->ranges[i]->start, *e = q->ranges[i]->end;
        ranges[i] = (struct llb_range){ s == NULL ? 0 : s->line, s == NULL ? 0 : s->character,
                                        e == NULL ? 0 : e->line, e == NULL ? 0 : e->character };
    }
    if (q->info != NULL)
        info = (struct llb_source_info){ .filename = q->info->filename,
                                         .language = q->info->language,
                                         .data = q->info->data.data,
                                         .data_len = q->info->data.len };
    struct frontend_warning w = { .digest = q->digest,
                                  .level = (int)q->level,
                                  .url = q->url,
                                  .detail = &detail,
                                  .short_text = pb_strf(&c.arena, "%.*s", (int)q->short_text.len,
                                                        (const char *)q->short_text.data),
                                  .info = q->info == NULL ? NULL : &info,
                                  .ranges = ranges,
                                  .range_count = q->n_ranges };
    TRY(bridge_call_bridge(&c)->ops->warn(bridge_call_bridge(&c), &w));
    return rpc_send(call, &m.base);
}

const struct rpc_method gateway_methods[] = {
    { "Evaluate", evaluate },
    { "ExecProcess", gateway_exec_process },
    { "Inputs", inputs },
    { "NewContainer", gateway_new_container },
    { "Ping", ping },
    { "ReadDir", gateway_read_dir },
    { "ReadDirContainer", gateway_read_dir_container },
    { "ReadFile", gateway_read_file },
    { "ReadFileContainer", gateway_read_file_container },
    { "ReleaseContainer", gateway_release_container },
    { "ResolveImageConfig", resolve_image_config },
    { "ResolveSourceMeta", resolve_source_meta },
    { "Return", ret },
    { "Solve", solve },
    { "StatFile", gateway_stat_file },
    { "StatFileContainer", gateway_stat_file_container },
    { "Warn", warn },
};
const size_t gateway_method_count = ARRAY_LEN(gateway_methods);
