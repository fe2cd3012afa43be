/* SPDX-License-Identifier: Apache-2.0 */
/* room.c - all containers: opened with the daemon, stopped with it */
#include "container/internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "io/path.h"

#define KILL_TIME (20 * NS_PER_SEC) /* for those that did not stop */
#define SHUTDOWN_GRACE 5            /* seconds beyond a container's own */

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
    struct error *e = container_is_running(ct) ? container_stop_quietly(ct) : NULL;

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
        struct error *e = container_is_running(list[i]) ? container_kill_and_wait(list[i]) : NULL;

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
        int64_t own = container_is_running(list[i]) ? container_stop_timeout(list[i], NULL) : 0;

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
    shield_begin(&d, KILL_TIME);
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
