/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gate.h - a network whose only way out is served by this process
 *
 * A namespace with loopback and nothing else, on which one address listens; what connects to it is handed to
 * the gate's server (an HTTP proxy).  There is no route: a program that does not use the gate reaches nobody.
 * Sockets towards the world are made by the server, in a namespace on the bridge or in the host's.
 */
#ifndef MINKE_RUN_GATE_H
#define MINKE_RUN_GATE_H

#include "base/vec.h"
#include "run/network.h"
#include "run/run.h"

struct gate;

/* `n`: where a namespace on the bridge comes from; NULL: there is no bridge, and nobody is reached.  `host`:
 * the way out is the host's network.  `spec` is borrowed. */
struct error *gate_open(struct network *n, bool host, const struct run_gate *spec,
                        struct gate **ret) MUST_CHECK;
void gate_close(struct gate *g); /* NULL is fine */

int gate_netns_fd(const struct gate *g); /* of the process; borrowed */
int gate_take_listen_fd(struct gate *g); /* once: the caller's to close */
/* Its server, as the sockets of a step are served; borrowed. */
const struct run_socket *gate_socket(const struct gate *g);
/* Programs find it by HTTP_PROXY and its relatives, which replace what *env has of them. */
void gate_set_env(const struct gate *g, struct strv *env);

#endif
