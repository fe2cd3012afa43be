/* SPDX-License-Identifier: Apache-2.0 */
/*
 * build_container.h - a container that a build's client or frontend asked for: mounts, then any number of
 * processes
 *
 * The first process makes the container and takes all others with it when it ends; nothing runs before it,
 * and nothing begins after it.  Thread-safe.
 */
#ifndef MINKE_BUILDKIT_BUILD_CONTAINER_H
#define MINKE_BUILDKIT_BUILD_CONTAINER_H

#include "buildkit/builder.h"
#include "run/process.h"

struct build;
struct build_container;

/* Its mounts are made ready.  Each takes its input from the result or ref whose id it names; a failed solve
 * of it fails the call.  `q` lies in `arena`, which is taken.  Errors: ERR_INVALID with BuildKit's texts. */
struct error *build_container_new(struct build *u, struct pb_arena *arena, const Gw__NewContainerRequest *q,
                                  struct build_container **ret) MUST_CHECK;
/* Refuse new processes and kill those that run. Does not wait. */
void build_container_stop(struct build_container *c);
/* Stops, waits for its processes, releases its mounts. Shielded. NULL is fine.  Did a process have to be
 * killed? */
bool build_container_free(struct build_container *c);
/* One call uses it. build_container_free waits for all. */
void build_container_hold(struct build_container *c);
void build_container_drop(struct build_container *c);
/* The directory of mount `index` of the request, borrowed. */
struct error *build_container_mount_fd(const struct build_container *c, int32_t index,
                                       int *ret_fd) MUST_CHECK;

/* What runs in it. */
struct build_container_process {
    const Gw__InitMessage *init;
    int fds[3]; /* borrowed; -1: /dev/null; ignored with a terminal */
    /* Its client may be told that it has started: called once.  Before the runtime is asked, for all but the
     * first: BuildKit's Go client can hang when output comes first. */
    struct error *(*announce)(void *ctx);
    /* It runs.  An error kills it. */
    struct error *(*started)(void *ctx, struct process *p);
    /* It has ended and is about to be freed; not called when it never ran. */
    void (*ended)(void *ctx);
    void *ctx;
};
/* Run one process to its end.  *ret_code: its exit code.  A process that cannot be started gives the error
 * that its client should see. */
struct error *build_container_run(struct build_container *c, const struct build_container_process *p,
                                  int *ret_code) MUST_CHECK;

#endif
