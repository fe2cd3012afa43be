/* SPDX-License-Identifier: Apache-2.0 */
/* cache_inline.c - a build's records inside of the image that it makes: of what lies in the image's layers */
#include "export/cache.h"

#include "base/bytes.h"
#include "export/cache_impl.h"
#include "op/cache_import.h"

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
    cache_copy_records(&src->steps.config, &config);
    for (size_t i = 0; i < config.record_count; i++)
        TRY(place_result(&src->steps.results[i], &image_layers, diff_ids, count, &config.records[i], &any));
    if (!any)
        return NULL;
    cache_config_write_records(&config, &text);
    base64_encode(out, text.data, text.len);
    return NULL;
}
