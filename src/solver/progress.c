/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "solver/event.h"
#include "task/task.h"

/* What the log knows about one vertex. */
struct vertex_state {
    struct event *last; /* its newest state, a reference */
    bool settled;       /* marked as cached by a follower: not again */
    bool was_cached;    /* ever */
    bool completed;     /* ever */
    struct ptrv open;   /* rows (struct event *) that are not completed, references */
};

struct progress {
    atomic_uint refs;
    struct mutex lock;
    struct cond changed, ended;
    struct ptrv events;  /* struct event *, references */
    struct map vertices; /* digest -> struct vertex_state */
    int warnings;
    bool closed;
};

struct progress_reader {
    struct progress *p;
    size_t next;
    int64_t pace_ns, due_ns; /* due_ns: monotonic, of the next batch */
};

static void vertex_state_free(void *arg)
{
    struct vertex_state *s = arg;

    event_unref(s->last);
    for (size_t i = 0; i < s->open.len; i++)
        event_unref(s->open.v[i]);
    ptrv_deinit(&s->open);
    free(s);
}

struct progress *progress_new(void)
{
    struct progress *p = NEW(struct progress);

    atomic_init(&p->refs, 1);
    mutex_init(&p->lock);
    cond_init(&p->changed);
    cond_init(&p->ended);
    p->vertices.free_value = vertex_state_free;
    return p;
}

struct progress *progress_ref(struct progress *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

void progress_unref(struct progress *p)
{
    if (p == NULL || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    for (size_t i = 0; i < p->events.len; i++)
        event_unref(p->events.v[i]);
    ptrv_deinit(&p->events);
    map_deinit(&p->vertices);
    cond_deinit(&p->changed);
    cond_deinit(&p->ended);
    mutex_deinit(&p->lock);
    free(p);
}

static struct vertex_state *state_locked(struct progress *p, const char *digest)
{
    struct vertex_state *s = map_get(&p->vertices, digest);

    if (s == NULL) {
        s = NEW(struct vertex_state);
        map_set(&p->vertices, digest, s);
    }
    return s;
}

static void set_last_locked(struct vertex_state *s, struct event *e)
{
    struct event *old = s->last;

    s->last = event_ref(e);
    s->settled = false;
    s->was_cached = s->was_cached || e->e.v.cached;
    s->completed = s->completed || e->e.v.completed_ns != 0;
    event_unref(old);
}

/* A vertex that starts had its inputs: those never seen to complete came from the cache (as BuildKit tells
 * its clients).  They are told before it, deepest first; chains may be long, so no recursion. */
static void append_vertex_locked(struct progress *p, struct event *e)
{
    struct ptrv chain = { 0 };

    ptrv_add(&chain, event_ref(e));
    set_last_locked(state_locked(p, e->e.vertex), e);
    for (size_t i = 0; i < chain.len && e->e.v.started_ns != 0; i++) {
        const struct event *v = chain.v[i];

        for (size_t n = 0; n < v->e.v.input_count; n++) {
            struct vertex_state *s = map_get(&p->vertices, v->e.v.inputs[n]);

            if (s == NULL || s->last == NULL || s->settled || s->last->e.v.cached ||
                s->last->e.v.completed_ns != 0)
                continue;
            struct event *cached =
                event_vertex(s->last->info, e->e.v.started_ns, e->e.v.started_ns, true, NULL);
            set_last_locked(s, cached);
            s->settled = true;
            ptrv_add(&chain, cached);
        }
    }
    for (size_t i = chain.len; i-- > 0;)
        ptrv_add(&p->events, chain.v[i]);
    ptrv_deinit(&chain);
}

static void append_status_locked(struct progress *p, struct event *e)
{
    struct vertex_state *s = state_locked(p, e->e.vertex);

    ptrv_add(&p->events, event_ref(e));
    for (size_t i = 0; i < s->open.len; i++) {
        struct event *row = s->open.v[i];

        if (!streq(row->e.status.id, e->e.status.id))
            continue;
        event_unref(row);
        ptrv_remove(&s->open, i);
        break;
    }
    if (e->e.status.completed_ns == 0)
        ptrv_add(&s->open, event_ref(e));
}

static void append_locked(struct progress *p, struct event *e)
{
    switch (e->e.kind) {
    case PROGRESS_VERTEX:
        append_vertex_locked(p, e);
        break;
    case PROGRESS_STATUS:
        append_status_locked(p, e);
        break;
    case PROGRESS_WARNING:
        p->warnings++;
        ptrv_add(&p->events, event_ref(e));
        break;
    case PROGRESS_LOG:
        ptrv_add(&p->events, event_ref(e));
        break;
    }
}

void progress_append(struct progress *p, struct event *e)
{
    mutex_lock(&p->lock);
    if (!p->closed) {
        append_locked(p, e);
        cond_broadcast(&p->changed);
    }
    mutex_unlock(&p->lock);
}

void progress_warn(struct progress *p, const struct progress_event *w)
{
    struct vertex_info *info = vertex_info_new(w->vertex, "", 0);
    struct event *e = event_warning(info, w);

    progress_append(p, e);
    event_unref(e);
    vertex_info_unref(info);
}

static void close_rows_locked(struct progress *p, struct vertex_state *s, int64_t now)
{
    while (s->open.len > 0) {
        struct event *done = event_status_again(s->open.v[0]);

        done->e.status.timestamp_ns = now;
        done->e.status.completed_ns = now;
        append_status_locked(p, done);
        event_unref(done);
    }
}

void progress_close(struct progress *p)
{
    int64_t now = now_ns();

    mutex_lock(&p->lock);
    for (size_t i = 0; i < p->vertices.len && !p->closed; i++) {
        struct vertex_state *s = p->vertices.entries[i].value;

        close_rows_locked(p, s, now);
        if (s->last == NULL || s->last->e.v.started_ns == 0 || s->last->e.v.completed_ns != 0)
            continue;
        struct event *done = event_vertex(s->last->info, s->last->e.v.started_ns, now, s->last->e.v.cached,
                                          s->was_cached ? NULL : "context canceled");
        set_last_locked(s, done);
        ptrv_add(&p->events, done);
    }
    p->closed = true;
    cond_broadcast(&p->changed);
    cond_broadcast(&p->ended);
    mutex_unlock(&p->lock);
}

struct progress_reader *progress_read_open(struct progress *p)
{
    struct progress_reader *r = NEW(struct progress_reader);

    r->p = progress_ref(p);
    return r;
}

void progress_read_pace(struct progress_reader *r, int64_t interval_ns)
{
    r->pace_ns = interval_ns;
}

/* Until the next batch is due; events that come meanwhile wake nobody. */
static int wait_due_locked(struct progress_reader *r)
{
    struct progress *p = r->p;
    int64_t left;
    int e = 0;

    while (e == 0 && !p->closed && (left = r->due_ns - monotonic_ns()) > 0) {
        bool timed_out;

        e = cond_wait_for(&p->ended, &p->lock, left, &timed_out);
    }
    return e;
}

ssize_t progress_read(struct progress_reader *r, const struct progress_event **events, size_t cap)
{
    struct progress *p = r->p;
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&p->lock);
    int e = wait_due_locked(r);
    size_t n;

    while (e == 0 && r->next == p->events.len && !p->closed)
        e = cond_wait(&p->changed, &p->lock);
    if (e < 0)
        return e;
    n = MIN(cap, p->events.len - r->next);
    r->due_ns =
        r->pace_ns == 0 || n == cap ? 0 : monotonic_ns() + r->pace_ns; /* who is behind does not wait */
    for (size_t i = 0; i < n; i++)
        events[i] = &((struct event *)p->events.v[r->next + i])->e;
    r->next += n;
    return (ssize_t)n;
}

void progress_read_close(struct progress_reader *r)
{
    if (r == NULL)
        return;
    progress_unref(r->p);
    free(r);
}

struct progress_counts progress_count(struct progress *p)
{
    struct progress_counts c = { 0 };

    mutex_lock(&p->lock);
    for (size_t i = 0; i < p->vertices.len; i++) {
        const struct vertex_state *s = p->vertices.entries[i].value;

        c.total += s->last != NULL;
        c.cached += s->was_cached;
        c.completed += s->completed;
    }
    c.warnings = p->warnings;
    mutex_unlock(&p->lock);
    return c;
}
