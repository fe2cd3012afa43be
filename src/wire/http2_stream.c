/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http2_stream.c - one exchange on a connection: its header blocks, its two queues, its end
 */
#include "base/limits.h"
#include "wire/http2_impl.h"

#include <errno.h>

/* ---- header fields
 * ----------------------------------------------------------------------------------------------------- */

void h2_fields_deinit(struct h2_fields *f)
{
    for (size_t i = 0; i < f->len; i++) {
        free(f->v[i].name);
        free(f->v[i].value);
    }
    free(f->v);
    *f = (struct h2_fields){ 0 };
}

void h2_fields_add(struct h2_fields *f, const char *name, const char *value)
{
    if (f->len == f->cap) {
        f->cap = f->cap == 0 ? 8 : f->cap * 2;
        f->v = xreallocarray(f->v, f->cap, sizeof(*f->v));
    }
    f->v[f->len++] = (struct h2_field){ .name = xstrdup(name), .value = xstrdup(value) };
}

const char *h2_fields_get(const struct h2_fields *f, const char *name)
{
    for (size_t i = 0; i < f->len; i++)
        if (streq(f->v[i].name, name))
            return f->v[i].value;
    return NULL;
}

nghttp2_nv *h2_fields_nv(const struct h2_fields *f)
{
    nghttp2_nv *nv = xcalloc(f->len == 0 ? 1 : f->len, sizeof(*nv));

    for (size_t i = 0; i < f->len; i++) {
        nv[i].name = (uint8_t *)f->v[i].name;
        nv[i].namelen = strlen(f->v[i].name);
        nv[i].value = (uint8_t *)f->v[i].value;
        nv[i].valuelen = strlen(f->v[i].value);
    }
    return nv;
}

static void copy_fields(struct h2_fields *dst, const struct h2_fields *src)
{
    for (size_t i = 0; i < src->len; i++)
        h2_fields_add(dst, src->v[i].name, src->v[i].value);
}

/* ---- life
 * --------------------------------------------------------------------------------------------------------------
 */

struct h2_stream *h2_stream_new(struct h2_conn *c)
{
    struct h2_stream *s = NEW(struct h2_stream);

    s->conn = c;
    s->used = true;
    cond_init(&s->readable);
    cond_init(&s->writable);
    if (c->server)
        s->scope = scope_new(c->group.scope);
    s->next = c->streams;
    if (s->next != NULL)
        s->next->prev = s;
    c->streams = s;
    return s;
}

void h2_stream_delete(struct h2_stream *s)
{
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        s->conn->streams = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    h2_fields_deinit(&s->headers);
    h2_fields_deinit(&s->trailers);
    h2_fields_deinit(&s->out_trailers);
    fifo_deinit(&s->in);
    fifo_deinit(&s->out);
    cond_deinit(&s->readable);
    cond_deinit(&s->writable);
    if (s->scope != NULL)
        scope_unref(s->scope);
    free(s);
}

void h2_stream_drop_locked(struct h2_stream *s)
{
    if (!s->used && !s->attached)
        h2_stream_delete(s);
}

/* Nobody reads any more: what waits is given back to the peer's window. */
static void drop_input_locked(struct h2_stream *s)
{
    if (s->attached && s->in.len > 0)
        nghttp2_session_consume_stream(s->conn->session, s->id, s->in.len);
    fifo_deinit(&s->in);
}

/* Why can nothing be written: 0 when it can. */
static int write_state_locked(const struct h2_stream *s)
{
    if (!s->conn->server && s->in_ended)
        return -EPIPE;
    if (s->reset)
        return -ECONNRESET;
    if (s->conn->gone)
        return -ENOTCONN;
    return s->out_end ? -EPIPE : 0;
}

static int end_locked(struct h2_stream *s, const struct h2_fields *trailers)
{
    int r = write_state_locked(s);

    if (r < 0)
        return r;
    s->out_end = true;
    if (trailers != NULL) {
        copy_fields(&s->out_trailers, trailers);
        s->has_out_trailers = true;
    }
    if (s->deferred) {
        s->deferred = false;
        nghttp2_session_resume_data(s->conn->session, s->id);
    }
    h2_wake_writer_locked(s->conn);
    return 0;
}

static void reset_locked(struct h2_stream *s, uint32_t code)
{
    if (!s->attached || (s->in_ended && s->out_ended))
        return;
    nghttp2_submit_rst_stream(s->conn->session, NGHTTP2_FLAG_NONE, s->id, code);
    h2_wake_writer_locked(s->conn);
}

void h2_stream_finish(struct h2_stream *s)
{
    struct h2_conn *c = s->conn;

    mutex_lock(&c->lock);
    if (!s->out_end)
        reset_locked(s, NGHTTP2_INTERNAL_ERROR);
    else if (s->out_ended && !s->in_ended)
        reset_locked(s, NGHTTP2_NO_ERROR);
    s->used = false;
    drop_input_locked(s);
    h2_wake_writer_locked(c);
    h2_stream_drop_locked(s);
    mutex_unlock(&c->lock);
}

void h2_stream_free(struct h2_stream *s)
{
    if (s == NULL)
        return;
    struct h2_conn *c = s->conn;

    mutex_lock(&c->lock);
    reset_locked(s, NGHTTP2_CANCEL);
    s->used = false;
    drop_input_locked(s);
    h2_stream_drop_locked(s);
    mutex_unlock(&c->lock);
}

/* ---- reading
 * -----------------------------------------------------------------------------------------------------------
 */

static int read_state_locked(const struct h2_stream *s)
{
    if (s->reset)
        return -ECONNRESET;
    return s->conn->gone ? -ENOTCONN : 0;
}

int h2_stream_headers(struct h2_stream *s, const struct h2_fields **ret)
{
    struct h2_conn *c = s->conn;
    int r = task_check_sys();

    mutex_lock(&c->lock);
    while (r == 0 && !s->have_headers) {
        r = read_state_locked(s);
        if (r == 0)
            r = cond_wait(&s->readable, &c->lock);
    }
    mutex_unlock(&c->lock);
    if (r == 0)
        *ret = &s->headers;
    return r;
}

bool h2_stream_headers_end(struct h2_stream *s)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&s->conn->lock);

    return s->headers_end;
}

ssize_t h2_stream_read(struct h2_stream *s, void *buf, size_t cap)
{
    struct h2_conn *c = s->conn;
    ssize_t r = task_check_sys();

    if (r < 0 || cap == 0)
        return r;
    mutex_lock(&c->lock);
    while (r == 0 && s->in.len == 0 && !s->in_ended) {
        r = read_state_locked(s);
        if (r == 0)
            r = cond_wait(&s->readable, &c->lock);
    }
    if (s->in.len > 0 && r != -ECANCELED && r != -ETIMEDOUT) {
        r = (ssize_t)fifo_take(&s->in, buf, cap);
        if (s->attached) {
            nghttp2_session_consume_stream(c->session, s->id, (size_t)r);
            h2_wake_writer_locked(c);
        }
    }
    mutex_unlock(&c->lock);
    return r;
}

int h2_stream_read_full(struct h2_stream *s, void *buf, size_t len)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = h2_stream_read(s, (char *)buf + have, len - have);

        if (n < 0)
            return (int)n;
        if (n == 0)
            return have == 0 ? -ENODATA : -EPIPE;
        have += (size_t)n;
    }
    return 0;
}

const struct h2_fields *h2_stream_trailers(struct h2_stream *s)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&s->conn->lock);

    return s->in_ended && s->trailers.len > 0 ? &s->trailers : NULL;
}

uint32_t h2_stream_reset_code(struct h2_stream *s)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&s->conn->lock);

    return s->reset_code;
}

/* ---- writing
 * -----------------------------------------------------------------------------------------------------------
 */

static ssize_t on_data_needed(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len, uint32_t *flags,
                              nghttp2_data_source *source, void *user)
{
    struct h2_stream *s = source->ptr;
    size_t n = MIN(len, s->out.len);

    if (n == 0 && !s->out_end) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < s->out.len || !s->out_end)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->has_out_trailers) {
        nghttp2_nv *nv = h2_fields_nv(&s->out_trailers);

        if (nghttp2_submit_trailer(session, id, nv, s->out_trailers.len) == 0)
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        free(nv);
    }
    return (ssize_t)n;
}

nghttp2_data_provider h2_stream_provider(struct h2_stream *s)
{
    return (nghttp2_data_provider){ .source.ptr = s, .read_callback = on_data_needed };
}

int h2_stream_respond(struct h2_stream *s, const struct h2_fields *fields, bool end_stream)
{
    struct h2_conn *c = s->conn;
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&c->lock);
    int r = write_state_locked(s);

    assert(c->server && !s->responded);
    if (r < 0)
        return r;
    CLEANUP(freep) nghttp2_nv *nv = h2_fields_nv(fields);
    nghttp2_data_provider provider = h2_stream_provider(s);

    if (nghttp2_submit_response(c->session, s->id, nv, fields->len, end_stream ? NULL : &provider) != 0)
        return -ENOTCONN;
    s->responded = true;
    s->out_end = end_stream;
    h2_wake_writer_locked(c);
    return 0;
}

bool h2_stream_responded(struct h2_stream *s)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&s->conn->lock);

    return s->responded;
}

static int wait_room_locked(struct h2_stream *s)
{
    int r;

    while ((r = write_state_locked(s)) == 0 && s->out.len >= LIMIT_H2_SEND_QUEUE) {
        r = cond_wait(&s->writable, &s->conn->lock);
        if (r < 0)
            return r;
    }
    return r;
}

static int put_locked(struct h2_stream *s, const char *data, size_t len)
{
    while (len > 0) {
        int r = wait_room_locked(s);

        if (r < 0)
            return r;
        size_t n = MIN(len, LIMIT_H2_SEND_QUEUE - s->out.len);

        fifo_put(&s->out, data, n);
        data += n;
        len -= n;
        if (s->deferred) {
            s->deferred = false;
            nghttp2_session_resume_data(s->conn->session, s->id);
            h2_wake_writer_locked(s->conn);
        }
    }
    return 0;
}

int h2_stream_write(struct h2_stream *s, const void *a, size_t a_len, const void *b, size_t b_len)
{
    struct h2_conn *c = s->conn;
    int r = task_check_sys();

    if (r < 0)
        return r;
    mutex_lock(&c->lock);
    r = write_state_locked(s);
    if (r == 0 && a_len + b_len < LIMIT_H2_SEND_QUEUE - MIN(s->out.len, LIMIT_H2_SEND_QUEUE)) {
        /* Fits: one wake-up for both pieces. */
        fifo_put(&s->out, a, a_len);
        r = put_locked(s, b, b_len);
        if (r == 0 && b_len == 0 && s->deferred) {
            s->deferred = false;
            nghttp2_session_resume_data(c->session, s->id);
            h2_wake_writer_locked(c);
        }
    } else if (r == 0) {
        r = put_locked(s, a, a_len);
        if (r == 0)
            r = put_locked(s, b, b_len);
    }
    mutex_unlock(&c->lock);
    return r;
}

int h2_stream_end(struct h2_stream *s, const struct h2_fields *trailers)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&s->conn->lock);

    return end_locked(s, trailers);
}
