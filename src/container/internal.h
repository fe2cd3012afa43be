/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - the container and the table of them, for the files of this room
 *
 * Locks: containers.lock guards the table and all names; container.lock guards one container's state. Neither
 * is taken while the other is held, but for table, then container; an exec's own lock comes last.
 */
#ifndef MINKE_CONTAINER_INTERNAL_H
#define MINKE_CONTAINER_INTERNAL_H

#include "container/container.h"
#include "container/settings.h"
#include "run/process.h"
#include "run/signals.h"
#include "task/task.h"

#include <stdatomic.h>

#define CONTAINER_ID_LEN 64

struct containers {
    const struct containers_config *config;
    struct mutex lock;
    struct container **list; /* references; guarded by lock */
    size_t count;
    struct exec *execs; /* references; guarded by lock */
    struct group group; /* monitors of running containers */
    struct mutex close_lock;
    bool closing; /* guarded by lock */
};

/* One client that listens to a container's output. */
struct attachment {
    struct attachment *next;
    struct buf data;   /* frames or bytes not sent yet */
    unsigned streams;  /* LOG_STDOUT | LOG_STDERR */
    uint64_t run;      /* output_ends when it was listed: it ends with that run */
    bool framed, gone; /* gone: the client left, nothing more is kept for it */
};

/* A published port. */
struct port_binding {
    char *protocol, *host_ip; /* as asked: "" is any */
    uint16_t port, host_port;
    int listen_fds[2]; /* of the userland proxy: IPv4, IPv6; -1 */
    bool published;    /* in the firewall */
};
struct port_bindings {
    struct port_binding *v;
    size_t count;
};

struct state {
    bool running, paused, restarting, dead, removing, removed, oom_killed;
    int exit_code;
    pid_t pid;
    char *error;                     /* of the last start; NULL: none */
    int64_t started_ns, finished_ns; /* 0: never */
};

struct health {
    char *status; /* "starting", "healthy", "unhealthy"; NULL: it has no check */
    int64_t streak;
    json_t *log; /* the newest results; NULL: none */
};

struct container {
    atomic_uint refs;
    struct containers *all;
    /* immutable */
    char id[CONTAINER_ID_LEN + 1];
    int64_t created_ns;
    json_t *config, *host_config, *networking; /* networking: asked for, may be NULL */
    char *image_id, *os, *dir, *log_path;
    json_t *image_descriptor; /* NULL: none */
    struct snapshot *snapshot;
    bool tty;
    /* guarded by all->lock */
    char *name; /* without the slash */
    /* guarded by lock */
    struct mutex lock;
    struct cond changed; /* state, attachments, stdin */
    struct state state;
    uint64_t exits;          /* ends so far, for next-exit */
    struct process *process; /* while it runs */
    unsigned process_users;  /* who uses `process` outside the lock */
    struct logfile *log;     /* while it runs */
    struct attachment *attachments;
    uint64_t output_ends;          /* runs whose output has ended */
    int stdin_fd;                  /* write end, or a copy of the terminal; -1 */
    bool stdin_busy, stdin_closed; /* one writer at a time; closed for this run */
    struct port_bindings ports;    /* while it runs */
    int root_fd;                   /* its root without what is mounted on it, while it runs; -1 */
    char *ip, *mac;                /* on the bridge, while it runs */
    char endpoint_id[65], sandbox_id[65];
    struct health health;     /* of this run, or the last one */
    bool stopped_by_user;     /* since its last start */
    bool signalled_by_user;   /* the same, by whatever signal */
    int64_t restarts;         /* by its policy, since a user started it */
    int64_t restart_delay_ns; /* before the last one */
    /* one start, restart or removal at a time */
    struct semaphore operations;
};

struct container *container_ref(struct container *ct);
struct container *container_new(struct containers *c);

/* ---- table.c */
void table_add(struct containers *c, struct container *ct); /* takes a reference of its own */
void table_remove(struct containers *c, struct container *ct);
/* References to all, newest first. */
struct container **table_all(struct containers *c, size_t *ret_count);
void table_all_free(struct container **list, size_t count);
/* Set or change the name; ERR_CONFLICT with dockerd's text. */
struct error *table_name(struct containers *c, struct container *ct, const char *name) MUST_CHECK;
char *container_name(struct container *ct); /* new string */

/* ---- state_file.c */
/* Load what is on disk. */
void table_load(struct containers *c);
struct error *container_discard_files(struct container *ct) MUST_CHECK;
/* Write container.json. Takes ct->lock. `durable`: it survives a power cut. */
struct error *container_save(struct container *ct, bool durable) MUST_CHECK;

/* ---- settings.c: what the configuration means */
struct error *settings_check(const json_t *config, const json_t *host_config,
                             struct strv *warnings) MUST_CHECK;
void settings_adapt(const struct container_defaults *c, json_t *host_config);

struct error *mounts_check(const json_t *host_config) MUST_CHECK; /* mounts.c */

/* ---- launch.c: what a container runs with */
struct launch;
struct error *launch_new(struct container *ct, struct launch **ret) MUST_CHECK;
void launch_free(struct launch *l); /* NULL is fine */
/* Borrowed from the launch; the stdio descriptors are the caller's to set. */
struct run_spec *launch_spec(struct launch *l);
/* The environment that its processes have, as KEY=VALUE; appended. */
void container_env(struct container *ct, bool tty, struct strv *ret);
/* Its root, writable, as a detached mount.  Not while another one exists: ct->operations must be held. */
struct error *container_mount_root(struct container *ct, int *ret_fd) MUST_CHECK;

/* Use the process of a running container; NULL when there is none.  Given back with container_process_put().
 * The container's end waits for that. */
struct process *container_process_get(struct container *ct);
void container_process_put(struct container *ct);

/* ---- inspect.c: what the list shows as well */
const char *container_state_word(const struct state *s); /* "running", "exited" */
int64_t container_image_size(struct container *ct);
const char *container_network_id(const char *mode);
json_t *container_networks_locked(const struct container *ct, int version);

/* ---- exec.c */
void execs_close(struct containers *c);
/* Its first process has ended: the others go too, also where no process namespace ends them. */
void execs_kill(struct container *ct);
json_t *execs_running(struct container *ct); /* ids of those that have not ended; null when there are none */
/* "exec_create: COMMAND" and its like; with a `key` (and its value) the action alone. */
void exec_event(struct container *ct, const char *id, const struct strv *args, const char *action,
                const char *key, const char *value);

/* ---- run.c */
/* Start a container that waits for its restart; nothing when that was called off. */
struct error *container_start_again(struct container *ct) MUST_CHECK;

/* ---- stop.c */
#define MAX_SECONDS ((int64_t)1 << 30) /* more is as good as forever, and fits in ns */
/* SIGKILL, and wait for the end; ERR_CONFLICT when it does not run. */
struct error *container_kill_and_wait(struct container *ct) MUST_CHECK;
/* By its signal and in its time, then by force; not announced as a user's stop. */
struct error *container_stop_quietly(struct container *ct) MUST_CHECK;
/* Seconds: `given`, its own, or the daemon's; negative: forever. */
int64_t container_stop_timeout(const struct container *ct, const int64_t *given);

/* ---- health.c */
bool health_begin(struct container *ct); /* a run begins; false: it has no check */
void health_end(struct container *ct);
/* A task of the run; `container` is a reference, taken. */
struct error *health_task(void *container);
void health_deinit_locked(struct container *ct);
json_t *health_json_locked(const struct container *ct); /* State.Health; only with a status */

/* ---- restart.c */
struct error *restart_policy_check(const json_t *host_config) MUST_CHECK;
/* Does it come back after ending with that code? */
bool restart_is_wanted(struct container *ct, int code);
/* Of a container that is marked as restarting: wait, and start it or mark it as ended. */
void restart_run(struct container *ct);
/* A user signals it.  `final`: to end it, so that no policy brings it back; after any other signal
 * "unless-stopped" does not. */
void restart_signalled(struct container *ct, bool final);

/* ---- ports.c */
/* `any_ip`: the host address of bindings that name none; NULL: all addresses. */
struct error *ports_parse(const json_t *config, const json_t *host_config, const char *any_ip,
                          struct port_bindings *ret) MUST_CHECK;
void ports_deinit(struct port_bindings *p);
/* Bind the host's ports: afterwards host_port is set.  ERR_CONFLICT-like text of dockerd when one is taken.
 */
struct error *ports_bind(struct container *ct, struct port_bindings *p) MUST_CHECK;
/* Firewall rules to the process, and proxies as tasks of `g` (which borrow p). */
struct error *ports_publish(struct port_bindings *p, struct process *process, struct runner *runner,
                            struct group *g) MUST_CHECK;
void ports_unpublish(struct port_bindings *p, struct process *process, struct runner *runner);
json_t *ports_json(const struct port_bindings *p, const json_t *config);    /* NetworkSettings.Ports */
json_t *ports_summary(const struct port_bindings *p, const json_t *config); /* of /containers/json */

/* ---- output.c */
/* Read the container's output until it ends: to the log and to who is attached. */
struct output {
    struct container *container;
    struct logfile *log; /* NULL: none */
    int fd;              /* taken */
    enum log_stream stream;
};
struct error *output_pump(void *output);
void output_close(struct container *ct); /* no more output of this run: attached clients come to their end */

#endif
