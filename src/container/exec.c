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
#include "container/exec_impl.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "container/shape.h"
#include "run/user.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>

#define EXEC_KEEP_NS (10 * 60 * NS_PER_SEC)
#define READY_WAIT (10 * NS_PER_SEC)

/* ---- instances
 * ------------------------------------------------------------------------------------------------------------
 */

struct exec *exec_ref(struct exec *x)
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

static struct error *paused_error(struct container *ct)
{
    CLEANUP(freep) char *name = container_name(ct);

    return err_new(ERR_CONFLICT, "Container %s is paused, unpause the container before exec", name);
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
        return paused_error(ct);
    return NULL;
}

void exec_event(struct container *ct, const char *id, const struct strv *args, const char *action,
                const char *key, const char *value)
{
    CLEANUP(freep) char *command = strv_join(args, " ");
    CLEANUP(freep) char *full = xasprintf("%s: %s", action, command);

    container_event(ct, key != NULL ? action : full, "execID", id, key, value, NULL);
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

/* One that is named is looked up at once, in the container as it is by now. */
static struct error *check_user(struct container *ct, const char *user)
{
    CLEANUP(run_user_deinit) struct run_user found = { 0 };
    CLEANUP(closep) int root = -1;

    if (*user == '\0')
        return NULL;
    mutex_lock(&ct->lock);
    root = ct->root_fd < 0 ? -1 : fcntl(ct->root_fd, F_DUPFD_CLOEXEC, 3);
    mutex_unlock(&ct->lock);
    return root < 0 ? NULL : run_user_find(root, user, &found);
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
    TRY(check_user(ct, json_get_string(config, "User")));
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
    exec_event(x->container, x->id, &x->args, "exec_create", NULL, NULL);
    *ret_id = xstrdup(x->id);
    return NULL;
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
static struct error *claim(struct exec *x, const struct exec_start_options *o)
{
    struct error *e = NULL;

    mutex_lock(&x->lock);
    if (x->state != EXEC_CREATED) {
        e = err_new(ERR_CONFLICT, "exec command %s is already running", x->id);
    } else {
        x->state = EXEC_RUNNING;
        x->attached = o->conn != NULL;
        x->raw = o->raw;
    }
    mutex_unlock(&x->lock);
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

struct error *exec_start(struct exec *x, const struct exec_start_options *o)
{
    struct error *e, *sent;

    TRY(exec_start_check(x));
    TRY(claim(x, o));
    exec_event(x->container, x->id, &x->args, "exec_start", NULL, NULL);
    e = exec_launch(x, o);
    if (e != NULL) {
        exec_mark_ended(x, code_of(e), true);
        if (o->conn == NULL) {
            if (e->kind == ERR_INTERNAL) /* the runtime's: the program cannot be run */
                e->kind = ERR_INVALID;
            return e;
        }
        sent = exec_send_failure(x, o->conn, e);
        err_free(e);
        return sent;
    }
    return o->conn == NULL ? NULL : exec_serve(x, o->conn);
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
