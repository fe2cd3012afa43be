/* SPDX-License-Identifier: Apache-2.0 */
/* image_layers.c - an image's layers as a snapshot, unpacked while they come */
#include "op/image.h"

#include "oci/compress.h"
#include "oci/image.h"

#include <errno.h>
#include <stdio.h>

struct pull {
    struct provider *provider;
    struct vertex_reporter *reporter;
    struct registry_progress progress;
    const struct provider_layers *layers;
};

static void blob_row(void *ctx, const struct descriptor *d, const char *action, int64_t current,
                     int64_t total)
{
    struct pull *p = ctx;
    bool done = streq(action, "done") || streq(action, "exists");

    if (p->reporter != NULL && !streq(action, "extracting"))
        reporter_status(p->reporter, d->digest.s, action, current, total, done);
}

/* The layer's tar while it is unpacked: its row ends with it. */
struct layer_stream {
    struct stream stream;
    struct stream *inner;
    struct vertex_reporter *reporter;
    char row[96];
};

static ssize_t layer_read(struct stream *s, void *buf, size_t cap)
{
    return stream_read(CONTAINER_OF(s, struct layer_stream, stream)->inner, buf, cap);
}

static ssize_t layer_write(struct stream *s, const void *buf, size_t len)
{
    return -EBADF;
}

static int layer_shut(struct stream *s)
{
    return -EBADF;
}

static void layer_close(struct stream *s)
{
    struct layer_stream *l = CONTAINER_OF(s, struct layer_stream, stream);

    stream_close(l->inner);
    reporter_status(l->reporter, l->row, "extracting", 0, 0, true);
    free(l);
}

static const struct stream_ops layer_ops = {
    .read = layer_read, .write = layer_write, .shut = layer_shut, .close = layer_close
};

static struct error *open_layer(void *ctx, size_t index, struct stream **ret)
{
    struct pull *p = ctx;
    const struct descriptor *d = &p->layers->blobs[index];
    struct stream *raw = NULL, *plain = NULL;
    struct layer_stream *l;

    if (provider_has(p->provider, &d->digest)) {
        if (p->provider->lease != NULL)
            lease_add_blob(p->provider->lease, &d->digest);
        TRY(blob_open(p->provider->store, &d->digest, &raw));
    } else {
        struct error *e = p->provider->open(p->provider, d, &p->progress, &raw);

        if (d->urls.len > 0)
            e = err_wrap(e, "layer %s may lie outside of the registry", d->digest.s);
        TRY(e);
    }
    TRY(decompress_stream(raw, &plain));
    if (p->reporter == NULL) {
        *ret = plain;
        return NULL;
    }
    l = NEW(struct layer_stream);
    l->stream.ops = &layer_ops;
    l->inner = plain;
    l->reporter = p->reporter;
    snprintf(l->row, sizeof l->row, "extracting %s", d->digest.s);
    reporter_status(l->reporter, l->row, "extracting", 0, 0, false);
    *ret = &l->stream;
    return NULL;
}

struct error *provider_unpack(struct provider *provider, const struct provider_layers *l,
                              struct vertex_reporter *reporter, struct snapshot **ret)
{
    struct pull p = { .provider = provider, .reporter = reporter, .progress = { &p, blob_row }, .layers = l };
    CLEANUP(freep) struct layer_source *sources = xcalloc(l->count + 1, sizeof *sources);
    struct error *e;

    if (l->count == 0) {
        *ret = snapshot_empty(provider->store);
        return NULL;
    }
    e = snapshot_by_diff_ids(provider->store, l->diff_ids, l->count, ret);
    if (e == NULL || e->kind != ERR_NOT_FOUND)
        return e;
    err_free(e);
    for (size_t i = 0; i < l->count; i++)
        sources[i] =
            (struct layer_source){ .diff_id = l->diff_ids[i],
                                   .description =
                                       l->made_by != NULL && l->made_by[i] != NULL ? l->made_by[i] : l->what,
                                   .blob = &l->blobs[i],
                                   .created_ns = l->created_ns == NULL ? 0 : l->created_ns[i],
                                   .open = open_layer,
                                   .ctx = &p };
    return snapshot_unpack(provider->store, sources, l->count, provider->lease, ret);
}

static struct error *unpack_image(struct provider *provider, const char *ref, const struct image_manifest *m,
                                  const struct image_config *config, struct vertex_reporter *reporter,
                                  struct snapshot **ret)
{
    CLEANUP(freep) char *what = xasprintf("pulled from %s", ref);
    struct provider_layers l = {
        .blobs = m->layers, .diff_ids = config->diff_ids, .count = m->layer_count, .what = what
    };

    if (config->diff_id_count != m->layer_count)
        return err_new(ERR_INVALID, "%s: %zu layers but %zu diff IDs", ref, m->layer_count,
                       config->diff_id_count);
    return provider_unpack(provider, &l, reporter, ret);
}

struct error *provider_pull(struct provider *provider, const char *ref, const struct resolved_manifest *m,
                            struct vertex_reporter *reporter, struct snapshot **ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct image_manifest manifest = { 0 };
    struct image_config config = { 0 };
    struct error *e;

    TRY(provider_document(provider, &m->manifest, &text));
    TRY(image_manifest_parse(text.data, text.len, m->manifest.media_type, &manifest));
    e = image_config_parse(m->config.data, m->config.len, &config);
    if (e == NULL)
        e = unpack_image(provider, ref, &manifest, &config, reporter, ret);
    image_config_deinit(&config);
    image_manifest_deinit(&manifest);
    return e;
}

struct error *op_image_pull(const struct op_config *c, const char *ref, const struct resolved_manifest *m,
                            const struct image_access *access, struct lease *lease,
                            struct vertex_reporter *reporter, struct snapshot **ret)
{
    CLEANUP(registry_image_deinit) struct registry_image r;
    CLEANUP(freep) char *shown = NULL;
    struct error *e = registry_image_init(c, ref, access, lease, &r);

    TRY(e);
    shown = reference_string(&r.ref);
    return provider_pull(&r.provider, shown, m, reporter, ret);
}
