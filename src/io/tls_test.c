/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "io/path.h"
#include "io/stream.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <cmocka.h>

static char dir[] = "/tmp/minke-tls-XXXXXX";

/* A certificate that is its own authority, and its key. */
static void make_certificate(const char *name)
{
    CLEANUP(freep)
    char *cert_path = xasprintf("%s/%s.crt", dir, name), *key_path = xasprintf("%s/%s.key", dir, name);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    FILE *f;

    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name,
                               -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_EXTENSION *authority = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");

    X509_add_ext(cert, authority, -1);
    X509_EXTENSION_free(authority);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    f = fopen(cert_path, "w");
    assert_int_equal(PEM_write_X509(f, cert), 1);
    fclose(f);
    f = fopen(key_path, "w");
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static int make_all(void **state)
{
    if (mkdtemp(dir) == NULL)
        return -1;
    make_certificate("server");
    make_certificate("client");
    make_certificate("stranger");
    return 0;
}

static int remove_all(void **state)
{
    return path_remove_all(AT_FDCWD, dir);
}

/* The client's side: OpenSSL on a blocking socket, in a task of its own. */
struct client {
    int fd;
    const char *name; /* of its certificate; NULL none */
    size_t bytes;
    bool hang_up; /* without a close notice */
    bool accepted;
};

static SSL_CTX *client_context(const struct client *c)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    CLEANUP(freep)
    char *cert = xasprintf("%s/%s.crt", dir, c->name), *key = xasprintf("%s/%s.key", dir, c->name);
    CLEANUP(freep) char *ca = xasprintf("%s/server.crt", dir);

    SSL_CTX_load_verify_file(context, ca);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (c->name != NULL) {
        SSL_CTX_use_certificate_file(context, cert, SSL_FILETYPE_PEM);
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM);
    }
    return context;
}

/* Send bytes, and get as many back. */
static bool converse(SSL *ssl, size_t bytes)
{
    char out[5000], in[5000];

    for (size_t done = 0; done < bytes;) {
        size_t n = MIN(bytes - done, sizeof(out)), sent, got = 0, once;

        for (size_t i = 0; i < n; i++)
            out[i] = (char)(done + i);
        if (SSL_write_ex(ssl, out, n, &sent) != 1 || sent != n)
            return false;
        for (; got < n; got += once)
            if (SSL_read_ex(ssl, in + got, n - got, &once) != 1)
                return false;
        if (memcmp(in, out, n) != 0)
            return false;
        done += n;
    }
    return true;
}

static struct error *run_client(void *arg)
{
    struct client *c = arg;
    SSL_CTX *context = client_context(c);
    SSL *ssl = SSL_new(context);

    SSL_set_fd(ssl, c->fd);
    c->accepted = SSL_connect(ssl) == 1 && converse(ssl, c->bytes);
    if (c->accepted && !c->hang_up)
        SSL_shutdown(ssl);
    shutdown(c->fd, SHUT_RDWR);
    SSL_free(ssl);
    SSL_CTX_free(context);
    return NULL;
}

/* Serve one connection, sending back what comes. *ret_end: what the last read gave. */
static struct error *serve(struct client *c, bool verify, int *ret_end)
{
    CLEANUP(freep) char *cert = xasprintf("%s/server.crt", dir), *key = xasprintf("%s/server.key", dir);
    CLEANUP(freep) char *ca = xasprintf("%s/client.crt", dir);
    struct tls_server_config config = { .cert_file = cert, .key_file = key, .ca_file = verify ? ca : NULL };
    struct stream *secured = NULL, *plain;
    struct group g;
    char chunk[3000];
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    c->fd = fds[0];
    group_open(&g, 0);
    assert_null(group_spawn(&g, "client", run_client, c));
    plain = stream_from_fd(fds[1]);
    struct error *e = stream_tls_server(plain, &config, &secured);

    if (e != NULL) {
        stream_close(plain);
    } else {
        while ((*ret_end = (int)stream_read(secured, chunk, sizeof(chunk))) > 0)
            assert_int_equal(stream_write_full(secured, chunk, (size_t)*ret_end), 0);
        stream_shut(secured);
        stream_close(secured);
    }
    assert_null(group_join(&g));
    close(fds[0]);
    return e;
}

static void bytes_go_both_ways(void **state)
{
    struct client c = { .bytes = 1000000 };
    int end = 1;

    assert_null(serve(&c, false, &end));
    assert_true(c.accepted);
    assert_int_equal(end, 0);
}

static void a_cut_is_no_end(void **state)
{
    struct client c = { .bytes = 10, .hang_up = true };
    int end = 1;

    assert_null(serve(&c, false, &end));
    assert_true(c.accepted);
    assert_int_equal(end, -ECONNRESET);
}

static void certificates_are_asked_for(void **state)
{
    struct client known = { .name = "client", .bytes = 10 }, stranger = { .name = "stranger", .bytes = 10 },
                  none = { .bytes = 10 };
    int end;

    assert_null(serve(&known, true, &end));
    assert_true(known.accepted);
    struct error *e = serve(&stranger, true, &end);

    assert_true(err_is(e, ERR_UNAUTHORIZED));
    assert_false(stranger.accepted);
    err_free(e);
    e = serve(&none, true, &end);
    assert_true(err_is(e, ERR_UNAUTHORIZED));
    assert_false(none.accepted);
    err_free(e);
}

static void a_silent_client_is_cut_off(void **state)
{
    CLEANUP(freep) char *cert = xasprintf("%s/server.crt", dir), *key = xasprintf("%s/server.key", dir);
    struct tls_server_config config = { .cert_file = cert, .key_file = key };
    struct stream *secured = NULL, *plain;
    struct deadline d;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    plain = stream_from_fd(fds[1]);
    deadline_begin(&d, 5 * NS_PER_MS);
    struct error *e = stream_tls_server(plain, &config, &secured);

    assert_true(err_is(e, ERR_DEADLINE));
    err_free(e);
    deadline_end(&d);
    config.key_file = "/nonexistent";
    e = stream_tls_server(plain, &config, &secured);
    assert_true(err_is(e, ERR_INVALID));
    err_free(e);
    stream_close(plain);
    close(fds[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways),
        cmocka_unit_test(a_cut_is_no_end),
        cmocka_unit_test(certificates_are_asked_for),
        cmocka_unit_test(a_silent_client_is_cut_off),
    };

    return cmocka_run_group_tests(tests, make_all, remove_all);
}
