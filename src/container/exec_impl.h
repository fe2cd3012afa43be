/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_impl.h - the inside of an exec instance; for exec*.c only
 */
#ifndef MINKE_CONTAINER_EXEC_IMPL_H
#define MINKE_CONTAINER_EXEC_IMPL_H

#include "container/detach.h"
#include "container/exec.h"
#include "container/internal.h"

#define EXEC_CHUNK ((size_t)32 * 1024) /* one read, of either side */

enum exec_state { EXEC_CREATED, EXEC_RUNNING, EXEC_ENDED };

struct exec {
    atomic_uint refs;
    struct exec *next; /* in the room's list; guarded by its lock */
    /* immutable */
    char id[CONTAINER_ID_LEN + 1];
    struct container *container; /* a reference */
    struct strv args, env;
    char *user, *cwd;
    bool tty, privileged, want_stdin, want_stdout, want_stderr;
    struct detach_keys detach;
    unsigned width, height;
    /* guarded by lock */
    struct mutex lock;
    struct cond changed;
    enum exec_state state;
    bool failed; /* it could not be started */
    int exit_code;
    int64_t ended_ns; /* monotonic */
    pid_t pid;
    struct process *process; /* while it runs */
    bool attached, output_ended;
    struct buf data; /* for the attached client */
    bool raw;        /* not in frames */
    int stdin_fd;    /* -1: none */
    /* of the monitor */
    int out_fds[2];
};

struct exec *exec_ref(struct exec *x);

/* ---- exec_process.c: from the claim to the exit code */

/* Start the process, with the container's held until it ends; a task of the room watches it from then on. */
struct error *exec_launch(struct exec *x, const struct exec_start_options *o) MUST_CHECK;
void exec_mark_ended(struct exec *x, int code, bool failed);
/* For the attached client; with x->lock held. */
void exec_add_output_locked(struct exec *x, int stream, const void *data, size_t len);

/* ---- exec_client.c: the connection of who started it */

/* Until the process or the client ends. */
struct error *exec_serve(struct exec *x, struct stream *conn) MUST_CHECK;
/* It could not be started: that is its output. */
struct error *exec_send_failure(struct exec *x, struct stream *conn, const struct error *e) MUST_CHECK;

#endif
