/* SPDX-License-Identifier: Apache-2.0 */
/* merge.c - the ops that only rearrange layers: merge, diff, passthrough */
#include "op/impl.h"
#include "op/text.h"

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

    buf_adds(out, "passthrough ");
    text_word(out, p->id);
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
