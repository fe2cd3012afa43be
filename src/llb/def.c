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

static void meta_free(void *p)
{
    struct llb_meta *meta = p;

    map_deinit(&meta->description);
    strv_deinit(&meta->caps);
    if (meta->progress_group != NULL) {
        free(meta->progress_group->id);
        free(meta->progress_group->name);
        free(meta->progress_group);
    }
    if (meta->resources != NULL) {
        free(meta->resources->cpuset_cpus);
        free(meta->resources->cpuset_mems);
        free(meta->resources);
    }
    free(meta);
}

struct llb_meta *def_meta_new(struct llb_def *def, const char *digest)
{
    struct llb_meta *meta = NEW(struct llb_meta);

    strmap_init(&meta->description);
    def->metadata.free_value = meta_free;
    map_set(&def->metadata, digest, meta);
    return meta;
}

static void meta_from_pb(struct llb_meta *meta, const Pb__OpMetadata *pb)
{
    meta->ignore_cache = pb->ignore_cache;
    pb_to_strmap(pb->description, pb->n_description, &meta->description);
    for (size_t i = 0; i < pb->n_caps; i++) {
        if (pb->caps[i]->value)
            strv_add(&meta->caps, pb->caps[i]->key);
    }
    if (pb->export_cache != NULL) {
        meta->has_export_cache = true;
        meta->export_cache = pb->export_cache->value;
    }
    if (pb->progress_group != NULL) {
        meta->progress_group = NEW(struct llb_progress_group);
        meta->progress_group->id = xstrdup(pb->progress_group->id);
        meta->progress_group->name = xstrdup(pb->progress_group->name);
        meta->progress_group->weak = pb->progress_group->weak;
    }
    if (pb->linux_resources != NULL) {
        const Pb__LinuxResources *r = pb->linux_resources;
        struct llb_resources *to = meta->resources = NEW(struct llb_resources);

        to->memory = r->memory;
        to->memory_swap = r->memory_swap;
        to->cpu_shares = r->cpu_shares;
        to->cpu_period = r->cpu_period;
        to->cpu_quota = r->cpu_quota;
        to->cpuset_cpus = xstrdup(r->cpuset_cpus);
        to->cpuset_mems = xstrdup(r->cpuset_mems);
    }
}

/* ---- source map
 * -------------------------------------------------------------------------------------------------------- */

static void locations_free(void *p)
{
    struct llb_locations *l = p;

    for (size_t i = 0; i < l->len; i++)
        free(l->v[i].ranges);
    free(l->v);
    free(l);
}

struct llb_locations *source_locations_new(struct llb_source *source, const char *digest)
{
    struct llb_locations *l = NEW(struct llb_locations);

    source->locations.free_value = locations_free;
    map_set(&source->locations, digest, l);
    return l;
}

static void source_free(struct llb_source *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->info_count; i++) {
        free(s->infos[i].filename);
        free(s->infos[i].language);
        free(s->infos[i].data);
        free(s->infos[i].definition);
    }
    free(s->infos);
    map_deinit(&s->locations);
    free(s);
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

static struct error *location_from_pb(const Pb__Location *pb, const char *digest, size_t info_count,
                                      struct llb_location *to)
{
    if (pb->source_index < 0 || (size_t)pb->source_index >= info_count)
        return err_new(ERR_INVALID, "invalid source index %d for vertex %s", pb->source_index, digest);
    to->info = (size_t)pb->source_index;
    to->ranges = xreallocarray(NULL, MAX(pb->n_ranges, (size_t)1), sizeof(to->ranges[0]));
    for (size_t i = 0; i < pb->n_ranges; i++)
        to->ranges[i] = range_from_pb(pb->ranges[i]);
    to->range_count = pb->n_ranges;
    return NULL;
}

static struct error *source_from_pb(const Pb__Source *pb, struct llb_source *to)
{
    to->infos = xcalloc(MAX(pb->n_infos, (size_t)1), sizeof(to->infos[0]));
    to->info_count = pb->n_infos;
    for (size_t i = 0; i < pb->n_infos; i++) {
        const Pb__SourceInfo *from = pb->infos[i];
        struct llb_source_info *info = &to->infos[i];

        info->filename = xstrdup(from->filename);
        info->language = xstrdup(from->language);
        info->data = xmemdup(from->data.data, from->data.len);
        info->data_len = from->data.len;
        if (from->definition.len > 0) {
            info->definition = xmemdup(from->definition.data, from->definition.len);
            info->definition_len = from->definition.len;
        }
    }
    for (size_t i = 0; i < pb->n_locations; i++) {
        const Pb__LocationsEntry *entry = pb->locations[i];
        struct llb_locations *l;

        if (entry->value == NULL)
            return err_new(ERR_INVALID, "invalid nil source locations for vertex %s", entry->key);
        l = source_locations_new(to, entry->key);
        l->v = xcalloc(MAX(entry->value->n_locations, (size_t)1), sizeof(l->v[0]));
        for (size_t k = 0; k < entry->value->n_locations; k++) {
            TRY(location_from_pb(entry->value->locations[k], entry->key, to->info_count, &l->v[k]));
            l->len++;
        }
    }
    return NULL;
}

/* ---- definitions
 * ------------------------------------------------------------------------------------------------------- */

struct llb_def *def_new(void)
{
    struct llb_def *def = NEW(struct llb_def);

    def->refs = 1;
    return def;
}

void def_add_op(struct llb_def *def, const void *bytes, size_t len, const struct digest *digest)
{
    struct llb_op *op;

    /* Grow by doubling: op_count is a power of two whenever the array is full. */
    if ((def->op_count & (def->op_count - 1)) == 0)
        def->ops = xreallocarray(def->ops, MAX(def->op_count * 2, (size_t)4), sizeof(def->ops[0]));
    op = &def->ops[def->op_count++];
    op->digest = digest != NULL ? *digest : digest_of(bytes, len);
    op->bytes = xmemdup(bytes, len);
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
        struct llb_meta *meta = def_meta_new(def, pb->metadata[i]->key);

        if (pb->metadata[i]->value != NULL)
            meta_from_pb(meta, pb->metadata[i]->value);
    }
    if (pb->source != NULL) {
        def->source = NEW(struct llb_source);
        TRY(source_from_pb(pb->source, def->source));
    }
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
    for (size_t i = 0; i < def->op_count; i++)
        free(def->ops[i].bytes);
    free(def->ops);
    map_deinit(&def->metadata);
    source_free(def->source);
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
    CLEANUP(strv_deinit) struct strv sorted = { 0 };
    CLEANUP(buf_deinit) struct buf entry = { 0 };

    strv_copy(&sorted, caps);
    strv_sort(&sorted);
    for (size_t i = 0; i < sorted.len; i++) {
        pbw_str_always(&entry, 1, sorted.v[i]);
        pbw_uint_always(&entry, 2, 1);
        pbw_message(out, 5, &entry);
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
    CLEANUP(buf_deinit) struct buf range = { 0 }, position = { 0 };

    pbw_int(&position, 1, r->start_line);
    pbw_int(&position, 2, r->start_char);
    pbw_message(&range, 1, &position);
    pbw_int(&position, 1, r->end_line);
    pbw_int(&position, 2, r->end_char);
    pbw_message(&range, 2, &position);
    pbw_message(out, 2, &range);
}

static void encode_locations(struct buf *out, const struct llb_locations *l)
{
    CLEANUP(buf_deinit) struct buf location = { 0 };

    for (size_t i = 0; i < l->len; i++) {
        pbw_int(&location, 1, (int64_t)l->v[i].info);
        for (size_t k = 0; k < l->v[i].range_count; k++)
            encode_range(&location, &l->v[i].ranges[k]);
        pbw_message(out, 1, &location);
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

static int compare_entries(const void *a, const void *b)
{
    const struct map_entry *const *x = a, *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

/* map<string, message>: `encode` writes one value. */
static void encode_map(struct buf *out, unsigned field, const struct map *m,
                       void (*encode)(struct buf *, const void *))
{
    CLEANUP(freep)
    const struct map_entry **sorted = xreallocarray(NULL, MAX(m->len, (size_t)1), sizeof(sorted[0]));
    CLEANUP(buf_deinit) struct buf entry = { 0 }, value = { 0 };

    for (size_t i = 0; i < m->len; i++)
        sorted[i] = &m->entries[i];
    qsort(sorted, m->len, sizeof(sorted[0]), compare_entries);
    for (size_t i = 0; i < m->len; i++) {
        pbw_str_always(&entry, 1, sorted[i]->key);
        encode(&value, sorted[i]->value);
        pbw_message(&entry, 2, &value);
        pbw_message(out, field, &entry);
    }
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
    encode_map(out, 2, &def->metadata, encode_meta_value);
    if (def->source == NULL)
        return;
    encode_map(&source, 1, &def->source->locations, encode_locations_value);
    for (size_t i = 0; i < def->source->info_count; i++) {
        source_info_encode(&info, &def->source->infos[i]);
        pbw_message(&source, 2, &info);
    }
    pbw_message(out, 3, &source);
}
