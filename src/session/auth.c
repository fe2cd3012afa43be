/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.c - the client's registry credentials (protocol.md 4.3)
 *
 * A client that is a token authority fetches tokens itself, so that its password never comes here.  Its
 * tokens are kept by the key it proves to own: another session with the same credentials derives the same key
 * from our salt, signs a nonce, and is served from here without asking the token server again (security.md
 * B14).
 */
#include <openssl/evp.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "registry/registry.h"
#include "session/impl.h"

#define AUTH_TIMEOUT_NS (60 * NS_PER_SEC)
#define AUTH "/moby.filesync.v1.Auth/"
#define CLIENT_ID "buildkit-client"
#define KEY_LEN 32
#define SIGNATURE_LEN 64
#define NONCE_LEN 32
#define DEFAULT_EXPIRY_SECONDS 60

/* One bounded call. */
#define AUTH_CALL(s, method, request, desc, arena, ret)                                                      \
    ({                                                                                                       \
        struct deadline auth_d_;                                                                             \
        deadline_begin(&auth_d_, AUTH_TIMEOUT_NS);                                                           \
        struct error *auth_e_ = rpc_unary((s)->conn, AUTH method, NULL, request, desc, arena, ret);          \
        deadline_end(&auth_d_);                                                                              \
        auth_e_;                                                                                             \
    })

/* ---- Credentials ---- */

struct credentials {
    const char *host;
    char *user, *secret;
};

static struct error *ask_credentials(struct session *s, void *ctx)
{
    struct credentials *c = ctx;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__CredentialsRequest request = SESS__CREDENTIALS_REQUEST__INIT;
    Sess__CredentialsResponse *response;

    request.host = (char *)c->host;
    struct error *e = AUTH_CALL(s, "Credentials", &request.base, &sess__credentials_response__descriptor,
                                &arena, &response);

    if (err_is(e, ERR_UNIMPLEMENTED)) {
        err_free(e);
        return NULL; /* anonymous */
    }
    TRY(e);
    c->user = xstrdup(response->username);
    c->secret = xstrdup(response->secret);
    return NULL;
}

/* No session, or none that is alive: anonymous. */
static bool no_session(const struct error *e)
{
    return err_is(e, ERR_NOT_FOUND) && (streq(e->message, "no active sessions"));
}

static struct error *credentials(void *ctx, const char *host, char **ret_user, char **ret_secret)
{
    struct credentials c = { .host = host };
    struct error *e = session_group_any(ctx, ask_credentials, &c);

    if (no_session(e))
        err_freep(&e);
    *ret_user = c.user;
    *ret_secret = c.secret;
    return e;
}

/* ---- tokens ---- */

struct token_request {
    const char *host, *realm, *service;
    const struct strv *scopes;
    bool fresh;
    char *token;
    int64_t expires_ns;
};

struct kept_token {
    int64_t expires_ns;
    char token[];
};

static struct error *ask_authority(struct session *s, const char *host, uint8_t key[KEY_LEN])
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__GetTokenAuthorityRequest request = SESS__GET_TOKEN_AUTHORITY_REQUEST__INIT;
    Sess__GetTokenAuthorityResponse *response;

    request.host = (char *)host;
    request.salt = pb_bytes(s->manager->salt, SESSION_SALT_LEN);
    struct error *e = AUTH_CALL(s, "GetTokenAuthority", &request.base,
                                &sess__get_token_authority_response__descriptor, &arena, &response);

    if (err_is(e, ERR_UNAVAILABLE)) {
        err_free(e);
        return err_new(ERR_UNIMPLEMENTED, "the client is no token authority");
    }
    TRY(e);
    if (response->public_key.len != KEY_LEN)
        return err_new(ERR_INVALID, "invalid pubkey length %zu", response->public_key.len);
    memcpy(key, response->public_key.data, KEY_LEN);
    return NULL;
}

static bool signature_fits(const uint8_t key[KEY_LEN], const uint8_t *signature, const void *message,
                           size_t len)
{
    EVP_PKEY *k = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, key, KEY_LEN);
    EVP_MD_CTX *m = EVP_MD_CTX_new();
    bool good = k != NULL && m != NULL && EVP_DigestVerifyInit(m, NULL, NULL, NULL, k) == 1 &&
                EVP_DigestVerify(m, signature, SIGNATURE_LEN, message, len) == 1;

    EVP_MD_CTX_free(m);
    EVP_PKEY_free(k);
    return good;
}

/* Does the session own the private key? The answer is signature || nonce, as NaCl signs. */
static struct error *verify_authority(struct session *s, const char *host, const uint8_t key[KEY_LEN],
                                      bool *ret)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__VerifyTokenAuthorityRequest request = SESS__VERIFY_TOKEN_AUTHORITY_REQUEST__INIT;
    Sess__VerifyTokenAuthorityResponse *response;
    uint8_t nonce[NONCE_LEN];

    random_bytes(nonce, sizeof(nonce));
    request.host = (char *)host;
    request.payload = pb_bytes(nonce, sizeof(nonce));
    request.salt = pb_bytes(s->manager->salt, SESSION_SALT_LEN);
    TRY(AUTH_CALL(s, "VerifyTokenAuthority", &request.base,
                  &sess__verify_token_authority_response__descriptor, &arena, &response));
    const ProtobufCBinaryData *sig = &response->signature;

    *ret = sig->len == SIGNATURE_LEN + NONCE_LEN &&
           memcmp(sig->data + SIGNATURE_LEN, nonce, NONCE_LEN) == 0 &&
           signature_fits(key, sig->data, nonce, NONCE_LEN);
    return NULL;
}

static char *token_key(const struct token_request *t, const uint8_t key[KEY_LEN])
{
    CLEANUP(freep) char *scopes = strv_join(t->scopes, " ");
    char hex[2 * KEY_LEN + 1];

    hex_encode(hex, key, KEY_LEN);
    return xasprintf("%s\n%s\n%s\n%s\n%s", hex, t->host, t->realm, t->service, scopes);
}

static bool find_kept(struct session_manager *m, const char *key, struct token_request *t)
{
    mutex_lock(&m->lock);
    const struct kept_token *k = map_get(&m->tokens, key);
    bool good = k != NULL && k->expires_ns > now_ns();

    if (good) {
        t->token = xstrdup(k->token);
        t->expires_ns = k->expires_ns;
    }
    mutex_unlock(&m->lock);
    return good;
}

static void keep(struct session_manager *m, const char *key, const struct token_request *t)
{
    size_t len = strlen(t->token) + 1;
    struct kept_token *k = xmalloc(sizeof(*k) + len);

    k->expires_ns = t->expires_ns;
    memcpy(k->token, t->token, len);
    mutex_lock(&m->lock);
    while (m->tokens.len >= LIMIT_SESSION_TOKENS)
        map_remove(&m->tokens, m->tokens.entries[0].key);
    map_set(&m->tokens, key, k);
    mutex_unlock(&m->lock);
}

static struct error *fetch_token(struct session *s, struct token_request *t)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Sess__FetchTokenRequest request = SESS__FETCH_TOKEN_REQUEST__INIT;
    Sess__FetchTokenResponse *response;

    request.client_id = (char *)CLIENT_ID;
    request.host = (char *)t->host;
    request.realm = (char *)t->realm;
    request.service = (char *)t->service;
    request.scopes = pb_from_strv(&arena, t->scopes, &request.n_scopes);
    TRY(AUTH_CALL(s, "FetchToken", &request.base, &sess__fetch_token_response__descriptor, &arena,
                  &response));
    int64_t seconds =
        response->expires_in > 0 ? MIN(response->expires_in, INT64_C(86400)) : DEFAULT_EXPIRY_SECONDS;

    t->token = xstrdup(response->token);
    t->expires_ns = now_ns() + seconds * (NS_PER_SEC / 10 * 9);
    return NULL;
}

static struct error *token_of(struct session *s, void *ctx)
{
    struct token_request *t = ctx;
    uint8_t authority[KEY_LEN];
    bool owner = false;

    TRY(ask_authority(s, t->host, authority));
    CLEANUP(freep) char *key = token_key(t, authority);

    if (!t->fresh && find_kept(s->manager, key, t)) {
        struct error *e = verify_authority(s, t->host, authority, &owner);

        if (e == NULL && owner)
            return NULL;
        err_free(e); /* it can still fetch one of its own */
        free(TAKE(t->token));
        return fetch_token(s, t);
    }
    TRY(fetch_token(s, t));
    /* what it claims is kept for others only if it can prove it */
    TRY(verify_authority(s, t->host, authority, &owner));
    if (owner)
        keep(s->manager, key, t);
    return NULL;
}

static struct error *token(void *ctx, const char *host, const char *realm, const char *service,
                           const struct strv *scopes, bool fresh, char **ret_token, int64_t *ret_expires_ns)
{
    struct token_request t = {
        .host = host, .realm = realm, .service = service, .scopes = scopes, .fresh = fresh
    };
    struct error *e = session_group_any(ctx, token_of, &t);

    if (no_session(e)) {
        err_free(e);
        return err_new(ERR_UNIMPLEMENTED, "no session");
    }
    if (e != NULL) {
        free(t.token);
        return e;
    }
    *ret_token = t.token;
    *ret_expires_ns = t.expires_ns;
    return NULL;
}

void session_registry_auth(const struct session_group *g, struct registry_auth *out)
{
    *out = (struct registry_auth){
        .ctx = (void *)g, .identity = &g->ids, .credentials = credentials, .token = token
    };
}
