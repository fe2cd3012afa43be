/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_process.c - LLBBridge's ExecProcess: the stream of the processes in a bridge's containers
 *
 * One stream carries any number of processes, told apart by the client's ids.  The call's own task receives;
 * each process has a task that runs it and, while it runs, one for each of its open descriptors.  They send
 * one at a time: Started, then output, the end of each output, Exit, Done.
 */
#include "buildkit/build_container.h"
#include "buildkit/internal.h"

#include "base/limits.h"
#include "run/signals.h"
#include "io/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define CHUNK (32 * KIB)
#define UNKNOWN_EXIT 255

/* ---- the stream
 * ---------------------------------------------------------------------------------------------------------------
 */

struct exec_stream {
    struct rpc_call *call;
    struct gateway *gateway;
    struct semaphore sending;
    struct group group;
    struct map processes; /* the client's id -> struct exec_process */
};

struct exec_process {
    struct exec_stream *stream;
    char *id;
    struct pb_arena arena; /* of the first message */
    const Gw__InitMessage *init;
    struct build_container *container; /* held */
    int ours[3], theirs[3];            /* pipes, without a terminal; -1: none */
    struct group io;                   /* of the tasks at its descriptors */
    struct scope *input_scope;         /* of the one that writes its input; NULL: none */

    struct mutex lock; /* of all below */
    struct cond changed;
    struct process *running; /* NULL: not yet, or no longer */
    unsigned width, height;  /* asked for before it ran */
    int signal;              /* the same; 0: none */
    struct buf input;
    bool input_ended, over;
};

/* Sending waits, so that no mutex may be held. */
static struct error *send_message(struct exec_process *p, Gw__ExecMessage *m)
{
    struct exec_stream *s = p->stream;
    int r = semaphore_acquire(&s->sending, 1);

    if (r < 0)
        return task_error(r, "send");
    m->process_id = p->id;
    struct error *e = rpc_send(s->call, &m->base);

    semaphore_release(&s->sending, 1);
    return e;
}

static struct error *send_file(struct exec_process *p, uint32_t fd, const void *data, size_t len)
{
    Gw__ExecMessage m = GW__EXEC_MESSAGE__INIT;
    Gw__FdMessage file = GW__FD_MESSAGE__INIT;

    file.fd = fd;
    file.eof = len == 0;
    file.data = pb_bytes(data, len);
    m.input_case = GW__EXEC_MESSAGE__INPUT_FILE;
    m.file = &file;
    return send_message(p, &m);
}

static struct error *send_started(struct exec_process *p)
{
    Gw__ExecMessage m = GW__EXEC_MESSAGE__INIT;
    Gw__StartedMessage started = GW__STARTED_MESSAGE__INIT;

    m.input_case = GW__EXEC_MESSAGE__INPUT_STARTED;
    m.started = &started;
    return send_message(p, &m);
}

/* `e`: why there is no exit code, or NULL. */
static struct error *send_exit(struct exec_process *p, int code, struct error *failure)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(err_freep) struct error *e = failure;
    Gw__ExecMessage m = GW__EXEC_MESSAGE__INIT;
    Gw__ExitMessage exit = GW__EXIT_MESSAGE__INIT;
    Gw__DoneMessage done = GW__DONE_MESSAGE__INIT;

    if (e == NULL && code != 0) {
        CLEANUP(freep) char *json = xasprintf("{\"Code\":%d}", code);

        e = err_new(ERR_UNKNOWN, "exit code: %d", code);
        err_add_detail(e, "github.com/moby/buildkit/gatewayapi.ExitMessage+json", json, strlen(json));
    } else if (e != NULL && code == 0) {
        code = UNKNOWN_EXIT;
        if (e->kind != ERR_CANCELLED && e->kind != ERR_DEADLINE)
            e->kind = ERR_UNKNOWN; /* as of all errors of this service */
    }
    exit.code = (uint32_t)code;
    exit.error = e == NULL ? NULL : pb_from_error(&a, e);
    m.input_case = GW__EXEC_MESSAGE__INPUT_EXIT;
    m.exit = &exit;
    TRY(send_message(p, &m));
    m.input_case = GW__EXEC_MESSAGE__INPUT_DONE;
    m.done = &done;
    return send_message(p, &m);
}

/* ---- its descriptors
 * -----------------------------------------------------------------------------------------------------------
 */

static bool has_fd(const struct exec_process *p, uint32_t fd)
{
    for (size_t i = 0; i < p->init->n_fds; i++)
        if (p->init->fds[i] == fd)
            return true;
    return false;
}

static struct error *open_pipes(struct exec_process *p)
{
    for (int i = 0; i < 3 && !p->init->tty; i++) {
        int fds[2];

        if (!has_fd(p, (uint32_t)i))
            continue;
        if (pipe2(fds, O_CLOEXEC) < 0)
            return err_sys(errno, "make a pipe");
        p->ours[i] = fds[i == 0 ? 1 : 0];
        p->theirs[i] = fds[i == 0 ? 0 : 1];
        if (fcntl(p->ours[i], F_SETFL, O_NONBLOCK) < 0)
            return err_sys(errno, "make a pipe");
    }
    return NULL;
}

struct output {
    struct exec_process *process;
    uint32_t number;
    int fd; /* owned */
};

static struct error *forward_output(void *arg)
{
    struct output *o = arg;
    CLEANUP(freep) char *chunk = xmalloc(CHUNK);
    struct error *e = NULL;

    while (e == NULL) {
        ssize_t n = read(o->fd, chunk, CHUNK);

        if (n > 0) {
            e = send_file(o->process, o->number, chunk, (size_t)n);
        } else if (n < 0 && errno == EAGAIN) {
            int r = task_wait_fd(o->fd, POLLIN);

            if (r < 0)
                e = task_error(r, "read the output of a process");
        } else if (n == 0 || errno != EINTR) { /* a terminal that nobody holds open gives EIO */
            e = send_file(o->process, o->number, NULL, 0);
            break;
        }
    }
    close(o->fd);
    free(o);
    return e;
}

static struct error *start_output(struct exec_process *p, uint32_t number, int fd)
{
    struct output *o;
    struct error *e;

    if (fd < 0)
        return NULL;
    o = NEW(struct output);
    *o = (struct output){ p, number, fd };
    e = group_spawn(&p->io, "process output", forward_output, o);
    if (e != NULL) {
        close(fd);
        free(o);
    }
    return e;
}

/* The next piece of input; 0 at its end. */
static ssize_t take_input(struct exec_process *p, char *chunk)
{
    ssize_t n = 0;
    int r = 0;

    mutex_lock(&p->lock);
    while (p->input.len == 0 && !p->input_ended && !p->over && r == 0)
        r = cond_wait(&p->changed, &p->lock);
    if (r == 0 && !p->over) {
        n = (ssize_t)MIN(p->input.len, CHUNK);
        memcpy(chunk, p->input.data, (size_t)n);
        memmove(p->input.data, p->input.data + n, p->input.len - (size_t)n);
        p->input.len -= (size_t)n;
        cond_broadcast(&p->changed);
    }
    mutex_unlock(&p->lock);
    return r < 0 ? r : n;
}

struct input {
    struct exec_process *process;
    int fd; /* owned */
};

/* What cannot be written is nobody's concern: the process has closed it. */
static struct error *forward_input(void *arg)
{
    struct input *in = arg;
    struct exec_process *p = in->process;
    CLEANUP(freep) char *chunk = xmalloc(CHUNK);
    ssize_t n;

    while ((n = take_input(p, chunk)) > 0 && fd_write_all(in->fd, chunk, (size_t)n) == 0)
        continue;
    close(in->fd);
    free(in);
    mutex_lock(&p->lock);
    p->input_ended = true;
    buf_clear(&p->input);
    cond_broadcast(&p->changed);
    mutex_unlock(&p->lock);
    return NULL;
}

static struct error *start_input(struct exec_process *p, int fd)
{
    struct input *in;
    struct error *e;

    if (fd < 0)
        return NULL;
    in = NEW(struct input);
    *in = (struct input){ p, fd };
    p->input_scope = scope_new(p->io.scope);
    e = group_spawn_scope(&p->io, "process input", p->input_scope, forward_input, in);
    if (e != NULL) {
        close(fd);
        free(in);
    }
    return e;
}

/* ---- its life
 * ---------------------------------------------------------------------------------------------------------------
 */

static int dup_console(const struct process *running)
{
    return fcntl(process_console(running), F_DUPFD_CLOEXEC, 3);
}

static struct error *announce(void *ctx)
{
    struct exec_process *p = ctx;

    return send_started(p);
}

static struct error *process_started(void *ctx, struct process *running)
{
    struct exec_process *p = ctx;
    bool terminal = p->init->tty;

    for (int i = 0; i < 3; i++)
        closep(&p->theirs[i]);
    mutex_lock(&p->lock);
    p->running = running;
    if (p->width != 0 || p->height != 0)
        err_free(process_resize(running, p->width, p->height));
    if (p->signal != 0)
        err_free(process_signal(running, p->signal));
    mutex_unlock(&p->lock);
    if (terminal && fcntl(process_console(running), F_SETFL, O_NONBLOCK) < 0)
        return err_sys(errno, "prepare the terminal");
    if (has_fd(p, 0))
        TRY(start_input(p, terminal ? dup_console(running) : TAKE_FD(p->ours[0])));
    if (terminal)
        return start_output(p, 1, dup_console(running));
    TRY(start_output(p, 1, TAKE_FD(p->ours[1])));
    return start_output(p, 2, TAKE_FD(p->ours[2]));
}

static void process_ended(void *ctx)
{
    struct exec_process *p = ctx;

    mutex_lock(&p->lock);
    p->running = NULL;
    p->over = true;
    cond_broadcast(&p->changed);
    mutex_unlock(&p->lock);
    if (p->input_scope != NULL)
        scope_cancel(p->input_scope, NULL);
}

static struct error *run_process(void *arg)
{
    struct exec_process *p = arg;
    struct build_container_process what = {
        .init = p->init, .announce = announce, .started = process_started, .ended = process_ended, .ctx = p
    };
    struct error *failure, *e;
    int code = 0;

    group_open(&p->io, 0);
    failure = open_pipes(p);
    for (int i = 0; i < 3; i++)
        what.fds[i] = p->theirs[i];
    if (failure == NULL)
        failure = build_container_run(p->container, &what, &code);
    else
        err_free(announce(p));
    process_ended(p);
    build_container_drop(TAKE(p->container));
    e = group_join(&p->io);
    if (e == NULL)
        e = task_check();
    if (e != NULL) {
        err_free(failure);
        return e;
    }
    return send_exit(p, code, failure);
}

static void process_free_entry(void *arg)
{
    struct exec_process *p = arg;

    for (int i = 0; i < 3; i++) {
        closep(&p->ours[i]);
        closep(&p->theirs[i]);
    }
    if (p->container != NULL)
        build_container_drop(p->container);
    scope_unref(p->input_scope);
    buf_deinit(&p->input);
    pb_arena_deinit(&p->arena);
    cond_deinit(&p->changed);
    mutex_deinit(&p->lock);
    free(p->id);
    free(p);
}

/* ---- messages
 * ---------------------------------------------------------------------------------------------------------------
 */

/* `a` holds the message, and is taken. */
static struct error *take_init(struct exec_stream *s, const Gw__ExecMessage *m, struct pb_arena *a)
{
    const Gw__InitMessage *init = m->init;
    struct exec_process *p;

    if (init->meta == NULL)
        return err_new(ERR_INVALID, "process meta is required");
    if (map_has(&s->processes, m->process_id))
        return err_new(ERR_EXISTS, "Process %s already exists", m->process_id);
    if (s->processes.len >= LIMIT_GATEWAY_PROCESSES)
        return err_new(ERR_EXHAUSTED, "more than %d processes", LIMIT_GATEWAY_PROCESSES);
    struct build_container *container = gateway_hold_container(s->gateway, init->container_id);

    if (container == NULL)
        return err_new(ERR_NOT_FOUND, "container \"%s\" previously released or not created",
                       init->container_id);
    p = NEW(struct exec_process);
    *p = (struct exec_process){ .stream = s,
                                .id = xstrdup(m->process_id),
                                .arena = *a,
                                .init = init,
                                .container = container,
                                .ours = { -1, -1, -1 },
                                .theirs = { -1, -1, -1 } };
    *a = (struct pb_arena){ 0 };
    mutex_init(&p->lock);
    cond_init(&p->changed);
    map_set(&s->processes, p->id, p);
    return group_spawn(&s->group, "process", run_process, p);
}

/* Waits while the process has not read what came before. */
static struct error *take_file(struct exec_process *p, const Gw__FdMessage *f)
{
    int r = 0;

    if (f->fd != 0 || !has_fd(p, 0))
        return err_new(ERR_RANGE, "fd %u unavailable to write", f->fd);
    mutex_lock(&p->lock);
    while (p->input.len > 0 && p->input.len + f->data.len > LIMIT_GATEWAY_STDIN && !p->input_ended &&
           !p->over && r == 0)
        r = cond_wait(&p->changed, &p->lock);
    if (r == 0 && !p->input_ended && !p->over)
        buf_add(&p->input, f->data.data, f->data.len);
    p->input_ended = p->input_ended || f->eof;
    cond_broadcast(&p->changed);
    mutex_unlock(&p->lock);
    return r < 0 ? task_error(r, "write to a process") : NULL;
}

/* One that has just ended hears nothing. */
static struct error *take_signal(struct exec_process *p, const char *name)
{
    int number = signal_parse(name);

    if (number < 0)
        return err_new(ERR_INVALID, "Unknown signal %s", name);
    mutex_lock(&p->lock);
    if (p->running != NULL)
        err_free(process_signal(p->running, number));
    else
        p->signal = number;
    mutex_unlock(&p->lock);
    return NULL;
}

static void take_resize(struct exec_process *p, const Gw__ResizeMessage *m)
{
    mutex_lock(&p->lock);
    p->width = m->cols;
    p->height = m->rows;
    if (p->running != NULL)
        err_free(process_resize(p->running, m->cols, m->rows)); /* it may have let go of the terminal */
    mutex_unlock(&p->lock);
}

static struct error *take_message(struct exec_stream *s, const Gw__ExecMessage *m, struct pb_arena *a)
{
    struct exec_process *p;

    if (m->process_id[0] == '\0')
        return err_new(ERR_INVALID, "ProcessID required");
    if (m->input_case == GW__EXEC_MESSAGE__INPUT_INIT)
        return take_init(s, m, a);
    p = map_get(&s->processes, m->process_id);
    switch (m->input_case) {
    case GW__EXEC_MESSAGE__INPUT_FILE:
    case GW__EXEC_MESSAGE__INPUT_RESIZE:
    case GW__EXEC_MESSAGE__INPUT_SIGNAL:
        break;
    default:
        return NULL; /* the server's own kinds mean nothing here */
    }
    if (p == NULL)
        return err_new(ERR_NOT_FOUND, "IO for process \"%s\" not found", m->process_id);
    if (m->input_case == GW__EXEC_MESSAGE__INPUT_FILE)
        return take_file(p, m->file);
    if (m->input_case == GW__EXEC_MESSAGE__INPUT_SIGNAL)
        return take_signal(p, m->signal->name);
    take_resize(p, m->resize);
    return NULL;
}

static struct error *receive_all(struct exec_stream *s)
{
    for (;;) {
        CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
        Gw__ExecMessage *m;

        TRY(rpc_recv(s->call, &gw__exec_message__descriptor, &a, &m));
        if (m == NULL)
            return NULL;
        TRY(take_message(s, m, &a));
    }
}

struct error *gateway_exec_process(struct rpc_call *call, void *door)
{
    BRIDGE_CALL;
    struct exec_stream s = { .call = call, .processes = { .free_value = process_free_entry } };
    struct error *e, *joined;

    TRY(bridge_call_enter(call, door, &c));
    TRY(rpc_send_headers(call, NULL));
    s.gateway = c.gateway;
    semaphore_init(&s.sending, 1);
    group_open(&s.group, 0);
    e = receive_all(&s);
    if (e != NULL)
        group_cancel(&s.group);
    joined = group_join(&s.group);
    if (e == NULL)
        e = joined;
    else
        err_free(joined);
    map_deinit(&s.processes);
    semaphore_deinit(&s.sending);
    return e;
}
