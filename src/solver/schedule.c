/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schedule.c - who works on which node when
 *
 * A solve (struct demand) counts itself on every node that its head needs.  Nodes whose inputs are done stand
 * in the ready queue; solves take them from there and look them up.  What takes long gets a task of the
 * solver's group, if a slot is free: so a thousand waiting vertices are a thousand structs.  A node that no
 * solve counts on any more is taken out of its queue, or what works on it is cancelled.
 *
 * To be looked up a node waits for its inputs to be keyed; to hash or run, for their results, which it
 * forces.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "solver/node.h"

#include <errno.h>

/* ---- queues
 * ------------------------------------------------------------------------------------------------------------------
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

static void ptrv_drop(struct ptrv *p, const void *item)
{
    for (size_t i = p->len; i-- > 0;) {
        if (p->v[i] == item) {
            ptrv_remove(p, i);
            return;
        }
    }
}

static bool wanted(const struct node *n)
{
    return n->demand > 0 || n->followers.len > 0;
}

static bool settled(const struct demand *d)
{
    enum node_state state = d->head->state;

    return state == NODE_DONE || state == NODE_FAILED || (d->lazy && d->head->keyed);
}

static void wake_one_locked(struct solver *s)
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

/* ---- slots
 * -------------------------------------------------------------------------------------------------------------------
 */

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

static void enqueue_locked(struct node *n)
{
    struct solver *s = n->solver;

    if (n->stage == STAGE_LOOKUP) {
        n->state = NODE_READY;
        node_list_push(&s->ready, n);
        wake_one_locked(s);
        return;
    }
    n->state = NODE_QUEUED;
    slots_queue_locked(n);
    slots_start_locked(s);
}

/* ---- joining equal runs
 * ------------------------------------------------------------------------------------------------------ */

static const char *run_key(const struct node *n)
{
    return n->content_key[0] != '\0' ? n->content_key : n->key;
}

/* What comes from the cache and is about to be used is shown as cached: sources only, all others said so
 * themselves. */
static void show_inputs_locked(struct node *n)
{
    for (size_t i = 0; i < n->input_count; i++) {
        struct node *in = n->inputs[i];

        if (in->cached && !in->shown) {
            in->shown = true;
            reporter_cached(in->reporter);
        }
    }
}

/* Did an equal run end between our look-up and now? Then its result is to be found. */
static bool just_finished_locked(const struct node *n)
{
    const struct solver *s = n->solver;

    if (s->finished_count - n->looked_at > ARRAY_LEN(s->finished))
        return true; /* cannot tell */
    for (uint64_t i = n->looked_at; i < s->finished_count; i++)
        if (streq(s->finished[i % ARRAY_LEN(s->finished)], run_key(n)))
            return true;
    return false;
}

static void note_finished_locked(const struct node *n)
{
    struct solver *s = n->solver;

    memcpy(s->finished[s->finished_count++ % ARRAY_LEN(s->finished)], run_key(n), NODE_KEY_LEN + 1);
}

static void begin_run_locked(struct node *n)
{
    struct solver *s = n->solver;

    if (n->key[0] == '\0') { /* its inputs had no ids when it was looked up */
        n->stage = STAGE_LOOKUP;
        enqueue_locked(n);
        return;
    }
    struct node *leader = n->fresh ? NULL : map_get(&s->running, run_key(n));

    if (leader == NULL && !n->fresh && just_finished_locked(n)) {
        n->stage = n->by_content ? STAGE_CONTENT : STAGE_LOOKUP;
        enqueue_locked(n);
        return;
    }
    n->stage = STAGE_RUN;
    show_inputs_locked(n);
    if (n->run_inputs == NULL) {
        n->run_inputs = xcalloc(n->input_count + 1, sizeof(struct snapshot *));
        for (size_t i = 0; i < n->input_count; i++) {
            struct snapshot *in = node_input(n, i);

            n->run_inputs[i] = in == NULL ? NULL : snapshot_ref(in);
        }
    }
    if (leader != NULL && leader != n) {
        n->state = NODE_JOINED;
        n->leader = leader;
        ptrv_add(&leader->followers, n);
        for (size_t i = 0; i < n->jobs.len; i++)
            reporter_add(leader->reporter, ((struct job *)n->jobs.v[i])->progress);
        return;
    }
    if (leader == NULL)
        map_set(&s->running, run_key(n), n);
    enqueue_locked(n);
}

static void leave_running_locked(struct node *n)
{
    if (n->stage == STAGE_RUN && map_get(&n->solver->running, run_key(n)) == n)
        map_remove(&n->solver->running, run_key(n));
}

/* Nobody works on it any more.  What it was keyed by stays: whatever stands above it may be reading that. */
static void let_go_locked(struct node *n)
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

/* ---- settling
 * ----------------------------------------------------------------------------------------------------------------
 */

static void wake_waiters_locked(struct node *n)
{
    struct solver *s = n->solver;

    for (size_t i = 0; i < s->demands.len; i++) {
        struct demand *d = s->demands.v[i];

        if (d->head == n)
            cond_signal(&d->wake);
    }
}

/* The node and all that need it have failed, for the error of `vertex`; chains may be long, so no recursion.
 */
static void fail_locked(struct node *origin, struct digest vertex)
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
        wake_waiters_locked(n);
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
            begin_run_locked(d);
        else
            enqueue_locked(d);
    }
}

static void keyed_locked(struct node *n)
{
    if (n->keyed)
        return;
    n->keyed = true;
    notify_locked(n, false);
}

static void done_locked(struct node *n)
{
    n->state = NODE_DONE;
    wake_waiters_locked(n);
    keyed_locked(n);
    notify_locked(n, true);
}

/* ---- results that are only promised
 * -------------------------------------------------------------------------------------------- */

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
            fail_locked(n, in->failed_vertex);
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
static enum node_stage stage_after(const struct node *n)
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
        begin_run_locked(n);
    else
        enqueue_locked(n);
}

/* A promised node that somebody needs the result of. */
static void redeem_locked(struct node *n, struct ptrv *missing)
{
    if (n->hits != NULL) {
        n->stage = STAGE_FETCH;
        enqueue_locked(n);
        return;
    }
    n->stage = stage_after(n);
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

static void force_locked(struct node *n)
{
    struct ptrv missing = { 0 };

    n->forced = true;
    ptrv_add(&missing, n);
    redeem_all_locked(&missing);
}

static void promise_locked(struct node *n)
{
    n->state = NODE_PROMISED;
    wake_waiters_locked(n);
    keyed_locked(n);
    if (n->forced)
        force_locked(n);
}

static void advance_locked(struct node *n)
{
    struct ptrv missing = { 0 };

    n->stage = stage_after(n);
    proceed_locked(n, &missing);
    redeem_all_locked(&missing);
}

static void activate_locked(struct node *n);

static void follow_locked(struct node *n, struct node *leader, const struct error *e)
{
    n->leader = NULL;
    if (e != NULL) {
        n->error = err_clone(e);
        n->failed = xcalloc(leader->failed_count + 1, sizeof(struct snapshot *));
        for (size_t i = 0; i < leader->failed_count; i++)
            n->failed[i] = leader->failed[i] == NULL ? NULL : snapshot_ref(leader->failed[i]);
        n->failed_count = leader->failed_count;
        fail_locked(n, n->vertex->digest);
        return;
    }
    for (size_t i = 0; i < n->output_count; i++)
        n->outputs[i] = leader->outputs[i] == NULL ? NULL : snapshot_ref(leader->outputs[i]);
    done_locked(n);
}

/* Those that waited for this run get its result; if it was cancelled, or failed for a job that is gone, they
 * run themselves. */
static void release_followers_locked(struct node *n, const struct error *e, bool again)
{
    struct ptrv followers = n->followers;

    n->followers = (struct ptrv){ 0 };
    for (size_t i = 0; i < followers.len; i++) {
        struct node *f = followers.v[i];

        if (!again) {
            follow_locked(f, n, e);
            continue;
        }
        f->leader = NULL;
        begin_run_locked(f);
    }
    ptrv_deinit(&followers);
}

static void node_free(struct node *n)
{
    for (size_t i = 0; i < n->output_count; i++)
        snapshot_unref(n->outputs[i]);
    node_clear_stage(n);
    for (size_t i = 0; i < n->caches.len; i++)
        remote_cache_unref(n->caches.v[i]);
    ptrv_deinit(&n->caches);
    free(n->outputs);
    free(n->inputs);
    free(n->needed);
    free(n->awaits);
    free(n->input_done);
    ptrv_deinit(&n->dependents);
    ptrv_deinit(&n->jobs);
    ptrv_deinit(&n->followers);
    err_free(n->error);
    lease_close(n->lease);
    reporter_free(n->reporter);
    graph_box_unref(n->box);
    free(n->id);
    free(n);
}

/* Out of all tables; the memory is freed later, without the lock. */
static void unlink_locked(struct node *n)
{
    struct solver *s = n->solver;

    node_list_remove(n);
    leave_running_locked(n);
    layers_forget_locked(n);
    if (map_get(&s->nodes, n->id) == n)
        map_remove(&s->nodes, n->id);
    for (size_t i = 0; i < n->input_count; i++)
        ptrv_drop(&n->inputs[i]->dependents, n);
    n->input_count = 0;
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
    advance_locked(n);
    return true;
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

/* A stage has ended well, and the node is wanted. */
static void go_on_locked(struct node *n, enum node_outcome outcome)
{
    if (outcome == OUTCOME_PROMISE) {
        if (n->hits != NULL)
            show_hit_locked(n);
        promise_locked(n);
    } else if (n->stage == STAGE_RESOLVE) {
        n->stage = STAGE_LOOKUP;
        enqueue_locked(n);
    } else {
        if (stage_after(n) == STAGE_CONTENT)
            show_inputs_locked(n);
        advance_locked(n);
    }
}

/* One that was let go of, though somebody has come meanwhile. */
static void resume_locked(struct node *n)
{
    if (n->demand == 0)
        return;
    if (n->state == NODE_IDLE)
        activate_locked(n);
    else if (n->forced)
        force_locked(n);
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
    leave_running_locked(n);
    if (e != NULL && (cancelled || !wanted(n))) {
        err_free(e);
        release_followers_locked(n, NULL, true);
        let_go_locked(n);
        resume_locked(n);
    } else if (lost_locked(n, e)) {
        ; /* goes on */
    } else if (e != NULL) {
        n->error = e;
        release_followers_locked(n, e, n->jobs.len == 0);
        fail_locked(n, n->vertex->digest);
    } else if (outcome == OUTCOME_HIT || n->stage == STAGE_RUN) {
        if (outcome == OUTCOME_HIT)
            show_hit_locked(n);
        if (n->stage == STAGE_RUN)
            note_finished_locked(n);
        done_locked(n);
        release_followers_locked(n, NULL, false);
    } else if (!wanted(n)) {
        let_go_locked(n);
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
        unlink_locked(n);
    else if (made)
        h = layers_begin_locked(n);
    mutex_unlock(&s->lock);
    if (orphan)
        node_free(n);
    layers_hash_after_step(h);
    return NULL;
}

/* ---- demand
 * ------------------------------------------------------------------------------------------------------------------
 */

/* Begin work on an idle node that somebody wants. */
static void activate_locked(struct node *n)
{
    n->pending = 0;
    n->needs_results = false;
    for (size_t i = 0; i < n->input_count; i++) {
        const struct node *in = n->inputs[i];

        if (in->state == NODE_FAILED) {
            n->state = NODE_FAILED;
            n->failed_vertex = in->failed_vertex;
            n->error = err_clone(in->error);
            wake_waiters_locked(n);
            return;
        }
        n->awaits[i] = !in->keyed;
        n->pending += n->awaits[i] ? 1 : 0;
    }
    n->stage = n->impl->resolve != NULL ? STAGE_RESOLVE : STAGE_LOOKUP;
    if (n->pending > 0)
        n->state = NODE_WAITING;
    else
        enqueue_locked(n);
}

static void retire_locked(struct node *n)
{
    if (wanted(n))
        return;
    n->forced = false; /* whoever asks next may not need the result */
    switch (n->state) {
    case NODE_WAITING:
    case NODE_READY:
    case NODE_QUEUED:
        node_list_remove(n);
        leave_running_locked(n);
        let_go_locked(n);
        break;
    case NODE_JOINED: {
        struct node *leader = TAKE(n->leader);

        ptrv_drop(&leader->followers, n);
        let_go_locked(n);
        retire_locked(leader); /* depth 1: a leader follows nobody */
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

/* ---- nodes of a graph
 * -------------------------------------------------------------------------------------------------------- */

const struct impl_entry *impl_find(const struct solver *s, const struct llb_vertex *v)
{
    const char *id = v->op->op_case == PB__OP__OP_SOURCE ? v->op->source->identifier : NULL;
    const char *end = id == NULL ? NULL : strstr(id, "://");

    for (size_t i = s->impl_count; i-- > 0;) {
        const struct impl_entry *m = &s->impls[i];

        if (m->op_case != (int)v->op->op_case)
            continue;
        if (m->scheme == NULL)
            return m;
        if (end != NULL && strlen(m->scheme) == (size_t)(end - id) &&
            strncmp(m->scheme, id, (size_t)(end - id)) == 0)
            return m;
    }
    return NULL;
}

static struct error *no_impl(const struct llb_vertex *v)
{
    static const char *const names[] = {
        [PB__OP__OP_BUILD] = "build", [PB__OP__OP_MERGE] = "merge", [PB__OP__OP_DIFF] = "diff",
        [PB__OP__OP_FILE] = "file",   [PB__OP__OP_EXEC] = "exec",   [PB__OP__OP_PASSTHROUGH] = "passthrough",
    };
    unsigned c = (unsigned)v->op->op_case;

    if (v->op->op_case == PB__OP__OP_SOURCE)
        return err_new(ERR_UNIMPLEMENTED, "source %s is not supported by this builder",
                       v->op->source->identifier);
    return err_new(ERR_UNIMPLEMENTED, "%s operations are not supported by this builder",
                   c < ARRAY_LEN(names) && names[c] != NULL ? names[c] : "unknown");
}

/* Which outputs of its vertices a graph uses; by position, NULL for those with one output, which is used. */
struct usage {
    bool **used;
    size_t *outputs;
    size_t count;
};

static void usage_deinit(struct usage *u)
{
    for (size_t i = 0; i < u->count; i++)
        free(u->used[i]);
    free(u->used);
    free(u->outputs);
}

static struct error *use_edge(struct usage *u, const struct llb_edge *e)
{
    size_t at = e->vertex->position;

    if ((uint64_t)e->index >= u->outputs[at])
        return err_new(ERR_INVALID, "invalid index %lld for output of %s", (long long)e->index,
                       e->vertex->digest.s);
    u->used[at][e->index] = true;
    return NULL;
}

static struct error *usage_init(const struct solver *s, const struct llb_graph *g, struct usage *u)
{
    u->count = g->vertex_count;
    u->used = xcalloc(u->count + 1, sizeof(*u->used));
    u->outputs = xcalloc(u->count + 1, sizeof(*u->outputs));
    for (size_t i = 0; i < g->vertex_count; i++) {
        const struct impl_entry *m = impl_find(s, &g->vertices[i]);

        if (m == NULL)
            return no_impl(&g->vertices[i]);
        u->outputs[i] = m->impl->output_count == NULL ? 1 : m->impl->output_count(&g->vertices[i]);
        u->used[i] = xcalloc(u->outputs[i] + 1, sizeof(bool));
    }
    for (size_t i = 0; i < g->vertex_count; i++)
        for (size_t n = 0; n < g->vertices[i].input_count; n++)
            TRY(use_edge(u, &g->vertices[i].inputs[n]));
    return use_edge(u, &g->result);
}

static bool all_used(const struct usage *u, size_t i)
{
    for (size_t k = 0; k < u->outputs[i]; k++)
        if (!u->used[i][k])
            return false;
    return true;
}

/* A vertex is another node when it, or one below it, ignores the cache, is used for other outputs, is looked
 * for in other caches, or nests: such a node is its build's own, and another one in each nested definition,
 * so that none can come to wait for itself. */
static char *node_id(const struct llb_vertex *v, struct node **nodes, const struct usage *u,
                     const struct ref *r)
{
    const struct job *j = r->job;
    CLEANUP(hasher_freep) struct hasher *h = NULL;
    size_t at = v->position;
    bool nests = impl_find(j->solver, v)->impl->nests;
    bool partly = !all_used(u, at), variant = v->meta->ignore_cache || partly || nests || j->caches.len > 0;

    for (size_t i = 0; i < v->input_count; i++)
        variant = variant || strchr(nodes[v->inputs[i].vertex->position]->id, '+') != NULL;
    if (!variant)
        return xstrdup(v->digest.s);
    h = hasher_new();
    hasher_add(h, v->meta->ignore_cache ? "1" : "0", 1);
    if (partly)
        hasher_add(h, u->used[at], u->outputs[at] * sizeof(bool));
    hasher_add(h, j->caches.v, j->caches.len * sizeof(void *));
    if (nests) {
        hasher_add(h, j->ref, strlen(j->ref) + 1);
        if (r->parent != NULL)
            hasher_add(h, r->parent->id, strlen(r->parent->id) + 1);
    }
    for (size_t i = 0; i < v->input_count; i++) {
        const char *id = nodes[v->inputs[i].vertex->position]->id;

        hasher_add(h, id, strlen(id) + 1);
    }
    struct digest d = hasher_sum(h);
    return xasprintf("%s+%.16s", v->digest.s, digest_hex(&d));
}

static struct node *node_new(struct ref *r, char *id, const struct llb_vertex *v, struct node **nodes,
                             struct usage *u)
{
    struct job *j = r->job;
    struct solver *s = j->solver;
    const struct impl_entry *m = impl_find(s, v);
    struct node *n = NEW(struct node);

    n->solver = s;
    n->id = id;
    n->box = graph_box_ref(r->box);
    n->vertex = v;
    n->impl = m->impl;
    n->op_ctx = m->ctx;
    n->fresh = v->meta->ignore_cache || m->impl->nests;
    n->depth = r->parent == NULL ? 0 : r->parent->depth + 1;
    n->reporter = reporter_for_vertex(NULL, v);
    reporter_keep_log(n->reporter, s->log_dir_fd);
    n->output_count = u->outputs[v->position];
    n->needed = TAKE(u->used[v->position]);
    n->outputs = xcalloc(n->output_count + 1, sizeof(struct snapshot *));
    n->input_count = v->input_count;
    n->inputs = xcalloc(v->input_count + 1, sizeof(struct node *));
    n->awaits = xcalloc(v->input_count + 1, sizeof(bool));
    n->input_done = xcalloc(v->input_count + 1, sizeof(bool));
    for (size_t i = 0; i < j->caches.len; i++)
        ptrv_add(&n->caches, remote_cache_ref(j->caches.v[i]));
    for (size_t i = 0; i < v->input_count; i++) {
        n->inputs[i] = nodes[v->inputs[i].vertex->position];
        ptrv_add(&n->inputs[i]->dependents, n);
    }
    map_set(&s->nodes, n->id, n);
    return n;
}

static void attach_locked(struct job *j, struct node *n)
{
    for (size_t i = n->jobs.len; i-- > 0;)
        if (n->jobs.v[i] == j)
            return;
    struct job *closing = TAKE(n->closing);

    ptrv_add(&n->jobs, j);
    if (closing != NULL) {
        ptrv_drop(&closing->ending, n);
        slots_move_locked(n, closing);
    }
    ptrv_add(&j->nodes, n);
    reporter_add(n->reporter, j->progress);
    if (n->leader != NULL)
        reporter_add(n->leader->reporter, j->progress);
    if (n->state == NODE_FAILED) { /* a job that was not there when it failed tries again */
        err_free(TAKE(n->error));
        let_go_locked(n);
    }
}

/* Find or make the nodes of r's graph, inputs first. */
static struct error *nodes_locked(struct ref *r)
{
    CLEANUP(usage_deinit) struct usage u = { 0 };
    const struct llb_graph *g = r->box->graph;
    CLEANUP(freep) struct node **nodes = xcalloc(g->vertex_count + 1, sizeof *nodes);

    TRY(usage_init(r->job->solver, g, &u));
    for (size_t i = 0; i < g->vertex_count; i++) {
        const struct llb_vertex *v = &g->vertices[i];
        char *id = node_id(v, nodes, &u, r);

        nodes[i] = map_get(&r->job->solver->nodes, id);
        if (nodes[i] == NULL)
            nodes[i] = node_new(r, id, v, nodes, &u);
        else
            free(id);
        attach_locked(r->job, nodes[i]);
    }
    r->nodes = TAKE(nodes);
    return NULL;
}

struct error *demand_enter_locked(struct demand *d, struct ref *r)
{
    const struct llb_graph *g = r->box->graph;

    if (r->job->closing)
        return err_new(ERR_CANCELLED, "the build is over");
    if (r->nodes == NULL)
        TRY(nodes_locked(r));
    layers_ask_locked(r);
    d->head = r->nodes[g->result.vertex->position];
    ptrv_add(&r->job->solver->demands, d);
    for (size_t i = 0; i < g->vertex_count; i++)
        r->nodes[i]->demand++;
    for (size_t i = 0; i < g->vertex_count; i++)
        if (r->nodes[i]->state == NODE_IDLE)
            activate_locked(r->nodes[i]);
    if (!d->lazy)
        force_locked(d->head);
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
        retire_locked(r->nodes[i]);
    if (s->ready.first != NULL)
        wake_one_locked(s);
    slots_start_locked(s);
}

/* Look up what is ready, whosever it is. */
static void work_ready_locked(struct solver *s)
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
        let_go_locked(n);
        resume_locked(n);
        cond_broadcast(&s->settled);
        return;
    }
    finish_locked(n, e, outcome);
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
            work_ready_locked(s);
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

/* ---- the end of a job
 * -------------------------------------------------------------------------------------------------------- */

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

/* What can go now goes to `gone`; what is left has to be waited for. */
static void reap_locked(struct job *j, struct ptrv *gone)
{
    size_t kept = 0, count = j->ending.len;

    for (size_t i = 0; i < count; i++) {
        struct node *n = j->ending.v[i];

        if (n->followers.len > 0 && n->stage == STAGE_RUN) {
            orphan_locked(n);
        } else if (may_go(n)) {
            unlink_locked(n);
            ptrv_add(gone, n);
        } else {
            j->ending.v[kept++] = n;
        }
    }
    j->ending.len = kept;
}

void job_detach(struct job *j)
{
    struct solver *s = j->solver;
    struct ptrv gone = { 0 };
    struct deadline shield;

    shield_begin(&shield, INT64_MAX / 2);
    mutex_lock(&s->lock);
    j->closing = true;
    while (j->nodes.len > 0) { /* dependents first */
        struct node *n = j->nodes.v[--j->nodes.len];

        ptrv_drop(&n->jobs, j);
        if (n->jobs.len > 0) {
            slots_move_locked(n, j);
            continue;
        }
        n->closing = j;
        ptrv_add(&j->ending, n);
        retire_locked(n);
    }
    slots_start_locked(s);
    for (reap_locked(j, &gone); j->ending.len > 0; reap_locked(j, &gone)) {
        int r = cond_wait(&s->settled, &s->lock);

        assert(r == 0);
        (void)r;
    }
    slots_forget_locked(j);
    mutex_unlock(&s->lock);
    shield_end(&shield);
    for (size_t i = 0; i < gone.len; i++)
        node_free(gone.v[i]);
    ptrv_deinit(&gone);
    ptrv_deinit(&j->ending);
    ptrv_deinit(&j->nodes);
}
