/* SPDX-License-Identifier: Apache-2.0 */
/* demand.c - solves under way: what they ask for, what they do meanwhile, whom they wait for */
#include "solver/node.h"

static bool settled(const struct demand *d)
{
    enum node_state state = d->head->state;

    return state == NODE_DONE || state == NODE_FAILED || (d->lazy && d->head->keyed);
}

void demand_wake_one_locked(struct solver *s)
{
    struct demand *d = s->idle;

    if (d == NULL)
        return;
    s->idle = d->next;
    if (s->idle != NULL)
        s->idle->prev = NULL;
    d->idle = false;
    cond_signal(&d->wake);
}

void demand_wake_locked(struct node *n)
{
    struct solver *s = n->solver;

    for (size_t i = 0; i < s->demands.len; i++) {
        struct demand *d = s->demands.v[i];

        if (d->head == n)
            cond_signal(&d->wake);
    }
}

struct error *demand_enter_locked(struct demand *d, struct ref *r)
{
    const struct llb_graph *g = r->box->graph;

    if (r->job->closing)
        return err_new(ERR_CANCELLED, "the build is over");
    if (r->nodes == NULL)
        TRY(ref_make_nodes_locked(r));
    layers_ask_locked(r);
    d->head = r->nodes[g->result.vertex->position];
    ptrv_add(&r->job->solver->demands, d);
    for (size_t i = 0; i < g->vertex_count; i++)
        r->nodes[i]->demand++;
    for (size_t i = 0; i < g->vertex_count; i++)
        if (r->nodes[i]->state == NODE_IDLE)
            node_activate_locked(r->nodes[i]);
    if (!d->lazy)
        node_force_locked(d->head);
    return NULL;
}

void demand_leave_locked(struct demand *d, struct ref *r)
{
    struct solver *s = r->job->solver;
    const struct llb_graph *g = r->box->graph;

    if (d->idle) {
        *(d->prev == NULL ? &s->idle : &d->prev->next) = d->next;
        if (d->next != NULL)
            d->next->prev = d->prev;
        d->idle = false;
    }
    ptrv_drop(&s->demands, d);
    for (size_t i = 0; i < g->vertex_count; i++)
        r->nodes[i]->demand--;
    for (size_t i = g->vertex_count; i-- > 0;)
        node_retire_locked(r->nodes[i]);
    if (s->ready.first != NULL)
        demand_wake_one_locked(s);
    slots_start_locked(s);
}

int demand_wait_locked(struct demand *d)
{
    struct solver *s = d->head->solver;
    int r;

    while (!settled(d)) {
        r = task_check_sys();
        if (r < 0)
            return r;
        if (s->ready.first != NULL) {
            solver_look_up_locked(s);
            continue;
        }
        d->idle = true;
        d->prev = NULL;
        d->next = s->idle;
        if (d->next != NULL)
            d->next->prev = d;
        s->idle = d;
        r = cond_wait(&d->wake, &s->lock);
        if (d->idle) { /* woken by the head, or cancelled: nobody took us off */
            *(d->prev == NULL ? &s->idle : &d->prev->next) = d->next;
            if (d->next != NULL)
                d->next->prev = d->prev;
            d->idle = false;
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* One that was keyed need not be so still: another build may have needed its result and been cancelled. */
struct error *demand_wait_keyed_locked(struct demand *d, struct ref *r)
{
    size_t count = r->box->graph->vertex_count;

    for (bool waited = true; waited;) {
        waited = false;
        for (size_t i = 0; i < count; i++) {
            if (r->nodes[i]->keyed)
                continue;
            d->head = r->nodes[i];
            int result = demand_wait_locked(d);

            if (result < 0)
                return task_error(result, "export the build cache");
            if (!d->head->keyed && d->head->state == NODE_FAILED)
                return err_clone(d->head->error);
            waited = true;
        }
    }
    return NULL;
}
