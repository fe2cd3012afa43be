/* SPDX-License-Identifier: Apache-2.0 */
/*
 * held.h - results that somebody in this process holds, as sources of a definition
 *
 * Who goes on from a result that no definition made here (an image's layers, an unpacked build context) holds
 * it and builds upon "held://<random id>".  The address is good until held_close() and known to its holder
 * alone.
 */
#ifndef MINKE_OP_HELD_H
#define MINKE_OP_HELD_H

#include "llb/state.h"
#include "solver/solver.h"

struct held;
struct held *held_open(struct snapshot *s); /* takes a reference */
void held_close(struct held *h);            /* NULL is fine */
/* Its state: scratch when nothing or the empty snapshot is held. */
struct llb_state held_state(const struct held *h, struct llb_builder *b);

extern const struct op_impl held_source;

#endif
