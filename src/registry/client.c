/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/client.h"

#include <errno.h>

#include "base/limits.h"
#include "registry/retry.h"

#define CHALLENGE_ANSWERS 2

/* ---- one authorised request through its redirects ---- */

/* The others turn a request that writes into one that reads: no registry means that. */
static bool is_redirect(const struct registry_query *q, int status)
{
    bool reads = streq(q->method, "GET") || streq(q->method, "HEAD");

    return status == 307 || status == 308 || (reads && (status == 301 || status == 302 || status == 303));
}

static struct error *next_hop(const struct endpoint *ep, const char *url, const struct exchange *x,
                              char **ret)
{
    const char *location = exchange_header(x, "Location");

    if (location == NULL)
        return err_new(ERR_UNKNOWN, "%d response missing Location header", exchange_status(x));
    TRY(exchange_url_resolve(url, location, ret));
    if (str_has_prefix(url, "https://") && str_has_prefix(*ret, "http://") && !ep->schemes[0])
        return err_new(ERR_UNKNOWN, "refusing to follow a redirect from https to http");
    return NULL;
}

/* What of the request another server may see: no credentials, no client certificate. */
static void headers_for(const struct registry_query *q, const char *authorization, struct strv *out)
{
    if (q->headers != NULL)
        strv_copy(out, q->headers);
    if (authorization != NULL)
        strv_addf(out, "Authorization: %s", authorization);
}

static struct error *send_following(struct registry *r, const struct registry_query *q, const char *first_url,
                                    const char *authorization, bool *ret_home, struct exchange **ret)
{
    CLEANUP(freep) char *home = NULL;
    CLEANUP(freep) char *url = xstrdup(first_url);
    struct exchange_tls foreign = q->endpoint->tls; /* shares its strings */

    foreign.cert_file = foreign.key_file = NULL;
    TRY(exchange_url_origin(url, &home));
    for (int hop = 0; hop < LIMIT_REGISTRY_REDIRECTS; hop++) {
        CLEANUP(stream_closep) struct stream *body = NULL;
        CLEANUP(exchange_closep) struct exchange *x = NULL;
        CLEANUP(strv_deinit) struct strv headers = { 0 };
        CLEANUP(freep) char *origin = NULL;
        CLEANUP(freep) char *next = NULL;

        TRY(exchange_url_origin(url, &origin));
        bool at_home = streq(origin, home) && !q->foreign;
        struct exchange_request one = { .method = q->method,
                                        .url = url,
                                        .headers = &headers,
                                        .upload_size = q->body_size,
                                        .sent = q->sent,
                                        .sent_ctx = q->body_ctx,
                                        .tls = at_home ? &q->endpoint->tls : &foreign,
                                        .redirected = hop > 0 || q->foreign };

        headers_for(q, at_home ? authorization : NULL, &headers);
        if (q->open_body != NULL)
            TRY(q->open_body(q->body_ctx, &body));
        one.upload = body;
        TRY(exchange_open(r->client, &one, &x));
        exchange_forget_upload(x);
        if (!is_redirect(q, exchange_status(x))) {
            *ret_home = at_home;
            *ret = TAKE(x);
            return NULL;
        }
        TRY(next_hop(q->endpoint, url, x, &next));
        free(url);
        url = TAKE(next);
    }
    return err_new(ERR_UNKNOWN, "stopped after %d redirects", LIMIT_REGISTRY_REDIRECTS);
}

/* ---- challenges ---- */

static void read_challenge(const struct exchange *x, struct challenge *c)
{
    size_t pos = 0;

    for (const char *h; (h = exchange_header_next(x, "WWW-Authenticate", &pos)) != NULL;)
        challenge_parse(h, c);
}

static struct error *send_authorized(struct registry *r, const struct registry_query *q, const char *url,
                                     struct exchange **ret)
{
    CLEANUP(freep) char *origin = NULL;
    CLEANUP(freep)
    char *scope = *q->ref->path != '\0'
                      ? xasprintf("repository:%s:%s", q->ref->path, q->push ? "pull,push" : "pull")
                      : xstrdup("");
    CLEANUP(freep)
    char *mount_scope = q->mount_from != NULL ? xasprintf("repository:%s:pull", q->mount_from) : NULL;
    CLEANUP(freep) char *authorization = NULL;

    TRY(exchange_url_origin(url, &origin));
    struct auth_target t = { .cache = r->tokens,
                             .client = r->client,
                             .tls = &q->endpoint->tls,
                             .origin = origin,
                             .host = q->endpoint->host,
                             .scope = scope,
                             .second_scope = mount_scope,
                             .auth = q->auth,
                             .retry_ns = r->config->retry_ns };

    if (!q->foreign)
        authorization = auth_find(&t);
    for (int answers = 0;; answers++) {
        CLEANUP(exchange_closep) struct exchange *x = NULL;
        CLEANUP(challenge_deinit) struct challenge c = { 0 };
        bool at_home = false;

        TRY(send_following(r, q, url, authorization, &at_home, &x));
        if (exchange_status(x) != 401 || !at_home) {
            *ret = TAKE(x);
            return NULL;
        }
        read_challenge(x, &c);
        if (authorization != NULL)
            auth_forget(&t);
        /* the first answer may be to a token that had expired, the second to one that the client was given
         * before
         */
        t.fresh = answers > 0;
        if (answers > (q->auth != NULL && q->auth->token != NULL ? 1 : 0) && c.error != NULL)
            return err_new(
                ERR_UNAUTHORIZED,
                "%s access denied, repository does not exist or may require authorization: server message: "
                "%.256s: authorization failed",
                q->push ? "push" : "pull", c.error);
        free(authorization);
        authorization = NULL;
        if (answers < CHALLENGE_ANSWERS)
            TRY(auth_answer(&t, &c, &authorization));
        if (authorization == NULL) {
            *ret = TAKE(x);
            return NULL;
        }
    }
}

/* ---- schemes ---- */

static bool known_scheme(struct registry *r, const char *host, bool *ret_https)
{
    mutex_lock(&r->lock);
    const char *known = map_get(&r->plain_hosts, host);

    mutex_unlock(&r->lock);
    if (known != NULL)
        *ret_https = *known == 's';
    return known != NULL;
}

static void learn_scheme(struct registry *r, const char *host, bool https)
{
    static char plain[] = "p", secure[] = "s";

    mutex_lock(&r->lock);
    map_set(&r->plain_hosts, host, https ? secure : plain);
    mutex_unlock(&r->lock);
}

static char *make_url(const struct registry_query *q, bool https)
{
    const struct endpoint *ep = q->endpoint;
    struct buf b = { 0 };

    buf_addf(&b, "%s://%s%s/", https ? "https" : "http", ep->host, ep->path);
    if (*q->ref->path != '\0')
        buf_addf(&b, "%s/%s", q->ref->path, q->path);
    if (ep->mirror) {
        buf_adds(&b, "?ns=");
        buf_add_query_escaped(&b, q->ref->domain);
    }
    return buf_take(&b);
}

/* A TLS server answers plain requests with 400 and a sentence.  Where the name has no port, the other scheme
 * is another port. */
static bool wrong_scheme(const struct error *e, const struct exchange *x, const char *host, bool https)
{
    if (e != NULL)
        return e->errnum == EPROTO || (e->errnum == ECONNREFUSED && !host_has_port(host));
    return !https && x != NULL && exchange_status(x) == 400 &&
           exchange_header(x, "Docker-Distribution-Api-Version") == NULL;
}

static struct error *send_any_scheme(struct registry *r, const struct registry_query *q,
                                     struct exchange **ret)
{
    if (q->url != NULL)
        return send_authorized(r, q, q->url, ret);
    const struct endpoint *ep = q->endpoint;
    bool https = ep->schemes[1] && !(ep->http_first && ep->schemes[0]);
    bool both = ep->schemes[0] && ep->schemes[1];
    bool known = both && known_scheme(r, ep->host, &https);
    CLEANUP(freep) char *url = make_url(q, https);
    struct error *e = send_authorized(r, q, url, ret);

    if (!both || known || !wrong_scheme(e, e == NULL ? *ret : NULL, ep->host, https)) {
        if (e == NULL && both)
            learn_scheme(r, ep->host, https);
        return e;
    }
    CLEANUP(freep) char *other = make_url(q, !https);
    struct exchange *x = NULL;
    struct error *other_error = send_authorized(r, q, other, &x);

    if (other_error != NULL) {
        /* neither works: the first answer tells more */
        err_free(other_error);
        return e;
    }
    err_free(e);
    if (e == NULL)
        exchange_close(*ret);
    learn_scheme(r, ep->host, !https);
    *ret = x;
    return NULL;
}

/* ---- retries ---- */

struct error *registry_send(struct registry *r, const struct registry_query *q, struct exchange **ret)
{
    struct retry again = { .pause_ns = r->config->retry_ns };

    for (;;) {
        struct exchange *x = NULL;
        struct error *e = send_any_scheme(r, q, &x);

        if (!q->last || !retry_worthwhile(&again, e, e == NULL ? exchange_status(x) : 0)) {
            *ret = x;
            return e;
        }
        int64_t asked_ns = e == NULL ? retry_after_ns(x) : 0;

        exchange_close(x);
        TRY(retry_pause(&again, e, asked_ns));
    }
}

struct error *registry_refusal(struct exchange *x, const struct registry_query *q)
{
    CLEANUP(buf_deinit) struct buf body = { 0 };
    struct error *e = exchange_read_body(x, 64 * KIB, &body);

    if (err_is(e, ERR_CANCELLED) || err_is(e, ERR_DEADLINE))
        return e;
    err_free(e); /* the status says enough */
    return exchange_refusal(x, q->method, exchange_url(x), e == NULL ? buf_str(&body) : NULL);
}
