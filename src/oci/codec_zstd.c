/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <zstd.h>

#include "base/limits.h"
#include "oci/codec.h"

struct zstd_decoder {
    struct codec base;
    ZSTD_DCtx *ctx;
};

static int unzstd_step(struct codec *base, struct codec_io *io, bool end)
{
    struct zstd_decoder *c = CONTAINER_OF(base, struct zstd_decoder, base);
    ZSTD_inBuffer in = { io->in, io->in_len, 0 };
    ZSTD_outBuffer out = { io->out, io->out_len, 0 };
    size_t r = ZSTD_decompressStream(c->ctx, &out, &in);
    io->in += in.pos;
    io->in_len -= in.pos;
    io->out += out.pos;
    io->out_len -= out.pos;
    return ZSTD_isError(r) ? -EBADMSG : r == 0;
}

static void unzstd_close(struct codec *base)
{
    struct zstd_decoder *c = CONTAINER_OF(base, struct zstd_decoder, base);
    ZSTD_freeDCtx(c->ctx);
    free(c);
}

struct codec *zstd_decoder_new(void)
{
    struct zstd_decoder *c = NEW(struct zstd_decoder);
    c->base = (struct codec){ unzstd_step, unzstd_close };
    c->ctx = ZSTD_createDCtx();
    if (c->ctx == NULL ||
        ZSTD_isError(ZSTD_DCtx_setParameter(c->ctx, ZSTD_d_windowLogMax, LIMIT_ZSTD_WINDOW_LOG)))
        abort();
    return &c->base;
}

struct zstd_encoder {
    struct codec base;
    ZSTD_CCtx *ctx;
};

static int zstd_step(struct codec *base, struct codec_io *io, bool end)
{
    struct zstd_encoder *c = CONTAINER_OF(base, struct zstd_encoder, base);
    ZSTD_inBuffer in = { io->in, io->in_len, 0 };
    ZSTD_outBuffer out = { io->out, io->out_len, 0 };
    size_t r = ZSTD_compressStream2(c->ctx, &out, &in, end ? ZSTD_e_end : ZSTD_e_continue);
    io->in += in.pos;
    io->in_len -= in.pos;
    io->out += out.pos;
    io->out_len -= out.pos;
    return ZSTD_isError(r) ? -EIO : end && r == 0;
}

static void zstd_close(struct codec *base)
{
    struct zstd_encoder *c = CONTAINER_OF(base, struct zstd_encoder, base);
    ZSTD_freeCCtx(c->ctx);
    free(c);
}

struct codec *zstd_encoder_new(int level)
{
    struct zstd_encoder *c = NEW(struct zstd_encoder);
    c->base = (struct codec){ zstd_step, zstd_close };
    c->ctx = ZSTD_createCCtx();
    if (c->ctx == NULL ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c->ctx, ZSTD_c_compressionLevel, level < 0 ? 3 : level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c->ctx, ZSTD_c_checksumFlag, 1)))
        abort();
    return &c->base;
}
