/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/gojson_decode.h"

#include "base/limits.h"

#include <setjmp.h>

#include <cmocka.h>

static const struct go_type text_list = { .kind = GO_SLICE, .name = "[]string", .of = &go_string };
static const struct go_type text_map = { .kind = GO_MAP, .name = "map[string]string", .of = &go_string };
static const struct go_field ulimit_fields[] = { { "Name", &go_string }, { "Soft", &go_int64 } };
static const struct go_type ulimit = {
    .kind = GO_STRUCT, .name = "units.Ulimit", .fields = ulimit_fields, .field_count = 2
};
static const struct go_type ulimits = { .kind = GO_SLICE, .name = "[]*units.Ulimit", .of = &ulimit };
static const struct go_field output_fields[] = { { "Type", &go_string }, { "Attrs", &text_map } };
static const struct go_type output = {
    .kind = GO_STRUCT, .name = "x.BuildOutput", .fields = output_fields, .field_count = 2
};

static void assert_refused(const char *text, const struct go_type *type, const char *want)
{
    json_t *j = NULL;
    struct error *e = go_json_decode(text, strlen(text), type, &j);

    assert_non_null(e);
    assert_null(j);
    assert_int_equal(e->kind, ERR_INVALID);
    assert_string_equal(e->message, want);
    err_free(e);
}

static void assert_decoded(const char *text, const struct go_type *type, const char *want)
{
    json_t *j = NULL;
    struct error *e = go_json_decode(text, strlen(text), type, &j);
    char *got;

    assert_null(e);
    got = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal(got, want);
    free(got);
    json_decref(j);
}

/* Texts of Go 1.26's encoding/json, as a real dockerd answers them. */
static void test_syntax(void **state)
{
    static const char *const refused[][2] = {
        { "", GO_JSON_CUT_SHORT },
        { " ", GO_JSON_CUT_SHORT },
        { "{", GO_JSON_CUT_SHORT },
        { "[", GO_JSON_CUT_SHORT },
        { "[\"a\"", GO_JSON_CUT_SHORT },
        { "\"a", GO_JSON_CUT_SHORT },
        { "{\"a\":\"b\"", GO_JSON_CUT_SHORT },
        { "{\"a\"", GO_JSON_CUT_SHORT },
        { "x", "invalid character 'x' looking for beginning of value" },
        { "'a'", "invalid character '\\'' looking for beginning of value" },
        { "\xc3\xbf", "invalid character '\u00c3' looking for beginning of value" },
        { "tru", "invalid character ' ' in literal true (expecting 'e')" },
        { "nul", "invalid character ' ' in literal null (expecting 'l')" },
        { "fxlse", "invalid character 'x' in literal false (expecting 'a')" },
        { "-", "invalid character ' ' in numeric literal" },
        { "1.", "invalid character ' ' after decimal point in numeric literal" },
        { "1e", "invalid character ' ' in exponent of numeric literal" },
        { "01", "invalid character '1' after top-level value" },
        { "[1 2]", "invalid character '2' after array element" },
        { "[1,]", "invalid character ']' looking for beginning of value" },
        { "{\"a\":\"b\",}", "invalid character '}' looking for beginning of object key string" },
        { "{\"a\"}", "invalid character '}' after object key" },
        { "{\"a\" \"b\"}", "invalid character '\"' after object key" },
        { "{\"a\":1 2}", "invalid character '2' after object key:value pair" },
        { "{a:1}", "invalid character 'a' looking for beginning of object key string" },
        { "{} x", "invalid character 'x' after top-level value" },
        { "\"\\x\"", "invalid character 'x' in string escape code" },
        { "\"\\u12\"", "invalid character '\"' in \\u hexadecimal character escape" },
        { "\"\x01\"", "invalid character '\\x01' in string literal" },
    };

    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        char *why = go_json_syntax_error(refused[i][0], strlen(refused[i][0]));

        assert_non_null(why);
        assert_string_equal(why, refused[i][1]);
        free(why);
    }
    assert_null(go_json_syntax_error(" {\"a\" : [ 1 , -0.5e+3, true,false , null, {}, [] ]}\n", 51));
}

static void test_depth(void **state)
{
    char text[2 * LIMIT_JSON_DEPTH + 3];
    char *why;

    memset(text, '[', LIMIT_JSON_DEPTH);
    memset(text + LIMIT_JSON_DEPTH, ']', LIMIT_JSON_DEPTH);
    assert_null(go_json_syntax_error(text, (size_t)2 * LIMIT_JSON_DEPTH));
    memset(text, '[', sizeof(text));
    why = go_json_syntax_error(text, sizeof(text));
    assert_string_equal(why, "exceeded max depth");
    free(why);
}

static void test_types(void **state)
{
    assert_refused("{}", &text_list, "json: cannot unmarshal object into Go value of type []string");
    assert_refused("1", &text_map, "json: cannot unmarshal number into Go value of type map[string]string");
    assert_refused("\"a\"", &text_map,
                   "json: cannot unmarshal string into Go value of type map[string]string");
    assert_refused("{\"a\":true}", &text_map, "json: cannot unmarshal bool into Go value of type string");
    assert_refused("[\"a\",[1],{}]", &text_list, "json: cannot unmarshal array into Go value of type string");
    assert_refused("[1]", &ulimits, "json: cannot unmarshal number into Go value of type units.Ulimit");
    assert_refused("[{\"Name\":1}]", &ulimits,
                   "json: cannot unmarshal number into Go struct field Ulimit.Name of type string");
    assert_refused("[{\"soft\":\"1\"}]", &ulimits,
                   "json: cannot unmarshal string into Go struct field Ulimit.Soft of type int64");
    assert_refused("[{\"Soft\":1.5}]", &ulimits,
                   "json: cannot unmarshal number 1.5 into Go struct field Ulimit.Soft of type int64");
    assert_refused("[{\"Soft\":99999999999999999999}]", &ulimits,
                   "json: cannot unmarshal number 99999999999999999999 into Go struct field Ulimit.Soft of "
                   "type int64");
    assert_refused("{\"Attrs\":{\"a\":1}}", &output,
                   "json: cannot unmarshal number into Go struct field BuildOutput.Attrs of type string");
    assert_refused("[\"\\u0000\"]", &text_list, "a string holds the character U+0000");
}

static void test_values(void **state)
{
    assert_decoded("null", &text_map, "null");
    assert_decoded("{\"a\":\"b\",\"c\":null}", &text_map, "{\"a\":\"b\",\"c\":null}");
    assert_decoded("[null, \"x\"]", &text_list, "[null,\"x\"]");
    assert_decoded("[{\"name\":\"n\",\"SOFT\":-5,\"odd\":[{\"a\":1}]},null]", &ulimits,
                   "[{\"Name\":\"n\",\"Soft\":-5},null]");
    assert_decoded("{\"Type\":null,\"Attrs\":{}}", &output, "{\"Attrs\":{}}");
    assert_decoded("[\"\\u00e9\\n\\/\\\"\", \"\\ud83d\\ude00\"]", &text_list,
                   "[\"\u00e9\\n/\\\"\",\"\U0001f600\"]");
    assert_decoded("[\"\\ud83d\", \"\\ude00\", \"\\ud83dx\", \"\\ud83d\\u0041\", \"\xff\"]", &text_list,
                   "[\"\ufffd\",\"\ufffd\",\"\ufffdx\",\"\ufffdA\",\"\ufffd\"]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
