/* SPDX-License-Identifier: Apache-2.0 */
/* cache_origin.c - the layers of an imported cache: which there are, fetching and unpacking them */
#include "op/cache_origin.h"

#include "base/bytes.h"

static void free_descriptor(void *arg)
{
    descriptor_deinit(arg);
    free(arg);
}

void cache_origin_free(void *ctx)
{
    struct cache_origin *o = ctx;

    if (o == NULL)
        return;
    free(o->ref);
    free(o->session_id);
    free(o->store_id);
    map_deinit(&o->blobs);
    free(o);
}

void cache_origin_freep(struct cache_origin **o)
{
    cache_origin_free(*o);
}

struct cache_origin *cache_origin_like(const struct cache_origin *o)
{
    struct cache_origin *new = NEW(struct cache_origin);

    new->ops = o->ops;
    new->ref = xstrdup(o->ref);
    new->insecure = o->insecure;
    new->session_id = xstrdup(o->session_id);
    new->store_id = xstrdup(o->store_id);
    new->blobs.free_value = free_descriptor;
    return new;
}

void cache_origin_add(struct cache_origin *o, const struct descriptor *blob)
{
    struct descriptor *copy = NEW(struct descriptor);

    descriptor_copy(copy, blob);
    map_set(&o->blobs, blob->digest.s, copy);
}

/* ---- reaching it
 * -------------------------------------------------------------------------------------------------------------
 */

void cache_access_deinit(struct cache_access *a)
{
    if (a->provider == &a->image.provider)
        registry_image_deinit(&a->image);
    else if (a->provider != NULL)
        layout_deinit(&a->layout);
}

struct error *cache_access_init(const struct cache_origin *o, const struct session_group *sessions,
                                struct lease *lease, struct cache_access *a)
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
    const char *text = descriptor_annotation(d, CACHE_CREATED_AT);
    int64_t ns = 0;

    return text == NULL || parse_time(text, &ns) < 0 ? 0 : ns;
}

static struct error *find_blob(const struct cache_origin *o, const struct digest *d, struct cache_blob *ret)
{
    const char *diff_id;

    ret->blob = map_get(&o->blobs, d->s);
    if (ret->blob == NULL)
        return err_new(ERR_NOT_FOUND, "missing blob %s", d->s);
    diff_id = descriptor_annotation(ret->blob, CACHE_UNCOMPRESSED);
    if (diff_id == NULL || digest_parse(diff_id, &ret->diff_id) < 0)
        return err_new(ERR_INVALID, "blob %s has no uncompressed digest", d->s);
    ret->created_ns = created_of(ret->blob);
    return NULL;
}

static struct error *layers_of(const struct cache_origin *o, const struct cache_result *r,
                               struct cache_blob **ret, size_t *ret_count)
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
        made_by[i] = descriptor_annotation(blobs[i].blob, CACHE_DESCRIPTION);
    }
    TRY(provider_unpack(p, &l, c->reporter, ret));
    struct error *e = snapshot_make_skeletons(*ret); /* there may be differences among them */

    if (e != NULL)
        snapshot_unref(TAKE(*ret));
    return e;
}

static struct error *load(void *ctx, struct op_context *c, const struct cache_result *r,
                          struct snapshot **ret)
{
    CLEANUP(cache_access_deinit) struct cache_access a = { 0 };
    CLEANUP(freep) struct cache_blob *blobs = NULL;
    struct lease *lease;
    size_t n;

    TRY(layers_of(ctx, r, &blobs, &n));
    TRY(op_lease(c, &lease));
    TRY(cache_access_init(ctx, &c->sessions, lease, &a));
    return unpack(a.provider, blobs, n, c, ret);
}

const struct remote_cache_ops cache_origin_ops = { .load = load, .free = cache_origin_free };

struct error *op_cache_layers(const struct remote_cache *c, const struct cache_result *r,
                              struct cache_blob **ret, size_t *ret_count)
{
    const struct cache_origin *o = remote_cache_ctx(c, &cache_origin_ops);

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

static struct error *is_here(const struct cache_origin *o, const struct descriptor *blob, bool *ret)
{
    struct blob_info info;

    return or_absent(blob_stat(o->ops->store, &blob->digest, &info), ret);
}

struct error *op_cache_has(const struct remote_cache *c, const struct descriptor *blob, bool *ret)
{
    const struct cache_origin *o = remote_cache_ctx(c, &cache_origin_ops);
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
    CLEANUP(cache_access_deinit) struct cache_access a = { 0 };
    const struct cache_origin *o = remote_cache_ctx(c, &cache_origin_ops);
    bool here;

    if (o == NULL)
        return err_new(ERR_UNIMPLEMENTED, "the layers of this cache cannot be fetched");
    lease_add_blob(lease, &blob->digest);
    TRY(is_here(o, blob, &here));
    if (here)
        return NULL;
    TRY(cache_access_init(o, sessions, lease, &a));
    return provider_keep(a.provider, blob);
}
