/* SPDX-License-Identifier: Apache-2.0 */
#include "run/netlink.h"

#include "io/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <unistd.h>

#define REPLY_SIZE 32768  /* the kernel's largest dump chunk */
#define REQUEST_SIZE 1024 /* the largest of ours, a veth pair, has about 200 bytes */

struct netlink {
    struct mnl_socket *socket;
    unsigned sequence, port;
    char reply[REPLY_SIZE];
};

int netlink_open(struct netlink **ret)
{
    struct netlink *nl = NEW(struct netlink);

    nl->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (nl->socket == NULL || mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        int r = -errno;

        netlink_close(nl);
        return r;
    }
    nl->port = mnl_socket_get_portid(nl->socket);
    *ret = nl;
    return 0;
}

static int open_inside(void *ret)
{
    return netlink_open(ret);
}

int netlink_new_namespace(int *ret_netns_fd, struct netlink **ret)
{
    return netns_make(open_inside, ret, ret_netns_fd);
}

void netlink_close(struct netlink *nl)
{
    if (nl == NULL)
        return;
    if (nl->socket != NULL)
        mnl_socket_close(nl->socket);
    free(nl);
}

void netlink_closep(struct netlink **nl)
{
    netlink_close(*nl);
    *nl = NULL;
}

/* Send one request and run `fn` (may be NULL) on every message of the answer. */
static int request(struct netlink *nl, struct nlmsghdr *h, uint16_t flags, mnl_cb_t fn, void *ctx)
{
    int r = MNL_CB_OK;

    h->nlmsg_flags = NLM_F_REQUEST | flags;
    h->nlmsg_seq = ++nl->sequence;
    if (mnl_socket_sendto(nl->socket, h, h->nlmsg_len) < 0)
        return -errno;
    while (r > MNL_CB_STOP) {
        ssize_t n = mnl_socket_recvfrom(nl->socket, nl->reply, sizeof(nl->reply));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        r = mnl_cb_run(nl->reply, (size_t)n, nl->sequence, nl->port, fn, ctx);
        if (r < 0)
            return -errno;
    }
    return 0;
}

static struct ifinfomsg *link_message(void *buffer, struct nlmsghdr **h, uint16_t type)
{
    struct ifinfomsg *info;

    *h = mnl_nlmsg_put_header(buffer);
    (*h)->nlmsg_type = type;
    info = mnl_nlmsg_put_extra_header(*h, sizeof(*info));
    info->ifi_family = AF_UNSPEC;
    return info;
}

/* ---- links
 * --------------------------------------------------------------------------------------------------------------------
 */

static int take_index(const struct nlmsghdr *h, void *ctx)
{
    const struct ifinfomsg *info = mnl_nlmsg_get_payload(h);

    *(int *)ctx = info->ifi_index;
    return MNL_CB_OK;
}

int netlink_link_index(struct netlink *nl, const char *name)
{
    char buffer[REQUEST_SIZE];
    struct nlmsghdr *h;
    int index = -ENODEV;

    link_message(buffer, &h, RTM_GETLINK);
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    int r = request(nl, h, NLM_F_ACK, take_index, &index);
    return r < 0 ? r : index;
}

int netlink_link_up(struct netlink *nl, int index)
{
    char buffer[REQUEST_SIZE];
    struct nlmsghdr *h;
    struct ifinfomsg *info = link_message(buffer, &h, RTM_NEWLINK);

    info->ifi_index = index;
    info->ifi_flags = IFF_UP;
    info->ifi_change = IFF_UP;
    return request(nl, h, NLM_F_ACK, NULL, NULL);
}

int netlink_link_delete(struct netlink *nl, int index)
{
    char buffer[REQUEST_SIZE];
    struct nlmsghdr *h;
    struct ifinfomsg *info = link_message(buffer, &h, RTM_DELLINK);

    info->ifi_index = index;
    return request(nl, h, NLM_F_ACK, NULL, NULL);
}

int netlink_bridge_add(struct netlink *nl, const char *name, uint32_t mtu)
{
    char buffer[REQUEST_SIZE];
    struct nlmsghdr *h;
    struct ifinfomsg *info = link_message(buffer, &h, RTM_NEWLINK);

    info->ifi_flags = IFF_UP;
    info->ifi_change = IFF_UP;
    mnl_attr_put_strz(h, IFLA_IFNAME, name);
    mnl_attr_put_u32(h, IFLA_MTU, mtu);
    struct nlattr *nest = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_KIND, "bridge");
    mnl_attr_nest_end(h, nest);
    return request(nl, h, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, NULL, NULL);
}

int netlink_veth_add(struct netlink *nl, const struct veth *v)
{
    char buffer[REQUEST_SIZE];
    struct nlmsghdr *h;
    struct ifinfomsg *info = link_message(buffer, &h, RTM_NEWLINK);

    info->ifi_flags = IFF_UP;
    info->ifi_change = IFF_UP;
    mnl_attr_put_strz(h, IFLA_IFNAME, v->name);
    mnl_attr_put_u32(h, IFLA_MTU, v->mtu);
    mnl_attr_put_u32(h, IFLA_MASTER, (uint32_t)v->master);
    struct nlattr *link = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_strz(h, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
    struct nlattr *peer = mnl_attr_nest_start(h, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(h, IFLA_IFNAME, v->peer);
    mnl_attr_put_u32(h, IFLA_MTU, v->mtu);
    mnl_attr_put(h, IFLA_ADDRESS, sizeof(v->mac), v->mac);
    mnl_attr_put_u32(h, IFLA_NET_NS_FD, (uint32_t)v->peer_netns_fd);
    mnl_attr_nest_end(h, peer);
    mnl_attr_nest_end(h, data);
    mnl_attr_nest_end(h, link);
    return request(nl, h, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, NULL, NULL);
}

/* ---- addresses and routes
 * ----------------------------------------------------------------------------------------------------- */

int netlink_address_add(struct netlink *nl, int index, uint32_t ip, unsigned prefix)
{
    char buffer[REQUEST_SIZE];
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    struct ifaddrmsg *a;
    uint32_t broadcast = prefix < 31 ? ip | (UINT32_MAX >> prefix) : 0;

    h->nlmsg_type = RTM_NEWADDR;
    a = mnl_nlmsg_put_extra_header(h, sizeof(*a));
    a->ifa_family = AF_INET;
    a->ifa_prefixlen = (uint8_t)prefix;
    a->ifa_scope = RT_SCOPE_UNIVERSE;
    a->ifa_index = (unsigned)index;
    mnl_attr_put_u32(h, IFA_LOCAL, htonl(ip));
    mnl_attr_put_u32(h, IFA_ADDRESS, htonl(ip));
    if (broadcast != 0)
        mnl_attr_put_u32(h, IFA_BROADCAST, htonl(broadcast));
    return request(nl, h, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, NULL, NULL);
}

static struct rtmsg *route_message(void *buffer, struct nlmsghdr **h, uint16_t type)
{
    struct rtmsg *route;

    *h = mnl_nlmsg_put_header(buffer);
    (*h)->nlmsg_type = type;
    route = mnl_nlmsg_put_extra_header(*h, sizeof(*route));
    route->rtm_family = AF_INET;
    return route;
}

int netlink_default_route_add(struct netlink *nl, uint32_t gateway)
{
    char buffer[REQUEST_SIZE];
    struct nlmsghdr *h;
    struct rtmsg *route = route_message(buffer, &h, RTM_NEWROUTE);

    route->rtm_table = RT_TABLE_MAIN;
    route->rtm_protocol = RTPROT_BOOT;
    route->rtm_scope = RT_SCOPE_UNIVERSE;
    route->rtm_type = RTN_UNICAST;
    mnl_attr_put_u32(h, RTA_GATEWAY, htonl(gateway));
    return request(nl, h, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, NULL, NULL);
}

struct route_scan {
    subnet_fn fn;
    void *ctx;
    bool stopped;
    uint32_t default_link;
};

static int scan_attribute(const struct nlattr *attr, void *ctx)
{
    const struct nlattr **table = ctx;
    uint16_t type = mnl_attr_get_type(attr);

    if (type <= RTA_MAX)
        table[type] = attr;
    return MNL_CB_OK;
}

static int scan_route(const struct nlmsghdr *h, void *ctx)
{
    struct route_scan *scan = ctx;
    const struct rtmsg *route = mnl_nlmsg_get_payload(h);
    const struct nlattr *attrs[RTA_MAX + 1] = { 0 };

    if (route->rtm_family != AF_INET || route->rtm_table == RT_TABLE_LOCAL)
        return MNL_CB_OK;
    mnl_attr_parse(h, sizeof(*route), scan_attribute, attrs);
    if (attrs[RTA_DST] == NULL) {
        if (attrs[RTA_OIF] != NULL && scan->default_link == 0)
            scan->default_link = mnl_attr_get_u32(attrs[RTA_OIF]);
        return MNL_CB_OK;
    }
    if (scan->fn != NULL && !scan->stopped)
        scan->stopped = scan->fn(scan->ctx, ntohl(mnl_attr_get_u32(attrs[RTA_DST])), route->rtm_dst_len);
    return MNL_CB_OK;
}

static int scan_address(const struct nlmsghdr *h, void *ctx)
{
    struct route_scan *scan = ctx;
    const struct ifaddrmsg *a = mnl_nlmsg_get_payload(h);
    const struct nlattr *attrs[RTA_MAX + 1] = { 0 };

    mnl_attr_parse(h, sizeof(*a), scan_attribute, attrs);
    if (a->ifa_family == AF_INET && attrs[IFA_ADDRESS] != NULL && !scan->stopped)
        scan->stopped = scan->fn(scan->ctx, ntohl(mnl_attr_get_u32(attrs[IFA_ADDRESS])), a->ifa_prefixlen);
    return MNL_CB_OK;
}

static int dump_routes(struct netlink *nl, struct route_scan *scan)
{
    char buffer[REQUEST_SIZE];
    struct nlmsghdr *h;

    route_message(buffer, &h, RTM_GETROUTE);
    return request(nl, h, NLM_F_DUMP, scan_route, scan);
}

int netlink_each_subnet(struct netlink *nl, subnet_fn fn, void *ctx)
{
    char buffer[REQUEST_SIZE];
    struct route_scan scan = { .fn = fn, .ctx = ctx };
    struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
    struct ifaddrmsg *a;
    int r = dump_routes(nl, &scan);

    if (r < 0)
        return r;
    h->nlmsg_type = RTM_GETADDR;
    a = mnl_nlmsg_put_extra_header(h, sizeof(*a));
    a->ifa_family = AF_INET;
    return request(nl, h, NLM_F_DUMP, scan_address, &scan);
}

static int take_mtu(const struct nlmsghdr *h, void *ctx)
{
    const struct nlattr *attr;

    mnl_attr_for_each(attr, h, sizeof(struct ifinfomsg))
    {
        if (mnl_attr_get_type(attr) == IFLA_MTU)
            *(uint32_t *)ctx = mnl_attr_get_u32(attr);
    }
    return MNL_CB_OK;
}

uint32_t netlink_default_mtu(struct netlink *nl)
{
    char buffer[REQUEST_SIZE];
    struct route_scan scan = { 0 };
    struct nlmsghdr *h;
    uint32_t mtu = 0;

    if (dump_routes(nl, &scan) < 0 || scan.default_link == 0)
        return 0;
    link_message(buffer, &h, RTM_GETLINK)->ifi_index = (int)scan.default_link;
    return request(nl, h, NLM_F_ACK, take_mtu, &mtu) < 0 ? 0 : mtu;
}
