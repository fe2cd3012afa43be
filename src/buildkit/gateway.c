/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway.c - moby.buildkit.v1.frontend.LLBBridge: the bridge of a live build, for clients that drive it
 * themselves
 *
 * Every call names its build in the metadata `buildkit-controlapi-buildid` and runs under that build's scope,
 * so that the end of the build ends the call.
 */
#include "buildkit/internal.h"

#include "base/bytes.h"

/* One call on a build: found, entered; released by gateway_leave. */
struct gateway {
    struct pb_arena arena;
    struct build *build;
};

static struct error *gateway_enter(struct rpc_call *call, void *ctx, struct gateway *g)
{
    const char *id = rpc_metadata_get(call, "buildkit-controlapi-buildid");
    const char *method = strrchr(rpc_method_path(call), '/') + 1;

    if (id == NULL)
        return err_new(ERR_UNKNOWN, "no buildid found in context");
    TRY(build_find(ctx, id, BRIDGE_WAIT_NS, &g->build));
    if (g->build == NULL)
        return err_new(ERR_NOT_FOUND, "forwarding %s: no such job %s", method, id);
    scope_enter(job_scope(g->build->job));
    return NULL;
}

static void gateway_leave(struct gateway *g)
{
    if (g->build != NULL) {
        scope_leave(job_scope(g->build->job));
        build_put(g->build);
        g->build = NULL;
    }
    pb_arena_deinit(&g->arena);
}
#define GATEWAY CLEANUP(gateway_leave) struct gateway g = { 0 }

static struct error *find_ref(struct gateway *g, const char *id, struct ref **ret)
{
    *ret = NULL;
    if (id[0] == '\0')
        return NULL; /* scratch */
    *ret = job_find_ref(g->build->job, id);
    return *ret != NULL ? NULL : err_new(ERR_UNKNOWN, "no such ref: %s", id);
}

/* ---- results to and from messages
 * ---------------------------------------------------------------------------------------------- */

static struct error *ref_message(struct pb_arena *a, struct ref *ref, Gw__Ref **ret)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    Gw__Ref *m = PB_NEW(a, gw__ref);

    *ret = m;
    if (ref == NULL)
        return NULL;
    m->id = pb_str(a, ref_id(ref));
    llb_def_encode(ref_def(ref), &b);
    return pb_unpack(&pb__definition__descriptor, pb_mem(a, b.data, b.len), b.len, a, &m->def);
}

static struct error *refs_message(struct pb_arena *a, const struct frontend_result *r, Gw__Result *m)
{
    Gw__RefMap *map;

    if (!r->multi) {
        m->result_case = GW__RESULT__RESULT_REF;
        return ref_message(a, r->ref_count > 0 ? r->refs[0].ref : NULL, &m->ref);
    }
    map = PB_NEW(a, gw__ref_map);
    map->refs = pb_array(a, r->ref_count);
    for (size_t i = 0; i < r->ref_count; i++) {
        Gw__RefEntry *entry = map->refs[map->n_refs++] = PB_NEW(a, gw__ref_entry);
        entry->key = r->refs[i].key;
        TRY(ref_message(a, r->refs[i].ref, &entry->value));
    }
    m->result_case = GW__RESULT__RESULT_REFS;
    m->refs = map;
    return NULL;
}

static struct error *result_message(struct pb_arena *a, const struct frontend_result *r, Gw__Result **ret)
{
    Gw__Result *m = PB_NEW(a, gw__result);

    m->metadata = pb_array(a, r->metadata_count);
    for (size_t i = 0; i < r->metadata_count; i++) {
        Kv__Bytes *kv = m->metadata[m->n_metadata++] = PB_NEW(a, kv__bytes);
        kv->key = r->metadata[i].key;
        kv->value = pb_bytes(r->metadata[i].value, r->metadata[i].len);
    }
    *ret = m;
    return refs_message(a, r, m);
}

static struct error *add_attestation(struct gateway *g, const char *key, const Gw__Attestation *m,
                                     struct frontend_result *r)
{
    struct frontend_attestation *at;

    r->attestations = xreallocarray(r->attestations, r->attestation_count + 1, sizeof(*r->attestations));
    at = &r->attestations[r->attestation_count++];
    *at = (struct frontend_attestation){ .key = xstrdup(key),
                                         .kind = (int)m->kind,
                                         .path = xstrdup(m->path),
                                         .predicate_type = xstrdup(m->in_toto_predicate_type) };
    at->metadata = xcalloc(m->n_metadata + 1, sizeof(*at->metadata));
    for (size_t i = 0; i < m->n_metadata; i++) {
        struct frontend_metadata *kv = &at->metadata[at->metadata_count++];
        kv->key = xstrdup(m->metadata[i]->key);
        kv->value = xmemdup(m->metadata[i]->value.data, m->metadata[i]->value.len);
        kv->len = m->metadata[i]->value.len;
    }
    return m->ref == NULL ? NULL : find_ref(g, m->ref->id, &at->ref);
}

static struct error *add_refs(struct gateway *g, const Gw__Result *m, struct frontend_result *r)
{
    struct ref *ref = NULL;

    switch (m->result_case) {
    case GW__RESULT__RESULT_REF:
        TRY(find_ref(g, m->ref->id, &ref));
        frontend_result_add_ref(r, NULL, ref);
        return NULL;
    case GW__RESULT__RESULT_REF_DEPRECATED:
        TRY(find_ref(g, m->ref_deprecated, &ref));
        frontend_result_add_ref(r, NULL, ref);
        return NULL;
    case GW__RESULT__RESULT_REFS:
        r->multi = true;
        for (size_t i = 0; i < m->refs->n_refs; i++) {
            const Gw__RefEntry *entry = m->refs->refs[i];
            TRY(find_ref(g, entry->value == NULL ? "" : entry->value->id, &ref));
            frontend_result_add_ref(r, entry->key, ref);
        }
        return NULL;
    case GW__RESULT__RESULT_REFS_DEPRECATED:
        r->multi = true;
        for (size_t i = 0; i < m->refs_deprecated->n_refs; i++) {
            TRY(find_ref(g, m->refs_deprecated->refs[i]->value, &ref));
            frontend_result_add_ref(r, m->refs_deprecated->refs[i]->key, ref);
        }
        return NULL;
    case GW__RESULT__RESULT__NOT_SET:
    default:
        return NULL;
    }
}

static struct error *result_from_message(struct gateway *g, const Gw__Result *m, struct frontend_result *r)
{
    for (size_t i = 0; i < m->n_metadata; i++)
        frontend_result_set_metadata(r, m->metadata[i]->key, m->metadata[i]->value.data,
                                     m->metadata[i]->value.len);
    TRY(add_refs(g, m, r));
    for (size_t i = 0; i < m->n_attestations; i++) {
        const Gw__AttestationsEntry *entry = m->attestations[i];
        for (size_t k = 0; entry->value != NULL && k < entry->value->n_attestation; k++)
            TRY(add_attestation(g, entry->key, entry->value->attestation[k], r));
    }
    return NULL;
}

/* ---- Ping, Solve, Return, Evaluate, Inputs
 * --------------------------------------------------------------------------------------- */

static struct error *ping(struct rpc_call *call, void *ctx)
{
    GATEWAY;
    struct builder *b = ctx;
    Gw__PongResponse m = GW__PONG_RESPONSE__INIT;
    Gw__PingRequest *q;

    TRY(rpc_recv_one(call, &gw__ping_request__descriptor, &g.arena, &q));
    TRY(gateway_enter(call, ctx, &g));
    m.frontend_api_caps = worker_frontend_caps(&g.arena, &m.n_frontend_api_caps);
    m.llb_caps = worker_llb_caps(&g.arena, &m.n_llb_caps);
    m.workers = &b->worker;
    m.n_workers = 1;
    return rpc_send(call, &m.base);
}

static struct error *solve_definition(struct gateway *g, const Gw__SolveRequest *q, struct frontend_result *r)
{
    struct llb_def *def = NULL;
    struct ref *ref = NULL;
    struct error *e;

    TRY(llb_def_from_pb(q->definition, &def));
    e = g->build->root.bridge.ops->solve(&g->build->root.bridge, def, &ref);
    if (e != NULL) {
        llb_def_unref(def);
        return e;
    }
    frontend_result_add_ref(r, NULL, ref);
    return NULL;
}

static struct error *solve_any(struct gateway *g, const Gw__SolveRequest *q, struct frontend_result *r)
{
    CLEANUP(map_deinit) struct map opts = { 0 };
    CLEANUP(map_deinit) struct map inputs = { 0 };
    struct bridge *b = &g->build->root.bridge;

    if (q->n_source_policies > 0)
        return err_new(ERR_UNIMPLEMENTED, "source policies are not supported yet");
    if (q->frontend[0] == '\0')
        return solve_definition(g, q, r);
    if (q->definition != NULL && q->definition->n_def > 0)
        return err_new(ERR_INVALID, "cannot solve with both Definition and Frontend specified");
    strmap_from_entries(q->frontend_opt, q->n_frontend_opt, &opts);
    TRY(inputs_from_entries(q->frontend_inputs, q->n_frontend_inputs, &inputs));
    return b->ops->solve_frontend(b, q->frontend, &opts, &inputs, r);
}

static struct error *solve(struct rpc_call *call, void *ctx)
{
    GATEWAY;
    CLEANUP(frontend_result_deinit) struct frontend_result r = { 0 };
    Gw__SolveResponse m = GW__SOLVE_RESPONSE__INIT;
    Gw__SolveRequest *q;

    TRY(rpc_recv_one(call, &gw__solve_request__descriptor, &g.arena, &q));
    TRY(gateway_enter(call, ctx, &g));
    TRY(solve_any(&g, q, &r));
    for (size_t i = 0; q->evaluate && i < r.ref_count; i++)
        TRY(g.build->root.bridge.ops->evaluate(&g.build->root.bridge, r.refs[i].ref));
    TRY(result_message(&g.arena, &r, &m.result));
    if (!q->allow_result_return) {
        m.ref = r.ref_count > 0 && r.refs[0].ref != NULL ? (char *)ref_id(r.refs[0].ref) : (char *)"";
        m.result = NULL;
    }
    return rpc_send(call, &m.base);
}

static struct error *ret(struct rpc_call *call, void *ctx)
{
    GATEWAY;
    CLEANUP(frontend_result_deinit) struct frontend_result r = { 0 };
    Gw__ReturnResponse m = GW__RETURN_RESPONSE__INIT;
    struct error *failure = NULL;
    Gw__ReturnRequest *q;

    TRY(rpc_recv_one(call, &gw__return_request__descriptor, &g.arena, &q));
    TRY(gateway_enter(call, ctx, &g));
    if (q->error != NULL)
        failure = pb_to_error(q->error);
    else if (q->result == NULL)
        return err_new(ERR_INVALID, "result is required");
    else
        TRY(result_from_message(&g, q->result, &r));
    TRY(build_return(g.build, &r, failure));
    gateway_leave(&g); /* the build may end at once: the answer must not be cancelled with it */
    return rpc_send(call, &m.base);
}

static struct error *evaluate(struct rpc_call *call, void *ctx)
{
    GATEWAY;
    Gw__EvaluateResponse m = GW__EVALUATE_RESPONSE__INIT;
    Gw__EvaluateRequest *q;
    struct ref *ref;

    TRY(rpc_recv_one(call, &gw__evaluate_request__descriptor, &g.arena, &q));
    TRY(gateway_enter(call, ctx, &g));
    TRY(find_ref(&g, q->ref, &ref));
    TRY(g.build->root.bridge.ops->evaluate(&g.build->root.bridge, ref));
    return rpc_send(call, &m.base);
}

static struct error *inputs(struct rpc_call *call, void *ctx)
{
    GATEWAY;
    Gw__InputsResponse m = GW__INPUTS_RESPONSE__INIT;
    Gw__InputsRequest *q;

    TRY(rpc_recv_one(call, &gw__inputs_request__descriptor, &g.arena, &q));
    TRY(gateway_enter(call, ctx, &g));
    const struct map *in = &g.build->root.inputs;
    m.definitions = pb_array(&g.arena, in->len);
    for (size_t i = 0; i < in->len; i++) {
        CLEANUP(buf_deinit) struct buf b = { 0 };
        Bk__DefinitionEntry *entry = m.definitions[m.n_definitions++] =
            PB_NEW(&g.arena, bk__definition_entry);
        entry->key = in->entries[i].key;
        llb_def_encode(in->entries[i].value, &b);
        TRY(pb_unpack(&pb__definition__descriptor, pb_mem(&g.arena, b.data, b.len), b.len, &g.arena,
                      &entry->value));
    }
    return rpc_send(call, &m.base);
}

/* ---- images
 * --------------------------------------------------------------------------------------------------------------------------
 */

static struct error *platform_of(const Pb__Platform *m, struct platform *ret)
{
    CLEANUP(freep) char *text = NULL;

    if (m == NULL)
        return NULL;
    text = m->variant[0] == '\0' ? xasprintf("%s/%s", m->os, m->architecture)
                                 : xasprintf("%s/%s/%s", m->os, m->architecture, m->variant);
    return platform_parse(text, ret);
}

static struct error *resolve(struct gateway *g, const char *ref, const Pb__Platform *platform,
                             struct resolve_image_options *o, struct resolved_image *image)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };

    TRY(platform_of(platform, &p));
    o->platform = platform == NULL ? NULL : &p;
    return g->build->root.bridge.ops->resolve_image(&g->build->root.bridge, ref, o, image);
}

static struct error *resolve_image_config(struct rpc_call *call, void *ctx)
{
    GATEWAY;
    CLEANUP(resolved_image_deinit) struct resolved_image image = { 0 };
    Gw__ResolveImageConfigResponse m = GW__RESOLVE_IMAGE_CONFIG_RESPONSE__INIT;
    Gw__ResolveImageConfigRequest *q;

    TRY(rpc_recv_one(call, &gw__resolve_image_config_request__descriptor, &g.arena, &q));
    TRY(gateway_enter(call, ctx, &g));
    struct resolve_image_options o = { .resolve_mode = q->resolve_mode,
                                       .log_name = q->log_name,
                                       .oci_layout = q->resolver_type == 1,
                                       .session_id = q->session_id,
                                       .store_id = q->store_id };
    TRY(resolve(&g, q->ref, q->platform, &o, &image));
    m.digest = image.digest;
    m.ref = image.ref;
    m.config = pb_bytes(image.config.data, image.config.len);
    return rpc_send(call, &m.base);
}

static const char *source_attr(const Pb__SourceOp *op, const char *key)
{
    return pb_get_str(op->attrs, op->n_attrs, key);
}

static struct error *resolve_source_meta(struct rpc_call *call, void *ctx)
{
    GATEWAY;
    CLEANUP(resolved_image_deinit) struct resolved_image image = { 0 };
    Gw__ResolveSourceMetaResponse m = GW__RESOLVE_SOURCE_META_RESPONSE__INIT;
    Gw__ResolveSourceImageResponse im = GW__RESOLVE_SOURCE_IMAGE_RESPONSE__INIT;
    Gw__ResolveSourceMetaRequest *q;
    struct resolve_image_options o = { 0 };
    const char *ref;

    TRY(rpc_recv_one(call, &gw__resolve_source_meta_request__descriptor, &g.arena, &q));
    TRY(gateway_enter(call, ctx, &g));
    if (q->source == NULL)
        return err_new(ERR_INVALID, "source is required");
    if ((ref = str_skip_prefix(q->source->identifier, "docker-image://")) == NULL) {
        ref = str_skip_prefix(q->source->identifier, "oci-layout://");
        o.oci_layout = ref != NULL;
    }
    m.source = q->source;
    if (ref == NULL) /* nothing to resolve for this scheme: the source as it came */
        return rpc_send(call, &m.base);
    o.resolve_mode = q->resolve_mode;
    o.log_name = q->log_name;
    o.session_id = source_attr(q->source, "oci.session");
    o.store_id = source_attr(q->source, "oci.store");
    TRY(resolve(&g, ref, q->platform, &o, &image));
    im.digest = image.digest;
    if (q->image == NULL || !q->image->no_config)
        im.config = pb_bytes(image.config.data, image.config.len);
    m.image = &im;
    return rpc_send(call, &m.base);
}

/* ---- files
 * ----------------------------------------------------------------------------------------------------------------------------
 */

static Fs__Stat *stat_message(struct pb_arena *a, const struct file_stat *s)
{
    Fs__Stat *m = PB_NEW(a, fs__stat);

    m->path = pb_str(a, s->path);
    m->mode = s->mode;
    m->uid = s->uid;
    m->gid = s->gid;
    m->size = s->size;
    m->mod_time = s->mtime_ns;
    m->linkname = pb_str(a, s->linkname);
    m->devmajor = s->devmajor;
    m->devminor = s->devminor;
    return m;
}

static struct error *read_file(struct rpc_call *call, void *ctx)
{
    GATEWAY;
    CLEANUP(buf_deinit) struct buf out = { 0 };
    Gw__ReadFileResponse m = GW__READ_FILE_RESPONSE__INIT;
    struct read_file_options o = { 0 };
    Gw__ReadFileRequest *q;
    struct ref *ref;

    TRY(rpc_recv_one(call, &gw__read_file_request__descriptor, &g.arena, &q));
    TRY(gateway_enter(call, ctx, &g));
    TRY(find_ref(&g, q->ref, &ref));
    if (q->range != NULL)
        o = (struct read_file_options){ .offset = q->range->offset, .length = q->range->length };
    TRY(g.build->root.bridge.ops->read_file(&g.build->root.bridge, ref, q->file_path, &o, &out));
    m.data = pb_bytes(out.data, out.len);
    return rpc_send(call, &m.base);
}

static struct error *read_dir(struct rpc_call *call, void *ctx)
{
    GATEWAY;
    Gw__ReadDirResponse m = GW__READ_DIR_RESPONSE__INIT;
    Gw__ReadDirRequest *q;
    struct file_stat *v = NULL;
    struct ref *ref;
    size_t n = 0;

    TRY(rpc_recv_one(call, &gw__read_dir_request__descriptor, &g.arena, &q));
    TRY(gateway_enter(call, ctx, &g));
    TRY(find_ref(&g, q->ref, &ref));
    TRY(bridge_read_dir(&g.build->root.bridge, ref, q->dir_path, q->include_pattern, &v, &n));
    m.entries = pb_array(&g.arena, n);
    for (size_t i = 0; i < n; i++) {
        m.entries[m.n_entries++] = stat_message(&g.arena, &v[i]);
        file_stat_deinit(&v[i]);
    }
    free(v);
    return rpc_send(call, &m.base);
}

static struct error *stat_file(struct rpc_call *call, void *ctx)
{
    GATEWAY;
    Gw__StatFileResponse m = GW__STAT_FILE_RESPONSE__INIT;
    Gw__StatFileRequest *q;
    struct file_stat st = { 0 };
    struct ref *ref;

    TRY(rpc_recv_one(call, &gw__stat_file_request__descriptor, &g.arena, &q));
    TRY(gateway_enter(call, ctx, &g));
    TRY(find_ref(&g, q->ref, &ref));
    TRY(g.build->root.bridge.ops->stat_file(&g.build->root.bridge, ref, q->path, &st));
    m.stat = stat_message(&g.arena, &st);
    file_stat_deinit(&st);
    return rpc_send(call, &m.base);
}

/* ---- warnings
 * -------------------------------------------------------------------------------------------------------------------------
 */

static struct error *warn(struct rpc_call *call, void *ctx)
{
    GATEWAY;
    CLEANUP(strv_deinit) struct strv detail = { 0 };
    CLEANUP(freep) struct llb_range *ranges = NULL;
    Gw__WarnResponse m = GW__WARN_RESPONSE__INIT;
    struct llb_source_info info = { 0 };
    Gw__WarnRequest *q;

    TRY(rpc_recv_one(call, &gw__warn_request__descriptor, &g.arena, &q));
    TRY(gateway_enter(call, ctx, &g));
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
                                  .short_text = pb_strf(&g.arena, "%.*s", (int)q->short_text.len,
                                                        (const char *)q->short_text.data),
                                  .info = q->info == NULL ? NULL : &info,
                                  .ranges = ranges,
                                  .range_count = q->n_ranges };
    TRY(g.build->root.bridge.ops->warn(&g.build->root.bridge, &w));
    return rpc_send(call, &m.base);
}

/* ---- containers of a build: the next issue's
 * -------------------------------------------------------------------------------------- */

static struct error *no_containers(struct rpc_call *call, void *ctx)
{
    return err_new(ERR_UNIMPLEMENTED, "%s: containers over the gateway are not supported yet",
                   strrchr(rpc_method_path(call), '/') + 1);
}

const struct rpc_method gateway_methods[] = {
    { "Evaluate", evaluate },
    { "ExecProcess", no_containers },
    { "Inputs", inputs },
    { "NewContainer", no_containers },
    { "Ping", ping },
    { "ReadDir", read_dir },
    { "ReadDirContainer", no_containers },
    { "ReadFile", read_file },
    { "ReadFileContainer", no_containers },
    { "ReleaseContainer", no_containers },
    { "ResolveImageConfig", resolve_image_config },
    { "ResolveSourceMeta", resolve_source_meta },
    { "Return", ret },
    { "Solve", solve },
    { "StatFile", stat_file },
    { "StatFileContainer", no_containers },
    { "Warn", warn },
};
const size_t gateway_method_count = ARRAY_LEN(gateway_methods);
