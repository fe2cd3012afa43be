/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h - a request to a registry: which scheme, with which credentials, through redirects, tried again
 * when it may help
 *
 *   registry_send        tries again after broken connections, 429 and 5xx
 *     one scheme         http or https, remembered for each host once one worked
 *       one answer       a challenge is answered at most twice
 *         redirects      followed by us: credentials and client certificates stay with the origin
 * (security.md C6)
 */
#ifndef MINKE_REGISTRY_CLIENT_H
#define MINKE_REGISTRY_CLIENT_H

#include "registry/auth.h"
#include "registry/hosts.h"
#include "registry/exchange.h"
#include "registry/registry.h"
#include "task/task.h"

struct registry {
    const struct registry_config *_Atomic config; /* borrowed; the newest, older ones stay valid */
    struct exchange_pool *client;
    struct auth_cache *tokens;
    struct semaphore downloads, uploads;
    struct mutex lock;
    struct map plain_hosts; /* under lock: hosts that turned out to speak http (value "http") or https */
};

struct registry_query {
    const struct endpoint *endpoint;
    const struct reference *ref;      /* path "": the registry itself, "/v2/" */
    const struct registry_auth *auth; /* NULL: anonymous */
    const char *method;               /* "GET", "HEAD", "POST", "PUT" */
    const char *path;                 /* "manifests/latest" */
    const char *url;                  /* an address that the registry gave, in place of path; NULL */
    bool foreign;                     /* url is of another origin: it sees no credentials of ours */
    bool push;                        /* ask for "pull,push" */
    const char *mount_from;           /* and for "pull" of that repository too; NULL */
    const struct strv *headers;       /* NULL */
    bool last;                        /* no other server can be asked: be patient with this one */
    /* PUT: the body, opened for every attempt. */
    struct error *(*open_body)(void *ctx, struct stream **ret);
    void (*sent)(void *ctx, int64_t bytes); /* may be NULL */
    void *body_ctx;
    int64_t body_size;
};
/* The final answer: any status that is no redirect, no 401 that we can answer and no 5xx that goes away.
 * Errors: ERR_UNAUTHORIZED "pull access denied, ...", "push access denied, ..."; as exchange_open. */
struct error *registry_send(struct registry *r, const struct registry_query *q,
                            struct exchange **ret) MUST_CHECK;
/* What an error of this answer says; reads the body. */
struct error *registry_refusal(struct exchange *x, const struct registry_query *q) MUST_CHECK;

#endif
