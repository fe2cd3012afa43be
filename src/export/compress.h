/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compress.h - layers as others want them: compressed when they leave the house, not before
 *
 * The store keeps what a build makes uncompressed and virtual.  A layer that came compressed keeps its blob
 * and goes out as it came, unless `force` says otherwise.  What is compressed here is a blob of the store,
 * held by the caller's lease and found again for the same diff ID; equal calls at the same time compress
 * once.  The same layer always gives the same bytes.
 */
#ifndef MINKE_EXPORT_COMPRESS_H
#define MINKE_EXPORT_COMPRESS_H

#include "oci/compress.h"
#include "oci/descriptor.h"
#include "store/store.h"

struct layer_format {
    enum compression kind; /* COMPRESSION_NONE, _GZIP, _ZSTD */
    int level;             /* -1: the default */
    bool keep_plain;       /* uncompressed layers stay so: for the own store */
    bool force;            /* also those that came compressed in another way */
    bool keep_foreign;     /* a layer that came as one which registries should not have stays such */
};
/* attrs compression, compression-level, force-compression; `ret` holds the defaults.  Texts of BuildKit. */
struct error *layer_format_parse(const struct map *attrs, struct layer_format *ret) MUST_CHECK;

/* `have` (with an OCI or docker layer type) in that format; *ret is another descriptor with an OCI type, or a
 * copy of `have`.  Reads the store, waits for CPU. */
struct error *layer_compress(struct store *s, struct lease *l, const struct digest *diff_id,
                             const struct descriptor *have, const struct layer_format *f,
                             struct descriptor *ret) MUST_CHECK;

/* An image of the store with every layer in that format, as documents of its own: *ret is what stands for
 * `target`, equal to it when nothing had to change. */
struct error *image_compress(struct store *s, struct lease *l, const struct descriptor *target,
                             const struct layer_format *f, struct descriptor *ret) MUST_CHECK;

#endif
