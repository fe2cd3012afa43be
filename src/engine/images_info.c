/* SPDX-License-Identifier: Apache-2.0 */
/* images_info.c - list, inspect, history in the API's shape */
#include "engine/images.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "engine/containers.h"
#include "io/path.h"
#include "oci/gojson.h"
#include "oci/reference.h"

/* ---- one image, looked at whole
 * ------------------------------------------------------------------------------------------------ */

/* A target with its names and its variants; what is not in the store is left out. */
struct image_view {
    struct descriptor target;
    struct strv names;
    char *parent;     /* what a classic build made it from; NULL: nothing known */
    int64_t named_ns; /* newest time a name was put */
    struct image_variant
        variant; /* the one that stands for the image; descriptor.media_type NULL when none is here */
};

static void view_deinit(struct image_view *v)
{
    descriptor_deinit(&v->target);
    strv_deinit(&v->names);
    free(v->parent);
    image_variant_deinit(&v->variant);
}

static int64_t config_time(const json_t *config, const char *key)
{
    const char *text = json_string_value(json_object_get(config, key));
    int64_t ns = 0;

    if (text != NULL && parse_time(text, &ns) < 0)
        ns = 0;
    return ns;
}

static int64_t blob_size(struct engine *e, const struct digest *d, bool stored)
{
    struct blob_info info;
    struct error *err = blob_stat(e->store, d, &info);

    err_free(err);
    if (err != NULL || (stored && info.layer_id[0] != '\0'))
        return 0;
    return info.size;
}

struct sizes {
    int64_t content, unpacked;
};

static struct sizes variant_sizes(struct engine *e, const struct image_variant *v)
{
    struct sizes s = { 0 };
    struct snapshot *snap = NULL;

    s.content = v->descriptor.size + blob_size(e, &v->manifest.config.digest, true);
    for (size_t i = 0; i < v->manifest.layer_count; i++)
        s.content += blob_size(e, &v->manifest.layers[i].digest, true);
    struct error *err = snapshot_by_diff_ids(e->store, v->config.diff_ids, v->config.diff_id_count, &snap);
    for (size_t i = 0; err == NULL && i < snapshot_layer_count(snap); i++)
        s.unpacked += snapshot_layer(snap, i)->size;
    err_free(err);
    snapshot_unref(snap);
    return s;
}

/* What was pushed stands for the digest here. */
static void add_digests(struct engine *e, const struct image_view *v, const struct reference *r,
                        json_t *digests)
{
    CLEANUP(freep) char *repo = reference_familiar_name(r);
    CLEANUP(strv_deinit) struct strv found = { 0 };
    err_free(images_pushed_list(e, r, &v->target.digest, &found)); /* without it the digest here stands */

    if (found.len == 0)
        strv_addf(&found, "%s@%s", repo, v->target.digest.s);
    for (size_t i = 0; i < found.len; i++) {
        bool seen = false;

        for (size_t k = 0; k < json_array_size(digests); k++)
            seen = seen || streq(json_string_value(json_array_get(digests, k)), found.v[i]);
        if (!seen)
            json_array_append_new(digests, json_string(found.v[i]));
    }
}

static void fill_names(struct engine *eng, const struct image_view *v, json_t *tags, json_t *digests)
{
    for (size_t i = 0; i < v->names.len; i++) {
        CLEANUP(reference_deinit) struct reference r = { 0 };
        CLEANUP(freep) char *familiar = NULL;
        struct error *e = images_is_dangling_name(v->names.v[i]) ? NULL : reference_parse(v->names.v[i], &r);
        if (e != NULL || r.domain == NULL) {
            err_free(e);
            continue;
        }
        familiar = reference_familiar(&r);
        if (r.digest == NULL)
            json_array_append_new(tags, json_string(familiar));
        add_digests(eng, v, &r, digests);
    }
}

static json_t *container_config(const struct image_view *v)
{
    return v->variant.config.json == NULL ? NULL : json_object_get(v->variant.config.json, "config");
}

/* ---- manifests=1
 * ------------------------------------------------------------------------------------------------------------------
 */

static json_t *image_data(struct engine *e, const struct image_variant *v, int64_t unpacked)
{
    CLEANUP(strv_deinit) struct strv users = { 0 };
    json_t *list;

    engine_containers_of_image(e, &v->descriptor.digest, &users);
    list = json_array();
    for (size_t i = 0; i < users.len; i++)
        json_array_append_new(list, json_string(users.v[i]));
    return json_pack("{s:o, s:o, s:{s:I}}", "Platform", platform_to_json(&v->config.platform), "Containers",
                     list, "Size", "Unpacked", (json_int_t)unpacked);
}

static json_t *manifest_summary(struct engine *e, const struct descriptor *d)
{
    CLEANUP(image_variant_deinit) struct image_variant v = { 0 };
    bool attestation = descriptor_is_attestation(d);
    const char *subject = strmap_get(&d->annotations, "vnd.docker.reference.digest");
    json_t *j = json_pack("{s:s, s:o}", "ID", d->digest.s, "Descriptor", descriptor_to_json(d));
    struct sizes s = { 0 };
    struct error *err = images_variant(e, d, NULL, &v);

    if (err == NULL)
        s = variant_sizes(e, &v);
    json_object_set_new(j, "Available", json_boolean(err == NULL && v.available));
    json_object_set_new(j, "Size",
                        json_pack("{s:I, s:I}", "Content", (json_int_t)s.content, "Total",
                                  (json_int_t)(s.content + s.unpacked)));
    json_object_set_new(j, "Kind", json_string(attestation ? "attestation" : "image"));
    if (attestation)
        json_object_set_new(j, "AttestationData", json_pack("{s:s}", "For", subject == NULL ? "" : subject));
    else if (err == NULL)
        json_object_set_new(j, "ImageData", image_data(e, &v, s.unpacked));
    else
        json_object_set_new(j, "ImageData",
                            json_pack("{s:o, s:[], s:{s:i}}", "Platform", platform_to_json(&d->platform),
                                      "Containers", "Size", "Unpacked", 0));
    err_free(err);
    return j;
}

static json_t *manifests_json(struct engine *e, const struct image_view *v)
{
    CLEANUP(buf_deinit) struct buf document = { 0 };
    CLEANUP(image_index_deinit) struct image_index index = { 0 };
    json_t *j = json_array();
    bool is_index = false;
    struct error *err = blob_read(e->store, &v->target.digest, LIMIT_MANIFEST, &document);

    if (err == NULL)
        err = image_document_kind(document.data, document.len, v->target.media_type, &is_index);
    if (err == NULL && !is_index) {
        struct descriptor d = { 0 };
        descriptor_copy(&d, &v->target);
        if (!platform_is_set(&d.platform) && v->variant.config.json != NULL)
            platform_copy(&d.platform, &v->variant.config.platform);
        json_array_append_new(j, manifest_summary(e, &d));
        descriptor_deinit(&d);
    } else if (err == NULL) {
        err = image_index_parse(document.data, document.len, v->target.media_type, &index);
        for (size_t i = 0; err == NULL && i < index.manifest_count; i++)
            json_array_append_new(j, manifest_summary(e, &index.manifests[i]));
    }
    err_free(err); /* what cannot be read has no manifests to show */
    return j;
}

/* ---- list
 * --------------------------------------------------------------------------------------------------------------------------
 */

struct view_list {
    struct image_view *v;
    size_t len;
};

static void views_deinit(struct view_list *l)
{
    for (size_t i = 0; i < l->len; i++)
        view_deinit(&l->v[i]);
    free(l->v);
}

static int64_t view_created(const struct image_view *v)
{
    int64_t t = v->variant.config.json == NULL ? 0 : config_time(v->variant.config.json, "created");

    return t != 0 ? t : v->named_ns;
}

static int newest_first(const void *a, const void *b)
{
    int64_t x = view_created(a), y = view_created(b);

    return x < y   ? 1
           : x > y ? -1
                   : strcmp(((const struct image_view *)a)->target.digest.s,
                            ((const struct image_view *)b)->target.digest.s);
}

static struct error *load_views(struct engine *e, struct view_list *ret)
{
    struct image_record *v = NULL;
    struct map by_digest = { 0 };
    size_t n = 0;

    TRY(image_list(e->store, &v, &n));
    ret->v = xcalloc(n + 1, sizeof(*ret->v));
    for (size_t i = 0; i < n; i++) {
        struct image_view *view = map_get(&by_digest, v[i].target.digest.s);
        if (view == NULL) {
            view = &ret->v[ret->len++];
            descriptor_copy(&view->target, &v[i].target);
            map_set(&by_digest, v[i].target.digest.s, view);
            err_free(
                images_variant(e, &view->target, NULL, &view->variant)); /* a broken image is still listed */
        }
        strv_add(&view->names, v[i].name);
        if (view->parent == NULL)
            view->parent = xstrdup(strmap_get(&v[i].labels, IMAGE_LABEL_PARENT));
        view->named_ns = MAX(view->named_ns, v[i].updated_ns);
        image_record_deinit(&v[i]);
    }
    free(v);
    map_deinit(&by_digest);
    if (ret->len > 0)
        qsort(ret->v, ret->len, sizeof(*ret->v), newest_first);
    return NULL;
}

static bool is_dangling(const struct image_view *v)
{
    for (size_t i = 0; i < v->names.len; i++) {
        if (!images_is_dangling_name(v->names.v[i]))
            return false;
    }
    return true;
}

/* Does the image carry the label "k" or "k=v"? */
static bool has_label(const struct image_view *v, const char *want)
{
    const char *eq = strchr(want, '='), *value;
    CLEANUP(freep) char *key = eq == NULL ? xstrdup(want) : xstrndup(want, (size_t)(eq - want));

    value = json_string_value(json_object_get(json_object_get(container_config(v), "Labels"), key));
    return value != NULL && (eq == NULL || streq(value, eq + 1));
}

/* reference=PATTERN: familiar name or name:tag, path.Match. */
static bool matches_reference(const struct image_view *v, const struct strv *patterns)
{
    for (size_t i = 0; i < v->names.len; i++) {
        CLEANUP(reference_deinit) struct reference r = { 0 };
        CLEANUP(freep) char *full = NULL;
        CLEANUP(freep) char *name = NULL;
        struct error *e = images_is_dangling_name(v->names.v[i]) ? NULL : reference_parse(v->names.v[i], &r);
        if (e != NULL || r.domain == NULL) {
            err_free(e);
            continue;
        }
        full = reference_familiar(&r);
        name = reference_familiar_name(&r);
        for (size_t k = 0; k < patterns->len; k++) {
            if (path_match(patterns->v[k], full) == 1 || path_match(patterns->v[k], name) == 1 ||
                streq(patterns->v[k], v->names.v[i]))
                return true;
        }
    }
    return false;
}

static bool truthy(const struct strv *v)
{
    return strv_has(v, "true") || strv_has(v, "1");
}

struct time_bounds {
    int64_t before, since; /* 0: none */
};

static struct error *created_of(struct engine *e, const struct strv *names, int64_t *ret)
{
    CLEANUP(image_match_deinit) struct image_match m = { 0 };
    CLEANUP(image_variant_deinit) struct image_variant v = { 0 };

    if (names == NULL || names->len == 0)
        return NULL;
    TRY(images_find(e, names->v[0], &m));
    TRY(images_variant(e, &m.target, NULL, &v));
    *ret = config_time(v.config.json, "created");
    return NULL;
}

static struct error *bounds_of(struct engine *e, const struct image_filters *f, struct time_bounds *ret)
{
    int64_t ns = 0;

    TRY(created_of(e, f->before, &ret->before));
    TRY(created_of(e, f->since, &ret->since));
    for (size_t i = 0; f->until != NULL && i < f->until->len; i++) {
        if (parse_duration(f->until->v[i], &ns) == 0)
            ns = now_ns() - ns;
        else if (parse_time(f->until->v[i], &ns) < 0)
            return err_new(ERR_INVALID, "invalid filter 'until=%s'", f->until->v[i]);
        ret->before = ret->before == 0 ? ns : MIN(ret->before, ns);
    }
    return NULL;
}

static bool passes(const struct image_view *v, const struct image_filters *f, const struct time_bounds *t)
{
    int64_t created = view_created(v);

    if (f->dangling != NULL && f->dangling->len > 0 && truthy(f->dangling) != is_dangling(v))
        return false;
    if (t->before != 0 && created >= t->before)
        return false;
    if (t->since != 0 && created <= t->since)
        return false;
    for (size_t i = 0; f->label != NULL && i < f->label->len; i++) {
        if (!has_label(v, f->label->v[i]))
            return false;
    }
    for (size_t i = 0; f->label_not != NULL && i < f->label_not->len; i++) {
        if (has_label(v, f->label_not->v[i]))
            return false;
    }
    return f->reference == NULL || f->reference->len == 0 || matches_reference(v, f->reference);
}

static json_t *summary(struct engine *e, const struct image_view *v, bool manifests, int version)
{
    CLEANUP(strv_deinit) struct strv users = { 0 };
    struct sizes s = variant_sizes(e, &v->variant);
    json_t *tags = json_array(), *digests = json_array(),
           *labels = json_object_get(container_config(v), "Labels"), *j;

    fill_names(e, v, tags, digests);
    engine_containers_of_image(e, &v->target.digest, &users);
    j = json_pack("{s:I, s:I, s:s, s:O?, s:s, s:o, s:o, s:I, s:I}", "Containers", (json_int_t)users.len,
                  "Created", (json_int_t)(view_created(v) / NS_PER_SEC), "Id", v->target.digest.s, "Labels",
                  labels, "ParentId", v->parent != NULL ? v->parent : "", "RepoDigests", digests, "RepoTags",
                  tags, "SharedSize", (json_int_t)-1, "Size", (json_int_t)(s.content + s.unpacked));
    if (version < 44)
        json_object_set_new(j, "VirtualSize", json_integer(s.content + s.unpacked));
    if (version >= 48)
        json_object_set_new(j, "Descriptor", descriptor_to_json(&v->target));
    if (manifests && version >= 47)
        json_object_set_new(j, "Manifests", manifests_json(e, v));
    return j;
}

/* Targets that some other image was made from. */
static void parents_of(const struct view_list *l, struct map *ret)
{
    for (size_t i = 0; i < l->len; i++) {
        if (l->v[i].parent != NULL)
            map_set(ret, l->v[i].parent, ret);
    }
}

struct error *images_list(struct engine *e, const struct image_filters *f, const struct image_list_options *o,
                          json_t **ret)
{
    CLEANUP(views_deinit) struct view_list l = { 0 };
    CLEANUP(map_deinit) struct map parents = { 0 };
    struct time_bounds t = { 0 };
    json_t *j;

    TRY(bounds_of(e, f, &t));
    TRY(load_views(e, &l));
    parents_of(&l, &parents);
    j = json_array();
    for (size_t i = 0; i < l.len; i++) {
        bool hidden = !o->all && is_dangling(&l.v[i]) && map_has(&parents, l.v[i].target.digest.s);

        if (hidden || !passes(&l.v[i], f, &t))
            continue;
        json_t *s = summary(e, &l.v[i], o->manifests, o->version);
        if (o->shared_size)
            json_object_set_new(s, "SharedSize", json_integer(0));
        json_array_append_new(j, s);
    }
    *ret = j;
    return NULL;
}

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
    struct sizes s = variant_sizes(e, &v->variant);
    json_t *tags = json_array(), *digests = json_array(), *j = json_object(), *config = container_config(v);
    const char *variant = v->variant.config.platform.variant;

    fill_names(e, v, tags, digests);
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
    CLEANUP(view_deinit) struct image_view v = { 0 };
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
        json_object_set_new(j, "Manifests", manifests_json(e, &v));
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
                     (json_int_t)(config_time(h, "created") / NS_PER_SEC), "CreatedBy",
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
    fill_names(e, &names, tags, digests);
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
