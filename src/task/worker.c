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
#define EXIT_NS (NS_PER_SEC / 5) /* how long the program's end waits for threads to leave */

struct worker {
    pthread_t thread;
    void *stack;
    struct task *task; /* to run; NULL: none yet; under `lock` */
    pthread_cond_t wake;
    struct worker *link; /* in one of the lists */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct worker *idle, *ended; /* the last to become so first */
static size_t idle_count, alive;
static bool closing; /* the program ends: nobody waits for a task any more */
static pthread_cond_t left = PTHREAD_COND_INITIALIZER; /* one of them, while it is */

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
    if (idle_count >= KEEP || closing)
        return NULL;
    w->link = idle;
    idle = w;
    idle_count++;
    while (w->task == NULL && r == 0 && !closing)
        r = pthread_cond_timedwait(&w->wake, &lock, &ts);
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
            alive--;
            pthread_cond_signal(&left);
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

/* Threads that run no task leave, and the last that ended, which has nobody after it, is joined. */
static void end_all(void)
{
    struct timespec until;
    int r = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += EXIT_NS;
    until.tv_sec += until.tv_nsec / NS_PER_SEC;
    until.tv_nsec %= NS_PER_SEC;
    pthread_mutex_lock(&lock);
    closing = true;
    for (struct worker *w = idle; w != NULL; w = w->link)
        pthread_cond_signal(&w->wake);
    while (alive > 0 && r == 0) /* a task that runs still is not waited for */
        r = pthread_cond_timedwait(&left, &lock, &until);
    struct worker *gone = ended;

    ended = NULL;
    pthread_mutex_unlock(&lock);
    join_all(gone);
}

/* No destructor of the program: those run after a sanitizer has looked for threads that nobody joined. */
static void end_at_exit(void)
{
    atexit(end_all);
}

static void count_alive(int n)
{
    pthread_mutex_lock(&lock);
    alive += (size_t)n;
    pthread_mutex_unlock(&lock);
}

static int start_new(struct task *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct worker *w = worker_new(t);
    pthread_attr_t attr;

    if (w == NULL)
        return -ENOMEM;
    pthread_once(&once, end_at_exit);
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, w->stack, stack_size());
    block_signals(&attr);
    count_alive(1);
    int r = pthread_create(&w->thread, &attr, worker_main, w);

    pthread_attr_destroy(&attr);
    if (r != 0) {
        count_alive(-1);
        worker_free(w);
    }
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
