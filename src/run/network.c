/* SPDX-License-Identifier: Apache-2.0 */
#include "run/network.h"

#include "base/bytes.h"
#include "base/log.h"
#include "io/path.h"
#include "run/firewall.h"
#include "run/netlink.h"
#include "task/task.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BRIDGE_PREFIX "minke"
#define BRIDGE_TRIES 1000
#define SWEEP_NAMES 64
#define MTU_DEFAULT 1500
#define ADDRESS_LIMIT 65534 /* of one bridge */

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

/* ---- addresses
 * ----------------------------------------------------------------------------------------------------------------
 */

static uint32_t mask_of(unsigned prefix)
{
    return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
}

static void format_ip(char dst[INET_ADDRSTRLEN], uint32_t ip)
{
    struct in_addr a = { htonl(ip) };

    inet_ntop(AF_INET, &a, dst, INET_ADDRSTRLEN);
}

static struct error *parse_cidr(const char *text, uint32_t *ret_ip, unsigned *ret_prefix)
{
    const char *slash = strchr(text, '/');
    CLEANUP(freep) char *ip = slash != NULL ? xstrndup(text, (size_t)(slash - text)) : NULL;
    struct in_addr a;
    uint64_t prefix;

    if (ip == NULL || inet_pton(AF_INET, ip, &a) != 1 || parse_u64(slash + 1, &prefix) < 0 || prefix < 8 ||
        prefix > 30)
        return err_new(ERR_INVALID, "invalid CIDR address: %s", text);
    *ret_ip = ntohl(a.s_addr);
    *ret_prefix = (unsigned)prefix;
    return NULL;
}

static uint32_t host_count(const struct network *n)
{
    return MIN(~mask_of(n->prefix) - 1, (uint32_t)ADDRESS_LIMIT);
}

static struct error *take_address_locked(struct network *n, uint32_t *ret)
{
    uint32_t hosts = host_count(n);

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

/* ---- claims
 * -------------------------------------------------------------------------------------------------------------------
 */

/* An abstract socket of that name: the descriptor, or -EADDRINUSE when another daemon in this namespace holds
 * it. */
static int claim(const char *what, const char *name)
{
    CLEANUP(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    if (fd < 0)
        return -errno;
    int n = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, "minke/%s/%s", what, name);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    if (bind(fd, (struct sockaddr *)&a, len) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static struct error *claim_bridge(struct network *n, const char *name)
{
    int r = -EADDRINUSE;

    for (int i = 0; r == -EADDRINUSE && i < (name != NULL ? 1 : BRIDGE_TRIES); i++) {
        if (name != NULL)
            snprintf(n->bridge, sizeof(n->bridge), "%s", name);
        else
            snprintf(n->bridge, sizeof(n->bridge), BRIDGE_PREFIX "%d", i);
        r = claim("bridge", n->bridge);
    }
    if (r < 0)
        return err_sys(-r, "claim bridge %s", name != NULL ? name : BRIDGE_PREFIX "N");
    n->name_claim = r;
    return NULL;
}

struct overlap {
    uint32_t base;
    unsigned prefix;
    bool found;
};

static bool overlaps(void *ctx, uint32_t base, unsigned prefix)
{
    struct overlap *o = ctx;
    uint32_t mask = mask_of(MIN(prefix, o->prefix));

    /* A default route in two halves covers all and means nothing. */
    o->found = prefix > 1 && (base & mask) == (o->base & mask);
    return o->found;
}

/* Docker's default pools: 172.17 to 172.31 as /16, then 192.168 as /20. */
static bool candidate(unsigned i, uint32_t *base, unsigned *prefix)
{
    if (i < 15) {
        *base = (172u << 24) | ((17u + i) << 16);
        *prefix = 16;
        return true;
    }
    *base = (192u << 24) | (168u << 16) | ((i - 15) << 12);
    *prefix = 20;
    return i < 15 + 16;
}

static void set_subnet(struct network *n, uint32_t self, unsigned prefix)
{
    char base[INET_ADDRSTRLEN];

    n->self = self;
    n->prefix = prefix;
    n->base = self & mask_of(prefix);
    format_ip(n->gateway, n->self);
    format_ip(base, n->base);
    snprintf(n->subnet, sizeof(n->subnet), "%s/%u", base, prefix);
}

static struct error *claim_subnet(struct network *n, const char *cidr)
{
    struct overlap o;

    if (cidr != NULL) {
        uint32_t self = 0;
        unsigned prefix = 0;

        TRY(parse_cidr(cidr, &self, &prefix));
        set_subnet(n, self, prefix);
        return NULL;
    }
    for (unsigned i = 0; candidate(i, &o.base, &o.prefix); i++) {
        o.found = false;
        TRY_SYS(netlink_each_subnet(n->netlink, overlaps, &o), "list routes");
        if (o.found)
            continue;
        set_subnet(n, o.base + 1, o.prefix);
        n->subnet_claim = claim("subnet", n->subnet);
        if (n->subnet_claim >= 0)
            return NULL;
        if (n->subnet_claim != -EADDRINUSE)
            return err_sys(-n->subnet_claim, "claim subnet %s", n->subnet);
    }
    return err_new(ERR_EXHAUSTED, "every subnet of the default address pools is in use");
}

/* ---- the bridge
 * ---------------------------------------------------------------------------------------------------------------
 */

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

        snprintf(name, sizeof(name), BRIDGE_PREFIX "%d", i);
        index = streq(name, n->bridge) ? -1 : netlink_link_index(n->netlink, name);
        if (index < 0)
            continue;
        claimed = claim("bridge", name);
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
    TRY(claim_bridge(n, c->bridge_name));
    int old = netlink_link_index(n->netlink, n->bridge);
    /* The name is ours: what bears it was left by a daemon that is gone, and its subnet is free when it goes.
     */
    if (old >= 0)
        TRY_SYS(netlink_link_delete(n->netlink, old), "remove the old bridge %s", n->bridge);
    sweep_stale(n);
    TRY(claim_subnet(n, c->cidr));
    n->used = xcalloc(host_count(n) / 8 + 1, 1);
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

static void netns_drop(struct netns *ns);

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

/* ---- namespaces
 * ---------------------------------------------------------------------------------------------------------------
 */

/* This thread goes into a new namespace, opens what it needs there and comes back.  0 or -errno. */
static int new_namespace(int *ret_fd, struct netlink **ret_inside)
{
    CLEANUP(closep) int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    CLEANUP(closep) int fd = -1;
    int r = 0;

    if (home < 0 || unshare(CLONE_NEWNET) < 0)
        return -errno;
    fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        r = -errno;
    if (r == 0)
        r = netlink_open(ret_inside);
    /* A thread that is stuck in the wrong network would send other people's traffic there. */
    if (setns(home, CLONE_NEWNET) < 0)
        abort();
    if (r == 0)
        *ret_fd = TAKE_FD(fd);
    return r;
}

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
    format_ip(ns->ip_text, ns->ip);
    set_mac(ns, v.mac);
    mutex_lock(&n->lock);
    int r = netlink_veth_add(n->netlink, &v);
    mutex_unlock(&n->lock);
    TRY_SYS(r, "create interface %s", ns->veth);
    TRY_SYS(configure_inside(n, inside, ns), "configure the interface of a network namespace");
    return NULL;
}

static void netns_drop(struct netns *ns)
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
    int r = new_namespace(&ns->fd, &inside);

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
