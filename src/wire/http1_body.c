/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http1_body.c - a request's body as a stream: of a length, or in chunks
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "wire/http1_impl.h"

#include <errno.h>

#define READ_SIZE (32 * KIB)

/* ---- the connection's read-ahead
 * --------------------------------------------------------------------------------------- */

void http_conn_take(struct http_conn *c, size_t n)
{
    c->taken += n;
    if (c->taken == c->in.len) {
        if (c->in.cap > 2 * READ_SIZE)
            buf_deinit(&c->in);
        buf_clear(&c->in);
        c->taken = 0;
    }
}

int http_conn_fill(struct http_conn *c)
{
    if (c->taken > 0) {
        buf_drop(&c->in, c->taken);
        c->taken = 0;
    }
    buf_reserve(&c->in, READ_SIZE);
    ssize_t n = stream_read(c->io, c->in.data + c->in.len, READ_SIZE);

    if (n <= 0)
        return (int)n;
    c->in.len += (size_t)n;
    c->in.data[c->in.len] = '\0';
    return 1;
}

static size_t ahead(const struct http_conn *c)
{
    return c->in.len - c->taken;
}

/* From the read-ahead first, then from the connection. */
static ssize_t read_some(struct http_conn *c, void *buf, size_t cap)
{
    size_t n = MIN(ahead(c), cap);

    if (n == 0)
        return stream_read(c->io, buf, cap);
    memcpy(buf, c->in.data + c->taken, n);
    http_conn_take(c, n);
    return (ssize_t)n;
}

/* The next line without its CRLF, at most `max` bytes: its length, -EBADMSG, -EPIPE, or an errno. */
static ssize_t read_line(struct http_conn *c, size_t max, const char **ret)
{
    size_t scanned = 0;

    for (;;) {
        const char *p = ahead(c) > 0 ? c->in.data + c->taken : "";
        const char *eol = memchr(p + scanned, '\n', ahead(c) - scanned);

        if (eol != NULL) {
            size_t len = (size_t)(eol - p);

            if (len == 0 || eol[-1] != '\r' || len - 1 > max || memchr(p, '\r', len - 1) != NULL)
                return -EBADMSG;
            *ret = p;
            c->taken += len + 1; /* the memory stays until the next fill */
            return (ssize_t)len - 1;
        }
        scanned = ahead(c);
        if (scanned > max + 2)
            return -EBADMSG;
        int r = http_conn_fill(c);

        if (r <= 0)
            return r < 0 ? r : -EPIPE;
    }
}

/* ---- body
 * --------------------------------------------------------------------------------------------------------------
 */

static int send_continue(struct http_state *x)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

    mutex_lock(&x->gate);
    bool wanted = x->expect == CONTINUE_WANTED;

    if (wanted)
        x->expect = CONTINUE_WRITING;
    mutex_unlock(&x->gate);
    if (!wanted)
        return 0;
    int r = stream_write_full(x->conn->io, text, sizeof(text) - 1);

    mutex_lock(&x->gate);
    x->expect = CONTINUE_NONE;
    cond_broadcast(&x->gate_changed);
    mutex_unlock(&x->gate);
    return r;
}

static ssize_t broken(struct http_state *x, ssize_t r)
{
    x->body_broken = true;
    return r;
}

static void body_ended(struct http_state *x)
{
    x->body_ended = true;
    http_watch(x);
}

static int skip_trailers(struct http_state *x)
{
    size_t total = 0;
    const char *line;

    for (;;) {
        ssize_t n = read_line(x->conn, LIMIT_HTTP_HEADER_BYTES, &line);

        if (n <= 0)
            return (int)n;
        total += (size_t)n;
        if (total > LIMIT_HTTP_HEADER_BYTES || !http_field_valid(line, (size_t)n))
            return -EBADMSG;
    }
}

/* The next chunk's head: 0 with `left` set or the body ended. */
static int next_chunk(struct http_state *x)
{
    const char *line;
    ssize_t n;

    if (x->in_chunk) {
        n = read_line(x->conn, 0, &line);
        if (n < 0)
            return (int)n;
        x->in_chunk = false;
    }
    n = read_line(x->conn, LIMIT_HTTP_CHUNK_LINE, &line);
    if (n < 0)
        return (int)n;
    int64_t size = http_chunk_size(line, (size_t)n);

    if (size < 0)
        return -EBADMSG;
    if (size == 0) {
        int r = skip_trailers(x);

        if (r == 0)
            body_ended(x);
        return r;
    }
    x->left = (uint64_t)size;
    x->in_chunk = true;
    return 0;
}

static ssize_t body_read(struct stream *s, void *buf, size_t cap)
{
    struct http_state *x = CONTAINER_OF(s, struct http_state, body);

    if (x->body_broken)
        return -EBADMSG;
    if (x->body_ended || cap == 0)
        return 0;
    int r = send_continue(x);

    if (r < 0)
        return broken(x, r);
    while (x->left == 0 && !x->body_ended) {
        r = next_chunk(x);
        if (r < 0)
            return broken(x, r);
    }
    if (x->body_ended)
        return 0;
    ssize_t n = read_some(x->conn, buf, (size_t)MIN((uint64_t)cap, x->left));

    if (n <= 0)
        return broken(x, n < 0 ? n : -EPIPE);
    x->left -= (uint64_t)n;
    if (x->left == 0 && !x->chunked)
        body_ended(x);
    return n;
}

static ssize_t body_write(struct stream *s, const void *buf, size_t len)
{
    return -EBADF;
}

static int body_shut(struct stream *s)
{
    return 0;
}

static void body_close(struct stream *s)
{
}

void http_body_init(struct http_state *x, bool chunked)
{
    static const struct stream_ops ops = {
        .read = body_read, .write = body_write, .shut = body_shut, .close = body_close
    };

    x->body.ops = &ops;
    x->public.body = &x->body;
    x->chunked = chunked;
    x->left = chunked ? 0 : (uint64_t)MAX(x->request.content_length, INT64_C(0));
    if (!x->request.has_body)
        body_ended(x);
}

bool http_body_drain(struct http_state *x)
{
    char drop[4096];
    size_t total = 0;

    if (x->body_broken || x->expect == CONTINUE_WANTED)
        return x->body_ended;
    while (!x->body_ended && total < LIMIT_HTTP_DRAIN) {
        ssize_t n = body_read(&x->body, drop, sizeof(drop));

        if (n < 0)
            return false;
        total += (size_t)n;
    }
    return x->body_ended;
}
