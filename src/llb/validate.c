/* SPDX-License-Identifier: Apache-2.0 */
#include "llb/validate.h"

#include "base/limits.h"

static struct error *check_mount(const Pb__Mount *m, size_t input_count)
{
    if (m->input < -1 || m->input >= (int64_t)input_count)
        return err_new(ERR_INVALID, "invalid mount input index %lld for %s, %zu provided",
                       (long long)m->input, m->dest, input_count);
    if (m->output < -1)
        return err_new(ERR_INVALID, "invalid mount output index %lld for %s", (long long)m->output, m->dest);
    if (m->mount_type > PB__MOUNT_TYPE__TMPFS)
        return err_new(ERR_INVALID, "invalid mount type %d for %s", (int)m->mount_type, m->dest);
    return NULL;
}

static struct error *check_exec(const Pb__Op *op)
{
    const Pb__ExecOp *x = op->exec;
    bool root = false;

    if (x == NULL)
        return err_new(ERR_INVALID, "invalid nil exec op");
    if (x->meta == NULL)
        return err_new(ERR_INVALID, "invalid exec op with no meta");
    if (x->meta->n_args == 0)
        return err_new(ERR_INVALID, "invalid exec op with no args");
    if (x->n_mounts == 0)
        return err_new(ERR_INVALID, "invalid exec op with no mounts");
    if (x->n_mounts > LIMIT_EXEC_MOUNTS)
        return err_new(ERR_INVALID, "invalid exec op with %zu mounts, at most %d are allowed", x->n_mounts,
                       LIMIT_EXEC_MOUNTS);
    /* What is no known mode must not pass for a harmless one. */
    if (x->security > PB__SECURITY_MODE__INSECURE)
        return err_new(ERR_INVALID, "invalid security mode %d", (int)x->security);
    if (x->network > PB__NET_MODE__NONE)
        return err_new(ERR_INVALID, "unknown network mode %d", (int)x->network);
    for (size_t i = 0; i < x->n_mounts; i++) {
        TRY(check_mount(x->mounts[i], op->n_inputs));
        root |= streq(x->mounts[i]->dest, "/");
    }
    return root ? NULL : err_new(ERR_INVALID, "invalid exec op with no rootfs");
}

static struct error *check_owner_part(const Pb__UserOpt *u, size_t limit)
{
    if (u == NULL || u->user_case != PB__USER_OPT__USER_BY_NAME)
        return NULL;
    if (u->by_name == NULL)
        return err_new(ERR_INVALID, "invalid nil named user");
    /* -1, a base of scratch, is an error of the step, not of the definition. */
    if (u->by_name->input < -1 || u->by_name->input >= (int64_t)limit)
        return err_new(ERR_INVALID, "invalid user index: %lld", (long long)u->by_name->input);
    return NULL;
}

const Pb__ChownOpt *llb_action_owner(const Pb__FileAction *a)
{
    switch (a->action_case) {
    case PB__FILE_ACTION__ACTION_COPY:
        return a->copy->owner;
    case PB__FILE_ACTION__ACTION_MKDIR:
        return a->mkdir->owner;
    case PB__FILE_ACTION__ACTION_MKFILE:
        return a->mkfile->owner;
    case PB__FILE_ACTION__ACTION_SYMLINK:
        return a->symlink->owner;
    default:
        return NULL;
    }
}

/* `limit`: the inputs and the actions before this one. */
static struct error *check_action(const Pb__FileAction *a, size_t limit)
{
    const Pb__ChownOpt *owner;

    /* The union's pointers share one place: a case without its message is as good as none. */
    if (a->action_case == PB__FILE_ACTION__ACTION__NOT_SET || a->copy == NULL)
        return err_new(ERR_INVALID, "invalid file action without an action");
    if (a->input < -1 || a->input >= (int64_t)limit)
        return err_new(ERR_INVALID, "invalid input index %lld, %zu provided", (long long)a->input, limit);
    if (a->secondary_input < -1 || a->secondary_input >= (int64_t)limit)
        return err_new(ERR_INVALID, "invalid secondary input index %lld, %zu provided",
                       (long long)a->secondary_input, limit);
    if (a->output < -1)
        return err_new(ERR_INVALID, "invalid output index %lld", (long long)a->output);
    owner = llb_action_owner(a);
    if (owner != NULL) {
        TRY(check_owner_part(owner->user, limit));
        TRY(check_owner_part(owner->group, limit));
    }
    return NULL;
}

static struct error *check_file(const Pb__Op *op)
{
    if (op->file == NULL)
        return err_new(ERR_INVALID, "invalid nil file op");
    if (op->file->n_actions == 0)
        return err_new(ERR_INVALID, "invalid file op with no actions");
    if (op->file->n_actions > LIMIT_FILE_ACTIONS)
        return err_new(ERR_INVALID, "invalid file op with %zu actions, at most %d are allowed",
                       op->file->n_actions, LIMIT_FILE_ACTIONS);
    for (size_t i = 0; i < op->file->n_actions; i++)
        TRY(check_action(op->file->actions[i], op->n_inputs + i));
    return NULL;
}

static struct error *check_merge(const Pb__Op *op)
{
    if (op->merge == NULL)
        return err_new(ERR_INVALID, "invalid nil merge op");
    if (op->merge->n_inputs != op->n_inputs)
        return err_new(ERR_INVALID, "invalid merge op with %zu inner inputs and %zu outer inputs",
                       op->merge->n_inputs, op->n_inputs);
    for (size_t i = 0; i < op->merge->n_inputs; i++) {
        int64_t input = op->merge->inputs[i]->input;

        if (input < 0 || input >= (int64_t)op->n_inputs)
            return err_new(ERR_INVALID, "invalid input index %lld for merge op with %zu inputs",
                           (long long)input, op->n_inputs);
    }
    return NULL;
}

static struct error *check_diff(const Pb__Op *op)
{
    size_t inner;

    if (op->diff == NULL)
        return err_new(ERR_INVALID, "invalid nil diff op");
    if (op->diff->lower == NULL || op->diff->upper == NULL)
        return err_new(ERR_INVALID, "invalid diff op with nil lower or upper input");
    inner = (size_t)(op->diff->lower->input != -1) + (size_t)(op->diff->upper->input != -1);
    if (inner != op->n_inputs)
        return err_new(ERR_INVALID, "invalid diff op with %zu inner inputs and %zu outer inputs", inner,
                       op->n_inputs);
    for (int side = 0; side < 2; side++) {
        int64_t input = side == 0 ? op->diff->lower->input : op->diff->upper->input;

        if (input < -1 || input >= (int64_t)op->n_inputs)
            return err_new(ERR_INVALID, "invalid diff input index %lld", (long long)input);
    }
    return NULL;
}

static struct error *check_build(const Pb__Op *op)
{
    if (op->build == NULL)
        return err_new(ERR_INVALID, "invalid nil build op");
    if (op->build->builder != -1 && (op->build->builder < 0 || op->build->builder >= (int64_t)op->n_inputs))
        return err_new(ERR_INVALID, "invalid builder index %lld", (long long)op->build->builder);
    for (size_t i = 0; i < op->build->n_inputs; i++) {
        const Pb__BuildInput *input = op->build->inputs[i]->value;

        if (input == NULL || input->input < 0 || input->input >= (int64_t)op->n_inputs)
            return err_new(ERR_INVALID, "invalid index %lld", input != NULL ? (long long)input->input : -1);
    }
    return NULL;
}

static struct error *check_passthrough(const Pb__Op *op)
{
    const Pb__PassthroughOp *p = op->passthrough;

    if (p == NULL)
        return err_new(ERR_INVALID, "invalid nil passthrough op");
    if (*p->id == '\0')
        return err_new(ERR_INVALID, "invalid passthrough op with no id");
    if (p->n_outputs == 0)
        return err_new(ERR_INVALID, "invalid passthrough op with no outputs");
    for (size_t i = 0; i < p->n_outputs; i++) {
        if (p->outputs[i] < 0 || p->outputs[i] >= (int64_t)op->n_inputs)
            return err_new(ERR_INVALID, "invalid passthrough output input index %lld",
                           (long long)p->outputs[i]);
    }
    return NULL;
}

static struct error *check_shape(const Pb__Op *op)
{
    switch (op->op_case) {
    case PB__OP__OP_SOURCE:
        if (op->source == NULL)
            return err_new(ERR_INVALID, "invalid nil source op");
        if (op->n_inputs != 0)
            return err_new(ERR_INVALID, "invalid source op with %zu inputs", op->n_inputs);
        return NULL;
    case PB__OP__OP_EXEC:
        return check_exec(op);
    case PB__OP__OP_FILE:
        return check_file(op);
    case PB__OP__OP_BUILD:
        return check_build(op);
    case PB__OP__OP_MERGE:
        return check_merge(op);
    case PB__OP__OP_DIFF:
        return check_diff(op);
    case PB__OP__OP_PASSTHROUGH:
        return check_passthrough(op);
    default:
        return err_new(ERR_INVALID, "invalid op of an unknown type");
    }
}

struct error *op_validate(const Pb__Op *op, const struct llb_meta *meta)
{
    TRY(check_shape(op));
    for (size_t i = 0; i < meta->caps.len; i++)
        TRY(llb_cap_check(meta->caps.v[i]));
    return NULL;
}
