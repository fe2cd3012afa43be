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
#include "frontend/dockerfile/directive.h"
#include "frontend/dockerfile/ignore.h"
#include "frontend/dockerfile/parser.h"

static struct arena mem; /* of what a test parses */

static int release(void **state)
{
    arena_deinit(&mem);
    return 0;
}

static struct df_ast parse(const char *text)
{
    struct df_ast ast;
    struct error *e = df_ast_parse(&mem, text, strlen(text), &ast);

    if (e != NULL)
        fail_msg("%s", e->message);
    return ast;
}

static void expect_args(const struct df_node *n, const char *joined)
{
    CLEANUP(freep) char *got = strv_join(&n->args, "|");

    assert_string_equal(got, joined);
}

static void test_lines(void **state)
{
    struct df_ast a = parse(
        "# about x\n# more\n\nFROM  a\r\nRUN echo a \\\n  # comment\n b\\\n\n c\n  CMD [\"x\", \"y z\"]\n");

    assert_int_equal(a.count, 3);
    expect_args(a.nodes[0], "a");
    assert_int_equal(a.nodes[0]->lines.first, 4);
    assert_int_equal(a.nodes[0]->comments.len, 2);
    assert_string_equal(a.nodes[0]->comments.v[0], "about x");
    expect_args(a.nodes[1], "echo a  b c");
    assert_string_equal(a.nodes[1]->original, "RUN echo a  b c");
    assert_int_equal(a.nodes[1]->lines.first, 5);
    assert_int_equal(a.nodes[1]->lines.last, 9);
    assert_int_equal(a.nodes[1]->comments.len, 0);
    expect_args(a.nodes[2], "x|y z");
    assert_true(a.nodes[2]->json);
    assert_int_equal(a.warning_count, 1);
    assert_string_equal(a.warnings[0].text, "Empty continuation line found in: RUN echo a  b c");
    assert_int_equal(a.warnings[0].lines.first, 9);
}

static void test_escape(void **state)
{
    struct df_ast a = parse("# escape=`\nFROM a\nRUN dir `\n c:\\\nENV a=b` c d=\"e`\"f\"\n");

    assert_int_equal(a.escape, '`');
    expect_args(a.nodes[1], "dir  c:\\");
    expect_args(a.nodes[2], "a|b` c|=|d|\"e`\"f\"|=");
}

static void test_arguments(void **state)
{
    static const struct {
        const char *line, *flags, *args;
    } cases[] = {
        { "COPY --from=a --chown=\"b c\" d e", "--from=a|--chown=b c", "d|e" },
        { "RUN -- --x", "", "--x" },
        { "RUN --mount=type=bind,target=/x  a  b ", "--mount=type=bind,target=/x", "a  b" },
        { "ENV a b c", "", "a|b c|" },
        { "LABEL \"a b\"='c d' e=f\\ g", "", "\"a b\"|'c d'|=|e|f\\ g|=" },
        { "ARG a b=c\\ d \"e=f g\"", "", "a|b=c\\ d|\"e=f g\"" },
        { "HEALTHCHECK --interval=1s CMD a  b", "--interval=1s", "CMD|a  b" },
        { "ONBUILD RUN [\"a\", \"b\"]", "", "RUN|a|b" },
        { "CMD [\"a\", 'b']", "", "[\"a\", 'b']" },
        { "VOLUME /a  /b", "", "/a|/b" },
        { "WORKDIR /a b", "", "/a b" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct df_ast a = parse(cases[i].line);
        CLEANUP(freep) char *flags = strv_join(&a.nodes[0]->flags, "|");
        assert_string_equal(flags, cases[i].flags);
        expect_args(a.nodes[0], cases[i].args);
    }
}

static void test_heredocs(void **state)
{
    struct df_ast a =
        parse("RUN <<A 3<<-\"B\" cat\n$x\nA\n\ty\n\tB\nCOPY <<E /x\nE\nRUN [\"<<Z\"]\nRUN echo \"<<Q\"\n"
              "ONBUILD RUN <<O\nz\nO\n");
    const struct df_heredoc *h = a.nodes[0]->heredocs;

    assert_int_equal(a.count, 5);
    assert_int_equal(a.nodes[0]->heredoc_count, 2);
    assert_string_equal(h[0].name, "A");
    assert_string_equal(h[0].content, "$x\n");
    assert_true(h[0].expand && !h[0].chomp && h[0].fd == 0);
    assert_string_equal(h[1].name, "B");
    assert_string_equal(h[1].content, "\ty\n");
    assert_true(!h[1].expand && h[1].chomp && h[1].fd == 3);
    assert_int_equal(a.nodes[0]->lines.last, 5);
    assert_string_equal(a.nodes[1]->heredocs[0].content, "");
    assert_int_equal(a.nodes[2]->heredoc_count, 0);
    assert_int_equal(a.nodes[3]->heredoc_count, 0);
    assert_string_equal(a.nodes[4]->heredocs[0].content, "z\n");
    assert_string_equal(heredoc_chomp(&mem, "\t\ta\n\tb\tc\n"), "a\nb\tc\n");
}

static void test_errors(void **state)
{
    static const struct {
        const char *text, *message;
        int first, last;
    } cases[] = {
        { "", "file with no instructions", 0, 0 },
        { "# a\n\n", "file with no instructions", 2, 2 },
        { "# escape=x\nFROM a\n", "invalid escape token 'x' does not match ` or \\", 0, 0 },
        { "# syntax=a\n# syntax=b\n", "only one syntax parser directive can be used", 1, 1 },
        { "FROM a\nENV a\n", "ENV must have two arguments", 2, 2 },
        { "FROM a\nLABEL a=b \\\n c\n",
          "Syntax error - can't find = in \"c\". Must be of the form: name=value", 2, 3 },
        { "FROM a\nCMD [1]\n", "when using JSON array syntax, arrays must be comprised of strings only", 2,
          2 },
        { "FROM a\nRUN <<E\nx\n", "unterminated heredoc", 2, 3 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct df_ast a;
        struct df_lines at[2];
        struct error *e = df_ast_parse(&mem, cases[i].text, strlen(cases[i].text), &a);
        assert_non_null(e);
        assert_string_equal(e->message, cases[i].message);
        assert_int_equal(df_error_lines(e, at, 2), 1);
        assert_int_equal(at[0].first, cases[i].first);
        assert_int_equal(at[0].last, cases[i].last);
        df_error_drop_lines(e);
        assert_int_equal(df_error_lines(e, at, 2), 0);
        err_free(e);
    }
}

static void expect_refused(const struct buf *text, const char *message)
{
    struct df_ast a;
    struct error *e = df_ast_parse(&mem, buf_str(text), text->len, &a);

    assert_non_null(e);
    assert_string_equal(e->message, message);
    err_free(e);
}

static void test_limits(void **state)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    struct df_ast a;

    buf_adds(&b, "FROM a\nRUN ");
    while (b.len < 7 + LIMIT_DOCKERFILE_LINE - 1)
        buf_addc(&b, 'x');
    assert_null(df_ast_parse(&mem, b.data, b.len, &a));
    buf_addc(&b, 'x');
    expect_refused(&b, "dockerfile line greater than max allowed size of 65535");
    buf_clear(&b);
    buf_add(&b, "FROM a\nRUN \0x\n", 14);
    expect_refused(&b, "dockerfile parse error on line 2: NUL character");
    buf_clear(&b);
    for (int i = 0; i < 5000; i++)
        buf_adds(&b, "ONBUILD ");
    expect_refused(&b, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    buf_clear(&b);
    while (b.len <= LIMIT_CONTROL_FILE)
        buf_adds(&b, "# one comment of many\n");
    expect_refused(&b, "dockerfile exceeds maximum allowed size of 16777216 bytes");
}

static void test_directives(void **state)
{
    static const struct {
        const char *text, *ref, *value; /* ref NULL: none */
        int line;
    } cases[] = {
        { "# syntax=docker/dockerfile:1\nFROM a", "docker/dockerfile:1", "docker/dockerfile:1", 1 },
        { "\xef\xbb\xbf#!/bin/x\n#SYNTAX = a b c \n", "a", "a b c", 2 },
        { "// syntax=x\n", "x", "x", 1 },
        { "{\"syntax\": \"x y\", \"z\": [1]}", "x y", "x y", 0 },
        { "# escape=`\n# syntax=y\n", "y", "y", 2 },
        { "# comment\n# syntax=y\n", NULL, NULL, 0 },
        { "\n# syntax=y\n", NULL, NULL, 0 },
        { "FROM a\n", NULL, NULL, 0 },
        { "{\"syntax\": 1}", NULL, NULL, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct directive d = { 0 };
        char *ref = NULL;
        bool found = directive_detect_syntax(cases[i].text, strlen(cases[i].text), &ref, &d);
        assert_int_equal(found, cases[i].ref != NULL);
        if (found) {
            assert_string_equal(ref, cases[i].ref);
            assert_string_equal(d.value, cases[i].value);
            assert_int_equal(d.lines.first, cases[i].line);
        }
        free(ref);
        directive_deinit(&d);
    }
}

static void test_ignore(void **state)
{
    static const char text[] = "\xef\xbb\xbf# c\n\n /a/b/ \n! /c\nd/../e\r\n\t#f\n!\n";
    CLEANUP(strv_deinit) struct strv v = { 0 };

    assert_null(ignore_parse(text, strlen(text), &v));
    CLEANUP(freep) char *joined = strv_join(&v, "|");
    assert_string_equal(joined, "a/b|!c|e|#f|!");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_lines, release),
        cmocka_unit_test_teardown(test_escape, release),
        cmocka_unit_test_teardown(test_arguments, release),
        cmocka_unit_test_teardown(test_heredocs, release),
        cmocka_unit_test_teardown(test_errors, release),
        cmocka_unit_test_teardown(test_limits, release),
        cmocka_unit_test_teardown(test_directives, release),
        cmocka_unit_test_teardown(test_ignore, release),
    };

    return cmocka_run_group_tests_name("parser", tests, NULL, NULL);
}
