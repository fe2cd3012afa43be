/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - a file from a web server
 *
 * Resolving asks the server (HEAD with If-None-Match when an entity tag is known, else GET) and keeps what
 * came in an unlinked file for the run; a checksum in the op makes resolving local.  Redirects are followed
 * here, credentials go to the first origin only.  The name of the file is reduced to one path component,
 * whoever chose it (security.md B6). Addresses of uploads (upload.h) are passed to their source.
 */
#ifndef MINKE_OP_HTTP_H
#define MINKE_OP_HTTP_H

#include "solver/solver.h"

extern const struct op_impl http_source; /* schemes http and https */

/* One path component out of a name that somebody else chose; "download" when nothing is left.  New string. */
char *http_safe_name(const char *name);
/* The same of the last component of the URL's path, unescaped. */
char *http_url_name(const char *url);
/* The filename of a Content-Disposition header, or NULL.  New string. */
char *http_disposition_name(const char *header);
/* "Mon, 02 Jan 2006 15:04:05 GMT"; 0 or -EINVAL. */
int http_parse_date(const char *text, int64_t *ret_ns);

/* ---- what a server says of a source */
enum http_checksum_kind { HTTP_SHA256, HTTP_SHA384, HTTP_SHA512 };
struct http_checksum_request {
    enum http_checksum_kind kind;
    const void *suffix; /* hashed behind the content, as OpenPGP signatures want it */
    size_t suffix_len;
};
struct http_meta {
    struct digest digest;
    char *filename;
    int64_t mtime_ns; /* Last-Modified; -1: not told */
    char *checksum;   /* as requested; NULL */
};
void http_meta_deinit(struct http_meta *m);
/* `q` may be NULL. */
struct error *http_resolve_meta(struct op_context *c, const struct http_checksum_request *q,
                                struct http_meta *ret) MUST_CHECK;

#endif
