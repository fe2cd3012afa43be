/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netlink.h - links, addresses and routes of one network namespace (rtnetlink)
 *
 * A socket speaks for the namespace in which it was opened, whoever uses it later.  The kernel answers at
 * once: nothing here is a wait point.  Low tier: 0, an index, or a negative errno.  One task at a time per
 * socket.  IPv4 addresses are in host order.
 */
#ifndef MINKE_RUN_NETLINK_H
#define MINKE_RUN_NETLINK_H

#include "base/base.h"

struct netlink;

int netlink_open(struct netlink **ret) MUST_CHECK;
/* A new network namespace, and a socket in it. */
int netlink_new_namespace(int *ret_netns_fd, struct netlink **ret) MUST_CHECK;
void netlink_close(struct netlink *nl); /* NULL is fine */
void netlink_closep(struct netlink **nl);

/* The index of the link with that name, or -ENODEV. */
int netlink_link_index(struct netlink *nl, const char *name) MUST_CHECK;
int netlink_link_up(struct netlink *nl, int index) MUST_CHECK;
int netlink_link_delete(struct netlink *nl, int index) MUST_CHECK;
int netlink_bridge_add(struct netlink *nl, const char *name, uint32_t mtu) MUST_CHECK;
/* A pair: `name` here, up and in the bridge `master`, `peer` in the namespace peer_netns_fd with the address
 * `mac`. */
struct veth {
    const char *name, *peer;
    int master, peer_netns_fd;
    uint32_t mtu;
    uint8_t mac[6];
};
int netlink_veth_add(struct netlink *nl, const struct veth *v) MUST_CHECK;
int netlink_address_add(struct netlink *nl, int index, uint32_t ip, unsigned prefix) MUST_CHECK;
int netlink_default_route_add(struct netlink *nl, uint32_t gateway) MUST_CHECK;

/* Every subnet in use, by address or by route; the default route is not one.  `fn` returns true to stop. */
typedef bool (*subnet_fn)(void *ctx, uint32_t base, unsigned prefix);
int netlink_each_subnet(struct netlink *nl, subnet_fn fn, void *ctx) MUST_CHECK;
/* The MTU of the link that the default route leaves by; 0 when there is none. */
uint32_t netlink_default_mtu(struct netlink *nl);

#endif
