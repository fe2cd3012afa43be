/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/gojson.h"

#include <setjmp.h>

#include <cmocka.h>

static void assert_text(const struct buf *b, const char *text)
{
    assert_string_equal(buf_str(b), text);
}

/* Piece by piece, {"a":{},"b":[],"c":[1,-2,{"d":"x"}],"e":true,"f":null}. */
static void write_pieces(struct go_writer *w)
{
    go_write_open(w, '{');
    go_write_name(w, "a");
    go_write_open(w, '{');
    go_write_close(w, '}');
    go_write_name(w, "b");
    go_write_open(w, '[');
    go_write_close(w, ']');
    go_write_name(w, "c");
    go_write_open(w, '[');
    go_write_int(w, 1);
    go_write_int(w, -2);
    go_write_open(w, '{');
    go_write_member(w, "d", "x");
    go_write_close(w, '}');
    go_write_close(w, ']');
    go_write_name(w, "e");
    go_write_bool(w, true);
    go_write_name(w, "f");
    go_write_null(w);
    go_write_close(w, '}');
}

static void test_pieces_are_as_values(void **state)
{
    static const char *const indents[] = { NULL, "  ", "\t" };
    json_t *j = json_loads("{\"a\":{},\"b\":[],\"c\":[1,-2,{\"d\":\"x\"}],\"e\":true,\"f\":null}", 0, NULL);

    for (size_t i = 0; i < ARRAY_LEN(indents); i++) {
        CLEANUP(buf_deinit) struct buf pieces = { 0 }, whole = { 0 };
        struct go_writer w = { .out = &pieces, .indent = indents[i] };

        write_pieces(&w);
        go_json(&whole, j, indents[i], false);
        assert_text(&pieces, buf_str(&whole));
    }
    json_decref(j);
}

static void test_indent(void **state)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    struct go_writer w = { .out = &b, .indent = "  " };

    write_pieces(&w);
    assert_text(&b, "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1,\n    -2,\n    {\n      \"d\": \"x\"\n"
                    "    }\n  ],\n  \"e\": true,\n  \"f\": null\n}");
}

/* Several documents one after the other, as a stream of them. */
static void test_documents(void **state)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    struct go_writer w = { .out = &b, .indent = " " };

    for (int i = 0; i < 2; i++) {
        go_write_open(&w, '[');
        go_write_int(&w, i);
        go_write_close(&w, ']');
        buf_addc(&b, '\n');
    }
    assert_text(&b, "[\n 0\n]\n[\n 1\n]\n");
}

static void test_text(void **state)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    struct go_writer w = { .out = &b };

    go_write_open(&w, '[');
    go_write_text(&w, "<a & \"b\"\n\xe2\x80\xa8\xc3\xa4>");
    go_write_text(&w, "x\xff\xed\xa0\x80y"); /* as go_json_text() */
    go_write_escaped(&w, "x\xffy");
    go_write_time(&w, 0);
    go_write_time(&w, INT64_C(1700000000500000000));
    go_write_close(&w, ']');
    assert_text(&b, "[\"\\u003ca \\u0026 \\\"b\\\"\\n\\u2028\xc3\xa4\\u003e\","
                    "\"x\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdy\",\"x\\ufffdy\","
                    "\"0001-01-01T00:00:00Z\",\"2023-11-14T22:13:20.5Z\"]");
}

static void test_numbers(void **state)
{
    static const struct {
        double v;
        const char *text;
    } cases[] = {
        { 0, "0" },
        { -0.0, "-0" },
        { 3, "3" },
        { -1234567, "-1234567" },
        { 9007199254740991.0, "9007199254740991" },
        { 9007199254740992.0, "9007199254740992" },
        { 9223372036854775807.0, "9223372036854776000" },
        { 1e20, "100000000000000000000" },
        { 1e21, "1e+21" },
        { 0.5, "0.5" },
        { 1e-7, "1e-7" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_deinit) struct buf b = { 0 };
        struct go_writer w = { .out = &b };

        go_write_float(&w, cases[i].v);
        assert_text(&b, cases[i].text);
    }
    CLEANUP(buf_deinit) struct buf b = { 0 };
    struct go_writer w = { .out = &b };

    go_write_open(&w, '[');
    go_write_int(&w, INT64_MIN);
    go_write_int(&w, INT64_MAX);
    go_write_close(&w, ']');
    assert_text(&b, "[-9223372036854775808,9223372036854775807]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_are_as_values),
        cmocka_unit_test(test_indent),
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
