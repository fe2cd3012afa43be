/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slots.c - which step gets the next free slot
 *
 * Every job has a lane for each kind of slot, in which its steps queue in the order in which they became
 * ready; a step that several jobs wait for stands in the lane of one of them.  The next slot goes to the lane
 * that has the fewest steps at work, in turn among equals: so a build of a thousand steps does not keep one
 * of three waiting, and a single build has all slots.
 */
#include "solver/node.h"

static enum slot_kind kind_of(const struct node *n)
{
    return n->stage == STAGE_CONTENT || (n->stage == STAGE_RUN && n->impl->takes_cpu) ? SLOT_CPU : SLOT_IO;
}

/* A step whose jobs have all gone still works for those that joined it. */
static struct lane *lane_of(struct node *n)
{
    struct job *j = n->jobs.len > 0 ? n->jobs.v[0] : n->closing;

    return j != NULL ? &j->lanes[kind_of(n)] : &n->solver->stray_lanes[kind_of(n)];
}

static void stand_in_locked(struct node *n, struct lane *l)
{
    struct slots *k = &n->solver->slots[kind_of(n)];

    n->lane = l;
    node_list_push(&l->queue, n);
    if (!l->listed)
        ptrv_add(&k->lanes, l);
    l->listed = true;
}

void slots_queue_locked(struct node *n)
{
    stand_in_locked(n, lane_of(n));
}

/* Lanes in which nobody stands any more are left out from now on. */
static void drop_empty_locked(struct slots *k)
{
    size_t kept = 0;

    for (size_t i = 0; i < k->lanes.len; i++) {
        struct lane *l = k->lanes.v[i];

        if (l->queue.first != NULL)
            k->lanes.v[kept++] = l;
        else
            l->listed = false;
    }
    k->lanes.len = kept;
}

struct node *slots_take_locked(struct solver *s, enum slot_kind kind)
{
    struct slots *k = &s->slots[kind];
    size_t best = 0;

    if (k->running >= k->limit)
        return NULL;
    drop_empty_locked(k);
    if (k->lanes.len == 0)
        return NULL;
    for (size_t i = 1; i < k->lanes.len; i++)
        if (((struct lane *)k->lanes.v[i])->running < ((struct lane *)k->lanes.v[best])->running)
            best = i;
    struct lane *l = k->lanes.v[best];
    struct node *n = l->queue.first;

    ptrv_remove(&k->lanes, best); /* to the end: others of as few come first next time */
    ptrv_add(&k->lanes, l);
    node_list_remove(n);
    n->lane = l;
    l->running++;
    k->running++;
    return n;
}

void slots_leave_locked(struct node *n)
{
    if (n->lane == NULL)
        return;
    n->solver->slots[kind_of(n)].running--;
    n->lane->running--;
    n->lane = NULL;
}

void slots_move_locked(struct node *n, const struct job *from)
{
    struct lane *old = n->lane;

    if (old == NULL || old->job != from || lane_of(n) == old)
        return;
    if (n->state == NODE_QUEUED) {
        node_list_remove(n);
        stand_in_locked(n, lane_of(n));
    } else {
        old->running--;
        n->lane = lane_of(n);
        n->lane->running++;
    }
}

void slots_forget_locked(struct job *j)
{
    for (int kind = 0; kind < SLOT_KINDS; kind++) {
        struct ptrv *lanes = &j->solver->slots[kind].lanes;

        assert(j->lanes[kind].queue.first == NULL);
        for (size_t i = lanes->len; i-- > 0;)
            if (lanes->v[i] == &j->lanes[kind])
                ptrv_remove(lanes, i);
    }
}
