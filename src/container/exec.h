/* SPDX-License-Identifier: Apache-2.0 */
/* exec.h - docker exec: further processes of a running container */
#ifndef MINKE_CONTAINER_EXEC_H
#define MINKE_CONTAINER_EXEC_H

#include "container/container.h"

struct exec;                     /* shared (ref) */
void exec_unref(struct exec *x); /* NULL is fine */
void exec_unrefp(struct exec **x);

/* `config`: the body of the request (Cmd, Env, User, AttachStdin ..); `version`: minor API version.  *ret_id
 * is malloc'd.  ERR_CONFLICT when the container does not run. */
struct error *exec_create(struct container *ct, const json_t *config, int version, char **ret_id) MUST_CHECK;
/* ERR_NOT_FOUND "No such exec instance: x". */
struct error *exec_find(struct containers *c, const char *id, struct exec **ret) MUST_CHECK;
bool exec_has_tty(const struct exec *x);

struct exec_start_options {
    struct stream *conn;    /* borrowed; NULL: detached */
    unsigned width, height; /* of the terminal; 0: as created */
    bool raw;               /* output as it comes, not in frames */
};
/* What can be refused before the connection is taken. */
struct error *exec_start_check(struct exec *x) MUST_CHECK;
/* Start it once.  With a connection: serve it until the process or the client ends; a process that cannot be
 * started is told to the client, and is no error here. */
struct error *exec_start(struct exec *x, const struct exec_start_options *o) MUST_CHECK;
struct error *exec_resize(struct exec *x, unsigned width, unsigned height) MUST_CHECK;
json_t *exec_inspect(struct exec *x); /* new reference */

#endif
