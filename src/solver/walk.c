/* SPDX-License-Identifier: Apache-2.0 */
/* walk.c - what a solved ref was made of */
#include "solver/node.h"

static bool solved_locked(const struct ref *r)
{
    return r->nodes != NULL && r->nodes[r->box->graph->result.vertex->position]->state == NODE_DONE;
}

struct ref_vertex *ref_vertices(struct ref *r, size_t *ret_count)
{
    struct solver *s = r->job->solver;
    const struct llb_graph *g = r->box->graph;
    struct ref_vertex *v = NULL;

    *ret_count = 0;
    mutex_lock(&s->lock);
    if (solved_locked(r)) {
        v = xcalloc(g->vertex_count, sizeof(*v));
        for (size_t i = 0; i < g->vertex_count; i++) {
            const struct node *n = r->nodes[i];

            v[i].vertex = &g->vertices[i];
            if (n->keyed)
                v[i].pin = n->pin;
            if (n->state != NODE_DONE) /* nobody needed it in the end */
                continue;
            v[i].outputs = n->outputs;
            v[i].output_count = n->output_count;
        }
        *ret_count = g->vertex_count;
    }
    mutex_unlock(&s->lock);
    return v;
}
