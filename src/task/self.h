/* SPDX-License-Identifier: Apache-2.0 */
/*
 * self.h - the inside of a task and of a scope; for the files of this folder only
 *
 * Order of locks: tree (scope.c), then scope.lock or cond.lock.  None of them is held
 * while code of others runs, so they are not counted as locks of the task.
 */
#ifndef MINKE_TASK_SELF_H
#define MINKE_TASK_SELF_H

#include "base/log.h"
#include "task/task.h"

#include <stdatomic.h>

#define NO_DEADLINE INT64_MAX

struct scope {
    atomic_size_t refs;
    struct scope *parent; /* holds a reference; NULL for the root and for shields */
    struct scope *first_child, *next_sibling, *prev_sibling; /* under the tree lock; no references */
    int64_t deadline_ns; /* monotonic; fixed at birth, never later than the parent's */
    atomic_bool cancelled;
    pthread_mutex_t lock;
    struct error *cause;  /* set once, before `cancelled` */
    struct task *waiters; /* tasks that wait under this scope */
};

/* One per thread that calls in here, made on first use for threads that are no tasks (main). */
struct task {
    char name[32];
    char group_name[32]; /* the task that opened the group */
    int64_t started_ns;
    struct group *group; /* NULL for main */
    task_fn fn;
    void *arg;
    struct log_context *log;
    struct task *next, *prev;         /* in the group */
    struct task *all_next, *all_prev; /* of the process */

    struct scope *own_scope; /* the one it was started under; a reference */
    struct scope *scope;     /* the innermost; borrowed */
    struct scope **outer;    /* those around it */
    size_t outer_count, outer_cap;
    unsigned locks_held;

    /* Parking: whoever wants this task awake sets `woken`, a futex; it stays set until the next wait begins,
     * so no wake-up is lost. */
    atomic_uint woken;
    atomic_bool polling; /* sleeps in poll(): wake through the eventfd */
    int event_fd;        /* -1 until first needed */

    pthread_mutex_t note_lock; /* of what task_dump reads */
    const char *wait_kind;     /* static text, NULL when it runs */
    char waiting[64];
    struct task *wait_next, *wait_prev;   /* in scope.waiters */
    struct task *queue_next, *queue_prev; /* in a cond */
    bool queued;
};

struct task *task_self(void);
struct task *task_alloc(const char *name, struct scope *scope);
void task_free(struct task *t);

/* The life of `t` from its first instruction to its last, on the current thread; group.c. */
void task_run(struct task *t);
/* Have some thread run it: 0, or a negative errno and nothing happens; worker.c. */
int worker_start(struct task *t);

/* stack.c: memory for the stack of one task, stack_size() bytes; NULL when there is none.  Given back when
 * the thread is joined; NULL is fine. */
void *stack_take(void);
void stack_give(void *stack);
size_t stack_size(void);

/* Mark `t` as woken; the caller holds a lock that keeps it alive.  The futex to wake once that lock is
 * released (a task that has gone meanwhile does not matter: nothing is read there), or NULL. */
atomic_uint *task_unpark(struct task *t);
void task_wake(atomic_uint *futex); /* NULL is fine */
/* Sleep until woken, at most until `deadline_ns`. */
void task_park(struct task *t, int64_t deadline_ns);

/* Wait-side of a scope: link the task as a waiter, unless the scope is over already (then its negative
 * errno). */
int scope_begin_wait(struct scope *s, struct task *t, const char *kind);
void scope_end_wait(struct scope *s, struct task *t);
int scope_state(const struct scope *s); /* 0, -ECANCELED, -ETIMEDOUT */
struct scope *scope_root(void);         /* borrowed */
/* Below `parent` or, when it is NULL, below nothing. */
struct scope *scope_make(struct scope *parent, int64_t deadline_ns);

#endif
