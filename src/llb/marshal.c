/* SPDX-License-Identifier: Apache-2.0 */
/*
 * marshal.c - from nodes to a definition
 *
 * The walk is Go's: inputs first, depth first, each node once; a definition entry once per digest; what is
 * said about equal digests is merged.  It keeps its own stack: a Dockerfile of 10 000 steps is a chain of 10
 * 000 nodes.
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "llb/def.h"
#include "llb/encode.h"
#include "llb/node.h"
#include "oci/digest.h"

enum { FIELD_SOURCE = 3, FIELD_MERGE = 6, FIELD_DIFF = 7 };

/* ---- ops
 * ---------------------------------------------------------------------------------------------------------------
 */

void op_inputs_deinit(struct op_inputs *in)
{
    free(in->digests);
    free(in->indices);
    *in = (struct op_inputs){ 0 };
}

struct error *output_input(struct marshal *m, struct llb_output *o, struct digest *ret, int64_t *ret_index)
{
    TRY(node_marshal(m, o->node));
    *ret = o->node->digest;
    *ret_index = o->mount != NULL ? exec_output_index(o->node, o->mount) : o->index;
    return NULL;
}

struct error *op_inputs_add(struct marshal *m, struct op_inputs *in, struct llb_output *o, bool join,
                            int64_t *ret_position)
{
    struct digest digest;
    int64_t index;

    o = output_resolve(m->builder, o);
    if (o == NULL) {
        *ret_position = -1;
        return NULL;
    }
    TRY(output_input(m, o, &digest, &index));
    for (size_t i = 0; join && i < in->count; i++) {
        if (in->indices[i] == index && digest_eq(&in->digests[i], &digest)) {
            *ret_position = (int64_t)i;
            return NULL;
        }
    }
    in->digests = xreallocarray(in->digests, in->count + 1, sizeof(in->digests[0]));
    in->indices = xreallocarray(in->indices, in->count + 1, sizeof(in->indices[0]));
    in->digests[in->count] = digest;
    in->indices[in->count] = index;
    *ret_position = (int64_t)in->count++;
    return NULL;
}

static void encode_input(struct buf *out, const struct digest *digest, int64_t index)
{
    CLEANUP(buf_deinit) struct buf input = { 0 };

    pbw_str(&input, 1, digest->s);
    pbw_int(&input, 2, index);
    pbw_message(out, 1, &input);
}

static void encode_platform(struct buf *out, const struct platform *p)
{
    CLEANUP(buf_deinit) struct buf sub = { 0 };

    pbw_str(&sub, 1, p->architecture);
    pbw_str(&sub, 2, p->os);
    pbw_str(&sub, 3, p->variant);
    pbw_str(&sub, 4, p->os_version);
    for (size_t i = 0; i < p->os_feature_count; i++)
        pbw_str_always(&sub, 5, p->os_features[i]);
    pbw_message(out, 10, &sub);
}

/* Members of a oneof come last, whatever their number: so does Go's encoder. */
void op_encode(struct buf *out, const struct op_inputs *in, unsigned field, struct buf *op,
               const struct platform *p)
{
    CLEANUP(buf_deinit) struct buf constraints = { 0 };

    for (size_t i = 0; i < in->count; i++)
        encode_input(out, &in->digests[i], in->indices[i]);
    if (p != NULL)
        encode_platform(out, p);
    pbw_message(out, 11, &constraints);
    pbw_message(out, field, op);
}

static bool platform_specific(const char *id)
{
    return str_has_prefix(id, "docker-image://") || str_has_prefix(id, "oci-layout://");
}

static struct error *source_marshal(struct marshal *m, struct llb_node *n)
{
    struct node_source *s = &n->source;
    const struct platform *p = n->platform != NULL ? n->platform : m->platform;
    CLEANUP(buf_deinit) struct buf op = { 0 };
    CLEANUP(op_inputs_deinit) struct op_inputs none = { 0 };

    if (s->error != NULL)
        return err_new(ERR_INVALID, "%s", s->error);
    if (*s->id == '\0')
        return err_new(ERR_UNKNOWN, "source identifier can't be empty");
    if (str_has_prefix(s->id, "local://") && !map_has(&s->attrs, "local.session")) {
        strmap_set(&s->attrs, "local.unique", m->unique_id);
        node_add_cap(n, "source.local.unique");
    }
    pbw_str(&op, 1, s->id);
    pbw_strmap(&op, 2, &s->attrs);
    op_encode(&n->bytes, &none, FIELD_SOURCE, &op, platform_specific(s->id) ? p : NULL);
    return NULL;
}

static struct error *merge_marshal(struct marshal *m, struct llb_node *n)
{
    CLEANUP(buf_deinit) struct buf op = { 0 }, sub = { 0 };
    CLEANUP(op_inputs_deinit) struct op_inputs in = { 0 };

    for (size_t i = 0; i < n->inputs.count; i++) {
        int64_t position;

        TRY(op_inputs_add(m, &in, n->inputs.v[i], false, &position));
        pbw_int(&sub, 1, position);
        pbw_message(&op, 1, &sub);
    }
    op_encode(&n->bytes, &in, FIELD_MERGE, &op, NULL);
    return NULL;
}

static struct error *diff_marshal(struct marshal *m, struct llb_node *n)
{
    CLEANUP(buf_deinit) struct buf op = { 0 }, sub = { 0 };
    CLEANUP(op_inputs_deinit) struct op_inputs in = { 0 };

    for (size_t i = 0; i < 2; i++) {
        int64_t position;

        TRY(op_inputs_add(m, &in, n->inputs.v[i], false, &position));
        pbw_int(&sub, 1, position);
        pbw_message(&op, (unsigned)i + 1, &sub);
    }
    op_encode(&n->bytes, &in, FIELD_DIFF, &op, NULL);
    return NULL;
}

struct error *node_marshal(struct marshal *m, struct llb_node *n)
{
    if (n->generation == m->generation)
        return NULL;
    if (n->kind == NODE_DEF) {
        n->digest = n->def.op->digest;
        n->generation = m->generation;
        return NULL;
    }
    buf_clear(&n->bytes);
    switch (n->kind) {
    case NODE_SOURCE:
        TRY(source_marshal(m, n));
        break;
    case NODE_EXEC:
        TRY(exec_marshal(m, n));
        break;
    case NODE_FILE:
        TRY(file_marshal(m, n));
        break;
    case NODE_MERGE:
        TRY(merge_marshal(m, n));
        break;
    case NODE_DIFF:
        TRY(diff_marshal(m, n));
        break;
    case NODE_DEF:
        break;
    }
    n->digest = digest_of(n->bytes.data, n->bytes.len);
    n->generation = m->generation;
    return NULL;
}

void node_dependencies(struct llb_node *n, struct ptrv *ret)
{
    switch (n->kind) {
    case NODE_SOURCE:
        break;
    case NODE_EXEC:
        exec_dependencies(n, ret);
        break;
    case NODE_FILE:
        file_dependencies(n, ret);
        break;
    case NODE_MERGE:
    case NODE_DIFF:
        for (size_t i = 0; i < n->inputs.count; i++) {
            if (n->inputs.v[i] != NULL)
                ptrv_add(ret, n->inputs.v[i]);
        }
        break;
    case NODE_DEF:
        import_dependencies(n, ret);
        break;
    }
}

/* ---- merge and diff states
 * --------------------------------------------------------------------------------------------- */

static struct llb_node *inputs_node(struct llb_builder *b, enum node_kind kind, const struct llb_state *v,
                                    size_t count, const struct llb_options *o)
{
    struct llb_node *n = node_new(b, kind, o);

    n->inputs.v = llb_alloc(b, count * sizeof(n->inputs.v[0]));
    for (size_t i = 0; i < count; i++)
        n->inputs.v[i] = v[i].out;
    n->inputs.count = count;
    node_add_cap(n, kind == NODE_MERGE ? "mergeop" : "diffop");
    return n;
}

struct llb_state llb_merge(struct llb_builder *b, const struct llb_state *inputs, size_t count,
                           const struct llb_options *o)
{
    struct llb_state *full = llb_alloc(b, (count + 1) * sizeof(*full));
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        if (inputs[i].out != NULL)
            full[n++] = inputs[i];
    }
    if (n == 0)
        return llb_scratch();
    if (n == 1)
        return full[0];
    return llb_with_output(full[0], node_output(b, inputs_node(b, NODE_MERGE, full, n, o), 0, NULL));
}

struct llb_state llb_diff(struct llb_builder *b, struct llb_state lower, struct llb_state upper,
                          const struct llb_options *o)
{
    struct llb_state sides[2] = { lower, upper };

    if (lower.out == NULL)
        return upper.out != NULL ? upper : llb_scratch();
    return llb_with_output(lower, node_output(b, inputs_node(b, NODE_DIFF, sides, 2, o), 0, NULL));
}

/* ---- the definition
 * ---------------------------------------------------------------------------------------------------- */

/* What is gathered while the walk goes. */
struct collector {
    struct marshal m;
    struct llb_def *def;
    struct map seen;  /* digests that have an entry */
    struct ptrv maps; /* struct llb_source_map, in order of appearance */
    size_t bytes;     /* of all ops */
};

static struct llb_meta *def_meta(struct llb_def *def, const char *digest)
{
    struct llb_meta *meta = map_get(&def->metadata, digest);

    return meta != NULL ? meta : def_meta_new(def, digest);
}

static void merge_meta(struct llb_meta *to, const struct llb_meta *from)
{
    if (from->ignore_cache)
        to->ignore_cache = true;
    for (size_t i = 0; i < from->description.len; i++)
        strmap_set(&to->description, from->description.entries[i].key, from->description.entries[i].value);
    if (from->has_export_cache) {
        to->has_export_cache = true;
        to->export_cache = from->export_cache;
    }
    for (size_t i = 0; i < from->caps.len; i++) {
        if (!strv_has(&to->caps, from->caps.v[i]))
            strv_add(&to->caps, from->caps.v[i]);
    }
    if (from->progress_group != NULL) {
        struct llb_progress_group *g = to->progress_group;

        if (g == NULL)
            g = to->progress_group = NEW(struct llb_progress_group);
        free(g->id);
        free(g->name);
        g->id = xstrdup(from->progress_group->id);
        g->name = xstrdup(from->progress_group->name);
        g->weak = from->progress_group->weak;
    }
    if (from->resources != NULL && to->resources == NULL) {
        to->resources = xmemdup(from->resources, sizeof(*to->resources));
        to->resources->cpuset_cpus = xstrdup(from->resources->cpuset_cpus);
        to->resources->cpuset_mems = xstrdup(from->resources->cpuset_mems);
    }
}

static bool same_map(const struct llb_source_map *a, const struct llb_source_map *b)
{
    if (a == b)
        return true;
    if (!streq(a->filename, b->filename) || !streq(a->language, b->language) || a->data_len != b->data_len ||
        (a->data_len > 0 && memcmp(a->data, b->data, a->data_len) != 0))
        return false;
    if (!llb_def_is_scratch(a->definition) && !llb_def_is_scratch(b->definition))
        return digest_eq(&a->definition->ops[a->definition->op_count - 1].digest,
                         &b->definition->ops[b->definition->op_count - 1].digest);
    return true;
}

static size_t map_index(struct collector *c, const struct llb_source_map *map)
{
    for (size_t i = 0; i < c->maps.len; i++) {
        if (same_map(c->maps.v[i], map))
            return i;
    }
    ptrv_add(&c->maps, (void *)map);
    return c->maps.len - 1;
}

/* Every op has an entry, also one without locations. */
static void add_locations(struct collector *c, const struct digest *digest, const struct node_location *v,
                          size_t count)
{
    struct llb_source *source = c->def->source;
    struct llb_locations *l = map_get(&source->locations, digest->s);

    if (l == NULL)
        l = source_locations_new(source, digest->s);
    if (count == 0)
        return;
    l->v = xreallocarray(l->v, l->len + count, sizeof(l->v[0]));
    for (size_t i = 0; i < count; i++) {
        struct llb_location *to = &l->v[l->len++];

        to->info = map_index(c, v[i].map);
        to->range_count = v[i].range_count;
        to->ranges = xreallocarray(NULL, MAX(v[i].range_count, (size_t)1), sizeof(to->ranges[0]));
        if (v[i].range_count > 0)
            memcpy(to->ranges, v[i].ranges, v[i].range_count * sizeof(to->ranges[0]));
    }
}

/* A node whose inputs are done. */
static struct error *collect(struct collector *c, struct llb_node *n)
{
    static char present;

    TRY(node_marshal(&c->m, n));
    n->visited = c->m.generation;
    c->bytes += n->bytes.len;
    if (c->bytes > LIMIT_LLB_BYTES)
        return err_new(ERR_INVALID, "definition exceeds maximum allowed size of %zu bytes", LIMIT_LLB_BYTES);
    merge_meta(def_meta(c->def, n->digest.s), &n->meta);
    add_locations(c, &n->digest, n->locations, n->location_count);
    if (map_has(&c->seen, n->digest.s))
        return NULL;
    map_set(&c->seen, n->digest.s, &present);
    if (n->kind == NODE_DEF)
        def_add_op(c->def, n->def.op->bytes, n->def.op->len, &n->digest);
    else
        def_add_op(c->def, n->bytes.data, n->bytes.len, &n->digest);
    return NULL;
}

struct frame {
    struct llb_node *node;
    struct ptrv dependencies;
    size_t next;
};

static struct error *walk(struct collector *c, struct llb_node *root)
{
    CLEANUP(freep) struct frame *stack = xcalloc(1, sizeof(*stack));
    size_t depth = 1;
    struct error *e = NULL;

    stack[0].node = root;
    node_dependencies(root, &stack[0].dependencies);
    while (depth > 0) {
        struct frame *f = &stack[depth - 1];

        if (e == NULL && f->next < f->dependencies.len) {
            struct llb_output *o = output_resolve(c->m.builder, f->dependencies.v[f->next++]);

            if (o == NULL || o->node->visited == c->m.generation)
                continue;
            stack = xreallocarray(stack, depth + 1, sizeof(stack[0]));
            f = &stack[depth++];
            *f = (struct frame){ .node = o->node };
            node_dependencies(o->node, &f->dependencies);
            continue;
        }
        if (e == NULL && f->node->visited != c->m.generation)
            e = collect(c, f->node);
        ptrv_deinit(&f->dependencies);
        depth--;
    }
    return e;
}

static void add_terminal(struct collector *c, const struct digest *digest, int64_t index)
{
    CLEANUP(buf_deinit) struct buf op = { 0 };
    struct digest own;
    struct llb_meta *meta;
    bool ignore = false, description = false, export_cache = false;

    encode_input(&op, digest, index);
    own = digest_of(op.data, op.len);
    def_add_op(c->def, op.data, op.len, &own);
    for (size_t i = 0; i < c->def->metadata.len; i++) {
        const struct llb_meta *other = c->def->metadata.entries[i].value;

        ignore |= other->ignore_cache;
        description |= other->description.len > 0;
        export_cache |= other->has_export_cache;
    }
    meta = def_meta(c->def, own.s);
    strv_add(&meta->caps, "constraints");
    strv_add(&meta->caps, "platform");
    if (ignore)
        strv_add(&meta->caps, "meta.ignorecache");
    if (description)
        strv_add(&meta->caps, "meta.description");
    if (export_cache)
        strv_add(&meta->caps, "meta.exportcache");
}

static void add_infos(struct collector *c)
{
    struct llb_source *source = c->def->source;

    source->infos = xcalloc(MAX(c->maps.len, (size_t)1), sizeof(source->infos[0]));
    source->info_count = c->maps.len;
    for (size_t i = 0; i < c->maps.len; i++) {
        const struct llb_source_map *map = c->maps.v[i];
        const struct llb_source_info *imported = import_source_info(c->m.builder, map);
        struct llb_source_info *info = &source->infos[i];

        info->filename = xstrdup(map->filename);
        info->language = xstrdup(map->language);
        info->data = xmemdup(map->data, map->data_len);
        info->data_len = map->data_len;
        if (imported != NULL && imported->definition != NULL) {
            info->definition = xmemdup(imported->definition, imported->definition_len);
            info->definition_len = imported->definition_len;
        } else if (map->definition != NULL) {
            struct buf encoded = { 0 };

            llb_def_encode(map->definition, &encoded);
            info->definition_len = encoded.len;
            info->definition = buf_take(&encoded);
        }
    }
}

struct error *llb_marshal(struct llb_builder *b, struct llb_state s, const struct platform *platform,
                          struct llb_def **ret)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = def_new();
    struct collector c = { .def = def };
    struct llb_output *o = output_resolve(b, s.out);
    struct digest digest;
    int64_t index;
    struct error *e;

    if (o == NULL) {
        *ret = TAKE(def);
        return NULL;
    }
    def->source = NEW(struct llb_source);
    c.m.builder = b;
    c.m.generation = ++b->generation;
    c.m.platform = platform != NULL ? platform : platform_host();
    random_id(c.m.unique_id, sizeof(c.m.unique_id) - 1);
    e = walk(&c, o->node);
    if (e == NULL)
        e = output_input(&c.m, o, &digest, &index);
    if (e == NULL) {
        add_terminal(&c, &digest, index);
        add_infos(&c);
    }
    map_deinit(&c.seen);
    ptrv_deinit(&c.maps);
    TRY(e);
    *ret = TAKE(def);
    return NULL;
}
