/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ports.c - published ports: the host's port is bound by us, the firewall sends what comes from outside
 * straight to the container, and what comes over loopback goes through a small proxy on the bound socket
 */
#include "container/internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "container/shape.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 128
#define ACCEPT_PAUSE (100 * NS_PER_MS)

void ports_deinit(struct port_bindings *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->v[i].protocol);
        free(p->v[i].host_ip);
        for (int k = 0; k < 2; k++)
            if (p->v[i].listen_fds[k] >= 0)
                close(p->v[i].listen_fds[k]);
    }
    free(p->v);
    memset(p, 0, sizeof(*p));
}

/* ---- parsing
 * ------------------------------------------------------------------------------------------------------------------
 */

static bool parse_port(const char *text, uint16_t *ret)
{
    uint64_t n;

    if (parse_u64(text, &n) < 0 || n > 65535)
        return false;
    *ret = (uint16_t)n;
    return true;
}

/* "80/tcp", "80". */
static struct error *parse_container_port(const char *text, uint16_t *ret_port, char **ret_protocol)
{
    CLEANUP(freep) char *copy = xstrdup(text);
    char *slash = strchr(copy, '/');

    if (slash != NULL)
        *slash = '\0';
    if (!parse_port(copy, ret_port) || *ret_port == 0)
        return err_new(ERR_INVALID, "invalid port specification: \"%s\"", text);
    *ret_protocol = str_lower(slash != NULL ? slash + 1 : "tcp");
    return NULL;
}

static struct error *add_binding(struct port_bindings *p, const char *spec, const char *host_ip,
                                 const char *host_port)
{
    CLEANUP(freep) char *protocol = NULL;
    struct port_binding b = { .listen_fds = { -1, -1 } };
    unsigned char address[16];

    TRY(parse_container_port(spec, &b.port, &protocol));
    if (!streq(protocol, "tcp"))
        return err_new(ERR_UNIMPLEMENTED, "publishing %s ports: not supported yet: %s", protocol, spec);
    if (*host_port != '\0' && strchr(host_port, '-') != NULL)
        return err_new(ERR_UNIMPLEMENTED, "publishing a port on a range of host ports: not supported yet: %s",
                       host_port);
    if (*host_port != '\0' && !parse_port(host_port, &b.host_port))
        return err_new(ERR_INVALID, "invalid port specification: \"%s\"", host_port);
    if (*host_ip != '\0' && inet_pton(AF_INET, host_ip, address) != 1 &&
        inet_pton(AF_INET6, host_ip, address) != 1)
        return err_new(ERR_INVALID, "invalid IP address: %s", host_ip);
    b.protocol = TAKE(protocol);
    b.host_ip = xstrdup(host_ip);
    p->v = xreallocarray(p->v, p->count + 1, sizeof(*p->v));
    p->v[p->count++] = b;
    return NULL;
}

/* `any_ip`: the host address of bindings that name none; "" is all. */
static struct error *parse_all(const json_t *config, const json_t *host_config, const char *any_ip,
                               struct port_bindings *p)
{
    json_t *bindings = json_object_get(host_config, "PortBindings"), *list, *b;
    const char *spec;
    size_t i;

    json_object_foreach(bindings, spec, list)
    {
        /* An empty list asks for any port. */
        if (json_array_size(list) == 0)
            TRY(add_binding(p, spec, any_ip, ""));
        json_array_foreach(list, i, b)
        {
            const char *ip = json_get_string(b, "HostIp");

            TRY(add_binding(p, spec, *ip != '\0' ? ip : any_ip, json_get_string(b, "HostPort")));
        }
    }
    if (!json_get_bool(host_config, "PublishAllPorts"))
        return NULL;
    json_object_foreach(json_object_get(config, "ExposedPorts"), spec, list)
    {
        if (json_object_get(bindings, spec) == NULL)
            TRY(add_binding(p, spec, any_ip, ""));
    }
    return NULL;
}

struct error *ports_parse(const json_t *config, const json_t *host_config, const char *any_ip,
                          struct port_bindings *ret)
{
    CLEANUP(ports_deinit) struct port_bindings p = { 0 };

    if (!streq(json_get_string(host_config, "NetworkMode"), "bridge"))
        return NULL; /* nothing to publish from: docker discards them */
    TRY(parse_all(config, host_config, any_ip != NULL ? any_ip : "", &p));
    *ret = p;
    memset(&p, 0, sizeof(p));
    return NULL;
}

/* ---- binding
 * ------------------------------------------------------------------------------------------------------------------
 */

static int listen_on(int family, const char *ip, uint16_t port)
{
    CLEANUP(closep) int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
    bool is_v4 = family == AF_INET;
    int one = 1;

    if (fd < 0)
        return -errno;
    if (inet_pton(family, ip, is_v4 ? (void *)&v4.sin_addr : (void *)&v6.sin6_addr) != 1)
        return -EINVAL;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        (!is_v4 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0))
        return -errno;
    if (bind(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, is_v4 ? sizeof(v4) : sizeof(v6)) <
            0 ||
        listen(fd, BACKLOG) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_in6 a = { 0 };
    socklen_t len = sizeof(a);

    return getsockname(fd, (struct sockaddr *)&a, &len) == 0 ? ntohs(a.sin6_port)
                                                             : 0; /* in the same place in both families */
}

/* Does another container of ours hold this port? */
static bool is_ours(struct container *self, const struct port_binding *b)
{
    size_t count;
    struct container **list = table_all(self->all, &count);
    bool found = false;

    for (size_t i = 0; i < count && !found; i++) {
        if (list[i] == self)
            continue;
        mutex_lock(&list[i]->lock);
        for (size_t k = 0; k < list[i]->ports.count; k++)
            found |= list[i]->ports.v[k].host_port == b->host_port;
        mutex_unlock(&list[i]->lock);
    }
    table_all_free(list, count);
    return found;
}

static struct error *bind_one(struct container *ct, struct port_binding *b)
{
    bool any = *b->host_ip == '\0';
    bool v6 = strchr(b->host_ip, ':') != NULL;
    const char *ip = any ? "0.0.0.0" : b->host_ip;
    int fd = listen_on(v6 ? AF_INET6 : AF_INET, ip, b->host_port);

    if (fd == -EADDRINUSE && is_ours(ct, b))
        return err_new(ERR_INTERNAL, "Bind for %s:%u failed: port is already allocated", ip, b->host_port);
    if (fd == -EADDRINUSE)
        return err_new(ERR_INTERNAL, "failed to bind host port %s:%u/%s: address already in use", ip,
                       b->host_port, b->protocol);
    if (fd < 0)
        return err_sys(-fd, "failed to bind host port %s:%u/%s", ip, b->host_port, b->protocol);
    b->listen_fds[v6] = fd;
    b->host_port = bound_port(fd);
    /* IPv6 as well where there is any: a host without it is no failure. */
    if (any)
        b->listen_fds[1] = MAX(listen_on(AF_INET6, "::", b->host_port), -1);
    return NULL;
}

struct error *ports_bind(struct container *ct, struct port_bindings *p)
{
    for (size_t i = 0; i < p->count; i++)
        TRY(bind_one(ct, &p->v[i]));
    return NULL;
}

/* ---- the proxy
 * ----------------------------------------------------------------------------------------------------------------
 */

struct proxy {
    struct group *group;
    int listen_fd;
    char *target; /* "tcp://ip:port" */
};

struct connection {
    struct stream *client, *server;
    char *target;
};

static void connection_free(struct connection *c)
{
    stream_close(c->client);
    stream_close(c->server);
    free(c->target);
    free(c);
}

static struct error *copy_back(void *arg)
{
    struct connection *c = arg;
    int64_t n = stream_copy(c->client, c->server);

    (void)stream_shut(c->client);
    return n < 0 && n != -ECANCELED ? err_sys((int)-n, "copy from the container") : NULL;
}

static struct error *copy_both(struct connection *c)
{
    struct group g;
    struct error *e;

    TRY(stream_dial(c->target, &c->server));
    group_open(&g, GROUP_KEEP_GOING);
    e = group_spawn(&g, "port proxy back", copy_back, c);
    if (e == NULL) {
        int64_t n = stream_copy(c->server, c->client);

        (void)stream_shut(c->server);
        if (n < 0)
            group_cancel(&g);
    }
    struct error *joined = group_join(&g);
    if (e == NULL)
        return joined;
    err_free(joined);
    return e;
}

static struct error *serve_connection(void *arg)
{
    struct connection *c = arg;
    struct error *e = copy_both(c);

    connection_free(c);
    return e;
}

static void accept_one(struct proxy *p)
{
    int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0 && errno != EAGAIN && errno != ECONNABORTED) { /* no descriptors left: not at full speed */
        (void)!task_sleep(ACCEPT_PAUSE);
        return;
    }
    if (fd < 0)
        return;
    struct connection *c = NEW(struct connection);
    c->client = stream_from_fd(fd);
    c->target = xstrdup(p->target);
    struct error *e = group_spawn(p->group, "port proxy", serve_connection, c);
    if (e != NULL) {
        connection_free(c);
        log_err(LOG_DEBUG, e, "cannot serve a connection to a published port");
    }
}

static struct error *run_proxy(void *arg)
{
    struct proxy *p = arg;
    int r;

    while ((r = task_wait_fd(p->listen_fd, POLLIN)) == 0)
        accept_one(p);
    free(p->target);
    free(p);
    return task_error(r, "wait for a connection");
}

static struct error *start_proxies(struct port_binding *b, const char *ip, struct group *g)
{
    for (int i = 0; i < 2; i++) {
        if (b->listen_fds[i] < 0)
            continue;
        struct proxy *p = NEW(struct proxy);
        *p = (struct proxy){ .group = g,
                             .listen_fd = b->listen_fds[i],
                             .target = xasprintf("tcp://%s:%u", ip, b->port) };
        struct error *e = group_spawn(g, "port listener", run_proxy, p);
        if (e != NULL) {
            free(p->target);
            free(p);
            return e;
        }
    }
    return NULL;
}

struct error *ports_publish(struct port_bindings *p, struct process *process, struct runner *runner,
                            struct group *g)
{
    const struct netns *ns = process_netns(process);
    const char *failure = runner_network_failure(runner);

    if (p->count == 0)
        return NULL;
    if (ns == NULL)
        return err_new(ERR_UNAVAILABLE, "cannot publish ports: there is no bridge network here: %s",
                       failure != NULL ? failure : "");
    for (size_t i = 0; i < p->count; i++) {
        struct port_binding *b = &p->v[i];
        struct port_rule rule = {
            .protocol = b->protocol, .host_ip = b->host_ip, .host_port = b->host_port, .port = b->port
        };

        if (strchr(b->host_ip, ':') == NULL && !str_has_prefix(b->host_ip, "127.")) {
            TRY(network_publish(runner_network(runner), ns, &rule));
            b->published = true;
        }
        TRY(start_proxies(b, netns_ip(ns), g));
    }
    return NULL;
}

void ports_unpublish(struct port_bindings *p, struct process *process, struct runner *runner)
{
    for (size_t i = 0; i < p->count; i++) {
        struct port_binding *b = &p->v[i];
        struct port_rule rule = {
            .protocol = b->protocol, .host_ip = b->host_ip, .host_port = b->host_port, .port = b->port
        };

        if (b->published)
            network_unpublish(runner_network(runner), process_netns(process), &rule);
        b->published = false;
    }
}

/* ---- shown
 * --------------------------------------------------------------------------------------------------------------------
 */

static const char *shown_ip(const struct port_binding *b, int family)
{
    return *b->host_ip != '\0' ? b->host_ip : family == 0 ? "0.0.0.0" : "::";
}

static void add_shown(json_t *ports, const struct port_binding *b)
{
    CLEANUP(freep) char *spec = xasprintf("%u/%s", b->port, b->protocol);
    CLEANUP(freep) char *host_port = xasprintf("%u", b->host_port);
    json_t *list = json_object_get(ports, spec);

    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(ports, spec, list);
    }
    for (int i = 0; i < 2; i++)
        if (b->listen_fds[i] >= 0)
            json_array_append_new(list,
                                  json_pack("{s:s, s:s}", "HostIp", shown_ip(b, i), "HostPort", host_port));
}

json_t *ports_json(const struct port_bindings *p, const json_t *config)
{
    json_t *ports = json_object(), *v;
    const char *spec;

    json_object_foreach(json_object_get(config, "ExposedPorts"), spec, v)
        json_object_set_new(ports, spec, json_null());
    for (size_t i = 0; i < p->count; i++)
        add_shown(ports, &p->v[i]);
    return ports;
}

json_t *ports_summary(const struct port_bindings *p, const json_t *config)
{
    json_t *list = json_array(), *v;
    const char *spec;

    for (size_t i = 0; i < p->count; i++) {
        const struct port_binding *b = &p->v[i];

        for (int k = 0; k < 2; k++)
            if (b->listen_fds[k] >= 0)
                json_array_append_new(list,
                                      json_pack("{s:s, s:i, s:i, s:s}", "IP", shown_ip(b, k), "PrivatePort",
                                                b->port, "PublicPort", b->host_port, "Type", b->protocol));
    }
    json_object_foreach(json_object_get(config, "ExposedPorts"), spec, v)
    {
        CLEANUP(freep) char *protocol = NULL;
        uint16_t port = 0;
        bool bound = false;

        err_free(parse_container_port(spec, &port, &protocol)); /* an image may expose nonsense */
        for (size_t i = 0; protocol != NULL && i < p->count; i++)
            bound |= p->v[i].port == port && streq(p->v[i].protocol, protocol);
        if (protocol != NULL && !bound)
            json_array_append_new(list, json_pack("{s:i, s:s}", "PrivatePort", port, "Type", protocol));
    }
    return list;
}
