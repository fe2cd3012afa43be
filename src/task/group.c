/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.c - the life of a task: started in a group, finished, joined
 *
 * A task that ends moves itself from the group's running list to the finished one; there it is reaped by
 * group_join, or in a GROUP_DAEMON group by whichever of its siblings starts or ends next.  Its thread goes
 * on to another one (worker.c).
 */
#include "base/bytes.h"
#include "base/limits.h"
#include "task/self.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct task *all_tasks; /* under all_lock */
static atomic_size_t thread_count;

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t foreign_key; /* frees the struct of a thread that is no task */
static _Thread_local struct task *self;

/* ---- struct task ---- */

struct task *task_alloc(const char *name, struct scope *scope)
{
    struct task *t = NEW(struct task);

    snprintf(t->name, sizeof(t->name), "%s", name);
    t->started_ns = monotonic_ns();
    t->own_scope = scope_ref(scope);
    t->scope = scope;
    t->event_fd = -1;
    pthread_mutex_init(&t->note_lock, NULL);
    pthread_mutex_lock(&all_lock);
    t->all_next = all_tasks;
    if (t->all_next != NULL)
        t->all_next->all_prev = t;
    all_tasks = t;
    pthread_mutex_unlock(&all_lock);
    return t;
}

void task_free(struct task *t)
{
    pthread_mutex_lock(&all_lock);
    if (t->all_prev != NULL)
        t->all_prev->all_next = t->all_next;
    else
        all_tasks = t->all_next;
    if (t->all_next != NULL)
        t->all_next->all_prev = t->all_prev;
    pthread_mutex_unlock(&all_lock);

    closep(&t->event_fd);
    scope_unref(t->own_scope);
    pthread_mutex_destroy(&t->note_lock);
    log_context_free(t->log);
    free(t->outer);
    free(t);
}

static void free_foreign(void *p)
{
    self = NULL;
    task_free(p);
}

static void make_key(void)
{
    pthread_key_create(&foreign_key, free_foreign);
}

static struct task *adopt_thread(void)
{
    pthread_once(&key_once, make_key);
    self = task_alloc("main", scope_root());
    pthread_setspecific(foreign_key, self);
    return self;
}

struct task *task_self(void)
{
    return self != NULL ? self : adopt_thread();
}

/* ---- groups ---- */

void group_open(struct group *g, enum group_flags flags)
{
    *g = (struct group){ .flags = flags, .open = true };
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
    g->scope = scope_new(NULL);
}

static void link_task(struct task **list, struct task *t)
{
    t->prev = NULL;
    t->next = *list;
    if (t->next != NULL)
        t->next->prev = t;
    *list = t;
}

static void unlink_task(struct task **list, struct task *t)
{
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        *list = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
}

/* Reap one finished task; false when there is none. Locked on entry and return, not in between. */
static bool reap_one_locked(struct group *g)
{
    struct task *t = g->finished;

    if (t == NULL)
        return false;
    unlink_task(&g->finished, t);
    pthread_mutex_unlock(&g->lock);
    task_free(t);
    pthread_mutex_lock(&g->lock);
    return true;
}

static bool cancelled_alone(const struct task *t, const struct error *e)
{
    return e->kind == ERR_CANCELLED && t->own_scope != t->group->scope && scope_cancelled(t->own_scope) &&
           !scope_cancelled(t->group->scope);
}

/* What becomes of a child's error (taken). */
static void settle(struct task *t, struct error *e)
{
    struct group *g = t->group;

    if (e == NULL)
        return;
    if (cancelled_alone(t, e)) {
        err_free(e);
        return;
    }
    if (g->flags & GROUP_DAEMON) {
        log_write(e->kind == ERR_CANCELLED ? LOG_DEBUG : LOG_WARN, "task failed", "task", t->name, "error",
                  e->message, NULL);
        err_free(e);
        return;
    }
    pthread_mutex_lock(&g->lock);
    bool first = g->first_error == NULL;

    if (first)
        g->first_error = TAKE(e);
    pthread_mutex_unlock(&g->lock);
    err_free(e);
    if (first && !(g->flags & GROUP_KEEP_GOING))
        scope_cancel(g->scope, NULL);
}

static const char ENDED[] = "ended"; /* and not joined yet: not shown any more */

static void set_wait_kind(struct task *t, const char *kind)
{
    pthread_mutex_lock(&t->note_lock);
    t->wait_kind = kind;
    pthread_mutex_unlock(&t->note_lock);
}

static void set_thread_name(const char *name)
{
    char cut[16]; /* what the kernel takes */

    snprintf(cut, sizeof(cut), "%.15s", name);
    pthread_setname_np(pthread_self(), cut);
}

void task_run(struct task *t)
{
    struct group *g = t->group;

    self = t;
    set_thread_name(t->name);
    log_context_adopt(t->log);
    settle(t, t->fn(t->arg));
    log_context_drop();
    if (t->locks_held != 0 || t->outer_count != 0) {
        fprintf(stderr, "minke: task \"%s\" ends with %u locks held, %zu scopes entered\n", t->name,
                t->locks_held, t->outer_count);
        abort();
    }

    pthread_mutex_lock(&g->lock);
    if (g->flags & GROUP_DAEMON)
        while (reap_one_locked(g))
            ;
    unlink_task(&g->running, t);
    link_task(&g->finished, t);
    atomic_fetch_sub(&thread_count, 1);
    set_wait_kind(t, ENDED);
    self = NULL;
    if (--g->live == 0)
        pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock); /* `g` and `t` belong to whoever joins */
}

static struct error *reserve_thread(void)
{
    if (atomic_fetch_add(&thread_count, 1) < LIMIT_TASKS)
        return NULL;
    atomic_fetch_sub(&thread_count, 1);
    return err_new(ERR_EXHAUSTED, "too many tasks (the limit is %d)", LIMIT_TASKS);
}

struct error *group_spawn_scope(struct group *g, const char *name, struct scope *scope, task_fn fn, void *arg)
{
    assert(g->open);
    if (scope_cancelled(g->scope))
        return err_new(ERR_CANCELLED, "context canceled");
    TRY(reserve_thread());
    struct task *t = task_alloc(name, scope != NULL ? scope : g->scope);

    t->group = g;
    t->fn = fn;
    t->arg = arg;
    t->log = log_context_copy();
    memcpy(t->group_name, task_self()->name, sizeof(t->group_name));

    pthread_mutex_lock(&g->lock);
    if (g->flags & GROUP_DAEMON)
        while (reap_one_locked(g))
            ;
    link_task(&g->running, t);
    g->live++;
    int r = worker_start(t);

    if (r < 0) {
        unlink_task(&g->running, t);
        g->live--;
    }
    pthread_mutex_unlock(&g->lock);
    if (r == 0)
        return NULL;
    task_free(t);
    atomic_fetch_sub(&thread_count, 1);
    return err_new(ERR_EXHAUSTED, "start a task: %s", strerrordesc_np(-r));
}

struct error *group_spawn(struct group *g, const char *name, task_fn fn, void *arg)
{
    return group_spawn_scope(g, name, g->scope, fn, arg);
}

void group_cancel(struct group *g)
{
    if (g->open)
        scope_cancel(g->scope, NULL);
}

struct error *group_join(struct group *g)
{
    struct task *t = task_self();

    assert(g->open);
    assert(t->locks_held == 0);
    set_wait_kind(t, "children");
    pthread_mutex_lock(&g->lock);
    while (g->live > 0)
        pthread_cond_wait(&g->changed, &g->lock); /* woken once, by the last */
    while (reap_one_locked(g))
        ;
    g->open = false;
    pthread_mutex_unlock(&g->lock);
    set_wait_kind(t, NULL);
    scope_unref(TAKE(g->scope));
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
    return TAKE(g->first_error);
}

struct error *group_finish(struct group *g, struct error *e)
{
    struct error *joined;

    if (e != NULL)
        group_cancel(g);
    joined = group_join(g);
    if (e == NULL ||
        (joined != NULL && err_is(e, ERR_CANCELLED))) { /* a child's failure cancelled the opener's spawn */
        err_free(e);
        return joined;
    }
    err_free(joined);
    return e;
}

void group_deinit(struct group *g)
{
    if (!g->open)
        return;
    group_cancel(g);
    err_free(group_join(g));
}

size_t group_live(struct group *g)
{
    pthread_mutex_lock(&g->lock);
    size_t live = g->live;

    pthread_mutex_unlock(&g->lock);
    return live;
}

/* ---- seeing what runs ---- */

void task_waiting(const char *what)
{
    struct task *t = task_self();

    pthread_mutex_lock(&t->note_lock);
    snprintf(t->waiting, sizeof(t->waiting), "%s", what != NULL ? what : "");
    pthread_mutex_unlock(&t->note_lock);
}

static void log_task(struct task *t)
{
    char waiting[sizeof(t->waiting)], age[32];

    pthread_mutex_lock(&t->note_lock);
    const char *kind = t->wait_kind;

    memcpy(waiting, t->waiting, sizeof(waiting));
    pthread_mutex_unlock(&t->note_lock);
    if (kind == ENDED)
        return;
    snprintf(age, sizeof(age), "%.3fs", (double)(monotonic_ns() - t->started_ns) / (double)NS_PER_SEC);
    log_info("task", "task", t->name, "group", t->group != NULL ? t->group_name : NULL, "age", age, "state",
             kind != NULL ? kind : "runs", "waiting", waiting[0] != '\0' ? waiting : NULL);
}

void task_dump(void)
{
    pthread_mutex_lock(&all_lock);
    for (struct task *t = all_tasks; t != NULL; t = t->all_next)
        log_task(t);
    pthread_mutex_unlock(&all_lock);
}

size_t task_count(void)
{
    return atomic_load(&thread_count);
}
