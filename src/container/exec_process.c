/* SPDX-License-Identifier: Apache-2.0 */
/* exec_process.c - the process of an exec instance: how it starts, where its output goes, how it ends */
#include "container/exec_impl.h"

#include "base/bytes.h"
#include "container/shape.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define BUFFER ((size_t)1 << 20) /* output that waits for a slow client */
#define GRACE (2 * NS_PER_SEC)   /* for output of processes that outlive the one that was started */

/* ---- output
 * ----------------------------------------------------------------------------------------------------------------
 */

void exec_add_output_locked(struct exec *x, int stream, const void *data, size_t len)
{
    const uint8_t header[8] = {
        (uint8_t)stream,     0,           0, 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
        (uint8_t)(len >> 8), (uint8_t)len
    };

    if (!x->raw)
        buf_add(&x->data, header, sizeof(header));
    buf_add(&x->data, data, len);
}

/* To the attached client; nobody's when there is none. */
static int pass_on(struct exec *x, int stream, const void *data, size_t len)
{
    bool wanted = stream == 1 ? x->want_stdout : x->want_stderr;
    int r = 0;

    mutex_lock(&x->lock);
    while (r == 0 && x->attached && x->data.len >= BUFFER)
        r = cond_wait(&x->changed, &x->lock);
    if (r == 0 && x->attached && wanted) {
        exec_add_output_locked(x, stream, data, len);
        cond_broadcast(&x->changed);
    }
    mutex_unlock(&x->lock);
    return r;
}

static int read_ready(struct exec *x, struct pollfd *p, int stream, char *chunk)
{
    if (p->fd < 0 || p->revents == 0)
        return 0;
    ssize_t n = read(p->fd, chunk, EXEC_CHUNK);
    if (n > 0)
        return pass_on(x, stream, chunk, (size_t)n);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    p->fd = -1; /* its end; a terminal whose last user is gone says EIO */
    return 0;
}

static struct error *pump(void *exec)
{
    struct exec *x = exec;
    CLEANUP(freep) char *chunk = xmalloc(EXEC_CHUNK);
    struct pollfd fds[2] = { { .fd = x->out_fds[0], .events = POLLIN },
                             { .fd = x->out_fds[1], .events = POLLIN } };
    int r = 0;

    while (r == 0 && (fds[0].fd >= 0 || fds[1].fd >= 0)) {
        r = task_wait_fds(fds, 2);
        for (int i = 0; r == 0 && i < 2; i++)
            r = read_ready(x, &fds[i], i + 1, chunk);
    }
    return r < 0 ? task_error(r, "read the output of an exec") : NULL;
}

/* ---- the process
 * ------------------------------------------------------------------------------------------------------------
 */

static void end_process(struct exec *x)
{
    struct container *ct = x->container;

    mutex_lock(&x->lock);
    struct process *p = TAKE(x->process);
    mutex_unlock(&x->lock);
    process_free(p);
    container_process_put(ct); /* the container may end now */
}

void exec_mark_ended(struct exec *x, int code, bool failed)
{
    mutex_lock(&x->lock);
    x->state = EXEC_ENDED;
    x->failed = failed;
    x->exit_code = code;
    x->ended_ns = monotonic_ns();
    x->output_ended = true;
    closep(&x->stdin_fd);
    cond_broadcast(&x->changed);
    mutex_unlock(&x->lock);
}

static void drain(struct group *pumps)
{
    struct deadline d;
    int wait = 0;

    deadline_begin(&d, GRACE);
    while (wait == 0 && group_live(pumps) > 0)
        wait = task_sleep(NS_PER_MS);
    deadline_end(&d);
    group_cancel(pumps);
    err_free(group_join(pumps));
}

/* A task of the room; owns a reference. */
static struct error *exec_monitor(void *exec)
{
    CLEANUP(exec_unrefp) struct exec *x = exec;
    CLEANUP(freep) char *text = NULL;
    struct deadline shield;
    struct group pumps;
    int code = 128 + SIGKILL;
    bool oom = false;

    group_open(&pumps, GROUP_KEEP_GOING | GROUP_DAEMON);
    struct error *e = group_spawn(&pumps, "exec output", pump, x);
    if (e == NULL)
        e = process_wait(x->process, &code, &oom);
    shield_begin(&shield, INT64_MAX);
    end_process(x);
    drain(&pumps);
    shield_end(&shield);
    exec_mark_ended(x, code, false);
    text = xasprintf("%d", code);
    exec_event(x->container, x->id, &x->args, "exec_die", "exitCode", text);
    return e;
}

struct stdio {
    int in_read, out_write, err_write;
};

static void stdio_deinit(struct stdio *s)
{
    closep(&s->in_read);
    closep(&s->out_write);
    closep(&s->err_write);
}

/* Our end (`which` of the pipe) does not block. */
static int make_pipe(int *ours, int *theirs, int which)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    *ours = fds[which];
    *theirs = fds[1 - which];
    return fcntl(*ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static struct error *make_stdio(struct exec *x, struct stdio *s, bool with_stdin)
{
    int r = make_pipe(&x->out_fds[0], &s->out_write, 0);

    if (r == 0)
        r = make_pipe(&x->out_fds[1], &s->err_write, 0);
    if (r == 0 && with_stdin)
        r = make_pipe(&x->stdin_fd, &s->in_read, 1);
    return r < 0 ? err_sys(-r, "make a pipe") : NULL;
}

static struct error *use_console(struct exec *x, struct process *p, bool with_stdin)
{
    int console = process_console(p);

    x->out_fds[0] = fcntl(console, F_DUPFD_CLOEXEC, 3);
    if (with_stdin)
        x->stdin_fd = fcntl(console, F_DUPFD_CLOEXEC, 3);
    if (x->out_fds[0] < 0 || (with_stdin && x->stdin_fd < 0) || fcntl(console, F_SETFL, O_NONBLOCK) < 0)
        return err_sys(errno, "use the terminal");
    return NULL;
}

static struct error *run(struct exec *x, struct process *in, const struct exec_start_options *o)
{
    CLEANUP(stdio_deinit) struct stdio s = { -1, -1, -1 };
    bool with_stdin = o->conn != NULL && x->want_stdin;
    struct process *p = NULL;
    struct process_exec_spec spec = {
        .args = (const char *const *)x->args.v,
        .env = (const char *const *)x->env.v,
        .cwd = x->cwd,
        .user = x->user,
        .privileged = x->privileged || json_get_bool(x->container->host_config, "Privileged"),
        .terminal = x->tty,
        .width = o->width != 0 ? o->width : x->width,
        .height = o->height != 0 ? o->height : x->height,
        .stdin_fd = -1,
        .stdout_fd = -1,
        .stderr_fd = -1,
    };

    if (!x->tty && o->conn != NULL) {
        TRY(make_stdio(x, &s, with_stdin));
        spec.stdin_fd = s.in_read;
        spec.stdout_fd = s.out_write;
        spec.stderr_fd = s.err_write;
    }
    TRY(process_exec(in, &spec, &p));
    struct error *e = x->tty ? use_console(x, p, with_stdin) : NULL;
    mutex_lock(&x->lock);
    x->process = p;
    x->pid = process_pid(p);
    cond_broadcast(&x->changed);
    mutex_unlock(&x->lock);
    return e;
}

/* With the container's process held; then the monitor is on its own. */
struct error *exec_launch(struct exec *x, const struct exec_start_options *o)
{
    struct container *ct = x->container;
    struct deadline root;

    struct process *in = container_process_get(ct);
    if (in == NULL)
        return err_new(ERR_CONFLICT, "container %s is not running", ct->id);
    struct error *e = run(x, in, o);
    if (e == NULL) {
        shield_begin(&root, INT64_MAX); /* it outlives the request that starts it */
        e = group_spawn(&ct->all->group, "exec", exec_monitor, exec_ref(x));
        shield_end(&root);
        if (e == NULL)
            return NULL;
        exec_unref(x);
    }
    end_process(x);
    return e;
}
