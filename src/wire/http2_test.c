/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http2.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "task/task.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <setjmp.h>
#include <cmocka.h>

/* ---- a server whose handlers hang until they are cancelled, and a hostile peer that writes raw frames
 * -------------------------- */

struct server {
    struct group group;
    struct stream *end, *client;
    struct mutex lock;
    size_t running, most, started;
};

static void hang(struct h2_stream *s, void *ctx)
{
    struct server *server = ctx;

    mutex_lock(&server->lock);
    server->started++;
    server->running++;
    server->most = MAX(server->most, server->running);
    mutex_unlock(&server->lock);
    assert_int_equal(task_sleep(600 * NS_PER_SEC), -ECANCELED);
    mutex_lock(&server->lock);
    server->running--;
    mutex_unlock(&server->lock);
}

static struct error *serve(void *arg)
{
    struct server *s = arg;

    return h2_serve(TAKE(s->end), hang, s);
}

static void server_init(struct server *s)
{
    *s = (struct server){ 0 };
    mutex_init(&s->lock);
    stream_pair(&s->end, &s->client, 64 * KIB);
    group_open(&s->group, GROUP_KEEP_GOING);
    assert_null(group_spawn(&s->group, "server", serve, s));
    assert_int_equal(stream_write_full(s->client, H2_PREFACE, H2_PREFACE_LEN), 0);
}

static void server_deinit(struct server *s)
{
    stream_close(s->client);
    struct error *e = group_join(&s->group);

    if (e != NULL)
        print_error("%s\n", e->message);
    assert_null(e);
    assert_int_equal(s->running, 0);
    mutex_deinit(&s->lock);
}

static void add_frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t stream, const void *payload,
                      size_t len)
{
    const uint8_t head[9] = {
        (uint8_t)(len >> 16),
        (uint8_t)(len >> 8),
        (uint8_t)len,
        type,
        flags,
        (uint8_t)(stream >> 24),
        (uint8_t)(stream >> 16),
        (uint8_t)(stream >> 8),
        (uint8_t)stream,
    };

    buf_add(b, head, sizeof(head));
    buf_add(b, payload, len);
}

/* ":method: POST", ":scheme: http", ":path: /x", ":authority: x" */
static const char request[] = "\x83\x86\x04\x02/x\x01\x01x";

struct reader {
    struct stream *client;
    struct buf out;
};

static struct error *read_all(void *arg)
{
    struct reader *r = arg;

    (void)!stream_read_all(r->client, &r->out, 64 * MIB);
    return NULL;
}

/* The error code of the last GOAWAY among the frames, or -1. */
static int64_t goaway_code(const struct buf *b)
{
    int64_t code = -1;

    for (size_t at = 0; at + 9 <= b->len;) {
        const uint8_t *p = (const uint8_t *)b->data + at;
        size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];

        if (p[3] == NGHTTP2_GOAWAY && at + 9 + len <= b->len)
            code = (int64_t)p[13] << 24 | p[14] << 16 | p[15] << 8 | p[16];
        at += 9 + len;
    }
    return code;
}

/* Write `unit` again and again, with stream ids counted up where `step` says so: how many times before the
 * server ends it, and its GOAWAY. */
static size_t flood(void (*unit)(struct buf *b, size_t i), size_t times, int64_t *ret_code)
{
    struct server s;
    struct reader reader = { 0 };
    CLEANUP(buf_deinit) struct buf b = { 0 };
    struct group g;
    size_t i = 0;
    int r = 0;

    server_init(&s);
    reader.client = s.client;
    group_open(&g, 0);
    assert_null(group_spawn(&g, "read", read_all, &reader));
    add_frame(&b, NGHTTP2_SETTINGS, 0, 0, "", 0);
    while (i < times && r == 0) {
        unit(&b, i++);
        if (b.len < 32 * KIB && i < times)
            continue;
        r = stream_write_full(s.client, b.data, b.len);
        buf_clear(&b);
    }
    (void)!stream_shut(s.client);
    assert_null(group_join(&g));
    *ret_code = goaway_code(&reader.out);
    buf_deinit(&reader.out);
    assert_true(s.most <= LIMIT_H2_STREAMS + 60);
    server_deinit(&s);
    return r < 0 ? i : SIZE_MAX;
}

static void ping(struct buf *b, size_t i)
{
    add_frame(b, NGHTTP2_PING, 0, 0, "12345678", 8);
}

static void settings(struct buf *b, size_t i)
{
    add_frame(b, NGHTTP2_SETTINGS, 0, 0, "", 0);
}

static void priority(struct buf *b, size_t i)
{
    add_frame(b, NGHTTP2_PRIORITY, 0, (uint32_t)(2 * i + 1), "\0\0\0\0\x01", 5);
}

static void window(struct buf *b, size_t i)
{
    add_frame(b, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\x01", 4);
}

static void rapid_reset(struct buf *b, size_t i)
{
    add_frame(b, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, (uint32_t)(2 * i + 1),
              request, sizeof(request) - 1);
    add_frame(b, NGHTTP2_RST_STREAM, 0, (uint32_t)(2 * i + 1), "\0\0\0\x08", 4);
}

static void empty_data(struct buf *b, size_t i)
{
    if (i == 0)
        add_frame(b, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, request, sizeof(request) - 1);
    else
        add_frame(b, NGHTTP2_DATA, 0, 1, "", 0);
}

static void continuation(struct buf *b, size_t i)
{
    if (i == 0)
        add_frame(b, NGHTTP2_HEADERS, 0, 1, request, sizeof(request) - 1);
    else
        add_frame(b, NGHTTP2_CONTINUATION, 0, 1, "", 0);
}

/* More requests than may be open, none reset: refused, and nothing grows. */
static void many_requests(struct buf *b, size_t i)
{
    add_frame(b, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, (uint32_t)(2 * i + 1), request,
              sizeof(request) - 1);
}

static void floods_end_the_connection(void **state)
{
    static const struct {
        const char *name;
        void (*unit)(struct buf *b, size_t i);
        int64_t goaway;
    } table[] = {
        { "ping", ping, NGHTTP2_ENHANCE_YOUR_CALM },
        { "settings", settings, NGHTTP2_ENHANCE_YOUR_CALM },
        { "priority", priority, NGHTTP2_ENHANCE_YOUR_CALM },
        { "window", window, NGHTTP2_ENHANCE_YOUR_CALM },
        { "rapid reset", rapid_reset, NGHTTP2_ENHANCE_YOUR_CALM },
        { "empty data", empty_data, NGHTTP2_ENHANCE_YOUR_CALM },
        { "continuation", continuation, NGHTTP2_PROTOCOL_ERROR },
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        int64_t code = -1;
        size_t n = flood(table[i].unit, 1000000, &code);

        print_message("%s: ended after %zu frames, GOAWAY %lld\n", table[i].name, n, (long long)code);
        assert_int_not_equal(n, SIZE_MAX);
        assert_true(n < 100000);
        assert_int_equal(code, table[i].goaway);
    }
}

static void too_many_requests_are_refused(void **state)
{
    int64_t code = -1;

    flood(many_requests, 2000, &code); /* the limits are asserted inside */
}

/* ---- hostile bytes
 * ----------------------------------------------------------------------------------------------------- */

static void talk(const void *data, size_t len)
{
    struct server s;
    CLEANUP(buf_deinit) struct buf out = { 0 };

    server_init(&s);
    (void)!stream_write_full(s.client, data, len);
    (void)!stream_shut(s.client);
    (void)!stream_read_all(s.client, &out, MIB);
    server_deinit(&s);
}

static void nonsense_ends_the_connection(void **state)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    unsigned seed = 1;

    talk("GET / HTTP/1.1\r\n\r\n", 18);
    for (int i = 0; i < 300; i++) {
        buf_clear(&b);
        add_frame(&b, NGHTTP2_SETTINGS, 0, 0, "", 0);
        for (int j = 0; j < 20; j++) {
            char payload[64];

            for (size_t k = 0; k < sizeof(payload); k++)
                payload[k] = (char)rand_r(&seed);
            if (rand_r(&seed) % 3 == 0)
                memcpy(payload, request, sizeof(request) - 1);
            add_frame(&b, (uint8_t)(rand_r(&seed) % 12), (uint8_t)rand_r(&seed),
                      (uint32_t)(rand_r(&seed) % 5), payload, rand_r(&seed) % sizeof(payload));
        }
        talk(b.data, b.len);
    }
}

static void large_header_lists_are_refused(void **state)
{
    CLEANUP(buf_deinit) struct buf b = { 0 }, block = { 0 };

    /* One value of 4000 bytes put into the table, then named again and again. */
    buf_add(&block, request, sizeof(request) - 1);
    buf_adds(&block, "\x40\x01k\x7f\xa1\x1e");
    for (int i = 0; i < 4000; i++)
        buf_addc(&block, 'v');
    for (int i = 0; i < 10000; i++)
        buf_addc(&block, (char)0xbe);
    add_frame(&b, NGHTTP2_SETTINGS, 0, 0, "", 0);
    add_frame(&b, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1, block.data,
              block.len);
    struct server s;
    struct reader reader = { 0 };

    server_init(&s);
    assert_int_equal(stream_write_full(s.client, b.data, b.len), 0);
    (void)!stream_shut(s.client);
    reader.client = s.client;
    read_all(&reader);
    buf_deinit(&reader.out);
    assert_int_equal(s.started, 0);
    server_deinit(&s);
}

/* ---- our client against our server
 * --------------------------------------------------------------------------------------- */

static void echo(struct h2_stream *s, void *ctx)
{
    struct h2_fields fields = { 0 };
    char *data = xmalloc(64 * KIB);
    ssize_t n = -1;

    h2_fields_add(&fields, ":status", "200");
    int r = h2_stream_respond(s, &fields, false);

    assert_true(r == 0 || r == -ECONNRESET || r == -ENOTCONN); /* the client may be done with it already */
    while (r == 0 && (n = h2_stream_read(s, data, 64 * KIB)) > 0)
        if (h2_stream_write(s, data, (size_t)n, NULL, 0) < 0)
            break;
    if (n == 0)
        (void)!h2_stream_end(s, NULL);
    free(data);
    h2_fields_deinit(&fields);
}

static struct error *serve_echo(void *arg)
{
    return h2_serve(arg, echo, NULL);
}

static void request_fields(struct h2_fields *f)
{
    h2_fields_add(f, ":method", "POST");
    h2_fields_add(f, ":scheme", "http");
    h2_fields_add(f, ":path", "/x");
    h2_fields_add(f, ":authority", "x");
}

/* A stream that nobody reads keeps its megabyte, and the others go on. */
static void an_unread_stream_stops_no_other(void **state)
{
    CLEANUP(h2_fields_deinit) struct h2_fields fields = { 0 };
    struct stream *server, *client;
    struct h2_stream *stuck[40], *s;
    struct h2_conn *c;
    struct group g;
    char *data = xcalloc(1, MIB), back[4096];

    stream_pair(&server, &client, 64 * KIB);
    group_open(&g, 0);
    assert_null(group_spawn(&g, "server", serve_echo, server));
    assert_null(h2_connect(client, &c));
    request_fields(&fields);
    for (size_t i = 0; i < ARRAY_LEN(stuck); i++) { /* together more than the connection's window */
        assert_int_equal(h2_open(c, &fields, false, &stuck[i]), 0);
        assert_int_equal(h2_stream_write(stuck[i], data, MIB, NULL, 0), 0);
    }
    assert_int_equal(h2_open(c, &fields, false, &s), 0);
    assert_int_equal(h2_stream_write(s, "hello", 5, " world", 6), 0);
    assert_int_equal(h2_stream_end(s, NULL), 0);
    assert_int_equal(h2_stream_read_full(s, back, 11), 0);
    assert_memory_equal(back, "hello world", 11);
    assert_int_equal(h2_stream_read(s, back, sizeof(back)), 0);
    h2_stream_free(s);
    for (size_t i = 0; i < ARRAY_LEN(stuck); i++)
        h2_stream_free(stuck[i]);
    h2_close(c);
    assert_null(group_join(&g));
    free(data);
}

static void end_with_huge_trailers(struct h2_stream *s, void *ctx)
{
    CLEANUP(h2_fields_deinit) struct h2_fields fields = { 0 }, trailers = { 0 };
    CLEANUP(freep) char *value = xmalloc(5 * MIB + 1);

    memset(value, 'x', 5 * MIB);
    value[5 * MIB] = '\0';
    h2_fields_add(&fields, ":status", "200");
    h2_fields_add(&trailers, "long", value);
    assert_int_equal(h2_stream_respond(s, &fields, false), 0);
    assert_int_equal(h2_stream_end(s, &trailers), 0);
}

static struct error *serve_huge_trailers(void *arg)
{
    return h2_serve(arg, end_with_huge_trailers, NULL);
}

/* More than a header block holds: the stream is reset, for the peer would wait for ever. */
static void trailers_that_cannot_be_sent(void **state)
{
    CLEANUP(h2_fields_deinit) struct h2_fields fields = { 0 };
    struct stream *server, *client;
    struct h2_stream *s;
    struct h2_conn *c;
    struct group g;
    char back[16];

    stream_pair(&server, &client, 64 * KIB);
    group_open(&g, 0);
    assert_null(group_spawn(&g, "server", serve_huge_trailers, server));
    assert_null(h2_connect(client, &c));
    request_fields(&fields);
    assert_int_equal(h2_open(c, &fields, true, &s), 0);
    assert_int_equal(h2_stream_read(s, back, sizeof(back)), -ECONNRESET);
    assert_int_equal(h2_stream_reset_code(s), NGHTTP2_INTERNAL_ERROR);
    h2_stream_free(s);
    h2_close(c);
    assert_null(group_join(&g));
}

static void calls_fail_once_the_peer_is_gone(void **state)
{
    CLEANUP(h2_fields_deinit) struct h2_fields fields = { 0 };
    const struct h2_fields *headers;
    struct stream *server, *client;
    struct h2_stream *s;
    struct h2_conn *c;

    stream_pair(&server, &client, 64 * KIB);
    assert_null(h2_connect(client, &c));
    request_fields(&fields);
    assert_int_equal(h2_open(c, &fields, false, &s), 0);
    stream_close(server);
    assert_int_equal(h2_stream_headers(s, &headers), -ENOTCONN);
    assert_int_equal(h2_wait_closed(c), 0);
    assert_true(h2_is_closed(c));
    h2_stream_free(s);
    assert_int_equal(h2_open(c, &fields, false, &s), -ENOTCONN);
    h2_close(c);
}

/* A peer that takes nothing must not hold up the end. */
static void close_does_not_wait_for_a_stuck_peer(void **state)
{
    CLEANUP(h2_fields_deinit) struct h2_fields fields = { 0 };
    struct stream *server, *client;
    struct h2_stream *s;
    struct h2_conn *c;
    char *data = xcalloc(1, MIB);

    stream_pair(&server, &client, 4 * KIB);
    assert_null(h2_connect(client, &c));
    request_fields(&fields);
    assert_int_equal(h2_open(c, &fields, false, &s), 0);
    assert_int_equal(h2_stream_write(s, data, 200 * KIB, NULL, 0), 0);
    h2_stream_free(s);
    h2_close(c);
    stream_close(server);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floods_end_the_connection),
        cmocka_unit_test(too_many_requests_are_refused),
        cmocka_unit_test(nonsense_ends_the_connection),
        cmocka_unit_test(large_header_lists_are_refused),
        cmocka_unit_test(an_unread_stream_stops_no_other),
        cmocka_unit_test(trailers_that_cannot_be_sent),
        cmocka_unit_test(calls_fail_once_the_peer_is_gone),
        cmocka_unit_test(close_does_not_wait_for_a_stuck_peer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
