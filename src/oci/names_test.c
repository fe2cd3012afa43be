/* SPDX-License-Identifier: Apache-2.0 */
/* Digests, references, platforms, descriptors: the names of things. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "oci/descriptor.h"
#include "oci/digest.h"
#include "oci/platform.h"
#include "oci/purl.h"
#include "oci/reference.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void expect_ok(struct error *e)
{
    if (e != NULL)
        fail_msg("%s", e->message);
}

static void expect_error(struct error *e, const char *message)
{
    assert_non_null(e);
    assert_string_equal(e->message, message);
    err_free(e);
}

static void test_digest(void **state)
{
    struct digest d = digest_of("abc", 3);
    assert_string_equal(d.s, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    struct hasher *h = hasher_new();
    hasher_add(h, "a", 1);
    struct digest part = hasher_sum(h);
    struct digest a = digest_of("a", 1);
    assert_true(digest_eq(&part, &a));
    hasher_add(h, "bc", 2);
    struct digest whole = hasher_sum(h);
    assert_true(digest_eq(&whole, &d));
    hasher_free(h);

    assert_true(digest_valid("sha256:" HEX64));
    const char *bad[] = { "",
                          "sha256:",
                          HEX64,
                          "sha256:../../x",
                          "sha999:" HEX64,
                          "sha256:" HEX64 "0",
                          "sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(digest_valid(bad[i]));
}

static void test_reference_forms(void **state)
{
    static const struct {
        const char *in, *full, *familiar, *domain, *path;
    } cases[] = {
        { "busybox", "docker.io/library/busybox", "busybox", "docker.io", "library/busybox" },
        { "busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36", "docker.io", "library/busybox" },
        { "a/b", "docker.io/a/b", "a/b", "docker.io", "a/b" },
        { "index.docker.io/a", "docker.io/library/a", "a", "docker.io", "library/a" },
        { "localhost/x", "localhost/x", "localhost/x", "localhost", "x" },
        { "localhost:5000/x/y:t", "localhost:5000/x/y:t", "localhost:5000/x/y:t", "localhost:5000", "x/y" },
        { "[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x", "[::1]:5000", "x" },
        { "UPPER/x", "UPPER/x", "UPPER/x", "UPPER", "x" },
        { "docker.io/library/a/b", "docker.io/library/a/b", "library/a/b", "docker.io", "library/a/b" },
        { "a__b/c--d.e", "docker.io/a__b/c--d.e", "a__b/c--d.e", "docker.io", "a__b/c--d.e" },
        { "a:T@sha256:" HEX64, "docker.io/library/a:T@sha256:" HEX64, "a:T@sha256:" HEX64, "docker.io",
          "library/a" },
        { "foo_bar.com/x", "foo_bar.com/x", "foo_bar.com/x", "", "foo_bar.com/x" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(reference_deinit) struct reference r = { 0 };
        expect_ok(reference_parse(cases[i].in, &r));
        CLEANUP(freep) char *full = reference_string(&r);
        CLEANUP(freep) char *familiar = reference_familiar(&r);
        assert_string_equal(full, cases[i].full);
        assert_string_equal(familiar, cases[i].familiar);
        assert_string_equal(r.domain, cases[i].domain);
        assert_string_equal(r.path, cases[i].path);
    }
}

static void test_reference_errors(void **state)
{
    static const struct {
        const char *in, *message;
    } cases[] = {
        { "", "invalid reference format" },
        { "Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase" },
        { "a/B:t", "invalid reference format: repository name (a/B) must be lowercase" },
        { "a:", "invalid reference format" },
        { "a:-x", "invalid reference format" },
        { "a..b", "invalid reference format" },
        { "a___b", "invalid reference format" },
        { "-a", "invalid reference format" },
        { "a/", "invalid reference format" },
        { "a//b", "invalid reference format" },
        { "a b", "invalid reference format" },
        { "a@sha256:abc", "invalid reference format" },
        { "a@sha256:0123456789abcdef0123456789abcdef", "invalid checksum digest length" },
        { "a@md5:0123456789abcdef0123456789abcdef", "unsupported digest algorithm" },
        { "foo_Bar.com/x", "repository name must be lowercase" },
        { HEX64, "invalid repository name (" HEX64 "), cannot specify 64-byte hexadecimal strings" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct reference r = { 0 };
        expect_error(reference_parse(cases[i].in, &r), cases[i].message);
        assert_null(r.path);
    }
}

static void test_platform_parse(void **state)
{
    static const struct {
        const char *in, *parsed, *normalized;
    } cases[] = {
        { "linux/amd64", "linux/amd64", "linux/amd64" },
        { "amd64", "linux/amd64", "linux/amd64" },
        { "x86_64", "linux/amd64", "linux/amd64" },
        { "linux/amd64/v1", "linux/amd64", "linux/amd64" },
        { "linux/AMD64/v2", "linux/amd64/v2", "linux/amd64/v2" },
        { "linux/arm64", "linux/arm64", "linux/arm64" },
        { "linux/arm64/v8", "linux/arm64/v8", "linux/arm64" },
        { "aarch64", "linux/arm64", "linux/arm64" },
        { "linux/arm", "linux/arm", "linux/arm/v7" },
        { "linux/arm/v6", "linux/arm/v6", "linux/arm/v6" },
        { "linux/arm/7", "linux/arm/v7", "linux/arm/v7" },
        { "armel", "linux/arm/v6", "linux/arm/v6" },
        { "i386", "linux/386", "linux/386" },
        { "windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64" },
        { "windows(10.0.17763+b+a)/amd64", "windows(10.0.17763+a+b)/amd64", "windows(10.0.17763+a+b)/amd64" },
        { "macos/arm64", "darwin/arm64", "darwin/arm64" },
        { "windows(10%2B1)/amd64", "windows(10%2B1)/amd64", "windows(10%2B1)/amd64" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(platform_deinit) struct platform p = { 0 };
        expect_ok(platform_parse(cases[i].in, &p));
        CLEANUP(freep) char *parsed = platform_format_all(&p);
        assert_string_equal(parsed, cases[i].parsed);
        platform_normalize(&p);
        CLEANUP(freep) char *normalized = platform_format_all(&p);
        assert_string_equal(normalized, cases[i].normalized);
    }
    struct platform p = { 0 };
    expect_error(platform_parse("nonsense", &p),
                 "\"nonsense\": unknown operating system or architecture: invalid argument");
    expect_error(platform_parse("linux/*", &p), "\"linux/*\": wildcards not yet supported: invalid argument");
    expect_error(platform_parse("a/b/c/d", &p),
                 "\"a/b/c/d\": cannot parse platform specifier: invalid argument");
    expect_error(platform_parse("linux/&", &p),
                 "\"&\" is an invalid component of \"linux/&\": platform specifier component must "
                 "match \"^[A-Za-z0-9_.-]+$\": invalid argument");
    const char *bad[] = { "",        "/", "linux/", "linux(1/amd64", "linux(1+)/amd64", "linux(1++a)/amd64",
                          "linux)/x" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct error *e = platform_parse(bad[i], &p);
        assert_non_null(e);
        assert_int_equal(e->kind, ERR_INVALID);
        err_free(e);
    }
}

static int match(const char *want, const char *have)
{
    CLEANUP(platform_deinit) struct platform w = { 0 };
    CLEANUP(platform_deinit) struct platform h = { 0 };
    expect_ok(platform_parse(want, &w));
    expect_ok(platform_parse(have, &h));
    return platform_match(&w, &h);
}

static void test_platform_match(void **state)
{
    assert_true(match("linux/amd64", "linux/amd64") > match("linux/amd64", "linux/386"));
    assert_true(match("linux/amd64", "linux/386") > 0);
    assert_int_equal(match("linux/amd64", "linux/arm64"), 0);
    assert_int_equal(match("linux/amd64", "linux/amd64/v2"), 0);
    assert_true(match("linux/amd64/v3", "linux/amd64/v2") > match("linux/amd64/v3", "linux/amd64"));
    assert_true(match("linux/amd64/v3", "linux/amd64") > 0);
    assert_true(match("linux/arm/v7", "linux/arm/v6") > match("linux/arm/v7", "linux/arm/v5"));
    assert_int_equal(match("linux/arm/v6", "linux/arm/v7"), 0);
    assert_true(match("linux/arm64", "linux/arm64/v8") > match("linux/arm64", "linux/arm/v7"));
    assert_true(match("linux/arm64", "linux/arm/v7") > 0);
    assert_true(match("linux/arm64/v9", "linux/arm64/v8.5") > 0);
    assert_int_equal(match("linux/arm64", "linux/arm64/v9"), 0);
    assert_int_equal(match("windows/amd64", "linux/amd64"), 0);

    size_t count;
    const struct platform *list = platform_supported(&count);
    assert_true(count >= 1);
    assert_true(platform_eq(&list[0], platform_host()));
    platform_rescan();
    assert_ptr_equal(platform_supported(&count), list);
}

static void test_descriptor(void **state)
{
    const char *text =
        "{\"mediaType\":\"" MT_OCI_MANIFEST "\",\"digest\":\"sha256:" HEX64 "\",\"size\":7,"
        "\"annotations\":{\"b\":\"2\",\"a\":\"1\"},\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\","
        "\"variant\":\"v7\"},\"urls\":[\"http://x\"]}";
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    CLEANUP(descriptor_deinit) struct descriptor d = { 0 };
    expect_ok(descriptor_from_json(j, &d));
    json_decref(j);
    CLEANUP(descriptor_deinit) struct descriptor copy = { 0 };
    descriptor_copy(&copy, &d);
    json_t *back = descriptor_to_json(&copy);
    char *out = json_dumps(back, JSON_COMPACT);
    assert_string_equal(out,
                        "{\"mediaType\":\"" MT_OCI_MANIFEST "\",\"digest\":\"sha256:" HEX64 "\",\"size\":7,"
                        "\"urls\":[\"http://x\"],\"annotations\":{\"a\":\"1\",\"b\":\"2\"},"
                        "\"platform\":{\"architecture\":\"arm\",\"os\":\"linux\",\"variant\":\"v7\"}}");
    free(out);
    json_decref(back);

    static const char *const bad[] = { "[]",
                                       "{}",
                                       "{\"digest\":\"sha256:x\",\"size\":1}",
                                       "{\"digest\":\"sha256:" HEX64 "\",\"size\":-1}",
                                       "{\"digest\":\"sha256:" HEX64 "\"}",
                                       "{\"digest\":\"sha256:" HEX64
                                       "\",\"size\":1,\"annotations\":{\"a\":1}}",
                                       "{\"digest\":\"sha256:" HEX64 "\",\"size\":1,\"mediaType\":3}",
                                       "{\"digest\":\"sha256:" HEX64 "\",\"size\":1,\"urls\":3}" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct descriptor unused = { 0 };
        json_t *b = json_loads(bad[i], 0, NULL);
        struct error *e = descriptor_from_json(b, &unused);
        assert_non_null(e);
        assert_int_equal(e->kind, ERR_INVALID);
        err_free(e);
        json_decref(b);
    }
}

/* What BuildKit's urlutil.RedactCredentials answers. */
static void urls_lose_their_credentials(void **state)
{
    static const char *const cases[][2] = {
        { "https://u:p@h/x", "https://xxxxx:xxxxx@h/x" },
        { "https://u@h/x", "https://xxxxx@h/x" },
        { "https://:p@h/x", "https://:xxxxx@h/x" },
        { "https://u:@h/x", "https://xxxxx:xxxxx@h/x" },
        { "https://u:p:q@h/", "https://xxxxx:xxxxx@h/" },
        { "https://u:p%40@h/", "https://xxxxx:xxxxx@h/" },
        { "https://u:p@h:80?q=a@b#f", "https://xxxxx:xxxxx@h:80?q=a@b#f" },
        { "http://a@b@c/", "http://xxxxx@c/" },
        { "ssh://git@h/r", "ssh://xxxxx@h/r" },
        { "//u:p@h", "//xxxxx:xxxxx@h" },
        { "https://u:p@", "https://xxxxx:xxxxx@" },
        { "https://@h/", "https://@h/" },
        { "https://h/x@y", "https://h/x@y" },
        { "git@h:o/r.git", "git@h:o/r.git" },
        { "u:p@h", "u:p@h" },
        { "", "" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(freep) char *shown = url_redact(cases[i][0]);

        assert_string_equal(shown, cases[i][1]);
    }
}

/* What BuildKit's purl.RefToPURL answers. */
static void images_have_package_urls(void **state)
{
    static const char *const cases[][3] = {
        { "busybox", NULL, "pkg:docker/busybox@latest" },
        { "busybox", "linux/amd64", "pkg:docker/busybox@latest?platform=linux%2Famd64" },
        { "docker.io/library/busybox:1.36", "linux/arm/v7",
          "pkg:docker/busybox@1.36?platform=linux%2Farm%2Fv7" },
        { "docker.io/org/x", "linux/arm64/v8", "pkg:docker/org/x@latest?platform=linux%2Farm64" },
        { "registry.example/x:a_b.c-d", NULL, "pkg:docker/registry.example/x@a_b.c-d" },
        { "localhost:5000/a/b:v+1", NULL, NULL },
        { "A B", NULL, NULL },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(platform_deinit) struct platform p = { 0 };
        CLEANUP(freep) char *got = NULL;
        CLEANUP(err_freep) struct error *e = NULL;

        if (cases[i][1] != NULL)
            assert_null(platform_parse(cases[i][1], &p));
        e = purl_of_image("docker", cases[i][0], &p, NULL, NULL, &got);
        if (cases[i][2] != NULL)
            assert_string_equal(got, cases[i][2]);
        else
            assert_true(e != NULL && str_has_prefix(e->message, "failed to parse ref \""));
    }
}

static void a_bundle_has_a_package_url(void **state)
{
    CLEANUP(freep) char *got = NULL;

    assert_null(purl_of_image("docker", "h.example/b:1", NULL, "bundle", "https://h.example/r.git", &got));
    assert_string_equal(got,
                        "pkg:docker/h.example/b@1?ref_type=bundle&vcs_url=https:%2F%2Fh.example%2Fr.git");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_lose_their_credentials),
        cmocka_unit_test(images_have_package_urls),
        cmocka_unit_test(a_bundle_has_a_package_url),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_reference_forms),
        cmocka_unit_test(test_reference_errors),
        cmocka_unit_test(test_platform_parse),
        cmocka_unit_test(test_platform_match),
        cmocka_unit_test(test_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
