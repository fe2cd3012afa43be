/* SPDX-License-Identifier: Apache-2.0 */
/* network_impl.h - the inside of a bridge network: network.c has the bridge, network_claim.c its name and
 * subnet, netns.c the namespaces on it */
#ifndef MINKE_RUN_NETWORK_IMPL_H
#define MINKE_RUN_NETWORK_IMPL_H

#include "run/netlink.h"
#include "run/network.h"
#include "task/task.h"

#include <net/if.h>
#include <netinet/in.h>

struct netns {
    int fd;
    uint32_t ip;
    char ip_text[INET_ADDRSTRLEN], mac_text[18], veth[IFNAMSIZ];
    struct netns *next;
};

struct network {
    struct mutex lock;
    struct netlink *netlink; /* in the daemon's namespace; guarded by lock */
    char bridge[IFNAMSIZ], gateway[INET_ADDRSTRLEN], subnet[INET_ADDRSTRLEN + 3];
    int bridge_index;
    uint32_t base, self; /* subnet and the bridge's address in it, host order */
    unsigned prefix;
    uint32_t mtu;
    int name_claim, subnet_claim; /* abstract sockets that say whose they are */
    bool made_bridge;
    size_t pool_size, pool_count; /* guarded by lock */
    struct netns *pool;           /* guarded by lock */
    uint8_t *used;                /* one bit an address; guarded by lock */
    uint32_t next_address;        /* where the next search begins; guarded by lock */
};

#define NETWORK_BRIDGE_PREFIX "minke" /* of names that nobody gave */

void network_format_ip(char dst[INET_ADDRSTRLEN], uint32_t ip); /* in host order */
uint32_t network_host_count(const struct network *n);           /* addresses that it hands out */

/* Claim a name or a subnet: the descriptor that holds it, or -EADDRINUSE when another daemon in this
 * namespace does. */
int network_claim(const char *what, const char *name) MUST_CHECK;
/* n->bridge and n->name_claim; `name` NULL: the first that is free. */
struct error *network_claim_bridge(struct network *n, const char *name) MUST_CHECK;
/* n->base, self, prefix and their texts; `cidr` NULL: the first of docker's pools that nobody uses. */
struct error *network_claim_subnet(struct network *n, const char *cidr) MUST_CHECK;

void netns_drop(struct netns *ns); /* without taking its interface down: the kernel does, in its own time */

#endif
