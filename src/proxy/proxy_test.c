/* SPDX-License-Identifier: Apache-2.0 */
/* proxy_test.c - requests through the proxy to servers of this process, by libcurl, over HTTP and HTTPS */
#include "base/bytes.h"
#include "base/limits.h"
#include "proxy/address.h"
#include "proxy/authority.h"
#include "proxy/proxy.h"
#include "registry/exchange.h"
#include "task/task.h"
#include "wire/http1.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("%s", e->message);
}

/* ---- a server ---- */

struct server {
    struct group group;
    int fd, port;
    struct error *(*serve)(struct server *s, struct stream *conn);
    struct proxy *proxy;
    bool tls;
    struct strv seen; /* the head of the last request, as "name: value" */
};

struct connection {
    struct server *server;
    struct stream *stream;
};

static struct error *serve_one(void *arg)
{
    struct connection *c = arg;
    struct error *e = c->server->serve(c->server, c->stream);

    free(c);
    err_free(e);
    return NULL;
}

static struct error *accept_all(void *arg)
{
    struct server *s = arg;

    for (;;) {
        int r = task_wait_fd(s->fd, POLLIN);

        if (r < 0)
            return task_error(r, "accept");
        int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
            continue;
        struct connection *c = NEW(struct connection);

        *c = (struct connection){ s, stream_from_fd(fd) };
        expect_ok(group_spawn(&s->group, "connection", serve_one, c));
    }
}

static void server_open(struct server *s, struct error *(*serve)(struct server *s, struct stream *conn))
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);

    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(s->fd, 16), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
    s->port = ntohs(a.sin_port);
    s->serve = serve;
    group_open(&s->group, GROUP_DAEMON | GROUP_KEEP_GOING);
    expect_ok(group_spawn(&s->group, "accept", accept_all, s));
}

static void server_close(struct server *s)
{
    group_cancel(&s->group);
    err_free(group_join(&s->group));
    group_deinit(&s->group);
    close(s->fd);
    strv_deinit(&s->seen);
}

/* ---- the origin ---- */

static struct error *answer(struct http_exchange *x, void *ctx)
{
    struct server *s = ctx;
    const struct http_request *r = x->request;
    struct buf body = { 0 };
    struct error *e;

    strv_clear(&s->seen);
    for (size_t i = 0; i < r->headers.len; i++)
        strv_addf(&s->seen, "%s: %s", r->headers.v[i].key, r->headers.v[i].value);
    if (streq(r->path, "/hello")) {
        http_set_header(x, "X-Origin", "yes");
        http_set_header(x, "Connection", "X-Hop");
        http_set_header(x, "X-Hop", "one");
        return http_reply(x, 200, "text/plain", "hello", 5);
    }
    if (streq(r->path, "/moved")) {
        http_set_header(x, "Location", "/hello");
        return http_reply(x, 302, NULL, NULL, 0);
    }
    if (streq(r->path, "/parts")) {
        TRY(http_start(x, 200, -1));
        TRY(http_write(x, "one ", 4));
        return http_write(x, "two", 3);
    }
    if (!streq(r->path, "/echo"))
        return http_reply(x, 404, "text/plain", "no", 2);
    e = http_read_body(x, MIB, &body);
    if (e == NULL)
        e = http_reply(x, 200, "text/plain", body.data, body.len);
    buf_deinit(&body);
    return e;
}

static struct error *serve_origin(struct server *s, struct stream *conn)
{
    struct http_config config = { .handler = answer, .ctx = s };
    CLEANUP(authority_certificate_freep) struct x509_st *certificate = NULL;
    struct tls_server_config tls = { 0 };

    if (s->tls) {
        expect_ok(authority_issue("127.0.0.1", &certificate, &tls.key));
        tls.certificate = certificate;
        struct error *e = stream_tls_server(conn, &tls, &conn);

        if (e != NULL) {
            stream_close(conn);
            return e;
        }
    }
    return http_serve(conn, &config);
}

static struct error *serve_proxy(struct server *s, struct stream *conn)
{
    return proxy_serve(s->proxy, conn, -1);
}

/* ---- all of it ---- */

struct scene {
    struct server origin, door;
    struct proxy *proxy;
    struct exchange_tls trust;
    struct exchange_pool *pool;
    char proxy_url[40];
};

static void scene_open(struct scene *s, bool tls, struct proxy_policy policy)
{
    const char *pem;

    *s = (struct scene){ .origin.tls = tls };
    expect_ok(authority_pem(&pem));
    s->trust.ca_pem = xstrdup(pem);
    if (policy.tls == NULL)
        policy.tls = &s->trust;
    expect_ok(proxy_new(&policy, &s->proxy));
    s->door.proxy = s->proxy;
    server_open(&s->origin, serve_origin);
    server_open(&s->door, serve_proxy);
    s->pool = exchange_pool_new("client");
    snprintf(s->proxy_url, sizeof(s->proxy_url), "http://127.0.0.1:%d", s->door.port);
}

static void scene_close(struct scene *s)
{
    exchange_pool_free(s->pool);
    server_close(&s->door);
    server_close(&s->origin);
    proxy_free(s->proxy);
    exchange_tls_deinit(&s->trust);
}

/* Ask through the proxy: the status; what came, in *body; `header` of the answer in *value (malloc'd). */
static int ask(struct scene *s, const char *method, const char *path, const struct strv *headers,
               const char *send, struct buf *body, const char *header, char **value)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    CLEANUP(stream_closep)
    struct stream *upload = send != NULL ? stream_from_memory(send, strlen(send)) : NULL;
    CLEANUP(freep)
    char *url = xasprintf("%s://127.0.0.1:%d%s", s->origin.tls ? "https" : "http", s->origin.port, path);
    struct exchange_egress egress = { .netns_fd = -1, .proxy = s->proxy_url };
    struct exchange_request q = { .method = method,
                                  .url = url,
                                  .headers = headers,
                                  .upload = upload,
                                  .upload_size = -1,
                                  .tls = &s->trust,
                                  .egress = &egress };
    char chunk[256];
    ssize_t n;

    expect_ok(exchange_open(s->pool, &q, &x));
    while ((n = exchange_read(x, chunk, sizeof(chunk))) > 0)
        buf_add(body, chunk, (size_t)n);
    assert_int_equal(n, 0);
    if (header != NULL)
        *value = xstrdup(exchange_header(x, header));
    return exchange_status(x);
}

static void expect_answer(struct scene *s, const char *method, const char *path, const char *send, int status,
                          const char *text)
{
    CLEANUP(buf_deinit) struct buf body = { 0 };

    assert_int_equal(ask(s, method, path, NULL, send, &body, NULL, NULL), status);
    if (text != NULL)
        assert_string_equal(buf_str(&body), text);
}

static char *url_of(struct scene *s, const char *path)
{
    return xasprintf("%s://127.0.0.1:%d%s", s->origin.tls ? "https" : "http", s->origin.port, path);
}

static void expect_material(struct scene *s, const char *path, const char *content)
{
    CLEANUP(freep) char *url = url_of(s, path);
    struct digest want = digest_of(content, strlen(content));
    size_t n;
    const struct proxy_material *m = proxy_record_materials(proxy_record(s->proxy), &n);

    for (size_t i = 0; i < n; i++) {
        if (!streq(m[i].url, url))
            continue;
        assert_string_equal(m[i].digest.s, want.s);
        return;
    }
    fail_msg("no material %s", url);
}

static void expect_gaps(struct scene *s, const char *const *reasons)
{
    size_t n, i = 0;
    const struct proxy_gap *g = proxy_record_gaps(proxy_record(s->proxy), &n);

    for (; reasons[i] != NULL; i++) {
        assert_true(i < n);
        assert_string_equal(g[i].reason, reasons[i]);
    }
    assert_int_equal(i, n);
}

#define GAPS(...) ((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

/* ---- tests ---- */

static void passes_on(void **state)
{
    for (int tls = 0; tls < 2; tls++) {
        struct scene s;

        scene_open(&s, tls == 1, (struct proxy_policy){ 0 });
        expect_answer(&s, "GET", "/hello", NULL, 200, "hello");
        expect_answer(&s, "GET", "/parts?a=b", NULL, 200, "one two");
        expect_answer(&s, "HEAD", "/hello", NULL, 200, "");
        expect_answer(&s, "GET", "/none", NULL, 404, "no");
        expect_answer(&s, "POST", "/echo", "said", 200, "said");
        expect_answer(&s, "PROPFIND", "/echo", NULL, 200, "");
        expect_material(&s, "/hello", "hello");
        expect_material(&s, "/parts?a=b", "one two");
        expect_gaps(&s, GAPS("method_not_materializable", "unsuccessful_response",
                             "method_not_materializable", "method_not_materializable"));
        scene_close(&s);
    }
}

static void headers_between_neighbours(void **state)
{
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    CLEANUP(buf_deinit) struct buf body = { 0 };
    CLEANUP(freep) char *value = NULL;
    struct scene s;

    scene_open(&s, false, (struct proxy_policy){ 0 });
    strv_add(&headers, "X-Mine: kept");
    strv_add(&headers, "X-Empty;");
    strv_add(&headers, "Connection: X-Private");
    strv_add(&headers, "X-Private: secret");
    strv_add(&headers, "Proxy-Authorization: Basic secret");
    strv_add(&headers, "Accept-Encoding: gzip");
    assert_int_equal(ask(&s, "GET", "/hello", &headers, NULL, &body, "X-Origin", &value), 200);
    assert_string_equal(value, "yes");
    assert_true(strv_has(&s.origin.seen, "x-mine: kept"));
    assert_true(strv_has(&s.origin.seen, "x-empty: "));
    for (size_t i = 0; i < s.origin.seen.len; i++) {
        assert_null(strstr(s.origin.seen.v[i], "secret"));
        assert_null(strstr(s.origin.seen.v[i], "gzip"));
        assert_null(strstr(s.origin.seen.v[i], "user-agent"));
    }
    free(TAKE(value));
    buf_clear(&body);
    assert_int_equal(ask(&s, "GET", "/hello", NULL, NULL, &body, "X-Hop", &value), 200);
    assert_null(value);
    scene_close(&s);
}

static void redirections(void **state)
{
    struct scene s;

    scene_open(&s, false, (struct proxy_policy){ 0 });
    expect_answer(&s, "GET", "/moved", NULL, 302, "");
    expect_answer(&s, "GET", "/hello", NULL, 200, "hello");
    expect_material(&s, "/hello", "hello");
    expect_material(&s, "/moved", "hello"); /* that is where it leads */
    expect_gaps(&s, GAPS());
    scene_close(&s);
}

static struct error *judge(void *ctx, const char *url, char **ret_url)
{
    const char *path = strrchr(url, '/');

    if (streq(path, "/secret"))
        return err_new(ERR_UNKNOWN, "denied");
    if (streq(path, "/other"))
        *ret_url = xasprintf("%.*s/hello", (int)(path - url), url);
    return NULL;
}

static void policies(void **state)
{
    for (int tls = 0; tls < 2; tls++) {
        CLEANUP(buf_deinit) struct buf text = { 0 };
        struct scene s;
        size_t n;

        scene_open(&s, tls == 1, (struct proxy_policy){ .check = judge });
        expect_answer(&s, "GET", "/secret", NULL, 403, "Forbidden\n");
        expect_answer(&s, "POST", "/other", "x", 403, "Forbidden\n"); /* only a GET can be converted */
        proxy_record_materials(proxy_record(s.proxy), &n);
        assert_int_equal(n, 0);
        proxy_record_describe(proxy_record(s.proxy), &text);
        assert_int_equal(text.len, 0); /* nobody was asked */
        expect_answer(&s, "GET", "/other", NULL, 200, "hello");
        expect_material(&s, "/hello", "hello");
        proxy_record_materials(proxy_record(s.proxy), &n);
        assert_int_equal(n, 1);
        scene_close(&s);
    }
}

/* Nobody there, and a server that nobody vouches for. */
static void servers_out_of_reach(void **state)
{
    static const struct exchange_tls none = { 0 };
    CLEANUP(freep) char *line = NULL;
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct scene s;

    scene_open(&s, false, (struct proxy_policy){ 0 });
    server_close(&s.origin);
    expect_answer(&s, "GET", "/hello", NULL, 502, NULL);
    expect_gaps(&s, GAPS("upstream_error"));
    proxy_record_describe(proxy_record(s.proxy), &text);
    line = xasprintf("proxy network requests:\n- GET http://127.0.0.1:%d/hello -> 502\n", s.origin.port);
    assert_string_equal(buf_str(&text), line);
    s.origin = (struct server){ 0 };
    server_open(&s.origin, serve_origin);
    scene_close(&s);

    scene_open(&s, true, (struct proxy_policy){ .tls = &none });
    expect_answer(&s, "GET", "/hello", NULL, 502, NULL);
    expect_gaps(&s, GAPS("upstream_error"));
    scene_close(&s);
}

/* It has said all that it will, and waits for the answer. */
static void half_closed(void **state)
{
    struct scene s;

    scene_open(&s, false, (struct proxy_policy){ 0 });
    for (int i = 0; i < 20; i++) {
        CLEANUP(freep) char *address = xasprintf("tcp://127.0.0.1:%d", s.door.port);
        CLEANUP(freep) char *url = url_of(&s, "/hello");
        CLEANUP(freep) char *head = xasprintf("GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", url);
        CLEANUP(stream_closep) struct stream *c = NULL;
        CLEANUP(buf_deinit) struct buf got = { 0 };

        expect_ok(stream_dial(address, &c));
        assert_int_equal(stream_write_full(c, head, strlen(head)), 0);
        assert_int_equal(stream_shut(c), 0);
        assert_int_equal(stream_read_all(c, &got, MIB), 0);
        assert_true(str_has_prefix(buf_str(&got), "HTTP/1.1 200 "));
        assert_true(str_has_suffix(buf_str(&got), "hello"));
    }
    scene_close(&s);
}

/* Bytes that are no request, on both sides of a CONNECT. */
static void nonsense(void **state)
{
    static const char *const requests[] = {
        "CONNECT nonsense HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a,IP.1:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    struct scene s;

    scene_open(&s, false, (struct proxy_policy){ 0 });
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        CLEANUP(freep) char *address = xasprintf("tcp://127.0.0.1:%d", s.door.port);
        CLEANUP(stream_closep) struct stream *c = NULL;
        CLEANUP(buf_deinit) struct buf got = { 0 };

        expect_ok(stream_dial(address, &c));
        assert_int_equal(stream_write_full(c, requests[i], strlen(requests[i])), 0);
        stream_shut(c);
        assert_int_equal(stream_read_all(c, &got, MIB), 0);
        assert_true(str_has_prefix(buf_str(&got), "HTTP/1.1 400 "));
    }
    scene_close(&s);
}

static void records(void **state)
{
    struct proxy_record *r = proxy_record_new(), *again;
    struct digest d = digest_of("x", 1);
    CLEANUP(freep) char *text = NULL;
    CLEANUP(freep) char *twice = NULL;
    size_t n;

    proxy_record_request(r, "GET", "http://a/1", "http://a/2", 302);
    proxy_record_request(r, "GET", "http://a/2", "http://a/3", 301);
    proxy_record_request(r, "GET", "http://a/3", NULL, 200);
    proxy_record_material(r, "http://a/3", &d);
    proxy_record_gap(r, "PUT", "http://a/\xff", "method_not_materializable");
    text = proxy_record_encode(r);
    expect_ok(proxy_record_decode(text, &again));
    twice = proxy_record_encode(again);
    assert_string_equal(text, twice);
    proxy_record_materials(again, &n);
    assert_int_equal(n, 3);
    proxy_record_free(again);
    for (size_t i = 3; i < LIMIT_PROXY_REQUESTS; i++)
        assert_true(proxy_record_request(r, "GET", "u", NULL, 200));
    assert_false(proxy_record_request(r, "GET", "u", NULL, 200));
    assert_false(proxy_record_request(r, "GET", "u", NULL, 200));
    const struct proxy_gap *g = proxy_record_gaps(r, &n);

    assert_int_equal(n, 2);
    assert_string_equal(g[1].reason, "too_many_requests");
    proxy_record_free(r);
    for (const char *const *bad = (const char *const[]){ "", "{", "{\"gaps\":[[1,2,3]]}",
                                                         "{\"materials\":[[\"u\",\"sha256:1\"]]}", NULL };
         *bad != NULL; bad++) {
        struct error *e = proxy_record_decode(*bad, &again);

        assert_non_null(e);
        err_free(e);
    }
}

static void addresses(void **state)
{
    static const char *const names[][2] = {
        { "http://a/b", "http://a/b" },
        { "http://A:80/B", "http://a/B" },
        { "https://a:443/", "https://a/" },
        { "https://a:80/", "https://a:80/" },
        { "http://[::1]:80/x:80", "http://[::1]/x:80" },
        { "https://user:secret@host:443/?q", "https://xxxxx:xxxxx@host/?q" },
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(freep) char *name = address_name(names[i][0]);

        assert_string_equal(name, names[i][1]);
    }
    static const char *const good[] = { "", "proxy", "proxy:3128", "http://u:p@proxy:1/", "socks5h://h:1" };
    static const char *const bad[] = { "ftp://proxy", "http://", "http://:1", "pro xy", "://x" };

    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        setenv("HTTP_PROXY", good[i], 1);
        expect_ok(address_check_upstream());
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        setenv("https_proxy", bad[i], 1);
        struct error *e = address_check_upstream();

        assert_non_null(e);
        assert_string_equal(e->message, "invalid https_proxy in buildkitd environment");
        err_free(e);
    }
    unsetenv("HTTP_PROXY");
    unsetenv("https_proxy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_on),
        cmocka_unit_test(headers_between_neighbours),
        cmocka_unit_test(redirections),
        cmocka_unit_test(policies),
        cmocka_unit_test(servers_out_of_reach),
        cmocka_unit_test(nonsense),
        cmocka_unit_test(half_closed),
        cmocka_unit_test(records),
        cmocka_unit_test(addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
