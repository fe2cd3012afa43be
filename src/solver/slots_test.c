/* SPDX-License-Identifier: Apache-2.0 */
/* slots_test.c - how many steps run at once, and whose */
#include "solver/testing.h"

#include <sched.h>

static void test_parallelism(void **state)
{
    struct solver *s = new_solver(3, &fake_exec);
    struct maker m = { 0 };
    size_t at[20];

    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        CLEANUP(freep) char *name = xasprintf("nap%zu", i);

        at[i] = add_exec(&m, name, NULL, 0);
    }
    add_exec(&m, "end", at, ARRAY_LEN(at));
    free(solve_now(s, make_def(&m)));
    assert_in_range(gate.most, 2, 3);
    solver_free(s);
}

static size_t count_queued(struct solver *s)
{
    size_t n = 0;

    mutex_lock(&s->lock);
    for (size_t i = 0; i < s->nodes.len; i++)
        n += ((struct node *)s->nodes.entries[i].value)->state == NODE_QUEUED;
    mutex_unlock(&s->lock);
    return n;
}

static struct llb_def *fan(const char *name, size_t n)
{
    struct maker m = { 0 };
    CLEANUP(freep) size_t *at = xcalloc(n, sizeof *at);
    CLEANUP(freep) char *end = xasprintf("%s-end", name);

    for (size_t i = 0; i < n; i++) {
        CLEANUP(freep) char *one = xasprintf("%s%zu", name, i);

        at[i] = add_exec(&m, one, NULL, 0);
    }
    add_exec(&m, end, at, n);
    return make_def(&m);
}

/* One slot: a build of many steps, then one of two, whose steps do not come last. */
static void test_fairness(void **state)
{
    struct solver *s = new_solver(1, &fake_exec);
    struct solve big = begin_solve(s, fan("gate-big", 9)), small = begin_solve(s, fan("small", 2));
    struct group g;

    group_open(&g, 0);
    assert_null(group_spawn(&g, "big", solve_main, &big));
    gate_await(1);
    while (count_queued(s) < 8)
        sched_yield();
    assert_null(group_spawn(&g, "small", solve_main, &small));
    while (count_queued(s) < 8 + 2)
        sched_yield();
    gate_open();
    assert_null(group_join(&g));
    assert_null(big.error);
    assert_null(small.error);
    assert_int_equal(gate.order.len, 10 + 3);
    for (size_t i = 6; i < gate.order.len; i++)
        assert_false(streq(gate.order.v[i], "small0") || streq(gate.order.v[i], "small1"));
    end_solve(&big);
    end_solve(&small);
    solver_free(s);
}

/* Two builds wait for one step, in the lane of the first, which goes. */
static void test_lane_of_another(void **state)
{
    struct solver *s = new_solver(1, &fake_exec);
    struct solve hog = begin_solve(s, fan("gate-hog", 1)), first = begin_solve(s, fan("shared", 2)),
                 second = begin_solve(s, fan("shared", 2));
    struct group g, leaving;

    group_open(&g, 0);
    group_open(&leaving, 0);
    assert_null(group_spawn(&g, "hog", solve_main, &hog));
    gate_await(1);
    assert_null(group_spawn(&leaving, "first", solve_main, &first));
    while (count_queued(s) < 2)
        sched_yield();
    assert_null(group_spawn(&g, "second", solve_main, &second));
    for (bool both = false; !both; sched_yield()) {
        mutex_lock(&s->lock);
        both = second.job->nodes.len == 3;
        mutex_unlock(&s->lock);
    }
    scope_cancel(job_scope(first.job), NULL);
    assert_null(group_join(&leaving));
    assert_true(err_is(first.error, ERR_CANCELLED));
    end_solve(&first);
    assert_int_equal(count_queued(s), 2);
    gate_open();
    assert_null(group_join(&g));
    assert_null(second.error);
    end_solve(&hog);
    end_solve(&second);
    solver_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_parallelism),
        TEST(test_fairness),
        TEST(test_lane_of_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
