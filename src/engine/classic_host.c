/* SPDX-License-Identifier: Apache-2.0 */
/* classic_host.c - what dockerd gives the container of a step: limits, hosts, a network */
#include "engine/classic_impl.h"

#include "container/container.h"
#include "op/held_network.h"

#define OF_CONTAINER "container:"

struct error *classic_host_check(struct classic *c)
{
    return container_check_limits(c->o->host_config);
}

static bool is_default_network(const char *mode)
{
    static const char *const known[] = { "", "default", "bridge", "host", "none" };

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (streq(mode, known[i]))
            return true;
    }
    return false;
}

static struct error *join(struct classic *c, const char *name, struct held_network **ret)
{
    struct run_joined_network n;

    if (*name == '\0')
        return err_new(ERR_INVALID,
                       "joining network namespace of container: invalid name or ID supplied: \"\"");
    TRY(container_join_network(c->engine->containers, name, &n));
    *ret = held_network_open(&n);
    return NULL;
}

struct error *classic_host_network(struct classic *c, struct held_network **ret)
{
    const char *mode = c->o->network == NULL ? "" : c->o->network;
    const char *name = str_skip_prefix(mode, OF_CONTAINER);
    struct error *e;

    *ret = NULL;
    if (is_default_network(mode))
        return NULL;
    e = name != NULL
            ? join(c, name, ret)
            : err_new(ERR_NOT_FOUND, "failed to set up container networking: network %s not found", mode);
    return e;
}
