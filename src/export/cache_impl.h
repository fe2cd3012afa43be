/* SPDX-License-Identifier: Apache-2.0 */
/* cache_impl.h - what the files of the cache exporters share */
#ifndef MINKE_EXPORT_CACHE_IMPL_H
#define MINKE_EXPORT_CACHE_IMPL_H

#include "export/cache.h"
#include "export/compress.h"
#include "export/internal.h"

struct cache_exporter {
    const char *type;
    char *ref, *dest; /* of a registry; of a directory at the client */
    struct layer_format format;
    bool max, ignore_error, insecure, image_manifest, oci_types;
};

/* A cache on its way: the document, the manifest, and the layers that they name. */
struct cache_parcel {
    const struct cache_exporter *exporter;
    const struct export_context *context;
    struct lease *lease;
    struct vertex_reporter *reporter;
    struct cache_config config; /* without layers: there is nothing to send */
    struct descriptor *blobs;   /* in the order of the manifest, each once */
    size_t blob_count;
    struct map origins; /* digest -> struct remote_cache: who has a blob that is not in the store */
    struct descriptor config_blob, manifest;
};
void cache_parcel_deinit(struct cache_parcel *p);
/* Which records get layers, those layers as blobs, the document and the manifest. */
struct error *cache_parcel_pack(struct cache_parcel *p, const struct cache_source *src) MUST_CHECK;
/* To the registry or to the client's directory.  What lies in another cache is fetched from there, as far as
 * the target lacks it. */
struct error *cache_parcel_send(struct cache_parcel *p) MUST_CHECK;

/* Records and links, without results. */
void cache_copy_records(const struct cache_config *from, struct cache_config *to);

#endif
