/* SPDX-License-Identifier: Apache-2.0 */
/*
 * held_network.h - the network of something that runs in this process, for the step of a definition
 *
 * As with held.h: the name is random, good until held_network_close() and known to its holder alone.  A step
 * that names one is never found in the cache: what it saw of that network is nobody else's.
 */
#ifndef MINKE_OP_HELD_NETWORK_H
#define MINKE_OP_HELD_NETWORK_H

#include "run/run.h"

struct held_network;
/* Takes what `n` holds; steps that run keep it as long as they do. */
struct held_network *held_network_open(struct run_joined_network *n);
void held_network_close(struct held_network *h);             /* NULL is fine */
const char *held_network_name(const struct held_network *h); /* for llb_run.held_network; borrowed */

/* For the step: a reference to the one of that name.  ERR_NOT_FOUND: held by nobody. */
struct error *held_network_find(const char *name, struct held_network **ret) MUST_CHECK;
const struct run_joined_network *held_network_get(const struct held_network *h); /* borrowed */
void held_network_unrefp(struct held_network **h);

#endif
