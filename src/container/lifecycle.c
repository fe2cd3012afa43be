/* SPDX-License-Identifier: Apache-2.0 */
/* lifecycle.c - what happens to a container as a whole: another name, its removal, and who waits for either
 * or for its end */
#include "container/internal.h"

#include <stdio.h>

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
    struct error *e = container_kill_and_wait(ct);
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
