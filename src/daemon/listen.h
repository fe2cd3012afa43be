/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.h - where clients knock: unix sockets, tcp, sockets passed by the service manager
 *
 * A unix socket is 0660 and belongs to the configured group; a stale one is replaced, a live one is not.
 * Plain tcp is for loopback: elsewhere TLS with client certificates is required, because whoever may call
 * this API is root on this machine.
 */
#ifndef MINKE_DAEMON_LISTEN_H
#define MINKE_DAEMON_LISTEN_H

#include "daemon/config.h"

struct listener {
    int fd;        /* non-blocking */
    char *address; /* as configured */
    bool tls;
    char *path; /* of a unix socket that we made; removed at close */
};

struct listeners {
    struct listener *v;
    size_t len;
};

/* Call before there are tasks: it changes the umask for a moment. */
struct error *listeners_open(const struct config *c, struct listeners *ret) MUST_CHECK;
void listeners_close(struct listeners *l);

#endif
