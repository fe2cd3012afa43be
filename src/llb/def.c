/* SPDX-License-Identifier: Apache-2.0 */
/* Definitions: from and to pb.Definition. */
#include "llb/llb.h"

#include "base/limits.h"
#include "llb/def.h"
#include "llb/encode.h"

#include <stdatomic.h>

/* ---- metadata
 * ----------------------------------------------------------------------------------------------------------
 */

/* The value of `digest` in a map of them, `size` bytes, made zeroed when there is none. */
static void *entry_of(struct llb_def *def, struct map *m, const char *digest, size_t size)
{
    void **at = map_at(m, digest);

    if (*at == NULL)
        *at = arena_alloc(&def->mem, size);
    return *at;
}

struct llb_meta *def_meta(struct llb_def *def, const char *digest)
{
    return entry_of(def, &def->metadata, digest, sizeof(struct llb_meta));
}

void def_describe(struct llb_def *def, struct llb_meta *meta, const struct map_entry *entries, size_t count)
{
    const struct map old = meta->description;
    struct map_entry *all;
    size_t n = 0, i = 0, k = 0;

    if (count == 0)
        return;
    all = arena_take(&def->mem, (old.len + count) * sizeof(*all), _Alignof(struct map_entry));
    while (i < old.len || k < count) {
        int order = i == old.len ? 1 : k == count ? -1 : strcmp(old.entries[i].key, entries[k].key);

        if (order >= 0) {
            all[n] = (struct map_entry){ entries[k].key, arena_str(&def->mem, entries[k].value) };
            k++;
        } else {
            all[n] = old.entries[i];
        }
        i += order <= 0;
        n++;
    }
    meta->description = (struct map){ .entries = all, .len = n, .cap = n, .borrows_keys = true };
}

void def_add_caps(struct llb_def *def, struct llb_meta *meta, const struct strv *caps)
{
    const struct strv old = meta->caps;
    struct strv all = { 0 };
    size_t i = 0, k = 0;

    if (old.len == 0) {
        meta->caps = *caps;
        return;
    }
    while (i < old.len || k < caps->len) {
        int order = i == old.len ? 1 : k == caps->len ? -1 : strcmp(old.v[i], caps->v[k]);

        arena_strv_add(&def->mem, &all, order <= 0 ? old.v[i] : caps->v[k]);
        i += order <= 0;
        k += order >= 0;
    }
    meta->caps = all;
}

void def_set_group(struct llb_def *def, struct llb_meta *meta, const struct llb_progress_group *group)
{
    struct llb_progress_group *g = ARENA_NEW(&def->mem, struct llb_progress_group);

    g->id = arena_str(&def->mem, group->id);
    g->name = arena_str(&def->mem, group->name);
    g->weak = group->weak;
    meta->progress_group = g;
}

void def_set_resources(struct llb_def *def, struct llb_meta *meta, const struct llb_resources *resources)
{
    struct llb_resources *r = arena_mem(&def->mem, resources, sizeof(*resources));

    r->cpuset_cpus = arena_str(&def->mem, r->cpuset_cpus);
    r->cpuset_mems = arena_str(&def->mem, r->cpuset_mems);
    meta->resources = r;
}

/* Both maps of the wire may say a key twice: the last one counts. */
static void describe_from_pb(struct llb_def *def, struct llb_meta *meta, const Pb__OpMetadata *pb)
{
    CLEANUP(map_deinit) struct map entries = { .borrows_keys = true };

    for (size_t i = 0; i < pb->n_description; i++)
        map_set(&entries, pb->description[i]->key, pb->description[i]->value);
    map_sort(&entries);
    for (size_t i = 0; i < entries.len; i++)
        entries.entries[i].key = arena_str(&def->mem, entries.entries[i].key);
    def_describe(def, meta, entries.entries, entries.len);
}

static void caps_from_pb(struct llb_def *def, struct llb_meta *meta, const Pb__OpMetadata *pb)
{
    CLEANUP(map_deinit) struct map ids = { .borrows_keys = true };
    struct strv caps = { 0 };

    for (size_t i = 0; i < pb->n_caps; i++)
        map_set(&ids, pb->caps[i]->key, pb->caps[i]->value ? pb->caps[i] : NULL);
    map_sort(&ids);
    for (size_t i = 0; i < ids.len; i++) {
        if (ids.entries[i].value != NULL)
            arena_strv_add(&def->mem, &caps, arena_str(&def->mem, ids.entries[i].key));
    }
    def_add_caps(def, meta, &caps);
}

static void meta_from_pb(struct llb_def *def, struct llb_meta *meta, const Pb__OpMetadata *pb)
{
    meta->ignore_cache = pb->ignore_cache;
    describe_from_pb(def, meta, pb);
    caps_from_pb(def, meta, pb);
    if (pb->export_cache != NULL) {
        meta->has_export_cache = true;
        meta->export_cache = pb->export_cache->value;
    }
    if (pb->progress_group != NULL) {
        const Pb__ProgressGroup *g = pb->progress_group;

        def_set_group(def, meta, &(struct llb_progress_group){ g->id, g->name, g->weak });
    }
    if (pb->linux_resources != NULL) {
        const Pb__LinuxResources *r = pb->linux_resources;

        def_set_resources(def, meta,
                          &(struct llb_resources){ .memory = r->memory,
                                                   .memory_swap = r->memory_swap,
                                                   .cpu_shares = r->cpu_shares,
                                                   .cpu_period = r->cpu_period,
                                                   .cpu_quota = r->cpu_quota,
                                                   .cpuset_cpus = r->cpuset_cpus,
                                                   .cpuset_mems = r->cpuset_mems });
    }
}

/* ---- source map
 * -------------------------------------------------------------------------------------------------------- */

struct llb_locations *def_locations(struct llb_def *def, const char *digest)
{
    return entry_of(def, &def->source->locations, digest, sizeof(struct llb_locations));
}

static struct llb_range range_from_pb(const Pb__Range *r)
{
    struct llb_range to = { 0 };

    if (r->start != NULL) {
        to.start_line = r->start->line;
        to.start_char = r->start->character;
    }
    if (r->end != NULL) {
        to.end_line = r->end->line;
        to.end_char = r->end->character;
    }
    return to;
}

static struct error *location_from_pb(struct llb_def *def, const Pb__Location *pb, const char *digest,
                                      struct llb_location *to)
{
    if (pb->source_index < 0 || (size_t)pb->source_index >= def->source->info_count)
        return err_new(ERR_INVALID, "invalid source index %d for vertex %s", pb->source_index, digest);
    to->info = (size_t)pb->source_index;
    to->ranges = arena_alloc(&def->mem, pb->n_ranges * sizeof(to->ranges[0]));
    for (size_t i = 0; i < pb->n_ranges; i++)
        to->ranges[i] = range_from_pb(pb->ranges[i]);
    to->range_count = pb->n_ranges;
    return NULL;
}

static struct error *locations_from_pb(struct llb_def *def, const Pb__LocationsEntry *entry)
{
    struct llb_locations *l;

    if (entry->value == NULL)
        return err_new(ERR_INVALID, "invalid nil source locations for vertex %s", entry->key);
    l = def_locations(def, arena_str(&def->mem, entry->key));
    l->v = arena_alloc(&def->mem, entry->value->n_locations * sizeof(l->v[0]));
    l->len = entry->value->n_locations;
    for (size_t i = 0; i < l->len; i++)
        TRY(location_from_pb(def, entry->value->locations[i], entry->key, &l->v[i]));
    return NULL;
}

static struct error *source_from_pb(struct llb_def *def, const Pb__Source *pb)
{
    struct arena *mem = &def->mem;
    struct llb_source *to = def_new_source(def);

    if (pb->n_infos > LIMIT_LLB_SOURCES)
        return err_new(ERR_INVALID, "definition has %zu source files, at most %d are allowed", pb->n_infos,
                       LIMIT_LLB_SOURCES);
    to->infos = arena_alloc(mem, pb->n_infos * sizeof(to->infos[0]));
    to->info_count = pb->n_infos;
    for (size_t i = 0; i < pb->n_infos; i++) {
        const Pb__SourceInfo *from = pb->infos[i];
        struct llb_source_info *info = &to->infos[i];

        info->filename = arena_str(mem, from->filename);
        info->language = arena_str(mem, from->language);
        info->data = arena_mem(mem, from->data.data, from->data.len);
        info->data_len = from->data.len;
        if (from->definition.len > 0) {
            info->definition = arena_mem(mem, from->definition.data, from->definition.len);
            info->definition_len = from->definition.len;
        }
    }
    for (size_t i = 0; i < pb->n_locations; i++)
        TRY(locations_from_pb(def, pb->locations[i]));
    return NULL;
}

/* ---- definitions
 * ------------------------------------------------------------------------------------------------------- */

struct llb_def *def_new(void)
{
    struct llb_def *def = NEW(struct llb_def);

    def->refs = 1;
    def->metadata.borrows_keys = true; /* they lie in the arena */
    return def;
}

struct llb_source *def_new_source(struct llb_def *def)
{
    def->source = ARENA_NEW(&def->mem, struct llb_source);
    def->source->locations.borrows_keys = true;
    return def->source;
}

void def_add_op(struct llb_def *def, const void *bytes, size_t len, const struct digest *digest)
{
    struct llb_op *op;

    /* Grow by doubling: op_count is a power of two whenever the array is full. */
    if ((def->op_count & (def->op_count - 1)) == 0)
        def->ops = xreallocarray(def->ops, MAX(def->op_count * 2, (size_t)4), sizeof(def->ops[0]));
    op = &def->ops[def->op_count++];
    op->digest = digest != NULL ? *digest : digest_of(bytes, len);
    op->bytes = arena_mem(&def->mem, bytes, len);
    op->len = len;
}

struct error *llb_def_from_pb(const Pb__Definition *pb, struct llb_def **ret)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = def_new();

    if (pb == NULL) {
        *ret = TAKE(def);
        return NULL;
    }
    if (pb->n_def > LIMIT_LLB_OPS)
        return err_new(ERR_INVALID, "definition has %zu ops, at most %d are allowed", pb->n_def,
                       (int)LIMIT_LLB_OPS);
    for (size_t i = 0; i < pb->n_def; i++)
        def_add_op(def, pb->def[i].data, pb->def[i].len, NULL);
    for (size_t i = 0; i < pb->n_metadata; i++) {
        struct llb_meta *meta = def_meta(def, arena_str(&def->mem, pb->metadata[i]->key));

        *meta = (struct llb_meta){ 0 }; /* of entries for one op the last one counts */
        if (pb->metadata[i]->value != NULL)
            meta_from_pb(def, meta, pb->metadata[i]->value);
    }
    if (pb->source != NULL)
        TRY(source_from_pb(def, pb->source));
    *ret = TAKE(def);
    return NULL;
}

struct error *llb_def_decode(const void *data, size_t len, struct llb_def **ret)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Pb__Definition *pb = NULL;

    TRY(pb_unpack(&pb__definition__descriptor, data, len, &arena, &pb));
    return llb_def_from_pb(pb, ret);
}

struct llb_def *llb_def_ref(struct llb_def *def)
{
    __atomic_add_fetch(&def->refs, 1, __ATOMIC_RELAXED);
    return def;
}

void llb_def_unref(struct llb_def *def)
{
    if (def == NULL || __atomic_sub_fetch(&def->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free(def->ops);
    map_deinit(&def->metadata);
    if (def->source != NULL)
        map_deinit(&def->source->locations);
    arena_deinit(&def->mem);
    free(def);
}

void llb_def_unrefp(struct llb_def **def)
{
    llb_def_unref(*def);
    *def = NULL;
}

struct error *llb_def_head(const struct llb_def *def, struct digest *ret, int64_t *ret_index)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    const struct llb_op *last;
    Pb__Op *op = NULL;

    if (llb_def_is_scratch(def))
        return err_new(ERR_INVALID, "invalid empty definition");
    last = &def->ops[def->op_count - 1];
    TRY(err_wrap(pb_unpack(&pb__op__descriptor, last->bytes, last->len, &arena, &op),
                 "failed to parse llb proto op"));
    if (op == NULL || op->n_inputs == 0)
        return err_new(ERR_INVALID, "invalid LLB with no inputs on last vertex");
    if (digest_parse(op->inputs[0]->digest, ret) < 0)
        return err_new(ERR_INVALID, "invalid missing input digest %s", op->inputs[0]->digest);
    *ret_index = op->inputs[0]->index;
    return NULL;
}

const struct llb_meta *llb_def_meta(const struct llb_def *def, const char *digest)
{
    return map_get(&def->metadata, digest);
}

const struct llb_locations *llb_def_locations(const struct llb_def *def, const char *digest)
{
    return def->source != NULL ? map_get(&def->source->locations, digest) : NULL;
}

/* ---- encoding
 * ----------------------------------------------------------------------------------------------------------
 */

static void encode_caps(struct buf *out, const struct strv *caps)
{
    for (size_t i = 0; i < caps->len; i++) {
        size_t entry = pbw_begin(out, 5);

        pbw_str_always(out, 1, caps->v[i]);
        pbw_uint_always(out, 2, 1);
        pbw_end(out, entry);
    }
}

static void encode_resources(struct buf *out, const struct llb_resources *r)
{
    CLEANUP(buf_deinit) struct buf sub = { 0 };

    pbw_int(&sub, 1, r->memory);
    pbw_int(&sub, 2, r->memory_swap);
    pbw_uint(&sub, 3, r->cpu_shares);
    pbw_uint(&sub, 4, r->cpu_period);
    pbw_int(&sub, 5, r->cpu_quota);
    pbw_str(&sub, 6, r->cpuset_cpus);
    pbw_str(&sub, 7, r->cpuset_mems);
    pbw_message(out, 7, &sub);
}

static void encode_meta(struct buf *out, const struct llb_meta *meta)
{
    CLEANUP(buf_deinit) struct buf sub = { 0 };

    pbw_bool(out, 1, meta->ignore_cache);
    pbw_strmap(out, 2, &meta->description);
    if (meta->has_export_cache) {
        pbw_bool(&sub, 1, meta->export_cache);
        pbw_message(out, 4, &sub);
    }
    encode_caps(out, &meta->caps);
    if (meta->progress_group != NULL) {
        pbw_str(&sub, 1, meta->progress_group->id);
        pbw_str(&sub, 2, meta->progress_group->name);
        pbw_bool(&sub, 3, meta->progress_group->weak);
        pbw_message(out, 6, &sub);
    }
    if (meta->resources != NULL)
        encode_resources(out, meta->resources);
}

static void encode_range(struct buf *out, const struct llb_range *r)
{
    size_t range = pbw_begin(out, 2), position = pbw_begin(out, 1);

    pbw_int(out, 1, r->start_line);
    pbw_int(out, 2, r->start_char);
    pbw_end(out, position);
    position = pbw_begin(out, 2);
    pbw_int(out, 1, r->end_line);
    pbw_int(out, 2, r->end_char);
    pbw_end(out, position);
    pbw_end(out, range);
}

static void encode_locations(struct buf *out, const struct llb_locations *l)
{
    for (size_t i = 0; i < l->len; i++) {
        size_t location = pbw_begin(out, 1);

        pbw_int(out, 1, (int64_t)l->v[i].info);
        for (size_t k = 0; k < l->v[i].range_count; k++)
            encode_range(out, &l->v[i].ranges[k]);
        pbw_end(out, location);
    }
}

void source_info_encode(struct buf *out, const struct llb_source_info *info)
{
    pbw_str(out, 1, info->filename);
    pbw_bytes(out, 2, info->data, info->data_len);
    if (info->definition != NULL)
        pbw_bytes_always(out, 3, info->definition, info->definition_len);
    pbw_str(out, 4, info->language);
}

static void encode_meta_value(struct buf *out, const void *value)
{
    encode_meta(out, value);
}

static void encode_locations_value(struct buf *out, const void *value)
{
    encode_locations(out, value);
}

void llb_def_encode(const struct llb_def *def, struct buf *out)
{
    CLEANUP(buf_deinit) struct buf source = { 0 }, info = { 0 };

    if (def == NULL)
        return;
    for (size_t i = 0; i < def->op_count; i++)
        pbw_bytes_always(out, 1, def->ops[i].bytes, def->ops[i].len);
    pbw_map(out, 2, &def->metadata, encode_meta_value);
    if (def->source == NULL)
        return;
    pbw_map(&source, 1, &def->source->locations, encode_locations_value);
    for (size_t i = 0; i < def->source->info_count; i++) {
        source_info_encode(&info, &def->source->infos[i]);
        pbw_message(&source, 2, &info);
    }
    pbw_message(out, 3, &source);
}
