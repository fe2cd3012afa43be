/* SPDX-License-Identifier: Apache-2.0 */
/*
 * impl.h - the ops' implementations and what they share; for this room only
 */
#ifndef MINKE_OP_IMPL_H
#define MINKE_OP_IMPL_H

#include "op/op.h"

extern const struct op_impl build_op, exec_op, file_op, merge_op, diff_op, passthrough_op;
extern const struct op_impl image_source, layout_source, local_source;

/* The snapshot as a list of layers: a synced tree is copied into one (once a solver run), anything else is
 * itself. *ret is a new reference; NULL stays NULL. */
struct error *op_settle(struct op_context *c, struct snapshot *s, struct snapshot **ret) MUST_CHECK;
/* A writable child of `base` (a tree is settled first). */
struct error *op_begin(struct op_context *c, struct snapshot *base, struct active **ret) MUST_CHECK;
/* A read-only root; an empty directory for scratch. */
struct error *op_mount_ro(struct op_context *c, struct snapshot *s, int *ret_fd) MUST_CHECK;

#endif
