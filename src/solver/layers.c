/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layers.c - digests of layers that an exporter will ask for, made while the build goes on
 *
 * The layers of a result are those that its step has made and, down through the bases, the steps before it;
 * what other stages made is never hashed.  A layer below the head is hashed by the task that made it, once
 * its node is done: beside the steps that follow.  The head's own is hashed as a part of its step, for
 * nothing would follow.  Whoever asks for a digest that is being made waits for it (snapshot_layer_diff_id),
 * so that a digest not made here, for whatever reason, is made by the exporter.
 */
#include "base/log.h"
#include "solver/node.h"

struct hashing {
    struct node *node; /* NULL: it is gone; under solver.lock */
    struct solver *solver;
    struct scope *scope;
    struct snapshot **made; /* references */
    size_t count;
};

void layers_ask_locked(struct ref *r)
{
    const struct llb_graph *g = r->box->graph;
    CLEANUP(freep) bool *asked = NULL;
    size_t head = g->result.vertex->position;

    /* A source alone is what a frontend reads from, or what is fetched ahead: seldom what is exported. */
    if (!r->job->exports_layers || g->result.vertex->input_count == 0)
        return;
    asked = xcalloc(g->vertex_count + 1, sizeof *asked);
    asked[head] = true;
    for (size_t i = g->vertex_count; i-- > 0;) { /* inputs come before what needs them */
        const struct llb_vertex *v = &g->vertices[i];
        struct node *n = r->nodes[i];

        if (!asked[i])
            continue;
        if (n->layers != LAYERS_IN_STEP)
            n->layers = i == head ? LAYERS_IN_STEP : LAYERS_AFTER_STEP;
        for (size_t k = 0; k < v->input_count; k++)
            if (n->impl->extends != NULL && n->impl->extends(v, k))
                asked[v->inputs[k].vertex->position] = true;
    }
}

/* What a step made lies uppermost. */
static struct error *hash(struct snapshot *const *made, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t layers = made[i] == NULL || snapshot_is_tree(made[i]) ? 0 : snapshot_layer_count(made[i]);
        struct digest d;
        int64_t size;

        if (layers > 0)
            TRY(snapshot_layer_diff_id(made[i], layers - 1, &d, &size));
    }
    return NULL;
}

void layers_hash_in_step(struct node *n)
{
    struct solver *s = n->solver;

    mutex_lock(&s->lock);
    bool now = n->layers == LAYERS_IN_STEP;
    mutex_unlock(&s->lock);
    if (now)
        log_err(LOG_DEBUG, hash(n->outputs, n->output_count),
                "the digest of a layer is left to the exporter");
}

struct hashing *layers_begin_locked(struct node *n)
{
    struct hashing *h;

    if (n->layers != LAYERS_AFTER_STEP)
        return NULL;
    assert(n->hashing == NULL);
    h = NEW(struct hashing);
    h->node = n;
    h->solver = n->solver;
    h->scope = scope_new(n->solver->group.scope);
    h->made = xcalloc(n->output_count + 1, sizeof *h->made);
    h->count = n->output_count;
    for (size_t i = 0; i < h->count; i++)
        h->made[i] = n->outputs[i] == NULL ? NULL : snapshot_ref(n->outputs[i]);
    n->hashing = h;
    return h;
}

void layers_forget_locked(struct node *n)
{
    struct hashing *h = TAKE(n->hashing);

    if (h == NULL)
        return;
    h->node = NULL;
    scope_cancel(h->scope, NULL);
}

/* Steps are counted against the parallelism, digests against the processors. */
static struct error *hash_in_turn(struct hashing *h)
{
    struct semaphore *turn = &h->solver->hash_slots;
    int r = semaphore_acquire(turn, 1);
    struct error *e;

    if (r < 0)
        return task_error(r, "hash a layer");
    e = hash(h->made, h->count);
    semaphore_release(turn, 1);
    return e;
}

void layers_hash_after_step(struct hashing *h)
{
    struct solver *s;

    if (h == NULL)
        return;
    s = h->solver;
    scope_enter(h->scope);
    log_err(LOG_DEBUG, hash_in_turn(h), "the digest of a layer is left to the exporter");
    scope_leave(h->scope);
    mutex_lock(&s->lock);
    if (h->node != NULL)
        h->node->hashing = NULL;
    mutex_unlock(&s->lock);
    for (size_t i = 0; i < h->count; i++)
        snapshot_unref(h->made[i]);
    free(h->made);
    scope_unref(h->scope);
    free(h);
}
