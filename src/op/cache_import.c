/* SPDX-License-Identifier: Apache-2.0 */
#include "op/cache_import.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "oci/image.h"
#include "op/image.h"

#define UNCOMPRESSED "containerd.io/uncompressed"
#define CREATED_AT "buildkit/createdat"
#define DESCRIPTION "buildkit/description"
#define INLINE_KEY "moby.buildkit.cache.v0"
#define CONTENT_INFO "/containerd.services.content.v1.Content/Info"

/* Where a cache's blobs are, and what is known of them. */
struct origin {
    const struct op_config *ops;
    char *ref;                        /* of a registry; NULL: */
    bool insecure;                    /* that is trusted without a certificate */
    char *session_id, *store_id;      /* a directory of that session */
    struct map blobs;                 /* digest -> struct descriptor, with annotations */
    const struct remote_cache *cache; /* whose it is */
};

static void free_descriptor(void *arg)
{
    descriptor_deinit(arg);
    free(arg);
}

static void origin_free(void *ctx)
{
    struct origin *o = ctx;

    if (o == NULL)
        return;
    free(o->ref);
    free(o->session_id);
    free(o->store_id);
    map_deinit(&o->blobs);
    free(o);
}

static void origin_freep(struct origin **o)
{
    origin_free(*o);
}

void cache_list_deinit(struct cache_list *l)
{
    for (size_t i = 0; i < l->len; i++)
        remote_cache_unref(l->v[i]);
    free(l->v);
    *l = (struct cache_list){ 0 };
}

/* ---- reaching it
 * -------------------------------------------------------------------------------------------------------------
 */

/* One of both, for one use. */
struct access {
    struct registry_image image;
    struct layout layout;
    struct provider *provider;
};

static void access_deinit(struct access *a)
{
    if (a->provider == &a->image.provider)
        registry_image_deinit(&a->image);
    else if (a->provider != NULL)
        layout_deinit(&a->layout);
}

static struct error *access_init(const struct origin *o, const struct session_group *sessions,
                                 struct lease *lease, struct access *a)
{
    struct image_access who = { .sessions = sessions, .insecure = o->insecure };

    if (o->ref == NULL) {
        struct session *s;

        TRY(session_get(o->ops->sessions, o->session_id, &s));
        layout_init(&a->layout, o->ops->store, lease, s, xstrdup(o->store_id));
        a->provider = &a->layout.provider;
        return NULL;
    }
    struct error *e = registry_image_init(o->ops, o->ref, &who, lease, &a->image);

    if (e != NULL) {
        registry_image_deinit(&a->image);
        return e;
    }
    a->provider = &a->image.provider;
    return NULL;
}

/* ---- loading results
 * ---------------------------------------------------------------------------------------------------------
 */

static int64_t created_of(const struct descriptor *d)
{
    const char *text = descriptor_annotation(d, CREATED_AT);
    int64_t ns = 0;

    return text == NULL || parse_time(text, &ns) < 0 ? 0 : ns;
}

static struct error *find_blob(const struct origin *o, const struct digest *d, struct cache_blob *ret)
{
    const char *diff_id;

    ret->blob = map_get(&o->blobs, d->s);
    if (ret->blob == NULL)
        return err_new(ERR_NOT_FOUND, "missing blob %s", d->s);
    diff_id = descriptor_annotation(ret->blob, UNCOMPRESSED);
    if (diff_id == NULL || digest_parse(diff_id, &ret->diff_id) < 0)
        return err_new(ERR_INVALID, "blob %s has no uncompressed digest", d->s);
    ret->created_ns = created_of(ret->blob);
    return NULL;
}

static struct error *layers_of(const struct origin *o, const struct cache_result *r, struct cache_blob **ret,
                               size_t *ret_count)
{
    const struct cache_config *config = remote_cache_config(o->cache);
    CLEANUP(freep) size_t *layers = NULL;
    CLEANUP(freep) struct cache_blob *blobs = NULL;
    size_t n = 0;

    TRY(cache_config_layers(config, r, &layers, &n));
    blobs = xcalloc(n + 1, sizeof(*blobs));
    for (size_t i = 0; i < n; i++)
        TRY(find_blob(o, &config->layers[layers[i]].blob, &blobs[i]));
    *ret = TAKE(blobs);
    *ret_count = n;
    return NULL;
}

static struct error *unpack(struct provider *p, const struct cache_blob *blobs, size_t n,
                            struct op_context *c, struct snapshot **ret)
{
    CLEANUP(freep) struct descriptor *list = xcalloc(n + 1, sizeof(*list)); /* shallow: borrowed */
    CLEANUP(freep) struct digest *diff_ids = xcalloc(n + 1, sizeof(*diff_ids));
    CLEANUP(freep) int64_t *created = xcalloc(n + 1, sizeof(*created));
    CLEANUP(freep) const char **made_by = xcalloc(n + 1, sizeof(*made_by));
    struct provider_layers l = { list, diff_ids, created, made_by, n, c->vertex->name };

    for (size_t i = 0; i < n; i++) {
        list[i] = *blobs[i].blob;
        diff_ids[i] = blobs[i].diff_id;
        created[i] = blobs[i].created_ns;
        made_by[i] = descriptor_annotation(blobs[i].blob, DESCRIPTION);
    }
    return provider_unpack(p, &l, c->reporter, ret);
}

static struct error *load(void *ctx, struct op_context *c, const struct cache_result *r,
                          struct snapshot **ret)
{
    CLEANUP(access_deinit) struct access a = { 0 };
    CLEANUP(freep) struct cache_blob *blobs = NULL;
    struct lease *lease;
    size_t n;

    TRY(layers_of(ctx, r, &blobs, &n));
    TRY(op_lease(c, &lease));
    TRY(access_init(ctx, &c->sessions, lease, &a));
    return unpack(a.provider, blobs, n, c, ret);
}

static const struct remote_cache_ops cache_ops = { .load = load, .free = origin_free };

struct error *op_cache_layers(const struct remote_cache *c, const struct cache_result *r,
                              struct cache_blob **ret, size_t *ret_count)
{
    const struct origin *o = remote_cache_ctx(c, &cache_ops);

    if (o == NULL)
        return err_new(ERR_UNIMPLEMENTED, "the layers of this cache cannot be listed");
    return layers_of(o, r, ret, ret_count);
}

/* Nothing is wrong with what is not there. */
static struct error *or_absent(struct error *e, bool *ret)
{
    *ret = e == NULL;
    if (e == NULL || !err_is(e, ERR_NOT_FOUND))
        return e;
    err_free(e);
    return NULL;
}

static struct error *is_here(const struct origin *o, const struct descriptor *blob, bool *ret)
{
    struct blob_info info;

    return or_absent(blob_stat(o->ops->store, &blob->digest, &info), ret);
}

struct error *op_cache_has(const struct remote_cache *c, const struct descriptor *blob, bool *ret)
{
    const struct origin *o = remote_cache_ctx(c, &cache_ops);
    CLEANUP(session_unrefp) struct session *s = NULL;
    int64_t size;

    if (o == NULL)
        return err_new(ERR_UNIMPLEMENTED, "the layers of this cache cannot be fetched");
    TRY(is_here(o, blob, ret));
    if (*ret || o->ref != NULL) {
        *ret = true;
        return NULL;
    }
    TRY(session_get(o->ops->sessions, o->session_id, &s));
    return or_absent(session_content_info(s, o->store_id, blob->digest.s, &size), ret);
}

struct error *op_cache_fetch(const struct remote_cache *c, const struct session_group *sessions,
                             struct lease *lease, const struct descriptor *blob)
{
    CLEANUP(access_deinit) struct access a = { 0 };
    const struct origin *o = remote_cache_ctx(c, &cache_ops);
    bool here;

    if (o == NULL)
        return err_new(ERR_UNIMPLEMENTED, "the layers of this cache cannot be fetched");
    lease_add_blob(lease, &blob->digest);
    TRY(is_here(o, blob, &here));
    if (here)
        return NULL;
    TRY(access_init(o, sessions, lease, &a));
    return provider_keep(a.provider, blob);
}

/* ---- reading records
 * ---------------------------------------------------------------------------------------------------------
 */

struct import {
    const struct op_config *ops;
    const struct session_group *sessions;
    struct lease *lease;
    struct vertex_reporter *reporter;
    struct origin *origin; /* pattern for those of the caches */
    struct provider *provider;
    struct cache_list *list;
};

static struct origin *new_origin(const struct import *im)
{
    struct origin *o = NEW(struct origin);

    o->ops = im->ops;
    o->ref = xstrdup(im->origin->ref);
    o->insecure = im->origin->insecure;
    o->session_id = xstrdup(im->origin->session_id);
    o->store_id = xstrdup(im->origin->store_id);
    o->blobs.free_value = free_descriptor;
    return o;
}

static void add_blob(struct origin *o, const struct descriptor *d)
{
    struct descriptor *copy = NEW(struct descriptor);

    descriptor_copy(copy, d);
    map_set(&o->blobs, d->digest.s, copy);
}

/* `o` and `config` are taken. */
static void add_cache(struct import *im, struct origin *o, struct cache_config *config,
                      const struct digest *document)
{
    CLEANUP(freep)
    char *id =
        xasprintf("%s %s %s %s", o->ref == NULL ? "" : o->ref, o->session_id == NULL ? "" : o->session_id,
                  o->store_id == NULL ? "" : o->store_id, document->s);
    struct remote_cache *c = remote_cache_new(id, config, &cache_ops, o);

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
    CLEANUP(origin_freep) struct origin *o = new_origin(im);
    struct cache_config c;

    for (size_t i = 0; i < count; i++)
        if (!streq(layers[i].media_type, MT_CACHE_CONFIG))
            add_blob(o, &layers[i]);
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
            descriptor_annotate(&layers[at], CREATED_AT, created);
        if (at < count && made_by != NULL)
            descriptor_annotate(&layers[at], DESCRIPTION, made_by);
        at++;
    }
    for (i = 0; i < count; i++)
        descriptor_annotate(&layers[i], UNCOMPRESSED, config->diff_ids[i].s);
}

static struct error *inline_records(struct import *im, const struct image_config *config,
                                    struct image_manifest *m)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(origin_freep) struct origin *o = NULL;
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
    o = new_origin(im);
    for (size_t i = 0; i < m->layer_count; i++) {
        blobs[i] = m->layers[i].digest;
        add_blob(o, &m->layers[i]);
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

    if (depth > LIMIT_INDEX_DEPTH || im->list->len >= LIMIT_CACHE_IMPORTS)
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

static struct error *import_registry(struct import *im, struct access *a)
{
    struct descriptor target = { 0 };

    TRY(err_wrap(resolve_registry(im, &a->image, &target), "failed to configure registry cache importer"));
    struct error *e = import_document(im, &target, 0);

    descriptor_deinit(&target);
    return e;
}

static struct error *import_local(struct import *im, struct access *a, const struct digest *digest)
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
    CLEANUP(origin_freep) struct origin *origin = NEW(struct origin);
    CLEANUP(access_deinit) struct access a = { 0 };
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
    TRY(access_init(origin, sessions, lease, &a));
    im.provider = a.provider;
    return local ? import_local(&im, &a, &digest) : import_registry(&im, &a);
}
