/* SPDX-License-Identifier: Apache-2.0 */
/* images_put.c - a config and layers as an image of the store */
#include "engine/images.h"

#include "export/layers.h"
#include "frontend/dockerfile/image.h"
#include "oci/gojson.h"

static json_t *manifest_json(const struct digest *config, size_t config_len, const struct layer_list *l)
{
    json_t *layers = json_array();

    for (size_t i = 0; i < l->count; i++)
        json_array_append_new(layers,
                              json_pack("{s:s, s:s, s:I}", "mediaType", l->blobs[i].media_type, "digest",
                                        l->blobs[i].digest.s, "size", (json_int_t)l->blobs[i].size));
    return json_pack("{s:s, s:i, s:{s:s, s:s, s:I}, s:o}", "mediaType", MT_OCI_MANIFEST, "schemaVersion", 2,
                     "config", "mediaType", MT_OCI_CONFIG, "digest", config->s, "size",
                     (json_int_t)config_len, "layers", layers);
}

struct error *images_put(struct engine *e, struct lease *lease, struct df_image *i, struct snapshot *s,
                         struct descriptor *ret)
{
    CLEANUP(layer_list_deinit) struct layer_list layers = { 0 };
    CLEANUP(buf_deinit) struct buf config = { 0 }, manifest = { 0 };
    const struct layer_format plain = { .kind = COMPRESSION_NONE, .level = -1, .keep_plain = true };
    struct store *store = e->store;
    struct digest config_digest, manifest_digest;
    json_t *j;

    TRY(layers_collect(s, store, lease, &plain, &layers));
    strv_clear(&i->diff_ids);
    for (size_t k = 0; k < layers.count; k++) {
        strv_add(&i->diff_ids, layers.diff_ids[k].s);
        lease_add_layer(lease, snapshot_layer(s, k)->id);
    }
    i->has_diff_ids = layers.count > 0;
    df_image_encode(i, &config);
    TRY(blob_put(store, lease, config.data, config.len, &config_digest));
    j = manifest_json(&config_digest, config.len, &layers);
    go_json(&manifest, j, "    ", false);
    json_decref(j);
    TRY(blob_put(store, lease, manifest.data, manifest.len, &manifest_digest));
    descriptor_init(ret, MT_OCI_MANIFEST, &manifest_digest, (int64_t)manifest.len);
    return NULL;
}
