/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc_server.c - from a request's header block to a method, and from what the method returns to the trailers
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "task/task.h"
#include "wire/grpc_impl.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>

/* ---- response
 * ----------------------------------------------------------------------------------------------------------
 */

static void response_fields(struct h2_fields *f)
{
    h2_fields_add(f, ":status", "200");
    h2_fields_add(f, "content-type", "application/grpc");
}

struct error *rpc_send_headers(struct rpc_call *c, const struct rpc_md *md)
{
    CLEANUP(h2_fields_deinit) struct h2_fields fields = { 0 };

    assert(c->server);
    response_fields(&fields);
    if (md != NULL)
        rpc_md_to_fields(md, &fields);
    int r = h2_stream_respond(c->h2, &fields, false);

    return r < 0 ? rpc_stream_error(c, r, "send") : NULL;
}

struct error *rpc_open_response(struct rpc_call *c)
{
    return c->server && !h2_stream_responded(c->h2) ? rpc_send_headers(c, NULL) : NULL;
}

/* The end of a call; a peer that is gone already is nobody's concern. */
static void send_status(struct h2_stream *s, const struct error *e)
{
    CLEANUP(h2_fields_deinit) struct h2_fields fields = { 0 };

    if (h2_stream_responded(s)) {
        rpc_status_to_fields(e, &fields);
        (void)!h2_stream_end(s, &fields);
        return;
    }
    response_fields(&fields);
    rpc_status_to_fields(e, &fields);
    (void)!h2_stream_respond(s, &fields, true);
}

/* ---- dispatch
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *find_method(const struct rpc_server *server, const char *path,
                                 const struct rpc_service **ret_service, const struct rpc_method **ret_method)
{
    const char *slash = path[0] == '/' ? strrchr(path + 1, '/') : NULL;

    if (slash == NULL)
        return err_new(ERR_UNIMPLEMENTED, "malformed method name: \"%s\"", path);
    CLEANUP(freep) char *service = xstrndup(path + 1, (size_t)(slash - path - 1));

    for (size_t i = 0; i < server->service_count; i++) {
        const struct rpc_service *s = server->services[i];

        if (!streq(s->name, service))
            continue;
        for (size_t j = 0; j < s->method_count; j++)
            if (streq(s->methods[j].name, slash + 1)) {
                *ret_service = s;
                *ret_method = &s->methods[j];
                return NULL;
            }
        return err_new(ERR_UNIMPLEMENTED, "unknown method %s for service %s", slash + 1, service);
    }
    return err_new(ERR_UNIMPLEMENTED, "unknown service %s", service);
}

static struct error *call_method(struct rpc_call *c, const struct rpc_server *server,
                                 const struct h2_fields *fields)
{
    const char *encoding = h2_fields_get(fields, "grpc-encoding"),
               *timeout = h2_fields_get(fields, "grpc-timeout");
    const struct rpc_service *service = NULL;
    const struct rpc_method *method = NULL;
    struct deadline deadline;
    int64_t timeout_ns = 0;

    if (encoding != NULL && !streq(encoding, "identity"))
        return err_new(ERR_UNIMPLEMENTED, "grpc: Decompressor is not installed for grpc-encoding \"%s\"",
                       encoding);
    if (timeout != NULL && rpc_parse_timeout(timeout, &timeout_ns) < 0)
        return err_new(ERR_INTERNAL, "malformed grpc-timeout: \"%s\"", timeout);
    TRY(find_method(server, c->path, &service, &method));
    assert(service != NULL && method != NULL);
    task_waiting(c->path);
    if (timeout != NULL)
        deadline_begin(&deadline, timeout_ns);
    struct error *e = method->fn(c, service->ctx);

    if (timeout != NULL)
        deadline_end(&deadline);
    if (e != NULL && service->plain_errors && e->kind != ERR_CANCELLED && e->kind != ERR_DEADLINE)
        e->kind = ERR_UNKNOWN;
    return e;
}

/* Not gRPC at all: an HTTP answer. True when one was given. */
static bool refuse_foreign(struct h2_stream *s, const struct h2_fields *request)
{
    CLEANUP(h2_fields_deinit) struct h2_fields fields = { 0 };
    const char *type = h2_fields_get(request, "content-type"), *method = h2_fields_get(request, ":method");
    CLEANUP(err_freep) struct error *e = NULL;

    if (method == NULL || !streq(method, "POST")) {
        h2_fields_add(&fields, ":status", "405");
        e = err_new(ERR_INTERNAL, "Received a HEADERS frame with :method \"%s\" which should be POST",
                    method != NULL ? method : "");
    } else if (type == NULL || !str_has_prefix(type, "application/grpc")) {
        h2_fields_add(&fields, ":status", "415");
        e = err_new(ERR_INTERNAL, "invalid gRPC request content-type \"%s\"", type != NULL ? type : "");
    } else {
        return false;
    }
    h2_fields_add(&fields, "content-type", "application/grpc");
    rpc_status_to_fields(e, &fields);
    (void)!h2_stream_respond(s, &fields, true);
    return true;
}

static void handle(struct h2_stream *s, void *ctx)
{
    const struct rpc_server *server = ctx;
    const struct h2_fields *fields;
    struct rpc_call call = { .h2 = s, .server = true, .have_md = true };

    if (h2_stream_headers(s, &fields) < 0 || refuse_foreign(s, fields))
        return;
    const char *path = h2_fields_get(fields, ":path");

    call.path = xstrdup(path != NULL ? path : "");
    rpc_md_from_fields(&call.md, fields);
    struct error *e = call_method(&call, server, fields);

    if (e != NULL && log_enabled(LOG_DEBUG))
        log_debug("call failed", "method", call.path, "error", e->message);
    send_status(s, e);
    err_free(e);
    rpc_call_deinit(&call);
}

struct error *rpc_serve_stream(const struct rpc_server *server, struct stream *s)
{
    return h2_serve(s, handle, (void *)server);
}
