/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - a configuration and what the engine borrows of it
 *
 * SIGHUP makes another one.  Who uses an older one goes on, so all of them live until the process ends.
 */
#ifndef MINKE_DAEMON_SETTINGS_H
#define MINKE_DAEMON_SETTINGS_H

#include "daemon/engine_setup.h"

struct settings {
    struct config config;
    struct engine_setup setup; /* zeroed until engine_setup_init: that needs the data root */
    struct settings *older;
};

/* Read the command line and the file anew. */
struct error *settings_load(int argc, char **argv, struct settings **ret) MUST_CHECK;
/* What the event "daemon reload" says that now holds: into a string map. */
void settings_attributes(const struct settings *s, struct map *ret);
void settings_free(struct settings *s); /* and all older ones */

#endif
