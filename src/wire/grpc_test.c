/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/grpc.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "task/task.h"
#include "wire/grpc_impl.h"

#include <errno.h>
#include <setjmp.h>
#include <cmocka.h>

/* ---- a server with one service over a pair of streams
 * ------------------------------------------------------------------- */

static struct error *say_back(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Bk__StatusRequest *request;
    Bk__Vertex v = BK__VERTEX__INIT;

    TRY(rpc_recv_one(call, &bk__status_request__descriptor, &arena, &request));
    v.name = request->ref;
    return rpc_send(call, &v.base);
}

static struct error *fail_call(struct rpc_call *call, void *ctx)
{
    struct error *e = err_new(ERR_NOT_FOUND, "no such job \"x\" 100%%\nzwei \xc3\xa4");

    err_add_detail(e, "github.com/moby/buildkit/errdefs.Vertex+json", "{\"digest\":\"d\"}", 14);
    err_add_detail(e, "t", "", 0);
    return e;
}

/* An error with a text of that many bytes, in the first message's data. */
static struct error *fail_at_length(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Bk__StatusRequest *request;
    int64_t len;

    TRY(rpc_recv_one(call, &bk__status_request__descriptor, &arena, &request));
    assert_int_equal(parse_i64(request->ref, &len), 0);
    char *text = xmalloc((size_t)len + 1);

    memset(text, '%', (size_t)len);
    text[len] = '\0';
    struct error *e = err_new(ERR_NOT_FOUND, "%s", text);

    free(text);
    return e;
}

static struct error *echo(struct rpc_call *call, void *ctx)
{
    CLEANUP(buf_deinit) struct buf m = { 0 };
    bool eof = false;

    for (;;) {
        TRY(rpc_recv_raw(call, &m, &eof));
        if (eof)
            return NULL;
        TRY(rpc_send_raw(call, m.data, m.len));
    }
}

static struct error *metadata(struct rpc_call *call, void *ctx)
{
    CLEANUP(rpc_md_deinit) struct rpc_md md = { 0 };
    CLEANUP(strv_deinit) struct strv all = { 0 };
    const struct rpc_md *in;

    TRY(rpc_metadata(call, &in));
    rpc_md_all(in, "k", &all);
    CLEANUP(freep) char *joined = strv_join(&all, "+");

    rpc_md_add(&md, "Joined", joined);
    rpc_md_add_bin(&md, "raw-bin", "\x00\xff", 2);
    rpc_md_add(&md, "bin", rpc_metadata_get(call, "x-bin"));
    return rpc_send_headers(call, &md);
}

static struct error *hang(struct rpc_call *call, void *ctx)
{
    struct semaphore *seen = ctx;

    TRY(rpc_send_headers(call, NULL));
    int r = task_sleep(600 * NS_PER_SEC);

    semaphore_release(seen, 1);
    return task_error(r, "sleep");
}

static struct error *inner_session(struct rpc_call *call, void *ctx);

static const struct rpc_method methods[] = {
    { "SayBack", say_back },
    { "Fail", fail_call },
    { "Echo", echo },
    { "Metadata", metadata },
    { "Hang", hang },
    { "Session", inner_session },
    { "FailAtLength", fail_at_length },
};

struct pair {
    struct group group;
    struct semaphore seen; /* released once by Hang */
    struct rpc_service service;
    const struct rpc_service *list[1];
    struct rpc_server server;
    struct stream *server_end;
    struct rpc_conn *conn;
};

static struct error *serve(void *arg)
{
    struct pair *p = arg;

    return rpc_serve_stream(&p->server, TAKE(p->server_end));
}

static void pair_init(struct pair *p)
{
    struct stream *client_end;

    *p = (struct pair){ 0 };
    semaphore_init(&p->seen, 1);
    assert_int_equal(semaphore_acquire(&p->seen, 1), 0);
    p->service = (struct rpc_service){ "test.Svc", methods, ARRAY_LEN(methods), &p->seen };
    p->list[0] = &p->service;
    p->server = (struct rpc_server){ p->list, 1 };
    stream_pair(&p->server_end, &client_end, 64 * KIB);
    group_open(&p->group, GROUP_KEEP_GOING);
    assert_null(group_spawn(&p->group, "server", serve, p));
    assert_null(rpc_connect(client_end, &p->conn));
}

static void pair_deinit(struct pair *p)
{
    rpc_conn_close(p->conn);
    assert_null(group_join(&p->group));
    semaphore_deinit(&p->seen);
}

/* ---- tests
 * -------------------------------------------------------------------------------------------------------------
 */

static void unary(void **state)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    struct pair p;
    Bk__StatusRequest request = BK__STATUS_REQUEST__INIT;
    Bk__Vertex *v = NULL;

    pair_init(&p);
    for (int i = 0; i < 300; i++) { /* more than may be open at once */
        request.ref = pb_strf(&arena, "ref-%d", i);
        assert_null(
            rpc_unary(p.conn, "/test.Svc/SayBack", NULL, &request.base, &bk__vertex__descriptor, &arena, &v));
        assert_string_equal(v->name, request.ref);
    }
    pair_deinit(&p);
}

static struct error *call_with(struct rpc_conn *conn, const char *path)
{
    struct pb_arena arena = { 0 };
    Bk__StatusRequest request = BK__STATUS_REQUEST__INIT;
    Bk__Vertex *v = NULL;
    struct error *e = rpc_unary(conn, path, NULL, &request.base, &bk__vertex__descriptor, &arena, &v);

    pb_arena_deinit(&arena);
    return e;
}

static void error_details(void **state)
{
    struct pair p;

    pair_init(&p);
    struct error *e = call_with(p.conn, "/test.Svc/Fail");

    assert_true(err_is(e, ERR_NOT_FOUND));
    assert_string_equal(e->message, "no such job \"x\" 100%\nzwei \xc3\xa4");
    assert_int_equal(e->detail_count, 2);
    assert_string_equal(e->details[0].type_url, "github.com/moby/buildkit/errdefs.Vertex+json");
    assert_int_equal(e->details[0].len, 14);
    assert_memory_equal(e->details[0].value, "{\"digest\":\"d\"}", 14);
    assert_string_equal(e->details[1].type_url, "t");
    err_free(e);
    pair_deinit(&p);
}

/* A text too long for a header block is cut: a call always ends. */
static void long_error_text(void **state)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    CLEANUP(h2_fields_deinit) struct h2_fields fields = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    Bk__StatusRequest request = BK__STATUS_REQUEST__INIT;
    Bk__Vertex *v = NULL;
    struct pair p;

    pair_init(&p);
    request.ref = pb_strf(&arena, "%zu", 5 * MIB);
    struct error *e =
        rpc_unary(p.conn, "/test.Svc/FailAtLength", NULL, &request.base, &bk__vertex__descriptor, &arena, &v);

    assert_non_null(e);
    err_free(e);
    pair_deinit(&p);

    for (size_t i = 0; i < LIMIT_GRPC_STATUS_TEXT; i++)
        buf_adds(&text, "\xc3\xa4");
    e = err_new(ERR_NOT_FOUND, "%s", buf_str(&text));
    rpc_status_to_fields(e, &fields);
    err_free(e);
    assert_true(strlen(h2_fields_get(&fields, "grpc-message")) <= 3 * LIMIT_GRPC_STATUS_TEXT);
    e = rpc_status_from_fields(&fields);
    assert_true(err_is(e, ERR_NOT_FOUND));
    assert_true(str_has_prefix(e->message, "\xc3\xa4\xc3\xa4"));
    assert_true(str_has_suffix(e->message, "\xc3\xa4..."));
    err_free(e);
}

static void unknown_names(void **state)
{
    static const struct {
        const char *path, *message;
    } table[] = {
        { "/test.Nope/X", "unknown service test.Nope" },
        { "/test.Svc/X", "unknown method X for service test.Svc" },
        { "//x/y", "unknown service /x" },
        { "/x//y", "unknown service x/" },
        { "/noslash", "malformed method name: \"/noslash\"" },
    };
    struct pair p;

    pair_init(&p);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct error *e = call_with(p.conn, table[i].path);

        assert_true(err_is(e, ERR_UNIMPLEMENTED));
        assert_string_equal(e->message, table[i].message);
        err_free(e);
    }
    pair_deinit(&p);
}

static void streaming_with_large_and_empty_messages(void **state)
{
    static const size_t sizes[] = { 0, 1, 5, 16384, 1000000, LIMIT_GRPC_MESSAGE, 0, 7 };
    CLEANUP(buf_deinit) struct buf back = { 0 };
    char *data = xmalloc(LIMIT_GRPC_MESSAGE);
    struct rpc_call *call;
    struct pair p;
    bool eof;

    memset(data, 'x', LIMIT_GRPC_MESSAGE);
    pair_init(&p);
    assert_null(rpc_call_open(p.conn, "/test.Svc/Echo", NULL, &call));
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_null(rpc_send_raw(call, data, sizes[i]));
        assert_null(rpc_recv_raw(call, &back, &eof));
        assert_false(eof);
        assert_int_equal(back.len, sizes[i]);
        if (sizes[i] > 0)
            assert_memory_equal(back.data, data, sizes[i]);
    }
    struct error *e = rpc_send_raw(call, data, LIMIT_GRPC_MESSAGE + 1);

    assert_true(err_is(e, ERR_EXHAUSTED));
    err_free(e);
    assert_null(rpc_close_send(call));
    assert_null(rpc_recv_raw(call, &back, &eof));
    assert_true(eof);
    assert_null(rpc_finish(call));
    rpc_call_free(call);
    free(data);
    pair_deinit(&p);
}

static void metadata_both_ways(void **state)
{
    CLEANUP(rpc_md_deinit) struct rpc_md md = { 0 };
    const struct rpc_md *back;
    struct rpc_call *call;
    struct pair p;

    pair_init(&p);
    rpc_md_add(&md, "K", "one");
    rpc_md_add(&md, "k", "two");
    rpc_md_add_bin(&md, "x-bin", "raw", 3);
    assert_null(rpc_call_open(p.conn, "/test.Svc/Metadata", &md, &call));
    assert_null(rpc_close_send(call));
    assert_null(rpc_metadata(call, &back));
    assert_string_equal(rpc_md_get(back, "joined"), "one+two");
    assert_string_equal(rpc_md_get(back, "bin"), "raw");
    for (size_t i = 0; i < back->len; i++)
        if (streq(back->v[i].key, "raw-bin"))
            assert_memory_equal(back->v[i].value, "\x00\xff", 2);
    assert_null(rpc_finish(call));
    rpc_call_free(call);
    pair_deinit(&p);
}

static void cancel_reaches_the_handler(void **state)
{
    const struct rpc_md *md;
    struct rpc_call *call;
    struct pair p;

    pair_init(&p);
    assert_null(rpc_call_open(p.conn, "/test.Svc/Hang", NULL, &call));
    assert_null(rpc_close_send(call));
    assert_null(rpc_metadata(call, &md)); /* it runs */
    rpc_call_free(call);
    assert_int_equal(semaphore_acquire(&p.seen, 1), 0); /* the handler has left */
    semaphore_release(&p.seen, 1);
    pair_deinit(&p);
}

static void deadline_reaches_the_handler(void **state)
{
    struct deadline d;
    struct pair p;

    pair_init(&p);
    deadline_begin(&d, 30 * NS_PER_MS);
    struct error *e = call_with(p.conn, "/test.Svc/Hang");

    deadline_end(&d);
    assert_true(err_is(e, ERR_DEADLINE));
    err_free(e);
    assert_int_equal(semaphore_acquire(&p.seen, 1), 0);
    semaphore_release(&p.seen, 1);
    pair_deinit(&p);
}

static void cancel_before_the_request_is_sent(void **state)
{
    struct rpc_call *call;
    struct pair p;

    pair_init(&p);
    for (int i = 0; i < 100; i++) {
        assert_null(rpc_call_open(p.conn, "/test.Svc/Echo", NULL, &call));
        rpc_call_free(call);
    }
    pair_deinit(&p);
}

static void lost_connection_cancels_the_handler(void **state)
{
    struct rpc_call *call;
    struct pair p;

    pair_init(&p);
    assert_null(rpc_call_open(p.conn, "/test.Svc/Hang", NULL, &call));
    rpc_conn_abort(p.conn);
    struct error *e = rpc_finish(call);

    assert_true(err_is(e, ERR_UNAVAILABLE) || err_is(e, ERR_CANCELLED));
    err_free(e);
    rpc_call_free(call);
    pair_deinit(&p);
}

/* ---- HTTP/2 inside gRPC inside HTTP/2, bulk data both ways at once
 * ------------------------------------------------------- */

#define BULK (64 * MIB)

/* The outer server is the client of the inner connection, as a builder is of its session. */
static struct error *inner_session(struct rpc_call *call, void *ctx);

struct bulk {
    struct rpc_call *call;
    size_t total;
};

static struct error *send_bulk(void *arg)
{
    struct bulk *b = arg;
    char *data = xmalloc(32 * KIB);
    struct error *e = NULL;

    memset(data, 'b', 32 * KIB);
    for (size_t sent = 0; e == NULL && sent < b->total; sent += 32 * KIB)
        e = rpc_send_raw(b->call, data, 32 * KIB);
    free(data);
    return e != NULL ? e : rpc_close_send(b->call);
}

static struct error *pump_echo(struct rpc_conn *conn, size_t total)
{
    CLEANUP(rpc_call_freep) struct rpc_call *call = NULL;
    CLEANUP(group_deinit) struct group g = { 0 };
    CLEANUP(buf_deinit) struct buf m = { 0 };
    struct bulk b = { .total = total };
    size_t got = 0;
    bool eof = false;

    TRY(rpc_call_open(conn, "/test.Svc/Echo", NULL, &call));
    b.call = call;
    group_open(&g, 0);
    TRY(group_spawn(&g, "bulk", send_bulk, &b));
    while (!eof) {
        TRY(rpc_recv_raw(call, &m, &eof));
        got += eof ? 0 : m.len;
    }
    TRY(group_join(&g));
    if (got != total)
        return err_new(ERR_DATA_LOSS, "%zu of %zu bytes came back", got, total);
    return rpc_finish(call);
}

static struct error *inner_session(struct rpc_call *call, void *ctx)
{
    CLEANUP(rpc_conn_closep) struct rpc_conn *conn = NULL;
    struct stream *tunnel;

    TRY(rpc_tunnel(call, &tunnel));
    TRY(rpc_connect(tunnel, &conn));
    return pump_echo(conn, BULK);
}

static void nested_sessions_move_bulk_data(void **state)
{
    struct rpc_call *call;
    struct stream *tunnel;
    struct pair p;

    pair_init(&p);
    assert_null(rpc_call_open(p.conn, "/test.Svc/Session", NULL, &call));
    assert_null(rpc_tunnel(call, &tunnel));
    int64_t start = monotonic_ns();

    assert_null(rpc_serve_stream(&p.server, tunnel)); /* the inner server ends when the inner client closes */
    print_message("nested: %.0f MiB/s each way\n",
                  (double)BULK / MIB / ((double)(monotonic_ns() - start) / 1e9));
    assert_null(rpc_close_send(call));
    assert_null(rpc_finish(call));
    rpc_call_free(call);
    pair_deinit(&p);
}

static struct error *pump_task(void *arg)
{
    return pump_echo(arg, 4 * MIB);
}

static void many_streams_at_once(void **state)
{
    struct group g;
    struct pair p;

    pair_init(&p);
    group_open(&g, 0);
    for (int i = 0; i < 20; i++)
        assert_null(group_spawn(&g, "pump", pump_task, p.conn));
    assert_null(group_join(&g));
    pair_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unary),
        cmocka_unit_test(error_details),
        cmocka_unit_test(long_error_text),
        cmocka_unit_test(unknown_names),
        cmocka_unit_test(streaming_with_large_and_empty_messages),
        cmocka_unit_test(metadata_both_ways),
        cmocka_unit_test(cancel_reaches_the_handler),
        cmocka_unit_test(cancel_before_the_request_is_sent),
        cmocka_unit_test(deadline_reaches_the_handler),
        cmocka_unit_test(lost_connection_cancels_the_handler),
        cmocka_unit_test(many_streams_at_once),
        cmocka_unit_test(nested_sessions_move_bulk_data),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
