/* SPDX-License-Identifier: Apache-2.0 */
#include "run/internal.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "io/path.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define POOL_SIZE 4
#define ACCEPT_PAUSE (10 * NS_PER_MS) /* after descriptors ran out */

/* ---- the runner
 * ---------------------------------------------------------------------------------------------------------------
 */

static const char *const known_runtimes[] = { "crun", "runc" };

static void add_runtime(struct runner *r, const char *name, const char *path, const struct strv *args)
{
    for (size_t i = 0; i < r->runtime_count; i++)
        if (streq(r->runtimes[i].name, name))
            return;
    r->runtimes = xreallocarray(r->runtimes, r->runtime_count + 1, sizeof(*r->runtimes));
    runtime_init(&r->runtimes[r->runtime_count++], name, path, args, r->state_root);
}

static struct error *make_private_dir(const char *path)
{
    TRY_SYS(make_dirs(path, 0700), "create %s", path);
    return NULL;
}

struct error *runner_new(const struct runner_config *c, struct runner **ret)
{
    struct runner *r = NEW(struct runner);
    struct error *e;

    mutex_init(&r->lock);
    cond_init(&r->changed);
    r->bundle_path = xasprintf("%s/bundle", c->exec_root);
    r->state_root = xasprintf("%s/state", c->exec_root);
    r->cgroup_parent =
        xstrdup(c->cgroup_parent != NULL && *c->cgroup_parent != '\0' ? c->cgroup_parent : "docker");
    r->bridge_name = xstrdup(c->bridge_name);
    r->bridge_cidr = xstrdup(c->bridge_cidr);
    r->want_network = c->userland_network;
    r->host_network = c->host_network;
    r->default_runtime = xstrdup(c->default_runtime);
    strv_copy(&r->dns, &c->dns);
    strv_copy(&r->dns_search, &c->dns_search);
    strv_copy(&r->dns_options, &c->dns_options);
    strv_copy(&r->cdi_dirs, &c->cdi_dirs);
    for (size_t i = 0; i < c->runtime_count; i++)
        add_runtime(r, c->runtimes[i].name, c->runtimes[i].path, &c->runtimes[i].args);
    for (size_t i = 0; i < ARRAY_LEN(known_runtimes); i++)
        add_runtime(r, known_runtimes[i], known_runtimes[i], NULL);
    e = make_private_dir(r->bundle_path);
    for (size_t i = 0; e == NULL && i < r->runtime_count; i++)
        e = make_private_dir(r->runtimes[i].state_dir);
    if (e != NULL) {
        runner_free(r);
        return e;
    }
    *ret = r;
    return NULL;
}

bool runner_has_devices(const struct runner *r)
{
    return r->cdi_dirs.len > 0;
}

void runner_devices(const struct runner *r, struct cdi_devices *ret)
{
    cdi_load(&r->cdi_dirs, ret);
}

void runner_free(struct runner *r)
{
    if (r == NULL)
        return;
    network_close(r->network);
    for (size_t i = 0; i < r->runtime_count; i++)
        runtime_deinit(&r->runtimes[i]);
    free(r->runtimes);
    free(r->bundle_path);
    free(r->state_root);
    free(r->cgroup_parent);
    free(r->bridge_name);
    free(r->bridge_cidr);
    free(r->default_runtime);
    free(r->network_failure);
    err_free(r->failure);
    strv_deinit(&r->dns);
    strv_deinit(&r->dns_search);
    strv_deinit(&r->dns_options);
    strv_deinit(&r->cdi_dirs);
    cond_deinit(&r->changed);
    mutex_deinit(&r->lock);
    free(r);
}

/* ---- getting ready
 * ------------------------------------------------------------------------------------------------------------
 */

static void open_network(struct runner *r)
{
    struct network_config c = { .bridge_name = r->bridge_name,
                                .cidr = r->bridge_cidr,
                                .pool_size = POOL_SIZE };

    if (!r->want_network) {
        r->network_failure = xstrdup("switched off");
        return;
    }
    struct error *e = network_open(&c, &r->network);
    if (e == NULL)
        return;
    r->network_failure = xstrdup(e->message);
    log_err(LOG_WARN, e, "no bridge network here: steps get loopback only");
}

/* Who comes first does the work, the others wait for it. */
struct error *runner_ready(struct runner *r)
{
    int wait = 0;

    mutex_lock(&r->lock);
    while (r->state == RUNNER_WARMING && wait == 0)
        wait = cond_wait(&r->changed, &r->lock);
    bool mine = wait == 0 && r->state == RUNNER_COLD;
    if (mine)
        r->state = RUNNER_WARMING;
    mutex_unlock(&r->lock);
    if (wait < 0)
        return task_error(wait, "wait for the OCI runtime's probe");
    if (mine) {
        /* Before anything of ours is in the state directories. */
        for (size_t i = 0; i < r->runtime_count; i++)
            runtime_clean_state(&r->runtimes[i]);
        struct error *e = runner_probe(r);

        if (e == NULL && r->network == NULL && r->network_failure == NULL)
            open_network(r);
        mutex_lock(&r->lock);
        r->state = err_is(e, ERR_CANCELLED) ? RUNNER_COLD : RUNNER_READY;
        r->failure = r->state == RUNNER_READY ? err_clone(e) : NULL;
        cond_broadcast(&r->changed);
        mutex_unlock(&r->lock);
        return e;
    }
    return r->failure != NULL ? err_clone(r->failure) : NULL;
}

struct error *runner_warm_up(void *runner)
{
    struct runner *r = runner;

    TRY(runner_ready(r));
    if (r->network != NULL)
        TRY(network_fill(r->network));
    return NULL;
}

/* ---- sockets of a step
 * -------------------------------------------------------------------------------------------------------- */

struct connection {
    struct listener *listener;
    struct stream *stream;
};

static struct error *serve_connection(void *arg)
{
    struct connection *c = arg;
    const struct run_socket *socket = c->listener->source->socket;
    struct error *e = socket->serve(socket->ctx, c->stream);

    semaphore_release(&c->listener->room, 1);
    free(c);
    return e;
}

static void start_connection(struct listener *l, int fd)
{
    struct connection *c = NEW(struct connection);

    *c = (struct connection){ .listener = l, .stream = stream_from_fd(fd) };
    struct error *e = group_spawn(l->connections, "step socket", serve_connection, c);
    if (e == NULL)
        return;
    stream_close(c->stream);
    free(c);
    semaphore_release(&l->room, 1);
    log_err(LOG_WARN, e, "cannot serve a connection of a step");
}

/* A step may connect as often as it likes: what it is served with is bounded, and with it what it takes from
 * others. */
static struct error *listen_on(void *arg)
{
    struct listener *l = arg;

    for (;;) {
        int r = semaphore_acquire(&l->room, 1);

        if (r == 0)
            r = task_wait_fd(l->source->fd, POLLIN);
        if (r < 0)
            return task_error(r, "wait for a connection");
        int fd = accept4(l->source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            start_connection(l, fd);
            continue;
        }
        bool exhausted = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
        semaphore_release(&l->room, 1);
        r = exhausted ? task_sleep(ACCEPT_PAUSE) : 0;
        if (r < 0)
            return task_error(r, "wait for a connection");
    }
}

/* ---- one run
 * ------------------------------------------------------------------------------------------------------------------
 */

static int exit_code(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* crun writes its own failures to its log alone; runc to stderr as well.  The user sees them where the step's
 * output is. */
static void show_runtime_error(struct prepared *p, const struct run_spec *s)
{
    CLEANUP(freep) char *message = runtime_log_error(&p->bundle);
    CLEANUP(freep) char *line = NULL;

    if (*message == '\0')
        return;
    log_debug("the OCI runtime failed", "id", p->id, "error", message);
    if (!p->runtime->is_crun || s->stderr_fd < 0 || task_wait_fd(s->stderr_fd, POLLOUT) < 0)
        return;
    line = xasprintf("%s run failed: %s\n", p->runtime->name, message);
    if (write(s->stderr_fd, line, strlen(line)) < 0)
        log_debug("nobody reads the step's output", "id", p->id);
}

static struct error *run_process(struct prepared *p, const struct run_spec *s, int *ret_code)
{
    struct runtime_io io = { { s->stdin_fd, s->stdout_fd, s->stderr_fd } };
    struct child child = { .pidfd = -1 };
    int status;

    TRY(runtime_start(p->runtime, &p->bundle, p->id, &io, &child));
    task_waiting(p->id);
    int r = spawn_wait(&child, &status);
    task_waiting(NULL);
    if (r < 0) {
        runtime_kill(p->runtime, &child, p->id);
        return task_error(r, "wait for the OCI runtime");
    }
    child_deinit(&child);
    /* A runtime that was itself killed may have left its container behind. */
    if (runtime_has_state(p->runtime, p->id))
        runtime_kill(p->runtime, &child, p->id);
    if (exit_code(status) != 0)
        show_runtime_error(p, s);
    *ret_code = exit_code(status);
    return NULL;
}

struct error *prepared_serve(struct prepared *p, struct group *g)
{
    assert(p->listeners == NULL);
    p->listeners = xcalloc(p->socket_count + 1, sizeof(*p->listeners));
    for (size_t i = 0; i < p->socket_count; i++) {
        p->listeners[i] = (struct listener){ .connections = g, .source = &p->sockets[i] };
        semaphore_init(&p->listeners[i].room, LIMIT_STEP_CONNECTIONS);
    }
    for (size_t i = 0; i < p->socket_count; i++)
        TRY(group_spawn(g, "step listener", listen_on, &p->listeners[i]));
    return NULL;
}

static struct error *run_with_sockets(struct prepared *p, const struct run_spec *s, int *ret_code)
{
    CLEANUP(group_deinit) struct group group = { 0 };
    struct error *e;

    /* A connection that fails is the affair of the process that made it. */
    group_open(&group, GROUP_DAEMON | GROUP_KEEP_GOING);
    e = prepared_serve(p, &group);
    if (e == NULL)
        e = run_process(p, s, ret_code);
    group_cancel(&group);
    err_free(group_join(&group));
    return e;
}

struct error *runner_run(struct runner *r, const struct run_spec *spec, int *ret_code)
{
    CLEANUP(prepared_deinit) struct prepared p = { 0 };

    TRY(runner_ready(r));
    TRY(prepare(r, r->chosen, spec, &p));
    if (p.socket_count > 0)
        return run_with_sockets(&p, spec, ret_code);
    return run_process(&p, spec, ret_code);
}
