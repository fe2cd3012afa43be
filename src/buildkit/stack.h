/* SPDX-License-Identifier: Apache-2.0 */
/* stack.h - the calling task's stack as an error detail, as clients show it with --debug */
#ifndef MINKE_BUILDKIT_STACK_H
#define MINKE_BUILDKIT_STACK_H

#include "base/error.h"

/* Add the detail stack.Stack (JSON) to `e`: frames by function where the program exports it, else by their
 * offset, which addr2line resolves. */
void stack_add_detail(struct error *e, const char *version);

#endif
