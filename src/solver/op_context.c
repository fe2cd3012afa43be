/* SPDX-License-Identifier: Apache-2.0 */
/* op_context.c - what an op gets while it is at work on a node, and what it may leave there */
#include "solver/node.h"

void op_context_init(struct node *n, struct op_context *c)
{
    struct solver *s = n->solver;

    *c = (struct op_context){
        .solver = s,
        .vertex = n->vertex,
        .reporter = n->reporter,
        .store = s->config.store,
        .op_ctx = n->op_ctx,
        .node = n,
        .resolved = n->source_text,
        .sessions = { .manager = s->config.sessions },
    };
    mutex_lock(&s->lock);
    for (size_t i = 0; i < n->jobs.len; i++)
        strv_copy(&c->sessions.ids, &((struct job *)n->jobs.v[i])->sessions.ids);
    mutex_unlock(&s->lock);
}

void op_context_deinit(struct op_context *c)
{
    strv_deinit(&c->sessions.ids);
}

struct error *op_lease(struct op_context *c, struct lease **ret)
{
    if (c->node == NULL) {
        *ret = c->lease;
        return NULL;
    }
    if (c->node->lease == NULL)
        TRY(lease_open(c->store, &c->node->lease));
    *ret = c->node->lease;
    return NULL;
}

void op_keep_failed(struct op_context *c, struct snapshot **mounts, size_t count)
{
    assert(c->node->failed == NULL);
    c->node->failed = mounts;
    c->node->failed_count = count;
}

void op_failed_action(struct op_context *c, size_t action)
{
    c->node->failed_at = (struct failure_place){ FAILED_ACTION, action };
}

void op_pin(struct op_context *c, const char *pin)
{
    free(c->node->pin);
    c->node->pin = xstrdup(pin);
}

/* The jobs that the context is for: one outside of a solve, else all that wait for the node. */
static size_t noting_jobs(const struct op_context *c)
{
    return c->node == NULL ? c->job != NULL : c->node->jobs.len;
}

static struct job *noting_job(const struct op_context *c, size_t i)
{
    return c->node == NULL ? c->job : c->node->jobs.v[i];
}

char *op_recall(const struct op_context *c, const char *key)
{
    char *found = NULL;

    mutex_lock(&c->solver->lock);
    for (size_t i = 0; found == NULL && i < noting_jobs(c); i++)
        found = xstrdup(strmap_get(&noting_job(c, i)->noted, key));
    mutex_unlock(&c->solver->lock);
    return found;
}

void op_note(const struct op_context *c, const char *key, const char *value)
{
    mutex_lock(&c->solver->lock);
    for (size_t i = 0; i < noting_jobs(c); i++) {
        struct job *j = noting_job(c, i);

        if (!map_has(&j->noted, key))
            strmap_set(&j->noted, key, value);
    }
    mutex_unlock(&c->solver->lock);
}

struct error *op_check_url(const struct op_context *c, const char *url, char **ret_url)
{
    CLEANUP(strv_deinit) struct strv refs = { 0 };
    CLEANUP(freep) char *now = xstrdup(url);
    struct solver *s = c->solver;
    bool changed = false;

    mutex_lock(&s->lock);
    for (size_t i = 0; i < noting_jobs(c); i++)
        strv_add(&refs, noting_job(c, i)->ref);
    mutex_unlock(&s->lock);
    for (size_t i = 0; s->on_fetch != NULL && i < refs.len; i++) {
        char *other = NULL;

        TRY(s->on_fetch(s->on_fetch_ctx, refs.v[i], now, &other));
        if (other == NULL)
            continue;
        free(now);
        now = other;
        changed = true;
    }
    *ret_url = changed ? TAKE(now) : NULL;
    return NULL;
}
