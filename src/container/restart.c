/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restart.c - restart policies
 *
 * A container that ends and is to come back stays "running" for all that asks, and is shown as restarting;
 * the task that watched it waits for a while, longer each time, and starts it again.  Who stops or removes it
 * ends the wait.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "container/internal.h"
#include "container/shape.h"

#define DELAY_MIN (100 * NS_PER_MS)
#define DELAY_MAX (60 * NS_PER_SEC)
#define STEADY (10 * NS_PER_SEC) /* a run this long begins a new series */

static bool room_is_closing(struct container *ct)
{
    mutex_lock(&ct->all->close_lock);
    bool closing = ct->all->closing;
    mutex_unlock(&ct->all->close_lock);
    return closing;
}

/* By the policy alone; with ct->lock held. */
static bool policy_wants_locked(const struct container *ct, int code)
{
    const json_t *policy = json_object_get(ct->host_config, "RestartPolicy");
    const char *name = json_get_string(policy, "Name");
    int64_t most = json_get_int(policy, "MaximumRetryCount");

    if (streq(name, "always"))
        return true;
    if (streq(name, "unless-stopped"))
        return !ct->stopped_by_user && !ct->signalled_by_user;
    return streq(name, "on-failure") && code != 0 && (most == 0 || ct->restarts < most);
}

bool restart_is_wanted(struct container *ct, int code)
{
    if (room_is_closing(ct))
        return false;
    mutex_lock(&ct->lock);
    bool wanted =
        !ct->stopped_by_user && !ct->state.removing && !ct->state.removed && policy_wants_locked(ct, code);
    mutex_unlock(&ct->lock);
    return wanted;
}

static int64_t next_delay_locked(struct container *ct)
{
    bool steady = ct->state.finished_ns - ct->state.started_ns >= STEADY;

    ct->restart_delay_ns =
        steady || ct->restart_delay_ns == 0 ? DELAY_MIN : MIN(2 * ct->restart_delay_ns, DELAY_MAX);
    return ct->restart_delay_ns;
}

static bool is_called_off_locked(const struct container *ct)
{
    return ct->stopped_by_user || ct->state.removing || ct->state.removed;
}

/* True when it is time; false when the restart is called off. */
static bool wait_delay(struct container *ct)
{
    int r = 0;

    mutex_lock(&ct->lock);
    int64_t until = monotonic_ns() + next_delay_locked(ct);
    while (r == 0 && !is_called_off_locked(ct) && !room_is_closing(ct) && monotonic_ns() < until) {
        bool timed_out;

        r = cond_wait_for(&ct->changed, &ct->lock, MAX(until - monotonic_ns(), (int64_t)1), &timed_out);
    }
    bool go = r == 0 && !is_called_off_locked(ct);
    mutex_unlock(&ct->lock);
    return go && !room_is_closing(ct);
}

static void give_up(struct container *ct)
{
    mutex_lock(&ct->lock);
    ct->state.running = ct->state.restarting = false;
    ct->exits++;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
    log_err(LOG_WARN, container_save(ct, false), "cannot save a container's state");
}

void restart_run(struct container *ct)
{
    struct error *e;

    if (!wait_delay(ct)) {
        give_up(ct);
        return;
    }
    mutex_lock(&ct->lock);
    ct->restarts++;
    mutex_unlock(&ct->lock);
    e = container_start_again(ct);
    if (e == NULL)
        return;
    log_err(LOG_WARN, e, "cannot restart a container");
    mutex_lock(&ct->lock);
    bool waiting = ct->state.restarting;
    mutex_unlock(&ct->lock);
    if (waiting)
        give_up(ct);
}

void restart_signalled(struct container *ct, bool final)
{
    mutex_lock(&ct->lock);
    ct->signalled_by_user = true;
    ct->stopped_by_user = ct->stopped_by_user || final;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
}

void containers_start_wanted(struct containers *c)
{
    size_t count;
    struct container **list = table_all(c, &count);

    for (size_t i = count; i-- > 0;) { /* the oldest first */
        struct container *ct = list[i];

        mutex_lock(&ct->lock);
        bool wanted =
            !ct->state.running && ct->state.started_ns != 0 && policy_wants_locked(ct, ct->state.exit_code);
        mutex_unlock(&ct->lock);
        if (wanted && !room_is_closing(ct))
            log_err(LOG_WARN, container_start(ct), "cannot start a container again");
    }
    table_all_free(list, count);
}

struct error *restart_policy_check(const json_t *host_config)
{
    static const char *const known[] = { "", "no", "always", "on-failure", "unless-stopped" };
    const json_t *policy = json_object_get(host_config, "RestartPolicy");
    const char *name = json_get_string(policy, "Name");
    int64_t most = json_get_int(policy, "MaximumRetryCount");
    bool is_known = false;

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        is_known = is_known || streq(name, known[i]);
    if (!is_known)
        return err_new(ERR_INVALID,
                       "invalid restart policy: unknown policy '%s'; use one of 'no', 'always', "
                       "'on-failure', or 'unless-stopped'",
                       name);
    if (streq(name, "on-failure"))
        return most < 0
                   ? err_new(ERR_INVALID, "invalid restart policy: maximum retry count cannot be negative")
                   : NULL;
    if (most == 0 || *name == '\0')
        return NULL;
    return err_new(ERR_INVALID,
                   "invalid restart policy: maximum retry count can only be used with 'on-failure'%s",
                   most < 0 ? " and cannot be negative" : "");
}
