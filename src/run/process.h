/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h - a container that lives on its own: created, started, signalled, waited for
 *
 * Where runner_run() keeps the runtime in the foreground, here the runtime creates the container and goes;
 * the first process becomes our child (the daemon is a subreaper) and is held by a pidfd.  Its exit status is
 * seen by process_wait() alone, which one task calls.
 */
#ifndef MINKE_RUN_PROCESS_H
#define MINKE_RUN_PROCESS_H

#include "run/network.h"
#include "run/run.h"
#include "task/task.h"

struct process;

/* Create; it waits for process_start().  spec->id and spec->extra are needed; stdio as in runner_run (with a
 * terminal: ignored). Errors of the runtime are ERR_INTERNAL with the texts of dockerd ("failed to create
 * task for container: ..."). */
struct error *process_create(struct runner *r, const struct run_spec *spec, struct process **ret) MUST_CHECK;
struct error *process_start(struct process *p) MUST_CHECK;
/* Serve its spec's sockets in tasks of `g` (GROUP_DAEMON), which must be joined before process_free(). */
struct error *process_serve(struct process *p, struct group *g) MUST_CHECK;
/* Kills what runs, deletes the container, gives the network back. Shielded. NULL is fine. */
void process_free(struct process *p);

pid_t process_pid(const struct process *p);
/* The terminal's master, borrowed; -1 without a terminal. */
int process_console(const struct process *p);
struct error *process_resize(struct process *p, unsigned width, unsigned height) MUST_CHECK;
/* ERR_NOT_FOUND when it has ended. */
struct error *process_signal(struct process *p, int signal) MUST_CHECK;
/* Stop and continue all its processes. */
struct error *process_pause(struct process *p, bool paused) MUST_CHECK;
/* Wait for the end: exit code, 128 + signal.  *ret_oom: the kernel killed it, or one of its own, for memory.
 * A wait point: on cancellation it lives on. */
struct error *process_wait(struct process *p, int *ret_code, bool *ret_oom) MUST_CHECK;

/* What one more process of a running container is. */
struct process_exec_spec {
    const char *const *args;
    const char *const *env; /* whole: nothing is inherited */
    const char *cwd, *user; /* as in run_spec, looked up inside the container's root */
    bool privileged;        /* all capabilities; the container's seccomp filter stays, as with dockerd */
    bool terminal;          /* process_console() has it then */
    unsigned width, height; /* of the terminal; 0: unset */
    int stdin_fd, stdout_fd, stderr_fd; /* borrowed; -1: /dev/null; ignored with a terminal */
};
/* Start another process beside the first (`runtime exec`).  It is a process of its own for every call here:
 * wait, signal, resize, console, pid; process_free() kills it alone.  It ends with the container; `container`
 * must live until it is freed.  ERR_NOT_FOUND when the container does not run; a program that cannot be
 * started gives the runtime's words ("exec: \"x\": executable file not found in $PATH"). */
struct error *process_exec(struct process *container, const struct process_exec_spec *x,
                           struct process **ret) MUST_CHECK;

/* Its place on the bridge; NULL without one. Borrowed. */
const struct netns *process_netns(const struct process *p);
struct network *runner_network(struct runner *r); /* NULL: no bridge here.  After process_create or a run. */
const char *runner_network_failure(struct runner *r); /* why, borrowed; NULL when there is one */
/* Is there a runtime of that name, configured or built in? */
bool runner_has_runtime(const struct runner *r, const char *name);

#endif
