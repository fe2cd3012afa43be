/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h - the engine as a whole: what the HTTP API calls, composed of the rooms below
 */
#ifndef MINKE_ENGINE_ENGINE_H
#define MINKE_ENGINE_ENGINE_H

#include "buildkit/builder.h"
#include "engine/events.h"
#include "registry/registry.h"
#include "run/run.h"

#ifndef MINKE_VERSION
#define MINKE_VERSION "0.1.0"
#endif
#define BUILDKIT_VERSION "v0.34.2"

struct containers; /* container/container.h */

/* Everything a daemon is told. Borrowed by the engine for its life. */
struct engine_config {
    const char *data_root, *exec_root;
    bool buildkitd; /* the Control API alone: buildkitd's defaults */
    struct runner_config runner;
    struct registry_config registry;
    struct builder_config builder; /* store, sessions, solver, ops and hooks are filled in by the engine */
    struct strv labels;            /* daemon labels, "k=v" */
    const char *default_runtime;   /* shown in /info */
    bool debug;
    int max_parallelism;
    struct map log_opts;                               /* string map: max-size, max-file */
    int default_stop_timeout;                          /* seconds; -1: 10 */
    const char *server_version;                        /* the Engine version we answer to */
    struct strv insecure_registries, registry_mirrors; /* as configured, for /info */
    bool experimental;
    bool classic_builder_preferred; /* the feature "buildkit" is off: /_ping names builder 1 */
};

struct engine {
    const struct engine_config *config;
    struct store *store;
    struct session_manager *sessions;
    struct runner *runner;
    struct registry *registry;
    struct solver *solver;
    struct op_config ops;
    struct builder_config builder_config;
    struct builder *builder;
    struct events *events;
    struct containers *containers;         /* NULL as buildkitd */
    struct container_room *container_room; /* what `containers` borrows */
    char *id;                              /* of the daemon, kept in the store */
    int64_t started_ns;
};

/* Open all rooms: quick (nothing slow before the listener answers); what is slow runs in engine_background.
 */
struct error *engine_open(const struct engine_config *c, struct engine **ret) MUST_CHECK;
/* A task of the daemon's group: probes runtimes, pools network namespaces, collects garbage by policy until
 * cancelled. */
struct error *engine_background(void *engine);
/* Stops containers, ends builds, closes the store. */
void engine_close(struct engine *e);
/* A short build or prune just ended: give memory back, run the gc policies when due. */
void engine_settle(struct engine *e);

#endif
