/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_proxy.h - a process behind the proxy network: the proxy, the gate to it, and what the root trusts
 *
 * For exec ops that the build wants there (ExecOp.proxied), and for the containers of a build's client.
 */
#ifndef MINKE_OP_EXEC_PROXY_H
#define MINKE_OP_EXEC_PROXY_H

#include "op/trust.h"
#include "proxy/proxy.h"
#include "run/run.h"
#include "solver/solver.h"

struct exec_proxy {
    struct proxy *proxy;  /* NULL: not behind one */
    struct run_gate gate; /* for the run_spec */
    struct trust trust;
};
/* `c`: whose builds' policies hold; `root_fd`: the writable root.  Both borrowed until exec_proxy_end(). */
struct error *exec_proxy_begin(struct exec_proxy *x, const struct op_context *c, int root_fd) MUST_CHECK;
/* The process has ended: the root as it was.  Idempotent. */
struct error *exec_proxy_clean(struct exec_proxy *x) MUST_CHECK;
void exec_proxy_end(
    struct exec_proxy *x); /* also after a failure, also of one that was never begun (zeroed) */

#endif
