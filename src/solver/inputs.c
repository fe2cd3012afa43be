/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inputs.c - who waits for whose key or result
 *
 * To be looked up a node waits for its inputs to be keyed; to hash or run, for their results, which it
 * forces.
 */
#include "solver/node.h"

/* ---- a node is keyed, done, failed
 * ----------------------------------------------------------------------------------------------------
 */

/* The node and all that need it have failed, for the error of `vertex`; chains may be long, so no recursion.
 */
void node_fail_locked(struct node *origin, struct digest vertex)
{
    struct ptrv todo = { 0 };

    ptrv_add(&todo, origin);
    while (todo.len > 0) {
        struct node *n = todo.v[--todo.len];

        node_list_remove(n);
        n->state = NODE_FAILED;
        n->failed_vertex = vertex;
        if (n != origin)
            n->error = err_clone(origin->error);
        demand_wake_locked(n);
        for (size_t i = 0; i < n->dependents.len; i++) {
            struct node *d = n->dependents.v[i];

            if (d->state == NODE_WAITING)
                ptrv_add(&todo, d);
        }
    }
    ptrv_deinit(&todo);
}

/* `in` is there for n: does that end its waiting? */
static bool got_input(struct node *n, const struct node *in)
{
    size_t before = n->pending;

    for (size_t i = 0; i < n->input_count; i++) {
        if (n->inputs[i] == in && n->awaits[i]) {
            n->awaits[i] = false;
            n->pending--;
        }
    }
    return before > 0 && n->pending == 0;
}

/* Those that waited for this to be keyed, or to have results, have one input less to wait for. */
static void notify_locked(struct node *n, bool results)
{
    for (size_t i = 0; i < n->dependents.len; i++) {
        struct node *d = n->dependents.v[i];

        if (d->state != NODE_WAITING || d->needs_results != results || !got_input(d, n))
            continue;
        if (d->stage == STAGE_RUN)
            run_begin_locked(d);
        else
            node_enqueue_locked(d);
    }
}

static void keyed_locked(struct node *n)
{
    if (n->keyed)
        return;
    n->keyed = true;
    notify_locked(n, false);
}

void node_done_locked(struct node *n)
{
    n->state = NODE_DONE;
    demand_wake_locked(n);
    keyed_locked(n);
    notify_locked(n, true);
}

/* ---- results that are only promised
 * ----------------------------------------------------------------------------------------------------
 */

/* An input that this stage has to have the result of. */
static bool reads_result(const struct node *n, size_t i)
{
    CLEANUP(op_input_key_deinit) struct op_input_key k = { 0 };

    if (n->stage != STAGE_CONTENT)
        return true;
    err_free(n->impl->input_key(n->vertex, i, &k)); /* an error shows in the stage itself */
    return k.by_content;
}

/* Wait for the results that the stage reads: *missing get those that are only promised.  False: an input has
 * failed, and so has this. */
static bool await_results_locked(struct node *n, struct ptrv *missing)
{
    n->needs_results = true;
    n->pending = 0;
    for (size_t i = 0; i < n->input_count; i++) {
        struct node *in = n->inputs[i];

        n->awaits[i] = in->state != NODE_DONE && reads_result(n, i);
        if (!n->awaits[i])
            continue;
        if (in->state == NODE_FAILED) {
            n->error = err_clone(in->error);
            node_fail_locked(n, in->failed_vertex);
            return false;
        }
        n->pending++;
        in->forced = true;
        if (in->state == NODE_PROMISED)
            ptrv_add(missing, in);
    }
    n->state = NODE_WAITING;
    return true;
}

/* The stage after a miss. */
enum node_stage node_stage_after(const struct node *n)
{
    if (n->stage == STAGE_LOOKUP && n->by_content)
        return STAGE_CONTENT;
    return STAGE_RUN;
}

/* A node whose stage stands: at once if the results that it needs are here, else after them. */
static void proceed_locked(struct node *n, struct ptrv *missing)
{
    if (!await_results_locked(n, missing) || n->pending > 0)
        return;
    if (n->stage == STAGE_RUN)
        run_begin_locked(n);
    else
        node_enqueue_locked(n);
}

/* A promised node that somebody needs the result of. */
static void redeem_locked(struct node *n, struct ptrv *missing)
{
    if (n->hits != NULL) {
        n->stage = STAGE_FETCH;
        node_enqueue_locked(n);
        return;
    }
    n->stage = node_stage_after(n);
    proceed_locked(n, missing);
}

/* Chains of promises may be long, so no recursion. */
static void redeem_all_locked(struct ptrv *missing)
{
    while (missing->len > 0) {
        struct node *n = missing->v[--missing->len];

        if (n->state == NODE_PROMISED)
            redeem_locked(n, missing);
    }
    ptrv_deinit(missing);
}

void node_force_locked(struct node *n)
{
    struct ptrv missing = { 0 };

    n->forced = true;
    ptrv_add(&missing, n);
    redeem_all_locked(&missing);
}

void node_promise_locked(struct node *n)
{
    n->state = NODE_PROMISED;
    demand_wake_locked(n);
    keyed_locked(n);
    if (n->forced)
        node_force_locked(n);
}

void node_advance_locked(struct node *n)
{
    struct ptrv missing = { 0 };

    n->stage = node_stage_after(n);
    proceed_locked(n, &missing);
    redeem_all_locked(&missing);
}
