/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka wants these first */
#include <cmocka.h>

#include <errno.h>

#include "base/limits.h"
#include "base/regex.h"
#include "base/rune.h"

static void test_find(void **state)
{
    static const struct {
        const char *pattern, *text;
        int start, end; /* -1: no match, -2: not an expression */
    } cases[] = {
        { "abc", "xxabcx", 2, 5 },     { "^a", "ba", -1, 0 },
        { "a*", "baaa", 0, 0 },        { "a+", "baaa", 1, 4 },
        { "a+?", "baaa", 1, 2 },       { "a.*c", "abcbc", 0, 5 },
        { "a.*?c", "abcbc", 0, 3 },    { "a.c", "a\nc", -1, 0 },
        { "[^/]*$", "a/bc", 2, 4 },    { "(.*/)?x$", "a/b/x", 0, 5 },
        { "(.*/)?x$", "x", 0, 1 },     { "[a-c]+", "xbcd", 1, 3 },
        { "[^a-c]", "abcd", 3, 4 },    { "[]a]", "]", 0, 1 },
        { "[a-]", "-", 0, 1 },         { "[z-a]", "z", -2, 0 },
        { "[a", "a", -2, 0 },          { "[[:digit:]]", "a1", 1, 2 },
        { "[[:foo:]]", "a", -2, 0 },   { "\\d\\w", "a1_", 1, 3 },
        { "\\D", "1a", 1, 2 },         { "\\x41", "A", 0, 1 },
        { "\\101", "A", 0, 1 },        { "\\1", "1", -2, 0 },
        { "\\q", "q", -2, 0 },         { "a\\", "a", -2, 0 },
        { "\\bb", "ab b", 3, 4 },      { "a|bc", "bc", 0, 2 },
        { "ab|a", "ab", 0, 2 },        { "a|ab", "ab", 0, 1 },
        { "a||b", "b", 0, 0 },         { "^(a|b)c$", "bc", 0, 2 },
        { "a{2}", "aaa", 0, 2 },       { "a{2,}", "aaaa", 0, 4 },
        { "a{1,2}", "aaa", 0, 2 },     { "a{x}", "a{x}", 0, 4 },
        { "a{1001}", "a", -2, 0 },     { "a{2,1}", "a", -2, 0 },
        { "a**", "a", -2, 0 },         { "*a", "a", -2, 0 },
        { "a{2}{2}", "a", -2, 0 },     { "(a", "a", -2, 0 },
        { "a)", "a", -2, 0 },          { "", "a", 0, 0 },
        { "日.", "x日本", 1, 7 },      { ".", "\xff", 0, 1 },
        { "(?:ab)+c", "ababc", 0, 5 }, { "(?i)aB[x-y]", "AbX", 0, 3 },
        { "(?i:a)b", "AB", -1, 0 },    { "(?s).", "\n", 0, 1 },
        { "(?P<n>a)", "xa", 1, 2 },    { "(?<n>a)", "a", 0, 1 },
        { "(?P<n", "a", -2, 0 },       { "(?x)a", "a", -2, 0 },
        { "(?", "a", -2, 0 },          { "\\Qa.\\E+", "a..", 0, 3 },
        { "a{1,2}?", "aa", 0, 1 },     { "a{2,}?b", "aaab", 0, 4 },
        { "a{2}??", "a", -2, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct regex *re = NULL;
        size_t start = 0, end = 0;
        int r = regex_compile(cases[i].pattern, strlen(cases[i].pattern), &re);
        bool found = r == 0 && regex_find(re, cases[i].text, strlen(cases[i].text), 0, &start, &end);
        int got = r < 0 ? -2 : found ? (int)start : -1;
        if (got != cases[i].start || (found && (int)end != cases[i].end))
            fail_msg("%s in %s: %d-%zu", cases[i].pattern, cases[i].text, got, end);
        regex_free(re);
    }
}

static void test_replace(void **state)
{
    static const struct {
        const char *pattern, *text, *with, *expected;
    } cases[] = {
        { "a", "banana", "o", "bonono" },
        { "x", "banana", "o", "banana" },
        { "", "ab", "-", "-a-b-" },
        { "a*", "baac", "-", "-b-c-" },
        { "a", "aa", "$0$0", "aaaa" },
        { "a", "a", "$$", "$" },
        { "a", "a", "[${0}]", "[a]" },
        { "a", "a", "$1x", "" },
        { "a", "a", "$ ${", "$ ${" },
        { "(a)(b)?", "ab a", "<$2$1>", "<ba> <a>" },
        { "golang:(.*)", "x/golang:1.19", "g:${1}-alpine", "x/g:1.19-alpine" },
        { "(?P<name>[a-z]+)-(?P<v>[0-9]+)", "ab-12", "${v}.$name", "12.ab" },
        { "(a+)(a*)", "aaa", "[$1|$2]", "[aaa|]" },
        { "(a+?)(a*)", "aaa", "[$1|$2]", "[a|aa]" },
        { "^(.*)b(.*)$", "abbc", "$1|$2", "ab|c" },
        { "(a|(b))+", "ab", "$1,$2", "b,b" },
        { "(?:(a)|b)*", "ab", "[$1]", "[a]" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_deinit) struct buf out = { 0 };
        struct regex *re = NULL;
        assert_int_equal(regex_compile(cases[i].pattern, strlen(cases[i].pattern), &re), 0);
        assert_int_equal(
            regex_replace_all(re, cases[i].text, strlen(cases[i].text), cases[i].with, MIB, &out), 0);
        assert_string_equal(buf_str(&out), cases[i].expected);
        regex_free(re);
    }
}

static void test_limits(void **state)
{
    CLEANUP(freep) char *big = xcalloc(1, 70000);
    CLEANUP(buf_deinit) struct buf out = { 0 };
    struct regex *re = NULL;

    memset(big, 'a', 69999);
    assert_int_equal(regex_compile(big, 69999, &re), -E2BIG);
    assert_int_equal(regex_compile("a{1000}", 7, &re), 0);
    assert_true(regex_matches(re, big, 1000));
    assert_false(regex_matches(re, big, 999));
    regex_free(re);
    assert_int_equal(regex_compile("a", 1, &re), 0);
    assert_int_equal(regex_replace_all(re, big, 69999, "bbbbbbbb", 1000, &out), -E2BIG);
    assert_true(out.len < 2000);
    regex_free(re);
}

/* An expression on which a backtracking matcher would not come back. */
static void test_linear(void **state)
{
    CLEANUP(buf_deinit) struct buf pattern = { 0 };
    CLEANUP(freep) char *text = xcalloc(1, 4097);
    struct regex *re = NULL;

    memset(text, 'a', 4096);
    buf_adds(&pattern, "^");
    for (int i = 0; i < 60; i++)
        buf_adds(&pattern, "(.*/)?[^/]*");
    buf_adds(&pattern, "b$");
    assert_int_equal(regex_compile(buf_str(&pattern), pattern.len, &re), 0);
    assert_false(regex_matches(re, text, 4096));
    regex_free(re);
}

/* What each place would remember of each group is bounded, not only their numbers. */
static void test_many_groups(void **state)
{
    CLEANUP(buf_deinit) struct buf pattern = { 0 };
    CLEANUP(buf_deinit) struct buf out = { 0 };
    struct regex *re = NULL;

    for (size_t i = 0; i < LIMIT_REGEX_BYTES / 3; i++)
        buf_adds(&pattern, "(a)");
    assert_int_equal(regex_compile(buf_str(&pattern), pattern.len, &re), 0);
    assert_false(regex_matches(re, "aaa", 3));
    assert_int_equal(regex_replace_all(re, "aaa", 3, "$1", 100, &out), -E2BIG);
    regex_free(re);
}

static void test_runes(void **state)
{
    static const struct {
        const char *text, *quoted;
    } cases[] = {
        { "a\"b\\c", "\"a\\\"b\\\\c\"" },
        { "\n\t\x01\x7f", "\"\\n\\t\\x01\\x7f\"" },
        { "é日", "\"é日\"" },
        { "\xff", "\"\\xff\"" },
        { "\u00a0\u200b", "\"\\u00a0\\u200b\"" },
        { "\U000e0001", "\"\\U000e0001\"" },
    };
    size_t width;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(freep) char *got = str_quote(cases[i].text);
        assert_string_equal(got, cases[i].quoted);
    }
    assert_int_equal(rune_decode("\xc0\x80", 2, &width), RUNE_ERROR);
    assert_int_equal(width, 1);
    assert_int_equal(rune_decode("\xed\xa0\x80", 3, &width), RUNE_ERROR);
    assert_int_equal(rune_decode("\xf0\x9f\x98\x80", 4, &width), 0x1f600);
    assert_int_equal(width, 4);
    assert_int_equal(rune_decode("", 0, &width), RUNE_EOF);
    assert_true(rune_is_letter(0xe9) && rune_is_digit(0x663) && rune_is_space(0x3000));
    assert_false(rune_is_letter('_') || rune_is_digit('a') || rune_is_space(0x200b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),   cmocka_unit_test(test_replace),     cmocka_unit_test(test_limits),
        cmocka_unit_test(test_linear), cmocka_unit_test(test_many_groups), cmocka_unit_test(test_runes),
    };

    return cmocka_run_group_tests_name("regex", tests, NULL, NULL);
}
