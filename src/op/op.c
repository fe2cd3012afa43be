/* SPDX-License-Identifier: Apache-2.0 */
#include "op/op.h"

#include "op/impl.h"
#include "op/upload.h"

void op_register_all(struct solver *s, const struct op_config *c)
{
    static const struct {
        int op_case;
        const char *scheme;
        const struct op_impl *impl;
    } all[] = {
        { PB__OP__OP_EXEC, NULL, &exec_op },
        { PB__OP__OP_FILE, NULL, &file_op },
        { PB__OP__OP_MERGE, NULL, &merge_op },
        { PB__OP__OP_DIFF, NULL, &diff_op },
        { PB__OP__OP_PASSTHROUGH, NULL, &passthrough_op },
        { PB__OP__OP_SOURCE, "docker-image", &image_source },
        { PB__OP__OP_SOURCE, "oci-layout", &layout_source },
        { PB__OP__OP_SOURCE, "local", &local_source },
        { PB__OP__OP_SOURCE, "http", &upload_source },
    };

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        solver_register(s, all[i].op_case, all[i].scheme, all[i].impl, (void *)c);
}
