/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "base/log.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define FOREVER (3600 * NS_PER_SEC)

static struct error *count_up(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    return NULL;
}

static struct error *break_off(void *arg)
{
    return err_new(ERR_NOT_FOUND, "%s", (const char *)arg);
}

/* Sleeps until it is cancelled. */
static struct error *linger(void *arg)
{
    int r = task_sleep(FOREVER);

    if (arg != NULL)
        atomic_fetch_add((atomic_int *)arg, 1);
    return task_error(r, "sleep");
}

static void assert_error(struct error *e, enum error_kind kind, const char *message)
{
    assert_non_null(e);
    assert_int_equal(e->kind, kind);
    assert_string_equal(e->message, message);
    err_free(e);
}

static void all_children_are_joined(void **state)
{
    struct group g;
    atomic_int count = 0;

    group_open(&g, 0);
    for (int i = 0; i < 50; i++)
        assert_null(group_spawn(&g, "count", count_up, &count));
    assert_null(group_join(&g));
    assert_int_equal(count, 50);
    assert_int_equal(task_count(), 0);
}

static void first_error_cancels_siblings(void **state)
{
    struct group g;
    atomic_int ended = 0;

    group_open(&g, 0);
    for (int i = 0; i < 20; i++)
        assert_null(group_spawn(&g, "linger", linger, &ended));
    assert_null(group_spawn(&g, "fail", break_off, (char *)"no such thing"));
    assert_error(group_join(&g), ERR_NOT_FOUND, "no such thing");
    assert_int_equal(ended, 20);
}

static void keep_going_runs_all(void **state)
{
    struct group g;
    atomic_int count = 0;

    group_open(&g, GROUP_KEEP_GOING);
    assert_null(group_spawn(&g, "fail", break_off, (char *)"broken"));
    while (group_live(&g) > 0)
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    for (int i = 0; i < 10; i++)
        assert_null(group_spawn(&g, "count", count_up, &count));
    assert_error(group_join(&g), ERR_NOT_FOUND, "broken");
    assert_int_equal(count, 10);
}

static void daemon_group_keeps_no_error(void **state)
{
    struct group g;

    group_open(&g, GROUP_DAEMON);
    for (int i = 0; i < 200; i++)
        assert_null(group_spawn(&g, "fail", break_off, (char *)"expected by the test"));
    assert_null(group_join(&g));
}

static void cancelled_group_refuses_tasks(void **state)
{
    struct group g;
    atomic_int count = 0;

    group_open(&g, 0);
    group_cancel(&g);
    assert_error(group_spawn(&g, "late", count_up, &count), ERR_CANCELLED, "context canceled");
    assert_null(group_join(&g));
    assert_int_equal(count, 0);
}

static void deinit_cancels_and_joins(void **state)
{
    atomic_int ended = 0;
    {
        CLEANUP(group_deinit) struct group g = { 0 };

        group_open(&g, 0);
        assert_null(group_spawn(&g, "linger", linger, &ended));
    }
    assert_int_equal(ended, 1);
    CLEANUP(group_deinit) struct group never_opened = { 0 };

    assert_false(never_opened.open);
}

struct tree {
    int depth, fan;
    atomic_int *started, *ended;
};

static struct error *grow_tree(void *arg)
{
    const struct tree *mine = arg;
    struct tree below = { mine->depth - 1, mine->fan, mine->started, mine->ended };
    struct group g;

    atomic_fetch_add(mine->started, 1);
    group_open(&g, 0);
    struct error *e = NULL;

    for (int i = 0; mine->depth > 1 && i < mine->fan && e == NULL; i++)
        e = group_spawn(&g, "tree", grow_tree, &below);
    if (e == NULL)
        e = task_error(task_sleep(FOREVER), "sleep");
    err_free(group_join(&g));
    atomic_fetch_add(mine->ended, 1);
    return e;
}

/* 4 + 16 + 64 + 256 + 1024 tasks */
static void deep_tree_is_cancelled(void **state)
{
    atomic_int started = 0, ended = 0;
    struct tree top = { 6, 4, &started, &ended };
    struct group g;

    group_open(&g, 0);
    assert_null(group_spawn(&g, "tree", grow_tree, &top));
    while (atomic_load(&started) < 1365)
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    int64_t begin = monotonic_ns();

    group_cancel(&g);
    assert_error(group_join(&g), ERR_CANCELLED, "context canceled");
    print_message("a tree of %d tasks was joined in %.1f ms\n", (int)started,
                  (double)(monotonic_ns() - begin) / 1e6);
    assert_int_equal(ended, 1365);
    assert_int_equal(task_count(), 0);
}

static void cause_is_told(void **state)
{
    struct group g;

    group_open(&g, 0);
    assert_null(group_spawn(&g, "linger", linger, NULL));
    scope_cancel(g.scope, err_new(ERR_CANCELLED, "client left"));
    scope_cancel(g.scope, err_new(ERR_CANCELLED, "too late"));
    assert_error(group_join(&g), ERR_CANCELLED, "client left");
}

static void new_scope_below_cancelled_is_cancelled(void **state)
{
    struct scope *outer = scope_new(NULL);

    scope_cancel(outer, NULL);
    struct scope *inner = scope_new(outer);

    assert_true(scope_cancelled(inner));
    scope_unref(outer);
    scope_enter(inner);
    assert_int_equal(task_check_sys(), -ECANCELED);
    assert_int_equal(task_sleep(0), -ECANCELED); /* checked even when there is nothing to wait for */
    scope_leave(inner);
    assert_null(task_check());
    scope_unref(inner);
}

static void one_child_is_cancelled_alone(void **state)
{
    atomic_int ended = 0, count = 0;
    struct group g;

    group_open(&g, 0);
    struct scope *one = scope_new(g.scope);

    assert_null(group_spawn_scope(&g, "one", one, linger, &ended));
    scope_cancel(one, NULL);
    while (group_live(&g) > 0)
        assert_int_equal(task_sleep(NS_PER_MS), 0);
    assert_null(group_spawn(&g, "other", count_up, &count));
    assert_null(group_join(&g));
    assert_int_equal(ended, 1);
    assert_int_equal(count, 1);
    scope_unref(one);
}

static void sooner_deadline_holds(void **state)
{
    struct deadline outer, inner;

    deadline_begin(&outer, 5 * NS_PER_MS);
    deadline_begin(&inner, FOREVER);
    assert_int_equal(task_sleep(FOREVER), -ETIMEDOUT);
    assert_error(task_check(), ERR_DEADLINE, "context deadline exceeded");
    deadline_end(&inner);
    deadline_end(&outer);
    assert_null(task_check());
}

static void deadline_reaches_children(void **state)
{
    struct deadline d;
    struct group g;

    deadline_begin(&d, 5 * NS_PER_MS);
    group_open(&g, 0);
    assert_null(group_spawn(&g, "linger", linger, NULL));
    assert_error(group_join(&g), ERR_DEADLINE, "context deadline exceeded");
    deadline_end(&d);
}

static void shield_hides_cancellation(void **state)
{
    struct scope *s = scope_new(NULL);
    struct deadline d;
    atomic_int count = 0;
    struct group g;

    scope_enter(s);
    scope_cancel(s, NULL);
    assert_int_equal(task_check_sys(), -ECANCELED);
    shield_begin(&d, FOREVER);
    assert_int_equal(task_sleep(1), 0);
    group_open(&g, 0);
    assert_null(group_spawn(&g, "cleanup", count_up, &count));
    assert_null(group_join(&g));
    shield_end(&d);
    shield_begin(&d, NS_PER_MS);
    assert_int_equal(task_sleep(FOREVER), -ETIMEDOUT);
    shield_end(&d);
    assert_int_equal(task_check_sys(), -ECANCELED);
    scope_leave(s);
    scope_unref(s);
    assert_int_equal(count, 1);
}

/* ---- waits ---- */

struct monitor {
    struct mutex lock;
    struct cond changed;
    int value, waiting;
};

static struct error *wait_for_value(void *arg)
{
    struct monitor *m = arg;
    int r = 0;

    mutex_lock(&m->lock);
    m->waiting++;
    while (m->value == 0 && r == 0)
        r = cond_wait(&m->changed, &m->lock);
    m->waiting--;
    if (r == 0)
        m->value--;
    mutex_unlock(&m->lock);
    return r < 0 ? task_error(r, "wait") : NULL;
}

static void await_waiters(struct monitor *m, int count)
{
    for (;;) {
        mutex_lock(&m->lock);
        int waiting = m->waiting;

        mutex_unlock(&m->lock);
        if (waiting == count)
            return;
        assert_int_equal(task_sleep(NS_PER_MS / 10), 0);
    }
}

static void condition_is_signalled(void **state)
{
    struct monitor m = { .lock = MUTEX_INIT, .changed = COND_INIT };
    struct group g;

    group_open(&g, 0);
    for (int i = 0; i < 8; i++)
        assert_null(group_spawn(&g, "wait", wait_for_value, &m));
    for (int i = 0; i < 8; i++) {
        mutex_lock(&m.lock);
        m.value++;
        cond_signal(&m.changed);
        mutex_unlock(&m.lock);
    }
    assert_null(group_join(&g));
    assert_int_equal(m.value, 0);
}

static void condition_wait_is_cancelled(void **state)
{
    struct monitor m = { .lock = MUTEX_INIT, .changed = COND_INIT };

    for (int round = 0; round < 50; round++) {
        struct group g;

        group_open(&g, 0);
        for (int i = 0; i < 4; i++)
            assert_null(group_spawn(&g, "wait", wait_for_value, &m));
        if (round % 2 == 0) /* the other rounds cancel at any instant before that */
            await_waiters(&m, 4);
        mutex_lock(&m.lock); /* cancelling with the waiters' own lock held must not deadlock */
        group_cancel(&g);
        mutex_unlock(&m.lock);
        assert_error(group_join(&g), ERR_CANCELLED, "context canceled");
        assert_int_equal(m.waiting, 0);
    }
    cond_deinit(&m.changed);
}

static void condition_wait_times_out(void **state)
{
    struct monitor m = { .lock = MUTEX_INIT, .changed = COND_INIT };
    bool timed_out = false;
    struct deadline d;

    mutex_lock(&m.lock);
    while (!timed_out)
        assert_int_equal(cond_wait_for(&m.changed, &m.lock, NS_PER_MS, &timed_out), 0);
    deadline_begin(&d, NS_PER_MS);
    int r = 0;

    while (r == 0)
        r = cond_wait(&m.changed, &m.lock);
    assert_int_equal(r, -ETIMEDOUT);
    deadline_end(&d);
    mutex_unlock(&m.lock);
}

static struct error *ping_pong(void *arg)
{
    struct monitor *m = arg;
    int r = 0;

    mutex_lock(&m->lock);
    for (int i = 0; i < 2000 && r == 0; i++) {
        int mine = m->value;

        m->value++;
        cond_broadcast(&m->changed);
        while (m->value == mine + 1 && m->waiting == 0 && r == 0)
            r = cond_wait(&m->changed, &m->lock);
    }
    m->waiting = 1; /* the other need not wait any more */
    cond_broadcast(&m->changed);
    mutex_unlock(&m->lock);
    return r < 0 ? task_error(r, "wait") : NULL;
}

static void no_wakeup_is_lost(void **state)
{
    struct monitor m = { .lock = MUTEX_INIT, .changed = COND_INIT };
    struct group g;

    group_open(&g, 0);
    assert_null(group_spawn(&g, "ping", ping_pong, &m));
    assert_null(group_spawn(&g, "pong", ping_pong, &m));
    assert_null(group_join(&g));
}

static struct error *read_byte(void *arg)
{
    int fd = *(int *)arg, r = task_wait_fd(fd, POLLIN);
    char c;

    if (r < 0)
        return task_error(r, "poll");
    return read(fd, &c, 1) == 1 ? NULL : err_sys(errno, "read");
}

static void descriptor_wait(void **state)
{
    struct group g;
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    group_open(&g, 0);
    assert_null(group_spawn(&g, "read", read_byte, &fds[0]));
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_null(group_join(&g));

    for (int round = 0; round < 50; round++) {
        group_open(&g, 0);
        assert_null(group_spawn(&g, "read", read_byte, &fds[0]));
        group_cancel(&g);
        assert_error(group_join(&g), ERR_CANCELLED, "context canceled");
    }
    struct deadline d;

    deadline_begin(&d, NS_PER_MS);
    assert_int_equal(task_wait_fd(fds[0], POLLIN), -ETIMEDOUT);
    deadline_end(&d);
    struct pollfd many[12];

    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct pollfd){ .fd = i == 11 ? fds[1] : -1, .events = POLLOUT };
    assert_int_equal(task_wait_fds(many, ARRAY_LEN(many)), 0);
    assert_int_equal(many[11].revents, POLLOUT);
    close(fds[0]);
    close(fds[1]);
}

struct queue {
    struct semaphore s;
    atomic_int order;
    int got[4];
};

struct taker {
    struct queue *q;
    int index;
    int64_t weight;
};

static struct error *take_turn(void *arg)
{
    struct taker *t = arg;
    int r = semaphore_acquire(&t->q->s, t->weight);

    if (r < 0)
        return task_error(r, "acquire");
    t->q->got[t->index] = atomic_fetch_add(&t->q->order, 1);
    semaphore_release(&t->q->s, t->weight);
    return NULL;
}

static void await_semaphore_waiters(struct semaphore *s, size_t count)
{
    while (semaphore_waiting(s) < count)
        assert_int_equal(task_sleep(NS_PER_MS / 10), 0);
}

/* A heavy waiter stands in front: light ones behind it do not pass. */
static void semaphore_is_fair(void **state)
{
    struct queue q = { 0 };
    struct taker takers[3] = { { &q, 0, 4 }, { &q, 1, 1 }, { &q, 2, 1 } };
    struct group g;

    semaphore_init(&q.s, 4);
    assert_int_equal(semaphore_acquire(&q.s, 2), 0);
    group_open(&g, 0);
    for (int i = 0; i < 3; i++) {
        assert_null(group_spawn(&g, "take", take_turn, &takers[i]));
        await_semaphore_waiters(&q.s, (size_t)i + 1);
    }
    assert_int_equal(q.order, 0);
    semaphore_release(&q.s, 2);
    assert_null(group_join(&g));
    assert_int_equal(q.got[0], 0);
    assert_int_equal(q.s.used, 0);
    semaphore_deinit(&q.s);
}

/* The heavy one in front gives up: those behind it go on. */
static void semaphore_wait_is_cancelled(void **state)
{
    struct queue q = { 0 };
    struct taker heavy = { &q, 0, 9 }, light = { &q, 1, 1 };
    struct group g;

    semaphore_init(&q.s, 4);
    assert_int_equal(semaphore_acquire(&q.s, 2), 0);
    group_open(&g, 0);
    struct scope *alone = scope_new(g.scope);

    assert_null(group_spawn_scope(&g, "heavy", alone, take_turn, &heavy));
    await_semaphore_waiters(&q.s, 1);
    assert_null(group_spawn(&g, "light", take_turn, &light));
    await_semaphore_waiters(&q.s, 2);
    scope_cancel(alone, NULL);
    assert_null(group_join(&g));
    assert_int_equal(q.order, 1);
    assert_int_equal(q.s.used, 2);
    scope_unref(alone);
    semaphore_release(&q.s, 2);
    semaphore_deinit(&q.s);
}

/* The rule is enforced: a child process that breaks it must abort. */
static void waiting_under_a_lock_aborts(void **state)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct mutex m = MUTEX_INIT;

        signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        mutex_lock(&m);
        _exit(task_sleep(1) == 0 ? 0 : 1);
    }
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void spawn_many(void **state)
{
    struct group g;
    atomic_int count = 0;
    int64_t begin = monotonic_ns();

    group_open(&g, GROUP_DAEMON);
    for (int i = 0; i < 2000; i++)
        assert_null(group_spawn(&g, "count", count_up, &count));
    assert_null(group_join(&g));
    print_message("a task costs %.1f us\n", (double)(monotonic_ns() - begin) / 2000 / 1e3);
    assert_int_equal(count, 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_children_are_joined),
        cmocka_unit_test(first_error_cancels_siblings),
        cmocka_unit_test(keep_going_runs_all),
        cmocka_unit_test(daemon_group_keeps_no_error),
        cmocka_unit_test(cancelled_group_refuses_tasks),
        cmocka_unit_test(deinit_cancels_and_joins),
        cmocka_unit_test(deep_tree_is_cancelled),
        cmocka_unit_test(cause_is_told),
        cmocka_unit_test(new_scope_below_cancelled_is_cancelled),
        cmocka_unit_test(one_child_is_cancelled_alone),
        cmocka_unit_test(sooner_deadline_holds),
        cmocka_unit_test(deadline_reaches_children),
        cmocka_unit_test(shield_hides_cancellation),
        cmocka_unit_test(condition_is_signalled),
        cmocka_unit_test(condition_wait_is_cancelled),
        cmocka_unit_test(condition_wait_times_out),
        cmocka_unit_test(no_wakeup_is_lost),
        cmocka_unit_test(descriptor_wait),
        cmocka_unit_test(semaphore_is_fair),
        cmocka_unit_test(semaphore_wait_is_cancelled),
        cmocka_unit_test(waiting_under_a_lock_aborts),
        cmocka_unit_test(spawn_many),
    };

    log_setup(LOG_ERROR, LOG_TEXT);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
