/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - start a program without forking the daemon
 *
 * clone(CLONE_VM | CLONE_VFORK): the child borrows our memory, runs child_main on a stack of its own and
 * execs; we sleep until then.  It shares every lock with the other threads, so it makes bare system calls
 * only and allocates nothing: all that it needs is worked out before.  It reports the first failure in struct
 * launch.
 */
#include "io/spawn.h"
#include "base/bytes.h"
#include "base/vec.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_STACK ((size_t)64 * 1024)
#define SPAWN_FDS_MAX 64
#define KILL_TIMEOUT (10 * NS_PER_SEC) /* how long a killed child may take to go */

/* The child uses our memory while sanitizers watch it from the parent's side: they must not instrument it. */
#if defined(__GNUC__) && !defined(__clang__)
#define BARE __attribute__((no_sanitize("address", "thread", "undefined")))
#else
#define BARE __attribute__((no_sanitize("address", "thread", "undefined", "memory")))
#endif

/* glibc's clone() under its other name: ThreadSanitizer takes calls of the first for a fork. */
int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);

struct launch {
    const struct spawn_options *options;
    const char *program;
    int targets[SPAWN_FDS_MAX + 3]; /* descriptors that stay open in the child, sorted, each once */
    size_t target_count;
    int spare; /* first number above all targets and 2 */
    sigset_t old_mask;
    int moved[SPAWN_FDS_MAX];
    int error;        /* errno of the child, 0 when exec succeeded */
    const char *step; /* what failed */
};

static BARE long bare(long number, long a, long b, long c, long d)
{
    return syscall(number, a, b, c, d);
}

static BARE _Noreturn void give_up(struct launch *l, const char *step)
{
    l->error = errno;
    l->step = step;
    for (;;)
        bare(SYS_exit, 127, 0, 0, 0);
}

/* Descriptors first out of each other's way, then to their numbers. */
static BARE void place_fds(struct launch *l)
{
    const struct spawn_options *o = l->options;

    for (size_t i = 0; i < o->fd_count; i++) {
        l->moved[i] = (int)bare(SYS_fcntl, o->fds[i].from, F_DUPFD_CLOEXEC, l->spare, 0);
        if (l->moved[i] < 0)
            give_up(l, "duplicate a descriptor");
    }
    int null = (int)bare(SYS_openat, AT_FDCWD, (long)"/dev/null", O_RDWR | O_CLOEXEC, 0);

    if (null < 0 || (null = (int)bare(SYS_fcntl, null, F_DUPFD_CLOEXEC, l->spare, 0)) < 0)
        give_up(l, "open /dev/null");
    for (int fd = 0; fd < 3; fd++)
        if (bare(SYS_dup3, null, fd, 0, 0) < 0)
            give_up(l, "place a descriptor");
    for (size_t i = 0; i < o->fd_count; i++)
        if (bare(SYS_dup3, l->moved[i], o->fds[i].to, 0, 0) < 0)
            give_up(l, "place a descriptor");
    int from = 0;

    for (size_t i = 0; i < l->target_count; i++) {
        if (l->targets[i] > from && bare(SYS_close_range, from, l->targets[i] - 1, 0, 0) < 0)
            give_up(l, "close descriptors");
        from = l->targets[i] + 1;
    }
    if (bare(SYS_close_range, from, ~0U, 0, 0) < 0)
        give_up(l, "close descriptors");
}

/* Ours are blocked in every task and SIGPIPE is ignored: a program starts with neither. */
static BARE void reset_signals(struct launch *l)
{
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } action;
    uint64_t none = 0;

    for (long signal = 1; signal <= 64; signal++) {
        action.handler = SIG_DFL;
        action.flags = 0;
        action.restorer = NULL;
        action.mask = 0;
        bare(SYS_rt_sigaction, signal, (long)&action, 0, 8); /* SIGKILL and SIGSTOP refuse */
    }
    if (bare(SYS_rt_sigprocmask, SIG_SETMASK, (long)&none, 0, 8) < 0)
        give_up(l, "set the signal mask");
}

static BARE int child_main(void *arg)
{
    struct launch *l = arg;
    const struct spawn_options *o = l->options;

    if (o->netns_fd > 0 && bare(SYS_setns, o->netns_fd, CLONE_NEWNET, 0, 0) < 0)
        give_up(l, "enter the network namespace");
    if (o->new_session && bare(SYS_setsid, 0, 0, 0, 0) < 0)
        give_up(l, "open a session");
    if (o->pdeathsig != 0 && bare(SYS_prctl, PR_SET_PDEATHSIG, o->pdeathsig, 0, 0) < 0)
        give_up(l, "set the death signal");
    if (o->setup != NULL) {
        int r = o->setup(o->setup_arg);

        if (r < 0) {
            errno = -r;
            give_up(l, "set up");
        }
    }
    place_fds(l);
    if (o->cwd != NULL && bare(SYS_chdir, (long)o->cwd, 0, 0, 0) < 0)
        give_up(l, "change the directory");
    reset_signals(l);
    bare(SYS_execve, (long)l->program, (long)o->argv,
         (long)(o->env != NULL ? o->env : (const char *const *)environ), 0);
    give_up(l, "exec");
}

/* ---- parent's side ---- */

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;

    return x < y ? -1 : x > y;
}

static void plan_fds(struct launch *l)
{
    const struct spawn_options *o = l->options;
    int all[SPAWN_FDS_MAX + 3] = { 0, 1, 2 };
    size_t count = 3;

    for (size_t i = 0; i < o->fd_count; i++)
        all[count++] = o->fds[i].to;
    qsort(all, count, sizeof(all[0]), compare_ints);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || all[i] != all[i - 1])
            l->targets[l->target_count++] = all[i];
    l->spare = l->targets[l->target_count - 1] + 1;
}

/* The path of argv[0], looked up in our PATH when it has no slash. */
static struct error *find_program(const char *name, char **ret)
{
    CLEANUP(strv_deinit) struct strv dirs = { 0 };
    const char *path = getenv("PATH");

    if (strchr(name, '/') != NULL) {
        *ret = xstrdup(name);
        return NULL;
    }
    strv_split(&dirs, path != NULL ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               ':');
    for (size_t i = 0; i < dirs.len; i++) {
        char *candidate = xasprintf("%s/%s", dirs.v[i][0] != '\0' ? dirs.v[i] : ".", name);

        if (access(candidate, X_OK) == 0) {
            *ret = candidate;
            return NULL;
        }
        free(candidate);
    }
    return err_new(ERR_NOT_FOUND, "exec: \"%s\": executable file not found in $PATH", name);
}

static int launch_child(struct launch *l, struct child *ret)
{
    char *stack =
        mmap(NULL, CHILD_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    int pidfd = -1;
    sigset_t all;

    if (stack == MAP_FAILED)
        return -errno;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &l->old_mask); /* no handler of ours may run in the child */
    pid_t pid =
        __clone(child_main, stack + CHILD_STACK, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, l, &pidfd);
    int r = pid < 0 ? -errno : 0;

    pthread_sigmask(SIG_SETMASK, &l->old_mask, NULL);
    (void)munmap(stack, CHILD_STACK);
    if (r == 0)
        *ret = (struct child){ .pid = pid, .pidfd = pidfd };
    return r;
}

struct error *spawn_start(const struct spawn_options *o, struct child *ret)
{
    CLEANUP(freep) char *program = NULL;
    struct launch l = { .options = o };
    struct child child;

    if (o->fd_count > SPAWN_FDS_MAX)
        return err_new(ERR_INTERNAL, "start \"%s\": more than %d descriptors", o->argv[0], SPAWN_FDS_MAX);
    TRY(task_check());
    TRY(find_program(o->argv[0], &program));
    l.program = program;
    plan_fds(&l);
    int r = launch_child(&l, &child);

    if (r < 0)
        return err_sys(-r, "start \"%s\"", o->argv[0]);
    if (l.error != 0) {
        (void)waitpid(child.pid, NULL, 0); /* it is gone already */
        closep(&child.pidfd);
        return err_sys(l.error, "start \"%s\": %s", o->argv[0], l.step);
    }
    *ret = child;
    return NULL;
}

int spawn_wait(struct child *c, int *ret_status)
{
    int r = task_wait_fd(c->pidfd, POLLIN), status;

    if (r < 0)
        return r;
    while (waitpid(c->pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    c->pid = 0;
    if (ret_status != NULL)
        *ret_status = status;
    return 0;
}

int spawn_kill(struct child *c, int signal)
{
    if (c->pid <= 0)
        return -ESRCH;
    return syscall(SYS_pidfd_send_signal, c->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

void child_deinit(struct child *c)
{
    if (c->pid > 0) {
        struct deadline d;

        (void)spawn_kill(c, SIGKILL); /* fails only when it has ended */
        shield_begin(&d, KILL_TIMEOUT);
        int r = spawn_wait(c, NULL);

        (void)r; /* one that hangs in the kernel stays a zombie of ours */
        shield_end(&d);
    }
    if (c->pidfd > 0)
        closep(&c->pidfd);
    *c = (struct child){ .pidfd = -1 };
}

/* ---- run to the end ---- */

enum { RUN_IN, RUN_OUT, RUN_ERR, RUN_EXIT, RUN_FDS };

struct run {
    struct child child;
    int fds[3]; /* our ends, -1 when closed or not wanted */
    const char *input;
    struct buf *bufs[3];
    size_t limit;
};

static void run_deinit(struct run *r)
{
    for (int i = 0; i < 3; i++)
        closep(&r->fds[i]);
    child_deinit(&r->child);
}

static int make_pipe(int *ret_ours, int *ret_theirs, bool we_write)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    *ret_ours = fds[we_write ? 1 : 0];
    *ret_theirs = fds[we_write ? 0 : 1];
    return fcntl(*ret_ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* Feed the child's stdin; closed when all is written or nobody reads. */
static void feed(struct run *r)
{
    size_t len = strlen(r->input);
    ssize_t n = len > 0 ? write(r->fds[RUN_IN], r->input, len) : 0;

    if (n > 0)
        r->input += n;
    if (*r->input == '\0' || (n < 0 && errno != EAGAIN && errno != EINTR))
        closep(&r->fds[RUN_IN]);
}

/* Take what a pipe holds now; what passes the limit is read and dropped, so that the child does not hang. */
static void drain(struct run *r, int i)
{
    char chunk[4096];
    ssize_t n;

    while ((n = read(r->fds[i], chunk, sizeof(chunk))) > 0) {
        size_t room = r->limit - MIN(r->bufs[i]->len, r->limit);

        buf_add(r->bufs[i], chunk, MIN((size_t)n, room));
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        closep(&r->fds[i]);
}

static int run_loop(struct run *r)
{
    for (;;) {
        struct pollfd p[RUN_FDS] = {
            [RUN_IN] = { .fd = r->fds[RUN_IN], .events = POLLOUT },
            [RUN_OUT] = { .fd = r->fds[RUN_OUT], .events = POLLIN },
            [RUN_ERR] = { .fd = r->fds[RUN_ERR], .events = POLLIN },
            [RUN_EXIT] = { .fd = r->child.pidfd, .events = POLLIN },
        };
        int result = task_wait_fds(p, RUN_FDS);

        if (result < 0)
            return result;
        if (p[RUN_IN].revents != 0)
            feed(r);
        for (int i = RUN_OUT; i <= RUN_ERR; i++)
            if (r->fds[i] >= 0 && (p[i].revents != 0 || p[RUN_EXIT].revents != 0))
                drain(r, i);
        if (p[RUN_EXIT].revents != 0)
            return 0; /* a grandchild that keeps the pipes does not keep us */
    }
}

static struct error *run_start(struct run *r, const struct spawn_options *o)
{
    struct spawn_fd fds[SPAWN_FDS_MAX + 3];
    struct spawn_options with = *o;
    int theirs[3] = { -1, -1, -1 }, failure = 0;
    bool wanted[3] = { r->input != NULL, r->bufs[RUN_OUT] != NULL, r->bufs[RUN_ERR] != NULL };
    struct error *e = NULL;

    assert(o->fd_count <= SPAWN_FDS_MAX);
    if (o->fd_count > 0)
        memcpy(fds, o->fds, o->fd_count * sizeof(*fds));
    for (int i = 0; i < 3 && failure == 0; i++) {
        if (!wanted[i])
            continue;
        failure = make_pipe(&r->fds[i], &theirs[i], i == RUN_IN);
        fds[with.fd_count++] = (struct spawn_fd){ .from = theirs[i], .to = i };
    }
    with.fds = fds;
    e = failure < 0 ? err_sys(-failure, "make a pipe") : spawn_start(&with, &r->child);
    for (int i = 0; i < 3; i++)
        closep(&theirs[i]);
    return e;
}

struct error *spawn_run(const struct spawn_options *o, const char *input, struct buf *out, struct buf *err,
                        size_t limit, int *ret_status)
{
    CLEANUP(run_deinit)
    struct run run = {
        .child.pidfd = -1, .fds = { -1, -1, -1 }, .input = input, .bufs = { NULL, out, err }, .limit = limit
    };

    TRY(run_start(&run, o));
    int r = run_loop(&run);

    if (r == 0)
        r = spawn_wait(&run.child, ret_status);
    return r < 0 ? task_error(r, "run \"%s\"", o->argv[0]) : NULL;
}
