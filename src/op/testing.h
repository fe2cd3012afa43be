/* SPDX-License-Identifier: Apache-2.0 */
/*
 * testing.h - what the tests of the op room share: a store, a solver with all ops, and definitions solved in
 * one line
 *
 * Test code only; not part of the library.
 */
#ifndef MINKE_OP_TESTING_H
#define MINKE_OP_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "llb/state.h"
#include "op/op.h"
#include "snapshot/snapshot.h"

extern char top[32]; /* a folder of the test's own */
extern struct store *store;
extern struct solver *solver;
extern struct op_config config; /* runner: set before setup */
extern struct llb_builder *b;

int testing_setup(void **state);
int testing_teardown(void **state);

struct outcome {
    struct error *error;
    struct snapshot *result;
    char *log;    /* "name:DONE name:CACHED name:ERROR", in order of completion */
    char *output; /* of all steps */
    int fd;       /* of the mounted result */
};
void outcome_free(struct outcome *o);
struct outcome solve(struct llb_state s);
struct outcome solve_ok(struct llb_state s);
void solve_fails(struct llb_state s, const char *text);
/* The same of a definition, which is borrowed. */
struct outcome solve_def(struct llb_def *def);
struct outcome solve_def_ok(struct llb_def *def);
void solve_def_fails(struct llb_def *def, const char *text);
void expect(const struct outcome *o, const char *path, const char *text); /* a file's content */
bool there(const struct outcome *o, const char *path);

const struct llb_options *named(const char *name);
struct llb_state mkfile(struct llb_state s, const char *path, const char *text, const char *name);
struct llb_state copy(struct llb_state s, struct llb_state from, const char *src, const char *dst,
                      const char *name);
/* A source that is this snapshot (a reference of the caller's, who keeps it while the solver lives). */
struct llb_state fixed(struct snapshot *snapshot);

#endif
