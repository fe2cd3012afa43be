/* SPDX-License-Identifier: Apache-2.0 */
#include "run/firewall.h"

#include "base/buf.h"
#include "base/bytes.h"
#include "base/log.h"
#include "io/spawn.h"
#include "task/task.h"

#include <sys/wait.h>

#define NFT_OUTPUT ((size_t)8192)
#define NFT_TIMEOUT (10 * NS_PER_SEC)

static struct error *nft(const char *script)
{
    static const char *const argv[] = { "nft", "-f", "-", NULL };
    CLEANUP(buf_deinit) struct buf err = { 0 };
    struct spawn_options o = { .argv = argv, .netns_fd = -1 };
    int status = 0;

    TRY(spawn_run(&o, script, NULL, &err, NFT_OUTPUT, &status));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_new(ERR_INTERNAL, "nft: %s", buf_str(&err));
    return NULL;
}

/* Two maps: one for ports on every local address, one for ports on one address. */
struct error *firewall_open(const char *bridge, const char *subnet)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };

    /* "add" before "delete" makes the delete succeed whether or not the table was there. */
    buf_addf(&b, "add table ip %s\ndelete table ip %s\ntable ip %s {\n", bridge, bridge, bridge);
    buf_adds(
        &b,
        "  map ports { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
        "  map address_ports { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }\n");
    static const char *const hooks[] = { "prerouting", "output" };
    for (size_t i = 0; i < ARRAY_LEN(hooks); i++)
        buf_addf(&b,
                 "  chain %s {\n"
                 "    type nat hook %s priority -100; policy accept;\n"
                 "    %sfib daddr type local dnat ip to meta l4proto . th dport map @ports\n"
                 "    %sdnat ip to ip daddr . meta l4proto . th dport map @address_ports\n"
                 "  }\n",
                 hooks[i], hooks[i], i == 1 ? "ip daddr != 127.0.0.0/8 " : "",
                 i == 1 ? "ip daddr != 127.0.0.0/8 " : "");
    buf_addf(&b,
             "  chain postrouting {\n"
             "    type nat hook postrouting priority srcnat; policy accept;\n"
             "    ip saddr %s oifname != \"%s\" masquerade\n"
             "    ip saddr %s oifname \"%s\" ct status dnat masquerade\n"
             "  }\n",
             subnet, bridge, subnet, bridge);
    buf_addf(&b,
             "  chain forward {\n"
             "    type filter hook forward priority filter; policy accept;\n"
             "    iifname \"%s\" accept\n"
             "    oifname \"%s\" ct state established,related accept\n"
             "    oifname \"%s\" ct status dnat accept\n"
             "    oifname \"%s\" drop\n"
             "  }\n}\n",
             bridge, bridge, bridge, bridge);
    return nft(buf_str(&b));
}

static void nft_shielded(const char *script, const char *what)
{
    struct deadline d;

    shield_begin(&d, NFT_TIMEOUT);
    log_err(LOG_WARN, nft(script), what);
    shield_end(&d);
}

void firewall_close(const char *bridge)
{
    CLEANUP(freep) char *script = xasprintf("add table ip %s\ndelete table ip %s\n", bridge, bridge);

    nft_shielded(script, "cannot remove the firewall table");
}

static bool any_address(const char *host_ip)
{
    return host_ip == NULL || *host_ip == '\0' || streq(host_ip, "0.0.0.0");
}

/* "ports { tcp . 80" or "address_ports { 10.0.0.1 . tcp . 80". */
static void add_key(struct buf *b, const char *protocol, const char *host_ip, uint16_t host_port)
{
    if (any_address(host_ip))
        buf_addf(b, "ports { %s . %u", protocol, host_port);
    else
        buf_addf(b, "address_ports { %s . %s . %u", host_ip, protocol, host_port);
}

struct error *firewall_publish(const char *bridge, const char *protocol, const char *host_ip,
                               uint16_t host_port, const char *ip, uint16_t port)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };

    buf_addf(&b, "add element ip %s ", bridge);
    add_key(&b, protocol, host_ip, host_port);
    buf_addf(&b, " : %s . %u }\n", ip, port);
    return nft(buf_str(&b));
}

void firewall_unpublish(const char *bridge, const char *protocol, const char *host_ip, uint16_t host_port)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };

    buf_addf(&b, "delete element ip %s ", bridge);
    add_key(&b, protocol, host_ip, host_port);
    buf_adds(&b, " }\n");
    nft_shielded(buf_str(&b), "cannot remove a published port");
}
