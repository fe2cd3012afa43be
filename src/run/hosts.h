/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hosts.h - the text of /etc/hosts and /etc/resolv.conf for a process in a network of its own
 */
#ifndef MINKE_RUN_HOSTS_H
#define MINKE_RUN_HOSTS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"
#include "run/run.h"

/* BuildKit's hosts file.  ERR_INVALID for an address that is none, or a name with white space. */
struct error *hosts_generate(struct buf *out, const char *hostname, const struct run_host *hosts,
                             size_t count) MUST_CHECK;

/* Docker's, for a container: more IPv6 names, and its own address (NULL: none). */
struct error *hosts_generate_container(struct buf *out, const char *hostname, const char *ip,
                                       const struct run_host *hosts, size_t count) MUST_CHECK;

struct resolv_config {
    const struct strv *servers, *search, *options; /* each may be NULL or empty: as the host has it */
    bool host_network;                             /* the host's loopback resolvers work there and stay */
};
/* The host's resolv.conf with those overrides.  Loopback servers go, public ones come in when none is left,
 * as docker does. */
struct error *resolv_generate(struct buf *out, const struct resolv_config *c) MUST_CHECK;
/* The same from a given text. */
struct error *resolv_transform(struct buf *out, const char *host_text,
                               const struct resolv_config *c) MUST_CHECK;

#endif
