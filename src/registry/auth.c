/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/auth.h"

#include <jansson.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "registry/document.h"
#include "registry/hosts.h"
#include "registry/retry.h"
#include "task/task.h"

#define DEFAULT_EXPIRY_SECONDS 60
#define CLIENT_ID "buildkit-client"

struct cached {
    char *value;
    int64_t expires_ns; /* monotonic; 0: never */
};
struct auth_cache {
    struct mutex lock;
    struct map entries;
};

static void cached_free(void *p)
{
    struct cached *c = p;

    free(c->value);
    free(c);
}

struct auth_cache *auth_cache_new(void)
{
    struct auth_cache *c = NEW(struct auth_cache);

    mutex_init(&c->lock);
    c->entries.free_value = cached_free;
    return c;
}

void auth_cache_free(struct auth_cache *c)
{
    if (c == NULL)
        return;
    map_deinit(&c->entries);
    mutex_deinit(&c->lock);
    free(c);
}

/* NULL: not to be kept. */
static char *cache_key(const struct auth_target *t)
{
    if (t->auth != NULL && t->auth->identity == NULL)
        return NULL;
    CLEANUP(freep) char *who = t->auth != NULL ? strv_join(t->auth->identity, " ") : xstrdup("");

    return xasprintf("%s\n%s\n%s %s", t->origin, who, t->scope,
                     t->second_scope != NULL ? t->second_scope : "");
}

char *auth_find(const struct auth_target *t)
{
    CLEANUP(freep) char *key = cache_key(t);
    char *value = NULL;

    mutex_lock(&t->cache->lock);
    struct cached *c = map_get(&t->cache->entries, key);

    if (c != NULL && (c->expires_ns == 0 || c->expires_ns > monotonic_ns()))
        value = xstrdup(c->value);
    mutex_unlock(&t->cache->lock);
    return value;
}

void auth_forget(const struct auth_target *t)
{
    CLEANUP(freep) char *key = cache_key(t);

    mutex_lock(&t->cache->lock);
    map_remove(&t->cache->entries, key);
    mutex_unlock(&t->cache->lock);
}

static void remember(const struct auth_target *t, const char *value, int64_t seconds)
{
    CLEANUP(freep) char *key = cache_key(t);

    struct cached *c = NEW(struct cached);

    c->value = xstrdup(value);
    /* a tenth early, so that a token does not die on its way */
    c->expires_ns = seconds == 0 ? 0 : monotonic_ns() + seconds * (NS_PER_SEC / 10 * 9);
    mutex_lock(&t->cache->lock);
    while (t->cache->entries.len >= LIMIT_REGISTRY_TOKENS)
        map_remove(&t->cache->entries, t->cache->entries.entries[0].key);
    map_set(&t->cache->entries, key, c);
    mutex_unlock(&t->cache->lock);
}

/* ---- calls ---- */

void auth_call_begin(struct auth_call *c, const struct registry_auth *auth)
{
    char id[26];

    *c = (struct auth_call){ .use = auth };
    if (auth == NULL || auth->identity != NULL)
        return;
    random_id(id, sizeof(id) - 1);
    strv_addf(&c->identity, "call %s", id);
    c->auth = *auth;
    c->auth.identity = &c->identity;
    c->use = &c->auth;
}

void auth_call_end(struct auth_call *c, struct auth_cache *cache)
{
    if (c->identity.len == 0)
        return;
    CLEANUP(freep) char *part = xasprintf("\n%s\n", c->identity.v[0]);

    mutex_lock(&cache->lock);
    for (size_t i = cache->entries.len; i > 0; i--)
        if (strstr(cache->entries.entries[i - 1].key, part) != NULL)
            map_remove(&cache->entries, cache->entries.entries[i - 1].key);
    mutex_unlock(&cache->lock);
    strv_deinit(&c->identity);
}

/* ---- Basic ---- */

static char *basic_value(const char *user, const char *secret)
{
    CLEANUP(buf_deinit) struct buf value = { 0 };
    CLEANUP(freep) char *pair = xasprintf("%s:%s", user, secret);

    buf_adds(&value, "Basic ");
    base64_encode(&value, pair, strlen(pair));
    return buf_take(&value);
}

static struct error *credentials(const struct auth_target *t, char **ret_user, char **ret_secret)
{
    *ret_user = *ret_secret = NULL;
    if (t->auth != NULL && t->auth->credentials != NULL)
        TRY(t->auth->credentials(t->auth->ctx, t->host, ret_user, ret_secret));
    if (*ret_user == NULL)
        *ret_user = xstrdup("");
    if (*ret_secret == NULL)
        *ret_secret = xstrdup("");
    return NULL;
}

static struct error *answer_basic(const struct auth_target *t, char **ret)
{
    CLEANUP(freep) char *user = NULL;
    CLEANUP(freep) char *secret = NULL;

    TRY(credentials(t, &user, &secret));
    if (*user == '\0' || *secret == '\0')
        return NULL;
    *ret = basic_value(user, secret);
    remember(t, *ret, 0);
    return NULL;
}

/* ---- Bearer ---- */

/* The challenge's scopes and our own, sorted. */
static void collect_scopes(const struct auth_target *t, const struct challenge *c, struct strv *out)
{
    struct strv asked = { 0 };
    const char *actions = strrchr(t->scope, ':');
    bool covered = actions == NULL; /* a login asks for no repository */

    strv_split(&asked, c->scope != NULL ? c->scope : "", ' ');
    for (size_t i = 0; i < asked.len; i++) {
        if (*asked.v[i] == '\0' || strv_has(out, asked.v[i]))
            continue;
        covered = covered || strncmp(asked.v[i], t->scope, (size_t)(actions - t->scope) + 1) == 0;
        strv_add(out, asked.v[i]);
    }
    if (!covered)
        strv_add(out, t->scope);
    if (t->second_scope != NULL && !strv_has(out, t->second_scope))
        strv_add(out, t->second_scope);
    strv_sort(out);
    strv_deinit(&asked);
}

/* May a password for this registry travel to that token server? */
static struct error *check_realm(const struct auth_target *t, const char *realm)
{
    CLEANUP(freep) char *realm_origin = NULL;

    TRY(exchange_url_origin(realm, &realm_origin));
    if (str_has_prefix(realm_origin, "https://"))
        return NULL;
    const char *host = realm_origin + strlen("http://");
    size_t len = strcspn(host, ":"), own = strcspn(t->host, ":");

    if (!str_has_prefix(t->origin, "https://") && len == own && strncmp(host, t->host, len) == 0)
        return NULL;
    if (host_is_loopback(host) && host_is_loopback(t->host))
        return NULL;
    return err_new(ERR_UNAUTHORIZED, "refusing to send credentials of %s in clear to the token server %s",
                   t->host, realm_origin);
}

static struct error *parse_token(const char *json, size_t len, char **ret_token, int64_t *ret_seconds)
{
    json_t *doc = NULL;

    TRY(err_wrap(document_parse(json, len, &doc), "unable to decode token response"));
    const char *token = json_string_value(json_object_get(doc, "token"));
    json_int_t seconds = json_integer_value(json_object_get(doc, "expires_in"));

    if (token == NULL || *token == '\0')
        token = json_string_value(json_object_get(doc, "access_token"));
    if (token != NULL && *token != '\0') {
        *ret_token = xstrdup(token);
        *ret_seconds = seconds > 0 ? MIN((int64_t)seconds, INT64_C(86400)) : DEFAULT_EXPIRY_SECONDS;
    }
    json_decref(doc);
    return *ret_token != NULL
               ? NULL
               : err_new(ERR_UNKNOWN, "authorization server did not include a token in the response");
}

/* One request to the token server; *ret_status is set whatever it answered. */
static struct error *token_request(const struct auth_target *t, const struct exchange_request *q,
                                   int *ret_status, struct buf *body)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;

    TRY(exchange_open(t->client, q, &x));
    *ret_status = exchange_status(x);
    TRY(exchange_read_body(x, LIMIT_TOKEN_RESPONSE, body));
    if (*ret_status < 200 || *ret_status > 299)
        return exchange_refusal(x, q->method, q->url, buf_str(body));
    return NULL;
}

static struct error *token_exchange(const struct auth_target *t, const struct exchange_request *q,
                                    int *ret_status, char **ret_token, int64_t *ret_seconds)
{
    struct retry again = { .pause_ns = t->retry_ns };

    for (;;) {
        CLEANUP(buf_deinit) struct buf body = { 0 };
        struct error *e = token_request(t, q, ret_status, &body);

        if (e == NULL)
            return parse_token(buf_str(&body), body.len, ret_token, ret_seconds);
        if (!retry_worthwhile(&again, e, *ret_status))
            return e;
        TRY(retry_pause(&again, e, 0));
    }
}

static char *token_query(const char *realm, const char *service, const struct strv *scopes)
{
    struct buf b = { 0 };
    char sep = strchr(realm, '?') != NULL ? '&' : '?';

    buf_adds(&b, realm);
    for (size_t i = 0; i < scopes->len; i++) {
        buf_addf(&b, "%cscope=", sep);
        buf_add_query_escaped(&b, scopes->v[i]);
        sep = '&';
    }
    if (service != NULL) {
        buf_addf(&b, "%cservice=", sep);
        buf_add_query_escaped(&b, service);
    }
    return buf_take(&b);
}

static void form_field(struct buf *b, const char *name, const char *value)
{
    if (b->len > 0)
        buf_addc(b, '&');
    buf_addf(b, "%s=", name);
    buf_add_query_escaped(b, value);
}

static char *token_form(const char *service, const struct strv *scopes, const char *user, const char *secret)
{
    CLEANUP(freep) char *joined = strv_join(scopes, " ");
    struct buf b = { 0 };

    form_field(&b, "client_id", CLIENT_ID);
    form_field(&b, "grant_type", *user == '\0' ? "refresh_token" : "password");
    if (*user == '\0') {
        form_field(&b, "refresh_token", secret);
    } else {
        form_field(&b, "username", user);
        form_field(&b, "password", secret);
    }
    form_field(&b, "scope", joined);
    form_field(&b, "service", service != NULL ? service : "");
    return buf_take(&b);
}

static struct error *token_by_get(const struct auth_target *t, const struct challenge *c,
                                  const struct strv *scopes, const char *authorization, int *ret_status,
                                  char **ret_token, int64_t *ret_seconds)
{
    CLEANUP(freep) char *url = token_query(c->realm, c->service, scopes);
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    struct exchange_request q = {
        .method = "GET", .url = url, .headers = &headers, .tls = t->tls, .redirected = true
    };

    if (authorization != NULL)
        strv_addf(&headers, "Authorization: %s", authorization);
    return token_exchange(t, &q, ret_status, ret_token, ret_seconds);
}

static struct error *token_by_post(const struct auth_target *t, const struct challenge *c,
                                   const struct strv *scopes, const char *user, const char *secret,
                                   char **ret_token, int64_t *ret_seconds)
{
    CLEANUP(freep) char *form = token_form(c->service, scopes, user, secret);
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    struct exchange_request q = { .method = "POST",
                                  .url = c->realm,
                                  .headers = &headers,
                                  .body = form,
                                  .tls = t->tls,
                                  .redirected = true };
    int status = 0;

    strv_add(&headers, "Content-Type: application/x-www-form-urlencoded; charset=utf-8");
    return token_exchange(t, &q, &status, ret_token, ret_seconds);
}

/* With a password, by GET as most servers want it; those that only speak OAuth say so by their status. */
static struct error *token_with_secret(const struct auth_target *t, const struct challenge *c,
                                       const struct strv *scopes, const char *user, const char *secret,
                                       char **ret_token, int64_t *ret_seconds)
{
    int status = 0;

    TRY(check_realm(t, c->realm));
    if (*user == '\0')
        return token_by_post(t, c, scopes, user, secret, ret_token, ret_seconds);
    CLEANUP(freep) char *basic = basic_value(user, secret);
    struct error *e = token_by_get(t, c, scopes, basic, &status, ret_token, ret_seconds);

    if (e == NULL || (status != 401 && status != 404 && status != 405))
        return e;
    struct error *other = token_by_post(t, c, scopes, user, secret, ret_token, ret_seconds);

    if (other == NULL) {
        err_free(e);
        return NULL;
    }
    err_free(other); /* what it said first is what it means */
    return e;
}

static struct error *fetch_token(const struct auth_target *t, const struct challenge *c,
                                 const struct strv *scopes, char **ret_token, int64_t *ret_seconds)
{
    CLEANUP(freep) char *user = NULL;
    CLEANUP(freep) char *secret = NULL;
    int status = 0;

    if (t->auth != NULL && t->auth->token != NULL) {
        int64_t expires_ns = 0;
        struct error *e =
            t->auth->token(t->auth->ctx, t->host, c->realm, c->service != NULL ? c->service : "", scopes,
                           t->fresh, ret_token, &expires_ns);

        if (!err_is(e, ERR_UNIMPLEMENTED)) {
            *ret_seconds = MAX((expires_ns - now_ns()) / NS_PER_SEC, INT64_C(1));
            return e;
        }
        err_free(e);
    }
    TRY(credentials(t, &user, &secret));
    if (*secret != '\0')
        return err_wrap(token_with_secret(t, c, scopes, user, secret, ret_token, ret_seconds),
                        "failed to fetch oauth token");
    return err_wrap(token_by_get(t, c, scopes, NULL, &status, ret_token, ret_seconds),
                    "failed to fetch anonymous token");
}

/* A token becomes part of a header line. */
static bool token_sane(const char *token)
{
    for (const char *p = token; *p != '\0'; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    return *token != '\0' && strlen(token) < LIMIT_HTTP_HEADER_BYTES / 2;
}

static struct error *answer_bearer(const struct auth_target *t, const struct challenge *c, char **ret)
{
    CLEANUP(strv_deinit) struct strv scopes = { 0 };
    CLEANUP(freep) char *token = NULL;
    CLEANUP(freep) char *origin = NULL;
    int64_t seconds = 0;

    if (c->realm == NULL || *c->realm == '\0')
        return err_new(ERR_INVALID, "no realm specified for token auth challenge");
    TRY(err_wrap(exchange_url_origin(c->realm, &origin), "invalid token auth challenge realm"));
    collect_scopes(t, c, &scopes);
    TRY(err_wrap(fetch_token(t, c, &scopes, &token, &seconds), "failed to authorize"));
    if (token == NULL || !token_sane(token))
        return err_new(ERR_INVALID, "failed to authorize: the token of %s is malformed", origin);
    *ret = xasprintf("Bearer %s", token);
    remember(t, *ret, seconds);
    return NULL;
}

struct error *auth_answer(const struct auth_target *t, const struct challenge *c, char **ret)
{
    *ret = NULL;
    switch (c->scheme) {
    case CHALLENGE_BEARER:
        return answer_bearer(t, c, ret);
    case CHALLENGE_BASIC:
        return answer_basic(t, ret);
    case CHALLENGE_NONE:
        break;
    }
    return NULL;
}
