/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chroot.h - is our root another than that of our mount namespace?
 *
 * A runtime that joins a container's mount namespace gets the root of that namespace.  It is the container's,
 * for pivot_root(2) made it so; but in a chroot that call only exchanges what lies at the chroot's place, and
 * the namespace's root stays the host's: a process that is executed in the container would have the host's
 * files (setns(2), pivot_root(2)).
 */
#ifndef MINKE_RUN_CHROOT_H
#define MINKE_RUN_CHROOT_H

#include "base/error.h"

/* May processes join containers?  Errors: ERR_CONFLICT in a chroot; ERR_INTERNAL while nobody can say. */
struct error *chroot_check(void) MUST_CHECK;

#endif
