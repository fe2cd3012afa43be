/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http1.c - a connection: one request after the other
 */
#include "wire/http1.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "wire/http1_impl.h"
#include "wire/http2.h"

#include <errno.h>
#include <stdio.h>

#define LINGER_NS                                                                                            \
    (500 * NS_PER_MS) /* a refused client may still be sending: let it read the answer first                 \
                       */

/* ---- listening for the client's end
 * ------------------------------------------------------------------------------------ */

static struct error *watcher_task(void *arg)
{
    struct http_state *x = arg;
    int r = http_conn_fill(x->conn); /* a pipelined request, or the first bytes of what follows a 101: kept */

    if (r == 0 || (r < 0 && r != -ECANCELED && r != -ETIMEDOUT))
        scope_cancel(x->scope, NULL);
    return NULL;
}

void http_watch(struct http_state *x)
{
    if (x->watching || x->hijacked || x->conn->config->half_closed_stay || x->conn->in.len > x->conn->taken)
        return;
    struct error *e = group_spawn(&x->watch, "http-watch", watcher_task, x);

    x->watching = e == NULL;
    err_free(e); /* over the cap of tasks: the handler just does not hear of the client's end */
}

void http_unwatch(struct http_state *x)
{
    if (!x->watch.open)
        return;
    group_cancel(&x->watch);
    err_free(group_join(&x->watch));
    x->watching = false;
}

bool http_peer_gone(struct http_exchange *x)
{
    return scope_cancelled(CONTAINER_OF(x, struct http_state, public)->scope);
}

struct error *http_read_body(struct http_exchange *x, size_t limit, struct buf *out)
{
    int r = stream_read_all(x->body, out, limit);

    switch (r) {
    case 0:
        return NULL;
    case -EFBIG:
        return err_new(ERR_INVALID, "the request's body is larger than %zu bytes", limit);
    case -EBADMSG:
    case -EPIPE:
        return err_new(ERR_INVALID, "unexpected EOF");
    default:
        return task_error(r, "read the request's body");
    }
}

/* ---- one exchange
 * ------------------------------------------------------------------------------------------------------ */

static bool wants_close(const struct http_request *r)
{
    return http_header_has(r, "connection", "close") ||
           (r->http_1_0 && !http_header_has(r, "connection", "keep-alive"));
}

/* Answer a head that cannot be taken, as Go's server words it. */
static void refuse(struct http_conn *c, const struct http_refusal *why)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    const char *text = http_status_text(why->status);

    buf_addf(
        &b, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%d %s: %s",
        why->status, text, why->status, text, why->text);
    log_debug("refuse a request", "why", why->text);
    (void)!stream_write_full(c->io, b.data, b.len);
}

static void exchange_init(struct http_state *x, struct http_conn *c, bool chunked)
{
    x->conn = c;
    x->public.request = &x->request;
    x->close = wants_close(&x->request);
    mutex_init(&x->gate);
    cond_init(&x->gate_changed);
    if (http_header(&x->request, "expect") != NULL && x->request.has_body)
        x->expect = CONTINUE_WANTED;
    x->outer_scope = scope_current();
    x->scope = scope_new(NULL);
    group_open(&x->watch, GROUP_DAEMON);
    http_response_init(x);
    http_body_init(x, chunked);
}

static void exchange_deinit(struct http_state *x)
{
    http_unwatch(x);
    scope_unref(x->scope);
    mutex_deinit(&x->gate);
    cond_deinit(&x->gate_changed);
    http_params_deinit(&x->headers);
    buf_deinit(&x->out);
}

/* Run the handler; true when another request may follow. */
static bool run(struct http_state *x, struct http_conn *c, bool chunked)
{
    exchange_init(x, c, chunked);
    scope_enter(x->scope);
    struct error *e = c->config->handler(&x->public, c->config->ctx);

    scope_leave(x->scope);
    bool go = http_response_finish(x, e);

    if (go)
        go = http_body_drain(x);
    exchange_deinit(x);
    return go && c->io != NULL;
}

/* ---- heads
 * -------------------------------------------------------------------------------------------------------------
 */

enum head_result { HEAD_REQUEST, HEAD_HTTP2, HEAD_REFUSED, HEAD_END };

static bool is_preface(const struct buf *in, bool *ret_maybe)
{
    size_t n = MIN(in->len, (size_t)H2_PREFACE_LEN);

    *ret_maybe = memcmp(in->data, H2_PREFACE, n) == 0;
    return *ret_maybe && n == H2_PREFACE_LEN;
}

/* Read until a whole head lies at the front of the read-ahead; *ret_len is its length. */
static enum head_result read_head(struct http_conn *c, bool first, size_t *ret_len, struct http_refusal *why)
{
    size_t scanned = 0;

    if (c->taken > 0)
        http_conn_take(c, 0);
    for (;;) {
        const char *data = buf_str(&c->in) + c->taken;
        size_t len = c->in.len - c->taken;
        bool maybe = false;

        if (first && len > 0 && c->taken == 0 && is_preface(&c->in, &maybe))
            return HEAD_HTTP2;
        ssize_t n = len == 0 || (maybe && first) ? 0 : http_head_length(data, len, &scanned);

        if (n > (ssize_t)LIMIT_HTTP_HEADER_BYTES || (n == 0 && len > LIMIT_HTTP_HEADER_BYTES)) {
            *why = (struct http_refusal){ 431, "request header fields too large" };
            return HEAD_REFUSED;
        }
        if (n < 0) {
            *why = (struct http_refusal){ 400, "malformed line end" };
            return HEAD_REFUSED;
        }
        if (n > 0) {
            *ret_len = (size_t)n;
            return HEAD_REQUEST;
        }
        if (http_conn_fill(c) <= 0)
            return HEAD_END;
    }
}

/* One request: true when another may follow. */
static bool serve_one(struct http_conn *c, size_t head_len, struct http_refusal *why)
{
    struct http_state *x = NEW(struct http_state);
    bool chunked = false, go = false;

    if (!http_parse_head(c->in.data + c->taken, head_len, &x->request, &chunked, why)) {
    } else if (http_header(&x->request, "expect") != NULL &&
               strcasecmp(http_header(&x->request, "expect"), "100-continue") != 0) {
        *why = (struct http_refusal){ 417, "unknown expectation" };
    } else {
        http_conn_take(c, head_len);
        go = run(x, c, chunked);
    }
    http_request_deinit(&x->request);
    free(x);
    return go;
}

/* Let the peer read the answer before the connection goes: bytes that it still sends would turn the close
 * into a reset. */
static void linger(struct http_conn *c)
{
    struct deadline d;
    char drop[4096];
    size_t total = 0;
    ssize_t n;

    deadline_begin(&d, LINGER_NS);
    if (stream_shut(c->io) == 0)
        while (total < LIMIT_HTTP_DRAIN && (n = stream_read(c->io, drop, sizeof(drop))) > 0)
            total += (size_t)n;
    deadline_end(&d);
}

/* Returns the result of read_head that ended the loop. */
static enum head_result serve_requests(struct http_conn *c, const struct http_config *config)
{
    int64_t idle_ns = config->idle_timeout_ns > 0 ? config->idle_timeout_ns : LIMIT_HTTP_IDLE_NS;
    struct http_refusal why = { 0 };
    bool first = true, go = true;
    enum head_result r = HEAD_END;
    size_t head_len = 0;

    while (go) {
        struct deadline d;

        deadline_begin(&d, idle_ns);
        r = read_head(c, first, &head_len, &why);
        deadline_end(&d);
        if (r != HEAD_REQUEST)
            break;
        go = serve_one(c, head_len, &why);
        first = false;
    }
    if (why.status != 0)
        refuse(c, &why);
    if (c->io != NULL && (why.status != 0 || r == HEAD_REQUEST))
        linger(c);
    return r;
}

struct error *http_serve(struct stream *s, const struct http_config *config)
{
    struct http_conn c = { .io = s, .config = config };
    enum head_result r = serve_requests(&c, config);
    struct error *e = NULL;

    if (r == HEAD_HTTP2 && config->http2 != NULL) {
        struct stream *whole = stream_with_head(TAKE(c.io), c.in.data, c.in.len);

        buf_deinit(&c.in);
        e = config->http2(whole, config->ctx);
    } else if (r == HEAD_HTTP2) {
        refuse(&c, &(struct http_refusal){ 505, "unsupported protocol version" });
    }
    stream_close(c.io);
    buf_deinit(&c.in);
    return e;
}
