/* SPDX-License-Identifier: Apache-2.0 */
/* file_impl.h - the inside of the file op: file.c runs it, file_action.c does one action, file_key.c says
 * what it reads */
#ifndef MINKE_OP_FILE_IMPL_H
#define MINKE_OP_FILE_IMPL_H

#include "op/impl.h"

struct slot {
    struct snapshot *snapshot; /* a reference; NULL with `live` NULL: scratch */
    struct active *live;       /* not committed */
    int ro_fd;                 /* -1: not mounted */
    unsigned uses;             /* by later actions */
};

struct file_run {
    struct op_context *c;
    struct slot *slots;
    size_t count;
    size_t action; /* that is at work */
};

/* The root of slot `i` to read in, committed when it was not; borrowed. */
struct error *file_slot_ro(struct file_run *f, int64_t i, int *ret_fd) MUST_CHECK;

/* One action on the root that `live` is. */
struct error *file_action_run(struct file_run *f, struct active *live, const Pb__FileAction *a) MUST_CHECK;
const Pb__NamedUserOpt *file_named_user(const Pb__UserOpt *u); /* NULL: by number, or none */

struct error *file_key_text(const struct llb_vertex *v, struct buf *out) MUST_CHECK;
/* An input that an action works on counts by its id; one that is only read, by what is read of it. */
struct error *file_key_input(const struct llb_vertex *v, size_t input, struct op_input_key *ret) MUST_CHECK;

#endif
