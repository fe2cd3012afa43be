/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_test.c - exec ops in a real runtime, on overlay roots.  Needs root, busybox and a runtime; skipped
 * (77) without.
 */
#include "op/testing.h"

#include "base/bytes.h"
#include "io/path.h"
#include "run/testing.h"
#include "task/task.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct snapshot *base;
static char exec_root[64];

static int set_up_all(void **state)
{
    struct runner_config c = { .exec_root = exec_root, .userland_network = true };
    struct error *e;

    snprintf(exec_root, sizeof exec_root, "/tmp/minke-opexec-XXXXXX");
    assert_non_null(mkdtemp(exec_root));
    e = runner_new(&c, &config.runner);
    if (e == NULL)
        e = runner_warm_up(config.runner);
    if (e == NULL)
        return 0;
    print_message("skipped: %s\n", e->message);
    exit(77);
}

static int tear_down_all(void **state)
{
    runner_free(config.runner);
    testing_remove(exec_root);
    return 0;
}

static int set_up(void **state)
{
    char path[32];
    struct active *a;

    testing_setup(state);
    assert_null(active_begin(store, NULL, &a));
    fd_path(path, active_fd(a));
    testing_fill_root(path);
    assert_null(active_commit(a, "base", "regular", &base));
    return 0;
}

static int tear_down(void **state)
{
    snapshot_unref(base);
    return testing_teardown(state);
}

static struct llb_state run_with(struct llb_state s, const char *command, const struct llb_run *more,
                                 const char *name)
{
    struct strv *args = llb_alloc(b, sizeof *args);
    struct llb_run r = more == NULL ? (struct llb_run){ 0 } : *more;

    strv_add(args, "/bin/sh");
    strv_add(args, "-c");
    strv_add(args, command);
    r.args = args;
    s = llb_run(b, s, &r, named(name));
    strv_deinit(args);
    return s;
}

static struct llb_state run(struct llb_state s, const char *command, const char *name)
{
    return run_with(s, command, NULL, name);
}

static void test_run(void **state)
{
    for (int i = 0; i < 2; i++) {
        struct llb_state s = run(run(fixed(base), "echo hello; echo oops >&2; echo one > /one", "one"),
                                 "cat /one; echo two > /two", "two");
        struct outcome o = solve_ok(s);

        expect(&o, "/two", "two\n");
        assert_int_equal(snapshot_layer_count(o.result), 3);
        if (i == 0) {
            assert_non_null(strstr(o.output, "hello\n"));
            assert_non_null(strstr(o.output, "oops\n"));
            assert_non_null(strstr(o.output, "one\n"));
        } else {
            assert_string_equal(strstr(o.log, "one:"), "one:CACHED two:CACHED ");
            assert_string_equal(o.output, "");
        }
        outcome_free(&o);
    }
}

static void test_failure(void **state)
{
    struct outcome o = solve(run(fixed(base), "echo \"said\"; exit 3", "fails"));
    const struct error_detail *d;

    assert_string_equal(
        o.error->message,
        "process \"/bin/sh -c echo \\\"said\\\"; exit 3\" did not complete successfully: exit code: 3");
    assert_string_equal(o.error->details[0].type_url, "github.com/moby/buildkit/errdefs.Vertex+json");
    d = err_find_detail(o.error, "gatewayapi.ExitMessage+json");
    assert_non_null(d);
    assert_memory_equal(d->value, "{\"Code\":3}", 10);
    assert_non_null(strstr(o.log, "fails:ERROR"));
    assert_string_equal(o.output, "said\n");
    outcome_free(&o);
}

static void test_mounts(void **state)
{
    struct llb_state in =
        llb_file(b, llb_scratch(), llb_mkdir(b, NULL, "/sub", 0755, false, NULL, NULL), NULL);

    in = mkfile(in, "/sub/f", "input", "in");
    struct llb_mount mounts[] = {
        { .target = "/ro", .source = in, .selector = "/sub", .readonly = true, .no_output = true },
        { .target = "/rw", .source = in, .no_output = true },
        { .target = "/tmp/t", .tmpfs = true, .source = llb_scratch() },
        { .target = "/cache", .cache_id = "c1", .source = llb_scratch() },
    };
    struct llb_run r = { .mounts = mounts, .mount_count = ARRAY_LEN(mounts) };
    struct outcome o = solve_ok(
        run_with(fixed(base),
                 "set -e; cat /ro/f > /seen; ! echo x > /ro/f; echo x > /rw/sub/f; echo x > /tmp/t/f; "
                 "echo kept > /cache/f; test -d /rw/sub",
                 &r, "first"));

    expect(&o, "/seen", "input");
    assert_false(there(&o, "/rw/sub/f"));
    assert_false(there(&o, "/cache/f"));
    outcome_free(&o);
    o = solve_ok(run_with(fixed(base), "cat /cache/f > /seen; cat /rw/sub/f >> /seen", &r, "second"));
    expect(&o, "/seen", "kept\ninput"); /* the cache is kept, what was written to the input is not */
    outcome_free(&o);
}

/* One step may mount one cache twice, whoever else has to keep out. */
static void test_cache_twice(void **state)
{
    struct llb_mount mounts[] = {
        { .target = "/m1",
          .cache_id = "twice",
          .sharing = PB__CACHE_SHARING__LOCKED,
          .source = llb_scratch() },
        { .target = "/m2",
          .cache_id = "twice",
          .sharing = PB__CACHE_SHARING__LOCKED,
          .source = llb_scratch() },
        { .target = "/m3",
          .cache_id = "other",
          .sharing = PB__CACHE_SHARING__LOCKED,
          .source = llb_scratch() },
    };
    struct llb_run r = { .mounts = mounts, .mount_count = ARRAY_LEN(mounts) };
    struct outcome o = solve_ok(
        run_with(fixed(base), "set -e; printf x > /m1/f; cat /m2/f > /seen; ! cat /m3/f", &r, "twice"));

    expect(&o, "/seen", "x");
    outcome_free(&o);
}

static void test_environment(void **state)
{
    struct llb_proxy proxy = { .http = "http://proxy:1" };
    struct llb_run r = { .proxy = &proxy };
    struct llb_state s = llb_dir(b, llb_add_env(b, fixed(base), "A", "x y"), "/etc");
    struct outcome o = solve_ok(run_with(s, "echo \"$A $PATH $http_proxy $PWD\" > /seen", &r, "env"));

    expect(&o, "/seen",
           "x y /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin http://proxy:1 /etc\n");
    outcome_free(&o);
    proxy.http = "http://other:1";
    o = solve_ok(run_with(s, "echo \"$A $PATH $http_proxy $PWD\" > /seen", &r, "env"));
    assert_non_null(strstr(o.log, "env:CACHED")); /* a proxy is not part of the key */
    outcome_free(&o);
}

struct cancelled {
    struct job *job;
    struct ref *ref;
    struct error *error;
};

static struct error *solve_in_job(void *arg)
{
    struct cancelled *c = arg;
    struct snapshot *s = NULL;

    scope_enter(job_scope(c->job));
    c->error = ref_result(c->ref, &s);
    scope_leave(job_scope(c->job));
    return NULL;
}

/* Cancelling ends the step within a second and leaves nothing. */
static void test_cancel(void **state)
{
    struct job_options o = { .ref = "cancelled" };
    struct progress_reader *r;
    const struct progress_event *ev[1];
    struct cancelled c = { 0 };
    struct llb_def *def;
    struct group g;
    bool started = false;

    assert_null(llb_marshal(b, run(fixed(base), "echo started; exec sleep 1234", "sleep"), NULL, &def));
    assert_null(job_open(solver, &o, &c.job));
    assert_null(job_ref(c.job, def, &c.ref));
    group_open(&g, 0);
    assert_null(group_spawn(&g, "solve", solve_in_job, &c));
    r = progress_read_open(job_progress(c.job));
    while (!started && progress_read(r, ev, 1) == 1)
        started = ev[0]->kind == PROGRESS_LOG;
    progress_read_close(r);
    assert_true(started);
    scope_cancel(job_scope(c.job), NULL);
    assert_null(group_join(&g));
    assert_true(err_is(c.error, ERR_CANCELLED));
    err_free(c.error);
    job_close(c.job);
    assert_int_equal(testing_count_processes("1234"), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_run),         TEST(test_failure),     TEST(test_mounts),
        TEST(test_cache_twice), TEST(test_environment), TEST(test_cancel),
    };

    testing_need_root("/bin/busybox");
    if (unshare(CLONE_NEWNET) < 0)
        testing_skip("no network namespace of our own");
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
