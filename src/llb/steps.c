/* SPDX-License-Identifier: Apache-2.0 */
#include "llb/steps.h"

#include "llb/json.h"
#include "oci/purl.h"

struct steps {
    const struct llb_def *def;
    struct pb_arena arena;
    Pb__Op **ops;   /* as def->ops */
    struct map at;  /* digest -> position in def->ops, plus one */
    size_t *number; /* of each op's step, plus one; 0: not visited */
    size_t *order;  /* positions, inputs first */
    size_t count;
};

static void steps_deinit(struct steps *s)
{
    pb_arena_deinit(&s->arena);
    map_deinit(&s->at);
    free(s->ops);
    free(s->number);
    free(s->order);
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

static struct error *decode(struct steps *s)
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

static struct error *position(const struct steps *s, const char *digest, size_t *ret)
{
    size_t at = (size_t)map_get(&s->at, digest);

    if (at == 0)
        return err_new(ERR_INVALID, "failed to find input %s", digest);
    *ret = at - 1;
    return NULL;
}

/* Depth first from `head`; a stack instead of recursion, as definitions come from outside. */
static struct error *walk(struct steps *s, size_t head)
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

static struct error *step_json(struct steps *s, size_t i, json_t **ret)
{
    Pb__Op *op = s->ops[s->order[i]];
    json_t *inputs = json_array(), *j;

    for (size_t k = 0; k < op->n_inputs; k++) {
        size_t at = 0;
        struct error *e = position(s, op->inputs[k]->digest, &at);

        if (e != NULL) {
            json_decref(inputs);
            return e;
        }
        json_array_append_new(
            inputs, json_sprintf("step%zu:%lld", s->number[at] - 1, (long long)op->inputs[k]->index));
    }
    op->n_inputs = 0;
    json_t *message = NULL;
    struct error *e = llb_message_to_json(&op->base, LLB_JSON_GO, &message);

    if (e != NULL) {
        json_decref(inputs);
        return e;
    }
    j = json_pack("{s:o, s:o}", "id", json_sprintf("step%zu", i), "op", message);
    if (json_array_size(inputs) > 0)
        json_object_set(j, "inputs", inputs);
    json_decref(inputs);
    *ret = j;
    return NULL;
}

static void name_steps(const struct steps *s, struct map *names)
{
    for (size_t i = 0; i < s->count; i++) {
        CLEANUP(freep) char *name = xasprintf("step%zu", i);

        strmap_set(names, s->def->ops[s->order[i]].digest.s, name);
    }
    map_sort(names);
}

struct error *llb_def_steps(const struct llb_def *def, json_t **ret, struct map *names)
{
    CLEANUP(steps_deinit) struct steps s = { .def = def };
    json_t *list;
    size_t head;

    *ret = NULL;
    if (llb_def_is_scratch(def))
        return NULL;
    TRY(decode(&s));
    head = def->op_count - 1;
    if (s.ops[head]->op_case != PB__OP__OP__NOT_SET)
        return err_new(ERR_INVALID, "invalid last vertex: %d", (int)s.ops[head]->op_case);
    if (s.ops[head]->n_inputs != 1)
        return err_new(ERR_INVALID, "invalid last vertex inputs: %zu", s.ops[head]->n_inputs);
    TRY(walk(&s, head));
    list = json_array();
    for (size_t i = 0; i < s.count; i++) {
        json_t *step = NULL;
        struct error *e = step_json(&s, i, &step);

        if (e != NULL) {
            json_decref(list);
            return e;
        }
        json_array_append_new(list, step);
    }
    name_steps(&s, names);
    *ret = list;
    return NULL;
}

static json_t *point_json(int32_t line, int32_t character)
{
    json_t *j = json_object();

    if (line != 0)
        json_object_set_new(j, "line", json_integer(line));
    if (character != 0)
        json_object_set_new(j, "character", json_integer(character));
    return j;
}

json_t *llb_locations_json(const struct llb_locations *l)
{
    json_t *list = json_array(), *j = json_object();

    for (size_t i = 0; i < l->len; i++) {
        json_t *one = json_object(), *ranges = json_array();

        if (l->v[i].info != 0)
            json_object_set_new(one, "sourceIndex", json_integer((json_int_t)l->v[i].info));
        for (size_t k = 0; k < l->v[i].range_count; k++) {
            const struct llb_range *r = &l->v[i].ranges[k];

            json_array_append_new(ranges,
                                  json_pack("{s:o, s:o}", "start", point_json(r->start_line, r->start_char),
                                            "end", point_json(r->end_line, r->end_char)));
        }
        if (l->v[i].range_count > 0)
            json_object_set(one, "ranges", ranges);
        json_decref(ranges);
        json_array_append_new(list, one);
    }
    if (l->len > 0)
        json_object_set(j, "locations", list);
    json_decref(list);
    return j;
}
