/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hosts.h - which servers stand behind a registry's name, and how to talk to each
 *
 * docker.io is served by registry-1.docker.io; mirrors come before the registry itself.  Plain HTTP is tried
 * first for loopback hosts (unless certificates are installed for them) and only there or where the
 * configuration says so; "insecure" hosts get unverified TLS first and plain HTTP after that.  Certificates
 * of DIR/HOST/ (*.crt roots, *.cert with *.key for the client) are read each time a list is made.
 */
#ifndef MINKE_REGISTRY_HOSTS_H
#define MINKE_REGISTRY_HOSTS_H

#include "registry/exchange.h"
#include "registry/registry.h"

#define REGISTRY_CERTS_DIR "/etc/docker/certs.d"

struct endpoint {
    char *host;      /* "registry-1.docker.io", "localhost:5000": also the name to ask credentials for */
    char *path;      /* "/v2" or "/v2/some/prefix" */
    bool schemes[2]; /* allowed: [0] http, [1] https */
    bool http_first; /* which to try first when both are allowed */
    bool mirror;     /* of another registry: the query names it */
    struct exchange_tls tls;
};
struct endpoints {
    struct endpoint *v;
    size_t len;
};
void endpoints_deinit(struct endpoints *e);
/* The servers of `domain` ("docker.io", "localhost:5000"), in the order to try: mirrors first.  `insecure`:
 * the last one, the registry itself, is trusted on the user's word alone. */
struct error *endpoints_of(const struct registry_config *config, const char *domain, bool insecure,
                           struct endpoints *ret) MUST_CHECK;

/* "localhost:5000", "[::1]:5000". */
bool host_has_port(const char *host);
/* "localhost", 127.0.0.0/8, [::1]; with or without a port. */
bool host_is_loopback(const char *host);
/* Does the list hold the host, or a CIDR that holds its literal address? */
bool host_in_list(const struct strv *list, const char *host);

#endif
