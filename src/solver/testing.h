/* SPDX-License-Identifier: Apache-2.0 */
/*
 * testing.h - what the tests of the solver share: a store and snapshots that are only names, ops that only
 * pretend, and definitions of them solved in one line
 *
 * Test code only; not part of the library.
 */
#ifndef MINKE_SOLVER_TESTING_H
#define MINKE_SOLVER_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "solver/node.h"
#include "task/task.h"

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int setup(void **state);
int teardown(void **state); /* nothing is left */

/* ---- the store
 * ----------------------------------------------------------------------------------------------------------
 */

extern atomic_int snapshots_live;
extern struct map records;     /* string map: key -> id of the result */
extern atomic_uint calls_left; /* the n-th call into what lies below the solver fails, once; 0: none does */
struct error *maybe_fail(const char *call);
struct snapshot *snapshot_named(const char *id);
void forget_records(void);
void testing_store_setup(void);
void testing_store_teardown(void);

/* The digests of layers, by snapshot; while `closed` whoever asks waits. */
extern struct digests {
    struct mutex lock;
    struct cond changed;
    struct strv asked, made;
    bool closed;
} digests;
void await_digests(const struct strv *v, size_t count);

/* ---- ops
 * ----------------------------------------------------------------------------------------------------------------
 */

/* Steps (and sources) named "gate.." wait here. */
extern struct gate {
    struct mutex lock;
    struct cond changed;
    int entered, open;
    int running, most;
    struct strv order; /* of runs */
} gate;
void gate_open(void);
void gate_await(int entered);

extern atomic_int runs, resolves;
/* By their first argument: "fail.." fails, "nap.." sleeps 2 ms, "gate.." waits.  reading_exec reads its
 * inputs by content, what its cwd names. */
extern const struct op_impl fake_exec, reading_exec;

/* ---- definitions
 * ------------------------------------------------------------------------------------------------------------
 */

struct maker {
    struct pb_arena arena;
    struct ptrv ops, digests, metas; /* bufs, struct digest *, Pb__MetadataEntry * */
};
/* Each gives the op's index, for those that have it as an input.  Sources of names that differ only behind a
 * dash are other vertices with equal content. */
size_t add_op(struct maker *m, Pb__Op *op, bool ignore_cache);
size_t add_source(struct maker *m, const char *name);
size_t add_exec(struct maker *m, const char *arg, const size_t *inputs, size_t count);
Pb__Op *exec_op(struct maker *m, const char *arg, const size_t *inputs, size_t count);
/* The definition whose result is the last op added; the maker is spent. */
struct llb_def *make_def(struct maker *m);
struct llb_def *chain(size_t n); /* a source and n steps, one on the other */
struct llb_def *two_steps(const char *source, const char *step);

/* ---- builds
 * -----------------------------------------------------------------------------------------------------------------
 */

struct solver *new_solver(int parallel, const struct op_impl *exec);
struct job *open_job(struct solver *s);

/* One job that solves one definition (taken). */
struct solve {
    struct solver *s;
    struct job *job;
    struct ref *ref;
    struct snapshot *result;
    struct error *error;
};
struct solve begin_solve(struct solver *s, struct llb_def *def);
struct error *solve_main(void *arg); /* fit for a task of its own */
void end_solve(struct solve *v);
char *solve_now(struct solver *s, struct llb_def *def); /* the result's id */

#endif
