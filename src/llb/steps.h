/* SPDX-License-Identifier: Apache-2.0 */
/* steps.h - a definition as provenance shows it: its ops as numbered steps, and where they came from */
#ifndef MINKE_LLB_STEPS_H
#define MINKE_LLB_STEPS_H

#include "llb/llb.h"

#include <jansson.h>

/* The steps of a definition, inputs first, the terminal op last: [{id, op, inputs}].  `names`: string map,
 * digest -> "step3", sorted. An empty definition gives NULL and no names.  Errors: ERR_INVALID. */
struct error *llb_def_steps(const struct llb_def *def, json_t **ret, struct map *names) MUST_CHECK;
/* pb.Locations of an op. */
json_t *llb_locations_json(const struct llb_locations *l);

#endif
