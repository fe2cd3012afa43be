/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - make the n-th system call of a test fail; linked into tests only
 *
 *     for (unsigned n = 1; failed; n++) {             until a whole run saw no failure any more
 *         set up;  fault_arm(n, EIO);  run;  failed = fault_disarm();  check that nothing is lost or left
 * behind;
 *     }
 *
 * Calls are caught by the linker (--wrap), so the code under test knows nothing of this.  Counted are calls
 * that can really fail on a healthy machine: files, sockets, processes, threads; not close, and nothing that
 * waits.
 */
#ifndef MINKE_IO_FAULT_H
#define MINKE_IO_FAULT_H

#include "base/base.h"

/* From now on the `n`-th call (1 is the first) fails with `errnum`, once. */
void fault_arm(unsigned n, int errnum);
/* Count no more. Has the failure happened? */
bool fault_disarm(void);
const char *fault_name(void); /* of the call that failed last */
/* For a room's own wraps of other fallible calls (a database's): count one; true: fail now. */
bool fault_hit(const char *call);

/* How many descriptors are open: equal before and after a scenario. */
size_t count_open_fds(void);

#endif
