/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.c - the sources that are images: docker-image, and oci-layout in the client's process
 */
#include "base/limits.h"
#include "oci/image.h"
#include "op/attrs.h"
#include "op/image.h"
#include "op/impl.h"
#include "store/layer.h"
#include "task/task.h"

#include <errno.h>

/* ---- what both need
 * ----------------------------------------------------------------------------------------------------------
 */

/* What comes behind "scheme://". */
static const char *name_of(const struct llb_vertex *v)
{
    return strstr(v->op->source->identifier, "://") + 3;
}

static void platform_of(const struct llb_vertex *v, struct platform *ret)
{
    const Pb__Platform *p = v->op->platform;

    if (p == NULL || p->os[0] == '\0') {
        platform_copy(ret, platform_host());
        return;
    }
    *ret = (struct platform){ 0 };
    platform_set(ret, p->os, p->architecture, p->variant);
    free(ret->os_version);
    ret->os_version = xstrdup(p->os_version);
    platform_normalize(ret);
}

static struct error *layer_limit(const struct llb_vertex *v, const char *key, int64_t *ret)
{
    const char *s = source_attr(v, key);

    *ret = -1;
    if (s[0] == '\0')
        return NULL;
    if (parse_i64(s, ret) < 0 || *ret <= 0)
        return err_new(ERR_INVALID, "invalid layer limit %s", s);
    return NULL;
}

/* "": none asked for. */
static struct error *record_type(const struct llb_vertex *v, const char **ret)
{
    static const char *const types[] = { "", "regular", "internal", "frontend" };

    *ret = source_attr(v, "image.recordtype");
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (streq(*ret, types[i]))
            return NULL;
    return err_new(ERR_INVALID, "invalid record type %s", *ret);
}

/* What resolve() found is what run() pulls: by the digest, never by the tag again. */
static struct error *limit_layers(struct snapshot *all, int64_t limit, struct snapshot **ret)
{
    struct error *e;

    if (limit < 0 || (uint64_t)limit >= snapshot_layer_count(all)) {
        *ret = all;
        return NULL;
    }
    e = snapshot_prefix(all, (size_t)limit, ret);
    snapshot_unref(all);
    return e;
}

static char *key_text(const char *kind, const struct resolved_manifest *m, int64_t limit)
{
    return limit < 0 ? xasprintf("%s:%s", kind, m->manifest.digest.s)
                     : xasprintf("%s:%s layers=%lld", kind, m->manifest.digest.s, (long long)limit);
}

/* ---- docker-image
 * ------------------------------------------------------------------------------------------------------------
 */

static struct error *resolve_image(struct op_context *c, struct resolved_manifest *ret)
{
    struct image_resolve_options o = { .mode = source_attr(c->vertex, "image.resolvemode"),
                                       .checksum = source_attr(c->vertex, "image.checksum") };
    struct image_access access = { .sessions = &c->sessions };
    struct platform platform;
    struct lease *lease;
    struct error *e;

    TRY(op_lease(c, &lease));
    platform_of(c->vertex, &platform);
    o.platform = &platform;
    e = op_image_resolve(c->op_ctx, name_of(c->vertex), &o, &access, lease, ret);
    platform_deinit(&platform);
    return e;
}

/* A row of its own, also where what it gives is cached. */
static void show_resolving(const struct op_context *c, bool done)
{
    CLEANUP(freep) char *row = xasprintf("resolve %s", name_of(c->vertex));

    if (c->reporter != NULL)
        reporter_status(c->reporter, row, "", 0, 0, done);
}

static struct error *image_resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    struct resolved_manifest m = { 0 };
    const char *type;
    int64_t limit;

    TRY(layer_limit(c->vertex, "image.layerlimit", &limit));
    TRY(record_type(c->vertex, &type));
    show_resolving(c, false);
    TRY(resolve_image(c, &m));
    show_resolving(c, true);
    *ret_text = key_text("docker-image", &m, limit);
    op_pin(c, m.target.digest.s);
    resolved_manifest_deinit(&m);
    return NULL;
}

/* The name with the digest that resolve() found: not the tag, which may have moved since. */
static char *pinned_name(const struct op_context *c)
{
    const char *name = name_of(c->vertex), *digest = strchr(c->resolved, ':') + 1;

    return xasprintf("%.*s@%.*s", (int)strcspn(name, "@"), name, DIGEST_LEN, digest);
}

static struct error *set_record_type(struct op_context *c, const struct snapshot *s)
{
    const char *type;

    TRY(record_type(c->vertex, &type));
    for (size_t i = 0; type[0] != '\0' && s != NULL && i < snapshot_layer_count(s); i++)
        TRY(layer_set_type(c->store, snapshot_layer_id(s, i), type));
    return NULL;
}

static struct error *image_run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                               size_t output_count)
{
    CLEANUP(freep) char *pinned = pinned_name(c);
    struct image_access access = { .sessions = &c->sessions };
    struct image_resolve_options o = { 0 };
    struct resolved_manifest m = { 0 };
    struct snapshot *all = NULL;
    struct lease *lease;
    int64_t limit;
    struct error *e;

    TRY(layer_limit(c->vertex, "image.layerlimit", &limit));
    TRY(op_lease(c, &lease));
    TRY(op_image_resolve(c->op_ctx, pinned, &o, &access, lease, &m));
    e = op_image_pull(c->op_ctx, name_of(c->vertex), &m, &access, lease, c->reporter, &all);
    resolved_manifest_deinit(&m);
    if (e == NULL)
        e = set_record_type(c, all);
    if (e == NULL)
        return limit_layers(all, limit, &outputs[0]);
    snapshot_unref(all);
    return e;
}

const struct op_impl image_source = { .name = "source", .resolve = image_resolve, .run = image_run };

/* ---- oci-layout
 * --------------------------------------------------------------------------------------------------------------
 */

void layout_deinit(struct layout *l)
{
    session_unref(l->session);
    free(l->store_id);
}

static struct error *layout_open(struct provider *p, const struct descriptor *d,
                                 const struct registry_progress *progress, struct stream **ret)
{
    struct layout *l = CONTAINER_OF(p, struct layout, provider);

    return session_content_open(l->session, l->store_id, d->digest.s, ret);
}

static struct error *layout_fetch(struct provider *p, const struct descriptor *d)
{
    CLEANUP(stream_closep) struct stream *s = NULL;
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct digest got;
    int r;

    TRY(layout_open(p, d, NULL, &s));
    r = stream_read_all(s, &text, LIMIT_MANIFEST);
    if (r < 0)
        return task_error(r, "read %s", d->digest.s);
    got = digest_of(text.data, text.len);
    if (!digest_eq(&got, &d->digest))
        return err_new(ERR_INVALID, "blob digest mismatch: expected %s, got %s", d->digest.s, got.s);
    return blob_put(p->store, p->lease, text.data, text.len, &got);
}

void layout_init(struct layout *l, struct store *store, struct lease *lease, struct session *session,
                 char *store_id)
{
    *l = (struct layout){
        .provider = { .store = store, .lease = lease, .fetch = layout_fetch, .open = layout_open },
        .session = session,
        .store_id = store_id,
    };
}

static struct error *find_layout(const struct op_config *c, const char *session, const char *store_id,
                                 const struct image_access *access, struct lease *lease, struct layout *l)
{
    struct session *s = NULL;

    if (session != NULL && session[0] != '\0')
        TRY(session_get(c->sessions, session, &s));
    else if (access != NULL && access->sessions != NULL)
        TRY(session_group_get(access->sessions, "/containerd.services.content.v1.Content/Info", &s));
    else
        return err_new(ERR_INVALID, "an OCI layout needs a session");
    layout_init(l, c->store, lease, s, xasprintf("oci:%s", store_id));
    return NULL;
}

/* "name@sha256:..": the layout's blobs have no other names. */
static struct error *layout_target(struct layout *l, const char *ref, struct descriptor *ret)
{
    const char *at = strrchr(ref, '@');
    struct descriptor d;
    struct digest digest;
    int64_t size;
    struct error *e;

    if (at == NULL || digest_parse(at + 1, &digest) < 0)
        return err_new(ERR_INVALID, "%s: an OCI layout is named by digest", ref);
    TRY(session_content_info(l->session, l->store_id, digest.s, &size));
    descriptor_init(&d, MT_OCI_MANIFEST, &digest, size);
    e = size > (int64_t)LIMIT_MANIFEST ? err_new(ERR_INVALID, "%s: manifest too large", ref)
                                       : layout_fetch(&l->provider, &d);
    descriptor_deinit(&d);
    TRY(e);
    return provider_describe(&l->provider, &digest, ret);
}

struct error *op_layout_resolve(const struct op_config *c, const char *ref, const char *session_id,
                                const char *store_id, const struct image_resolve_options *o,
                                const struct image_access *access, struct lease *lease,
                                struct resolved_manifest *ret)
{
    CLEANUP(layout_deinit) struct layout l = { 0 };
    struct descriptor target;
    struct error *e;

    TRY(find_layout(c, session_id, store_id, access, lease, &l));
    TRY(layout_target(&l, ref, &target));
    e = provider_resolve(&l.provider, ref, &target, o, ret);
    descriptor_deinit(&target);
    return e;
}

static struct error *resolve_layout(struct op_context *c, struct lease *lease, struct resolved_manifest *ret)
{
    struct image_access access = { .sessions = &c->sessions };
    struct image_resolve_options o = { 0 };
    struct platform platform;
    struct error *e;

    platform_of(c->vertex, &platform);
    o.platform = &platform;
    e = op_layout_resolve(c->op_ctx, name_of(c->vertex), source_attr(c->vertex, "oci.session"),
                          source_attr(c->vertex, "oci.store"), &o, &access, lease, ret);
    platform_deinit(&platform);
    return e;
}

static struct error *layout_resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    struct resolved_manifest m = { 0 };
    struct lease *lease;
    int64_t limit;

    TRY(layer_limit(c->vertex, "oci.layerlimit", &limit));
    TRY(op_lease(c, &lease));
    show_resolving(c, false);
    TRY(resolve_layout(c, lease, &m));
    show_resolving(c, true);
    *ret_text =
        key_text("docker-image", &m, limit); /* the same manifest is the same image, wherever it came from */
    op_pin(c, m.target.digest.s);
    resolved_manifest_deinit(&m);
    return NULL;
}

static struct error *layout_run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                                size_t output_count)
{
    CLEANUP(layout_deinit) struct layout l = { 0 };
    struct image_access access = { .sessions = &c->sessions };
    struct resolved_manifest m = { 0 };
    struct snapshot *all = NULL;
    struct lease *lease;
    int64_t limit;
    struct error *e;

    TRY(layer_limit(c->vertex, "oci.layerlimit", &limit));
    TRY(op_lease(c, &lease));
    TRY(find_layout(c->op_ctx, source_attr(c->vertex, "oci.session"), source_attr(c->vertex, "oci.store"),
                    &access, lease, &l));
    TRY(resolve_layout(c, lease, &m));
    e = provider_pull(&l.provider, name_of(c->vertex), &m, c->reporter, &all);
    resolved_manifest_deinit(&m);
    return e != NULL ? e : limit_layers(all, limit, &outputs[0]);
}

const struct op_impl layout_source = { .name = "source", .resolve = layout_resolve, .run = layout_run };
