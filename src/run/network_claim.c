/* SPDX-License-Identifier: Apache-2.0 */
/* network_claim.c - which name and which subnet a bridge has: claimed through abstract sockets (network.h) */
#include "run/network_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#define BRIDGE_TRIES 1000
#define ADDRESS_LIMIT 65534 /* of one bridge */

static uint32_t mask_of(unsigned prefix)
{
    return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
}

void network_format_ip(char dst[INET_ADDRSTRLEN], uint32_t ip)
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

uint32_t network_host_count(const struct network *n)
{
    return MIN(~mask_of(n->prefix) - 1, (uint32_t)ADDRESS_LIMIT);
}

int network_claim(const char *what, const char *name)
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

struct error *network_claim_bridge(struct network *n, const char *name)
{
    int r = -EADDRINUSE;

    for (int i = 0; r == -EADDRINUSE && i < (name != NULL ? 1 : BRIDGE_TRIES); i++) {
        if (name != NULL)
            snprintf(n->bridge, sizeof(n->bridge), "%s", name);
        else
            snprintf(n->bridge, sizeof(n->bridge), NETWORK_BRIDGE_PREFIX "%d", i);
        r = network_claim("bridge", n->bridge);
    }
    if (r < 0)
        return err_sys(-r, "claim bridge %s", name != NULL ? name : NETWORK_BRIDGE_PREFIX "N");
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
    network_format_ip(n->gateway, n->self);
    network_format_ip(base, n->base);
    snprintf(n->subnet, sizeof(n->subnet), "%s/%u", base, prefix);
}

struct error *network_claim_subnet(struct network *n, const char *cidr)
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
        n->subnet_claim = network_claim("subnet", n->subnet);
        if (n->subnet_claim >= 0)
            return NULL;
        if (n->subnet_claim != -EADDRINUSE)
            return err_sys(-n->subnet_claim, "claim subnet %s", n->subnet);
    }
    return err_new(ERR_EXHAUSTED, "every subnet of the default address pools is in use");
}
