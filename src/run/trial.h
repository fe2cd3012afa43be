/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.h - steps and containers in a real OCI runtime, as root, in a network namespace of the test's own
 *
 * The root is a directory with busybox.  Skipped (77) without root, busybox or a runtime.  Test code only;
 * not part of the library.
 */
#ifndef MINKE_RUN_TRIAL_H
#define MINKE_RUN_TRIAL_H

#include "base/buf.h"
#include "run/run.h"
#include "run/testing.h"

/* What all tests of a program share. */
extern struct trial {
    char dir[64];
    struct runner *runner;
} trial;
extern const char *const trial_env[];

/* First in main(), then as the group's set-up and tear-down. */
void trial_need(void);
int trial_set_up(void **state);
int trial_tear_down(void **state);

/* A fresh root for every test. */
struct trial_root {
    char path[128];
    int fd;
};
void trial_root_new(struct trial_root *r);
void trial_root_drop(struct trial_root *r);
void trial_expect_file(const struct trial_root *r, const char *path, bool there);

struct trial_outcome {
    int code;
    struct error *error;
    struct buf out;
};
void trial_outcome_deinit(struct trial_outcome *o);

struct run_spec trial_spec(const struct trial_root *r, const char *const *args);
/* Run `s` with its output in o->out. */
void trial_step(struct run_spec *s, struct trial_outcome *o);
/* Run a shell line that succeeds and says nothing. */
void trial_script(const struct trial_root *r, struct run_spec *s, const char *script);
/* Run a shell line in a fresh root; the output must be exactly `want` (NULL: any). */
void trial_shell_with(struct run_spec *extra, const char *script, int code, const char *want);
void trial_shell(const char *script, int code, const char *want);

#endif
