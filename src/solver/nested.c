/* SPDX-License-Identifier: Apache-2.0 */
/* nested.c - definitions that a step solves, in the build that it belongs to */
#include "base/limits.h"
#include "solver/node.h"

/* The build of a node that nests, which no other has; it waits for what is at work before it ends. */
static struct error *enter(struct node *n, struct job **ret)
{
    struct solver *s = n->solver;
    struct error *e = NULL;

    mutex_lock(&s->lock);
    if (n->jobs.len == 0) {
        e = err_new(ERR_CANCELLED, "the build is over");
    } else {
        *ret = n->jobs.v[0];
        if (++(*ret)->nested > LIMIT_BUILD_SOLVES)
            e = err_new(ERR_INVALID, "more than %d nested definitions in one build", LIMIT_BUILD_SOLVES);
        slots_leave_locked(n); /* it only waits from now on, for steps that may need its slot */
        slots_start_locked(s);
    }
    mutex_unlock(&s->lock);
    return e;
}

static struct error *nested_ref(const struct node *n, struct job *j, struct llb_def *def, struct ref **ret)
{
    CLEANUP(llb_def_unrefp) struct llb_def *allowed = NULL;

    *ret = NULL;
    if (llb_def_is_scratch(def))
        return NULL;
    if (j->allow != NULL)
        TRY(j->allow(j->allow_ctx, def, &allowed));
    else
        allowed = llb_def_ref(def);
    TRY(job_ref(j, allowed, ret));
    allowed = NULL; /* taken */
    (*ret)->parent = n;
    return NULL;
}

struct error *op_solve(struct op_context *c, struct llb_def *def, struct snapshot **ret)
{
    struct node *n = c->node;
    struct job *j = NULL;
    struct ref *r;

    assert(n->impl->nests);
    *ret = NULL;
    if (n->depth >= LIMIT_BUILD_DEPTH)
        return err_new(ERR_INVALID, "definitions are nested more than %d deep", LIMIT_BUILD_DEPTH);
    TRY(enter(n, &j));
    TRY(nested_ref(n, j, def, &r));
    return r == NULL ? NULL : ref_result(r, ret);
}
