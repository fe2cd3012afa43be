/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy.h - the HTTP proxy of one step: every request is put to the build's policies, passed on, and recorded
 *
 *     http://   the request as it stands
 *     CONNECT   TLS is ended here with a certificate of our own (authority.h), and begun again towards the
 * server, whose certificate is verified as always
 *
 * Towards the world libcurl speaks, on sockets in the network namespace that the step's network mode gives.
 * Redirections are the client's to follow, so that each is a request of its own.  Bodies stream both ways.
 * Facts are those of BuildKit's docs/proxy.md.
 */
#ifndef MINKE_PROXY_PROXY_H
#define MINKE_PROXY_PROXY_H

#include "io/stream.h"
#include "proxy/record.h"

struct exchange_tls;
/* Borrowed, all of it. */
struct proxy_policy {
    /* May this be asked for?  *ret_url: what is asked for instead (new string), NULL: just that.  NULL: all
     * may. */
    struct error *(*check)(void *ctx, const char *url, char **ret_url);
    void *ctx;
    const struct exchange_tls *tls; /* how servers are trusted; NULL: by the system's roots */
};

struct proxy;
/* Errors: the environment names proxies that are none, no certificate can be made. */
struct error *proxy_new(const struct proxy_policy *policy, struct proxy **ret) MUST_CHECK;
/* Nothing is served any more. NULL is fine. */
void proxy_free(struct proxy *p);
void proxy_freep(struct proxy **p);
/* What the step has to trust: a certificate (PEM).  Borrowed; of the process. */
const char *proxy_ca(const struct proxy *p);
struct proxy_record *proxy_record(struct proxy *p); /* borrowed */

/* Serve a connection of the step (taken) to its end; as run_gate.serve.  `egress_netns_fd` is borrowed until
 * proxy_free(), and the same at each call. */
struct error *proxy_serve(void *proxy, struct stream *conn, int egress_netns_fd) MUST_CHECK;

#endif
