/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/build_container.h"

#include "buildkit/internal.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "op/exec_mounts.h"
#include "op/exec_proxy.h"
#include "session/session.h"
#include "task/task.h"

#include <arpa/inet.h>
#include <signal.h>

#define FREE_TIMEOUT (60 * NS_PER_SEC)
#define WINDOWS_PATH "c:\\Windows\\System32;c:\\Windows;C:\\Windows\\System32\\WindowsPowerShell\\v1.0"
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum build_container_state { CONTAINER_NEW, CONTAINER_STARTING, CONTAINER_RUNS, CONTAINER_ENDED };

struct build_container {
    struct builder *builder;
    struct job *job;
    struct pb_arena arena; /* of the request */
    const Gw__NewContainerRequest *request;
    struct op_context context;
    Pb__Mount *mount_list; /* the request's, with inputs of our own */
    Pb__Mount **mount_pointers;
    struct snapshot **inputs;
    char *owner; /* "container <id>" */
    struct exec_mounts mounts;
    struct exec_proxy proxy;
    bool proxied;
    struct run_host *hosts;

    struct mutex lock; /* of all below */
    struct cond changed;
    enum build_container_state state;
    bool closed, killed;
    unsigned users;        /* calls, the first process's too */
    unsigned others;       /* processes that use `first` */
    struct process *first; /* while it runs */
};

/* ---- creation
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct error *check_request(const Gw__NewContainerRequest *q)
{
    bool root = false;

    if (q->n_mounts > LIMIT_GATEWAY_MOUNTS)
        return err_new(ERR_INVALID, "more than %d mounts", LIMIT_GATEWAY_MOUNTS);
    for (size_t i = 0; i < q->n_mounts; i++) {
        const Pb__Mount *m = q->mounts[i];

        root = root || streq(m->dest, "/");
        if (m->mount_type == PB__MOUNT_TYPE__SSH && m->ssh_opt == NULL)
            return err_new(ERR_INVALID, "SSH mount \"%s\" requires options", m->dest);
    }
    if (!root)
        return err_new(ERR_INVALID, "root mount is required");
    return NULL;
}

/* What a mount begins with: a kept result of a failed step, or a ref that is solved now. */
static struct error *find_input(struct build_container *c, const Pb__Mount *m, struct snapshot **ret)
{
    struct ref *ref;

    if (m->result_id[0] == '\0' || job_find_result(c->job, m->result_id, ret))
        return NULL;
    ref = job_find_ref(c->job, m->result_id);
    if (ref == NULL)
        return err_new(ERR_UNKNOWN, "failed to find ref %s for \"%s\" mount: return reference %s not found",
                       m->result_id, m->dest, m->result_id);
    return ref_result(ref, ret);
}

static struct error *prepare_mounts(struct build_container *c)
{
    const Gw__NewContainerRequest *q = c->request;
    struct exec_mounts_spec spec = {
        .context = &c->context, .mount_count = q->n_mounts, .cwd = "/", .owner = c->owner
    };

    c->mount_list = xcalloc(q->n_mounts + 1, sizeof(*c->mount_list));
    c->mount_pointers = xcalloc(q->n_mounts + 1, sizeof(*c->mount_pointers));
    c->inputs = xcalloc(q->n_mounts + 1, sizeof(struct snapshot *));
    for (size_t i = 0; i < q->n_mounts; i++) {
        TRY(find_input(c, q->mounts[i], &c->inputs[i]));
        c->mount_list[i] = *q->mounts[i];
        c->mount_list[i].input = c->inputs[i] != NULL ? (int64_t)i : -1;
        c->mount_list[i].output = -1; /* nothing of it becomes a result */
        c->mount_pointers[i] = &c->mount_list[i];
    }
    spec.mounts = c->mount_pointers;
    return exec_mounts_begin(&spec, c->inputs, 0, &c->mounts);
}

static struct error *prepare_hosts(struct build_container *c)
{
    const Gw__NewContainerRequest *q = c->request;

    c->hosts = xcalloc(q->n_extra_hosts + 1, sizeof(*c->hosts));
    for (size_t i = 0; i < q->n_extra_hosts; i++) {
        unsigned char address[16];
        const char *ip = q->extra_hosts[i]->ip;

        if (inet_pton(AF_INET, ip, address) != 1 && inet_pton(AF_INET6, ip, address) != 1)
            return err_new(ERR_INVALID, "failed to parse IP %s", ip);
        c->hosts[i] = (struct run_host){ .host = q->extra_hosts[i]->host, .ip = ip };
    }
    return NULL;
}

struct error *build_container_new(struct build *u, struct pb_arena *arena, const Gw__NewContainerRequest *q,
                                  struct build_container **ret)
{
    struct build_container *c = NEW(struct build_container);
    struct error *e = check_request(q);

    c->arena = *arena;
    *arena = (struct pb_arena){ 0 };
    c->builder = u->builder;
    c->job = u->job;
    c->proxied = u->proxy_network && q->network != PB__NET_MODE__NONE;
    c->request = q;
    c->owner = xasprintf("container %s", q->container_id);
    c->mounts.root_fd = -1;
    c->context = (struct op_context){ .solver = u->builder->config->solver,
                                      .store = u->builder->config->store,
                                      .op_ctx = (void *)u->builder->config->ops,
                                      .sessions = *job_sessions(u->job),
                                      .job = u->job };
    mutex_init(&c->lock);
    cond_init(&c->changed);
    if (e == NULL)
        e = prepare_hosts(c);
    if (e == NULL)
        e = prepare_mounts(c);
    if (e != NULL) {
        build_container_free(c);
        return e;
    }
    *ret = c;
    return NULL;
}

/* ---- the end
 * ---------------------------------------------------------------------------------------------------------------
 */

void build_container_stop(struct build_container *c)
{
    mutex_lock(&c->lock);
    c->closed = true;
    if (c->first != NULL)
        err_free(process_signal(c->first, SIGKILL)); /* the others die with it */
    cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
}

static void wait_for_users(struct build_container *c)
{
    struct deadline shield;

    shield_begin(&shield, FREE_TIMEOUT);
    mutex_lock(&c->lock);
    while (c->users > 0) {
        if (cond_wait(&c->changed, &c->lock) < 0 && c->users > 0) {
            log_warn("a process of a container does not end", "container", c->owner);
            shield_end(&shield);
            shield_begin(&shield, FREE_TIMEOUT);
        }
    }
    mutex_unlock(&c->lock);
    shield_end(&shield);
}

bool build_container_free(struct build_container *c)
{
    if (c == NULL)
        return false;
    build_container_stop(c);
    wait_for_users(c);
    bool killed = c->killed;
    exec_proxy_end(&c->proxy);
    exec_mounts_end(&c->mounts);
    for (size_t i = 0; c->inputs != NULL && i < c->request->n_mounts; i++)
        snapshot_unref(c->inputs[i]);
    free(c->inputs);
    free(c->mount_list);
    free(c->mount_pointers);
    free(c->hosts);
    free(c->owner);
    pb_arena_deinit(&c->arena);
    cond_deinit(&c->changed);
    mutex_deinit(&c->lock);
    free(c);
    return killed;
}

void build_container_hold(struct build_container *c)
{
    mutex_lock(&c->lock);
    c->users++;
    mutex_unlock(&c->lock);
}

void build_container_drop(struct build_container *c)
{
    mutex_lock(&c->lock);
    c->users--;
    cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
}

struct error *build_container_mount_fd(const struct build_container *c, int32_t index, int *ret_fd)
{
    if (index < 0 || (size_t)index >= c->request->n_mounts)
        return err_new(ERR_UNKNOWN, "mount index %d is out of bounds (%zu available)", index,
                       c->request->n_mounts);
    if (c->mounts.mount_fds[index] < 0)
        return err_new(ERR_UNKNOWN, "mountable %d not found", index);
    *ret_fd = c->mounts.mount_fds[index];
    return NULL;
}

/* ---- one process
 * -----------------------------------------------------------------------------------------------------------
 */

static void add_default(struct strv *env, const char *key, const char *value)
{
    size_t len = strlen(key);

    for (size_t i = 0; i < env->len; i++)
        if (strncmp(env->v[i], key, len) == 0 && env->v[i][len] == '=')
            return;
    strv_addf(env, "%s=%s", key, value);
}

static struct error *add_secrets(const struct build_container *c, const Gw__InitMessage *init,
                                 struct strv *env)
{
    for (size_t i = 0; i < init->n_secretenv; i++) {
        const Pb__SecretEnv *s = init->secretenv[i];
        CLEANUP(buf_deinit) struct buf value = { 0 };

        if (s->id[0] == '\0')
            return err_new(ERR_UNKNOWN, "secret ID missing for \"%s\" environment variable", s->name);
        struct error *e = session_secret(&c->context.sessions, s->id, &value);

        if (s->optional && err_is(e, ERR_NOT_FOUND))
            err_freep(&e);
        TRY(e);
        strv_addf(env, "%s=%s", s->name, buf_str(&value));
        if (value.data != NULL)
            explicit_bzero(value.data, value.len);
    }
    return NULL;
}

/* The network, too, is refused here and not with the container, as with BuildKit: nothing has run by then. */
static struct error *check_process(const struct build_container *c, const Gw__InitMessage *init)
{
    if (c->request->network == PB__NET_MODE__HOST && !job_allows(c->job, "network.host"))
        return err_new(ERR_UNKNOWN, "network.host is not allowed");
    if (c->request->network > PB__NET_MODE__NONE)
        return err_new(ERR_UNKNOWN, "unknown network mode %d", (int)c->request->network);
    if (init->security != PB__SECURITY_MODE__SANDBOX && init->security != PB__SECURITY_MODE__INSECURE)
        return err_new(ERR_UNKNOWN, "invalid security mode %d", (int)init->security);
    if (init->security == PB__SECURITY_MODE__INSECURE && !job_allows(c->job, "security.insecure"))
        return err_new(ERR_UNKNOWN, "security.insecure is not allowed");
    return NULL;
}

static bool is_windows(const struct build_container *c)
{
    return c->request->platform != NULL && streq(c->request->platform->os, "windows");
}

static const char *cwd_of(const Gw__InitMessage *init)
{
    return init->meta->cwd[0] != '\0' ? init->meta->cwd : "/";
}

static struct error *make_first(struct build_container *c, const struct build_container_process *p,
                                const struct strv *args, const struct strv *env, struct process **ret)
{
    const Gw__NewContainerRequest *q = c->request;
    char id[26];
    struct run_extra extra = { .step = true, .terminal = p->init->tty };
    struct run_spec spec = {
        .id = id,
        .rootfs_fd = c->mounts.root_fd,
        .rootfs_readonly = c->mounts.root_readonly,
        .args = (const char *const *)args->v,
        .env = (const char *const *)env->v,
        .cwd = cwd_of(p->init),
        .user = p->init->meta->user,
        .hostname = q->hostname[0] != '\0' ? q->hostname : NULL,
        .network = q->network == PB__NET_MODE__HOST   ? RUN_NET_HOST
                   : q->network == PB__NET_MODE__NONE ? RUN_NET_NONE
                                                      : RUN_NET_BRIDGE,
        .insecure = p->init->security == PB__SECURITY_MODE__INSECURE,
        .mounts = c->mounts.mounts,
        .mount_count = c->mounts.mount_count,
        .secrets = c->mounts.secrets,
        .secret_count = c->mounts.secret_count,
        .sockets = c->mounts.sockets,
        .socket_count = c->mounts.socket_count,
        .hosts = c->hosts,
        .host_count = q->n_extra_hosts,
        .remove_mount_stubs = p->init->meta->remove_mount_stubs_recursive,
        .extra = &extra,
        .stdin_fd = p->fds[0],
        .stdout_fd = p->fds[1],
        .stderr_fd = p->fds[2],
    };

    if (c->proxied) {
        TRY(exec_proxy_begin(&c->proxy, &c->context, c->mounts.root_fd));
        spec.gate = &c->proxy.gate;
    }
    random_id(id, 25);
    return process_create(c->builder->config->ops->runner, &spec, ret);
}

static struct error *make_other(struct build_container *c, const struct build_container_process *p,
                                const struct strv *args, const struct strv *env, struct process **ret)
{
    struct process_exec_spec spec = {
        .args = (const char *const *)args->v,
        .env = (const char *const *)env->v,
        .cwd = cwd_of(p->init),
        .user = p->init->meta->user,
        .privileged = p->init->security == PB__SECURITY_MODE__INSECURE,
        .terminal = p->init->tty,
        .stdin_fd = p->fds[0],
        .stdout_fd = p->fds[1],
        .stderr_fd = p->fds[2],
    };

    return process_exec(c->first, &spec, ret);
}

/* Was it killed with its container? */
static struct error *check_killed(struct build_container *c, int code)
{
    bool killed;

    mutex_lock(&c->lock);
    killed = c->closed && code == 128 + SIGKILL;
    c->killed = c->killed || killed;
    mutex_unlock(&c->lock);
    return killed ? err_new(ERR_CANCELLED, "exit code: %d: context canceled", code) : NULL;
}

/* Wait for its end; cancellation kills it. */
static struct error *see_through(struct build_container *c, const struct build_container_process *p,
                                 struct process *running, int *ret_code)
{
    bool oom;
    struct error *e = p->started(p->ctx, running);

    if (e == NULL)
        e = process_wait(running, ret_code, &oom);
    if (e != NULL) {
        struct deadline shield;

        err_free(process_signal(running, SIGKILL));
        shield_begin(&shield, FREE_TIMEOUT);
        log_err(LOG_WARN, process_wait(running, ret_code, &oom), "a killed process does not end");
        shield_end(&shield);
    }
    p->ended(p->ctx);
    return e != NULL ? e : check_killed(c, *ret_code);
}

/* Until nobody uses the first process any more: all others have died with it. */
static void wait_for_others(struct build_container *c)
{
    struct deadline shield;

    shield_begin(&shield, FREE_TIMEOUT);
    mutex_lock(&c->lock);
    c->state = CONTAINER_ENDED;
    cond_broadcast(&c->changed);
    while (c->others > 0) {
        int r = cond_wait(&c->changed, &c->lock);

        if (r < 0 && c->others > 0) {
            shield_end(&shield);
            shield_begin(&shield, FREE_TIMEOUT);
        }
    }
    c->first = NULL;
    mutex_unlock(&c->lock);
    shield_end(&shield);
}

static struct error *run_first(struct build_container *c, const struct build_container_process *p,
                               const struct strv *args, const struct strv *env, int *ret_code)
{
    CLEANUP(group_deinit) struct group sockets = { 0 };
    struct process *first = NULL;
    struct error *e, *failure = NULL;

    group_open(&sockets, GROUP_DAEMON | GROUP_KEEP_GOING);
    failure = make_first(c, p, args, env, &first);
    if (failure == NULL)
        failure = process_serve(first, &sockets);
    if (failure == NULL)
        failure = process_start(first);
    mutex_lock(&c->lock);
    if (failure == NULL && c->closed)
        failure = err_new(ERR_CANCELLED, "context canceled");
    c->state = failure == NULL ? CONTAINER_RUNS : CONTAINER_ENDED;
    c->first = failure == NULL ? first : NULL;
    cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
    e = p->announce(p->ctx);
    if (failure == NULL && e == NULL)
        failure = see_through(c, p, first, ret_code);
    else if (first != NULL)
        err_free(process_signal(first, SIGKILL)); /* the others die with it */
    if (failure == NULL)
        failure = TAKE(e);
    err_free(e);
    wait_for_others(c);
    group_cancel(&sockets);
    err_free(group_join(&sockets));
    process_free(first);
    return failure;
}

static struct error *run_other(struct build_container *c, const struct build_container_process *p,
                               const struct strv *args, const struct strv *env, int *ret_code)
{
    struct process *other = NULL;
    struct error *failure = p->announce(p->ctx);

    if (failure == NULL)
        failure = make_other(c, p, args, env, &other);
    if (failure == NULL)
        failure = see_through(c, p, other, ret_code);
    process_free(other);
    mutex_lock(&c->lock);
    if (failure != NULL && c->closed) { /* it lost its container, before it began or while it ran */
        err_free(failure);
        failure = err_new(ERR_CANCELLED, "context canceled");
    }
    c->others--;
    cond_broadcast(&c->changed);
    mutex_unlock(&c->lock);
    return failure;
}

/* Is this the first process?  Else wait until that runs. */
static struct error *admit(struct build_container *c, bool *ret_first)
{
    struct error *e = NULL;
    int r = 0;

    mutex_lock(&c->lock);
    while (!c->closed && c->state == CONTAINER_STARTING && r == 0)
        r = cond_wait(&c->changed, &c->lock);
    if (r < 0)
        e = task_error(r, "wait for the container's first process");
    else if (c->closed)
        e = err_new(ERR_UNKNOWN, "container is closed");
    else if (c->state == CONTAINER_ENDED)
        e = err_new(ERR_UNKNOWN, "container %s has stopped", c->request->container_id);
    else if (c->state == CONTAINER_RUNS)
        c->others++;
    *ret_first = e == NULL && c->state == CONTAINER_NEW;
    if (*ret_first)
        c->state = CONTAINER_STARTING;
    mutex_unlock(&c->lock);
    return e;
}

struct error *build_container_run(struct build_container *c, const struct build_container_process *p,
                                  int *ret_code)
{
    CLEANUP(strv_deinit) struct strv args = { 0 };
    CLEANUP(strv_deinit) struct strv env = { 0 };
    bool first;
    struct error *e = check_process(c, p->init);

    pb_to_strv(p->init->meta->args, p->init->meta->n_args, &args);
    pb_to_strv(p->init->meta->env, p->init->meta->n_env, &env);
    add_default(&env, "PATH", is_windows(c) ? WINDOWS_PATH : DEFAULT_PATH);
    if (p->init->tty)
        add_default(&env, "TERM", "xterm");
    if (e == NULL)
        e = add_secrets(c, p->init, &env);
    if (e == NULL)
        e = admit(c, &first);
    if (e != NULL) {
        err_free(p->announce(p->ctx));
        return e;
    }
    return first ? run_first(c, p, &args, &env, ret_code) : run_other(c, p, &args, &env, ret_code);
}
