/* SPDX-License-Identifier: Apache-2.0 */
/* solver_test.c - keys, results, failures, and many jobs at once */
#include "solver/testing.h"

static void test_cache(void **state)
{
    struct solver *s = new_solver(2, &fake_exec);
    char *a = solve_now(s, chain(10));

    assert_int_equal(atomic_load(&runs), 11);
    char *b = solve_now(s, chain(10));
    assert_int_equal(atomic_load(&runs), 11);
    assert_string_equal(a, b);
    char *c = solve_now(s, chain(12));
    assert_int_equal(atomic_load(&runs), 13);
    free(a);
    free(b);
    free(c);
    solver_free(s);
}

/* Stacks are small: neither solving nor failing nor closing may recurse along a chain. */
static void test_deep(void **state)
{
    struct solver *s = new_solver(2, &fake_exec);
    struct maker m = { 0 };
    size_t at = add_exec(&m, "fail", NULL, 0);

    free(solve_now(s, chain(5000)));
    atomic_store(&runs, 0);
    free(solve_now(s, chain(5000)));
    assert_int_equal(atomic_load(&runs), 0);
    for (size_t i = 0; i < 19000; i++) {
        CLEANUP(freep) char *name = xasprintf("x%zu", i);

        at = add_exec(&m, name, &at, 1);
    }
    struct solve v = begin_solve(s, make_def(&m));
    solve_main(&v);
    assert_string_equal(v.error->message, "fail did not work");
    end_solve(&v);
    solver_free(s);
}

static void test_failure(void **state)
{
    struct solver *s = new_solver(4, &fake_exec);
    struct solve a = begin_solve(s, two_steps("base", "fail")), b;

    solve_main(&a);
    assert_int_equal(a.error->kind, ERR_UNKNOWN);
    assert_string_equal(a.error->message, "fail did not work");
    const struct error_detail *d = err_find_detail(a.error, "errdefs.Vertex+json");
    assert_non_null(d);
    assert_memory_equal(d->value, "{\"digest\":\"sha256:", 18);
    int before = atomic_load(&runs);
    err_free(TAKE(a.error));
    solve_main(&a); /* the same job: remembered */
    assert_non_null(a.error);
    assert_int_equal(atomic_load(&runs), before);
    b = begin_solve(s, two_steps("base", "fail"));
    solve_main(&b); /* another: tried again */
    assert_non_null(b.error);
    assert_int_equal(atomic_load(&runs), before + 1);
    end_solve(&a);
    end_solve(&b);
    solver_free(s);
}

static struct llb_def *diamond(void)
{
    struct maker m = { 0 };
    size_t base = add_source(&m, "base"), other = add_source(&m, "other");
    size_t sides[] = { add_exec(&m, "left", &base, 1), add_exec(&m, "right", &other, 1) };

    add_exec(&m, "join", sides, 2);
    return make_def(&m);
}

/* Whatever fails below: the build fails with it or goes on without it, nothing is kept, and the next build
 * works. */
static void test_each_call_fails_once(void **state)
{
    struct solver *s = new_solver(2, &fake_exec);
    CLEANUP(freep) char *right = solve_now(s, diamond());
    unsigned n = 0;

    for (bool failed = true; failed;) {
        forget_records();
        atomic_store(&calls_left, ++n);
        struct solve v = begin_solve(s, diamond());

        solve_main(&v);
        failed = atomic_exchange(&calls_left, 0) == 0;
        assert_int_equal(v.error == NULL, v.result != NULL);
        if (v.error != NULL)
            assert_non_null(strstr(v.error->message, "no space left on device"));
        else
            assert_string_equal(snapshot_id(v.result), right);
        end_solve(&v);
        CLEANUP(freep) char *again = solve_now(s, diamond());

        assert_string_equal(again, right);
    }
    assert_true(n > 10);
    solver_free(s);
}

static void test_ignore_cache(void **state)
{
    struct solver *s = new_solver(2, &fake_exec);

    for (int i = 0; i < 2; i++) {
        struct maker m = { 0 };
        size_t at = add_source(&m, "base");

        at = add_op(&m, exec_op(&m, "again", &at, 1), true);
        add_exec(&m, "after", &at, 1);
        free(solve_now(s, make_def(&m)));
    }
    assert_int_equal(atomic_load(&runs), 3 + 1);
    solver_free(s);
}

static void test_multi_output(void **state)
{
    struct solver *s = new_solver(2, &fake_exec);

    for (int i = 0; i < 2; i++) {
        struct maker m = { 0 };
        Pb__Op *op = exec_op(&m, "many", NULL, 0);

        op->exec->mounts[0]->output = 2;
        size_t at = add_op(&m, op, false);
        op = exec_op(&m, "user", &at, 1);
        op->inputs[0]->index = 2;
        add_op(&m, op, false);
        free(solve_now(s, make_def(&m)));
    }
    assert_int_equal(atomic_load(&runs), 2);
    assert_int_equal(records.len, 3 + 1);
    struct maker m = { 0 };
    size_t at = add_exec(&m, "one", NULL, 0);
    Pb__Op *op = exec_op(&m, "user", &at, 1);
    op->inputs[0]->index = 7;
    add_op(&m, op, false);
    struct solve v = begin_solve(s, make_def(&m));
    solve_main(&v);
    assert_true(err_is(v.error, ERR_UNKNOWN));
    end_solve(&v);
    solver_free(s);
}

/* The input's id changed, what is read of it did not. */
static void test_content_key(void **state)
{
    struct solver *s = new_solver(2, &reading_exec);
    struct sync_entry e1[] = { { .path = (char *)"d", .mode = (1U << 31) | 0755 },
                               { .path = (char *)"d/a", .mode = 0644, .content = { 1 } },
                               { .path = (char *)"other", .mode = 0644, .content = { 2 } } };
    struct sync_entry e2[3];
    struct sync_index x1 = { e1, 3, 3 }, x2 = { e2, 3, 3 };

    memcpy(e2, e1, sizeof e1);
    e2[2].content[0] = 3;
    content_index_add(s, "one", &x1);
    content_index_add(s, "two", &x2);
    for (int i = 0; i < 4; i++) {
        struct maker m = { 0 };
        size_t at = add_source(&m, i % 2 ? "two" : "one");
        Pb__Op *op = exec_op(&m, "read", &at, 1);

        op->exec->meta->cwd = pb_str(&m.arena, "/d");
        add_op(&m, op, false);
        free(solve_now(s, make_def(&m)));
    }
    assert_int_equal(atomic_load(&runs), 2 + 1);
    struct maker m = { 0 };
    size_t at = add_source(&m, "one");
    Pb__Op *op = exec_op(&m, "read", &at, 1);
    op->exec->meta->cwd = pb_str(&m.arena, "/gone");
    add_op(&m, op, false);
    struct solve v = begin_solve(s, make_def(&m));
    solve_main(&v);
    assert_string_equal(
        v.error->message,
        "failed to compute cache key: failed to calculate checksum of ref one: \"/gone\": not found");
    end_solve(&v);
    content_index_remove(s, "one", &x1);
    content_index_remove(s, "two", &x2);
    solver_free(s);
}

/* Many jobs over few vertices, some cancelled at any moment: everybody gets the right answer or a
 * cancellation, nothing is left. */
static struct llb_def *random_def(unsigned seed)
{
    struct maker m = { 0 };
    unsigned r = seed * 2654435761U + 12345;
    size_t at[12], n = 4 + seed % 9;

    at[0] = add_source(&m, seed % 2 ? "base-1" : "base-2");
    for (size_t i = 1; i < n; i++) {
        size_t in[3];
        size_t count = 1 + (r >> 8) % 3;
        CLEANUP(freep) char *name = xasprintf(i % 3 == 0 ? "nap%zu" : "op%zu", (i * 7) % 5);

        for (size_t k = 0; k < count; k++) {
            r = r * 1103515245U + 12345;
            in[k] = at[(r >> 16) % i];
        }
        at[i] = add_exec(&m, name, in, count);
    }
    return make_def(&m);
}

struct storm {
    struct solver *s;
    unsigned seed;
};

static struct error *storm_main(void *arg)
{
    struct storm *st = arg;

    for (unsigned i = 0; i < 40; i++) {
        struct solve v = begin_solve(st->s, random_def((st->seed + i * 3) % 23));
        struct deadline d;
        bool hurry = (st->seed + i) % 3 == 0;

        if (hurry)
            deadline_begin(&d, (int64_t)((st->seed * 7 + i) % 5) * NS_PER_MS);
        v.error = ref_result(v.ref, &v.result);
        if (hurry)
            deadline_end(&d);
        if (v.error != NULL && !(hurry && v.error->kind == ERR_DEADLINE))
            return err_wrap(v.error, "storm");
        end_solve(&v);
    }
    return NULL;
}

static void test_storm(void **state)
{
    struct solver *s = new_solver(3, &fake_exec);
    struct storm st[12];
    struct group g;

    group_open(&g, 0);
    for (unsigned i = 0; i < ARRAY_LEN(st); i++) {
        st[i] = (struct storm){ s, i };
        assert_null(group_spawn(&g, "storm", storm_main, &st[i]));
    }
    struct error *e = group_join(&g);
    if (e != NULL)
        fail_msg("%s", e->message);
    solver_free(s);
}

static void test_refused(void **state)
{
    struct solver *s = new_solver(2, &fake_exec);
    struct job *j = open_job(s), *k;
    struct job_options o = { .ref = "twice" };
    struct maker m = { 0 };
    struct ref *r;

    assert_null(job_open(s, &o, &k));
    struct job *again;
    struct error *e = job_open(s, &o, &again);
    assert_true(err_is(e, ERR_EXISTS));
    assert_string_equal(e->message, "job ID twice exists");
    err_free(e);
    Pb__Op *op = exec_op(&m, "x", NULL, 0);
    op->exec->network = PB__NET_MODE__HOST;
    add_op(&m, op, false);
    struct llb_def *def = make_def(&m);
    e = job_ref(j, def, &r);
    assert_string_equal(e->message, "failed to load LLB: network.host is not allowed");
    err_free(e);
    llb_def_unref(def);
    job_close(j);
    job_close(k);
    solver_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cache),       TEST(test_deep),         TEST(test_each_call_fails_once),
        TEST(test_failure),     TEST(test_ignore_cache), TEST(test_multi_output),
        TEST(test_content_key), TEST(test_storm),        TEST(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
