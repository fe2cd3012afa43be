/* SPDX-License-Identifier: Apache-2.0 */
#include "proxy/proxy.h"

#include "base/bytes.h"
#include "proxy/address.h"
#include "proxy/authority.h"
#include "registry/exchange.h"
#include "task/task.h"
#include "wire/http1.h"

#include <errno.h>
#include <strings.h>

#define CHUNK ((size_t)32 * 1024)

struct proxy {
    struct proxy_policy policy;
    struct exchange_pool *pool;
    struct proxy_record *record;
    const char *ca;
};

/* One connection: of the client, or inside a CONNECT. */
struct tunnel {
    struct proxy *proxy;
    int egress;
    const char *authority; /* of the CONNECT; NULL: not in one */
};

struct error *proxy_new(const struct proxy_policy *policy, struct proxy **ret)
{
    const char *ca;

    TRY(address_check_upstream());
    TRY(authority_pem(&ca));
    struct proxy *p = NEW(struct proxy);

    p->policy = *policy;
    p->pool = exchange_pool_new(NULL);
    p->record = proxy_record_new();
    p->ca = ca;
    *ret = p;
    return NULL;
}

void proxy_free(struct proxy *p)
{
    if (p == NULL)
        return;
    exchange_pool_free(p->pool);
    proxy_record_free(p->record);
    free(p);
}

void proxy_freep(struct proxy **p)
{
    proxy_free(*p);
    *p = NULL;
}

const char *proxy_ca(const struct proxy *p)
{
    return p->ca;
}

struct proxy_record *proxy_record(struct proxy *p)
{
    return p->record;
}

/* ---- headers
 * ---------------------------------------------------------------------------------------------------------------
 */

/* Between two neighbours only (RFC 9110 7.6.1), what each side frames by itself, and what would change the
 * bytes that the record names. */
static const char *const dropped[] = { "connection",
                                       "keep-alive",
                                       "proxy-authenticate",
                                       "proxy-authorization",
                                       "proxy-connection",
                                       "te",
                                       "trailer",
                                       "transfer-encoding",
                                       "upgrade",
                                       "content-length",
                                       "host",
                                       "expect",
                                       "accept-encoding",
                                       "date" };

/* A comma list that names other headers. */
static bool list_has(const char *list, const char *name, size_t len)
{
    while (list != NULL && *list != '\0') {
        list += strspn(list, ", \t");
        size_t n = strcspn(list, ", \t");

        if (n == len && strncasecmp(list, name, len) == 0)
            return true;
        list += n;
    }
    return false;
}

static bool is_dropped(const char *name, size_t len, const char *connection)
{
    for (size_t i = 0; i < ARRAY_LEN(dropped); i++)
        if (strlen(dropped[i]) == len && strncasecmp(name, dropped[i], len) == 0)
            return true;
    return list_has(connection, name, len);
}

static void request_headers(const struct http_request *r, struct strv *ret)
{
    const char *connection = http_header(r, "connection");

    for (size_t i = 0; i < r->headers.len; i++) {
        const struct http_param *h = &r->headers.v[i];

        if (is_dropped(h->key, strlen(h->key), connection))
            continue;
        if (*h->value == '\0')
            strv_addf(ret, "%s;", h->key); /* curl's way to send an empty one */
        else
            strv_addf(ret, "%s: %s", h->key, h->value);
    }
}

static void response_headers(struct http_exchange *x, const struct exchange *answer)
{
    const struct strv *headers = exchange_headers(answer);
    const char *connection = exchange_header(answer, "Connection");

    for (size_t i = 0; i < headers->len; i++) {
        const char *h = headers->v[i], *colon = strchr(h, ':');

        if (colon == NULL || is_dropped(h, (size_t)(colon - h), connection))
            continue;
        CLEANUP(freep) char *name = xstrndup(h, (size_t)(colon - h));

        http_add_header(x, name, colon + 1 + strspn(colon + 1, " \t"));
    }
}

/* ---- one request
 * ------------------------------------------------------------------------------------------------------------
 */

/* What is asked for, absolute: "http://host/path", or of a CONNECT's host. */
static struct error *url_of(const struct tunnel *t, const struct http_request *r, char **ret)
{
    if (t->authority != NULL && r->target[0] == '/')
        *ret = xasprintf("https://%s%s", t->authority, r->target);
    else if (t->authority == NULL && r->target[0] == '/' && *r->host != '\0')
        *ret = xasprintf("http://%s%s", r->host, r->target);
    else if (t->authority == NULL && strstr(r->target, "://") != NULL)
        *ret = xstrdup(r->target);
    else
        return err_new(ERR_INVALID, "invalid request target");
    return NULL;
}

/* Ask the policies: *url is what may be asked for.  ERR_FORBIDDEN without a word of why: that is for the user
 * of the build, who has it in the policy's own answer. */
static struct error *check(const struct tunnel *t, const char *method, char **url)
{
    const struct proxy_policy *p = &t->proxy->policy;
    CLEANUP(freep) char *name = address_name(*url);
    CLEANUP(freep) char *converted = NULL;
    struct error *e;

    if (p->check == NULL)
        return NULL;
    e = p->check(p->ctx, name, &converted);
    if (e == NULL && converted != NULL && !streq(method, "GET"))
        e = err_new(ERR_FORBIDDEN, "only a GET can be converted");
    if (e == NULL && converted != NULL && !str_has_prefix(converted, "http://") &&
        !str_has_prefix(converted, "https://"))
        e = err_new(ERR_FORBIDDEN, "converted to what is no http or https URL");
    if (e != NULL) {
        err_free(e);
        TRY(task_check());
        return err_new(ERR_FORBIDDEN, "Forbidden");
    }
    if (converted != NULL) {
        free(*url);
        *url = TAKE(converted);
    }
    return NULL;
}

/* Where the answer sends the client; "" nowhere. */
static char *redirect_of(const struct exchange *answer, const char *url)
{
    const char *location = exchange_header(answer, "Location");
    CLEANUP(freep) char *absolute = NULL;

    if (location == NULL)
        return xstrdup("");
    struct error *e = exchange_url_resolve(url, location, &absolute);

    if (e == NULL)
        return address_name(absolute);
    err_free(e);
    return xstrdup(location);
}

/* Why an answer that was passed on is no material; NULL: it is one, or it is nothing (a redirection). */
static const char *gap_of(const struct http_request *r, int status, bool broken)
{
    if (!streq(r->method, "GET"))
        return "method_not_materializable";
    if (http_header(r, "range") != NULL || status == 206)
        return "partial_response";
    if (broken)
        return "body_read_failed";
    return status >= 400 ? "unsuccessful_response" : NULL;
}

/* The answer on its way to the client. */
struct passage {
    struct http_exchange *x;
    struct exchange *answer;
    struct proxy_record *record; /* NULL: full */
    struct hasher *hasher;
    char *name;   /* of what was asked for */
    int64_t left; /* bytes to come, as announced; -1: not known */
};

static void note_outcome(struct passage *p, bool broken)
{
    int status = exchange_status(p->answer);
    const char *method = p->x->request->method, *gap = gap_of(p->x->request, status, broken);
    struct digest d = hasher_sum(p->hasher);

    if (p->record == NULL)
        return;
    if (gap != NULL)
        proxy_record_gap(p->record, method, p->name, gap);
    else if (status >= 200 && status < 300)
        proxy_record_material(p->record, p->name, &d);
    p->record = NULL;
}

static struct error *read_answer(struct passage *p, char *chunk, ssize_t *ret)
{
    *ret = exchange_read(p->answer, chunk, CHUNK);
    return *ret < 0 ? task_error((int)*ret, "read the answer: %s", exchange_failure(p->answer)) : NULL;
}

/* A client that has all of it may end, and the step with it: the outcome is noted before the last byte goes.
 */
static struct error *pass_body(struct passage *p)
{
    CLEANUP(freep) char *chunk = xmalloc(CHUNK);
    char none;

    for (;;) {
        ssize_t n, more = 1;

        TRY(read_answer(p, chunk, &n));
        if (n == 0)
            return NULL;
        hasher_add(p->hasher, chunk, (size_t)n);
        p->left -= p->left < 0 ? 0 : MIN(n, p->left);
        if (p->left == 0) {
            more = exchange_read(p->answer, &none, 1);
            note_outcome(p, more != 0);
        }
        TRY(http_write(p->x, chunk, (size_t)n));
        if (p->left == 0)
            return more == 0 ? NULL : err_new(ERR_UNAVAILABLE, "the answer has no end");
    }
}

static struct error *pass_answer(struct http_exchange *x, struct proxy_record *record,
                                 struct exchange *answer, const char *url)
{
    CLEANUP(freep) char *name = address_name(url);
    CLEANUP(freep) char *redirect = redirect_of(answer, url);
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    int status = exchange_status(answer);
    bool told = proxy_record_request(record, x->request->method, name, redirect, status);
    struct passage p = { .x = x,
                         .answer = answer,
                         .record = told ? record : NULL,
                         .hasher = h,
                         .name = name,
                         .left = exchange_content_length(answer) };
    struct error *e;

    response_headers(x, answer);
    if (p.left == 0) /* nor is anything to be waited for then */
        note_outcome(&p, false);
    e = http_start(x, status, p.left);
    if (e == NULL)
        e = pass_body(&p);
    note_outcome(&p, e != NULL);
    return e;
}

/* No answer came. */
static struct error *refuse_upstream(struct http_exchange *x, struct proxy_record *record, const char *url,
                                     struct error *why)
{
    CLEANUP(err_freep) struct error *e = why;
    CLEANUP(freep) char *name = address_name(url);
    CLEANUP(freep) char *text = xasprintf("%s\n", e->message);

    if (proxy_record_request(record, x->request->method, name, NULL, 502))
        proxy_record_gap(record, x->request->method, name, "upstream_error");
    return http_reply(x, 502, "text/plain; charset=utf-8", text, strlen(text));
}

static struct error *forward(struct http_exchange *x, const struct tunnel *t)
{
    CLEANUP(exchange_closep) struct exchange *answer = NULL;
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    CLEANUP(freep) char *url = NULL;
    const struct http_request *r = x->request;
    struct exchange_egress egress = { .netns_fd = t->egress };
    struct exchange_request q = {
        .method = r->method, .headers = &headers, .egress = &egress, .tls = t->proxy->policy.tls
    };

    TRY(url_of(t, r, &url));
    struct error *e = check(t, r->method, &url);

    if (err_is(e, ERR_FORBIDDEN)) {
        err_free(e);
        return http_reply(x, 403, "text/plain; charset=utf-8", "Forbidden\n", 10);
    }
    TRY(e);
    request_headers(r, &headers);
    egress.proxy = address_upstream(url);
    q.url = url;
    if (r->has_body) {
        q.upload = x->body;
        q.upload_size = r->content_length;
    }
    e = exchange_open(t->proxy->pool, &q, &answer);
    if (e != NULL && task_check_sys() == 0)
        return refuse_upstream(x, t->proxy->record, url, e);
    TRY(e);
    return pass_answer(x, t->proxy->record, answer, url);
}

/* ---- connections
 * ------------------------------------------------------------------------------------------------------------
 */

static struct error *handle(struct http_exchange *x, void *ctx);

static struct error *serve(struct tunnel *t, struct stream *conn)
{
    /* many small clients (wget of busybox) end their side behind the request */
    struct http_config config = { .handler = handle, .ctx = t, .half_closed_stay = true };

    return http_serve(conn, &config);
}

/* Be the host that the client wants to talk to. */
static struct error *connect_to(struct http_exchange *x, const struct tunnel *t)
{
    CLEANUP(authority_certificate_freep) struct x509_st *certificate = NULL;
    CLEANUP(stream_closep) struct stream *conn = NULL;
    CLEANUP(freep) char *host = address_host(x->request->target);
    struct tunnel inside = { .proxy = t->proxy, .egress = t->egress, .authority = x->request->target };
    struct tls_server_config tls = { 0 };
    struct stream *secured;

    TRY(authority_issue(host, &certificate, &tls.key));
    tls.certificate = certificate;
    TRY(http_hijack(x, NULL, &conn));
    TRY(stream_tls_server(conn, &tls, &secured));
    conn = NULL; /* taken */
    return serve(&inside, secured);
}

static struct error *handle(struct http_exchange *x, void *ctx)
{
    const struct tunnel *t = ctx;

    if (streq(x->request->method, "CONNECT") && t->authority == NULL)
        return connect_to(x, t);
    return forward(x, t);
}

struct error *proxy_serve(void *proxy, struct stream *conn, int egress_netns_fd)
{
    struct tunnel t = { .proxy = proxy, .egress = egress_netns_fd };

    return serve(&t, conn);
}
