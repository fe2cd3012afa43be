/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/compress.h"

#include <archive.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include "base/limits.h"
#include "oci/codec.h"
#include "task/task.h"

#define BUFFER (128 * KIB)

enum compression compression_detect(const void *head, size_t len)
{
    const uint8_t *p = head;
    if (len >= 3 && memcmp(p, "\x1f\x8b\x08", 3) == 0)
        return COMPRESSION_GZIP;
    if (len >= 4 && memcmp(p, "\x28\xb5\x2f\xfd", 4) == 0)
        return COMPRESSION_ZSTD;
    if (len >= 4 && (p[0] & 0xf0) == 0x50 &&
        memcmp(p + 1, "\x2a\x4d\x18", 3) == 0) /* a skippable frame in front */
        return COMPRESSION_ZSTD;
    if (len >= 6 && memcmp(p, "\xfd\x37\x7a\x58\x5a\x00", 6) == 0)
        return COMPRESSION_XZ;
    if (len >= 3 && memcmp(p, "BZh", 3) == 0)
        return COMPRESSION_BZIP2;
    return COMPRESSION_NONE;
}

enum compression compression_of_media_type(const char *media_type)
{
    if (media_type == NULL)
        return COMPRESSION_NONE;
    if (str_has_suffix(media_type, "+gzip") || str_has_suffix(media_type, ".gzip"))
        return COMPRESSION_GZIP;
    bool zstd = str_has_suffix(media_type, "+zstd") || str_has_suffix(media_type, ".zstd");
    return zstd ? COMPRESSION_ZSTD : COMPRESSION_NONE;
}

const char *compression_name(enum compression c)
{
    static const char *const names[] = { "uncompressed", "gzip", "zstd", "xz", "bzip2" };
    return names[c];
}

static ssize_t no_write(struct stream *s, const void *buf, size_t len)
{
    return -EBADF;
}

static int no_shut(struct stream *s)
{
    return 0;
}

/* ---- through a codec -------------------------------------------------------------------------------------
 */

struct pump {
    struct stream base;
    struct stream *in;
    struct codec *codec;
    uint8_t *buffer;
    size_t at, len;
    bool decoding;
    bool input_ended; /* `in` said so */
    bool complete;    /* nothing is half done: the codec ended, and no input since */
    bool ended;
};

static ssize_t refill(struct pump *p)
{
    if (p->at < p->len || p->input_ended)
        return 0;
    ssize_t n = stream_read(p->in, p->buffer, BUFFER);
    if (n < 0)
        return n;
    p->at = 0;
    p->len = (size_t)n;
    p->input_ended = n == 0;
    return 0;
}

/* Some output, 0 when there was none this time. */
static ssize_t pump_step(struct pump *p, void *buf, size_t cap)
{
    ssize_t n = refill(p);
    if (n < 0)
        return n;
    bool no_input = p->at == p->len && p->input_ended;
    if (p->decoding && no_input && p->complete) {
        p->ended = true;
        return 0;
    }
    struct codec_io io = { p->buffer + p->at, p->len - p->at, buf, cap };
    int r = p->codec->step(p->codec, &io, p->input_ended);
    if (r < 0)
        return r;
    size_t produced = cap - io.out_len;
    p->at = p->len - io.in_len;
    p->complete = r > 0;
    if (!p->decoding && r > 0)
        p->ended = true;
    /* the input is over, and still nothing comes: it was cut short */
    if (p->decoding && no_input && produced == 0 && r == 0)
        return -EBADMSG;
    return (ssize_t)produced;
}

static ssize_t pump_read(struct stream *base, void *buf, size_t cap)
{
    struct pump *p = CONTAINER_OF(base, struct pump, base);
    while (!p->ended && cap > 0) {
        ssize_t n = pump_step(p, buf, cap);
        if (n != 0)
            return n;
    }
    return 0;
}

static void pump_close(struct stream *base)
{
    struct pump *p = CONTAINER_OF(base, struct pump, base);
    stream_close(p->in);
    p->codec->close(p->codec);
    free(p->buffer);
    free(p);
}

static const struct stream_ops pump_ops = {
    .read = pump_read, .write = no_write, .shut = no_shut, .close = pump_close
};

static struct stream *pump_new(struct stream *in, struct codec *codec, bool decoding)
{
    struct pump *p = NEW(struct pump);
    p->base.ops = &pump_ops;
    p->in = in;
    p->codec = codec;
    p->decoding = decoding;
    p->buffer = xmalloc(BUFFER);
    return &p->base;
}

/* ---- xz and bzip2 by libarchive --------------------------------------------------------------------------
 */

static struct {
    struct archive *(*read_new)(void);
    int (*read_free)(struct archive *);
    int (*filter_xz)(struct archive *);
    int (*filter_bzip2)(struct archive *);
    int (*format_raw)(struct archive *);
    int (*open)(struct archive *, void *, archive_open_callback *, archive_read_callback *,
                archive_close_callback *);
    int (*next_header)(struct archive *, struct archive_entry **);
    la_ssize_t (*data)(struct archive *, void *, size_t);
    bool ok;
} lib;
static pthread_once_t lib_once = PTHREAD_ONCE_INIT;

static void load_library(void)
{
    void *h = dlopen("libarchive.so.13", RTLD_NOW | RTLD_LOCAL);
    if (h == NULL)
        return;
    const struct {
        const char *name;
        void *slot;
    } symbols[] = {
        { "archive_read_new", &lib.read_new },
        { "archive_read_free", &lib.read_free },
        { "archive_read_support_filter_xz", &lib.filter_xz },
        { "archive_read_support_filter_bzip2", &lib.filter_bzip2 },
        { "archive_read_support_format_raw", &lib.format_raw },
        { "archive_read_open", &lib.open },
        { "archive_read_next_header", &lib.next_header },
        { "archive_read_data", &lib.data },
    };
    for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
        void *f = dlsym(h, symbols[i].name);
        if (f == NULL)
            return;
        memcpy(symbols[i].slot, &f, sizeof(f));
    }
    lib.ok = true;
}

struct foreign {
    struct stream base;
    struct stream *in;
    struct archive *archive;
    uint8_t *buffer;
    int input_error; /* what reading `in` failed with */
};

static la_ssize_t foreign_input(struct archive *a, void *ctx, const void **ret)
{
    struct foreign *f = ctx;
    ssize_t n = stream_read(f->in, f->buffer, BUFFER);
    if (n < 0)
        f->input_error = (int)n;
    *ret = f->buffer;
    return n < 0 ? ARCHIVE_FATAL : n;
}

static ssize_t foreign_read(struct stream *base, void *buf, size_t cap)
{
    struct foreign *f = CONTAINER_OF(base, struct foreign, base);
    la_ssize_t n = lib.data(f->archive, buf, cap);
    return n >= 0 ? n : f->input_error < 0 ? f->input_error : -EBADMSG;
}

static void foreign_close(struct stream *base)
{
    struct foreign *f = CONTAINER_OF(base, struct foreign, base);
    if (f->archive != NULL)
        lib.read_free(f->archive);
    stream_close(f->in);
    free(f->buffer);
    free(f);
}

static const struct stream_ops foreign_ops = {
    .read = foreign_read, .write = no_write, .shut = no_shut, .close = foreign_close
};

/* Takes `in`, also on failure. */
static struct error *foreign_open(struct stream *in, enum compression kind, struct stream **ret)
{
    struct archive_entry *entry;
    pthread_once(&lib_once, load_library);
    struct foreign *f = NEW(struct foreign);
    f->base.ops = &foreign_ops;
    f->in = in;
    if (!lib.ok) {
        foreign_close(&f->base);
        return err_new(ERR_UNIMPLEMENTED, "%s needs libarchive, which is not installed",
                       compression_name(kind));
    }
    f->buffer = xmalloc(BUFFER);
    f->archive = lib.read_new();
    if (f->archive == NULL)
        abort(); /* out of memory */
    (void)(kind == COMPRESSION_XZ ? lib.filter_xz(f->archive) : lib.filter_bzip2(f->archive));
    lib.format_raw(f->archive);
    if (lib.open(f->archive, f, NULL, foreign_input, NULL) == ARCHIVE_OK &&
        lib.next_header(f->archive, &entry) == ARCHIVE_OK) {
        *ret = &f->base;
        return NULL;
    }
    int r = f->input_error;
    foreign_close(&f->base);
    return r < 0 ? task_error(r, "read %s data", compression_name(kind))
                 : err_new(ERR_INVALID, "corrupt %s data", compression_name(kind));
}

/* ---- opening ---------------------------------------------------------------------------------------------
 */

struct error *compression_peek(struct stream *s, enum compression *ret_kind, struct stream **ret)
{
    uint8_t head[COMPRESSION_MAGIC_BYTES];
    size_t len = 0;
    while (len < sizeof(head)) {
        ssize_t n = stream_read(s, head + len, sizeof(head) - len);
        if (n < 0) {
            stream_close(s);
            return task_error((int)n, "read");
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    *ret_kind = compression_detect(head, len);
    *ret = stream_with_head(s, head, len);
    return NULL;
}

struct error *decompress_stream(struct stream *s, struct stream **ret)
{
    enum compression kind;
    struct stream *in;
    TRY(compression_peek(s, &kind, &in));
    switch (kind) {
    case COMPRESSION_GZIP:
        *ret = pump_new(in, gzip_decoder_new(), true);
        return NULL;
    case COMPRESSION_ZSTD:
        *ret = pump_new(in, zstd_decoder_new(), true);
        return NULL;
    case COMPRESSION_XZ:
    case COMPRESSION_BZIP2:
        return foreign_open(in, kind, ret);
    case COMPRESSION_NONE:
        break;
    }
    *ret = in;
    return NULL;
}

struct error *compress_stream(struct stream *s, enum compression kind, int level, struct stream **ret)
{
    struct codec *codec = NULL;
    const char *name = compression_name(kind);
    if (kind == COMPRESSION_NONE) {
        *ret = s;
        return NULL;
    }
    if (kind == COMPRESSION_GZIP && level >= -1 && level <= 9)
        codec = gzip_encoder_new(level);
    else if (kind == COMPRESSION_ZSTD && (level == -1 || (level >= 1 && level <= 22)))
        codec = zstd_encoder_new(level);
    if (codec != NULL) {
        *ret = pump_new(s, codec, false);
        return NULL;
    }
    stream_close(s);
    if (kind == COMPRESSION_GZIP || kind == COMPRESSION_ZSTD)
        return err_new(ERR_INVALID, "invalid compression level %d for %s", level, name);
    return err_new(ERR_INVALID, "cannot compress to %s", name);
}
