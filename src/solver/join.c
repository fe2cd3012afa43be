/* SPDX-License-Identifier: Apache-2.0 */
/*
 * join.c - equal runs are one: nodes of one key wait for the first of them
 *
 * A run that has just ended is found in the cache by whoever looked there too early to see it.
 */
#include "solver/node.h"

static const char *run_key(const struct node *n)
{
    return n->content_key[0] != '\0' ? n->content_key : n->key;
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

void run_note_finished_locked(const struct node *n)
{
    struct solver *s = n->solver;

    memcpy(s->finished[s->finished_count++ % ARRAY_LEN(s->finished)], run_key(n), NODE_KEY_LEN + 1);
}

void run_begin_locked(struct node *n)
{
    struct solver *s = n->solver;

    if (n->key[0] == '\0') { /* its inputs had no ids when it was looked up */
        n->stage = STAGE_LOOKUP;
        node_enqueue_locked(n);
        return;
    }
    struct node *leader = n->fresh ? NULL : map_get(&s->running, run_key(n));

    if (leader == NULL && !n->fresh && just_finished_locked(n)) {
        n->stage = n->by_content ? STAGE_CONTENT : STAGE_LOOKUP;
        node_enqueue_locked(n);
        return;
    }
    n->stage = STAGE_RUN;
    node_show_inputs_locked(n);
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
    node_enqueue_locked(n);
}

void run_leave_locked(struct node *n)
{
    if (n->stage == STAGE_RUN && map_get(&n->solver->running, run_key(n)) == n)
        map_remove(&n->solver->running, run_key(n));
}

static void follow_locked(struct node *n, struct node *leader, const struct error *e)
{
    n->leader = NULL;
    if (e != NULL) {
        n->error = err_clone(e);
        n->failed = xcalloc(leader->failed_count + 1, sizeof(struct snapshot *));
        for (size_t i = 0; i < leader->failed_count; i++)
            n->failed[i] = leader->failed[i] == NULL ? NULL : snapshot_ref(leader->failed[i]);
        n->failed_count = leader->failed_count;
        n->failed_at = leader->failed_at;
        node_fail_locked(n, n->vertex->digest);
        return;
    }
    for (size_t i = 0; i < n->output_count; i++)
        n->outputs[i] = leader->outputs[i] == NULL ? NULL : snapshot_ref(leader->outputs[i]);
    node_done_locked(n);
}

/* Those that waited for this run get its result; if it was cancelled, or failed for a job that is gone, they
 * run themselves. */
void run_release_followers_locked(struct node *n, const struct error *e, bool again)
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
        run_begin_locked(f);
    }
    ptrv_deinit(&followers);
}
