/* SPDX-License-Identifier: Apache-2.0 */
/* cache_import.c - reading the records of a cache: its documents, or what an image carries */
#include "op/cache_import.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "oci/image.h"
#include "op/cache_origin.h"

#define INLINE_KEY "moby.buildkit.cache.v0"
#define CONTENT_INFO "/containerd.services.content.v1.Content/Info"

void cache_list_deinit(struct cache_list *l)
{
    for (size_t i = 0; i < l->len; i++)
        remote_cache_unref(l->v[i]);
    free(l->v);
    *l = (struct cache_list){ 0 };
}

/* ---- reading records
 * ---------------------------------------------------------------------------------------------------------
 */

struct import {
    const struct op_config *ops;
    const struct session_group *sessions;
    struct lease *lease;
    struct vertex_reporter *reporter;
    struct cache_origin *origin; /* pattern for those of the caches */
    struct provider *provider;
    struct cache_list *list;
    size_t documents; /* that were read */
};

/* `o` and `config` are taken. */
static void add_cache(struct import *im, struct cache_origin *o, struct cache_config *config,
                      const struct digest *document)
{
    CLEANUP(freep)
    char *id =
        xasprintf("%s %s %s %s", o->ref == NULL ? "" : o->ref, o->session_id == NULL ? "" : o->session_id,
                  o->store_id == NULL ? "" : o->store_id, document->s);
    struct remote_cache *c = remote_cache_new(id, config, &cache_origin_ops, o);

    o->cache = c;
    im->list->v = xreallocarray(im->list->v, im->list->len + 1, sizeof(struct remote_cache *));
    im->list->v[im->list->len++] = c;
}

static struct error *read_document(struct import *im, const struct descriptor *d, size_t limit,
                                   struct buf *out)
{
    if (d->size > (int64_t)limit)
        return err_new(ERR_INVALID, "blob %s is too large (%lld > %zu)", d->digest.s, (long long)d->size,
                       limit);
    return provider_document(im->provider, d, out);
}

/* The records that lie beside these layers. */
static struct error *import_config(struct import *im, const struct descriptor *config,
                                   const struct descriptor *layers, size_t count)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(cache_origin_freep) struct cache_origin *o = cache_origin_like(im->origin);
    struct cache_config c;

    for (size_t i = 0; i < count; i++)
        if (!streq(layers[i].media_type, MT_CACHE_CONFIG))
            cache_origin_add(o, &layers[i]);
    TRY(read_document(im, config, LIMIT_CACHE_CONFIG, &text));
    TRY(cache_config_parse(text.data, text.len, &c));
    add_cache(im, TAKE(o), &c, &config->digest);
    return NULL;
}

/* ---- records inside of an image
 * -----------------------------------------------------------------------------------------------
 */

/* When each layer was made, and by what, as the image's history tells. */
static void annotate(const struct image_config *config, struct descriptor *layers, size_t count)
{
    const json_t *history = json_object_get(config->json, "history");
    size_t i, at = 0;
    json_t *h;

    json_array_foreach(history, i, h)
    {
        const char *created = json_string_value(json_object_get(h, "created"));
        const char *made_by = json_string_value(json_object_get(h, "created_by"));

        if (json_is_true(json_object_get(h, "empty_layer")))
            continue;
        if (at < count && created != NULL)
            descriptor_annotate(&layers[at], CACHE_CREATED_AT, created);
        if (at < count && made_by != NULL)
            descriptor_annotate(&layers[at], CACHE_DESCRIPTION, made_by);
        at++;
    }
    for (i = 0; i < count; i++)
        descriptor_annotate(&layers[i], CACHE_UNCOMPRESSED, config->diff_ids[i].s);
}

static struct error *inline_records(struct import *im, const struct image_config *config,
                                    struct image_manifest *m)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(cache_origin_freep) struct cache_origin *o = NULL;
    CLEANUP(freep) struct digest *blobs = xcalloc(m->layer_count + 1, sizeof(*blobs));
    const json_t *records = json_object_get(config->json, INLINE_KEY);
    struct cache_config c;

    if (records == NULL || json_is_null(records) || config->diff_id_count != m->layer_count)
        return NULL; /* an image without a cache */
    if (!json_is_string(records) ||
        base64_decode(&text, json_string_value(records), json_string_length(records)) < 0)
        return err_new(ERR_INVALID, "the cache of image %s is not base64", m->config.digest.s);
    if (text.len > LIMIT_CACHE_CONFIG)
        return err_new(ERR_INVALID, "the cache of image %s is too large", m->config.digest.s);
    annotate(config, m->layers, m->layer_count);
    o = cache_origin_like(im->origin);
    for (size_t i = 0; i < m->layer_count; i++) {
        blobs[i] = m->layers[i].digest;
        cache_origin_add(o, &m->layers[i]);
    }
    TRY(cache_config_parse_records(text.data, text.len, blobs, m->layer_count, &c));
    add_cache(im, TAKE(o), &c, &m->config.digest);
    return NULL;
}

static struct error *import_inline(struct import *im, struct image_manifest *m)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct image_config config = { 0 };

    if (m->layer_count == 0 || !media_type_is_config(m->config.media_type))
        return NULL; /* nothing of ours, an attestation perhaps */
    TRY(read_document(im, &m->config, LIMIT_MANIFEST, &text));
    TRY(image_config_parse(text.data, text.len, &config));
    struct error *e = inline_records(im, &config, m);

    image_config_deinit(&config);
    return e;
}

/* ---- documents
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct error *import_document(struct import *im, const struct descriptor *d, int depth);

static struct error *import_manifest(struct import *im, const struct buf *text)
{
    struct image_manifest m = { 0 };

    TRY(image_manifest_parse(text->data, text->len, NULL, &m));
    struct error *e = streq(m.config.media_type, MT_CACHE_CONFIG)
                          ? import_config(im, &m.config, m.layers, m.layer_count)
                          : import_inline(im, &m);

    image_manifest_deinit(&m);
    return e;
}

static struct error *import_index(struct import *im, const struct buf *text, int depth)
{
    struct image_index x = { 0 };
    const struct descriptor *config = NULL;
    struct error *e = NULL;

    TRY(image_index_parse(text->data, text->len, NULL, &x));
    for (size_t i = 0; i < x.manifest_count; i++)
        if (streq(x.manifests[i].media_type, MT_CACHE_CONFIG))
            config = &x.manifests[i];
    if (config != NULL)
        e = import_config(im, config, x.manifests, x.manifest_count);
    for (size_t i = 0; e == NULL && config == NULL && i < x.manifest_count; i++)
        if (media_type_is_manifest(x.manifests[i].media_type) ||
            media_type_is_index(x.manifests[i].media_type))
            e = import_document(im, &x.manifests[i], depth + 1);
    image_index_deinit(&x);
    return e;
}

static struct error *import_document(struct import *im, const struct descriptor *d, int depth)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    bool is_index;

    /* an index may name one document again and again, and that one the next */
    if (depth > LIMIT_INDEX_DEPTH || im->list->len >= LIMIT_CACHE_IMPORTS ||
        im->documents++ >= LIMIT_CACHE_DOCUMENTS)
        return err_new(ERR_INVALID, "the cache has too many indexes or manifests");
    TRY(read_document(im, d, LIMIT_MANIFEST, &text));
    TRY(image_document_kind(text.data, text.len, NULL, &is_index));
    if (depth == 0) {
        CLEANUP(freep)
        char *row = xasprintf("inferred cache manifest type: %s", is_index ? MT_OCI_INDEX : MT_OCI_MANIFEST);

        reporter_status(im->reporter, row, "", 0, 0, true);
    }
    return is_index ? import_index(im, &text, depth) : import_manifest(im, &text);
}

/* ---- the kinds
 * ---------------------------------------------------------------------------------------------------------------
 */

/* The registry is asked; an image that is only here serves as well. */
static struct error *resolve_registry(struct import *im, struct registry_image *r, struct descriptor *ret)
{
    struct error *e = r->registry == NULL
                          ? err_new(ERR_UNAVAILABLE, "no registry can be asked")
                          : registry_resolve(r->registry, &r->ref, r->auth, im->ops->store, im->lease, ret);
    bool found = false;

    if (e == NULL || err_is(e, ERR_CANCELLED))
        return e;
    err_free(local_target(&r->provider, &r->ref, ret, &found));
    if (!found)
        return e;
    err_free(e);
    return NULL;
}

static struct error *configure_registry(struct import *im, const struct map *attrs)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    const char *name = strmap_get(attrs, "ref"), *insecure = strmap_get(attrs, "registry.insecure");

    if (insecure != NULL && parse_bool(insecure, &im->origin->insecure) < 0)
        im->origin->insecure = false;
    if (name == NULL || name[0] == '\0')
        return err_new(ERR_INVALID, "missing ref");
    TRY(reference_parse(name, &ref));
    reference_add_default_tag(&ref);
    im->origin->ref = reference_string(&ref);
    return NULL;
}

static struct error *configure_local(struct import *im, const struct map *attrs, struct digest *ret)
{
    const char *digest = strmap_get(attrs, "digest"), *src = strmap_get(attrs, "src");
    struct session *s;

    if (digest == NULL || digest[0] == '\0')
        return err_new(ERR_INVALID, "local cache importer requires explicit digest");
    if (src == NULL || src[0] == '\0')
        return err_new(ERR_INVALID, "local cache importer requires src");
    if (digest_parse(digest, ret) < 0)
        return err_new(ERR_INVALID, "invalid digest %s", digest);
    if (im->sessions->ids.len == 0)
        return err_new(ERR_INVALID, "local cache exporter/importer requires session");
    TRY(session_group_get(im->sessions, CONTENT_INFO, &s));
    im->origin->session_id = xstrdup(session_id(s));
    im->origin->store_id = xasprintf("local:%s", src);
    session_unref(s);
    return NULL;
}

static struct error *import_registry(struct import *im, struct cache_access *a)
{
    struct descriptor target = { 0 };

    TRY(err_wrap(resolve_registry(im, &a->image, &target), "failed to configure registry cache importer"));
    struct error *e = import_document(im, &target, 0);

    descriptor_deinit(&target);
    return e;
}

static struct error *import_local(struct import *im, struct cache_access *a, const struct digest *digest)
{
    struct descriptor target = { 0 };
    int64_t size;

    TRY(err_wrap(session_content_info(a->layout.session, a->layout.store_id, digest->s, &size),
                 "failed to configure local cache importer"));
    descriptor_init(&target, MT_OCI_INDEX, digest, size);
    struct error *e = import_document(im, &target, 0);

    descriptor_deinit(&target);
    return e;
}

struct error *op_cache_import(const struct op_config *c, const char *type, const struct map *attrs,
                              const struct session_group *sessions, struct lease *lease,
                              struct vertex_reporter *reporter, struct cache_list *ret)
{
    CLEANUP(cache_origin_freep) struct cache_origin *origin = NEW(struct cache_origin);
    CLEANUP(cache_access_deinit) struct cache_access a = { 0 };
    bool local = streq(type, "local");
    struct import im = {
        .ops = c, .sessions = sessions, .lease = lease, .reporter = reporter, .origin = origin, .list = ret
    };
    struct digest digest = { "" };

    if (!local && !streq(type, "registry"))
        return err_new(ERR_UNKNOWN, "unknown cache importer: %s", type);
    origin->ops = c;
    TRY(err_wrap(local ? configure_local(&im, attrs, &digest) : configure_registry(&im, attrs),
                 "failed to configure %s cache importer", type));
    TRY(cache_access_init(origin, sessions, lease, &a));
    im.provider = a.provider;
    return local ? import_local(&im, &a, &digest) : import_registry(&im, &a);
}
