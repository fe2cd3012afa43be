/* SPDX-License-Identifier: Apache-2.0 */
/* exec.c - /containers/{name}/exec and /exec */
#include "api/router.h"

#include "container/exec.h"
#include "engine/engine.h"

#include <errno.h>

static struct error *find(struct api_request *r, struct exec **ret)
{
    return exec_find(r->engine->containers, api_param(r, "id"), ret);
}

static struct error *create(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    CLEANUP(json_decrefp) json_t *body = NULL;
    CLEANUP(freep) char *id = NULL;

    TRY(api_body_json(r, &body));
    TRY(container_find(r->engine->containers, api_param(r, "name"), &ct));
    TRY(exec_create(ct, body, r->version, &id));
    return api_reply_json(r, 201, json_pack("{s:s}", "Id", id));
}

static void console_size(const json_t *body, struct exec_start_options *o)
{
    const json_t *size = json_object_get(body, "ConsoleSize");

    o->height = (unsigned)json_integer_value(json_array_get(size, 0));
    o->width = (unsigned)json_integer_value(json_array_get(size, 1));
}

static struct error *start_attached(struct api_request *r, struct exec *x, struct exec_start_options *o)
{
    CLEANUP(stream_closep) struct stream *conn = NULL;
    bool upgrade = http_header(r->http->request, "upgrade") != NULL;
    bool named = upgrade && !o->raw && r->version >= 42;

    http_set_header(r->http, "Content-Type",
                    named ? "application/vnd.docker.multiplexed-stream"
                          : "application/vnd.docker.raw-stream");
    TRY(http_hijack(r->http, upgrade ? "tcp" : NULL, &conn));
    o->conn = conn;
    struct error *e = exec_start(x, o);
    if (e == NULL)
        (void)stream_shut(conn);
    return e;
}

static struct error *start(struct api_request *r)
{
    CLEANUP(exec_unrefp) struct exec *x = NULL;
    CLEANUP(json_decrefp) json_t *body = NULL;
    struct exec_start_options o = { 0 };

    TRY(api_body_json(r, &body));
    TRY(find(r, &x));
    TRY(exec_start_check(x));
    o.raw = json_is_true(json_object_get(body, "Tty"));
    if (r->version >= 42 && exec_has_tty(x))
        console_size(body, &o);
    if (!json_is_true(json_object_get(body, "Detach")))
        return start_attached(r, x, &o);
    TRY(exec_start(x, &o));
    return api_reply_empty(r, 200);
}

static struct error *size_query(struct api_request *r, const char *name, const char *what, unsigned *ret)
{
    const char *text = api_query(r, name);
    uint64_t n;

    const char *digits = text != NULL && *text == '-' ? text + 1 : text;
    int bad = digits == NULL ? -EINVAL : parse_u64(digits, &n);

    if (bad == 0 && (digits != text || n > UINT32_MAX))
        bad = -ERANGE;
    if (bad != 0)
        return err_new(ERR_INVALID, "invalid resize %s \"%s\": %s", what, text != NULL ? text : "",
                       bad == -ERANGE ? "value out of range" : "invalid syntax");
    *ret = (unsigned)n;
    return NULL;
}

static struct error *resize(struct api_request *r)
{
    CLEANUP(exec_unrefp) struct exec *x = NULL;
    unsigned width, height;

    TRY(size_query(r, "h", "height", &height));
    TRY(size_query(r, "w", "width", &width));
    TRY(find(r, &x));
    TRY(exec_resize(x, width, height));
    return api_reply_empty(r, 200);
}

static struct error *inspect(struct api_request *r)
{
    CLEANUP(exec_unrefp) struct exec *x = NULL;

    TRY(find(r, &x));
    return api_reply_json(r, 200, exec_inspect(x));
}

static const struct route exec_route_list[] = {
    { "POST", "/containers/{name}/exec", create, false },
    { "GET", "/exec/{id}/json", inspect, false },
    { "POST", "/exec/{id}/start", start, false },
    { "POST", "/exec/{id}/resize", resize, false },
};
const struct route_table exec_routes = { exec_route_list, ARRAY_LEN(exec_route_list) };
