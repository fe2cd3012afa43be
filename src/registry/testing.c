/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/testing.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "io/path.h"

/* ---- a server ---- */

struct connection {
    struct test_server *server;
    struct stream *s;
};

void test_header_value(const char *head, const char *name, char *ret, size_t cap)
{
    const char *p = strcasestr(head, name);

    ret[0] = '\0';
    if (p != NULL)
        snprintf(ret, cap, "%.*s", (int)strcspn(p + strlen(name), "\r"), p + strlen(name));
}

bool test_read_head(struct stream *s, struct buf *head)
{
    char c;

    while (head->len < 65536 && stream_read(s, &c, 1) == 1) {
        buf_addc(head, c);
        if (str_has_suffix(buf_str(head), "\r\n\r\n"))
            return true;
    }
    return false;
}

static struct error *serve_connection(void *arg)
{
    struct connection *c = arg;
    struct test_server *t = c->server;
    CLEANUP(stream_closep) struct stream *s = c->s;

    free(c);
    if (t->cert != NULL) {
        struct tls_server_config config = { .cert_file = t->cert, .key_file = t->key };
        struct stream *secure;
        struct error *e = stream_tls_server(s, &config, &secure);

        if (e != NULL) {
            err_free(e);
            return NULL;
        }
        s = secure;
    }
    while (t->serve(t, s))
        ;
    return NULL;
}

static struct error *accept_all(void *arg)
{
    struct test_server *t = arg;

    for (;;) {
        int r = task_wait_fd(t->fd, POLLIN);

        if (r < 0)
            return NULL;
        int fd = accept4(t->fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
            continue;
        struct connection *c = NEW(struct connection);

        *c = (struct connection){ t, stream_from_fd(fd) };
        TRY(group_spawn(&t->group, "connection", serve_connection, c));
    }
}

void test_server_open(struct test_server *t, bool (*serve)(struct test_server *t, struct stream *s))
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(t->address != 0 ? t->address : INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)t->port) };
    socklen_t len = sizeof(a);

    t->serve = serve;
    mutex_init(&t->lock);
    t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(t->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(t->fd, 16), 0);
    assert_int_equal(getsockname(t->fd, (struct sockaddr *)&a, &len), 0);
    t->port = ntohs(a.sin_port);
    group_open(&t->group, GROUP_KEEP_GOING);
    assert_null(group_spawn(&t->group, "accept", accept_all, t));
}

void test_server_close(struct test_server *t)
{
    group_cancel(&t->group);
    err_free(group_join(&t->group));
    close(t->fd);
    strv_deinit(&t->log);
    mutex_deinit(&t->lock);
}

void test_server_note(struct test_server *t, const char *method, const char *path, const char *auth)
{
    mutex_lock(&t->lock);
    strv_addf(&t->log, "%s %s %s", method, path, auth);
    mutex_unlock(&t->lock);
}

size_t test_server_count(struct test_server *t, const char *start, const char *part)
{
    size_t n = 0;

    mutex_lock(&t->lock);
    for (size_t i = 0; i < t->log.len; i++)
        n += str_has_prefix(t->log.v[i], start) && strstr(t->log.v[i], part) != NULL;
    mutex_unlock(&t->lock);
    return n;
}

/* ---- a registry to pull from ---- */

static bool serve_one(struct test_server *t, struct stream *s)
{
    struct fake *f = CONTAINER_OF(t, struct fake, server);
    CLEANUP(buf_deinit) struct buf head = { 0 };
    CLEANUP(buf_deinit) struct buf out = { 0 };
    struct request q = { 0 };
    char length[32];

    if (!test_read_head(s, &head) || sscanf(buf_str(&head), "%7s %511s", q.method, q.path) != 2)
        return false;
    q.head = head.data;
    test_header_value(q.head, "\r\nAuthorization: ", q.auth, sizeof(q.auth));
    test_header_value(q.head, "\r\nRange: ", q.range, sizeof(q.range));
    test_header_value(q.head, "\r\nContent-Length: ", length, sizeof(length));
    for (long n = strtol(length, NULL, 10); n > 0; n--) {
        char c;

        if (stream_read(s, &c, 1) != 1)
            return false;
        buf_addc(&head, c);
    }
    q.head = head.data;
    test_server_note(t, q.method, q.path, q.auth);
    mutex_lock(&t->lock);
    f->count++;
    q.mode = f->mode;
    mutex_unlock(&t->lock);
    bool keep = f->answer(f, &q, &out);

    return stream_write_full(s, buf_str(&out), out.len) == 0 && keep;
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

void fake_open(struct fake *f, bool (*answer)(struct fake *f, const struct request *q, struct buf *out))
{
    f->answer = answer;
    make_image(f);
    test_server_open(&f->server, serve_one);
}

void fake_close(struct fake *f)
{
    test_server_close(&f->server);
    buf_deinit(&f->blob);
    free(f->manifest);
}

void fake_set_mode(struct fake *f, const char *mode)
{
    mutex_lock(&f->server.lock);
    f->mode = mode;
    mutex_unlock(&f->server.lock);
}

bool reply(struct buf *out, const char *status, const char *headers, const char *body, size_t len, bool head)
{
    buf_addf(out, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, len, headers);
    if (!head)
        buf_add(out, body, len);
    return true;
}

bool reply_manifest(struct fake *f, const struct request *q, struct buf *out)
{
    CLEANUP(freep)
    char *headers =
        xasprintf("Content-Type: " MT_OCI_MANIFEST "\r\nDocker-Content-Digest: %s\r\n", f->manifest_digest.s);

    return reply(out, "200 OK", headers, f->manifest, strlen(f->manifest), streq(q->method, "HEAD"));
}

bool reply_blob(struct fake *f, const struct request *q, struct buf *out)
{
    unsigned long from = 0;

    if (sscanf(q->range, "bytes=%lu-", &from) != 1)
        return reply(out, "200 OK", "", f->blob.data, f->blob.len, false);
    CLEANUP(freep)
    char *headers = xasprintf("Content-Range: bytes %lu-%zu/%zu\r\n", from, f->blob.len - 1, f->blob.len);

    return reply(out, "206 Partial Content", headers, f->blob.data + from, f->blob.len - from, false);
}

bool honest(struct fake *f, const struct request *q, struct buf *out)
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

void test_client_open(struct test_client *c, int port)
{
    *c = (struct test_client){ 0 };
    snprintf(c->root, sizeof(c->root), "/tmp/registry_test.XXXXXX");
    assert_non_null(mkdtemp(c->root));
    assert_null(store_open(c->root, &c->store));
    assert_null(lease_open(c->store, &c->lease));
    c->config.certs_dir = (char *)"/nonexistent";
    c->config.retry_ns = NS_PER_MS;
    c->registry = registry_new(&c->config);
    CLEANUP(freep) char *name = xasprintf("localhost:%d/lib/img:latest", port);

    assert_null(reference_parse(name, &c->ref));
}

void test_client_close(struct test_client *c)
{
    registry_free(c->registry);
    lease_close(c->lease);
    store_close(c->store);
    reference_deinit(&c->ref);
    assert_int_equal(path_remove_all(AT_FDCWD, c->root), 0);
}

void expect_error(struct error *e, enum error_kind kind, const char *part)
{
    assert_non_null(e);
    if (e->kind != kind || strstr(e->message, part) == NULL)
        fail_msg("got \"%s\" (%s), expected \"%s\" (%s)", e->message, err_kind_name(e->kind), part,
                 err_kind_name(kind));
    err_free(e);
}

void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("unexpected error: %s", e->message);
}

struct error *test_resolve(struct test_client *c, const struct registry_auth *auth, struct descriptor *ret)
{
    return registry_resolve(c->registry, &c->ref, auth, c->store, c->lease, ret);
}

static struct descriptor layer_of(struct fake *f)
{
    return (struct descriptor){ .media_type = (char *)MT_OCI_LAYER,
                                .digest = f->blob_digest,
                                .size = (int64_t)f->blob.len };
}

struct error *test_fetch(struct test_client *c, struct fake *f, const struct registry_auth *auth)
{
    struct descriptor d = layer_of(f);

    return registry_fetch(c->registry, &c->ref, auth, c->store, c->lease, &d, NULL);
}

void assert_blob_there(struct test_client *c, struct fake *f)
{
    struct buf data = { 0 };

    expect_ok(blob_read(c->store, &f->blob_digest, 1 << 20, &data));
    assert_int_equal(data.len, f->blob.len);
    assert_memory_equal(data.data, f->blob.data, data.len);
    buf_deinit(&data);
}

void assert_blob_missing(struct test_client *c, struct fake *f)
{
    struct blob_info info;

    expect_error(blob_stat(c->store, &f->blob_digest, &info), ERR_NOT_FOUND, "");
}
