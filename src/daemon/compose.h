/* SPDX-License-Identifier: Apache-2.0 */
/* compose.h - from what the daemon is told to what the engine is given */
#ifndef MINKE_DAEMON_COMPOSE_H
#define MINKE_DAEMON_COMPOSE_H

#include "daemon/config.h"
#include "engine/engine.h"

/* `c` is borrowed and must outlive `ret`; the data root must exist (its filesystem's size makes the gc
 * rules). */
void compose_engine(const struct config *c, struct engine_config *ret);
void compose_deinit(struct engine_config *e);

#endif
