/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.h - what a build was made of as a build cache for others: in a registry, a directory of the client,
 * or inside of the image that the build makes
 */
#ifndef MINKE_EXPORT_CACHE_H
#define MINKE_EXPORT_CACHE_H

#include "export/export.h"
#include "solver/cache.h"

struct cache_exporter; /* resolved before the build starts */
/* type: registry, local, inline (`unknown cache exporter: "x"`). */
struct error *cache_exporter_resolve(const char *type, const struct map *attrs,
                                     struct cache_exporter **ret) MUST_CHECK;
void cache_exporter_free(struct cache_exporter *e);
bool cache_exporter_is_inline(const struct cache_exporter *e);

/* The records of a build's refs, and which of them are the refs themselves. */
struct cache_source {
    struct cache_steps steps;
    size_t *heads; /* SIZE_MAX: a source */
    size_t head_count;
};
void cache_source_deinit(struct cache_source *s);
/* Send it.  Several exporters may read one source at once.  `response` gets cache.manifest.  An error that
 * the user wants ignored is only shown. */
struct error *cache_export(const struct cache_exporter *e, const struct export_context *c,
                           const struct cache_source *src, struct map *response) MUST_CHECK;

/* The records as an image config carries them (base64), with results where the image's layers are all of the
 * result's; nothing is added when there are none.  `diff_ids`: the image's. */
struct error *cache_inline(const struct cache_source *src, const struct digest *diff_ids, size_t count,
                           struct buf *out) MUST_CHECK;

#endif
