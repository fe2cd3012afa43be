/* SPDX-License-Identifier: Apache-2.0 */
#include "run/hosts.h"

#include "base/limits.h"
#include "base/log.h"
#include "io/path.h"

#include <arpa/inet.h>
#include <errno.h>

#define RESOLV_CONF "/etc/resolv.conf"
#define RESOLV_CONF_SYSTEMD                                                                                  \
    "/run/systemd/resolve/resolv.conf" /* what systemd-resolved knows behind its stub */
#define SYSTEMD_STUB "127.0.0.53"

static const char *const public_servers[] = { "8.8.8.8", "8.8.4.4", "2001:4860:4860::8888",
                                              "2001:4860:4860::8844" };

/* The address in its usual form; false when it is none. */
static bool canonical_ip(const char *text, char dst[INET6_ADDRSTRLEN])
{
    unsigned char addr[16];

    for (size_t i = 0; i < 2; i++) {
        int family = i == 0 ? AF_INET : AF_INET6;

        if (inet_pton(family, text, addr) == 1)
            return inet_ntop(family, addr, dst, INET6_ADDRSTRLEN) != NULL;
    }
    return false;
}

static struct error *add_hosts(struct buf *out, const struct run_host *hosts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char ip[INET6_ADDRSTRLEN];

        if (!canonical_ip(hosts[i].ip, ip))
            return err_new(ERR_INVALID, "invalid IP address of extra host \"%s\": \"%s\"", hosts[i].host,
                           hosts[i].ip);
        if (strpbrk(hosts[i].host, " \t\r\n#") != NULL)
            return err_new(ERR_INVALID, "invalid name of extra host \"%s\"", hosts[i].host);
        buf_addf(out, "%s\t%s\n", ip, hosts[i].host);
    }
    return NULL;
}

struct error *hosts_generate(struct buf *out, const char *hostname, const struct run_host *hosts,
                             size_t count)
{
    buf_addf(out, "127.0.0.1\tlocalhost %s\n::1\tlocalhost ip6-localhost ip6-loopback\n", hostname);
    return add_hosts(out, hosts, count);
}

struct error *hosts_generate_container(struct buf *out, const char *hostname, const char *ip,
                                       const struct run_host *hosts, size_t count)
{
    buf_adds(out, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
                  "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
    TRY(add_hosts(out, hosts, count));
    if (ip != NULL)
        buf_addf(out, "%s\t%s\n", ip, hostname);
    return NULL;
}

/* ---- resolv.conf
 * --------------------------------------------------------------------------------------------------------------
 */

struct resolv {
    struct strv servers, search, options, other;
};

static void resolv_deinit(struct resolv *r)
{
    strv_deinit(&r->servers);
    strv_deinit(&r->search);
    strv_deinit(&r->options);
    strv_deinit(&r->other);
}

static void split_fields(struct strv *out, const char *line, size_t len)
{
    static const char space[] = " \t\r\v\f";

    for (size_t i = 0; i < len;) {
        size_t start;

        while (i < len && strchr(space, line[i]) != NULL)
            i++;
        start = i;
        while (i < len && strchr(space, line[i]) == NULL)
            i++;
        if (i > start)
            strv_addn(out, line + start, i - start);
    }
}

static void parse_line(struct resolv *r, const char *line, size_t len)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 };
    char ip[INET6_ADDRSTRLEN];

    if (len == 0 || line[0] == '#' || line[0] == ';')
        return;
    split_fields(&fields, line, len);
    if (fields.len == 0)
        return;
    if (streq(fields.v[0], "nameserver")) {
        if (fields.len > 1 && canonical_ip(fields.v[1], ip))
            strv_add(&r->servers, ip);
    } else if (streq(fields.v[0], "search") || streq(fields.v[0], "domain")) {
        /* The last one stands; domain is the old word for it. */
        if (fields.len > 1)
            strv_clear(&r->search);
        for (size_t i = 1; i < fields.len; i++)
            strv_add(&r->search, fields.v[i]);
    } else if (streq(fields.v[0], "options")) {
        for (size_t i = 1; i < fields.len; i++)
            strv_add(&r->options, fields.v[i]);
    } else {
        strv_addn(&r->other, line, len);
    }
}

static void parse(struct resolv *r, const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");

        parse_line(r, text, len);
        text += len;
        text += *text == '\n';
    }
}

static bool is_loopback(const char *ip)
{
    return str_has_prefix(ip, "127.") || streq(ip, "::1");
}

static struct error * override(struct resolv *r, const struct resolv_config *c)
{
    if (c->servers != NULL && c->servers->len > 0) {
        strv_clear(&r->servers);
        for (size_t i = 0; i < c->servers->len; i++) {
            char ip[INET6_ADDRSTRLEN];

            if (!canonical_ip(c->servers->v[i], ip))
                return err_new(ERR_INVALID, "bad nameserver address: %s", c->servers->v[i]);
            strv_add(&r->servers, ip);
        }
    }
    if (c->search != NULL && c->search->len > 0) {
        strv_clear(&r->search);
        for (size_t i = 0; i < c->search->len; i++)
            if (!streq(c->search->v[i], "."))
                strv_add(&r->search, c->search->v[i]);
    }
    if (c->options != NULL && c->options->len > 0) {
        strv_clear(&r->options);
        strv_copy(&r->options, c->options);
    }
    return NULL;
}

/* Only the host itself reaches its loopback. */
static void drop_loopback(struct strv *servers)
{
    for (size_t i = servers->len; i-- > 0;)
        if (is_loopback(servers->v[i]))
            strv_remove(servers, i);
    if (servers->len > 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(public_servers); i++)
        strv_add(servers, public_servers[i]);
}

static void add_joined(struct buf *out, const char *key, const struct strv *list)
{
    CLEANUP(freep) char *joined = NULL;

    if (list->len == 0)
        return;
    joined = strv_join(list, " ");
    buf_addf(out, "%s %s\n", key, joined);
}

struct error *resolv_transform(struct buf *out, const char *host_text, const struct resolv_config *c)
{
    CLEANUP(resolv_deinit) struct resolv r = { 0 };
    bool own_servers = c->servers != NULL && c->servers->len > 0;

    parse(&r, host_text);
    TRY(override(&r, c));
    if (!own_servers && (!c->host_network || r.servers.len == 0))
        drop_loopback(&r.servers);
    for (size_t i = 0; i < r.servers.len; i++)
        buf_addf(out, "nameserver %s\n", r.servers.v[i]);
    add_joined(out, "search", &r.search);
    add_joined(out, "options", &r.options);
    for (size_t i = 0; i < r.other.len; i++)
        buf_addf(out, "%s\n", r.other.v[i]);
    return NULL;
}

static struct error *read_host_file(const char *path, struct buf *out)
{
    int r = file_read(path, out, LIMIT_RESOLV_CONF);

    if (r < 0 && r != -ENOENT)
        return err_sys(-r, "read %s", path);
    return NULL;
}

struct error *resolv_generate(struct buf *out, const struct resolv_config *c)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(resolv_deinit) struct resolv r = { 0 };

    TRY(read_host_file(RESOLV_CONF, &text));
    parse(&r, buf_str(&text));
    if (!c->host_network && r.servers.len == 1 && streq(r.servers.v[0], SYSTEMD_STUB)) {
        buf_clear(&text);
        TRY(read_host_file(RESOLV_CONF_SYSTEMD, &text));
    }
    return resolv_transform(out, buf_str(&text), c);
}
