/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strays.h - reap orphans that fell to us and that nobody waits for
 *
 * A subreaper inherits the processes that lose their parents below it: those of a container that shares the
 * host's process namespace, or of a runtime that was killed.  Children that somebody waits for are reaped
 * within moments of their end, so that a zombie that was there at an earlier look, a good while ago, is a
 * stray.  Thread-safe.
 */
#ifndef MINKE_RUN_STRAYS_H
#define MINKE_RUN_STRAYS_H

#include "base/base.h"

/* Look at our zombies and reap those that were seen before and are older than `age_ns`.  Returns how many
 * were reaped. */
size_t strays_reap(int64_t age_ns);

/* Processes of containers become our children when the runtime that made them goes; their number is known
 * only then.  To be called around that: strays_adopted() tells the number, 0 when none came. */
void strays_expect(void);
void strays_adopted(pid_t pid);
void strays_waited(pid_t pid); /* an adopted one was waited for */
/* Kill and reap children in process namespaces of their own that nobody adopted: a runtime that fails half
 * way leaves one, and the first process of its container cannot end before it is reaped.  Does nothing while
 * somebody expects one.  Returns how many are still there: come again. */
size_t strays_end_lost(void);

#endif
