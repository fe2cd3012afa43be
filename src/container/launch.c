/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c - from Config and HostConfig to what the runner takes, with the root mounted */
#include "container/internal.h"

#include "base/log.h"
#include "container/mounts.h"
#include "container/shape.h"
#include "io/path.h"
#include "io/spawn.h"
#include "run/caps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <strings.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define INIT_PATH "/sbin/docker-init"
#define CPU_PERIOD INT64_C(100000)

struct launch {
    struct run_spec spec;
    struct run_extra extra;
    struct strv args, env, groups;
    struct strv words; /* other strings that the spec borrows */
    struct run_mount *mounts;
    size_t mount_count;
    struct run_host *hosts;
    struct run_ulimit *ulimits;
    struct run_sysctl *sysctls;
    int *fds; /* sources of mounts */
    size_t fd_count;
    int root_fd;
};

void launch_free(struct launch *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->fd_count; i++)
        close(l->fds[i]);
    free(l->fds);
    closep(&l->root_fd);
    strv_deinit(&l->args);
    strv_deinit(&l->env);
    strv_deinit(&l->groups);
    strv_deinit(&l->words);
    free(l->mounts);
    free(l->hosts);
    free(l->ulimits);
    free(l->sysctls);
    strv_deinit(&l->extra.dns);
    strv_deinit(&l->extra.dns_search);
    strv_deinit(&l->extra.dns_options);
    free(l);
}

struct run_spec *launch_spec(struct launch *l)
{
    return &l->spec;
}

static const char *keep(struct launch *l, char *owned)
{
    strv_take(&l->words, owned);
    return owned;
}

/* ---- the root
 * -----------------------------------------------------------------------------------------------------------------
 */

struct error *container_mount_root(struct container *ct, int *ret_fd)
{
    CLEANUP(freep) char *upper = path_join(ct->dir, "upper");
    CLEANUP(freep) char *work = path_join(ct->dir, "work");

    /* overlayfs refuses a work directory of an unclean end; it holds nothing of value. */
    int r = path_remove_all(AT_FDCWD, work);
    if (r < 0 && r != -ENOENT)
        return err_sys(-r, "remove %s", work);
    if (mkdir(work, 0700) < 0)
        return err_sys(errno, "create %s", work);
    return snapshot_mount_rw(ct->snapshot, upper, work, ret_fd);
}

/* ---- process
 * ------------------------------------------------------------------------------------------------------------------
 */

static bool env_has(const struct strv *env, const char *key)
{
    size_t len = strlen(key);

    for (size_t i = 0; i < env->len; i++)
        if (strncmp(env->v[i], key, len) == 0 && env->v[i][len] == '=')
            return true;
    return false;
}

void container_env(struct container *ct, bool tty, struct strv *ret)
{
    CLEANUP(strv_deinit) struct strv own = { 0 };

    json_get_strings(ct->config, "Env", &own);
    if (!env_has(&own, "PATH"))
        strv_add(ret, "PATH=" DEFAULT_PATH);
    if (!env_has(&own, "HOSTNAME"))
        strv_addf(ret, "HOSTNAME=%s", json_get_string(ct->config, "Hostname"));
    if (tty && !env_has(&own, "TERM"))
        strv_add(ret, "TERM=xterm");
    /* "NAME" without a value takes the variable away. */
    for (size_t i = 0; i < own.len; i++)
        if (strchr(own.v[i], '=') != NULL)
            strv_add(ret, own.v[i]);
}

/* A small init that reaps orphans, where one is installed. */
static struct error *find_init(struct container *ct, char **ret)
{
    static const char *const names[] = { "docker-init", "tini-static", "tini", "catatonit" };
    static const char *const dirs[] = { "/usr/libexec/docker/cli-plugins", "/usr/libexec/docker",
                                        "/usr/local/bin", "/usr/bin" };
    const json_t *wanted = json_object_get(ct->host_config, "Init");

    *ret = NULL;
    if (!json_is_true(wanted) && !(wanted == NULL && ct->all->config->defaults->init))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(names) && *ret == NULL; i++) {
        for (size_t k = 0; k < ARRAY_LEN(dirs) && *ret == NULL; k++) {
            char *path = path_join(dirs[k], names[i]);

            if (access(path, X_OK) == 0)
                *ret = path;
            else
                free(path);
        }
    }
    return *ret == NULL ? err_new(ERR_INVALID, "exec: \"docker-init\": executable file not found in $PATH")
                        : NULL;
}

static struct error *fill_process(struct container *ct, struct launch *l)
{
    const json_t *size = json_object_get(ct->host_config, "ConsoleSize");

    json_get_strings(ct->config, "Entrypoint", &l->args);
    json_get_strings(ct->config, "Cmd", &l->args);
    container_env(ct, ct->tty, &l->env);
    json_get_strings(ct->host_config, "GroupAdd", &l->groups);
    l->spec.args = (const char *const *)l->args.v;
    l->spec.env = (const char *const *)l->env.v;
    l->spec.cwd = json_get_string(ct->config, "WorkingDir");
    l->spec.user = json_get_string(ct->config, "User");
    l->spec.hostname = json_get_string(ct->config, "Hostname");
    l->extra.domainname = json_get_string(ct->config, "Domainname");
    l->extra.groups = (const char *const *)l->groups.v;
    l->extra.terminal = ct->tty;
    l->extra.console_height = (unsigned)json_integer_value(json_array_get(size, 0));
    l->extra.console_width = (unsigned)json_integer_value(json_array_get(size, 1));
    l->extra.oom_score_adj = (int)json_get_int(ct->host_config, "OomScoreAdj");
    return NULL;
}

/* ---- security
 * -----------------------------------------------------------------------------------------------------------------
 */

static uint64_t cap_set(const json_t *h, const char *key)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    uint64_t set = 0;

    json_get_strings(h, key, &names);
    for (size_t i = 0; i < names.len; i++)
        set |= strcasecmp(names.v[i], "ALL") == 0 ? UINT64_MAX : CAP_BIT(cap_parse(names.v[i]));
    return set;
}

static bool has_option(const struct strv *options, const char *a, const char *b)
{
    return strv_has(options, a) || (b != NULL && strv_has(options, b));
}

static void fill_security(struct container *ct, struct launch *l)
{
    const struct container_defaults *defaults = ct->all->config->defaults;
    const json_t *h = ct->host_config;
    CLEANUP(strv_deinit) struct strv options = { 0 };
    const json_t *masked = json_object_get(h, "MaskedPaths");

    json_get_strings(h, "SecurityOpt", &options);
    l->extra.privileged = json_get_bool(h, "Privileged");
    l->extra.caps_add = cap_set(h, "CapAdd");
    l->extra.caps_drop = cap_set(h, "CapDrop");
    l->extra.no_new_privileges = defaults->no_new_privileges;
    if (has_option(&options, "no-new-privileges=false", "no-new-privileges:false"))
        l->extra.no_new_privileges = false;
    if (has_option(&options, "no-new-privileges", "no-new-privileges=true") ||
        has_option(&options, "no-new-privileges:true", NULL))
        l->extra.no_new_privileges = true;
    l->extra.no_seccomp = has_option(&options, "seccomp=unconfined", "seccomp:unconfined") ||
                          (defaults->no_seccomp && !has_option(&options, "seccomp=builtin", NULL));
    l->extra.unmasked = json_is_array(masked) && json_array_size(masked) == 0;
    l->extra.host_pid = streq(json_get_string(h, "PidMode"), "host");
    l->extra.host_ipc = streq(json_get_string(h, "IpcMode"), "host");
    l->extra.host_uts = streq(json_get_string(h, "UTSMode"), "host");
    l->extra.host_cgroup = streq(json_get_string(h, "CgroupnsMode"), "host");
    l->spec.rootfs_readonly = json_get_bool(h, "ReadonlyRootfs");
}

/* ---- resources
 * ----------------------------------------------------------------------------------------------------------------
 */

static void fill_resources(struct container *ct, struct launch *l)
{
    const json_t *h = ct->host_config;
    struct run_resources *r = &l->spec.resources;
    int64_t nano = json_get_int(h, "NanoCpus"), pids = json_get_int(h, "PidsLimit");

    r->memory = json_get_int(h, "Memory");
    r->memory_reservation = json_get_int(h, "MemoryReservation");
    r->memory_swap = json_get_int(h, "MemorySwap");
    r->cpu_shares = (uint64_t)MAX(json_get_int(h, "CpuShares"), 0);
    r->cpu_period = (uint64_t)MAX(json_get_int(h, "CpuPeriod"), 0);
    r->cpu_quota = json_get_int(h, "CpuQuota");
    r->cpuset_cpus = json_get_string(h, "CpusetCpus");
    r->cpuset_mems = json_get_string(h, "CpusetMems");
    r->pids_limit = pids > 0 ? pids : 0;
    if (nano > 0) {
        r->cpu_period = (uint64_t)CPU_PERIOD;
        r->cpu_quota = nano / 10000; /* nano * period / 10^9 */
    }
    l->extra.shm_size = json_get_int(h, "ShmSize");
    l->spec.cgroup_parent = json_get_string(h, "CgroupParent");
}

static void fill_lists(struct container *ct, struct launch *l)
{
    const json_t *h = ct->host_config;
    const json_t *ulimits = json_object_get(h, "Ulimits");
    const char *key;
    json_t *v;
    size_t i;

    l->ulimits = xcalloc(json_array_size(ulimits) + 1, sizeof(*l->ulimits));
    json_array_foreach(ulimits, i, v)
    {
        l->ulimits[l->spec.ulimit_count++] = (struct run_ulimit){ .name = json_get_string(v, "Name"),
                                                                  .soft = json_get_int(v, "Soft"),
                                                                  .hard = json_get_int(v, "Hard") };
    }
    l->spec.ulimits = l->ulimits;
    l->sysctls = xcalloc(json_object_size(json_object_get(h, "Sysctls")) + 1, sizeof(*l->sysctls));
    json_object_foreach(json_object_get(h, "Sysctls"), key, v)
    {
        l->sysctls[l->extra.sysctl_count++] =
            (struct run_sysctl){ .key = key, .value = json_string_value(v) };
    }
    l->extra.sysctls = l->sysctls;
}

/* "name:ip"; host-gateway is the bridge's own address. */
static struct error *fill_hosts(struct container *ct, struct launch *l)
{
    CLEANUP(strv_deinit) struct strv extra = { 0 };
    const struct network *network = runner_network(ct->all->config->runner);

    json_get_strings(ct->host_config, "ExtraHosts", &extra);
    l->hosts = xcalloc(extra.len + 1, sizeof(*l->hosts));
    for (size_t i = 0; i < extra.len; i++) {
        char *entry = xstrdup(extra.v[i]);
        char *split = strpbrk(entry, ":=");
        const char *ip;

        keep(l, entry);
        if (split == NULL || split == entry)
            return err_new(ERR_INVALID, "bad format for add-host: \"%s\"", extra.v[i]);
        *split = '\0';
        ip = split + 1;
        if (streq(ip, "host-gateway")) {
            if (network == NULL)
                return err_new(ERR_INVALID, "unable to derive the IP value for host-gateway");
            ip = network_gateway(network);
        }
        l->hosts[l->spec.host_count++] = (struct run_host){ .host = entry, .ip = ip };
    }
    l->spec.hosts = l->hosts;
    json_get_strings(ct->host_config, "Dns", &l->extra.dns);
    json_get_strings(ct->host_config, "DnsSearch", &l->extra.dns_search);
    json_get_strings(ct->host_config, "DnsOptions", &l->extra.dns_options);
    return NULL;
}

/* ---- mounts
 * -------------------------------------------------------------------------------------------------------------------
 */

static struct run_mount *add_mount(struct launch *l, const char *dest)
{
    l->mounts = xreallocarray(l->mounts, l->mount_count + 1, sizeof(*l->mounts));
    l->mounts[l->mount_count] = (struct run_mount){ .dest = dest, .source_fd = -1 };
    return &l->mounts[l->mount_count++];
}

static struct error *open_source(struct launch *l, const char *path, bool create, int *ret_fd)
{
    int fd = open(path, O_PATH | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT && create) {
        TRY_SYS(make_dirs(path, 0755), "error while creating mount source path '%s'", path);
        fd = open(path, O_PATH | O_CLOEXEC);
    }
    if (fd < 0)
        return err_sys(errno, "error mounting \"%s\"", path);
    l->fds = xreallocarray(l->fds, l->fd_count + 1, sizeof(*l->fds));
    l->fds[l->fd_count++] = fd;
    *ret_fd = fd;
    return NULL;
}

static struct error *fill_mounts(struct container *ct, struct launch *l)
{
    CLEANUP(container_mounts_deinit) struct container_mounts list = { 0 };

    TRY(container_mounts_parse(ct->host_config, &list));
    for (size_t i = 0; i < list.count; i++) {
        struct container_mount *c = &list.v[i];
        struct run_mount *m = add_mount(l, keep(l, TAKE(c->dest)));

        m->readonly = c->readonly;
        m->tmpfs = c->tmpfs;
        if (c->tmpfs)
            m->options = keep(l, TAKE(c->options));
        else
            m->options = keep(l, TAKE(c->propagation));
        if (!c->tmpfs)
            TRY(open_source(l, c->source, c->create, &m->source_fd));
    }
    return NULL;
}

/* Volumes of the image live in the container's own directory: they only have to be there. */
static struct error *make_volume_dirs(struct container *ct, struct launch *l)
{
    const char *path;
    json_t *v;

    json_object_foreach(json_object_get(ct->config, "Volumes"), path, v)
    {
        int fd = path_mkdirs(l->root_fd, path, 0755);

        TRY_SYS(fd, "create volume %s", path);
        close(fd);
    }
    return NULL;
}

static struct error *use_init(struct container *ct, struct launch *l)
{
    CLEANUP(freep) char *init = NULL;
    CLEANUP(strv_deinit) struct strv with = { 0 };
    struct run_mount *m;

    TRY(find_init(ct, &init));
    if (init == NULL)
        return NULL;
    m = add_mount(l, INIT_PATH);
    m->readonly = true;
    TRY(open_source(l, init, false, &l->mounts[l->mount_count - 1].source_fd));
    strv_add(&with, INIT_PATH);
    strv_add(&with, "--");
    strv_copy(&with, &l->args);
    strv_clear(&l->args);
    strv_copy(&l->args, &with);
    l->spec.args = (const char *const *)l->args.v;
    return NULL;
}

static struct error *fill(struct container *ct, struct launch *l)
{
    const char *network = json_get_string(ct->host_config, "NetworkMode");

    l->spec.id = ct->id;
    l->spec.extra = &l->extra;
    l->spec.stdin_fd = l->spec.stdout_fd = l->spec.stderr_fd = -1;
    l->spec.network = streq(network, "host")   ? RUN_NET_HOST
                      : streq(network, "none") ? RUN_NET_NONE
                                               : RUN_NET_BRIDGE;
    if (json_get_bool(ct->config, "NetworkDisabled"))
        l->spec.network = RUN_NET_NONE;
    TRY(fill_process(ct, l));
    fill_security(ct, l);
    fill_resources(ct, l);
    fill_lists(ct, l);
    TRY(fill_hosts(ct, l));
    TRY(container_mount_root(ct, &l->root_fd));
    l->spec.rootfs_fd = l->root_fd;
    TRY(make_volume_dirs(ct, l));
    TRY(fill_mounts(ct, l));
    TRY(use_init(ct, l));
    l->spec.mounts = l->mounts;
    l->spec.mount_count = l->mount_count;
    return NULL;
}

struct error *launch_new(struct container *ct, struct launch **ret)
{
    struct launch *l = NEW(struct launch);
    struct error *e;

    l->root_fd = -1;
    e = fill(ct, l);
    if (e != NULL) {
        launch_free(l);
        return e;
    }
    *ret = l;
    return NULL;
}
