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

#include "base/base.h"

/* Found out once, by a child that joins our own namespace. */
bool runs_in_chroot(void);

#endif
