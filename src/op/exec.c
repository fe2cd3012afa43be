/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec.c - the exec op: one process in the runtime, its output to the log
 */
#include "base/limits.h"
#include "base/rune.h"
#include "op/exec_devices.h"
#include "op/exec_key.h"
#include "op/exec_mounts.h"
#include "op/exec_proxy.h"
#include "op/held_network.h"
#include "op/impl.h"
#include "store/layer.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- the log
 * -----------------------------------------------------------------------------------------------------------------
 */

struct log_pipe {
    struct vertex_reporter *reporter;
    int stream, fd; /* fd: the end we read */
};

static struct error *read_log(void *arg)
{
    struct log_pipe *p = arg;
    CLEANUP(freep) char *chunk = xmalloc(32 * KIB);

    for (;;) {
        ssize_t n = read(p->fd, chunk, 32 * KIB);

        if (n > 0) {
            reporter_log(p->reporter, p->stream, chunk, (size_t)n);
        } else if (n == 0) {
            return NULL;
        } else if (errno == EAGAIN) {
            int r = task_wait_fd(p->fd, POLLIN);

            if (r < 0)
                return task_error(r, "read the output of a step");
        } else if (errno != EINTR) {
            return err_sys(errno, "read the output of a step");
        }
    }
}

static int open_pipe(struct log_pipe *p, int *ret_write)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    if (fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0) {
        int e = errno;

        close(fds[0]);
        close(fds[1]);
        return -e;
    }
    p->fd = fds[0];
    *ret_write = fds[1];
    return 0;
}

/* ---- the environment
 * ---------------------------------------------------------------------------------------------------------
 */

static void add_proxy(struct strv *env, const char *upper, const char *lower, const char *value)
{
    if (value[0] == '\0')
        return;
    strv_addf(env, "%s=%s", upper, value);
    strv_addf(env, "%s=%s", lower, value);
}

static bool has_path(const struct strv *env)
{
    for (size_t i = 0; i < env->len; i++)
        if (str_has_prefix(env->v[i], "PATH="))
            return true;
    return false;
}

static struct error *add_secret_env(const struct op_context *c, const Pb__SecretEnv *s, struct strv *env)
{
    CLEANUP(buf_deinit) struct buf value = { 0 };
    struct error *e;

    if (s->id[0] == '\0')
        return err_new(ERR_INVALID, "secret ID missing for \"%s\" environment variable", s->name);
    e = session_secret(&c->sessions, s->id, &value);
    if (e != NULL && s->optional && e->kind == ERR_NOT_FOUND) {
        err_free(e); /* the variable is there, empty, as with BuildKit */
        e = NULL;
    }
    TRY(e);
    if (strlen(buf_str(&value)) != value.len)
        return err_new(ERR_INVALID, "secret %s has a NUL byte, so \"%s\" cannot be an environment variable",
                       s->id, s->name);
    strv_addf(env, "%s=%s", s->name, buf_str(&value));
    if (value.data != NULL)
        explicit_bzero(value.data, value.len);
    return NULL;
}

static struct error *make_env(const struct op_context *c, struct strv *env)
{
    const Pb__ExecOp *op = c->vertex->op->exec;
    const Pb__ProxyEnv *p = op->meta->proxy_env;

    pb_to_strv(op->meta->env, op->meta->n_env, env);
    if (p != NULL) {
        add_proxy(env, "HTTP_PROXY", "http_proxy", p->http_proxy);
        add_proxy(env, "HTTPS_PROXY", "https_proxy", p->https_proxy);
        add_proxy(env, "FTP_PROXY", "ftp_proxy", p->ftp_proxy);
        add_proxy(env, "NO_PROXY", "no_proxy", p->no_proxy);
        add_proxy(env, "ALL_PROXY", "all_proxy", p->all_proxy);
    }
    if (!has_path(env))
        strv_add(env, DEFAULT_PATH);
    for (size_t i = 0; i < op->n_secretenv; i++)
        TRY(add_secret_env(c, op->secretenv[i], env));
    return NULL;
}

/* ---- the process
 * -------------------------------------------------------------------------------------------------------------
 */

static char *joined_args(const struct op_context *c)
{
    const Pb__Meta *meta = c->vertex->op->exec->meta;
    CLEANUP(strv_deinit) struct strv args = { 0 };

    pb_to_strv(meta->args, meta->n_args, &args);
    return strv_join(&args, " ");
}

/* Say which process `e` is about. Takes `e`. */
static struct error *process_error(const struct op_context *c, struct error *e)
{
    CLEANUP(buf_deinit) struct buf quoted = { 0 };
    CLEANUP(freep) char *joined = NULL;

    if (e == NULL || err_is(e, ERR_CANCELLED))
        return e;
    joined = joined_args(c);
    buf_add_quoted(&quoted, joined, strlen(joined));
    return err_wrap(e, "process %s did not complete successfully", buf_str(&quoted));
}

static struct error *exit_error(const struct op_context *c, int code)
{
    CLEANUP(freep) char *json = xasprintf("{\"Code\":%d}", code);
    struct error *e = process_error(c, err_new(ERR_UNKNOWN, "exit code: %d", code));

    err_add_detail(e, "github.com/moby/buildkit/gatewayapi.ExitMessage+json", json, strlen(json));
    return e;
}

static bool code_is_fine(const Pb__Meta *meta, int code)
{
    if (meta->n_valid_exit_codes == 0)
        return code == 0;
    for (size_t i = 0; i < meta->n_valid_exit_codes; i++)
        if (meta->valid_exit_codes[i] == code)
            return true;
    return false;
}

static enum run_network network_of(const Pb__ExecOp *op)
{
    switch (op->network) {
    case PB__NET_MODE__HOST:
        return RUN_NET_HOST;
    case PB__NET_MODE__NONE:
        return RUN_NET_NONE;
    default:
        return RUN_NET_BRIDGE;
    }
}

static void add_resources(const struct llb_resources *r, struct run_resources *ret)
{
    if (r == NULL)
        return;
    ret->memory = r->memory;
    ret->memory_swap = r->memory_swap;
    ret->cpu_quota = r->cpu_quota;
    ret->cpu_shares = r->cpu_shares;
    ret->cpu_period = r->cpu_period;
    ret->cpuset_cpus = r->cpuset_cpus[0] == '\0' ? NULL : r->cpuset_cpus;
    ret->cpuset_mems = r->cpuset_mems[0] == '\0' ? NULL : r->cpuset_mems;
}

static void free_json(json_t **j)
{
    json_decref(*j);
}

/* With the log's readers running: their pipes end when the last process of the step is gone. */
static struct error *run_logged(struct op_context *c, struct run_spec *spec, int *ret_code)
{
    const struct op_config *config = c->op_ctx;
    struct log_pipe out = { c->reporter, 1, -1 }, err = { c->reporter, 2, -1 };
    CLEANUP(closep) int out_write = -1;
    CLEANUP(closep) int err_write = -1;
    struct error *e = NULL, *joined;
    struct group g;
    int r = open_pipe(&out, &out_write);

    if (r == 0)
        r = open_pipe(&err, &err_write);
    if (r < 0) {
        closep(&out.fd);
        return err_sys(-r, "pipe");
    }
    group_open(&g, 0);
    e = group_spawn(&g, "stdout", read_log, &out);
    if (e == NULL)
        e = group_spawn(&g, "stderr", read_log, &err);
    if (e == NULL) {
        spec->stdout_fd = out_write;
        spec->stderr_fd = err_write;
        e = runner_run(config->runner, spec, ret_code);
    }
    closep(&out_write);
    closep(&err_write);
    joined = group_join(&g);
    if (e == NULL)
        e = joined;
    else
        err_free(joined);
    closep(&out.fd);
    closep(&err.fd);
    return e;
}

/* What was asked for belongs to what the step said. */
static void log_requests(struct op_context *c, struct exec_proxy *x)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    if (x->proxy == NULL)
        return;
    proxy_record_describe(proxy_record(x->proxy), &text);
    if (text.len > 0)
        reporter_log(c->reporter, 2, text.data, text.len);
}

/* Both what the step ended with and that its root could not be cleaned.  Takes both. */
static struct error *both(struct error *e, struct error *unclean)
{
    if (e == NULL || unclean == NULL)
        return e != NULL ? e : unclean;
    e = err_wrap(e, "%s", unclean->message);
    err_free(unclean);
    return e;
}

static struct error *run_process(struct op_context *c, const struct exec_mounts *m, struct exec_proxy *x)
{
    const Pb__ExecOp *op = c->vertex->op->exec;
    const Pb__Meta *meta = op->meta;
    CLEANUP(strv_deinit) struct strv env = { 0 };
    CLEANUP(strv_deinit) struct strv args = { 0 };
    CLEANUP(freep) struct run_ulimit *ulimits = xcalloc(meta->n_ulimit + 1, sizeof *ulimits);
    CLEANUP(freep) struct run_host *hosts = xcalloc(meta->n_extra_hosts + 1, sizeof *hosts);
    struct run_spec spec = {
        .rootfs_fd = m->root_fd,
        .rootfs_readonly = m->root_readonly,
        .cwd = meta->cwd,
        .user = meta->user,
        .hostname = meta->hostname[0] == '\0' ? NULL : meta->hostname,
        .network = network_of(op),
        .insecure = op->security == PB__SECURITY_MODE__INSECURE,
        .mounts = m->mounts,
        .mount_count = m->mount_count,
        .secrets = m->secrets,
        .secret_count = m->secret_count,
        .sockets = m->sockets,
        .socket_count = m->socket_count,
        .ulimits = ulimits,
        .ulimit_count = meta->n_ulimit,
        .hosts = hosts,
        .host_count = meta->n_extra_hosts,
        .cgroup_parent = meta->cgroup_parent[0] == '\0' ? NULL : meta->cgroup_parent,
        .remove_mount_stubs = meta->remove_mount_stubs_recursive,
        .stdin_fd = -1,
    };
    CLEANUP(free_json) json_t *devices = NULL;
    CLEANUP(held_network_unrefp) struct held_network *held = NULL;
    int code = 0;

    TRY(make_env(c, &env));
    pb_to_strv(meta->args, meta->n_args, &args);
    spec.args = (const char *const *)args.v;
    spec.env = (const char *const *)env.v;
    for (size_t i = 0; i < meta->n_ulimit; i++)
        ulimits[i] =
            (struct run_ulimit){ meta->ulimit[i]->name, meta->ulimit[i]->soft, meta->ulimit[i]->hard };
    for (size_t i = 0; i < meta->n_extra_hosts; i++)
        hosts[i] = (struct run_host){ meta->extra_hosts[i]->host, meta->extra_hosts[i]->ip };
    add_resources(c->vertex->meta->resources, &spec.resources);
    if (*op->held_network != '\0') {
        TRY(held_network_find(op->held_network, &held));
        spec.joined_network = held_network_get(held);
    }
    TRY(exec_devices_edits(c->op_ctx, op, &devices));
    spec.device_edits = devices;
    if (op->proxied)
        TRY(exec_proxy_begin(x, c, m->root_fd));
    spec.gate = op->proxied ? &x->gate : NULL;
    struct error *e = process_error(c, run_logged(c, &spec, &code));

    log_requests(c, x);
    if (e == NULL && !code_is_fine(meta, code))
        e = exit_error(c, code);
    return both(e, exec_proxy_clean(x));
}

/* With the layers that the step made: whoever finds them in the cache has it too. */
static struct error *note_fetched(struct op_context *c, struct exec_proxy *x, struct snapshot **outputs,
                                  size_t output_count)
{
    CLEANUP(freep) char *text = NULL;

    if (x->proxy == NULL)
        return NULL;
    text = proxy_record_encode(proxy_record(x->proxy));
    for (size_t i = 0; i < output_count; i++)
        if (outputs[i] != NULL && snapshot_layer_count(outputs[i]) > 0)
            TRY(layer_set_fetched(c->store,
                                  snapshot_layer_id(outputs[i], snapshot_layer_count(outputs[i]) - 1), text));
    return NULL;
}

/* Only for a failure of the step's own: what a cancelled one left is nobody's concern. */
static void keep_failed(struct op_context *c, struct exec_mounts *m, struct snapshot **inputs)
{
    struct snapshot **v = xcalloc(m->spec.mount_count + 1, sizeof *v);

    exec_mounts_freeze(m, inputs, v);
    op_keep_failed(c, v, m->spec.mount_count);
}

static struct error *exec_run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                              size_t output_count)
{
    const Pb__ExecOp *op = c->vertex->op->exec;
    CLEANUP(freep) char *args = joined_args(c);
    CLEANUP(freep) char *owner = xasprintf("exec %s", args);
    struct exec_mounts_spec spec = {
        .context = c, .mounts = op->mounts, .mount_count = op->n_mounts, .cwd = op->meta->cwd, .owner = owner
    };
    struct exec_proxy proxy = { 0 };
    struct exec_mounts m;
    struct error *e;

    TRY(exec_mounts_begin(&spec, inputs, output_count, &m));
    e = run_process(c, &m, &proxy);
    if (e == NULL)
        e = exec_mounts_commit(&m, outputs);
    if (e == NULL)
        e = note_fetched(c, &proxy, outputs, output_count);
    else if (!err_is(e, ERR_CANCELLED))
        keep_failed(c, &m, inputs);
    exec_proxy_end(&proxy);
    exec_mounts_end(&m);
    return e;
}

static size_t exec_outputs(const struct llb_vertex *v)
{
    size_t n = 0;

    for (size_t i = 0; i < v->op->exec->n_mounts; i++)
        n += v->op->exec->mounts[i]->output != -1;
    return n;
}

static bool exec_extends(const struct llb_vertex *v, size_t input)
{
    for (size_t i = 0; i < v->op->exec->n_mounts; i++) {
        const Pb__Mount *m = v->op->exec->mounts[i];

        if (m->input == (int64_t)input && m->output >= 0 && m->mount_type == PB__MOUNT_TYPE__BIND)
            return true;
    }
    return false;
}

const struct op_impl exec_op = {
    .name = "exec",
    .key_text = exec_key_text,
    .input_key = exec_key_input,
    .extends = exec_extends,
    .output_count = exec_outputs,
    .run = exec_run,
    .check = exec_devices_check,
    .takes_cpu = true,
};
