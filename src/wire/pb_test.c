/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/pb.h"

#include <setjmp.h>
#include <cmocka.h>

static void round_trip(void **state)
{
    struct pb_arena a = { 0 };
    CLEANUP(buf_deinit) struct buf out = { 0 };
    Bk__Vertex v = BK__VERTEX__INIT, *back = NULL;
    char *inputs[] = { (char *)"sha256:a", (char *)"sha256:b" };

    v.digest = (char *)"sha256:c";
    v.inputs = inputs;
    v.n_inputs = 2;
    v.started = pb_time(&a, INT64_C(1500000000123456789));
    pb_pack(&v.base, &out);
    assert_null(pb_unpack(&bk__vertex__descriptor, out.data, out.len, &a, &back));
    assert_string_equal(back->digest, "sha256:c");
    assert_string_equal(back->inputs[1], "sha256:b");
    assert_string_equal(back->name, "");
    assert_null(back->completed);
    assert_int_equal(pb_time_ns(back->started), INT64_C(1500000000123456789));
    pb_arena_deinit(&a);
}

/* Names are BuildKit's, whose JSON reader refuses others. */
static void protojson(void **state)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    Pb__Op op = PB__OP__INIT;
    Pb__ExecOp exec = PB__EXEC_OP__INIT;
    Pb__Meta meta = PB__META__INIT;
    Pb__Mount mount = PB__MOUNT__INIT, *mounts[] = { &mount };
    Pb__CacheOpt cache = PB__CACHE_OPT__INIT;
    Pb__SshOpt ssh = PB__SSH_OPT__INIT;
    Pb__Platform platform = PB__PLATFORM__INIT;
    char *args[] = { (char *)"a\"b" };

    op.op_case = PB__OP__OP_EXEC;
    op.exec = &exec;
    op.platform = &platform;
    platform.os_version = (char *)"10";
    exec.meta = &meta;
    exec.network = PB__NET_MODE__HOST;
    exec.mounts = mounts;
    exec.n_mounts = 1;
    meta.args = args;
    meta.n_args = 1;
    meta.remove_mount_stubs_recursive = true;
    mount.input = -1;
    mount.mount_type = PB__MOUNT_TYPE__CACHE;
    mount.cache_opt = &cache;
    mount.ssh_opt = &ssh;
    cache.id = (char *)"c";
    pb_to_json(&op.base, &out);
    assert_string_equal(
        buf_str(&out),
        "{\"exec\":{\"meta\":{\"args\":[\"a\\\"b\"],\"removeMountStubsRecursive\":true},"
        "\"mounts\":[{\"input\":\"-1\",\"mountType\":3,\"cacheOpt\":{\"ID\":\"c\"},\"SSHOpt\":{}}],"
        "\"network\":1},\"platform\":{\"OSVersion\":\"10\"}}");
    buf_clear(&out);
    Kv__Str kv = KV__STR__INIT, *kvs[] = { &kv };
    Pb__SourceOp source = PB__SOURCE_OP__INIT;

    kv.key = (char *)"k";
    kv.value = (char *)"v";
    source.attrs = kvs;
    source.n_attrs = 1;
    pb_to_json(&source.base, &out);
    assert_string_equal(buf_str(&out), "{\"attrs\":{\"k\":\"v\"}}");
}

static void empty_message(void **state)
{
    struct pb_arena a = { 0 };
    Fs__Packet *p = NULL;

    assert_null(pb_unpack(&fs__packet__descriptor, NULL, 0, &a, &p));
    assert_int_equal(p->type, FS__PACKET_TYPE__STAT);
    assert_null(p->stat);
    pb_arena_deinit(&a);
}

static void garbage_is_refused(void **state)
{
    struct pb_arena a = { 0 };
    Fs__Packet *p = NULL;
    struct error *e = pb_unpack(&fs__packet__descriptor, "\x12\xff\xff\x01", 4, &a, &p);

    assert_true(err_is(e, ERR_INVALID));
    err_free(e);
    pb_arena_deinit(&a);
}

/* C strings end at a NUL: "a\0b" must not be checked as one name and used as another. */
static void a_nul_in_a_string_is_refused(void **state)
{
    struct pb_arena a = { 0 };
    CLEANUP(buf_deinit) struct buf out = { 0 };
    Fs__Stat stat = FS__STAT__INIT;
    Fs__Packet p = FS__PACKET__INIT, *back = NULL;

    stat.path = (char *)"a!b";
    p.stat = &stat;
    p.data = pb_bytes("\0\0", 2); /* bytes may hold any */
    pb_pack(&p.base, &out);
    assert_null(pb_unpack(&fs__packet__descriptor, out.data, out.len, &a, &back));
    *(char *)memchr(out.data, '!', out.len) = '\0';
    struct error *e = pb_unpack(&fs__packet__descriptor, out.data, out.len, &a, &back);

    assert_true(err_is(e, ERR_INVALID));
    assert_string_equal(e->message, "message fs.Packet: string path holds a NUL byte");
    err_free(e);
    pb_arena_deinit(&a);
}

/* Singular messages that come again are merged, and each merge copies what came before: the arena's bound
 * must stop that. */
static void unfolding_is_bounded(void **state)
{
    struct pb_arena a = { 0 };
    CLEANUP(buf_deinit) struct buf in = { 0 };
    Pb__ExecOp *op = NULL;

    for (int i = 0; i < 100000; i++)
        buf_add(&in, "\x0a\x02\x0a\x00", 4);
    struct error *e = pb_unpack(&pb__exec_op__descriptor, in.data, in.len, &a, &op);

    assert_true(err_is(e, ERR_EXHAUSTED));
    err_free(e);
    pb_arena_deinit(&a);
}

static void error_details_survive(void **state)
{
    struct pb_arena a = { 0 };
    CLEANUP(buf_deinit) struct buf out = { 0 };
    Rpc__Status *s = NULL;
    struct error *e = err_new(ERR_NOT_FOUND, "no such job x");

    err_add_detail(e, "example.com/t+json", "{\"a\":1}", 7);
    pb_pack(&pb_from_error(&a, e)->base, &out);
    err_free(e);
    assert_null(pb_unpack(&rpc__status__descriptor, out.data, out.len, &a, &s));
    e = pb_to_error(s);
    assert_true(err_is(e, ERR_NOT_FOUND));
    assert_string_equal(e->message, "no such job x");
    assert_int_equal(e->detail_count, 1);
    assert_memory_equal(e->details[0].value, "{\"a\":1}", 7);
    err_free(e);
    pb_arena_deinit(&a);
}

static void arena_reset_keeps_working(void **state)
{
    struct pb_arena a = { 0 };

    for (int i = 0; i < 100; i++) {
        char *p = pb_alloc(&a, 1000), *big = pb_alloc(&a, 100000);

        assert_int_equal(p[999], 0);
        memset(p, 7, 1000);
        memset(big, 7, 100000);
        pb_arena_reset(&a);
        assert_int_equal(a.mem.used, 0);
    }
    pb_arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(protojson),
        cmocka_unit_test(empty_message),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(a_nul_in_a_string_is_refused),
        cmocka_unit_test(unfolding_is_bounded),
        cmocka_unit_test(error_details_survive),
        cmocka_unit_test(arena_reset_keeps_working),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
