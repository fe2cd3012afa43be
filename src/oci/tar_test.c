/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer against Go's archive/tar, byte for byte (skipped where there is no go), and the reader against
 * the writer and against malformed archives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "oci/tar.h"

extern char **environ;
static const char *go_source;

static void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("%s", e->message);
}

/* ---- a set of headers that meets every rule --------------------------------------------------------------
 */

struct entries {
    struct tar_entry *list;
    size_t count;
};

static struct tar_entry *add(struct entries *s, enum tar_type type, char *name /* taken */)
{
    s->list = xreallocarray(s->list, s->count + 1, sizeof(*s->list));
    struct tar_entry *e = &s->list[s->count++];
    *e = (struct tar_entry){ .type = type, .name = name, .mode = 0644, .mtime = 1700000000 };
    return e;
}

static char *repeat(const char *s, size_t times, const char *tail)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    for (size_t i = 0; i < times; i++)
        buf_adds(&b, s);
    buf_adds(&b, tail);
    return buf_take(&b);
}

static void add_names(struct entries *s)
{
    for (size_t n = 90; n < 110; n++) /* around the name field's size, without a slash to split at */
        add(s, TAR_FILE, repeat("x", n, ""));
    for (size_t n = 40; n < 60; n++) /* splittable, files and directories */
        add(s, TAR_FILE, repeat("ab/", n, "end"));
    for (size_t n = 25; n < 90; n++)
        add(s, TAR_DIR, repeat("ab/", n, ""));
    for (size_t n = 140; n < 160; n++) { /* around the prefix field's size */
        CLEANUP(freep) char *dir = repeat("d", n, "/");
        add(s, TAR_FILE, repeat(dir, 1, "name"));
        add(s, TAR_DIR, repeat(dir, 1, "name/"));
        add(s, TAR_FILE,
            repeat("q/", n / 2, "0123456789012345678901234567890123456789012345678901234567890123456789"));
    }
    for (size_t n = 85; n < 100; n++) { /* the PAX header's own name is cut */
        CLEANUP(freep) char *end = repeat("y", n % 7 + 1, "\xe2\x82\xac");
        add(s, TAR_FILE, repeat("\xc3\xa9/", n / 2, end));
    }
    add(s, TAR_FILE, xstrdup("caf\xc3\xa9"));
    add(s, TAR_FILE, xstrdup("bad\xff\xfeutf8"));
    add(s, TAR_DIR, xstrdup("\xc3\xa9/"));
    add(s, TAR_DIR, repeat("\xc3\xa9", 99, "/"));
    add(s, TAR_DIR, repeat("z", 99, "//\xc3\xa9/"));
}

static void add_numbers(struct entries *s)
{
    static const int64_t numbers[] = { 0, 1, 2097151, 2097152, 4294967295, 4294967294 };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        add(s, TAR_FILE, xasprintf("uid%zu", i))->uid = numbers[i];
        add(s, TAR_FILE, xasprintf("gid%zu", i))->gid = numbers[i];
    }
    static const int64_t times[] = { 0, -1, -1000000, 8589934591, 8589934592, 253402300799, 1 };
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        add(s, TAR_FILE, xasprintf("time%zu", i))->mtime = times[i];
        struct tar_entry *e = add(s, TAR_FILE, xasprintf("nsec%zu", i));
        e->mtime = times[i];
        e->mtime_nsec = 123456000;
    }
    for (uint32_t mode = 0; mode <= 07777; mode = mode * 2 + 1)
        add(s, TAR_FILE, xasprintf("mode%o", mode))->mode = mode;
    for (size_t size = 0; size < 1600; size += 173)
        add(s, TAR_FILE, xasprintf("size%zu", size))->size = (int64_t)size;
    struct tar_entry *e = add(s, TAR_CHAR, xstrdup("dev/null"));
    e->dev_major = 1;
    e->dev_minor = 3;
    e = add(s, TAR_BLOCKDEV, xstrdup("dev/big"));
    e->dev_major = 4095;
    e->dev_minor = 1048575;
    add(s, TAR_FIFO, xstrdup("fifo"));
}

static void add_links_and_attributes(struct entries *s)
{
    for (size_t n = 95; n < 105; n++) {
        add(s, TAR_SYMLINK, xasprintf("sym%zu", n))->linkname = repeat("t", n, "");
        add(s, TAR_HARDLINK, xasprintf("hard%zu", n))->linkname = repeat("u/", n / 2, "v");
    }
    add(s, TAR_SYMLINK, xstrdup("symu"))->linkname = xstrdup("\xc3\xa9/\xc3\xa8");
    add(s, TAR_SYMLINK, xstrdup("syml"))->linkname = repeat("a/", 49, "//////x");
    for (size_t n = 0; n < 1100; n += 83) { /* record lengths around 10, 100, 1000 */
        struct tar_entry *e = add(s, TAR_FILE, xasprintf("xattr%zu", n));
        CLEANUP(freep) char *value = repeat("v", n, "");
        tar_entry_add_xattr(e, "user.b", value, n);
        tar_entry_add_xattr(e, "user.a", "\0\1\377", 3);
    }
    for (size_t n = 70; n < 100; n++) {
        struct tar_entry *e = add(s, TAR_FILE, repeat("w", 150, ""));
        CLEANUP(freep) char *value = repeat("v", n, "");
        tar_entry_add_xattr(e, "security.capability", value, n);
    }
    struct tar_entry *e =
        add(s, TAR_FILE, repeat("ab/", 40, "both")); /* splittable, but PAX for another reason */
    tar_entry_add_xattr(e, "security.capability", "\1\0\0\2", 4);
    e = add(s, TAR_FILE, xstrdup("owner"));
    e->uname = xstrdup("root");
    e->gname = repeat("g", 33, "");
    e = add(s, TAR_FILE, xstrdup("owner2"));
    e->uname = xstrdup("\xc3\xa9");
    e->gname = repeat("g", 32, "");
}

static struct entries all_entries(void)
{
    struct entries s = { 0 };
    add_names(&s);
    add_numbers(&s);
    add_links_and_attributes(&s);
    return s;
}

static void entries_free(struct entries *s)
{
    for (size_t i = 0; i < s->count; i++)
        tar_entry_deinit(&s->list[i]);
    free(s->list);
}

static void write_archive(struct buf *out, const struct entries *s)
{
    for (size_t i = 0; i < s->count; i++) {
        tar_add_header(out, &s->list[i]);
        size_t content = (size_t)s->list[i].size + tar_padding(s->list[i].size);
        buf_reserve(out, content);
        memset(out->data + out->len, 0, content);
        out->len += content;
    }
    tar_add_end(out);
}

/* ---- Go --------------------------------------------------------------------------------------------------
 */

static void add_hex(struct buf *b, const void *p, size_t len)
{
    CLEANUP(freep) char *hex = xmalloc(2 * len + 1);
    hex_encode(hex, p, len);
    buf_adds(b, hex);
}

static void add_field(struct buf *b, const char *s)
{
    buf_addc(b, '\t');
    if (s != NULL)
        add_hex(b, s, strlen(s));
}

static void describe(struct buf *b, const struct tar_entry *e)
{
    char type = (char)e->type;
    add_hex(b, &type, 1);
    add_field(b, e->name);
    add_field(b, e->linkname);
    add_field(b, e->uname);
    add_field(b, e->gname);
    buf_addf(b, "\t%u\t%lld\t%lld\t%lld\t%lld\t%u\t%u\t%u", e->mode, (long long)e->uid, (long long)e->gid,
             (long long)e->size, (long long)e->mtime, e->mtime_nsec, e->dev_major, e->dev_minor);
    for (size_t i = 0; i < e->xattr_count; i++) {
        add_field(b, e->xattrs[i].name);
        buf_addc(b, '\t');
        add_hex(b, e->xattrs[i].value, e->xattrs[i].len);
    }
    buf_addc(b, '\n');
}

static int make_file(const void *data, size_t len)
{
    char path[] = "/tmp/minke-tar-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* Exit status of `go ...`; 127 when there is none. */
static int run_go(int in, int out, const char *a, const char *b)
{
    posix_spawn_file_actions_t fa;
    posix_spawn_file_actions_init(&fa);
    posix_spawn_file_actions_adddup2(&fa, in, 0);
    posix_spawn_file_actions_adddup2(&fa, out, 1);
    char *argv[] = { (char *)"go", (char *)a, (char *)b, NULL };
    pid_t pid;
    int status = 127 << 8;
    if (posix_spawnp(&pid, "go", &fa, NULL, argv, environ) == 0)
        waitpid(pid, &status, 0);
    posix_spawn_file_actions_destroy(&fa);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}

static void test_same_bytes_as_go(void **state)
{
    struct entries s = all_entries();
    CLEANUP(buf_deinit) struct buf spec = { 0 };
    CLEANUP(buf_deinit) struct buf ours = { 0 };
    CLEANUP(buf_deinit) struct buf theirs = { 0 };
    for (size_t i = 0; i < s.count; i++)
        describe(&spec, &s.list[i]);
    write_archive(&ours, &s);

    int out = make_file("", 0);
    int in = make_file(spec.data, spec.len);
    int rc = run_go(in, out, "run", go_source);
    assert_int_equal(rc, 0);
    off_t size = lseek(out, 0, SEEK_END);
    buf_reserve(&theirs, (size_t)size);
    assert_int_equal(pread(out, theirs.data, (size_t)size, 0), size);
    theirs.len = (size_t)size;
    close(in);
    close(out);
    for (size_t i = 0; i < MIN(ours.len, theirs.len); i++) {
        if (ours.data[i] != theirs.data[i])
            fail_msg("byte %zu (block %zu, offset %zu) differs; header begins \"%.100s\"", i, i / 512,
                     i % 512, theirs.data + i / 512 * 512);
    }
    assert_int_equal(ours.len, theirs.len);
    entries_free(&s);
}

/* ---- reading ---------------------------------------------------------------------------------------------
 */

static void test_round_trip(void **state)
{
    struct entries s = all_entries();
    CLEANUP(buf_deinit) struct buf archive = { 0 };
    write_archive(&archive, &s);
    struct stream *in = stream_from_memory(archive.data, archive.len);
    struct tar_reader *r = tar_reader_new(in);
    struct tar_entry *e;
    for (size_t i = 0; i < s.count; i++) {
        const struct tar_entry *want = &s.list[i];
        expect_ok(tar_reader_next(r, &e));
        assert_non_null(e);
        assert_string_equal(e->name, want->name);
        assert_string_equal(e->linkname, want->linkname != NULL ? want->linkname : "");
        assert_string_equal(e->uname, want->uname != NULL ? want->uname : "");
        assert_string_equal(e->gname, want->gname != NULL ? want->gname : "");
        assert_int_equal(e->type, want->type);
        assert_int_equal(e->mode, want->mode);
        assert_int_equal(e->uid, want->uid);
        assert_int_equal(e->gid, want->gid);
        assert_int_equal(e->size, want->size);
        assert_int_equal(e->mtime, want->mtime);
        assert_int_equal(e->mtime_nsec, want->mtime_nsec);
        assert_int_equal(e->dev_major, want->dev_major);
        assert_int_equal(e->dev_minor, want->dev_minor);
        assert_int_equal(e->xattr_count, want->xattr_count);
        for (size_t k = 0; k < e->xattr_count; k++) { /* ours come sorted */
            const struct tar_xattr *w = &want->xattrs[want->xattr_count - 1 - k];
            assert_string_equal(e->xattrs[k].name, w->name);
            assert_int_equal(e->xattrs[k].len, w->len);
            assert_memory_equal(e->xattrs[k].value, w->value, w->len);
        }
        if (i % 2 == 0) /* every other content is read, the rest skipped by next() */
            continue;
        char content[2000];
        int64_t got = 0;
        ssize_t n;
        while ((n = tar_reader_read(r, content, 100)) > 0)
            got += n;
        assert_int_equal(n, 0);
        assert_int_equal(got, want->size);
    }
    expect_ok(tar_reader_next(r, &e));
    assert_null(e);
    expect_ok(tar_reader_drain(r));
    tar_reader_free(r);
    stream_close(in);
    entries_free(&s);
}

/* Read to the end: NULL or the first error. */
static struct error *read_whole(const void *data, size_t len)
{
    struct stream *in = stream_from_memory(data, len);
    struct tar_reader *r = tar_reader_new(in);
    struct tar_entry *e = NULL;
    struct error *err;
    char content[4096];
    while ((err = tar_reader_next(r, &e)) == NULL && e != NULL) {
        ssize_t n = 0;
        for (int64_t total = 0; total < 1 << 20; total += n) {
            n = tar_reader_read(r, content, sizeof(content));
            if (n <= 0)
                break;
        }
        if (n < 0) {
            err = err_new(ERR_INVALID, "content: %zd", n);
            break;
        }
    }
    tar_reader_free(r);
    stream_close(in);
    return err;
}

static void expect_refused(const struct buf *b)
{
    struct error *e = read_whole(b->data, b->len);
    assert_non_null(e);
    assert_int_equal(e->kind, ERR_INVALID);
    err_free(e);
}

static void checksum(char *block)
{
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum);
}

static void one_file(struct buf *out, int64_t size)
{
    struct tar_entry e = { .type = TAR_FILE, .name = (char *)"file", .size = size };
    buf_clear(out);
    tar_add_header(out, &e);
}

/* As Go reads it: docker's client leaves out what fills the last block, and the end of the archive. */
static void test_end_without_padding(void **state)
{
    for (size_t padding = 0; padding < TAR_BLOCK; padding += 100) {
        CLEANUP(buf_deinit) struct buf b = { 0 };
        char content[TAR_BLOCK] = "text";
        struct tar_entry *e;

        one_file(&b, 4);
        buf_add(&b, content, 4 + padding);
        struct stream *in = stream_from_memory(b.data, b.len);
        struct tar_reader *r = tar_reader_new(in);
        expect_ok(tar_reader_next(r, &e));
        assert_string_equal(e->name, "file");
        assert_int_equal(tar_reader_read(r, content, sizeof(content)), 4);
        expect_ok(tar_reader_next(r, &e));
        assert_null(e);
        expect_ok(tar_reader_next(r, &e));
        assert_null(e);
        tar_reader_free(r);
        stream_close(in);
    }
}

static void test_malformed(void **state)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    one_file(&b, 0);
    b.data[0] = 'g'; /* checksum no longer fits */
    expect_refused(&b);
    one_file(&b, 100); /* cut short */
    expect_refused(&b);
    one_file(&b, 0);
    buf_truncate(&b, 300);
    expect_refused(&b);
    static const char *const sizes[] = { "-0000000001", "99999999999", "0000000000x",
                                         "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                                         "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        one_file(&b, 0);
        memcpy(b.data + 124, sizes[i], MIN(strlen(sizes[i]), (size_t)12));
        checksum(b.data);
        expect_refused(&b);
    }
    one_file(&b, 0);
    b.data[156] = 'Q';
    checksum(b.data);
    expect_refused(&b);
    one_file(&b, 0); /* data behind a single zero block */
    char zero[512] = { 0 };
    CLEANUP(buf_deinit) struct buf twice = { 0 };
    buf_add(&twice, zero, sizeof(zero));
    buf_add(&twice, b.data, b.len);
    expect_refused(&twice);
    one_file(&b, (int64_t)LIMIT_TAR_PAX + 1); /* a huge extended header */
    b.data[156] = 'x';
    checksum(b.data);
    expect_refused(&b);
}

static void pax_archive(struct buf *out, const char *records, size_t len)
{
    struct tar_entry x = { .type = TAR_FILE, .name = (char *)"PaxHeaders.0/f", .size = (int64_t)len };
    buf_clear(out);
    tar_add_header(out, &x);
    out->data[156] = 'x';
    checksum(out->data);
    buf_add(out, records, len);
    char zeros[512] = { 0 };
    buf_add(out, zeros, tar_padding((int64_t)len));
    struct tar_entry e = { .type = TAR_FILE, .name = (char *)"f" };
    tar_add_header(out, &e);
    tar_add_end(out);
}

static void test_malformed_pax(void **state)
{
    static const struct {
        const char *s;
        size_t len;
    } bad[] = {
        { "nonsense", 8 },
        { "9999 path=x\n", 12 },
        { "12 path=a\0b\n", 12 },
        { "11 path a\n\n", 11 },
        { "6 =ab\n", 6 },
        { "-6 a=b\n", 7 },
        { "11 uid=abc\n", 11 },
        { "12 mtime=1x\n", 12 },
        { "11 size=-5\n", 11 },
        { "18 linkpath=a\0bcd\n", 18 },
        { "99999999999999999999 a=b\n", 25 },
        { "3 \n", 3 },
    };
    CLEANUP(buf_deinit) struct buf b = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        pax_archive(&b, bad[i].s, bad[i].len);
        struct error *e = read_whole(b.data, b.len);
        if (e == NULL)
            fail_msg("PAX case %zu was accepted", i);
        err_free(e);
    }
    CLEANUP(buf_deinit) struct buf records = { 0 };
    for (int i = 0; i <= LIMIT_TAR_XATTRS; i++)
        buf_addf(&records, "%zu SCHILY.xattr.user.%06d=x\n", strlen("XX SCHILY.xattr.user.000000=x\n"), i);
    pax_archive(&b, records.data, records.len);
    expect_refused(&b);
}

/* Old GNU sparse, and 1.0 with its map in front of the data. */
static void test_sparse(void **state)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    const char *records = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n26 GNU.sparse.name=hollow\n29 "
                          "GNU.sparse.realsize=10000\n";
    pax_archive(&b, records, strlen(records));
    buf_truncate(&b, 1024);
    struct tar_entry e = { .type = TAR_FILE, .name = (char *)"GNUSparseFile.0/hollow", .size = 512 + 6 };
    tar_add_header(&b, &e);
    char block[512] = "2\n5\n3\n9997\n3\n";
    buf_add(&b, block, 512);
    char data[512] = "abcxyz";
    buf_add(&b, data, 512);
    tar_add_end(&b);

    struct stream *in = stream_from_memory(b.data, b.len);
    struct tar_reader *r = tar_reader_new(in);
    struct tar_entry *got;
    expect_ok(tar_reader_next(r, &got));
    assert_string_equal(got->name, "hollow");
    assert_int_equal(got->size, 10000);
    char whole[10001];
    size_t at = 0;
    ssize_t n;
    while ((n = tar_reader_read(r, whole + at, 777)) > 0)
        at += (size_t)n;
    assert_int_equal(n, 0);
    assert_int_equal(at, 10000);
    assert_memory_equal(whole, "\0\0\0\0\0abc\0", 9);
    assert_memory_equal(whole + 9996, "\0xyz", 4);
    expect_ok(tar_reader_next(r, &got));
    assert_null(got);
    tar_reader_free(r);
    stream_close(in);

    static const char *const bad[] = { "2\n5\n3\n6\n3\n",
                                       "1\n0\n7\n",
                                       "1\n9999\n6\n",
                                       "99999999\n",
                                       "x\n",
                                       "1\n-1\n6\n",
                                       "1\n9223372036854775807\n6\n",
                                       "2\n0\n3\n9999\n3\n" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        memset(b.data + 1536, 0, 512);
        memcpy(b.data + 1536, bad[i], strlen(bad[i]));
        expect_refused(&b);
    }
}

/* Any damage may be refused or accepted, but never crash or hang. */
static void test_damage(void **state)
{
    struct entries s = all_entries();
    CLEANUP(buf_deinit) struct buf archive = { 0 };
    write_archive(&archive, &s);
    uint64_t x = 88172645463325252u;
    for (int round = 0; round < 400; round++) {
        CLEANUP(buf_deinit) struct buf copy = { 0 };
        buf_add(&copy, archive.data, archive.len);
        for (int i = 0; i < 3; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            copy.data[x % copy.len] = (char)(x >> 40);
        }
        err_free(read_whole(copy.data, round % 4 == 0 ? x % copy.len : copy.len));
    }
    entries_free(&s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_end_without_padding),
        cmocka_unit_test(test_malformed),  cmocka_unit_test(test_malformed_pax),
        cmocka_unit_test(test_sparse),     cmocka_unit_test(test_damage),
    };
    const struct CMUnitTest oracle[] = { cmocka_unit_test(test_same_bytes_as_go) };
    go_source = argc > 1 ? argv[1] : NULL;
    if (go_source == NULL)
        return cmocka_run_group_tests(tests, NULL, NULL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (run_go(null, null, "version", NULL) == 127)
        return 77; /* no oracle here */
    return cmocka_run_group_tests(oracle, NULL, NULL);
}
