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

/* What of a node may change while others work with it, as it was when all were keyed.  The caches that it
 * names are the node's, which stays as long as the job does. */
struct view {
    const struct node *node;
    char *source;               /* as node_source says */
    struct snapshot **outputs;  /* references; NULL entries: not here */
    struct match_list *matches; /* by output */
    struct remote_hit *hits;    /* by output */
    bool done;
};

struct walk {
    struct cache_steps *steps;
    const struct llb_graph *graph;
    struct view *views; /* by position */
    size_t count;
};

static void view_deinit(struct view *v)
{
    for (size_t i = 0; i < v->node->output_count; i++) {
        snapshot_unref(v->outputs[i]);
        free(v->matches[i].v);
    }
    free(v->source);
    free(v->outputs);
    free(v->matches);
    free(v->hits);
}

static void walk_deinit(struct walk *w)
{
    for (size_t i = 0; i < w->count; i++)
        view_deinit(&w->views[i]);
    free(w->views);
}

static void copy_matches(const struct match_list *from, struct match_list *to)
{
    to->v = xcalloc(from->len + 1, sizeof(*to->v));
    to->len = from->len;
    for (size_t i = 0; i < from->len; i++)
        to->v[i] = from->v[i];
}

/* Of a keyed node: the stages that follow touch nothing of this but the outputs. */
static void look_locked(struct view *v, const struct node *n)
{
    v->node = n;
    v->done = n->state == NODE_DONE;
    v->source = xstrdup(node_source(n));
    v->outputs = xcalloc(n->output_count + 1, sizeof(*v->outputs));
    v->matches = xcalloc(n->output_count + 1, sizeof(*v->matches));
    v->hits = xcalloc(n->output_count + 1, sizeof(*v->hits));
    for (size_t i = 0; i < n->output_count; i++) {
        if (v->done && n->outputs[i] != NULL)
            v->outputs[i] = snapshot_ref(n->outputs[i]);
        if (n->matches != NULL)
            copy_matches(&n->matches[i], &v->matches[i]);
        if (n->hits != NULL)
            v->hits[i] = n->hits[i];
    }
}

static struct error *look_at_all(struct walk *w, struct demand *d, struct ref *r)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&r->job->solver->lock);

    TRY(demand_enter_locked(d, r));
    TRY(demand_wait_keyed_locked(d, r));
    w->views = xcalloc(w->graph->vertex_count + 1, sizeof(*w->views));
    for (; w->count < w->graph->vertex_count; w->count++)
        look_locked(&w->views[w->count], r->nodes[w->count]);
    return NULL;
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
    TRY(node_record_digest(v->node, v->source, output, &d));
    *ret = add_record(w->steps, &d, name);
    return NULL;
}

/* ---- links
 * ------------------------------------------------------------------------------------------------------------------
 */

/* An input that is not here: what the records that are this step say of its content. */
static void link_known_content(struct walk *w, const struct view *v, size_t output, size_t i, size_t record)
{
    const struct match_list *l = &v->matches[output];
    const struct llb_edge *e = &v->node->vertex->inputs[i];
    const struct match_list *of_input = &w->views[e->vertex->position].matches[e->index];

    for (size_t m = 0; m < l->len; m++) {
        const struct cache_config *c = remote_cache_config(l->v[m].cache);
        const struct cache_input *in = &c->records[l->v[m].record].inputs[i];

        for (size_t k = 0; k < in->link_count; k++) {
            const struct cache_record *target = &c->records[in->links[k].record];

            if (target->input_count > 0 || target->digest.s[0] == '\0' || in->links[k].selector != NULL ||
                remote_has_match(of_input, l->v[m].cache, in->links[k].record))
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
        link_known_content(w, v, output, i, record);
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
    if (v->hits[output].cache != NULL) {
        r->remote = remote_cache_ref(v->hits[output].cache);
        r->result = v->hits[output].result;
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
    TRY(node_record_digest(n, v->source, output, &d));
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
    e = look_at_all(&w, &d, r);
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
