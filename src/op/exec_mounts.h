/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec_mounts.h - the mounts of a process, from LLB to what the runner takes: for exec ops, and for the
 * containers that a build's client or frontend asks for
 */
#ifndef MINKE_OP_EXEC_MOUNTS_H
#define MINKE_OP_EXEC_MOUNTS_H

#include "run/run.h"
#include "snapshot/snapshot.h"
#include "solver/solver.h"

/* A writable root that belongs to a mount. */
struct exec_active {
    struct active *active;
    size_t mount;   /* index in the op */
    int64_t output; /* -1: dropped when the step ends */
};

/* Whose mounts.  Borrowed until exec_mounts_end. */
struct exec_mounts_spec {
    struct op_context *context; /* store and sessions count; its vertex may be NULL */
    Pb__Mount *const *mounts;
    size_t mount_count;
    const char *cwd;   /* for targets that are not absolute */
    const char *owner; /* "exec /bin/sh -c make", for the ledger */
};

struct exec_mounts {
    struct exec_mounts_spec spec;
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
    int *mount_fds; /* as spec.mounts: its directory or file, borrowed; -1: none that can be looked into */
};

/* Make ready what the mounts need, each on inputs[mount->input]; on failure nothing is left. */
struct error *exec_mounts_begin(const struct exec_mounts_spec *s, struct snapshot **inputs,
                                size_t output_count, struct exec_mounts *ret) MUST_CHECK;
/* The step went well: its writable roots become results. */
struct error *exec_mounts_commit(struct exec_mounts *m, struct snapshot **outputs) MUST_CHECK;
/* The step failed: what its mounts hold now, as spec.mounts, for who looks into the failure.  Entries that
 * have nothing to show stay NULL. */
void exec_mounts_freeze(struct exec_mounts *m, struct snapshot **inputs, struct snapshot **ret);
void exec_mounts_end(struct exec_mounts *m); /* also after a failure */

#endif
