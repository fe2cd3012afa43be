/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/uploads.h"

#include "base/bytes.h"
#include "task/task.h"

#define UPLOAD_WAIT_NS (5 * NS_PER_SEC) /* dockerd's */

/* One upload, on the stack of the request that brings it; in the list from its first to its last moment. */
struct arrival {
    const char *id;
    struct upload *upload; /* once it is whole, until a build has it */
    bool ended;            /* whole, or broken off */
};

struct uploads {
    struct mutex lock;
    struct cond changed;
    struct ptrv arrivals; /* struct arrival */
};

struct uploads *uploads_new(void)
{
    struct uploads *u = NEW(struct uploads);

    mutex_init(&u->lock);
    cond_init(&u->changed);
    return u;
}

void uploads_free(struct uploads *u)
{
    if (u == NULL)
        return;
    assert(u->arrivals.len == 0);
    ptrv_deinit(&u->arrivals);
    cond_deinit(&u->changed);
    mutex_deinit(&u->lock);
    free(u);
}

static struct arrival *find_locked(struct uploads *u, const char *id)
{
    for (size_t i = 0; i < u->arrivals.len; i++) {
        struct arrival *a = u->arrivals.v[i];

        if (streq(a->id, id))
            return a;
    }
    return NULL;
}

static struct error *arrive(struct uploads *u, struct arrival *a)
{
    bool other;

    mutex_lock(&u->lock);
    other = find_locked(u, a->id) != NULL;
    if (!other) {
        ptrv_add(&u->arrivals, a);
        cond_broadcast(&u->changed);
    }
    mutex_unlock(&u->lock);
    return other ? err_new(ERR_EXISTS, "upload for build %s exists", a->id) : NULL;
}

/* Off the list; nobody sees it any more. */
static void leave(struct uploads *u, struct arrival *a)
{
    mutex_lock(&u->lock);
    for (size_t i = 0; i < u->arrivals.len; i++) {
        if (u->arrivals.v[i] == a) {
            ptrv_remove(&u->arrivals, i);
            break;
        }
    }
    cond_broadcast(&u->changed);
    mutex_unlock(&u->lock);
    upload_close(a->upload);
}

/* It is whole: until a build has it, or none comes. */
static struct error *wait_for_build(struct uploads *u, struct arrival *a)
{
    int64_t until = monotonic_ns() + UPLOAD_WAIT_NS, left;
    bool timed_out = false, taken;
    int r = 0;

    mutex_lock(&u->lock);
    while (a->upload != NULL && r == 0 && (left = until - monotonic_ns()) > 0)
        r = cond_wait_for(&u->changed, &u->lock, left, &timed_out);
    taken = a->upload == NULL;
    mutex_unlock(&u->lock);
    if (taken)
        return NULL;
    return r < 0 ? task_error(r, "wait for build %s", a->id)
                 : err_new(ERR_DEADLINE, "no build asks for the upload %s", a->id);
}

struct error *uploads_bring(struct uploads *u, const char *id, struct store *s, struct stream *body)
{
    struct arrival a = { .id = id };
    struct upload *whole = NULL;
    struct error *e;

    TRY(arrive(u, &a));
    e = upload_receive(s, body, &whole);
    mutex_lock(&u->lock);
    a.upload = whole;
    a.ended = true;
    cond_broadcast(&u->changed);
    mutex_unlock(&u->lock);
    if (e == NULL)
        e = wait_for_build(u, &a);
    leave(u, &a);
    return e;
}

struct error *uploads_take(struct uploads *u, const char *id, struct upload **ret)
{
    int64_t until = monotonic_ns() + UPLOAD_WAIT_NS, left;
    struct arrival *a;
    bool timed_out = false, seen = false;
    int r = 0;

    *ret = NULL;
    mutex_lock(&u->lock);
    while ((a = find_locked(u, id)) == NULL && !seen && r == 0 && (left = until - monotonic_ns()) > 0)
        r = cond_wait_for(&u->changed, &u->lock, left, &timed_out);
    /* it has begun: how long the rest takes is the client's affair */
    while (a != NULL && !a->ended && r == 0) {
        seen = true;
        r = cond_wait(&u->changed, &u->lock);
        a = find_locked(u, id);
    }
    if (a != NULL && a->ended) {
        *ret = TAKE(a->upload);
        seen = true;
        cond_broadcast(&u->changed);
    }
    mutex_unlock(&u->lock);
    if (*ret != NULL)
        return NULL;
    if (r < 0)
        return task_error(r, "wait for the upload of build %s", id);
    return seen ? err_new(ERR_INVALID, "the upload of build %s broke off", id)
                : err_new(ERR_DEADLINE, "no upload for build %s came", id);
}
