/* SPDX-License-Identifier: Apache-2.0 */
/* cache_steps.c - what a solved ref was made of, as records that mean the same elsewhere */
#include "solver/cache.h"
#include "solver/node.h"

void cache_steps_deinit(struct cache_steps *s)
{
    for (size_t i = 0; i < s->config.record_count; i++) {
        snapshot_unref(s->results[i].snapshot);
        remote_cache_unref(s->results[i].remote);
    }
    free(s->results);
    cache_config_deinit(&s->config);
    map_deinit(&s->seen);
    *s = (struct cache_steps){ 0 };
}

/* What of a node may change while others work with it, as it was at one moment. */
struct view {
    struct node *node;
    struct snapshot **outputs; /* references; NULL entries: not here */
    bool done;
};

struct walk {
    struct cache_steps *steps;
    const struct llb_graph *graph;
    struct view *views; /* by position */
    size_t count;
};

static void walk_deinit(struct walk *w)
{
    for (size_t i = 0; i < w->count; i++) {
        for (size_t k = 0; w->views[i].outputs != NULL && k < w->views[i].node->output_count; k++)
            snapshot_unref(w->views[i].outputs[k]);
        free(w->views[i].outputs);
    }
    free(w->views);
}

static void look_locked(struct view *v, struct node *n)
{
    v->node = n;
    v->done = n->state == NODE_DONE;
    v->outputs = xcalloc(n->output_count + 1, sizeof(*v->outputs));
    for (size_t i = 0; v->done && i < n->output_count; i++)
        v->outputs[i] = n->outputs[i] == NULL ? NULL : snapshot_ref(n->outputs[i]);
}

/* ---- records
 * -----------------------------------------------------------------------------------------------------------------
 */

static size_t add_record(struct cache_steps *s, const struct digest *d, const char *name)
{
    size_t at = s->config.record_count;

    cache_config_add_record(&s->config, d);
    s->results = xreallocarray(s->results, at + 1, sizeof(*s->results));
    s->results[at] = (struct cache_step_result){ 0 };
    map_set(&s->seen, name, (void *)(at + 1));
    return at;
}

static bool find_record(const struct cache_steps *s, const char *name, size_t *ret)
{
    size_t found = (size_t)map_get(&s->seen, name);

    *ret = found - 1;
    return found != 0;
}

static size_t content_record(struct cache_steps *s, const struct digest *d)
{
    size_t at;

    return find_record(s, d->s, &at) ? at : add_record(s, d, d->s);
}

static char *output_name(const struct node *n, size_t output)
{
    return xasprintf("%s@%zu", n->id, output);
}

/* A source's record is made when something links to it. */
static struct error *source_record(struct walk *w, const struct view *v, size_t output, size_t *ret)
{
    CLEANUP(freep) char *name = output_name(v->node, output);
    struct digest d;

    if (find_record(w->steps, name, ret))
        return NULL;
    TRY(node_record_digest(v->node, output, &d));
    *ret = add_record(w->steps, &d, name);
    return NULL;
}

/* ---- links
 * ------------------------------------------------------------------------------------------------------------------
 */

/* An input that is not here: what the records that are this step say of its content. */
static void link_known_content(struct walk *w, const struct node *n, size_t output, size_t i, size_t record)
{
    const struct match_list *l = n->matches == NULL ? NULL : &n->matches[output];

    for (size_t m = 0; l != NULL && m < l->len; m++) {
        const struct cache_config *c = remote_cache_config(l->v[m].cache);
        const struct cache_input *in = &c->records[l->v[m].record].inputs[i];

        for (size_t k = 0; k < in->link_count; k++) {
            const struct cache_record *target = &c->records[in->links[k].record];

            if (target->input_count > 0 || target->digest.s[0] == '\0' || in->links[k].selector != NULL ||
                remote_is_input(n, i, l->v[m].cache, in->links[k].record))
                continue;
            size_t to = content_record(w->steps, &target->digest);

            cache_input_add(&w->steps->config.records[record].inputs[i], to, NULL);
        }
    }
}

static struct error *link_input(struct walk *w, const struct view *v, size_t output, size_t i, size_t record)
{
    const struct llb_edge *e = &v->node->vertex->inputs[i];
    const struct view *in = &w->views[e->vertex->position];
    struct snapshot *snap = in->outputs[e->index];
    struct digest d = { "" };
    size_t to;

    if (in->done)
        TRY(node_input_content(v->node, i, snap, &d));
    if (d.s[0] == '\0' || snap == NULL || !snapshot_is_tree(snap)) { /* a tree as a whole says nothing more */
        TRY(source_record(w, in, (size_t)e->index, &to));
        cache_input_add(&w->steps->config.records[record].inputs[i], to, NULL);
    }
    if (d.s[0] != '\0') {
        to = content_record(w->steps, &d);
        cache_input_add(&w->steps->config.records[record].inputs[i], to, NULL);
    } else if (!in->done) {
        link_known_content(w, v->node, output, i, record);
    }
    return NULL;
}

static struct error *set_result(struct walk *w, const struct view *v, size_t output, size_t record)
{
    struct cache_step_result *r = &w->steps->results[record];
    struct snapshot *s = v->outputs[output];

    if (v->done) {
        r->snapshot = s == NULL ? NULL : snapshot_ref(s);
        return s == NULL ? NULL : snapshot_load(s);
    }
    if (v->node->hits != NULL && v->node->hits[output].cache != NULL) {
        r->remote = remote_cache_ref(v->node->hits[output].cache);
        r->result = v->node->hits[output].result;
    }
    return NULL;
}

static struct error *add_output(struct walk *w, const struct view *v, size_t output)
{
    const struct node *n = v->node;
    CLEANUP(freep) char *name = output_name(n, output);
    struct digest d;
    size_t at;

    if (find_record(w->steps, name, &at))
        return NULL;
    TRY(node_record_digest(n, output, &d));
    at = add_record(w->steps, &d, name);
    cache_record_set_inputs(&w->steps->config.records[at], n->vertex->input_count);
    for (size_t i = 0; i < n->vertex->input_count; i++)
        TRY(link_input(w, v, output, i, at));
    return set_result(w, v, output, at);
}

static struct error *add_all(struct walk *w)
{
    for (size_t i = 0; i < w->count; i++) {
        const struct view *v = &w->views[i];

        if (v->node->impl->resolve != NULL)
            continue;
        for (size_t k = 0; k < v->node->output_count; k++)
            if (v->node->needed[k])
                TRY(add_output(w, v, k));
    }
    return NULL;
}

static size_t head_record(const struct walk *w)
{
    const struct llb_edge *e = &w->graph->result;
    const struct node *n = w->views[e->vertex->position].node;
    CLEANUP(freep) char *name = output_name(n, (size_t)e->index);
    size_t at;

    return n->impl->resolve == NULL && find_record(w->steps, name, &at) ? at : SIZE_MAX;
}

/* The solve is entered once more, so that nothing that is keyed is forgotten meanwhile. */
struct error *ref_cache_steps(struct ref *r, struct cache_steps *s, size_t *ret)
{
    CLEANUP(walk_deinit) struct walk w = { .steps = s, .graph = r->box->graph };
    struct solver *solver = r->job->solver;
    struct demand d = { .lazy = true };
    struct error *e;

    cond_init(&d.wake);
    mutex_lock(&solver->lock);
    e = demand_enter_locked(&d, r);
    if (e == NULL) {
        int result = demand_wait_locked(&d);

        if (result < 0)
            e = task_error(result, "export the build cache");
        else if (d.head->state == NODE_FAILED)
            e = err_clone(d.head->error);
    }
    if (e == NULL) {
        w.count = w.graph->vertex_count;
        w.views = xcalloc(w.count + 1, sizeof(*w.views));
        for (size_t i = 0; i < w.count; i++)
            look_locked(&w.views[i], r->nodes[i]);
    }
    mutex_unlock(&solver->lock);
    if (e == NULL)
        e = add_all(&w);
    if (e == NULL)
        *ret = head_record(&w);
    mutex_lock(&solver->lock);
    if (d.head != NULL)
        demand_leave_locked(&d, r);
    mutex_unlock(&solver->lock);
    cond_deinit(&d.wake);
    return e;
}
