/* SPDX-License-Identifier: Apache-2.0 */
/* http_request.c - asking a web server for a source: headers, credentials, redirects, the content */
#include "op/http_impl.h"

#include "base/limits.h"
#include "oci/compress.h"
#include "registry/client.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <unistd.h>

#define USER_AGENT "buildkit/v0.34" /* servers know this one */

void http_answer_deinit(struct http_answer *a)
{
    free(a->name);
    free(a->etag);
    closep(&a->fd);
}

/* ---- attributes ---- */

const char *http_attr(const struct op_context *c, const char *key)
{
    return source_attr(c->vertex, key);
}

void http_own_headers(const struct op_context *c, struct strv *out)
{
    const char *accept = http_attr(c, "http.header.accept"), *agent = http_attr(c, "http.header.user-agent");

    if (*accept != '\0' && strpbrk(accept, "\r\n") == NULL)
        strv_addf(out, "Accept: %s", accept);
    if (*agent != '\0' && strpbrk(agent, "\r\n") == NULL)
        strv_addf(out, "User-Agent: %s", agent);
}

char *http_file_name(const struct op_context *c, const struct exchange *x)
{
    const char *asked = http_attr(c, "http.filename");
    CLEANUP(freep) char *offered = NULL;

    if (*asked != '\0')
        return http_safe_name(asked);
    if (x != NULL)
        offered = http_disposition_name(exchange_header(x, "Content-Disposition"));
    return offered != NULL ? http_safe_name(offered) : http_url_name(c->vertex->op->source->identifier);
}

/* ---- asking ---- */

static char *host_of(const char *url)
{
    const char *p = strstr(url, "://");

    if (p == NULL)
        return xstrdup("");
    p += 3;
    size_t n = strcspn(p, "/?#");

    for (size_t i = n; i > 0; i--) {
        if (p[i - 1] == '@') {
            p += i;
            n -= i;
            break;
        }
    }
    if (*p == '[')
        return xstrndup(p + 1, strcspn(p, "]") - 1);
    return xstrndup(p, MIN(n, strcspn(p, ":")));
}

static struct error *secret_header(const struct op_context *c, const char *name, const char *prefix,
                                   char **ret)
{
    CLEANUP(buf_deinit) struct buf secret = { 0 };

    TRY(session_secret(&c->sessions, name, &secret));
    if (strlen(buf_str(&secret)) != secret.len || strpbrk(buf_str(&secret), "\r\n") != NULL)
        return err_new(ERR_INVALID, "secret %s does not fit into a header", name);
    free(*ret);
    *ret = xasprintf("Authorization: %s%s", prefix, buf_str(&secret));
    return NULL;
}

/* The Authorization header out of the session's secrets; NULL when it has none. */
static struct error *find_authorization(const struct op_context *c, char **ret)
{
    const char *named = http_attr(c, "http.authheadersecret");
    CLEANUP(freep) char *host = host_of(c->vertex->op->source->identifier);
    CLEANUP(freep) char *header = xasprintf("HTTP_AUTH_HEADER_%s", host);
    CLEANUP(freep) char *token = xasprintf("HTTP_AUTH_TOKEN_%s", host);

    if (*named != '\0')
        return err_wrap(secret_header(c, named, "", ret), "failed to retrieve HTTP auth secret %s", named);
    if (c->sessions.ids.len == 0)
        return NULL;
    struct error *e = secret_header(c, header, "", ret);

    if (e == NULL || !err_is(e, ERR_CANCELLED)) {
        err_free(e); /* optional, as every client may lack it */
        e = secret_header(c, token, "Bearer ", ret);
    }
    if (err_is(e, ERR_CANCELLED))
        return e;
    err_free(e);
    return NULL;
}

struct error *http_send(const struct op_context *c, const char *method, const char *etag,
                        struct exchange **ret)
{
    const struct op_config *config = c->op_ctx;
    CLEANUP(freep) char *url = xstrdup(c->vertex->op->source->identifier);
    CLEANUP(freep) char *home = NULL;
    CLEANUP(freep) char *authorization = NULL;

    if (config->registry == NULL)
        return err_new(ERR_INTERNAL, "no http client");
    TRY(exchange_url_origin(url, &home));
    TRY(find_authorization(c, &authorization));
    for (int hop = 0; hop < LIMIT_REGISTRY_REDIRECTS; hop++) {
        CLEANUP(exchange_closep) struct exchange *x = NULL;
        CLEANUP(strv_deinit) struct strv headers = { 0 };
        CLEANUP(freep) char *origin = NULL;
        char *next;

        TRY(exchange_url_origin(url, &origin));
        http_own_headers(c, &headers);
        if (*http_attr(c, "http.header.user-agent") == '\0')
            strv_add(&headers, "User-Agent: " USER_AGENT);
        if (authorization != NULL && streq(origin, home))
            strv_add(&headers, authorization);
        strv_add(&headers, "Accept-Encoding: gzip"); /* to both: a server's ETags may depend on it */
        if (etag != NULL)
            strv_addf(&headers, "If-None-Match: %s", etag);
        TRY(exchange_open(config->registry->client,
                          &(struct exchange_request){
                              .method = method, .url = url, .headers = &headers, .redirected = hop > 0 },
                          &x));
        int status = exchange_status(x);
        const char *location = exchange_header(x, "Location");

        if (location == NULL ||
            (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)) {
            *ret = TAKE(x);
            return NULL;
        }
        TRY(exchange_url_resolve(url, location, &next));
        free(url);
        url = next;
    }
    return err_new(ERR_UNKNOWN, "stopped after %d redirects", LIMIT_REGISTRY_REDIRECTS);
}

/* The body of an exchange, which is borrowed. */
struct body {
    struct stream stream;
    struct exchange *exchange;
};

static ssize_t body_read(struct stream *s, void *buf, size_t cap)
{
    return exchange_read(CONTAINER_OF(s, struct body, stream)->exchange, buf, cap);
}

static void body_close(struct stream *s)
{
    free(CONTAINER_OF(s, struct body, stream));
}

/* What was asked for, without the compression that the server made for the way only. */
static struct error *open_body(struct exchange *x, bool *ret_packed, struct stream **ret)
{
    static const struct stream_ops ops = { .read = body_read, .close = body_close };
    const char *encoding = exchange_header(x, "Content-Encoding");
    struct body *b = NEW(struct body);
    enum compression kind;

    b->stream.ops = &ops;
    b->exchange = x;
    *ret = &b->stream;
    *ret_packed = encoding != NULL && strcasecmp(encoding, "gzip") == 0;
    if (!*ret_packed)
        return NULL;
    TRY(compression_peek(TAKE(*ret), &kind, ret));
    if (kind == COMPRESSION_GZIP)
        return decompress_stream(TAKE(*ret), ret);
    stream_closep(ret);
    return err_new(ERR_UNAVAILABLE, "the server's gzip encoding is none");
}

static struct error *receive(const struct op_context *c, struct exchange *x, struct http_answer *a)
{
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    CLEANUP(freep) char *chunk = xmalloc(65536);
    CLEANUP(stream_closep) struct stream *body = NULL;
    int64_t total = 0, size = exchange_content_length(x);
    bool packed;

    TRY(open_body(x, &packed, &body));
    if (packed)
        size = 0; /* of what is made of it: unknown */

    a->fd = openat(store_work_fd(c->store), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (a->fd < 0)
        return err_sys(errno, "keep a download");
    for (ssize_t n; (n = stream_read(body, chunk, 65536)) != 0;) {
        if (n == -ECANCELED)
            return task_error((int)n, "download");
        if (n == -EBADMSG)
            return err_new(ERR_UNAVAILABLE, "download broke off: its gzip encoding is damaged");
        if (n < 0)
            return err_new(ERR_UNAVAILABLE, "download broke off: %s", exchange_failure(x));
        if ((total += n) > LIMIT_HTTP_SOURCE)
            return err_new(ERR_EXHAUSTED, "download is larger than %lld bytes", (long long)LIMIT_HTTP_SOURCE);
        hasher_add(h, chunk, (size_t)n);
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(a->fd, chunk + done, (size_t)(n - done));

            if (w < 0)
                return err_sys(errno, "keep a download");
            done += w;
        }
        reporter_status(c->reporter, "downloading", "downloading", total, MAX(size, 0), false);
    }
    a->digest = hasher_sum(h);
    return NULL;
}

struct error *http_get(const struct op_context *c, struct http_answer *a)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    const char *etag;

    TRY(http_send(c, "GET", NULL, &x));
    if (exchange_status(x) < 200 || exchange_status(x) >= 400 || exchange_status(x) == 304)
        return err_new(ERR_UNKNOWN, "invalid response status %d", exchange_status(x));
    TRY(receive(c, x, a));
    a->name = http_file_name(c, x);
    if (http_parse_date(exchange_header(x, "Last-Modified"), &a->mtime_ns) < 0)
        a->mtime_ns = -1;
    etag = exchange_header(x, "ETag");
    if (etag != NULL && strpbrk(etag, "\r\n") == NULL)
        a->etag = xstrdup(str_has_prefix(etag, "W/") ? etag + 2 : etag);
    return NULL;
}
