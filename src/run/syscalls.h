/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscalls.h - docker's default system call filter, as the runtime spec wants it
 */
#ifndef MINKE_RUN_SYSCALLS_H
#define MINKE_RUN_SYSCALLS_H

#include "base/base.h"

#include <jansson.h>

/* The value of linux.seccomp for a process with the bounding set `caps` on this machine's architecture.  New
 * reference. */
json_t *seccomp_default(uint64_t caps);
/* The same filter, compiled and in base64, as crun takes it from an annotation: compiling costs it 20 ms a
 * container.  The last one made is kept.  NULL: libseccomp cannot; owned by the caller.  Thread-safe. */
char *seccomp_compiled(uint64_t caps);
/* False where the kernel has no seccomp filters. */
bool seccomp_supported(void);

#endif
