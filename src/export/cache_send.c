/* SPDX-License-Identifier: Apache-2.0 */
/* cache_send.c - a packed cache to where it is wanted */
#include "export/cache_impl.h"
#include "op/cache_import.h"
#include "registry/push.h"

/* A layer that is only in the cache that it was found in. */
static struct error *bring(void *ctx, const struct descriptor *d)
{
    struct cache_parcel *p = ctx;
    const struct remote_cache *from = map_get(&p->origins, d->digest.s);

    return from == NULL ? NULL : op_cache_fetch(from, &p->context->sessions, p->lease, d);
}

static char *manifest_row(const struct cache_parcel *p)
{
    return xasprintf("writing cache %s %s", p->exporter->image_manifest ? "image manifest" : "manifest",
                     p->manifest.digest.s);
}

static void pushed(void *ctx, const struct descriptor *d, const char *action, int64_t current, int64_t total)
{
    struct cache_parcel *p = ctx;
    CLEANUP(freep) char *row = xasprintf("writing layer %s", d->digest.s);
    bool busy = streq(action, "waiting") || streq(action, "pushing");

    reporter_status(p->reporter, row, "", current, total, !busy);
}

static struct error *push(struct cache_parcel *p, struct registry_push *to)
{
    CLEANUP(freep) char *config = xasprintf("writing config %s", p->config_blob.digest.s);
    CLEANUP(freep) char *manifest = manifest_row(p);

    TRY(registry_push_blobs(to));
    reporter_status(p->reporter, config, "", 0, 0, true);
    reporter_status(p->reporter, manifest, "", 0, 0, false);
    struct error *e = registry_push_manifests(to);

    reporter_status(p->reporter, manifest, "", 0, 0, true);
    return e;
}

static struct error *send_to_registry(struct cache_parcel *p)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    struct registry_auth auth = { 0 };
    struct registry_progress progress = { p, pushed };
    struct registry_push_options o = { .ref = &ref,
                                       .auth = &auth,
                                       .insecure = p->exporter->insecure,
                                       .progress = &progress,
                                       .bring = bring,
                                       .ctx = p };
    struct registry_push *to = NULL;

    if (p->context->registry == NULL)
        return err_new(ERR_UNAVAILABLE, "no registry can be asked");
    TRY(reference_parse(p->exporter->ref, &ref));
    session_registry_auth(&p->context->sessions, &auth);
    struct error *e = registry_push_begin(p->context->registry, &o, p->context->store, &p->manifest, &to);

    if (e == NULL)
        e = push(p, to);
    registry_push_end(to);
    return err_wrap(e, "error writing layer blob");
}

static struct error *write_blob(struct cache_parcel *p, struct session *s, const char *store_id,
                                const struct descriptor *d, const char *row)
{
    CLEANUP(stream_closep) struct stream *in = NULL;

    reporter_status(p->reporter, row, "", 0, 0, false);
    struct error *e = bring(p, d);

    if (e == NULL)
        e = blob_open(p->context->store, &d->digest, &in);
    if (e == NULL)
        e = session_content_write(s, store_id, d->digest.s, d->digest.s, d->size, in);
    reporter_status(p->reporter, row, "", 0, 0, true);
    return e;
}

static struct error *write_all(struct cache_parcel *p, struct session *s, const char *store_id)
{
    CLEANUP(freep) char *config = xasprintf("writing config %s", p->config_blob.digest.s);
    CLEANUP(freep) char *manifest = manifest_row(p);

    for (size_t i = 0; i < p->blob_count; i++) {
        CLEANUP(freep) char *row = xasprintf("writing layer %s", p->blobs[i].digest.s);

        TRY(err_wrap(write_blob(p, s, store_id, &p->blobs[i], row), "error writing layer blob"));
    }
    TRY(err_wrap(write_blob(p, s, store_id, &p->config_blob, config), "error writing config blob"));
    return err_wrap(write_blob(p, s, store_id, &p->manifest, manifest), "error writing manifest blob");
}

static bool printable(const char *s)
{
    for (; *s != '\0'; s++)
        if (*s < 0x20 || *s > 0x7e)
            return false;
    return true;
}

static struct error *send_to_client(struct cache_parcel *p)
{
    CLEANUP(freep) char *store_id = xasprintf("local:%s", p->exporter->dest);
    CLEANUP(session_unrefp) struct session *s = NULL;

    if (!printable(store_id)) /* it travels as metadata of the call */
        return err_new(ERR_INVALID, "header key \"buildkit-attachable-store-id\" contains value with "
                                    "non-printable ASCII characters");
    if (p->context->session_id == NULL || p->context->session_id[0] == '\0')
        return err_new(ERR_INVALID, "local cache exporter/importer requires session");
    TRY(session_get(p->context->sessions.manager, p->context->session_id, &s));
    return write_all(p, s, store_id);
}

struct error *cache_parcel_send(struct cache_parcel *p)
{
    return p->exporter->ref != NULL ? send_to_registry(p) : send_to_client(p);
}
