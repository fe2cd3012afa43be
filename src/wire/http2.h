/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http2.h - HTTP/2 connections, both roles, on any stream (a socket, a hijacked connection, a tunnel inside
 * another HTTP/2)
 *
 * nghttp2 does the frames; it neither reads nor writes itself.  A connection has two tasks of its own: the
 * reader feeds what arrives into nghttp2 and into the queues of the streams and never writes; the writer
 * sends what nghttp2 and the streams have ready and never waits for the reader.  So two full pipes cannot
 * deadlock, at any depth of nesting.  One mutex guards a connection with all its streams.
 *
 * Flow control: each stream may have 1 MiB that its reader has not taken yet; the connection's window is
 * given back on arrival, so that a stream nobody reads never stops the others.  Sending waits while the
 * stream's send queue (LIMIT_H2_SEND_QUEUE) is full.
 *
 * Low tier: results are counts or negative errnos.  Reading and writing are wait points.
 *   -ECONNRESET  the peer reset the stream (h2_stream_reset_code)
 *   -EPIPE       writing to a stream whose peer has ended the exchange
 *   -ENOTCONN    the connection is gone
 */
#ifndef MINKE_WIRE_HTTP2_H
#define MINKE_WIRE_HTTP2_H

#include "base/base.h"
#include "base/error.h"
#include "io/stream.h"
#include "task/task.h"

#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define H2_PREFACE_LEN 24

struct h2_conn;   /* owned by whoever connected or serves */
struct h2_stream; /* owned by its user until h2_stream_free */

/* One header field; names are lower case.  Values may hold any byte but NUL, CR, LF. */
struct h2_field {
    char *name, *value;
};
struct h2_fields {
    struct h2_field *v;
    size_t len, cap;
};
void h2_fields_deinit(struct h2_fields *f);
void h2_fields_add(struct h2_fields *f, const char *name, const char *value); /* copies */
const char *h2_fields_get(const struct h2_fields *f, const char *name); /* the first, or NULL; borrowed */

/* ---- connections
 * ------------------------------------------------------------------------------------------------------- */

/* Serves one request; runs as a task of its own, under a scope that is cancelled when the peer resets the
 * stream or the connection ends.  The stream is borrowed: when the function returns, what was not ended is
 * ended or reset. */
typedef void (*h2_handler)(struct h2_stream *s, void *ctx);

/* Serve until the connection ends or the current task is cancelled; joins all handlers.  `s` is taken.
 * NULL at a normal end, also when the peer just closes. */
struct error *h2_serve(struct stream *s, h2_handler fn, void *ctx) MUST_CHECK;

/* Become the client on `s` (taken, also on failure).  Does not wait for the peer.  The connection's tasks
 * live under the current task's scope until h2_close, which the opener must call. */
struct error *h2_connect(struct stream *s, struct h2_conn **ret) MUST_CHECK;
/* GOAWAY, end the tasks, free. Streams that are still open fail, and must be freed before. NULL is fine. */
void h2_close(struct h2_conn *c);
/* Wait until the connection is gone (the peer closed, or an error): 0, -ECANCELED, -ETIMEDOUT. */
int h2_wait_closed(struct h2_conn *c) MUST_CHECK;
bool h2_is_closed(struct h2_conn *c);
/* Stop all use at once: streams fail with -ENOTCONN, waiters wake. From any task. */
void h2_abort(struct h2_conn *c);

/* Begin a request. `fields` start with the pseudo headers; borrowed.  0, -ENOTCONN. */
int h2_open(struct h2_conn *c, const struct h2_fields *fields, bool end_stream,
            struct h2_stream **ret) MUST_CHECK;

/* ---- streams
 * -----------------------------------------------------------------------------------------------------------
 */

/* Header block of the peer: a server has the request's at once; a client waits for the response's
 * (informational ones are skipped). Borrowed until h2_stream_free.  0 or a negative errno. */
int h2_stream_headers(struct h2_stream *s, const struct h2_fields **ret) MUST_CHECK;
/* Did the peer's header block end the stream (a response of trailers only)? */
bool h2_stream_headers_end(struct h2_stream *s);
/* 0 is the end of the body. */
ssize_t h2_stream_read(struct h2_stream *s, void *buf, size_t cap) MUST_CHECK;
int h2_stream_read_full(struct h2_stream *s, void *buf,
                        size_t len) MUST_CHECK; /* -ENODATA: ended before the first byte, -EPIPE: later */
/* What followed the body; NULL when there were none. Valid after read gave 0; borrowed. */
const struct h2_fields *h2_stream_trailers(struct h2_stream *s);

/* Server: the response's header block; at most once, before any write. */
int h2_stream_respond(struct h2_stream *s, const struct h2_fields *fields, bool end_stream) MUST_CHECK;
bool h2_stream_responded(struct h2_stream *s);
/* Queue all bytes of two pieces (either may be empty) as one unit. Waits for room. */
int h2_stream_write(struct h2_stream *s, const void *a, size_t a_len, const void *b, size_t b_len) MUST_CHECK;
/* End our side behind what is queued; with trailers if not NULL (server). Does not wait. */
int h2_stream_end(struct h2_stream *s, const struct h2_fields *trailers) MUST_CHECK;
/* The code of the peer's RST_STREAM. */
uint32_t h2_stream_reset_code(struct h2_stream *s);
/* Give up the stream: resets it (CANCEL) unless both sides have ended. NULL is fine. Clients only. */
void h2_stream_free(struct h2_stream *s);

#endif
