/* SPDX-License-Identifier: Apache-2.0 */
/*
 * merge.c - the ops that only rearrange layers, and what all ops need to use a snapshot
 */
#include "op/copy.h"
#include "op/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- snapshots
 * ---------------------------------------------------------------------------------------------------------------
 */

struct error *op_settle(struct op_context *c, struct snapshot *s, struct snapshot **ret)
{
    struct copy_options all = { .timestamp_ns = -1, .mode = -1, .dir_contents = true };
    CLEANUP(closep) int from = -1;
    struct active *a;
    struct error *e;

    if (s == NULL || !snapshot_is_tree(s)) {
        *ret = s == NULL ? NULL : snapshot_ref(s);
        return NULL;
    }
    TRY(snapshot_mount_ro(s, &from));
    TRY(active_begin(c->store, NULL, &a));
    int upper = active_upper_fd(a);

    all.upper_root = &upper;
    e = copy_path(from, "/", active_fd(a), "/", &all);
    if (e == NULL)
        e = active_commit(a, c->vertex != NULL ? c->vertex->name : "copied context", "regular", ret);
    if (e != NULL)
        active_abandon(a);
    return e;
}

struct error *op_begin(struct op_context *c, struct snapshot *base, struct active **ret)
{
    CLEANUP(snapshot_unrefp) struct snapshot *settled = NULL;

    TRY(op_settle(c, base, &settled));
    return active_begin(c->store, settled, ret);
}

struct error *op_mount_ro(struct op_context *c, struct snapshot *s, int *ret_fd)
{
    CLEANUP(snapshot_unrefp) struct snapshot *empty = NULL;

    if (s == NULL)
        s = empty = snapshot_empty(c->store);
    return snapshot_mount_ro(s, ret_fd);
}

/* ---- merge, diff, passthrough
 * ------------------------------------------------------------------------------------------------ */

static void drop_all(struct snapshot **v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snapshot_unref(v[i]);
}

static struct error *merge_text(const struct llb_vertex *v, struct buf *out)
{
    for (size_t i = 0; i < v->op->merge->n_inputs; i++)
        buf_addf(out, "merge %lld\n", (long long)v->op->merge->inputs[i]->input);
    return NULL;
}

static struct error *merge_run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                               size_t output_count)
{
    const Pb__MergeOp *op = c->vertex->op->merge;
    CLEANUP(freep) struct snapshot **list = xcalloc(op->n_inputs + 1, sizeof *list);
    struct error *e = NULL;
    size_t n = 0;

    for (size_t i = 0; i < op->n_inputs && e == NULL; i++) {
        e = op_settle(c, inputs[op->inputs[i]->input], &list[n]);
        n += e == NULL && list[n] != NULL;
    }
    if (e == NULL && n > 0)
        e = snapshot_merge(c->store, list, n, &outputs[0]);
    drop_all(list, n);
    return e;
}

static struct error *diff_text(const struct llb_vertex *v, struct buf *out)
{
    const Pb__DiffOp *d = v->op->diff;

    buf_addf(out, "diff %lld %lld\n", d->lower == NULL ? -1LL : (long long)d->lower->input,
             d->upper == NULL ? -1LL : (long long)d->upper->input);
    return NULL;
}

static struct snapshot *side(struct snapshot **inputs, const Pb__DiffInput *in)
{
    return in == NULL || in->input < 0 ? NULL : inputs[in->input];
}

static struct error *diff_run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                              size_t output_count)
{
    const Pb__DiffOp *d = c->vertex->op->diff;
    CLEANUP(snapshot_unrefp) struct snapshot *lower = NULL;
    CLEANUP(snapshot_unrefp) struct snapshot *upper = NULL;

    TRY(op_settle(c, side(inputs, d->lower), &lower));
    TRY(op_settle(c, side(inputs, d->upper), &upper));
    if (upper == NULL && lower == NULL)
        return NULL;
    return snapshot_diff(c->store, lower, upper, &outputs[0]);
}

static size_t passthrough_outputs(const struct llb_vertex *v)
{
    return v->op->passthrough->n_outputs;
}

static struct error *passthrough_text(const struct llb_vertex *v, struct buf *out)
{
    const Pb__PassthroughOp *p = v->op->passthrough;

    buf_addf(out, "passthrough %s", p->id);
    for (size_t i = 0; i < p->n_outputs; i++)
        buf_addf(out, " %lld", (long long)p->outputs[i]);
    buf_addc(out, '\n');
    return NULL;
}

static struct error *passthrough_run(struct op_context *c, struct snapshot **inputs,
                                     struct snapshot **outputs, size_t output_count)
{
    const Pb__PassthroughOp *p = c->vertex->op->passthrough;

    for (size_t i = 0; i < output_count; i++) {
        int64_t in = p->outputs[i];

        if (in < 0 || (uint64_t)in >= c->vertex->input_count)
            return err_new(ERR_INVALID, "invalid passthrough output input index %lld", (long long)in);
        outputs[i] = inputs[in] == NULL ? NULL : snapshot_ref(inputs[in]);
    }
    return NULL;
}

static bool keeps_all(const struct llb_vertex *v, size_t input)
{
    return true;
}

static bool diff_extends(const struct llb_vertex *v, size_t input)
{
    const Pb__DiffInput *upper = v->op->diff->upper;

    return upper != NULL && upper->input == (int64_t)input;
}

const struct op_impl merge_op = {
    .name = "merge", .key_text = merge_text, .extends = keeps_all, .run = merge_run
};
const struct op_impl diff_op = {
    .name = "diff", .key_text = diff_text, .extends = diff_extends, .run = diff_run
};
const struct op_impl passthrough_op = { .name = "passthrough",
                                        .key_text = passthrough_text,
                                        .extends = keeps_all,
                                        .output_count = passthrough_outputs,
                                        .run = passthrough_run };
