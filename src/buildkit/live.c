/* SPDX-License-Identifier: Apache-2.0 */
/* live.c - the builds that run, and those that ended a moment ago: whoever comes by a ref finds them here */
#include "buildkit/internal.h"

#include "base/log.h"

#define USERS_TIMEOUT (60 * NS_PER_SEC)

static struct build *find_locked(struct builder *b, const char *ref)
{
    for (size_t i = 0; i < b->live.len; i++) {
        struct build *u = b->live.v[i];
        if (!u->closing && streq(u->ref, ref))
            return u;
    }
    return NULL;
}

static void drop_ended(struct ended_build *e)
{
    free(e->ref);
    progress_unref(e->progress);
    *e = (struct ended_build){ 0 };
}

static struct ended_build *find_ended_locked(struct builder *b, const char *ref)
{
    int64_t now = monotonic_ns();

    for (size_t i = 0; i < ARRAY_LEN(b->ended); i++) {
        struct ended_build *e = &b->ended[i];

        if (e->ref != NULL && now - e->ended_ns > ENDED_KEEP_NS)
            drop_ended(e);
        else if (e->ref != NULL && streq(e->ref, ref))
            return e;
    }
    return NULL;
}

struct error *build_find(struct builder *b, const char *ref, int64_t timeout_ns, struct build **ret)
{
    int64_t until = monotonic_ns() + timeout_ns;
    int r = 0;

    *ret = NULL;
    mutex_lock(&b->lock);
    while ((*ret = find_locked(b, ref)) == NULL && find_ended_locked(b, ref) == NULL && r == 0) {
        bool timed_out = false;
        int64_t left = until - monotonic_ns();
        if (left <= 0)
            break;
        r = cond_wait_for(&b->changed, &b->lock, left, &timed_out);
    }
    if (*ret != NULL)
        (*ret)->users++;
    mutex_unlock(&b->lock);
    return r == 0 ? NULL : task_error(r, "wait for build %s", ref);
}

void build_put(struct build *u)
{
    struct builder *b = u->builder;

    mutex_lock(&b->lock);
    if (--u->users == 0)
        cond_broadcast(&b->changed);
    mutex_unlock(&b->lock);
}

void live_add(struct build *u)
{
    struct builder *b = u->builder;

    mutex_lock(&b->lock);
    ptrv_add(&b->live, u);
    cond_broadcast(&b->changed);
    mutex_unlock(&b->lock);
}

/* `p` is taken. */
static void keep_ended_locked(struct builder *b, const char *ref, struct progress *p)
{
    struct ended_build *slot = &b->ended[b->ended_at++ % ARRAY_LEN(b->ended)];

    (void)find_ended_locked(b, ""); /* forgets the old ones on its way */
    drop_ended(slot);
    *slot = (struct ended_build){ xstrdup(ref), p, monotonic_ns() };
}

void live_remove(struct build *u)
{
    struct builder *b = u->builder;
    struct deadline shield;

    shield_begin(&shield, USERS_TIMEOUT);
    mutex_lock(&b->lock);
    u->closing = true;
    for (size_t i = 0; i < b->live.len; i++) {
        if (b->live.v[i] == u) {
            ptrv_remove(&b->live, i);
            break;
        }
    }
    keep_ended_locked(b, u->ref, progress_ref(job_progress(u->job)));
    if (u->users > 0) {
        mutex_unlock(&b->lock);
        scope_cancel(job_scope(u->job), NULL);
        mutex_lock(&b->lock);
    }
    while (u->users > 0) { /* however long: they look into what is freed next */
        if (cond_wait(&b->changed, &b->lock) < 0 && u->users > 0) {
            log_warn("a call of an ended build does not end", "build", u->ref);
            shield_end(&shield);
            shield_begin(&shield, USERS_TIMEOUT);
        }
    }
    mutex_unlock(&b->lock);
    shield_end(&shield);
}

static struct progress *events_locked(struct builder *b, const char *ref)
{
    struct build *u = find_locked(b, ref);
    struct ended_build *e = u == NULL ? find_ended_locked(b, ref) : NULL;

    if (u != NULL)
        return progress_ref(job_progress(u->job));
    return e == NULL ? NULL : progress_ref(e->progress);
}

void live_refused(struct builder *b, const char *ref)
{
    struct progress *p = progress_new(), *known;

    progress_close(p);
    mutex_lock(&b->lock);
    known = events_locked(b, ref);
    if (known == NULL)
        keep_ended_locked(b, ref, TAKE(p));
    cond_broadcast(&b->changed);
    mutex_unlock(&b->lock);
    progress_unref(known);
    progress_unref(p);
}

struct progress *live_progress(struct builder *b, const char *ref)
{
    struct progress *p;

    mutex_lock(&b->lock);
    p = events_locked(b, ref);
    mutex_unlock(&b->lock);
    return p;
}

struct error *builder_progress(struct builder *b, const char *ref, struct progress **ret)
{
    int64_t until = monotonic_ns() + STATUS_WAIT_NS, left;
    struct progress *p;
    int r = 0;

    mutex_lock(&b->lock);
    while ((p = events_locked(b, ref)) == NULL && r == 0 && (left = until - monotonic_ns()) > 0) {
        bool timed_out = false;

        r = cond_wait_for(&b->changed, &b->lock, left, &timed_out);
    }
    mutex_unlock(&b->lock);
    if (p == NULL)
        return r < 0 ? task_error(r, "wait for build %s", ref)
                     : err_new(ERR_NOT_FOUND, "no such job %s", ref);
    *ret = p;
    return NULL;
}

bool builder_cancel(struct builder *b, const char *ref)
{
    struct build *u;

    mutex_lock(&b->lock);
    u = find_locked(b, ref);
    if (u != NULL)
        u->users++;
    mutex_unlock(&b->lock);
    if (u == NULL)
        return false;
    scope_cancel(job_scope(u->job), NULL);
    build_put(u);
    return true;
}

size_t builder_active(struct builder *b)
{
    size_t n;

    mutex_lock(&b->lock);
    n = b->live.len;
    mutex_unlock(&b->lock);
    return n;
}

int builder_await_ended(struct builder *b, uint64_t *seen)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&b->lock);
    int r = 0;

    while (r == 0 && b->ended_count == *seen)
        r = cond_wait(&b->changed, &b->lock);
    *seen = b->ended_count;
    return r;
}

void live_note_ended(struct builder *b)
{
    mutex_lock(&b->lock);
    b->ended_count++;
    cond_broadcast(&b->changed);
    mutex_unlock(&b->lock);
}

void live_deinit(struct builder *b)
{
    assert(b->live.len == 0);
    for (size_t i = 0; i < ARRAY_LEN(b->ended); i++)
        drop_ended(&b->ended[i]);
    ptrv_deinit(&b->live);
}
