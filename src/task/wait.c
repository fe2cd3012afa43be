/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - locks, and the places where a task sleeps
 *
 *     begin: link the task to its scope's waiters (fails when the scope is over), and to a cond's queue
 *     sleep: on the futex `woken`, or in poll() with the task's eventfd beside the caller's descriptors
 *     end:   unlink from both; what woke us is read off the queue and the scope, never off the sleep itself
 *
 * Links are taken before the sleep and every waker sets `woken`, which the sleep looks at, so a wake-up
 * between the two is not lost.
 */
#include "base/bytes.h"
#include "task/self.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- mutex ---- */

void mutex_init(struct mutex *m)
{
    pthread_mutex_init(&m->m, NULL);
}

void mutex_deinit(struct mutex *m)
{
    pthread_mutex_destroy(&m->m);
}

void mutex_lock(struct mutex *m)
{
    int r = pthread_mutex_lock(&m->m);

    assert(r == 0);
    (void)r;
    task_self()->locks_held++;
}

void mutex_unlock(struct mutex *m)
{
    struct task *t = task_self();

    assert(t->locks_held > 0);
    t->locks_held--;
    pthread_mutex_unlock(&m->m);
}

struct mutex *mutex_guard(struct mutex *m)
{
    mutex_lock(m);
    return m;
}

void mutex_unlockp(struct mutex **m)
{
    if (*m != NULL)
        mutex_unlock(*m);
}

/* The rule that makes deadlocks visible in every test run and not once a month. */
static void require_locks(const struct task *t, unsigned allowed, const char *kind)
{
    if (t->locks_held == allowed)
        return;
    fprintf(stderr, "minke: task \"%s\" waits (%s) with %u locks held, %u allowed\n", t->name, kind,
            t->locks_held, allowed);
    abort();
}

/* ---- parking ---- */

atomic_uint *task_unpark(struct task *t)
{
    atomic_store(&t->woken, 1);
    if (!atomic_load(&t->polling))
        return &t->woken;
    uint64_t one = 1;
    ssize_t n = write(t->event_fd, &one, sizeof(one)); /* fails only when it is signalled already */

    (void)n;
    return NULL;
}

void task_wake(atomic_uint *futex)
{
    if (futex != NULL)
        (void)syscall(SYS_futex, futex, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void task_park(struct task *t, int64_t deadline_ns)
{
    struct timespec ts = { .tv_sec = deadline_ns / NS_PER_SEC, .tv_nsec = deadline_ns % NS_PER_SEC };

    /* WAIT_BITSET takes an absolute time of the monotonic clock. */
    while (atomic_load(&t->woken) == 0)
        if (syscall(SYS_futex, &t->woken, FUTEX_WAIT_BITSET_PRIVATE, 0,
                    deadline_ns == NO_DEADLINE ? NULL : &ts, NULL, FUTEX_BITSET_MATCH_ANY) < 0 &&
            errno == ETIMEDOUT)
            return;
}

static int64_t soonest(const struct scope *s, int64_t timeout_ns)
{
    int64_t deadline;

    if (timeout_ns == NO_DEADLINE ||
        __builtin_add_overflow(monotonic_ns(), MAX(timeout_ns, INT64_C(0)), &deadline))
        return s->deadline_ns;
    return MIN(deadline, s->deadline_ns);
}

/* ---- condition ---- */

void cond_init(struct cond *c)
{
    *c = (struct cond){ 0 };
    pthread_mutex_init(&c->lock, NULL);
}

void cond_deinit(struct cond *c)
{
    assert(c->first == NULL);
    pthread_mutex_destroy(&c->lock);
}

static void enqueue(struct cond *c, struct task *t)
{
    pthread_mutex_lock(&c->lock);
    t->queue_next = NULL;
    t->queue_prev = c->last;
    if (c->last != NULL)
        c->last->queue_next = t;
    else
        c->first = t;
    c->last = t;
    t->queued = true;
    pthread_mutex_unlock(&c->lock);
}

static void unlink_locked(struct cond *c, struct task *t)
{
    if (t->queue_prev != NULL)
        t->queue_prev->queue_next = t->queue_next;
    else
        c->first = t->queue_next;
    if (t->queue_next != NULL)
        t->queue_next->queue_prev = t->queue_prev;
    else
        c->last = t->queue_prev;
    t->queued = false;
}

/* Off the queue; false when a signal took it off before. */
static bool dequeue(struct cond *c, struct task *t)
{
    pthread_mutex_lock(&c->lock);
    bool was_queued = t->queued;

    if (was_queued)
        unlink_locked(c, t);
    pthread_mutex_unlock(&c->lock);
    return was_queued;
}

int cond_wait_for(struct cond *c, struct mutex *m, int64_t timeout_ns, bool *ret_timed_out)
{
    struct task *t = task_self();
    struct scope *s = t->scope;
    int64_t until = soonest(s, timeout_ns);

    require_locks(t, 1, "condition");
    int r = scope_begin_wait(s, t, "condition");

    if (r < 0)
        return r;
    enqueue(c, t);
    mutex_unlock(m);
    task_park(t, until);
    bool signalled = !dequeue(c, t);

    scope_end_wait(s, t);
    mutex_lock(m);
    /* Who took a signal must act on it, even when cancelled: the next wait tells. */
    if (signalled)
        return 0;
    r = scope_state(s);
    if (r == 0 && ret_timed_out != NULL && timeout_ns != NO_DEADLINE && monotonic_ns() >= until)
        *ret_timed_out = true;
    return r;
}

int cond_wait(struct cond *c, struct mutex *m)
{
    return cond_wait_for(c, m, NO_DEADLINE, NULL);
}

/* Take the first off the queue: its futex, or NULL. */
static atomic_uint *take_first_locked(struct cond *c)
{
    struct task *t = c->first;

    unlink_locked(c, t);
    return task_unpark(t);
}

void cond_signal(struct cond *c)
{
    atomic_uint *futex = NULL;

    pthread_mutex_lock(&c->lock);
    if (c->first != NULL)
        futex = take_first_locked(c);
    pthread_mutex_unlock(&c->lock);
    task_wake(futex);
}

void cond_broadcast(struct cond *c)
{
    atomic_uint *some[32];
    size_t count;

    do {
        count = 0;
        pthread_mutex_lock(&c->lock);
        while (c->first != NULL && count < ARRAY_LEN(some))
            some[count++] = take_first_locked(c);
        pthread_mutex_unlock(&c->lock);
        for (size_t i = 0; i < count; i++)
            task_wake(some[i]);
    } while (count == ARRAY_LEN(some));
}

/* ---- descriptors and time ---- */

#define FDS_ON_STACK 8

static int event_fd_of(struct task *t)
{
    if (t->event_fd < 0) {
        t->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (t->event_fd < 0)
            return -errno;
    }
    return t->event_fd;
}

static int poll_until(struct pollfd *fds, size_t count, int64_t deadline_ns)
{
    struct timespec ts, *timeout = NULL;

    for (;;) {
        if (deadline_ns != NO_DEADLINE) {
            int64_t left = MAX(deadline_ns - monotonic_ns(), INT64_C(0));

            ts = (struct timespec){ .tv_sec = left / NS_PER_SEC, .tv_nsec = left % NS_PER_SEC };
            timeout = &ts;
        }
        int n = ppoll(fds, count, timeout, NULL);

        if (n >= 0)
            return n;
        if (errno != EINTR)
            return -errno;
    }
}

/* Nobody is left who could write: what was written belongs to the wait that just ended. */
static void drain_event_fd(struct task *t)
{
    uint64_t count;

    if (atomic_load(&t->woken) != 0) {
        ssize_t n = read(t->event_fd, &count, sizeof(count));

        (void)n;
    }
}

int task_wait_fds(struct pollfd *fds, size_t count)
{
    struct pollfd space[FDS_ON_STACK + 1];
    CLEANUP(freep) struct pollfd *heap = count > FDS_ON_STACK ? xcalloc(count + 1, sizeof(*heap)) : NULL;
    struct pollfd *all = heap != NULL ? heap : space;
    struct task *t = task_self();
    struct scope *s = t->scope;

    require_locks(t, 0, "descriptor");
    int wake_fd = event_fd_of(t);

    if (wake_fd < 0)
        return wake_fd;
    int r = scope_begin_wait(s, t, "descriptor");

    if (r < 0)
        return r;
    atomic_store(&t->polling, true); /* whoever sets `woken` from here on writes to the eventfd */
    bool already = atomic_load(&t->woken) != 0;

    memcpy(all, fds, count * sizeof(*fds));
    all[count] = (struct pollfd){ .fd = wake_fd, .events = POLLIN };
    int n = 0;

    while (!already && n == 0 && scope_state(s) == 0)
        n = poll_until(all, count + 1, s->deadline_ns);
    scope_end_wait(s, t);
    atomic_store(&t->polling, false);
    drain_event_fd(t);
    if (n < 0)
        return n;
    memcpy(fds, all, count * sizeof(*fds));
    return scope_state(s);
}

int task_wait_fd(int fd, short events)
{
    struct pollfd one = { .fd = fd, .events = events };

    return task_wait_fds(&one, 1);
}

int task_sleep(int64_t timeout_ns)
{
    struct task *t = task_self();
    struct scope *s = t->scope;
    int64_t until = soonest(s, timeout_ns);

    require_locks(t, 0, "sleep");
    int r = scope_begin_wait(s, t, "sleep");

    if (r < 0)
        return r;
    task_park(t, until);
    scope_end_wait(s, t);
    return scope_state(s);
}

/* ---- semaphore ---- */

struct semaphore_waiter {
    int64_t weight;
    bool granted;
    struct cond changed;
    struct semaphore_waiter *next, *prev;
};

void semaphore_init(struct semaphore *s, int64_t limit)
{
    *s = (struct semaphore){ .limit = limit };
    mutex_init(&s->lock);
}

void semaphore_deinit(struct semaphore *s)
{
    assert(s->first == NULL);
    mutex_deinit(&s->lock);
}

static void remove_waiter_locked(struct semaphore *s, struct semaphore_waiter *w)
{
    if (w->prev != NULL)
        w->prev->next = w->next;
    else
        s->first = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    else
        s->last = w->prev;
}

/* Strictly in order: a small weight does not pass a big one that does not fit yet. */
static void grant_locked(struct semaphore *s)
{
    for (struct semaphore_waiter *w; (w = s->first) != NULL && w->weight <= s->limit - s->used;) {
        remove_waiter_locked(s, w);
        s->used += w->weight;
        w->granted = true;
        cond_signal(&w->changed);
    }
}

int semaphore_acquire(struct semaphore *s, int64_t weight)
{
    int r = task_check_sys();

    require_locks(task_self(), 0, "semaphore");
    if (r < 0)
        return r;
    struct semaphore_waiter w = { .weight = MIN(weight, s->limit), .changed = COND_INIT };

    mutex_lock(&s->lock);
    w.prev = s->last;
    if (s->last != NULL)
        s->last->next = &w;
    else
        s->first = &w;
    s->last = &w;
    grant_locked(s);
    while (!w.granted && r == 0)
        r = cond_wait(&w.changed, &s->lock);
    if (w.granted) {
        r = 0;
    } else {
        remove_waiter_locked(s, &w);
        grant_locked(s); /* the next one may fit where this one did not */
    }
    mutex_unlock(&s->lock);
    cond_deinit(&w.changed);
    return r;
}

void semaphore_release(struct semaphore *s, int64_t weight)
{
    mutex_lock(&s->lock);
    s->used -= MIN(weight, s->limit);
    assert(s->used >= 0);
    grant_locked(s);
    mutex_unlock(&s->lock);
}

void semaphore_set_limit(struct semaphore *s, int64_t limit)
{
    mutex_lock(&s->lock);
    s->limit = limit;
    grant_locked(s);
    mutex_unlock(&s->lock);
}

size_t semaphore_waiting(struct semaphore *s)
{
    size_t count = 0;

    mutex_lock(&s->lock);
    for (const struct semaphore_waiter *w = s->first; w != NULL; w = w->next)
        count++;
    mutex_unlock(&s->lock);
    return count;
}
