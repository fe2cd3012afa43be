/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scope.c - the tree along which cancellation and deadlines go down
 *
 * Cancelling marks every scope below at once, under one lock for the whole tree, so that a wait looks at its
 * own scope only. A deadline needs no timer: it is fixed when the scope is made, and every wait sleeps no
 * longer than that.
 */
#include "base/bytes.h"
#include "base/vec.h"
#include "task/self.h"

#include <errno.h>

static pthread_mutex_t tree_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t root_once = PTHREAD_ONCE_INIT;
static struct scope *root;

static void make_root(void)
{
    root = scope_make(NULL, NO_DEADLINE);
}

struct scope *scope_root(void)
{
    pthread_once(&root_once, make_root);
    return root;
}

struct scope *scope_make(struct scope *parent, int64_t deadline_ns)
{
    struct scope *s = NEW(struct scope);

    atomic_init(&s->refs, 1);
    pthread_mutex_init(&s->lock, NULL);
    s->deadline_ns = deadline_ns;
    if (parent == NULL)
        return s;
    s->parent = scope_ref(parent);
    s->deadline_ns = MIN(deadline_ns, parent->deadline_ns);
    pthread_mutex_lock(&tree_lock);
    s->next_sibling = parent->first_child;
    if (s->next_sibling != NULL)
        s->next_sibling->prev_sibling = s;
    parent->first_child = s;
    if (atomic_load(&parent->cancelled)) {
        s->cause = err_clone(parent->cause);
        atomic_store(&s->cancelled, true);
    }
    pthread_mutex_unlock(&tree_lock);
    return s;
}

struct scope *scope_new(struct scope *parent)
{
    return scope_make(parent != NULL ? parent : scope_current(), NO_DEADLINE);
}

struct scope *scope_ref(struct scope *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

static void unlink_from_parent(struct scope *s)
{
    pthread_mutex_lock(&tree_lock);
    assert(s->first_child == NULL);
    if (s->prev_sibling != NULL)
        s->prev_sibling->next_sibling = s->next_sibling;
    else if (s->parent != NULL)
        s->parent->first_child = s->next_sibling;
    if (s->next_sibling != NULL)
        s->next_sibling->prev_sibling = s->prev_sibling;
    pthread_mutex_unlock(&tree_lock);
}

void scope_unref(struct scope *s)
{
    while (s != NULL && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) {
        struct scope *parent = s->parent;

        unlink_from_parent(s);
        assert(s->waiters == NULL);
        err_free(s->cause);
        pthread_mutex_destroy(&s->lock);
        free(s);
        s = parent;
    }
}

/* Mark one scope and who waits under it; their futexes go to `wake`.  `cause` is borrowed. */
static void cancel_one(struct scope *s, const struct error *cause, struct ptrv *wake)
{
    pthread_mutex_lock(&s->lock);
    if (!atomic_load(&s->cancelled)) {
        s->cause = err_clone(cause);
        atomic_store(&s->cancelled, true);
        for (struct task *t = s->waiters; t != NULL; t = t->wait_next)
            ptrv_add(wake, task_unpark(t));
    }
    pthread_mutex_unlock(&s->lock);
}

/* The next scope of the subtree of `top` in pre-order, or NULL: no recursion, the tree may be deep. */
static struct scope *next_in_subtree(struct scope *s, const struct scope *top)
{
    if (s->first_child != NULL)
        return s->first_child;
    while (s != top && s->next_sibling == NULL)
        s = s->parent;
    return s == top ? NULL : s->next_sibling;
}

void scope_cancel(struct scope *s, struct error *cause)
{
    CLEANUP(ptrv_deinit) struct ptrv wake = { 0 };

    pthread_mutex_lock(&tree_lock);
    for (struct scope *at = s; at != NULL; at = next_in_subtree(at, s))
        cancel_one(at, cause, &wake);
    pthread_mutex_unlock(&tree_lock);
    for (size_t i = 0; i < wake.len; i++) /* without the locks that those who wake ask for next */
        task_wake(wake.v[i]);
    err_free(cause);
}

int scope_state(const struct scope *s)
{
    if (atomic_load_explicit(&s->cancelled, memory_order_acquire))
        return -ECANCELED;
    if (s->deadline_ns != NO_DEADLINE && monotonic_ns() >= s->deadline_ns)
        return -ETIMEDOUT;
    return 0;
}

bool scope_cancelled(const struct scope *s)
{
    return scope_state(s) < 0;
}

static void set_wait_kind(struct task *t, const char *kind)
{
    pthread_mutex_lock(&t->note_lock);
    t->wait_kind = kind;
    pthread_mutex_unlock(&t->note_lock);
}

int scope_begin_wait(struct scope *s, struct task *t, const char *kind)
{
    set_wait_kind(t, kind);
    atomic_store(&t->woken, 0); /* linked nowhere: nobody sets it now */
    pthread_mutex_lock(&s->lock);
    int r = scope_state(s);

    t->wait_prev = NULL;
    t->wait_next = s->waiters;
    if (t->wait_next != NULL)
        t->wait_next->wait_prev = t;
    s->waiters = t;
    pthread_mutex_unlock(&s->lock);
    if (r < 0)
        scope_end_wait(s, t);
    return r;
}

void scope_end_wait(struct scope *s, struct task *t)
{
    pthread_mutex_lock(&s->lock);
    if (t->wait_prev != NULL)
        t->wait_prev->wait_next = t->wait_next;
    else
        s->waiters = t->wait_next;
    if (t->wait_next != NULL)
        t->wait_next->wait_prev = t->wait_prev;
    pthread_mutex_unlock(&s->lock);

    set_wait_kind(t, NULL);
}

/* ---- the scopes of the current task ---- */

struct scope *scope_current(void)
{
    return task_self()->scope;
}

void scope_enter(struct scope *s)
{
    struct task *t = task_self();

    if (t->outer_count == t->outer_cap) {
        t->outer_cap = MAX(t->outer_cap * 2, (size_t)4);
        t->outer = xreallocarray(t->outer, t->outer_cap, sizeof(*t->outer));
    }
    t->outer[t->outer_count++] = t->scope;
    t->scope = s;
}

void scope_leave(struct scope *s)
{
    struct task *t = task_self();

    assert(t->outer_count > 0 && t->scope == s);
    t->scope = t->outer[--t->outer_count];
}

static int64_t deadline_after(int64_t timeout_ns)
{
    int64_t deadline;

    if (timeout_ns < 0)
        timeout_ns = 0;
    return __builtin_add_overflow(monotonic_ns(), timeout_ns, &deadline) ? NO_DEADLINE : deadline;
}

void deadline_begin(struct deadline *d, int64_t timeout_ns)
{
    d->scope = scope_make(scope_current(), deadline_after(timeout_ns));
    scope_enter(d->scope);
}

void deadline_end(struct deadline *d)
{
    scope_leave(d->scope);
    scope_unref(TAKE(d->scope));
}

int64_t task_deadline_left(void)
{
    int64_t deadline_ns = scope_current()->deadline_ns;

    return deadline_ns == NO_DEADLINE ? INT64_MAX : deadline_ns - monotonic_ns();
}

void shield_begin(struct deadline *d, int64_t timeout_ns)
{
    d->scope = scope_make(NULL, deadline_after(timeout_ns));
    scope_enter(d->scope);
}

void shield_end(struct deadline *d)
{
    deadline_end(d);
}

int task_check_sys(void)
{
    return scope_state(scope_current());
}

static struct error *scope_error(const struct scope *s)
{
    switch (scope_state(s)) {
    case -ECANCELED:
        /* `cause` does not change once `cancelled` is seen. */
        return s->cause != NULL ? err_clone(s->cause) : err_new(ERR_CANCELLED, "context canceled");
    case -ETIMEDOUT:
        return err_new(ERR_DEADLINE, "context deadline exceeded");
    default:
        return NULL;
    }
}

struct error *task_check(void)
{
    return scope_error(scope_current());
}

struct error *task_error(int r, const char *fmt, ...)
{
    if (r == -ECANCELED || r == -ETIMEDOUT) {
        struct error *e = scope_error(scope_current());

        if (e != NULL)
            return e;
    }
    va_list ap;

    va_start(ap, fmt);
    CLEANUP(freep) char *text = xvasprintf(fmt, ap);
    va_end(ap);
    return err_sys(-r, "%s", text);
}
