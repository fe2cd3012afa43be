/* SPDX-License-Identifier: Apache-2.0 */
/* netns.c - network namespaces on a bridge: their addresses, making them, and those that are kept ready */
#include "base/bytes.h"
#include "base/log.h"
#include "run/firewall.h"
#include "run/network_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

/* ---- addresses ---- */

static struct error *take_address_locked(struct network *n, uint32_t *ret)
{
    uint32_t hosts = network_host_count(n);

    for (uint32_t i = 0; i < hosts; i++) {
        uint32_t host = (n->next_address + i) % hosts;

        if ((n->used[host / 8] & (1 << host % 8)) != 0 || n->base + 1 + host == n->self)
            continue;
        n->used[host / 8] |= (uint8_t)(1 << host % 8);
        n->next_address = (host + 1) % hosts;
        *ret = n->base + 1 + host;
        return NULL;
    }
    return err_new(ERR_EXHAUSTED, "no free address is left in %s", n->subnet);
}

static void free_address_locked(struct network *n, uint32_t ip)
{
    uint32_t host = ip - n->base - 1;

    n->used[host / 8] &= (uint8_t) ~(1 << host % 8);
}

/* ---- namespaces ---- */

static int configure_inside(struct network *n, struct netlink *inside, const struct netns *ns)
{
    int lo = netlink_link_index(inside, "lo");
    int eth = netlink_link_index(inside, "eth0");
    int r = lo < 0 ? lo : eth < 0 ? eth : netlink_link_up(inside, lo);

    if (r == 0)
        r = netlink_address_add(inside, eth, ns->ip, n->prefix);
    if (r == 0)
        r = netlink_link_up(inside, eth);
    return r == 0 ? netlink_default_route_add(inside, n->self) : r;
}

/* As docker does: the address follows from the IP, so that ARP caches stay right. */
static void set_mac(struct netns *ns, uint8_t mac[6])
{
    const uint8_t bytes[6] = {
        0x02, 0x42, (uint8_t)(ns->ip >> 24), (uint8_t)(ns->ip >> 16), (uint8_t)(ns->ip >> 8), (uint8_t)ns->ip
    };

    memcpy(mac, bytes, sizeof(bytes));
    snprintf(ns->mac_text, sizeof(ns->mac_text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
             mac[3], mac[4], mac[5]);
}

static struct error *connect_netns(struct network *n, struct netns *ns, struct netlink *inside)
{
    struct veth v = {
        .name = ns->veth, .peer = "eth0", .master = n->bridge_index, .peer_netns_fd = ns->fd, .mtu = n->mtu
    };
    char suffix[9];
    struct error *e;

    mutex_lock(&n->lock);
    e = take_address_locked(n, &ns->ip);
    mutex_unlock(&n->lock);
    TRY(e);
    random_hex(suffix, 4);
    snprintf(ns->veth, sizeof(ns->veth), "veth%s", suffix);
    network_format_ip(ns->ip_text, ns->ip);
    set_mac(ns, v.mac);
    mutex_lock(&n->lock);
    int r = netlink_veth_add(n->netlink, &v);
    mutex_unlock(&n->lock);
    TRY_SYS(r, "create interface %s", ns->veth);
    TRY_SYS(configure_inside(n, inside, ns), "configure the interface of a network namespace");
    return NULL;
}

void netns_drop(struct netns *ns)
{
    closep(&ns->fd);
    free(ns);
}

static void netns_destroy(struct network *n, struct netns *ns)
{
    mutex_lock(&n->lock);
    /* The pair goes with the namespace, but only when the kernel gets to it: an early end frees the bridge's
     * port. */
    int index = ns->veth[0] != '\0' ? netlink_link_index(n->netlink, ns->veth) : -1;
    if (index > 0 && netlink_link_delete(n->netlink, index) < 0)
        log_debug("the interface is gone already", "interface", ns->veth);
    if (ns->ip != 0)
        free_address_locked(n, ns->ip);
    mutex_unlock(&n->lock);
    netns_drop(ns);
}

static struct error *netns_new(struct network *n, struct netns **ret)
{
    CLEANUP(netlink_closep) struct netlink *inside = NULL;
    struct netns *ns = NEW(struct netns);
    int r = netlink_new_namespace(&ns->fd, &inside);

    if (r < 0) {
        free(ns);
        return err_sys(-r, "create a network namespace");
    }
    struct error *e = connect_netns(n, ns, inside);
    if (e != NULL) {
        netns_destroy(n, ns);
        return e;
    }
    *ret = ns;
    return NULL;
}

/* Into the pool, unless it is full. */
static bool pool_put(struct network *n, struct netns *ns)
{
    mutex_lock(&n->lock);
    bool room = n->pool_count < n->pool_size;
    if (room) {
        ns->next = n->pool;
        n->pool = ns;
        n->pool_count++;
    }
    mutex_unlock(&n->lock);
    return room;
}

static struct netns *pool_take(struct network *n)
{
    mutex_lock(&n->lock);
    struct netns *ns = n->pool;
    if (ns != NULL) {
        n->pool = ns->next;
        ns->next = NULL;
        n->pool_count--;
    }
    mutex_unlock(&n->lock);
    return ns;
}

struct error *network_fill(struct network *n)
{
    for (size_t i = 0; i < n->pool_size; i++) {
        struct netns *ns = NULL;

        TRY(task_check());
        TRY(netns_new(n, &ns));
        if (!pool_put(n, ns)) {
            netns_destroy(n, ns);
            break;
        }
    }
    return NULL;
}

struct error *network_acquire(struct network *n, struct netns **ret)
{
    struct netns *ns = pool_take(n);

    if (ns == NULL)
        TRY(netns_new(n, &ns));
    *ret = ns;
    return NULL;
}

void network_release(struct network *n, struct netns *ns, bool clean)
{
    if (ns != NULL && !(clean && pool_put(n, ns)))
        netns_destroy(n, ns);
}

int netns_fd(const struct netns *ns)
{
    return ns->fd;
}

const char *netns_ip(const struct netns *ns)
{
    return ns->ip_text;
}

const char *netns_mac(const struct netns *ns)
{
    return ns->mac_text;
}

struct error *network_publish(struct network *n, const struct netns *ns, const struct port_rule *rule)
{
    return firewall_publish(n->bridge, rule->protocol, rule->host_ip, rule->host_port, ns->ip_text,
                            rule->port);
}

void network_unpublish(struct network *n, const struct netns *ns, const struct port_rule *rule)
{
    firewall_unpublish(n->bridge, rule->protocol, rule->host_ip, rule->host_port);
}
