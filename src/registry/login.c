/* SPDX-License-Identifier: Apache-2.0 */
/* login.c - POST /auth: do these credentials open the registry's door? */
#include "registry/client.h"

struct login {
    const char *user, *secret;
};

static struct error *login_credentials(void *ctx, const char *host UNUSED, char **ret_user, char **ret_secret)
{
    const struct login *l = ctx;

    *ret_user = xstrdup(l->user);
    *ret_secret = xstrdup(l->secret);
    return NULL;
}

/* "https://index.docker.io/v1/" and "registry.example:5000/" name hosts; Docker Hub's old name is
 * docker.io's. */
static char *login_host(const char *server)
{
    const char *host = str_skip_prefix(server, "https://");

    if (host == NULL)
        host = str_skip_prefix(server, "http://");
    if (host == NULL)
        host = server;
    if (str_has_prefix(host, "index.docker.io") || str_has_prefix(host, "registry-1.docker.io"))
        return xstrdup("docker.io");
    return xstrndup(host, strcspn(host, "/"));
}

struct error *registry_login(struct registry *r, const char *server, const char *user, const char *secret)
{
    CLEANUP(endpoints_deinit) struct endpoints all = { 0 };
    CLEANUP(freep) char *host = login_host(server);
    struct login l = { user, secret };
    struct registry_auth auth = { .ctx = &l, .credentials = login_credentials };
    struct reference none = { .domain = host };
    struct auth_call call;
    struct exchange *x = NULL;
    struct error *e;

    TRY(endpoints_of(r->config, host, &all));
    auth_call_begin(&call, &auth);
    struct registry_query q = { .endpoint = &all.v[all.len - 1],
                                .ref = &none,
                                .auth = call.use,
                                .method = "GET",
                                .path = "",
                                .last = true };
    e = registry_send(r, &q, &x); /* the registry itself, the last: mirrors have other accounts */
    auth_call_end(&call, r->tokens);
    if (e == NULL && exchange_status(x) != 200)
        e = err_new(exchange_status(x) == 401 ? ERR_UNAUTHORIZED : ERR_UNKNOWN,
                    "login attempt to https://%s/v2/ failed with status: %s", host, exchange_status_line(x));
    exchange_close(x);
    return e;
}
