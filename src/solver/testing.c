/* SPDX-License-Identifier: Apache-2.0 */
/* testing.c - ops that only pretend, definitions of them, and builds */
#include "solver/testing.h"

/* ---- ops: exec by its first argument, source by its name
 * --------------------------------------------------------------------------------------------------------------
 */

struct gate gate;
atomic_int runs, resolves;

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

void gate_open(void)
{
    mutex_lock(&gate.lock);
    gate.open = 1;
    cond_broadcast(&gate.changed);
    mutex_unlock(&gate.lock);
}

void gate_await(int entered)
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

const struct op_impl fake_exec = { .key_text = fake_text,
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
const struct op_impl reading_exec = { .name = "exec",
                                      .key_text = fake_text,
                                      .run = fake_run,
                                      .output_count = fake_outputs,
                                      .input_key = by_content,
                                      .takes_cpu = true };

/* ---- definitions
 * --------------------------------------------------------------------------------------------------------------
 */

size_t add_op(struct maker *m, Pb__Op *op, bool ignore_cache)
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

size_t add_source(struct maker *m, const char *name)
{
    Pb__Op *op = PB_NEW(&m->arena, pb__op);

    op->op_case = PB__OP__OP_SOURCE;
    op->source = PB_NEW(&m->arena, pb__source_op);
    op->source->identifier = pb_strf(&m->arena, "fake://%s", name);
    return add_op(m, op, false);
}

Pb__Op *exec_op(struct maker *m, const char *arg, const size_t *inputs, size_t count)
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

size_t add_exec(struct maker *m, const char *arg, const size_t *inputs, size_t count)
{
    return add_op(m, exec_op(m, arg, inputs, count), false);
}

struct llb_def *make_def(struct maker *m)
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

struct llb_def *chain(size_t n)
{
    struct maker m = { 0 };
    size_t at = add_source(&m, "base");

    for (size_t i = 0; i < n; i++) {
        CLEANUP(freep) char *name = xasprintf("step%zu", i);

        at = add_exec(&m, name, &at, 1);
    }
    return make_def(&m);
}

struct llb_def *two_steps(const char *source, const char *step)
{
    struct maker m = { 0 };
    size_t at = add_source(&m, source);

    add_exec(&m, step, &at, 1);
    return make_def(&m);
}

/* ---- builds
 * --------------------------------------------------------------------------------------------------------------
 */

struct solver *new_solver(int parallel, const struct op_impl *exec)
{
    struct solver_config c = { .max_parallelism = parallel };
    struct solver *s = solver_new(&c);

    solver_register(s, PB__OP__OP_EXEC, NULL, exec, NULL);
    solver_register(s, PB__OP__OP_SOURCE, "fake", &fake_source, NULL);
    return s;
}

struct job *open_job(struct solver *s)
{
    static atomic_int next;
    CLEANUP(freep) char *ref = xasprintf("job%d", atomic_fetch_add(&next, 1));
    struct job_options o = { .ref = ref, .exports_layers = true };
    struct job *j;

    assert_null(job_open(s, &o, &j));
    return j;
}

struct error *solve_main(void *arg)
{
    struct solve *v = arg;

    scope_enter(job_scope(v->job));
    v->error = ref_result(v->ref, &v->result);
    scope_leave(job_scope(v->job));
    return NULL;
}

struct solve begin_solve(struct solver *s, struct llb_def *def)
{
    struct solve v = { .s = s, .job = open_job(s) };

    assert_null(job_ref(v.job, def, &v.ref));
    return v;
}

void end_solve(struct solve *v)
{
    job_close(v->job);
    snapshot_unref(v->result);
    err_free(v->error);
}

char *solve_now(struct solver *s, struct llb_def *def)
{
    struct solve v = begin_solve(s, def);
    char *id = NULL;

    solve_main(&v);
    assert_null(v.error);
    id = xstrdup(snapshot_id(v.result));
    end_solve(&v);
    return id;
}

int setup(void **state)
{
    testing_store_setup();
    gate = (struct gate){ 0 };
    mutex_init(&gate.lock);
    cond_init(&gate.changed);
    atomic_store(&runs, 0);
    atomic_store(&resolves, 0);
    return 0;
}

int teardown(void **state)
{
    assert_int_equal(atomic_load(&snapshots_live), 0);
    testing_store_teardown();
    strv_deinit(&gate.order);
    return 0;
}
