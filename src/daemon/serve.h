/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - accept connections and give each a task
 *
 * What is spoken on a connection is the caller's (struct service): serve.c knows sockets, TLS, limits and the
 * end of it all.
 */
#ifndef MINKE_DAEMON_SERVE_H
#define MINKE_DAEMON_SERVE_H

#include "daemon/listen.h"
#include "io/stream.h"
#include "task/task.h"

#include <stdatomic.h>

struct service {
    /* Serve one connection to its end; `s` is taken. */
    struct error *(*connection)(struct stream *s, void *ctx);
    /* What has begun and should be let finish at shutdown: builds, requests. */
    size_t (*busy)(void *ctx);
    void *ctx;
};

struct server {
    const struct config *config;
    struct listeners *listeners;
    struct service service;
    struct group accepting;   /* one task a listener */
    struct group connections; /* one task a connection */
    atomic_size_t open;       /* connections */
};

/* Start to accept; returns at once.  All arguments are borrowed until server_stop. */
struct error *server_start(struct server *s, const struct config *c, struct listeners *l,
                           const struct service *service) MUST_CHECK;
/* Accept no more; wait until nothing is busy, at most `timeout_ns` or until the current scope is cancelled;
 * then end all connections and join their tasks. */
void server_stop(struct server *s, int64_t timeout_ns);

#endif
