/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "solver/progress.h"
#include "task/task.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Everything a closed log holds, as short text: one token an event. */
static char *dump(struct progress *p)
{
    struct progress_reader *r = progress_read_open(p);
    const struct progress_event *ev[3];
    struct buf b = { 0 };
    ssize_t n;

    while ((n = progress_read(r, ev, 3)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            const struct progress_event *e = ev[i];

            if (e->kind == PROGRESS_VERTEX)
                buf_addf(&b, "%s%s%s%s%s%s ", e->v.name, e->v.started_ns ? "+" : "",
                         e->v.completed_ns ? "-" : "", e->v.cached ? "C" : "", e->v.error ? "!" : "",
                         e->v.error ? e->v.error : "");
            else if (e->kind == PROGRESS_STATUS)
                buf_addf(&b, "[%s %lld%s] ", e->status.id, (long long)e->status.current,
                         e->status.completed_ns ? "." : "");
            else if (e->kind == PROGRESS_LOG)
                buf_addf(&b, "log%d:%.*s ", e->log.stream, (int)MIN(e->log.len, (size_t)20),
                         (const char *)e->log.data);
            else
                buf_addf(&b, "warn:%s ", e->warning.short_text);
        }
    }
    assert_int_equal(n, 0);
    progress_read_close(r);
    return buf_take(&b);
}

static void test_story(void **state)
{
    struct progress *p = progress_new();
    struct vertex_reporter *r = reporter_new(p, NULL, "a");
    struct progress_event w = { .kind = PROGRESS_WARNING, .warning = { .short_text = "hm" } };

    reporter_start(r);
    reporter_status(r, "row", "doing", 1, 2, false);
    reporter_status(r, "row", "doing", 2, 2, false); /* too soon: dropped */
    reporter_log(r, 1, "hello", 5);
    reporter_warn(r, &w);
    reporter_complete(r, NULL);
    reporter_free(r);
    progress_close(p);
    progress_close(p);
    char *s = dump(p);
    assert_string_equal(s, "a a+ [row 1] log1:hello warn:hm [row 1.] a+- ");
    struct progress_counts c = progress_count(p);
    assert_int_equal(c.total, 1);
    assert_int_equal(c.completed, 1);
    assert_int_equal(c.warnings, 1);
    free(s);
    progress_unref(p);
}

/* A job that ends completes what runs; what is open is closed first. */
static void test_close(void **state)
{
    struct progress *p = progress_new();
    struct vertex_reporter *r = reporter_new(p, NULL, "a"), *q = reporter_new(p, NULL, "never");

    reporter_start(r);
    reporter_status(r, "row", "doing", 1, 0, false);
    progress_close(p);
    reporter_complete(r, NULL);
    char *s = dump(p);
    assert_string_equal(s, "a never a+ [row 1] [row 1.] a+-!context canceled ");
    free(s);
    reporter_free(r);
    reporter_free(q);
    progress_unref(p);
}

/* A chain whose last member starts: all inputs were cached, deepest first.  Long enough to overflow a
 * recursion. */
static void test_inputs_cached(void **state)
{
    enum { N = 20000 };
    struct llb_meta meta = { 0 };
    struct llb_vertex *v = xcalloc(N, sizeof *v);
    struct llb_edge *edges = xcalloc(N, sizeof *edges);
    struct vertex_reporter **r = xcalloc(N, sizeof *r);
    struct progress *p = progress_new();

    for (size_t i = 0; i < N; i++) {
        v[i].digest = digest_of(&i, sizeof i);
        v[i].name = xasprintf("v%zu", i);
        v[i].meta = &meta;
        if (i > 0) {
            edges[i].vertex = &v[i - 1];
            v[i].inputs = &edges[i];
            v[i].input_count = 1;
        }
        r[i] = reporter_for_vertex(p, &v[i]);
    }
    reporter_start(r[N - 1]);
    reporter_complete(r[N - 1], NULL);
    progress_close(p);
    assert_int_equal(progress_count(p).cached, N - 1);
    assert_int_equal(progress_count(p).completed, N);
    char *s = dump(p);
    assert_non_null(strstr(s, "v0+-C v1+-C v2+-C "));
    assert_non_null(strstr(s, "v19998+-C v19999+ v19999+- "));
    free(s);
    for (size_t i = 0; i < N; i++) {
        reporter_free(r[i]);
        free(v[i].name);
    }
    progress_unref(p);
    free(v);
    free(edges);
    free(r);
}

static void test_replay(void **state)
{
    struct progress *p = progress_new(), *late = progress_new();
    struct vertex_reporter *r = reporter_new(p, NULL, "a");

    reporter_start(r);
    reporter_log(r, 2, "x", 1);
    reporter_add(r, late);
    reporter_add(r, late);
    struct error *e = err_new(ERR_UNKNOWN, "broken");
    reporter_complete(r, e);
    err_free(e);
    progress_close(p);
    progress_close(late);
    char *a = dump(p), *b = dump(late);
    assert_string_equal(a, "a a+ log2:x a+-!broken ");
    assert_string_equal(a, b);
    free(a);
    free(b);
    reporter_free(r);
    progress_unref(p);
    progress_unref(late);
}

static void test_clip(void **state)
{
    char dir[] = "/tmp/minke-steplog-XXXXXX";
    struct progress *p = progress_new();
    struct vertex_reporter *r = reporter_new(p, NULL, "a");
    struct progress_reader *reader = progress_read_open(p);
    const struct progress_event *ev[64];
    size_t shown = 0, notices = 0;
    char *chunk = xmalloc(MIB);
    ssize_t n;

    assert_non_null(mkdtemp(dir));
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    reporter_keep_log(r, fd);
    memset(chunk, 'x', MIB);
    reporter_start(r);
    reporter_log(r, 1, "first", 5);
    for (int i = 0; i < 4; i++)
        reporter_log(r, 1, chunk, MIB);
    struct error *e = err_new(ERR_UNKNOWN, "broken");
    reporter_complete(r, e); /* shows the tail */
    err_free(e);
    progress_close(p);
    while ((n = progress_read(reader, ev, 64)) > 0)
        for (ssize_t i = 0; i < n; i++)
            if (ev[i]->kind == PROGRESS_LOG) {
                shown += ev[i]->log.len;
                notices += memmem(ev[i]->log.data, ev[i]->log.len,
                                  "\n[output clipped, log limit 200KiB/s reached]\n", 46) != NULL;
            }
    assert_int_equal(notices, 1);
    assert_int_equal(shown, 200 * KIB + 46 + 256 * KIB);
    reporter_free(r);
    progress_read_close(reader);
    progress_unref(p);

    DIR *d = fdopendir(dup(fd));
    for (struct dirent *de; (de = readdir(d)) != NULL;) {
        struct stat st;

        if (de->d_name[0] == '.')
            continue;
        assert_int_equal(fstatat(fd, de->d_name, &st, 0), 0);
        assert_int_equal(st.st_size, 4 * MIB + 5);
        unlinkat(fd, de->d_name, 0);
        shown = 0;
    }
    assert_int_equal(shown, 0);
    closedir(d);
    close(fd);
    rmdir(dir);
    free(chunk);
}

/* Many reporters and readers at once: every reader sees every event, in one order. */
enum { WRITERS = 4, EACH = 500 };

static struct error *write_many(void *arg)
{
    for (int i = 0; i < EACH; i++)
        reporter_log(arg, 1, "x", 1);
    return NULL;
}

static struct error *read_all(void *arg)
{
    struct progress_reader *r = progress_read_open(arg);
    const struct progress_event *ev[7];
    size_t total = 0;
    ssize_t n;

    while ((n = progress_read(r, ev, 7)) > 0)
        total += (size_t)n;
    progress_read_close(r);
    return n == 0 && total == WRITERS * EACH + 1 ? NULL : err_new(ERR_INTERNAL, "read %zu", total);
}

static void test_threads(void **state)
{
    struct progress *p = progress_new();
    struct vertex_reporter *r = reporter_new(p, NULL, "a");
    struct group readers, writers;

    group_open(&readers, 0);
    group_open(&writers, 0);
    for (int i = 0; i < 3; i++)
        assert_null(group_spawn(&readers, "read", read_all, p));
    for (int i = 0; i < WRITERS; i++)
        assert_null(group_spawn(&writers, "write", write_many, r));
    assert_null(group_join(&writers));
    progress_close(p);
    assert_null(group_join(&readers));
    reporter_free(r);
    progress_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_story),  cmocka_unit_test(test_close), cmocka_unit_test(test_inputs_cached),
        cmocka_unit_test(test_replay), cmocka_unit_test(test_clip),  cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
