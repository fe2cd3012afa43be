/* SPDX-License-Identifier: Apache-2.0 */
/*
 * graph.c - a definition unpacked into the vertices that its result needs
 *
 *   ops --unpack--> all of them, inputs looked up --walk from the terminal op--> reachable ones, inputs
 * first, each validated
 */
#include "llb/llb.h"

#include "base/limits.h"
#include "llb/validate.h"

struct loaded {
    const struct llb_op *raw;
    Pb__Op *op;
    const struct llb_meta *meta;
    struct loaded **inputs;    /* as op->inputs; in the graph's arena */
    struct llb_vertex *vertex; /* once it is placed */
    bool open;                 /* on the walk's stack */
};

struct loader {
    struct llb_graph *graph;
    struct loaded *ops;
    const struct loaded *terminal;
    size_t count;
    struct map by_digest; /* -> struct loaded */
};

static const struct llb_meta no_meta;

/* ---- names
 * -------------------------------------------------------------------------------------------------------------
 */

/* Names of merges hold the names of their inputs: without a bound they would double with every level. */
static char *cut_name(struct buf *name)
{
    size_t len = LIMIT_VERTEX_NAME;

    while (name->len > len && ((unsigned char)name->data[len] & 0xc0) == 0x80)
        len--; /* not in the middle of a character */
    if (name->len > len)
        buf_truncate(name, len);
    return buf_take(name);
}

static void add_file_name(struct buf *name, const Pb__FileAction *a)
{
    switch (a->action_case) {
    case PB__FILE_ACTION__ACTION_MKDIR:
        buf_addf(name, "mkdir %s", a->mkdir->path);
        break;
    case PB__FILE_ACTION__ACTION_MKFILE:
        buf_addf(name, "mkfile %s", a->mkfile->path);
        break;
    case PB__FILE_ACTION__ACTION_SYMLINK:
        buf_addf(name, "symlink %s -> %s", a->symlink->newpath, a->symlink->oldpath);
        break;
    case PB__FILE_ACTION__ACTION_RM:
        buf_addf(name, "rm %s", a->rm->path);
        break;
    case PB__FILE_ACTION__ACTION_COPY:
        buf_addf(name, "copy %s %s", a->copy->src, a->copy->dest);
        break;
    default:
        break;
    }
}

static void add_diff_side(struct buf *name, const struct llb_vertex *v, int64_t input)
{
    if (input < 0)
        buf_adds(name, "scratch");
    else
        buf_addf(name, "(%s)", v->inputs[input].vertex->name);
}

/* Names are shown and kept: "scheme://user:password@host" loses what stands before the host. */
static char *without_passwords(char *name)
{
    for (char *p = name; (p = strstr(p, "://")) != NULL;) {
        size_t n = strcspn(p += 3, "/?#'\"` \t\n"), user = n;

        while (user > 0 && p[user - 1] != '@')
            user--;
        if (user > 0 && memchr(p, ':', user) != NULL)
            memmove(p, p + user, strlen(p + user) + 1);
    }
    return name;
}

static char *plain_name(const struct llb_vertex *v)
{
    const Pb__Op *op = v->op;
    const char *custom = strmap_get(&v->meta->description, "llb.customname");
    struct buf name = { 0 };

    if (custom != NULL) {
        buf_adds(&name, custom);
        return cut_name(&name);
    }
    switch (op->op_case) {
    case PB__OP__OP_SOURCE:
        buf_adds(&name, op->source->identifier);
        break;
    case PB__OP__OP_EXEC:
        for (size_t i = 0; i < op->exec->meta->n_args; i++)
            buf_addf(&name, "%s%s", i > 0 ? " " : "", op->exec->meta->args[i]);
        break;
    case PB__OP__OP_FILE:
        for (size_t i = 0; i < op->file->n_actions; i++) {
            if (i > 0)
                buf_adds(&name, ", ");
            add_file_name(&name, op->file->actions[i]);
        }
        break;
    case PB__OP__OP_BUILD:
        buf_adds(&name, "build");
        break;
    case PB__OP__OP_MERGE:
        buf_adds(&name, "merge (");
        for (size_t i = 0; i < v->input_count && name.len <= LIMIT_VERTEX_NAME; i++)
            buf_addf(&name, "%s%s", i > 0 ? ", " : "", v->inputs[i].vertex->name);
        buf_addc(&name, ')');
        break;
    case PB__OP__OP_DIFF:
        buf_adds(&name, "diff ");
        add_diff_side(&name, v, op->diff->lower->input);
        buf_adds(&name, " -> ");
        add_diff_side(&name, v, op->diff->upper->input);
        break;
    case PB__OP__OP_PASSTHROUGH:
        buf_addf(&name, "passthrough %s", op->passthrough->id);
        break;
    default:
        buf_adds(&name, "unknown");
        break;
    }
    return cut_name(&name);
}

/* ---- loading
 * -----------------------------------------------------------------------------------------------------------
 */

static struct error *unpack_ops(struct loader *l)
{
    const struct llb_def *def = l->graph->def;

    l->ops = xcalloc(def->op_count, sizeof(l->ops[0]));
    for (size_t i = 0; i < def->op_count; i++) {
        const struct llb_op *raw = &def->ops[i];
        struct loaded *o;

        if (map_has(&l->by_digest, raw->digest.s))
            continue;
        o = &l->ops[l->count++];
        o->raw = raw;
        TRY(err_wrap(pb_unpack(&pb__op__descriptor, raw->bytes, raw->len, &l->graph->arena, &o->op),
                     "failed to parse llb proto op"));
        for (size_t k = 0; k < o->op->n_inputs; k++) {
            if (o->op->inputs[k]->index < 0)
                return err_new(ERR_INVALID, "invalid input %zu output index %lld", k,
                               (long long)o->op->inputs[k]->index);
        }
        map_set(&l->by_digest, raw->digest.s, o);
    }
    return NULL;
}

static struct error *find_inputs(struct loader *l)
{
    for (size_t i = 0; i < l->count; i++) {
        struct loaded *o = &l->ops[i];

        o->inputs = pb_array(&l->graph->arena, o->op->n_inputs);
        for (size_t k = 0; k < o->op->n_inputs; k++) {
            o->inputs[k] = map_get(&l->by_digest, o->op->inputs[k]->digest);
            if (o->inputs[k] == NULL)
                return err_new(ERR_INVALID, "invalid missing input digest %s", o->op->inputs[k]->digest);
        }
    }
    return NULL;
}

/* Nobody may depend on the terminal op. */
static struct error *check_input(const struct loader *l, const struct loaded *input)
{
    return input != l->terminal
               ? NULL
               : err_new(ERR_INVALID, "invalid missing input digest %s", input->raw->digest.s);
}

static struct error *validate(const struct loader *l, struct loaded *o)
{
    const struct llb_meta *meta = llb_def_meta(l->graph->def, o->raw->digest.s);

    o->meta = meta != NULL ? meta : &no_meta;
    return op_validate(o->op, o->meta);
}

static void place(struct loader *l, struct loaded *o)
{
    struct llb_graph *g = l->graph;
    struct llb_vertex *v = &g->vertices[g->vertex_count];

    v->digest = o->raw->digest;
    v->position = g->vertex_count;
    v->op = o->op;
    v->raw = o->raw;
    v->meta = o->meta;
    v->locations = llb_def_locations(g->def, v->digest.s);
    v->inputs = pb_alloc(&g->arena, MAX(o->op->n_inputs, (size_t)1) * sizeof(v->inputs[0]));
    v->input_count = o->op->n_inputs;
    g->vertex_count++;
    for (size_t i = 0; i < v->input_count; i++)
        v->inputs[i] = (struct llb_edge){ o->inputs[i]->vertex, o->op->inputs[i]->index };
    v->name = without_passwords(plain_name(v));
    o->vertex = v;
}

struct step {
    struct loaded *op;
    size_t next;
};

/* Depth first with a stack of our own, of at most each op once: a chain may be LIMIT_LLB_DEPTH long. */
static struct error *walk(struct loader *l, struct loaded *root)
{
    CLEANUP(freep) struct step *stack = xcalloc(MIN(l->count, (size_t)LIMIT_LLB_DEPTH), sizeof(*stack));
    size_t depth = 0;

    stack[depth++] = (struct step){ .op = root };
    TRY(validate(l, root));
    root->open = true;
    while (depth > 0) {
        struct step *top = &stack[depth - 1];
        struct loaded *input;

        if (top->next == top->op->op->n_inputs) {
            top->op->open = false;
            place(l, top->op);
            depth--;
            continue;
        }
        input = top->op->inputs[top->next++];
        TRY(check_input(l, input));
        if (input->vertex != NULL)
            continue;
        if (input->open)
            return err_new(ERR_INVALID, "invalid cycle at vertex %s", input->raw->digest.s);
        if (depth == LIMIT_LLB_DEPTH)
            return err_new(ERR_INVALID, "definition is deeper than %d ops", LIMIT_LLB_DEPTH);
        TRY(validate(l, input));
        input->open = true;
        stack[depth++] = (struct step){ .op = input };
    }
    return NULL;
}

static struct error *load(struct loader *l)
{
    const struct llb_def *def = l->graph->def;
    const struct llb_op *last = &def->ops[def->op_count - 1];
    struct loaded *root;

    TRY(unpack_ops(l));
    TRY(find_inputs(l));
    if (l->count < 2)
        return err_new(ERR_INVALID, "invalid LLB with %zu vertexes", l->count);
    l->terminal = map_get(&l->by_digest, last->digest.s);
    if (l->terminal->op->n_inputs == 0)
        return err_new(ERR_INVALID, "invalid LLB with no inputs on last vertex");
    root = l->terminal->inputs[0];
    TRY(check_input(l, root));
    l->graph->vertices = xcalloc(l->count, sizeof(l->graph->vertices[0]));
    TRY(walk(l, root));
    l->graph->result = (struct llb_edge){ root->vertex, l->terminal->op->inputs[0]->index };
    return NULL;
}

struct error *llb_load(struct llb_def *def, struct llb_graph **ret)
{
    CLEANUP(llb_graph_freep) struct llb_graph *graph = NULL;
    struct loader l = { 0 };
    struct error *e;

    if (llb_def_is_scratch(def))
        return err_new(ERR_INVALID, "invalid empty definition");
    graph = NEW(struct llb_graph);
    graph->def = llb_def_ref(def);
    l.graph = graph;
    e = load(&l);
    free(l.ops);
    map_deinit(&l.by_digest);
    TRY(e);
    *ret = TAKE(graph);
    return NULL;
}

void llb_graph_free(struct llb_graph *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < g->vertex_count; i++)
        free(g->vertices[i].name);
    free(g->vertices);
    pb_arena_deinit(&g->arena);
    llb_def_unref(g->def);
    free(g);
}

void llb_graph_freep(struct llb_graph **g)
{
    llb_graph_free(*g);
    *g = NULL;
}
