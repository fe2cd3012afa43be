/* SPDX-License-Identifier: Apache-2.0 */
#include "run/process.h"

#include "base/bytes.h"
#include "base/log.h"
#include "io/path.h"
#include "run/internal.h"
#include "run/strays.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CONSOLE_TIMEOUT (10 * NS_PER_SEC)
#define FREE_TIMEOUT (30 * NS_PER_SEC)
#define STRAY_AGE (10 * NS_PER_SEC) /* nobody who waits leaves an ended child that long */

/* ---- the terminal
 * -------------------------------------------------------------------------------------------------------------
 */

static int receive_fd(int socket_fd)
{
    char byte[256];
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = { byte, sizeof(byte) };
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
    };
    int fd = -1;

    if (recvmsg(socket_fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
        return -errno;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
            memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    return fd < 0 ? -EPROTO : fd;
}

/* The runtime has connected and sent the master before it went. */
static int accept_console(int listen_fd)
{
    CLEANUP(closep) int fd = -1;
    int r = task_wait_fd(listen_fd, POLLIN);

    if (r < 0)
        return r;
    fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = task_wait_fd(fd, POLLIN);
    return r < 0 ? r : receive_fd(fd);
}

struct error *process_take_console(struct process *p, int listen_fd)
{
    struct deadline d;

    deadline_begin(&d, CONSOLE_TIMEOUT);
    int fd = accept_console(listen_fd);
    deadline_end(&d);
    if (fd < 0)
        return err_sys(-fd, "receive the terminal from the OCI runtime");
    p->console_fd = fd;
    return NULL;
}

struct error *process_resize(struct process *p, unsigned width, unsigned height)
{
    struct winsize size = { .ws_col = (unsigned short)MIN(width, 65535u),
                            .ws_row = (unsigned short)MIN(height, 65535u) };

    if (p->console_fd < 0)
        return NULL;
    return ioctl(p->console_fd, TIOCSWINSZ, &size) < 0 ? err_sys(errno, "resize the terminal") : NULL;
}

/* ---- creation
 * -----------------------------------------------------------------------------------------------------------------
 */

/* Orphans below us become our children: that is how the first process gets here when the runtime that made it
 * goes. */
static void become_subreaper(void)
{
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        log_warn("cannot become a subreaper: exit codes of containers will be lost");
}

struct error *process_adopt(struct process *p, struct bundle *b)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    uint64_t pid;

    bundle_read(b, "pid", &text, 32);
    if (parse_u64(buf_str(&text), &pid) < 0 || pid == 0 || pid > INT32_MAX)
        return err_new(ERR_INTERNAL, "the OCI runtime left no process id");
    p->child.pid = p->pid = (pid_t)pid;
    p->child.pidfd = pidfd_open(p->pid, 0);
    if (p->child.pidfd < 0) {
        int errnum = errno;

        p->child.pid = 0;
        return err_sys(errnum, "open the container's process");
    }
    return NULL;
}

/* Where this container's kills for memory are counted, by the cgroup that the process is in. */
static void find_memory_events(struct process *p)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)p->pid);
    if (file_read(path, &text, 65536) < 0)
        return;
    for (const char *line = buf_str(&text); *line != '\0';) {
        size_t len = strcspn(line, "\n");
        CLEANUP(freep) char *entry = xstrndup(line, len);
        char *v1 = strstr(entry, ":memory:");

        if (v1 != NULL)
            p->memory_events =
                xasprintf("/sys/fs/cgroup/memory%s/memory.oom_control", v1 + strlen(":memory:"));
        else if (cgroup_layout() == CGROUP_V2 && str_has_prefix(entry, "0::"))
            p->memory_events = xasprintf("/sys/fs/cgroup%s/memory.events", entry + strlen("0::"));
        if (p->memory_events != NULL)
            return;
        line += len;
        line += *line == '\n';
    }
}

static struct error *create(struct process *p, const struct run_spec *s)
{
    struct prepared *q = &p->prepared;
    struct runtime_io io = { { s->stdin_fd, s->stdout_fd, s->stderr_fd } };
    CLEANUP(closep) int console_listener = -1;
    CLEANUP(freep) char *console_path = NULL;

    if (s->extra->terminal) {
        TRY(bundle_add_socket(&q->bundle, 0, 0, 0600, &console_listener, &console_path));
        io = (struct runtime_io){ { -1, -1, -1 } };
    }
    p->created = true;
    strays_expect();
    struct error *e = runtime_create(q->runtime, &q->bundle, q->id, &io, console_path);
    struct error *adopted = e == NULL ? process_adopt(p, &q->bundle) : NULL;
    strays_adopted(p->child.pid);
    if (e != NULL) {
        CLEANUP(freep) char *message = runtime_log_error(&q->bundle);

        if (*message == '\0' || err_is(e, ERR_CANCELLED))
            return err_wrap(e, "failed to create task for container");
        err_free(e);
        if (s->extra->step)
            return err_new(ERR_UNKNOWN, "%s run failed: %s", q->runtime->name, message);
        return err_new(ERR_INTERNAL,
                       "failed to create task for container: failed to create shim task: OCI runtime create "
                       "failed: %s create failed: %s",
                       q->runtime->name, message);
    }
    TRY(adopted);
    find_memory_events(p);
    return s->extra->terminal ? process_take_console(p, console_listener) : NULL;
}

struct process *process_new(void)
{
    struct process *p = NEW(struct process);

    mutex_init(&p->lock);
    p->child.pidfd = -1;
    p->console_fd = -1;
    return p;
}

struct error *process_create(struct runner *r, const struct run_spec *spec, struct process **ret)
{
    struct process *p = process_new();

    assert(spec->id != NULL && spec->extra != NULL);
    become_subreaper();
    struct error *e = runner_ready(r);
    if (e == NULL)
        e = prepare(r, r->chosen, spec, &p->prepared);
    if (e == NULL)
        e = create(p, spec);
    if (e != NULL) {
        process_free(p);
        return e;
    }
    *ret = p;
    return NULL;
}

struct error *process_start(struct process *p)
{
    return err_wrap(runtime_command(p->prepared.runtime, "start", NULL, p->prepared.id),
                    "failed to start container");
}

struct error *process_serve(struct process *p, struct group *g)
{
    return prepared_serve(&p->prepared, g);
}

/* ---- life and death
 * -----------------------------------------------------------------------------------------------------------
 */

pid_t process_pid(const struct process *p)
{
    return p->pid;
}

int process_console(const struct process *p)
{
    return p->console_fd;
}

const struct netns *process_netns(const struct process *p)
{
    return p->prepared.netns;
}

struct error *process_signal(struct process *p, int signal)
{
    mutex_lock(&p->lock);
    int r = p->child.pid > 0 ? spawn_kill(&p->child, signal) : -ESRCH;
    mutex_unlock(&p->lock);
    if (r == -ESRCH)
        return err_new(ERR_NOT_FOUND, "process already finished");
    return r < 0 ? err_sys(-r, "send signal %d", signal) : NULL;
}

struct error *process_pause(struct process *p, bool paused)
{
    return runtime_command(p->prepared.runtime, paused ? "pause" : "resume", NULL, p->prepared.id);
}

static bool was_killed_for_memory(const struct process *p)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    unsigned long count = 0;

    if (p->memory_events == NULL || file_read(p->memory_events, &text, 4096) < 0)
        return false;
    const char *at = strstr(buf_str(&text), "oom_kill ");
    return at != NULL && sscanf(at, "oom_kill %lu", &count) == 1 && count > 0;
}

struct error *process_wait(struct process *p, int *ret_code, bool *ret_oom)
{
    int r = task_wait_fd(p->child.pidfd, POLLIN), status = 0;

    if (r < 0)
        return task_error(r, "wait for the container");
    mutex_lock(&p->lock);
    while (waitpid(p->child.pid, &status, 0) < 0 && r == 0)
        r = errno == EINTR ? 0 : -errno;
    strays_waited(p->child.pid);
    p->child.pid = 0;
    mutex_unlock(&p->lock);
    if (r < 0)
        log_warn("the exit code of a container is lost", "id",
                 p->container != NULL ? p->container->prepared.id : p->prepared.id);
    *ret_oom = was_killed_for_memory(p);
    *ret_code = r < 0 ? 255 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return NULL;
}

static void end_process(struct process *p)
{
    int code;
    bool oom;

    if (p->child.pid <= 0)
        return;
    err_free(process_signal(p, SIGKILL)); /* it may have ended by itself */
    log_err(LOG_WARN, process_wait(p, &code, &oom), "a killed container does not end");
}

void process_free(struct process *p)
{
    struct deadline d;

    if (p == NULL)
        return;
    shield_begin(&d, FREE_TIMEOUT);
    end_process(p);
    if (p->created && runtime_has_state(p->prepared.runtime, p->prepared.id))
        log_err(LOG_WARN, runtime_command(p->prepared.runtime, "delete", "--force", p->prepared.id),
                "cannot delete a container");
    shield_end(&d);
    closep(&p->child.pidfd);
    closep(&p->console_fd);
    prepared_deinit(&p->prepared);
    free(p->memory_events);
    mutex_deinit(&p->lock);
    free(p);
    (void)strays_reap(STRAY_AGE);
}

/* ---- what the runner knows
 * ---------------------------------------------------------------------------------------------------- */

static bool is_ready(struct runner *r)
{
    mutex_lock(&r->lock);
    bool ready = r->state == RUNNER_READY;
    mutex_unlock(&r->lock);
    return ready;
}

struct network *runner_network(struct runner *r)
{
    return is_ready(r) ? r->network : NULL;
}

const char *runner_network_failure(struct runner *r)
{
    return is_ready(r) ? r->network_failure : NULL;
}

bool runner_has_runtime(const struct runner *r, const char *name)
{
    for (size_t i = 0; i < r->runtime_count; i++)
        if (streq(r->runtimes[i].name, name))
            return true;
    return false;
}
