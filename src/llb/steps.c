/* SPDX-License-Identifier: Apache-2.0 */
#include "llb/steps.h"

#include "oci/purl.h"

#include <stdio.h>

struct llb_steps {
    const struct llb_def *def;
    struct pb_arena arena;
    Pb__Op **ops;   /* as def->ops */
    struct map at;  /* digest -> position in def->ops, plus one */
    size_t *number; /* of each op's step, plus one; 0: not visited */
    size_t *order;  /* positions, inputs first */
    size_t count;
};

void llb_steps_freep(struct llb_steps **ret)
{
    struct llb_steps *s = TAKE(*ret);

    if (s == NULL)
        return;
    pb_arena_deinit(&s->arena);
    map_deinit(&s->at);
    free(s->ops);
    free(s->number);
    free(s->order);
    free(s);
}

/* What names this one run of a client says nothing about what was built. */
static void drop_session_attrs(Pb__Op *op)
{
    Pb__SourceOp *s = op->op_case == PB__OP__OP_SOURCE ? op->source : NULL;
    size_t kept = 0;

    for (size_t i = 0; s != NULL && i < s->n_attrs; i++) {
        if (!streq(s->attrs[i]->key, "local.session") && !streq(s->attrs[i]->key, "local.unique"))
            s->attrs[kept++] = s->attrs[i];
    }
    if (s != NULL)
        s->n_attrs = kept;
}

/* Variables of a step are often arguments of the build. */
static void hide_in_env(struct pb_arena *a, const Pb__Meta *m)
{
    for (size_t i = 0; i < m->n_env; i++) {
        const char *value = strchr(m->env[i], '=');

        if (value == NULL)
            continue;
        CLEANUP(freep) char *shown = url_redact(value + 1);

        if (!streq(shown, value + 1))
            m->env[i] = pb_strf(a, "%.*s%s", (int)(value + 1 - m->env[i]), m->env[i], shown);
    }
}

/* An address may hold a password, which is nothing for those who look at the steps. */
static void hide_passwords(struct pb_arena *a, const Pb__Op *op)
{
    if (op->op_case == PB__OP__OP_EXEC && op->exec != NULL && op->exec->meta != NULL)
        hide_in_env(a, op->exec->meta);
    if (op->op_case != PB__OP__OP_SOURCE || op->source == NULL)
        return;
    CLEANUP(freep) char *shown = url_redact(op->source->identifier);

    op->source->identifier = pb_str(a, shown);
    for (size_t i = 0; i < op->source->n_attrs; i++) {
        CLEANUP(freep) char *value = url_redact(op->source->attrs[i]->value);

        op->source->attrs[i]->value = pb_str(a, value);
    }
}

static struct error *decode(struct llb_steps *s)
{
    size_t n = s->def->op_count;

    s->ops = xcalloc(n, sizeof(*s->ops));
    s->number = xcalloc(n, sizeof(*s->number));
    s->order = xcalloc(n, sizeof(*s->order));
    for (size_t i = 0; i < n; i++) {
        const struct llb_op *op = &s->def->ops[i];

        TRY(err_wrap(pb_unpack(&pb__op__descriptor, op->bytes, op->len, &s->arena, &s->ops[i]),
                     "failed to parse llb proto op"));
        drop_session_attrs(s->ops[i]);
        hide_passwords(&s->arena, s->ops[i]);
        map_set(&s->at, op->digest.s, (void *)(i + 1));
    }
    return NULL;
}

static struct error *position(const struct llb_steps *s, const char *digest, size_t *ret)
{
    size_t at = (size_t)map_get(&s->at, digest);

    if (at == 0)
        return err_new(ERR_INVALID, "failed to find input %s", digest);
    *ret = at - 1;
    return NULL;
}

/* Depth first from `head`; a stack instead of recursion, as definitions come from outside. */
static struct error *walk(struct llb_steps *s, size_t head)
{
    struct frame {
        size_t op, next;
    };
    CLEANUP(freep) struct frame *stack = xcalloc(s->def->op_count + 1, sizeof(*stack));
    CLEANUP(freep) bool *seen = xcalloc(s->def->op_count, sizeof(*seen));
    size_t depth = 0;

    stack[depth++] = (struct frame){ .op = head };
    seen[head] = true;
    while (depth > 0) {
        struct frame *f = &stack[depth - 1];
        size_t in = 0;

        if (f->next == s->ops[f->op]->n_inputs) {
            s->order[s->count++] = f->op;
            s->number[f->op] = s->count;
            depth--;
            continue;
        }
        TRY(position(s, s->ops[f->op]->inputs[f->next++]->digest, &in));
        if (!seen[in]) {
            seen[in] = true;
            stack[depth++] = (struct frame){ .op = in };
        }
    }
    return NULL;
}

static struct error *open_steps(struct llb_steps *s)
{
    size_t head = s->def->op_count - 1;

    TRY(decode(s));
    if (s->ops[head]->op_case != PB__OP__OP__NOT_SET)
        return err_new(ERR_INVALID, "invalid last vertex: %d", (int)s->ops[head]->op_case);
    if (s->ops[head]->n_inputs != 1)
        return err_new(ERR_INVALID, "invalid last vertex inputs: %zu", s->ops[head]->n_inputs);
    return walk(s, head);
}

struct error *llb_steps_open(const struct llb_def *def, struct llb_steps **ret)
{
    CLEANUP(llb_steps_freep) struct llb_steps *s = NEW(struct llb_steps);

    s->def = def;
    TRY(open_steps(s));
    *ret = TAKE(s);
    return NULL;
}

/* ---- writing ---- */

static void write_step_name(size_t number, struct go_writer *out)
{
    char name[32];

    snprintf(name, sizeof(name), "step%zu", number);
    go_write_text(out, name);
}

static struct error *write_inputs(const struct llb_steps *s, const Pb__Op *op, struct go_writer *out)
{
    if (op->n_inputs == 0)
        return NULL;
    go_write_name(out, "inputs");
    go_write_open(out, '[');
    for (size_t i = 0; i < op->n_inputs; i++) {
        char text[64];
        size_t at = 0;

        TRY(position(s, op->inputs[i]->digest, &at));
        snprintf(text, sizeof(text), "step%zu:%lld", s->number[at] - 1, (long long)op->inputs[i]->index);
        go_write_text(out, text);
    }
    go_write_close(out, ']');
    return NULL;
}

static struct error *write_op(struct llb_json *j, const Pb__Op *op)
{
    Pb__Op own = *op;

    own.n_inputs = 0; /* they are told by the step */
    go_write_name(j->out, "op");
    return llb_json_write(j, &own.base);
}

static struct error *write_step(const struct llb_steps *s, size_t i, struct llb_json *j)
{
    const Pb__Op *op = s->ops[s->order[i]];

    go_write_open(j->out, '{');
    go_write_name(j->out, "id");
    write_step_name(i, j->out);
    if (j->style == LLB_JSON_GO_MAP)
        TRY(write_inputs(s, op, j->out));
    TRY(write_op(j, op));
    if (j->style != LLB_JSON_GO_MAP)
        TRY(write_inputs(s, op, j->out));
    go_write_close(j->out, '}');
    return NULL;
}

struct error *llb_steps_write(const struct llb_steps *s, enum llb_json_style style, struct go_writer *out)
{
    CLEANUP(llb_json_deinit) struct llb_json j;

    llb_json_init(&j, style, out);
    go_write_open(out, '[');
    for (size_t i = 0; i < s->count; i++)
        TRY(write_step(s, i, &j));
    go_write_close(out, ']');
    return NULL;
}

static int by_digest(const void *a, const void *b, void *steps)
{
    const struct llb_op *ops = ((const struct llb_steps *)steps)->def->ops;

    return strcmp(ops[*(const size_t *)a].digest.s, ops[*(const size_t *)b].digest.s);
}

void llb_steps_write_names(const struct llb_steps *s, struct go_writer *out)
{
    CLEANUP(freep) size_t *sorted = xmemdup(s->order, s->count * sizeof(*sorted));

    qsort_r(sorted, s->count, sizeof(*sorted), by_digest, (void *)s);
    go_write_open(out, '{');
    for (size_t i = 0; i < s->count; i++) {
        go_write_name(out, s->def->ops[sorted[i]].digest.s);
        write_step_name(s->number[sorted[i]] - 1, out);
    }
    go_write_close(out, '}');
}

bool llb_steps_find(const struct llb_steps *s, const char *digest, size_t *ret)
{
    size_t at = (size_t)map_get(&s->at, digest);

    if (at == 0 || s->number[at - 1] == 0)
        return false;
    *ret = s->number[at - 1] - 1;
    return true;
}

static void write_location(const struct llb_location *l, struct go_writer *out)
{
    go_write_open(out, '{');
    if (l->info != 0)
        go_write_member_int(out, "sourceIndex", (int64_t)l->info);
    if (l->range_count > 0) {
        go_write_name(out, "ranges");
        llb_ranges_write_json(l->ranges, l->range_count, out);
    }
    go_write_close(out, '}');
}

void llb_locations_write_json(const struct llb_locations *l, struct go_writer *out)
{
    go_write_open(out, '{');
    if (l->len > 0) {
        go_write_name(out, "locations");
        go_write_open(out, '[');
        for (size_t i = 0; i < l->len; i++)
            write_location(&l->v[i], out);
        go_write_close(out, ']');
    }
    go_write_close(out, '}');
}
