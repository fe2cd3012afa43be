/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_mounts.h - the mounts of an exec op, from LLB to what the runner takes; for this room only
 */
#ifndef MINKE_OP_EXEC_MOUNTS_H
#define MINKE_OP_EXEC_MOUNTS_H

#include "op/impl.h"

/* A writable root that belongs to a mount. */
struct exec_active {
    struct active *active;
    size_t mount;   /* index in the op */
    int64_t output; /* -1: dropped when the step ends */
};

struct exec_mounts {
    int root_fd; /* borrowed from its active */
    bool root_readonly;
    struct run_mount *mounts; /* sorted: parents first */
    size_t mount_count;
    struct run_secret_file *secrets;
    size_t secret_count;
    struct run_socket *sockets;
    size_t socket_count;

    struct exec_active *actives;
    size_t active_count;
    struct snapshot **kept; /* as the outputs: results that are an input unchanged; references */
    size_t output_count;
    struct ptrv caches, texts, data,
        ssh; /* struct cache_mount, char *, struct buf, struct ssh_mount: released at the end */
    int *fds;
    size_t fd_count;
};

/* Make ready what the mounts need; on failure nothing is left. */
struct error *exec_mounts_begin(struct op_context *c, struct snapshot **inputs, size_t output_count,
                                struct exec_mounts *ret) MUST_CHECK;
/* The step went well: its writable roots become results. */
struct error *exec_mounts_commit(struct op_context *c, struct exec_mounts *m,
                                 struct snapshot **outputs) MUST_CHECK;
void exec_mounts_end(struct exec_mounts *m); /* also after a failure */

#endif
