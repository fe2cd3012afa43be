/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h - long-lived containers: create, start, attach, logs, stop, kill, wait, rename, remove, list,
 * inspect
 *
 * Each container has a directory ROOT/<id>: container.json (config and state, written atomically), its log,
 * its writable directory.  The state machine is one monitor a container; a task of the room's group watches
 * every running one.  Containers end with the daemon; one that a killed daemon left running is ended by the
 * next one and found exited.
 *
 * Thread-safe.  A struct container is shared (ref) and stays valid after its removal.
 */
#ifndef MINKE_CONTAINER_CONTAINER_H
#define MINKE_CONTAINER_CONTAINER_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"
#include "container/logfile.h"
#include "io/stream.h"
#include "run/run.h"
#include "snapshot/snapshot.h"

#include <jansson.h>

struct containers;
struct container;

/* What a container is made from; filled in by the hook, released with container_image_deinit. */
struct container_image {
    char *id;                  /* digest of the image (manifest or index), shown as Image */
    char *os;                  /* "linux" */
    json_t *config;            /* the "config" object of its config document; may be NULL */
    json_t *descriptor;        /* of the platform's manifest, for inspect; may be NULL */
    struct snapshot *snapshot; /* its layers */
    char *warning;             /* for the client; NULL: none */
};
void container_image_deinit(struct container_image *i);

/* What containers get that do not say. */
struct container_defaults {
    const struct map *log_options; /* string map, may be NULL */
    const char *log_driver;        /* NULL: json-file */
    int stop_timeout;              /* seconds; negative: 10 */
    int64_t shutdown_timeout;      /* seconds that containers_close may take, at the least; negative: any */
    int64_t shm_size;              /* bytes; 0: 64 MiB */
    const struct strv *ulimits;    /* "nofile=1024:2048" or "nofile=1024", may be NULL */
    const char *publish_ip;        /* host address of published ports; NULL: any */
    bool init;                     /* --init for all */
    bool no_new_privileges, no_seccomp;
};

struct containers_config {
    const char *root; /* DATA_ROOT/containers; made when missing */
    struct runner *runner;
    struct store *store;
    /* Find an image by what the user wrote. ERR_NOT_FOUND "No such image: x". `platform` may be NULL. */
    struct error *(*find_image)(void *ctx, const char *name, const char *platform,
                                struct container_image *ret);
    /* Does `name` still stand for the image with that id?  For `docker ps`; may be NULL. */
    bool (*image_is)(void *ctx, const char *name, const char *id);
    /* Something happened to a container: "start", "die" .. `attributes`: string map. */
    void (*event)(void *ctx, const char *action, const char *id, const struct map *attributes);
    void *ctx;
    /* The owner may put another one in its place at any time; each one lives until containers_close. */
    const struct container_defaults *_Atomic defaults;
};

/* Loads what is on disk. Borrows `config` for its life. */
struct error *containers_open(const struct containers_config *config, struct containers **ret) MUST_CHECK;
/* Stops what runs (by signal, then by force) and joins all tasks.  Each container has the time that it stops
 * in. NULL is fine. */
void containers_close(struct containers *c);

/* Start those that their restart policy wants to run; after the room is opened, in a task that may wait. */
void containers_start_wanted(struct containers *c);

/* ---- one container
 * ------------------------------------------------------------------------------------------------------------
 */

struct container_request {
    const char *name;          /* NULL or "": one is made up */
    const json_t *config;      /* may be NULL: refused with dockerd's text */
    const json_t *host_config; /* may be NULL */
    const json_t *networking;  /* NetworkingConfig, may be NULL */
    const char *platform;      /* NULL: the host's */
    int version;               /* minor API version */
};
/* *ret: {"Id":..,"Warnings":[..]}.  What later issues bring is ERR_UNIMPLEMENTED with a message that names
 * it. */
struct error *container_create(struct containers *c, const struct container_request *r,
                               json_t **ret) MUST_CHECK;

/* The limits and the additional hosts of a HostConfig: are they possible here?  ERR_INVALID. */
struct error *container_check_limits(const json_t *host_config) MUST_CHECK;

/* The network of a running container, for another process; *ret is to be released.  Errors with dockerd's
 * texts: it is none ("joining network namespace of container: .."), or does not run (ERR_CONFLICT). */
struct error *container_join_network(struct containers *c, const char *what,
                                     struct run_joined_network *ret) MUST_CHECK;

/* By full id, name, or unambiguous id prefix. ERR_NOT_FOUND "No such container: x". *ret is a reference. */
struct error *container_find(struct containers *c, const char *what, struct container **ret) MUST_CHECK;
void container_unref(struct container *ct); /* NULL is fine */
void container_unrefp(struct container **ct);
const char *container_id(const struct container *ct);
bool container_has_tty(const struct container *ct);
bool container_is_running(struct container *ct); /* also paused, or waiting for its restart */
bool container_is_paused(struct container *ct);
bool container_is_restarting(struct container *ct);
bool container_is_removed(struct container *ct);
/* Publish an event with the usual attributes and these: key, value, .., NULL. */
void container_event(struct container *ct, const char *action, ...) __attribute__((sentinel));

/* What a container was made from; borrowed, immutable. */
struct container_parts {
    const json_t *config;           /* its own, merged with the image's */
    const json_t *image_descriptor; /* of the platform's manifest; NULL: not known */
    const char *image_id;
    struct snapshot *snapshot;
};
/* ERR_CONFLICT for one that is dead or about to go. */
struct error *container_get_parts(struct container *ct, struct container_parts *ret) MUST_CHECK;

/* ERR_NOT_MODIFIED when it runs already. Returns when its process runs. */
struct error *container_start(struct container *ct) MUST_CHECK;
/* signal: NULL or "": its stop signal; timeout_s NULL: its own.  ERR_NOT_MODIFIED when it does not run.  Not
 * cut short by cancellation. */
struct error *container_stop(struct container *ct, const char *signal, const int64_t *timeout_s) MUST_CHECK;
struct error *container_restart(struct container *ct, const char *signal,
                                const int64_t *timeout_s) MUST_CHECK;
/* signal NULL or "": SIGKILL, and waits for the end. ERR_CONFLICT when it does not run. */
struct error *container_kill(struct container *ct, const char *signal) MUST_CHECK;
struct error *container_rename(struct container *ct, const char *name) MUST_CHECK;
/* `shown`: how the user calls it. */
struct error *container_remove(struct container *ct, const char *shown, bool force) MUST_CHECK;
struct error *container_resize(struct container *ct, unsigned width, unsigned height) MUST_CHECK;

enum wait_condition { WAIT_NOT_RUNNING, WAIT_NEXT_EXIT, WAIT_REMOVED };
/* Begin to wait: what happens from here on counts, so that a client can be told "200" before container_wait
 * sleeps. */
struct container_waiter {
    struct container *container; /* a reference */
    enum wait_condition condition;
    uint64_t exits;
};
void container_wait_begin(struct container *ct, enum wait_condition condition, struct container_waiter *ret);
/* A wait point. *ret_error (malloc'd, NULL when none): why it could not be started or removed. Releases the
 * waiter. */
struct error *container_wait_end(struct container_waiter *w, int *ret_code, char **ret_error) MUST_CHECK;

struct attach_options {
    bool want_stdin, want_stdout, want_stderr;
    bool logs;               /* first what was written before */
    bool stream;             /* then what comes, to the end */
    bool multiplexed;        /* frames with the 8-byte header (never with a terminal) */
    const char *detach_keys; /* NULL or "": ctrl-p,ctrl-q */
};
/* Check what can be checked before the connection is taken. */
struct error *container_attach_check(struct container *ct, const struct attach_options *o) MUST_CHECK;
/* Serve an attached client until the container or the client ends; `conn` is borrowed. */
struct error *container_attach(struct container *ct, const struct attach_options *o,
                               struct stream *conn) MUST_CHECK;

/* ERR_UNIMPLEMENTED-like "configured logging driver does not support reading" for log driver none. */
struct error *container_logs_check(struct container *ct) MUST_CHECK;
struct error *container_logs(struct container *ct, const struct log_read *o, log_fn fn, void *ctx) MUST_CHECK;

/* ---- many
 * ---------------------------------------------------------------------------------------------------------------------
 */

/* JSON in the shape of API 1.<version>; *ret is a new reference. */
struct error *container_inspect(struct container *ct, bool size, int version, json_t **ret) MUST_CHECK;

struct container_filters { /* each may be NULL */
    const struct strv *id, *name, *label, *status, *exited, *ancestor, *before, *since, *network, *publish,
        *expose, *volume, *health, *is_task, *isolation;
};
struct error *containers_list(struct containers *c, bool all, bool size, int64_t limit,
                              const struct container_filters *f, int version, json_t **ret) MUST_CHECK;
/* {"ContainersDeleted":[..],"SpaceReclaimed":n} */
struct error *containers_prune(struct containers *c, const struct strv *label, const struct strv *label_not,
                               int64_t until_ns, json_t **ret) MUST_CHECK;
void containers_count(struct containers *c, int *ret_running, int *ret_paused, int *ret_stopped);
/* Ids of containers of that image, appended; *ret_running: one of them runs (may be NULL). */
void containers_of_image(struct containers *c, const char *image_id, struct strv *out, bool *ret_running);

/* Bytes that its writable directory holds. */
int64_t container_size(struct container *ct);
/* "Up 3 minutes", "Exited (0) 2 seconds ago" */
char *container_status_text(struct container *ct);

#endif
