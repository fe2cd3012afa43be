/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc_client.c - calls to the peer, and what its answers mean
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "task/task.h"
#include "wire/grpc_impl.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>

struct rpc_conn {
    struct h2_conn *h2;
};

/* ---- connection
 * -------------------------------------------------------------------------------------------------------- */

struct error *rpc_connect(struct stream *s, struct rpc_conn **ret)
{
    struct h2_conn *h2;

    TRY(h2_connect(s, &h2));
    struct rpc_conn *c = NEW(struct rpc_conn);

    c->h2 = h2;
    *ret = c;
    return NULL;
}

void rpc_conn_close(struct rpc_conn *c)
{
    if (c == NULL)
        return;
    h2_close(c->h2);
    free(c);
}

void rpc_conn_closep(struct rpc_conn **c)
{
    rpc_conn_close(TAKE(*c));
}

struct error *rpc_conn_wait(struct rpc_conn *c)
{
    int r = h2_wait_closed(c->h2);

    return r < 0 ? task_error(r, "wait for the connection's end") : NULL;
}

bool rpc_conn_closed(struct rpc_conn *c)
{
    return h2_is_closed(c->h2);
}

void rpc_conn_abort(struct rpc_conn *c)
{
    h2_abort(c->h2);
}

/* ---- call
 * --------------------------------------------------------------------------------------------------------------
 */

static void add_timeout(struct h2_fields *fields)
{
    int64_t left_ns = task_deadline_left();
    char text[32];

    if (left_ns == INT64_MAX)
        return;
    int64_t n = MAX(left_ns, INT64_C(0)) / NS_PER_MS + 1;

    if (n <= 99999999)
        snprintf(text, sizeof(text), "%lldm", (long long)n);
    else
        snprintf(text, sizeof(text), "%lldS", (long long)MIN(n / 1000 + 1, INT64_C(99999999)));
    h2_fields_add(fields, "grpc-timeout", text);
}

struct error *rpc_call_open(struct rpc_conn *conn, const char *path, const struct rpc_md *md,
                            struct rpc_call **ret)
{
    CLEANUP(h2_fields_deinit) struct h2_fields fields = { 0 };
    struct h2_stream *s;

    TRY(task_check());
    h2_fields_add(&fields, ":method", "POST");
    h2_fields_add(&fields, ":scheme", "http");
    h2_fields_add(&fields, ":path", path);
    h2_fields_add(&fields, ":authority", "localhost");
    h2_fields_add(&fields, "content-type", "application/grpc");
    h2_fields_add(&fields, "user-agent", "minke");
    h2_fields_add(&fields, "te", "trailers");
    add_timeout(&fields);
    if (md != NULL)
        rpc_md_to_fields(md, &fields);
    if (h2_open(conn->h2, &fields, false, &s) < 0)
        return err_new(ERR_UNAVAILABLE, "call %s: the connection is closed", path);
    struct rpc_call *c = NEW(struct rpc_call);

    c->h2 = s;
    c->path = xstrdup(path);
    *ret = c;
    return NULL;
}

static enum error_kind kind_from_http(const char *status)
{
    static const struct {
        char status[4];
        enum error_kind kind;
    } table[] = {
        { "400", ERR_INTERNAL },      { "401", ERR_UNAUTHORIZED }, { "403", ERR_FORBIDDEN },
        { "404", ERR_UNIMPLEMENTED }, { "429", ERR_UNAVAILABLE },  { "502", ERR_UNAVAILABLE },
        { "503", ERR_UNAVAILABLE },   { "504", ERR_UNAVAILABLE },
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (streq(table[i].status, status))
            return table[i].kind;
    return ERR_UNKNOWN;
}

struct error *rpc_open_input(struct rpc_call *c, bool *ret_data)
{
    const struct h2_fields *fields;

    *ret_data = true;
    if (c->server)
        return NULL;
    int r = h2_stream_headers(c->h2, &fields);

    if (r < 0)
        return rpc_stream_error(c, r, "receive");
    if (h2_fields_get(fields, "grpc-status") != NULL && h2_stream_headers_end(c->h2)) {
        *ret_data = false;
        return NULL;
    }
    const char *status = h2_fields_get(fields, ":status"), *type = h2_fields_get(fields, "content-type");

    if (status == NULL || !streq(status, "200"))
        return err_new(kind_from_http(status != NULL ? status : ""),
                       "unexpected HTTP status code received from server: %s",
                       status != NULL ? status : "none");
    if (type == NULL || !str_has_prefix(type, "application/grpc"))
        return err_new(ERR_UNKNOWN, "transport: received unexpected content-type \"%s\"",
                       type != NULL ? type : "");
    return NULL;
}

struct error *rpc_take_status(struct rpc_call *c)
{
    const struct h2_fields *headers, *trailers = h2_stream_trailers(c->h2);

    if (c->finished)
        return err_clone(c->status);
    if (trailers == NULL) {
        int r = h2_stream_headers(c->h2, &headers);

        if (r < 0)
            return rpc_stream_error(c, r, "receive");
        if (h2_fields_get(headers, "grpc-status") != NULL)
            trailers = headers;
    }
    c->finished = true;
    c->status = trailers != NULL ? rpc_status_from_fields(trailers)
                                 : err_new(ERR_INTERNAL, "server closed the stream without sending trailers");
    return err_clone(c->status);
}

struct error *rpc_close_send(struct rpc_call *c)
{
    int r = h2_stream_end(c->h2, NULL);

    return r < 0 && r != -EPIPE && r != -ECONNRESET ? rpc_stream_error(c, r, "send") : NULL;
}

struct error *rpc_finish(struct rpc_call *c)
{
    char drop[4096];
    bool data;
    ssize_t n = 0;

    if (c->finished)
        return err_clone(c->status);
    TRY(rpc_open_input(c, &data));
    while (data && !c->in_ended && (n = h2_stream_read(c->h2, drop, sizeof(drop))) > 0)
        ;
    if (n < 0)
        return rpc_stream_error(c, (int)n, "receive");
    c->in_ended = true;
    return rpc_take_status(c);
}

void rpc_call_free(struct rpc_call *c)
{
    if (c == NULL)
        return;
    h2_stream_free(c->h2);
    rpc_call_deinit(c);
    free(c);
}

void rpc_call_freep(struct rpc_call **c)
{
    rpc_call_free(TAKE(*c));
}

struct error *rpc_unary_any(struct rpc_conn *conn, const char *path, const struct rpc_md *md,
                            const ProtobufCMessage *request, const ProtobufCMessageDescriptor *desc,
                            struct pb_arena *a, void **ret)
{
    CLEANUP(rpc_call_freep) struct rpc_call *c = NULL;
    void *m = NULL;

    TRY(rpc_call_open(conn, path, md, &c));
    assert(c != NULL);
    struct error *e = rpc_send(c, request);

    if (err_is(e, ERR_UNAVAILABLE) && streq(e->message, "EOF"))
        err_freep(&e); /* answered before it was asked: the status says why */
    if (e != NULL)
        return e;
    TRY(rpc_close_send(c));
    TRY(rpc_recv_one_any(c, desc, a, &m));
    TRY(rpc_finish(c));
    *ret = m;
    return NULL;
}
