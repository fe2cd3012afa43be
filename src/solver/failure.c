/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failure.c - what a debugger gets of a failed step: errdefs.Solve (protocol.md 3.7) and the results it names
 */
#include "base/bytes.h"
#include "solver/node.h"

/* The same result has the same id, so that what is shown often is kept once. */
static char *result_id(const struct snapshot *s)
{
    const char *id = snapshot_id(s);
    struct digest d = digest_of(id, strlen(id));

    return xasprintf("r%.24s", digest_hex(&d));
}

static void add_result_locked(struct job *j, struct snapshot *s, struct buf *out)
{
    CLEANUP(freep) char *id = NULL;

    if (s == NULL) {
        buf_adds(out, "\"\"");
        return;
    }
    id = result_id(s);
    if (!map_has(&j->results, id))
        map_set(&j->results, id, snapshot_ref(s));
    buf_addf(out, "\"%s\"", id);
}

/* The node whose own failure it is: the head's, or that of one below it. */
static const struct node *failed_locked(const struct ref *r)
{
    const struct llb_graph *g = r->box->graph;
    const struct node *head = r->nodes == NULL ? NULL : r->nodes[g->result.vertex->position];

    if (head == NULL || head->state != NODE_FAILED)
        return NULL;
    for (size_t i = 0; i < g->vertex_count; i++)
        if (r->nodes[i]->state == NODE_FAILED && streq(r->nodes[i]->vertex->digest.s, head->failed_vertex.s))
            return r->nodes[i];
    return NULL;
}

static void add_ids_locked(struct job *j, const char *name, struct snapshot *const *v, size_t count,
                           struct buf *out)
{
    buf_addf(out, "\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        buf_adds(out, i > 0 ? "," : "");
        add_result_locked(j, v[i], out);
    }
    buf_adds(out, "],");
}

/* What an exec op's mounts began with. */
static void add_exec_inputs_locked(struct job *j, const struct node *n, struct buf *out)
{
    const Pb__ExecOp *op = n->vertex->op->exec;
    CLEANUP(freep) struct snapshot **v = xcalloc(op->n_mounts + 1, sizeof *v);

    for (size_t i = 0; i < op->n_mounts; i++) {
        int64_t input = op->mounts[i]->input;

        v[i] = input < 0 || n->run_inputs == NULL ? NULL : n->run_inputs[input];
    }
    add_ids_locked(j, "inputIDs", v, op->n_mounts, out);
}

/* Ids of what there was before and what was left: by mount of an exec op; of a file op by its inputs, and by
 * its actions; of a key that could not be made, the input alone. */
static void add_results_locked(struct job *j, const struct node *n, struct buf *out)
{
    if (n->failed_at.kind == FAILED_CONTENT) {
        struct snapshot *in = n->input_count == 0 ? NULL : node_input(n, n->failed_at.index);

        add_ids_locked(j, "inputIDs", &in, 1, out);
    } else if (n->failed != NULL) {
        if (n->vertex->op->op_case == PB__OP__OP_EXEC)
            add_exec_inputs_locked(j, n, out);
        else if (n->run_inputs != NULL)
            add_ids_locked(j, "inputIDs", n->run_inputs, n->vertex->input_count, out);
        add_ids_locked(j, "mountIDs", n->failed, n->failed_count, out);
    }
}

/* A number that is 0 is left out, as protojson has it. */
static void add_subject(const struct failure_place *at, struct buf *out)
{
    if (at->kind == FAILED_STEP)
        return;
    buf_addf(out, ",\"%s\":{", at->kind == FAILED_ACTION ? "file" : "cache");
    if (at->index > 0)
        buf_addf(out, "\"index\":\"%zu\"", at->index);
    buf_addc(out, '}');
}

static void add_description(const struct map *m, struct buf *out)
{
    buf_adds(out, ",\"description\":{");
    for (size_t i = 0; i < m->len; i++) {
        const char *value = m->entries[i].value;

        buf_adds(out, i > 0 ? "," : "");
        buf_add_json_string(out, m->entries[i].key, strlen(m->entries[i].key), false);
        buf_addc(out, ':');
        buf_add_json_string(out, value, strlen(value), false);
    }
    buf_addc(out, '}');
}

void ref_add_solve_detail(struct ref *r, struct error *e)
{
    CLEANUP(buf_deinit) struct buf json = { 0 };
    struct solver *s = r->job->solver;

    if (err_find_detail(e, "errdefs.Solve+json") != NULL)
        return;
    buf_addc(&json, '{');
    mutex_lock(&s->lock);
    const struct node *n = failed_locked(r);

    if (n != NULL) {
        add_results_locked(r->job, n, &json);
        buf_adds(&json, "\"op\":");
        pb_to_json(&n->vertex->op->base, &json);
        add_subject(&n->failed_at, &json);
        if (n->vertex->meta->description.len > 0)
            add_description(&n->vertex->meta->description, &json);
    }
    mutex_unlock(&s->lock);
    buf_addc(&json, '}');
    err_add_detail(e, "github.com/moby/buildkit/errdefs.Solve+json", json.data, json.len);
}

bool job_find_result(struct job *j, const char *id, struct snapshot **ret)
{
    struct snapshot *s;

    mutex_lock(&j->solver->lock);
    s = map_get(&j->results, id);
    if (s != NULL)
        *ret = snapshot_ref(s);
    mutex_unlock(&j->solver->lock);
    return s != NULL;
}
