/* SPDX-License-Identifier: Apache-2.0 */
/* access_test.c - who may pull, and from where: credentials, other servers, TLS */
#include "registry/testing.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "io/path.h"
#include "io/spawn.h"

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
    struct test_client c;

    fake_open(&f, basic_only);
    test_client_open(&c, f.server.port);
    expect_error(test_resolve(&c, NULL, &d), ERR_UNAUTHORIZED, "401 Unauthorized");
    expect_ok(test_resolve(&c, &auth, &d));
    descriptor_deinit(&d);
    CLEANUP(freep) char *host = xasprintf("localhost:%d", f.server.port);

    assert_string_equal(w.host, host);
    expect_ok(test_fetch(&c, &f, &auth));
    assert_int_equal(w.asked, 1);
    /* another identity has to ask for itself, and is refused */
    struct wallet thief = { .user = "", .secret = "" };
    char *other_ids[] = { (char *)"two", NULL };
    struct strv other = { other_ids, 1, 1 };
    struct registry_auth other_auth = { .ctx = &thief, .identity = &other, .credentials = give_credentials };

    expect_error(test_resolve(&c, &other_auth, &d), ERR_UNAUTHORIZED, "401 Unauthorized");
    assert_int_equal(thief.asked, 1);
    test_client_close(&c);
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
             f->other != NULL ? f->other->server.port : f->server.port,
             *q->auth != '\0' ? ",error=\"insufficient_scope\"" : "");
    return reply(out, "401 Unauthorized", headers, "", 0, streq(q->method, "HEAD"));
}

static void tokens(void **state)
{
    struct descriptor d = { 0 };
    struct fake f = { .mode = "anonymous" };
    struct test_client c;

    fake_open(&f, bearer);
    test_client_open(&c, f.server.port);
    expect_ok(test_resolve(&c, NULL, &d));
    descriptor_deinit(&d);
    expect_ok(test_fetch(&c, &f, NULL));
    /* one token serves all of it */
    assert_int_equal(test_server_count(&f.server, "GET /token", ""), 1);
    test_client_close(&c);

    fake_set_mode(&f, "denied");
    test_client_open(&c, f.server.port);
    expect_error(
        test_resolve(&c, NULL, &d), ERR_UNAUTHORIZED,
        "pull access denied, repository does not exist or may require authorization: server message: "
        "insufficient_scope: authorization failed");
    test_client_close(&c);

    fake_set_mode(&f, "password");
    test_client_open(&c, f.server.port);
    expect_error(test_resolve(&c, NULL, &d), ERR_UNAUTHORIZED, "failed to fetch anonymous token");
    struct wallet w = { .user = "u", .secret = "pass" };
    struct registry_auth auth = { .ctx = &w, .credentials = give_credentials };

    expect_ok(test_resolve(&c, &auth, &d));
    descriptor_deinit(&d);
    test_client_close(&c);
    fake_close(&f);
}

static struct error *give_token(void *ctx, const char *host, const char *realm, const char *service,
                                const struct strv *scopes, bool fresh, char **ret_token,
                                int64_t *ret_expires_ns)
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
    struct test_client c;

    fake_open(&f, bearer);
    for (int kind = 0; kind < 3; kind++) {
        struct registry_auth auth = { .ctx = &kind, .token = give_token };

        test_client_open(&c, f.server.port);
        if (kind == 2) {
            expect_error(test_resolve(&c, &auth, &d), ERR_INVALID, "malformed");
        } else {
            expect_ok(test_resolve(&c, &auth, &d));
            descriptor_deinit(&d);
        }
        test_client_close(&c);
    }
    assert_int_equal(test_server_count(&f.server, "GET /token", ""), 1); /* only for the one that could not */
    assert_false(test_server_count(&f.server, "", "Injected"));
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
             "WWW-Authenticate: Bearer realm=\"http://localhost:%d/token\",service=\"s\"\r\n",
             f->server.port);
    return reply(out, "401 Unauthorized", headers, "", 0, false);
}

static void login(void **state)
{
    struct fake f = { 0 };
    struct test_client c;

    fake_open(&f, login_server);
    test_client_open(&c, f.server.port);
    CLEANUP(freep) char *url = xasprintf("http://localhost:%d/v1/", f.server.port);
    CLEANUP(freep)
    char *text = xasprintf("Get \"https://localhost:%d/v2/\": unauthorized: incorrect username or password",
                           f.server.port);

    expect_ok(registry_login(c.registry, url, "u", "pass"));
    expect_error(registry_login(c.registry, url, "u", "wrong"), ERR_UNAUTHORIZED, text);
    test_client_close(&c);
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
    snprintf(headers, sizeof(headers), "Location: http://u2:p2@localhost:%d%s\r\n", f->other->server.port,
             q->path);
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
        struct test_client c;

        fake_open(&other, honest);
        f.other = &other;
        fake_open(&f, to_the_other);
        fake_set_mode(&f, statuses[i]);
        test_client_open(&c, f.server.port);
        expect_ok(test_fetch(&c, &f, &auth));
        assert_blob_there(&c, &f);
        assert_int_equal(test_server_count(&other.server, "GET", ""), 1);
        assert_false(test_server_count(&other.server, "", "Basic"));
        test_client_close(&c);
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
    struct test_client c;

    fake_open(&other, basic_only);
    f.other = &other;
    fake_open(&f, to_the_other);
    fake_set_mode(&f, "307 Temporary");
    test_client_open(&c, f.server.port);
    expect_error(test_fetch(&c, &f, &auth), ERR_UNAUTHORIZED, "401 Unauthorized");
    assert_false(test_server_count(&other.server, "", "Basic"));
    test_client_close(&c);
    fake_close(&f);
    fake_close(&other);
}

static void nobody_there(void **state)
{
    struct fake f = { 0 };
    struct test_client c;
    struct descriptor d = { 0 };

    fake_open(&f, honest);
    test_client_open(&c, f.server.port);
    free(c.ref.domain);
    c.ref.domain = xstrdup("localhost:1");
    expect_error(test_resolve(&c, NULL, &d), ERR_UNAVAILABLE,
                 "failed to do request: Head \"http://localhost:1/v2/lib/img/manifests/latest\": dial tcp "
                 "localhost:1: "
                 "connect: connection refused");
    test_client_close(&c);
    fake_close(&f);
}

static void mirrors(void **state)
{
    struct fake upstream = { 0 }, mirror = { 0 };
    struct registry_host_config host = { 0 };
    struct test_client c;
    struct descriptor d = { 0 };

    fake_open(&upstream, honest);
    fake_open(&mirror, honest);
    test_client_open(&c, upstream.server.port);
    host.host = xasprintf("localhost:%d", upstream.server.port);
    strv_addf(&host.mirrors, "http://localhost:1"); /* nobody there */
    strv_addf(&host.mirrors, "http://localhost:%d/some/prefix", mirror.server.port);
    c.config.hosts = &host;
    c.config.host_count = 1;
    /* the mirror does not have it */
    expect_ok(test_resolve(&c, NULL, &d));
    descriptor_deinit(&d);
    assert_int_equal(test_server_count(&mirror.server, "HEAD /some/prefix/v2", ""), 0);
    CLEANUP(freep)
    char *asked =
        xasprintf("HEAD /v2/some/prefix/lib/img/manifests/latest?ns=localhost%%3A%d", upstream.server.port);

    assert_int_equal(test_server_count(&mirror.server, asked, ""), 1);
    assert_int_equal(test_server_count(&upstream.server, "HEAD /v2/lib/img", ""), 1);
    /* it has the blob */
    expect_ok(test_fetch(&c, &upstream, NULL));
    assert_int_equal(test_server_count(&upstream.server, "GET /v2/lib/img/blobs", ""), 0);
    /* nobody has it: that a mirror is down is not what to say then */
    struct digest nowhere = digest_of("nowhere", 7);
    int64_t size;

    expect_error(registry_blob_size(c.registry, &c.ref, NULL, &nowhere, &size), ERR_NOT_FOUND,
                 "from remote: not found");
    test_client_close(&c);
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
    struct test_client c;

    assert_non_null(mkdtemp(dir));
    make_cert(dir);
    CLEANUP(freep) char *key = xasprintf("%s/key.pem", dir);
    CLEANUP(freep) char *cert = xasprintf("%s/cert.pem", dir);

    f.server.cert = cert;
    f.server.key = key;
    fake_open(&f, honest);
    test_client_open(&c, f.server.port);
    /* nobody vouches for it */
    struct registry_host_config only_tls = { 0 };

    only_tls.host = xasprintf("localhost:%d", f.server.port);
    strv_addf(&only_tls.mirrors, "https://localhost:%d", f.server.port);
    c.config.hosts = &only_tls;
    c.config.host_count = 1;
    expect_error(test_resolve(&c, NULL, &d), ERR_UNAVAILABLE,
                 "tls: failed to verify certificate: x509: certificate signed by unknown authority");
    test_client_close(&c);
    strv_deinit(&only_tls.mirrors);
    free(only_tls.host);
    /* unverified, when it is on the list */
    test_client_open(&c, f.server.port);
    strv_addf(&c.config.insecure_registries, "localhost:%d", f.server.port);
    expect_ok(test_resolve(&c, NULL, &d));
    descriptor_deinit(&d);
    strv_deinit(&c.config.insecure_registries);
    test_client_close(&c);
    /* by its certificate */
    CLEANUP(freep) char *host_dir = xasprintf("%s/localhost:%d", dir, f.server.port);
    CLEANUP(freep) char *ca = xasprintf("%s/ca.crt", host_dir);

    assert_int_equal(mkdir(host_dir, 0700), 0);
    assert_int_equal(symlink(cert, ca), 0);
    test_client_open(&c, f.server.port);
    c.config.certs_dir = dir;
    expect_ok(test_resolve(&c, NULL, &d));
    descriptor_deinit(&d);
    expect_ok(test_fetch(&c, &f, NULL));
    assert_blob_there(&c, &f);
    test_client_close(&c);
    fake_close(&f);
    assert_int_equal(path_remove_all(AT_FDCWD, dir), 0);
}

static bool can_bind(uint32_t address, int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(address),
                             .sin_port = htons((uint16_t)port) };
    CLEANUP(closep) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

/* Without a port in the name the schemes have ports of their own: nobody behind 443 does not mean nobody. */
static void insecure_registry_on_port_80(void **state)
{
    struct fake f = { .server = { .address = 0x7f4d0001, .port = 80 } }; /* 127.77.0.1 */
    struct descriptor d = { 0 };
    struct test_client c;

    if (!can_bind(f.server.address, f.server.port))
        skip();
    fake_open(&f, honest);
    test_client_open(&c, 0);
    reference_deinit(&c.ref);
    assert_null(reference_parse("127.77.0.1/lib/img:latest", &c.ref));
    strv_add(&c.config.insecure_registries, "127.77.0.1");
    expect_ok(test_resolve(&c, NULL, &d));
    descriptor_deinit(&d);
    strv_deinit(&c.config.insecure_registries);
    test_client_close(&c);
    fake_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(basic),
        cmocka_unit_test(tokens),
        cmocka_unit_test(tokens_of_the_client),
        cmocka_unit_test(redirects),
        cmocka_unit_test(redirect_that_asks),
        cmocka_unit_test(mirrors),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(private_ca),
        cmocka_unit_test(login),
        cmocka_unit_test(insecure_registry_on_port_80),
    };

    setenv("no_proxy", "*", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
