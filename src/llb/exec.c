/* SPDX-License-Identifier: Apache-2.0 */
/* Process operations. */
#include "llb/state.h"

#include "llb/encode.h"
#include "llb/node.h"

#define FIELD_EXEC 2
#define FIELD_HELD_NETWORK 1000

static void *copy_array(struct llb_builder *b, const void *from, size_t count, size_t size)
{
    void *to = llb_alloc(b, count * size);

    if (count > 0)
        memcpy(to, from, count * size);
    return to;
}

/* Everything in `run` that is kept as it is, deep into the builder's memory. */
static void copy_run(struct llb_builder *b, const struct llb_run *run, struct llb_run *to)
{
    struct llb_secret *secrets = copy_array(b, run->secrets, run->secret_count, sizeof(*secrets));
    struct llb_ssh *ssh = copy_array(b, run->ssh, run->ssh_count, sizeof(*ssh));
    struct llb_device *devices = copy_array(b, run->devices, run->device_count, sizeof(*devices));
    struct llb_host_ip *hosts = copy_array(b, run->hosts, run->host_count, sizeof(*hosts));
    struct llb_ulimit *ulimits = copy_array(b, run->ulimits, run->ulimit_count, sizeof(*ulimits));

    *to = *run;
    for (size_t i = 0; i < run->secret_count; i++) {
        secrets[i].id = llb_strdup(b, secrets[i].id);
        secrets[i].target = llb_strdup(b, secrets[i].target);
        secrets[i].env = llb_strdup(b, secrets[i].env);
    }
    for (size_t i = 0; i < run->ssh_count; i++) {
        ssh[i].id = llb_strdup(b, ssh[i].id);
        ssh[i].target = ssh[i].target != NULL && *ssh[i].target != '\0'
                            ? llb_strdup(b, ssh[i].target)
                            : llb_printf(b, "/run/buildkit/ssh_agent.%zu", i);
    }
    for (size_t i = 0; i < run->device_count; i++)
        devices[i].name = llb_strdup(b, devices[i].name);
    for (size_t i = 0; i < run->host_count; i++) {
        hosts[i].host = llb_strdup(b, hosts[i].host);
        hosts[i].ip = llb_strdup(b, hosts[i].ip);
    }
    for (size_t i = 0; i < run->ulimit_count; i++)
        ulimits[i].name = llb_strdup(b, ulimits[i].name);
    to->held_network = llb_strdup(b, run->held_network);
    to->secrets = secrets;
    to->ssh = ssh;
    to->devices = devices;
    to->hosts = hosts;
    to->ulimits = ulimits;
}

static const struct llb_proxy *copy_proxy(struct llb_builder *b, const struct llb_proxy *p)
{
    struct llb_proxy *copy;

    if (p == NULL)
        return NULL;
    copy = llb_alloc(b, sizeof(*copy));
    copy->http = llb_strdup(b, p->http);
    copy->https = llb_strdup(b, p->https);
    copy->ftp = llb_strdup(b, p->ftp);
    copy->no_proxy = llb_strdup(b, p->no_proxy);
    copy->all = llb_strdup(b, p->all);
    return copy;
}

static struct node_mount *copy_mount(struct llb_builder *b, const struct llb_mount *m)
{
    struct node_mount *copy = llb_alloc(b, sizeof(*copy));

    copy->target = llb_strdup(b, m->target);
    copy->selector = llb_strdup(b, m->selector);
    copy->cache_id = llb_strdup(b, m->cache_id);
    copy->source = m->source.out;
    copy->readonly = m->readonly;
    copy->no_output = m->no_output;
    copy->tmpfs = m->tmpfs;
    copy->tmpfs_size = m->tmpfs_size;
    copy->sharing = m->sharing;
    return copy;
}

/* Insert by target; equal ones keep their order. */
static void insert_mount(struct node_exec *x, const struct node_mount *m)
{
    size_t i = x->mount_count++;

    for (; i > 0 && strcmp(x->mounts[i - 1]->target, m->target) > 0; i--)
        x->mounts[i] = x->mounts[i - 1];
    x->mounts[i] = m;
}

struct llb_state llb_run(struct llb_builder *b, struct llb_state s, const struct llb_run *run,
                         const struct llb_options *o)
{
    struct llb_node *n = node_new(b, NODE_EXEC, o);
    struct node_exec *x = &n->exec;
    struct llb_mount root = { .target = "/", .source = s };
    struct node_mount *root_mount = copy_mount(b, &root);
    struct llb_output *out;

    copy_run(b, run, &x->run);
    x->args = llb_strv_dup(b, run->args);
    x->run.args = &x->args;
    x->env = s.env;
    x->dir = s.dir;
    x->user = s.user;
    x->hostname = s.hostname;
    x->cgroup_parent = run->cgroup_parent != NULL ? llb_strdup(b, run->cgroup_parent) : s.cgroup_parent;
    x->base_platform = s.platform;
    x->network = run->has_network ? run->network : s.network;
    x->security = run->security;
    x->proxy = copy_proxy(b, run->proxy);
    x->mounts = llb_alloc(b, (run->mount_count + 1) * sizeof(x->mounts[0]));
    insert_mount(x, root_mount);
    for (size_t i = 0; i < run->mount_count; i++)
        insert_mount(x, copy_mount(b, &run->mounts[i]));
    out = node_output(b, n, 0, n->platform);
    out->mount = root_mount;
    return llb_with_output(s, out);
}

struct llb_state llb_run_output(struct llb_builder *b, struct llb_state after, const char *target)
{
    struct llb_node *n = after.out->node;
    struct llb_output *out = node_output(b, n, 0, n->platform);

    for (size_t i = 0; i < n->exec.mount_count; i++) {
        if (streq(n->exec.mounts[i]->target, target))
            out->mount = n->exec.mounts[i];
    }
    assert(out->mount != NULL);
    return llb_new_state(out);
}

static bool has_output(const struct node_mount *m)
{
    return !m->no_output && !m->readonly && !m->tmpfs && m->cache_id == NULL;
}

int64_t exec_output_index(const struct llb_node *n, const struct node_mount *mount)
{
    int64_t index = 0;

    for (size_t i = 0; i < n->exec.mount_count && n->exec.mounts[i] != mount; i++)
        index += has_output(n->exec.mounts[i]);
    return index;
}

void exec_dependencies(struct llb_node *n, struct ptrv *ret)
{
    for (size_t i = 0; i < n->exec.mount_count; i++) {
        if (n->exec.mounts[i]->source != NULL)
            ptrv_add(ret, n->exec.mounts[i]->source);
    }
}

static void mount_caps(struct marshal *m, struct llb_node *n, const struct node_mount *mount)
{
    if (mount->selector != NULL)
        node_add_cap(n, CAP_EXEC_MOUNT_SELECTOR);
    if (mount->cache_id != NULL) {
        node_add_cap(n, CAP_EXEC_MOUNT_CACHE);
        node_add_cap(n, CAP_EXEC_MOUNT_CACHE_SHARING);
    } else if (mount->tmpfs) {
        node_add_cap(n, CAP_EXEC_MOUNT_TMPFS);
        if (mount->tmpfs_size > 0)
            node_add_cap(n, CAP_EXEC_MOUNT_TMPFS_SIZE);
    } else if (output_resolve(m->builder, mount->source) != NULL) {
        node_add_cap(n, CAP_EXEC_MOUNT_BIND);
    }
}

static void exec_caps(struct marshal *m, struct llb_node *n)
{
    const struct node_exec *x = &n->exec;

    node_add_cap(n, CAP_EXEC_META_SETSDEFAULTPATH);
    if (x->run.ulimit_count > 0)
        node_add_cap(n, CAP_EXEC_META_ULIMIT);
    if (n->resources != NULL)
        node_add_cap(n, CAP_EXEC_META_LINUX_RESOURCES);
    if (x->network != PB__NET_MODE__UNSET)
        node_add_cap(n, CAP_EXEC_META_NETWORK);
    if (x->security == PB__SECURITY_MODE__INSECURE)
        node_add_cap(n, CAP_EXEC_META_SECURITY);
    if (x->proxy != NULL)
        node_add_cap(n, CAP_EXEC_META_PROXYENV);
    node_add_cap(n, CAP_EXEC_META_BASE);
    for (size_t i = 0; i < x->mount_count; i++)
        mount_caps(m, n, x->mounts[i]);
    if (x->run.secret_count > 0)
        node_add_cap(n, CAP_EXEC_MOUNT_SECRET);
    for (size_t i = 0; i < x->run.secret_count; i++) {
        if (x->run.secrets[i].env != NULL)
            node_add_cap(n, CAP_EXEC_SECRETENV);
    }
    if (x->run.ssh_count > 0)
        node_add_cap(n, CAP_EXEC_MOUNT_SSH);
    if (x->run.device_count > 0)
        node_add_cap(n, CAP_EXEC_META_CDI);
}

/* "NAME=value" for each; the same list is encoded once. */
static void encode_env(struct marshal *m, const struct llb_env *env)
{
    struct buf *out = &m->env_bytes;
    CLEANUP(ptrv_deinit) struct ptrv entries = { 0 };

    if (env == m->env)
        return;
    m->env = env;
    buf_clear(out);
    llb_env_entries(env, &entries);
    for (size_t i = 0; i < entries.len; i++) {
        const struct llb_env *e = entries.v[i];
        size_t pair = pbw_begin(out, 2);

        buf_adds(out, e->key);
        buf_addc(out, '=');
        buf_adds(out, e->value);
        pbw_end(out, pair);
    }
}

static void encode_meta(struct marshal *m, const struct node_exec *x)
{
    struct buf *out = &m->op;
    size_t meta = pbw_begin(out, 1), part;

    pbw_strv(out, 1, &x->args);
    encode_env(m, x->env);
    buf_add(out, m->env_bytes.data, m->env_bytes.len);
    if (x->run.ssh_count > 0 && llb_env_get(x->env, "SSH_AUTH_SOCK") == NULL) {
        part = pbw_begin(out, 2);
        buf_addf(out, "SSH_AUTH_SOCK=%s", x->run.ssh[0].target);
        pbw_end(out, part);
    }
    pbw_str(out, 3, x->dir);
    pbw_str(out, 4, x->user);
    if (x->proxy != NULL) {
        part = pbw_begin(out, 5);
        pbw_str(out, 1, x->proxy->http);
        pbw_str(out, 2, x->proxy->https);
        pbw_str(out, 3, x->proxy->ftp);
        pbw_str(out, 4, x->proxy->no_proxy);
        pbw_str(out, 5, x->proxy->all);
        pbw_end(out, part);
    }
    for (size_t i = 0; i < x->run.host_count; i++) {
        part = pbw_begin(out, 6);
        pbw_str(out, 1, x->run.hosts[i].host);
        pbw_str(out, 2, x->run.hosts[i].ip);
        pbw_end(out, part);
    }
    pbw_str(out, 7, x->hostname);
    for (size_t i = 0; i < x->run.ulimit_count; i++) {
        part = pbw_begin(out, 9);
        pbw_str(out, 1, x->run.ulimits[i].name);
        pbw_int(out, 2, x->run.ulimits[i].soft);
        pbw_int(out, 3, x->run.ulimits[i].hard);
        pbw_end(out, part);
    }
    pbw_str(out, 10, x->cgroup_parent);
    pbw_bool(out, 11, true); /* removeMountStubsRecursive */
    pbw_end(out, meta);
}

static void encode_mount(struct buf *out, const struct node_mount *m, int64_t input, int64_t output)
{
    size_t mount = pbw_begin(out, 2), options;

    pbw_int(out, 1, input);
    pbw_str(out, 2, m->selector);
    pbw_str(out, 3, m->target);
    pbw_int(out, 4, output);
    pbw_bool(out, 5, m->readonly);
    if (m->tmpfs) {
        pbw_int(out, 6, PB__MOUNT_TYPE__TMPFS);
        options = pbw_begin(out, 19);
        pbw_int(out, 1, m->tmpfs_size);
        pbw_end(out, options);
    } else if (m->cache_id != NULL) {
        pbw_int(out, 6, PB__MOUNT_TYPE__CACHE);
        options = pbw_begin(out, 20);
        pbw_str(out, 1, m->cache_id);
        pbw_int(out, 2, m->sharing);
        pbw_end(out, options);
    }
    pbw_end(out, mount);
}

/* A secret or an ssh socket: they differ in type and in the field of their options. */
static void encode_special_mount(struct buf *out, Pb__MountType type, unsigned field, const char *target,
                                 const char *id, const uint32_t owner_mode[3], bool optional)
{
    size_t mount = pbw_begin(out, 2), options;

    pbw_int(out, 1, -1);
    pbw_str(out, 3, target);
    pbw_int(out, 6, type);
    options = pbw_begin(out, field);
    pbw_str(out, 1, id);
    for (unsigned i = 0; i < 3; i++)
        pbw_uint(out, 2 + i, owner_mode[i]);
    pbw_bool(out, 5, optional);
    pbw_end(out, options);
    pbw_end(out, mount);
}

static void encode_mounts(struct marshal *m, const struct node_exec *x)
{
    int64_t next_output = 0;

    for (size_t i = 0; i < x->mount_count; i++) {
        const struct node_mount *mount = x->mounts[i];
        int64_t input = op_inputs_add(m, mount->source, true);

        encode_mount(&m->op, mount, input, has_output(mount) ? next_output++ : -1);
    }
    for (size_t i = 0; i < x->run.secret_count; i++) {
        const struct llb_secret *s = &x->run.secrets[i];

        if (s->target != NULL)
            encode_special_mount(&m->op, PB__MOUNT_TYPE__SECRET, 21, s->target, s->id,
                                 (uint32_t[]){ s->uid, s->gid, s->mode }, s->optional);
    }
    for (size_t i = 0; i < x->run.ssh_count; i++) {
        const struct llb_ssh *s = &x->run.ssh[i];

        encode_special_mount(&m->op, PB__MOUNT_TYPE__SSH, 22, s->target, s->id,
                             (uint32_t[]){ s->uid, s->gid, s->mode }, s->optional);
    }
}

struct error *exec_marshal(struct marshal *m, struct llb_node *n)
{
    const struct node_exec *x = &n->exec;
    const struct platform *p = n->platform != NULL ? n->platform : x->base_platform;
    struct buf *op = &m->op;
    size_t part;

    if (x->args.len == 0)
        return err_new(ERR_UNKNOWN, "arguments are required");
    if (x->dir == NULL || *x->dir == '\0')
        return err_new(ERR_UNKNOWN, "working directory is required");
    exec_caps(m, n);
    encode_meta(m, x);
    encode_mounts(m, x);
    pbw_int(op, 3, x->network);
    pbw_int(op, 4, x->security);
    for (size_t i = 0; i < x->run.secret_count; i++) {
        const struct llb_secret *s = &x->run.secrets[i];

        if (s->env == NULL)
            continue;
        part = pbw_begin(op, 5);
        pbw_str(op, 1, s->id);
        pbw_str(op, 2, s->env);
        pbw_bool(op, 3, s->optional);
        pbw_end(op, part);
    }
    for (size_t i = 0; i < x->run.device_count; i++) {
        part = pbw_begin(op, 6);
        pbw_str(op, 1, x->run.devices[i].name);
        pbw_bool(op, 2, x->run.devices[i].optional);
        pbw_end(op, part);
    }
    pbw_str(op, FIELD_HELD_NETWORK, x->run.held_network);
    op_encode(m, FIELD_EXEC, p != NULL ? p : m->platform);
    return NULL;
}
