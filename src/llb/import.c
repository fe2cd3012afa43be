/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import.c - definitions that clients give (FrontendInputs) as states
 *
 * Ops keep their bytes and what is said about them.  A node stands for one (digest, output index) pair, as in
 * Go, because locations are added once for each node.
 */
#include "base/limits.h"
#include "llb/node.h"
#include "llb/state.h"
#include "oci/platform.h"

void import_free(struct node_import *i)
{
    map_deinit(&i->nodes);
    map_deinit(&i->ops);
    free(i->maps);
    llb_def_unref(i->def);
    free(i);
}

const struct llb_source_info *import_source_info(struct llb_builder *b, const struct llb_source_map *map)
{
    for (size_t i = 0; i < b->imports.len; i++) {
        const struct node_import *import = b->imports.v[i];
        size_t count = import->def->source != NULL ? import->def->source->info_count : 0;

        if (count > 0 && map >= import->maps && map < import->maps + count)
            return &import->def->source->infos[map - import->maps];
    }
    return NULL;
}

static void copy_locations(struct llb_builder *b, struct llb_node *n, const struct node_import *import,
                           const struct llb_locations *l)
{
    n->locations = llb_alloc(b, l->len * sizeof(n->locations[0]));
    n->location_count = l->len;
    for (size_t i = 0; i < l->len; i++)
        n->locations[i] =
            (struct node_location){ &import->maps[l->v[i].info], l->v[i].ranges, l->v[i].range_count };
}

static struct llb_node *import_node(struct llb_builder *b, struct node_import *import,
                                    const struct llb_op *op)
{
    struct llb_node *n = node_new(b, NODE_DEF, NULL);
    const struct llb_locations *l = llb_def_locations(import->def, op->digest.s);

    n->def.import = import;
    n->def.op = op;
    n->def.meta = llb_def_meta(import->def, op->digest.s);
    if (l != NULL)
        copy_locations(b, n, import, l);
    return n;
}

static struct llb_node *find_node(struct llb_builder *b, struct node_import *import, const char *digest,
                                  int64_t index)
{
    CLEANUP(freep) char *key = xasprintf("%s/%lld", digest, (long long)index);
    struct llb_node *n = map_get(&import->nodes, key);
    const struct llb_op *op = map_get(&import->ops, digest);

    if (n == NULL && op != NULL) {
        n = import_node(b, import, op);
        map_set(&import->nodes, key, n);
    }
    return n;
}

void import_dependencies(struct llb_node *n, struct ptrv *ret)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Pb__Op *op = NULL;
    struct error *e = pb_unpack(&pb__op__descriptor, n->def.op->bytes, n->def.op->len, &arena, &op);

    /* llb_from_def has loaded the definition: it decodes and misses nothing. */
    assert(e == NULL && op != NULL);
    for (size_t i = 0; i < op->n_inputs; i++) {
        struct llb_node *input =
            find_node(n->builder, n->def.import, op->inputs[i]->digest, op->inputs[i]->index);

        assert(input != NULL);
        ptrv_add(ret, node_output(n->builder, input, op->inputs[i]->index, NULL));
    }
}

static const struct platform *op_platform(struct llb_builder *b, const struct llb_vertex *v)
{
    const Pb__Platform *pb = v->op->platform;
    struct platform p = { 0 };

    if (pb == NULL)
        return NULL;
    p.os = pb->os;
    p.architecture = pb->architecture;
    p.variant = pb->variant;
    p.os_version = pb->os_version;
    p.os_features = pb->os_features;
    p.os_feature_count = pb->n_os_features;
    return llb_platform_dup(b, &p);
}

/* An op has a node for each output that is asked for, each with the op's inputs: few ops can mean many. */
static struct error *check_edges(const struct llb_graph *g)
{
    CLEANUP(freep) size_t *asked = xcalloc(g->vertex_count, sizeof(*asked));
    size_t edges = 0;

    for (size_t i = 0; i < g->vertex_count; i++) {
        for (size_t k = 0; k < g->vertices[i].input_count; k++)
            asked[g->vertices[i].inputs[k].vertex->position]++;
    }
    for (size_t i = 0; i < g->vertex_count; i++)
        edges += MAX(asked[i], (size_t)1) * g->vertices[i].input_count;
    return edges <= LIMIT_IMPORT_EDGES
               ? NULL
               : err_new(ERR_INVALID, "definition unfolds to %zu edges, at most %d are allowed", edges,
                         LIMIT_IMPORT_EDGES);
}

static struct node_import *import_new(struct llb_def *def)
{
    struct node_import *import = NEW(struct node_import);
    size_t infos = def->source != NULL ? def->source->info_count : 0;

    import->def = def;
    import->maps = xcalloc(infos + 1, sizeof(import->maps[0]));
    for (size_t i = 0; i < infos; i++) {
        const struct llb_source_info *info = &def->source->infos[i];

        import->maps[i] = (struct llb_source_map){ .filename = info->filename,
                                                   .language = info->language,
                                                   .data = info->data,
                                                   .data_len = info->data_len };
    }
    for (size_t i = 0; i < def->op_count; i++)
        map_set(&import->ops, def->ops[i].digest.s, &def->ops[i]);
    return import;
}

struct error *llb_from_def(struct llb_builder *b, struct llb_def *def, struct llb_state *ret)
{
    CLEANUP(llb_graph_freep) struct llb_graph *graph = NULL;
    const struct platform *platform;
    struct node_import *import;
    struct llb_node *n;
    struct error *e;

    if (llb_def_is_scratch(def)) {
        llb_def_unref(def);
        *ret = llb_scratch();
        return NULL;
    }
    e = llb_load(def, &graph); /* bounds and missing inputs, once */
    if (e == NULL)
        e = check_edges(graph);
    if (e != NULL) {
        llb_def_unref(def);
        return e;
    }
    import = import_new(def);
    pthread_mutex_lock(&b->lock);
    ptrv_add(&b->imports, import);
    pthread_mutex_unlock(&b->lock);
    n = import_node(b, import, graph->result.vertex->raw);
    platform = op_platform(b, graph->result.vertex);
    *ret = llb_new_state(node_output(b, n, graph->result.index, platform));
    if (platform != NULL)
        *ret = llb_set_platform(b, *ret, platform);
    return NULL;
}
