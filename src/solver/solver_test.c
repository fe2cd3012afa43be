/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "solver/node.h"
#include "task/task.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>

/* ---- a store and snapshots that are only names
 * ------------------------------------------------------------------------------- */

struct snapshot {
    atomic_uint refs;
    char *id;
};
static atomic_int snapshots_live;
static struct mutex store_lock;
static struct map records; /* string map */

/* The n-th call into what lies below the solver fails, once. */
static atomic_uint calls_left; /* 0: none does */

static struct error *maybe_fail(const char *call)
{
    unsigned now = atomic_load(&calls_left);

    while (now != 0 && !atomic_compare_exchange_weak(&calls_left, &now, now - 1))
        ;
    return now == 1 ? err_new(ERR_EXHAUSTED, "%s: no space left on device", call) : NULL;
}

static struct snapshot *snapshot_named(const char *id)
{
    struct snapshot *s = NEW(struct snapshot);

    atomic_init(&s->refs, 1);
    s->id = xstrdup(id);
    atomic_fetch_add(&snapshots_live, 1);
    return s;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void snapshot_unref(struct snapshot *s)
{
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    atomic_fetch_sub(&snapshots_live, 1);
    free(s->id);
    free(s);
}

const char *snapshot_id(const struct snapshot *s)
{
    return s->id;
}

struct error *snapshot_load(struct snapshot *s)
{
    return NULL;
}

bool snapshot_is_tree(const struct snapshot *s)
{
    return str_has_prefix(s->id, "tree:");
}

struct error *snapshot_find(struct store *s, const char *id, struct snapshot **ret)
{
    TRY(maybe_fail("get a snapshot"));
    *ret = snapshot_named(id);
    return NULL;
}

struct error *snapshot_mount_ro(struct snapshot *s, int *ret_fd)
{
    return err_new(ERR_UNIMPLEMENTED, "no mounts here");
}

/* Each has one layer; its digest may be a long way off. */
static struct {
    struct mutex lock;
    struct cond changed;
    struct strv asked, made;
    bool closed;
} digests;

size_t snapshot_layer_count(const struct snapshot *s)
{
    return 1;
}

struct error *snapshot_layer_diff_id(struct snapshot *s, size_t i, struct digest *ret, int64_t *ret_tar_size)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&digests.lock);
    int r = 0;

    assert_int_equal(i, 0);
    strv_add(&digests.asked, s->id);
    cond_broadcast(&digests.changed);
    while (digests.closed && r == 0)
        r = cond_wait(&digests.changed, &digests.lock);
    if (r < 0)
        return task_error(r, "hash");
    strv_add(&digests.made, s->id);
    cond_broadcast(&digests.changed);
    return NULL;
}

static void await_digests(const struct strv *v, size_t count)
{
    mutex_lock(&digests.lock);
    while (v->len < count)
        assert_int_equal(cond_wait(&digests.changed, &digests.lock), 0);
    mutex_unlock(&digests.lock);
}

struct error *cache_put(struct store *s, const char *key, const char *result_id, const void *preimage,
                        size_t len)
{
    TRY(maybe_fail("put a record"));
    mutex_lock(&store_lock);
    strmap_set(&records, key, result_id);
    mutex_unlock(&store_lock);
    return NULL;
}

struct error *cache_find(struct store *s, const char *key, char **ret)
{
    TRY(maybe_fail("find a record"));
    mutex_lock(&store_lock);
    *ret = xstrdup(strmap_get(&records, key));
    mutex_unlock(&store_lock);
    return NULL;
}

struct error *cache_walk(struct store *s,
                         bool (*fn)(void *ctx, const char *key, const char *result, const void *preimage,
                                    size_t len),
                         void *ctx)
{
    return NULL;
}

struct error *fact_get(struct store *s, const char *key, char **ret)
{
    return NULL;
}

struct error *fact_put(struct store *s, const char *key, const char *value)
{
    return NULL;
}

struct error *lease_open(struct store *s, struct lease **ret)
{
    return err_new(ERR_UNIMPLEMENTED, "no leases here");
}

void lease_close(struct lease *l)
{
}

int store_root_fd(const struct store *s)
{
    return -1;
}

/* ---- ops: exec by its first argument, source by its name
 * ---------------------------------------------------------------------- */

static struct gate {
    struct mutex lock;
    struct cond changed;
    int entered, open;
    int running, most;
    struct strv order; /* of runs */
} gate;
static atomic_int runs, resolves;

static void gate_enter(void)
{
    mutex_lock(&gate.lock);
    gate.entered++;
    cond_broadcast(&gate.changed);
    mutex_unlock(&gate.lock);
}

static int gate_wait(void)
{
    int r = 0;

    gate_enter();
    mutex_lock(&gate.lock);
    while (gate.open == 0 && r == 0)
        r = cond_wait(&gate.changed, &gate.lock);
    mutex_unlock(&gate.lock);
    return r;
}

static void gate_open(void)
{
    mutex_lock(&gate.lock);
    gate.open = 1;
    cond_broadcast(&gate.changed);
    mutex_unlock(&gate.lock);
}

static void gate_await(int entered)
{
    mutex_lock(&gate.lock);
    while (gate.entered < entered)
        assert_int_equal(cond_wait(&gate.changed, &gate.lock), 0);
    mutex_unlock(&gate.lock);
}

static struct error *fake_run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                              size_t output_count)
{
    const char *arg = c->vertex->op->exec->meta->args[0];
    CLEANUP(buf_deinit) struct buf b = { 0 };
    struct error *e = NULL;
    int r;

    atomic_fetch_add(&runs, 1);
    mutex_lock(&gate.lock);
    gate.most = MAX(gate.most, ++gate.running);
    strv_add(&gate.order, arg);
    mutex_unlock(&gate.lock);
    reporter_log(c->reporter, 1, arg, strlen(arg));
    if (str_has_prefix(arg, "gate") && (r = gate_wait()) < 0)
        e = task_error(r, "gate");
    if (e == NULL)
        e = maybe_fail("run");
    if (e == NULL && str_has_prefix(arg, "fail"))
        e = err_new(ERR_NOT_FOUND, "%s did not work", arg);
    if (e == NULL && str_has_prefix(arg, "nap") && (r = task_sleep(2 * NS_PER_MS)) < 0)
        e = task_error(r, "nap");
    mutex_lock(&gate.lock);
    gate.running--;
    mutex_unlock(&gate.lock);
    if (e != NULL)
        return e;
    buf_adds(&b, arg);
    for (size_t i = 0; i < c->vertex->input_count; i++)
        buf_adds(&b, inputs[i] == NULL ? "" : snapshot_id(inputs[i]));
    for (size_t i = 0; i < output_count; i++) {
        struct digest d;

        buf_addc(&b, '@');
        d = digest_of(b.data, b.len);
        outputs[i] = snapshot_named(d.s);
    }
    return NULL;
}

static size_t fake_outputs(const struct llb_vertex *v)
{
    return v->op->exec->n_mounts == 0 ? 1 : 1 + (size_t)v->op->exec->mounts[0]->output;
}

/* fake://NAME resolves to NAME up to a dash, so that "a-1" and "a-2" are other vertices with equal content.
 */
static struct error *fake_resolve(struct op_context *c, char **ret_text, struct snapshot **ret_result)
{
    const char *name = c->vertex->op->source->identifier + strlen("fake://");

    atomic_fetch_add(&resolves, 1);
    TRY(maybe_fail("resolve"));
    *ret_text = xstrndup(name, strcspn(name, "-"));
    return NULL;
}

static struct error *fake_pull(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                               size_t output_count)
{
    const char *name = c->vertex->op->source->identifier + strlen("fake://");
    CLEANUP(freep) char *id = xstrndup(name, strcspn(name, "-"));
    int r;

    atomic_fetch_add(&runs, 1);
    if (str_has_prefix(name, "gate") && (r = gate_wait()) < 0)
        return task_error(r, "gate");
    outputs[0] = snapshot_named(id);
    return NULL;
}

static struct error *fake_text(const struct llb_vertex *v, struct buf *out)
{
    buf_addf(out, "arg %s\n", v->op->exec->meta->args[0]);
    return NULL;
}

static bool fake_extends(const struct llb_vertex *v, size_t input)
{
    return input == 0;
}

static const struct op_impl fake_exec = { .key_text = fake_text,
                                          .name = "exec",
                                          .run = fake_run,
                                          .output_count = fake_outputs,
                                          .extends = fake_extends,
                                          .takes_cpu = true };
static const struct op_impl fake_source = { .name = "source", .resolve = fake_resolve, .run = fake_pull };

static struct error *by_content(const struct llb_vertex *v, size_t i, struct op_input_key *k)
{
    k->by_content = true;
    op_input_key_add(k, v->op->exec->meta->cwd);
    return NULL;
}
static const struct op_impl reading_exec = { .name = "exec",
                                             .key_text = fake_text,
                                             .run = fake_run,
                                             .output_count = fake_outputs,
                                             .input_key = by_content,
                                             .takes_cpu = true };

/* ---- definitions
 * -------------------------------------------------------------------------------------------------------------
 */

struct maker {
    struct pb_arena arena;
    struct ptrv ops, digests, metas; /* bufs, struct digest *, Pb__MetadataEntry * */
};

static size_t add_op(struct maker *m, Pb__Op *op, bool ignore_cache)
{
    struct buf *b = NEW(struct buf);
    struct digest *d = NEW(struct digest);
    Pb__MetadataEntry *e = PB_NEW(&m->arena, pb__metadata_entry);

    pb_pack(&op->base, b);
    *d = digest_of(b->data, b->len);
    e->key = d->s;
    e->value = PB_NEW(&m->arena, pb__op_metadata);
    e->value->ignore_cache = ignore_cache;
    ptrv_add(&m->ops, b);
    ptrv_add(&m->digests, d);
    ptrv_add(&m->metas, e);
    return m->ops.len - 1;
}

static size_t add_source(struct maker *m, const char *name)
{
    Pb__Op *op = PB_NEW(&m->arena, pb__op);

    op->op_case = PB__OP__OP_SOURCE;
    op->source = PB_NEW(&m->arena, pb__source_op);
    op->source->identifier = pb_strf(&m->arena, "fake://%s", name);
    return add_op(m, op, false);
}

static Pb__Op *exec_op(struct maker *m, const char *arg, const size_t *inputs, size_t count)
{
    Pb__Op *op = PB_NEW(&m->arena, pb__op);

    op->n_inputs = count;
    op->inputs = pb_array(&m->arena, count);
    for (size_t i = 0; i < count; i++) {
        op->inputs[i] = PB_NEW(&m->arena, pb__input);
        op->inputs[i]->digest = ((struct digest *)m->digests.v[inputs[i]])->s;
    }
    op->op_case = PB__OP__OP_EXEC;
    op->exec = PB_NEW(&m->arena, pb__exec_op);
    op->exec->meta = PB_NEW(&m->arena, pb__meta);
    op->exec->meta->cwd = pb_str(&m->arena, "/");
    op->exec->meta->n_args = 1;
    op->exec->meta->args = pb_array(&m->arena, 1);
    op->exec->meta->args[0] = pb_str(&m->arena, arg);
    op->exec->n_mounts = 1;
    op->exec->mounts = pb_array(&m->arena, 1);
    op->exec->mounts[0] = PB_NEW(&m->arena, pb__mount);
    op->exec->mounts[0]->input = -1;
    op->exec->mounts[0]->dest = pb_str(&m->arena, "/");
    return op;
}

static size_t add_exec(struct maker *m, const char *arg, const size_t *inputs, size_t count)
{
    return add_op(m, exec_op(m, arg, inputs, count), false);
}

/* The definition whose result is the last op added; the maker is spent. */
static struct llb_def *make_def(struct maker *m)
{
    size_t last = m->ops.len - 1, n = m->ops.len;
    Pb__Op end = PB__OP__INIT;
    Pb__Input in = PB__INPUT__INIT, *ins[1] = { &in };
    Pb__Definition d = PB__DEFINITION__INIT;
    CLEANUP(buf_deinit) struct buf tail = { 0 };
    struct llb_def *def;

    in.digest = ((struct digest *)m->digests.v[last])->s;
    end.n_inputs = 1;
    end.inputs = ins;
    pb_pack(&end.base, &tail);
    d.n_def = n + 1;
    d.def = xcalloc(n + 1, sizeof *d.def);
    for (size_t i = 0; i < n; i++)
        d.def[i] = pb_bytes(((struct buf *)m->ops.v[i])->data, ((struct buf *)m->ops.v[i])->len);
    d.def[n] = pb_bytes(tail.data, tail.len);
    d.n_metadata = n;
    d.metadata = (Pb__MetadataEntry **)m->metas.v;
    assert_null(llb_def_from_pb(&d, &def));
    free(d.def);
    for (size_t i = 0; i < n; i++) {
        buf_deinit(m->ops.v[i]);
        free(m->ops.v[i]);
        free(m->digests.v[i]);
    }
    ptrv_deinit(&m->ops);
    ptrv_deinit(&m->digests);
    ptrv_deinit(&m->metas);
    pb_arena_deinit(&m->arena);
    return def;
}

static struct solver *new_solver(int parallel, const struct op_impl *exec)
{
    struct solver_config c = { .max_parallelism = parallel };
    struct solver *s = solver_new(&c);

    solver_register(s, PB__OP__OP_EXEC, NULL, exec, NULL);
    solver_register(s, PB__OP__OP_SOURCE, "fake", &fake_source, NULL);
    return s;
}

static struct job *open_job(struct solver *s)
{
    static atomic_int next;
    CLEANUP(freep) char *ref = xasprintf("job%d", atomic_fetch_add(&next, 1));
    struct job_options o = { .ref = ref, .exports_layers = true };
    struct job *j;

    assert_null(job_open(s, &o, &j));
    return j;
}

/* One job that solves one definition (taken) in a task of its own. */
struct solve {
    struct solver *s;
    struct job *job;
    struct ref *ref;
    struct snapshot *result;
    struct error *error;
};

static struct error *solve_main(void *arg)
{
    struct solve *v = arg;

    scope_enter(job_scope(v->job));
    v->error = ref_result(v->ref, &v->result);
    scope_leave(job_scope(v->job));
    return NULL;
}

static struct solve begin_solve(struct solver *s, struct llb_def *def)
{
    struct solve v = { .s = s, .job = open_job(s) };

    assert_null(job_ref(v.job, def, &v.ref));
    return v;
}

static void end_solve(struct solve *v)
{
    job_close(v->job);
    snapshot_unref(v->result);
    err_free(v->error);
}

static char *solve_now(struct solver *s, struct llb_def *def)
{
    struct solve v = begin_solve(s, def);
    char *id = NULL;

    solve_main(&v);
    assert_null(v.error);
    id = xstrdup(snapshot_id(v.result));
    end_solve(&v);
    return id;
}

static int setup(void **state)
{
    mutex_init(&store_lock);
    strmap_init(&records);
    gate = (struct gate){ 0 };
    mutex_init(&gate.lock);
    cond_init(&gate.changed);
    mutex_init(&digests.lock);
    cond_init(&digests.changed);
    digests.closed = false;
    atomic_store(&runs, 0);
    atomic_store(&resolves, 0);
    return 0;
}

static int teardown(void **state)
{
    assert_int_equal(atomic_load(&snapshots_live), 0);
    map_deinit(&records);
    strv_deinit(&gate.order);
    strv_deinit(&digests.asked);
    strv_deinit(&digests.made);
    return 0;
}

/* ---- tests
 * -------------------------------------------------------------------------------------------------------------------
 */

static struct llb_def *chain(size_t n)
{
    struct maker m = { 0 };
    size_t at = add_source(&m, "base");

    for (size_t i = 0; i < n; i++) {
        CLEANUP(freep) char *name = xasprintf("step%zu", i);

        at = add_exec(&m, name, &at, 1);
    }
    return make_def(&m);
}

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

static struct llb_def *two_steps(const char *source, const char *step)
{
    struct maker m = { 0 };
    size_t at = add_source(&m, source);

    add_exec(&m, step, &at, 1);
    return make_def(&m);
}

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
        map_deinit(&records);
        strmap_init(&records);
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
    assert_true(err_is(v.error, ERR_INVALID));
    end_solve(&v);
    solver_free(s);
}

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

/* ---- caches from elsewhere
 * -------------------------------------------------------------------------------------------------------------------
 */

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

/* The records of what a solver made of `def`, the newest with a result, as a cache. */
static struct remote_cache *cache_of(struct solver *s, struct llb_def *def)
{
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
    return c;
}

/* In a solver that knows nothing, with the cache; its reference is taken. */
static char *solve_with(struct remote_cache *c, struct llb_def *def)
{
    struct solver *s = new_solver(2, &fake_exec);
    struct solve v = { .s = s, .job = open_job(s) };
    char *id;

    map_deinit(&records);
    strmap_init(&records);
    atomic_store(&runs, 0);
    atomic_store(&loads, 0);
    job_add_cache(v.job, c);
    assert_null(job_ref(v.job, def, &v.ref));
    assert_null(ref_find(v.ref));
    assert_int_equal(atomic_load(&runs) + atomic_load(&loads), 0); /* known, and nobody needs it yet */
    solve_main(&v);
    assert_null(v.error);
    id = xstrdup(snapshot_id(v.result));
    end_solve(&v);
    solver_free(s);
    return id;
}

static void test_remote(void **state)
{
    struct solver *s = new_solver(2, &fake_exec);
    struct remote_cache *c = cache_of(s, chain(10));

    solver_free(s);
    CLEANUP(freep) char *id = solve_with(c, chain(10));

    assert_string_equal(id, "fetched");
    assert_int_equal(atomic_load(&loads), 1);
    assert_int_equal(atomic_load(&runs), 0); /* no step, not even the base */
}

/* Layers that are gone: everything is made. */
static void test_remote_lost(void **state)
{
    struct solver *s = new_solver(2, &fake_exec);
    struct remote_cache *c = cache_of(s, chain(10));

    solver_free(s);
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
    struct solver *s = new_solver(2, &fake_exec);
    struct remote_cache *c = cache_of(s, chain(5000));
    struct solve v = { 0 };

    solver_free(s);
    s = new_solver(2, &fake_exec);
    map_deinit(&records);
    strmap_init(&records);
    atomic_store(&runs, 0);
    atomic_store(&loads, 0);
    v = (struct solve){ .s = s, .job = open_job(s) };
    job_add_cache(v.job, c);
    assert_null(job_ref(v.job, chain(5001), &v.ref));
    solve_main(&v);
    assert_null(v.error);
    assert_int_equal(atomic_load(&loads), 1);
    assert_int_equal(atomic_load(&runs), 1);
    end_solve(&v);
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

static struct solve begin_with(struct solver *s, struct remote_cache *c, struct llb_def *def)
{
    struct solve v = { .s = s, .job = open_job(s) };

    job_add_cache(v.job, remote_cache_ref(c));
    assert_null(job_ref(v.job, def, &v.ref));
    return v;
}

/* Run into the gate, and be cancelled there. */
static void solve_and_cancel(struct solver *s, struct remote_cache *c)
{
    struct solve v = begin_with(s, c, gated(false));
    struct group g;
    int before = gate.entered;

    gate.open = 0;
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
    struct solver *s = new_solver(2, &fake_exec);
    struct cache_steps steps = { 0 };
    struct remote_cache *c;
    size_t head;

    gate_open();
    c = cache_of(s, gated(true));
    solver_free(s);
    map_deinit(&records);
    strmap_init(&records);
    s = new_solver(2, &fake_exec);
    struct solve v = begin_with(s, c, gated(true));
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
    struct solver *s = new_solver(2, &fake_exec);
    struct remote_cache *c;
    struct group g;
    size_t head;

    gate_open();
    c = cache_of(s, gated(true));
    solver_free(s);
    map_deinit(&records);
    strmap_init(&records);
    s = new_solver(2, &fake_exec);
    struct solve v = begin_with(s, c, gated(true));
    gate.open = 0;
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_cache),
        TEST(test_deep),
        TEST(test_each_call_fails_once),
        TEST(test_join_vertex),
        TEST(test_join_key),
        TEST(test_cancel),
        TEST(test_failure),
        TEST(test_ignore_cache),
        TEST(test_multi_output),
        TEST(test_parallelism),
        TEST(test_content_key),
        TEST(test_storm),
        TEST(test_refused),
        TEST(test_fairness),
        TEST(test_lane_of_another),
        TEST(test_layer_digests),
        TEST(test_digests_beside),
        TEST(test_remote),
        TEST(test_remote_lost),
        TEST(test_remote_above),
        TEST(test_steps_after_cancel),
        TEST(test_steps_beside_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
