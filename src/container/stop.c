/* SPDX-License-Identifier: Apache-2.0 */
/* stop.c - signals to a container: kill, stop, restart; and the size of its terminal */
#include "container/internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "container/shape.h"
#include "container/stats.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#define KILL_WAIT (10 * NS_PER_SEC)

/* Is it one that is sent to end the container?  Its own, and any where its configuration names none: so
 * dockerd sees it. */
static bool is_final(const struct container *ct, int signal)
{
    const char *own = json_get_string(ct->config, "StopSignal");

    return signal == SIGKILL || *own == '\0' || signal_parse(own) == signal;
}

/* A container whose restart was called off ends without a process, but for one that is being started at this
 * very moment: until it is clear which. */
static struct error *await_restart(struct container *ct)
{
    int r = 0;

    mutex_lock(&ct->lock);
    while (r == 0 && ct->state.restarting)
        r = cond_wait(&ct->changed, &ct->lock);
    mutex_unlock(&ct->lock);
    return r < 0 ? task_error(r, "wait for the restart of container %s", ct->id) : NULL;
}

/* Send a signal to the process, if there is one. */
static struct error *send_signal(struct container *ct, int signal)
{
    struct process *p = container_process_get(ct);

    if (p == NULL) /* while it ends there is nobody to have it */
        return container_is_running(ct) ? NULL : err_new(ERR_CONFLICT, "container %s is not running", ct->id);
    struct error *e = process_signal(p, signal);
    container_process_put(ct);
    if (e == NULL && is_final(ct, signal) && container_is_paused(ct)) /* it sees it only when it goes on */
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

struct error *container_kill_and_wait(struct container *ct)
{
    bool restarting = container_is_restarting(ct);

    TRY(await_restart(ct));
    struct error *e = send_signal(ct, SIGKILL);
    if (restarting && err_is(e, ERR_CONFLICT)) { /* there was nothing to kill */
        err_free(e);
        return NULL;
    }
    TRY(e);
    signal_event(ct, SIGKILL);
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
    restart_signalled(ct, is_final(ct, number));
    if (number != SIGKILL && container_is_restarting(ct))
        return NULL; /* when it calls the restart off, that is done */
    if (number != SIGKILL) {
        TRY(send_signal(ct, number));
        signal_event(ct, number);
        return NULL;
    }
    shield_begin(&d, KILL_WAIT * 2);
    struct error *e = container_kill_and_wait(ct);
    shield_end(&d);
    return e;
}

int64_t container_stop_timeout(const struct container *ct, const int64_t *given)
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
    TRY(await_restart(ct));
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
    return container_kill_and_wait(ct);
}

struct error *container_stop_quietly(struct container *ct)
{
    return stop(ct, stop_signal(ct), container_stop_timeout(ct, NULL));
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
    restart_signalled(ct, true);
    struct error *e = stop(ct, number, container_stop_timeout(ct, timeout_s));
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
