/* SPDX-License-Identifier: Apache-2.0 */
#include "op/op.h"

#include "op/blob.h"
#include "op/git.h"
#include "op/held.h"
#include "op/http.h"
#include "op/impl.h"

/* A step that ignores the cache begins with empty cache mounts. */
static struct error *forget_mounts(void *ctx, const struct llb_graph *g)
{
    const struct op_config *c = ctx;

    for (size_t i = 0; i < g->vertex_count; i++) {
        const struct llb_vertex *v = &g->vertices[i];

        if (!v->meta->ignore_cache || v->op->op_case != PB__OP__OP_EXEC)
            continue;
        for (size_t k = 0; k < v->op->exec->n_mounts; k++) {
            const Pb__Mount *m = v->op->exec->mounts[k];

            if (m->mount_type == PB__MOUNT_TYPE__CACHE && m->cache_opt != NULL)
                TRY(cache_mount_forget(c->store, m->cache_opt->id[0] != '\0' ? m->cache_opt->id : m->dest));
        }
    }
    return NULL;
}

void op_register_all(struct solver *s, const struct op_config *c)
{
    static const struct {
        int op_case;
        const char *scheme;
        const struct op_impl *impl;
    } all[] = {
        { PB__OP__OP_BUILD, NULL, &build_op },
        { PB__OP__OP_EXEC, NULL, &exec_op },
        { PB__OP__OP_FILE, NULL, &file_op },
        { PB__OP__OP_MERGE, NULL, &merge_op },
        { PB__OP__OP_DIFF, NULL, &diff_op },
        { PB__OP__OP_PASSTHROUGH, NULL, &passthrough_op },
        { PB__OP__OP_SOURCE, "docker-image", &image_source },
        { PB__OP__OP_SOURCE, "oci-layout", &layout_source },
        { PB__OP__OP_SOURCE, "local", &local_source },
        { PB__OP__OP_SOURCE, "http", &http_source },
        { PB__OP__OP_SOURCE, "https", &http_source },
        { PB__OP__OP_SOURCE, "git", &git_source },
        { PB__OP__OP_SOURCE, "held", &held_source },
        { PB__OP__OP_SOURCE, "docker-image+blob", &blob_source },
        { PB__OP__OP_SOURCE, "oci-layout+blob", &blob_source },
    };

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        solver_register(s, all[i].op_case, all[i].scheme, all[i].impl, (void *)c);
    solver_on_load(s, forget_mounts, (void *)c);
}
