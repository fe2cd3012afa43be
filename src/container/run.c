/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - one run of a container, from its start to its end
 *
 *   created --start--> running --end--> exited --start--> ..
 *                        |  monitor: pumps, port proxies, waits for the process, cleans up
 *
 * A start holds ct->operations until the process runs; the monitor does the rest as a task of the room's
 * group.
 */
#include "container/internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "container/shape.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define PUMP_GRACE (2 * NS_PER_SEC) /* output may come from a process that outlives the first one */
#define USERS_PAUSE (100 * NS_PER_MS)

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

static struct error *monitor(void *run);

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
            e = group_spawn(&ct->all->group, "container", monitor, r);
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

/* Somebody may be removing it already. */
static void remove_ended(struct container *ct)
{
    struct error *e = container_remove(ct, ct->id, true);

    if (err_is(e, ERR_CONFLICT) || err_is(e, ERR_NOT_FOUND))
        err_free(e);
    else
        log_err(LOG_WARN, e, "cannot remove a container that has ended");
}

/* A user's start begins a new series of restarts. */
static struct error *start_anew(struct container *ct)
{
    mutex_lock(&ct->lock);
    ct->stopped_by_user = ct->signalled_by_user = false;
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

static struct error *monitor(void *run)
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
