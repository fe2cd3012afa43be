/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http2_impl.h - the inside of a connection and of a stream; for http2*.c only
 *
 * All of it is guarded by conn.lock, except `io` (one reader task, one writer task) and `batch` (the writer
 * task).
 */
#ifndef MINKE_WIRE_HTTP2_IMPL_H
#define MINKE_WIRE_HTTP2_IMPL_H

#include "wire/fifo.h"
#include "wire/http2.h"

#include <nghttp2/nghttp2.h>

/* Frames that are cheap to send and dear to take pay from a bucket that fills with time. */
struct h2_budget {
    int64_t tokens, filled_ns;
};

struct h2_conn {
    struct mutex lock;
    nghttp2_session *session;
    struct stream *io;
    bool server;
    h2_handler fn;
    void *ctx;
    struct group group; /* reader, writer, handlers */

    struct cond wake_writer;
    struct cond changed; /* gone, writer_done */
    struct buf batch;
    bool over; /* we end it: what still comes is not looked at */
    bool gone; /* no stream can go on */
    bool writer_done;
    bool write_failed; /* maybe in the middle of a frame: nothing may follow */

    struct h2_stream *streams; /* all that exist */
    struct h2_stream *fresh;   /* of them, those whose handler has not started, newest first */
    size_t handlers;
    struct h2_budget control, resets, windows;
};

struct h2_stream {
    struct h2_conn *conn;
    int32_t id;
    struct h2_stream *next, *prev, *next_fresh;
    struct scope *scope; /* server: of the handler */
    bool attached;       /* nghttp2 knows the stream */
    bool used;           /* the user, or the handler, has it */

    /* what comes */
    struct h2_fields headers, trailers;
    size_t field_bytes;
    bool have_headers, headers_end, in_ended;
    struct fifo in;
    struct cond readable;

    /* what goes */
    struct fifo out;
    struct h2_fields out_trailers;
    bool responded; /* the header block is on its way */
    bool out_end;   /* nothing is added any more */
    bool has_out_trailers;
    bool out_ended; /* END_STREAM was sent */
    bool deferred;  /* nghttp2 waits to hear of more data */
    struct cond writable;

    bool reset; /* closed before both sides had ended */
    uint32_t reset_code;
};

struct h2_stream *h2_stream_new(struct h2_conn *c);
/* Frees it unless someone still has it. */
void h2_stream_drop_locked(struct h2_stream *s);
void h2_stream_delete(struct h2_stream *s);
/* The data source of a response or request body. */
nghttp2_data_provider h2_stream_provider(struct h2_stream *s);
/* Is it the handler's end: end or reset what it left open, give the stream up. */
void h2_stream_finish(struct h2_stream *s);
void h2_wake_writer_locked(struct h2_conn *c);
/* Streams fail from now on, and who waits wakes. */
void h2_gone_locked(struct h2_conn *c);
/* A borrowed view for nghttp2, malloc'd. */
nghttp2_nv *h2_fields_nv(const struct h2_fields *f);

/* http2_events.c: what nghttp2 calls while it takes or makes frames. */
void h2_events_register(nghttp2_session_callbacks *callbacks);

#endif
