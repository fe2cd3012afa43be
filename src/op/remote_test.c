/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote_test.c - what servers and clients choose about remote sources: names, dates, addresses
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "op/git_impl.h"
#include "op/http.h"
#include "op/signature.h"

#include <errno.h>
#include <stdlib.h>

static void test_names(void **state)
{
    static const char *const all[][2] = {
        { "a", "a" },           { "../../etc/x", "x" }, { "/", "download" },    { "", "download" },
        { "..", "download" },   { "a/..", "download" }, { "a/b/", "b" },        { " a ", "a" },
        { "x\ny", "download" }, { ".", "download" },    { "\x7f", "download" }, { "..a", "..a" },
    };
    char longer[400];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        CLEANUP(freep) char *name = http_safe_name(all[i][0]);

        assert_string_equal(name, all[i][1]);
    }
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    CLEANUP(freep) char *name = http_safe_name(longer);

    assert_string_equal(name, "download");
}

static void test_disposition(void **state)
{
    CLEANUP(freep) char *quoted = http_disposition_name("attachment; x=1; filename=\"a \\\"b;c\"; y");
    CLEANUP(freep) char *bare = http_disposition_name("attachment;filename=foo.tar;z=1");

    (void)state;
    assert_string_equal(quoted, "a \"b;c");
    assert_string_equal(bare, "foo.tar");
    assert_null(http_disposition_name("attachment; filename=\"dir/\""));
    assert_null(http_disposition_name("attachment"));
    assert_null(http_disposition_name(NULL));
}

static void test_dates(void **state)
{
    static const char *const same[] = { "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                                        "Sun Nov  6 08:49:37 1994" };
    int64_t t = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        assert_int_equal(http_parse_date(same[i], &t), 0);
        assert_int_equal(t, INT64_C(784111777000000000));
    }
    assert_true(http_parse_date("yesterday", &t) < 0);
    assert_true(http_parse_date(NULL, &t) < 0);
}

static void test_remotes(void **state)
{
    static const char *const bad[] = {
        "file:///etc",
        "/etc",
        "ext::sh -c x%% >&2",
        "https://-x/y",
        "https:///y",
        "https://host/a b",
        "-oProxyCommand=x@host:y",
        "a@-host:y",
        "a@host:-y",
        "ssh://-oProxyCommand/y",
        "ssh://a@-x/y",
        "dir/a@host:y",
        "https://x-@-y/z",
        "",
    };
    static const struct {
        const char *remote, *host, *path;
    } good[] = {
        { "https://user:pw@host:1/a/../b.git", "host:1", "/b.git" },
        { "ssh://git@host:22/~x/y.git", "host:22", "/~x/y.git" },
        { "git@github.com:moby/buildkit.git", "github.com", "/moby/buildkit.git" },
        { "git://host", "host", "/" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *host = NULL, *path = NULL;

        if (git_remote_split(bad[i], &host, &path))
            fail_msg("%s: %s %s", bad[i], host, path);
    }
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        CLEANUP(freep) char *host = NULL, *path = NULL;

        assert_true(git_remote_split(good[i].remote, &host, &path));
        assert_string_equal(host, good[i].host);
        assert_string_equal(path, good[i].path);
    }
    assert_true(git_is_commit("0123456789012345678901234567890123456789"));
    assert_false(git_is_commit("012345678901234567890123456789012345678"));
    assert_false(git_is_commit("--upload-pack=xxxxxxxxxxxxxxxxxxxxxxxxxxx"));
}

#define PGP "-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"

static void expect_split(void (*split)(const char *, struct buf *, struct buf *), const char *raw,
                         const char *data, const char *signature)
{
    CLEANUP(buf_deinit) struct buf d = { 0 }, s = { 0 };

    split(raw, &d, &s);
    assert_string_equal(buf_str(&d), data);
    assert_string_equal(buf_str(&s), signature);
}

static void test_signed_objects(void **state)
{
    (void)state;
    expect_split(
        git_split_commit,
        "tree a\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----\nauthor b\n\n"
        "message\n gpgsig no\n",
        "tree a\nauthor b\n\nmessage\n gpgsig no\n", PGP);
    expect_split(git_split_commit, "tree a\nauthor b\n\ngpgsig in a message\n",
                 "tree a\nauthor b\n\ngpgsig in a message\n", "");
    expect_split(git_split_commit, "tree a", "tree a", "");
    expect_split(git_split_tag, "object a\ntag b\n\nmessage\n" PGP, "object a\ntag b\n\nmessage\n", PGP);
    expect_split(git_split_tag, "object a\n\nmessage\n", "object a\n\nmessage\n", "");
    expect_split(git_split_tag, "object a\n", "object a\n", "");
}

static void expect_dearmored(const char *text, const char *bytes)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };

    assert_int_equal(signature_dearmor(text, "SIGNATURE", &b), bytes == NULL ? -EINVAL : 0);
    if (bytes != NULL)
        assert_string_equal(buf_str(&b), bytes);
}

static void test_armour(void **state)
{
#define BLOCK(text) "-----BEGIN PGP SIGNATURE-----\nVersion: x\n\n" text "-----END PGP SIGNATURE-----\n"
    (void)state;
    expect_dearmored(BLOCK("YWJj\n=abcd\n"), "abc");
    expect_dearmored(BLOCK("YWJj\r\nYWJj\r\n"), "abcabc");
    expect_dearmored("x\n" BLOCK("YWJj\n") "y\n" BLOCK("ZGVm\n"), "abcdef");
    expect_dearmored(BLOCK("%%%%\n"), NULL);
    expect_dearmored(BLOCK(""), NULL);
    expect_dearmored("", NULL);
    expect_dearmored("-----BEGIN PGP SIGNATURE-----", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),   cmocka_unit_test(test_disposition),    cmocka_unit_test(test_dates),
        cmocka_unit_test(test_remotes), cmocka_unit_test(test_signed_objects), cmocka_unit_test(test_armour)
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
