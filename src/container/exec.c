/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.c - docker exec: further processes of a running container
 *
 *   exec_create --> exec_start --> exec_monitor (a task of the room): pump --> exec.data --> the client
 *
 * An instance is kept after its end, so that a client can ask for the exit code, until EXEC_KEEP_NS have
 * passed or its container is removed.  The process ends with the container; a client that leaves does not end
 * it.
 */
#include "container/exec.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "container/detach.h"
#include "container/internal.h"
#include "container/shape.h"
#include "io/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#define EXEC_KEEP_NS (10 * 60 * NS_PER_SEC)
#define BUFFER ((size_t)1 << 20) /* output that waits for a slow client */
#define CHUNK ((size_t)32 * 1024)
#define READY_WAIT (10 * NS_PER_SEC)
#define GRACE (2 * NS_PER_SEC) /* for output of processes that outlive the one that was started */

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
    struct buf data; /* for the attached client, framed without a terminal */
    int stdin_fd;    /* -1: none */
    /* of the monitor */
    int out_fds[2];
};

/* ---- instances
 * ------------------------------------------------------------------------------------------------------------
 */

static struct exec *exec_ref(struct exec *x)
{
    atomic_fetch_add(&x->refs, 1);
    return x;
}

void exec_unref(struct exec *x)
{
    if (x == NULL || atomic_fetch_sub(&x->refs, 1) != 1)
        return;
    strv_deinit(&x->args);
    strv_deinit(&x->env);
    free(x->user);
    free(x->cwd);
    buf_deinit(&x->data);
    closep(&x->stdin_fd);
    closep(&x->out_fds[0]);
    closep(&x->out_fds[1]);
    cond_deinit(&x->changed);
    mutex_deinit(&x->lock);
    container_unref(x->container);
    free(x);
}

void exec_unrefp(struct exec **x)
{
    exec_unref(*x);
    *x = NULL;
}

bool exec_has_tty(const struct exec *x)
{
    return x->tty;
}

static bool is_stale(struct exec *x)
{
    mutex_lock(&x->container->lock);
    bool removed = x->container->state.removed;
    mutex_unlock(&x->container->lock);
    mutex_lock(&x->lock);
    bool old = x->state == EXEC_ENDED && monotonic_ns() - x->ended_ns > EXEC_KEEP_NS;
    bool stale = (removed && x->state != EXEC_RUNNING) || old;
    mutex_unlock(&x->lock);
    return stale;
}

/* Take out what is of no use any more (all: at the end); the list's references go to *ret. */
static void take_stale(struct containers *c, bool all, struct exec **ret, size_t *ret_left)
{
    *ret = NULL;
    *ret_left = 0;
    mutex_lock(&c->lock);
    for (struct exec **p = &c->execs; *p != NULL;) {
        struct exec *x = *p;

        if (all || is_stale(x)) {
            *p = x->next;
            x->next = *ret;
            *ret = x;
        } else {
            ++*ret_left;
            p = &x->next;
        }
    }
    mutex_unlock(&c->lock);
}

static size_t drop_stale(struct containers *c, bool all)
{
    struct exec *gone;
    size_t left;

    take_stale(c, all, &gone, &left);
    while (gone != NULL) {
        struct exec *next = gone->next;

        exec_unref(gone);
        gone = next;
    }
    return left;
}

void execs_close(struct containers *c)
{
    (void)drop_stale(c, true);
}

void execs_kill(struct container *ct)
{
    mutex_lock(&ct->all->lock);
    for (struct exec *x = ct->all->execs; x != NULL; x = x->next) {
        if (x->container != ct)
            continue;
        mutex_lock(&x->lock);
        if (x->process != NULL)
            err_free(process_signal(x->process, SIGKILL)); /* it may have ended by itself */
        mutex_unlock(&x->lock);
    }
    mutex_unlock(&ct->all->lock);
}

static void enlist(struct exec *x)
{
    struct containers *c = x->container->all;

    mutex_lock(&c->lock);
    x->next = c->execs;
    c->execs = exec_ref(x);
    mutex_unlock(&c->lock);
}

json_t *execs_running(struct container *ct)
{
    json_t *list = NULL;

    mutex_lock(&ct->all->lock);
    for (struct exec *x = ct->all->execs; x != NULL; x = x->next) {
        if (x->container != ct)
            continue;
        mutex_lock(&x->lock);
        bool shown = x->state != EXEC_ENDED;
        mutex_unlock(&x->lock);
        if (!shown)
            continue;
        if (list == NULL)
            list = json_array();
        json_array_append_new(list, json_string(x->id));
    }
    mutex_unlock(&ct->all->lock);
    return list != NULL ? list : json_null();
}

struct error *exec_find(struct containers *c, const char *id, struct exec **ret)
{
    *ret = NULL;
    mutex_lock(&c->lock);
    for (struct exec *x = c->execs; x != NULL && *ret == NULL; x = x->next) {
        if (streq(x->id, id))
            *ret = exec_ref(x);
    }
    mutex_unlock(&c->lock);
    return *ret != NULL ? NULL : err_new(ERR_NOT_FOUND, "No such exec instance: %s", id);
}

static struct error *check_container(struct container *ct)
{
    mutex_lock(&ct->lock);
    bool running = ct->state.running, paused = ct->state.paused, restarting = ct->state.restarting;
    mutex_unlock(&ct->lock);
    if (restarting)
        return err_new(ERR_CONFLICT, "Container %s is restarting, wait until the container is running",
                       ct->id);
    if (!running)
        return err_new(ERR_CONFLICT, "container %s is not running", ct->id);
    if (paused)
        return err_new(ERR_CONFLICT, "container %s is paused, unpause the container before exec", ct->id);
    return NULL;
}

static void exec_event(struct exec *x, const char *action, const char *key, const char *value)
{
    CLEANUP(freep) char *command = strv_join(&x->args, " ");
    CLEANUP(freep) char *full = xasprintf("%s: %s", action, command);

    container_event(x->container, key != NULL ? action : full, "execID", x->id, key, value, NULL);
}

/* ---- create
 * ---------------------------------------------------------------------------------------------------------------
 */

static void add_env(struct exec *x, const json_t *config)
{
    CLEANUP(strv_deinit) struct strv own = { 0 };

    container_env(x->container, x->tty, &x->env);
    json_get_strings(config, "Env", &own);
    for (size_t i = 0; i < own.len; i++) {
        size_t len = strcspn(own.v[i], "=");

        for (size_t k = x->env.len;
             k-- > 0;) { /* replaces the container's; without a value it takes it away */
            if (strncmp(x->env.v[k], own.v[i], len) == 0 && x->env.v[k][len] == '=')
                strv_remove(&x->env, k);
        }
        if (own.v[i][len] == '=')
            strv_add(&x->env, own.v[i]);
    }
}

static void console_size(const json_t *config, unsigned *width, unsigned *height)
{
    const json_t *size = json_object_get(config, "ConsoleSize");

    if (json_array_size(size) != 2)
        return;
    *height = (unsigned)json_integer_value(json_array_get(size, 0));
    *width = (unsigned)json_integer_value(json_array_get(size, 1));
}

static const char *or_else(const char *a, const char *b)
{
    return *a != '\0' ? a : b;
}

static struct error *fill(struct exec *x, const json_t *config, int version)
{
    struct container *ct = x->container;
    const char *keys = json_get_string(config, "DetachKeys");

    json_get_strings(config, "Cmd", &x->args);
    if (x->args.len == 0)
        return err_new(ERR_INVALID, "No exec command specified");
    if (detach_keys_parse(keys, &x->detach) < 0)
        return err_new(ERR_INVALID, "Invalid escape keys (%s) provided", keys);
    x->tty = json_get_bool(config, "Tty");
    x->privileged = json_get_bool(config, "Privileged");
    x->want_stdin = json_get_bool(config, "AttachStdin");
    x->want_stdout = json_get_bool(config, "AttachStdout");
    x->want_stderr = json_get_bool(config, "AttachStderr");
    x->user = xstrdup(or_else(json_get_string(config, "User"), json_get_string(ct->config, "User")));
    x->cwd =
        xstrdup(or_else(json_get_string(config, "WorkingDir"), json_get_string(ct->config, "WorkingDir")));
    if (version >= 42)
        console_size(config, &x->width, &x->height);
    add_env(x, config);
    return NULL;
}

struct error *exec_create(struct container *ct, const json_t *config, int version, char **ret_id)
{
    CLEANUP(exec_unrefp) struct exec *x = NEW(struct exec);

    atomic_init(&x->refs, 1);
    mutex_init(&x->lock);
    cond_init(&x->changed);
    random_hex(x->id, CONTAINER_ID_LEN / 2);
    x->container = container_ref(ct);
    x->stdin_fd = x->out_fds[0] = x->out_fds[1] = -1;
    TRY(fill(x, config, version));
    TRY(check_container(ct));
    if (drop_stale(ct->all, false) >= LIMIT_EXECS)
        return err_new(ERR_EXHAUSTED, "too many exec instances");
    enlist(x);
    exec_event(x, "exec_create", NULL, NULL);
    *ret_id = xstrdup(x->id);
    return NULL;
}

/* ---- output
 * ----------------------------------------------------------------------------------------------------------------
 */

static void add_output(struct exec *x, int stream, const void *data, size_t len)
{
    const uint8_t header[8] = {
        (uint8_t)stream,     0,           0, 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
        (uint8_t)(len >> 8), (uint8_t)len
    };

    if (!x->tty)
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
        add_output(x, stream, data, len);
        cond_broadcast(&x->changed);
    }
    mutex_unlock(&x->lock);
    return r;
}

static int read_ready(struct exec *x, struct pollfd *p, int stream, char *chunk)
{
    if (p->fd < 0 || p->revents == 0)
        return 0;
    ssize_t n = read(p->fd, chunk, CHUNK);
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
    CLEANUP(freep) char *chunk = xmalloc(CHUNK);
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

static void mark_ended(struct exec *x, int code, bool failed)
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
    mark_ended(x, code, false);
    text = xasprintf("%d", code);
    exec_event(x, "exec_die", "exitCode", text);
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
static struct error *launch(struct exec *x, const struct exec_start_options *o)
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

/* 127: not there, 126: cannot be run. */
static int code_of(const struct error *e)
{
    return strstr(e->message, "not found") != NULL || strstr(e->message, "no such file") != NULL ||
                   strstr(e->message, "No such file") != NULL
               ? 127
               : 126;
}

/* ---- the attached client
 * ---------------------------------------------------------------------------------------------------- */

struct input {
    struct exec *exec;
    struct stream *conn;
    struct detach_keys keys;
    bool detached;
};

static void leave(struct exec *x)
{
    mutex_lock(&x->lock);
    x->attached = false;
    buf_clear(&x->data);
    cond_broadcast(&x->changed);
    mutex_unlock(&x->lock);
}

static int borrow_stdin(struct exec *x)
{
    mutex_lock(&x->lock);
    int fd = x->stdin_fd < 0 ? -EPIPE : fcntl(x->stdin_fd, F_DUPFD_CLOEXEC, 3);
    mutex_unlock(&x->lock);
    return fd;
}

static void close_stdin(struct exec *x)
{
    mutex_lock(&x->lock);
    closep(&x->stdin_fd);
    mutex_unlock(&x->lock);
}

static struct error *receive_input(void *arg)
{
    struct input *in = arg;
    struct exec *x = in->exec;
    CLEANUP(freep) char *chunk = xmalloc(CHUNK);
    CLEANUP(closep) int fd = borrow_stdin(x);
    ssize_t n;
    int r = fd;

    while (r >= 0 && !in->detached && (n = stream_read(in->conn, chunk, CHUNK)) > 0) {
        CLEANUP(buf_deinit) struct buf data = { 0 };

        if (x->tty)
            in->detached = detach_keys_filter(&in->keys, (const uint8_t *)chunk, (size_t)n, &data);
        else
            buf_add(&data, chunk, (size_t)n);
        r = fd_write_all(fd, data.data, data.len);
    }
    if (in->detached)
        leave(x);
    else if (r != -ECANCELED && !x->tty)
        close_stdin(x);
    return NULL;
}

/* A connection that is closed on both sides says that the client has gone. */
static struct error *watch_client(void *arg)
{
    struct input *in = arg;

    if (task_wait_fd(stream_fd(in->conn), 0) == 0)
        leave(in->exec);
    return NULL;
}

/* The bytes that wait; empty: the output has ended, or nobody wants more. */
static int take_output(struct exec *x, struct buf *out)
{
    int r = 0;

    buf_clear(out);
    mutex_lock(&x->lock);
    while (r == 0 && x->data.len == 0 && x->attached && !x->output_ended)
        r = cond_wait(&x->changed, &x->lock);
    if (r == 0 && x->attached) {
        struct buf empty = *out;

        *out = x->data;
        x->data = empty;
        cond_broadcast(&x->changed);
    }
    mutex_unlock(&x->lock);
    return r;
}

static struct error *send_output(struct exec *x, struct stream *conn)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };

    for (;;) {
        int r = take_output(x, &out);

        if (r == 0 && out.len == 0)
            return NULL;
        if (r == 0)
            r = stream_write_full(conn, out.data, out.len);
        if (r < 0)
            return task_error(r, "write to an attached client");
    }
}

static struct error *serve(struct exec *x, struct stream *conn)
{
    struct input in = { .exec = x, .conn = conn, .keys = x->detach };
    struct error *e = NULL;
    struct group g;

    group_open(&g, GROUP_KEEP_GOING);
    if (x->want_stdin)
        e = group_spawn(&g, "exec stdin", receive_input, &in);
    if (e == NULL && stream_fd(conn) >= 0)
        e = group_spawn(&g, "exec watch", watch_client, &in);
    if (e == NULL)
        e = send_output(x, conn);
    group_cancel(&g);
    err_free(group_join(&g));
    leave(x);
    if (in.detached)
        container_event(x->container, "exec_detach", "execID", x->id, NULL);
    return e;
}

/* ---- start
 * ----------------------------------------------------------------------------------------------------------------
 */

struct error *exec_start_check(struct exec *x)
{
    TRY(check_container(x->container));
    mutex_lock(&x->lock);
    enum exec_state state = x->state;
    mutex_unlock(&x->lock);
    if (state == EXEC_ENDED)
        return err_new(ERR_CONFLICT, "exec command %s has already run", x->id);
    if (state == EXEC_RUNNING)
        return err_new(ERR_CONFLICT, "exec command %s is already running", x->id);
    return NULL;
}

/* Only one starts it. */
static struct error *claim(struct exec *x, bool attached)
{
    struct error *e = NULL;

    mutex_lock(&x->lock);
    if (x->state != EXEC_CREATED) {
        e = err_new(ERR_CONFLICT, "exec command %s is already running", x->id);
    } else {
        x->state = EXEC_RUNNING;
        x->attached = attached;
    }
    mutex_unlock(&x->lock);
    return e;
}

static struct error *send_failure(struct exec *x, struct stream *conn, const struct error *e)
{
    CLEANUP(freep) char *line = xasprintf("%s\r\n", e->message);
    int r;

    mutex_lock(&x->lock);
    buf_clear(&x->data);
    add_output(x, 1, line, strlen(line));
    struct buf out = x->data;
    x->data = (struct buf){ 0 };
    mutex_unlock(&x->lock);
    r = stream_write_full(conn, out.data, out.len);
    buf_deinit(&out);
    return r < 0 ? task_error(r, "write to an attached client") : NULL;
}

struct error *exec_start(struct exec *x, const struct exec_start_options *o)
{
    struct error *e, *sent;

    TRY(exec_start_check(x));
    TRY(claim(x, o->conn != NULL));
    exec_event(x, "exec_start", NULL, NULL);
    e = launch(x, o);
    if (e != NULL) {
        mark_ended(x, code_of(e), true);
        if (o->conn == NULL)
            return e;
        sent = send_failure(x, o->conn, e);
        err_free(e);
        return sent;
    }
    return o->conn == NULL ? NULL : serve(x, o->conn);
}

/* ---- looking, resizing
 * ------------------------------------------------------------------------------------------------------ */

/* A client asks for it as soon as it has its connection: the process may not be there yet. */
static struct error *resize_started(struct exec *x, unsigned width, unsigned height)
{
    struct error *e = NULL;
    int r = 0;

    mutex_lock(&x->lock);
    while (r == 0 && x->state != EXEC_ENDED && x->process == NULL)
        r = cond_wait(&x->changed, &x->lock);
    if (r == -ETIMEDOUT)
        e = err_new(ERR_UNKNOWN, "timeout waiting for exec session ready");
    else if (r == 0)
        e = x->process == NULL ? err_new(ERR_INVALID, "exec process is not started")
                               : process_resize(x->process, width, height);
    mutex_unlock(&x->lock);
    return r < 0 && e == NULL ? task_error(r, "wait for exec %s", x->id) : e;
}

struct error *exec_resize(struct exec *x, unsigned width, unsigned height)
{
    struct error *e;
    struct deadline d;

    TRY(check_container(x->container));
    deadline_begin(&d, READY_WAIT);
    e = resize_started(x, width, height);
    deadline_end(&d);
    return e;
}

static json_t *process_json(const struct exec *x)
{
    json_t *args = json_array();
    json_t *j;

    for (size_t i = 1; i < x->args.len; i++)
        json_array_append_new(args, json_string(x->args.v[i]));
    j = json_pack("{s:o, s:s, s:b, s:b}", "arguments", args, "entrypoint", x->args.v[0], "privileged",
                  x->privileged, "tty", x->tty);
    if (*x->user != '\0')
        json_object_set_new(j, "user", json_string(x->user));
    return j;
}

json_t *exec_inspect(struct exec *x)
{
    mutex_lock(&x->lock);
    json_t *code = x->state == EXEC_ENDED ? json_integer(x->exit_code) : json_null();
    json_t *j =
        json_pack("{s:s, s:b, s:o, s:o, s:b, s:b, s:b, s:b, s:s, s:s, s:i}", "ID", x->id, "Running",
                  x->state == EXEC_RUNNING, "ExitCode", code, "ProcessConfig", process_json(x), "OpenStdin",
                  x->want_stdin, "OpenStderr", x->want_stderr, "OpenStdout", x->want_stdout, "CanRemove",
                  x->failed, "ContainerID", x->container->id, "DetachKeys", "", "Pid", (int)x->pid);
    mutex_unlock(&x->lock);
    return j;
}
