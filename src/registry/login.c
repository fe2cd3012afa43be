/* SPDX-License-Identifier: Apache-2.0 */
/*
 * login.c - POST /auth: are these credentials good for that registry?
 */
#include "registry/client.h"

#define HUB_DOMAIN "docker.io"

struct pair {
    const char *user, *secret;
};

static struct error *give(void *ctx, const char *host, char **ret_user, char **ret_secret)
{
    const struct pair *p = ctx;

    *ret_user = xstrdup(p->user);
    *ret_secret = xstrdup(p->secret);
    return NULL;
}

/* "https://index.docker.io/v1/", "registry.example:5000": the registry's name. */
static char *domain_of(const char *server)
{
    const char *scheme = strstr(server, "://");
    const char *host = scheme != NULL ? scheme + 3 : server;
    CLEANUP(freep) char *name = xstrndup(host, strcspn(host, "/"));

    if (*name == '\0' || streq(name, "index.docker.io") || streq(name, "registry-1.docker.io"))
        return xstrdup(HUB_DOMAIN);
    return TAKE(name);
}

static struct error *try_login(struct registry *r, const struct registry_query *q)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;

    TRY(registry_send(r, q, &x));
    int status = exchange_status(x);

    if (status == 200)
        return NULL;
    return err_new(status == 401 || status == 403 ? ERR_UNAUTHORIZED : ERR_UNKNOWN,
                   "login attempt to https://%s/v2/ failed with status: %s", q->endpoint->host,
                   exchange_status_line(x));
}

/* What the token server said behind its status is what people know: "unauthorized: incorrect username or
 * password". */
static struct error *as_refusal(struct error *e, const char *host)
{
    const char *said = err_is(e, ERR_UNAUTHORIZED) ? strchr(e->message, '\n') : NULL;

    if (said == NULL)
        return e;
    struct error *refusal =
        err_new(ERR_UNAUTHORIZED, "Get \"https://%s/v2/\": %s%s", host,
                str_has_prefix(said + 1, "unauthorized") ? "" : "unauthorized: ", said + 1);

    err_free(e);
    return refusal;
}

struct error *registry_login(struct registry *r, const char *server, const char *user, const char *secret)
{
    CLEANUP(endpoints_deinit) struct endpoints all = { 0 };
    CLEANUP(freep) char *domain = domain_of(server);
    struct reference ref = { .domain = domain, .path = (char *)"" };
    struct pair pair = { user, secret };
    struct registry_auth auth = { .ctx = &pair, .credentials = give };
    struct auth_call call;

    TRY(endpoints_of(r->config, domain, false, &all));
    auth_call_begin(&call, &auth);
    /* the registry itself, the last: mirrors have other accounts */
    struct registry_query q = { .endpoint = &all.v[all.len - 1],
                                .ref = &ref,
                                .auth = call.use,
                                .method = "GET",
                                .path = "",
                                .last = true };
    struct error *e = as_refusal(try_login(r, &q), q.endpoint->host);

    auth_call_end(&call, r->tokens);
    return e;
}
