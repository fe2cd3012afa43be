/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.c - nodes are made of a loaded graph, shared by the jobs whose definitions have the same vertices, and
 * freed
 */
#include "solver/node.h"

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
        return err_new(ERR_UNKNOWN, "invalid index %lld for output of %s", (long long)e->index,
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

/* A build without caches of its own takes what one that has some is at already, as far as that began from the
 * same nodes: its sources too, which only the other one's client may have. */
static struct node *find_lent(const struct solver *s, const struct llb_vertex *v, struct node **nodes)
{
    struct node *n = map_get(&s->lent, v->digest.s);

    for (size_t i = 0; n != NULL && i < v->input_count; i++)
        if (n->inputs[i] != nodes[v->inputs[i].vertex->position])
            return NULL;
    return n;
}

/* Nothing but its caches makes it another node. */
static bool may_lend(const struct node *n)
{
    bool lends = n->caches.len > 0 && !n->fresh && !n->partly;

    for (size_t i = 0; lends && i < n->input_count; i++)
        lends = map_get(&n->solver->lent, n->inputs[i]->vertex->digest.s) == n->inputs[i];
    return lends;
}

/* In one piece, for a build may have many thousands of nodes. */
static void alloc_arrays(struct node *n)
{
    size_t in = n->input_count, out = n->output_count;
    char *at = xcalloc(1, out * sizeof(*n->outputs) + in * (sizeof(*n->inputs) + 2 * sizeof(bool)) + 1);

    n->outputs = (struct snapshot **)at;
    n->inputs = (struct node **)(at += out * sizeof(*n->outputs));
    n->awaits = (bool *)(at += in * sizeof(*n->inputs));
    n->input_done = (bool *)(at + in * sizeof(bool));
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
    n->partly = !all_used(u, v->position);
    n->needed = TAKE(u->used[v->position]);
    n->input_count = v->input_count;
    alloc_arrays(n);
    for (size_t i = 0; i < j->caches.len; i++)
        ptrv_add(&n->caches, remote_cache_ref(j->caches.v[i]));
    for (size_t i = 0; i < v->input_count; i++) {
        n->inputs[i] = nodes[v->inputs[i].vertex->position];
        ptrv_add(&n->inputs[i]->dependents, n);
    }
    map_set(&s->nodes, n->id, n);
    if (may_lend(n))
        map_set(&s->lent, v->digest.s, n);
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
        node_let_go_locked(n);
    }
}

/* Find or make the nodes of r's graph, inputs first. */
struct error *ref_make_nodes_locked(struct ref *r)
{
    CLEANUP(usage_deinit) struct usage u = { 0 };
    const struct llb_graph *g = r->box->graph;
    const struct solver *s = r->job->solver;
    CLEANUP(freep) struct node **nodes = xcalloc(g->vertex_count + 1, sizeof *nodes);

    TRY(usage_init(s, g, &u));
    for (size_t i = 0; i < g->vertex_count; i++) {
        const struct llb_vertex *v = &g->vertices[i];
        char *id = node_id(v, nodes, &u, r);

        nodes[i] = map_get(&s->nodes, id);
        if (nodes[i] == NULL && r->job->caches.len == 0 && !v->meta->ignore_cache && all_used(&u, i))
            nodes[i] = find_lent(s, v, nodes);
        if (nodes[i] == NULL)
            nodes[i] = node_new(r, id, v, nodes, &u);
        else
            free(id);
        attach_locked(r->job, nodes[i]);
    }
    r->nodes = TAKE(nodes);
    return NULL;
}

/* Out of all tables; the memory is freed later, without the lock. */
void node_unlink_locked(struct node *n)
{
    struct solver *s = n->solver;

    node_list_remove(n);
    run_leave_locked(n);
    layers_forget_locked(n);
    if (map_get(&s->nodes, n->id) == n)
        map_remove(&s->nodes, n->id);
    if (map_get(&s->lent, n->vertex->digest.s) == n)
        map_remove(&s->lent, n->vertex->digest.s);
    for (size_t i = 0; i < n->input_count; i++)
        ptrv_drop(&n->inputs[i]->dependents, n);
    n->input_count = 0;
}

void node_free(struct node *n)
{
    for (size_t i = 0; i < n->output_count; i++)
        snapshot_unref(n->outputs[i]);
    node_clear_stage(n);
    for (size_t i = 0; i < n->caches.len; i++)
        remote_cache_unref(n->caches.v[i]);
    ptrv_deinit(&n->caches);
    free(n->outputs); /* and the other arrays with it */
    free(n->needed);
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
