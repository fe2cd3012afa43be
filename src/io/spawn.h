/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.h - child processes, started and executed at once, waited for through a pidfd
 *
 * posix_spawn or clone3(CLONE_VFORK | CLONE_PIDFD) and exec; never fork-and-continue.  All descriptors but
 * those listed are closed in the child.
 */
#ifndef MINKE_IO_SPAWN_H
#define MINKE_IO_SPAWN_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"

struct spawn_fd {
    int from; /* ours, borrowed */
    int to;   /* number in the child */
};

struct spawn_options {
    const char *const *argv;    /* argv[0] is looked up in PATH when it has no slash */
    const char *const *env;     /* NULL: ours */
    const char *cwd;            /* NULL: ours */
    const struct spawn_fd *fds; /* 0, 1, 2 not listed: /dev/null */
    size_t fd_count;
    int netns_fd;     /* enter this network namespace first; 0 or -1: none */
    bool new_session; /* setsid */
    int pdeathsig;    /* sent when the task that started it ends; 0: none */
    /* Runs in the child before its descriptors are placed and closed; NULL: none.  It borrows our memory
     * while we sleep: bare system calls only, no allocation, no lock, no log.  0 or a negative errno, with
     * which spawn_start then fails. */
    int (*setup)(void *arg);
    void *setup_arg;
};

struct child {
    pid_t pid;
    int pidfd;
};

struct error *spawn_start(const struct spawn_options *o, struct child *ret) MUST_CHECK;
/* Wait: *ret_status as waitpid gives it.  On cancellation the child lives on (-ECANCELED): kill it and wait
 * again shielded. */
int spawn_wait(struct child *c, int *ret_status) MUST_CHECK;
int spawn_kill(struct child *c, int signal); /* through the pidfd */
void child_deinit(struct child *c);          /* kills and reaps what still runs; closes the pidfd */

/* Run to the end with stdin from `input` (may be NULL), stdout and stderr into bufs (may be NULL; each at
 * most `limit` bytes). Killed on cancellation.  Exit status other than 0 is not an error here: *ret_status.
 */
struct error *spawn_run(const struct spawn_options *o, const char *input, struct buf *out, struct buf *err,
                        size_t limit, int *ret_status) MUST_CHECK;

#endif
