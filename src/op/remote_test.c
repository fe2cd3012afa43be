/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote_test.c - what servers and clients choose about remote sources: names, dates, addresses
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "op/git.h"
#include "op/http.h"

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
    static const char *const bad[] = { "ext::sh -c x", "file:///etc", "-x",           "https://-oProxy/x",
                                       "ssh://h/x",    "https:///x",  "http://h/a b", "http://h/a\nb" };
    char *host, *path;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(git_remote_split(bad[i], &host, &path));
    assert_true(git_remote_split("https://user:pw@host:1/a/../b.git", &host, &path));
    assert_string_equal(host, "host:1");
    assert_string_equal(path, "/b.git");
    free(host);
    free(path);
    assert_true(git_is_commit("0123456789012345678901234567890123456789"));
    assert_false(git_is_commit("012345678901234567890123456789012345678"));
    assert_false(git_is_commit("--upload-pack=xxxxxxxxxxxxxxxxxxxxxxxxxxx"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_names), cmocka_unit_test(test_disposition),
                                        cmocka_unit_test(test_dates), cmocka_unit_test(test_remotes) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
