/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - run one process in an OCI runtime: for RUN steps, and the pieces that long-lived containers share
 *
 * The runtime (crun, runc, or any configured one) is driven by its command line.  It is probed in the
 * background at start; the probe decides which one runs steps on this host and why (hybrid cgroups, device
 * rules).
 */
#ifndef MINKE_RUN_RUN_H
#define MINKE_RUN_RUN_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"
#include "io/stream.h"
#include "run/cdi.h"

struct runner; /* thread-safe, one a daemon */

struct runtime_config {
    char *name; /* "runc", "crun" */
    char *path;
    struct strv args;
};
struct runner_config {
    const char *exec_root; /* bundles and state; below it everything may be removed at start */
    struct runtime_config *runtimes;
    size_t runtime_count;
    const char *default_runtime; /* NULL: crun, else runc */
    const char *cgroup_parent;   /* NULL: "docker" */
    const char *bridge_cidr;     /* "172.17.0.1/16" by default; --bip */
    const char *bridge_name;     /* "minke0"; --bridge */
    struct strv dns, dns_search, dns_options;
    struct strv cdi_dirs; /* of CDI specifications; empty: no devices */
    bool host_network; /* what asks for the bridge gets the host's network (buildkitd's worker network "host")
                        */
    bool userland_network; /* false: no bridge, RUN gets loopback only (no permission): said in the log */
};
struct error *runner_new(const struct runner_config *c, struct runner **ret) MUST_CHECK;
void runner_free(struct runner *r);
/* Probe the runtimes and fill the pool of network namespaces; runs as a task of the daemon's group. */
struct error *runner_warm_up(void *runner);

enum run_network { RUN_NET_BRIDGE, RUN_NET_NONE, RUN_NET_HOST };

/* The network of a process that runs, for another one to join: its namespace, and the files that go with it.
 */
struct run_joined_network {
    int fd;                                /* of the namespace; -1: none */
    char *hosts, *resolv_conf, *host_name; /* texts of /etc/hosts and /etc/resolv.conf; owned */
};
#define RUN_JOINED_NETWORK_NONE ((struct run_joined_network){ .fd = -1 })
void run_joined_network_deinit(struct run_joined_network *n);

struct run_mount {
    const char *dest;     /* absolute, inside the root; resolved there safely */
    int source_fd;        /* directory or file; borrowed; -1 for tmpfs */
    const char *selector; /* path below source_fd, resolved inside it; NULL: itself */
    bool readonly;
    bool tmpfs;
    int64_t tmpfs_size;  /* 0: default */
    uint32_t tmpfs_mode; /* 0: 01777 */
    const char *options; /* NULL: "nosuid" for tmpfs, none for binds; else these (comma separated) instead */
};
struct run_secret_file { /* a small file on tmpfs */
    const char *dest;
    const void *data;
    size_t len;
    uint32_t uid, gid, mode;
};
struct run_socket { /* ssh agent: we listen, `connect` is called per connection and serves it */
    const char *dest;
    uint32_t uid, gid, mode;
    struct error *(*serve)(void *ctx, struct stream *conn); /* takes conn */
    void *ctx;
};
struct run_ulimit {
    const char *name; /* "nofile" */
    int64_t soft, hard;
};
struct run_host {
    const char *host, *ip;
};
struct run_sysctl {
    const char *key, *value;
};
struct run_resources { /* 0: no limit of our own */
    int64_t memory, memory_reservation, memory_swap,
        cpu_quota; /* bytes; memory_swap is memory and swap together, -1 unlimited */
    int64_t pids_limit;
    uint64_t cpu_shares, cpu_period;
    const char *cpuset_cpus, *cpuset_mems;
};

/* The way out of a step's network is us (run/gate.h): `serve` is called for each connection, which it takes,
 * in a task of its own, with the network namespace that sockets towards the world are to be made in (-1: the
 * host's). */
struct run_gate {
    struct error *(*serve)(void *ctx, struct stream *conn, int egress_netns_fd);
    void *ctx;
};

/* What docker's containers may ask for and build steps never do.  Zeroed is docker's default. */
struct run_extra {
    bool step; /* all the same a step in its files, names and mount points: a container of a build */
    bool terminal;
    unsigned console_width, console_height; /* 0: unset */
    bool privileged, no_new_privileges, no_seccomp;
    bool unmasked; /* no masked and read-only paths */
    bool host_pid, host_ipc, host_uts, host_cgroup;
    uint64_t caps_add, caps_drop; /* bits of run/caps.h; dropped first, then added */
    const char *domainname;
    int64_t shm_size; /* 0: 64 MiB */
    const struct run_sysctl *sysctls;
    size_t sysctl_count;
    const char *const *groups;                /* more groups for the user, NULL-terminated; may be NULL */
    int oom_score_adj;                        /* 0: unset */
    struct strv dns, dns_search, dns_options; /* of its own resolv.conf; empty: the runner's */
    const char *cgroup_kind;                  /* between parent and id; NULL: none ("buildkit" for steps) */
};

struct run_spec {
    const char *id; /* for names of bundle and cgroup; NULL: random */
    int rootfs_fd;  /* mount descriptor of the writable root */
    bool rootfs_readonly;
    const char *const *args;
    const char *const *env;
    const char *cwd, *user; /* user: "", "name", "uid[:gid]", looked up inside the root */
    const char *hostname;   /* NULL: buildkitsandbox */
    enum run_network network;
    const struct run_joined_network *joined_network; /* instead; NULL: none. Hosts do not count then. */
    bool insecure;                                   /* security.insecure */
    const struct run_gate
        *gate; /* between the process and `network`, which is not RUN_NET_NONE; NULL: nothing */
    const struct run_mount *mounts;
    size_t mount_count;
    const struct run_secret_file *secrets;
    size_t secret_count;
    const struct run_socket *sockets;
    size_t socket_count;
    const struct run_ulimit *ulimits;
    size_t ulimit_count;
    const struct run_host *hosts;
    size_t host_count;
    struct run_resources resources;
    const char *cgroup_parent;  /* NULL: the runner's */
    bool remove_mount_stubs;    /* also the missing parents of mount points go when they end empty (no link is
                                   followed) */
    const json_t *device_edits; /* of CDI devices (run/cdi.h); NULL: none */
    const struct run_extra *extra; /* NULL for a build step: what only containers ask for */
    int stdin_fd, stdout_fd,
        stderr_fd; /* borrowed; -1: /dev/null. Pass pipes; read them in a task of your own. */
};

/* CDI devices that steps may have: none at all where support is switched off. */
bool runner_has_devices(const struct runner *r);
void runner_devices(const struct runner *r, struct cdi_devices *ret); /* released with cdi_devices_deinit */

/* Run to the end.  *ret_code: exit code, 128 + signal.  On cancellation the whole process tree is killed
 * within 1 s and everything is unmounted before it returns ERR_CANCELLED. */
struct error *runner_run(struct runner *r, const struct run_spec *spec, int *ret_code) MUST_CHECK;

#endif
