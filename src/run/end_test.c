/* SPDX-License-Identifier: Apache-2.0 */
/* end_test.c - how steps end that nobody waits for */
#include "run/trial.h"

#include "base/bytes.h"
#include "io/path.h"
#include "io/spawn.h"
#include "run/strays.h"
#include "task/task.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

struct cancel_args {
    struct scope *scope;
    struct run_spec *spec;
    struct trial_outcome *outcome;
};

static struct error *run_cancelled(void *arg)
{
    struct cancel_args *a = arg;

    a->outcome->error = runner_run(trial.runner, a->spec, &a->outcome->code);
    return NULL;
}

static void test_cancel_kills_the_tree(void **state)
{
    /* The step says when it is there, so that nothing is timed but the kill. */
    const char *const args[] = { "/bin/sh", "-c",
                                 "(setsid sleep 54321 &) ; touch /ready; trap '' TERM INT; sleep 54321",
                                 NULL };
    struct trial_outcome o = { 0 };
    struct group g;
    struct trial_root r;
    CLEANUP(freep) char *ready = NULL;

    trial_root_new(&r);
    ready = path_join(r.path, "ready");
    struct run_spec s = trial_spec(&r, args);
    group_open(&g, 0);
    struct scope *scope = scope_new(g.scope);
    struct cancel_args a = { scope, &s, &o };
    assert_null(group_spawn_scope(&g, "run", scope, run_cancelled, &a));
    while (access(ready, F_OK) != 0)
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    int64_t begin = monotonic_ns();
    scope_cancel(scope, NULL);
    assert_null(group_join(&g));
    int64_t took = monotonic_ns() - begin;
    print_message("cancelled in %lld ms\n", (long long)(took / NS_PER_MS));
    assert_true(err_is(o.error, ERR_CANCELLED));
    assert_int_equal(testing_count_processes("54321"), 0);
    assert_true(took < NS_PER_SEC);
    trial_outcome_deinit(&o);
    scope_unref(scope);
    trial_root_drop(&r);
}

/* Somebody kills the runtime under its running container (the kernel, for memory): the container must not
 * stay. */
static void test_killed_runtime(void **state)
{
    const char *const args[] = { "/bin/sh", "-c", "touch /ready; exec sleep 54322", NULL };
    struct trial_outcome o = { 0 };
    struct group g;
    struct trial_root r;

    trial_root_new(&r);
    CLEANUP(freep) char *ready = path_join(r.path, "ready");
    struct run_spec s = trial_spec(&r, args);
    struct cancel_args a = { NULL, &s, &o };
    group_open(&g, 0);
    assert_null(group_spawn(&g, "run", run_cancelled, &a));
    while (access(ready, F_OK) != 0 || testing_count_processes("54322") == 0)
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    assert_true(testing_kill_parent_of("54322"));
    assert_null(group_join(&g));
    assert_null(o.error);
    assert_int_equal(o.code, 128 + SIGKILL);
    assert_int_equal(testing_count_processes("54322"), 0);
    trial_outcome_deinit(&o);
    trial_root_drop(&r);
}

/* A grandchild whose parent goes becomes ours; when it ends nobody waits for it. */
static void test_strays(void **state)
{
    static const char *const argv[] = { "/bin/busybox", "sh", "-c", "(exec /bin/busybox sleep 0.01) & exit 0",
                                        NULL };
    struct spawn_options o = { .argv = argv, .netns_fd = -1 };
    int status;

    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    assert_null(spawn_run(&o, NULL, NULL, NULL, 0, &status));
    size_t reaped = 0;
    for (int i = 0; i < 5000 && reaped == 0; i++) {
        assert_int_equal(strays_reap(INT64_MAX), 0); /* too young */
        reaped = strays_reap(0);
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    }
    assert_int_equal(reaped, 1);
}

int main(void)
{
    trial_need();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancel_kills_the_tree),
        cmocka_unit_test(test_killed_runtime),
        cmocka_unit_test(test_strays),
    };
    return cmocka_run_group_tests(tests, trial_set_up, trial_tear_down);
}
