/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http2_events.c - what nghttp2 tells while it takes frames apart or puts them together
 *
 * All callbacks run under the connection's lock.
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "wire/http2_impl.h"

/* Budgets: how many may come at once, and how many a second after that. */
#define CONTROL_BURST                                                                                        \
    10000 /* PING, SETTINGS, PRIORITY, empty DATA; grpc-go pings once a round trip under                     \
             load */
#define CONTROL_RATE 10000
#define RESET_BURST 1000
#define RESET_RATE 500
#define WINDOW_BURST 20000
#define WINDOW_RATE 20000
#define WINDOWS_PER_FRAME_SENT 4

static bool budget_take(struct h2_budget *b, int64_t burst, int64_t rate)
{
    if (b->tokens > 0) {
        b->tokens--;
        return true;
    }
    int64_t now = monotonic_ns();
    int64_t earned = b->filled_ns == 0 ? burst : MIN((now - b->filled_ns) / (NS_PER_SEC / rate), burst);

    if (earned < 1)
        return false;
    b->filled_ns = now;
    b->tokens = earned - 1;
    return true;
}

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return id == 0 ? NULL : nghttp2_session_get_stream_user_data(session, id);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct h2_conn *c = user;
    bool ok = true;

    switch (hd->type) {
    case NGHTTP2_RST_STREAM:
        ok = budget_take(&c->resets, RESET_BURST, RESET_RATE);
        break;
    case NGHTTP2_WINDOW_UPDATE:
        ok = budget_take(&c->windows, WINDOW_BURST, WINDOW_RATE);
        break;
    case NGHTTP2_HEADERS:
        break;
    case NGHTTP2_DATA:
        if (hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM))
            ok = budget_take(&c->control, CONTROL_BURST, CONTROL_RATE);
        break;
    default:
        ok = budget_take(&c->control, CONTROL_BURST, CONTROL_RATE);
    }
    if (!ok) {
        nghttp2_session_terminate_session(session, NGHTTP2_ENHANCE_YOUR_CALM);
        c->over = true;
    }
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_conn *c = user;

    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct h2_stream *s = h2_stream_new(c);

    s->id = frame->hd.stream_id;
    s->attached = true;
    nghttp2_session_set_stream_user_data(session, s->id, s);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct h2_conn *c = user;
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);

    if (s == NULL)
        return 0;
    s->field_bytes += name_len + value_len + 32;
    if (s->field_bytes > (c->server ? LIMIT_H2_HEADER_LIST : LIMIT_H2_TRAILER_LIST))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    h2_fields_add(s->have_headers ? &s->trailers : &s->headers, (const char *)name, (const char *)value);
    return 0;
}

static void on_header_block(struct h2_conn *c, struct h2_stream *s, const nghttp2_frame *frame)
{
    const char *status;

    if (s->have_headers)
        return; /* trailers: END_STREAM says the rest */
    status = h2_fields_get(&s->headers, ":status");
    if (!c->server && status != NULL && status[0] == '1') {
        h2_fields_deinit(&s->headers);
        return;
    }
    s->have_headers = true;
    s->headers_end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (c->server) {
        s->next_fresh = c->fresh;
        c->fresh = s;
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_conn *c = user;
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);

    if (s == NULL || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS)
        on_header_block(c, s, frame);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        s->in_ended = true;
    cond_broadcast(&s->readable);
    if (s->in_ended)
        cond_broadcast(&s->writable);
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                         void *user)
{
    struct h2_stream *s = stream_of(session, id);

    nghttp2_session_consume_connection(session, len);
    if (s == NULL || !s->used) {
        nghttp2_session_consume_stream(session, id, len);
        return 0;
    }
    fifo_put(&s->in, data, len);
    cond_signal(&s->readable);
    return 0;
}

static void end_stream(struct h2_stream *s, uint32_t code)
{
    bool both_ended = s->in_ended && s->out_ended;

    s->attached = false;
    if (s->conn->server && !s->have_headers)
        s->used = false; /* a bad header block: no handler will come */
    if (!both_ended) {
        s->reset = true;
        s->reset_code = code;
        if (s->scope != NULL && s->used && !s->out_ended)
            scope_cancel(s->scope, NULL);
    }
    cond_broadcast(&s->readable);
    cond_broadcast(&s->writable);
    h2_stream_drop_locked(s);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_stream *s = stream_of(session, id);

    if (s != NULL)
        end_stream(s, code);
    return 0;
}

/* A header block that does not go out.  A request: where nghttp2 has opened no stream for it (GOAWAY came
 * first), no close follows.  A response or its trailers (too long to be sent): the peer would wait for ever.
 */
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
    struct h2_conn *c = user;

    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    if (nghttp2_session_find_stream(session, frame->hd.stream_id) != NULL) {
        if (c->server)
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                      NGHTTP2_INTERNAL_ERROR);
        return 0;
    }
    for (struct h2_stream *s = c->streams; s != NULL; s = s->next) {
        if (s->id != frame->hd.stream_id || !s->attached)
            continue;
        end_stream(s, NGHTTP2_REFUSED_STREAM);
        break;
    }
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_conn *c = user;

    if (frame->hd.type == NGHTTP2_DATA)
        c->windows.tokens = MIN(c->windows.tokens + WINDOWS_PER_FRAME_SENT, INT64_C(10) * WINDOW_BURST);
    if ((frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) ||
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);

    if (s == NULL)
        return 0;
    s->out_ended = true;
    /* The answer is whole and nobody reads the rest of the request. */
    if (c->server && !s->used && !s->in_ended)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
    return 0;
}

static ssize_t data_length(nghttp2_session *session, uint8_t type, int32_t id, int32_t connection_window,
                           int32_t stream_window, uint32_t peer_max_frame, void *user)
{
    int64_t n = MIN((int64_t)peer_max_frame, (int64_t)LIMIT_TUNNEL_MESSAGE);

    n = MIN(n, (int64_t)connection_window);
    return (ssize_t)MIN(n, (int64_t)stream_window);
}

/* The payload goes from the stream's queue right behind the frame header, without nghttp2's buffer between.
 */
static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
                     nghttp2_data_source *source, void *user)
{
    struct h2_conn *c = user;
    struct h2_stream *s = source->ptr;

    buf_reserve(&c->batch, 9 + len);
    buf_add(&c->batch, head, 9);
    fifo_take(&s->out, c->batch.data + c->batch.len, len);
    c->batch.len += len;
    c->batch.data[c->batch.len] = '\0';
    if (s->out.len < LIMIT_H2_SEND_QUEUE / 2)
        cond_signal(&s->writable);
    return c->batch.len >= LIMIT_H2_SEND_QUEUE ? NGHTTP2_ERR_PAUSE : 0;
}

void h2_events_register(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_data_source_read_length_callback(cb, data_length);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
}
