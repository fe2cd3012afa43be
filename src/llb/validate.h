/* SPDX-License-Identifier: Apache-2.0 */
/* validate.h - is one op well-formed, are its indices in range, are its capabilities known; private to the
 * room */
#ifndef MINKE_LLB_VALIDATE_H
#define MINKE_LLB_VALIDATE_H

#include "llb/llb.h"

/* Everything that llb.h promises about a vertex's op; `meta` is what is said of it.  Errors: ERR_INVALID;
 * ERR_UNKNOWN for capabilities. */
struct error *op_validate(const Pb__Op *op, const struct llb_meta *meta) MUST_CHECK;

#endif
