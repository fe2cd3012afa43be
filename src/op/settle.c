/* SPDX-License-Identifier: Apache-2.0 */
/* settle.c - a result as an op uses it: a list of layers, a writable child, a read-only root */
#include "op/copy.h"
#include "op/impl.h"

struct error *op_settle(struct op_context *c, struct snapshot *s, struct snapshot **ret)
{
    struct copy_options all = { .timestamp_ns = -1, .mode = -1, .dir_contents = true };
    CLEANUP(closep) int from = -1;
    struct active *a;
    struct error *e;

    if (s == NULL || !snapshot_is_tree(s)) {
        *ret = s == NULL ? NULL : snapshot_ref(s);
        return NULL;
    }
    TRY(snapshot_mount_ro(s, &from));
    TRY(active_begin(c->store, NULL, &a));
    int upper = active_upper_fd(a);

    all.upper_root = &upper;
    e = copy_path(from, "/", active_fd(a), "/", &all);
    if (e == NULL)
        e = active_commit(a, c->vertex != NULL ? c->vertex->name : "copied context", "regular", ret);
    if (e != NULL)
        active_abandon(a);
    return e;
}

struct error *op_begin(struct op_context *c, struct snapshot *base, struct active **ret)
{
    CLEANUP(snapshot_unrefp) struct snapshot *settled = NULL;

    TRY(op_settle(c, base, &settled));
    return active_begin(c->store, settled, ret);
}

struct error *op_mount_ro(struct op_context *c, struct snapshot *s, int *ret_fd)
{
    CLEANUP(snapshot_unrefp) struct snapshot *empty = NULL;

    if (s == NULL)
        s = empty = snapshot_empty(c->store);
    return snapshot_mount_ro(s, ret_fd);
}
