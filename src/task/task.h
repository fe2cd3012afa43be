/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task.h - tasks in groups, cancellation, deadlines, and the only places where code may wait
 *
 * A task is a thread that runs one function.  It exists only inside a group, and a group is joined in the
 * function that opened it; nothing is detached.  The first failing child cancels its siblings unless the
 * group keeps going; join returns that first error.
 *
 * Every task runs under a *scope*: a node in a tree that can be cancelled and may have a deadline.  A group
 * opens a scope below the one of the task that opened it.  Cancellation and deadlines are seen at wait points
 * only, and a wait point checks on entry even when it need not sleep.  No wait point may be reached while a
 * lock is held: asserted in every build.
 *
 * Low-tier waits return 0 or -ECANCELED / -ETIMEDOUT; task_check() gives the same as an error object.
 */
#ifndef MINKE_TASK_TASK_H
#define MINKE_TASK_TASK_H

#include "base/base.h"
#include "base/error.h"

#include <pthread.h>

/* ---- scopes
 * ------------------------------------------------------------------------------------------------------------
 */

/* Shared (ref).  Cancelling a scope cancels all scopes below it and wakes their waiters. */
struct scope;

/* A scope below `parent` (NULL: below the current task's).  The caller owns one reference. */
struct scope *scope_new(struct scope *parent);
struct scope *scope_ref(struct scope *s);
void scope_unref(struct scope *s); /* NULL is fine */
/* Cancel; the first cause stands.  `cause` may be NULL ("context canceled"); taken.  Never waits. */
void scope_cancel(struct scope *s, struct error *cause);
bool scope_cancelled(const struct scope *s); /* or past its deadline */
/* Run the current task under `s` until scope_leave(); they nest.  The reference stays with the caller. */
void scope_enter(struct scope *s);
void scope_leave(struct scope *s);
struct scope *scope_current(void); /* borrowed */

/* Deadline for what the current task does until deadline_end: the sooner of it and an outer one holds.  ns
 * from now. */
struct deadline {
    struct scope *scope;
};
void deadline_begin(struct deadline *d, int64_t timeout_ns);
void deadline_end(struct deadline *d);
/* ns until the current task's deadline (0 or less: passed); INT64_MAX: there is none. */
int64_t task_deadline_left(void);

/* Shield: what runs until shield_end does not see outer cancellation, and has `timeout_ns` of its own.  For
 * cleanup that waits. */
void shield_begin(struct deadline *d, int64_t timeout_ns);
void shield_end(struct deadline *d);

/* NULL, or ERR_CANCELLED ("context canceled", or the cause's clone), or ERR_DEADLINE ("context deadline
 * exceeded"). */
struct error *task_check(void) MUST_CHECK;
int task_check_sys(void) MUST_CHECK; /* 0, -ECANCELED, -ETIMEDOUT */
/* From what a low-tier wait returned: the scope's error for -ECANCELED/-ETIMEDOUT, else err_sys(-r, ...). */
struct error *task_error(int r, const char *fmt, ...) PRINTF(2, 3) MUST_CHECK;

/* ---- groups
 * ------------------------------------------------------------------------------------------------------------
 */

typedef struct error *(*task_fn)(void *arg);

enum group_flags {
    GROUP_KEEP_GOING = 1 << 0, /* a failing child does not cancel its siblings */
    GROUP_DAEMON =
        1 << 1, /* finished children are reaped at once; errors of children are logged, not kept (servers) */
};

struct group {
    pthread_mutex_t lock;
    struct scope *scope;
    struct task *running;
    struct task *finished; /* not joined yet */
    size_t live;           /* running ones */
    enum group_flags flags;
    struct error *first_error;
    pthread_cond_t changed;
    bool open;
};

/* Open a group whose scope lies below the current task's. */
void group_open(struct group *g, enum group_flags flags);
/* Start a task.  `name` is copied (shown by SIGUSR1, set as the thread's name).  Errors: ERR_EXHAUSTED over
 * the cap of threads (then `arg` stays the caller's); ERR_CANCELLED when the group is cancelled already. */
struct error *group_spawn(struct group *g, const char *name, task_fn fn, void *arg) MUST_CHECK;
/* The same with the task under a scope of the caller's (must be below the group's): lets one child be
 * cancelled alone.  What a child returns because that scope alone was cancelled (ERR_CANCELLED) is no failure
 * of the group. */
struct error *group_spawn_scope(struct group *g, const char *name, struct scope *scope, task_fn fn,
                                void *arg) MUST_CHECK;
void group_cancel(struct group *g);
/* Wait for all children (not cut short by cancellation: children see it and end).  Returns the first error.
 * Closes the group. */
struct error *group_join(struct group *g) MUST_CHECK;
/* End it with what the opener itself met (taken; NULL: nothing): an error cancels the children and is what is
 * returned, but for a cancellation that a failing child brought about: then it is the child's. */
struct error *group_finish(struct group *g, struct error *e) MUST_CHECK;
/* Cleanup attribute: cancels, joins, drops errors; nothing on a joined group. */
void group_deinit(struct group *g);
size_t group_live(struct group *g);

/* ---- locks and waits
 * --------------------------------------------------------------------------------------------------- */

struct mutex {
    pthread_mutex_t m;
};
#define MUTEX_INIT                                                                                           \
    {                                                                                                        \
        PTHREAD_MUTEX_INITIALIZER                                                                            \
    }
void mutex_init(struct mutex *m);
void mutex_deinit(struct mutex *m);
void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);
/* CLEANUP(mutex_unlockp) struct mutex *l = mutex_guard(&x->lock); */
struct mutex *mutex_guard(struct mutex *m);
void mutex_unlockp(struct mutex **m);

/* Condition: the one wait that may be entered with a lock held - exactly one, the one given.  A queue of
 * parked tasks, so that cancellation can wake one of them without knowing its lock.  A zeroed struct is a
 * valid condition. */
struct cond {
    pthread_mutex_t lock;
    struct task *first, *last;
};
#define COND_INIT                                                                                            \
    {                                                                                                        \
        PTHREAD_MUTEX_INITIALIZER, NULL, NULL                                                                \
    }
void cond_init(struct cond *c);
void cond_deinit(struct cond *c);
/* 0 (maybe spurious), -ECANCELED, -ETIMEDOUT; the lock is held again in every case. */
int cond_wait(struct cond *c, struct mutex *m) MUST_CHECK;
/* The same, but returns 0 also after timeout_ns (then *ret_timed_out is true). */
int cond_wait_for(struct cond *c, struct mutex *m, int64_t timeout_ns, bool *ret_timed_out) MUST_CHECK;
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

/* poll() on one fd for POLLIN / POLLOUT: 0 when ready or hung up, -ECANCELED, -ETIMEDOUT. */
int task_wait_fd(int fd, short events) MUST_CHECK;
/* The same on several: fills in `revents`; entries with fd < 0 are skipped. */
struct pollfd;
int task_wait_fds(struct pollfd *fds, size_t count) MUST_CHECK;
/* Wait until `timeout_ns` has passed: 0, -ECANCELED, -ETIMEDOUT (of a deadline). */
int task_sleep(int64_t timeout_ns) MUST_CHECK;

/* Weighted semaphore: FIFO, so that a heavy waiter is not starved. */
struct semaphore {
    struct mutex lock;
    int64_t limit, used;
    struct semaphore_waiter *first, *last;
};
void semaphore_init(struct semaphore *s, int64_t limit);
void semaphore_deinit(struct semaphore *s);
/* 0, -ECANCELED, -ETIMEDOUT.  A weight above the limit is cut to it, in both calls. */
int semaphore_acquire(struct semaphore *s, int64_t weight) MUST_CHECK;
void semaphore_release(struct semaphore *s, int64_t weight);
/* For semaphores whose weights are never above any of their limits.  What was granted stays granted. */
void semaphore_set_limit(struct semaphore *s, int64_t limit);
size_t semaphore_waiting(struct semaphore *s); /* how many stand in line */

/* ---- seeing what runs
 * -------------------------------------------------------------------------------------------------- */

/* Name what the current task waits for ("pull docker.io/library/busybox"); shown by task_dump until the next
 * call. NULL clears. */
void task_waiting(const char *what); /* copied, cut at 63 bytes */
/* Write every live task with group, name, age and what it waits for to the log (SIGUSR1). */
void task_dump(void);
size_t task_count(void);

#endif
