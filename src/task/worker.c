/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - threads, each of which runs one task after the other
 *
 * Most tasks are short, and a thread that has just run one starts the next in a fraction of the time that a
 * new one takes, with its allocator's cache still warm.  A few wait for tasks, and not for long; an idle
 * daemon has none.  A thread that ends is joined by whichever begins or ends next, for only then its stack is
 * free.
 */
#include "base/bytes.h"
#include "task/self.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#define KEEP 16                  /* that wait for a task */
#define IDLE_NS (2 * NS_PER_SEC) /* so long */

struct worker {
    pthread_t thread;
    void *stack;
    struct task *task; /* to run; NULL: none yet; under `lock` */
    pthread_cond_t wake;
    struct worker *link; /* in one of the lists */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct worker *idle, *ended; /* the last to become so first */
static size_t idle_count;
static bool closing; /* the program ends: no thread does so before it */

static void worker_free(struct worker *w)
{
    stack_give(w->stack);
    pthread_cond_destroy(&w->wake);
    free(w);
}

/* Threads that have left our code: this waits for none of it. */
static void join_all(struct worker *w)
{
    while (w != NULL) {
        struct worker *next = w->link;

        pthread_join(w->thread, NULL);
        worker_free(w);
        w = next;
    }
}

static void remove_idle_locked(struct worker *w)
{
    struct worker **at = &idle;

    while (*at != w)
        at = &(*at)->link;
    *at = w->link;
    idle_count--;
}

/* Wait a while for a task; NULL: none came. */
static struct task *next_task_locked(struct worker *w)
{
    int64_t until = monotonic_ns() + IDLE_NS;
    struct timespec ts = { .tv_sec = until / NS_PER_SEC, .tv_nsec = until % NS_PER_SEC };
    int r = 0;

    w->task = NULL;
    if (idle_count >= KEEP && !closing)
        return NULL;
    w->link = idle;
    idle = w;
    idle_count++;
    while (w->task == NULL && (r == 0 || closing))
        r = closing ? pthread_cond_wait(&w->wake, &lock) : pthread_cond_timedwait(&w->wake, &lock, &ts);
    if (w->task == NULL)
        remove_idle_locked(w);
    return w->task;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg, *others;
    struct task *t = w->task;

    do {
        task_run(t);
        pthread_mutex_lock(&lock);
        t = next_task_locked(w);
        if (t == NULL) {
            others = ended;
            w->link = NULL;
            ended = w;
        }
        pthread_mutex_unlock(&lock);
    } while (t != NULL);
    join_all(others);
    return NULL;
}

/* Signals go to the thread that asks for them (signalfd), never into a task; faults stay where they happen.
 */
static void block_signals(pthread_attr_t *attr)
{
    sigset_t mask;

    sigfillset(&mask);
    sigdelset(&mask, SIGSEGV);
    sigdelset(&mask, SIGBUS);
    sigdelset(&mask, SIGFPE);
    sigdelset(&mask, SIGILL);
    sigdelset(&mask, SIGABRT);
    sigdelset(&mask, SIGPROF); /* profilers */
    pthread_attr_setsigmask_np(attr, &mask);
}

static struct worker *worker_new(struct task *t)
{
    void *stack = stack_take();
    pthread_condattr_t attr;

    if (stack == NULL)
        return NULL;
    struct worker *w = NEW(struct worker);

    *w = (struct worker){ .stack = stack, .task = t };
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    return w;
}

/* The last that ended has nobody after it.  The others stay as they are: a sanitizer that looks once more, up
 * to a second after this, finds no thread that nobody joined and no memory that such a thread left behind. */
static void join_last(void)
{
    pthread_mutex_lock(&lock);
    struct worker *gone = ended;

    ended = NULL;
    closing = true;
    pthread_mutex_unlock(&lock);
    join_all(gone);
}

/* No destructor of the program: those run after the sanitizer's. */
static void join_at_exit(void)
{
    atexit(join_last);
}

static int start_new(struct task *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct worker *w = worker_new(t);
    pthread_attr_t attr;

    if (w == NULL)
        return -ENOMEM;
    pthread_once(&once, join_at_exit);
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, w->stack, stack_size());
    block_signals(&attr);
    int r = pthread_create(&w->thread, &attr, worker_main, w);

    pthread_attr_destroy(&attr);
    if (r != 0)
        worker_free(w);
    return -r;
}

int worker_start(struct task *t)
{
    pthread_mutex_lock(&lock);
    struct worker *w = idle, *gone = ended;

    ended = NULL;
    if (w != NULL) {
        idle = w->link;
        idle_count--;
        w->task = t;
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&lock);
    join_all(gone);
    return w != NULL ? 0 : start_new(t);
}
