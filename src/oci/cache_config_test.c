/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "oci/cache_config.h"

#define A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void parse(const char *text, struct cache_config *c)
{
    struct error *e = cache_config_parse(text, strlen(text), c);

    if (e != NULL)
        fail_msg("%s", e->message);
}

static void refuse(const char *text, const char *message)
{
    struct cache_config c = { 0 };
    struct error *e = cache_config_parse(text, strlen(text), &c);

    assert_non_null(e);
    assert_string_equal(e->message, message);
    err_free(e);
}

/* The first layer's parent is left out when it is 0, and -1 when there is none. */
static void test_parents(void **state)
{
    struct cache_config c = { 0 };
    size_t *layers, count;

    parse("{\"layers\":[{\"blob\":\"" A "\",\"parent\":-1},{\"blob\":\"" B "\"}],"
          "\"records\":[{\"digest\":\"" A "\",\"layers\":[{\"layer\":1}]}]}",
          &c);
    assert_int_equal(c.layers[0].parent, -1);
    assert_int_equal(c.layers[1].parent, 0);
    assert_null(cache_config_layers(&c, &c.records[0].results[0], &layers, &count));
    assert_int_equal(count, 2);
    assert_int_equal(layers[0], 0);
    assert_int_equal(layers[1], 1);
    free(layers);
    cache_config_deinit(&c);
}

static void test_write(void **state)
{
    struct cache_config c = { 0 };
    struct buf out = { 0 };
    struct digest a, b;
    size_t low, top;

    assert_int_equal(digest_parse(A, &a), 0);
    assert_int_equal(digest_parse(B, &b), 0);
    cache_config_add_record(&c, &a);
    cache_record_set_inputs(cache_config_add_record(&c, &b), 1);
    cache_input_add(&c.records[1].inputs[0], 0, NULL);
    cache_input_add(&c.records[1].inputs[0], 0, NULL); /* once */
    low = cache_config_add_layer(&c, &a, -1);
    top = cache_config_add_layer(&c, &b, (int64_t)low);
    assert_int_equal(cache_config_add_layer(&c, &b, (int64_t)low), top);
    cache_record_add_result(&c.records[1], top, INT64_C(1767225600000000000));
    cache_config_write(&c, &out);
    assert_string_equal(buf_str(&out),
                        "{\"layers\":[{\"blob\":\"" A "\",\"parent\":-1},{\"blob\":\"" B "\"}],"
                        "\"records\":[{\"digest\":\"" A "\"},{\"layers\":[{\"layer\":1,\"createdAt\":"
                        "\"2026-01-01T00:00:00Z\"}],\"digest\":\"" B "\",\"inputs\":[[{\"link\":0}]]}]}");
    buf_deinit(&out);
    cache_config_deinit(&c);
}

static void test_loops(void **state)
{
    struct cache_config c = { 0 };
    size_t *layers, count;

    parse("{\"layers\":[{\"blob\":\"" A "\"}],\"records\":[{\"digest\":\"" A "\",\"layers\":[{\"layer\":0}],"
          "\"inputs\":[[{\"link\":0}]]}]}",
          &c);
    struct error *e = cache_config_layers(&c, &c.records[0].results[0], &layers, &count);

    assert_non_null(e);
    assert_string_equal(e->message, "invalid looping layer");
    err_free(e);
    cache_config_deinit(&c);
}

static void test_refused(void **state)
{
    refuse("[]", "invalid cache config: not an object");
    refuse("{\"records\":1}", "invalid cache config: records");
    refuse("{\"records\":[{\"inputs\":[[{\"link\":1}]]}]}", "invalid record ID: 1");
    refuse("{\"records\":[{\"inputs\":[[]]}]}", "invalid empty input for record 0");
    refuse("{\"records\":[{\"layers\":[{\"layer\":0}]}]}", "invalid layer index: 0");
    refuse("{\"layers\":[{\"blob\":\"" A "\",\"parent\":1}]}", "invalid layer index 1");
    refuse("{\"layers\":[{\"blob\":\"sha256:../x\"}]}", "invalid cache config: layer without a digest");
}

/* An image's own: records over its layers. */
static void test_records_alone(void **state)
{
    struct cache_config c = { 0 };
    struct digest layers[2];
    static const char text[] =
        "[{\"digest\":\"" A "\",\"chains\":[{\"layers\":[1]}]},{\"digest\":\"random:x\"}]";

    assert_int_equal(digest_parse(A, &layers[0]), 0);
    assert_int_equal(digest_parse(B, &layers[1]), 0);
    assert_null(cache_config_parse_records(text, strlen(text), layers, 2, &c));
    assert_int_equal(c.layers[1].parent, 0);
    assert_int_equal(c.records[0].results[0].list_len, 1);
    assert_string_equal(c.records[1].digest.s, "");
    cache_config_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parents), cmocka_unit_test(test_write),         cmocka_unit_test(test_loops),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_records_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
