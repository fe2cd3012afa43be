/* SPDX-License-Identifier: Apache-2.0 */
/*
 * auth.h - Authorization headers for registries: Basic, and Bearer tokens with their cache
 *
 * A registry says what it wants in a challenge; the answer is kept per (server, identity, scope), so that
 * neither another identity nor another server ever sees it (security.md B14, C6).  A password goes to the
 * server that asked for it, or to the token server that it named: by TLS, or in clear only where both are the
 * same host or both loopback. The cache is thread-safe; no lock is held while waiting.
 */
#ifndef MINKE_REGISTRY_AUTH_H
#define MINKE_REGISTRY_AUTH_H

#include "registry/challenge.h"
#include "registry/exchange.h"
#include "registry/registry.h"

struct auth_cache;
struct auth_cache *auth_cache_new(void);
void auth_cache_free(struct auth_cache *c);

/* The credentials of one call: those without an identity get one that ends with it. */
struct auth_call {
    struct registry_auth auth;
    struct strv identity;
    const struct registry_auth *use; /* to hand on; NULL: anonymous */
};
void auth_call_begin(struct auth_call *c, const struct registry_auth *auth);
void auth_call_end(struct auth_call *c, struct auth_cache *cache);

/* One server, for one purpose. All borrowed. */
struct auth_target {
    struct auth_cache *cache;
    struct exchange_pool *client;
    const struct exchange_tls *tls;   /* for a token server on the registry's own host */
    const char *origin;               /* "https://registry-1.docker.io" */
    const char *host;                 /* "registry-1.docker.io" */
    const char *scope;                /* "repository:library/busybox:pull" */
    const char *second_scope;         /* of a repository to mount a blob from; NULL */
    const struct registry_auth *auth; /* NULL: anonymous */
    bool fresh;                       /* what the last answer brought was refused */
    int64_t retry_ns;
};
/* The header value that served before ("Bearer .."), or NULL. New string. */
char *auth_find(const struct auth_target *t);
/* Forget it: the server refused it. */
void auth_forget(const struct auth_target *t);
/* Answer a challenge; *ret is NULL when there is nothing to answer with.  Waits for the token server and the
 * client. */
struct error *auth_answer(const struct auth_target *t, const struct challenge *c, char **ret) MUST_CHECK;

#endif
