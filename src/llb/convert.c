/* SPDX-License-Identifier: Apache-2.0 */
/* convert.c - a definition with other sources, devices and networks: ops are written again from the changed
 * one up */
#include "base/limits.h"
#include "llb/policy.h"
#include "task/task.h"

/* One op, in a task of its own where that is asked for. */
struct converting {
    llb_convert_fn fn;
    void *ctx;
    Pb__Op *op;
    struct pb_arena arena;
    bool changed;
};

struct converted {
    struct llb_graph *graph;
    struct converting *asked; /* ops that may change, in the order of the graph */
    size_t asked_count;
    struct map bytes;  /* old digest -> struct buf * of the ops that are new */
    struct map digest; /* string map: old digest -> new */
};

static void free_buf(void *p)
{
    struct buf *b = p;

    buf_deinit(b);
    free(b);
}

static void write_again(struct converted *c, const char *old, const Pb__Op *op)
{
    struct buf *b = NEW(struct buf);
    struct digest d;

    pb_pack(&op->base, b);
    d = digest_of(b->data, b->len);
    map_set(&c->bytes, old, b);
    strmap_set(&c->digest, old, d.s);
}

/* Inputs that are new get their new names; true when there were any. */
static bool rename_inputs(const struct converted *c, struct pb_arena *a, const Pb__Op *op)
{
    bool any = false;

    for (size_t i = 0; i < op->n_inputs; i++) {
        const char *now = strmap_get(&c->digest, op->inputs[i]->digest);

        if (now == NULL)
            continue;
        op->inputs[i]->digest = pb_str(a, now);
        any = true;
    }
    return any;
}

static struct error *convert_one(void *arg)
{
    struct converting *k = arg;

    return k->fn(k->ctx, &k->arena, k->op, &k->changed);
}

/* Some at once: who answers may wait for the others to be asked. */
static struct error *convert_wave(struct converting *v, size_t count)
{
    struct error *e = NULL;
    struct group g;

    group_open(&g, 0);
    for (size_t i = 0; e == NULL && i < count; i++)
        e = group_spawn(&g, "source-policy", convert_one, &v[i]);
    return group_finish(&g, e);
}

static bool may_change(const Pb__Op *op)
{
    return op->op_case == PB__OP__OP_SOURCE || op->op_case == PB__OP__OP_EXEC;
}

/* The graph is ours alone: its ops may change in place. */
static struct error *convert_asked(struct converted *c, llb_convert_fn fn, void *ctx, bool parallel)
{
    struct llb_graph *g = c->graph;

    c->asked = xcalloc(g->vertex_count + 1, sizeof(*c->asked));
    for (size_t i = 0; i < g->vertex_count; i++) {
        Pb__Op *op = (Pb__Op *)g->vertices[i].op;

        if (may_change(op))
            c->asked[c->asked_count++] = (struct converting){ .fn = fn, .ctx = ctx, .op = op };
    }
    for (size_t i = 0; i < c->asked_count;) {
        size_t n = parallel ? MIN(c->asked_count - i, (size_t)LIMIT_POLICY_TASKS) : 1;

        TRY(n == 1 ? convert_one(&c->asked[i]) : convert_wave(&c->asked[i], n));
        i += n;
    }
    return NULL;
}

/* Everything from an op that changed up. */
static void convert_rest(struct converted *c)
{
    const struct llb_graph *g = c->graph;
    size_t asked = 0;

    for (size_t i = 0; i < g->vertex_count; i++) {
        const struct llb_vertex *v = &g->vertices[i]; /* inputs come first */
        Pb__Op *op = (Pb__Op *)v->op;
        bool changed = may_change(op) && c->asked[asked++].changed;

        if (rename_inputs(c, &c->graph->arena, op) || changed)
            write_again(c, v->digest.s, op);
    }
}

static struct error *convert_terminal(struct converted *c)
{
    const struct llb_def *def = c->graph->def;
    const struct llb_op *last = &def->ops[def->op_count - 1];
    Pb__Op *op;

    TRY(pb_unpack(&pb__op__descriptor, last->bytes, last->len, &c->graph->arena, &op));
    if (rename_inputs(c, &c->graph->arena, op))
        write_again(c, last->digest.s, op);
    return NULL;
}

static bool is_needed(const struct converted *c, const struct map *reached, size_t i)
{
    const struct llb_def *def = c->graph->def;

    return i + 1 == def->op_count || map_has(reached, def->ops[i].digest.s);
}

static void rename_key(const struct converted *c, char **key)
{
    const char *now = strmap_get(&c->digest, *key);

    if (now != NULL)
        *key = (char *)now;
}

/* The definition again, ops and what is said about them under their new names. */
static struct error *rebuild(struct converted *c, struct llb_def **ret)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(map_deinit) struct map reached = { 0 };
    const struct llb_def *def = c->graph->def;
    size_t n = 0;
    Pb__Definition *pb;

    for (size_t i = 0; i < c->graph->vertex_count; i++)
        map_set(&reached, c->graph->vertices[i].digest.s, c);
    llb_def_encode(def, &text);
    TRY(pb_unpack(&pb__definition__descriptor, text.data, text.len, &a, &pb));
    for (size_t i = 0; i < pb->n_def; i++) {
        const struct buf *b = map_get(&c->bytes, def->ops[i].digest.s);

        if (is_needed(c, &reached, i))
            pb->def[n++] = b != NULL ? pb_bytes(b->data, b->len) : pb->def[i];
    }
    pb->n_def = n;
    for (size_t i = 0; i < pb->n_metadata; i++)
        rename_key(c, &pb->metadata[i]->key);
    for (size_t i = 0; pb->source != NULL && i < pb->source->n_locations; i++)
        rename_key(c, &pb->source->locations[i]->key);
    return llb_def_from_pb(pb, ret);
}

static void converted_deinit(struct converted *c)
{
    for (size_t i = 0; i < c->asked_count; i++)
        pb_arena_deinit(&c->asked[i].arena);
    free(c->asked);
    llb_graph_free(c->graph);
    map_deinit(&c->bytes);
    map_deinit(&c->digest);
}

struct error *llb_def_convert(struct llb_def *def, llb_convert_fn fn, void *ctx, bool parallel,
                              struct llb_def **ret)
{
    CLEANUP(converted_deinit) struct converted c = { .bytes.free_value = free_buf };

    strmap_init(&c.digest);
    TRY(llb_load(def, &c.graph));
    TRY(convert_asked(&c, fn, ctx, parallel));
    convert_rest(&c);
    if (c.bytes.len == 0) {
        *ret = llb_def_ref(def);
        return NULL;
    }
    TRY(convert_terminal(&c));
    return rebuild(&c, ret);
}
