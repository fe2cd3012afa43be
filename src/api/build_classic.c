/* SPDX-License-Identifier: Apache-2.0 */
/* build_classic.c - POST /build, version 1: query to options, the builder's lines to the answer */
#include "api/build_classic.h"
#include "api/build_common.h"

#include "base/rune.h"
#include "engine/classic.h"
#include "oci/descriptor.h"
#include "oci/gojson.h"

/* ---- the query
 * -------------------------------------------------------------------------------------------------------------
 */

/* Numbers that say nothing are 0, as dockerd reads them. */
static int64_t int_query(const struct api_request *r, const char *name)
{
    const char *v = api_query(r, name);
    int64_t n;

    return v != NULL && parse_i64(v, &n) == 0 ? n : 0;
}

static struct error *args_query(const struct api_request *r, struct classic_options *o)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    const char *key;
    json_t *v;

    TRY(build_json_query(r, BUILD_ARGS, &j));
    json_object_foreach(j, key, v)
    {
        map_set(&o->build_args, key, json_is_string(v) ? xstrdup(json_string_value(v)) : NULL);
    }
    return NULL;
}

static struct error *labels_query(const struct api_request *r, struct classic_options *o)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    const char *key;
    json_t *v;

    TRY(build_json_query(r, BUILD_LABELS, &j));
    json_object_foreach(j, key, v)
    {
        strmap_set(&o->labels, key, json_is_string(v) ? json_string_value(v) : "");
    }
    return NULL;
}

static struct error *caches_query(const struct api_request *r, struct classic_options *o)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    json_t *v;
    size_t i;

    TRY(build_json_query(r, BUILD_CACHES, &j));
    json_array_foreach(j, i, v)
    {
        if (json_is_string(v))
            strv_add(&o->cache_from, json_string_value(v));
    }
    return NULL;
}

/* Of two limits with one name the last counts. */
static struct error *ulimits_query(const struct api_request *r, struct classic_options *o)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    json_t *v;
    size_t i, at;

    TRY(build_json_query(r, BUILD_ULIMITS, &j));
    o->ulimits = xcalloc(json_array_size(j) + 1, sizeof(*o->ulimits));
    json_array_foreach(j, i, v)
    {
        const char *name = json_string_value(json_object_get(v, "Name"));

        if (json_is_null(v))
            continue;
        for (at = 0; at < o->ulimit_count && !streq(o->ulimits[at].name, name == NULL ? "" : name); at++)
            ;
        if (at == o->ulimit_count)
            o->ulimits[o->ulimit_count++].name = xstrdup(name == NULL ? "" : name);
        o->ulimits[at].soft = json_integer_value(json_object_get(v, "Soft"));
        o->ulimits[at].hard = json_integer_value(json_object_get(v, "Hard"));
    }
    return NULL;
}

/* Only BuildKit has exporters. */
static struct error *outputs_query(const struct api_request *r)
{
    CLEANUP(json_decrefp) json_t *j = NULL;

    if (r->version < 40)
        return NULL;
    TRY(build_json_query(r, BUILD_OUTPUTS, &j));
    if (json_array_size(j) == 0)
        return NULL;
    return err_new(
        ERR_INVALID,
        "the outputs parameter requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn "
        "how to build images with BuildKit enabled");
}

/* As a container's, so that the same is refused in the same words. */
static json_t *host_config(const struct api_request *r, const struct classic_options *o)
{
    static const char *const texts[][2] = { { "CpusetCpus", "cpusetcpus" }, { "CpusetMems", "cpusetmems" } };
    static const char *const numbers[][2] = { { "Memory", "memory" },
                                              { "MemorySwap", "memswap" },
                                              { "CpuShares", "cpushares" },
                                              { "CpuPeriod", "cpuperiod" },
                                              { "CpuQuota", "cpuquota" } };
    json_t *h =
        json_pack("{s:I, s:o}", "ShmSize", (json_int_t)o->shm_size, "ExtraHosts", strv_to_json(&o->hosts));

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        json_object_set_new(h, numbers[i][0], json_integer(int_query(r, numbers[i][1])));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const char *v = api_query(r, texts[i][1]);

        json_object_set_new(h, texts[i][0], json_string(v == NULL ? "" : v));
    }
    return h;
}

static void limits_query(const struct api_request *r, struct classic_options *o)
{
    const char *cpus = api_query(r, "cpusetcpus"), *mems = api_query(r, "cpusetmems");

    o->resources.memory = int_query(r, "memory");
    o->resources.memory_swap = int_query(r, "memswap");
    if (o->resources.memory > 0 && o->resources.memory_swap == 0) /* as much swap as memory */
        o->resources.memory_swap = o->resources.memory <= INT64_MAX / 2 ? 2 * o->resources.memory : -1;
    o->resources.cpu_shares = (uint64_t)MAX(int_query(r, "cpushares"), (int64_t)0);
    o->resources.cpu_period = (uint64_t)MAX(int_query(r, "cpuperiod"), (int64_t)0);
    o->resources.cpu_quota = MAX(int_query(r, "cpuquota"), (int64_t)0); /* less than 0: without limit */
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
    http_params_all(&r->http->request->query, "extrahosts", &o->hosts);
    o->dockerfile = api_query(r, "dockerfile");
    o->remote = api_query(r, "remote");
    o->target = api_query(r, "target");
    o->network = api_query(r, "networkmode");
    o->cgroup_parent = api_query(r, "cgroupparent");
    o->platform = r->version >= 32 ? api_query(r, "platform") : NULL;
    flags_query(r, o);
    limits_query(r, o);
    TRY(outputs_query(r));
    TRY(build_shm_size(r, &o->shm_size));
    o->host_config = host_config(r, o);
    o->host_gateway = r->engine->config->builder.host_gateway_ip;
    TRY(build_check_platform(r));
    TRY(ulimits_query(r, o));
    TRY(args_query(r, o));
    TRY(labels_query(r, o));
    TRY(caches_query(r, o));
    if (o->squash && !r->engine->config->experimental)
        return err_new(ERR_INVALID, "squash is only supported with experimental mode");
    return build_tags(r, &o->tags);
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
    add_line(&a->kept, json_pack("{s:s, s:o}", "error", text, "errorDetail", detail));
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
    if (e == NULL) {
        err_free(api_auth_header(r, "x-registry-config", &o.auths)); /* broken ones count as none */
        e = build(r, &o);
    }
    classic_options_deinit(&o);
    return e;
}
