/* SPDX-License-Identifier: Apache-2.0 */
#include "api/build_query.h"

#include "base/rune.h"
#include "engine/engine.h"
#include "engine/uploads.h"
#include "oci/reference.h"

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

/* A JSON query value, NULL when absent. */
static struct error *json_query(const struct api_request *r, const char *name, json_t **ret)
{
    const char *v = api_query(r, name);
    json_error_t why;

    *ret = NULL;
    if (v == NULL || v[0] == '\0' || streq(v, "null"))
        return NULL;
    *ret = api_json_load(v, strlen(v), 0, &why);
    return *ret != NULL ? NULL
                        : err_new(ERR_INVALID, "invalid JSON in query parameter %s: %s", name, why.text);
}

static struct error *map_query(const struct api_request *r, const char *name, const char *prefix,
                               struct build_query *b)
{
    const char *key;
    json_t *j, *v;

    TRY(json_query(r, name, &j));
    json_object_foreach(j, key, v)
    {
        CLEANUP(freep) char *attr = xasprintf("%s%s", prefix, key);
        if (json_is_string(v)) /* null: take it from the environment, which a daemon does not do */
            strmap_set(&b->attrs, attr, json_string_value(v));
    }
    json_decref(j);
    return NULL;
}

static struct error *cache_query(const struct api_request *r, struct build_query *b)
{
    CLEANUP(buf_deinit) struct buf list = { 0 };
    json_t *j, *v;
    size_t i;

    TRY(json_query(r, "cachefrom", &j));
    json_array_foreach(j, i, v)
    {
        if (json_is_string(v))
            buf_addf(&list, "%s%s", list.len == 0 ? "" : ",", json_string_value(v));
    }
    json_decref(j);
    if (list.len > 0)
        strmap_set(&b->attrs, "cache-from", buf_str(&list));
    return NULL;
}

static struct error *ulimit_query(const struct api_request *r, struct build_query *b)
{
    CLEANUP(buf_deinit) struct buf list = { 0 };
    json_t *j, *v;
    size_t i;

    TRY(json_query(r, "ulimits", &j));
    json_array_foreach(j, i, v)
    {
        const char *name = json_string_value(json_object_get(v, "Name"));
        if (name != NULL)
            buf_addf(&list, "%s%s=%lld:%lld", list.len == 0 ? "" : ",", name,
                     (long long)json_integer_value(json_object_get(v, "Soft")),
                     (long long)json_integer_value(json_object_get(v, "Hard")));
    }
    json_decref(j);
    if (list.len > 0)
        strmap_set(&b->attrs, "ulimit", buf_str(&list));
    return NULL;
}

static struct error *network_query(const struct api_request *r, struct build_query *b)
{
    const char *mode = api_query(r, "networkmode");

    if (mode == NULL || mode[0] == '\0' || streq(mode, "default"))
        return NULL;
    if (!streq(mode, "host") && !streq(mode, "none"))
        return err_new(ERR_INVALID, "network mode \"%s\" not supported by buildkit", mode);
    strmap_set(&b->attrs, "force-network-mode", mode);
    if (streq(mode, "host"))
        strv_add(&b->entitlements, "network.host");
    return NULL;
}

static void hosts_query(const struct api_request *r, struct build_query *b)
{
    CLEANUP(strv_deinit) struct strv hosts = { 0 };
    CLEANUP(buf_deinit) struct buf list = { 0 };

    http_params_all(&r->http->request->query, "extrahosts", &hosts);
    for (size_t i = 0; i < hosts.len; i++) {
        char *sep = strchr(hosts.v[i], ':'); /* "host:ip" here, "host=ip" in the attribute */
        if (sep != NULL && strchr(hosts.v[i], '=') == NULL)
            *sep = '=';
        buf_addf(&list, "%s%s", i == 0 ? "" : ",", hosts.v[i]);
    }
    if (list.len > 0)
        strmap_set(&b->attrs, "add-hosts", buf_str(&list));
}

static struct error *exporter_query(const struct api_request *r, struct build_query *b)
{
    const char *key, *type;
    json_t *j, *v;

    TRY(json_query(r, "outputs", &j));
    if (json_array_size(j) > 1) {
        json_decref(j);
        return err_new(ERR_INVALID, "multiple outputs not supported");
    }
    type = json_string_value(json_object_get(json_array_get(j, 0), "Type"));
    b->exporter = xstrdup(type == NULL || type[0] == '\0' ? "moby" : type);
    json_object_foreach(json_object_get(json_array_get(j, 0), "Attrs"), key, v)
    {
        if (json_is_string(v))
            strmap_set(&b->exporter_attrs, key, json_string_value(v));
    }
    json_decref(j);
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

struct error *build_query_parse(struct api_request *r, struct build_query *b)
{
    const char *file = api_query(r, "dockerfile"), *pull = api_query(r, "pull");

    strmap_init(&b->attrs);
    strmap_init(&b->exporter_attrs);
    http_params_all(&r->http->request->query, "t", &b->tags);
    b->quiet = api_query_bool(r, "q", false);
    copy_query(r, "target", "target", b);
    if (file != NULL && file[0] != '\0' && !streq(file, "."))
        strmap_set(&b->attrs, "filename", file);
    copy_query(r, "platform", "platform", b);
    copy_query(r, "shmsize", "shm-size", b);
    copy_query(r, "cgroupparent", "cgroup-parent", b);
    if (api_query_bool(r, "nocache", false))
        strmap_set(&b->attrs, "no-cache", "");
    strmap_set(&b->attrs, "image-resolve-mode",
               pull != NULL && pull[0] != '\0' && !streq(pull, "0") ? "pull" : "default");
    TRY(map_query(r, "buildargs", "build-arg:", b));
    TRY(map_query(r, "labels", "label:", b));
    TRY(cache_query(r, b));
    TRY(ulimit_query(r, b));
    TRY(network_query(r, b));
    hosts_query(r, b);
    TRY(exporter_query(r, b));
    return context_query(r, b);
}
