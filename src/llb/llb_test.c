/* SPDX-License-Identifier: Apache-2.0 */
#include "llb/llb.h"

#include "base/limits.h"
#include "base/rune.h"
#include "llb/encode.h"
#include "llb/gopath.h"
#include "llb/state.h"

#include <setjmp.h>

#include <cmocka.h>

/* ---- making definitions by hand
 * ---------------------------------------------------------------------------------------- */

static void add_op(struct buf *def, struct buf *op, struct digest *ret)
{
    *ret = digest_of(op->data, op->len);
    pbw_bytes_always(def, 1, op->data, op->len);
    buf_clear(op);
}

static void add_input(struct buf *op, const char *digest, int64_t index)
{
    CLEANUP(buf_deinit) struct buf input = { 0 };

    pbw_str(&input, 1, digest);
    pbw_int(&input, 2, index);
    pbw_message(op, 1, &input);
}

static void add_source(struct buf *op, const char *id)
{
    CLEANUP(buf_deinit) struct buf source = { 0 };

    pbw_str(&source, 1, id);
    pbw_message(op, 3, &source);
}

static void add_meta_cap(struct buf *def, const char *digest, const char *cap)
{
    CLEANUP(buf_deinit) struct buf entry = { 0 }, meta = { 0 }, pair = { 0 };

    pbw_str(&pair, 1, cap);
    pbw_bool(&pair, 2, true);
    pbw_message(&meta, 5, &pair);
    pbw_str(&entry, 1, digest);
    pbw_message(&entry, 2, &meta);
    pbw_message(def, 2, &entry);
}

/* Decode and load; the error's message is copied to `text` ("" when it loaded). */
static void load(const struct buf *encoded, char text[256], size_t *ret_vertices, char **ret_name)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    CLEANUP(llb_graph_freep) struct llb_graph *graph = NULL;
    struct error *e = llb_def_decode(encoded->data, encoded->len, &def);

    if (e == NULL)
        e = llb_load(def, &graph);
    snprintf(text, 256, "%s", e != NULL ? e->message : "");
    err_free(e);
    if (ret_vertices != NULL)
        *ret_vertices = graph != NULL ? graph->vertex_count : 0;
    if (ret_name != NULL)
        *ret_name = graph != NULL ? xstrdup(graph->result.vertex->name) : NULL;
}

/* source -> op (body at `field`, one input) -> terminal */
static void load_one(unsigned field, struct buf *body, unsigned inputs, char text[256])
{
    CLEANUP(buf_deinit) struct buf def = { 0 }, op = { 0 };
    struct digest source, middle, last;

    add_source(&op, "docker-image://busybox");
    add_op(&def, &op, &source);
    for (unsigned i = 0; i < inputs; i++)
        add_input(&op, source.s, 0);
    pbw_message(&op, field, body);
    add_op(&def, &op, &middle);
    add_input(&op, middle.s, 0);
    add_op(&def, &op, &last);
    load(&def, text, NULL, NULL);
}

/* ---- graphs
 * ------------------------------------------------------------------------------------------------------------
 */

static void test_bounds(void **state)
{
    CLEANUP(buf_deinit) struct buf def = { 0 }, op = { 0 };
    struct digest source, last;
    char text[256];
    size_t count;
    char *name;

    load(&def, text, NULL, NULL);
    assert_string_equal(text, "invalid empty definition");
    add_source(&op, "local://context");
    add_op(&def, &op, &source);
    load(&def, text, NULL, NULL);
    assert_string_equal(text, "invalid LLB with 1 vertexes");
    add_input(&op, source.s, 0);
    add_op(&def, &op, &last);
    load(&def, text, &count, &name);
    assert_string_equal(text, "");
    assert_int_equal(count, 1);
    assert_string_equal(name, "local://context");
    free(name);
    add_input(&op, source.s, -1);
    add_op(&def, &op, &last);
    load(&def, text, NULL, NULL);
    assert_string_equal(text, "invalid input 0 output index -1");
}

static void test_missing_input(void **state)
{
    CLEANUP(buf_deinit) struct buf def = { 0 }, op = { 0 };
    struct digest source, last;
    char text[256];

    add_source(&op, "local://context");
    add_op(&def, &op, &source);
    add_input(&op, "sha256:00", 0);
    add_op(&def, &op, &last);
    load(&def, text, NULL, NULL);
    assert_string_equal(text, "invalid missing input digest sha256:00");
    pbw_bytes_always(&def, 1, "\xff\xff", 2);
    load(&def, text, NULL, NULL);
    assert_true(str_has_prefix(text, "failed to parse llb proto op"));
}

static void test_no_terminal_input(void **state)
{
    CLEANUP(buf_deinit) struct buf def = { 0 }, op = { 0 };
    struct digest d;
    char text[256];

    add_source(&op, "local://a");
    add_op(&def, &op, &d);
    add_source(&op, "local://b");
    add_op(&def, &op, &d);
    load(&def, text, NULL, NULL);
    assert_string_equal(text, "invalid LLB with no inputs on last vertex");
}

static void test_shapes(void **state)
{
    CLEANUP(buf_deinit) struct buf body = { 0 }, sub = { 0 }, sub2 = { 0 };
    char text[256];

    pbw_str(&body, 1, "docker-image://x");
    load_one(3, &body, 1, text);
    assert_string_equal(text, "invalid source op with 1 inputs");
    load_one(2, &body, 1, text);
    assert_string_equal(text, "invalid exec op with no meta");
    pbw_str(&sub, 1, "true");
    pbw_message(&body, 1, &sub);
    load_one(2, &body, 1, text);
    assert_string_equal(text, "invalid exec op with no mounts");
    for (uint32_t field = 3; field <= 4; field++) { /* network, security: one more than is known */
        pbw_str(&sub, 1, "true");
        pbw_message(&body, 1, &sub);
        pbw_str(&sub, 3, "/");
        pbw_message(&body, 2, &sub);
        pbw_int(&body, field, field == 3 ? 3 : 2);
        load_one(2, &body, 1, text);
        assert_string_equal(text, field == 3 ? "unknown network mode 3" : "invalid security mode 2");
    }
    load_one(4, &body, 1, text);
    assert_string_equal(text, "invalid file op with no actions");
    pbw_int(&sub, 1, 0);
    pbw_message(&body, 1, &sub);
    load_one(6, &body, 2, text);
    assert_string_equal(text, "invalid merge op with 1 inner inputs and 2 outer inputs");
    pbw_int(&sub, 1, 5);
    pbw_message(&body, 1, &sub);
    load_one(6, &body, 1, text);
    assert_string_equal(text, "invalid input index 5 for merge op with 1 inputs");
    load_one(7, &body, 1, text);
    assert_string_equal(text, "invalid diff op with nil lower or upper input");
    pbw_int(&sub, 1, -1);
    pbw_message(&body, 1, &sub);
    pbw_int(&sub2, 1, INT64_MIN);
    pbw_message(&body, 2, &sub2);
    load_one(7, &body, 1, text);
    assert_string_equal(text, "invalid diff input index -9223372036854775808");
    load_one(8, &body, 1, text);
    assert_string_equal(text, "invalid passthrough op with no id");
    load_one(9, &body, 1, text);
    assert_string_equal(text, "invalid op of an unknown type");
}

/* An exec op with one mount of these indices. */
static void load_mount(int64_t input, int64_t output, const char *dest, char text[256])
{
    CLEANUP(buf_deinit) struct buf body = { 0 }, sub = { 0 };

    pbw_str(&sub, 1, "true");
    pbw_message(&body, 1, &sub);
    pbw_int(&sub, 1, input);
    pbw_str(&sub, 3, dest);
    pbw_int(&sub, 4, output);
    pbw_message(&body, 2, &sub);
    load_one(2, &body, 1, text);
}

static void test_mounts(void **state)
{
    char text[256];

    load_mount(0, 0, "/", text);
    assert_string_equal(text, "");
    load_mount(-1, -1, "/", text);
    assert_string_equal(text, "");
    load_mount(0, 0, "/x", text);
    assert_string_equal(text, "invalid exec op with no rootfs");
    load_mount(1, 0, "/", text);
    assert_string_equal(text, "invalid mount input index 1 for /, 1 provided");
    load_mount(INT64_MIN, 0, "/", text);
    assert_string_equal(text, "invalid mount input index -9223372036854775808 for /, 1 provided");
    load_mount(INT64_MAX, 0, "/", text);
    assert_string_equal(text, "invalid mount input index 9223372036854775807 for /, 1 provided");
    load_mount(0, -2, "/", text);
    assert_string_equal(text, "invalid mount output index -2 for /");
}

/* As many mounts and actions as one likes are no step. */
static void test_many_parts(void **state)
{
    CLEANUP(buf_deinit) struct buf meta = { 0 }, body = { 0 }, part = { 0 };
    char text[256];

    pbw_str(&meta, 1, "true");
    pbw_message(&body, 1, &meta);
    for (int i = 0; i <= LIMIT_EXEC_MOUNTS; i++) {
        pbw_str(&part, 3, "/");
        pbw_message(&body, 2, &part);
    }
    load_one(2, &body, 1, text);
    assert_string_equal(text, "invalid exec op with 1025 mounts, at most 1024 are allowed");
    for (int i = 0; i <= LIMIT_FILE_ACTIONS; i++) {
        pbw_int(&part, 2, -1);
        pbw_end(&part, pbw_begin(&part, 6));
        pbw_message(&body, 2, &part);
    }
    load_one(4, &body, 1, text);
    assert_string_equal(text, "invalid file op with 10001 actions, at most 10000 are allowed");
}

/* It is cut between two characters. */
static void test_long_name(void **state)
{
    CLEANUP(buf_deinit) struct buf def = { 0 }, op = { 0 }, id = { 0 };
    struct digest source, last;
    char text[256];
    size_t count;

    buf_adds(&id, "local://x");
    while (id.len <= LIMIT_VERTEX_NAME)
        buf_adds(&id, "\xc3\xa9");
    add_source(&op, id.data);
    add_op(&def, &op, &source);
    add_input(&op, source.s, 0);
    add_op(&def, &op, &last);
    CLEANUP(freep) char *name = NULL;
    load(&def, text, &count, &name);
    assert_string_equal(text, "");
    assert_int_equal(strlen(name), LIMIT_VERTEX_NAME - 1);
    assert_true(utf8_is_valid(name, strlen(name)));
}

static void test_many_files(void **state)
{
    CLEANUP(buf_deinit) struct buf def = { 0 }, source = { 0 };
    char text[256];

    for (int i = 0; i <= LIMIT_LLB_SOURCES; i++)
        pbw_end(&source, pbw_begin(&source, 2));
    pbw_message(&def, 3, &source);
    load(&def, text, NULL, NULL);
    assert_string_equal(text, "definition has 1025 source files, at most 1024 are allowed");
}

/* A file op with one mkdir; owner by name at input `user` unless that is -100. */
static void load_action(int64_t input, int64_t secondary, int64_t user, char text[256])
{
    CLEANUP(buf_deinit)
    struct buf body = { 0 }, action = { 0 }, mkdir = { 0 }, owner = { 0 }, opt = { 0 }, named = { 0 };

    pbw_str(&mkdir, 1, "/x");
    if (user != -100) {
        pbw_str(&named, 1, "me");
        pbw_int(&named, 2, user);
        pbw_message(&opt, 1, &named);
        pbw_message(&owner, 1, &opt);
        pbw_message(&mkdir, 4, &owner);
    }
    pbw_int(&action, 1, input);
    pbw_int(&action, 2, secondary);
    pbw_message(&action, 6, &mkdir);
    pbw_message(&body, 2, &action);
    load_one(4, &body, 1, text);
}

static void test_actions(void **state)
{
    char text[256];

    load_action(0, -1, -100, text);
    assert_string_equal(text, "");
    load_action(1, -1, -100, text); /* itself */
    assert_string_equal(text, "invalid input index 1, 1 provided");
    load_action(0, 7, -100, text);
    assert_string_equal(text, "invalid secondary input index 7, 1 provided");
    load_action(-2, -1, -100, text);
    assert_string_equal(text, "invalid input index -2, 1 provided");
    load_action(0, -1, 0, text);
    assert_string_equal(text, "");
    load_action(0, -1, 4, text);
    assert_string_equal(text, "invalid user index: 4");
}

static void test_caps(void **state)
{
    CLEANUP(buf_deinit) struct buf def = { 0 }, op = { 0 };
    struct digest source, last;
    char text[256];
    size_t count;
    const struct llb_cap *caps = llb_caps(&count);

    for (size_t i = 1; i < count; i++)
        assert_true(strcmp(caps[i - 1].id, caps[i].id) < 0);
    assert_true(llb_cap_enabled("mergeop"));
    assert_false(llb_cap_enabled("file.copy.modestring"));
    add_source(&op, "local://context");
    add_op(&def, &op, &source);
    add_input(&op, source.s, 0);
    add_op(&def, &op, &last);
    add_meta_cap(&def, source.s, "no.such.cap");
    load(&def, text, NULL, NULL);
    assert_string_equal(text, "unknown API capability no.such.cap");
}

/* A chain longer than any stack, and merges whose names would double with every level. */
static void test_deep(void **state)
{
    CLEANUP(buf_deinit) struct buf def = { 0 }, op = { 0 }, body = { 0 }, sub = { 0 };
    struct digest d;
    char text[256];
    size_t count;
    char *name;

    add_source(&op, "local://context");
    add_op(&def, &op, &d);
    for (unsigned i = 0; i < 10000; i++) {
        add_input(&op, d.s, 0);
        add_input(&op, d.s, 1);
        for (int64_t k = 0; k < 2; k++) {
            pbw_int(&sub, 1, k);
            pbw_message(&body, 1, &sub);
        }
        pbw_message(&op, 6, &body);
        add_op(&def, &op, &d);
    }
    add_input(&op, d.s, 0);
    add_op(&def, &op, &d);
    load(&def, text, &count, &name);
    assert_string_equal(text, "");
    assert_int_equal(count, 10001);
    assert_true(strlen(name) <= LIMIT_VERTEX_NAME);
    free(name);
}

/* ---- states
 * ------------------------------------------------------------------------------------------------------------
 */

static void test_round_trip(void **state)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL, *again = NULL;
    CLEANUP(buf_deinit) struct buf one = { 0 }, two = { 0 };
    struct llb_source_map map = { .filename = "f", .language = "L", .data = "text", .data_len = 4 };
    struct llb_range range = { 3, 0, 3, 5 };
    struct llb_resources resources = { .memory = 7, .cpuset_cpus = (char *)"0" };
    struct llb_options o = { .custom_name = "n",
                             .command = "",
                             .ignore_cache = true,
                             .group_id = "g",
                             .group_name = "group",
                             .group_weak = true,
                             .resources = &resources,
                             .source = &map,
                             .ranges = &range,
                             .range_count = 1 };
    struct strv args = { 0 };
    struct llb_run run = { .args = &args };

    strv_add(&args, "true");
    assert_null(
        llb_marshal(b, llb_run(b, llb_image(b, "busybox", LLB_RESOLVE_DEFAULT, NULL), &run, &o), NULL, &def));
    strv_deinit(&args);
    assert_int_equal(def->op_count, 3);
    llb_def_encode(def, &one);
    assert_null(llb_def_decode(one.data, one.len, &again));
    llb_def_encode(again, &two);
    assert_int_equal(one.len, two.len);
    assert_memory_equal(one.data, two.data, one.len);
    const struct llb_meta *meta = llb_def_meta(again, again->ops[1].digest.s);
    assert_string_equal(meta->progress_group->name, "group");
    assert_int_equal(meta->resources->memory, 7);
    assert_true(meta->ignore_cache);
    const struct llb_locations *l = llb_def_locations(again, again->ops[1].digest.s);
    assert_int_equal(l->v[0].ranges[0].end_char, 5);
}

/* A definition that comes back as an input keeps its ops to the byte. */
static void test_import(void **state)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new(), *b2 = llb_builder_new();
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL, *again = NULL;
    struct llb_state st;

    st = llb_file(b, llb_scratch(), llb_mkfile(b, NULL, "/a", 0644, "x", 1),
                  &(struct llb_options){ .custom_name = "mk" });
    assert_null(llb_marshal(b, st, NULL, &def));
    assert_null(llb_from_def(b2, llb_def_ref(def), &st));
    assert_null(llb_marshal(b2, st, NULL, &again));
    assert_int_equal(again->op_count, def->op_count);
    for (size_t i = 0; i < def->op_count; i++)
        assert_string_equal(again->ops[i].digest.s, def->ops[i].digest.s);
    assert_string_equal(
        strmap_get(&llb_def_meta(again, again->ops[0].digest.s)->description, "llb.customname"), "mk");
}

/* Two ops of many inputs, the one asking for many outputs of the other. */
static void test_import_unfolds(void **state)
{
    enum { INPUTS = 1100 };
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    CLEANUP(buf_deinit) struct buf encoded = { 0 }, op = { 0 }, merge = { 0 };
    struct digest below;
    struct llb_def *def = NULL;
    struct llb_state st;
    struct error *e;

    add_source(&op, "local://context");
    add_op(&encoded, &op, &below);
    for (int level = 0; level < 2; level++) {
        for (int i = 0; i < INPUTS; i++) {
            size_t input = pbw_begin(&merge, 1);

            add_input(&op, below.s, i);
            pbw_int(&merge, 1, i);
            pbw_end(&merge, input);
        }
        pbw_message(&op, 6, &merge);
        add_op(&encoded, &op, &below);
    }
    add_input(&op, below.s, 0);
    add_op(&encoded, &op, &below);
    assert_null(llb_def_decode(encoded.data, encoded.len, &def));
    e = llb_from_def(b, def, &st);
    assert_string_equal(e->message, "definition unfolds to 1211100 edges, at most 1000000 are allowed");
    err_free(e);
}

static void test_scratch(void **state)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    struct llb_state sides[2] = { llb_scratch(), llb_scratch() };

    assert_null(llb_marshal(b, llb_merge(b, sides, 2, NULL), NULL, &def));
    assert_true(llb_def_is_scratch(def));
}

static void test_env_order(void **state)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    CLEANUP(strv_deinit) struct strv keys = { 0 };
    const struct llb_env *env = NULL;

    env = llb_env_set(b, env, "A", "1");
    env = llb_env_set(b, env, "B", "2");
    env = llb_env_set(b, env, "C", "3");
    env = llb_env_set(b, env, "A", "4");
    env = llb_env_delete(b, env, "C");
    llb_env_keys(env, &keys);
    assert_int_equal(keys.len, 2);
    assert_string_equal(keys.v[0], "B");
    assert_string_equal(keys.v[1], "A");
    assert_string_equal(llb_env_get(env, "A"), "4");
    assert_null(llb_env_get(env, "C"));
}

static void test_source_detail(void **state)
{
    struct llb_source_info info = { .filename = (char *)"Dockerfile",
                                    .language = (char *)"Dockerfile",
                                    .data = (char *)"FROM a",
                                    .data_len = 6 };
    struct llb_range range = { 1, 0, 1, 0 };
    struct error *e = err_new(ERR_INVALID, "x");

    llb_add_info_detail(e, &info, &range, 1);
    assert_int_equal(e->detail_count, 1);
    assert_string_equal(e->details[0].type_url, "github.com/moby/buildkit/errdefs.Source+json");
    CLEANUP(freep) char *json = xstrndup(e->details[0].value, e->details[0].len);
    assert_string_equal(
        json, "{\"info\":{\"filename\":\"Dockerfile\",\"data\":\"RlJPTSBh\",\"language\":\"Dockerfile\"},"
              "\"ranges\":[{\"start\":{\"line\":1},\"end\":{\"line\":1}}]}");
    err_free(e);

    /* several locations: the last one comes first */
    struct llb_source source = { .infos = &info, .info_count = 1 };
    struct llb_def def = { .source = &source };
    struct llb_range later = { 2, 0, 2, 0 };
    struct llb_location two[] = { { 0, &range, 1 }, { 0, &later, 1 } };
    e = err_new(ERR_INVALID, "x");
    llb_add_source_detail(e, &def, &(struct llb_locations){ two, 2 });
    assert_int_equal(e->detail_count, 2);
    CLEANUP(freep) char *first = xstrndup(e->details[0].value, e->details[0].len);
    assert_non_null(strstr(first, "\"line\":2"));
    err_free(e);
}

/* ---- paths
 * -------------------------------------------------------------------------------------------------------------
 */

static void test_gopath(void **state)
{
    static const struct {
        const char *path, *clean, *base;
    } cases[] = { { "", ".", "." },           { ".", ".", "." },         { "/", "/", "/" },
                  { "//", "/", "/" },         { "a/b/", "a/b", "b" },    { "/..", "/", ".." },
                  { "../..", "../..", ".." }, { "a/../..", "..", ".." }, { "/a/./b/../c", "/a/c", "c" },
                  { "./a//b", "a/b", "b" },   { "a/..", ".", ".." },     { "../a/../..", "../..", ".." } };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(freep) char *clean = gopath_clean(cases[i].path), *base = gopath_base(cases[i].path);

        assert_string_equal(clean, cases[i].clean);
        assert_string_equal(base, cases[i].base);
    }
    CLEANUP(freep)
    char *joined = gopath_join("/a/", "../b"), *none = gopath_join("", ""), *dir = gopath_dir("a/b/c");
    assert_string_equal(joined, "/b");
    assert_string_equal(none, "");
    assert_string_equal(dir, "a/b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_missing_input),
        cmocka_unit_test(test_no_terminal_input),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_mounts),
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_many_parts),
        cmocka_unit_test(test_many_files),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_import),
        cmocka_unit_test(test_import_unfolds),
        cmocka_unit_test(test_scratch),
        cmocka_unit_test(test_env_order),
        cmocka_unit_test(test_source_detail),
        cmocka_unit_test(test_gopath),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
