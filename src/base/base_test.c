/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/log.h"
#include "base/trim.h"
#include "base/vec.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <unistd.h>

#include <cmocka.h>

static void numbers_are_strict(void **state)
{
    static const struct {
        const char *text;
        int result;
        int64_t value;
    } cases[] = {
        { "0", 0, 0 },
        { "-1", 0, -1 },
        { "9223372036854775807", 0, INT64_MAX },
        { "-9223372036854775808", 0, INT64_MIN },
        { "9223372036854775808", -ERANGE, 0 },
        { "-9223372036854775809", -ERANGE, 0 },
        { "99999999999999999999999", -ERANGE, 0 },
        { "", -EINVAL, 0 },
        { "-", -EINVAL, 0 },
        { "+1", -EINVAL, 0 },
        { " 1", -EINVAL, 0 },
        { "1 ", -EINVAL, 0 },
        { "0x10", -EINVAL, 0 },
        { "1e3", -EINVAL, 0 },
        { "--1", -EINVAL, 0 },
        { "99999999999999999999999x", -EINVAL, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t value = 77;

        assert_int_equal(parse_i64(cases[i].text, &value), cases[i].result);
        assert_int_equal(value, cases[i].result == 0 ? cases[i].value : 77);
    }
    uint64_t u = 5;

    assert_int_equal(parse_u64("18446744073709551615", &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(parse_u64("18446744073709551616", &u), -ERANGE);
    assert_int_equal(parse_u64("-1", &u), -EINVAL);
    bool b = false;

    assert_int_equal(parse_bool("True", &b), 0);
    assert_true(b);
    assert_int_equal(parse_bool("f", &b), 0);
    assert_false(b);
    assert_int_equal(parse_bool("yes", &b), -EINVAL);
    assert_int_equal(parse_bool("tRUE", &b), -EINVAL);
}

static void durations_are_those_of_go(void **state)
{
    static const struct {
        const char *text;
        int result;
        int64_t ns;
    } cases[] = {
        { "0", 0, 0 },
        { "1h30m", 0, 5400 * NS_PER_SEC },
        { "500ms", 0, 500 * NS_PER_MS },
        { "1.5h", 0, 5400 * NS_PER_SEC },
        { ".5s", 0, NS_PER_SEC / 2 },
        { "1.s", 0, NS_PER_SEC },
        { "-2s", 0, -2 * NS_PER_SEC },
        { "+3us", 0, 3000 },
        { "3\xc2\xb5s", 0, 3000 },
        { "3\xce\xbcs", 0, 3000 },
        { "0.9ns", 0, 0 },
        { "9223372036854775807ns", 0, INT64_MAX },
        { "-9223372036854775808ns", 0, INT64_MIN },
        { "9223372036854775808ns", -EINVAL, 0 },
        { "1d", -EINVAL, 0 },
        { "1", -EINVAL, 0 },
        { "", -EINVAL, 0 },
        { "-", -EINVAL, 0 },
        { ".s", -EINVAL, 0 },
        { "s", -EINVAL, 0 },
        { "1h ", -EINVAL, 0 },
        { "3000000h", -EINVAL, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ns = 77;

        assert_int_equal(parse_duration(cases[i].text, &ns), cases[i].result);
        assert_true(ns == (cases[i].result == 0 ? cases[i].ns : 77));
    }
}

static void times_round_trip(void **state)
{
    static const struct {
        const char *text;
        const char *canonical; /* NULL: refused */
    } cases[] = {
        { "2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05.5Z" },
        { "2026-01-02T03:04:05.000000001Z", "2026-01-02T03:04:05.000000001Z" },
        { "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z" },
        { "2026-01-02T03:04:05+02:30", "2026-01-02T00:34:05Z" },
        { "1969-12-31T23:59:59.25Z", "1969-12-31T23:59:59.25Z" },
        { "2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z" },
        { "0", "1970-01-01T00:00:00Z" },
        { "1.5", "1970-01-01T00:00:01.5Z" },
        { "-0.5", "1969-12-31T23:59:59.5Z" },
        { "2023-02-29T00:00:00Z", NULL },
        { "2026-13-01T00:00:00Z", NULL },
        { "2026-01-02T24:00:00Z", NULL },
        { "2026-01-02T03:04:05", NULL },
        { "2026-01-02T03:04:05.Z", NULL },
        { "2026-01-02 03:04:05Z", NULL },
        { "2026-01-02T03:04:05Zx", NULL },
        { "9999-01-01T00:00:00Z", NULL }, /* more nanoseconds than fit */
        { "99999999999999999999", NULL },
        { "1.", NULL },
        { "", NULL },
        { "-", NULL },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[40];
        int64_t ns;
        int r = parse_time(cases[i].text, &ns);

        assert_int_equal(r, cases[i].canonical != NULL ? 0 : -EINVAL);
        if (r < 0)
            continue;
        format_rfc3339(text, ns);
        assert_string_equal(text, cases[i].canonical);
    }
}

static void times_tell_their_zone(void **state)
{
    static const struct {
        int offset;
        const char *text;
    } cases[] = {
        { 0, "2023-11-14T22:13:20Z" },
        { 3600, "2023-11-14T23:13:20+01:00" },
        { 5 * 3600 + 1800, "2023-11-15T03:43:20+05:30" },
        { -1800, "2023-11-14T21:43:20-00:30" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[40];

        format_rfc3339_at(text, 1700000000 * NS_PER_SEC, cases[i].offset);
        assert_string_equal(text, cases[i].text);
    }
}

static void json_strings_are_escaped_as_in_go(void **state)
{
    static const struct {
        const char *in, *plain, *html;
        size_t len;
    } cases[] = {
        { "a\"b\\c", "\"a\\\"b\\\\c\"", NULL, 5 },
        { "\b\f\n\r\t\x01\x1f\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\"", NULL, 8 },
        { "<a&b>", "\"<a&b>\"", "\"\\u003ca\\u0026b\\u003e\"", 5 },
        { "\xe2\x80\xa8\xe2\x80\xa9\xe2\x82\xac", "\"\\u2028\\u2029\xe2\x82\xac\"", NULL, 9 },
        { "\xff\xc0\x80\xed\xa0\x80\xf5", "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"", NULL, 7 },
        { "\xf0\x9f\x90\xb3\xf0\x9f", "\"\xf0\x9f\x90\xb3\\ufffd\\ufffd\"", NULL, 6 },
        { "a\0b", "\"a\\u0000b\"", NULL, 3 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(buf_deinit) struct buf plain = { 0 }, html = { 0 };

        buf_add_json_string(&plain, cases[i].in, cases[i].len, false);
        assert_string_equal(buf_str(&plain), cases[i].plain);
        buf_add_json_string(&html, cases[i].in, cases[i].len, true);
        assert_string_equal(buf_str(&html), cases[i].html != NULL ? cases[i].html : cases[i].plain);
    }
}

static void query_is_escaped(void **state)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };

    buf_add_query_escaped(&b, "a b&c=/~\xe2\x82\xac");
    assert_string_equal(buf_str(&b), "a+b%26c%3D%2F~%E2%82%AC");
}

static void hex_and_base64(void **state)
{
    unsigned char raw[3];
    char text[7];

    hex_encode(text, "\x00\xab\xff", 3);
    assert_string_equal(text, "00abff");
    assert_int_equal(hex_decode(raw, "00abff", 6), 0);
    assert_memory_equal(raw, "\x00\xab\xff", 3);
    assert_int_equal(hex_decode(raw, "00ABFF", 6), -EINVAL);
    assert_int_equal(hex_decode(raw, "00abf", 5), -EINVAL);
    assert_int_equal(hex_decode(raw, "00abfg", 6), -EINVAL);

    static const char *const pairs[][2] = {
        { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "\xfb\xff\xfe", "+//+" },
    };

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        CLEANUP(buf_deinit) struct buf out = { 0 }, back = { 0 };

        base64_encode(&out, pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(buf_str(&out), pairs[i][1]);
        assert_int_equal(base64_decode(&back, out.data, out.len), 0);
        assert_string_equal(buf_str(&back), pairs[i][0]);
    }
    CLEANUP(buf_deinit) struct buf out = { 0 };

    assert_int_equal(base64_decode(&out, "-__-", 4), 0);
    assert_memory_equal(out.data, "\xfb\xff\xfe", 3);
    assert_int_equal(base64_decode(&out, "Zg", 2), 0);
    assert_int_equal(base64_decode(&out, "Z", 1), -EINVAL);
    assert_int_equal(base64_decode(&out, "Zg=", 3), -EINVAL);
    assert_int_equal(base64_decode(&out, "Z!==", 4), -EINVAL);
    assert_int_equal(base64_decode(&out, "====", 4), -EINVAL);
    assert_int_equal(out.len, 4);
}

static void identifiers_look_right(void **state)
{
    char id[26], hex[65];

    for (int i = 0; i < 100; i++) {
        random_id(id, 25);
        assert_int_equal(strlen(id), 25);
        assert_int_equal(strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789"), 25);
        assert_true(id[0] >= 'a' && id[0] <= 'z');
    }
    random_hex(hex, 32);
    assert_int_equal(strspn(hex, "0123456789abcdef"), 64);
    random_hex(hex, 0);
    assert_string_equal(hex, "");
}

static void buffers_grow(void **state)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    char big[1000];

    assert_string_equal(buf_str(&b), "");
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    buf_addf(&b, "%s-%d", big, 7);
    assert_int_equal(b.len, 1001);
    assert_string_equal(b.data + 999, "-7");
    buf_drop(&b, 999);
    assert_string_equal(b.data, "-7");
    buf_truncate(&b, 1);
    assert_string_equal(b.data, "-");
    CLEANUP(freep) char *s = buf_take(&b);

    assert_string_equal(s, "-");
    assert_null(b.data);
    CLEANUP(freep) char *empty = buf_take(&b);

    assert_string_equal(empty, "");
}

static void errors_carry_context(void **state)
{
    CLEANUP(err_freep) struct error *e = err_sys(ENOENT, "open \"%s\"", "x");

    assert_int_equal(e->kind, ERR_NOT_FOUND);
    assert_int_equal(e->errnum, ENOENT);
    err_add_detail(e, "type.example/errdefs.Vertex+json", "{}", 2);
    e = err_wrap(e, "read %d", 1);
    assert_string_equal(e->message, "read 1: open \"x\": No such file or directory");
    CLEANUP(err_freep) struct error *copy = err_clone(e);

    assert_string_equal(copy->message, e->message);
    assert_int_equal(err_find_detail(copy, "errdefs.Vertex+json")->len, 2);
    assert_null(err_find_detail(copy, "Source+json"));
    assert_null(err_wrap(NULL, "nothing"));
    for (int code = 1; code <= 16; code++)
        assert_int_equal(err_grpc_code(err_kind_from_grpc(code)), code);
    assert_int_equal(err_kind_from_grpc(99), ERR_UNKNOWN);
    assert_int_equal(err_http_status(ERR_CONFLICT), 409);
    assert_string_equal(err_kind_name(ERR_CANCELLED), "Canceled");
}

static void string_vectors(void **state)
{
    CLEANUP(strv_deinit) struct strv s = { 0 }, copy = { 0 };

    strv_split(&s, "b,,a", ',');
    assert_int_equal(s.len, 3);
    assert_string_equal(s.v[1], "");
    assert_null(s.v[3]);
    strv_remove(&s, 1);
    assert_null(s.v[2]);
    strv_sort(&s);
    for (int i = 0; i < 20; i++)
        strv_addf(&s, "%d", i);
    strv_copy(&copy, &s);
    CLEANUP(freep) char *joined = strv_join(&copy, ", ");

    assert_true(str_has_prefix(joined, "a, b, 0, 1"));
    assert_true(str_has_suffix(joined, ", 19"));
    assert_true(strv_has(&s, "19"));
    assert_false(strv_has(&s, "20"));
    CLEANUP(strv_deinit) struct strv empty = { 0 };

    strv_split(&empty, "", ',');
    assert_int_equal(empty.len, 1);
}

/* Against a plain array as the model: insertions, replacements and removals in an arbitrary order. */
static void map_agrees_with_a_model(void **state)
{
    CLEANUP(map_deinit) struct map m = { 0 };
    int model[200], count = 0;
    uint32_t seed = 12345;

    strmap_init(&m);
    for (int i = 0; i < 200; i++)
        model[i] = -1;
    for (int step = 0; step < 20000; step++) {
        seed = seed * 1664525 + 1013904223;
        int key = (int)(seed >> 8) % 200;
        char name[16], value[16];

        snprintf(name, sizeof(name), "key %d", key);
        snprintf(value, sizeof(value), "%d", step);
        if ((seed >> 4) % 3 == 0) {
            assert_int_equal(map_remove(&m, name), model[key] >= 0);
            count -= model[key] >= 0;
            model[key] = -1;
        } else {
            strmap_set(&m, name, value);
            count += model[key] < 0;
            model[key] = step;
        }
        assert_int_equal(m.len, count);
    }
    for (int key = 0; key < 200; key++) {
        char name[16];

        snprintf(name, sizeof(name), "key %d", key);
        assert_int_equal(map_has(&m, name), model[key] >= 0);
        if (model[key] >= 0) {
            int64_t value;

            assert_int_equal(parse_i64(strmap_get(&m, name), &value), 0);
            assert_int_equal(value, model[key]);
        }
    }
    map_sort(&m);
    for (size_t i = 1; i < m.len; i++)
        assert_true(strcmp(m.entries[i - 1].key, m.entries[i].key) < 0);
    assert_true(map_has(&m, m.entries[0].key));
}

static void map_borrows_keys(void **state)
{
    static const char key[] = "key";
    CLEANUP(map_deinit) struct map m = { .borrows_keys = true };
    void **at = map_at(&m, key);

    assert_null(*at);
    *at = (void *)key;
    assert_ptr_equal(*map_at(&m, "key"), key);
    assert_int_equal(m.len, 1);
    assert_ptr_equal(m.entries[0].key, key);
    assert_true(map_remove(&m, "key"));
}

static void arena_pieces(void **state)
{
    CLEANUP(arena_deinit) struct arena a = { 0 };
    struct strv v = { 0 };
    int *numbers = NULL;

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 300; i++) {
            char *text = arena_strn(&a, "abcdef", i % 7);
            char *zeroed = arena_alloc(&a, i * i % 5000);

            assert_int_equal(strlen(text), i % 7);
            assert_int_equal((uintptr_t)zeroed % 16, 0);
            for (size_t k = 0; k < i * i % 5000; k++)
                assert_int_equal(zeroed[k], 0);
            memset(zeroed, 7, i * i % 5000);
            numbers = arena_grow(&a, i == 0 ? NULL : numbers, i, sizeof(*numbers));
            numbers[i] = (int)i;
            arena_strv_add(&a, &v, text);
        }
        assert_int_equal(numbers[0] + numbers[299], 299);
        assert_string_equal(v.v[13], "abcdef");
        assert_null(v.v[v.len]);
        v = (struct strv){ 0 };
        arena_reset(&a);
        assert_int_equal(a.used, 0);
    }
}

static void map_keeps_insertion_order(void **state)
{
    CLEANUP(map_deinit) struct map m = { 0 };

    strmap_set(&m, "c", "1");
    strmap_set(&m, "a", "2");
    strmap_set(&m, "b", "3");
    strmap_set(&m, "c", "4");
    assert_true(map_remove(&m, "a"));
    assert_false(map_remove(&m, "a"));
    assert_int_equal(m.len, 2);
    assert_string_equal(m.entries[0].key, "c");
    assert_string_equal(m.entries[1].key, "b");
    assert_string_equal(strmap_get(&m, "c"), "4");
    assert_string_equal(strmap_get(&m, "b"), "3");
}

/* What one record looks like; stderr goes into a pipe meanwhile. */
static char *captured(enum log_format format)
{
    int fds[2], saved = dup(STDERR_FILENO);
    char text[512];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    dup2(fds[1], STDERR_FILENO);
    log_setup(LOG_INFO, format);
    log_debug("not shown");
    log_push("build", "b1");
    log_warn("took \"long\"\n", "ref", "docker.io/library/a:1", "none", NULL, "empty", "", "size", "3");
    log_pop();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fds[1]);
    ssize_t n = read(fds[0], text, sizeof(text));

    close(fds[0]);
    assert_true(n > 0);
    return xstrndup(text, (size_t)n);
}

static void records_are_one_line(void **state)
{
    CLEANUP(freep) char *text = captured(LOG_TEXT), *json = captured(LOG_JSON);
    const char *rest = strstr(text, "Z\" level");

    assert_true(str_has_prefix(text, "time=\"20"));
    assert_non_null(rest);
    assert_string_equal(rest, "Z\" level=warning msg=\"took \\\"long\\\"\\n\" ref=\"docker.io/library/a:1\" "
                              "empty= size=3 build=b1\n");
    assert_true(
        str_has_prefix(json, "{\"level\":\"warning\",\"msg\":\"took \\\"long\\\"\\n\",\"time\":\"20"));
    assert_true(str_has_suffix(
        json, "\",\"ref\":\"docker.io/library/a:1\",\"empty\":\"\",\"size\":\"3\",\"build\":\"b1\"}\n"));
    enum log_level level;

    assert_int_equal(log_level_parse("WARN", &level), 0);
    assert_int_equal(level, LOG_WARN);
    assert_int_equal(log_level_parse("loud", &level), -EINVAL);
}

/* KiB of code that is mapped in. */
static unsigned long resident_code(void)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    unsigned long sum = 0, kib;
    char line[512];
    bool code = false;

    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        if (strstr(line, " r-xp ") != NULL)
            code = true;
        else if (code && sscanf(line, "Rss: %lu kB", &kib) == 1) {
            sum += kib;
            code = false;
        }
    }
    fclose(f);
    return sum;
}

static void trim_drops_code(void **state)
{
    unsigned long before = resident_code(), after;

    memory_trim();
    after = resident_code(); /* what this needs itself is back */
    assert_in_range(after, 1, before - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_strict),
        cmocka_unit_test(durations_are_those_of_go),
        cmocka_unit_test(times_round_trip),
        cmocka_unit_test(times_tell_their_zone),
        cmocka_unit_test(json_strings_are_escaped_as_in_go),
        cmocka_unit_test(query_is_escaped),
        cmocka_unit_test(hex_and_base64),
        cmocka_unit_test(identifiers_look_right),
        cmocka_unit_test(buffers_grow),
        cmocka_unit_test(errors_carry_context),
        cmocka_unit_test(string_vectors),
        cmocka_unit_test(map_agrees_with_a_model),
        cmocka_unit_test(map_keeps_insertion_order),
        cmocka_unit_test(map_borrows_keys),
        cmocka_unit_test(arena_pieces),
        cmocka_unit_test(records_are_one_line),
        cmocka_unit_test(trim_drops_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
