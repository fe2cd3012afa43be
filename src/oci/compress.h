/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compress.h - compressed streams, in this process: gzip, zstd, xz, bzip2 in; gzip and zstd out
 *
 * No program is ever executed for it, least of all one found below a container's root (security.md M3).  gzip
 * by isa-l where it was found, else zlib; xz and bzip2 by libarchive, which is loaded when first needed.
 * Memory is bounded whatever a frame claims: a window above LIMIT_ZSTD_WINDOW_LOG is refused.
 */
#ifndef MINKE_OCI_COMPRESS_H
#define MINKE_OCI_COMPRESS_H

#include "base/error.h"
#include "io/stream.h"

enum compression { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD, COMPRESSION_XZ, COMPRESSION_BZIP2 };

#define COMPRESSION_MAGIC_BYTES 6
/* By the first bytes (COMPRESSION_MAGIC_BYTES of them, fewer only when there are no more). */
enum compression compression_detect(const void *head, size_t len);
/* By a layer's media type ("...+gzip", "....tar.gzip", "...+zstd"); others: COMPRESSION_NONE. */
enum compression compression_of_media_type(const char *media_type);
const char *compression_name(enum compression c); /* "uncompressed", "gzip", "zstd", "xz", "bzip2" */
/* What the first bytes of `s` say; *ret yields them again.  `s` is taken, also on failure. */
struct error *compression_peek(struct stream *s, enum compression *ret_kind, struct stream **ret) MUST_CHECK;

/* The content of `s` (taken, also on failure) without its compression; what is not compressed passes through.
 * Several members or frames one after the other are one content.  Reads fail with -EBADMSG when the data is
 * damaged or cut short. */
struct error *decompress_stream(struct stream *s, struct stream **ret) MUST_CHECK;

/* What is read from *ret is `s` (taken, also on failure) compressed; the same input gives the same bytes.
 * `level`: -1 the default; gzip 0..9, zstd 1..22.  ERR_INVALID for a kind that is read only or a level out of
 * range. */
struct error *compress_stream(struct stream *s, enum compression kind, int level,
                              struct stream **ret) MUST_CHECK;

#endif
