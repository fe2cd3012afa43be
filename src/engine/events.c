/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/events.h"

#include "base/bytes.h"
#include "task/task.h"

struct events {
    struct mutex lock;
    struct cond news;
    struct event *kept[EVENTS_KEPT]; /* by sequence, modulo */
    uint64_t newest;                 /* 0: none yet */
};

struct event *engine_event_ref(struct event *e)
{
    __atomic_add_fetch(&e->refs, 1, __ATOMIC_RELAXED);
    return e;
}

void engine_event_unref(struct event *e)
{
    if (e == NULL || __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    map_deinit(&e->attributes);
    free(e->type);
    free(e->action);
    free(e->id);
    free(e);
}

struct events *events_new(void)
{
    struct events *h = NEW(struct events);

    mutex_init(&h->lock);
    cond_init(&h->news);
    return h;
}

void events_free(struct events *h)
{
    if (h == NULL)
        return;
    for (size_t i = 0; i < EVENTS_KEPT; i++)
        engine_event_unref(h->kept[i]);
    cond_deinit(&h->news);
    mutex_deinit(&h->lock);
    free(h);
}

void events_publish(struct events *h, const char *type, const char *action, const char *id,
                    const struct map *attributes)
{
    struct event *e = NEW(struct event);

    *e = (struct event){
        .refs = 1, .type = xstrdup(type), .action = xstrdup(action), .id = xstrdup(id), .time_ns = now_ns()
    };
    strmap_init(&e->attributes);
    if (attributes != NULL)
        strmap_copy(&e->attributes, attributes);
    mutex_lock(&h->lock);
    e->sequence = ++h->newest;
    engine_event_unref(h->kept[e->sequence % EVENTS_KEPT]);
    h->kept[e->sequence % EVENTS_KEPT] = e;
    cond_broadcast(&h->news);
    mutex_unlock(&h->lock);
}

uint64_t events_now(struct events *h)
{
    uint64_t n;

    mutex_lock(&h->lock);
    n = h->newest;
    mutex_unlock(&h->lock);
    return n;
}

/* The oldest kept event after `sequence`; a slow reader skips what was dropped. */
static struct event *next_locked(struct events *h, uint64_t sequence)
{
    uint64_t oldest = h->newest > EVENTS_KEPT ? h->newest - EVENTS_KEPT + 1 : 1;
    uint64_t want = MAX(sequence + 1, oldest);

    return want > h->newest ? NULL : engine_event_ref(h->kept[want % EVENTS_KEPT]);
}

struct error *events_next(struct events *h, uint64_t *sequence, int64_t until_ns, struct event **ret)
{
    int r = 0;

    mutex_lock(&h->lock);
    while ((*ret = next_locked(h, *sequence)) == NULL && r == 0) {
        bool timed_out = false;
        int64_t left = until_ns - now_ns();
        if (until_ns == 0)
            r = cond_wait(&h->news, &h->lock);
        else if (left <= 0)
            break;
        else
            r = cond_wait_for(&h->news, &h->lock, left, &timed_out);
    }
    mutex_unlock(&h->lock);
    if (r < 0 && *ret == NULL)
        return task_error(r, "wait for events");
    if (*ret != NULL)
        *sequence = (*ret)->sequence;
    return NULL;
}
