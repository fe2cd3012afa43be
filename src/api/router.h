/* SPDX-License-Identifier: Apache-2.0 */
/*
 * router.h - routes of the Engine API: one table per tag (system.c, images.c, containers.c, build.c ...)
 *
 * A route is a method and a pattern below an optional /vX.Y prefix: "/images/{name...}/json" - "{x}" is one
 * segment, "{x...}" one or more.  Handlers are thin: decode, call the engine, encode.  The error they return
 * becomes {"message": ...} with its kind's status. Version checks, common headers (Api-Version, Ostype,
 * Server, Docker-Experimental) and the 404 "page not found" are done here.
 */
#ifndef MINKE_API_ROUTER_H
#define MINKE_API_ROUTER_H

#include "base/base.h"
#include "base/error.h"
#include "wire/http1.h"

#include <jansson.h>

struct engine;

#define API_VERSION_MAX "1.56"
#define API_VERSION_MIN "1.24"

struct api_request {
    struct http_exchange *http;
    struct engine *engine;
    int version; /* minor of the request's API version: 56 for v1.56 and for unversioned paths */
    struct http_params params; /* of the pattern, decoded */
};

struct route {
    const char *method; /* "GET"; HEAD is served by GET routes marked head */
    const char *pattern;
    struct error *(*fn)(struct api_request *r);
    bool head;
};

struct route_table {
    const struct route *routes;
    size_t count;
};
/* Tables of this room; each ends up in the router. */
extern const struct route_table system_routes, image_routes, container_routes, exec_routes, files_routes,
    build_routes, network_routes, volume_routes, plugin_routes;

/* http_serve's handler; ctx is the engine. */
struct error *api_handle(struct http_exchange *x, void *engine);
/* The one path that is answered by an engine that is not open yet. */
bool api_is_ping(const char *path);

/* ---- decoding
 * -------------------------------------------------------------------------------------------------------------
 */

const char *api_param(const struct api_request *r,
                      const char *name); /* of the pattern; never NULL for names it has */
const char *api_query(const struct api_request *r, const char *name); /* first value, or NULL */
/* moby's BoolValue: absent, "", "0", "no", "false", "none" are false; all else is true. */
bool api_query_bool(const struct api_request *r, const char *name, bool absent);
/* ERR_INVALID names the parameter. Absent or "": `absent`. */
struct error *api_query_int(const struct api_request *r, const char *name, int64_t absent,
                            int64_t *ret) MUST_CHECK;
/* JSON body of at most LIMIT_HTTP_JSON_BODY; an empty body gives an empty object.  *ret is a new reference.
 */
struct error *api_body_json(struct api_request *r, json_t **ret) MUST_CHECK;
/* `filters` query: {"k":["v"]} or the old {"k":{"v":true}}; "" is none.  Keys outside `allowed`
 * (NULL-terminated): ERR_INVALID "invalid filter 'foo'".  Zeroed is empty. */
struct api_filters {
    struct map keys; /* key -> struct strv * */
};
struct error *api_query_filters(const struct api_request *r, const char *const *allowed,
                                struct api_filters *ret) MUST_CHECK;
void api_filters_deinit(struct api_filters *f);
const struct strv *api_filter(const struct api_filters *f, const char *key); /* NULL when absent */
/* jansson's json_loadb for a client's text, bounded in depth (LIMIT_JSON_DEPTH); NULL with `why` filled. */
json_t *api_json_load(const char *text, size_t len, size_t flags, json_error_t *why);
/* X-Registry-Auth style header: base64url JSON; NULL object when absent. */
struct error *api_auth_header(const struct api_request *r, const char *header, json_t **ret) MUST_CHECK;

/* ---- encoding
 * -------------------------------------------------------------------------------------------------------------
 */

/* Takes `j`. Compact JSON and a line feed, as Go's encoder writes. */
struct error *api_reply_json(struct api_request *r, int status, json_t *j) MUST_CHECK;
struct error *api_reply_empty(struct api_request *r, int status) MUST_CHECK;
/* One line of a progress stream, `j` is taken: compact JSON, CR LF. */
struct error *api_write_json_line(struct api_request *r, json_t *j) MUST_CHECK;
/* The end of a handler that may have begun a progress stream: an error is a line of it then. Takes `e`. */
struct error *api_stream_error(struct api_request *r, struct error *e) MUST_CHECK;
/* Shape helpers. New references. */
json_t *api_json_strmap(const struct map *m); /* {} when empty */

#endif
