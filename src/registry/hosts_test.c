/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/hosts.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "io/path.h"

static struct endpoints of(const struct registry_config *config, const char *domain)
{
    struct endpoints e = { 0 };

    assert_null(endpoints_of(config, domain, false, &e));
    return e;
}

static void hub_and_mirrors(void **state)
{
    char *mirrors[] = { (char *)"http://localhost:5000", (char *)"mirror.example/some/prefix/",
                        (char *)"https://m.example/v2", NULL };
    struct registry_host_config hub = { .host = (char *)"docker.io",
                                        .mirrors = { .v = mirrors, .len = 3, .cap = 3 } };
    struct registry_config config = { .hosts = &hub, .host_count = 1, .certs_dir = (char *)"/nonexistent" };
    struct endpoints e = of(&config, "docker.io");

    assert_int_equal(e.len, 4);
    assert_string_equal(e.v[0].host, "localhost:5000");
    assert_true(e.v[0].schemes[0] && !e.v[0].schemes[1] && e.v[0].mirror);
    assert_string_equal(e.v[1].host, "mirror.example");
    assert_string_equal(e.v[1].path, "/v2/some/prefix");
    assert_true(!e.v[1].schemes[0] && e.v[1].schemes[1]);
    assert_string_equal(e.v[2].path, "/v2");
    assert_string_equal(e.v[3].host, "registry-1.docker.io");
    assert_true(!e.v[3].schemes[0] && e.v[3].schemes[1] && !e.v[3].mirror);
    endpoints_deinit(&e);
}

static void plain_http(void **state)
{
    char *insecure[] = { (char *)"10.0.0.0/8", (char *)"plain.example:80", NULL };
    struct registry_config config = { .insecure_registries = { .v = insecure, .len = 2, .cap = 2 },
                                      .certs_dir = (char *)"/nonexistent" };
    static const struct {
        const char *domain;
        bool http, https, http_first, insecure;
    } cases[] = {
        { "localhost:5000", true, true, true, false },   { "127.1.2.3", true, true, true, false },
        { "[::1]:5000", true, true, true, false },       { "registry.example", false, true, false, false },
        { "10.1.2.3:5000", true, true, false, true },    { "11.1.2.3:5000", false, true, false, false },
        { "plain.example:80", true, true, false, true }, { "localhost.example", false, true, false, false },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct endpoints e = of(&config, cases[i].domain);

        assert_int_equal(e.len, 1);
        assert_int_equal(e.v[0].schemes[0], cases[i].http);
        assert_int_equal(e.v[0].schemes[1], cases[i].https);
        assert_int_equal(e.v[0].http_first, cases[i].http_first);
        assert_int_equal(e.v[0].tls.insecure, cases[i].insecure);
        endpoints_deinit(&e);
    }
}

static void write_file(const char *dir, const char *name, const char *text)
{
    CLEANUP(freep) char *path = xasprintf("%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void certificates(void **state)
{
    char root[] = "/tmp/hosts_test.XXXXXX";

    assert_non_null(mkdtemp(root));
    CLEANUP(freep) char *dir = xasprintf("%s/localhost:5000", root);

    assert_int_equal(mkdir(dir, 0700), 0);
    write_file(dir, "a.crt", "A");
    write_file(dir, "b.crt", "B");
    write_file(dir, "client.cert", "C");
    write_file(dir, "client.key", "K");
    struct registry_config config = { .certs_dir = root };
    struct endpoints e = of(&config, "localhost:5000");

    assert_string_equal(e.v[0].tls.ca_pem, "A\nB\n");
    assert_true(str_has_suffix(e.v[0].tls.cert_file, "/client.cert"));
    assert_true(str_has_suffix(e.v[0].tls.key_file, "/client.key"));
    /* certificates say that it speaks TLS, loopback or not */
    assert_true(!e.v[0].schemes[0] && e.v[0].schemes[1]);
    endpoints_deinit(&e);
    assert_int_equal(path_remove_all(AT_FDCWD, root), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hub_and_mirrors),
        cmocka_unit_test(plain_http),
        cmocka_unit_test(certificates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
