/* SPDX-License-Identifier: Apache-2.0 */
/* build.c - POST /build (version 2), /build/cancel, /build/prune, and the two tunnels POST /grpc and POST
 * /session */
#include "api/build_classic.h"
#include "api/build_query.h"

#include "base/bytes.h"
#include "base/rune.h"
#include "buildkit/builder.h"
#include "engine/engine.h"
#include "engine/uploads.h"
#include "op/upload.h"
#include "oci/reference.h"
#include "task/task.h"

/* ---- tunnels
 * ------------------------------------------------------------------------------------------------------------------
 */

/* Both refuse what does not ask for h2c, each with its own status (protocol.md 1.3, 1.4). */
static struct error *check_upgrade(const struct http_request *q, enum error_kind kind)
{
    const char *proto = http_header(q, "upgrade");

    if (proto == NULL || proto[0] == '\0')
        return err_new(kind, "no upgrade proto in request");
    if (!streq(proto, "h2c"))
        return err_new(kind, "protocol %s not supported", proto);
    return NULL;
}

static struct error *grpc(struct api_request *r)
{
    struct stream *s;

    TRY(check_upgrade(r->http->request, ERR_UNKNOWN));
    TRY(http_hijack(r->http, "h2c", &s));
    return builder_serve_grpc(r->engine->builder, s);
}

static struct error *session(struct api_request *r)
{
    const struct http_request *q = r->http->request;
    const char *encoded = http_header(q, "x-docker-expose-session-sharedkey-encoded");
    CLEANUP(strv_deinit) struct strv methods = { 0 };
    struct session_hello h = { .id = http_header(q, "x-docker-expose-session-uuid"),
                               .name = http_header(q, "x-docker-expose-session-name"),
                               .shared_key = http_header(q, "x-docker-expose-session-sharedkey"),
                               .methods = &methods,
                               .health_ms = http_header(q, "x-buildkit-session-health-custom-timeout") };
    struct stream *s;

    TRY(check_upgrade(q, ERR_INVALID));
    if (encoded != NULL && parse_bool(encoded, &h.shared_key_encoded) < 0)
        h.shared_key_encoded = false;
    http_params_all(&q->headers, "x-docker-expose-session-grpc-method", &methods);
    if (h.id == NULL)
        h.id = "";
    if (h.id[0] != '\0')
        TRY(session_check(r->engine->sessions, h.id));
    TRY(http_hijack(r->http, "h2c", &s));
    return builder_serve_session(r->engine->builder, &h, s);
}

/* ---- running it
 * --------------------------------------------------------------------------------------------------------------------
 */

struct build_task {
    struct builder *builder;
    const struct build_request *request;
    struct map response;
};

static struct error *build_task(void *arg)
{
    struct build_task *t = arg;

    return builder_build(t->builder, t->request, &t->response);
}

static struct error *send_trace(void *ctx, const void *data, size_t len)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    base64_encode(&text, data, len);
    return api_write_json_line(ctx,
                               json_pack("{s:s, s:s}", "id", "moby.buildkit.trace", "aux", buf_str(&text)));
}

/* Status while it runs; a build that ended before it was seen has nothing to show. */
static struct error *follow(struct api_request *r, const char *ref, bool quiet)
{
    struct progress *p = NULL;
    struct error *e = builder_progress(r->engine->builder, ref, &p);

    if (err_is(e, ERR_NOT_FOUND)) {
        err_free(e);
        return NULL;
    }
    TRY(e);
    e = quiet ? NULL : builder_follow(p, send_trace, r);
    progress_unref(p);
    return e;
}

static struct error *run_build(struct api_request *r, const struct build_request *q, bool quiet,
                               struct map *response)
{
    struct build_task t = { .builder = r->engine->builder, .request = q };
    struct error *e, *failure;
    struct group g;

    strmap_init(&t.response);
    group_open(&g, GROUP_KEEP_GOING);
    e = group_spawn(&g, "build", build_task, &t);
    if (e == NULL)
        e = follow(r, q->ref, quiet);
    if (e != NULL)
        group_cancel(&g); /* the client is gone */
    failure = group_join(&g);
    strmap_copy(response, &t.response);
    map_deinit(&t.response);
    if (failure == NULL)
        return e;
    err_free(e);
    return failure;
}

static struct error *send_result(struct api_request *r, const struct build_query *b,
                                 const struct map *response)
{
    const char *digest = strmap_get(response, "containerimage.digest");

    if (b->exporter == NULL || !(streq(b->exporter, "moby") || streq(b->exporter, "image")))
        return r->http->status != 0 ? NULL : api_reply_empty(r, 200);
    if (digest == NULL)
        return err_new(ERR_UNKNOWN, "missing image id");
    if (b->quiet)
        return api_write_json_line(r, json_pack("{s:o}", "stream", json_sprintf("%s\n", digest)));
    return api_write_json_line(r, json_pack("{s:s, s:{s:s}}", "id", "moby.image.id", "aux", "ID", digest));
}

/* BuildKit's clients ask for it themselves; here the argument is all there is. */
static bool wants_inline_cache(const struct map *attrs)
{
    const char *v = strmap_get(attrs, "build-arg:BUILDKIT_INLINE_CACHE");
    bool wanted = false;

    return v != NULL && parse_bool(v, &wanted) == 0 && wanted;
}

static struct error *build_v2(struct api_request *r)
{
    CLEANUP(build_query_deinit) struct build_query b = { 0 };
    CLEANUP(map_deinit) struct map response = { 0 };
    const char *session = api_query(r, "session"), *id = api_query(r, "buildid");
    const char *for_build = id == NULL ? NULL : str_skip_prefix(id, "upload-request:");
    struct build_exporter exporter, inline_cache;
    struct map no_attrs = { 0 };
    struct error *e;
    char ref[26];

    strmap_init(&response);
    if (for_build != NULL) {
        TRY(uploads_bring(r->engine->uploads, for_build, r->engine->store, r->http->body));
        return api_reply_empty(r, 200);
    }
    TRY(build_query_parse(r, &b));
    random_id(ref, 25);
    exporter = (struct build_exporter){ .type = b.exporter, .attrs = &b.exporter_attrs };
    struct build_request q = { .ref = id != NULL && id[0] != '\0' ? id : ref,
                               .session_id = session == NULL ? "" : session,
                               .frontend = "dockerfile.v0",
                               .frontend_attrs = &b.attrs,
                               .exporters = &exporter,
                               .exporter_count = b.exporter == NULL ? 0 : 1,
                               .cache_exports = &inline_cache,
                               .cache_export_count = wants_inline_cache(&b.attrs) ? 1 : 0,
                               .entitlements = &b.entitlements };
    inline_cache = (struct build_exporter){ .type = "inline", .attrs = &no_attrs };
    e = run_build(r, &q, b.quiet, &response);
    if (e == NULL)
        e = send_result(r, &b, &response);
    return api_stream_error(r, e);
}

static struct error *build(struct api_request *r)
{
    const char *version = api_query(r, "version");

    if (version != NULL && streq(version, "2"))
        return build_v2(r);
    if (version != NULL && version[0] != '\0' && !streq(version, "1")) {
        CLEANUP(freep) char *quoted = str_quote(version);

        return err_new(ERR_INVALID, "invalid version %s", quoted);
    }
    return build_classic(r);
}

static struct error *cancel(struct api_request *r)
{
    const char *id = api_query(r, "id");

    if (id == NULL || id[0] == '\0')
        return err_new(ERR_INVALID, "build ID not provided");
    builder_cancel(r->engine->builder, id); /* an unknown one is fine too (protocol.md trap 31) */
    return api_reply_empty(r, 200);
}

/* ---- prune
 * --------------------------------------------------------------------------------------------------------------------------
 */

static const char *const prune_filters[] = { "description", "id",     "inuse",      "label",
                                             "label!",      "parent", "private",    "shared",
                                             "type",        "until",  "unused-for", NULL };

/* "until", or "unused-for" as it was called: a moment, or how long ago. */
static struct error *prune_age(const char *key, const char *text, int64_t *ret_keep_ns)
{
    int64_t moment;

    if (parse_duration(text, ret_keep_ns) == 0)
        return NULL;
    if (parse_time(text, &moment) < 0)
        return err_new(ERR_INVALID,
                       "failed to prune build cache: \"%s\" filter expects a duration (e.g., '24h') or a "
                       "timestamp: invalid value \"%s\"",
                       key, text);
    *ret_keep_ns = now_ns() - moment;
    return NULL;
}

static void add_prune_filter(const char *key, const struct strv *v, struct buf *all)
{
    if (str_has_prefix(key, "label"))
        return;
    buf_addf(all, "%s%s", all->len == 0 ? "" : ",", streq(key, "parent") ? "parents" : key);
    if (!streq(key, "inuse") && !streq(key, "shared") && !streq(key, "private"))
        buf_addf(all, "%s%s", streq(key, "id") ? "~=" : "==", v->v[0]);
}

/* The old names in new clothes: "id" etc. as containerd filters. */
static struct error *prune_options(const struct api_filters *f, struct prune_options *o)
{
    const char *age = NULL;
    CLEANUP(buf_deinit) struct buf all = { 0 };

    for (size_t i = 0; i < f->keys.len; i++) {
        const char *key = f->keys.entries[i].key;
        const struct strv *v = f->keys.entries[i].value;

        if (v->len > 1)
            return err_new(ERR_INVALID, "failed to prune build cache: filters expect only one value");
        if (v->len == 0)
            continue;
        if (!streq(key, "until") && !streq(key, "unused-for")) {
            add_prune_filter(key, v, &all);
            continue;
        }
        if (age != NULL)
            return err_new(ERR_INVALID,
                           "failed to prune build cache: conflicting filters: \"until\" and \"unused-for\"");
        age = key;
        TRY(prune_age(key, v->v[0], &o->keep_ns));
    }
    if (all.len > 0)
        strv_add(&o->filters, buf_str(&all));
    return NULL;
}

struct pruned {
    json_t *ids;
    int64_t bytes;
};

static void note_pruned(void *ctx, const struct usage_record *u)
{
    struct pruned *p = ctx;

    json_array_append_new(p->ids, json_string(u->id));
    p->bytes += u->size;
}

static struct error *prune_parse(struct api_request *r, struct prune_options *o)
{
    CLEANUP(api_filters_deinit) struct api_filters f = { 0 };
    struct error *e = api_query_filters(r, prune_filters, &f);

    if (e != NULL)
        return err_wrap(e, "failed to prune build cache");
    o->all = api_query_bool(r, "all", false);
    TRY(api_query_int(r, r->version >= 48 ? "reserved-space" : "keep-storage", 0, &o->reserved_bytes));
    TRY(api_query_int(r, "max-used-space", 0, &o->max_used_bytes));
    TRY(api_query_int(r, "min-free-space", 0, &o->min_free_bytes));
    return prune_options(&f, o);
}

static struct error *prune(struct api_request *r)
{
    struct prune_options o = { 0 };
    struct pruned p = { .ids = json_array() };
    struct error *e = prune_parse(r, &o);

    if (e == NULL)
        e = store_prune(r->engine->store, &o, note_pruned, &p);
    strv_deinit(&o.filters);
    if (e != NULL) {
        json_decref(p.ids);
        return e;
    }
    engine_settle(r->engine);
    events_publish(r->engine->events, "builder", "prune", "", NULL);
    return api_reply_json(
        r, 200, json_pack("{s:o, s:I}", "CachesDeleted", p.ids, "SpaceReclaimed", (json_int_t)p.bytes));
}

static const struct route routes[] = {
    { "POST", "/grpc", grpc, false },         { "POST", "/session", session, false },
    { "POST", "/build", build, false },       { "POST", "/build/cancel", cancel, false },
    { "POST", "/build/prune", prune, false },
};
const struct route_table build_routes = { routes, ARRAY_LEN(routes) };
