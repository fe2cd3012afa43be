/* SPDX-License-Identifier: Apache-2.0 */
/* registry_test.c - what a registry may answer: the good ways, connections that break, answers that lie */
#include "registry/testing.h"

#include <errno.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/limits.h"

static struct descriptor layer_of(struct fake *f)
{
    return (struct descriptor){ .media_type = (char *)MT_OCI_LAYER,
                                .digest = f->blob_digest,
                                .size = (int64_t)f->blob.len };
}

/* ---- tests: the good ways ---- */

static void plain(void **state)
{
    struct fake f = { 0 };
    struct test_client c;
    struct descriptor d = { 0 };

    fake_open(&f, honest);
    test_client_open(&c, f.server.port);
    expect_ok(test_resolve(&c, NULL, &d));
    assert_string_equal(d.digest.s, f.manifest_digest.s);
    assert_string_equal(d.media_type, MT_OCI_MANIFEST);
    assert_int_equal(d.size, strlen(f.manifest));
    assert_int_equal(test_server_count(&f.server, "HEAD /v2/lib/img/manifests/latest", ""), 1);
    assert_int_equal(test_server_count(&f.server, "GET /v2/lib/img/manifests/sha256:", ""), 1);
    descriptor_deinit(&d);
    /* it is in the store now: HEAD is enough */
    expect_ok(test_resolve(&c, NULL, &d));
    assert_int_equal(test_server_count(&f.server, "GET /v2/lib/img/manifests/", ""), 1);
    descriptor_deinit(&d);
    expect_ok(test_fetch(&c, &f, NULL));
    assert_blob_there(&c, &f);
    expect_ok(test_fetch(&c, &f, NULL));
    assert_int_equal(test_server_count(&f.server, "GET /v2/lib/img/blobs/", ""), 1);
    test_client_close(&c);
    fake_close(&f);
}

static void unknown_tag(void **state)
{
    struct fake f = { 0 };
    struct test_client c;
    struct descriptor d = { 0 };

    fake_open(&f, honest);
    test_client_open(&c, f.server.port);
    free(c.ref.tag);
    c.ref.tag = xstrdup("nope");
    CLEANUP(freep) char *text = xasprintf("localhost:%d/lib/img:nope: not found", f.server.port);

    expect_error(test_resolve(&c, NULL, &d), ERR_NOT_FOUND, text);
    test_client_close(&c);
    fake_close(&f);
}

static void streamed(void **state)
{
    struct fake f = { 0 };
    struct test_client c;
    struct stream *s;
    struct buf data = { 0 };

    fake_open(&f, honest);
    test_client_open(&c, f.server.port);
    struct descriptor d = layer_of(&f);

    expect_ok(registry_open(c.registry, &c.ref, NULL, c.store, c.lease, &d, NULL, &s));
    assert_int_equal(stream_read_all(s, &data, 1 << 20), 0);
    assert_int_equal(data.len, f.blob.len);
    assert_memory_equal(data.data, f.blob.data, data.len);
    stream_close(s);
    assert_blob_there(&c, &f);
    buf_clear(&data);
    expect_ok(registry_open(c.registry, &c.ref, NULL, c.store, c.lease, &d, NULL, &s));
    assert_int_equal(stream_read_all(s, &data, 1 << 20), 0);
    assert_int_equal(data.len, f.blob.len);
    stream_close(s);
    assert_int_equal(test_server_count(&f.server, "GET", ""), 1);
    buf_deinit(&data);
    test_client_close(&c);
    fake_close(&f);
}

/* ---- connections that break, answers that lie ---- */

static bool breaking(struct fake *f, const struct request *q, struct buf *out)
{
    unsigned long from = 0;

    if (strstr(q->path, "/blobs/") == NULL)
        return honest(f, q, out);
    sscanf(q->range, "bytes=%lu-", &from);
    if (from == 0)
        buf_addf(out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", f->blob.len);
    else
        buf_addf(out,
                 "HTTP/1.1 206 Partial\r\nContent-Length: %zu\r\nContent-Range: bytes %lu-%zu/%zu\r\n\r\n",
                 f->blob.len - from, from, f->blob.len - 1, f->blob.len);
    buf_add(out, f->blob.data + from, MIN((size_t)100000, f->blob.len - from));
    return false;
}

static void resumed(void **state)
{
    struct fake f = { 0 };
    struct test_client c;

    fake_open(&f, breaking);
    test_client_open(&c, f.server.port);
    expect_ok(test_fetch(&c, &f, NULL));
    assert_blob_there(&c, &f);
    assert_true(f.count >= 3);
    test_client_close(&c);
    fake_close(&f);
}

/* A reader that goes away leaves its part for the next one. */
static void resumed_later(void **state)
{
    struct fake f = { 0 };
    struct test_client c;
    struct stream *s;
    struct buf data = { 0 };
    char part[1000];

    fake_open(&f, honest);
    test_client_open(&c, f.server.port);
    struct descriptor d = layer_of(&f);

    expect_ok(registry_open(c.registry, &c.ref, NULL, c.store, c.lease, &d, NULL, &s));
    assert_int_equal(stream_read_full(s, part, sizeof(part)), 0);
    stream_close(s);
    assert_blob_missing(&c, &f);
    expect_ok(registry_open(c.registry, &c.ref, NULL, c.store, c.lease, &d, NULL, &s));
    assert_int_equal(stream_read_all(s, &data, 1 << 20), 0);
    assert_memory_equal(data.data, f.blob.data, data.len);
    assert_int_equal(data.len, f.blob.len);
    stream_close(s);
    buf_deinit(&data);
    assert_int_equal(test_server_count(&f.server, "GET", ""), 2);
    test_client_close(&c);
    fake_close(&f);
}

/* Every way in which a blob can be wrong. */
static bool lying_blob(struct fake *f, const struct request *q, struct buf *out)
{
    const char *m = q->mode;

    if (streq(m, "other bytes")) {
        buf_addf(out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", f->blob.len);
        for (size_t i = 0; i < f->blob.len; i++)
            buf_addc(out, 'x');
        return true;
    }
    if (streq(m, "announced long"))
        return reply(out, "200 OK", "", f->blob.data, f->blob.len + 1, true);
    if (streq(m, "announced short"))
        return reply(out, "200 OK", "", f->blob.data, 10, false);
    if (streq(m, "endless")) {
        buf_adds(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (int i = 0; i < 100; i++) {
            buf_adds(out, "10000\r\n");
            for (int k = 0; k < 65536; k++)
                buf_addc(out, 'x');
            buf_adds(out, "\r\n");
        }
        return false;
    }
    if (streq(m, "short")) {
        buf_addf(out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n");
        return true;
    }
    if (streq(m, "nothing"))
        return false;
    if (streq(m, "no http")) {
        buf_adds(out, "SSH-2.0-OpenSSH_9.2\r\n");
        return false;
    }
    if (streq(m, "redirect loop"))
        return reply(out, "302 Found", "Location: /v2/again\r\n", "", 0, false);
    if (streq(m, "redirect to file"))
        return reply(out, "302 Found", "Location: file:///etc/passwd\r\n", "", 0, false);
    if (streq(m, "redirect to metadata"))
        return reply(out, "302 Found", "Location: http://169.254.169.254/latest\r\n", "", 0, false);
    if (streq(m, "redirect nowhere"))
        return reply(out, "302 Found", "", "", 0, false);
    if (streq(m, "unavailable"))
        return reply(out, "503 Service Unavailable", "Retry-After: 0\r\n", "", 0, false);
    if (streq(m, "forbidden")) {
        static const char body[] = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"not\\u001b[31m you\"}]}";

        return reply(out, "403 Forbidden", "", body, sizeof(body) - 1, false);
    }
    if (streq(m, "huge header")) {
        buf_adds(out, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 3000; i++)
            buf_addf(out, "X-%d: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", i);
        buf_adds(out, "\r\n");
        return false;
    }
    return honest(f, q, out);
}

static void blob_lies(void **state)
{
    static const struct {
        const char *mode, *error;
        enum error_kind kind;
    } cases[] = {
        { "other bytes", "digest mismatch", ERR_INVALID },
        { "announced long", "announces", ERR_DATA_LOSS },
        { "announced short", "announces 10 bytes", ERR_DATA_LOSS },
        { "endless", "is longer than", ERR_DATA_LOSS },
        { "short", "broke off after 4 of", ERR_UNAVAILABLE },
        { "nothing", "failed to do request", ERR_UNAVAILABLE },
        { "no http", "failed to do request", ERR_UNAVAILABLE },
        { "redirect loop", "stopped after 10 redirects", ERR_UNKNOWN },
        { "redirect to file", "not an http or https URL", ERR_INVALID },
        { "redirect to metadata", "link-local", ERR_UNAVAILABLE },
        { "redirect nowhere", "missing Location", ERR_UNKNOWN },
        { "unavailable", "503 Service Unavailable", ERR_UNAVAILABLE },
        { "forbidden", "403 Forbidden\ndenied: not [31m you", ERR_FORBIDDEN },
        { "huge header", "header is too large", ERR_UNAVAILABLE },
    };
    struct fake f = { 0 };
    struct test_client c;

    fake_open(&f, lying_blob);
    test_client_open(&c, f.server.port);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].mode);
        fake_set_mode(&f, cases[i].mode);
        expect_error(test_fetch(&c, &f, NULL), cases[i].kind, cases[i].error);
        assert_blob_missing(&c, &f);
    }
    /* and all is well once the registry is */
    fake_set_mode(&f, "honest");
    expect_ok(test_fetch(&c, &f, NULL));
    assert_blob_there(&c, &f);
    test_client_close(&c);
    fake_close(&f);
}

/* Ranges: a part of other content, ignored, wrong, or refused. */
static bool lying_range(struct fake *f, const struct request *q, struct buf *out)
{
    if (q->range[0] == '\0' || streq(q->mode, "ignored"))
        return reply(out, "200 OK", "", f->blob.data, f->blob.len, false);
    if (streq(q->mode, "refused"))
        return reply(out, "416 Range Not Satisfiable", "", "", 0, false);
    return reply_blob(f, q, out); /* "changed": the first part was of something else */
}

static void ranges(void **state)
{
    static const char *const modes[] = { "ignored", "refused", "changed" };

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct fake f = { 0 };
        struct test_client c;
        struct ingest *in;
        int64_t have;

        fake_open(&f, lying_range);
        fake_set_mode(&f, modes[i]);
        test_client_open(&c, f.server.port);
        expect_ok(ingest_begin(c.store, c.lease, f.blob_digest.s, &have, &in));
        expect_ok(ingest_write(in, "left by somebody", 16));
        ingest_close(in, true);
        expect_ok(test_fetch(&c, &f, NULL));
        assert_blob_there(&c, &f);
        test_client_close(&c);
        fake_close(&f);
    }
}

/* The first bytes went out before the lie showed: the reader must not see a proper end. */
static void streamed_lie(void **state)
{
    struct fake f = { 0 };
    struct test_client c;
    struct stream *s;
    struct buf data = { 0 };

    fake_open(&f, lying_blob);
    fake_set_mode(&f, "other bytes");
    test_client_open(&c, f.server.port);
    struct descriptor d = layer_of(&f);

    expect_ok(registry_open(c.registry, &c.ref, NULL, c.store, c.lease, &d, NULL, &s));
    assert_int_equal(stream_read_all(s, &data, 1 << 20), -EBADMSG);
    expect_error(registry_stream_error(s), ERR_INVALID, "digest mismatch");
    stream_close(s);
    assert_blob_missing(&c, &f);
    buf_deinit(&data);
    test_client_close(&c);
    fake_close(&f);
}

/* ---- manifests that lie ---- */

static bool lying_manifest(struct fake *f, const struct request *q, struct buf *out)
{
    CLEANUP(freep) char *headers = xasprintf("Content-Type: %s\r\n", q->mode);

    if (strstr(q->path, "/manifests/latest") == NULL)
        return honest(f, q, out);
    return reply(out, "200 OK", headers, f->manifest, strlen(f->manifest), streq(q->method, "HEAD"));
}

static void manifest_lies(void **state)
{
    static const struct {
        const char *type, *body, *error;
    } cases[] = {
        { MT_OCI_MANIFEST, "{\"schemaVersion\":2,\"layers\":[],\"config\":{},\"manifests\":[]}",
          "index and an image at once" },
        { MT_OCI_MANIFEST,
          "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_INDEX "\",\"layers\":[],\"config\":{}}",
          "does not fit" },
        { MT_OCI_INDEX,
          "{\"schemaVersion\":2,\"mediaType\":\"" MT_OCI_MANIFEST "\",\"layers\":[],\"config\":{}}",
          "was sent as" },
        { MT_OCI_MANIFEST, "{\"schemaVersion\":2}", "neither layers nor manifests" },
        { MT_OCI_MANIFEST, "[]", "not an object" },
        { MT_OCI_MANIFEST, "{\"schemaVersion\":2,", "invalid JSON" },
        { "application/vnd.docker.distribution.manifest.v1+prettyjws",
          "{\"schemaVersion\":1,\"fsLayers\":[]}", "is no longer supported since containerd v2.0" },
    };
    struct fake f = { 0 };
    struct test_client c;

    fake_open(&f, lying_manifest);
    test_client_open(&c, f.server.port);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct descriptor d = { 0 };

        free(f.manifest);
        f.manifest = xstrdup(cases[i].body);
        fake_set_mode(&f, cases[i].type);
        expect_error(test_resolve(&c, NULL, &d), ERR_INVALID, cases[i].error);
    }
    struct buf deep = { 0 };
    struct descriptor d = { 0 };

    buf_adds(&deep, "{\"layers\":");
    for (int i = 0; i < 100000; i++)
        buf_addc(&deep, '[');
    free(f.manifest);
    f.manifest = buf_take(&deep);
    expect_error(test_resolve(&c, NULL, &d), ERR_INVALID, "nested deeper");
    test_client_close(&c);
    fake_close(&f);
}

/* The tag's digest and the manifest behind it are two things. */
static bool wrong_digest(struct fake *f, const struct request *q, struct buf *out)
{
    if (streq(q->method, "GET") && strstr(q->path, "/manifests/") != NULL) {
        static const char other[] = "{\"schemaVersion\":2,\"config\":{},\"layers\":[]}";

        return reply(out, "200 OK", "Content-Type: " MT_OCI_MANIFEST "\r\n", other, sizeof(other) - 1, false);
    }
    return honest(f, q, out);
}

static void manifest_digest(void **state)
{
    struct fake f = { 0 };
    struct test_client c;
    struct descriptor d = { 0 };

    fake_open(&f, wrong_digest);
    test_client_open(&c, f.server.port);
    expect_error(test_resolve(&c, NULL, &d), ERR_DATA_LOSS, "came with the digest");
    free(c.ref.tag);
    c.ref.tag = NULL;
    c.ref.digest = xstrdup(f.manifest_digest.s);
    expect_error(test_resolve(&c, NULL, &d), ERR_DATA_LOSS, "came with the digest");
    test_client_close(&c);
    fake_close(&f);
}

/* ---- cancellation ---- */

static bool silent(struct fake *f, const struct request *q, struct buf *out)
{
    if (strstr(q->path, "/blobs/") == NULL)
        return honest(f, q, out);
    if (streq(q->mode, "headers"))
        buf_addf(out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\nabc", f->blob.len);
    int r = 0;

    if (!streq(q->mode, "headers"))
        r = task_sleep(3600 * NS_PER_SEC);
    return r == 0;
}

static void cancelled(void **state)
{
    static const char *const modes[] = { "nothing", "headers" };

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct fake f = { .mode = modes[i] };
        struct test_client c;
        struct deadline d;

        fake_open(&f, silent);
        test_client_open(&c, f.server.port);
        deadline_begin(&d, 200 * NS_PER_MS);
        expect_error(test_fetch(&c, &f, NULL), ERR_DEADLINE, "");
        deadline_end(&d);
        test_client_close(&c);
        fake_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),           cmocka_unit_test(unknown_tag),   cmocka_unit_test(streamed),
        cmocka_unit_test(resumed),         cmocka_unit_test(resumed_later), cmocka_unit_test(blob_lies),
        cmocka_unit_test(ranges),          cmocka_unit_test(streamed_lie),  cmocka_unit_test(manifest_lies),
        cmocka_unit_test(manifest_digest), cmocka_unit_test(cancelled),
    };

    setenv("no_proxy", "*", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
