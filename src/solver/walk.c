/* SPDX-License-Identifier: Apache-2.0 */
/* walk.c - what a solved ref was made of */
#include "solver/node.h"

static bool solved_locked(const struct ref *r)
{
    return r->nodes != NULL && r->nodes[r->box->graph->result.vertex->position]->state == NODE_DONE;
}

void ref_vertices_deinit(struct ref_vertices *l)
{
    for (size_t i = 0; i < l->len; i++)
        free(l->v[i].pin);
    free(l->v);
    *l = (struct ref_vertices){ 0 };
}

/* Outputs of a node that is done stay; its pin goes when another build needs a promised one and is cancelled.
 */
struct ref_vertices ref_vertices(struct ref *r)
{
    struct solver *s = r->job->solver;
    const struct llb_graph *g = r->box->graph;
    struct ref_vertices l = { 0 };

    mutex_lock(&s->lock);
    if (solved_locked(r)) {
        l = (struct ref_vertices){ xcalloc(g->vertex_count, sizeof(*l.v)), g->vertex_count };
        for (size_t i = 0; i < g->vertex_count; i++) {
            const struct node *n = r->nodes[i];

            l.v[i].vertex = &g->vertices[i];
            if (n->keyed)
                l.v[i].pin = xstrdup(n->pin);
            if (n->state != NODE_DONE) /* nobody needed it in the end */
                continue;
            l.v[i].outputs = n->outputs;
            l.v[i].output_count = n->output_count;
        }
    }
    mutex_unlock(&s->lock);
    return l;
}
