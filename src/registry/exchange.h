/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.h - one HTTP exchange at a time, pulled by its reader, over pooled connections
 *
 * No policy: redirects are not followed, nothing is retried, no credentials are added.  The body is read by
 * the caller at the caller's pace; while nobody reads, at most EXCHANGE_READ_AHEAD bytes are held and the
 * peer is stopped by flow control. A connection goes back to the pool when its exchange was read to the end.
 * The client is thread-safe; an exchange belongs to one task.  Every wait is a wait point.  A body that is
 * sent is read in the same task: while its stream waits, nothing of the answer is read, so a sender that
 * waits for the answer first waits for ever.
 */
#ifndef MINKE_REGISTRY_EXCHANGE_H
#define MINKE_REGISTRY_EXCHANGE_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"
#include "io/stream.h"

#define EXCHANGE_READ_AHEAD ((size_t)256 * 1024)

struct exchange_pool;                                            /* the pool */
struct exchange_pool *exchange_pool_new(const char *user_agent); /* NULL: "minke" */
void exchange_pool_free(struct exchange_pool *c);
/* Close the connections that nobody uses. */
void exchange_pool_trim(struct exchange_pool *c);

/* How to trust the server and what to show it. */
struct exchange_tls {
    char *ca_pem;               /* added to the system's roots; NULL */
    char *cert_file, *key_file; /* client certificate; NULL */
    bool insecure;              /* do not verify */
};
void exchange_tls_deinit(struct exchange_tls *t);

/* A request that is passed on for somebody else: any method, his headers and none of ours, no rule about how
 * slow a server may be. */
struct exchange_egress {
    int netns_fd;      /* sockets are made in that network namespace; -1: ours */
    const char *proxy; /* URL of the proxy on the way, whatever the environment says; "": none */
};

struct exchange_request {
    const char *method; /* "GET", "HEAD", "POST", "PUT" */
    const char *url;
    const struct strv *headers; /* "Name: value"; NULL */
    const char *body;           /* POST; NULL */
    struct stream *upload;      /* PUT: the body, of exactly upload_size bytes; read while it is sent */
    int64_t upload_size;        /* -1: not known (chunked) */
    void (*sent)(void *ctx, int64_t bytes); /* upload: bytes taken so far; may be NULL */
    void *sent_ctx;
    const struct exchange_tls *tls; /* NULL: the system's roots */
    bool redirected; /* an address that a server chose: link-local ones are refused (security.md C6) */
    const struct exchange_egress *egress; /* NULL: a request of our own */
};

struct exchange;
/* Send and wait for the final header block.  Errors: ERR_UNAVAILABLE, with errnum ECONNRESET when trying
 * again may help, EPROTO when the peer does not speak the scheme of the URL, ECONNREFUSED when nobody listens
 * there, EACCES when an address was refused by us, 0 else; cancellation. */
struct error *exchange_open(struct exchange_pool *c, const struct exchange_request *q,
                            struct exchange **ret) MUST_CHECK;
int exchange_status(const struct exchange *x);
/* The upload's stream is going away: what was not read of it will not be sent. */
void exchange_forget_upload(struct exchange *x);
const char *exchange_url(const struct exchange *x); /* what was asked. Borrowed. */
/* "401 Unauthorized". Borrowed. */
const char *exchange_status_line(const struct exchange *x);
/* First value of a header, any case, or NULL; exchange_header_next continues behind *pos (start with 0).
 * Borrowed. */
const char *exchange_header(const struct exchange *x, const char *name);
const char *exchange_header_next(const struct exchange *x, const char *name, size_t *pos);
const struct strv *exchange_headers(const struct exchange *x); /* "Name: value", as they came; borrowed */
int64_t exchange_content_length(const struct exchange *x);     /* -1: not announced */
/* Body bytes; 0 at its proper end; -ECONNRESET broken off, -EPROTO nonsense, -ECANCELED, -ETIMEDOUT. */
ssize_t exchange_read(struct exchange *x, void *buf, size_t cap) MUST_CHECK;
const char *exchange_failure(const struct exchange *x); /* text behind the last negative result; "" */
void exchange_close(struct exchange *x);                /* NULL is fine; never waits */
void exchange_closep(struct exchange **x);

/* Absolute form of `location` seen from `base`, http or https only.  ERR_INVALID else.  New string. */
struct error *exchange_url_resolve(const char *base, const char *location, char **ret) MUST_CHECK;
/* "https://host:port", lower case, the default port left out.  New string. */
struct error *exchange_url_origin(const char *url, char **ret) MUST_CHECK;
/* The URL without user:password@. New string, "" when it cannot be parsed. */
char *exchange_url_redact(const char *url);

#endif
