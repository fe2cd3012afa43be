/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network.h - a bridge with NAT and a pool of network namespaces on it
 *
 * One bridge a daemon, in the network namespace of the daemon.  Several daemons may share that namespace:
 * names and subnets are claimed through abstract sockets, which live as long as their owner and belong to the
 * namespace.  What a killed daemon left under a name is removed by the next one that claims it.  The firewall
 * rules stand in one nftables table named like the bridge.
 *
 * Making a namespace costs milliseconds, so that some are kept ready and used ones without privileges come
 * back to the pool. Thread-safe.
 */
#ifndef MINKE_RUN_NETWORK_H
#define MINKE_RUN_NETWORK_H

#include "base/base.h"
#include "base/error.h"

struct network;
struct netns;

struct network_config {
    const char *bridge_name; /* NULL: minke0, minke1, .. the first that is free */
    const char *cidr;        /* "172.17.0.1/16"; NULL: the first of docker's pools that nobody uses */
    size_t pool_size;        /* namespaces kept ready */
};

/* Make bridge and rules.  ERR_FORBIDDEN where this process may not. */
struct error *network_open(const struct network_config *c, struct network **ret) MUST_CHECK;
/* Remove namespaces, rules and bridge.  No namespace may be in use. */
void network_close(struct network *n); /* NULL is fine */
/* Fill the pool up. */
struct error *network_fill(struct network *n) MUST_CHECK;

const char *network_bridge(const struct network *n);  /* borrowed */
const char *network_gateway(const struct network *n); /* "172.17.0.1", borrowed */
const char *network_subnet(const struct network *n);  /* "172.17.0.0/16", borrowed */
unsigned network_prefix(const struct network *n);

/* One from the pool, or a new one. */
struct error *network_acquire(struct network *n, struct netns **ret) MUST_CHECK;
/* Give it back; `clean` says that nobody with privileges was in it, so that it may serve again.  NULL is
 * fine. */
void network_release(struct network *n, struct netns *ns, bool clean);
int netns_fd(const struct netns *ns);          /* borrowed */
const char *netns_ip(const struct netns *ns);  /* borrowed */
const char *netns_mac(const struct netns *ns); /* "02:42:..", borrowed */

/* Send what arrives for host_ip:host_port (host_ip NULL or "0.0.0.0": any local address) to ns:port.  "tcp"
 * or "udp". */
struct port_rule {
    const char *protocol, *host_ip;
    uint16_t host_port, port;
};
struct error *network_publish(struct network *n, const struct netns *ns,
                              const struct port_rule *rule) MUST_CHECK;
void network_unpublish(struct network *n, const struct netns *ns, const struct port_rule *rule);

#endif
