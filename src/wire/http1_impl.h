/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http1_impl.h - the inside of a connection and of an exchange; for http1*.c only
 *
 * The reading side (`in`, the body) belongs to one task at a time: the handler, or whoever it lets read the
 * body, then the watcher once the body has ended.  The writing side belongs to whoever writes the response.
 * Between the two lies only `gate`.
 */
#ifndef MINKE_WIRE_HTTP1_IMPL_H
#define MINKE_WIRE_HTTP1_IMPL_H

#include "task/task.h"
#include "wire/http1.h"

struct http_conn {
    struct stream *io; /* NULL once hijacked */
    const struct http_config *config;
    struct buf in; /* read ahead: what follows the bytes taken so far */
    size_t taken;
};

enum continue_state { CONTINUE_NONE, CONTINUE_WANTED, CONTINUE_WRITING };

struct http_state {
    struct http_exchange public;
    struct stream body;   /* public.body */
    struct stream writer; /* http_body_writer */
    struct http_request request;
    struct http_conn *conn;

    /* reading */
    bool chunked, body_ended, body_broken;
    uint64_t left;     /* of the body, or of the current chunk */
    bool in_chunk;     /* the CRLF behind the chunk's data is still to come */
    struct mutex gate; /* guards `expect`: a 100 and a final status must not interleave */
    struct cond gate_changed;
    enum continue_state expect;

    /* writing */
    struct http_params headers;
    struct buf out;
    bool started, chunked_out, no_body, hijacked, write_failed;
    bool close;       /* the connection ends after this exchange */
    int64_t out_left; /* of a declared length; -1: none */

    /* listening for the client's end */
    struct group watch;                /* opened with the exchange */
    struct scope *scope, *outer_scope; /* the handler's; the connection's, borrowed */
    bool watching;
};

/* ---- http1_parse.c
 * -----------------------------------------------------------------------------------------------------------
 */

/* Refusal of a request head: the status, and a text for the client. */
struct http_refusal {
    int status;
    const char *text;
};
/* Length of the head (with its empty line) at the start of `data`, 0 when more is needed, -1 when it cannot
 * become one. `*scanned` is what earlier calls have looked at. */
ssize_t http_head_length(const char *data, size_t len, size_t *scanned);
/* Parse a whole head. False with *why filled. */
bool http_parse_head(char *head, size_t len, struct http_request *r, bool *ret_chunked,
                     struct http_refusal *why);
void http_request_deinit(struct http_request *r);
/* A trailer field or a header line without its CRLF: is it well-formed? */
bool http_field_valid(const char *line, size_t len);
/* "1a;ext": the chunk's size. -1 when malformed. */
int64_t http_chunk_size(const char *line, size_t len);

/* ---- http1_body.c
 * ------------------------------------------------------------------------------------------------------------
 */

void http_body_init(struct http_state *x, bool chunked);
/* Read what the handler left, up to LIMIT_HTTP_DRAIN. False: the connection cannot go on. */
bool http_body_drain(struct http_state *x);
/* More bytes behind what was read ahead: 1, 0 at the end of the connection, or a negative errno. */
int http_conn_fill(struct http_conn *c);
/* Take n bytes of what was read ahead. */
void http_conn_take(struct http_conn *c, size_t n);

/* ---- http1.c
 * -----------------------------------------------------------------------------------------------------------------
 */

/* The body has ended: start to listen for the client's end. */
void http_watch(struct http_state *x);
/* Stop listening, so that the reading side is ours again. */
void http_unwatch(struct http_state *x);

/* ---- http1_response.c
 * ------------------------------------------------------------------------------------------------------------
 */

void http_response_init(struct http_state *x);
/* End the response (taking the handler's error). False: the connection cannot go on. */
bool http_response_finish(struct http_state *x, struct error *e);

#endif
