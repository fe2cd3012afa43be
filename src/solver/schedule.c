/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schedule.c - which stage a node goes through next, and who works on it
 *
 * A solve (struct demand) counts itself on every node that its head needs.  Nodes whose inputs are done stand
 * in the ready queue; solves take them from there and look them up.  What takes long gets a task of the
 * solver's group, if a slot is free: so a thousand waiting vertices are a thousand structs.  A node that no
 * solve counts on any more is taken out of its queue, or what works on it is cancelled.
 */
#include "base/log.h"
#include "solver/node.h"

/* ---- queues
 * ----------------------------------------------------------------------------------------------------
 */

void node_list_push(struct node_list *l, struct node *n)
{
    assert(n->list == NULL);
    n->list = l;
    n->prev = l->last;
    n->next = NULL;
    *(l->last == NULL ? &l->first : &l->last->next) = n;
    l->last = n;
}

void node_list_remove(struct node *n)
{
    struct node_list *l = n->list;

    if (l == NULL)
        return;
    *(n->prev == NULL ? &l->first : &n->prev->next) = n->next;
    *(n->next == NULL ? &l->last : &n->next->prev) = n->prev;
    n->list = NULL;
    n->lane = NULL;
    n->next = n->prev = NULL;
}

bool node_wanted(const struct node *n)
{
    return n->demand > 0 || n->followers.len > 0;
}

static struct error *work_main(void *arg);
static void finish_locked(struct node *n, struct error *e, enum node_outcome outcome);

static void begin_stage_locked(struct node *n)
{
    for (size_t i = 0; i < n->input_count; i++)
        n->input_done[i] = n->inputs[i]->state == NODE_DONE;
}

static void start_locked(struct solver *s, struct node *n)
{
    struct error *e;

    begin_stage_locked(n);
    n->looked_at = s->finished_count;
    n->state = NODE_BUSY;
    n->scope = scope_new(s->group.scope);
    e = group_spawn_scope(&s->group, n->vertex->name, n->scope, work_main, n);
    if (e != NULL)
        finish_locked(n, e, OUTCOME_MISS);
}

void slots_start_locked(struct solver *s)
{
    for (int kind = 0; kind < SLOT_KINDS; kind++) {
        struct node *n;

        while ((n = slots_take_locked(s, (enum slot_kind)kind)) != NULL)
            start_locked(s, n);
    }
}

void node_enqueue_locked(struct node *n)
{
    struct solver *s = n->solver;

    if (n->stage == STAGE_LOOKUP) {
        n->state = NODE_READY;
        node_list_push(&s->ready, n);
        demand_wake_one_locked(s);
        return;
    }
    n->state = NODE_QUEUED;
    slots_queue_locked(n);
    slots_start_locked(s);
}

/* ---- begin, and let go
 * ----------------------------------------------------------------------------------------------------
 */

/* Nobody works on it any more.  What it was keyed by stays: whatever stands above it may be reading that. */
void node_let_go_locked(struct node *n)
{
    if (n->keyed) {
        n->state = NODE_PROMISED;
        n->stage = STAGE_LOOKUP;
        node_clear_failed(n);
    } else {
        n->state = NODE_IDLE;
        node_clear_stage(n);
    }
}

/* Begin work on an idle node that somebody wants. */
void node_activate_locked(struct node *n)
{
    n->pending = 0;
    n->needs_results = false;
    for (size_t i = 0; i < n->input_count; i++) {
        const struct node *in = n->inputs[i];

        if (in->state == NODE_FAILED) {
            n->state = NODE_FAILED;
            n->failed_vertex = in->failed_vertex;
            n->error = err_clone(in->error);
            demand_wake_locked(n);
            return;
        }
        n->awaits[i] = !in->keyed;
        n->pending += n->awaits[i] ? 1 : 0;
    }
    n->stage = n->impl->resolve != NULL ? STAGE_RESOLVE : STAGE_LOOKUP;
    if (n->pending > 0)
        n->state = NODE_WAITING;
    else
        node_enqueue_locked(n);
}

void node_retire_locked(struct node *n)
{
    if (node_wanted(n))
        return;
    n->forced = false; /* whoever asks next may not need the result */
    switch (n->state) {
    case NODE_WAITING:
    case NODE_READY:
    case NODE_QUEUED:
        node_list_remove(n);
        run_leave_locked(n);
        node_let_go_locked(n);
        break;
    case NODE_JOINED: {
        struct node *leader = TAKE(n->leader);

        ptrv_drop(&leader->followers, n);
        node_let_go_locked(n);
        node_retire_locked(leader); /* depth 1: a leader follows nobody */
        break;
    }
    case NODE_BUSY:
        if (n->scope != NULL)
            scope_cancel(n->scope, NULL);
        break;
    case NODE_IDLE:
    case NODE_PROMISED:
    case NODE_DONE:
    case NODE_FAILED:
        break;
    }
}

/* One that was let go of, though somebody has come meanwhile. */
static void resume_locked(struct node *n)
{
    if (n->demand == 0)
        return;
    if (n->state == NODE_IDLE)
        node_activate_locked(n);
    else if (n->forced)
        node_force_locked(n);
}

/* ---- the end of a stage
 * ----------------------------------------------------------------------------------------------------
 */

/* What comes from the cache and is about to be used is shown as cached: sources only, all others said so
 * themselves. */
void node_show_inputs_locked(struct node *n)
{
    for (size_t i = 0; i < n->input_count; i++) {
        struct node *in = n->inputs[i];

        if (in->cached && !in->shown) {
            in->shown = true;
            reporter_cached(in->reporter);
        }
    }
}

static void show_hit_locked(struct node *n)
{
    if (n->cached) /* promised */
        return;
    n->cached = n->stage != STAGE_RESOLVE;
    n->shown = n->cached && n->impl->resolve == NULL;
    if (n->shown)
        reporter_cached(n->reporter);
}

/* Layers that a cache promised could not be had: the step is made as if it had promised none. */
static bool lost_locked(struct node *n, struct error *e)
{
    if (e == NULL || n->stage != STAGE_FETCH)
        return false;
    log_err(LOG_WARN, e, "cannot load a step from a build cache");
    free(TAKE(n->hits));
    n->cached = n->shown = false;
    n->stage = STAGE_LOOKUP;
    node_advance_locked(n);
    return true;
}

/* A stage has ended well, and the node is node_wanted. */
static void go_on_locked(struct node *n, enum node_outcome outcome)
{
    if (outcome == OUTCOME_PROMISE) {
        if (n->hits != NULL)
            show_hit_locked(n);
        node_promise_locked(n);
    } else if (n->stage == STAGE_RESOLVE) {
        n->stage = STAGE_LOOKUP;
        node_enqueue_locked(n);
    } else {
        if (node_stage_after(n) == STAGE_CONTENT)
            node_show_inputs_locked(n);
        node_advance_locked(n);
    }
}

/* The stage is over: one more, or settled.  `e` taken. */
static void finish_locked(struct node *n, struct error *e, enum node_outcome outcome)
{
    struct solver *s = n->solver;
    bool cancelled = n->scope != NULL && scope_cancelled(n->scope);

    if (n->scope != NULL) {
        slots_leave_locked(n);
        scope_unref(TAKE(n->scope));
    }
    run_leave_locked(n);
    if (e != NULL && (cancelled || !node_wanted(n))) {
        err_free(e);
        run_release_followers_locked(n, NULL, true);
        node_let_go_locked(n);
        resume_locked(n);
    } else if (lost_locked(n, e)) {
        ; /* goes on */
    } else if (e != NULL) {
        n->error = e;
        run_release_followers_locked(n, e, n->jobs.len == 0);
        node_fail_locked(n, n->vertex->digest);
    } else if (outcome == OUTCOME_HIT || n->stage == STAGE_RUN) {
        if (outcome == OUTCOME_HIT)
            show_hit_locked(n);
        if (n->stage == STAGE_RUN)
            run_note_finished_locked(n);
        node_done_locked(n);
        run_release_followers_locked(n, NULL, false);
    } else if (!node_wanted(n)) {
        node_let_go_locked(n);
    } else {
        go_on_locked(n, outcome);
    }
    cond_broadcast(&s->settled);
}

static struct error *work_main(void *arg)
{
    struct node *n = arg;
    struct solver *s = n->solver;
    enum node_outcome outcome = OUTCOME_MISS;
    struct error *e;

    if (n->stage == STAGE_RESOLVE) {
        e = stage_resolve(n);
        outcome = e == NULL && n->source_text == NULL ? OUTCOME_HIT : OUTCOME_MISS;
    } else if (n->stage == STAGE_CONTENT) {
        e = stage_content(n, &outcome);
    } else if (n->stage == STAGE_FETCH) {
        e = stage_fetch(n);
        outcome = OUTCOME_HIT;
    } else {
        e = stage_run(n);
    }
    mutex_lock(&s->lock);
    bool orphan = n->jobs.len == 0 && n->closing == NULL;
    bool made = e == NULL && n->stage == STAGE_RUN;
    struct hashing *h = NULL;

    finish_locked(n, e, outcome);
    slots_start_locked(s);
    if (orphan)
        node_unlink_locked(n);
    else if (made)
        h = layers_begin_locked(n);
    mutex_unlock(&s->lock);
    if (orphan)
        node_free(n);
    layers_hash_after_step(h);
    return NULL;
}

/* Look up what is ready, whosever it is. */
void solver_look_up_locked(struct solver *s)
{
    struct node *n = s->ready.first;
    enum node_outcome outcome = OUTCOME_MISS;
    struct error *e;

    node_list_remove(n);
    begin_stage_locked(n);
    n->looked_at = s->finished_count;
    n->state = NODE_BUSY;
    mutex_unlock(&s->lock);
    e = stage_lookup(n, &outcome);
    mutex_lock(&s->lock);
    if (err_is(e, ERR_CANCELLED)) { /* ours, not the node's: somebody else will look it up */
        err_free(TAKE(e));
        node_let_go_locked(n);
        resume_locked(n);
        cond_broadcast(&s->settled);
        return;
    }
    finish_locked(n, e, outcome);
}
