/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the files of this room share: the runner, and one prepared container
 */
#ifndef MINKE_RUN_INTERNAL_H
#define MINKE_RUN_INTERNAL_H

#include "run/bundle.h"
#include "io/spawn.h"
#include "run/gate.h"
#include "run/network.h"
#include "run/process.h"
#include "run/run.h"
#include "run/runtime.h"
#include "run/stubs.h"
#include "task/task.h"

enum runner_state { RUNNER_COLD, RUNNER_WARMING, RUNNER_READY };

struct runner {
    struct mutex lock;
    struct cond changed;
    enum runner_state state; /* guarded by lock; what follows is immutable once READY */
    struct error *failure;   /* no runtime works: every run fails with it */
    char *bundle_path, *state_root, *cgroup_parent;
    char *bridge_name, *bridge_cidr;
    bool want_network, host_network;
    struct strv dns, dns_search, dns_options;
    struct strv cdi_dirs;
    struct runtime *runtimes;
    size_t runtime_count;
    char *default_runtime;   /* NULL: the first that works */
    struct runtime *chosen;  /* points into runtimes */
    bool drop_mknod;         /* the chosen one applies no device rules */
    struct network *network; /* NULL: no bridge here */
    char *network_failure;   /* why */
};

/* Wait until the probe is done (or do it). */
struct error *runner_ready(struct runner *r) MUST_CHECK;
/* The probe: choose r->chosen.  With state WARMING. */
struct error *runner_probe(struct runner *r) MUST_CHECK;

struct socket_source {
    const struct run_socket *socket; /* borrowed from the spec */
    int fd;
};

/* One socket of a container, and where its connections are served. */
struct listener {
    struct group *connections;
    const struct socket_source *source;
    struct semaphore room; /* a place for each connection that is served */
};

/* A container whose bundle is complete. */
struct prepared {
    struct runner *runner;
    const struct runtime *runtime;
    char id[80];
    struct bundle bundle;
    struct stubs stubs;
    struct netns *netns; /* NULL: none of ours */
    bool netns_clean;    /* may serve again */
    struct gate *gate;   /* NULL: none */
    struct socket_source *sockets;
    size_t socket_count;
    struct listener *listeners; /* while they are served */
    struct ptrv owned;          /* strings that the spec borrows */
    /* What a further process has in common with the first. */
    uint64_t caps;
    bool ambient_caps, no_new_privileges;
    struct run_ulimit *ulimits; /* names in `owned` */
    size_t ulimit_count;
};
/* The runner's state is not looked at: the probe itself prepares with a runtime on trial. */
struct error *prepare(struct runner *r, const struct runtime *rt, const struct run_spec *s,
                      struct prepared *ret) MUST_CHECK;
/* Remove stubs, give the network back, drop the bundle.  The container is gone by then. */
void prepared_deinit(struct prepared *p);

/* Accept connections on its sockets in tasks of `g`, which ends before prepared_deinit. */
struct error *prepared_serve(struct prepared *p, struct group *g) MUST_CHECK;

/* `cwd` with its links resolved inside the root, *ret_path owned by the caller.  ERR_INVALID when it leads to
 * a place that is none to work in. */
struct error *prepare_cwd(int root_fd, const char *cwd, char **ret_path) MUST_CHECK;
/* Append `list` to *env, with HOME set: crun leaves it out for a user that the root does not know, runc does
 * not.  `gate`: what leads to it is set as well; NULL: none. */
struct error *prepare_env(int root_fd, const char *const *list, uint32_t uid, const struct gate *gate,
                          struct strv *env) MUST_CHECK;

struct process {
    struct prepared prepared;  /* zeroed for a further process */
    struct process *container; /* of a further process: the first one, borrowed; else NULL */
    struct mutex lock;         /* guards child: signals meet the end of the process */
    struct child child;        /* pid 0 when it was reaped */
    pid_t pid;                 /* kept for show */
    int console_fd;
    bool created;        /* the runtime knows it */
    char *memory_events; /* where the kernel counts kills for memory; NULL: not known */
};
struct process *process_new(void);
/* Take the process whose id the runtime left in the bundle for ours. */
struct error *process_adopt(struct process *p, struct bundle *b) MUST_CHECK;
/* Receive the terminal's master from the runtime, which has ended. */
struct error *process_take_console(struct process *p, int listen_fd) MUST_CHECK;

#endif
