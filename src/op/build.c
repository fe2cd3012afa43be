/* SPDX-License-Identifier: Apache-2.0 */
/*
 * build.c - the build op: the result of a definition that lies in a file of an input
 *
 * Only BuildKit's builder of index -1 is known: the file is an encoded pb.Definition.
 */
#include "base/limits.h"
#include "io/path.h"
#include "op/impl.h"

#include <errno.h>

#define LLB_BUILDER (-1)
#define DEFINITION "buildkit.llb.definition" /* the input's name, and the file's when none is given */

static struct error *definition_input(const struct llb_vertex *v, size_t *ret)
{
    const Pb__BuildOp *op = v->op->build;

    for (size_t i = 0; i < op->n_inputs; i++) {
        if (!streq(op->inputs[i]->key, DEFINITION))
            continue;
        *ret = (size_t)op->inputs[i]->value->input;
        return NULL;
    }
    return err_new(ERR_INVALID, "no llb definition input %s found", DEFINITION);
}

static struct error *read_definition(struct op_context *c, struct snapshot *in, struct llb_def **ret)
{
    const Pb__BuildOp *op = c->vertex->op->build;
    const char *name = pb_get_str(op->attrs, op->n_attrs, "llbbuild.filename");
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(closep) int root = -1;
    int r;

    if (name == NULL)
        name = DEFINITION;
    TRY(op_mount_ro(c, in, &root));
    r = path_read_file(root, name, &text, LIMIT_BUILD_DEFINITION);
    if (r == -EFBIG)
        return err_new(ERR_INVALID, "%s exceeds maximum allowed size of %d bytes", name,
                       LIMIT_BUILD_DEFINITION);
    if (r == -EINVAL)
        return err_new(ERR_INVALID, "open %s: not a regular file", name);
    if (r == -ENOENT)
        return err_new(ERR_UNKNOWN, "open %s: no such file or directory", name);
    if (r < 0)
        return err_sys(-r, "open %s", name);
    return err_wrap(llb_def_decode(text.data, text.len, ret), "failed to read definition %s", name);
}

static struct error *build_run(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                               size_t output_count)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    size_t at = 0;

    if (c->vertex->op->build->builder != LLB_BUILDER)
        return err_new(ERR_UNIMPLEMENTED, "only LLB builder is currently allowed");
    TRY(definition_input(c->vertex, &at));
    TRY(read_definition(c, inputs[at], &def));
    return op_solve(c, def, &outputs[0]);
}

const struct op_impl build_op = { .name = "build", .nests = true, .run = build_run };
