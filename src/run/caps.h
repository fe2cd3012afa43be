/* SPDX-License-Identifier: Apache-2.0 */
/*
 * caps.h - Linux capabilities as a bit set, by the names that OCI specs and docker clients use
 *
 * Bit n is capability number n of linux/capability.h.  Low tier, no state.
 */
#ifndef MINKE_RUN_CAPS_H
#define MINKE_RUN_CAPS_H

#include "base/base.h"

#define CAP_BIT(n) (UINT64_C(1) << (n))

/* The fourteen that docker grants by default. */
#define CAPS_DEFAULT UINT64_C(0xa80425fb)

/* "CAP_CHOWN"; NULL for a number without a name. */
const char *cap_name(int number);
/* "CAP_NET_ADMIN", "net_admin": the number, or -EINVAL. */
int cap_parse(const char *name) MUST_CHECK;
/* What this process may hand on (its effective set). */
uint64_t caps_available(void);

#endif
