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

void marshal_deinit(struct marshal *m)
{
    hasher_free(m->hasher);
    free(m->inputs.v);
    buf_deinit(&m->op);
    buf_deinit(&m->bytes);
    buf_deinit(&m->env_bytes);
}

int64_t output_index(const struct llb_output *o)
{
    return o->mount != NULL ? exec_output_index(o->node, o->mount) : o->index;
}

int64_t op_inputs_add(struct marshal *m, struct llb_output *o, bool join)
{
    struct op_inputs *in = &m->inputs;
    struct op_input input;

    o = output_resolve(m->builder, o);
    if (o == NULL)
        return -1;
    assert(o->node->generation == m->generation); /* the walk was there */
    input = (struct op_input){ o->node, output_index(o) };
    for (size_t i = 0; join && i < in->count; i++) {
        if (in->v[i].index == input.index && digest_eq(&in->v[i].node->digest, &input.node->digest))
            return (int64_t)i;
    }
    if (in->count == in->cap) {
        in->cap = MAX(in->cap * 2, (size_t)8);
        in->v = xreallocarray(in->v, in->cap, sizeof(in->v[0]));
    }
    in->v[in->count] = input;
    return (int64_t)in->count++;
}

static void encode_input(struct buf *out, const struct digest *digest, int64_t index)
{
    size_t input = pbw_begin(out, 1);

    pbw_bytes(out, 1, digest->s, strlen(digest->s));
    pbw_int(out, 2, index);
    pbw_end(out, input);
}

static void encode_platform(struct buf *out, const struct platform *p)
{
    size_t platform = pbw_begin(out, 10);

    pbw_str(out, 1, p->architecture);
    pbw_str(out, 2, p->os);
    pbw_str(out, 3, p->variant);
    pbw_str(out, 4, p->os_version);
    for (size_t i = 0; i < p->os_feature_count; i++)
        pbw_str_always(out, 5, p->os_features[i]);
    pbw_end(out, platform);
}

/* Members of a oneof come last, whatever their number: so does Go's encoder. */
void op_encode(struct marshal *m, unsigned field, const struct platform *p)
{
    struct buf *out = &m->bytes;

    for (size_t i = 0; i < m->inputs.count; i++)
        encode_input(out, &m->inputs.v[i].node->digest, m->inputs.v[i].index);
    if (p != NULL)
        encode_platform(out, p);
    pbw_end(out, pbw_begin(out, 11));
    pbw_message(out, field, &m->op);
}

static bool platform_specific(const char *id)
{
    return str_has_prefix(id, "docker-image://") || str_has_prefix(id, "oci-layout://");
}

static struct error *source_marshal(struct marshal *m, struct llb_node *n)
{
    struct node_source *s = &n->source;
    const struct platform *p = n->platform != NULL ? n->platform : m->platform;

    if (s->error != NULL)
        return err_new(ERR_INVALID, "%s", s->error);
    if (*s->id == '\0')
        return err_new(ERR_UNKNOWN, "source identifier can't be empty");
    if (str_has_prefix(s->id, "local://") && !map_has(&s->attrs, "local.session")) {
        strmap_set(&s->attrs, "local.unique", m->unique_id);
        node_add_cap(n, CAP_SOURCE_LOCAL_UNIQUE);
    }
    pbw_str(&m->op, 1, s->id);
    pbw_strmap(&m->op, 2, &s->attrs);
    op_encode(m, FIELD_SOURCE, platform_specific(s->id) ? p : NULL);
    return NULL;
}

/* Each input is a message of its position, at `field` or, where they have names, the fields from there on. */
static void inputs_marshal(struct marshal *m, const struct llb_node *n, unsigned field)
{
    bool named = n->kind == NODE_DIFF;

    for (size_t i = 0; i < n->inputs.count; i++) {
        size_t input = pbw_begin(&m->op, named ? (unsigned)i + 1 : 1);

        pbw_int(&m->op, 1, op_inputs_add(m, n->inputs.v[i], false));
        pbw_end(&m->op, input);
    }
    op_encode(m, field, NULL);
}

static struct error *encode_node(struct marshal *m, struct llb_node *n)
{
    m->inputs.count = 0;
    buf_clear(&m->op);
    buf_clear(&m->bytes);
    switch (n->kind) {
    case NODE_SOURCE:
        return source_marshal(m, n);
    case NODE_EXEC:
        return exec_marshal(m, n);
    case NODE_FILE:
        file_marshal(m, n);
        return NULL;
    case NODE_MERGE:
        inputs_marshal(m, n, FIELD_MERGE);
        return NULL;
    case NODE_DIFF:
        inputs_marshal(m, n, FIELD_DIFF);
        return NULL;
    case NODE_DEF:
        break;
    }
    return NULL;
}

struct error *node_marshal(struct marshal *m, struct llb_node *n)
{
    if (n->kind == NODE_DEF) {
        n->digest = n->def.op->digest;
    } else {
        TRY(encode_node(m, n));
        n->digest = hasher_digest(m->hasher, m->bytes.data, m->bytes.len);
    }
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
    node_add_cap(n, kind == NODE_MERGE ? CAP_MERGEOP : CAP_DIFFOP);
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
    struct ptrv maps;         /* struct llb_source_map, in order of appearance */
    struct ptrv dependencies; /* of the nodes that the walk is in, those of the innermost last */
    size_t bytes;             /* of all ops */
    uint64_t caps;            /* of the node before .. */
    struct strv cap_list;     /* .. and their names */
};

/* The capabilities of a node; process after process needs the same. */
static const struct strv *caps_of(struct collector *c, const struct llb_node *n)
{
#define NODE_CAP_NAME(id, name) name,
    static const char *const names[] = { NODE_CAPS(NODE_CAP_NAME) };

    if (n->caps == c->caps)
        return &c->cap_list;
    c->caps = n->caps;
    c->cap_list = (struct strv){ 0 };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        if ((n->caps >> i & 1) != 0)
            arena_strv_add(&c->def->mem, &c->cap_list, names[i]);
    }
    return &c->cap_list;
}

/* What a client said about the op that it gave. */
static void merge_imported(struct llb_def *def, struct llb_meta *to, const struct llb_meta *from)
{
    struct strv caps = { 0 };

    to->ignore_cache |= from->ignore_cache;
    def_describe(def, to, from->description.entries, from->description.len);
    if (from->has_export_cache) {
        to->has_export_cache = true;
        to->export_cache = from->export_cache;
    }
    arena_strv_copy(&def->mem, &caps, &from->caps);
    def_add_caps(def, to, &caps);
    if (from->progress_group != NULL)
        def_set_group(def, to, from->progress_group);
    if (from->resources != NULL && to->resources == NULL)
        def_set_resources(def, to, from->resources);
}

/* Of equal ops the last one's words stand; what one needs all need. */
static void merge_meta(struct collector *c, struct llb_meta *to, const struct llb_node *n)
{
    struct map_entry entries[2];
    size_t count = 0;

    to->ignore_cache |= n->ignore_cache;
    if (n->command != NULL)
        entries[count++] =
            (struct map_entry){ (char *)"com.docker.dockerfile.v1.command", (char *)n->command };
    if (n->custom_name != NULL)
        entries[count++] = (struct map_entry){ (char *)"llb.customname", (char *)n->custom_name };
    def_describe(c->def, to, entries, count);
    def_add_caps(c->def, to, caps_of(c, n));
    if (n->progress_group != NULL)
        def_set_group(c->def, to, n->progress_group);
    if (n->resources != NULL && to->resources == NULL)
        def_set_resources(c->def, to, n->resources);
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

static void add_locations(struct collector *c, struct llb_locations *l, const struct node_location *v,
                          size_t count)
{
    struct arena *mem = &c->def->mem;

    for (size_t i = 0; i < count; i++) {
        l->v = arena_grow(mem, l->v, l->len, sizeof(l->v[0]));
        l->v[l->len++] =
            (struct llb_location){ .info = map_index(c, v[i].map),
                                   .ranges =
                                       arena_mem(mem, v[i].ranges, v[i].range_count * sizeof(v[i].ranges[0])),
                                   .range_count = v[i].range_count };
    }
}

/* A node whose inputs are done. Every op has an entry of metadata and one of locations, if an empty one. */
static struct error *collect(struct collector *c, struct llb_node *n)
{
    size_t known = c->def->metadata.len;
    struct llb_meta *meta;
    const char *digest;

    TRY(node_marshal(&c->m, n));
    n->visited = c->m.generation;
    digest = arena_str(&c->def->mem, n->digest.s);
    meta = def_meta(c->def, digest);
    if (c->def->metadata.len > known) {
        const void *bytes = n->kind == NODE_DEF ? n->def.op->bytes : c->m.bytes.data;
        size_t len = n->kind == NODE_DEF ? n->def.op->len : c->m.bytes.len;

        c->bytes += len;
        if (c->bytes > LIMIT_LLB_BYTES)
            return err_new(ERR_INVALID, "definition exceeds maximum allowed size of %zu bytes",
                           LIMIT_LLB_BYTES);
        def_add_op(c->def, bytes, len, &n->digest);
    }
    if (n->kind != NODE_DEF)
        merge_meta(c, meta, n);
    else if (n->def.meta != NULL)
        merge_imported(c->def, meta, n->def.meta);
    add_locations(c, def_locations(c->def, digest), n->locations, n->location_count);
    return NULL;
}

/* A node whose dependencies are walked, those from `next` on. */
struct frame {
    struct llb_node *node;
    size_t first, next, end; /* in the collector's list */
};

static struct frame enter(struct collector *c, struct llb_node *n)
{
    size_t first = c->dependencies.len;

    node_dependencies(n, &c->dependencies);
    return (struct frame){ n, first, first, c->dependencies.len };
}

static struct error *walk(struct collector *c, struct llb_node *root)
{
    size_t depth = 1, cap = 64;
    CLEANUP(freep) struct frame *stack = xreallocarray(NULL, cap, sizeof(*stack));

    stack[0] = enter(c, root);
    while (depth > 0) {
        struct frame *f = &stack[depth - 1];

        if (f->next < f->end) {
            struct llb_output *o = output_resolve(c->m.builder, c->dependencies.v[f->next++]);

            if (o == NULL || o->node->visited == c->m.generation)
                continue;
            if (depth == cap) {
                cap *= 2;
                stack = xreallocarray(stack, cap, sizeof(*stack));
            }
            stack[depth++] = enter(c, o->node);
            continue;
        }
        if (f->node->visited != c->m.generation)
            TRY(collect(c, f->node));
        c->dependencies.len = f->first;
        depth--;
    }
    return NULL;
}

static void add_terminal(struct collector *c, const struct digest *digest, int64_t index)
{
    CLEANUP(buf_deinit) struct buf op = { 0 };
    struct strv caps = { 0 };
    struct digest own;
    bool ignore = false, description = false, export_cache = false;
    struct arena *mem = &c->def->mem;

    encode_input(&op, digest, index);
    own = digest_of(op.data, op.len);
    def_add_op(c->def, op.data, op.len, &own);
    for (size_t i = 0; i < c->def->metadata.len; i++) {
        const struct llb_meta *other = c->def->metadata.entries[i].value;

        ignore |= other->ignore_cache;
        description |= other->description.len > 0;
        export_cache |= other->has_export_cache;
    }
    arena_strv_add(mem, &caps, "constraints");
    if (description)
        arena_strv_add(mem, &caps, "meta.description");
    if (export_cache)
        arena_strv_add(mem, &caps, "meta.exportcache");
    if (ignore)
        arena_strv_add(mem, &caps, "meta.ignorecache");
    arena_strv_add(mem, &caps, "platform");
    def_add_caps(c->def, def_meta(c->def, arena_str(mem, own.s)), &caps);
}

static void add_infos(struct collector *c)
{
    struct llb_source *source = c->def->source;
    struct arena *mem = &c->def->mem;

    source->infos = arena_alloc(mem, c->maps.len * sizeof(source->infos[0]));
    source->info_count = c->maps.len;
    for (size_t i = 0; i < c->maps.len; i++) {
        const struct llb_source_map *map = c->maps.v[i];
        const struct llb_source_info *imported = import_source_info(c->m.builder, map);
        struct llb_source_info *info = &source->infos[i];

        info->filename = arena_str(mem, map->filename);
        info->language = arena_str(mem, map->language);
        info->data = arena_mem(mem, map->data, map->data_len);
        info->data_len = map->data_len;
        if (imported != NULL && imported->definition != NULL) {
            info->definition = arena_mem(mem, imported->definition, imported->definition_len);
            info->definition_len = imported->definition_len;
        } else if (map->definition != NULL) {
            CLEANUP(buf_deinit) struct buf encoded = { 0 };

            llb_def_encode(map->definition, &encoded);
            info->definition_len = encoded.len;
            info->definition = arena_mem(mem, encoded.data, encoded.len);
        }
    }
}

struct error *llb_marshal(struct llb_builder *b, struct llb_state s, const struct platform *platform,
                          struct llb_def **ret)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = def_new();
    struct collector c = { .def = def };
    struct llb_output *o = output_resolve(b, s.out);
    struct error *e;

    if (o == NULL) {
        *ret = TAKE(def);
        return NULL;
    }
    def_new_source(def);
    c.m.builder = b;
    c.m.generation = ++b->generation;
    c.m.platform = platform != NULL ? platform : platform_host();
    c.m.hasher = hasher_new();
    random_id(c.m.unique_id, sizeof(c.m.unique_id) - 1);
    e = walk(&c, o->node);
    if (e == NULL) {
        add_terminal(&c, &o->node->digest, output_index(o));
        add_infos(&c);
    }
    marshal_deinit(&c.m);
    ptrv_deinit(&c.maps);
    ptrv_deinit(&c.dependencies);
    TRY(e);
    *ret = TAKE(def);
    return NULL;
}
