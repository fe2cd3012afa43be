/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka wants these first */
#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "frontend/dockerfile/words.h"

static const char *const vars[] = {
    "a=x", "empty=", "sp=one two  three", "path=/a/b/c.tar.gz", "star=a*b", "d=[$0]", "1=one", "uni=äöü"
};

static struct words_result expand(const struct words_options *o, const char *word, struct error **ret_error)
{
    CLEANUP(strv_deinit) struct strv env = { 0 };
    struct words_result r;

    for (size_t i = 0; i < ARRAY_LEN(vars); i++)
        strv_add(&env, vars[i]);
    struct words_env lookup = words_env_strv(&env);
    *ret_error = words_process(o, word, &lookup, &r);
    return r;
}

static const struct {
    const char *word, *text, *words; /* words joined by '|'; text NULL: `words` is the error */
} cases[] = {
    { "", "", "" },
    { "hello", "hello", "hello" },
    { "$a ${a}b $nope.", "x xb .", "x|xb|." },
    { "$$ $", " $", "$" }, /* $$ names a parameter that has no value */
    { "$1x", "onex", "onex" },
    { "$sp", "one two  three", "one|two|three" },
    { "\"$sp\" '$sp'", "one two  three $sp", "one two  three|$sp" },
    { "a\\ b \\$a", "a b $a", "a b|$a" },
    { "\"a\\\"b\\x\"", "a\"b\\x", "a\"b\\x" },
    { "${nope:-w} ${empty:-w} ${empty-w} ${a:-w}", "w w  x", "w|w|x" },
    { "${nope:+w}${empty:+w}${empty+v}${a:+w}", "vw", NULL },
    { "${nope:-${nope:-deep}}", "deep", "deep" },
    { "ab${nope:-y}c", "abyc", "yc" }, /* a nested word resets the splitter */
    { "${path#*/} ${path##*/} ${path%.*} ${path%%.*}", "a/b/c.tar.gz c.tar.gz /a/b/c.tar /a/b/c", NULL },
    { "${star#a\\*} ${uni%?} ${uni#?}", "b äö öü", NULL },
    { "${path/a/X} ${path//\\//-} ${path/./}", "/X/b/c.tar.gz -a-b-c.tar.gz /a/b/ctar.gz", NULL },
    { "${path//a/$d}", "/[a]/b/c.t[a]r.gz", NULL },
    { "${a:?m}${nope:?gone}", NULL, "nope: gone" },
    { "${nope?}", NULL, "nope: is not allowed to be unset" },
    { "${empty:?}", NULL, "empty: is not allowed to be empty" },
    { "${", NULL, "syntax error: missing '}'" },
    { "${}", NULL, "syntax error: bad substitution" },
    { "${a", NULL, "unsupported modifier (\xef\xbf\xbd) in substitution" },
    { "${a:", NULL, "syntax error: missing '}'" },
    { "${a!}", NULL, "unsupported modifier (!) in substitution" },
    { "${path:#a}", NULL, "unsupported modifier (:#) in substitution" },
    { "${a/b}", NULL, "syntax error: missing '/' in ${}" },
    { "${path#\\q}", NULL, "invalid pattern (\\q) in substitution: invalid escape '\\q'" },
    { "'x", NULL, "unexpected end of statement while looking for matching single-quote" },
    { "\"x", NULL, "unexpected end of statement while looking for matching double-quote" },
};

static void test_expand(void **state)
{
    struct words_options o = { .escape = '\\' };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error *e;
        struct words_result r = expand(&o, cases[i].word, &e);
        CLEANUP(freep) char *joined = strv_join(&r.words, "|");
        if (cases[i].text == NULL) {
            if (e == NULL || !str_has_suffix(e->message, cases[i].words) ||
                !str_has_prefix(e->message, "failed to process "))
                fail_msg("%s: %s", cases[i].word, e != NULL ? e->message : r.text);
        } else if (e != NULL || !streq(r.text, cases[i].text)) {
            fail_msg("%s: %s", cases[i].word, e != NULL ? e->message : r.text);
        } else if (cases[i].words != NULL && !streq(joined, cases[i].words)) {
            fail_msg("%s: words %s", cases[i].word, joined);
        }
        err_free(e);
        words_result_deinit(&r);
    }
}

static void expect(struct words_options o, const char *word, const char *text)
{
    struct error *e;
    struct words_result r = expand(&o, word, &e);

    assert_null(e);
    assert_string_equal(r.text, text);
    words_result_deinit(&r);
}

static void test_options(void **state)
{
    expect((struct words_options){ .escape = '`' }, "C:\\x `$a $a", "C:\\x $a x");
    expect((struct words_options){ .escape = '\\', .raw_quotes = true }, "'$a' \"$a\"", "'$a' \"x\"");
    expect((struct words_options){ .escape = '\\', .raw_escapes = true, .raw_quotes = true }, "a\\ b \"\\n\"",
           "a\\ b \"\\n\"");
    expect((struct words_options){ .escape = '\\', .skip_quotes = true }, "'$a'", "'x'");
    expect((struct words_options){ .escape = '\\', .skip_unset = true },
           "$nope ${nope} ${nope:-w} ${nope/a/b} $a", "$nope ${nope} ${nope:-w} ${nope/a/b} x");
}

static void test_names(void **state)
{
    struct words_options o = { .escape = '\\' };
    struct error *e;
    struct words_result r = expand(&o, "$a $nope ${a} ${other:-$third} ${bad", &e);

    assert_non_null(e); /* names are told even so */
    assert_int_equal(r.matched.len, 1);
    assert_string_equal(r.matched.v[0], "a");
    CLEANUP(freep) char *unset = strv_join(&r.unmatched, " ");
    assert_string_equal(unset, "nope third other");
    err_free(e);
    words_result_deinit(&r);
}

static void test_limits(void **state)
{
    CLEANUP(buf_deinit) struct buf deep = { 0 };
    CLEANUP(strv_deinit) struct strv env = { 0 };
    CLEANUP(buf_deinit) struct buf big = { 0 };
    struct words_options o = { .escape = '\\' };
    char *text;

    for (int i = 0; i < 5000; i++)
        buf_adds(&deep, "${n:-");
    struct error *e = words_expand(&o, buf_str(&deep), NULL, &text);
    assert_non_null(strstr(e->message, "nest deeper than"));
    err_free(e);
    buf_adds(&big, "v=");
    for (size_t i = 0; i < MIB; i++)
        buf_addc(&big, 'x');
    strv_add(&env, buf_str(&big));
    struct words_env lookup = words_env_strv(&env);
    e = words_expand(&o, "$v$v$v$v$v", &lookup, &text);
    assert_non_null(strstr(e->message, "exceed maximum allowed size"));
    err_free(e);
    e = words_expand(&o, "${v//x/xxxxxxxx}", &lookup, &text);
    assert_non_null(strstr(e->message, "exceed maximum allowed size"));
    err_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expand),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests_name("words", tests, NULL, NULL);
}
