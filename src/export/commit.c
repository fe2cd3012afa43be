/* SPDX-License-Identifier: Apache-2.0 */
/* commit.c - a build's result as manifest or index in the store */
#include "export/commit.h"

#include "base/bytes.h"
#include "export/attestation.h"
#include "export/cache.h"
#include "oci/gojson.h"
#include "task/task.h"

void committed_image_deinit(struct committed_image *i)
{
    descriptor_deinit(&i->target);
    free(i->blobs);
    free(i->layers);
    *i = (struct committed_image){ 0 };
}

void commit_add_blob(struct committed_image *i, const struct digest *d)
{
    for (size_t k = 0; k < i->blob_count; k++) {
        if (digest_eq(&i->blobs[k], d))
            return;
    }
    i->blobs = xreallocarray(i->blobs, i->blob_count + 1, sizeof(*i->blobs));
    i->blobs[i->blob_count++] = *d;
}

static const char *foreign_type(const struct exporter *e, const char *type)
{
    bool gzip = compression_of_media_type(type) == COMPRESSION_GZIP;

    if (compression_of_media_type(type) == COMPRESSION_ZSTD)
        return type; /* docker has none */
    return !e->oci_types ? (gzip ? MT_DOCKER_LAYER_FOREIGN_GZIP : MT_DOCKER_LAYER_FOREIGN)
                         : (gzip ? MT_OCI_LAYER_FOREIGN_GZIP : MT_OCI_LAYER_FOREIGN);
}

/* docker media types where oci-mediatypes=false. */
static const char *layer_type(const struct exporter *e, const char *oci)
{
    if (media_type_is_foreign_layer(oci))
        return foreign_type(e, oci);
    if (e->oci_types)
        return oci;
    return streq(oci, MT_OCI_LAYER)        ? MT_DOCKER_LAYER
           : streq(oci, MT_OCI_LAYER_GZIP) ? MT_DOCKER_LAYER_GZIP
           : streq(oci, MT_OCI_LAYER_ZSTD) ? MT_DOCKER_LAYER_ZSTD
                                           : oci;
}

/* ---- manifests
 * ---------------------------------------------------------------------------------------------------------------------
 */

/* The annotations of one place for one platform: those for all, then those for it. NULL when there are none.
 */
static json_t *annotations(const struct exporter *e, enum annotation_place place, const char *platform)
{
    const struct map *m = &e->annotations[place];
    struct map found = { 0 };
    json_t *j = NULL;

    strmap_init(&found);
    for (int own = 0; own < 2; own++) {
        for (size_t i = 0; i < m->len; i++) {
            const char *key = strchr(m->entries[i].key, '\n');
            bool all = key == m->entries[i].key;
            bool mine = platform != NULL &&
                        strncmp(m->entries[i].key, platform, (size_t)(key - m->entries[i].key)) == 0 &&
                        platform[key - m->entries[i].key] == '\0';
            if (own ? (mine && !all) : all)
                strmap_set(&found, key + 1, m->entries[i].value);
        }
    }
    if (found.len > 0)
        j = strmap_to_json(&found);
    map_deinit(&found);
    return j;
}

static json_t *layer_json(const struct exporter *e, const struct layer_list *l, size_t i,
                          const int64_t *epoch_s)
{
    const struct descriptor *d = &l->blobs[i];
    json_t *j = json_pack("{s:s, s:s, s:I}", "mediaType", layer_type(e, d->media_type), "digest", d->digest.s,
                          "size", (json_int_t)d->size);

    if (media_type_is_foreign_layer(d->media_type) && d->urls.len > 0)
        json_object_set_new(j, "urls", strv_to_json(&d->urls));
    if (epoch_s != NULL && i >= l->kept && e->oci_types)
        json_object_set_new(
            j, "annotations",
            json_pack("{s:o}", "buildkit/rewritten-timestamp", json_sprintf("%lld", (long long)*epoch_s)));
    return j;
}

static json_t *manifest_json(const struct exporter *e, const struct digest *config, size_t config_len,
                             const struct layer_list *l, const int64_t *epoch_s, const char *platform)
{
    json_t *layers = l->count > 0 ? json_array() : json_null(),
           *notes = annotations(e, ANNOTATE_MANIFEST, platform), *j;

    for (size_t i = 0; i < l->count; i++)
        json_array_append_new(layers, layer_json(e, l, i, epoch_s));
    j = json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:o}", "schemaVersion", 2, "mediaType",
                  e->oci_types ? MT_OCI_MANIFEST : MT_DOCKER_MANIFEST, "config", "mediaType",
                  e->oci_types ? MT_OCI_CONFIG : MT_DOCKER_CONFIG, "digest", config->s, "size",
                  (json_int_t)config_len, "layers", layers);
    if (notes != NULL)
        json_object_set_new(j, "annotations", notes);
    return j;
}

struct error *commit_put_document(struct commit *c, json_t *j, const char *row, struct digest *ret,
                                  int64_t *ret_size)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(freep) char *id = NULL;

    go_json(&text, j, "  ", false);
    json_decref(j);
    TRY(blob_put(c->context->store, c->lease, text.data, text.len, ret));
    id = xasprintf("%s %s", row, ret->s);
    reporter_status(c->reporter, id, "", 0, 0, true);
    *ret_size = (int64_t)text.len;
    return NULL;
}

static const struct frontend_metadata *base_config(const struct commit *c, const struct export_ref *ref)
{
    CLEANUP(freep) char *key = ref->key == NULL ? NULL : xasprintf("containerimage.base.config/%s", ref->key);
    const struct frontend_metadata *m = key == NULL ? NULL : frontend_result_metadata(c->source->result, key);

    return m != NULL ? m : frontend_result_metadata(c->source->result, "containerimage.base.config");
}

static struct error *inline_cache(struct commit *c, const struct export_ref *ref, const struct layer_list *l,
                                  struct buf *out)
{
    static const char row[] = "preparing layers for inline cache";

    if (ref->inline_cache == NULL)
        return NULL;
    reporter_status(c->reporter, row, "", 0, 0, false);
    struct error *e = cache_inline(ref->inline_cache, l->diff_ids, l->count, out);

    reporter_status(c->reporter, row, "", 0, 0, true);
    return e;
}

/* The exporter's attribute stands before what the frontend says. */
static struct export_ref with_own_config(const struct commit *c, const struct export_ref *ref)
{
    CLEANUP(freep) char *key = xasprintf("containerimage.config/%s", ref->id == NULL ? "" : ref->id);
    const char *own = strmap_get(&c->exporter->attrs, key);
    struct export_ref r = *ref;

    if (own == NULL)
        own = strmap_get(&c->exporter->attrs, "containerimage.config");
    if (own != NULL) {
        r.config = own;
        r.config_len = strlen(own);
    }
    return r;
}

static struct error *put_config(struct commit *c, const struct export_ref *ref, const struct layer_list *l,
                                const int64_t *epoch_s, struct digest *ret, size_t *ret_len)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(buf_deinit) struct buf cache = { 0 };
    CLEANUP(freep) char *id = NULL;

    TRY(inline_cache(c, ref, l, &cache));
    const struct export_ref as = with_own_config(c, ref);

    TRY(image_config_finish(epoch_s, &as, base_config(c, ref), l->diff_ids, l->count, &cache, &text));
    TRY(blob_put(c->context->store, c->lease, text.data, text.len, ret));
    id = xasprintf("exporting config %s", ret->s);
    reporter_status(c->reporter, id, "", 0, 0, true);
    *ret_len = text.len;
    return NULL;
}

static void note_layers(struct commit *c, struct snapshot *s, const struct layer_list *l)
{
    for (size_t i = 0; i < l->count; i++) {
        commit_add_blob(c->image, &l->blobs[i].digest);
        lease_add_blob(c->lease, &l->blobs[i].digest);
        lease_add_layer(c->lease, snapshot_layer_id(s, i));
    }
    free(c->image->layers);
    c->image->layers = xcalloc(l->count + 1, sizeof(*c->image->layers));
    for (size_t i = 0; i < l->count; i++)
        c->image->layers[i] = l->blobs[i].digest;
    c->image->layer_count = l->count;
}

static struct error *base_diff_ids(const struct commit *c, const struct export_ref *ref,
                                   struct image_config *ret)
{
    const struct frontend_metadata *base = base_config(c, ref);

    return base == NULL ? NULL : image_config_parse(base->value, base->len, ret);
}

/* rewrite-timestamp: file times of what this build made end at the epoch. */
static struct error *rewrite_times(struct commit *c, const struct export_ref *ref, const int64_t *epoch_s,
                                   size_t *ret_kept, struct snapshot **ret)
{
    struct image_config base = { 0 };
    CLEANUP(freep) char *row = NULL;
    char when[40];

    if (epoch_s == NULL || ref->snapshot == NULL || snapshot_layer_count(ref->snapshot) == 0 ||
        !exporter_flag(c->exporter, "rewrite-timestamp", false)) {
        *ret = ref->snapshot != NULL ? snapshot_ref(ref->snapshot) : NULL;
        *ret_kept = SIZE_MAX;
        return NULL;
    }
    format_rfc3339(when, *epoch_s * NS_PER_SEC);
    row = xasprintf("rewriting layers with source-date-epoch %lld (%.10s %.8s +0000 UTC)",
                    (long long)*epoch_s, when, when + 11);
    reporter_status(c->reporter, row, "", 0, 0, false);
    struct error *e = base_diff_ids(c, ref, &base);

    if (e == NULL)
        e = layers_clamp(ref->snapshot, c->context->store, c->lease, *epoch_s, base.diff_ids,
                         base.diff_id_count, ret_kept, ret);
    image_config_deinit(&base);
    reporter_status(c->reporter, row, "", 0, 0, true);
    return e;
}

/* Of an index (`ret_about` given) the platform's own annotations count, and what is attested goes beside. */
static struct error *put_manifest(struct commit *c, struct export_ref *ref, struct descriptor *ret,
                                  struct descriptor *ret_about, bool *ret_attested)
{
    CLEANUP(snapshot_unrefp) struct snapshot *snapshot = NULL;
    CLEANUP(layer_list_deinit) struct layer_list layers = { 0 };
    bool has_epoch;
    int64_t epoch_s;
    size_t kept;
    CLEANUP(freep)
    char *platform =
        ret_about != NULL && platform_is_set(&ref->platform) ? platform_format(&ref->platform) : NULL;
    struct digest config, manifest;
    size_t config_len;
    json_t *notes;

    TRY(export_epoch(c->exporter, c->source, ref, &has_epoch, &epoch_s));
    const int64_t *epoch = has_epoch ? &epoch_s : NULL;

    TRY(rewrite_times(c, ref, epoch, &kept, &snapshot));
    TRY(layers_collect(snapshot, c->context->store, c->lease, &c->exporter->format, &layers));
    layers.kept = MIN(kept, layers.count);
    note_layers(c, snapshot, &layers);
    TRY(put_config(c, ref, &layers, epoch, &config, &config_len));
    commit_add_blob(c->image, &config);
    c->image->config = c->image->image_config = config;
    int64_t size;
    TRY(commit_put_document(c, manifest_json(c->exporter, &config, config_len, &layers, epoch, platform),
                            "exporting manifest", &manifest, &size));
    commit_add_blob(c->image, &manifest);
    descriptor_init(ret, c->exporter->oci_types ? MT_OCI_MANIFEST : MT_DOCKER_MANIFEST, &manifest, size);
    notes = annotations(c->exporter, ANNOTATE_MANIFEST_DESCRIPTOR, platform);
    const char *key;
    json_t *v;
    json_object_foreach(notes, key, v) descriptor_annotate(ret, key, json_string_value(v));
    json_decref(notes);
    if (platform_is_set(&ref->platform))
        platform_copy(&ret->platform, &ref->platform);
    if (ret_about == NULL)
        return NULL;
    return commit_attestations(c, ref, ret, snapshot, &layers, ret_about, ret_attested);
}

static struct error *put_index(struct commit *c, const struct descriptor *manifests, size_t count)
{
    json_t *list = json_array(), *notes = annotations(c->exporter, ANNOTATE_INDEX, NULL), *j;
    const char *type = c->exporter->oci_types ? MT_OCI_INDEX : MT_DOCKER_LIST, *key;
    struct digest d;
    int64_t size;

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, descriptor_to_json(&manifests[i]));
    j = json_pack("{s:i, s:s, s:o}", "schemaVersion", 2, "mediaType", type, "manifests", list);
    if (notes != NULL)
        json_object_set_new(j, "annotations", notes);
    TRY(commit_put_document(c, j, "exporting manifest list", &d, &size));
    commit_add_blob(c->image, &d);
    descriptor_init(&c->image->target, type, &d, size);
    json_t *own = annotations(c->exporter, ANNOTATE_INDEX_DESCRIPTOR, NULL), *v;
    json_object_foreach(own, key, v) descriptor_annotate(&c->image->target, key, json_string_value(v));
    json_decref(own);
    c->image->config.s[0] = '\0';
    return NULL;
}

/* ---- the whole
 * ----------------------------------------------------------------------------------------------------------------------
 */

static struct error *check_source(const struct export_source *src)
{
    if (src->multi && src->ref_count > 0 && frontend_result_metadata(src->result, "refs.platforms") == NULL)
        return err_new(ERR_INVALID, "unable to export multiple refs, missing platforms mapping");
    return NULL;
}

static bool has_index_annotations(const struct exporter *e)
{
    return e->annotations[ANNOTATE_INDEX].len + e->annotations[ANNOTATE_INDEX_DESCRIPTOR].len > 0;
}

/* The images, then what is attested of them. */
static struct error *commit_many(struct commit *c)
{
    size_t n = c->source->ref_count, attested = 0;
    CLEANUP(freep) struct descriptor *list = xcalloc(2 * n + 1, sizeof(*list));
    struct error *e = NULL;

    for (size_t i = 0; e == NULL && i < n; i++) {
        bool made = false;

        e = put_manifest(c, &c->source->refs[i], &list[i], &list[n + attested], &made);
        attested += made ? 1 : 0;
    }
    if (e == NULL)
        e = put_index(c, list, n + attested);
    for (size_t i = 0; i < 2 * n; i++)
        descriptor_deinit(&list[i]);
    return e;
}

static struct error *commit_source(struct commit *c)
{
    bool index = c->source->multi || attestations_any(c->source, NULL, c->exporter->inline_attestations);

    TRY(check_source(c->source));
    if (!c->exporter->oci_types && (has_index_annotations(c->exporter) ||
                                    c->exporter->annotations[ANNOTATE_MANIFEST_DESCRIPTOR].len > 0))
        return err_new(ERR_INVALID, "cannot export annotations with \"oci-mediatypes=false\"");
    if (index && !c->exporter->oci_types && c->source->attestation_count > 0)
        return err_new(ERR_INVALID, "cannot export attestations with \"oci-mediatypes=false\"");
    reporter_status(c->reporter, "exporting layers", "", 0, 0, false);
    if (index)
        return commit_many(c);
    if (has_index_annotations(c->exporter))
        return err_new(ERR_INVALID, "index annotations not supported for single platform export");
    return put_manifest(c, &c->source->refs[0], &c->image->target, NULL, NULL);
}

struct error *image_commit(struct exporter *e, const struct export_context *context,
                           const struct export_source *src, const struct strv *names, struct lease *lease,
                           struct vertex_reporter *r, struct committed_image *ret)
{
    struct commit c = { .exporter = e,
                        .context = context,
                        .source = src,
                        .lease = lease,
                        .reporter = r,
                        .image = ret,
                        .names = names };

    TRY(export_defaults(e, context, src));
    struct error *err = commit_source(&c);

    reporter_status(r, "exporting layers", "", 0, 0, true);
    return err;
}

/* The descriptor that clients get, with the platform of a single manifest. */
void image_response(const struct committed_image *i, int64_t created_ns, struct map *response)
{
    CLEANUP(descriptor_deinit) struct descriptor d = { 0 };
    CLEANUP(buf_deinit) struct buf json = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    json_t *j;

    descriptor_copy(&d, &i->target);
    if (created_ns >= 0 && descriptor_annotation(&d, "org.opencontainers.image.created") == NULL) {
        char now[40];

        format_rfc3339(now, created_ns / NS_PER_SEC * NS_PER_SEC);
        descriptor_annotate(&d, "org.opencontainers.image.created", now);
    }
    if (i->config.s[0] != '\0')
        strmap_set(response, "containerimage.config.digest", i->config.s);
    j = descriptor_to_json(&d);
    go_json(&json, j, NULL, false);
    json_decref(j);
    base64_encode(&text, json.data, json.len);
    strmap_set(response, "containerimage.digest", i->target.digest.s);
    strmap_set(response, "containerimage.descriptor", buf_str(&text));
}
