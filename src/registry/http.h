/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - one HTTP exchange at a time, pulled by its reader, over pooled connections
 *
 * No policy: redirects are not followed, nothing is retried, no credentials are added.  The body is read by
 * the caller at the caller's pace; while nobody reads, at most HTTP_READ_AHEAD bytes are held and the peer is
 * stopped by flow control. A connection goes back to the pool when its exchange was read to the end.  The
 * client is thread-safe; an exchange belongs to one task.  Every wait is a wait point.
 */
#ifndef MINKE_REGISTRY_HTTP_H
#define MINKE_REGISTRY_HTTP_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"

#define HTTP_READ_AHEAD ((size_t)256 * 1024)

struct http_client;                                          /* the pool */
struct http_client *http_client_new(const char *user_agent); /* NULL: "minke" */
void http_client_free(struct http_client *c);
/* Close connections that nobody has used for a while. */
void http_client_trim(struct http_client *c);

/* How to trust the server and what to show it. */
struct http_tls {
    char *ca_pem;               /* added to the system's roots; NULL */
    char *cert_file, *key_file; /* client certificate; NULL */
    bool insecure;              /* do not verify */
};
void http_tls_deinit(struct http_tls *t);

struct http_request {
    const char *method; /* "GET", "HEAD", "POST" */
    const char *url;
    const struct strv *headers; /* "Name: value"; NULL */
    const char *body;           /* POST; NULL */
    const struct http_tls *tls; /* NULL: the system's roots */
    bool redirected; /* an address that a server chose: link-local ones are refused (security.md C6) */
};

struct http_exchange;
/* Send and wait for the final header block.  Errors: ERR_UNAVAILABLE, with errnum ECONNRESET when trying
 * again may help, EPROTO when the peer does not speak the scheme of the URL, EACCES when an address was
 * refused, 0 else; cancellation. */
struct error *http_open(struct http_client *c, const struct http_request *q,
                        struct http_exchange **ret) MUST_CHECK;
int http_status(const struct http_exchange *x);
/* "401 Unauthorized". Borrowed. */
const char *http_status_line(const struct http_exchange *x);
/* First value of a header, any case, or NULL; http_header_next continues behind *pos (start with 0).
 * Borrowed. */
const char *http_header(const struct http_exchange *x, const char *name);
const char *http_header_next(const struct http_exchange *x, const char *name, size_t *pos);
int64_t http_content_length(const struct http_exchange *x); /* -1: not announced */
/* Body bytes; 0 at its proper end; -ECONNRESET broken off, -EPROTO nonsense, -ECANCELED, -ETIMEDOUT. */
ssize_t http_read(struct http_exchange *x, void *buf, size_t cap) MUST_CHECK;
const char *http_failure(const struct http_exchange *x); /* text behind the last negative result; "" */
void http_close(struct http_exchange *x);                /* NULL is fine; never waits */
void http_closep(struct http_exchange **x);

/* Absolute form of `location` seen from `base`, http or https only.  ERR_INVALID else.  New string. */
struct error *http_url_resolve(const char *base, const char *location, char **ret) MUST_CHECK;
/* "https://host:port", lower case, the default port left out.  New string. */
struct error *http_url_origin(const char *url, char **ret) MUST_CHECK;
/* The URL without user:password@. New string, "" when it cannot be parsed. */
char *http_url_redact(const char *url);

#endif
