/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - source policies: rules that allow, deny or convert the sources of a definition
 *
 * BuildKit's rules (its package sourcepolicy).  The rules of a policy are gone through in order: the last one
 * that allows or denies decides; one that converts changes the source and begins the evaluation anew, at most
 * LIMIT_POLICY_MUTATIONS times.  A selector names sources exactly, with "*" (what each took is ${1}, ${2} ..
 * of the update) or by a regular expression; an identifier that is equal always matches; constraints on
 * attributes must all hold.
 */
#ifndef MINKE_LLB_POLICY_H
#define MINKE_LLB_POLICY_H

#include "llb/llb.h"

/* Is it whole?  ERR_INVALID "invalid nil selector in policy". */
struct error *policy_check(const Pol__Policy *p) MUST_CHECK;
/* The JSON form that buildctl --source-policy-file and buildx read, with memory of `a`.  ERR_INVALID for keys
 * and words that it does not know ("rule 2: selector: unknown key "x""), and as policy_check. */
struct error *policy_from_json(const void *data, size_t len, struct pb_arena *a,
                               Pol__Policy **ret) MUST_CHECK;
/* `op` changes in place, with memory of `a`.  Errors: ERR_UNKNOWN `source "X" denied by policy: ...`, and for
 * rules that cannot be applied. */
struct error *policy_evaluate(const Pol__Policy *const *policies, size_t count, struct pb_arena *a,
                              Pb__SourceOp *op, bool *ret_changed) MUST_CHECK;

/* Called for each source op and each exec op of a definition; may change it with memory of `a`. */
typedef struct error *(*llb_convert_fn)(void *ctx, struct pb_arena *a, Pb__Op *op, bool *ret_changed);
/* `parallel`: call fn for several at once, each in a task.  The definition with its ops as `fn` leaves
 * them, all digests anew and what was said about ops moved
 * along; a reference to `def` itself when nothing changes.  Ops that the result does not need are dropped
 * when something changes. */
struct error *llb_def_convert(struct llb_def *def, llb_convert_fn fn, void *ctx, bool parallel,
                              struct llb_def **ret) MUST_CHECK;

#endif
