/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/toml.h"

#include <setjmp.h>

#include <cmocka.h>

static void documents_become_json(void **state)
{
    static const char *const cases[][2] = {
        { "", "{}" },
        { "# only\n  # comments\r\n", "{}" },
        { "a = 1\nb=-2 # c\nc = 0xff\nd = 1_000\ne = +3\nf = 0o17\ng=0b101",
          "{\"a\":1,\"b\":-2,\"c\":255,\"d\":1000,\"e\":3,\"f\":15,\"g\":5}" },
        { "a = 1.5\nb = 1e3", "{\"a\":1.5,\"b\":1000.0}" },
        { "a = true\nb = false", "{\"a\":true,\"b\":false}" },
        { "a = \"x\\ty\\u20ac\\\"\"\nb = 'c:\\d'", "{\"a\":\"x\\ty\xe2\x82\xac\\\"\",\"b\":\"c:\\\\d\"}" },
        { "a = \"\"\"\none \\\n   two\"\"\"\nb = '''x\ny'''", "{\"a\":\"one two\",\"b\":\"x\\ny\"}" },
        { "a.b.\"c d\" = 1\na.e = 2", "{\"a\":{\"b\":{\"c d\":1},\"e\":2}}" },
        { "[a]\nx = 1\n[a.b]\ny = 2\n[c]\n", "{\"a\":{\"x\":1,\"b\":{\"y\":2}},\"c\":{}}" },
        { "[[a]]\nx = 1\n[a.b]\ny = 1\n[[a]]\nx = 2\n[a.b]\ny = 2",
          "{\"a\":[{\"x\":1,\"b\":{\"y\":1}},{\"x\":2,\"b\":{\"y\":2}}]}" },
        { "a = [ 1, 2, # two\n 3,\n]\nb = []", "{\"a\":[1,2,3],\"b\":[]}" },
        { "a = { x = 1, y.z = \"2\" }\nb = {}", "{\"a\":{\"x\":1,\"y\":{\"z\":\"2\"}},\"b\":{}}" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *j = NULL;
        struct error *e = toml_parse(cases[i][0], &j);

        if (e != NULL)
            fail_msg("%s: %s", cases[i][0], e->message);
        CLEANUP(freep) char *text = json_dumps(j, JSON_COMPACT);

        assert_string_equal(text, cases[i][1]);
        json_decref(j);
    }
}

static void nonsense_is_refused(void **state)
{
    static const char *const cases[] = {
        "a",
        "a =",
        "a = 1 2",
        "= 1",
        "a = \"x",
        "a = \"x\ny\"",
        "a = 01",
        "a = 1__0",
        "a = _1",
        "a = 1\na = 2",
        "[a]\n[a]",
        "[a",
        "[[a]",
        "a = [1 2]",
        "a = [1",
        "a = { x = 1",
        "a = {x 1}",
        "a = \"\\q\"",
        "a = \"\\ud800\"",
        "a = 2024-01-02",
        "a = nope",
        "[a]\nb = 1\n[a.b]\nc = 1",
        "a = 1\n[[a]]",
        "a = 99999999999999999999",
        "a = 0x",
        "a = .5.",
        "a = \"\x01\"",
        "a = 1e999",
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *j = NULL;
        struct error *e = toml_parse(cases[i], &j);

        if (e == NULL)
            fail_msg("accepted: %s", cases[i]);
        assert_int_equal(e->kind, ERR_INVALID);
        err_free(e);
    }
}

static void depth_is_bounded(void **state)
{
    char text[4100] = "a = ";
    json_t *j = NULL;

    memset(text + 4, '[', 4000);
    struct error *e = toml_parse(text, &j);

    assert_non_null(e);
    assert_string_equal(e->message, "line 1: too deeply nested");
    err_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_become_json),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(depth_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
