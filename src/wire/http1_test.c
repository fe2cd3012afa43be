/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/http1.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "task/task.h"
#include "wire/http2.h"

#include <errno.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

/* ---- a server on one end of a pair, raw bytes on the other
 * ----------------------------------------------------------------- */

/* "/echo" gives the body back, "/late" answers before it reads, "/fail" fails, "/hijack" upgrades and echoes,
 * "/wait" waits for the client to go, "/dup" reads and writes at once; else method, path, query "q" and host.
 */
struct server {
    struct stream *end;
    bool peer_gone;
    struct mutex lock; /* of the rest */
    struct cond changed;
    bool started, cancelled; /* the handler, and its scope */
};

#define LONG_BODY (512 * KIB) /* more than a pair of streams holds */

static void tell(struct server *s, bool *what)
{
    mutex_lock(&s->lock);
    *what = true;
    cond_broadcast(&s->changed);
    mutex_unlock(&s->lock);
}

static void await(struct server *s, const bool *what)
{
    mutex_lock(&s->lock);
    while (!*what)
        assert_int_equal(cond_wait(&s->changed, &s->lock), 0);
    mutex_unlock(&s->lock);
}

static struct error *tell_of_cancellation(void *arg)
{
    struct server *s = arg;

    assert_int_equal(task_sleep(600 * NS_PER_SEC), -ECANCELED);
    tell(s, &s->cancelled);
    return NULL;
}

/* An answer that is under way when the scope is cancelled. */
static struct error *answer_at_length(struct http_exchange *x, struct server *s)
{
    CLEANUP(group_deinit) struct group g = { 0 };
    CLEANUP(freep) char *text = xcalloc(1, LONG_BODY);

    group_open(&g, 0);
    TRY(group_spawn(&g, "teller", tell_of_cancellation, s));
    tell(s, &s->started);
    return http_reply(x, 200, "text/plain", text, LONG_BODY);
}

static struct error *handler(struct http_exchange *x, void *ctx)
{
    const struct http_request *r = x->request;
    CLEANUP(buf_deinit) struct buf body = { 0 };

    if (streq(r->path, "/fail"))
        return err_new(ERR_NOT_FOUND, "no such <thing>");
    if (streq(r->path, "/early"))
        return http_reply(x, 403, "text/plain", "no", 2);
    if (streq(r->path, "/long"))
        return answer_at_length(x, ctx);
    if (streq(r->path, "/wait")) {
        int res = task_sleep(600 * NS_PER_SEC);

        ((struct server *)ctx)->peer_gone = http_peer_gone(x);
        return task_error(res, "sleep");
    }
    if (streq(r->path, "/hijack")) {
        CLEANUP(stream_closep) struct stream *s = NULL;

        TRY(http_hijack(x, "h2c", &s));
        TRY_SYS(stream_copy(s, s), "echo");
        return NULL;
    }
    if (streq(r->path, "/late"))
        TRY(http_start(x, 200, -1));
    if (streq(r->path, "/echo") || streq(r->path, "/late")) {
        TRY_SYS(stream_copy(http_body_writer(x), x->body), "echo");
        return NULL;
    }
    const char *q = http_params_get(&r->query, "q");

    buf_addf(&body, "%s %s q=%s host=%s", r->method, r->path, q != NULL ? q : "-", r->host);
    return http_reply(x, 200, "text/plain", body.data, body.len);
}

static struct error *http2(struct stream *s, void *ctx)
{
    char head[H2_PREFACE_LEN] = { 0 };
    int r = stream_read_full(s, head, sizeof(head));

    if (r == 0 && memcmp(head, H2_PREFACE, H2_PREFACE_LEN) == 0)
        r = stream_write_full(s, "h2", 2);
    stream_close(s);
    return r < 0 ? err_sys(-r, "preface") : NULL;
}

static struct error *serve(void *arg)
{
    struct server *s = arg;
    struct http_config config = { .handler = handler, .http2 = http2, .ctx = s };

    http_params_add(&config.headers, "Server", "test");
    struct error *e = http_serve(TAKE(s->end), &config);

    http_params_deinit(&config.headers);
    return e;
}

/* What comes back when `raw` is sent in pieces of `step` bytes and our side is shut. Malloc'd; no Date lines.
 */
static char *talk(const char *raw, size_t len, size_t step)
{
    struct buf out = { 0 };
    struct server server = { 0 };
    struct stream *client;
    struct group g;

    stream_pair(&server.end, &client, 64 * KIB);
    group_open(&g, GROUP_KEEP_GOING);
    assert_null(group_spawn(&g, "server", serve, &server));
    for (size_t i = 0; i < len; i += step)
        if (stream_write_full(client, raw + i, MIN(step, len - i)) < 0)
            break;
    (void)!stream_shut(client);
    assert_true(stream_read_all(client, &out, MIB) <= 0);
    stream_close(client);
    assert_null(group_join(&g));
    for (char *date; (date = strstr(buf_str(&out), "Date: ")) != NULL;) {
        size_t n = strcspn(date, "\n") + 1;

        memmove(date, date + n, strlen(date + n) + 1);
    }
    return buf_take(&out);
}

static char *say(const char *raw)
{
    return talk(raw, strlen(raw), 65536);
}

static void expect(const char *raw, const char *answer)
{
    static const size_t steps[] = { 1, 7, 65536 };

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        CLEANUP(freep) char *got = talk(raw, strlen(raw), steps[i]);

        if (!streq(got, answer))
            print_error("request:\n%s\n", raw);
        assert_string_equal(got, answer);
    }
}

#define H "Host: x\r\n"

/* ---- plain exchanges
 * --------------------------------------------------------------------------------------------------- */

static void simple_requests(void **state)
{
    expect("GET /a%20b?q=1+2%21 HTTP/1.1\r\nHost: \r\n\r\n",
           "HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n\r\nGET /a "
           "b q=1 2! host=");
    expect("HEAD / HTTP/1.1\r\n" H "\r\n",
           "HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: 17\r\n\r\n");
    expect(
        "GET /fail HTTP/1.1\r\n" H "Connection: close\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nServer: test\r\nContent-Type: application/json\r\nContent-Length: 40\r\n"
        "Connection: close\r\n\r\n{\"message\":\"no such \\u003cthing\\u003e\"}\n");
    expect("GET http://h/p?q=z HTTP/1.0\r\n\r\n",
           "HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: 17\r\nConnection: "
           "close\r\n\r\n"
           "GET /p q=z host=h");
}

static void keep_alive_and_pipelining(void **state)
{
    expect("GET /1 HTTP/1.1\r\n" H "\r\nPOST /2 HTTP/1.1\r\n" H
           "Content-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\n" H "\r\n",
           "HTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: 17\r\n\r\n"
           "GET /1 q=- host=xHTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: "
           "18\r\n\r\n"
           "POST /2 q=- host=xHTTP/1.1 200 OK\r\nServer: test\r\nContent-Type: text/plain\r\nContent-Length: "
           "17\r\n\r\n"
           "GET /3 q=- host=x");
}

static void chunked_bodies(void **state)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nServer: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    CLEANUP(freep)
    char *got = say("POST /echo HTTP/1.1\r\n" H
                    "Transfer-Encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n0\r\n"
                    "Trailer: v\r\n\r\nGET /n HTTP/1.1\r\n" H "\r\n");

    assert_true(str_has_prefix(got, answer));
    assert_non_null(strstr(got, "abc"));
    assert_non_null(strstr(got, "\r\n0\r\n\r\nHTTP/1.1 200 OK"));
    assert_non_null(strstr(got, "GET /n"));
}

static void body_that_ends_early_fails(void **state)
{
    CLEANUP(freep) char *got = say("POST /x HTTP/1.1\r\n" H "Content-Length: 10\r\n\r\nabc");

    assert_true(str_has_prefix(got, "HTTP/1.1 200"));
    CLEANUP(freep) char *bad = say("POST /echo HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nZZ\r\n");

    assert_true(str_has_prefix(bad, "HTTP/1.1 500"));
}

static void continue_is_asked_for(void **state)
{
    CLEANUP(freep)
    char *got = say("POST /echo HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");

    assert_true(str_has_prefix(got, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"));
    CLEANUP(freep)
    char *late = say("POST /late HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi");

    assert_true(str_has_prefix(late, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"));
    /* Answered without a look at the body: no 100, and the connection ends. */
    CLEANUP(freep)
    char *early = say("POST /early HTTP/1.1\r\n" H
                      "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\n\r\n");

    assert_true(str_has_prefix(early, "HTTP/1.1 403 Forbidden"));
    assert_non_null(strstr(early, "Connection: close\r\n"));
    assert_null(strstr(early + 10, "HTTP/1.1"));
    CLEANUP(freep)
    char *other = say("POST /echo HTTP/1.1\r\n" H "Expect: magic\r\nContent-Length: 2\r\n\r\nhi");

    assert_true(str_has_prefix(other, "HTTP/1.1 417 "));
}

static void hijack_keeps_what_was_read_ahead(void **state)
{
    expect(
        "POST /hijack HTTP/1.1\r\n" H
        "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\nfirst bytes, more",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nfirst bytes, more");
}

static void http2_preface_is_handed_over(void **state)
{
    expect(H2_PREFACE "more", "h2");
}

static void client_that_goes_cancels_the_handler(void **state)
{
    struct server server = { 0 };
    struct stream *client;
    struct group g;

    stream_pair(&server.end, &client, 64 * KIB);
    group_open(&g, GROUP_KEEP_GOING);
    assert_null(group_spawn(&g, "server", serve, &server));
    assert_int_equal(stream_write_full(client, "GET /wait HTTP/1.1\r\n" H "\r\n", 31), 0);
    stream_close(client);
    assert_null(group_join(&g));
    assert_true(server.peer_gone);
}

/* ---- request smuggling: whatever could be read in two ways is refused, and nothing behind it is served
 * --------------------------- */

/* It is told of the end while it writes, and the client, which has only closed its side, gets the rest. */
static void half_closed_in_the_middle(void **state)
{
    static const char raw[] = "GET /long HTTP/1.1\r\n" H "\r\n";
    CLEANUP(buf_deinit) struct buf out = { 0 };
    struct server server = { 0 };
    struct stream *client;
    struct group g;

    mutex_init(&server.lock);
    cond_init(&server.changed);
    stream_pair(&server.end, &client, 64 * KIB);
    group_open(&g, 0);
    assert_null(group_spawn(&g, "server", serve, &server));
    assert_int_equal(stream_write_full(client, raw, sizeof(raw) - 1), 0);
    await(&server, &server.started);
    assert_int_equal(stream_shut(client), 0);
    await(&server, &server.cancelled);
    assert_int_equal(stream_read_all(client, &out, MIB), 0);
    assert_true(out.len > LONG_BODY);
    stream_close(client);
    assert_null(group_join(&g));
    cond_deinit(&server.changed);
    mutex_deinit(&server.lock);
}

static void refused_heads(void **state)
{
    static const struct {
        const char *raw;
        const char *status;
    } table[] = {
        { "GET / HTTP/1.1\nHost: x\n\n", "400" },
        { "GET / HTTP/1.1\r\nHost: x\n\r\n", "400" },
        { "GET / HTTP/1.1\r\nHost: x\r\n\n", "400" },
        { "\r\nGET / HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET  / HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET /  HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET / HTTP/1.1 \r\n" H "\r\n", "400" },
        { " GET / HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET /\r\n" H "\r\n", "400" },
        { "GET / HTTP/2.0\r\n" H "\r\n", "505" },
        { "GET / HTTP/0.9\r\n" H "\r\n", "505" },
        { "GET / http/1.1\r\n" H "\r\n", "400" },
        { "GET / HTTP/1.1x\r\n" H "\r\n", "400" },
        { "GET / HTTP/11\r\n" H "\r\n", "400" },
        { "G(T / HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET x HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET * HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET /%zz HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET /%00 HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET /% HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET /%2 HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET /\x01 HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET /\x7f HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET /#f HTTP/1.1\r\n" H "\r\n", "400" },
        { "GET / HTTP/1.1\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H H "\r\n", "400" },
        { "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\nHost : x\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H "X : y\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H "X\t: y\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H ": y\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H "X\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H " X: y\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H "X: y\r\n z\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H "X: y\r\n\tz\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H "X: a\x01\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H "X: a\x7f\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H "\xc3\xa4: a\r\n\r\n", "400" },
        { "GET / HTTP/1.1\r\n" H "X Y: a\r\n\r\n", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 1\r\n\r\na", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1, 1\r\n\r\na", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: +1\r\n\r\na", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: -1\r\n\r\na", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 0x1\r\n\r\na", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1 \x0b\r\n\r\na", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: \r\n\r\na", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 1e1\r\n\r\na", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n\r\na", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\na", "400" },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
          "400" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG",
          "400" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
          "400" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "501" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", "501" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
          "chunked\r\n\r\n0\r\n\r\n",
          "400" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n0\r\n\r\n", "501" },
        { "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400" },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\tx\r\n\r\n0\r\n\r\n", "400" },
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        /* Something is smuggled behind: it must not be answered. */
        CLEANUP(freep) char *raw = xasprintf("%sGET /smuggled HTTP/1.1\r\n" H "\r\n", table[i].raw);
        CLEANUP(freep) char *got = talk(raw, strlen(raw), 65536);
        CLEANUP(freep) char *want = xasprintf("HTTP/1.1 %s ", table[i].status);

        if (!str_has_prefix(got, want) || strstr(got, "smuggled") != NULL)
            print_error("case %zu:\n%s\n---\n%s\n", i, table[i].raw, got);
        assert_true(str_has_prefix(got, want));
        assert_null(strstr(got, "smuggled"));
    }
}

static void broken_chunks(void **state)
{
    static const char *const table[] = {
        "0x3\r\nabc\r\n0\r\n\r\n",    "3 \r\nabc\r\n0\r\n\r\n",  " 3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",     "-3\r\nabc\r\n0\r\n\r\n",  "3\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",     "3\r\nabc\n0\r\n\r\n",     "3\r\nabc0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",       "1000000000000000\r\nabc", "3;\x01\r\nabc\r\n0\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",   "0\r\nX : y\r\n\r\n",      "0\r\n x: y\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        CLEANUP(freep)
        char *raw = xasprintf("POST /x HTTP/1.1\r\n" H
                              "Transfer-Encoding: chunked\r\n\r\n%sGET /smuggled HTTP/1.1\r\n" H "\r\n",
                              table[i]);
        CLEANUP(freep) char *got = talk(raw, strlen(raw), 65536);

        if (strstr(got, "smuggled") != NULL)
            print_error("case %zu: %s\n", i, table[i]);
        assert_null(strstr(got, "smuggled"));
    }
}

static void limits_of_heads(void **state)
{
    CLEANUP(buf_deinit) struct buf raw = { 0 };

    buf_adds(&raw, "GET / HTTP/1.1\r\n" H "X: ");
    while (raw.len < LIMIT_HTTP_HEADER_BYTES - 4)
        buf_addc(&raw, 'x');
    buf_adds(&raw, "\r\n\r\n");
    CLEANUP(freep) char *fits = talk(raw.data, raw.len, 65536);

    assert_int_equal(raw.len, LIMIT_HTTP_HEADER_BYTES);
    assert_true(str_has_prefix(fits, "HTTP/1.1 200 "));
    raw.data[raw.len - 4] = 'x';
    buf_truncate(&raw, raw.len - 3);
    buf_adds(&raw, "\r\n\r\n");
    CLEANUP(freep) char *large = talk(raw.data, raw.len, 65536);

    assert_true(str_has_prefix(large, "HTTP/1.1 431 "));
    buf_clear(&raw);
    buf_adds(&raw, "GET / HTTP/1.1\r\n" H);
    for (int i = 0; i < LIMIT_HTTP_HEADERS; i++)
        buf_adds(&raw, "X: y\r\n");
    buf_adds(&raw, "\r\n");
    CLEANUP(freep) char *many = talk(raw.data, raw.len, 65536);

    assert_true(str_has_prefix(many, "HTTP/1.1 431 "));
}

static void query_parsing(void **state)
{
    struct http_params p = { 0 };

    http_params_parse_query(&p, "a=1&b=%7B%22x%22%3A1%7D&a=2&&c&bad=%zz&semi=1;2&=e&d=a+b%2B");
    assert_int_equal(p.len, 6);
    assert_string_equal(http_params_get(&p, "a"), "1");
    assert_string_equal(http_params_get(&p, "b"), "{\"x\":1}");
    assert_string_equal(http_params_get(&p, "c"), "");
    assert_string_equal(http_params_get(&p, "d"), "a b+");
    assert_null(http_params_get(&p, "bad"));
    http_params_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(simple_requests),
        cmocka_unit_test(keep_alive_and_pipelining),
        cmocka_unit_test(chunked_bodies),
        cmocka_unit_test(body_that_ends_early_fails),
        cmocka_unit_test(continue_is_asked_for),
        cmocka_unit_test(hijack_keeps_what_was_read_ahead),
        cmocka_unit_test(http2_preface_is_handed_over),
        cmocka_unit_test(client_that_goes_cancels_the_handler),
        cmocka_unit_test(half_closed_in_the_middle),
        cmocka_unit_test(refused_heads),
        cmocka_unit_test(broken_chunks),
        cmocka_unit_test(limits_of_heads),
        cmocka_unit_test(query_parsing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
