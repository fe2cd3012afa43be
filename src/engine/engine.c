/* SPDX-License-Identifier: Apache-2.0 */
/* engine.c - opens the rooms in order, closes them in reverse */
#include "engine/engine.h"

#include "engine/uploads.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/trim.h"
#include "container/container.h"
#include "engine/containers.h"
#include "oci/digest.h"
#include "task/task.h"

#include <errno.h>

#define WARM_UP_DELAY_NS (50 * NS_PER_MS) /* those who waited for the daemon come first */
#define GC_DELAY_NS NS_PER_SEC            /* BuildKit's, after a build */
#define GC_INTERVAL_NS (60 * NS_PER_SEC)  /* BuildKit's throttle between collections */

/* A build named an image: an event, as dockerd sends one for a tag. */
static void image_named(void *ctx, const char *name, const struct descriptor *target)
{
    CLEANUP(map_deinit) struct map attributes = { 0 };
    struct engine *e = ctx;

    strmap_init(&attributes);
    strmap_set(&attributes, "name", name);
    events_publish(e->events, "image", "tag", target->digest.s, &attributes);
}

static struct error *daemon_id(struct engine *e)
{
    char id[37];
    uint8_t raw[16];

    TRY(fact_get(e->store, "daemon.id", &e->id));
    if (e->id != NULL)
        return NULL;
    random_bytes(raw, sizeof(raw));
    raw[6] = (raw[6] & 0x0f) | 0x40; /* RFC 4122 version 4 */
    raw[8] = (raw[8] & 0x3f) | 0x80;
    char hex[33];
    hex_encode(hex, raw, sizeof(raw));
    snprintf(id, sizeof(id), "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    e->id = xstrdup(id);
    return fact_put(e->store, "daemon.id", id);
}

static struct error *open_builder(struct engine *e)
{
    const struct engine_config *c = e->config;
    struct solver_config sc = { .store = e->store,
                                .sessions = e->sessions,
                                .max_parallelism = c->max_parallelism };

    e->solver = solver_new(&sc);
    e->ops = (struct op_config){
        .runner = e->runner, .registry = e->registry, .store = e->store, .sessions = e->sessions
    };
    op_register_all(e->solver, &e->ops);
    e->builder_config = c->builder;
    e->builder_config.store = e->store;
    e->builder_config.sessions = e->sessions;
    e->builder_config.solver = e->solver;
    e->builder_config.ops = &e->ops;
    e->builder_config.image_named = image_named;
    e->builder_config.ctx = e;
    return builder_new(&e->builder_config, &e->builder);
}

struct engine *engine_new(const struct engine_config *c)
{
    struct engine *e = NEW(struct engine);

    e->config = c;
    e->started_ns = now_ns();
    return e;
}

struct error *engine_open(struct engine *e)
{
    const struct engine_config *c = e->config;

    TRY(store_open(c->data_root, &e->store));
    TRY(daemon_id(e));
    TRY(runner_new(&c->runner, &e->runner));
    e->sessions = session_manager_new();
    e->registry = registry_new(&c->registry);
    e->events = events_new();
    e->uploads = uploads_new();
    TRY(open_builder(e));
    return c->buildkitd ? NULL : engine_open_containers(e);
}

void engine_reload(struct engine *e, struct engine_config *c, const struct map *attributes)
{
    const struct engine_config *old = e->config;

    c->data_root = old->data_root;
    c->exec_root = old->exec_root;
    c->buildkitd = old->buildkitd;
    c->default_runtime = old->default_runtime;
    c->max_parallelism = old->max_parallelism;
    c->server_version = old->server_version;
    c->experimental = old->experimental;
    e->config = c;
    registry_reload(e->registry, &c->registry);
    engine_reload_containers(e);
    events_publish(e->events, "daemon", "reload", e->id, attributes);
}

void engine_close(struct engine *e)
{
    if (e == NULL)
        return;
    engine_close_containers(e);
    builder_free(e->builder);
    if (e->solver != NULL)
        solver_free(e->solver);
    if (e->sessions != NULL)
        session_manager_free(e->sessions);
    if (e->registry != NULL)
        registry_free(e->registry);
    if (e->runner != NULL)
        runner_free(e->runner);
    events_free(e->events);
    uploads_free(e->uploads);
    if (e->store != NULL)
        store_close(e->store);
    free(e->id);
    free(e);
}

/* Run the configured policies in order, each over what the last one left. */
static void collect_by_policy(struct engine *e)
{
    const struct builder_config *c = &e->builder_config;

    for (size_t i = 0; i < c->gc_count; i++) {
        struct prune_options o = {
            .all = c->gc[i].all,
            .keep_ns = c->gc[i].keep_ns,
            .reserved_bytes = c->gc[i].reserved_bytes,
            .max_used_bytes = c->gc[i].max_used_bytes,
            .min_free_bytes = c->gc[i].min_free_bytes,
            .filters = c->gc[i].filters,
        };
        log_err(LOG_WARN, store_prune(e->store, &o, NULL, NULL), "garbage collection failed");
    }
    if (c->gc_count == 0)
        log_err(LOG_WARN, store_collect(e->store, NULL), "garbage collection failed");
}

/* Wait for the end of a build, but not beyond `due_ns`. */
static int await_build(struct engine *e, uint64_t *seen, int64_t due_ns)
{
    struct deadline d;

    deadline_begin(&d, due_ns == INT64_MAX ? INT64_MAX : due_ns - monotonic_ns());
    int r = builder_await_ended(e->builder, seen);

    deadline_end(&d);
    return r;
}

/* After the start and after each build: give memory back soon, collect soon but not often.  Builds go on
 * meanwhile: what they hold is in use. */
static void settle_after_builds(struct engine *e)
{
    bool collects = e->builder_config.gc_count > 0, wanted = collects;
    int64_t due_ns = 0;
    uint64_t seen = 0;
    int r = 0;

    while (r != -ECANCELED && task_sleep(GC_DELAY_NS) == 0) {
        engine_settle(e);
        if (wanted && monotonic_ns() >= due_ns) {
            collect_by_policy(e);
            due_ns = monotonic_ns() + GC_INTERVAL_NS;
            wanted = false;
        }
        r = await_build(e, &seen, wanted ? due_ns : INT64_MAX);
        wanted = wanted || (collects && r == 0);
    }
}

/* Syncing comes after a build's memory was given back, and takes some of it again. */
static void store_synced(void *engine)
{
    engine_settle(engine);
}

static struct error *keep_store(void *engine)
{
    log_err(LOG_WARN, store_run(((struct engine *)engine)->store, store_synced, engine),
            "the store is not synced");
    return NULL;
}

struct error *engine_background(void *engine)
{
    struct engine *e = engine;
    struct group store;

    if (task_sleep(WARM_UP_DELAY_NS) < 0)
        return NULL;
    digest_warm_up();
    log_err(LOG_WARN, runner_warm_up(e->runner), "no runtime is ready");
    if (e->containers != NULL)
        containers_start_wanted(e->containers);
    group_open(&store, 0);
    log_err(LOG_WARN, group_spawn(&store, "store", keep_store, e), "the store is not synced");
    settle_after_builds(e);
    group_cancel(&store);
    return group_finish(&store, NULL);
}

void engine_settle(struct engine *e)
{
    if (builder_active(e->builder) > 0)
        return;
    registry_trim(e->registry);
    memory_trim();
}
