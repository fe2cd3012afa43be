/* SPDX-License-Identifier: Apache-2.0 */
#include "run/gate.h"

#include "base/bytes.h"
#include "io/netns.h"
#include "run/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESS ((10u << 24) | (89u << 16) | 1u) /* of the range that BuildKit takes for this */
#define BACKLOG 128
#define NO_PROXY "127.0.0.1,localhost,::1" /* as BuildKit sets it */

struct gate {
    const struct run_gate *spec;
    struct network *network;
    struct netns *egress; /* NULL: the host's, or nobody is reached */
    int netns_fd, listen_fd;
    bool host;
    char url[40];
    struct run_socket socket;
};

/* ---- the namespace
 * ------------------------------------------------------------------------------------------------------------
 */

static int configure(struct netlink *inside)
{
    int lo = netlink_link_index(inside, "lo");
    int r = lo < 0 ? lo : netlink_link_up(inside, lo);

    return r < 0 ? r : netlink_address_add(inside, lo, ADDRESS, 32);
}

static int listen_inside(struct gate *g)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(ADDRESS) };
    socklen_t len = sizeof(a);
    char ip[INET_ADDRSTRLEN];

    g->listen_fd = netns_socket(g->netns_fd, AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (g->listen_fd < 0)
        return g->listen_fd;
    if (bind(g->listen_fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(g->listen_fd, BACKLOG) < 0 ||
        getsockname(g->listen_fd, (struct sockaddr *)&a, &len) < 0)
        return -errno;
    inet_ntop(AF_INET, &a.sin_addr, ip, sizeof(ip));
    snprintf(g->url, sizeof(g->url), "http://%s:%d", ip, ntohs(a.sin_port));
    return 0;
}

static struct error *make_namespace(struct gate *g)
{
    CLEANUP(netlink_closep) struct netlink *inside = NULL;
    int r = netlink_new_namespace(&g->netns_fd, &inside);

    if (r == 0)
        r = configure(inside);
    if (r == 0)
        r = listen_inside(g);
    TRY_SYS(r, "make the network of a step behind the proxy");
    return NULL;
}

/* ---- the gate
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct error *serve(void *ctx, struct stream *conn)
{
    struct gate *g = ctx;
    int egress = g->host ? -1 : g->egress != NULL ? netns_fd(g->egress) : g->netns_fd;

    return g->spec->serve(g->spec->ctx, conn, egress);
}

struct error *gate_open(struct network *n, bool host, const struct run_gate *spec, struct gate **ret)
{
    struct gate *g = NEW(struct gate);
    struct error *e;

    *g = (struct gate){ .spec = spec, .network = n, .netns_fd = -1, .listen_fd = -1, .host = host };
    g->socket = (struct run_socket){ .serve = serve, .ctx = g };
    e = make_namespace(g);
    if (e == NULL && !host && n != NULL)
        e = network_acquire(n, &g->egress);
    if (e != NULL) {
        gate_close(g);
        return e;
    }
    *ret = g;
    return NULL;
}

void gate_close(struct gate *g)
{
    if (g == NULL)
        return;
    if (g->egress != NULL)
        network_release(g->network, g->egress, true); /* nobody but us was in it */
    closep(&g->listen_fd);
    closep(&g->netns_fd);
    free(g);
}

int gate_netns_fd(const struct gate *g)
{
    return g->netns_fd;
}

int gate_take_listen_fd(struct gate *g)
{
    return TAKE_FD(g->listen_fd);
}

const struct run_socket *gate_socket(const struct gate *g)
{
    return &g->socket;
}

/* ---- the environment
 * ----------------------------------------------------------------------------------------------------------
 */

static const char *const names[] = { "HTTP_PROXY",  "HTTPS_PROXY", "ALL_PROXY", "http_proxy",
                                     "https_proxy", "all_proxy",   "NO_PROXY",  "no_proxy" };

static bool is_proxy_variable(const char *entry)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *rest = str_skip_prefix(entry, names[i]);

        if (rest != NULL && *rest == '=')
            return true;
    }
    return false;
}

void gate_set_env(const struct gate *g, struct strv *env)
{
    struct strv kept = { 0 };

    for (size_t i = 0; i < env->len; i++)
        if (!is_proxy_variable(env->v[i]))
            strv_add(&kept, env->v[i]);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        strv_addf(&kept, "%s=%s", names[i], strcasecmp(names[i], "no_proxy") == 0 ? NO_PROXY : g->url);
    strv_deinit(env);
    *env = kept;
}
