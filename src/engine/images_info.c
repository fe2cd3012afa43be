/* SPDX-License-Identifier: Apache-2.0 */
/* images_info.c - inspect and history in the API's shape */
#include "engine/images_view.h"

#include "base/bytes.h"
#include "oci/gojson.h"

/* ---- inspect
 * -------------------------------------------------------------------------------------------------------------------------
 */

static json_t *copy_or_empty(const json_t *object, const char *key)
{
    json_t *v = json_object_get(object, key);

    return v == NULL ? json_string("") : json_incref(v);
}

static json_t *rootfs_json(const struct image_variant *v)
{
    json_t *layers = json_array();

    for (size_t i = 0; i < v->config.diff_id_count; i++)
        json_array_append_new(layers, json_string(v->config.diff_ids[i].s));
    return json_pack("{s:s, s:o}", "Type", "layers", "Layers", layers);
}

/* What was said of the newest step. */
static json_t *last_comment(const json_t *config)
{
    json_t *rows = json_object_get(config, "history");
    const char *text =
        json_string_value(json_object_get(json_array_get(rows, json_array_size(rows) - 1), "comment"));

    return json_string(text != NULL ? text : "");
}

static json_t *inspect_json(struct engine *e, const struct image_view *v, int version)
{
    const json_t *c = v->variant.config.json;
    struct image_sizes s = image_variant_sizes(e, &v->variant);
    json_t *tags = json_array(), *digests = json_array(), *j = json_object(), *config = image_view_config(v);
    const char *variant = v->variant.config.platform.variant;

    image_view_names(e, v, tags, digests);
    json_object_set_new(j, "Id", json_string(v->target.digest.s));
    json_object_set_new(j, "RepoTags", tags);
    json_object_set_new(j, "RepoDigests", digests);
    if (version < 50)
        json_object_set_new(j, "Parent", json_string(v->parent != NULL ? v->parent : ""));
    json_object_set_new(j, "Comment", last_comment(c));
    json_object_set_new(j, "Created", copy_or_empty(c, "created"));
    if (version < 50)
        json_object_set_new(j, "DockerVersion", json_string(""));
    json_object_set_new(j, "Author", copy_or_empty(c, "author"));
    json_object_set(j, "Config", config == NULL ? json_null() : config);
    json_object_set_new(j, "Architecture", json_string(v->variant.config.platform.architecture));
    if (variant != NULL && variant[0] != '\0')
        json_object_set_new(j, "Variant", json_string(variant));
    json_object_set_new(j, "Os", json_string(v->variant.config.platform.os));
    json_object_set_new(j, "Size", json_integer(s.content + s.unpacked));
    if (version < 44)
        json_object_set_new(j, "VirtualSize", json_integer(s.content + s.unpacked));
    if (version < 52)
        json_object_set_new(j, "GraphDriver", json_pack("{s:n, s:s}", "Data", "Name", "overlayfs"));
    json_object_set_new(j, "RootFS", rootfs_json(&v->variant));
    json_object_set_new(j, "Metadata", json_pack("{s:o}", "LastTagTime", json_null()));
    return j;
}

struct error *images_inspect(struct engine *e, const char *what, const struct platform *platform,
                             bool manifests, int version, json_t **ret)
{
    CLEANUP(image_match_deinit) struct image_match m = { 0 };
    CLEANUP(image_view_deinit) struct image_view v = { 0 };
    struct image_record *records = NULL;
    size_t n = 0;
    json_t *j;

    TRY(images_find(e, what, &m));
    TRY(images_variant(e, &m.target, platform, &v.variant));
    descriptor_copy(&v.target, &m.target);
    strv_copy(&v.names, &m.names);
    TRY(image_list_by_target(e->store, &m.target.digest, &records, &n));
    for (size_t i = 0; i < n; i++) {
        v.named_ns = MAX(v.named_ns, records[i].updated_ns);
        if (v.parent == NULL)
            v.parent = xstrdup(strmap_get(&records[i].labels, IMAGE_LABEL_PARENT));
        image_record_deinit(&records[i]);
    }
    free(records);
    j = inspect_json(e, &v, version);
    if (v.named_ns != 0)
        json_object_set_new(json_object_get(j, "Metadata"), "LastTagTime", go_json_time(v.named_ns));
    if (version >= 48)
        json_object_set_new(j, "Descriptor",
                            platform == NULL ? descriptor_to_json(&v.target)
                                             : descriptor_to_json(&v.variant.descriptor));
    if (manifests && version >= 48)
        json_object_set_new(j, "Manifests", image_view_manifests(e, &v));
    *ret = j;
    return NULL;
}

/* ---- history
 * ----------------------------------------------------------------------------------------------------------------------------
 */

static json_t *text_of(const json_t *h, const char *key)
{
    const char *v = json_string_value(json_object_get(h, key));

    return json_string(v == NULL ? "" : v);
}

static json_t *history_row(const json_t *h, int64_t size)
{
    return json_pack("{s:s, s:I, s:o, s:n, s:I, s:o}", "Id", "<missing>", "Created",
                     (json_int_t)(image_config_time(h, "created") / NS_PER_SEC), "CreatedBy",
                     text_of(h, "created_by"), "Tags", "Size", (json_int_t)size, "Comment",
                     text_of(h, "comment"));
}

struct error *images_history(struct engine *e, const char *what, const struct platform *platform,
                             json_t **ret)
{
    CLEANUP(image_match_deinit) struct image_match m = { 0 };
    CLEANUP(image_variant_deinit) struct image_variant v = { 0 };
    struct image_view names = { 0 };
    struct snapshot *snap = NULL;
    json_t *history, *rows, *tags, *digests, *top;
    size_t layer = 0, i;

    TRY(images_find(e, what, &m));
    TRY(images_variant(e, &m.target, platform, &v));
    err_free(snapshot_by_diff_ids(e->store, v.config.diff_ids, v.config.diff_id_count, &snap));
    rows = json_array();
    history = json_object_get(v.config.json, "history");
    json_t *h;
    json_array_foreach(history, i, h)
    {
        bool empty = json_is_true(json_object_get(h, "empty_layer"));
        int64_t size = 0;
        if (!empty && snap != NULL && layer < snapshot_layer_count(snap))
            size = snapshot_layer(snap, layer)->size;
        if (!empty)
            layer++;
        json_array_insert_new(rows, 0, history_row(h, size)); /* newest first */
    }
    snapshot_unref(snap);
    names.target = m.target;
    names.names = m.names;
    tags = json_array();
    digests = json_array();
    image_view_names(e, &names, tags, digests);
    json_decref(digests);
    top = json_array_get(rows, 0);
    if (top != NULL) {
        json_object_set_new(top, "Id", json_string(m.target.digest.s));
        if (json_array_size(tags) > 0)
            json_object_set(top, "Tags", tags);
    }
    json_decref(tags);
    *ret = rows;
    return NULL;
}
