/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entitlements.h - what a request may have beyond a plain step, if the configuration allows it
 *
 *   network.host, security.insecure
 *   device                       every device
 *   device=NAME                  that one, or its class
 *   device=NAME,alias=REQUESTED  that one, where a step asks for REQUESTED
 */
#ifndef MINKE_BUILDKIT_ENTITLEMENTS_H
#define MINKE_BUILDKIT_ENTITLEMENTS_H

#include "base/base.h"
#include "llb/llb.h"
#include "op/op.h"

struct entitlements {
    struct strv granted; /* without aliases */
    struct map aliases;  /* string map: what is asked for -> the device */
    struct strv names;   /* "device=NAME" as a step may ask for it: by its alias where it has one */
};
void entitlements_deinit(struct entitlements *e);
/* `wanted` may be NULL.  Errors: ERR_UNKNOWN with BuildKit's texts. */
struct error *entitlements_parse(const struct strv *allowed, const struct strv *wanted,
                                 struct entitlements *ret) MUST_CHECK;
/* Devices that the exec op asks for under an alias get their names, with memory of `a`.  A device that has
 * one cannot be asked for by its own name.  Errors: as exec_devices_check. */
struct error *entitlements_name_devices(const struct entitlements *e, const struct op_config *ops,
                                        struct pb_arena *a, Pb__Op *op, bool *ret_changed) MUST_CHECK;

#endif
