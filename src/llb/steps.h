/* SPDX-License-Identifier: Apache-2.0 */
/* steps.h - a definition as provenance shows it: its ops as numbered steps, and where they came from */
#ifndef MINKE_LLB_STEPS_H
#define MINKE_LLB_STEPS_H

#include "llb/json.h"

/* The steps of a definition: the ops that its terminal op needs, numbered from 0, inputs first, the terminal
 * op last. */
struct llb_steps;
/* `def` is borrowed and not scratch.  Errors: ERR_INVALID. */
struct error *llb_steps_open(const struct llb_def *def, struct llb_steps **ret) MUST_CHECK;
void llb_steps_freep(struct llb_steps **s);
/* [{id, op, inputs}] in LLB_JSON_GO or LLB_JSON_GO_MAP.  Errors: ERR_INVALID. */
struct error *llb_steps_write(const struct llb_steps *s, enum llb_json_style style,
                              struct go_writer *out) MUST_CHECK;
/* {digest: "step3"}, by digest. */
void llb_steps_write_names(const struct llb_steps *s, struct go_writer *out);
/* The number of an op's step; false: it is none. */
bool llb_steps_find(const struct llb_steps *s, const char *digest, size_t *ret);
/* pb.Locations of an op, as LLB_JSON_GO. */
void llb_locations_write_json(const struct llb_locations *l, struct go_writer *out);

#endif
