/* SPDX-License-Identifier: Apache-2.0 */
#include "api/build_query.h"

#include "api/build_common.h"
#include "base/rune.h"
#include "engine/engine.h"
#include "engine/uploads.h"
#include "oci/platform.h"

void build_query_deinit(struct build_query *b)
{
    map_deinit(&b->attrs);
    map_deinit(&b->exporter_attrs);
    strv_deinit(&b->tags);
    strv_deinit(&b->entitlements);
    free(b->exporter);
    upload_close(b->upload);
}

static void copy_query(const struct api_request *r, const char *name, const char *attr, struct build_query *b)
{
    const char *v = api_query(r, name);

    if (v != NULL && v[0] != '\0')
        strmap_set(&b->attrs, attr, v);
}

static struct error *map_query(const struct api_request *r, enum build_json what, const char *prefix,
                               struct build_query *b)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    const char *key;
    json_t *v;

    TRY(build_json_query(r, what, &j));
    json_object_foreach(j, key, v)
    {
        CLEANUP(freep) char *attr = xasprintf("%s%s", prefix, key);

        if (json_is_string(v)) /* null: take it from the environment, which a daemon does not do */
            strmap_set(&b->attrs, attr, json_string_value(v));
    }
    return NULL;
}

static struct error *cache_query(const struct api_request *r, struct build_query *b)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    CLEANUP(buf_deinit) struct buf list = { 0 };
    json_t *v;
    size_t i;

    TRY(build_json_query(r, BUILD_CACHES, &j));
    json_array_foreach(j, i, v)
    {
        if (json_is_string(v))
            buf_addf(&list, "%s%s", list.len == 0 ? "" : ",", json_string_value(v));
    }
    if (list.len > 0)
        strmap_set(&b->attrs, "cache-from", buf_str(&list));
    return NULL;
}

static struct error *ulimit_query(const struct api_request *r, struct build_query *b)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    CLEANUP(buf_deinit) struct buf list = { 0 };
    json_t *v;
    size_t i;

    TRY(build_json_query(r, BUILD_ULIMITS, &j));
    json_array_foreach(j, i, v)
    {
        const char *name = json_string_value(json_object_get(v, "Name"));

        if (name != NULL)
            buf_addf(&list, "%s%s=%lld:%lld", list.len == 0 ? "" : ",", name,
                     (long long)json_integer_value(json_object_get(v, "Soft")),
                     (long long)json_integer_value(json_object_get(v, "Hard")));
    }
    if (list.len > 0)
        strmap_set(&b->attrs, "ulimit", buf_str(&list));
    return NULL;
}

static struct error *network_query(const struct api_request *r, struct build_query *b)
{
    const char *mode = api_query(r, "networkmode");

    if (mode == NULL || mode[0] == '\0' || streq(mode, "default"))
        return NULL;
    if (!streq(mode, "host") && !streq(mode, "none")) {
        CLEANUP(freep) char *quoted = str_quote(mode);

        return err_new(ERR_UNKNOWN, "network mode %s not supported by buildkit", quoted);
    }
    strmap_set(&b->attrs, "force-network-mode", mode);
    if (streq(mode, "host"))
        strv_add(&b->entitlements, "network.host");
    return NULL;
}

/* "host:ip" here, "host=ip" in the attribute. */
static struct error *hosts_query(const struct api_request *r, struct build_query *b)
{
    CLEANUP(strv_deinit) struct strv hosts = { 0 };
    CLEANUP(buf_deinit) struct buf list = { 0 };

    http_params_all(&r->http->request->query, "extrahosts", &hosts);
    for (size_t i = 0; i < hosts.len; i++) {
        const char *host = hosts.v[i], *ip = strchr(host, ':');

        if (ip == NULL || ip == host || ip[1] == '\0')
            return err_new(ERR_UNKNOWN, "invalid host %s", host);
        if (streq(++ip, "host-gateway"))
            ip = r->engine->config->builder.host_gateway_ip;
        if (ip == NULL)
            return err_new(ERR_UNKNOWN, "unable to derive the IP value for host-gateway");
        buf_addf(&list, "%s%.*s=%s", i == 0 ? "" : ",", (int)strcspn(host, ":"), host, ip);
    }
    if (list.len > 0)
        strmap_set(&b->attrs, "add-hosts", buf_str(&list));
    return NULL;
}

static struct error *exporter_query(const struct api_request *r, struct build_query *b)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    const char *key, *type;
    json_t *v;

    if (r->version >= 40)
        TRY(build_json_query(r, BUILD_OUTPUTS, &j));
    if (json_array_size(j) > 1)
        return err_new(ERR_UNKNOWN, "multiple outputs not supported");
    type = json_string_value(json_object_get(json_array_get(j, 0), "Type"));
    b->exporter = xstrdup(type == NULL || type[0] == '\0' ? "moby" : type);
    json_object_foreach(json_object_get(json_array_get(j, 0), "Attrs"), key, v)
    {
        if (json_is_string(v))
            strmap_set(&b->exporter_attrs, key, json_string_value(v));
    }
    if (streq(b->exporter, "cacheonly")) {
        free(TAKE(b->exporter));
        return NULL;
    }
    if ((streq(b->exporter, "moby") || streq(b->exporter, "image")) && b->tags.len > 0) {
        CLEANUP(freep) char *names = strv_join(&b->tags, ",");
        strmap_set(&b->exporter_attrs, "name", names);
    }
    return NULL;
}

/* The context: the client's session, or the body, kept in a file and read by the build as a remote archive.
 */
static struct error *context_query(struct api_request *r, struct build_query *b)
{
    const char *remote = api_query(r, "remote"), *id = api_query(r, "buildid");
    bool separate = remote != NULL && streq(remote, "upload-request") && id != NULL && id[0] != '\0';

    if (remote != NULL && streq(remote, "client-session"))
        return NULL;
    if (remote != NULL && remote[0] != '\0' && !separate) {
        strmap_set(&b->attrs, "context", remote);
        return NULL;
    }
    if (separate)
        TRY(uploads_take(r->engine->uploads, id, &b->upload));
    else
        TRY(upload_receive(r->engine->store, r->http->body, &b->upload));
    strmap_set(&b->attrs, "context", upload_url(b->upload));
    return NULL;
}

static struct error *platform_query(const struct api_request *r, struct build_query *b)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };
    const char *v = r->version >= 32 ? api_query(r, "platform") : NULL;

    if (v == NULL || *v == '\0')
        return NULL;
    TRY(platform_parse(v, &p));
    strmap_set(&b->attrs, "platform", v);
    return NULL;
}

static struct error *shm_query(const struct api_request *r, struct build_query *b)
{
    CLEANUP(freep) char *text = NULL;
    int64_t size;

    TRY(build_shm_size(r, &size));
    if (size <= 0)
        return NULL;
    text = xasprintf("%lld", (long long)size);
    strmap_set(&b->attrs, "shm-size", text);
    return NULL;
}

static void flags_query(const struct api_request *r, struct build_query *b)
{
    b->quiet = api_query_bool(r, "q", false);
    if (api_query_bool(r, "nocache", false))
        strmap_set(&b->attrs, "no-cache", "");
    strmap_set(&b->attrs, "image-resolve-mode", api_query_bool(r, "pull", false) ? "pull" : "default");
}

static struct error *tags_query(const struct api_request *r, struct build_query *b)
{
    CLEANUP(strv_deinit) struct strv canonical = { 0 };

    http_params_all(&r->http->request->query, "t", &b->tags);
    return build_tags(r, &canonical);
}

struct error *build_query_parse(struct api_request *r, struct build_query *b)
{
    const char *file = api_query(r, "dockerfile");

    strmap_init(&b->attrs);
    strmap_init(&b->exporter_attrs);
    TRY(build_check_platform(r));
    TRY(tags_query(r, b));
    flags_query(r, b);
    copy_query(r, "target", "target", b);
    if (file != NULL && file[0] != '\0' && !streq(file, "."))
        strmap_set(&b->attrs, "filename", file);
    copy_query(r, "cgroupparent", "cgroup-parent", b);
    TRY(platform_query(r, b));
    TRY(shm_query(r, b));
    TRY(map_query(r, BUILD_ARGS, "build-arg:", b));
    TRY(map_query(r, BUILD_LABELS, "label:", b));
    TRY(cache_query(r, b));
    TRY(ulimit_query(r, b));
    TRY(network_query(r, b));
    TRY(hosts_query(r, b));
    TRY(exporter_query(r, b));
    return context_query(r, b);
}
