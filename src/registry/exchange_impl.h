/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange_impl.h - the inside of the pool and of an exchange; for exchange*.c only
 */
#ifndef MINKE_REGISTRY_EXCHANGE_IMPL_H
#define MINKE_REGISTRY_EXCHANGE_IMPL_H

#include "base/buf.h"
#include "registry/curl.h"
#include "registry/exchange.h"
#include "task/task.h"

#include <poll.h>

/* A multi handle and what it waits for.  It keeps at most one connection, to `origin`. */
struct exchange_conn {
    CURLM *multi;
    char *origin;
    struct pollfd *fds;
    size_t fd_count, fd_cap;
    int64_t timer_ns; /* monotonic; -1: none */
    int64_t idle_since_ns;
    struct exchange_conn *next;
};

struct exchange_pool {
    const struct curl_api *curl; /* NULL until the first use */
    char *user_agent;
    struct mutex lock;
    struct exchange_conn *idle;
    size_t idle_count;
};

struct exchange {
    struct exchange_pool *client;
    const struct curl_api *curl;
    struct exchange_conn *conn;
    CURL *easy;
    struct curl_slist *send_headers;
    char *request_body, *url;
    struct stream *upload;            /* borrowed */
    int64_t upload_left, upload_size; /* upload_size -1: to its end */
    int egress_netns_fd;              /* -1: none */
    int upload_error;                 /* what reading it failed with */
    void (*sent)(void *ctx, int64_t bytes);
    void *sent_ctx;
    struct strv headers;
    size_t header_bytes;
    int status;
    char *status_line;
    struct buf body;
    size_t body_read; /* bytes at the front of `body` that the caller has */
    bool headers_done, finished, paused, redirected, refused_address, too_many_headers;
    CURLcode result;
    char failure[CURL_ERROR_SIZE + 64];
};

/* ---- exchange_pool.c */

/* A connection to that origin for one exchange: a kept one, or a new one. */
struct exchange_conn *exchange_pool_get(struct exchange_pool *c, const struct curl_api *curl,
                                        const char *origin);
/* It may be used again. */
void exchange_pool_put(struct exchange_pool *c, const struct curl_api *curl, struct exchange_conn *conn);
void exchange_conn_free(const struct curl_api *curl, struct exchange_conn *c);

/* ---- exchange_failure.c */

/* Why there is no answer: as exchange_open says. */
struct error *exchange_failed(const struct exchange *x, const struct exchange_request *q) MUST_CHECK;

#endif
