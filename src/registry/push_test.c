/* SPDX-License-Identifier: Apache-2.0 */
/*
 * push_test.c - pushing to a registry that keeps what it is given, and misbehaves where a test says so
 */
#include "registry/push.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "registry/testing.h"

/* ---- the server ---- */

struct keeper {
    struct test_server server;
    const char *fault; /* what goes wrong, NULL: nothing */
    int faults;        /* under the server's lock, as all below: how often it still does */
    struct keeper *other;
    struct map blobs; /* digests of whole uploads */
    struct map tags;  /* "name" -> digest */
};

struct push_request {
    char method[8], path[512], auth[256];
    long length;
};

static bool faulty(struct keeper *f, const char *fault)
{
    mutex_lock(&f->server.lock);
    bool yes = f->fault != NULL && streq(f->fault, fault) && f->faults > 0;

    if (yes)
        f->faults--;
    mutex_unlock(&f->server.lock);
    return yes;
}

static bool read_request(struct stream *s, struct push_request *q)
{
    CLEANUP(buf_deinit) struct buf head = { 0 };
    char length[32];

    if (!test_read_head(s, &head) || sscanf(buf_str(&head), "%7s %511s", q->method, q->path) != 2)
        return false;
    test_header_value(head.data, "\r\nAuthorization: ", q->auth, sizeof(q->auth));
    test_header_value(head.data, "\r\nContent-Length: ", length, sizeof(length));
    q->length = strtol(length, NULL, 10);
    return true;
}

static bool say(struct stream *s, const char *status, const char *headers)
{
    CLEANUP(freep) char *text = xasprintf("HTTP/1.1 %s\r\nContent-Length: 0\r\n%s\r\n", status, headers);

    return stream_write_full(s, text, strlen(text)) == 0;
}

static bool read_body(struct stream *s, long length, struct digest *ret)
{
    CLEANUP(freep) char *data = xmalloc((size_t)length + 1);
    int r = stream_read_full(s, data, (size_t)length);

    *ret = digest_of(data, (size_t)length);
    return r >= 0;
}

static bool put_blob(struct keeper *f, struct stream *s, const struct push_request *q)
{
    const char *want = strstr(q->path, "digest=");
    struct digest got;

    if (faulty(f, "break")) {
        char some[1024];

        (void)!stream_read_full(s, some, MIN(sizeof(some), (size_t)q->length / 2));
        return false; /* the connection goes */
    }
    if (faulty(f, "redirect")) {
        CLEANUP(freep)
        char *where = xasprintf("Location: http://localhost:%d%s\r\nConnection: close\r\n",
                                f->other->server.port, q->path);

        say(s, "307 Temporary Redirect", where);
        return false;
    }
    if (faulty(f, "early refusal")) {
        say(s, "413 Payload Too Large", "Connection: close\r\n");
        return false;
    }
    if (!read_body(s, q->length, &got) || want == NULL)
        return false;
    if (!streq(got.s, want + 7))
        return say(s, "400 Bad Request", "");
    mutex_lock(&f->server.lock);
    map_set(&f->blobs, got.s, f);
    mutex_unlock(&f->server.lock);
    return say(s, "201 Created", "");
}

static bool put_manifest(struct keeper *f, struct stream *s, const struct push_request *q)
{
    struct digest got;

    if (!read_body(s, q->length, &got))
        return false;
    mutex_lock(&f->server.lock);
    strmap_set(&f->tags, strrchr(q->path, '/') + 1, got.s);
    mutex_unlock(&f->server.lock);
    CLEANUP(freep)
    char *headers =
        xasprintf("Docker-Content-Digest: %s\r\n", faulty(f, "other digest") ? digest_of("x", 1).s : got.s);

    return say(s, "201 Created", headers);
}

static bool post_upload(struct keeper *f, struct stream *s, const struct push_request *q)
{
    CLEANUP(freep)
    char *place = xasprintf("Location: /v2/place?state=1\r\n");
    CLEANUP(freep)
    char *foreign = f->other != NULL
                        ? xasprintf("Location: http://127.0.0.1:%d/v2/place\r\n", f->other->server.port)
                        : NULL;

    if (faulty(f, "busy"))
        return say(s, "503 Service Unavailable", "");
    if (faulty(f, "no place"))
        return say(s, "202 Accepted", "");
    if (faulty(f, "bad place"))
        return say(s, "202 Accepted", "Location: ftp://localhost/x\r\n");
    if (faulty(f, "foreign"))
        return say(s, "202 Accepted", foreign);
    if (strstr(q->path, "mount=") != NULL && faulty(f, "mounts"))
        return say(s, "201 Created", "");
    if (strstr(q->path, "mount=") != NULL && faulty(f, "refuses mounts"))
        return say(s, "403 Forbidden", "");
    return say(s, "202 Accepted", place);
}

static bool head(struct keeper *f, struct stream *s, const struct push_request *q)
{
    const char *name = strrchr(q->path, '/') + 1;
    CLEANUP(freep) char *headers = NULL;

    mutex_lock(&f->server.lock);
    bool blob = map_has(&f->blobs, name);
    const char *tag = strmap_get(&f->tags, name);

    if (tag != NULL)
        headers = xasprintf("Docker-Content-Digest: %s\r\n", tag);
    mutex_unlock(&f->server.lock);
    return say(s, blob || tag != NULL ? "200 OK" : "404 Not Found", headers != NULL ? headers : "");
}

static bool serve_one(struct test_server *t, struct stream *s)
{
    struct keeper *f = CONTAINER_OF(t, struct keeper, server);
    struct push_request q = { 0 };

    if (!read_request(s, &q))
        return false;
    test_server_note(t, q.method, q.path, q.auth);
    if (f->fault != NULL && streq(f->fault, "basic") && q.auth[0] == '\0') {
        say(s, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\nConnection: close\r\n");
        return false;
    }
    if (streq(q.method, "HEAD"))
        return head(f, s, &q);
    if (streq(q.method, "POST"))
        return post_upload(f, s, &q);
    return strstr(q.path, "/manifests/") != NULL ? put_manifest(f, s, &q) : put_blob(f, s, &q);
}

static void keeper_open(struct keeper *f, const char *fault, int faults)
{
    *f = (struct keeper){ .fault = fault, .faults = faults };
    strmap_init(&f->tags);
    test_server_open(&f->server, serve_one);
}

static void keeper_close(struct keeper *f)
{
    test_server_close(&f->server);
    map_deinit(&f->blobs);
    map_deinit(&f->tags);
}

/* ---- a client with an image of 3 blobs ---- */

struct client {
    struct test_client base;
    struct descriptor target;
    struct digest layers[2];
};

static struct digest put(struct client *c, const void *data, size_t len)
{
    struct digest d;

    assert_null(blob_put(c->base.store, c->base.lease, data, len, &d));
    return d;
}

static void make_image(struct client *c)
{
    CLEANUP(buf_deinit) struct buf big = { 0 };

    for (uint32_t i = 0; i < 100000; i++)
        buf_add(&big, &i, sizeof(i));
    struct digest config = put(c, "{}", 2);

    c->layers[0] = put(c, big.data, big.len);
    c->layers[1] = put(c, "small", 5);
    CLEANUP(freep)
    char *text =
        xasprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":{\"mediaType\":\"%s\","
                  "\"digest\":\"%s\",\"size\":2},\"layers\":[{\"mediaType\":\"%s\",\"digest\":\"%s\","
                  "\"size\":%zu},{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":5}]}",
                  MT_OCI_MANIFEST, MT_OCI_CONFIG, config.s, MT_OCI_LAYER, c->layers[0].s, big.len,
                  MT_OCI_LAYER, c->layers[1].s);
    struct digest manifest = put(c, text, strlen(text));

    descriptor_init(&c->target, MT_OCI_MANIFEST, &manifest, (int64_t)strlen(text));
}

static void client_open(struct client *c, struct keeper *f)
{
    *c = (struct client){ 0 };
    test_client_open(&c->base, f->server.port);
    make_image(c);
}

static void client_close(struct client *c)
{
    descriptor_deinit(&c->target);
    test_client_close(&c->base);
}

static struct error *push_with(struct client *c, const struct registry_auth *auth)
{
    struct registry_push_options o = { .ref = &c->base.ref, .auth = auth };
    struct registry_push *p = NULL;
    struct error *e = registry_push_begin(c->base.registry, &o, c->base.store, &c->target, &p);

    if (e == NULL)
        e = registry_push_blobs(p);
    if (e == NULL)
        e = registry_push_manifests(p);
    registry_push_end(p);
    return e;
}

static void expect_pushed(struct client *c, struct keeper *f)
{
    assert_true(map_has(&f->blobs, c->layers[0].s));
    assert_true(map_has(&f->blobs, c->layers[1].s));
    assert_string_equal(strmap_get(&f->tags, "latest"), c->target.digest.s);
}

/* ---- tests ---- */

static void whole(void **state)
{
    struct keeper f;
    struct client c;

    keeper_open(&f, NULL, 0);
    client_open(&c, &f);
    expect_ok(push_with(&c, NULL));
    expect_pushed(&c, &f);
    assert_int_equal(test_server_count(&f.server, "PUT ", "/place"), 3);
    /* once more: nothing is sent */
    expect_ok(push_with(&c, NULL));
    assert_int_equal(test_server_count(&f.server, "PUT ", ""), 4);
    client_close(&c);
    keeper_close(&f);
}

static void by_digest(void **state)
{
    struct keeper f;
    struct client c;

    keeper_open(&f, NULL, 0);
    client_open(&c, &f);
    free(c.base.ref.tag);
    c.base.ref.tag = NULL;
    expect_ok(push_with(&c, NULL));
    assert_string_equal(strmap_get(&f.tags, c.target.digest.s), c.target.digest.s);
    assert_false(map_has(&f.tags, "latest"));
    client_close(&c);
    keeper_close(&f);
}

/* Children come before parents, each once. */
static void index_of_two(void **state)
{
    struct keeper f;
    struct client c;

    keeper_open(&f, NULL, 0);
    client_open(&c, &f);
    CLEANUP(freep)
    char *entry = xasprintf("{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%lld}", MT_OCI_MANIFEST,
                            c.target.digest.s, (long long)c.target.size);
    CLEANUP(freep)
    char *text = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\",\"manifests\":[%s,%s]}", MT_OCI_INDEX,
                           entry, entry);
    struct digest d = put(&c, text, strlen(text)), child = c.target.digest;

    descriptor_deinit(&c.target);
    descriptor_init(&c.target, MT_OCI_INDEX, &d, (int64_t)strlen(text));
    expect_ok(push_with(&c, NULL));
    expect_pushed(&c, &f);
    assert_string_equal(strmap_get(&f.tags, child.s), child.s);
    assert_int_equal(test_server_count(&f.server, "PUT ", "/manifests/"), 2);
    assert_true(str_has_prefix(f.server.log.v[f.server.log.len - 1], "PUT /v2/lib/img/manifests/latest"));
    client_close(&c);
    keeper_close(&f);
}

static void missing_content(void **state)
{
    struct keeper f;
    struct client c;

    keeper_open(&f, NULL, 0);
    client_open(&c, &f);
    struct digest d = digest_of("not there", 9);

    c.target.digest = d;
    expect_error(push_with(&c, NULL), ERR_NOT_FOUND, "not found");
    assert_int_equal(f.server.log.len, 0);
    client_close(&c);
    keeper_close(&f);
}

/* What goes away when it is tried again. */
static void tried_again(void **state)
{
    static const char *const faults[] = { "break", "busy" };

    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct keeper f;
        struct client c;

        keeper_open(&f, faults[i], 2);
        client_open(&c, &f);
        expect_ok(push_with(&c, NULL));
        expect_pushed(&c, &f);
        client_close(&c);
        keeper_close(&f);
    }
}

static void refused(void **state)
{
    static const struct {
        const char *fault, *text;
    } cases[] = { { "no place", "the registry gave no place to upload" },
                  { "bad place", "not an http or https URL" },
                  { "early refusal", "413 Payload Too Large" },
                  { "other digest", "got digest" } };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct keeper f;
        struct client c;
        struct error *e;

        keeper_open(&f, cases[i].fault, 100);
        client_open(&c, &f);
        e = push_with(&c, NULL);
        assert_non_null(e);
        expect_error(e, e->kind, cases[i].text);
        client_close(&c);
        keeper_close(&f);
    }
}

static struct error *give(void *ctx, const char *host, char **ret_user, char **ret_secret)
{
    *ret_user = xstrdup("u");
    *ret_secret = xstrdup("geheim");
    return NULL;
}

static void password(void **state)
{
    struct registry_auth auth = { .credentials = give };
    struct keeper f;
    struct client c;

    keeper_open(&f, "basic", 0);
    client_open(&c, &f);
    expect_error(push_with(&c, NULL), ERR_UNAUTHORIZED, "401 Unauthorized");
    expect_ok(push_with(&c, &auth));
    expect_pushed(&c, &f);
    client_close(&c);
    keeper_close(&f);
}

/* The place is on another server, or the upload is sent there: our password is not. */
static void elsewhere(void **state)
{
    static const char *const faults[] = { "foreign", "redirect" };
    struct registry_auth auth = { .credentials = give };

    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct keeper f, other;
        struct client c;

        keeper_open(&other, NULL, 0);
        keeper_open(&f, faults[i], 100);
        f.other = &other;
        client_open(&c, &f);
        expect_ok(push_with(&c, &auth));
        assert_true(map_has(&other.blobs, c.layers[0].s));
        assert_int_equal(test_server_count(&other.server, "PUT ", "Basic"), 0);
        client_close(&c);
        keeper_close(&f);
        keeper_close(&other);
    }
}

static void mounted(void **state)
{
    static const char *const faults[] = { "mounts", "refuses mounts" };

    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct keeper f;
        struct client c;
        struct reference from;

        keeper_open(&f, faults[i], 100);
        client_open(&c, &f);
        reference_copy(&from, &c.base.ref);
        free(from.path);
        from.path = xstrdup("lib/base");
        registry_note_source(c.base.store, &from, &c.layers[0]);
        expect_ok(push_with(&c, NULL));
        assert_int_equal(test_server_count(&f.server, "POST ", "from=lib%2Fbase"), 1);
        assert_int_equal(test_server_count(&f.server, "PUT ", "/place"), i == 0 ? 2 : 3);
        reference_deinit(&from);
        client_close(&c);
        keeper_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),           cmocka_unit_test(by_digest),   cmocka_unit_test(index_of_two),
        cmocka_unit_test(missing_content), cmocka_unit_test(tried_again), cmocka_unit_test(refused),
        cmocka_unit_test(password),        cmocka_unit_test(elsewhere),   cmocka_unit_test(mounted),
    };

    setenv("no_proxy", "*", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
