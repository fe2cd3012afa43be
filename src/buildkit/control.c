/* SPDX-License-Identifier: Apache-2.0 */
/* control.c - moby.buildkit.v1.Control */
#include "buildkit/internal.h"

#include "base/bytes.h"
#include "base/limits.h"

void strmap_from_entries(Kv__Str *const *entries, size_t n, struct map *m)
{
    strmap_init(m);
    pb_to_strmap(entries, n, m);
}

void cache_imports_from_entries(Bk__CacheOptionsEntry *const *entries, size_t n, struct cache_imports *l)
{
    for (size_t i = 0; i < n; i++)
        pb_to_strmap(entries[i]->attrs, entries[i]->n_attrs, cache_imports_add(l, entries[i]->type));
}

static void unref_def(void *def)
{
    llb_def_unref(def);
}

struct error *inputs_from_entries(Bk__DefinitionEntry *const *entries, size_t n, struct map *m)
{
    m->free_value = unref_def;
    for (size_t i = 0; i < n; i++) {
        struct llb_def *def = NULL;
        if (entries[i]->value == NULL || entries[i]->value->n_def == 0)
            return err_new(ERR_INVALID, "invalid nil input definition to definition op");
        TRY(llb_def_from_pb(entries[i]->value, &def));
        map_set(m, entries[i]->key, def);
    }
    return NULL;
}

/* ---- Solve
 * -----------------------------------------------------------------------------------------------------------------
 */

static struct error *check_version(int64_t v)
{
    if (v == 0 || v == 10 || v == 20 || v == 30)
        return NULL;
    return err_new(ERR_INVALID, "unsupported compatibility-version %lld", (long long)v);
}

/* Exporters as the request names them: the new list, else the deprecated single one (protocol.md 11.1, trap
 * 10). */
static size_t exporters_of(const Bk__SolveRequest *q, struct build_exporter *v, struct map *attrs)
{
    size_t n = 0;

    for (size_t i = 0; i < q->n_exporters; i++) {
        strmap_from_entries(q->exporters[i]->attrs, q->exporters[i]->n_attrs, &attrs[n]);
        v[n] = (struct build_exporter){ .type = q->exporters[i]->type, .attrs = &attrs[n] };
        n++;
    }
    if (n == 0 && q->exporter_deprecated[0] != '\0') {
        strmap_from_entries(q->exporter_attrs_deprecated, q->n_exporter_attrs_deprecated, &attrs[0]);
        v[0] = (struct build_exporter){ .type = q->exporter_deprecated, .attrs = &attrs[0] };
        n = 1;
    }
    return n;
}

/* Caches to write: the new list, then the deprecated single one, which is a registry's. */
static size_t cache_exports_of(const Bk__CacheOptions *c, struct build_exporter *v, struct map *attrs)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_exports; i++) {
        strmap_from_entries(c->exports[i]->attrs, c->exports[i]->n_attrs, &attrs[n]);
        v[n] = (struct build_exporter){ .type = c->exports[i]->type, .attrs = &attrs[n] };
        n++;
    }
    if (c->export_ref_deprecated[0] != '\0') {
        strmap_from_entries(c->export_attrs_deprecated, c->n_export_attrs_deprecated, &attrs[n]);
        strmap_set(&attrs[n], "ref", c->export_ref_deprecated);
        v[n] = (struct build_exporter){ .type = "registry", .attrs = &attrs[n] };
        n++;
    }
    return n;
}

static void cache_imports_of(const Bk__CacheOptions *c, struct cache_imports *l)
{
    cache_imports_from_entries(c->imports, c->n_imports, l);
    for (size_t i = 0; i < c->n_import_refs_deprecated; i++)
        strmap_set(cache_imports_add(l, "registry"), "ref", c->import_refs_deprecated[i]);
}

/* With its caches; they live as long as the call. */
static struct error *build_cached(struct builder *b, const Bk__CacheOptions *c,
                                  const struct build_request *request, struct map *response)
{
    struct build_request r = *request;
    CLEANUP(freep) struct build_exporter *exports = xcalloc(c->n_exports + 1, sizeof(*exports));
    CLEANUP(freep) struct map *attrs = xcalloc(c->n_exports + 1, sizeof(*attrs));
    CLEANUP(cache_imports_deinit) struct cache_imports imports = { 0 };

    r.cache_exports = exports;
    r.cache_export_count = cache_exports_of(c, exports, attrs);
    cache_imports_of(c, &imports);
    r.cache_imports = &imports;
    struct error *e = builder_build(b, &r, response);

    for (size_t i = 0; i < r.cache_export_count; i++)
        map_deinit(&attrs[i]);
    return e;
}

static struct error *solve_request(struct builder *b, const Bk__SolveRequest *q, struct map *response)
{
    CLEANUP(freep) struct build_exporter *exporters = xcalloc(q->n_exporters + 1, sizeof(*exporters));
    CLEANUP(freep) struct map *exporter_attrs = xcalloc(q->n_exporters + 1, sizeof(*exporter_attrs));
    CLEANUP(map_deinit) struct map attrs = { 0 };
    CLEANUP(map_deinit) struct map inputs = { 0 };
    CLEANUP(strv_deinit) struct strv entitlements = { 0 };
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    struct build_request r = { .ref = q->ref,
                               .session_id = q->session,
                               .frontend = q->frontend,
                               .internal = q->internal,
                               .proxy_network = q->proxy_network,
                               .compatibility = (int)q->compatibility_version };
    struct error *e;

    TRY(check_version(q->compatibility_version));
    TRY(llb_def_from_pb(q->definition, &def));
    TRY(inputs_from_entries(q->frontend_inputs, q->n_frontend_inputs, &inputs));
    strmap_from_entries(q->frontend_attrs, q->n_frontend_attrs, &attrs);
    pb_to_strv(q->entitlements, q->n_entitlements, &entitlements);
    r.definition =
        q->definition == NULL ? NULL : def; /* an empty one is scratch, none leaves the build to a client */
    r.frontend_attrs = &attrs;
    r.frontend_inputs = &inputs;
    r.entitlements = &entitlements;
    r.source_policy = q->source_policy;
    r.session_exporters = q->enable_session_exporter && *q->session != '\0';
    r.policy_session = q->source_policy_session;
    r.exporters = exporters;
    r.exporter_count = exporters_of(q, exporters, exporter_attrs);
    e = q->cache != NULL ? build_cached(b, q->cache, &r, response) : builder_build(b, &r, response);
    for (size_t i = 0; i < r.exporter_count; i++)
        map_deinit(&exporter_attrs[i]);
    return e;
}

static struct error *solve(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(map_deinit) struct map response = { 0 };
    Bk__SolveResponse m = BK__SOLVE_RESPONSE__INIT;
    Bk__SolveRequest *q;

    TRY(rpc_recv_one(call, &bk__solve_request__descriptor, &a, &q));
    strmap_init(&response);
    TRY(solve_request(ctx, q, &response));
    m.exporter_response = pb_from_strmap(&a, &response, &m.n_exporter_response);
    return rpc_send(call, &m.base);
}

/* ---- Status
 * ------------------------------------------------------------------------------------------------------------------
 */

static struct error *send_timestamp(struct rpc_call *call)
{
    CLEANUP(rpc_md_deinit) struct rpc_md md = { 0 };
    char now[40];

    format_rfc3339(now, now_ns());
    rpc_md_add(&md, "buildkit-current-timestamp", now);
    return rpc_send_headers(call, &md);
}

static struct error *send_batch(void *call, const void *data, size_t len)
{
    return rpc_send_raw(call, data, len);
}

/* Frames of a kept log: LE32 length, StatusResponse. */
static struct error *replay(struct rpc_call *call, struct stream *s)
{
    CLEANUP(buf_deinit) struct buf frame = { 0 };
    uint8_t head[4];

    for (;;) {
        ssize_t n = stream_read(s, head, 1);
        uint32_t len;
        if (n == 0)
            return NULL;
        if (n < 0)
            return task_error((int)n, "read the build's log");
        TRY_SYS(stream_read_full(s, head + 1, 3), "read the build's log");
        len = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
        if (len > LIMIT_GRPC_MESSAGE)
            return err_new(ERR_DATA_LOSS, "the build's log is damaged");
        buf_clear(&frame);
        buf_reserve(&frame, len);
        TRY_SYS(stream_read_full(s, frame.data, len), "read the build's log");
        TRY(rpc_send_raw(call, frame.data, len));
    }
}

static struct error *status(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(stream_closep) struct stream *log = NULL;
    struct builder *b = ctx;
    struct progress *p = NULL;
    Bk__StatusRequest *q;
    struct error *e;

    TRY(rpc_recv_one(call, &bk__status_request__descriptor, &a, &q));
    TRY(send_timestamp(call));
    p = live_progress(b, q->ref); /* first: nothing of it waits for other builds */
    if (p == NULL) {
        e = history_open_log(b->history, q->ref, &log);
        if (e == NULL)
            return replay(call, log);
        err_free(e);
        TRY(builder_progress(b, q->ref, &p));
    }
    e = builder_follow(p, send_batch, call);
    progress_unref(p);
    return e;
}

/* ---- Session
 * ------------------------------------------------------------------------------------------------------------------
 */

static struct error *session(struct rpc_call *call, void *ctx)
{
    CLEANUP(strv_deinit) struct strv methods = { 0 };
    struct builder *b = ctx;
    const struct rpc_md *md;
    struct stream *tunnel;
    const char *encoded;
    bool is_encoded = false;

    TRY(rpc_metadata(call, &md));
    rpc_md_all(md, "x-docker-expose-session-grpc-method", &methods);
    encoded = rpc_md_get(md, "x-docker-expose-session-sharedkey-encoded");
    if (encoded != NULL && parse_bool(encoded, &is_encoded) < 0)
        is_encoded = false;
    struct session_hello h = {
        .id = rpc_md_get(md, "x-docker-expose-session-uuid"),
        .name = rpc_md_get(md, "x-docker-expose-session-name"),
        .shared_key = rpc_md_get(md, "x-docker-expose-session-sharedkey"),
        .shared_key_encoded = is_encoded,
        .methods = &methods,
        .health_ms = rpc_md_get(md, "x-buildkit-session-health-custom-timeout"),
    };
    if (h.id == NULL || h.id[0] == '\0')
        return err_new(ERR_INVALID, "a session needs x-docker-expose-session-uuid");
    TRY(session_check(b->config->sessions, h.id));
    TRY(rpc_tunnel(call, &tunnel));
    return session_serve(b->config->sessions, &h, tunnel);
}

struct error *builder_serve_session(struct builder *b, const struct session_hello *h, struct stream *s)
{
    return session_serve(b->config->sessions, h, s);
}

/* ---- workers, usage, prune
 * ------------------------------------------------------------------------------------------------------- */

static struct error *list_workers(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    struct builder *b = ctx;
    Bk__ListWorkersResponse m = BK__LIST_WORKERS_RESPONSE__INIT;
    Bk__ListWorkersRequest *q;

    TRY(rpc_recv_one(call, &bk__list_workers_request__descriptor, &a, &q));
    Bkt__WorkerRecord record = *b->worker, *records[] = { &record };

    worker_add_devices(b, &a, &record);
    m.record = records;
    m.n_record = 1;
    return rpc_send(call, &m.base);
}

static struct error *info(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    struct builder *b = ctx;
    Bk__InfoResponse m = BK__INFO_RESPONSE__INIT;
    Bk__InfoRequest *q;

    TRY(rpc_recv_one(call, &bk__info_request__descriptor, &a, &q));
    m.buildkit_version = b->worker->buildkit_version;
    return rpc_send(call, &m.base);
}

static Bk__UsageRecord *usage_message(struct pb_arena *a, const struct usage_record *r, bool pruned)
{
    Bk__UsageRecord *m = PB_NEW(a, bk__usage_record);

    m->id = pb_str(a, r->id);
    m->is_mutable = r->mutable_;
    m->in_use = r->in_use;
    m->size = r->size;
    m->created_at = pb_time(a, r->created_ns);
    m->last_used_at = pb_time(a, r->last_used_ns);
    m->usage_count = r->usage_count;
    m->description = pb_str(a, r->description);
    m->parents = pb_from_strv(a, &r->parents, &m->n_parents);
    for (size_t i = 0; i < m->n_parents; i++)
        m->parents[i] = pb_str(a, m->parents[i]);
    if (!pruned) { /* prune leaves both out (protocol.md 9) */
        m->record_type = pb_str(a, r->type);
        m->shared = r->shared;
    }
    return m;
}

static struct error *disk_usage(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(strv_deinit) struct strv filters = { 0 };
    struct builder *b = ctx;
    Bk__DiskUsageResponse m = BK__DISK_USAGE_RESPONSE__INIT;
    Bk__DiskUsageRequest *q;
    CLEANUP(freep) bool *pass = NULL;
    struct usage_record *v = NULL;
    size_t n = 0;
    struct error *e;

    TRY(rpc_recv_one(call, &bk__disk_usage_request__descriptor, &a, &q));
    pb_to_strv(q->filter, q->n_filter, &filters);
    TRY(usage_list(b->config->store, &v, &n));
    m.record = pb_array(&a, n);
    pass = xcalloc(n + 1, sizeof(*pass));
    e = usage_filter(v, n, &filters, pass);
    for (size_t i = 0; i < n; i++) {
        bool old = q->age_limit <= 0 || now_ns() - MAX(v[i].last_used_ns, v[i].created_ns) > q->age_limit;
        if (e == NULL && pass[i] && old)
            m.record[m.n_record++] = usage_message(&a, &v[i], false);
        usage_record_deinit(&v[i]);
    }
    free(v);
    return e != NULL ? e : rpc_send(call, &m.base);
}

struct prune_stream {
    struct rpc_call *call;
    struct error *error;
};

static void send_pruned(void *ctx, const struct usage_record *r)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    struct prune_stream *s = ctx;

    if (s->error == NULL)
        s->error = rpc_send(s->call, &usage_message(&a, r, true)->base);
}

static struct error *prune(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    struct prune_stream s = { .call = call };
    struct builder *b = ctx;
    Bk__PruneRequest *q;
    struct error *e;

    TRY(rpc_recv_one(call, &bk__prune_request__descriptor, &a, &q));
    struct prune_options o = {
        .all = q->all,
        .keep_ns = q->keep_duration,
        .reserved_bytes = q->reserved_space,
        .max_used_bytes = q->max_used_space,
        .min_free_bytes = q->min_free_space,
    };
    pb_to_strv(q->filter, q->n_filter, &o.filters);
    e = store_prune(b->config->store, &o, send_pruned, &s);
    strv_deinit(&o.filters);
    if (e != NULL) {
        err_free(s.error);
        return e;
    }
    return s.error;
}

/* ---- history
 * --------------------------------------------------------------------------------------------------------------------
 */

static struct error *listen_history(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    struct builder *b = ctx;
    Bk__BuildHistoryRequest *q;

    TRY(rpc_recv_one(call, &bk__build_history_request__descriptor, &a, &q));
    TRY(send_timestamp(call));
    return history_listen(b->history, call, q);
}

static struct error *update_history(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    struct builder *b = ctx;
    Bk__UpdateBuildHistoryResponse m = BK__UPDATE_BUILD_HISTORY_RESPONSE__INIT;
    Bk__UpdateBuildHistoryRequest *q;

    TRY(rpc_recv_one(call, &bk__update_build_history_request__descriptor, &a, &q));
    TRY(history_update(b->history, q));
    return rpc_send(call, &m.base);
}

const struct rpc_method control_methods[] = {
    { "DiskUsage", disk_usage },
    { "Info", info },
    { "ListWorkers", list_workers },
    { "ListenBuildHistory", listen_history },
    { "Prune", prune },
    { "Session", session },
    { "Solve", solve },
    { "Status", status },
    { "UpdateBuildHistory", update_history },
};
const size_t control_method_count = ARRAY_LEN(control_methods);
