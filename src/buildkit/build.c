/* SPDX-License-Identifier: Apache-2.0 */
/* build.c - one build: job, frontend or gateway, evaluation, exporters, history */
#include "base/bytes.h"
#include "base/log.h"
#include "buildkit/attest.h"
#include "buildkit/internal.h"
#include "buildkit/policy.h"
#include "export/export.h"

#include <stdio.h>

/* ---- stages of a build
 * ---------------------------------------------------------------------------------------------------------
 */

/* Where a build's time goes, at debug level: microseconds since the request was there. */
static void trace(const struct build *u, const char *what)
{
    char us[24];

    if (!log_enabled(LOG_DEBUG))
        return;
    snprintf(us, sizeof us, "%lld", (long long)(monotonic_ns() - u->received_ns) / 1000);
    log_debug("build passed", "point", what, "us", us);
}

struct exporter_list {
    struct exporter **v;
    size_t len;
};

static void exporter_list_deinit(struct exporter_list *l)
{
    for (size_t i = 0; i < l->len; i++)
        exporter_free(l->v[i]);
    free(l->v);
    *l = (struct exporter_list){ 0 };
}

struct exporters {
    struct exporter_list results;
    struct cache_exporter_list caches;
};

static void exporters_deinit(struct exporters *l)
{
    exporter_list_deinit(&l->results);
    cache_exporter_list_deinit(&l->caches);
}

/* A word names a source: the frontend finds out what time that is. */
static bool epoch_is_number(const char *text)
{
    int64_t n;

    return text != NULL && (*text == '\0' || parse_i64(text, &n) == 0);
}

static struct error *resolve_exporters(const struct build_request *r, struct exporter_list *ret)
{
    const char *epoch =
        r->frontend_attrs == NULL ? NULL : strmap_get(r->frontend_attrs, "build-arg:SOURCE_DATE_EPOCH");

    ret->v = xcalloc(r->exporter_count + 1, sizeof(*ret->v));
    for (size_t i = 0; i < r->exporter_count; i++) {
        struct map attrs = { 0 };
        strmap_init(&attrs);
        if (r->exporters[i].attrs != NULL)
            strmap_copy(&attrs, r->exporters[i].attrs);
        if (epoch_is_number(epoch) && !map_has(&attrs, "source-date-epoch"))
            strmap_set(&attrs, "source-date-epoch", epoch);
        struct error *e = exporter_resolve(r->exporters[i].type, &attrs, &ret->v[i]);
        map_deinit(&attrs);
        TRY(e);
        ret->len++;
    }
    return NULL;
}

static struct error *run_frontend(struct build *u, const struct build_request *r)
{
    if (r->definition != NULL && !llb_def_is_scratch(r->definition)) {
        struct ref *ref = NULL;
        if (r->frontend != NULL && r->frontend[0] != '\0')
            return err_new(ERR_INVALID, "invalid request: Definition %s with Frontend %s", u->ref,
                           r->frontend);
        if (r->cache_imports != NULL)
            u->root.bridge.ops->import_caches(&u->root.bridge, r->cache_imports);
        struct error *e = u->root.bridge.ops->solve(&u->root.bridge, llb_def_ref(r->definition), &ref);

        if (e != NULL) {
            llb_def_unref(r->definition);
            return e;
        }
        frontend_result_add_ref(&u->result, NULL, ref);
        return NULL;
    }
    if (u->driven)
        return gateway_wait(&u->gateway, &u->result);
    if (r->frontend == NULL || r->frontend[0] == '\0')
        return NULL; /* scratch: a result of nothing */
    return u->root.bridge.ops->solve_frontend(&u->root.bridge, r->frontend, r->frontend_attrs,
                                              r->frontend_inputs, &u->result);
}

struct evaluation {
    struct ref *ref;
    struct snapshot *snapshot;
    bool find_only; /* nobody takes the result: it may stay in another cache */
};

static struct error *evaluate_task(void *arg)
{
    struct evaluation *v = arg;

    return v->find_only ? ref_find(v->ref) : ref_result(v->ref, &v->snapshot);
}

/* All refs at once; the first failure cancels the others. */
static struct error *evaluate_all(struct evaluation *v, size_t count)
{
    struct error *e = NULL;
    struct group g;

    if (count == 1)
        return v[0].ref == NULL ? NULL : evaluate_task(&v[0]);
    group_open(&g, 0);
    for (size_t i = 0; e == NULL && i < count; i++) {
        if (v[i].ref != NULL)
            e = group_spawn(&g, "evaluate", evaluate_task, &v[i]);
    }
    return group_finish(&g, e);
}

/* The results in the order of refs.platforms, which names and describes them. */
static struct error *name_refs(const struct result_platforms *p, bool multi, struct export_ref *refs,
                               size_t count)
{
    CLEANUP(freep) bool *used = xcalloc(count + 1, sizeof(*used));
    CLEANUP(freep) struct export_ref *sorted = xcalloc(count + 1, sizeof(*sorted));
    size_t n = 0;

    if (!multi && p->len > 1)
        return err_new(ERR_INVALID, "cannot export multiple platforms without multi-platform enabled");
    for (size_t i = 0; i < p->len; i++) {
        size_t at = 0;

        while (at < count && (used[at] || (multi && count > 1 && !streq(refs[at].key, p->v[i].id))))
            at++;
        if (at == count)
            return err_new(ERR_UNKNOWN, "failed to find ref for ID %s", p->v[i].id);
        used[at] = true;
        sorted[n] = refs[at];
        sorted[n++].id = p->v[i].id;
    }
    for (size_t i = 0; i < count; i++) {
        if (!used[i])
            sorted[n++] = refs[i]; /* not exported */
    }
    memcpy(refs, sorted, count * sizeof(*refs));
    for (size_t i = 0; i < p->len; i++)
        platform_copy(&refs[i].platform, &p->v[i].platform);
    return NULL;
}

static void attach_configs(const struct frontend_result *r, struct export_ref *refs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        CLEANUP(freep)
        char *key = refs[i].key == NULL ? xstrdup("containerimage.config")
                                        : xasprintf("containerimage.config/%s", refs[i].key);
        const struct frontend_metadata *m = frontend_result_metadata(r, key);
        if (m == NULL && count == 1)
            m = frontend_result_metadata(r, "containerimage.config");
        if (m != NULL) {
            refs[i].config = m->value;
            refs[i].config_len = m->len;
        }
    }
}

struct export_task {
    struct exporter *exporter;
    struct export_context context;
    const struct export_source *source;
    struct map response;
};

static struct error *export_run(void *arg)
{
    struct export_task *t = arg;

    return exporter_run(t->exporter, &t->context, t->source, &t->response);
}

static struct export_context export_context(struct build *u, const struct build_request *r, int index)
{
    const struct builder_config *c = u->builder->config;

    return (struct export_context){ .solver = c->solver,
                                    .store = c->store,
                                    .registry = c->ops->registry,
                                    .sessions = *job_sessions(u->job),
                                    .progress = job_progress(u->job),
                                    .session_id = r->session_id,
                                    .build_ref = u->ref,
                                    .index = index,
                                    .hostname = c->hostname,
                                    .version = c->version,
                                    .compatibility = u->compatibility,
                                    .names_images = c->engine,
                                    .named = c->image_named,
                                    .ctx = c->ctx };
}

/* For the record: which image an exporter made. */
static void note_exported(struct build *u, size_t i, const struct map *response)
{
    const char *text = strmap_get(response, "containerimage.descriptor");
    CLEANUP(buf_deinit) struct buf json = { 0 };
    json_t *j;

    if (text == NULL || base64_decode(&json, text, strlen(text)) < 0)
        return;
    j = json_loadb(json.data, json.len, 0, NULL);
    err_free(descriptor_from_json(j, &u->exported[i]));
    json_decref(j);
}

static struct error *run_exports(struct build *u, const struct build_request *r,
                                 const struct exporter_list *l, const struct export_source *source,
                                 struct map *response)
{
    CLEANUP(freep) struct export_task *tasks = xcalloc(l->len + 1, sizeof(*tasks));
    struct error *e = NULL;
    struct group g;

    group_open(&g, 0);
    for (size_t i = 0; i < l->len; i++) {
        tasks[i] = (struct export_task){ .exporter = l->v[i],
                                         .source = source,
                                         .context = export_context(u, r, (int)i) };
        strmap_init(&tasks[i].response);
        if (l->len == 1)
            e = export_run(&tasks[i]);
        else if (e == NULL)
            e = group_spawn(&g, "export", export_run, &tasks[i]);
    }
    e = group_finish(&g, e);
    if (e == NULL) {
        u->exported = xcalloc(l->len + 1, sizeof(*u->exported));
        u->exported_count = l->len;
    }
    for (size_t i = 0; i < l->len; i++) {
        if (e == NULL) {
            strmap_copy(response, &tasks[i].response);
            note_exported(u, i, &tasks[i].response);
        }
        map_deinit(&tasks[i].response);
    }
    return e;
}

static struct error *export_results(struct build *u, const struct build_request *r,
                                    const struct exporter_list *l, struct export_source *source,
                                    struct map *response)
{
    CLEANUP(attest_list_deinit) struct attest_list attested = { 0 };

    TRY(attest_list_make(u, &u->attest, source->refs, source->ref_count, &attested));
    source->attestations = attested.v;
    source->attestation_count = attested.len;
    return run_exports(u, r, l, source, response);
}

static struct error *finish_results(struct build *u, const struct build_request *r, const struct exporters *l,
                                    struct export_ref *refs, size_t count, struct map *response)
{
    struct frontend_result *res = &u->result;
    CLEANUP(result_platforms_deinit) struct result_platforms platforms = { 0 };
    struct export_source source = { .refs = refs, .multi = res->multi, .result = res };

    TRY(verify_platforms(u, r->frontend_attrs));
    if (l->results.len == 0)
        return NULL;
    if (res->multi && frontend_result_metadata(res, "refs.platforms") == NULL)
        return err_new(ERR_INVALID, "unable to export multiple refs, missing platforms mapping");
    TRY(result_platforms(res, &platforms));
    TRY(name_refs(&platforms, res->multi, refs, count));
    source.ref_count = MIN(count, platforms.len);
    attach_configs(res, refs, count);
    return export_results(u, r, &l->results, &source, response);
}

static struct error *add_exporter(void *ctx, struct exporter *x)
{
    struct exporter_list *l = ctx;

    l->v = xreallocarray(l->v, l->len + 1, sizeof(*l->v));
    l->v[l->len++] = x;
    return NULL;
}

/* What a frontend has to say to the client, beside what exporters say. */
static void tell_metadata(const struct frontend_result *res, struct map *response)
{
    for (size_t i = 0; i < res->metadata_count; i++) {
        CLEANUP(freep) char *value = xstrndup(res->metadata[i].value, res->metadata[i].len);

        if (str_has_prefix(res->metadata[i].key, "frontend."))
            strmap_set(response, res->metadata[i].key, value);
    }
}

static struct error *finish_refs(struct build *u, const struct build_request *r, struct exporters *l,
                                 struct export_ref *refs, size_t count, struct map *response)
{
    struct export_context c = export_context(u, r, 0);
    struct cache_source *inside = NULL;

    if (r->session_exporters)
        TRY(session_exporters_ask(u, r->session_id, add_exporter, &l->results));
    TRY(attest_capture(u));
    TRY(attest_scan(u, &u->attest));
    TRY(inline_caches(&l->caches, &u->result, count, &inside));
    for (size_t i = 0; inside != NULL && i < u->result.ref_count; i++)
        refs[i].inline_cache = &inside[i];
    struct error *e = finish_results(u, r, l, refs, count, response);

    inline_caches_free(inside, count);
    TRY(e);
    TRY(export_caches(&l->caches, &u->result, &c, response));
    tell_metadata(&u->result, response);
    return r->session_exporters ? session_exporters_tell(u, r->session_id, response) : NULL;
}

/* Check what came back (protocol.md 11.2), run it, export it. */
static struct error *finish(struct build *u, const struct build_request *r, struct exporters *l,
                            struct map *response)
{
    struct frontend_result *res = &u->result;
    bool scratch = res->ref_count == 0 && !res->multi;
    size_t n = scratch ? 1 : res->ref_count, all = n + res->attestation_count;
    CLEANUP(freep) struct evaluation *v = xcalloc(all + 1, sizeof(*v));
    CLEANUP(freep) struct export_ref *refs = xcalloc(n + 1, sizeof(*refs));
    struct error *e;

    for (size_t i = 0; i < res->ref_count; i++) {
        v[i].ref = res->refs[i].ref;
        v[i].find_only = l->results.len == 0 && !r->session_exporters;
        refs[i].key = res->refs[i].key;
    }
    for (size_t i = 0; i < res->attestation_count; i++)
        v[n + i].ref = res->attestations[i].ref;
    e = evaluate_all(v, all);
    trace(u, "solved");
    for (size_t i = 0; i < n; i++)
        refs[i].snapshot = v[i].snapshot;
    if (e == NULL)
        e = finish_refs(u, r, l, refs, n, response);
    if (l->results.len > 0)
        trace(u, "exported");
    for (size_t i = 0; i < n; i++)
        platform_deinit(&refs[i].platform);
    for (size_t i = 0; i < all; i++)
        snapshot_unref(v[i].snapshot);
    return e;
}

/* ---- the whole
 * -----------------------------------------------------------------------------------------------------------------
 */

static struct error *build_run(struct build *u, const struct build_request *r, struct exporters *l,
                               struct map *response)
{
    struct error *e;

    scope_enter(job_scope(u->job));
    e = run_frontend(u, r);
    trace(u, "frontend");
    if (e == NULL)
        e = finish(u, r, l, response);
    scope_leave(job_scope(u->job));
    return e;
}

static bool need_layers(const struct exporter_list *l)
{
    for (size_t i = 0; i < l->len; i++)
        if (exporter_needs_layers(l->v[i]))
            return true;
    return false;
}

static struct error *allow_nested(void *ctx, struct llb_def *def, struct llb_def **ret)
{
    return policy_apply(ctx, (struct policy_rules){ 0 }, def, ret);
}

static struct error *open_build(struct builder *b, const struct build_request *r,
                                const struct exporter_list *exporters, struct build *u)
{
    struct job_options o = { .ref = u->ref,
                             .session_id = r->session_id,
                             .entitlements = &u->entitlements.granted,
                             .internal = r->internal,
                             .allow = allow_nested,
                             .allow_ctx = u,
                             .exports_layers = r->session_exporters || need_layers(exporters) };

    TRY(entitlements_parse(&b->config->entitlements, r->entitlements, &u->entitlements));
    TRY(lease_open(b->config->store, &u->lease));
    TRY(job_open(b->config->solver, &o, &u->job));
    u->driven = (r->frontend == NULL || r->frontend[0] == '\0') && r->definition == NULL;
    return NULL;
}

/* Give back all that others may wait for, or see in use. */
static void build_close(struct build *u)
{
    producers_drop(u);
    gateway_deinit(&u->gateway); /* its containers hold results of the job */
    if (u->job != NULL)
        job_close(TAKE(u->job));
    lease_close(TAKE(u->lease));
}

void build_free(struct build *u)
{
    for (size_t i = 0; i < u->exported_count; i++)
        descriptor_deinit(&u->exported[i]);
    free(u->exported);
    for (size_t i = 0; i < u->provenance_count; i++)
        provenance_deinit(&u->provenance[i]);
    free(u->provenance);
    frontend_result_deinit(&u->result);
    request_free(u->scanner);
    request_deinit(&u->root);
    attest_options_deinit(&u->attest);
    entitlements_deinit(&u->entitlements);
    import_set_deinit(&u->imports);
    free(u->ref);
    free(u);
}

/* gateway.v0 with the source dockerfile.v0 is the built-in frontend under a longer name; but a definition
 * that the client gives for it (context:dockerfile.v0) is to be run. *ret_attrs holds the request's then. */
static void shorten_frontend(struct build_request *r, struct map *ret_attrs)
{
    const char *source = r->frontend_attrs == NULL ? NULL : strmap_get(r->frontend_attrs, "source");

    if (r->frontend == NULL || !streq(r->frontend, "gateway.v0") || source == NULL ||
        !streq(source, "dockerfile.v0"))
        return;
    for (size_t i = 0; i < r->frontend_attrs->len; i++) {
        const char *rest = str_skip_prefix(r->frontend_attrs->entries[i].key, "context:dockerfile.v0");

        if (rest != NULL && (rest[0] == '\0' || str_has_prefix(rest, "::")))
            return;
    }
    strmap_init(ret_attrs);
    strmap_copy(ret_attrs, r->frontend_attrs);
    map_remove(ret_attrs, "source");
    r->frontend = "dockerfile.v0";
    r->frontend_attrs = ret_attrs;
}

static struct error *build_whole(struct builder *b, const struct build_request *r, struct map *response)
{
    CLEANUP(exporters_deinit) struct exporters exporters = { 0 };
    struct attest_options attest = { 0 };
    struct ending *ending = NULL;
    char id[26];
    struct build *u;
    struct error *e;

    TRY(resolve_exporters(r, &exporters.results));
    TRY(resolve_cache_exporters(r, &exporters.caches));
    if (r->source_policy != NULL)
        TRY(policy_check(r->source_policy));
    e = attest_options_parse(r->frontend_attrs, &attest);
    if (e != NULL) {
        attest_options_deinit(&attest);
        return e;
    }
    u = NEW(struct build);
    u->received_ns = monotonic_ns();
    u->attest = attest;
    random_id(id, 25);
    random_id(u->id, 25);
    u->started_ns = now_ns();
    u->compatibility = r->compatibility == 0 ? COMPATIBILITY_CURRENT : r->compatibility;
    u->builder = b;
    u->ref = xstrdup(r->ref != NULL && r->ref[0] != '\0' ? r->ref : id);
    import_set_init(&u->imports);
    request_init(&u->root, u, NULL, r->frontend, r->frontend_attrs, r->frontend_inputs);
    gateway_init(&u->gateway, &u->root);
    u->policy = r->source_policy;
    u->policy_session = r->policy_session;
    u->proxy_network = r->proxy_network || b->config->proxy_network;
    u->root.bridge.session_id = r->session_id == NULL ? "" : r->session_id;
    e = open_build(b, r, &exporters.results, u);
    bool opened = e == NULL;

    if (opened) {
        struct build_request named = *r;
        named.ref = u->ref;
        u->record = r->internal ? NULL : history_begin(b->history, &named, exporters.results.v);
        live_add(u);
        log_push("build", u->ref);
        e = build_run(u, r, &exporters, response);
        progress_close(job_progress(u->job));
        ending = history_end(b->history, u->record, u, e);
        live_remove(u);
    }
    build_close(u);
    live_note_ended(b);
    trace(u, "closed");
    if (ending != NULL)
        history_write(ending, u);
    else
        build_free(u);
    if (opened)
        log_pop();
    return e;
}

struct error *builder_build(struct builder *b, const struct build_request *r, struct map *response)
{
    CLEANUP(map_deinit) struct map attrs = { 0 };
    struct build_request short_one = *r;
    struct error *e;

    shorten_frontend(&short_one, &attrs);
    e = build_whole(b, &short_one, response);
    if (e != NULL && r->ref != NULL && r->ref[0] != '\0')
        live_refused(b, r->ref);
    return e;
}
