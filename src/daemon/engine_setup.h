/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_setup.h - from what the user wrote to what the engine's rooms ask for
 *
 * The result borrows nearly everything from the config, which must outlive it; what had to be made is owned
 * here.
 */
#ifndef MINKE_DAEMON_ENGINE_SETUP_H
#define MINKE_DAEMON_ENGINE_SETUP_H

#include "daemon/config.h"
#include "engine/engine.h"

struct engine_setup {
    struct engine_config engine;
    struct runtime_config *runtimes;
    struct registry_host_config *hosts;
    struct gc_policy *gc;
    char hostname[256];
    char *gateway, *user_agent;
    struct strv cdi_dirs;
};

void engine_setup_init(struct engine_setup *s, const struct config *c);
void engine_setup_deinit(struct engine_setup *s);

#endif
