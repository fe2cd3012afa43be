/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Against a registry inside this process that answers what a test wants it to.
 */
#include "registry/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "io/spawn.h"
#include "task/task.h"

/* ---- the server ---- */

struct request {
    char method[8], path[512];
    char *head; /* all header lines */
    char auth[512], range[64];
    const char *mode; /* the server's, at that time */
};

struct fake {
    struct group group;
    int fd;
    int port;
    const char *cert, *key; /* TLS when set */
    /* Append the raw answer; false: close the connection behind it. */
    bool (*answer)(struct fake *f, const struct request *q, struct buf *out);
    struct mutex lock;
    struct strv log; /* under lock: "GET /v2/.. <authorization>" */
    int count;       /* under lock: requests so far */
    struct buf blob;
    struct digest blob_digest, manifest_digest;
    char *manifest;
    const char *mode; /* under lock: of the test's answer function */
    struct fake *other;
};

struct connection {
    struct fake *fake;
    struct stream *s;
};

static void header_value(const char *head, const char *name, char *ret, size_t cap)
{
    const char *p = strcasestr(head, name);

    ret[0] = '\0';
    if (p != NULL)
        snprintf(ret, cap, "%.*s", (int)strcspn(p + strlen(name), "\r"), p + strlen(name));
}

static bool read_head(struct stream *s, struct buf *head)
{
    char c;

    while (head->len < 65536 && stream_read(s, &c, 1) == 1) {
        buf_addc(head, c);
        if (str_has_suffix(buf_str(head), "\r\n\r\n"))
            return true;
    }
    return false;
}

static bool serve_one(struct fake *f, struct stream *s)
{
    CLEANUP(buf_deinit) struct buf head = { 0 };
    CLEANUP(buf_deinit) struct buf out = { 0 };
    struct request q = { 0 };
    char length[32];

    if (!read_head(s, &head) || sscanf(buf_str(&head), "%7s %511s", q.method, q.path) != 2)
        return false;
    q.head = head.data;
    header_value(q.head, "\r\nAuthorization: ", q.auth, sizeof(q.auth));
    header_value(q.head, "\r\nRange: ", q.range, sizeof(q.range));
    header_value(q.head, "\r\nContent-Length: ", length, sizeof(length));
    for (long n = strtol(length, NULL, 10); n > 0; n--) {
        char c;

        if (stream_read(s, &c, 1) != 1)
            return false;
        buf_addc(&head, c);
    }
    q.head = head.data;
    mutex_lock(&f->lock);
    strv_addf(&f->log, "%s %s %s", q.method, q.path, q.auth);
    f->count++;
    q.mode = f->mode;
    mutex_unlock(&f->lock);
    bool keep = f->answer(f, &q, &out);

    return stream_write_full(s, buf_str(&out), out.len) == 0 && keep;
}

static struct error *serve_connection(void *arg)
{
    struct connection *c = arg;
    struct fake *f = c->fake;
    CLEANUP(stream_closep) struct stream *s = c->s;

    free(c);
    if (f->cert != NULL) {
        struct tls_server_config config = { .cert_file = f->cert, .key_file = f->key };
        struct stream *secure;
        struct error *e = stream_tls_server(s, &config, &secure);

        if (e != NULL) {
            err_free(e);
            return NULL;
        }
        s = secure;
    }
    while (serve_one(f, s))
        ;
    return NULL;
}

static struct error *accept_all(void *arg)
{
    struct fake *f = arg;

    for (;;) {
        int r = task_wait_fd(f->fd, POLLIN);

        if (r < 0)
            return NULL;
        int fd = accept4(f->fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            continue;
        struct connection *c = NEW(struct connection);

        *c = (struct connection){ f, stream_from_fd(fd) };
        TRY(group_spawn(&f->group, "connection", serve_connection, c));
    }
}

/* An image of one layer: 300 KB that do not repeat. */
static void make_image(struct fake *f)
{
    uint32_t x = 12345;

    for (int i = 0; i < 75000; i++) {
        x = x * 1664525 + 1013904223;
        buf_add(&f->blob, &x, sizeof(x));
    }
    f->blob_digest = digest_of(f->blob.data, f->blob.len);
    f->manifest = xasprintf("{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":{\"mediaType\":\"%s\","
                            "\"digest\":\"%s\",\"size\":2},"
                            "\"layers\":[{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}]}",
                            MT_OCI_MANIFEST, MT_OCI_CONFIG, digest_of("{}", 2).s, MT_OCI_LAYER,
                            f->blob_digest.s, f->blob.len);
    f->manifest_digest = digest_of(f->manifest, strlen(f->manifest));
}

static void fake_open(struct fake *f,
                      bool (*answer)(struct fake *f, const struct request *q, struct buf *out))
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);

    f->answer = answer;
    mutex_init(&f->lock);
    make_image(f);
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(f->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(f->fd, 16), 0);
    assert_int_equal(getsockname(f->fd, (struct sockaddr *)&a, &len), 0);
    f->port = ntohs(a.sin_port);
    group_open(&f->group, GROUP_KEEP_GOING);
    assert_null(group_spawn(&f->group, "accept", accept_all, f));
}

static void fake_close(struct fake *f)
{
    group_cancel(&f->group);
    err_free(group_join(&f->group));
    close(f->fd);
    strv_deinit(&f->log);
    buf_deinit(&f->blob);
    free(f->manifest);
    mutex_deinit(&f->lock);
}

static void set_mode(struct fake *f, const char *mode)
{
    mutex_lock(&f->lock);
    f->mode = mode;
    mutex_unlock(&f->lock);
}

static size_t count_requests(struct fake *f, const char *start)
{
    size_t n = 0;

    mutex_lock(&f->lock);
    for (size_t i = 0; i < f->log.len; i++)
        n += str_has_prefix(f->log.v[i], start);
    mutex_unlock(&f->lock);
    return n;
}

static bool any_log_has(struct fake *f, const char *part)
{
    bool found = false;

    mutex_lock(&f->lock);
    for (size_t i = 0; i < f->log.len; i++)
        found |= strstr(f->log.v[i], part) != NULL;
    mutex_unlock(&f->lock);
    return found;
}

/* ---- answers ---- */

static bool reply(struct buf *out, const char *status, const char *headers, const char *body, size_t len,
                  bool head)
{
    buf_addf(out, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, len, headers);
    if (!head)
        buf_add(out, body, len);
    return true;
}

static bool reply_manifest(struct fake *f, const struct request *q, struct buf *out)
{
    CLEANUP(freep)
    char *headers =
        xasprintf("Content-Type: " MT_OCI_MANIFEST "\r\nDocker-Content-Digest: %s\r\n", f->manifest_digest.s);

    return reply(out, "200 OK", headers, f->manifest, strlen(f->manifest), streq(q->method, "HEAD"));
}

static bool reply_blob(struct fake *f, const struct request *q, struct buf *out)
{
    unsigned long from = 0;

    if (sscanf(q->range, "bytes=%lu-", &from) != 1)
        return reply(out, "200 OK", "", f->blob.data, f->blob.len, false);
    CLEANUP(freep)
    char *headers = xasprintf("Content-Range: bytes %lu-%zu/%zu\r\n", from, f->blob.len - 1, f->blob.len);

    return reply(out, "206 Partial Content", headers, f->blob.data + from, f->blob.len - from, false);
}

/* A registry as it should be. */
static bool honest(struct fake *f, const struct request *q, struct buf *out)
{
    if (strstr(q->path, "/v2/lib/img/manifests/latest") != NULL ||
        (strstr(q->path, "/manifests/") != NULL && strstr(q->path, f->manifest_digest.s) != NULL))
        return reply_manifest(f, q, out);
    if (strstr(q->path, "/blobs/") != NULL && strstr(q->path, f->blob_digest.s) != NULL)
        return reply_blob(f, q, out);
    return reply(out, "404 Not Found", "Content-Type: application/json\r\n", "{}", 2,
                 streq(q->method, "HEAD"));
}

/* ---- a client ---- */

struct client {
    char root[40];
    struct store *store;
    struct lease *lease;
    struct registry_config config;
    struct registry *registry;
    struct reference ref;
};

static void client_open(struct client *c, struct fake *f)
{
    *c = (struct client){ 0 };
    snprintf(c->root, sizeof(c->root), "/tmp/registry_test.XXXXXX");
    assert_non_null(mkdtemp(c->root));
    assert_null(store_open(c->root, &c->store));
    assert_null(lease_open(c->store, &c->lease));
    c->config.certs_dir = (char *)"/nonexistent";
    c->config.retry_ns = NS_PER_MS;
    c->registry = registry_new(&c->config);
    CLEANUP(freep) char *name = xasprintf("localhost:%d/lib/img:latest", f->port);

    assert_null(reference_parse(name, &c->ref));
}

static void client_close(struct client *c)
{
    registry_free(c->registry);
    lease_close(c->lease);
    store_close(c->store);
    reference_deinit(&c->ref);
    assert_int_equal(path_remove_all(AT_FDCWD, c->root), 0);
}

static void expect_error(struct error *e, enum error_kind kind, const char *part)
{
    assert_non_null(e);
    if (e->kind != kind || strstr(e->message, part) == NULL)
        fail_msg("got \"%s\" (%s), expected \"%s\" (%s)", e->message, err_kind_name(e->kind), part,
                 err_kind_name(kind));
    err_free(e);
}

static void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("unexpected error: %s", e->message);
}

static struct error *resolve(struct client *c, const struct registry_auth *auth, struct descriptor *ret)
{
    return registry_resolve(c->registry, &c->ref, auth, c->store, c->lease, ret);
}

static struct descriptor layer_of(struct fake *f)
{
    return (struct descriptor){ .media_type = (char *)MT_OCI_LAYER,
                                .digest = f->blob_digest,
                                .size = (int64_t)f->blob.len };
}

static struct error *fetch(struct client *c, struct fake *f, const struct registry_auth *auth)
{
    struct descriptor d = layer_of(f);

    return registry_fetch(c->registry, &c->ref, auth, c->store, c->lease, &d, NULL);
}

static void assert_blob_there(struct client *c, struct fake *f)
{
    struct buf data = { 0 };

    expect_ok(blob_read(c->store, &f->blob_digest, 1 << 20, &data));
    assert_int_equal(data.len, f->blob.len);
    assert_memory_equal(data.data, f->blob.data, data.len);
    buf_deinit(&data);
}

static void assert_blob_missing(struct client *c, struct fake *f)
{
    struct blob_info info;

    expect_error(blob_stat(c->store, &f->blob_digest, &info), ERR_NOT_FOUND, "");
}

/* ---- tests: the good ways ---- */

static void plain(void **state)
{
    struct fake f = { 0 };
    struct client c;
    struct descriptor d = { 0 };

    fake_open(&f, honest);
    client_open(&c, &f);
    expect_ok(resolve(&c, NULL, &d));
    assert_string_equal(d.digest.s, f.manifest_digest.s);
    assert_string_equal(d.media_type, MT_OCI_MANIFEST);
    assert_int_equal(d.size, strlen(f.manifest));
    assert_int_equal(count_requests(&f, "HEAD /v2/lib/img/manifests/latest"), 1);
    assert_int_equal(count_requests(&f, "GET /v2/lib/img/manifests/sha256:"), 1);
    descriptor_deinit(&d);
    /* it is in the store now: HEAD is enough */
    expect_ok(resolve(&c, NULL, &d));
    assert_int_equal(count_requests(&f, "GET /v2/lib/img/manifests/"), 1);
    descriptor_deinit(&d);
    expect_ok(fetch(&c, &f, NULL));
    assert_blob_there(&c, &f);
    expect_ok(fetch(&c, &f, NULL));
    assert_int_equal(count_requests(&f, "GET /v2/lib/img/blobs/"), 1);
    client_close(&c);
    fake_close(&f);
}

static void unknown_tag(void **state)
{
    struct fake f = { 0 };
    struct client c;
    struct descriptor d = { 0 };

    fake_open(&f, honest);
    client_open(&c, &f);
    free(c.ref.tag);
    c.ref.tag = xstrdup("nope");
    CLEANUP(freep) char *text = xasprintf("localhost:%d/lib/img:nope: not found", f.port);

    expect_error(resolve(&c, NULL, &d), ERR_NOT_FOUND, text);
    client_close(&c);
    fake_close(&f);
}

static void streamed(void **state)
{
    struct fake f = { 0 };
    struct client c;
    struct stream *s;
    struct buf data = { 0 };

    fake_open(&f, honest);
    client_open(&c, &f);
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
    assert_int_equal(count_requests(&f, "GET"), 1);
    buf_deinit(&data);
    client_close(&c);
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
    struct client c;

    fake_open(&f, breaking);
    client_open(&c, &f);
    expect_ok(fetch(&c, &f, NULL));
    assert_blob_there(&c, &f);
    assert_true(f.count >= 3);
    client_close(&c);
    fake_close(&f);
}

/* A reader that goes away leaves its part for the next one. */
static void resumed_later(void **state)
{
    struct fake f = { 0 };
    struct client c;
    struct stream *s;
    struct buf data = { 0 };
    char part[1000];

    fake_open(&f, honest);
    client_open(&c, &f);
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
    assert_int_equal(count_requests(&f, "GET"), 2);
    client_close(&c);
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
    struct client c;

    fake_open(&f, lying_blob);
    client_open(&c, &f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        print_message("%s\n", cases[i].mode);
        set_mode(&f, cases[i].mode);
        expect_error(fetch(&c, &f, NULL), cases[i].kind, cases[i].error);
        assert_blob_missing(&c, &f);
    }
    /* and all is well once the registry is */
    set_mode(&f, "honest");
    expect_ok(fetch(&c, &f, NULL));
    assert_blob_there(&c, &f);
    client_close(&c);
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
        struct client c;
        struct ingest *in;
        int64_t have;

        fake_open(&f, lying_range);
        set_mode(&f, modes[i]);
        client_open(&c, &f);
        expect_ok(ingest_begin(c.store, c.lease, f.blob_digest.s, &have, &in));
        expect_ok(ingest_write(in, "left by somebody", 16));
        ingest_close(in, true);
        expect_ok(fetch(&c, &f, NULL));
        assert_blob_there(&c, &f);
        client_close(&c);
        fake_close(&f);
    }
}

/* The first bytes went out before the lie showed: the reader must not see a proper end. */
static void streamed_lie(void **state)
{
    struct fake f = { 0 };
    struct client c;
    struct stream *s;
    struct buf data = { 0 };

    fake_open(&f, lying_blob);
    set_mode(&f, "other bytes");
    client_open(&c, &f);
    struct descriptor d = layer_of(&f);

    expect_ok(registry_open(c.registry, &c.ref, NULL, c.store, c.lease, &d, NULL, &s));
    assert_int_equal(stream_read_all(s, &data, 1 << 20), -EBADMSG);
    expect_error(registry_stream_error(s), ERR_INVALID, "digest mismatch");
    stream_close(s);
    assert_blob_missing(&c, &f);
    buf_deinit(&data);
    client_close(&c);
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
    struct client c;

    fake_open(&f, lying_manifest);
    client_open(&c, &f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct descriptor d = { 0 };

        free(f.manifest);
        f.manifest = xstrdup(cases[i].body);
        set_mode(&f, cases[i].type);
        expect_error(resolve(&c, NULL, &d), ERR_INVALID, cases[i].error);
    }
    struct buf deep = { 0 };
    struct descriptor d = { 0 };

    buf_adds(&deep, "{\"layers\":");
    for (int i = 0; i < 100000; i++)
        buf_addc(&deep, '[');
    free(f.manifest);
    f.manifest = buf_take(&deep);
    expect_error(resolve(&c, NULL, &d), ERR_INVALID, "nested deeper");
    client_close(&c);
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
    struct client c;
    struct descriptor d = { 0 };

    fake_open(&f, wrong_digest);
    client_open(&c, &f);
    expect_error(resolve(&c, NULL, &d), ERR_DATA_LOSS, "came with the digest");
    free(c.ref.tag);
    c.ref.tag = NULL;
    c.ref.digest = xstrdup(f.manifest_digest.s);
    expect_error(resolve(&c, NULL, &d), ERR_DATA_LOSS, "came with the digest");
    client_close(&c);
    fake_close(&f);
}

/* ---- who may ---- */

#define BASIC "Basic dTpwYXNz" /* u:pass */

struct wallet {
    int asked;
    const char *user, *secret;
    char host[64];
};

static struct error *give_credentials(void *ctx, const char *host, char **ret_user, char **ret_secret)
{
    struct wallet *w = ctx;

    w->asked++;
    snprintf(w->host, sizeof(w->host), "%s", host);
    *ret_user = xstrdup(w->user);
    *ret_secret = xstrdup(w->secret);
    return NULL;
}

static bool basic_only(struct fake *f, const struct request *q, struct buf *out)
{
    if (!streq(q->auth, BASIC))
        return reply(out, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"r\"\r\n", "", 0, false);
    return honest(f, q, out);
}

static void basic(void **state)
{
    struct wallet w = { .user = "u", .secret = "pass" };
    char *ids[] = { (char *)"one", NULL };
    struct strv identity = { ids, 1, 1 };
    struct registry_auth auth = { .ctx = &w, .identity = &identity, .credentials = give_credentials };
    struct descriptor d = { 0 };
    struct fake f = { 0 };
    struct client c;

    fake_open(&f, basic_only);
    client_open(&c, &f);
    expect_error(resolve(&c, NULL, &d), ERR_UNAUTHORIZED, "401 Unauthorized");
    expect_ok(resolve(&c, &auth, &d));
    descriptor_deinit(&d);
    CLEANUP(freep) char *host = xasprintf("localhost:%d", f.port);

    assert_string_equal(w.host, host);
    expect_ok(fetch(&c, &f, &auth));
    assert_int_equal(w.asked, 1);
    /* another identity has to ask for itself, and is refused */
    struct wallet thief = { .user = "", .secret = "" };
    char *other_ids[] = { (char *)"two", NULL };
    struct strv other = { other_ids, 1, 1 };
    struct registry_auth other_auth = { .ctx = &thief, .identity = &other, .credentials = give_credentials };

    expect_error(resolve(&c, &other_auth, &d), ERR_UNAUTHORIZED, "401 Unauthorized");
    assert_int_equal(thief.asked, 1);
    client_close(&c);
    fake_close(&f);
}

/* Registry and token server in one; the token holds the request's scope. */
static bool bearer(struct fake *f, const struct request *q, struct buf *out)
{
    char headers[512];

    if (str_has_prefix(q->path, "/token")) {
        if (streq(q->mode, "password") && !streq(q->auth, BASIC))
            return reply(out, "401 Unauthorized", "", "{}", 2, false);
        if (strstr(q->path, "scope=repository%3Alib%2Fimg%3Apull") == NULL ||
            strstr(q->path, "service=svc") == NULL)
            return reply(out, "400 Bad Request", "", "", 0, false);
        static const char token[] = "{\"token\":\"secret-token\",\"expires_in\":300}";

        return reply(out, "200 OK", "", token, sizeof(token) - 1, false);
    }
    if (streq(q->auth, "Bearer secret-token") && !streq(q->mode, "denied"))
        return honest(f, q, out);
    snprintf(headers, sizeof(headers),
             "WWW-Authenticate: Bearer "
             "realm=\"http://localhost:%d/token\",service=\"svc\",scope=\"repository:lib/img:pull\"%s\r\n",
             f->other != NULL ? f->other->port : f->port,
             *q->auth != '\0' ? ",error=\"insufficient_scope\"" : "");
    return reply(out, "401 Unauthorized", headers, "", 0, streq(q->method, "HEAD"));
}

static void tokens(void **state)
{
    struct descriptor d = { 0 };
    struct fake f = { .mode = "anonymous" };
    struct client c;

    fake_open(&f, bearer);
    client_open(&c, &f);
    expect_ok(resolve(&c, NULL, &d));
    descriptor_deinit(&d);
    expect_ok(fetch(&c, &f, NULL));
    /* one token serves all of it */
    assert_int_equal(count_requests(&f, "GET /token"), 1);
    client_close(&c);

    set_mode(&f, "denied");
    client_open(&c, &f);
    expect_error(
        resolve(&c, NULL, &d), ERR_UNAUTHORIZED,
        "pull access denied, repository does not exist or may require authorization: server message: "
        "insufficient_scope: authorization failed");
    client_close(&c);

    set_mode(&f, "password");
    client_open(&c, &f);
    expect_error(resolve(&c, NULL, &d), ERR_UNAUTHORIZED, "failed to fetch anonymous token");
    struct wallet w = { .user = "u", .secret = "pass" };
    struct registry_auth auth = { .ctx = &w, .credentials = give_credentials };

    expect_ok(resolve(&c, &auth, &d));
    descriptor_deinit(&d);
    client_close(&c);
    fake_close(&f);
}

static struct error *give_token(void *ctx, const char *host, const char *realm, const char *service,
                                const struct strv *scopes, char **ret_token, int64_t *ret_expires_ns)
{
    assert_int_equal(scopes->len, 1);
    assert_string_equal(scopes->v[0], "repository:lib/img:pull");
    assert_string_equal(service, "svc");
    if (*(int *)ctx == 0)
        return err_new(ERR_UNIMPLEMENTED, "no");
    *ret_token = xstrdup(*(int *)ctx == 1 ? "secret-token" : "bad\r\nInjected: yes");
    *ret_expires_ns = now_ns() + 60 * NS_PER_SEC;
    return NULL;
}

static void tokens_of_the_client(void **state)
{
    struct descriptor d = { 0 };
    struct fake f = { .mode = "anonymous" };
    struct client c;

    fake_open(&f, bearer);
    for (int kind = 0; kind < 3; kind++) {
        struct registry_auth auth = { .ctx = &kind, .token = give_token };

        client_open(&c, &f);
        if (kind == 2) {
            expect_error(resolve(&c, &auth, &d), ERR_INVALID, "malformed");
        } else {
            expect_ok(resolve(&c, &auth, &d));
            descriptor_deinit(&d);
        }
        client_close(&c);
    }
    assert_int_equal(count_requests(&f, "GET /token"), 1); /* only for the one that could not */
    assert_false(any_log_has(&f, "Injected"));
    fake_close(&f);
}

/* /v2/ wants a token; the token server a password. */
static bool login_server(struct fake *f, const struct request *q, struct buf *out)
{
    char headers[256];

    if (str_has_prefix(q->path, "/token?")) {
        static const char bad[] = "{\"details\":\"incorrect username or password\"}",
                          good[] = "{\"token\":\"t\"}";

        if (strstr(q->path, "scope=") != NULL || !streq(q->auth, BASIC))
            return reply(out, "401 Unauthorized", "", bad, sizeof(bad) - 1, false);
        return reply(out, "200 OK", "", good, sizeof(good) - 1, false);
    }
    if (streq(q->path, "/v2/") && streq(q->auth, "Bearer t"))
        return reply(out, "200 OK", "", "{}", 2, false);
    snprintf(headers, sizeof(headers),
             "WWW-Authenticate: Bearer realm=\"http://localhost:%d/token\",service=\"s\"\r\n", f->port);
    return reply(out, "401 Unauthorized", headers, "", 0, false);
}

static void login(void **state)
{
    struct fake f = { 0 };
    struct client c;

    fake_open(&f, login_server);
    client_open(&c, &f);
    CLEANUP(freep) char *url = xasprintf("http://localhost:%d/v1/", f.port);
    CLEANUP(freep)
    char *text =
        xasprintf("Get \"https://localhost:%d/v2/\": unauthorized: incorrect username or password", f.port);

    expect_ok(registry_login(c.registry, url, "u", "pass"));
    expect_error(registry_login(c.registry, url, "u", "wrong"), ERR_UNAUTHORIZED, text);
    client_close(&c);
    fake_close(&f);
}

/* ---- other servers ---- */

static bool to_the_other(struct fake *f, const struct request *q, struct buf *out)
{
    char headers[700];

    if (!streq(q->auth, BASIC))
        return reply(out, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"r\"\r\n", "", 0, false);
    if (strstr(q->path, "/blobs/") == NULL)
        return honest(f, q, out);
    snprintf(headers, sizeof(headers), "Location: http://u2:p2@localhost:%d%s\r\n", f->other->port, q->path);
    return reply(out, q->mode, headers, "", 0, false);
}

static void redirects(void **state)
{
    static const char *const statuses[] = { "301 Moved", "302 Found", "303 See Other", "307 Temporary",
                                            "308 Permanent" };
    struct wallet w = { .user = "u", .secret = "pass" };
    struct registry_auth auth = { .ctx = &w, .credentials = give_credentials };

    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        struct fake f = { 0 }, other = { 0 };
        struct client c;

        fake_open(&other, honest);
        f.other = &other;
        fake_open(&f, to_the_other);
        set_mode(&f, statuses[i]);
        client_open(&c, &f);
        expect_ok(fetch(&c, &f, &auth));
        assert_blob_there(&c, &f);
        assert_int_equal(count_requests(&other, "GET"), 1);
        assert_false(any_log_has(&other, "Basic"));
        client_close(&c);
        fake_close(&f);
        fake_close(&other);
    }
}

/* The other server asks for credentials too: none for it. */
static void redirect_that_asks(void **state)
{
    struct wallet w = { .user = "u", .secret = "pass" };
    struct registry_auth auth = { .ctx = &w, .credentials = give_credentials };
    struct fake f = { 0 }, other = { 0 };
    struct client c;

    fake_open(&other, basic_only);
    f.other = &other;
    fake_open(&f, to_the_other);
    set_mode(&f, "307 Temporary");
    client_open(&c, &f);
    expect_error(fetch(&c, &f, &auth), ERR_UNAUTHORIZED, "401 Unauthorized");
    assert_false(any_log_has(&other, "Basic"));
    client_close(&c);
    fake_close(&f);
    fake_close(&other);
}

static void nobody_there(void **state)
{
    struct fake f = { 0 };
    struct client c;
    struct descriptor d = { 0 };

    fake_open(&f, honest);
    client_open(&c, &f);
    free(c.ref.domain);
    c.ref.domain = xstrdup("localhost:1");
    expect_error(resolve(&c, NULL, &d), ERR_UNAVAILABLE,
                 "failed to do request: Head \"http://localhost:1/v2/lib/img/manifests/latest\": dial tcp "
                 "localhost:1: "
                 "connect: connection refused");
    client_close(&c);
    fake_close(&f);
}

static void mirrors(void **state)
{
    struct fake upstream = { 0 }, mirror = { 0 };
    struct registry_host_config host = { 0 };
    struct client c;
    struct descriptor d = { 0 };

    fake_open(&upstream, honest);
    fake_open(&mirror, honest);
    client_open(&c, &upstream);
    host.host = xasprintf("localhost:%d", upstream.port);
    strv_addf(&host.mirrors, "http://localhost:1"); /* nobody there */
    strv_addf(&host.mirrors, "http://localhost:%d/some/prefix", mirror.port);
    c.config.hosts = &host;
    c.config.host_count = 1;
    /* the mirror does not have it */
    expect_ok(resolve(&c, NULL, &d));
    descriptor_deinit(&d);
    assert_int_equal(count_requests(&mirror, "HEAD /some/prefix/v2"), 0);
    CLEANUP(freep)
    char *asked =
        xasprintf("HEAD /v2/some/prefix/lib/img/manifests/latest?ns=localhost%%3A%d", upstream.port);

    assert_int_equal(count_requests(&mirror, asked), 1);
    assert_int_equal(count_requests(&upstream, "HEAD /v2/lib/img"), 1);
    /* it has the blob */
    expect_ok(fetch(&c, &upstream, NULL));
    assert_int_equal(count_requests(&upstream, "GET /v2/lib/img/blobs"), 0);
    client_close(&c);
    strv_deinit(&host.mirrors);
    free(host.host);
    fake_close(&upstream);
    fake_close(&mirror);
}

/* ---- TLS ---- */

static void make_cert(const char *dir)
{
    CLEANUP(freep) char *key = xasprintf("%s/key.pem", dir);
    CLEANUP(freep) char *cert = xasprintf("%s/cert.pem", dir);
    const char *argv[] = { "openssl",
                           "req",
                           "-x509",
                           "-newkey",
                           "ec",
                           "-pkeyopt",
                           "ec_paramgen_curve:prime256v1",
                           "-nodes",
                           "-keyout",
                           key,
                           "-out",
                           cert,
                           "-days",
                           "2",
                           "-subj",
                           "/CN=localhost",
                           "-addext",
                           "subjectAltName=DNS:localhost",
                           NULL };
    struct spawn_options o = { .argv = argv };
    int status;

    assert_null(spawn_run(&o, NULL, NULL, NULL, 65536, &status));
    assert_int_equal(status, 0);
}

static void private_ca(void **state)
{
    char dir[] = "/tmp/registry_tls.XXXXXX";
    struct descriptor d = { 0 };
    struct fake f = { 0 };
    struct client c;

    assert_non_null(mkdtemp(dir));
    make_cert(dir);
    CLEANUP(freep) char *key = xasprintf("%s/key.pem", dir);
    CLEANUP(freep) char *cert = xasprintf("%s/cert.pem", dir);

    f.cert = cert;
    f.key = key;
    fake_open(&f, honest);
    client_open(&c, &f);
    /* nobody vouches for it */
    struct registry_host_config only_tls = { 0 };

    only_tls.host = xasprintf("localhost:%d", f.port);
    strv_addf(&only_tls.mirrors, "https://localhost:%d", f.port);
    c.config.hosts = &only_tls;
    c.config.host_count = 1;
    expect_error(resolve(&c, NULL, &d), ERR_UNAVAILABLE,
                 "tls: failed to verify certificate: x509: certificate signed by unknown authority");
    client_close(&c);
    strv_deinit(&only_tls.mirrors);
    free(only_tls.host);
    /* unverified, when it is on the list */
    client_open(&c, &f);
    strv_addf(&c.config.insecure_registries, "localhost:%d", f.port);
    expect_ok(resolve(&c, NULL, &d));
    descriptor_deinit(&d);
    strv_deinit(&c.config.insecure_registries);
    client_close(&c);
    /* by its certificate */
    CLEANUP(freep) char *host_dir = xasprintf("%s/localhost:%d", dir, f.port);
    CLEANUP(freep) char *ca = xasprintf("%s/ca.crt", host_dir);

    assert_int_equal(mkdir(host_dir, 0700), 0);
    assert_int_equal(symlink(cert, ca), 0);
    client_open(&c, &f);
    c.config.certs_dir = dir;
    expect_ok(resolve(&c, NULL, &d));
    descriptor_deinit(&d);
    expect_ok(fetch(&c, &f, NULL));
    assert_blob_there(&c, &f);
    client_close(&c);
    fake_close(&f);
    assert_int_equal(path_remove_all(AT_FDCWD, dir), 0);
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
        struct client c;
        struct deadline d;

        fake_open(&f, silent);
        client_open(&c, &f);
        deadline_begin(&d, 200 * NS_PER_MS);
        expect_error(fetch(&c, &f, NULL), ERR_DEADLINE, "");
        deadline_end(&d);
        client_close(&c);
        fake_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(unknown_tag),
        cmocka_unit_test(streamed),
        cmocka_unit_test(resumed),
        cmocka_unit_test(resumed_later),
        cmocka_unit_test(blob_lies),
        cmocka_unit_test(ranges),
        cmocka_unit_test(streamed_lie),
        cmocka_unit_test(manifest_lies),
        cmocka_unit_test(manifest_digest),
        cmocka_unit_test(basic),
        cmocka_unit_test(tokens),
        cmocka_unit_test(tokens_of_the_client),
        cmocka_unit_test(redirects),
        cmocka_unit_test(redirect_that_asks),
        cmocka_unit_test(mirrors),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(private_ca),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(login),
    };

    setenv("no_proxy", "*", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
