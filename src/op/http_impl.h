/* SPDX-License-Identifier: Apache-2.0 */
/* http_impl.h - the inside of the source http: http.c resolves and makes the file, http_request.c asks the
 * server, http_known.c remembers what it said */
#ifndef MINKE_OP_HTTP_IMPL_H
#define MINKE_OP_HTTP_IMPL_H

#include "op/attrs.h"
#include "op/http.h"
#include "op/op.h"
#include "registry/exchange.h"

/* What a server's answer was. */
struct http_answer {
    struct digest digest;
    char *name, *etag;
    int64_t mtime_ns; /* -1: not told */
    int fd;           /* the content, unlinked; -1: known from before */
};
void http_answer_deinit(struct http_answer *a);

/* ---- http_request.c */

const char *http_attr(const struct op_context *c, const char *key); /* "": not there; borrowed */
/* The only ones of `http.header.` that count. */
void http_own_headers(const struct op_context *c, struct strv *out);
/* As the source or the answer names it, else by the URL; `x` may be NULL.  New string. */
char *http_file_name(const struct op_context *c, const struct exchange *x);
/* One request through its redirects; the credentials stay at the first origin.  `etag` may be NULL. */
struct error *http_send(const struct op_context *c, const char *method, const char *etag,
                        struct exchange **ret) MUST_CHECK;
/* The whole content. */
struct error *http_get(const struct op_context *c, struct http_answer *a) MUST_CHECK;

/* ---- http_known.c */

/* By address and request.  `file`: by the file that is made of the answer, too.  A file of another name or
 * mode has to be fetched anyway, and should not first be told that it has not changed.  New string. */
char *http_fact_key(const struct op_context *c, bool file);
/* Ask whether it is what it was: a->name is set then. */
struct error *http_recall(const struct op_context *c, struct http_answer *a) MUST_CHECK;
struct error *http_remember(const struct op_context *c, const struct http_answer *a) MUST_CHECK;
/* What was fetched to resolve the source `text`, until it runs.  `a` is taken. */
void http_keep(const char *text, struct http_answer *a);
bool http_take_kept(const char *text, struct http_answer *ret);

#endif
