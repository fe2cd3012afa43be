/* SPDX-License-Identifier: Apache-2.0 */
/* prepare.c - from a run_spec to a complete bundle */
#include "run/internal.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "io/path.h"
#include "run/caps.h"
#include "run/prepare.h"
#include "run/syscalls.h"
#include "run/user.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_HOSTNAME "buildkitsandbox"

/* ---- the working directory
 * ---------------------------------------------------------------------------------------------------- */

/* Descriptors of other processes are reached through /proc: nothing there is a place to work in
 * (CVE-2024-21626). */
static bool is_proc_magic(const char *path)
{
    const char *rest = str_skip_prefix(path, "/proc/");

    return rest != NULL && (isdigit((unsigned char)*rest) || str_has_prefix(rest, "self") ||
                            str_has_prefix(rest, "thread-self"));
}

static struct error *make_dirs_owned(int root_fd, const char *path, const struct run_user *u)
{
    CLEANUP(strv_deinit) struct strv parts = { 0 };
    CLEANUP(closep) int dir = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);

    TRY_SYS(dir < 0 ? -errno : 0, "open the root");
    strv_split(&parts, path + 1, '/');
    for (size_t i = 0; i < parts.len; i++) {
        const char *name = parts.v[i];
        bool made = mkdirat(dir, name, 0755) == 0;

        if (!made && errno != EEXIST)
            return err_sys(errno, "failed to create working directory %s", path);
        int next = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0)
            return err_sys(errno, "failed to create working directory %s", path);
        close(dir);
        dir = next;
        if (made && fchownat(dir, "", u->uid, u->gid, AT_EMPTY_PATH) < 0)
            return err_sys(errno, "failed to create working directory %s", path);
    }
    return NULL;
}

struct error *prepare_cwd(int root_fd, const char *cwd, char **ret_path)
{
    CLEANUP(freep) char *path = NULL;

    if (*cwd != '/')
        return err_new(ERR_INVALID, "working directory %s is not absolute", cwd);
    if (path_resolve(root_fd, cwd, &path) < 0 || is_proc_magic(path))
        return err_new(ERR_INVALID, "working dir %s points to invalid target", cwd);
    *ret_path = TAKE(path);
    return NULL;
}

static struct error *make_cwd(int root_fd, const char *cwd, const struct run_user *u)
{
    CLEANUP(freep) char *path = NULL;
    struct stat st;

    TRY(prepare_cwd(root_fd, cwd, &path));
    int r = path_stat(root_fd, path, true, &st);
    if (r == 0 || r != -ENOENT)
        return NULL; /* what is no directory is refused by the runtime */
    return make_dirs_owned(root_fd, path, u);
}

/* ---- the root
 * -----------------------------------------------------------------------------------------------------------------
 */

/* Where the runtime mounts first, it may trust the image too much: runc before 1.3 made device nodes through
 * a link at /dev (CVE-2026-41579).  No honest image has links there. */
static struct error *check_root(int root_fd)
{
    static const char *const names[] = { "proc", "dev", "sys" };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct stat st;

        if (fstatat(root_fd, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
            return err_new(ERR_INVALID, "filesystem at \"/%s\" must be mounted on ordinary directory",
                           names[i]);
    }
    return NULL;
}

/* ---- putting it together
 * ------------------------------------------------------------------------------------------------------ */

static uint64_t wanted_caps(const struct runner *r, const struct run_spec *s)
{
    const struct run_extra *x = s->extra;
    bool all = s->insecure || (x != NULL && x->privileged);
    uint64_t caps = all ? caps_available() : CAPS_DEFAULT;

    if (x != NULL && !all)
        caps = (caps & ~x->caps_drop) | x->caps_add;
    if (r->drop_mknod && !all)
        caps &= ~CAP_BIT(CAP_MKNOD);
    return caps & caps_available();
}

/* "/docker/buildkit/<id>", as BuildKit names it below docker's parent. */
static struct error *cgroup_path(const struct runner *r, const struct run_spec *s, struct prepared *p,
                                 const char **ret)
{
    const char *parent =
        s->cgroup_parent != NULL && *s->cgroup_parent != '\0' ? s->cgroup_parent : r->cgroup_parent;
    const char *kind = prepare_is_step(s) ? "buildkit" : s->extra->cgroup_kind;

    if (strstr(parent, ".slice") != NULL && str_has_suffix(parent, ":"))
        return err_new(ERR_UNIMPLEMENTED, "cgroup parent \"%s\": systemd slices are not supported", parent);
    CLEANUP(freep) char *below = path_join(parent, kind != NULL ? kind : "");
    CLEANUP(freep) char *full = path_join("/", below);
    *ret = prepared_keep(p, path_join(full, p->id));
    return NULL;
}

/* Is this controller here, so that a limit of it can be set? */
static bool has_controller(const char *name)
{
    CLEANUP(freep) char *v1 = xasprintf("/sys/fs/cgroup/%s", name);
    CLEANUP(buf_deinit) struct buf list = { 0 };
    CLEANUP(strv_deinit) struct strv words = { 0 };

    if (cgroup_layout() != CGROUP_V2)
        return access(v1, F_OK) == 0;
    if (file_read("/sys/fs/cgroup/cgroup.controllers", &list, 4096) < 0)
        return false;
    for (size_t i = 0; i < list.len; i++)
        if (list.data[i] == '\n')
            list.data[i] = ' ';
    strv_split(&words, buf_str(&list), ' ');
    return strv_has(&words, name);
}

/* Better no step than one without the limit that was asked for. */
static struct error *check_limits(const struct run_resources *r)
{
    const struct {
        const char *controller, *what;
        bool wanted;
    } limits[] = {
        { "memory", "memory limits", r->memory != 0 || r->memory_swap != 0 || r->memory_reservation != 0 },
        { "cpu", "CPU limits", r->cpu_quota != 0 || r->cpu_period != 0 || r->cpu_shares != 0 },
        { "cpuset", "CPU sets",
          (r->cpuset_cpus != NULL && *r->cpuset_cpus != '\0') ||
              (r->cpuset_mems != NULL && *r->cpuset_mems != '\0') },
        { "pids", "PID limits", r->pids_limit != 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(limits); i++)
        if (limits[i].wanted && !has_controller(limits[i].controller))
            return err_new(ERR_INVALID, "your kernel does not support %s, or the %s cgroup is not mounted",
                           limits[i].what, limits[i].controller);
    return NULL;
}

void run_joined_network_deinit(struct run_joined_network *n)
{
    closep(&n->fd);
    free(n->hosts);
    free(n->resolv_conf);
    free(n->host_name);
    *n = RUN_JOINED_NETWORK_NONE;
}

/* Without privileges nobody can change what the next one would find. */
static bool leaves_network_clean(const struct run_spec *s)
{
    const struct run_extra *x = s->extra;

    return !s->insecure && (x == NULL || (!x->privileged && x->caps_add == 0 && x->sysctl_count == 0));
}

bool prepare_on_host_network(const struct runner *r, const struct run_spec *s)
{
    return s->network == RUN_NET_HOST || (s->network == RUN_NET_BRIDGE && r->host_network);
}

static const char *netns_path(struct prepared *p, int fd)
{
    return prepared_keep(p, xasprintf("/proc/%d/fd/%d", (int)getpid(), fd));
}

static struct error *acquire_network(struct runner *r, const struct run_spec *s, struct prepared *p,
                                     const char **ret_path)
{
    bool host = prepare_on_host_network(r, s);

    if (s->joined_network != NULL) {
        *ret_path = netns_path(p, s->joined_network->fd);
        return NULL;
    }
    if (s->gate != NULL) {
        TRY(gate_open(r->network, host, s->gate, &p->gate));
        *ret_path = netns_path(p, gate_netns_fd(p->gate));
        return NULL;
    }
    *ret_path = host ? NULL : "";
    if (host || s->network != RUN_NET_BRIDGE || r->network == NULL)
        return NULL;
    TRY(network_acquire(r->network, &p->netns));
    p->netns_clean = leaves_network_clean(s);
    *ret_path = netns_path(p, netns_fd(p->netns));
    return NULL;
}

static struct error *write_config(struct prepared *p, const struct spec *c)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    TRY(spec_generate(c, &text));
    return bundle_write(&p->bundle, "config.json", text.data, text.len);
}

static struct error *find_user(const struct run_spec *s, struct run_user *u)
{
    const struct run_extra *x = s->extra;

    TRY(run_user_find(s->rootfs_fd, s->user, u));
    for (const char *const *g = x != NULL ? x->groups : NULL; g != NULL && *g != NULL; g++)
        TRY(run_user_add_group(s->rootfs_fd, u, *g));
    return NULL;
}

struct error *prepare_env(int root_fd, const char *const *list, uint32_t uid, const struct gate *gate,
                          struct strv *env)
{
    CLEANUP(freep) char *home = NULL;

    for (const char *const *v = list; v != NULL && *v != NULL; v++) {
        if (streq(*v, "HOME="))
            continue;
        if (home == NULL && str_has_prefix(*v, "HOME="))
            home = xstrdup(*v + 5);
        strv_add(env, *v);
    }
    if (gate != NULL)
        gate_set_env(gate, env);
    if (home != NULL)
        return NULL;
    TRY(run_user_home(root_fd, uid, &home));
    strv_take(env, xasprintf("HOME=%s", home));
    return NULL;
}

static void apply_extra(const struct run_extra *x, struct spec *c)
{
    c->terminal = x->terminal;
    c->console_width = x->console_width;
    c->console_height = x->console_height;
    c->privileged |= x->privileged;
    c->no_new_privileges = x->no_new_privileges;
    c->seccomp = c->seccomp && !x->no_seccomp && !x->privileged;
    c->host_pid = x->host_pid;
    c->host_ipc = x->host_ipc;
    c->unmasked = x->unmasked;
    c->cgroup_namespace = c->cgroup_namespace && !x->host_cgroup;
    c->domainname = x->domainname;
    c->shm_size = x->shm_size;
    c->sysctls = x->sysctls;
    c->sysctl_count = x->sysctl_count;
    if (x->oom_score_adj != 0)
        c->oom_score_adj = &x->oom_score_adj;
    if (x->host_uts)
        c->hostname = NULL;
}

/* For process_exec(). */
static void keep_limits(struct prepared *p, const struct spec *c)
{
    p->caps = c->caps;
    p->ambient_caps = c->ambient_caps;
    p->no_new_privileges = c->no_new_privileges;
    p->ulimits = xcalloc(c->ulimit_count + 1, sizeof(*p->ulimits));
    for (size_t i = 0; i < c->ulimit_count; i++) {
        p->ulimits[i] = c->ulimits[i];
        p->ulimits[i].name = prepared_keep(p, xstrdup(c->ulimits[i].name));
    }
    p->ulimit_count = c->ulimit_count;
}

static struct error *fill(struct runner *r, const struct run_spec *s, struct prepared *p,
                          struct prepared_mounts *m, struct run_user *u)
{
    const char *hostname = s->hostname != NULL && *s->hostname != '\0' ? s->hostname : DEFAULT_HOSTNAME;
    const char *cwd = s->cwd != NULL && *s->cwd != '\0' ? s->cwd : "/";
    CLEANUP(strv_deinit) struct strv env = { 0 };
    struct spec c = {
        .root_path = "rootfs",
        .root_readonly = s->rootfs_readonly,
        .args = s->args,
        .cwd = cwd,
        .hostname = hostname,
        .caps = wanted_caps(r, s),
        .privileged = s->insecure,
        .ambient_caps = s->insecure,
        .seccomp = !s->insecure && seccomp_supported(),
        .cgroup_namespace = cgroup_layout() == CGROUP_V2,
        .ulimits = s->ulimits,
        .ulimit_count = s->ulimit_count,
        .resources = s->resources,
    };

    if (*cwd != '/')
        return err_new(ERR_INVALID, "working directory %s is not absolute", cwd);
    if (s->args == NULL || s->args[0] == NULL)
        return err_new(ERR_INVALID, "no command specified");
    if (c.seccomp && p->runtime->is_crun)
        c.seccomp_bpf = prepared_keep(p, seccomp_compiled(c.caps));
    TRY(check_limits(&s->resources));
    TRY(check_root(s->rootfs_fd));
    TRY(find_user(s, u));
    c.uid = u->uid;
    c.gid = u->gid;
    c.gids = u->gids;
    c.gid_count = u->gid_count;
    if (s->extra != NULL)
        apply_extra(s->extra, &c);
    keep_limits(p, &c);
    TRY(acquire_network(r, s, p, &c.network_path));
    TRY(prepare_env(s->rootfs_fd, s->env, u->uid, p->gate, &env));
    c.env = (const char *const *)env.v;
    TRY(prepare_mounts(m, r, s, hostname));
    if (!s->rootfs_readonly)
        TRY(make_cwd(s->rootfs_fd, cwd, u));
    TRY(bundle_set_root(&p->bundle, s->rootfs_fd));
    TRY(cgroup_path(r, s, p, &c.cgroups_path));
    c.mounts = m->v;
    c.mount_count = m->len;
    c.device_edits = s->device_edits;
    return write_config(p, &c);
}

/* An id becomes a path component and a cgroup name. */
static struct error *set_id(struct prepared *p, const char *id)
{
    if (id == NULL) {
        random_id(p->id, 25);
        return NULL;
    }
    size_t len = strlen(id);
    if (len == 0 || len >= sizeof(p->id) || !isalnum((unsigned char)id[0]))
        return err_new(ERR_INVALID, "invalid container id \"%.80s\"", id);
    for (const char *c = id; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("_.-", *c) == NULL)
            return err_new(ERR_INVALID, "invalid container id \"%.80s\"", id);
    memcpy(p->id, id, len + 1);
    return NULL;
}

struct error *prepare(struct runner *r, const struct runtime *rt, const struct run_spec *s,
                      struct prepared *ret)
{
    CLEANUP(run_user_deinit) struct run_user user = { 0 };
    CLEANUP(prepared_mounts_deinit) struct prepared_mounts mounts = { .owner = ret };
    struct error *e;

    memset(ret, 0, sizeof(*ret));
    ret->runner = r;
    ret->runtime = rt;
    stubs_init(&ret->stubs, s->rootfs_fd);
    TRY(set_id(ret, s->id));
    e = bundle_init(&ret->bundle, r->bundle_path);
    if (e == NULL)
        e = fill(r, s, ret, &mounts, &user);
    if (e != NULL)
        prepared_deinit(ret);
    return e;
}

void prepared_deinit(struct prepared *p)
{
    if (p->runner == NULL)
        return;
    stubs_clean(&p->stubs);
    stubs_deinit(&p->stubs);
    if (p->netns != NULL)
        network_release(p->runner->network, p->netns, p->netns_clean);
    for (size_t i = 0; i < p->socket_count; i++)
        close(p->sockets[i].fd);
    gate_close(p->gate);
    free(p->sockets);
    for (size_t i = 0; p->listeners != NULL && i < p->socket_count; i++)
        semaphore_deinit(&p->listeners[i].room);
    free(p->listeners);
    free(p->ulimits);
    bundle_deinit(&p->bundle);
    for (size_t i = 0; i < p->owned.len; i++)
        free(p->owned.v[i]);
    ptrv_deinit(&p->owned);
    memset(p, 0, sizeof(*p));
}
