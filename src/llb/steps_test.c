/* SPDX-License-Identifier: Apache-2.0 */
/* A definition as provenance and convertllb show it; the texts are those of Go's encoding/json over
 * BuildKit's types. */
#include "llb/def.h"
#include "llb/state.h"
#include "llb/steps.h"

#include <setjmp.h>

#include <cmocka.h>

/* An op with these inputs, appended; its digest. */
static const char *add(struct llb_def *def, Pb__Op *op, const char *const *inputs, size_t count)
{
    Pb__Input v[4], *list[4];
    CLEANUP(buf_deinit) struct buf encoded = { 0 };

    for (size_t i = 0; i < count; i++) {
        v[i] = (Pb__Input)PB__INPUT__INIT;
        v[i].digest = (char *)inputs[i];
        v[i].index = (int64_t)i;
        list[i] = &v[i];
    }
    op->inputs = list;
    op->n_inputs = count;
    pb_pack(&op->base, &encoded);
    def_add_op(def, encoded.data, encoded.len, NULL);
    return def->ops[def->op_count - 1].digest.s;
}

/* A context whose session and password must not be seen, and a step on it. */
static struct llb_def *definition(void)
{
    struct llb_def *def = def_new();
    Kv__Str session = KV__STR__INIT, keep = KV__STR__INIT, *attrs[] = { &session, &keep };
    Pb__SourceOp source = PB__SOURCE_OP__INIT;
    Pb__FileActionMkfile file = PB__FILE_ACTION_MKFILE__INIT;
    Pb__FileAction action = PB__FILE_ACTION__INIT, *actions[] = { &action };
    Pb__FileOp files = PB__FILE_OP__INIT;
    Pb__Op op = PB__OP__INIT;
    const char *inputs[2];

    session.key = (char *)"local.session";
    session.value = (char *)"secret";
    keep.key = (char *)"x";
    keep.value = (char *)"y";
    source.identifier = (char *)"https://user:pass@host/a";
    source.attrs = attrs;
    source.n_attrs = ARRAY_LEN(attrs);
    op.op_case = PB__OP__OP_SOURCE;
    op.source = &source;
    inputs[0] = add(def, &op, NULL, 0);
    file.path = (char *)"/<a>";
    file.mode = 0644;
    file.timestamp = -1;
    action.secondary_input = -1;
    action.action_case = PB__FILE_ACTION__ACTION_MKFILE;
    action.mkfile = &file;
    files.actions = actions;
    files.n_actions = 1;
    op.op_case = PB__OP__OP_FILE;
    op.file = &files;
    inputs[0] = add(def, &op, inputs, 1);
    op = (Pb__Op)PB__OP__INIT;
    add(def, &op, inputs, 1);
    return def;
}

static void assert_steps(enum llb_json_style style, const char *text)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = definition();
    CLEANUP(llb_steps_freep) struct llb_steps *s = NULL;
    CLEANUP(buf_deinit) struct buf b = { 0 };
    struct go_writer w = { .out = &b };

    assert_null(llb_steps_open(def, &s));
    assert_null(llb_steps_write(s, style, &w));
    assert_string_equal(buf_str(&b), text);
}

static void test_steps(void **state)
{
    assert_steps(
        LLB_JSON_GO,
        "[{\"id\":\"step0\",\"op\":{\"Op\":{\"source\":{\"identifier\":\"https://xxxxx:xxxxx@host/a\","
        "\"attrs\":{\"x\":\"y\"}}}}},"
        "{\"id\":\"step1\",\"op\":{\"Op\":{\"file\":{\"actions\":[{\"input\":0,\"secondaryInput\":-1,"
        "\"output\":0,\"Action\":{\"mkfile\":{\"path\":\"/\\u003ca\\u003e\",\"mode\":420,"
        "\"timestamp\":-1}}}]}}},\"inputs\":[\"step0:0\"]},"
        "{\"id\":\"step2\",\"op\":{\"Op\":{}},\"inputs\":[\"step1:0\"]}]");
    assert_steps(
        LLB_JSON_GO_MAP,
        "[{\"id\":\"step0\",\"op\":{\"Op\":{\"source\":{\"attrs\":{\"x\":\"y\"},"
        "\"identifier\":\"https://xxxxx:xxxxx@host/a\"}}}},"
        "{\"id\":\"step1\",\"inputs\":[\"step0:0\"],\"op\":{\"Op\":{\"file\":{\"actions\":[{\"Action\":"
        "{\"mkfile\":{\"mode\":420,\"path\":\"/\\u003ca\\u003e\",\"timestamp\":-1}},\"input\":0,"
        "\"output\":0,\"secondaryInput\":-1}]}}}},"
        "{\"id\":\"step2\",\"inputs\":[\"step1:0\"],\"op\":{\"Op\":{}}}]");
}

static void test_names(void **state)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = definition();
    CLEANUP(llb_steps_freep) struct llb_steps *s = NULL;
    CLEANUP(buf_deinit) struct buf b = { 0 };
    struct go_writer w = { .out = &b };
    const char *before = "";
    size_t step = 9, at;
    json_t *j, *v;
    const char *key;

    assert_null(llb_steps_open(def, &s));
    llb_steps_write_names(s, &w);
    j = json_loadb(b.data, b.len, 0, NULL);
    assert_int_equal(json_object_size(j), 3);
    json_object_foreach(j, key, v)
    {
        assert_true(strcmp(before, key) < 0);
        before = key;
        assert_true(llb_steps_find(s, key, &at));
        assert_string_equal(def->ops[at].digest.s, key); /* they are in order already */
        assert_int_equal(json_string_value(v)[4] - '0', at);
    }
    assert_false(llb_steps_find(s, "sha256:none", &step));
    assert_int_equal(step, 9);
    json_decref(j);
}

static void test_no_terminal(void **state)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = def_new();
    CLEANUP(llb_steps_freep) struct llb_steps *s = NULL;
    Pb__Op op = PB__OP__INIT;
    const char *missing[] = { "sha256:gone" };
    struct error *e;

    add(def, &op, NULL, 0);
    e = llb_steps_open(def, &s);
    assert_string_equal(e->message, "invalid last vertex inputs: 0");
    err_free(e);
    add(def, &op, missing, 1);
    e = llb_steps_open(def, &s);
    assert_string_equal(e->message, "failed to find input sha256:gone");
    err_free(e);
    assert_null(s);
}

/* Two files of a context in an image, a process on top that sees the context. */
static struct llb_def *built(void)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    CLEANUP(strv_deinit) struct strv args = { 0 };
    struct llb_def *def = NULL;
    struct llb_state context = llb_local(b, "context", &(struct llb_local_options){ 0 }, NULL);
    struct llb_state image = llb_image(b, "busybox", LLB_RESOLVE_DEFAULT, NULL);
    struct llb_mount mount = { .target = "/src", .source = context, .readonly = true };
    struct llb_run run = { .args = &args, .mounts = &mount, .mount_count = 1 };
    struct llb_copy_info info = { 0 };
    struct llb_action *copies = llb_copy(b, NULL, context, "/a", "/", &info);

    strv_add(&args, "true");
    copies = llb_copy(b, copies, context, "/b", "/", &info);
    assert_null(llb_marshal(b, llb_run(b, llb_file(b, image, copies, NULL), &run, NULL), NULL, &def));
    return def;
}

/* The inputs that a step names are those of its op, which are earlier steps. */
static void assert_inputs(const struct llb_steps *s, const Pb__Op *op, const json_t *names, size_t step)
{
    assert_int_equal(json_array_size(names), op->n_inputs);
    for (size_t i = 0; i < op->n_inputs; i++) {
        size_t at = SIZE_MAX;

        assert_true(llb_steps_find(s, op->inputs[i]->digest, &at));
        assert_true(at < step);
        CLEANUP(freep) char *name = xasprintf("step%zu:%d", at, (int)op->inputs[i]->index);
        assert_string_equal(json_string_value(json_array_get(names, i)), name);
    }
}

/* A definition that was written and read back, as steps that are read back: each op once, as it was. */
static void test_written_definition(void **state)
{
    CLEANUP(llb_def_unrefp) struct llb_def *made = built(), *def = NULL;
    CLEANUP(llb_steps_freep) struct llb_steps *s = NULL;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    CLEANUP(buf_deinit) struct buf encoded = { 0 }, text = { 0 };
    struct go_writer w = { .out = &text };
    json_t *list;

    llb_def_encode(made, &encoded);
    assert_null(llb_def_decode(encoded.data, encoded.len, &def));
    assert_null(llb_steps_open(def, &s));
    assert_null(llb_steps_write(s, LLB_JSON_GO, &w));
    list = json_loadb(text.data, text.len, 0, NULL);
    assert_int_equal(def->op_count, 5);
    assert_int_equal(json_array_size(list), def->op_count);
    for (size_t i = 0; i < def->op_count; i++) {
        CLEANUP(freep) char *id = NULL;
        size_t step = SIZE_MAX;
        Pb__Op *op = NULL;

        assert_string_equal(def->ops[i].digest.s, made->ops[i].digest.s);
        assert_null(pb_unpack(&pb__op__descriptor, def->ops[i].bytes, def->ops[i].len, &arena, &op));
        assert_true(llb_steps_find(s, def->ops[i].digest.s, &step));
        const json_t *one = json_array_get(list, step);

        id = xasprintf("step%zu", step);
        assert_string_equal(json_string_value(json_object_get(one, "id")), id);
        assert_inputs(s, op, json_object_get(one, "inputs"), step);
        const json_t *body = json_object_get(json_object_get(one, "op"), "Op");

        assert_int_equal(json_object_get(body, "source") != NULL, op->op_case == PB__OP__OP_SOURCE);
        assert_int_equal(json_object_get(body, "file") != NULL, op->op_case == PB__OP__OP_FILE);
        assert_int_equal(json_object_get(body, "exec") != NULL, op->op_case == PB__OP__OP_EXEC);
        if (op->op_case == PB__OP__OP_FILE)
            assert_int_equal(json_array_size(json_object_get(json_object_get(body, "file"), "actions")), 2);
    }
    json_decref(list);
}

static void write_meta(enum llb_json_style style, const Pb__OpMetadata *m, struct buf *ret)
{
    CLEANUP(llb_json_deinit) struct llb_json j;
    struct go_writer w = { .out = ret };

    llb_json_init(&j, style, &w);
    assert_null(llb_json_write(&j, &m->base));
}

/* Of entries with one key the last counts; numbers of 64 bits are text in the mapping of protobuf. */
static void test_message(void **state)
{
    Kv__Str b = KV__STR__INIT, a = KV__STR__INIT, again = KV__STR__INIT, *list[] = { &b, &a, &again };
    Pb__LinuxResources limits = PB__LINUX_RESOURCES__INIT;
    Pb__OpMetadata m = PB__OP_METADATA__INIT;
    CLEANUP(buf_deinit) struct buf go = { 0 }, map = { 0 }, proto = { 0 };

    b.key = (char *)"b";
    a.key = again.key = (char *)"a";
    a.value = (char *)"first";
    again.value = (char *)"last";
    m.description = list;
    m.n_description = ARRAY_LEN(list);
    limits.memory = INT64_MAX;
    m.linux_resources = &limits;
    write_meta(LLB_JSON_GO, &m, &go);
    write_meta(LLB_JSON_GO_MAP, &m, &map);
    write_meta(LLB_JSON_PROTO, &m, &proto);
    assert_string_equal(buf_str(&go), "{\"description\":{\"a\":\"last\",\"b\":\"\"},"
                                      "\"linux_resources\":{\"memory\":9223372036854775807}}");
    assert_string_equal(buf_str(&map), "{\"description\":{\"a\":\"last\",\"b\":\"\"},"
                                       "\"linux_resources\":{\"memory\":9223372036854776000}}");
    assert_string_equal(buf_str(&proto), "{\"description\":{\"a\":\"last\",\"b\":\"\"},"
                                         "\"linuxResources\":{\"memory\":\"9223372036854775807\"}}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),       cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_terminal), cmocka_unit_test(test_written_definition),
        cmocka_unit_test(test_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
