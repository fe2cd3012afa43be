/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - images: what a name means (their layers: image_layers.c)
 *
 * Documents come from a `struct provider`: the store, filled from a registry or from an OCI layout in the
 * client's process.
 */
#include "op/image.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "oci/image.h"
#include "task/task.h"

void resolved_manifest_deinit(struct resolved_manifest *m)
{
    descriptor_deinit(&m->target);
    descriptor_deinit(&m->manifest);
    buf_deinit(&m->config);
}

/* ---- documents
 * ---------------------------------------------------------------------------------------------------------------
 */

bool provider_has(const struct provider *p, const struct digest *d)
{
    struct blob_info info;
    struct error *e = blob_stat(p->store, d, &info);
    bool there = e == NULL;

    err_free(e);
    return there;
}

struct error *provider_document(struct provider *p, const struct descriptor *d, struct buf *out)
{
    if (d->size > (int64_t)LIMIT_MANIFEST)
        return err_new(ERR_INVALID, "%s has %lld bytes: too large for a document", d->digest.s,
                       (long long)d->size);
    if (!provider_has(p, &d->digest))
        TRY(p->fetch(p, d));
    if (p->lease != NULL)
        lease_add_blob(p->lease, &d->digest);
    return blob_read(p->store, &d->digest, LIMIT_MANIFEST, out);
}

struct error *provider_describe(struct provider *p, const struct digest *d, struct descriptor *ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(json_decrefp) json_t *j = NULL;
    bool is_index;

    TRY(blob_read(p->store, d, LIMIT_MANIFEST, &text));
    TRY(image_document_kind(text.data, text.len, NULL, &is_index));
    TRY(json_parse(text.data, text.len, "manifest", &j));
    const char *type = json_string_value(json_object_get(j, "mediaType"));

    if (type == NULL)
        type = is_index ? MT_OCI_INDEX : MT_OCI_MANIFEST;
    descriptor_init(ret, type, d, (int64_t)text.len);
    return NULL;
}

static struct error *fill(struct ingest *to, struct stream *from)
{
    CLEANUP(freep) char *chunk = xmalloc(256 * KIB);
    ssize_t n;

    while ((n = stream_read(from, chunk, 256 * KIB)) > 0)
        TRY(ingest_write(to, chunk, (size_t)n));
    return n < 0 ? task_error((int)n, "read a blob") : NULL;
}

/* A registry's stream goes into the store on its own way; any other is put there. */
struct error *provider_keep(struct provider *p, const struct descriptor *d)
{
    CLEANUP(stream_closep) struct stream *in = NULL;
    struct ingest *to = NULL;
    int64_t have_bytes;
    struct digest got;

    if (p->fetch_any)
        return p->fetch(p, d);
    TRY(p->open(p, d, NULL, &in));
    TRY(ingest_begin(p->store, p->lease, d->digest.s, &have_bytes, &to));
    struct error *e = ingest_reset(to);

    if (e == NULL)
        e = fill(to, in);
    if (e == NULL)
        e = ingest_commit(to, &d->digest, d->size, &got);
    ingest_close(to, false);
    return e;
}

/* From index to manifest, by platform. */
static struct error *find_manifest(struct provider *p, const char *ref, const struct platform *want,
                                   const struct descriptor *from, struct descriptor *ret)
{
    struct descriptor at;

    descriptor_copy(&at, from);
    for (int depth = 0; media_type_is_index(at.media_type); depth++) {
        CLEANUP(buf_deinit) struct buf text = { 0 };
        struct image_index index = { 0 };
        const struct descriptor *pick = NULL;
        struct error *e =
            depth == LIMIT_INDEX_DEPTH ? err_new(ERR_INVALID, "%s: indexes are nested too deep", ref) : NULL;

        if (e == NULL)
            e = provider_document(p, &at, &text);
        if (e == NULL)
            e = image_index_parse(text.data, text.len, at.media_type, &index);
        if (e == NULL) {
            pick = image_index_pick(&index, want);
            if (pick == NULL)
                e = err_new(ERR_NOT_FOUND, "%s: no match for platform in manifest: not found", ref);
        }
        descriptor_deinit(&at);
        at = (struct descriptor){ 0 };
        if (e == NULL)
            descriptor_copy(&at, pick);
        image_index_deinit(&index);
        if (e != NULL)
            return e;
    }
    *ret = at;
    return NULL;
}

/* Manifest and config of ret->target. */
static struct error *complete(struct provider *p, const char *ref, const struct platform *platform,
                              struct resolved_manifest *ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct image_manifest m = { 0 };
    struct error *e;

    TRY(find_manifest(p, ref, platform == NULL ? platform_host() : platform, &ret->target, &ret->manifest));
    TRY(provider_document(p, &ret->manifest, &text));
    e = image_manifest_parse(text.data, text.len, ret->manifest.media_type, &m);
    if (e == NULL)
        e = provider_document(p, &m.config, &ret->config);
    image_manifest_deinit(&m);
    return e;
}

static struct error *check_sum(const char *ref, const char *checksum, const struct resolved_manifest *m)
{
    if (checksum == NULL || checksum[0] == '\0' || streq(checksum, m->target.digest.s) ||
        streq(checksum, m->manifest.digest.s))
        return NULL;
    return err_new(ERR_INVALID, "image digest %s for %s does not match expected checksum %s",
                   m->target.digest.s, ref, checksum);
}

/* ---- the registry
 * ------------------------------------------------------------------------------------------------------------
 */

static struct error *registry_fetch_blob(struct provider *p, const struct descriptor *d)
{
    struct registry_image *r = CONTAINER_OF(p, struct registry_image, provider);

    return registry_fetch(r->registry, &r->ref, r->auth, p->store, p->lease, d, NULL);
}

static struct error *registry_open_blob(struct provider *p, const struct descriptor *d,
                                        const struct registry_progress *progress, struct stream **ret)
{
    struct registry_image *r = CONTAINER_OF(p, struct registry_image, provider);

    return registry_open(r->registry, &r->ref, r->auth, p->store, p->lease, d, progress, ret);
}

void registry_image_deinit(struct registry_image *r)
{
    reference_deinit(&r->ref);
}

struct error *registry_image_init(const struct op_config *c, const char *ref,
                                  const struct image_access *access, struct lease *lease,
                                  struct registry_image *r)
{
    const char *name = str_skip_prefix(ref, "docker-image://");

    *r = (struct registry_image){
        .provider = { .store = c->store,
                      .lease = lease,
                      .fetch = registry_fetch_blob,
                      .fetch_any = true,
                      .open = registry_open_blob },
        .registry = c->registry,
    };
    TRY(reference_parse(name == NULL ? ref : name, &r->ref));
    reference_add_default_tag(&r->ref);
    if (access != NULL && access->auth != NULL) {
        r->auth = access->auth;
    } else if (access != NULL && access->sessions != NULL) {
        session_registry_auth(access->sessions, &r->session_auth);
        r->auth = &r->session_auth;
    }
    if (access != NULL && access->insecure) {
        if (r->auth != &r->session_auth)
            r->session_auth = r->auth == NULL ? (struct registry_auth){ 0 } : *r->auth;
        r->session_auth.insecure = true;
        r->auth = &r->session_auth;
    }
    return NULL;
}

/* ---- local images
 * ------------------------------------------------------------------------------------------------------------
 */

/* What is here and known to be of that repository needs no network. */
static struct error *local_by_digest(struct provider *p, const struct reference *ref, struct descriptor *ret,
                                     bool *ret_found)
{
    struct digest d;
    bool known;

    *ret_found = false;

    if (digest_parse(ref->digest, &d) < 0 || !provider_has(p, &d))
        return NULL;
    TRY(registry_knows_document(p->store, ref, &d, &known));
    if (!known)
        return NULL;
    TRY(provider_describe(p, &d, ret));
    *ret_found = true;
    return NULL;
}

struct error *local_target(struct provider *p, const struct reference *ref, struct descriptor *ret,
                           bool *ret_found)
{
    CLEANUP(freep) char *name = NULL;
    struct image_record rec = { 0 };
    struct error *e;

    *ret_found = false;
    if (ref->digest != NULL)
        return local_by_digest(p, ref, ret, ret_found);
    name = reference_string(ref);
    e = image_get(p->store, name, &rec);
    if (err_is(e, ERR_NOT_FOUND)) {
        err_free(e);
        return NULL;
    }
    TRY(e);
    descriptor_copy(ret, &rec.target);
    image_record_deinit(&rec);
    *ret_found = true;
    return NULL;
}

/* The local image when it is whole for the platform. Nothing is fetched. */
static struct error *resolve_local(struct registry_image *r, const char *shown,
                                   const struct platform *platform, struct resolved_manifest *ret,
                                   bool *ret_found)
{
    struct provider local = { .store = r->provider.store,
                              .lease = r->provider.lease,
                              .fetch = provider_fetch_none };
    struct error *e;

    TRY(local_target(&local, &r->ref, &ret->target, ret_found));
    if (!*ret_found)
        return NULL;
    e = complete(&local, shown, platform, ret);
    if (e == NULL)
        return NULL;
    *ret_found = false;
    resolved_manifest_deinit(ret);
    *ret = (struct resolved_manifest){ 0 };
    if (e->kind != ERR_NOT_FOUND)
        return e;
    err_free(e);
    return NULL;
}

struct error *provider_fetch_none(struct provider *p, const struct descriptor *d)
{
    return err_new(ERR_NOT_FOUND, "content %s: not found", d->digest.s);
}

/* ---- resolving
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct error *resolve_remote(struct registry_image *r, const char *shown,
                                    const struct platform *platform, struct resolved_manifest *ret)
{
    if (r->registry == NULL)
        return err_new(ERR_UNAVAILABLE, "%s: no registry can be asked", shown);
    TRY(registry_resolve(r->registry, &r->ref, r->auth, r->provider.store, r->provider.lease, &ret->target));
    return complete(&r->provider, shown, platform, ret);
}

static struct error *resolve_any(struct registry_image *r, const char *shown,
                                 const struct image_resolve_options *o, struct resolved_manifest *ret)
{
    const char *mode = o->mode == NULL || o->mode[0] == '\0' ? "default" : o->mode;
    bool pull = streq(mode, "pull"), local_first = streq(mode, "local") || r->ref.digest != NULL,
         found = false;
    struct error *e;

    if (!pull && !local_first && !streq(mode, "default"))
        return err_new(ERR_INVALID, "invalid image resolve mode %s", mode);
    if (local_first && !pull)
        TRY(resolve_local(r, shown, o->platform, ret, &found));
    if (found)
        return NULL;
    e = resolve_remote(r, shown, o->platform, ret);
    if (e == NULL || pull || local_first || e->kind == ERR_CANCELLED)
        return e;
    resolved_manifest_deinit(ret);
    *ret = (struct resolved_manifest){ 0 };
    struct error *le = resolve_local(r, shown, o->platform, ret, &found);

    if (le == NULL && found) {
        err_free(e);
        return NULL;
    }
    err_free(le);
    return e;
}

struct error *op_image_resolve(const struct op_config *c, const char *ref,
                               const struct image_resolve_options *o, const struct image_access *access,
                               struct lease *lease, struct resolved_manifest *ret)
{
    CLEANUP(registry_image_deinit) struct registry_image r;
    CLEANUP(freep) char *shown = NULL;
    struct error *e = registry_image_init(c, ref, access, lease, &r);

    TRY(e);
    shown = reference_string(&r.ref);
    *ret = (struct resolved_manifest){ 0 };
    e = resolve_any(&r, shown, o, ret);
    if (e == NULL)
        e = check_sum(shown, o->checksum, ret);
    if (e != NULL) {
        resolved_manifest_deinit(ret);
        *ret = (struct resolved_manifest){ 0 };
    }
    return e;
}

struct error *provider_resolve(struct provider *p, const char *ref, const struct descriptor *target,
                               const struct image_resolve_options *o, struct resolved_manifest *ret)
{
    struct error *e;

    *ret = (struct resolved_manifest){ 0 };
    descriptor_copy(&ret->target, target);
    e = complete(p, ref, o->platform, ret);
    if (e == NULL)
        e = check_sum(ref, o->checksum, ret);
    if (e != NULL) {
        resolved_manifest_deinit(ret);
        *ret = (struct resolved_manifest){ 0 };
    }
    return e;
}
