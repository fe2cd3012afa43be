/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "io/path.h"
#include "run/firewall.h"
#include "run/network_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define SWEEP_NAMES 64
#define MTU_DEFAULT 1500

/* Already on, it need not be writable (in a container /proc/sys is not). */
static struct error *switch_on(const char *path)
{
    CLEANUP(closep) int fd = -1;
    CLEANUP(buf_deinit) struct buf now = { 0 };

    if (file_read(path, &now, 16) == 0 && buf_str(&now)[0] == '1')
        return NULL;
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "1", 1) < 0)
        return err_sys(errno, "write %s", path);
    return NULL;
}

static struct error *make_bridge(struct network *n)
{
    uint32_t mtu = netlink_default_mtu(n->netlink);

    n->mtu = mtu != 0 && mtu < MTU_DEFAULT ? mtu : MTU_DEFAULT;
    TRY_SYS(netlink_bridge_add(n->netlink, n->bridge, n->mtu), "create bridge %s", n->bridge);
    n->made_bridge = true;
    n->bridge_index = netlink_link_index(n->netlink, n->bridge);
    TRY_SYS(n->bridge_index, "find bridge %s", n->bridge);
    TRY_SYS(netlink_address_add(n->netlink, n->bridge_index, n->self, n->prefix), "set the address of %s",
            n->bridge);
    TRY_SYS(netlink_link_up(n->netlink, n->bridge_index), "start bridge %s", n->bridge);
    TRY(switch_on("/proc/sys/net/ipv4/ip_forward"));
    return firewall_open(n->bridge, n->subnet);
}

/* What daemons that were killed left under other names. */
static void sweep_stale(struct network *n)
{
    for (int i = 0; i < SWEEP_NAMES; i++) {
        char name[IFNAMSIZ];
        int index, claimed;

        snprintf(name, sizeof(name), NETWORK_BRIDGE_PREFIX "%d", i);
        index = streq(name, n->bridge) ? -1 : netlink_link_index(n->netlink, name);
        if (index < 0)
            continue;
        claimed = network_claim("bridge", name);
        if (claimed < 0)
            continue;
        log_info("removing the bridge of an earlier daemon", "bridge", name);
        if (netlink_link_delete(n->netlink, index) < 0)
            log_warn("cannot remove the bridge of an earlier daemon", "bridge", name);
        firewall_close(name);
        close(claimed);
    }
}

static struct error *open_all(struct network *n, const struct network_config *c)
{
    TRY_SYS(netlink_open(&n->netlink), "open a netlink socket");
    TRY(network_claim_bridge(n, c->bridge_name));
    int old = netlink_link_index(n->netlink, n->bridge);
    /* The name is ours: what bears it was left by a daemon that is gone, and its subnet is free when it goes.
     */
    if (old >= 0)
        TRY_SYS(netlink_link_delete(n->netlink, old), "remove the old bridge %s", n->bridge);
    sweep_stale(n);
    TRY(network_claim_subnet(n, c->cidr));
    n->used = xcalloc(network_host_count(n) / 8 + 1, 1);
    TRY(make_bridge(n));
    log_info("bridge network is up", "bridge", n->bridge, "subnet", n->subnet);
    return NULL;
}

struct error *network_open(const struct network_config *c, struct network **ret)
{
    struct network *n = NEW(struct network);

    mutex_init(&n->lock);
    n->name_claim = n->subnet_claim = -1;
    n->pool_size = c->pool_size;
    struct error *e = open_all(n, c);
    if (e != NULL) {
        network_close(n);
        return e;
    }
    *ret = n;
    return NULL;
}

void network_close(struct network *n)
{
    if (n == NULL)
        return;
    while (n->pool != NULL) {
        struct netns *ns = n->pool;

        n->pool = ns->next;
        netns_drop(ns); /* the kernel takes the pairs down by itself, and nobody has to wait for each */
    }
    if (n->made_bridge) {
        firewall_close(n->bridge);
        if (n->bridge_index > 0 && netlink_link_delete(n->netlink, n->bridge_index) < 0)
            log_warn("cannot remove the bridge", "bridge", n->bridge);
    }
    netlink_close(n->netlink);
    closep(&n->name_claim);
    closep(&n->subnet_claim);
    free(n->used);
    mutex_deinit(&n->lock);
    free(n);
}

const char *network_bridge(const struct network *n)
{
    return n->bridge;
}

const char *network_gateway(const struct network *n)
{
    return n->gateway;
}

const char *network_subnet(const struct network *n)
{
    return n->subnet;
}

unsigned network_prefix(const struct network *n)
{
    return n->prefix;
}
