/* SPDX-License-Identifier: Apache-2.0 */
/* names.h - made-up container names: an adjective, an underscore, somebody worth remembering */
#ifndef MINKE_CONTAINER_NAMES_H
#define MINKE_CONTAINER_NAMES_H

#include "base/base.h"

/* A random one; `attempt` above 0 adds a digit, so that a crowded table still gives free ones. New string. */
char *name_generate(unsigned attempt);
/* [a-zA-Z0-9][a-zA-Z0-9_.-]+ */
bool name_valid(const char *name);

#endif
