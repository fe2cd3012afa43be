/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/compress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <zlib.h>

#include "base/bytes.h"
#include "base/limits.h"

static void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("%s", e->message);
}

static void make_text(struct buf *b, size_t len)
{
    uint32_t x = 1;
    while (b->len < len) {
        x = x * 1103515245 + 12345;
        buf_addf(b, "line %u of a text; ", x >> 20);
    }
    buf_truncate(b, len);
}

/* Appends to out; read in pieces of `piece` bytes. */
static void pack(enum compression c, int level, const struct buf *in, size_t piece, struct buf *out)
{
    struct stream *r;
    CLEANUP(freep) char *chunk = xmalloc(piece);
    ssize_t n;
    expect_ok(compress_stream(stream_from_memory(buf_str(in), in->len), c, level, &r));
    while ((n = stream_read(r, chunk, piece)) > 0)
        buf_add(out, chunk, (size_t)n);
    assert_int_equal(n, 0);
    stream_close(r);
}

/* 0 or what the read failed with. */
static int unpack(const void *data, size_t len, struct buf *out)
{
    struct stream *plain;
    struct error *e = decompress_stream(stream_from_memory(data, len), &plain);
    if (e != NULL) {
        int r = e->kind == ERR_INVALID ? -EBADMSG : -EIO;
        err_free(e);
        return r;
    }
    int r = stream_read_all(plain, out, 1 << 30);
    stream_close(plain);
    return r;
}

static void expect_same(const struct buf *a, const struct buf *b)
{
    assert_int_equal(a->len, b->len);
    if (a->len > 0)
        assert_memory_equal(a->data, b->data, a->len);
}

static void test_round_trip(void **state)
{
    static const struct {
        enum compression c;
        int level;
    } cases[] = { { COMPRESSION_GZIP, -1 }, { COMPRESSION_GZIP, 0 },  { COMPRESSION_GZIP, 1 },
                  { COMPRESSION_GZIP, 9 },  { COMPRESSION_ZSTD, -1 }, { COMPRESSION_ZSTD, 1 },
                  { COMPRESSION_ZSTD, 19 } };
    static const size_t sizes[] = { 0, 1, 1000, 300000, 3000000 };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
            CLEANUP(buf_deinit) struct buf text = { 0 };
            CLEANUP(buf_deinit) struct buf packed = { 0 };
            CLEANUP(buf_deinit) struct buf again = { 0 };
            CLEANUP(buf_deinit) struct buf back = { 0 };
            make_text(&text, sizes[k]);
            pack(cases[i].c, cases[i].level, &text, 100000, &packed);
            pack(cases[i].c, cases[i].level, &text, 100000, &again);
            expect_same(&packed, &again);
            assert_int_equal(unpack(packed.data, packed.len, &back), 0);
            assert_int_equal(compression_detect(packed.data, packed.len), cases[i].c);
            expect_same(&text, &back);
        }
    }
    struct stream *unused;
    struct error *e = compress_stream(stream_from_memory("", 0), COMPRESSION_GZIP, 10, &unused);
    assert_int_equal(e->kind, ERR_INVALID);
    err_free(e);
    e = compress_stream(stream_from_memory("", 0), COMPRESSION_XZ, -1, &unused);
    assert_int_equal(e->kind, ERR_INVALID);
    err_free(e);
}

static void test_plain(void **state)
{
    static const char *const texts[] = { "", "x", "BZ", "\x1f\x8b", "just text" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        CLEANUP(buf_deinit) struct buf out = { 0 };
        assert_int_equal(unpack(texts[i], strlen(texts[i]), &out), 0);
        assert_int_equal(compression_detect(texts[i], strlen(texts[i])), COMPRESSION_NONE);
        assert_string_equal(buf_str(&out), texts[i]);
    }
}

/* zlib reads what we write, and we read several members in a row. */
static void test_gzip_interchange(void **state)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(buf_deinit) struct buf packed = { 0 };
    CLEANUP(buf_deinit) struct buf back = { 0 };
    make_text(&text, 200000);
    pack(COMPRESSION_GZIP, -1, &text, 7777, &packed);
    z_stream z = { 0 };
    CLEANUP(freep) char *plain = xmalloc(text.len + 10);
    assert_int_equal(inflateInit2(&z, 31), Z_OK);
    z.next_in = (Bytef *)packed.data;
    z.avail_in = (uInt)packed.len;
    z.next_out = (Bytef *)plain;
    z.avail_out = (uInt)text.len + 10;
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, text.len);
    assert_memory_equal(plain, text.data, text.len);
    inflateEnd(&z);

    size_t once = packed.len;
    pack(COMPRESSION_GZIP, 6, &text, 7777, &packed);
    assert_true(packed.len > once);
    assert_int_equal(unpack(packed.data, packed.len, &back), 0);
    assert_int_equal(back.len, 2 * text.len);
}

static void test_damage(void **state)
{
    static const enum compression kinds[] = { COMPRESSION_GZIP, COMPRESSION_ZSTD };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        CLEANUP(buf_deinit) struct buf text = { 0 };
        CLEANUP(buf_deinit) struct buf packed = { 0 };
        make_text(&text, 100000);
        pack(kinds[i], -1, &text, 100000, &packed);
        for (size_t cut = 7; cut < packed.len; cut += packed.len / 37 + 1) {
            CLEANUP(buf_deinit) struct buf out = { 0 };
            if (unpack(packed.data, cut, &out) == 0)
                fail_msg("%s cut at %zu of %zu was accepted", compression_name(kinds[i]), cut, packed.len);
        }
        for (size_t at = 20; at < packed.len; at += packed.len / 31 + 1) { /* both have checksums */
            CLEANUP(buf_deinit) struct buf out = { 0 };
            packed.data[at] ^= 0x20;
            if (unpack(packed.data, packed.len, &out) == 0)
                fail_msg("%s with byte %zu damaged was accepted", compression_name(kinds[i]), at);
            packed.data[at] ^= 0x20;
        }
        CLEANUP(buf_deinit) struct buf out = { 0 };
        buf_adds(&packed, "trailing junk");
        assert_int_not_equal(unpack(packed.data, packed.len, &out), 0);
    }
}

/* A frame that asks for a window beyond our limit is refused, not obeyed. */
static void test_zstd_window(void **state)
{
    static const uint8_t frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8 /* window 2^31 */, 0x01, 0x00, 0x00 };
    CLEANUP(buf_deinit) struct buf out = { 0 };
    assert_int_equal(unpack(frame, sizeof(frame), &out), -EBADMSG);
}

/* "hello minke\n" as the xz and bzip2 programs pack it. */
static void test_foreign(void **state)
{
    static const char xz[] = "fd377a585a000004e6d6b4460200210116000000742fe5a301000b68656c6c6f206d696e6b650a0"
                             "08b9d08ca6dfa1d110001240ca618d8d81fb6f37d010000000004595a";
    static const char bzip2[] =
        "425a6839314159265359004a604d000002510000104000026fa000220d0d32100300cee265a63c5dc914e1424001298134";
    const char *const hex[] = { xz, bzip2 };
    for (size_t i = 0; i < ARRAY_LEN(hex); i++) {
        uint8_t data[256];
        CLEANUP(buf_deinit) struct buf out = { 0 };
        size_t len = strlen(hex[i]) / 2;
        assert_int_equal(hex_decode(data, hex[i], 2 * len), 0);
        assert_int_equal(unpack(data, len, &out), 0);
        assert_int_equal(compression_detect(data, len), i == 0 ? COMPRESSION_XZ : COMPRESSION_BZIP2);
        assert_string_equal(buf_str(&out), "hello minke\n");
        buf_clear(&out);
        assert_int_equal(unpack(data, len - 8, &out), -EBADMSG);
    }
}

static void test_speed(void **state)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(buf_deinit) struct buf packed = { 0 };
    CLEANUP(buf_deinit) struct buf back = { 0 };
    make_text(&text, 64 << 20);
    int64_t t0 = monotonic_ns();
    pack(COMPRESSION_GZIP, -1, &text, 1 << 20, &packed);
    int64_t t1 = monotonic_ns();
    assert_int_equal(unpack(packed.data, packed.len, &back), 0);
    int64_t t2 = monotonic_ns();
    print_message("gzip: %.0f MB/s out, %.0f MB/s in, ratio %.2f\n", 64e9 / (double)(t1 - t0),
                  64e9 / (double)(t2 - t1), (double)text.len / (double)packed.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_gzip_interchange),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_zstd_window),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
