/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka wants these first */
#include <cmocka.h>

#include "base/buf.h"
#include "io/pattern.h"

static struct error *build(struct pattern_set *s, const char *text)
{
    CLEANUP(strv_deinit) struct strv v = { 0 };

    strv_split(&v, text, ' ');
    return pattern_set_init(s, (const char *const *)v.v, v.len);
}

static void test_match(void **state)
{
    static const struct {
        const char *patterns, *path;
        bool matched;
    } cases[] = {
        { "a", "a", true },
        { "a", "a/b/c", true },
        { "a", "b/a", false },
        { "**/a", "x/y/a", true },
        { "**/a", "a", true },
        { "a/**", "a/b/c", true },
        { "a/**", "a", false },
        { "a/**/b", "a/b", true },
        { "a/**/b", "a/x/y/b", true },
        { "*.go", "x.go", true },
        { "*.go", "d/x.go", false },
        { "**/*.go", "d/e/x.go", true },
        { "*", "a/b", true },
        { "a?c", "abc", true },
        { "a?c", "a/c", false },
        { "[a-c]", "b", true },
        { "[^a]", "b", true },
        { "a\\*b", "a*b", true },
        { "a\\*b", "axb", false },
        { "* !a", "a", false },
        { "* !a/b", "a/b", false },
        { "* !a/b", "a/c", true },
        { "a !a/b a/b/c", "a/b/c", true },
        { "!a", "b", false },
        { "a/b/../c", "a/c", true },
        { "a.b", "axb", false },
        { "**", "x/y", true },
        { "a**b", "axb", false },
        { "a**b", "a/b", true },
        { "a**b", "ab", true },
        { "**a", "xa", true },
        { "*.{2}", "x..", true },
        { "*b|a", "a/c", true },
        { "*x|y$", "zz", false },
        { "é?", "éà", true },
        { "dir !dir/keep", "dir/keep/f", false },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct pattern_set s;
        bool matched, walked, info[8];
        assert_null(build(&s, cases[i].patterns));
        assert_null(pattern_set_match(&s, cases[i].path, &matched));
        assert_null(pattern_set_match_walk(&s, cases[i].path, NULL, info, &walked));
        if (matched != cases[i].matched || walked != matched)
            fail_msg("%s on %s", cases[i].patterns, cases[i].path);
        pattern_set_deinit(&s);
    }
}

/* Down a tree the info of the parent answers for what it matched. */
static void test_walk(void **state)
{
    struct pattern_set s;
    bool dir[2], file[2], matched;

    assert_null(build(&s, "a !a/b"));
    assert_true(s.exclusions);
    assert_null(pattern_set_match_walk(&s, "a", NULL, dir, &matched));
    assert_true(matched);
    assert_null(pattern_set_match_walk(&s, "a/b", dir, file, &matched));
    assert_false(matched);
    assert_true(file[0] && file[1]);
    assert_null(pattern_set_match_walk(&s, "a/c", dir, file, &matched));
    assert_true(matched);
    assert_string_equal(pattern_text(&s, 1), "a/b");
    assert_true(pattern_is_exclusion(&s, 1));
    pattern_set_deinit(&s);
}

static void expect_error(struct error *e, const char *text)
{
    assert_non_null(e);
    assert_string_equal(e->message, text);
    assert_int_equal(e->kind, ERR_INVALID);
    err_free(e);
}

static void test_errors(void **state)
{
    struct pattern_set s;
    bool matched;

    expect_error(build(&s, "a !"), "illegal exclusion pattern: \"!\"");
    expect_error(build(&s, "[a"), "syntax error in pattern");
    expect_error(build(&s, "a\\"), "syntax error in pattern");
    assert_null(build(&s, "[z-a]")); /* found out when it is used */
    expect_error(pattern_set_match(&s, "x", &matched), "syntax error in pattern");
    pattern_set_deinit(&s);
}

/* security.md D4: many patterns, and one that a backtracking matcher would not survive. */
static void test_hostile(void **state)
{
    CLEANUP(strv_deinit) struct strv v = { 0 };
    CLEANUP(buf_deinit) struct buf stars = { 0 };
    CLEANUP(buf_deinit) struct buf path = { 0 };
    struct pattern_set s;
    bool matched;

    for (int i = 0; i < 50; i++)
        buf_adds(&stars, "**/*a*/");
    buf_adds(&stars, "x");
    strv_add(&v, buf_str(&stars));
    for (int i = 0; i < 100000; i++)
        strv_addf(&v, "dir%d/*.o", i);
    for (int i = 0; i < 500; i++)
        buf_adds(&path, "aaaa/");
    buf_adds(&path, "y");
    assert_null(pattern_set_init(&s, (const char *const *)v.v, v.len));
    assert_int_equal(s.count, 100001);
    assert_null(pattern_set_match(&s, "dir99999/x.o", &matched));
    assert_true(matched);
    bool *info = xcalloc(s.count, 1);
    bool *none = xcalloc(s.count, 1);
    assert_null(pattern_set_match_walk(&s, buf_str(&path), none, info, &matched));
    assert_false(matched);
    free(info);
    free(none);
    pattern_set_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_hostile),
    };

    return cmocka_run_group_tests_name("pattern", tests, NULL, NULL);
}
