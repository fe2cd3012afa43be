/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_devices.h - CDI devices that an exec op asks for
 *
 * A build may have all devices (entitlement "device"), some ("device=NAME"), and those that their
 * specification opens to all. What it asks for is checked before anything runs, also where the result is
 * known already.
 */
#ifndef MINKE_OP_EXEC_DEVICES_H
#define MINKE_OP_EXEC_DEVICES_H

#include "op/op.h"

#include <jansson.h>

/* May a build with these entitlements have the op's devices? Errors with BuildKit's texts. */
struct error *exec_devices_check(void *op_ctx, const struct strv *entitlements,
                                 const struct llb_vertex *v) MUST_CHECK;
/* What they change in the runtime's specification; *ret NULL: nothing. */
struct error *exec_devices_edits(const struct op_config *c, const Pb__ExecOp *op, json_t **ret) MUST_CHECK;

#endif
