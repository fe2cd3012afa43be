/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp.h - docker's default system call filter, as the runtime spec wants it
 */
#ifndef MINKE_RUN_SECCOMP_H
#define MINKE_RUN_SECCOMP_H

#include "base/base.h"

#include <jansson.h>

/* The value of linux.seccomp for a process with the bounding set `caps` on this machine's architecture.  New
 * reference. */
json_t *seccomp_default(uint64_t caps);
/* False where the kernel has no seccomp filters. */
bool seccomp_supported(void);

#endif
