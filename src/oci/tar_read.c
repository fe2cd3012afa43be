/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/tar.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "oci/tar_extended.h"

#define INPUT_SIZE (64 * KIB)

struct tar_reader {
    struct stream *stream;
    char *input;
    size_t at, len; /* unread bytes of input */
    bool ended;     /* end marker seen */
    int64_t left;   /* stored bytes of the current entry not read yet */
    size_t padding; /* behind them */
    uint64_t entries;
    struct tar_entry entry;
    struct tar_sparse sparse;
    char block[TAR_BLOCK];
};

struct tar_reader *tar_reader_new(struct stream *s)
{
    struct tar_reader *r = NEW(struct tar_reader);
    r->stream = s;
    r->input = xmalloc(INPUT_SIZE);
    return r;
}

void tar_reader_free(struct tar_reader *r)
{
    if (r == NULL)
        return;
    tar_entry_deinit(&r->entry);
    tar_sparse_deinit(&r->sparse);
    free(r->input);
    free(r);
}

void tar_reader_freep(struct tar_reader **r)
{
    tar_reader_free(*r);
    *r = NULL;
}

static struct error *read_failed(int r)
{
    if (r == -EPIPE)
        return err_new(ERR_INVALID, "archive/tar: unexpected EOF");
    if (r == -EBADMSG)
        return err_new(ERR_INVALID, "archive/tar: corrupt or unexpected content");
    return err_sys(-r, "archive/tar: read");
}

/* ---- input -----------------------------------------------------------------------------------------------
 */

/* Some bytes; large wishes bypass the buffer. */
static ssize_t input_read(struct tar_reader *r, void *buf, size_t cap)
{
    if (r->at == r->len) {
        if (cap >= INPUT_SIZE)
            return stream_read(r->stream, buf, cap);
        ssize_t n = stream_read(r->stream, r->input, INPUT_SIZE);
        if (n <= 0)
            return n;
        r->at = 0;
        r->len = (size_t)n;
    }
    size_t n = MIN(cap, r->len - r->at);
    memcpy(buf, r->input + r->at, n);
    r->at += n;
    return (ssize_t)n;
}

/* 1: all `len` bytes; 0: the stream ended before the first; negative errno. */
static int input_full(struct tar_reader *r, void *buf, size_t len)
{
    size_t have = 0;
    while (have < len) {
        ssize_t n = input_read(r, (char *)buf + have, len - have);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return have == 0 ? 0 : -EPIPE;
        have += (size_t)n;
    }
    return 1;
}

static int input_skip(struct tar_reader *r, int64_t n)
{
    char scratch[4096];
    while (n > 0) {
        if (r->at < r->len) {
            size_t step = (size_t)MIN((int64_t)(r->len - r->at), n);
            r->at += step;
            n -= (int64_t)step;
            continue;
        }
        ssize_t got = input_read(r, scratch, (size_t)MIN((int64_t)sizeof(scratch), n));
        if (got <= 0)
            return got < 0 ? (int)got : -EPIPE;
        n -= got;
    }
    return 0;
}

/* What fills the last block of a file may be missing where the archive ends, as with Go: docker's client
 * leaves it out when it puts a Dockerfile into an archive (`build -f -`). */
static int skip_padding(struct tar_reader *r, int64_t n)
{
    int e = input_skip(r, n);

    if (e != -EPIPE)
        return e;
    r->ended = true;
    return 0;
}

static bool is_zero(const char *block)
{
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        if (block[i] != 0)
            return false;
    }
    return true;
}

/* ---- fields ----------------------------------------------------------------------------------------------
 */

int tar_number(const char *field, size_t size, int64_t *ret)
{
    const unsigned char *p = (const unsigned char *)field;
    if (p[0] & 0x80) { /* base 256, two's complement */
        unsigned char inv = p[0] & 0x40 ? 0xff : 0;
        uint64_t x = 0;
        for (size_t i = 0; i < size; i++) {
            unsigned char c = p[i] ^ inv;
            if (i == 0)
                c &= 0x7f;
            if (x >> 56 != 0)
                return -ERANGE;
            x = x << 8 | c;
        }
        if (x >> 63 != 0)
            return -ERANGE;
        *ret = inv != 0 ? ~(int64_t)x : (int64_t)x;
        return 0;
    }
    size_t from = 0, to = size;
    while (from < to && (field[from] == ' ' || field[from] == '\0'))
        from++;
    while (to > from && (field[to - 1] == ' ' || field[to - 1] == '\0'))
        to--;
    int64_t x = 0;
    for (; from < to && field[from] != '\0'; from++) {
        if (field[from] < '0' || field[from] > '7' || x >> 59 != 0)
            return -EINVAL;
        x = x << 3 | (field[from] - '0');
    }
    *ret = x;
    return 0;
}

static char *field_string(const char *field, size_t size)
{
    return xstrndup(field, size);
}

static bool checksum_ok(const char *block)
{
    int64_t want;
    int64_t plain = 0, with_sign = 0; /* some old writers summed signed bytes */
    if (tar_number(block + 148, 8, &want) < 0)
        return false;
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        char c = i >= 148 && i < 156 ? ' ' : block[i];
        plain += (unsigned char)c;
        with_sign += (signed char)c;
    }
    return want == plain || want == with_sign;
}

/* ---- extended headers ------------------------------------------------------------------------------------
 */

/* The content of an extended header, bounded. */
static struct error *read_special(struct tar_reader *r, int64_t size, struct buf *out)
{
    if (size < 0 || size > (int64_t)LIMIT_TAR_PAX)
        return tar_bad_header("extended header is too large");
    buf_reserve(out, (size_t)size + 1);
    int n = size > 0 ? input_full(r, out->data, (size_t)size) : 1;
    if (n <= 0)
        return read_failed(n == 0 ? -EPIPE : n);
    out->len = (size_t)size;
    out->data[size] = '\0';
    n = skip_padding(r, (int64_t)tar_padding(size));
    return n < 0 ? read_failed(n) : NULL;
}

static struct error *read_extended(struct tar_reader *r, char type, int64_t size, struct tar_extended *x)
{
    CLEANUP(buf_deinit) struct buf content = { 0 };
    TRY(read_special(r, size, &content));
    switch (type) {
    case 'x':
        return tar_extended_pax(x, content.data, content.len);
    case 'L':
        free(x->long_name);
        x->long_name = xstrdup(content.data);
        return NULL;
    case 'K':
        free(x->long_link);
        x->long_link = xstrdup(content.data);
        return NULL;
    default: /* 'g': what is said for all the following entries is not used, as in Go */
        return NULL;
    }
}

/* ---- the main header -------------------------------------------------------------------------------------
 */

static struct error *parse_fields(const char *b, struct tar_entry *e, int64_t *ret_size)
{
    bool ustar = memcmp(b + 257, "ustar\0", 6) == 0;
    bool gnu = memcmp(b + 257, "ustar  \0", 8) == 0;
    int64_t mode, major = 0, minor = 0;
    if (tar_number(b + 100, 8, &mode) < 0 || tar_number(b + 108, 8, &e->uid) < 0 ||
        tar_number(b + 116, 8, &e->gid) < 0 || tar_number(b + 124, 12, ret_size) < 0 ||
        tar_number(b + 136, 12, &e->mtime) < 0)
        return tar_bad_header("malformed number");
    e->name = field_string(b, 100);
    e->linkname = field_string(b + 157, 100);
    e->mode = (uint32_t)mode & 07777;
    if (ustar || gnu) {
        e->uname = field_string(b + 265, 32);
        e->gname = field_string(b + 297, 32);
        if (tar_number(b + 329, 8, &major) < 0 || tar_number(b + 337, 8, &minor) < 0)
            return tar_bad_header("malformed number");
        bool device = b[156] == TAR_CHAR || b[156] == TAR_BLOCKDEV;
        if (device && (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff))
            return tar_bad_header("device number out of range");
        e->dev_major = device ? (uint32_t)major : 0;
        e->dev_minor = device ? (uint32_t)minor : 0;
    }
    if (ustar && b[345] != '\0') {
        CLEANUP(freep) char *prefix = field_string(b + 345, 155);
        char *joined = xasprintf("%s/%s", prefix, e->name);
        free(e->name);
        e->name = joined;
    }
    return NULL;
}

static struct error *set_type(struct tar_entry *e, char type)
{
    bool slash = str_has_suffix(e->name, "/");
    switch (type) {
    case '\0':
        e->type = slash ? TAR_DIR : TAR_FILE;
        return NULL;
    case '7': /* contiguous: a file */
    case 'S': /* GNU sparse */
        e->type = TAR_FILE;
        return NULL;
    case TAR_FILE:
    case TAR_HARDLINK:
    case TAR_SYMLINK:
    case TAR_CHAR:
    case TAR_BLOCKDEV:
    case TAR_DIR:
    case TAR_FIFO:
        e->type = (enum tar_type)type;
        return NULL;
    default:
        return err_new(ERR_INVALID, "archive/tar: unhandled tar header type %d", (unsigned char)type);
    }
}

/* Extension blocks of an old sparse header lie between it and the stored bytes. */
static ssize_t extension_input(void *ctx, void *buf, size_t len)
{
    int n = input_full(ctx, buf, len);
    return n > 0 ? 0 : n == 0 ? -EPIPE : n;
}

static ssize_t sparse_input(void *ctx, void *buf, size_t len)
{
    struct tar_reader *r = ctx;
    if ((int64_t)len > r->left)
        return -EBADMSG;
    int n = input_full(r, buf, len);
    if (n <= 0)
        return n == 0 ? -EPIPE : n;
    r->left -= (int64_t)len;
    return 0;
}

/* The block is a main header: fill r->entry. */
static struct error *read_main(struct tar_reader *r, char type, struct tar_extended *x)
{
    struct tar_entry *e = &r->entry;
    int64_t size;
    TRY(parse_fields(r->block, e, &size));
    tar_extended_apply(x, e, &size);
    TRY(set_type(e, type));
    if (size < 0 || size > INT64_MAX - TAR_BLOCK)
        return tar_bad_header("size out of range");
    if (e->name[0] == '\0')
        return tar_bad_header("empty name");
    r->left = e->type == TAR_FILE ? size : 0;
    r->padding = tar_padding(r->left);
    e->size = r->left;
    if (type == 'S')
        return tar_sparse_old(&r->sparse, r->block, e, r->left, extension_input, r);
    if (x->sparse.seen && e->type == TAR_FILE)
        return tar_sparse_pax(&r->sparse, &x->sparse, e, &r->left, sparse_input, r);
    return NULL;
}

/* Past what the caller left unread. */
static struct error *finish_entry(struct tar_reader *r)
{
    int n = input_skip(r, r->left);
    if (n == 0)
        n = skip_padding(r, (int64_t)r->padding);
    r->left = 0;
    r->padding = 0;
    tar_entry_deinit(&r->entry);
    tar_sparse_deinit(&r->sparse);
    return n < 0 ? read_failed(n) : NULL;
}

/* The next header block; *ret_end when the archive is over. */
static struct error *read_block(struct tar_reader *r, bool *ret_end)
{
    int n = input_full(r, r->block, TAR_BLOCK);
    if (n < 0)
        return read_failed(n);
    if (n > 0 && is_zero(r->block)) {
        n = input_full(r, r->block, TAR_BLOCK);
        if (n < 0)
            return read_failed(n);
        if (n > 0 && !is_zero(r->block))
            return tar_bad_header("data behind a zero block");
        n = 0;
    }
    *ret_end = n == 0;
    if (n > 0 && !checksum_ok(r->block))
        return tar_bad_header("checksum does not match");
    return NULL;
}

struct error *tar_reader_next(struct tar_reader *r, struct tar_entry **ret)
{
    CLEANUP(tar_extended_deinit) struct tar_extended x = { 0 };
    TRY(finish_entry(r));
    while (!r->ended) {
        TRY(read_block(r, &r->ended));
        if (r->ended)
            break;
        if (++r->entries > LIMIT_TAR_ENTRIES)
            return err_new(ERR_INVALID, "archive/tar: more than %d entries", LIMIT_TAR_ENTRIES);
        char type = r->block[156];
        if (type == 'x' || type == 'g' || type == 'L' || type == 'K') {
            int64_t size;
            if (tar_number(r->block + 124, 12, &size) < 0)
                return tar_bad_header("malformed number");
            TRY(read_extended(r, type, size, &x));
            continue;
        }
        TRY(read_main(r, type, &x));
        *ret = &r->entry;
        return NULL;
    }
    *ret = NULL;
    return NULL;
}

ssize_t tar_reader_read(struct tar_reader *r, void *buf, size_t cap)
{
    if (r->sparse.active) {
        int64_t hole = tar_sparse_hole(&r->sparse);
        if (hole > 0) {
            size_t n = (size_t)MIN(hole, (int64_t)cap);
            memset(buf, 0, n);
            tar_sparse_advance(&r->sparse, (int64_t)n);
            return (ssize_t)n;
        }
        cap = (size_t)MIN((int64_t)cap, tar_sparse_data(&r->sparse));
    }
    if (r->left == 0 || cap == 0)
        return 0;
    ssize_t n = input_read(r, buf, (size_t)MIN((int64_t)cap, r->left));
    if (n <= 0)
        return n < 0 ? n : -EPIPE;
    r->left -= n;
    if (r->sparse.active)
        tar_sparse_advance(&r->sparse, n);
    return n;
}

int64_t tar_reader_skip_hole(struct tar_reader *r)
{
    if (!r->sparse.active)
        return 0;
    int64_t hole = tar_sparse_hole(&r->sparse);
    tar_sparse_advance(&r->sparse, hole);
    return hole;
}

struct error *tar_reader_drain(struct tar_reader *r)
{
    char scratch[4096];
    ssize_t n;
    r->at = r->len = 0;
    while ((n = stream_read(r->stream, scratch, sizeof(scratch))) > 0)
        continue;
    return n < 0 ? read_failed((int)n) : NULL;
}
