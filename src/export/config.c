/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.c - the image config as it is stored: what the frontend left open filled in
 *
 * The outcome equals BuildKit's for the same input: members of the document by name, rootfs and history in
 * the order of Go's structs, a history row for every layer, times for every row, `created` from the last row.
 */
#include "oci/gojson.h"
#include "export/internal.h"

#include "base/bytes.h"

#define LAYER_COMMENT "buildkit.exporter.image.v0"
#define NO_DESCRIPTION "created by buildkit"

static json_t *default_config(void)
{
    const struct platform *p = platform_host();
    json_t *j = platform_to_json(p);

    json_object_set_new(j, "config",
                        json_pack("{s:[s], s:s}", "Env",
                                  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                  "WorkingDir", "/"));
    json_object_set_new(j, "rootfs", json_pack("{s:s, s:n}", "type", "layers", "diff_ids"));
    return j;
}

static struct error *parse_config(const struct export_ref *ref, json_t **ret)
{
    json_t *j;

    if (ref->config == NULL || ref->config_len == 0) {
        *ret = default_config();
        return NULL;
    }
    if (ref->config_len == 4 && memcmp(ref->config, "null", 4) == 0)
        return err_new(ERR_INVALID, "invalid null image config for export");
    TRY(json_parse(ref->config, ref->config_len, "invalid image config for export", &j));
    if (!json_is_object(j)) {
        json_decref(j);
        return err_new(ERR_INVALID, "invalid null image config for export");
    }
    *ret = j;
    for (size_t i = 0; i < 2; i++) {
        static const char *const needed[] = { "os", "architecture" };
        const char *v = json_string_value(json_object_get(j, needed[i]));
        if (v == NULL || v[0] == '\0') {
            json_decref(j);
            return err_new(ERR_INVALID, "invalid image config for export: missing %s", needed[i]);
        }
    }
    return NULL;
}

/* ---- history
 * ------------------------------------------------------------------------------------------------------------------------
 */

static bool is_empty_layer(const json_t *h)
{
    return json_is_true(json_object_get(h, "empty_layer"));
}

static json_t *time_string(int64_t ns)
{
    char text[40];

    format_rfc3339(text, ns);
    return json_string(text);
}

static void copy_member(json_t *to, const json_t *from, const char *key)
{
    json_t *v = json_object_get(from, key);

    if (v != NULL && !json_is_null(v) && !(json_is_string(v) && json_string_length(v) == 0))
        json_object_set(to, key, v);
}

/* A row as Go's struct writes it. */
static json_t *go_row(const json_t *h)
{
    static const char *const order[] = { "created", "created_by", "author", "comment" };
    json_t *j = json_object();

    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        copy_member(j, h, order[i]);
    if (is_empty_layer(h))
        json_object_set_new(j, "empty_layer", json_true());
    return j;
}

static size_t count_layers(const json_t *history)
{
    size_t n = 0, i;
    json_t *h;

    json_array_foreach(history, i, h) n += is_empty_layer(h) ? 0 : 1;
    return n;
}

/* More rows than layers: the surplus at the end has none. Fewer: rows are added from what the layers say of
 * themselves. */
static void match_layers(json_t *history, struct snapshot *s, size_t layers)
{
    size_t rows = count_layers(history), seen = 0, i;
    json_t *h;

    if (rows > layers) {
        json_array_foreach(history, i, h)
        {
            if (!is_empty_layer(h) && seen++ >= layers)
                json_object_set_new(h, "empty_layer", json_true());
        }
    }
    for (size_t k = rows; k < layers; k++) {
        const struct layer_info *info = snapshot_layer(s, k);
        const char *text =
            info->description == NULL || info->description[0] == '\0' ? NO_DESCRIPTION : info->description;
        json_array_append_new(history, json_pack("{s:o, s:o, s:s}", "created", time_string(info->created_ns),
                                                 "created_by", go_json_text(text), "comment", LAYER_COMMENT));
    }
}

static bool has_time(const json_t *h)
{
    return json_string_length(json_object_get(h, "created")) > 0;
}

static void fill_times(json_t *history, struct snapshot *s, size_t layers)
{
    json_t *h, *created = NULL;
    bool gap = false;
    size_t layer = 0, i;

    json_array_foreach(history, i, h)
    {
        if (is_empty_layer(h))
            continue;
        if (!has_time(h) && layer < layers)
            json_object_set_new(h, "created", time_string(snapshot_layer(s, layer)->created_ns));
        layer++;
    }
    /* The time of the first new layer stands for rows before it; without one, the last time there is. */
    json_array_foreach(history, i, h)
    {
        if (has_time(h)) {
            created = json_object_get(h, "created");
            if (gap)
                break;
        } else {
            gap = true;
        }
    }
    gap = false;
    json_array_foreach(history, i, h)
    {
        if (has_time(h)) {
            if (gap)
                created = json_object_get(h, "created");
        } else {
            gap = true;
            if (created != NULL)
                json_object_set(h, "created", created);
        }
    }
}

static int64_t time_of(const json_t *v)
{
    const char *text = json_string_value(v);
    int64_t ns = 0;

    return text == NULL || parse_time(text, &ns) < 0 ? 0 : ns;
}

/* Rows that are the base image's own keep their times. */
static void clamp_times(json_t *history, const json_t *base, int64_t epoch_s)
{
    bool diverged = false;
    json_t *h;
    size_t i;

    json_array_foreach(history, i, h)
    {
        if (!diverged && json_equal(h, json_array_get(base, i)))
            continue;
        diverged = true;
        if (!has_time(h) || time_of(json_object_get(h, "created")) > epoch_s * NS_PER_SEC)
            json_object_set_new(h, "created", time_string(epoch_s * NS_PER_SEC));
    }
}

/* ---- the document
 * --------------------------------------------------------------------------------------------------------------------
 */

static void set_created(json_t *j, const json_t *history, const int64_t *epoch_s)
{
    json_t *have = json_object_get(j, "created"), *last = NULL, *h;
    size_t i;

    if (have != NULL) {
        if (epoch_s != NULL && time_of(have) > *epoch_s * NS_PER_SEC)
            json_object_set_new(j, "created", time_string(*epoch_s * NS_PER_SEC));
        return;
    }
    json_array_foreach(history, i, h)
    {
        if (has_time(h))
            last = json_object_get(h, "created");
    }
    if (last == NULL)
        json_object_set_new(j, "created", json_null());
    else
        json_object_set(j, "created", last);
}

static json_t *rootfs(const struct digest *diff_ids, size_t count)
{
    json_t *list = count == 0 ? json_null() : json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(diff_ids[i].s));
    return json_pack("{s:s, s:o}", "type", "layers", "diff_ids", list);
}

struct error *image_config_finish(const int64_t *epoch_s, const struct export_ref *ref,
                                  const struct frontend_metadata *base, const struct digest *diff_ids,
                                  size_t count, const struct buf *inline_cache, struct buf *out)
{
    json_t *j = NULL, *rows, *history, *h, *base_config = NULL;
    size_t i;

    TRY(parse_config(ref, &j));
    history = json_array();
    rows = json_object_get(j, "history");
    json_array_foreach(rows, i, h) json_array_append_new(history, json_deep_copy(h));
    match_layers(history, ref->snapshot, count);
    fill_times(history, ref->snapshot, count);
    if (base != NULL)
        base_config = json_loadb(base->value, base->len, JSON_REJECT_DUPLICATES, NULL);
    if (epoch_s != NULL)
        clamp_times(history, json_object_get(base_config, "history"), *epoch_s);
    json_decref(base_config);
    set_created(j, history, epoch_s);
    json_array_foreach(history, i, h) json_array_set_new(history, i, go_row(h));
    json_object_set_new(j, "rootfs", rootfs(diff_ids, count));
    json_object_set_new(j, "history",
                        json_array_size(history) == 0 ? (json_decref(history), json_null()) : history);
    json_object_del(j, "moby.buildkit.cache.v0"); /* another image's */
    if (inline_cache->len > 0)
        json_object_set_new(j, "moby.buildkit.cache.v0", json_stringn(inline_cache->data, inline_cache->len));
    go_json(out, j, NULL, true);
    json_decref(j);
    return NULL;
}
