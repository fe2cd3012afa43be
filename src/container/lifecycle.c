/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lifecycle.c - start, watch, stop, kill, remove
 *
 *   created --start--> running --end--> exited --start--> ..
 *                        |  container_monitor: pumps, port proxies, waits for the process, cleans up
 *
 * A start holds ct->operations until the process runs; the monitor does the rest as a task of the room's
 * group.
 */
#include "container/internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "container/shape.h"
#include "container/stats.h"
#include "io/path.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define PUMP_GRACE (2 * NS_PER_SEC) /* output may come from a process that outlives the first one */
#define KILL_WAIT (10 * NS_PER_SEC)
#define USERS_PAUSE (100 * NS_PER_MS)
#define SHUTDOWN_GRACE 5               /* seconds beyond a container's own */
#define MAX_SECONDS ((int64_t)1 << 30) /* more is as good as forever, and fits in ns */

/* One run of a container: from its start to its end.  Owned by the start until the monitor takes it. */
struct run {
    struct container *container; /* a reference */
    struct process *process;
    struct logfile *log;
    struct launch *launch;
    struct output out, err; /* fd -1: none */
    struct group pumps, proxies;
    bool pumps_open, proxies_open, published;
};

static void end_proxies(struct run *r)
{
    if (!r->proxies_open)
        return;
    group_cancel(&r->proxies);
    err_free(group_join(&r->proxies));
    r->proxies_open = false;
}

static void run_free(struct run *r)
{
    if (r == NULL)
        return;
    end_proxies(r);
    if (r->pumps_open) {
        group_cancel(&r->pumps);
        err_free(group_join(&r->pumps));
    }
    closep(&r->out.fd);
    closep(&r->err.fd);
    process_free(r->process);
    launch_free(r->launch);
    logfile_unref(r->log);
    container_unref(r->container);
    free(r);
}

/* ---- start
 * --------------------------------------------------------------------------------------------------------------------
 */

static int make_pipe(int *ret_read, int *ret_write)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    *ret_read = fds[0];
    *ret_write = fds[1];
    return 0;
}

static struct error *open_log(struct run *r)
{
    const json_t *l = json_object_get(r->container->host_config, "LogConfig");
    struct logfile_options o;

    if (streq(json_get_string(l, "Type"), "none"))
        return NULL;
    TRY(logfile_options_parse(json_object_get(l, "Config"), &o));
    return logfile_open(r->container->log_path, &o, &r->log);
}

struct stdio {
    int in_read, in_write, out_write, err_write;
};

static void stdio_deinit(struct stdio *s)
{
    closep(&s->in_read);
    closep(&s->in_write);
    closep(&s->out_write);
    closep(&s->err_write);
}

static struct error *make_stdio(struct run *r, struct stdio *s)
{
    int n = make_pipe(&r->out.fd, &s->out_write);

    if (n == 0)
        n = make_pipe(&r->err.fd, &s->err_write);
    if (n == 0 && json_get_bool(r->container->config, "OpenStdin"))
        n = make_pipe(&s->in_read, &s->in_write);
    if (n == 0 && s->in_write >= 0 && fcntl(s->in_write, F_SETFL, O_NONBLOCK) < 0)
        n = -errno;
    return n < 0 ? err_sys(-n, "make a pipe") : NULL;
}

/* A terminal's master is read, written and resized through descriptors of its own. */
static struct error *use_console(struct run *r, struct stdio *s)
{
    int console = process_console(r->process);

    r->out.fd = fcntl(console, F_DUPFD_CLOEXEC, 3);
    s->in_write = fcntl(console, F_DUPFD_CLOEXEC, 3);
    if (r->out.fd < 0 || s->in_write < 0 || fcntl(console, F_SETFL, O_NONBLOCK) < 0)
        return err_sys(errno, "use the terminal");
    return NULL;
}

static struct error *create_process(struct run *r, struct stdio *s)
{
    struct container *ct = r->container;
    struct run_spec *spec;

    TRY(launch_new(ct, &r->launch));
    spec = launch_spec(r->launch);
    if (!ct->tty) {
        TRY(make_stdio(r, s));
        spec->stdin_fd = s->in_read;
        spec->stdout_fd = s->out_write;
        spec->stderr_fd = s->err_write;
    }
    TRY(process_create(ct->all->config->runner, spec, &r->process));
    return ct->tty ? use_console(r, s) : NULL;
}

static struct error *spawn_pumps(struct run *r)
{
    struct output *outputs[] = { &r->out, &r->err };

    group_open(&r->pumps, GROUP_KEEP_GOING | GROUP_DAEMON);
    r->pumps_open = true;
    for (size_t i = 0; i < ARRAY_LEN(outputs); i++) {
        struct output *o = outputs[i];

        if (o->fd < 0)
            continue;
        o->container = r->container;
        o->log = r->log;
        o->stream = i == 0 ? LOG_STDOUT : LOG_STDERR;
        TRY(group_spawn(&r->pumps, "container output", output_pump, o));
    }
    return NULL;
}

/* What others see of a running container, all at once. */
static void publish_run(struct run *r, struct stdio *s, struct port_bindings *ports, int64_t started_ns)
{
    struct container *ct = r->container;
    const struct netns *ns = process_netns(r->process);

    mutex_lock(&ct->lock);
    ct->process = r->process;
    ct->log = r->log != NULL ? logfile_ref(r->log) : NULL;
    ct->stdin_fd = TAKE_FD(s->in_write);
    ct->stdin_closed = ct->stdin_fd < 0;
    ct->root_fd = fcntl(launch_spec(r->launch)->rootfs_fd, F_DUPFD_CLOEXEC, 3);
    ct->ports = *ports;
    memset(ports, 0, sizeof(*ports));
    ct->ip = xstrdup(ns != NULL ? netns_ip(ns) : NULL);
    ct->mac = xstrdup(ns != NULL ? netns_mac(ns) : NULL);
    random_hex(ct->sandbox_id, 32);
    free(TAKE(ct->state.error));
    ct->state.running = true;
    ct->state.restarting = false;
    ct->state.oom_killed = false;
    ct->state.exit_code = 0;
    ct->state.pid = process_pid(r->process);
    ct->state.started_ns = started_ns;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
    r->published = true;
}

/* Until nobody uses the process any more.  What execs started may outlive it where no process namespace ends
 * them, and one may come at the last moment. */
static void await_users(struct container *ct)
{
    bool busy = true;
    int wait = 0;

    while (busy && wait == 0) {
        bool timed_out;

        execs_kill(ct);
        mutex_lock(&ct->lock);
        if (ct->process_users > 0)
            wait = cond_wait_for(&ct->changed, &ct->lock, USERS_PAUSE, &timed_out);
        busy = ct->process_users > 0;
        mutex_unlock(&ct->lock);
    }
}

static void withdraw_run(struct run *r)
{
    struct container *ct = r->container;

    end_proxies(r); /* they accept on sockets that are closed here; a health check uses the process */
    await_users(ct);
    mutex_lock(&ct->lock);
    ct->process = NULL;
    closep(&ct->stdin_fd);
    closep(&ct->root_fd);
    ct->stdin_closed = true;
    struct port_bindings ports = ct->ports;
    memset(&ct->ports, 0, sizeof(ct->ports));
    free(TAKE(ct->ip));
    free(TAKE(ct->mac));
    logfile_unref(TAKE(ct->log));
    ct->endpoint_id[0] = ct->sandbox_id[0] = '\0';
    ct->state.pid = 0;
    mutex_unlock(&ct->lock);
    ports_unpublish(&ports, r->process, ct->all->config->runner);
    ports_deinit(&ports);
}

static struct error *bind_ports(struct container *ct, struct port_bindings *ports)
{
    CLEANUP(freep) char *name = container_name(ct);
    char endpoint[65];

    random_hex(endpoint, 32);
    mutex_lock(&ct->lock);
    memcpy(ct->endpoint_id, endpoint, sizeof(endpoint));
    mutex_unlock(&ct->lock);
    return err_wrap(ports_bind(ct, ports),
                    "failed to set up container networking: driver failed programming external connectivity "
                    "on endpoint %s (%s)",
                    name, endpoint);
}

/* It ends with the run's proxies. */
static struct error *spawn_health(struct run *r)
{
    struct container *ct = container_ref(r->container);
    struct error *e = group_spawn(&r->proxies, "health check", health_task, ct);

    if (e != NULL)
        container_unref(ct);
    return e;
}

static struct error *begin_run(struct run *r, struct stdio *s, struct port_bindings *ports)
{
    struct container *ct = r->container;
    int64_t started;

    TRY(ports_parse(ct->config, ct->host_config, ct->all->config->defaults->publish_ip, ports));
    TRY(bind_ports(ct, ports));
    TRY(open_log(r));
    TRY(create_process(r, s));
    group_open(&r->proxies, GROUP_KEEP_GOING | GROUP_DAEMON);
    r->proxies_open = true;
    TRY(ports_publish(ports, r->process, ct->all->config->runner, &r->proxies));
    TRY(spawn_pumps(r));
    started = now_ns();
    bool checked = health_begin(ct);
    publish_run(r, s, ports, started);
    TRY(process_start(r->process));
    return checked ? spawn_health(r) : NULL;
}

/* 127: not there; 126: cannot be run.  The client is at fault then. */
static struct error *judge_failure(struct container *ct, struct error *e)
{
    int code = 128;
    struct error *judged;

    if (strstr(e->message, "not found in $PATH") != NULL ||
        strstr(e->message, "No such file or directory") != NULL ||
        strstr(e->message, "no such file or directory") != NULL)
        code = 127;
    else if (strstr(e->message, "ermission denied") != NULL || strstr(e->message, "s a directory") != NULL)
        code = 126;
    judged = code == 128 ? err_clone(e) : err_new(ERR_INVALID, "%s", e->message);
    err_free(e);
    mutex_lock(&ct->lock);
    ct->endpoint_id[0] = '\0';
    free(ct->state.error);
    ct->state.error = xstrdup(judged->message);
    ct->state.running = ct->state.restarting = false;
    ct->state.exit_code = code;
    ct->exits++;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
    return judged;
}

static struct error *try_start(struct container *ct)
{
    CLEANUP(stdio_deinit) struct stdio s = { -1, -1, -1, -1 };
    CLEANUP(ports_deinit) struct port_bindings ports = { 0 };
    struct run *r = NEW(struct run);
    struct deadline root;

    r->container = container_ref(ct);
    r->out.fd = r->err.fd = -1;
    /* The pumps and proxies outlive the request that starts the container. */
    shield_begin(&root, INT64_MAX);
    struct error *e = begin_run(r, &s, &ports);
    stdio_deinit(&s); /* the container has its ends, and only it */
    if (e == NULL) {
        e = container_save(ct, false);
        if (e == NULL)
            e = group_spawn(&ct->all->group, "container", container_monitor, r);
    }
    if (e != NULL) {
        if (r->published)
            withdraw_run(r);
        else if (r->process != NULL)
            ports_unpublish(&ports, r->process, ct->all->config->runner);
        run_free(r);
    }
    shield_end(&root);
    return e;
}

static struct error *check_startable(struct container *ct)
{
    mutex_lock(&ct->lock);
    bool running = ct->state.running, going = ct->state.removing || ct->state.removed || ct->state.dead;
    bool paused = ct->state.paused;
    mutex_unlock(&ct->lock);
    if (paused)
        return err_new(ERR_CONFLICT, "cannot start a paused container, try unpause instead");
    if (running)
        return err_new(ERR_NOT_MODIFIED, "container %s is already running", ct->id);
    if (going)
        return err_new(ERR_CONFLICT, "container is marked for removal and cannot be started");
    mutex_lock(&ct->all->close_lock);
    bool closing = ct->all->closing;
    mutex_unlock(&ct->all->close_lock);
    return closing ? err_new(ERR_UNAVAILABLE, "the daemon is shutting down") : NULL;
}

static struct error *start(struct container *ct)
{
    struct error *e = try_start(ct);

    if (e == NULL) {
        container_event(ct, "start", NULL);
        return NULL;
    }
    e = judge_failure(ct, e);
    health_end(ct);
    output_close(ct);
    log_err(LOG_WARN, container_save(ct, false), "cannot save a container's state");
    return e;
}

static void remove_ended(struct container *ct);

/* A user's start begins a new series of restarts. */
static struct error *start_anew(struct container *ct)
{
    mutex_lock(&ct->lock);
    ct->stopped_by_user = false;
    ct->restarts = ct->restart_delay_ns = 0;
    mutex_unlock(&ct->lock);
    return start(ct);
}

struct error *container_start_again(struct container *ct)
{
    int r = semaphore_acquire(&ct->operations, 1);

    if (r < 0)
        return task_error(r, "restart container %s", ct->id);
    mutex_lock(&ct->lock);
    bool go = ct->state.restarting && !ct->stopped_by_user && !ct->state.removing;
    mutex_unlock(&ct->lock);
    struct error *e = go ? start(ct) : err_new(ERR_CONFLICT, "container %s was stopped", ct->id);
    semaphore_release(&ct->operations, 1);
    return e;
}

struct error *container_start(struct container *ct)
{
    int r = semaphore_acquire(&ct->operations, 1);

    if (r < 0)
        return task_error(r, "start container %s", ct->id);
    struct error *refused = check_startable(ct);
    struct error *e = refused == NULL ? start_anew(ct) : NULL;
    semaphore_release(&ct->operations, 1);
    if (e != NULL && json_get_bool(ct->host_config, "AutoRemove"))
        remove_ended(ct);
    return e != NULL ? e : refused;
}

/* ---- the monitor
 * --------------------------------------------------------------------------------------------------------------
 */

static void drain_pumps(struct run *r)
{
    struct deadline d;
    int wait = 0;

    /* The process namespace is gone, and with it nearly always the last writer. */
    deadline_begin(&d, PUMP_GRACE);
    while (wait == 0 && group_live(&r->pumps) > 0)
        wait = task_sleep(NS_PER_MS);
    deadline_end(&d);
    group_cancel(&r->pumps);
    err_free(group_join(&r->pumps));
    r->pumps_open = false;
}

/* `again`: it is to come back, so that it counts as running. */
static void mark_exited(struct container *ct, int code, bool oom, bool again)
{
    mutex_lock(&ct->lock);
    ct->state.paused = false;
    ct->state.running = ct->state.restarting = again;
    ct->state.exit_code = code;
    ct->state.oom_killed = oom;
    ct->state.finished_ns = now_ns();
    ct->exits += again ? 0 : 1;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
}

static void announce_exit(struct container *ct, int code, bool oom)
{
    CLEANUP(freep) char *exit_code = xasprintf("%d", code);
    CLEANUP(freep) char *seconds = NULL;

    mutex_lock(&ct->lock);
    seconds = xasprintf("%lld", (long long)((ct->state.finished_ns - ct->state.started_ns) / NS_PER_SEC));
    mutex_unlock(&ct->lock);
    if (oom)
        container_event(ct, "oom", NULL);
    container_event(ct, "die", "execDuration", seconds, "exitCode", exit_code, NULL);
}

/* A removal that follows at once finds its end written and announced.  True: it is to come back. */
static bool finish(struct container *ct, int code, bool oom)
{
    int r = semaphore_acquire(&ct->operations, 1);
    bool again = restart_is_wanted(ct, code);

    mark_exited(ct, code, oom, again);
    log_err(LOG_WARN, container_save(ct, false), "cannot save a container's state");
    announce_exit(ct, code, oom);
    if (r == 0)
        semaphore_release(&ct->operations, 1);
    return again;
}

/* Somebody may be removing it already. */
static void remove_ended(struct container *ct)
{
    struct error *e = container_remove(ct, ct->id, true);

    if (err_is(e, ERR_CONFLICT) || err_is(e, ERR_NOT_FOUND))
        err_free(e);
    else
        log_err(LOG_WARN, e, "cannot remove a container that has ended");
}

struct error *container_monitor(void *run)
{
    struct run *r = run;
    struct container *ct = container_ref(r->container);
    struct deadline shield;
    int code = 128 + SIGKILL;
    bool oom = false;

    struct error *e = process_wait(r->process, &code, &oom);
    shield_begin(&shield, INT64_MAX);
    drain_pumps(r);
    if (r->log != NULL)
        logfile_end(r->log);
    withdraw_run(r);
    run_free(r);
    output_close(ct);
    health_end(ct);
    bool again = finish(ct, code, oom);
    if (!again && json_get_bool(ct->host_config, "AutoRemove"))
        remove_ended(ct);
    shield_end(&shield);
    if (again)
        restart_run(ct);
    container_unref(ct);
    return e;
}

/* ---- signals
 * ------------------------------------------------------------------------------------------------------------------
 */

/* Send a signal to the process, if there is one. */
static struct error *send_signal(struct container *ct, int signal)
{
    struct process *p = container_process_get(ct);

    if (p == NULL) /* while it ends, or waits for its restart, there is nobody to have it */
        return container_is_running(ct) ? NULL : err_new(ERR_CONFLICT, "container %s is not running", ct->id);
    struct error *e = process_signal(p, signal);
    container_process_put(ct);
    if (e == NULL && container_is_paused(ct)) /* it sees the signal only when it goes on */
        log_err(LOG_WARN, container_pause(ct, false), "cannot unpause a container for a signal");
    if (err_is(e, ERR_NOT_FOUND)) { /* it is ending by itself */
        err_free(e);
        return NULL;
    }
    return e;
}

/* 0, -ETIMEDOUT after timeout_ns (negative: never), -ECANCELED. */
static int wait_stopped(struct container *ct, int64_t timeout_ns)
{
    int64_t until = monotonic_ns() + timeout_ns;
    int r = 0;

    mutex_lock(&ct->lock);
    while (r == 0 && ct->state.running) {
        bool timed_out = false;

        if (timeout_ns < 0)
            r = cond_wait(&ct->changed, &ct->lock);
        else
            r = cond_wait_for(&ct->changed, &ct->lock, MAX(until - monotonic_ns(), (int64_t)0), &timed_out);
        if (r == 0 && timeout_ns >= 0 && monotonic_ns() >= until && ct->state.running)
            r = -ETIMEDOUT;
    }
    mutex_unlock(&ct->lock);
    return r;
}

static void signal_event(struct container *ct, int signal)
{
    CLEANUP(freep) char *text = xasprintf("%d", signal);

    container_event(ct, "kill", "signal", text, NULL);
}

static struct error *kill_and_wait(struct container *ct)
{
    if (!container_is_restarting(ct)) { /* else there is nothing to kill, and its wait ends by itself */
        TRY(send_signal(ct, SIGKILL));
        signal_event(ct, SIGKILL);
    }
    if (wait_stopped(ct, KILL_WAIT) < 0)
        return err_new(ERR_INTERNAL, "tried to kill container, but did not receive an exit event");
    return NULL;
}

static int stop_signal(const struct container *ct)
{
    const char *text = json_get_string(ct->config, "StopSignal");
    int number = *text != '\0' ? signal_parse(text) : SIGTERM;

    return number > 0 ? number : SIGTERM;
}

struct error *container_kill(struct container *ct, const char *signal)
{
    int number = signal != NULL && *signal != '\0' ? signal_parse(signal) : SIGKILL;
    struct deadline d;

    if (number < 0)
        return err_new(ERR_INVALID, "invalid signal: %s", signal);
    if (number == SIGKILL || number == stop_signal(ct))
        restart_call_off(ct);
    if (number != SIGKILL && container_is_restarting(ct))
        return NULL; /* when it calls the restart off, that is done */
    if (number != SIGKILL) {
        TRY(send_signal(ct, number));
        signal_event(ct, number);
        return NULL;
    }
    shield_begin(&d, KILL_WAIT * 2);
    struct error *e = kill_and_wait(ct);
    shield_end(&d);
    return e;
}

static int64_t stop_timeout(const struct container *ct, const int64_t *given)
{
    const json_t *own = json_object_get(ct->config, "StopTimeout");

    if (given != NULL)
        return *given;
    if (json_is_integer(own))
        return json_integer_value(own);
    int by_default = ct->all->config->defaults->stop_timeout;

    return by_default >= 0 ? by_default : 10;
}

static struct error *stop(struct container *ct, int signal, int64_t timeout_s)
{
    struct error *e = send_signal(ct, signal);

    if (err_is(e, ERR_CONFLICT)) { /* it has ended meanwhile */
        err_free(e);
        return NULL;
    }
    TRY(e);
    signal_event(ct, signal);
    if (wait_stopped(ct, timeout_s < 0 ? -1 : MIN(timeout_s, MAX_SECONDS) * NS_PER_SEC) == 0)
        return NULL;
    log_info("container did not stop in time and is killed", "id", ct->id);
    return kill_and_wait(ct);
}

struct error *container_stop(struct container *ct, const char *signal, const int64_t *timeout_s)
{
    int number = signal != NULL && *signal != '\0' ? signal_parse(signal) : stop_signal(ct);
    struct deadline d;

    if (number < 0)
        return err_new(ERR_INVALID, "invalid signal: %s", signal);
    if (!container_is_running(ct))
        return err_new(ERR_NOT_MODIFIED, "container is already stopped");
    shield_begin(&d, INT64_MAX);
    restart_call_off(ct);
    struct error *e = stop(ct, number, stop_timeout(ct, timeout_s));
    if (e == NULL)
        log_err(LOG_WARN, container_save(ct, false), "cannot save a container's state");
    /* Its end is announced before the stop that brought it. */
    if (semaphore_acquire(&ct->operations, 1) == 0)
        semaphore_release(&ct->operations, 1);
    shield_end(&d);
    if (e == NULL)
        container_event(ct, "stop", NULL);
    return e;
}

struct error *container_restart(struct container *ct, const char *signal, const int64_t *timeout_s)
{
    struct error *e = container_stop(ct, signal, timeout_s);

    if (e != NULL && e->kind != ERR_NOT_MODIFIED)
        return e;
    err_free(e);
    TRY(container_start(ct));
    container_event(ct, "restart", NULL);
    return NULL;
}

struct error *container_resize(struct container *ct, unsigned width, unsigned height)
{
    mutex_lock(&ct->lock);
    struct error *e = ct->process == NULL || !ct->state.running
                          ? err_new(ERR_CONFLICT, "container %s is not running", ct->id)
                          : process_resize(ct->process, width, height);
    mutex_unlock(&ct->lock);
    TRY(e);
    CLEANUP(freep) char *w = xasprintf("%u", width), *h = xasprintf("%u", height);
    container_event(ct, "resize", "height", h, "width", w, NULL);
    return NULL;
}

/* ---- rename and remove
 * -------------------------------------------------------------------------------------------------------- */

struct error *container_rename(struct container *ct, const char *name)
{
    CLEANUP(freep) char *old = container_name(ct);
    CLEANUP(freep) char *shown = xasprintf("/%s", old);

    name += *name == '/';
    if (*name == '\0')
        return err_new(ERR_INVALID, "Neither old nor new names may be empty");
    if (streq(old, name))
        return err_new(ERR_INVALID, "Renaming a container with the same name as its current name");
    TRY(err_wrap(table_name(ct->all, ct, name), "Error when allocating new name"));
    TRY(container_save(ct, true));
    container_event(ct, "rename", "oldName", shown, NULL);
    return NULL;
}

static struct error *remove_stopped(struct container *ct)
{
    mutex_lock(&ct->lock);
    ct->state.dead = true;
    mutex_unlock(&ct->lock);
    TRY(err_wrap(container_discard_files(ct), "unable to remove filesystem"));
    table_remove(ct->all, ct);
    mutex_lock(&ct->lock);
    ct->state.removed = true;
    ct->state.dead = false;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
    container_event(ct, "destroy", NULL);
    return NULL;
}

static struct error *stop_for_removal(struct container *ct, bool force)
{
    if (!container_is_running(ct))
        return NULL;
    if (!force && container_is_paused(ct))
        return err_new(ERR_CONFLICT, "container is paused and must be unpaused first");
    if (!force)
        return err_new(ERR_CONFLICT, "container is %s: stop the container before removing or force remove",
                       container_is_restarting(ct) ? "restarting" : "running");
    struct error *e = kill_and_wait(ct);
    if (err_is(e, ERR_CONFLICT)) {
        err_free(e);
        e = NULL;
    }
    return err_wrap(e, "could not kill container");
}

struct error *container_remove(struct container *ct, const char *shown, bool force)
{
    struct deadline d;

    mutex_lock(&ct->lock);
    bool removed = ct->state.removed, busy = ct->state.removing;
    ct->state.removing = true;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
    if (removed)
        return err_new(ERR_NOT_FOUND, "No such container: %s", shown);
    if (busy)
        return err_new(ERR_CONFLICT, "removal of container %s is already in progress", shown);
    shield_begin(&d, INT64_MAX);
    struct error *e = stop_for_removal(ct, force);
    if (e == NULL) {
        int r = semaphore_acquire(&ct->operations, 1);

        e = r < 0 ? task_error(r, "remove") : remove_stopped(ct);
        if (r == 0)
            semaphore_release(&ct->operations, 1);
    }
    shield_end(&d);
    mutex_lock(&ct->lock);
    ct->state.removing = false;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
    return err_wrap(e, "cannot remove container \"%s\"", shown);
}

/* ---- waiting
 * ------------------------------------------------------------------------------------------------------------------
 */

void container_wait_begin(struct container *ct, enum wait_condition condition, struct container_waiter *ret)
{
    mutex_lock(&ct->lock);
    *ret = (struct container_waiter){ .container = container_ref(ct),
                                      .condition = condition,
                                      .exits = ct->exits };
    mutex_unlock(&ct->lock);
}

static bool is_met_locked(const struct container_waiter *w)
{
    const struct container *ct = w->container;

    switch (w->condition) {
    case WAIT_NOT_RUNNING:
        return !ct->state.running;
    case WAIT_NEXT_EXIT:
        return ct->exits != w->exits || ct->state.removed;
    case WAIT_REMOVED:
        return ct->state.removed;
    }
    return true;
}

struct error *container_wait_end(struct container_waiter *w, int *ret_code, char **ret_error)
{
    struct container *ct = w->container;
    int r = 0;

    mutex_lock(&ct->lock);
    while (r == 0 && !is_met_locked(w))
        r = cond_wait(&ct->changed, &ct->lock);
    *ret_code = ct->state.exit_code;
    *ret_error = ct->state.removed ? NULL : xstrdup(ct->state.error); /* whoever started it was told */
    mutex_unlock(&ct->lock);
    container_unref(TAKE(w->container));
    if (r == 0)
        return NULL;
    free(TAKE(*ret_error));
    return task_error(r, "wait for the container");
}

/* ---- the room
 * -----------------------------------------------------------------------------------------------------------------
 */

struct error *containers_open(const struct containers_config *config, struct containers **ret)
{
    struct containers *c = NEW(struct containers);
    struct deadline root;

    c->config = config;
    mutex_init(&c->lock);
    mutex_init(&c->close_lock);
    /* Containers are ended by containers_close, not by what cancels the task that opens the room. */
    shield_begin(&root, INT64_MAX);
    group_open(&c->group, GROUP_KEEP_GOING | GROUP_DAEMON);
    shield_end(&root);
    int r = make_dirs(config->root, 0710);
    if (r < 0) {
        containers_close(c);
        return err_sys(-r, "create %s", config->root);
    }
    table_load(c);
    *ret = c;
    return NULL;
}

static struct error *stop_one(void *arg)
{
    struct container *ct = arg;
    struct error *e = container_is_running(ct) ? stop(ct, stop_signal(ct), stop_timeout(ct, NULL)) : NULL;

    container_unref(ct);
    return e;
}

/* Those that wait for a restart see that the room closes. */
static void wake_all(struct containers *c)
{
    size_t count;
    struct container **list = table_all(c, &count);

    for (size_t i = 0; i < count; i++) {
        mutex_lock(&list[i]->lock);
        cond_broadcast(&list[i]->changed);
        mutex_unlock(&list[i]->lock);
    }
    table_all_free(list, count);
}

static void stop_all(struct containers *c)
{
    struct group g;
    size_t count;
    struct container **list = table_all(c, &count);

    group_open(&g, GROUP_KEEP_GOING | GROUP_DAEMON);
    for (size_t i = 0; i < count; i++) {
        if (!container_is_running(list[i]))
            continue;
        struct error *e = group_spawn(&g, "stop", stop_one, container_ref(list[i]));
        if (e != NULL) {
            err_free(e);
            log_err(LOG_WARN, stop_one(list[i]), "cannot stop a container"); /* takes the reference */
        }
    }
    err_free(group_join(&g));
    table_all_free(list, count);
}

/* Whoever did not stop in time. */
static void kill_all(struct containers *c)
{
    size_t count;
    struct container **list = table_all(c, &count);

    for (size_t i = 0; i < count; i++) {
        struct error *e = container_is_running(list[i]) ? kill_and_wait(list[i]) : NULL;

        log_err(LOG_WARN, e, "cannot kill a container");
    }
    table_all_free(list, count);
}

/* ns; the daemon's own timeout is no reason to kill one before its time is over. */
static int64_t shutdown_time(struct containers *c)
{
    int64_t seconds = c->config->defaults->shutdown_timeout;
    size_t count;
    struct container **list = table_all(c, &count);

    for (size_t i = 0; i < count; i++) {
        int64_t own = container_is_running(list[i]) ? stop_timeout(list[i], NULL) : 0;

        if (own < 0)
            seconds = -1;
        else if (seconds >= 0)
            seconds = MAX(seconds, MIN(own, MAX_SECONDS) + SHUTDOWN_GRACE);
    }
    table_all_free(list, count);
    return seconds < 0 ? INT64_MAX : MIN(seconds, MAX_SECONDS) * NS_PER_SEC;
}

void containers_close(struct containers *c)
{
    struct deadline d;

    if (c == NULL)
        return;
    mutex_lock(&c->close_lock);
    c->closing = true;
    mutex_unlock(&c->close_lock);
    wake_all(c);
    shield_begin(&d, shutdown_time(c));
    stop_all(c);
    shield_end(&d);
    shield_begin(&d, KILL_WAIT * 2);
    kill_all(c);
    shield_end(&d);
    group_cancel(&c->group);
    err_free(group_join(&c->group));
    execs_close(c);
    for (size_t i = 0; i < c->count; i++)
        container_unref(c->list[i]);
    free(c->list);
    mutex_deinit(&c->close_lock);
    mutex_deinit(&c->lock);
    free(c);
}
