/* SPDX-License-Identifier: Apache-2.0 */
/* detach.c - a job lets go of its nodes */
#include "solver/node.h"

/* Not at work, and nothing that is at work looks into it. */
static bool may_go(const struct node *n)
{
    return n->state != NODE_BUSY && n->followers.len == 0 && n->dependents.len == 0;
}

/* One that others wait for lives on without a job: the task at work frees it. */
static void orphan_locked(struct node *n)
{
    struct solver *s = n->solver;

    slots_move_locked(n, TAKE(n->closing));
    if (map_get(&s->nodes, n->id) == n)
        map_remove(&s->nodes, n->id);
    for (size_t i = 0; i < n->input_count; i++)
        ptrv_drop(&n->inputs[i]->dependents, n);
    n->input_count = 0;
}

/* What can go now goes before `gone`; what is left has to be waited for. */
static struct node *reap_locked(struct job *j, struct node *gone)
{
    size_t kept = 0, count = j->ending.len;

    for (size_t i = 0; i < count; i++) {
        struct node *n = j->ending.v[i];

        if (n->followers.len > 0 && n->stage == STAGE_RUN) {
            orphan_locked(n);
        } else if (may_go(n)) {
            node_unlink_locked(n);
            n->next = gone; /* it stands in no queue any more */
            gone = n;
        } else {
            j->ending.v[kept++] = n;
        }
    }
    j->ending.len = kept;
    return gone;
}

/* Those that no other job has are its to end; dependents come first. */
static void leave_nodes_locked(struct job *j)
{
    j->closing = true;
    j->ending = (struct ptrv){ xcalloc(j->nodes.len + 1, sizeof(void *)), 0, j->nodes.len + 1 };
    while (j->nodes.len > 0) {
        struct node *n = j->nodes.v[--j->nodes.len];

        ptrv_drop(&n->jobs, j);
        if (n->jobs.len > 0) {
            slots_move_locked(n, j);
            continue;
        }
        n->closing = j;
        ptrv_add(&j->ending, n);
        node_retire_locked(n);
    }
}

void job_detach(struct job *j)
{
    struct solver *s = j->solver;
    struct node *gone = NULL;
    struct deadline shield;

    shield_begin(&shield, INT64_MAX / 2);
    mutex_lock(&s->lock);
    leave_nodes_locked(j);
    slots_start_locked(s);
    for (gone = reap_locked(j, gone); j->ending.len > 0; gone = reap_locked(j, gone)) {
        int r = cond_wait(&s->settled, &s->lock);

        assert(r == 0);
        (void)r;
    }
    slots_forget_locked(j);
    mutex_unlock(&s->lock);
    shield_end(&shield);
    while (gone != NULL) {
        struct node *n = gone;

        gone = n->next;
        node_free(n);
    }
    ptrv_deinit(&j->ending);
    ptrv_deinit(&j->nodes);
}
