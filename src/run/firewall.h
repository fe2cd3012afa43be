/* SPDX-License-Identifier: Apache-2.0 */
/*
 * firewall.h - the nftables rules of one bridge, in a table of its own named like the bridge
 *
 * Rules go in through `nft -f -`, one transaction a call.  Waits for the child.
 */
#ifndef MINKE_RUN_FIREWALL_H
#define MINKE_RUN_FIREWALL_H

#include "base/base.h"
#include "base/error.h"

/* Masquerade what leaves `subnet` by another way than the bridge; let nothing in but answers and published
 * ports. */
struct error *firewall_open(const char *bridge, const char *subnet) MUST_CHECK;
void firewall_close(const char *bridge);
/* host_ip: NULL or "" for any local address. */
struct error *firewall_publish(const char *bridge, const char *protocol, const char *host_ip,
                               uint16_t host_port, const char *ip, uint16_t port) MUST_CHECK;
void firewall_unpublish(const char *bridge, const char *protocol, const char *host_ip, uint16_t host_port);

#endif
