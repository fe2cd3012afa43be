/* SPDX-License-Identifier: Apache-2.0 */
/* remote_test.c - steps that a cache from elsewhere knows, and the records of a solved ref */
#include "solver/testing.h"

static atomic_int loads, load_fails;

static struct error *fake_load(void *ctx, struct op_context *c, const struct cache_result *r,
                               struct snapshot **ret)
{
    atomic_fetch_add(&loads, 1);
    if (atomic_load(&load_fails))
        return err_new(ERR_NOT_FOUND, "the layers are gone");
    *ret = snapshot_named("fetched");
    return NULL;
}

static const struct remote_cache_ops fake_cache = { .load = fake_load };

/* The records of what a solver makes of `def` (taken), the newest with a result, as a cache.  Here all of it
 * is forgotten. */
static struct remote_cache *cache_of(struct llb_def *def)
{
    struct solver *s = new_solver(2, &fake_exec);
    struct solve v = begin_solve(s, def);
    struct cache_steps steps = { 0 };
    struct digest blob = digest_of("x", 1);
    struct remote_cache *c;
    size_t head;

    solve_main(&v);
    assert_null(v.error);
    assert_null(ref_cache_steps(v.ref, &steps, &head));
    assert_int_equal(head, steps.config.record_count - 1);
    cache_record_add_result(&steps.config.records[head], cache_config_add_layer(&steps.config, &blob, -1), 0);
    for (size_t i = 0; i < steps.config.record_count; i++)
        snapshot_unref(TAKE(steps.results[i].snapshot));
    c = remote_cache_new("test", &steps.config, &fake_cache, NULL);
    cache_steps_deinit(&steps);
    end_solve(&v);
    solver_free(s);
    forget_records();
    atomic_store(&runs, 0);
    atomic_store(&loads, 0);
    return c;
}

static struct solve begin_with(struct solver *s, struct remote_cache *c, struct llb_def *def)
{
    struct solve v = { .s = s, .job = open_job(s) };

    job_add_cache(v.job, remote_cache_ref(c));
    assert_null(job_ref(v.job, def, &v.ref));
    return v;
}

/* In a solver that knows nothing, with the cache; its reference is taken. */
static char *solve_with(struct remote_cache *c, struct llb_def *def)
{
    struct solver *s = new_solver(2, &fake_exec);
    struct solve v = begin_with(s, c, def);
    char *id;

    assert_null(ref_find(v.ref));
    assert_int_equal(atomic_load(&runs) + atomic_load(&loads), 0); /* known, and nobody needs it yet */
    solve_main(&v);
    assert_null(v.error);
    id = xstrdup(snapshot_id(v.result));
    end_solve(&v);
    remote_cache_unref(c);
    solver_free(s);
    return id;
}

static void test_remote(void **state)
{
    CLEANUP(freep) char *id = solve_with(cache_of(chain(10)), chain(10));

    assert_string_equal(id, "fetched");
    assert_int_equal(atomic_load(&loads), 1);
    assert_int_equal(atomic_load(&runs), 0); /* no step, not even the base */
}

/* Layers that are gone: everything is made. */
static void test_remote_lost(void **state)
{
    struct remote_cache *c = cache_of(chain(10));

    atomic_store(&load_fails, 1);
    CLEANUP(freep) char *id = solve_with(c, chain(10));

    atomic_store(&load_fails, 0);
    assert_string_not_equal(id, "fetched");
    assert_int_equal(atomic_load(&runs), 11);
}

/* A step above what the cache knows needs the fetched result and runs; the chain is far longer than a stack.
 */
static void test_remote_above(void **state)
{
    struct remote_cache *c = cache_of(chain(5000));
    struct solver *s = new_solver(2, &fake_exec);
    struct solve v = begin_with(s, c, chain(5001));

    solve_main(&v);
    assert_null(v.error);
    assert_int_equal(atomic_load(&loads), 1);
    assert_int_equal(atomic_load(&runs), 1);
    end_solve(&v);
    remote_cache_unref(c);
    solver_free(s);
}

/* Of a cache that has only the layers of the whole: `whole`, or what it stands on. */
static struct llb_def *gated(bool whole)
{
    struct maker m = { 0 };
    size_t at = add_source(&m, "gate-1");

    at = add_exec(&m, "below", &at, 1);
    if (whole)
        add_exec(&m, "top", &at, 1);
    return make_def(&m);
}

/* The gate is closed again. */
static struct remote_cache *gated_cache(void)
{
    struct remote_cache *c;

    gate_open();
    c = cache_of(gated(true));
    gate.open = 0;
    return c;
}

/* Run into the gate, and be cancelled there. */
static void solve_and_cancel(struct solver *s, struct remote_cache *c)
{
    struct solve v = begin_with(s, c, gated(false));
    struct group g;
    int before = gate.entered;

    group_open(&g, 0);
    assert_null(group_spawn(&g, "solve", solve_main, &v));
    gate_await(before + 1);
    scope_cancel(job_scope(v.job), NULL);
    assert_null(group_join(&g));
    assert_true(err_is(v.error, ERR_CANCELLED));
    end_solve(&v);
}

static void assert_same_records(const struct cache_steps *s, const struct cache_config *c)
{
    assert_int_equal(s->config.record_count, c->record_count);
    for (size_t i = 0; i < c->record_count; i++)
        assert_string_equal(s->config.records[i].digest.s, c->records[i].digest.s);
}

/* A build that needed what another was only promised is cancelled: the steps of the other are what they were,
 * and nothing is made for them. */
static void test_steps_after_cancel(void **state)
{
    struct remote_cache *c = gated_cache();
    struct solver *s = new_solver(2, &fake_exec);
    struct solve v = begin_with(s, c, gated(true));
    struct cache_steps steps = { 0 };
    size_t head;

    assert_null(ref_find(v.ref));
    solve_and_cancel(s, c);
    atomic_store(&runs, 0);
    assert_null(ref_cache_steps(v.ref, &steps, &head));
    assert_int_equal(atomic_load(&runs), 0);
    assert_same_records(&steps, remote_cache_config(c));
    cache_steps_deinit(&steps);
    end_solve(&v);
    remote_cache_unref(c);
    solver_free(s);
}

static struct error *cancel_often(void *arg)
{
    struct solve *v = arg;

    for (int i = 0; i < 40; i++) {
        struct solve other = begin_with(v->s, v->job->caches.v[0], gated(false));
        struct deadline d;

        deadline_begin(&d, i % 3 * NS_PER_MS);
        other.error = ref_result(other.ref, &other.result);
        deadline_end(&d);
        if (!err_is(other.error, ERR_DEADLINE))
            return err_new(ERR_UNKNOWN, "it came through a closed gate");
        end_solve(&other);
    }
    return NULL;
}

/* The same while the other build works: each time it sees whole steps. */
static void test_steps_beside_cancel(void **state)
{
    struct remote_cache *c = gated_cache();
    struct solver *s = new_solver(2, &fake_exec);
    struct solve v = begin_with(s, c, gated(true));
    struct group g;
    size_t head;

    group_open(&g, 0);
    assert_null(group_spawn(&g, "cancel", cancel_often, &v));
    for (int i = 0; i < 200; i++) {
        struct cache_steps steps = { 0 };

        assert_null(ref_cache_steps(v.ref, &steps, &head));
        assert_same_records(&steps, remote_cache_config(c));
        cache_steps_deinit(&steps);
    }
    assert_null(group_join(&g));
    end_solve(&v);
    remote_cache_unref(c);
    solver_free(s);
}

/* A build without caches shares what one with a cache has found, and keeps it when the other is over. */
static void test_lent(void **state)
{
    struct remote_cache *c = cache_of(chain(10));
    struct solver *s = new_solver(2, &fake_exec);
    struct solve v = begin_with(s, c, chain(10)), other;

    assert_null(ref_evaluate(v.ref));
    assert_int_equal(atomic_load(&loads), 0);
    other = begin_solve(s, chain(10));
    assert_null(ref_evaluate(other.ref));
    end_solve(&v);
    solve_main(&other);
    assert_null(other.error);
    assert_string_equal(snapshot_id(other.result), "fetched");
    assert_int_equal(atomic_load(&loads), 1);
    assert_int_equal(atomic_load(&runs), 0);
    end_solve(&other);
    remote_cache_unref(c);
    solver_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_remote), TEST(test_remote_lost),        TEST(test_remote_above),
        TEST(test_lent),   TEST(test_steps_after_cancel), TEST(test_steps_beside_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
