/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http1.h - a strict HTTP/1.1 server on any stream
 *
 * http_serve() reads one request after the other from a connection and calls the handler for each.  Routing,
 * versions and JSON belong to the caller.  Strict means: whatever two parsers could read in two ways is
 * refused with 400 and the connection ends (bare LF, folded lines, blanks before the colon, Content-Length
 * with Transfer-Encoding, unknown codings, control bytes, a second Host).
 *
 * Full duplex: the response may start before the body is read, and body and response may be used by two tasks
 * at once. What the handler leaves of the body is drained (up to LIMIT_HTTP_DRAIN) or the connection ends.
 *
 * The handler runs under a scope that is cancelled when the client goes away: once the body has been read to
 * its end (or there is none), a task of the exchange listens for that.  A hijacked connection is no longer
 * listened to.
 */
#ifndef MINKE_WIRE_HTTP1_H
#define MINKE_WIRE_HTTP1_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"
#include "io/stream.h"

struct http_param {
    char *key, *value;
};
/* Ordered, repeated keys allowed. */
struct http_params {
    struct http_param *v;
    size_t len, cap;
};
void http_params_deinit(struct http_params *p);
void http_params_add(struct http_params *p, const char *key, const char *value);
const char *http_params_get(const struct http_params *p, const char *key); /* the first, or NULL; borrowed */
void http_params_all(const struct http_params *p, const char *key, struct strv *out);
/* The reason that goes with a status: "Not Found". */
const char *http_status_text(int status);
/* "a=1&b=%20&b=+": '+' is a space; a pair with a bad escape or a ';' is dropped, as Go's ParseQuery drops it.
 */
void http_params_parse_query(struct http_params *p, const char *query);

struct http_request {
    char *method; /* as sent: "GET" */
    char *target; /* as sent: "/v1.50/images/json?all=1" */
    char *path;   /* decoded, "/v1.50/images/json"; never holds NUL; "*" of CONNECT and of OPTIONS for all */
    char *raw_path; /* not decoded: "%2F" in a segment is still seen */
    struct http_params query;
    struct http_params headers; /* names in lower case; values without outer blanks */
    char *host;                 /* "" when empty */
    bool http_1_0;
    int64_t content_length; /* -1: chunked or none */
    bool has_body;          /* a length above 0, or chunked */
};
const char *http_header(const struct http_request *r,
                        const char *name); /* the first value, or NULL. Name in lower case. */
/* Does a header that is a comma list ("connection: keep-alive, Upgrade") hold the token, in any case? */
bool http_header_has(const struct http_request *r, const char *name, const char *token);

/* One request and its response. */
struct http_exchange {
    const struct http_request *request;
    struct stream *body; /* borrowed; read gives 0 at the end, -EBADMSG for a broken one, -EPIPE when the peer
                            vanished. Reading sends "100 Continue" if asked */
    int status;          /* 0: nothing written yet */
};

struct http_config {
    /* An error becomes the JSON error if no header was sent, else the connection ends in the middle of the
     * body. */
    struct error *(*handler)(struct http_exchange *x, void *ctx);
    /* The connection starts with the HTTP/2 preface: `s` (taken) yields it again. NULL: refused. */
    struct error *(*http2)(struct stream *s, void *ctx);
    void *ctx;
    struct http_params headers; /* added to every response ("Server", "Api-Version") */
    int64_t idle_timeout_ns;    /* between requests; 0: LIMIT_HTTP_IDLE_NS */
    bool half_closed_stay;      /* who sends no more is not gone: nobody listens for the client's end */
};

/* Serve a connection until it ends; `s` is taken.  NULL at a normal end, also when the peer breaks off or
 * sends nonsense. */
struct error *http_serve(struct stream *s, const struct http_config *config) MUST_CHECK;

/* ---- response
 * ----------------------------------------------------------------------------------------------------------
 */

/* Set (replace) or add a header of the response; before http_start. A value with CR or LF is cut there. */
void http_set_header(struct http_exchange *x, const char *name, const char *value);
void http_add_header(struct http_exchange *x, const char *name, const char *value);
/* Status line and headers. content_length -1: chunked (until the connection ends for HTTP/1.0). */
struct error *http_start(struct http_exchange *x, int status, int64_t content_length) MUST_CHECK;
/* Body bytes, sent at once as one chunk; nothing for HEAD.  The first write without http_start starts a
 * chunked 200. */
struct error *http_write(struct http_exchange *x, const void *data, size_t len) MUST_CHECK;
/* The response's body as a stream (write only), for copying; borrowed from the exchange. Close does nothing.
 */
struct stream *http_body_writer(struct http_exchange *x);
/* A whole response: type may be NULL. */
struct error *http_reply(struct http_exchange *x, int status, const char *content_type, const void *data,
                         size_t len) MUST_CHECK;
/* {"message":"..."} and a line feed, the status from the error's kind. Borrows `e`. */
struct error *http_reply_error(struct http_exchange *x, const struct error *e) MUST_CHECK;

/* Read the body whole: ERR_INVALID when it is broken or larger than `limit`. */
struct error *http_read_body(struct http_exchange *x, size_t limit, struct buf *out) MUST_CHECK;
/* Does the client still listen?  False once it has closed its side (for handlers that wait long without
 * writing). */
bool http_peer_gone(struct http_exchange *x);

/* Take the connection: sends 101 with "Connection: Upgrade" and "Upgrade: <protocol>", or 200 when protocol
 * is NULL, and of the headers set before only Content-Type (as dockerd: nothing else is in its answer).  *ret
 * yields first the bytes that were read ahead, then the connection; the caller owns it and must close it.
 * http_serve does not touch the connection again. */
struct error *http_hijack(struct http_exchange *x, const char *protocol, struct stream **ret) MUST_CHECK;

#endif
