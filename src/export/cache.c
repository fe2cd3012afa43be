/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.c - build caches that leave the house
 *
 * prepare: which records get layers, those layers as compressed blobs, the config document and the manifest;
 * then both go where they are wanted.  Layers that are only in another cache are not fetched unless the
 * target lacks them.
 */
#include "export/cache.h"

#include "base/bytes.h"
#include "base/log.h"
#include "export/compress.h"
#include "export/layers.h"
#include "oci/gojson.h"
#include "op/cache_import.h"
#include "registry/push.h"

struct cache_exporter {
    const char *type;
    char *ref, *dest;
    struct layer_format format;
    bool max, ignore_error, insecure, image_manifest, oci_types;
};

/* ---- attributes
 * --------------------------------------------------------------------------------------------------------------
 */

static struct error *flag(const struct map *attrs, const char *key, bool *ret)
{
    const char *v = strmap_get(attrs, key);

    if (v != NULL && parse_bool(v, ret) < 0)
        return err_new(ERR_INVALID, "failed to parse %s: strconv.ParseBool: parsing \"%s\": invalid syntax",
                       key, v);
    return NULL;
}

static struct error *parse_target(const struct map *attrs, struct cache_exporter *e)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    const char *name = strmap_get(attrs, "ref"), *dest = strmap_get(attrs, "dest");

    if (streq(e->type, "local")) {
        if (dest == NULL || dest[0] == '\0')
            return err_new(ERR_INVALID, "local cache exporter requires dest");
        e->dest = xstrdup(dest);
        return NULL;
    }
    if (name == NULL || name[0] == '\0')
        return err_new(ERR_INVALID, "missing ref");
    TRY(reference_parse(name, &ref));
    reference_add_default_tag(&ref);
    e->ref = reference_string(&ref);
    return NULL;
}

static struct error *parse_attrs(const struct map *attrs, struct cache_exporter *e)
{
    const char *mode = strmap_get(attrs, "mode"), *ignore = strmap_get(attrs, "ignore-error");

    e->max = mode != NULL && streq(mode, "max"); /* anything else is min */
    if (ignore != NULL && parse_bool(ignore, &e->ignore_error) < 0)
        e->ignore_error = false;
    e->oci_types = true;
    e->format = (struct layer_format){ .kind = COMPRESSION_GZIP, .level = -1 };
    if (streq(e->type, "inline"))
        return NULL;
    TRY(layer_format_parse(attrs, &e->format));
    TRY(parse_target(attrs, e));
    TRY(flag(attrs, "oci-mediatypes", &e->oci_types));
    e->image_manifest = e->oci_types;
    TRY(flag(attrs, "image-manifest", &e->image_manifest));
    return flag(attrs, "registry.insecure", &e->insecure);
}

struct error *cache_exporter_resolve(const char *type, const struct map *attrs, struct cache_exporter **ret)
{
    static const char *const types[] = { "registry", "local", "inline" };

    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!streq(types[i], type))
            continue;
        struct cache_exporter *e = NEW(struct cache_exporter);

        e->type = types[i];
        struct error *err = parse_attrs(attrs, e);

        if (err != NULL) {
            cache_exporter_free(e);
            return err_wrap(err, "failed to configure %s cache exporter", type);
        }
        *ret = e;
        return NULL;
    }
    return err_new(ERR_UNKNOWN, "unknown cache exporter: \"%s\"", type);
}

void cache_exporter_free(struct cache_exporter *e)
{
    if (e == NULL)
        return;
    free(e->ref);
    free(e->dest);
    free(e);
}

bool cache_exporter_is_inline(const struct cache_exporter *e)
{
    return streq(e->type, "inline");
}

void cache_source_deinit(struct cache_source *s)
{
    cache_steps_deinit(&s->steps);
    free(s->heads);
    *s = (struct cache_source){ 0 };
}

/* ---- layers of records
 * -------------------------------------------------------------------------------------------------------
 */

/* The layers of one record's result. */
struct record_layers {
    size_t *items; /* of a snapshot: indices into prepare.items */
    struct cache_blob *blobs;
    size_t count;
    bool wanted; /* goes out */
};

struct prepare {
    const struct cache_exporter *exporter;
    const struct export_context *context;
    const struct cache_source *source;
    struct lease *lease;
    struct vertex_reporter *reporter;
    struct record_layers *records; /* by record */
    struct layer_item *items;      /* each layer once */
    size_t item_count;
    struct map known;   /* layer id -> index of its item + 1 */
    struct map in_head; /* layer ids and diff IDs of the results themselves */
    struct cache_config config;
    struct descriptor *blobs; /* in the order of the manifest, each once */
    size_t blob_count;
    struct map origins; /* digest -> struct remote_cache: who has it */
    struct map listed;  /* digest -> set: in blobs */
    struct descriptor config_blob, manifest;
};

static void prepare_deinit(struct prepare *p)
{
    for (size_t i = 0; p->records != NULL && i < p->source->steps.config.record_count; i++) {
        free(p->records[i].items);
        free(p->records[i].blobs);
    }
    for (size_t i = 0; i < p->item_count; i++)
        descriptor_deinit(&p->items[i].blob);
    for (size_t i = 0; i < p->blob_count; i++)
        descriptor_deinit(&p->blobs[i]);
    free(p->records);
    free(p->items);
    free(p->blobs);
    map_deinit(&p->known);
    map_deinit(&p->in_head);
    map_deinit(&p->origins);
    map_deinit(&p->listed);
    cache_config_deinit(&p->config);
    descriptor_deinit(&p->config_blob);
    descriptor_deinit(&p->manifest);
}

static size_t item_of(struct prepare *p, struct snapshot *s, size_t index)
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

static struct error *want_record(struct prepare *p, size_t record)
{
    const struct cache_step_result *r = &p->source->steps.results[record];
    struct record_layers *l = &p->records[record];

    if (l->wanted)
        return NULL;
    l->wanted = true;
    if (r->remote != NULL)
        return op_cache_layers(r->remote, r->result, &l->blobs, &l->count);
    l->count = r->snapshot == NULL ? 0 : snapshot_layer_count(r->snapshot);
    l->items = xcalloc(l->count + 1, sizeof(*l->items));
    for (size_t i = 0; i < l->count; i++)
        l->items[i] = item_of(p, r->snapshot, i);
    return NULL;
}

static struct error *collect(struct prepare *p)
{
    return layers_collect_items(p->items, p->item_count, p->context->store, p->lease, &p->exporter->format);
}

static void note_head(struct prepare *p, const struct record_layers *l)
{
    for (size_t i = 0; i < l->count; i++) {
        const struct layer_item *item = l->items == NULL ? NULL : &p->items[l->items[i]];

        if (item != NULL)
            map_set(&p->in_head, snapshot_layer(item->snapshot, item->index)->id, (void *)1);
        map_set(&p->in_head, item != NULL ? item->diff_id.s : l->blobs[i].diff_id.s, (void *)1);
    }
}

static struct error *want_heads(struct prepare *p)
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
static struct error *within_heads(const struct prepare *p, const struct cache_step_result *r, bool *ret)
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

static struct error *want_others(struct prepare *p)
{
    for (size_t i = 0; i < p->source->steps.config.record_count; i++) {
        const struct cache_step_result *r = &p->source->steps.results[i];
        bool wanted = p->exporter->max;

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

static void copy_records(const struct cache_config *from, struct cache_config *to)
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

static void list_blob(struct prepare *p, const struct descriptor *d, const struct digest *diff_id,
                      int64_t created_ns)
{
    struct descriptor *blob;
    char when[40];

    if (map_has(&p->listed, d->digest.s))
        return;
    map_set(&p->listed, d->digest.s, (void *)1);
    p->blobs = xreallocarray(p->blobs, p->blob_count + 1, sizeof(*p->blobs));
    blob = &p->blobs[p->blob_count++];
    descriptor_init(blob, layer_type(p->exporter, d->media_type), &d->digest, d->size);
    if (created_ns != 0) {
        format_rfc3339(when, created_ns);
        descriptor_annotate(blob, "buildkit/createdat", when);
    }
    descriptor_annotate(blob, "containerd.io/uncompressed", diff_id->s);
}

static void add_result(struct prepare *p, size_t record)
{
    const struct cache_step_result *r = &p->source->steps.results[record];
    const struct record_layers *l = &p->records[record];
    int64_t parent = -1, created_ns = 0;

    for (size_t i = 0; i < l->count; i++) {
        const struct layer_item *item = l->items == NULL ? NULL : &p->items[l->items[i]];
        const struct descriptor *d = item != NULL ? &item->blob : l->blobs[i].blob;

        created_ns =
            item != NULL ? snapshot_layer(item->snapshot, item->index)->created_ns : l->blobs[i].created_ns;
        list_blob(p, d, item != NULL ? &item->diff_id : &l->blobs[i].diff_id, created_ns);
        if (r->remote != NULL)
            map_set(&p->origins, d->digest.s, r->remote);
        parent = (int64_t)cache_config_add_layer(&p->config, &d->digest, parent);
    }
    if (parent >= 0)
        cache_record_add_result(&p->config.records[record], (size_t)parent, created_ns);
}

static json_t *manifest_json(const struct prepare *p)
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

static struct error *put_documents(struct prepare *p)
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

static struct error *prepare(struct prepare *p)
{
    size_t n = p->source->steps.config.record_count;

    if (p->exporter->image_manifest && !p->exporter->oci_types)
        return err_new(ERR_INVALID, "invalid configuration for remote cache, OCI mediatypes are required for "
                                    "image-manifest cache format");
    p->records = xcalloc(n + 1, sizeof(*p->records));
    TRY(want_heads(p));
    TRY(want_others(p));
    copy_records(&p->source->steps.config, &p->config);
    for (size_t i = 0; i < n; i++)
        if (p->records[i].wanted)
            add_result(p, i);
    return p->config.layer_count == 0 ? NULL : put_documents(p);
}

/* ---- sending
 * -----------------------------------------------------------------------------------------------------------------
 */

/* A layer that is only in the cache that it was found in. */
static struct error *bring(void *ctx, const struct descriptor *d)
{
    struct prepare *p = ctx;
    const struct remote_cache *from = map_get(&p->origins, d->digest.s);

    return from == NULL ? NULL : op_cache_fetch(from, &p->context->sessions, p->lease, d);
}

static char *manifest_row(const struct prepare *p)
{
    return xasprintf("writing cache %s %s", p->exporter->image_manifest ? "image manifest" : "manifest",
                     p->manifest.digest.s);
}

static void pushed(void *ctx, const struct descriptor *d, const char *action, int64_t current, int64_t total)
{
    struct prepare *p = ctx;
    CLEANUP(freep) char *row = xasprintf("writing layer %s", d->digest.s);
    bool busy = streq(action, "waiting") || streq(action, "pushing");

    reporter_status(p->reporter, row, "", current, total, !busy);
}

static struct error *push(struct prepare *p, struct registry_push *to)
{
    CLEANUP(freep) char *config = xasprintf("writing config %s", p->config_blob.digest.s);
    CLEANUP(freep) char *manifest = manifest_row(p);

    TRY(registry_push_blobs(to));
    reporter_status(p->reporter, config, "", 0, 0, true);
    reporter_status(p->reporter, manifest, "", 0, 0, false);
    struct error *e = registry_push_manifests(to);

    reporter_status(p->reporter, manifest, "", 0, 0, true);
    return e;
}

static struct error *send_to_registry(struct prepare *p)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    struct registry_auth auth = { 0 };
    struct registry_progress progress = { p, pushed };
    struct registry_push_options o = { .ref = &ref,
                                       .auth = &auth,
                                       .insecure = p->exporter->insecure,
                                       .progress = &progress,
                                       .bring = bring,
                                       .ctx = p };
    struct registry_push *to = NULL;

    if (p->context->registry == NULL)
        return err_new(ERR_UNAVAILABLE, "no registry can be asked");
    TRY(reference_parse(p->exporter->ref, &ref));
    session_registry_auth(&p->context->sessions, &auth);
    struct error *e = registry_push_begin(p->context->registry, &o, p->context->store, &p->manifest, &to);

    if (e == NULL)
        e = push(p, to);
    registry_push_end(to);
    return err_wrap(e, "error writing layer blob");
}

static struct error *write_blob(struct prepare *p, struct session *s, const char *store_id,
                                const struct descriptor *d, const char *row)
{
    CLEANUP(stream_closep) struct stream *in = NULL;

    reporter_status(p->reporter, row, "", 0, 0, false);
    struct error *e = bring(p, d);

    if (e == NULL)
        e = blob_open(p->context->store, &d->digest, &in);
    if (e == NULL)
        e = session_content_write(s, store_id, d->digest.s, d->digest.s, d->size, in);
    reporter_status(p->reporter, row, "", 0, 0, true);
    return e;
}

static struct error *write_all(struct prepare *p, struct session *s, const char *store_id)
{
    CLEANUP(freep) char *config = xasprintf("writing config %s", p->config_blob.digest.s);
    CLEANUP(freep) char *manifest = manifest_row(p);

    for (size_t i = 0; i < p->blob_count; i++) {
        CLEANUP(freep) char *row = xasprintf("writing layer %s", p->blobs[i].digest.s);

        TRY(err_wrap(write_blob(p, s, store_id, &p->blobs[i], row), "error writing layer blob"));
    }
    TRY(err_wrap(write_blob(p, s, store_id, &p->config_blob, config), "error writing config blob"));
    return err_wrap(write_blob(p, s, store_id, &p->manifest, manifest), "error writing manifest blob");
}

static bool printable(const char *s)
{
    for (; *s != '\0'; s++)
        if (*s < 0x20 || *s > 0x7e)
            return false;
    return true;
}

static struct error *send_to_client(struct prepare *p)
{
    CLEANUP(freep) char *store_id = xasprintf("local:%s", p->exporter->dest);
    CLEANUP(session_unrefp) struct session *s = NULL;

    if (!printable(store_id)) /* it travels as metadata of the call */
        return err_new(ERR_INVALID, "header key \"buildkit-attachable-store-id\" contains value with "
                                    "non-printable ASCII characters");
    if (p->context->session_id == NULL || p->context->session_id[0] == '\0')
        return err_new(ERR_INVALID, "local cache exporter/importer requires session");
    TRY(session_get(p->context->sessions.manager, p->context->session_id, &s));
    return write_all(p, s, store_id);
}

static struct error *send_cache(struct prepare *p, struct map *response)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    if (p->config.layer_count == 0) {
        reporter_status(p->reporter, "skipping cache export for empty result", "", 0, 0, true);
        return NULL;
    }
    TRY(p->exporter->ref != NULL ? send_to_registry(p) : send_to_client(p));
    json_t *j = descriptor_to_json(&p->manifest);

    go_json(&text, j, NULL, false);
    json_decref(j);
    strmap_set(response, "cache.manifest", buf_str(&text));
    return NULL;
}

static struct error *export_all(struct prepare *p, struct map *response)
{
    static const char first[] = "preparing build cache for export", second[] = "sending cache export";
    struct error *e;

    reporter_status(p->reporter, first, "", 0, 0, false);
    e = prepare(p);
    reporter_status(p->reporter, first, "", 0, 0, true);
    TRY(e);
    reporter_status(p->reporter, second, "", 0, 0, false);
    e = send_cache(p, response);
    reporter_status(p->reporter, second, "", 0, 0, true);
    return e;
}

struct error *cache_export(const struct cache_exporter *e, const struct export_context *c,
                           const struct cache_source *src, struct map *response)
{
    CLEANUP(prepare_deinit) struct prepare p = { .exporter = e, .context = c, .source = src };
    CLEANUP(freep) char *id = xasprintf("%s-cache-%d", c->build_ref, c->index);
    struct digest d = digest_of(id, strlen(id));
    struct error *err = lease_open(c->store, &p.lease);

    p.reporter =
        reporter_new(c->progress, d.s,
                     e->ref != NULL ? "exporting cache to registry" : "exporting cache to client directory");
    reporter_start(p.reporter);
    if (err == NULL)
        err = export_all(&p, response);
    lease_close(p.lease);
    reporter_complete(p.reporter, err);
    reporter_free(p.reporter);
    if (err == NULL || !e->ignore_error || err_is(err, ERR_CANCELLED))
        return err;
    err_free(err);
    return NULL;
}

/* ---- inside of an image
 * -------------------------------------------------------------------------------------------------------
 */

/* Diff IDs of a record's result; *ret NULL: it has none, or a layer that is not one of `image_layers`. */
static struct error *result_diff_ids(const struct cache_step_result *r, const struct map *image_layers,
                                     struct digest **ret, size_t *ret_count)
{
    CLEANUP(freep) struct cache_blob *blobs = NULL;
    CLEANUP(freep) struct digest *ids = NULL;
    size_t n = r->snapshot == NULL ? 0 : snapshot_layer_count(r->snapshot);
    int64_t size;

    *ret = NULL;
    if (r->remote != NULL)
        TRY(op_cache_layers(r->remote, r->result, &blobs, &n));
    ids = xcalloc(n + 1, sizeof(*ids));
    for (size_t i = 0; i < n; i++) {
        if (blobs != NULL)
            ids[i] = blobs[i].diff_id;
        else if (map_has(image_layers, snapshot_layer(r->snapshot, i)->id))
            TRY(snapshot_layer_diff_id(r->snapshot, i, &ids[i], &size));
        else
            return NULL;
    }
    *ret_count = n;
    *ret = n == 0 ? NULL : TAKE(ids);
    return NULL;
}

/* Where each layer lies in the image; false: not all do. */
static bool place(const struct digest *ids, size_t n, const struct digest *image, size_t count, size_t *ret)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = i < count && digest_eq(&image[i], &ids[i]) ? i : 0;

        while (at < count && !digest_eq(&image[at], &ids[i]))
            at++;
        if (at == count)
            return false;
        ret[i] = at;
    }
    return true;
}

static struct error *place_result(const struct cache_step_result *r, const struct map *image_layers,
                                  const struct digest *image, size_t count, struct cache_record *record,
                                  bool *ret_any)
{
    CLEANUP(freep) struct digest *ids = NULL;
    CLEANUP(freep) size_t *places = NULL;
    bool in_order = true;
    size_t n = 0;

    TRY(result_diff_ids(r, image_layers, &ids, &n));
    if (ids == NULL)
        return NULL;
    places = xcalloc(n + 1, sizeof(*places));
    if (!place(ids, n, image, count, places))
        return NULL;
    for (size_t i = 0; i < n; i++)
        in_order = in_order && places[i] == i;
    if (in_order)
        cache_record_add_result(record, n - 1, 0);
    else
        cache_record_add_list(record, places, n, 0);
    *ret_any = true;
    return NULL;
}

struct error *cache_inline(const struct cache_source *src, const struct digest *diff_ids, size_t count,
                           struct buf *out)
{
    CLEANUP(cache_config_deinit) struct cache_config config = { 0 };
    CLEANUP(map_deinit) struct map image_layers = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    bool any = false;

    for (size_t i = 0; i < src->head_count; i++) {
        struct snapshot *s = src->heads[i] == SIZE_MAX ? NULL : src->steps.results[src->heads[i]].snapshot;

        for (size_t k = 0; s != NULL && k < snapshot_layer_count(s); k++)
            map_set(&image_layers, snapshot_layer(s, k)->id, (void *)1);
    }
    copy_records(&src->steps.config, &config);
    for (size_t i = 0; i < config.record_count; i++)
        TRY(place_result(&src->steps.results[i], &image_layers, diff_ids, count, &config.records[i], &any));
    if (!any)
        return NULL;
    cache_config_write_records(&config, &text);
    base64_encode(out, text.data, text.len);
    return NULL;
}
