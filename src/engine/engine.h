/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - the engine as a whole: what the HTTP API calls, composed of the rooms below
 */
#ifndef MINKE_ENGINE_ENGINE_H
#define MINKE_ENGINE_ENGINE_H

#include "buildkit/builder.h"
#include "container/container.h"
#include "engine/events.h"
#include "registry/registry.h"
#include "run/run.h"

#ifndef MINKE_VERSION
#define MINKE_VERSION "0.1.0"
#endif
#define BUILDKIT_VERSION "v0.34.2"

/* Everything a daemon is told. Borrowed by the engine for its life. Members marked * may change while it runs
 * (engine_reload). */
struct engine_config {
    const char *data_root, *exec_root;
    bool buildkitd; /* the Control API alone: buildkitd's defaults */
    struct runner_config runner;
    struct registry_config registry; /* * */
    struct builder_config builder;   /* store, sessions, solver, ops and hooks are filled in by the engine */
    struct strv labels;              /* * daemon labels, "k=v" */
    const char *default_runtime;     /* shown in /info */
    bool debug;                      /* * */
    int max_parallelism;
    struct container_defaults containers;              /* * */
    const char *server_version;                        /* the Engine version we answer to */
    struct strv insecure_registries, registry_mirrors; /* * as configured, for /info */
    bool experimental;
    bool classic_builder_preferred; /* * the feature "buildkit" is off: /_ping names builder 1 */
};

struct engine {
    const struct engine_config *_Atomic config; /* the newest; older ones stay valid */
    struct store *store;
    struct session_manager *sessions;
    struct runner *runner;
    struct registry *registry;
    struct solver *solver;
    struct op_config ops;
    struct builder_config builder_config;
    struct builder *builder;
    struct events *events;
    struct uploads *uploads;               /* contexts on their way to POST /build */
    struct containers *containers;         /* NULL as buildkitd */
    struct container_room *container_room; /* what `containers` borrows */
    char *id;                              /* of the daemon, kept in the store */
    int64_t started_ns;
};

/* Open all rooms: quick (nothing slow before the listener answers); what is slow runs in engine_background.
 */
/* Until it is open, it answers GET /_ping and nothing else.  `c` is borrowed. */
struct engine *engine_new(const struct engine_config *c);
struct error *engine_open(struct engine *e) MUST_CHECK;
/* From now on `c` holds: what is marked in it, and what was given to engine_open of the rest.  Both are
 * borrowed until engine_close.  Tells listeners of /events ("daemon", "reload") with `attributes` (string
 * map).  From one task. */
void engine_reload(struct engine *e, struct engine_config *c, const struct map *attributes);
/* A task of the daemon's group: probes runtimes, pools network namespaces, collects garbage by policy until
 * cancelled. */
struct error *engine_background(void *engine);
/* Stops containers, ends builds, closes the store. */
void engine_close(struct engine *e);
/* Something short just ended, unless it was a build (engine_background does it for those): give memory back.
 */
void engine_settle(struct engine *e);

#endif
