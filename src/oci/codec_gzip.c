/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <zlib.h>

#include "oci/codec.h"

#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#endif

/* ---- zlib: encoding at the levels that isa-l does not have, and everything where there is no isa-l -------
 */

struct zlib_codec {
    struct codec base;
    z_stream z;
};

static void load(z_stream *z, const struct codec_io *io)
{
    z->next_in = (Bytef *)io->in;
    z->avail_in = (uInt)MIN(io->in_len, (size_t)1 << 30);
    z->next_out = io->out;
    z->avail_out = (uInt)MIN(io->out_len, (size_t)1 << 30);
}

static void store(const z_stream *z, struct codec_io *io)
{
    io->in_len -= (size_t)(z->next_in - io->in);
    io->in = z->next_in;
    io->out_len -= (size_t)(z->next_out - io->out);
    io->out = z->next_out;
}

static int deflate_step(struct codec *base, struct codec_io *io, bool end)
{
    struct zlib_codec *c = CONTAINER_OF(base, struct zlib_codec, base);
    load(&c->z, io);
    int r = deflate(&c->z, end ? Z_FINISH : Z_NO_FLUSH);
    store(&c->z, io);
    return r == Z_STREAM_END ? 1 : r == Z_OK || r == Z_BUF_ERROR ? 0 : -EIO;
}

static void deflate_close(struct codec *base)
{
    struct zlib_codec *c = CONTAINER_OF(base, struct zlib_codec, base);
    deflateEnd(&c->z);
    free(c);
}

static struct codec *zlib_encoder(int level)
{
    struct zlib_codec *c = NEW(struct zlib_codec);
    c->base = (struct codec){ deflate_step, deflate_close };
    if (deflateInit2(&c->z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort(); /* out of memory */
    return &c->base;
}

#ifndef HAVE_ISAL

static int inflate_step(struct codec *base, struct codec_io *io, bool end)
{
    struct zlib_codec *c = CONTAINER_OF(base, struct zlib_codec, base);
    load(&c->z, io);
    int r = inflate(&c->z, Z_NO_FLUSH);
    store(&c->z, io);
    if (r == Z_STREAM_END)
        return inflateReset(&c->z) == Z_OK ? 1 : -EIO;
    return r == Z_OK || r == Z_BUF_ERROR ? 0 : r == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
}

static void inflate_close(struct codec *base)
{
    struct zlib_codec *c = CONTAINER_OF(base, struct zlib_codec, base);
    inflateEnd(&c->z);
    free(c);
}

struct codec *gzip_decoder_new(void)
{
    struct zlib_codec *c = NEW(struct zlib_codec);
    c->base = (struct codec){ inflate_step, inflate_close };
    if (inflateInit2(&c->z, 15 + 16) != Z_OK)
        abort();
    return &c->base;
}

struct codec *gzip_encoder_new(int level)
{
    return zlib_encoder(level);
}

#else

/* ---- isa-l ------------------------------------------------------------------------------------------------
 */

struct igzip_decoder {
    struct codec base;
    struct inflate_state s;
};

static int igunzip_step(struct codec *base, struct codec_io *io, bool end)
{
    struct igzip_decoder *c = CONTAINER_OF(base, struct igzip_decoder, base);
    struct inflate_state *s = &c->s;
    s->next_in = (uint8_t *)io->in;
    s->avail_in = (uint32_t)MIN(io->in_len, (size_t)1 << 30);
    s->next_out = io->out;
    s->avail_out = (uint32_t)MIN(io->out_len, (size_t)1 << 30);
    int r = isal_inflate(s);
    io->in_len -= (size_t)(s->next_in - io->in);
    io->in = s->next_in;
    io->out_len -= (size_t)(s->next_out - io->out);
    io->out = s->next_out;
    if (r != ISAL_DECOMP_OK && r != ISAL_END_INPUT)
        return -EBADMSG;
    if (s->block_state != ISAL_BLOCK_FINISH)
        return 0;
    isal_inflate_reset(s);
    s->crc_flag = ISAL_GZIP;
    return 1;
}

static void igunzip_close(struct codec *base)
{
    free(CONTAINER_OF(base, struct igzip_decoder, base));
}

struct codec *gzip_decoder_new(void)
{
    struct igzip_decoder *c = NEW(struct igzip_decoder);
    c->base = (struct codec){ igunzip_step, igunzip_close };
    isal_inflate_init(&c->s);
    c->s.crc_flag = ISAL_GZIP;
    return &c->base;
}

struct igzip_encoder {
    struct codec base;
    struct isal_zstream z;
    uint8_t *level_buf;
};

static int igzip_step(struct codec *base, struct codec_io *io, bool end)
{
    struct igzip_encoder *c = CONTAINER_OF(base, struct igzip_encoder, base);
    struct isal_zstream *z = &c->z;
    z->next_in = (uint8_t *)io->in;
    z->avail_in = (uint32_t)MIN(io->in_len, (size_t)1 << 30);
    z->next_out = io->out;
    z->avail_out = (uint32_t)MIN(io->out_len, (size_t)1 << 30);
    z->end_of_stream = end && io->in_len == z->avail_in;
    int r = isal_deflate(z);
    io->in_len -= (size_t)(z->next_in - io->in);
    io->in = z->next_in;
    io->out_len -= (size_t)(z->next_out - io->out);
    io->out = z->next_out;
    return r != COMP_OK ? -EIO : z->internal_state.state == ZSTATE_END;
}

static void igzip_close(struct codec *base)
{
    struct igzip_encoder *c = CONTAINER_OF(base, struct igzip_encoder, base);
    free(c->level_buf);
    free(c);
}

/* isa-l's best level is about zlib's 4; whoever asks for more gets zlib and its time. */
struct codec *gzip_encoder_new(int level)
{
    if (level == 0 || level > 5)
        return zlib_encoder(level);
    struct igzip_encoder *c = NEW(struct igzip_encoder);
    c->base = (struct codec){ igzip_step, igzip_close };
    isal_deflate_init(&c->z);
    c->z.level = level == 1 ? 1 : 2;
    c->z.level_buf_size = c->z.level == 1 ? ISAL_DEF_LVL1_DEFAULT : ISAL_DEF_LVL2_DEFAULT;
    c->level_buf = xmalloc(c->z.level_buf_size);
    c->z.level_buf = c->level_buf;
    c->z.gzip_flag = IGZIP_GZIP;
    return &c->base;
}

#endif
