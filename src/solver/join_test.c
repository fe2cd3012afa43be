/* SPDX-License-Identifier: Apache-2.0 */
/* join_test.c - equal runs are joined, and cancelled when the last one that waits has gone */
#include "solver/testing.h"

static bool log_has(struct progress *p, const char *text)
{
    struct progress_reader *r = progress_read_open(p);
    const struct progress_event *ev[8];
    bool found = false;
    ssize_t n;

    progress_close(p);
    while ((n = progress_read(r, ev, 8)) > 0)
        for (ssize_t i = 0; i < n; i++)
            found = found || (ev[i]->kind == PROGRESS_LOG &&
                              memmem(ev[i]->log.data, ev[i]->log.len, text, strlen(text)) != NULL);
    progress_read_close(r);
    return found;
}

static void join_two(const char *source_a, const char *source_b)
{
    struct solver *s = new_solver(4, &fake_exec);
    struct solve a = begin_solve(s, two_steps(source_a, "gate")),
                 b = begin_solve(s, two_steps(source_b, "gate"));
    struct group g;

    group_open(&g, 0);
    assert_null(group_spawn(&g, "a", solve_main, &a));
    gate_await(1);
    int before = atomic_load(&runs);
    assert_null(group_spawn(&g, "b", solve_main, &b));
    gate_open();
    assert_null(group_join(&g));
    assert_null(a.error);
    assert_null(b.error);
    assert_string_equal(snapshot_id(a.result), snapshot_id(b.result));
    assert_int_equal(atomic_load(&runs), before);
    assert_true(log_has(job_progress(a.job), "gate"));
    if (streq(source_a, source_b))
        assert_true(log_has(job_progress(b.job), "gate"));
    end_solve(&a);
    end_solve(&b);
    solver_free(s);
}

static void test_join_vertex(void **state)
{
    join_two("base", "base");
}

/* Other vertices, equal keys. */
static void test_join_key(void **state)
{
    join_two("base-1", "base-2");
}

/* The run goes on while anybody waits, and is cancelled when the last one leaves. */
static void test_cancel(void **state)
{
    struct solver *s = new_solver(4, &fake_exec);
    struct solve a = begin_solve(s, two_steps("base-1", "gate")),
                 b = begin_solve(s, two_steps("base-2", "gate"));
    struct group ga, gb;

    group_open(&ga, 0);
    group_open(&gb, 0);
    assert_null(group_spawn(&ga, "a", solve_main, &a));
    gate_await(1);
    assert_null(group_spawn(&gb, "b", solve_main, &b));
    scope_cancel(job_scope(a.job), NULL);
    assert_null(group_join(&ga));
    assert_true(err_is(a.error, ERR_CANCELLED));
    assert_string_equal(a.error->message, "context canceled");
    end_solve(&a);
    gate_await(1);
    scope_cancel(job_scope(b.job), NULL);
    assert_null(group_join(&gb));
    assert_true(err_is(b.error, ERR_CANCELLED));
    end_solve(&b); /* joins the run: were it not cancelled, this would hang */
    solver_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_join_vertex),
        TEST(test_join_key),
        TEST(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
