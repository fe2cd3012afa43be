/* SPDX-License-Identifier: Apache-2.0 */
/*
 * runtime.h - an OCI runtime, by its command line
 *
 * crun 1.8 refuses a host with v1 controllers beside a v2 tree (hybrid); in a mount namespace where the v2
 * tree is hidden it takes the host for a v1 one and works, device rules and all.  runc takes hybrid hosts as
 * they are.
 */
#ifndef MINKE_RUN_RUNTIME_H
#define MINKE_RUN_RUNTIME_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"
#include "io/spawn.h"
#include "run/bundle.h"

struct runtime {
    char *name, *path;
    struct strv args;
    int image_fd;     /* a sealed copy of the program in memory; -1: not made yet */
    char *image_path; /* how a child names it; NULL: not made */
    char *state_dir;  /* its --root */
    bool is_crun;
    bool hide_unified_cgroup;
    bool filters_devices; /* shown by the probe */
    bool works;
    char *failure; /* what the probe said, when it does not */
};

enum cgroup_layout { CGROUP_V1, CGROUP_HYBRID, CGROUP_V2 };
enum cgroup_layout cgroup_layout(void); /* of this host, looked up once */

/* `state_root`: each runtime has a directory of its own below. */
void runtime_init(struct runtime *rt, const char *name, const char *path, const struct strv *args,
                  const char *state_root);
void runtime_deinit(struct runtime *rt);

/* Copy the program into sealed memory.  A container that gets hold of it cannot change it (CVE-2019-5736),
 * and runtimes that make such a copy of themselves at every start see that they need not.  A program that is
 * replaced on disk serves after a restart. */
struct error *runtime_load(struct runtime *rt) MUST_CHECK;

struct runtime_io {
    int fds[3]; /* stdin, stdout, stderr; -1: /dev/null */
};
/* Start `runtime run` on the bundle in the foreground: it ends with the container and gives its exit code. */
struct error *runtime_start(const struct runtime *rt, struct bundle *b, const char *id,
                            const struct runtime_io *io, struct child *ret) MUST_CHECK;
/* `runtime create`: returns when the container waits for its start.  The pid of its first process is in the
 * bundle's "pid". `console_socket`: path of a listening socket that receives the terminal; NULL: none. */
struct error *runtime_create(const struct runtime *rt, struct bundle *b, const char *id,
                             const struct runtime_io *io, const char *console_socket) MUST_CHECK;
/* `runtime exec` of the process that the bundle's "process.json" describes, beside those of container `id`;
 * the rest as runtime_create().  The bundle is not the container's own. */
struct error *runtime_exec(const struct runtime *rt, struct bundle *b, const char *id,
                           const struct runtime_io *io, const char *console_socket) MUST_CHECK;
/* A command about an existing container: "start", "delete", .. with an optional flag before the id
 * ("--force"). */
struct error *runtime_command(const struct runtime *rt, const char *command, const char *flag,
                              const char *id) MUST_CHECK;
/* Kill the container of a runtime_start() child (which may have ended) and wait for both; never leaves a
 * process.  Shielded. */
void runtime_kill(const struct runtime *rt, struct child *c, const char *id);
/* Remove what earlier daemons left in the state directory, running containers too. */
void runtime_clean_state(const struct runtime *rt);
/* Does the runtime know a container of that id? */
bool runtime_has_state(const struct runtime *rt, const char *id);
/* What the runtime wrote to its log in the bundle; "" when nothing went wrong. Owned by the caller. */
char *runtime_log_error(struct bundle *b);

#endif
