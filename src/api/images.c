/* SPDX-License-Identifier: Apache-2.0 */
/* images.c - /images and /system/df */
#include "api/router.h"

#include "base/limits.h"
#include "engine/changes.h"
#include "engine/containers.h"
#include "engine/engine.h"
#include "engine/images.h"
#include "oci/gojson.h"
#include "oci/reference.h"

/* ---- decoding
 * ------------------------------------------------------------------------------------------------------------------
 */

/* platform= as an OCI platform object (inspect, history, load, save): protocol.md trap 19. */
static struct error *platform_json_query(const struct api_request *r, const char *name, struct platform *ret)
{
    const char *text = api_query(r, name);
    json_error_t why;
    struct error *e;
    json_t *j;

    if (text == NULL || text[0] == '\0' || r->version < 48)
        return NULL;
    j = api_json_load(text, strlen(text), 0, &why);
    if (!json_is_object(j)) {
        json_decref(j);
        return err_new(ERR_INVALID, "failed to parse platform: %s", text);
    }
    e = platform_from_json(j, ret);
    if (e == NULL &&
        (ret->os == NULL || ret->os[0] == '\0' || ret->architecture == NULL || ret->architecture[0] == '\0'))
        e = err_new(ERR_INVALID, "both OS and Architecture must be provided");
    json_decref(j);
    return e;
}

static const struct platform *or_null(const struct platform *p)
{
    return platform_is_set(p) ? p : NULL;
}

/* A filter that is yes or no: one value, as Go reads booleans; or, as old clients do, all that say the same.
 */
static struct error *check_bool_filter(const struct api_filters *f, const char *key)
{
    const struct strv *values = api_filter(f, key);
    bool value;

    for (size_t i = 0; values != NULL && i < values->len; i++)
        if (parse_bool(values->v[i], &value) < 0) {
            CLEANUP(freep) char *all = strv_join(values, " ");

            return err_new(ERR_INVALID, "invalid filter '%s=[%s]'", key, all);
        }
    return NULL;
}

static struct error *image_filters_from(const struct api_filters *f, struct image_filters *ret)
{
    TRY(check_bool_filter(f, "dangling"));
    *ret = (struct image_filters){
        .dangling = api_filter(f, "dangling"),
        .label = api_filter(f, "label"),
        .label_not = api_filter(f, "label!"),
        .before = api_filter(f, "before"),
        .since = api_filter(f, "since"),
        .reference = api_filter(f, "reference"),
        .until = api_filter(f, "until"),
    };
    return NULL;
}

/* ---- reading
 * ----------------------------------------------------------------------------------------------------------------------
 */

static struct error *list(struct api_request *r)
{
    static const char *const allowed[] = { "before",    "dangling", "label", "label!",
                                           "reference", "since",    "until", NULL };
    CLEANUP(api_filters_deinit) struct api_filters f = { 0 };
    struct image_filters filters;
    json_t *j;

    TRY(api_query_filters(r, allowed, &f));
    TRY(image_filters_from(&f, &filters));
    struct image_list_options o = { .all = api_query_bool(r, "all", false),
                                    .manifests = api_query_bool(r, "manifests", false),
                                    .shared_size = api_query_bool(r, "shared-size", false),
                                    .version = r->version };
    TRY(images_list(r->engine, &filters, &o, &j));
    return api_reply_json(r, 200, j);
}

static struct error *inspect(struct api_request *r)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };
    bool manifests = r->version >= 48 && api_query_bool(r, "manifests", false);
    json_t *j;

    if (r->version >= 49)
        TRY(platform_json_query(r, "platform", &p));
    if (manifests && platform_is_set(&p))
        return err_new(ERR_INVALID, "conflicting options: manifests and platform options cannot both be set");
    TRY(images_inspect(r->engine, api_param(r, "name"), or_null(&p), manifests, r->version, &j));
    return api_reply_json(r, 200, j);
}

static struct error *history(struct api_request *r)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };
    json_t *j;

    TRY(platform_json_query(r, "platform", &p));
    TRY(images_history(r->engine, api_param(r, "name"), or_null(&p), &j));
    return api_reply_json(r, 200, j);
}

static struct error *attestations(struct api_request *r)
{
    CLEANUP(strv_deinit) struct strv platforms = { 0 }, given = { 0 }, types = { 0 };
    CLEANUP(platform_deinit) struct platform p = { 0 };
    struct image_attestation_options o = { .types = &types,
                                           .statements = api_query_bool(r, "statement", false) };
    json_t *j;

    if (r->version < 55)
        return err_new(ERR_INVALID, "GET /images/{name:.*}/attestations requires minimum API version 1.55");
    http_params_all(&r->http->request->query, "platform", &platforms);
    if (platforms.len > 1)
        return err_new(ERR_INVALID, "only one platform value is currently supported");
    TRY(platform_json_query(r, "platform", &p));
    http_params_all(&r->http->request->query, "type", &given);
    for (size_t i = 0; i < given.len; i++)
        if (given.v[i][strspn(given.v[i], " ")] != '\0')
            strv_add(&types, given.v[i]);
    o.platform = or_null(&p);
    TRY(images_attestations(r->engine, api_param(r, "name"), &o, &j));
    return api_reply_json(r, 200, j);
}

/* ---- changing
 * -----------------------------------------------------------------------------------------------------------------------
 */

static struct error *tag(struct api_request *r)
{
    const char *repo = api_query(r, "repo");

    if (repo == NULL || repo[0] == '\0')
        return err_new(ERR_INVALID, "invalid reference format");
    TRY(images_tag(r->engine, api_param(r, "name"), repo, api_query(r, "tag")));
    return api_reply_empty(r, 201);
}

static struct error *delete (struct api_request *r)
{
    json_t *j;

    if (api_query(r, "platforms") != NULL)
        return err_new(ERR_UNIMPLEMENTED, "deleting single platforms of an image is not supported yet");
    TRY(images_delete(r->engine, api_param(r, "name"), api_query_bool(r, "force", false),
                      !api_query_bool(r, "noprune", false), &j));
    engine_settle(r->engine);
    return api_reply_json(r, 200, j);
}

static struct error *prune(struct api_request *r)
{
    static const char *const allowed[] = { "dangling", "label", "label!", "until", NULL };
    CLEANUP(api_filters_deinit) struct api_filters f = { 0 };
    struct image_filters filters;
    const struct strv *dangling;
    bool only_dangling = true;
    int64_t bytes;
    json_t *j;

    TRY(api_query_filters(r, allowed, &f));
    TRY(image_filters_from(&f, &filters));
    dangling = filters.dangling;
    filters.dangling = NULL;
    if (dangling != NULL && (strv_has(dangling, "false") || strv_has(dangling, "0")))
        only_dangling = false;
    TRY(images_prune(r->engine, only_dangling, &filters, &j, &bytes));
    engine_settle(r->engine);
    if (json_array_size(j) == 0) {
        json_decref(j);
        j = json_null();
    }
    return api_reply_json(r, 200,
                          json_pack("{s:o, s:I}", "ImagesDeleted", j, "SpaceReclaimed", (json_int_t)bytes));
}

/* ---- moving
 * ---------------------------------------------------------------------------------------------------------------------------
 */

static struct error *write_line(void *ctx, json_t *j)
{
    return api_write_json_line(ctx, j);
}

static struct error *pull(struct api_request *r, const char *image)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };
    const char *platform = api_query(r, "platform"), *tag_name = api_query(r, "tag");
    struct image_progress progress = { .line = write_line, .ctx = r };
    CLEANUP(freep) char *ref = NULL;
    struct error *e;
    json_t *auth;

    if (platform != NULL && platform[0] != '\0')
        TRY(platform_parse(platform, &p)); /* a plain string here: protocol.md trap 19 */
    if (tag_name != NULL && tag_name[0] != '\0')
        ref = xasprintf(strchr(tag_name, ':') != NULL ? "%s@%s" : "%s:%s", image, tag_name);
    else
        ref = xstrdup(image);
    TRY(api_auth_header(r, "x-registry-auth", &auth));
    e = images_pull(r->engine, ref, or_null(&p), auth, &progress);
    json_decref(auth);
    engine_settle(r->engine);
    return api_stream_error(r, e);
}

static struct error *push(struct api_request *r)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };
    struct image_progress progress = { .line = write_line, .ctx = r };
    struct error *e;
    json_t *auth;

    if (r->version >= 46)
        TRY(platform_json_query(r, "platform", &p));
    TRY(api_auth_header(r, "x-registry-auth", &auth));
    e = images_push(r->engine, api_param(r, "name"), api_query(r, "tag"), or_null(&p), auth, &progress);
    json_decref(auth);
    engine_settle(r->engine);
    return api_stream_error(r, e);
}

static struct error *import(struct api_request *r)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };
    CLEANUP(strv_deinit) struct strv changes = { 0 };
    const char *platform = api_query(r, "platform"), *repo = api_query(r, "repo"),
               *tag_name = api_query(r, "tag");
    const char *message = api_query(r, "message");
    CLEANUP(freep) char *ref = NULL;
    json_t *config = json_object();
    struct digest d;
    struct error *e;

    if (platform != NULL && platform[0] != '\0')
        TRY(platform_parse(platform, &p));
    http_params_all(&r->http->request->query, "changes", &changes);
    if (repo != NULL && repo[0] != '\0')
        ref = tag_name != NULL && tag_name[0] != '\0' ? xasprintf("%s:%s", repo, tag_name) : xstrdup(repo);
    e = changes_apply(config, &changes);
    if (e == NULL)
        e = images_import(r->engine, r->http->body, ref,
                          message == NULL || message[0] == '\0' ? "Imported from -" : message, or_null(&p),
                          config, &d);
    json_decref(config);
    TRY(e);
    engine_settle(r->engine);
    return api_write_json_line(r, json_pack("{s:s}", "status", d.s));
}

static struct error *create(struct api_request *r)
{
    const char *image = api_query(r, "fromImage"), *src = api_query(r, "fromSrc");

    if (image != NULL && image[0] != '\0')
        return pull(r, image);
    if (src == NULL || src[0] == '\0')
        return err_new(ERR_INVALID, "fromImage or fromSrc is required");
    if (!streq(src, "-"))
        return err_new(ERR_UNIMPLEMENTED, "importing from a URL is not supported yet");
    return import(r);
}

static struct error *load(struct api_request *r)
{
    struct image_progress progress = { .line = write_line, .ctx = r };
    bool quiet = api_query_bool(r, "quiet", true);
    struct error *e = images_load(r->engine, r->http->body, quiet, &progress);

    engine_settle(r->engine);
    return api_stream_error(r, e);
}

static struct error *save_names(struct api_request *r, const struct strv *names)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };

    TRY(platform_json_query(r, "platform", &p));
    if (names->len == 0)
        return err_new(ERR_INVALID, "no image names were given");
    for (size_t i = 0; i < names->len; i++) { /* a wrong name is an HTTP error, before the first byte */
        CLEANUP(image_match_deinit) struct image_match m = { 0 };
        TRY(images_find(r->engine, names->v[i], &m));
    }
    http_set_header(r->http, "Content-Type", "application/x-tar");
    TRY(http_start(r->http, 200, -1));
    return images_save(r->engine, names, or_null(&p), http_body_writer(r->http));
}

static struct error *get_many(struct api_request *r)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };

    http_params_all(&r->http->request->query, "names", &names);
    return save_names(r, &names);
}

static struct error *get_one(struct api_request *r)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };

    strv_add(&names, api_param(r, "name"));
    return save_names(r, &names);
}

static struct error *later(struct api_request *r)
{
    return err_new(ERR_UNIMPLEMENTED, "searching images is not supported yet");
}

/* ---- /system/df
 * ------------------------------------------------------------------------------------------------------------------------
 */

static json_t *cache_json(struct usage_record *u)
{
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:b, s:b, s:I, s:o, s:I}", "ID", u->id, "Type", u->type, "Description",
                  u->description, "InUse", u->in_use, "Shared", u->shared, "Size", (json_int_t)u->size,
                  "CreatedAt", go_json_time(u->created_ns), "UsageCount", (json_int_t)u->usage_count);

    if (u->parents.len > 0)
        json_object_set_new(j, " Parents",
                            strv_to_json(&u->parents)); /* the leading blank is the API's: trap 20 */
    json_object_set_new(j, "LastUsedAt", u->last_used_ns == 0 ? json_null() : go_json_time(u->last_used_ns));
    return j;
}

struct df {
    json_t *images, *containers, *cache;
    int64_t images_size, images_reclaimable, cache_size, cache_reclaimable, cache_active, images_active;
};

static struct error *df_collect(struct api_request *r, struct df *d)
{
    struct image_filters none = { 0 };
    struct usage_record *v = NULL;
    json_t *image;
    size_t n = 0, i;

    struct image_list_options o = { .manifests = r->version >= 52,
                                    .shared_size = true,
                                    .version = r->version };
    TRY(images_list(r->engine, &none, &o, &d->images));
    TRY(images_disk_size(r->engine, &d->images_size));
    json_array_foreach(d->images, i, image)
    {
        int64_t own = json_integer_value(json_object_get(image, "Size")) -
                      json_integer_value(json_object_get(image, "SharedSize"));
        bool used = json_integer_value(json_object_get(image, "Containers")) > 0;
        d->images_active += used ? 1 : 0;
        d->images_reclaimable += used ? 0 : own;
    }
    d->containers = engine_containers_usage(r->engine, r->version);
    d->cache = json_array();
    TRY(usage_list(r->engine->store, &v, &n));
    for (size_t k = 0; k < n; k++) {
        json_array_append_new(d->cache, cache_json(&v[k]));
        d->cache_size += v[k].size;
        d->cache_active += v[k].in_use ? 1 : 0;
        d->cache_reclaimable += v[k].in_use || v[k].shared ? 0 : v[k].size;
        usage_record_deinit(&v[k]);
    }
    free(v);
    return NULL;
}

static json_t *usage_json(int64_t active, size_t total, int64_t size, int64_t reclaimable, json_t *items)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:O}", "ActiveCount", (json_int_t)active, "TotalCount",
                     (json_int_t)total, "TotalSize", (json_int_t)size, "Reclaimable", (json_int_t)reclaimable,
                     "Items", items);
}

static bool df_wants(const struct strv *types, const char *type)
{
    return types->len == 0 || strv_has(types, type);
}

static struct error *df_types(const struct api_request *r, struct strv *types)
{
    static const char *const known[] = { "container", "image", "volume", "build-cache" };

    http_params_all(&r->http->request->query, "type", types);
    for (size_t i = 0; i < types->len; i++) {
        bool ok = false;
        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            ok = ok || streq(types->v[i], known[k]);
        if (!ok)
            return err_new(ERR_INVALID, "unknown object type: %s", types->v[i]);
    }
    return NULL;
}

static json_t *df_json(const struct api_request *r, const struct df *d, const struct strv *types)
{
    bool images = df_wants(types, "image"), containers = df_wants(types, "container"),
         volumes = df_wants(types, "volume"), cache = df_wants(types, "build-cache");
    json_t *j = json_object(), *none = json_array();

    if (!(r->version >= 52 && api_query_bool(r, "verbose", false))) {
        json_object_set_new(j, "LayersSize", json_integer(images ? d->images_size : 0));
        json_object_set(j, "Images", images ? d->images : json_null());
        json_object_set(j, "Containers", containers ? d->containers : json_null());
        json_object_set(j, "Volumes", volumes ? none : json_null());
        json_object_set(j, "BuildCache", cache ? d->cache : json_null());
    }
    if (r->version >= 52) {
        if (images)
            json_object_set_new(j, "ImageUsage",
                                usage_json(d->images_active, json_array_size(d->images), d->images_size,
                                           d->images_reclaimable, d->images));
        if (containers)
            json_object_set_new(j, "ContainerUsage",
                                usage_json(0, json_array_size(d->containers), 0, 0, d->containers));
        if (volumes)
            json_object_set_new(j, "VolumeUsage", usage_json(0, 0, 0, 0, none));
        if (cache)
            json_object_set_new(j, "BuildCacheUsage",
                                usage_json(d->cache_active, json_array_size(d->cache), d->cache_size,
                                           d->cache_reclaimable, d->cache));
    }
    json_decref(none);
    return j;
}

static struct error *df(struct api_request *r)
{
    CLEANUP(strv_deinit) struct strv types = { 0 };
    struct df d = { 0 };
    struct error *e;
    json_t *j = NULL;

    TRY(df_types(r, &types));
    e = df_collect(r, &d);
    if (e == NULL)
        j = df_json(r, &d, &types);
    json_decref(d.images);
    json_decref(d.containers);
    json_decref(d.cache);
    return e != NULL ? e : api_reply_json(r, 200, j);
}

static const struct route routes[] = {
    { "GET", "/images/json", list, false },
    { "GET", "/images/search", later, false },
    { "GET", "/images/get", get_many, false },
    { "POST", "/images/load", load, false },
    { "POST", "/images/create", create, false },
    { "POST", "/images/prune", prune, false },
    { "GET", "/images/{name...}/json", inspect, false },
    { "GET", "/images/{name...}/history", history, false },
    { "GET", "/images/{name...}/attestations", attestations, false },
    { "GET", "/images/{name...}/get", get_one, false },
    { "POST", "/images/{name...}/tag", tag, false },
    { "POST", "/images/{name...}/push", push, false },
    { "DELETE", "/images/{name...}", delete, false },
    { "GET", "/system/df", df, false },
};
const struct route_table image_routes = { routes, ARRAY_LEN(routes) };
