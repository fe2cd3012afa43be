/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.c - the file op: actions on writable roots, chained
 *
 * Slot i is input i of the op, slot N+k the result of action k.  An action whose result only the next one
 * continues works on in the same root; a result that is an output, or is read elsewhere, is committed first.
 */
#include "base/log.h"
#include "op/file_impl.h"

/* ---- slots
 * -------------------------------------------------------------------------------------------------------------------
 */

static struct error *settle_slot(struct file_run *f, struct slot *s)
{
    struct active *a = s->live;
    struct error *e;

    if (a == NULL)
        return NULL;
    e = active_commit(a, f->c->vertex->name, "regular", &s->snapshot);
    if (e != NULL)
        return e; /* still live: abandoned at the end */
    s->live = NULL;
    return NULL;
}

struct error *file_slot_ro(struct file_run *f, int64_t i, int *ret_fd)
{
    struct slot *s = &f->slots[i];

    TRY(settle_slot(f, s));
    if (s->ro_fd < 0)
        TRY(s->snapshot != NULL && snapshot_is_tree(s->snapshot) ? snapshot_open_tree(s->snapshot, &s->ro_fd)
                                                                 : op_mount_ro(f->c, s->snapshot, &s->ro_fd));
    *ret_fd = s->ro_fd;
    return NULL;
}

/* The root that an action works on. */
static struct error *slot_rw(struct file_run *f, int64_t input, struct active **ret)
{
    struct slot *s = input < 0 ? NULL : &f->slots[input];

    if (s == NULL)
        return active_begin(f->c->store, NULL, ret);
    if (s->live != NULL && s->uses == 1) {
        *ret = TAKE(s->live);
        return NULL;
    }
    TRY(settle_slot(f, s));
    return op_begin(f->c, s->snapshot, ret);
}

/* ---- the op
 * ------------------------------------------------------------------------------------------------------------------
 */

static void count_use(struct file_run *f, int64_t input)
{
    if (input >= 0 && (uint64_t)input < f->count)
        f->slots[input].uses++;
}

static void count_uses(struct file_run *f, const Pb__FileOp *op)
{
    for (size_t i = 0; i < op->n_actions; i++) {
        const Pb__FileAction *a = op->actions[i];
        const Pb__ChownOpt *o = llb_action_owner(a);

        count_use(f, a->input);
        count_use(f, a->secondary_input);
        if (o != NULL && file_named_user(o->user) != NULL)
            count_use(f, file_named_user(o->user)->input);
        if (o != NULL && file_named_user(o->group) != NULL)
            count_use(f, file_named_user(o->group)->input);
        if (a->output >= 0)
            f->slots[f->c->vertex->input_count + i].uses++;
    }
}

static struct error *check_output_indices(const Pb__FileOp *op, size_t count)
{
    CLEANUP(freep) bool *seen = xcalloc(count + 1, sizeof *seen);

    if (count == 0)
        return err_new(ERR_INVALID, "no outputs specified");
    for (size_t i = 0; i < op->n_actions; i++) {
        int64_t out = op->actions[i]->output;

        if (out < 0)
            continue;
        if ((uint64_t)out >= count)
            return err_new(ERR_INVALID, "missing output index %zu", count - 1);
        if (seen[out])
            return err_new(ERR_INVALID, "duplicate output %lld", (long long)out);
        seen[out] = true;
    }
    return NULL;
}

static struct error *run_action(struct file_run *f, const Pb__FileAction *a, size_t slot)
{
    struct active *root = NULL;

    TRY(slot_rw(f, a->input, &root));
    f->slots[slot].live = root; /* abandoned with it */
    return file_action_run(f, root, a);
}

static struct error *run_all(struct file_run *f, const Pb__FileOp *op, struct snapshot **outputs)
{
    size_t inputs = f->c->vertex->input_count;

    for (size_t i = 0; i < op->n_actions; i++) {
        const Pb__FileAction *a = op->actions[i];
        struct slot *s = &f->slots[inputs + i];

        f->action = i;
        struct error *e = run_action(f, a, inputs + i);

        if (e == NULL && a->output >= 0) {
            e = settle_slot(f, s);
            if (e == NULL)
                outputs[a->output] = snapshot_ref(s->snapshot);
        }
        if (e != NULL)
            return e;
    }
    return NULL;
}

/* The first action with an output that stands on what the failed one would have made (or is that one). */
static bool find_output_above(const struct file_run *f, size_t *ret)
{
    const Pb__FileOp *op = f->c->vertex->op->file;
    int64_t inputs = (int64_t)f->c->vertex->input_count;
    CLEANUP(freep) bool *above = xcalloc(op->n_actions + 1, sizeof *above);

    above[f->action] = true;
    for (size_t i = f->action; i < op->n_actions; i++) { /* inputs of an action are earlier ones */
        const int64_t in[] = { op->actions[i]->input - inputs, op->actions[i]->secondary_input - inputs };

        for (size_t k = 0; k < ARRAY_LEN(in); k++)
            if (in[k] >= 0 && in[k] < (int64_t)i)
                above[i] = above[i] || above[in[k]];
        *ret = i;
        if (above[i] && op->actions[i]->output >= 0)
            return true;
    }
    return false;
}

/* What slot `i` holds, settled first; NULL: that is not known, or nothing. */
static struct snapshot *kept_root(struct file_run *f, size_t i)
{
    struct slot *s = &f->slots[i];

    log_err(LOG_WARN, settle_slot(f, s), "what a failed step left cannot be kept");
    return s->snapshot == NULL ? NULL : snapshot_ref(s->snapshot);
}

/* A client that debugs is told which output's action it was (the first that needs the one that failed), and
 * gets what the root of that one held, and that of the action which it copied from. */
static void keep_failed(struct file_run *f)
{
    const Pb__FileOp *op = f->c->vertex->op->file;
    size_t inputs = f->c->vertex->input_count, count = op->n_actions, output;
    int64_t from = op->actions[f->action]->secondary_input;
    struct snapshot **roots;

    if (find_output_above(f, &output))
        op_failed_action(f->c, output);
    if (f->slots[inputs + f->action].live == NULL)
        return;
    roots = xcalloc(count + 1, sizeof *roots);
    roots[f->action] = kept_root(f, inputs + f->action);
    if (from >= (int64_t)inputs && (size_t)from < inputs + f->action)
        roots[from - (int64_t)inputs] = kept_root(f, (size_t)from);
    op_keep_failed(f->c, roots, count);
}

static struct error *file_run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                              size_t output_count)
{
    const Pb__FileOp *op = c->vertex->op->file;
    struct file_run f = { .c = c, .count = c->vertex->input_count + op->n_actions };
    struct error *e;

    TRY(check_output_indices(op, output_count));
    f.slots = xcalloc(f.count + 1, sizeof *f.slots);
    for (size_t i = 0; i < f.count; i++) {
        f.slots[i].ro_fd = -1;
        if (i < c->vertex->input_count && inputs[i] != NULL)
            f.slots[i].snapshot = snapshot_ref(inputs[i]);
    }
    count_uses(&f, op);
    e = run_all(&f, op, outputs);
    if (e != NULL && !err_is(e, ERR_CANCELLED))
        keep_failed(&f);
    for (size_t i = 0; i < f.count; i++) {
        closep(&f.slots[i].ro_fd);
        active_abandon(f.slots[i].live);
        snapshot_unref(f.slots[i].snapshot);
    }
    free(f.slots);
    return e;
}

static size_t file_outputs(const struct llb_vertex *v)
{
    size_t n = 0;

    for (size_t i = 0; i < v->op->file->n_actions; i++)
        n += v->op->file->actions[i]->output >= 0;
    return n;
}

static bool file_extends(const struct llb_vertex *v, size_t input)
{
    for (size_t i = 0; i < v->op->file->n_actions; i++)
        if (v->op->file->actions[i]->input == (int64_t)input)
            return true;
    return false;
}

const struct op_impl file_op = {
    .name = "file",
    .key_text = file_key_text,
    .input_key = file_key_input,
    .extends = file_extends,
    .output_count = file_outputs,
    .run = file_run,
    .takes_cpu = true,
};
