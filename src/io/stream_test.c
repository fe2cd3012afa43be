/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "io/stream.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1024 * 1024)

struct transfer {
    struct stream *from, *to;
    size_t bytes;
};

static struct error *produce(void *arg)
{
    struct transfer *t = arg;
    char chunk[3000];
    uint32_t next = 1;

    for (size_t left = t->bytes; left > 0;) {
        size_t n = MIN(left, sizeof(chunk));

        for (size_t i = 0; i < n; i++) {
            next = next * 1664525 + 1013904223;
            chunk[i] = (char)(next >> 24);
        }
        int r = stream_write_full(t->to, chunk, n);

        if (r < 0)
            return task_error(r, "write");
        left -= n;
    }
    stream_shut(t->to);
    return NULL;
}

static struct error *consume(void *arg)
{
    struct transfer *t = arg;
    char chunk[1777];
    uint32_t next = 1;
    size_t seen = 0;

    for (;;) {
        ssize_t n = stream_read(t->from, chunk, sizeof(chunk));

        if (n < 0)
            return task_error((int)n, "read");
        if (n == 0)
            break;
        for (ssize_t i = 0; i < n; i++) {
            next = next * 1664525 + 1013904223;
            if (chunk[i] != (char)(next >> 24))
                return err_new(ERR_DATA_LOSS, "byte %zu differs", seen + (size_t)i);
        }
        seen += (size_t)n;
    }
    return seen == t->bytes ? NULL : err_new(ERR_DATA_LOSS, "%zu bytes of %zu", seen, t->bytes);
}

/* Both directions at once, more than any buffer between holds; closes both ends. */
static void check_full_duplex(struct stream *a, struct stream *b)
{
    struct transfer there = { .from = b, .to = a, .bytes = 2 * MIB },
                    back = { .from = a, .to = b, .bytes = 2 * MIB + 7 };
    struct group g;

    group_open(&g, 0);
    assert_null(group_spawn(&g, "a writes", produce, &there));
    assert_null(group_spawn(&g, "b reads", consume, &there));
    assert_null(group_spawn(&g, "b writes", produce, &back));
    assert_null(group_spawn(&g, "a reads", consume, &back));
    struct error *e = group_join(&g);

    if (e != NULL)
        print_message("%s\n", e->message);
    assert_null(e);
    stream_close(a);
    stream_close(b);
}

static void socket_pair(struct stream **a, struct stream **b)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *a = stream_from_fd(fds[0]);
    *b = stream_from_fd(fds[1]);
}

static void pipe_pair(struct stream **a, struct stream **b)
{
    int one[2], two[2];

    assert_int_equal(pipe2(one, O_CLOEXEC), 0);
    assert_int_equal(pipe2(two, O_CLOEXEC), 0);
    *a = stream_from_fds(one[0], two[1]);
    *b = stream_from_fds(two[0], one[1]);
}

static void sockets_carry_both_ways(void **state)
{
    struct stream *a, *b;

    socket_pair(&a, &b);
    assert_true(stream_fd(a) >= 0);
    check_full_duplex(a, b);
}

static void pipes_carry_both_ways(void **state)
{
    struct stream *a, *b;

    pipe_pair(&a, &b);
    assert_int_equal(stream_fd(a), -1);
    check_full_duplex(a, b);
}

static void memory_pair_carries_both_ways(void **state)
{
    struct stream *a, *b;

    stream_pair(&a, &b, 4096);
    check_full_duplex(a, b);
    stream_pair(&a, &b, 1);
    stream_close(b);
    char c;

    assert_int_equal(stream_read(a, &c, 1), 0);
    assert_int_equal(stream_write(a, "x", 1), -EPIPE);
    stream_close(a);
}

static void writing_to_a_closed_peer_fails(void **state)
{
    struct stream *a, *b;
    char chunk[1000] = "";

    socket_pair(&a, &b);
    stream_close(b);
    assert_int_equal(stream_write(a, chunk, sizeof(chunk)), -EPIPE);
    stream_close(a);
}

static struct error *read_for_ever(void *arg)
{
    char c;

    return task_error((int)stream_read(arg, &c, 1), "read");
}

static struct error *write_for_ever(void *arg)
{
    char chunk[4096] = "";
    int r;

    do
        r = stream_write_full(arg, chunk, sizeof(chunk));
    while (r == 0);
    return task_error(r, "write");
}

static void check_cancel(struct stream *a, struct stream *b)
{
    struct group g;

    group_open(&g, 0);
    assert_null(group_spawn(&g, "reads", read_for_ever, a));
    assert_null(group_spawn(&g, "writes", write_for_ever, a));
    assert_int_equal(task_sleep(2 * NS_PER_MS), 0);
    group_cancel(&g);
    struct error *e = group_join(&g);

    assert_true(err_is(e, ERR_CANCELLED));
    err_free(e);
    stream_close(a);
    stream_close(b);
}

static void cancelling_wakes_reader_and_writer(void **state)
{
    struct stream *a, *b;

    socket_pair(&a, &b);
    check_cancel(a, b);
    pipe_pair(&a, &b);
    check_cancel(a, b);
    stream_pair(&a, &b, 100);
    check_cancel(a, b);
}

static void cancelled_task_reads_nothing(void **state)
{
    struct scope *s = scope_new(NULL);
    struct stream *m = stream_from_memory("abc", 3);
    char c;

    scope_enter(s);
    scope_cancel(s, NULL);
    assert_int_equal(stream_read(m, &c, 1), -ECANCELED);
    scope_leave(s);
    scope_unref(s);
    assert_int_equal(stream_read(m, &c, 1), 1);
    stream_close(m);
}

static void wrappers(void **state)
{
    CLEANUP(buf_deinit) struct buf all = { 0 };
    struct stream *m = stream_with_head(stream_from_memory("world", 5), "hello ", 6);
    struct stream *part = stream_limited(m, 8);

    assert_int_equal(stream_write(part, "x", 1), -EBADF);
    assert_int_equal(stream_read_all(part, &all, 8), 0);
    assert_string_equal(all.data, "hello wo");
    stream_close(part);
    assert_int_equal(stream_read_all(m, &all, 2), -EFBIG);
    stream_close(m);

    CLEANUP(buf_deinit) struct buf out = { 0 };
    CLEANUP(stream_closep)
    struct stream *sink = stream_to_buf(&out), *source = stream_from_memory("0123456789", 10);
    char five[5];

    assert_int_equal(stream_read_full(source, five, 5), 0);
    assert_int_equal(stream_copy(sink, source), 5);
    assert_string_equal(out.data, "56789");
    assert_int_equal(stream_read_full(source, five, 1), -EPIPE);
    assert_int_equal(stream_write(source, "x", 1), -EBADF);
}

static void dialling(void **state)
{
    char dir[] = "/tmp/minke-stream-XXXXXX";
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct stream *s = NULL;

    assert_non_null(mkdtemp(dir));
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", dir);
    CLEANUP(freep) char *url = xasprintf("unix://%s", address.sun_path);
    CLEANUP(closep) int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct error *e = stream_dial(url, &s);

    assert_true(err_is(e, ERR_NOT_FOUND));
    err_free(e);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_null(stream_dial(url, &s));
    assert_int_equal(stream_write_full(s, "hi", 2), 0);
    stream_close(s);
    unlink(address.sun_path);
    rmdir(dir);
    e = stream_dial("http://x", &s);
    assert_true(err_is(e, ERR_INVALID));
    err_free(e);
    e = stream_dial("tcp://127.0.0.1", &s);
    assert_true(err_is(e, ERR_INVALID));
    err_free(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_carry_both_ways),
        cmocka_unit_test(pipes_carry_both_ways),
        cmocka_unit_test(memory_pair_carries_both_ways),
        cmocka_unit_test(writing_to_a_closed_peer_fails),
        cmocka_unit_test(cancelling_wakes_reader_and_writer),
        cmocka_unit_test(cancelled_task_reads_nothing),
        cmocka_unit_test(wrappers),
        cmocka_unit_test(dialling),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
