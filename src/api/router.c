/* SPDX-License-Identifier: Apache-2.0 */
/* router.c - from a request to its handler: version, pattern, common headers */
#include "api/router.h"

#include "base/limits.h"
#include "base/log.h"
#include "engine/engine.h"

#include <ctype.h>

static const struct route_table *const tables[] = {
    &system_routes, &build_routes,   &image_routes,  &container_routes, &exec_routes,
    &files_routes,  &network_routes, &volume_routes, &plugin_routes,
};

/* ---- versions
 * --------------------------------------------------------------------------------------------------------------
 */

/* The minor number, as if there were one major; -1 when it makes no sense.  "0.9" is older, "2.0" newer than
 * all. */
static int minor_of(const char *version)
{
    const char *dot = strchr(version, '.');
    CLEANUP(freep) char *major = xstrndup(version, dot != NULL ? (size_t)(dot - version) : 0);
    uint64_t major_number, n;

    if (dot == NULL || parse_u64(major, &major_number) < 0 || parse_u64(dot + 1, &n) < 0 || n >= 100000)
        return -1;
    return major_number == 0 ? 0 : major_number > 1 ? 100000 : (int)n;
}

/* "/v1.50/images/json": *ret_rest points at "/images/json", *ret_version is a malloc'd "1.50"; a bare path
 * has no version. */
static void split_version(const char *path, char **ret_version, const char **ret_rest)
{
    const char *p = path + 2;

    *ret_rest = path;
    *ret_version = NULL;
    if (path[0] != '/' || path[1] != 'v' || !isdigit((unsigned char)path[2]))
        return;
    while (isdigit((unsigned char)*p) || *p == '.')
        p++;
    if (*p != '/')
        return;
    *ret_version = xstrndup(path + 2, (size_t)(p - path - 2));
    *ret_rest = p;
}

bool api_is_ping(const char *path)
{
    CLEANUP(freep) char *version = NULL;
    const char *rest;

    split_version(path, &version, &rest);
    return streq(rest, "/_ping");
}

static struct error *check_version(const char *version, int *ret_minor)
{
    int minor = minor_of(version);

    if (minor < 0)
        return err_new(ERR_INVALID, "invalid API version %s", version);
    if (minor > minor_of(API_VERSION_MAX))
        return err_new(ERR_INVALID, "client version %s is too new. Maximum supported API version is %s",
                       version, API_VERSION_MAX);
    if (minor < minor_of(API_VERSION_MIN))
        return err_new(ERR_INVALID,
                       "client version %s is too old. Minimum supported API version is %s, please upgrade "
                       "your client to a "
                       "newer version",
                       version, API_VERSION_MIN);
    *ret_minor = minor;
    return NULL;
}

/* ---- patterns
 * ----------------------------------------------------------------------------------------------------------------
 */

static bool is_param(const char *segment)
{
    return segment[0] == '{';
}

static void bind(struct http_params *params, const char *segment, const struct strv *path, size_t from,
                 size_t count)
{
    size_t len = strlen(segment) - 2;
    bool many = str_has_suffix(segment, "...}");
    CLEANUP(freep) char *name = xstrndup(segment + 1, many ? len - 3 : len);
    CLEANUP(buf_deinit) struct buf value = { 0 };

    for (size_t i = 0; i < count; i++)
        buf_addf(&value, "%s%s", i == 0 ? "" : "/", path->v[from + i]);
    http_params_add(params, name, buf_str(&value));
}

static bool match(const char *pattern, const struct strv *path, struct http_params *params)
{
    CLEANUP(strv_deinit) struct strv want = { 0 };
    size_t at = 0;

    strv_split(&want, pattern + 1, '/');
    if (path->len < want.len)
        return false;
    for (size_t i = 0; i < want.len; i++) {
        size_t count = str_has_suffix(want.v[i], "...}") ? path->len - want.len + 1 : 1;
        if (at + count > path->len || (!is_param(want.v[i]) && !streq(want.v[i], path->v[at])))
            return false;
        if (is_param(want.v[i]) && path->v[at][0] == '\0')
            return false;
        if (is_param(want.v[i]))
            bind(params, want.v[i], path, at, count);
        at += count;
    }
    return at == path->len;
}

/* The route for method and path; `*ret_other` tells that the path exists under another method. */
static const struct route *find(const char *method, const struct strv *path, struct http_params *params,
                                bool *ret_other)
{
    *ret_other = false;
    for (size_t t = 0; t < ARRAY_LEN(tables); t++) {
        for (size_t i = 0; i < tables[t]->count; i++) {
            const struct route *r = &tables[t]->routes[i];
            struct http_params found = { 0 };
            bool method_ok = streq(r->method, method) || (r->head && streq(method, "HEAD"));
            if (!match(r->pattern, path, &found)) {
                http_params_deinit(&found);
                continue;
            }
            if (method_ok) {
                *params = found;
                return r;
            }
            *ret_other = true;
            http_params_deinit(&found);
        }
    }
    return NULL;
}

/* ---- the handler
 * ---------------------------------------------------------------------------------------------------------------
 */

static void common_headers(struct http_exchange *x, const struct engine *e)
{
    CLEANUP(freep) char *server = xasprintf("Docker/%s (linux)", e->config->server_version);

    http_set_header(x, "Api-Version", API_VERSION_MAX);
    http_set_header(x, "Docker-Experimental", e->config->experimental ? "true" : "false");
    http_set_header(x, "Ostype", "linux");
    http_set_header(x, "Server", server);
}

static struct error *dispatch(struct api_request *r, const char *rest, const char *version)
{
    CLEANUP(strv_deinit) struct strv segments = { 0 };
    const struct route *route;
    bool other;

    r->version = minor_of(API_VERSION_MAX);
    strv_split(&segments, rest[0] == '/' ? rest + 1 : rest, '/');
    route = find(r->http->request->method, &segments, &r->params, &other);
    if (route == NULL)
        return err_new(ERR_NOT_FOUND, "page not found");
    if (version != NULL)
        TRY(check_version(version, &r->version));
    return route->fn(r);
}

struct error *api_handle(struct http_exchange *x, void *engine)
{
    struct api_request r = { .http = x, .engine = engine };
    CLEANUP(freep) char *version = NULL;
    const char *rest;
    struct error *e;

    common_headers(x, engine);
    split_version(x->request->path, &version, &rest);
    e = dispatch(&r, rest, version);
    if (e != NULL && log_enabled(LOG_DEBUG))
        log_debug("request failed", "method", x->request->method, "path", x->request->path, "error",
                  e->message);
    http_params_deinit(&r.params);
    return e;
}
