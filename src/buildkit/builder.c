/* SPDX-License-Identifier: Apache-2.0 */
/* builder.c - what all builds of a daemon share */
#include "base/bytes.h"
#include "buildkit/internal.h"
#include "buildkit/policy.h"

static struct error *make_worker_id(struct builder *b)
{
    char id[26];

    TRY(fact_get(b->config->store, "worker.id", &b->worker_id));
    if (b->worker_id != NULL)
        return NULL;
    random_id(id, 25);
    b->worker_id = xstrdup(id);
    return fact_put(b->config->store, "worker.id", id);
}

struct error *builder_new(const struct builder_config *c, struct builder **ret)
{
    struct builder *b = NEW(struct builder);
    struct error *e;

    b->config = c;
    mutex_init(&b->lock);
    cond_init(&b->changed);
    ahead_memory_init(&b->ahead);
    e = c->provenance_env_dir == NULL ? NULL : provenance_env_load(c->provenance_env_dir, &b->provenance_env);
    if (e == NULL && c->source_policy_file != NULL)
        e = policy_load(b, c->source_policy_file);
    solver_on_fetch(c->solver, policy_check_fetch, b);
    if (e == NULL)
        e = make_worker_id(b);
    if (e == NULL)
        e = worker_init(b);
    if (e == NULL)
        e = history_new(b, &b->history);
    if (e != NULL) {
        builder_free(b);
        return e;
    }
    *ret = b;
    return NULL;
}

void builder_free(struct builder *b)
{
    if (b == NULL)
        return;
    live_deinit(b);
    history_free(b->history);
    ahead_memory_deinit(&b->ahead);
    free(b->producers);
    json_decref(b->provenance_env);
    pb_arena_deinit(&b->worker_arena);
    pb_arena_deinit(&b->policy_arena);
    free(b->worker_id);
    cond_deinit(&b->changed);
    mutex_deinit(&b->lock);
    free(b);
}
