/* SPDX-License-Identifier: Apache-2.0 */
#include "op/exec_devices.h"

#include "run/cdi.h"

/* Without CDI support optional devices are just not there. */
static struct error *check_disabled(const struct llb_vertex *v)
{
    const Pb__ExecOp *op = v->op->exec;

    for (size_t i = 0; i < op->n_cdi_devices; i++) {
        if (!op->cdi_devices[i]->optional)
            return err_new(ERR_UNKNOWN,
                           "CDI device \"%s\" is required by step \"%s\", but CDI device support is disabled",
                           op->cdi_devices[i]->name, v->name);
    }
    return NULL;
}

static struct error *find_all(const struct cdi_devices *d, const Pb__ExecOp *op, struct strv *ret)
{
    for (size_t i = 0; i < op->n_cdi_devices; i++)
        TRY(cdi_find(d, op->cdi_devices[i]->name, op->cdi_devices[i]->optional, ret));
    return NULL;
}

/* Devices of "device=NAME" entitlements. */
static struct error *find_granted(const struct cdi_devices *d, const struct strv *entitlements,
                                  struct strv *ret)
{
    for (size_t i = 0; i < entitlements->len; i++) {
        const char *name = str_skip_prefix(entitlements->v[i], "device=");

        if (name != NULL)
            TRY(cdi_find(d, name, false, ret));
    }
    return NULL;
}

static struct error *forbidden(const struct strv *names)
{
    CLEANUP(freep) char *list = strv_join(names, ", ");

    return err_new(ERR_UNKNOWN, "%s %s %s requested by the build but not allowed",
                   names->len == 1 ? "device" : "devices", list, names->len == 1 ? "is" : "are");
}

static struct error *check_each(const struct cdi_devices *d, const struct strv *entitlements,
                                const Pb__ExecOp *op)
{
    CLEANUP(strv_deinit) struct strv wanted = { 0 };
    CLEANUP(strv_deinit) struct strv granted = { 0 };
    CLEANUP(strv_deinit) struct strv refused = { 0 };

    TRY(find_all(d, op, &wanted));
    if (wanted.len == 0) /* nor does it matter then whether what was granted is there */
        return NULL;
    TRY(find_granted(d, entitlements, &granted));
    for (size_t i = 0; i < wanted.len; i++) {
        if (!strv_has(&granted, wanted.v[i]) && !cdi_get(d, wanted.v[i])->auto_allow)
            strv_add(&refused, wanted.v[i]);
    }
    return refused.len > 0 ? forbidden(&refused) : NULL;
}

struct error *exec_devices_check(void *op_ctx, const struct strv *entitlements, const struct llb_vertex *v)
{
    const struct op_config *c = op_ctx;
    struct cdi_devices d;
    struct error *e;

    if (v->op->exec->n_cdi_devices == 0)
        return NULL;
    if (!runner_has_devices(c->runner))
        return check_disabled(v);
    if (strv_has(entitlements, "device"))
        return NULL;
    runner_devices(c->runner, &d);
    e = check_each(&d, entitlements, v->op->exec);
    cdi_devices_deinit(&d);
    return e;
}

struct error *exec_devices_edits(const struct op_config *c, const Pb__ExecOp *op, json_t **ret)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    struct cdi_devices d;
    struct error *e;

    *ret = NULL;
    if (op->n_cdi_devices == 0 || !runner_has_devices(c->runner))
        return NULL;
    runner_devices(c->runner, &d);
    e = err_wrap(find_all(&d, op, &names), "CDI device injection failed");
    if (e == NULL && names.len > 0) {
        *ret = json_array();
        cdi_edits(&d, &names, *ret);
    }
    cdi_devices_deinit(&d);
    return e;
}
