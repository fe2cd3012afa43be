/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/entitlements.h"

#include "base/csv.h"
#include "op/exec_devices.h"

void entitlements_deinit(struct entitlements *e)
{
    strv_deinit(&e->granted);
    map_deinit(&e->aliases);
    strv_deinit(&e->names);
}

static struct error *add_device(const char *config, struct entitlements *ret)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 };
    const char *alias = NULL;

    struct error *e = csv_fields(config, &fields);

    if (e != NULL) {
        e->kind = ERR_UNKNOWN; /* of which clients print no name */
        return e;
    }
    for (size_t i = 1; i < fields.len; i++) {
        const char *value = strchr(fields.v[i], '=');

        if (value == NULL)
            return err_new(ERR_UNKNOWN, "invalid device config \"%s\"", fields.v[i]);
        alias = str_skip_prefix(fields.v[i], "alias=");
        if (alias == NULL)
            return err_new(ERR_UNKNOWN, "unknown device config key \"%.*s\"", (int)(value - fields.v[i]),
                           fields.v[i]);
    }
    if (alias != NULL && *alias == '\0')
        alias = NULL;
    strv_addf(&ret->granted, "device=%s", fields.v[0]);
    strv_addf(&ret->names, "device=%s", alias != NULL ? alias : fields.v[0]);
    if (alias != NULL)
        strmap_set(&ret->aliases, alias, fields.v[0]);
    return NULL;
}

static struct error *add(const char *wanted, const struct strv *allowed, struct entitlements *ret)
{
    const char *device = str_skip_prefix(wanted, "device=");
    const char *name = device != NULL ? "device" : wanted;

    if (!streq(name, "network.host") && !streq(name, "security.insecure") && !streq(name, "device"))
        return err_new(ERR_UNKNOWN, "invalid entitlement: unknown entitlement %s", wanted);
    if (!strv_has(allowed, name))
        return err_new(ERR_UNKNOWN, "granting entitlement %s is not allowed by build daemon configuration",
                       name);
    if (device != NULL && *device != '\0')
        return add_device(device, ret);
    strv_add(&ret->granted, name);
    return NULL;
}

struct error *entitlements_parse(const struct strv *allowed, const struct strv *wanted,
                                 struct entitlements *ret)
{
    strmap_init(&ret->aliases);
    for (size_t i = 0; wanted != NULL && i < wanted->len; i++)
        TRY(add(wanted->v[i], allowed, ret));
    return NULL;
}

/* Those that no alias stands for. */
static struct error *check_own_names(const struct entitlements *e, const struct op_config *ops,
                                     const Pb__ExecOp *exec)
{
    CLEANUP(freep) Pb__CdiDevice **list = xcalloc(exec->n_cdi_devices + 1, sizeof(*list));
    Pb__ExecOp own = *exec;
    Pb__Op op = { .op_case = PB__OP__OP_EXEC, .exec = &own };

    own.cdi_devices = list;
    own.n_cdi_devices = 0;
    for (size_t i = 0; i < exec->n_cdi_devices; i++) {
        if (!map_has(&e->aliases, exec->cdi_devices[i]->name))
            list[own.n_cdi_devices++] = exec->cdi_devices[i];
    }
    return exec_devices_check((void *)ops, &e->names, &(struct llb_vertex){ .op = &op });
}

struct error *entitlements_name_devices(const struct entitlements *e, const struct op_config *ops,
                                        struct pb_arena *a, Pb__Op *op, bool *ret_changed)
{
    /* without support, and with all devices, nothing is looked at by name */
    if (e->aliases.len == 0 || !runner_has_devices(ops->runner) || strv_has(&e->granted, "device"))
        return NULL;
    TRY(check_own_names(e, ops, op->exec));
    for (size_t i = 0; i < op->exec->n_cdi_devices; i++) {
        const char *name = strmap_get(&e->aliases, op->exec->cdi_devices[i]->name);

        if (name == NULL)
            continue;
        op->exec->cdi_devices[i]->name = pb_str(a, name);
        *ret_changed = true;
    }
    return NULL;
}
