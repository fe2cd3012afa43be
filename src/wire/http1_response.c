/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http1_response.c - status line, headers, body; a whole response goes out in one write
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "wire/http1_impl.h"

#include <errno.h>
#include <stdio.h>

#define JOIN_MAX (64 * KIB) /* a chunk up to this size is copied behind its head, for one write */
#define HALF_CLOSED_NS (5 * NS_PER_SEC)

static struct http_state *state_of(struct http_exchange *x)
{
    return CONTAINER_OF(x, struct http_state, public);
}

/* ---- headers
 * -----------------------------------------------------------------------------------------------------------
 */

void http_add_header(struct http_exchange *x, const char *name, const char *value)
{
    struct http_params *h = &state_of(x)->headers;

    http_params_add(h, name, value);
    h->v[h->len - 1].value[strcspn(value, "\r\n")] = '\0';
}

void http_set_header(struct http_exchange *x, const char *name, const char *value)
{
    struct http_params *h = &state_of(x)->headers;
    size_t kept = 0;

    for (size_t i = 0; i < h->len; i++) {
        if (strcasecmp(h->v[i].key, name) != 0) {
            h->v[kept++] = h->v[i];
            continue;
        }
        free(h->v[i].key);
        free(h->v[i].value);
    }
    h->len = kept;
    http_add_header(x, name, value);
}

static const char *own_header(const struct http_state *x, const char *name)
{
    for (size_t i = 0; i < x->headers.len; i++)
        if (strcasecmp(x->headers.v[i].key, name) == 0)
            return x->headers.v[i].value;
    return NULL;
}

static void add_date(struct buf *b)
{
    time_t now = time(NULL);
    struct tm tm;
    char text[40];

    gmtime_r(&now, &tm);
    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    buf_addf(b, "Date: %s\r\n", text);
}

static void add_headers(struct http_state *x, struct buf *b)
{
    const struct http_params *fixed = &x->conn->config->headers;

    for (size_t i = 0; i < fixed->len; i++)
        if (own_header(x, fixed->v[i].key) == NULL)
            buf_addf(b, "%s: %s\r\n", fixed->v[i].key, fixed->v[i].value);
    for (size_t i = 0; i < x->headers.len; i++)
        buf_addf(b, "%s: %s\r\n", x->headers.v[i].key, x->headers.v[i].value);
}

static bool status_has_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

static struct error *write_failed(struct http_state *x, int r)
{
    x->write_failed = true;
    return task_error(r, "write the response");
}

/* From here on no "100 Continue" may be sent on its own.  A success that starts before the body was read asks
 * for the body first: who answers early still wants it.  After any other answer nobody knows whether the body
 * will come. */
static struct error *close_gate(struct http_state *x, int status)
{
    int r = 0;

    mutex_lock(&x->gate);
    while (r == 0 && x->expect == CONTINUE_WRITING)
        r = cond_wait(&x->gate_changed, &x->gate);
    if (x->expect == CONTINUE_WANTED && status / 100 == 2) {
        x->expect = CONTINUE_NONE;
        buf_adds(&x->out, "HTTP/1.1 100 Continue\r\n\r\n");
    } else if (x->expect == CONTINUE_WANTED) {
        x->close = true;
    }
    mutex_unlock(&x->gate);
    return r < 0 ? write_failed(x, r) : NULL;
}

/* Append the head to `out`. */
static struct error *build_head(struct http_state *x, int status, int64_t content_length)
{
    TRY(close_gate(x, status));
    struct buf *b = &x->out;
    bool body = status_has_body(status);

    x->started = true;
    x->public.status = status;
    x->no_body = !body || streq(x->request.method, "HEAD");
    x->out_left = body ? content_length : 0;
    x->chunked_out = body && content_length < 0 && !x->request.http_1_0;
    if (body && content_length < 0 && x->request.http_1_0)
        x->close = true;
    buf_addf(b, "HTTP/1.1 %d %s\r\n", status, http_status_text(status));
    add_headers(x, b);
    add_date(b);
    if (x->chunked_out)
        buf_adds(b, "Transfer-Encoding: chunked\r\n");
    else if (body && content_length >= 0)
        buf_addf(b, "Content-Length: %lld\r\n", (long long)content_length);
    if (x->close)
        buf_adds(b, "Connection: close\r\n");
    else if (x->request.http_1_0)
        buf_adds(b, "Connection: keep-alive\r\n");
    buf_adds(b, "\r\n");
    return NULL;
}

/* ---- writing
 * -----------------------------------------------------------------------------------------------------------
 */

/* A client that has only half-closed still wants its answer, though the handler's scope is cancelled; that
 * may happen in the middle. */
static int write_bytes(struct http_state *x, const char *data, size_t len)
{
    struct deadline d;
    ssize_t n = 0;

    while (len > 0 && (n = stream_write(x->conn->io, data, len)) > 0) {
        data += n;
        len -= (size_t)n;
    }
    if (len == 0 || n != -ECANCELED || !scope_cancelled(x->scope))
        return len == 0 ? 0 : (int)n;
    scope_enter(x->outer_scope);
    deadline_begin(&d, HALF_CLOSED_NS);
    int r = stream_write_full(x->conn->io, data, len);

    deadline_end(&d);
    scope_leave(x->outer_scope);
    return r;
}

static struct error *flush(struct http_state *x)
{
    int r = write_bytes(x, x->out.data, x->out.len);

    if (x->out.cap > 2 * JOIN_MAX)
        buf_deinit(&x->out);
    buf_clear(&x->out);
    return r < 0 ? write_failed(x, r) : NULL;
}

struct error *http_start(struct http_exchange *pub, int status, int64_t content_length)
{
    struct http_state *x = state_of(pub);

    if (x->started)
        return err_new(ERR_INTERNAL, "the response has started already");
    TRY(build_head(x, status, content_length));
    return flush(x);
}

static void add_chunk(struct http_state *x, const void *data, size_t len)
{
    if (x->chunked_out)
        buf_addf(&x->out, "%zx\r\n", len);
    buf_add(&x->out, data, len);
    if (x->chunked_out)
        buf_add(&x->out, "\r\n", 2);
}

static struct error *write_large(struct http_state *x, const void *data, size_t len)
{
    if (x->chunked_out)
        buf_addf(&x->out, "%zx\r\n", len);
    if (x->out.len > 0)
        TRY(flush(x));
    int r = write_bytes(x, data, len);

    if (r < 0)
        return write_failed(x, r);
    if (!x->chunked_out)
        return NULL;
    buf_add(&x->out, "\r\n", 2);
    return flush(x);
}

static struct error *count_out(struct http_state *x, size_t len)
{
    if (x->out_left < 0)
        return NULL;
    if (len > (uint64_t)x->out_left)
        return err_new(ERR_INTERNAL, "the response is longer than its Content-Length");
    x->out_left -= (int64_t)len;
    return NULL;
}

struct error *http_write(struct http_exchange *pub, const void *data, size_t len)
{
    struct http_state *x = state_of(pub);

    if (!x->started)
        TRY(build_head(x, 200, -1));
    if (x->no_body || len == 0)
        return x->out.len > 0 ? flush(x) : NULL;
    TRY(count_out(x, len));
    if (len > JOIN_MAX)
        return write_large(x, data, len);
    add_chunk(x, data, len);
    return flush(x);
}

struct error *http_reply(struct http_exchange *pub, int status, const char *content_type, const void *data,
                         size_t len)
{
    struct http_state *x = state_of(pub);

    if (x->started)
        return err_new(ERR_INTERNAL, "the response has started already");
    if (content_type != NULL)
        http_set_header(pub, "Content-Type", content_type);
    TRY(build_head(x, status, (int64_t)len));
    if (x->no_body)
        return flush(x);
    x->out_left = 0;
    if (len > JOIN_MAX)
        return write_large(x, data, len);
    buf_add(&x->out, data, len);
    return flush(x);
}

struct error *http_reply_error(struct http_exchange *x, const struct error *e)
{
    CLEANUP(buf_deinit) struct buf body = { 0 };
    const char *message = e->message != NULL ? e->message : "";

    buf_adds(&body, "{\"message\":");
    buf_add_json_string(&body, message, strlen(message), true);
    buf_adds(&body, "}\n");
    return http_reply(x, err_http_status(e->kind), "application/json", body.data, body.len);
}

/* ---- the writer as a stream
 * -------------------------------------------------------------------------------------------- */

static ssize_t writer_write(struct stream *s, const void *data, size_t len)
{
    struct http_state *x = CONTAINER_OF(s, struct http_state, writer);
    struct error *e = http_write(&x->public, data, len);

    if (e == NULL)
        return (ssize_t)len;
    int r = e->kind == ERR_CANCELLED ? -ECANCELED : e->kind == ERR_DEADLINE ? -ETIMEDOUT : -EPIPE;

    err_free(e);
    return r;
}

static ssize_t writer_read(struct stream *s, void *buf, size_t cap)
{
    return -EBADF;
}

static int writer_shut(struct stream *s)
{
    return 0;
}

static void writer_close(struct stream *s)
{
}

struct stream *http_body_writer(struct http_exchange *x)
{
    return &state_of(x)->writer;
}

void http_response_init(struct http_state *x)
{
    static const struct stream_ops ops = {
        .read = writer_read, .write = writer_write, .shut = writer_shut, .close = writer_close
    };

    x->writer.ops = &ops;
    x->out_left = -1;
}

/* ---- hijack
 * ------------------------------------------------------------------------------------------------------------
 */

struct error *http_hijack(struct http_exchange *pub, const char *protocol, struct stream **ret)
{
    struct http_state *x = state_of(pub);
    struct http_conn *c = x->conn;

    if (x->started)
        return err_new(ERR_INTERNAL, "the response has started already");
    http_unwatch(x);
    TRY(close_gate(x, protocol != NULL ? 101 : 200));
    const char *type = own_header(x, "Content-Type");

    x->public.status = protocol != NULL ? 101 : 200;
    if (protocol == NULL)
        buf_adds(&x->out, "HTTP/1.1 200 OK\r\n");
    else /* dockerd's wording for attach and exec */
        buf_addf(&x->out, "HTTP/1.1 101 %s\r\n", streq(protocol, "tcp") ? "UPGRADED" : http_status_text(101));
    if (type != NULL)
        buf_addf(&x->out, "Content-Type: %s\r\n", type);
    if (protocol != NULL)
        buf_addf(&x->out, "Connection: Upgrade\r\nUpgrade: %s\r\n", protocol);
    buf_adds(&x->out, "\r\n");
    x->started = true;
    x->hijacked = true;
    x->close = true;
    TRY(flush(x));
    *ret = stream_with_head(TAKE(c->io), buf_str(&c->in) + c->taken, c->in.len - c->taken);
    buf_deinit(&c->in);
    c->taken = 0;
    return NULL;
}

/* ---- end
 * ---------------------------------------------------------------------------------------------------------------
 */

static bool end_body(struct http_state *x)
{
    if (x->no_body)
        return true;
    if (x->out_left > 0)
        return false;
    if (!x->chunked_out)
        return x->out_left == 0;
    buf_adds(&x->out, "0\r\n\r\n");
    struct error *e = flush(x);

    err_free(e);
    return e == NULL;
}

bool http_response_finish(struct http_state *x, struct error *e)
{
    CLEANUP(err_freep) struct error *cause = e, *failed = NULL;

    if (x->hijacked || x->write_failed)
        return false;
    if (cause != NULL && x->started) {
        log_debug("the response breaks off", "target", x->request.target, "error", cause->message);
        return false;
    }
    if (cause != NULL)
        failed = http_reply_error(&x->public, cause);
    else if (!x->started)
        failed = http_reply(&x->public, 200, NULL, NULL, 0);
    else
        return end_body(x) && !x->close;
    return failed == NULL && !x->close;
}
