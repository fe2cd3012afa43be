/* SPDX-License-Identifier: Apache-2.0 */
/* layers_test.c - which digests of layers are made while the build goes on */
#include "solver/testing.h"

/* Of a result: the layers from its step down through the bases; not those of what was only read. */
static void test_layer_digests(void **state)
{
    struct solver *s = new_solver(2, &fake_exec);
    struct maker m = { 0 };
    size_t base = add_exec(&m, "base", NULL, 0), other = add_exec(&m, "other", NULL, 0);
    size_t in[] = { base, other };
    size_t mid = add_exec(&m, "mid", in, 2);

    add_exec(&m, "top", &mid, 1);
    free(solve_now(s, make_def(&m)));
    solver_free(s); /* what was hashed beside has ended */
    struct digest unread = digest_of("other@", strlen("other@"));

    assert_false(strv_has(&digests.asked, unread.s));
    assert_in_range(digests.asked.len, 1, 3); /* the job ends when nobody needs the lower ones */
}

/* The layer below is hashed beside the step above; when the job goes, it is not waited for. */
static void test_digests_beside(void **state)
{
    struct solver *s = new_solver(2, &fake_exec);
    struct maker m = { 0 };
    size_t at = add_exec(&m, "base", NULL, 0);
    struct group g;

    add_exec(&m, "gate-top", &at, 1);
    struct solve v = begin_solve(s, make_def(&m));

    digests.closed = true;
    group_open(&g, 0);
    assert_null(group_spawn(&g, "solve", solve_main, &v));
    gate_await(1);
    await_digests(&digests.asked, 1);
    gate_open();
    await_digests(&digests.asked, 2); /* its own: in the step */
    mutex_lock(&digests.lock);
    assert_int_equal(digests.made.len, 0);
    mutex_unlock(&digests.lock);
    scope_cancel(job_scope(v.job), NULL);
    assert_null(group_join(&g));
    assert_true(err_is(v.error, ERR_CANCELLED));
    end_solve(&v);
    solver_free(s);
    assert_int_equal(digests.made.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_layer_digests),
        TEST(test_digests_beside),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
