/* SPDX-License-Identifier: Apache-2.0 */
/* build_classic.c - POST /build, version 1: query to options, the builder's lines to the answer */
#include "api/build_classic.h"

#include "base/rune.h"
#include "engine/classic.h"
#include "oci/gojson.h"

/* ---- the query
 * -------------------------------------------------------------------------------------------------------------
 */

/* A JSON query value of that type: NULL when it is absent or null. */
static struct error *json_query(const struct api_request *r, const char *name, json_type type,
                                const char *what, json_t **ret)
{
    const char *v = api_query(r, name);
    json_error_t why;

    *ret = NULL;
    if (v == NULL || *v == '\0')
        return NULL;
    *ret = api_json_load(v, strlen(v), JSON_DECODE_ANY, &why);
    if (*ret == NULL)
        return err_new(ERR_INVALID, "%s: %s", what, why.text);
    if (json_is_null(*ret)) {
        json_decref(TAKE(*ret));
        return NULL;
    }
    if (json_typeof(*ret) == type)
        return NULL;
    json_decref(TAKE(*ret));
    return err_new(ERR_INVALID, "%s: json: cannot unmarshal %s", what, v);
}

/* Numbers that say nothing are 0, as dockerd reads them. */
static int64_t int_query(const struct api_request *r, const char *name)
{
    const char *v = api_query(r, name);
    int64_t n;

    return v != NULL && parse_i64(v, &n) == 0 ? n : 0;
}

/* An object of texts: `add` is called for each, with NULL for null. */
static struct error *texts_query(const struct api_request *r, const char *name, const char *what,
                                 void (*add)(struct classic_options *o, const char *key, const char *value),
                                 struct classic_options *o)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    const char *key;
    json_t *v;

    TRY(json_query(r, name, JSON_OBJECT, what, &j));
    json_object_foreach(j, key, v)
    {
        if (!json_is_string(v) && !json_is_null(v))
            return err_new(ERR_INVALID, "%s: the value of %s is not a string", what, key);
        add(o, key, json_string_value(v));
    }
    return NULL;
}

static void add_arg(struct classic_options *o, const char *key, const char *value)
{
    map_set(&o->build_args, key, xstrdup(value));
}

static void add_label(struct classic_options *o, const char *key, const char *value)
{
    strmap_set(&o->labels, key, value == NULL ? "" : value);
}

static struct error *cache_query(const struct api_request *r, struct classic_options *o)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    json_t *v;
    size_t i;

    TRY(json_query(r, "cachefrom", JSON_ARRAY, "error reading cache-from", &j));
    json_array_foreach(j, i, v)
    {
        if (!json_is_string(v))
            return err_new(ERR_INVALID, "error reading cache-from: an entry is not a string");
        strv_add(&o->cache_from, json_string_value(v));
    }
    return NULL;
}

static struct error *ulimits_query(const struct api_request *r, struct classic_options *o)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    json_t *v;
    size_t i;

    TRY(json_query(r, "ulimits", JSON_ARRAY, "error reading ulimit settings", &j));
    o->ulimits = xcalloc(json_array_size(j) + 1, sizeof(*o->ulimits));
    json_array_foreach(j, i, v)
    {
        const char *name = json_string_value(json_object_get(v, "Name"));

        if (name == NULL)
            return err_new(ERR_INVALID, "error reading ulimit settings: an entry has no name");
        o->ulimits[o->ulimit_count++] =
            (struct llb_ulimit){ .name = xstrdup(name),
                                 .soft = json_integer_value(json_object_get(v, "Soft")),
                                 .hard = json_integer_value(json_object_get(v, "Hard")) };
    }
    return NULL;
}

/* Only BuildKit has exporters. */
static struct error *outputs_query(const struct api_request *r)
{
    CLEANUP(json_decrefp) json_t *j = NULL;

    if (r->version < 40)
        return NULL;
    TRY(json_query(r, "outputs", JSON_ARRAY, "invalid outputs specified", &j));
    if (json_array_size(j) == 0)
        return NULL;
    return err_new(
        ERR_INVALID,
        "the outputs parameter requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn "
        "how to build images with BuildKit enabled");
}

static struct error *check_isolation(const struct api_request *r)
{
    const char *asked = api_query(r, "isolation");
    CLEANUP(freep) char *quoted = NULL;

    if (asked == NULL || *asked == '\0' || str_equal_fold(asked, "default"))
        return NULL;
    quoted = str_quote(asked);
    return err_new(ERR_INVALID, "unsupported isolation: %s", quoted);
}

static void limits_query(const struct api_request *r, struct classic_options *o)
{
    const char *cpus = api_query(r, "cpusetcpus"), *mems = api_query(r, "cpusetmems");

    o->resources.memory = int_query(r, "memory");
    o->resources.memory_swap = int_query(r, "memswap");
    o->resources.cpu_shares = (uint64_t)MAX(int_query(r, "cpushares"), (int64_t)0);
    o->resources.cpu_period = (uint64_t)MAX(int_query(r, "cpuperiod"), (int64_t)0);
    o->resources.cpu_quota = int_query(r, "cpuquota");
    if (cpus != NULL) {
        free(o->resources.cpuset_cpus);
        o->resources.cpuset_cpus = xstrdup(cpus);
    }
    if (mems != NULL) {
        free(o->resources.cpuset_mems);
        o->resources.cpuset_mems = xstrdup(mems);
    }
}

static void flags_query(const struct api_request *r, struct classic_options *o)
{
    const char *rm = api_query(r, "rm");

    o->no_cache = api_query_bool(r, "nocache", false);
    o->pull = api_query_bool(r, "pull", false);
    o->squash = api_query_bool(r, "squash", false);
    o->force_remove = api_query_bool(r, "forcerm", false);
    o->remove = o->force_remove || rm == NULL || *rm == '\0' || api_query_bool(r, "rm", true);
}

static struct error *parse_query(struct api_request *r, struct classic_options *o)
{
    CLEANUP(strv_deinit) struct strv security = { 0 };
    const struct http_params *q = &r->http->request->query;

    http_params_all(q, "securityopt", &security);
    if (security.len > 0)
        return err_new(ERR_INVALID, "security options are not supported on linux");
    http_params_all(q, "t", &o->tags);
    http_params_all(q, "extrahosts", &o->hosts);
    o->dockerfile = api_query(r, "dockerfile");
    o->remote = api_query(r, "remote");
    o->target = api_query(r, "target");
    o->network = api_query(r, "networkmode");
    o->cgroup_parent = api_query(r, "cgroupparent");
    o->platform = r->version >= 32 ? api_query(r, "platform") : NULL;
    flags_query(r, o);
    limits_query(r, o);
    TRY(outputs_query(r));
    TRY(api_query_int(r, "shmsize", 0, &o->shm_size));
    TRY(check_isolation(r));
    TRY(ulimits_query(r, o));
    TRY(texts_query(r, "buildargs", "error reading build args", add_arg, o));
    TRY(texts_query(r, "labels", "error reading labels", add_label, o));
    return cache_query(r, o);
}

/* ---- the answer
 * ------------------------------------------------------------------------------------------------------------
 */

struct answer {
    struct api_request *r;
    bool quiet;
    struct buf kept; /* lines of a quiet build, shown when it fails */
};

/* As Go writes it: compact, <, > and & escaped, CR LF. */
static void add_line(struct buf *out, json_t *j)
{
    go_json(out, j, NULL, false);
    json_decref(j);
    buf_adds(out, "\r\n");
}

static struct error *send(struct api_request *r, const struct buf *lines)
{
    if (r->http->status == 0) {
        http_set_header(r->http, "Content-Type", "application/json");
        TRY(http_start(r->http, 200, -1));
    }
    return http_write(r->http, lines->data, lines->len);
}

static struct error *line(void *ctx, json_t *j)
{
    struct answer *a = ctx;
    CLEANUP(buf_deinit) struct buf text = { 0 };

    if (j == NULL)
        return err_new(ERR_INTERNAL, "a line of the build cannot be encoded as JSON");
    if (a->r->version < 30 && json_object_get(j, "aux") != NULL) {
        json_decref(j);
        return NULL;
    }
    add_line(a->quiet ? &a->kept : &text, j);
    return a->quiet ? NULL : send(a->r, &text);
}

/* Once lines were sent, an error is one of them; takes `e`. */
static struct error *finish_failed(struct answer *a, struct error *e)
{
    const struct error_detail *d = err_find_detail(e, "gatewayapi.ExitMessage+json");
    CLEANUP(json_decrefp) json_t *exit = d == NULL ? NULL : json_loadb(d->value, d->len, 0, NULL);
    CLEANUP(freep) char *text = str_valid_utf8(e->message, strlen(e->message));
    json_t *detail = json_object();
    struct error *sent;

    if (a->r->http->status == 0 && a->kept.len == 0) {
        json_decref(detail);
        return e;
    }
    if (exit != NULL)
        json_object_set(detail, "code", json_object_get(exit, "Code"));
    json_object_set_new(detail, "message", json_string(text));
    add_line(&a->kept, json_pack("{s:o, s:s}", "errorDetail", detail, "error", text));
    sent = send(a->r, &a->kept);
    err_free(e);
    return sent;
}

static struct error *finish(struct answer *a, const struct digest *id)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    if (!a->quiet)
        return NULL;
    add_line(&text, json_pack("{s:o}", "stream", json_sprintf("%s\n", id->s)));
    return send(a->r, &text);
}

static struct error *build(struct api_request *r, const struct classic_options *o)
{
    struct answer a = { .r = r, .quiet = api_query_bool(r, "q", false) };
    const struct classic_output out = { .line = line, .ctx = &a };
    struct digest id;
    struct error *e = classic_build(r->engine, o, r->http->body, &out, &id);

    e = e != NULL ? finish_failed(&a, e) : finish(&a, &id);
    buf_deinit(&a.kept);
    engine_settle(r->engine);
    return e;
}

struct error *build_classic(struct api_request *r)
{
    struct classic_options o;
    struct error *e;

    classic_options_init(&o);
    e = parse_query(r, &o);
    if (e == NULL && o.squash && !r->engine->config->experimental)
        e = err_new(ERR_INVALID, "squash is only supported with experimental mode");
    if (e == NULL) {
        err_free(api_auth_header(r, "x-registry-config", &o.auths)); /* broken ones count as none */
        e = build(r, &o);
    }
    classic_options_deinit(&o);
    return e;
}
