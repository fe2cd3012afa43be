/* SPDX-License-Identifier: Apache-2.0 */
/* cache_pack.c - a build's records with their layers, as documents for a cache */
#include "export/cache_impl.h"

#include "base/bytes.h"
#include "export/layers.h"
#include "oci/gojson.h"
#include "op/cache_import.h"

/* The layers of one record's result. */
struct record_layers {
    size_t *items; /* of a snapshot: indices into prepare.items */
    struct cache_blob *blobs;
    size_t count;
    bool wanted; /* goes out */
};

struct packing {
    struct cache_parcel *parcel;
    const struct cache_source *source;
    struct record_layers *records; /* by record */
    struct layer_item *items;      /* each layer once */
    size_t item_count;
    struct map known;   /* layer id -> index of its item + 1 */
    struct map in_head; /* layer ids and diff IDs of the results themselves */
    struct map listed;  /* digest -> set: in the parcel's blobs */
};

static void packing_deinit(struct packing *p)
{
    for (size_t i = 0; p->records != NULL && i < p->source->steps.config.record_count; i++) {
        free(p->records[i].items);
        free(p->records[i].blobs);
    }
    for (size_t i = 0; i < p->item_count; i++)
        descriptor_deinit(&p->items[i].blob);
    free(p->records);
    free(p->items);
    map_deinit(&p->known);
    map_deinit(&p->in_head);
    map_deinit(&p->listed);
}

void cache_parcel_deinit(struct cache_parcel *p)
{
    for (size_t i = 0; i < p->blob_count; i++)
        descriptor_deinit(&p->blobs[i]);
    free(p->blobs);
    map_deinit(&p->origins);
    cache_config_deinit(&p->config);
    descriptor_deinit(&p->config_blob);
    descriptor_deinit(&p->manifest);
}

static size_t item_of(struct packing *p, struct snapshot *s, size_t index)
{
    const char *id = snapshot_layer(s, index)->id;
    size_t at = (size_t)map_get(&p->known, id);

    if (at != 0)
        return at - 1;
    p->items = xreallocarray(p->items, p->item_count + 1, sizeof(*p->items));
    p->items[p->item_count] = (struct layer_item){ .snapshot = s, .index = index };
    map_set(&p->known, id, (void *)(p->item_count + 1));
    return p->item_count++;
}

/* The layers of a result in another cache, unless one of them is gone: then the record goes out without. */
static struct error *remote_layers(struct packing *p, const struct cache_step_result *r,
                                   struct record_layers *l)
{
    struct map *origins = &p->parcel->origins;
    bool there = true;

    TRY(op_cache_layers(r->remote, r->result, &l->blobs, &l->count));
    for (size_t i = 0; i < l->count; i++) {
        const struct descriptor *d = l->blobs[i].blob;

        if (map_has(origins, d->digest.s))
            continue;
        TRY(op_cache_has(r->remote, d, &there));
        if (!there) {
            l->count = 0;
            return NULL;
        }
        map_set(origins, d->digest.s, r->remote);
    }
    return NULL;
}

static struct error *want_record(struct packing *p, size_t record)
{
    const struct cache_step_result *r = &p->source->steps.results[record];
    struct record_layers *l = &p->records[record];

    if (l->wanted)
        return NULL;
    l->wanted = true;
    if (r->remote != NULL)
        return remote_layers(p, r, l);
    l->count = r->snapshot == NULL ? 0 : snapshot_layer_count(r->snapshot);
    l->items = xcalloc(l->count + 1, sizeof(*l->items));
    for (size_t i = 0; i < l->count; i++)
        l->items[i] = item_of(p, r->snapshot, i);
    return NULL;
}

static struct error *collect(struct packing *p)
{
    return layers_collect_items(p->items, p->item_count, p->parcel->context->store, p->parcel->lease,
                                &p->parcel->exporter->format);
}

static void note_head(struct packing *p, const struct record_layers *l)
{
    for (size_t i = 0; i < l->count; i++) {
        const struct layer_item *item = l->items == NULL ? NULL : &p->items[l->items[i]];

        if (item != NULL)
            map_set(&p->in_head, snapshot_layer(item->snapshot, item->index)->id, (void *)1);
        map_set(&p->in_head, item != NULL ? item->diff_id.s : l->blobs[i].diff_id.s, (void *)1);
    }
}

static struct error *want_heads(struct packing *p)
{
    for (size_t i = 0; i < p->source->head_count; i++)
        if (p->source->heads[i] != SIZE_MAX)
            TRY(want_record(p, p->source->heads[i]));
    TRY(collect(p));
    for (size_t i = 0; i < p->source->head_count; i++)
        if (p->source->heads[i] != SIZE_MAX)
            note_head(p, &p->records[p->source->heads[i]]);
    return NULL;
}

/* Are all its layers in the results themselves?  Then it costs nothing more. */
static struct error *within_heads(const struct packing *p, const struct cache_step_result *r, bool *ret)
{
    CLEANUP(freep) struct cache_blob *blobs = NULL;
    size_t n = r->snapshot == NULL ? 0 : snapshot_layer_count(r->snapshot);

    *ret = true;
    for (size_t i = 0; *ret && i < n; i++) {
        const struct layer_info *info = snapshot_layer(r->snapshot, i);

        *ret = map_has(&p->in_head, info->id) || map_has(&p->in_head, info->diff_id.s);
    }
    if (r->remote != NULL)
        TRY(op_cache_layers(r->remote, r->result, &blobs, &n));
    for (size_t i = 0; *ret && blobs != NULL && i < n; i++)
        *ret = map_has(&p->in_head, blobs[i].diff_id.s);
    return NULL;
}

static struct error *want_others(struct packing *p)
{
    for (size_t i = 0; i < p->source->steps.config.record_count; i++) {
        const struct cache_step_result *r = &p->source->steps.results[i];
        bool wanted = p->parcel->exporter->max;

        if (r->snapshot == NULL && r->remote == NULL)
            continue;
        if (!wanted)
            TRY(within_heads(p, r, &wanted));
        if (wanted)
            TRY(want_record(p, i));
    }
    return collect(p);
}

/* ---- documents
 * ---------------------------------------------------------------------------------------------------------------
 */

void cache_copy_records(const struct cache_config *from, struct cache_config *to)
{
    for (size_t i = 0; i < from->record_count; i++) {
        const struct cache_record *r = &from->records[i];
        struct cache_record *copy = cache_config_add_record(to, &r->digest);

        cache_record_set_inputs(copy, r->input_count);
        for (size_t k = 0; k < r->input_count; k++)
            for (size_t n = 0; n < r->inputs[k].link_count; n++)
                cache_input_add(&copy->inputs[k], r->inputs[k].links[n].record,
                                r->inputs[k].links[n].selector);
    }
}

/* The docker type where those are asked for, the OCI type else. */
static const char *layer_type(const struct cache_exporter *e, const char *type)
{
    enum compression kind = compression_of_media_type(type);

    if (e->oci_types)
        return kind == COMPRESSION_GZIP   ? MT_OCI_LAYER_GZIP
               : kind == COMPRESSION_ZSTD ? MT_OCI_LAYER_ZSTD
                                          : MT_OCI_LAYER;
    return kind == COMPRESSION_GZIP   ? MT_DOCKER_LAYER_GZIP
           : kind == COMPRESSION_ZSTD ? MT_DOCKER_LAYER_ZSTD
                                      : MT_DOCKER_LAYER;
}

static void list_blob(struct packing *p, const struct descriptor *d, const struct digest *diff_id,
                      int64_t created_ns)
{
    struct descriptor *blob;
    char when[40];

    if (map_has(&p->listed, d->digest.s))
        return;
    map_set(&p->listed, d->digest.s, (void *)1);
    p->parcel->blobs = xreallocarray(p->parcel->blobs, p->parcel->blob_count + 1, sizeof(*p->parcel->blobs));
    blob = &p->parcel->blobs[p->parcel->blob_count++];
    descriptor_init(blob, layer_type(p->parcel->exporter, d->media_type), &d->digest, d->size);
    if (created_ns != 0) {
        format_rfc3339(when, created_ns);
        descriptor_annotate(blob, "buildkit/createdat", when);
    }
    descriptor_annotate(blob, "containerd.io/uncompressed", diff_id->s);
}

static void add_result(struct packing *p, size_t record)
{
    const struct record_layers *l = &p->records[record];
    int64_t parent = -1, created_ns = 0;

    for (size_t i = 0; i < l->count; i++) {
        const struct layer_item *item = l->items == NULL ? NULL : &p->items[l->items[i]];
        const struct descriptor *d = item != NULL ? &item->blob : l->blobs[i].blob;

        created_ns =
            item != NULL ? snapshot_layer(item->snapshot, item->index)->created_ns : l->blobs[i].created_ns;
        list_blob(p, d, item != NULL ? &item->diff_id : &l->blobs[i].diff_id, created_ns);
        parent = (int64_t)cache_config_add_layer(&p->parcel->config, &d->digest, parent);
    }
    if (parent >= 0)
        cache_record_add_result(&p->parcel->config.records[record], (size_t)parent, created_ns);
}

static json_t *manifest_json(const struct cache_parcel *p)
{
    json_t *list = json_array(), *config = descriptor_to_json(&p->config_blob);

    for (size_t i = 0; i < p->blob_count; i++)
        json_array_append_new(list, descriptor_to_json(&p->blobs[i]));
    if (p->exporter->image_manifest)
        return json_pack("{s:i, s:s, s:o, s:o}", "schemaVersion", 2, "mediaType", MT_OCI_MANIFEST, "config",
                         config, "layers", list);
    json_array_append_new(list, config);
    return json_pack("{s:i, s:s, s:o}", "schemaVersion", 2, "mediaType",
                     p->exporter->oci_types ? MT_OCI_INDEX : MT_DOCKER_LIST, "manifests", list);
}

static struct error *put_documents(struct cache_parcel *p)
{
    CLEANUP(buf_deinit) struct buf config = { 0 };
    CLEANUP(buf_deinit) struct buf manifest = { 0 };
    struct digest d;
    json_t *j;

    cache_config_write(&p->config, &config);
    TRY(blob_put(p->context->store, p->lease, config.data, config.len, &d));
    descriptor_init(&p->config_blob, MT_CACHE_CONFIG, &d, (int64_t)config.len);
    j = manifest_json(p);
    go_json(&manifest, j, NULL, false);
    const char *type = json_string_value(json_object_get(j, "mediaType"));
    struct error *e = blob_put(p->context->store, p->lease, manifest.data, manifest.len, &d);

    if (e == NULL)
        descriptor_init(&p->manifest, type, &d, (int64_t)manifest.len);
    json_decref(j);
    return e;
}

static struct error *pack(struct packing *p)
{
    size_t n = p->source->steps.config.record_count;

    p->records = xcalloc(n + 1, sizeof(*p->records));
    TRY(want_heads(p));
    TRY(want_others(p));
    cache_copy_records(&p->source->steps.config, &p->parcel->config);
    for (size_t i = 0; i < n; i++)
        if (p->records[i].wanted)
            add_result(p, i);
    return p->parcel->config.layer_count == 0 ? NULL : put_documents(p->parcel);
}

struct error *cache_parcel_pack(struct cache_parcel *p, const struct cache_source *src)
{
    CLEANUP(packing_deinit) struct packing packing = { .parcel = p, .source = src };

    if (p->exporter->image_manifest && !p->exporter->oci_types)
        return err_new(ERR_INVALID, "invalid configuration for remote cache, OCI mediatypes are required for "
                                    "image-manifest cache format");
    return pack(&packing);
}
