/* SPDX-License-Identifier: Apache-2.0 */
/* exec_key.h - the key of an exec op; for this room only */
#ifndef MINKE_OP_EXEC_KEY_H
#define MINKE_OP_EXEC_KEY_H

#include "solver/solver.h"

/* Equal texts mean equal steps, whatever a client puts into names and ids. */
struct error *exec_key_text(const struct llb_vertex *v, struct buf *out) MUST_CHECK;
/* What is only read counts by its content, where the step cannot pass on more than it selected. */
struct error *exec_key_input(const struct llb_vertex *v, size_t input, struct op_input_key *ret) MUST_CHECK;

#endif
