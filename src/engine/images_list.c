/* SPDX-License-Identifier: Apache-2.0 */
/* images_list.c - docker images, with its filters, and what all of them take together */
#include "engine/images_view.h"

#include "base/bytes.h"
#include "engine/containers.h"
#include "io/path.h"
#include "oci/reference.h"

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
        image_view_deinit(&l->v[i]);
    free(l->v);
}

static int64_t view_created(const struct image_view *v)
{
    int64_t t = v->variant.config.json == NULL ? 0 : image_config_time(v->variant.config.json, "created");

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

    value = json_string_value(json_object_get(json_object_get(image_view_config(v), "Labels"), key));
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
    *ret = image_config_time(v.config.json, "created");
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
    struct image_sizes s = image_variant_sizes(e, &v->variant);
    json_t *tags = json_array(), *digests = json_array(),
           *labels = json_object_get(image_view_config(v), "Labels"), *j;

    image_view_names(e, v, tags, digests);
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
        json_object_set_new(j, "Manifests", image_view_manifests(e, v));
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

/* ---- shared layers ---- */

static struct snapshot *snapshot_of(struct engine *e, const struct image_view *v)
{
    struct snapshot *s = NULL;
    const struct image_config *c = &v->variant.config;
    struct error *err = snapshot_by_diff_ids(e->store, c->diff_ids, c->diff_id_count, &s);

    err_free(err); /* not unpacked: it takes nothing */
    return err == NULL ? s : NULL;
}

/* A layer may stand in one image more than once. */
static bool is_repeated(const struct snapshot *s, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (streq(snapshot_layer_id(s, i), snapshot_layer_id(s, at)))
            return true;
    return false;
}

/* How many images have each layer; *ret_bytes is what all layers take, each once. */
static void count_layers(struct engine *e, const struct view_list *l, struct map *uses, int64_t *ret_bytes)
{
    *ret_bytes = 0;
    for (size_t i = 0; i < l->len; i++) {
        CLEANUP(snapshot_unrefp) struct snapshot *s = snapshot_of(e, &l->v[i]);

        for (size_t k = 0; s != NULL && k < snapshot_layer_count(s); k++) {
            const struct layer_info *layer = snapshot_layer(s, k);
            uintptr_t before = (uintptr_t)map_get(uses, layer->id);

            if (is_repeated(s, k))
                continue;
            *ret_bytes += before == 0 ? layer->size : 0;
            map_set(uses, layer->id, (void *)(before + 1));
        }
    }
}

static int64_t shared_size(struct engine *e, const struct image_view *v, const struct map *uses)
{
    CLEANUP(snapshot_unrefp) struct snapshot *s = snapshot_of(e, v);
    int64_t bytes = 0;

    for (size_t k = 0; s != NULL && k < snapshot_layer_count(s); k++) {
        const struct layer_info *layer = snapshot_layer(s, k);

        if ((uintptr_t)map_get(uses, layer->id) > 1 && !is_repeated(s, k))
            bytes += layer->size;
    }
    return bytes;
}

struct error *images_disk_size(struct engine *e, int64_t *ret)
{
    CLEANUP(views_deinit) struct view_list l = { 0 };
    CLEANUP(map_deinit) struct map uses = { 0 };

    TRY(load_views(e, &l));
    count_layers(e, &l, &uses, ret);
    for (size_t i = 0; i < l.len; i++)
        *ret += image_variant_sizes(e, &l.v[i].variant).content;
    return NULL;
}

/* ---- the list ---- */

struct error *images_list(struct engine *e, const struct image_filters *f, const struct image_list_options *o,
                          json_t **ret)
{
    CLEANUP(views_deinit) struct view_list l = { 0 };
    CLEANUP(map_deinit) struct map parents = { 0 }, uses = { 0 };
    struct time_bounds t = { 0 };
    int64_t unused;
    json_t *j;

    TRY(bounds_of(e, f, &t));
    TRY(load_views(e, &l));
    parents_of(&l, &parents);
    if (o->shared_size)
        count_layers(e, &l, &uses, &unused);
    j = json_array();
    for (size_t i = 0; i < l.len; i++) {
        bool hidden = !o->all && is_dangling(&l.v[i]) && map_has(&parents, l.v[i].target.digest.s);

        if (hidden || !passes(&l.v[i], f, &t))
            continue;
        json_t *s = summary(e, &l.v[i], o->manifests, o->version);
        if (o->shared_size)
            json_object_set_new(s, "SharedSize", json_integer(shared_size(e, &l.v[i], &uses)));
        json_array_append_new(j, s);
    }
    *ret = j;
    return NULL;
}
