/* SPDX-License-Identifier: Apache-2.0 */
/*
 * codec.h - what a compression library does for us (private to compress.c)
 *
 * step: consume from *in and produce into *out, both moved on.  `end`: no more input will come.  1: the
 * stream is complete; 0: call again; negative errno.  A decoder at the end of a member says 1 and is called
 * again when there is more input.
 */
#ifndef MINKE_OCI_CODEC_H
#define MINKE_OCI_CODEC_H

#include "base/base.h"

struct codec_io {
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t out_len;
};
struct codec {
    int (*step)(struct codec *c, struct codec_io *io, bool end);
    void (*close)(struct codec *c);
};

struct codec *gzip_decoder_new(void);
struct codec *gzip_encoder_new(int level); /* -1..9 */
struct codec *zstd_decoder_new(void);
struct codec *zstd_encoder_new(int level); /* -1, 1..22 */

#endif
