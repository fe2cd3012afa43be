/* SPDX-License-Identifier: Apache-2.0 */
/* gateway_containers.c - the containers of a bridge: NewContainer, ReleaseContainer */
#include "buildkit/build_container.h"
#include "buildkit/internal.h"

#include "base/limits.h"

#include <signal.h>

struct build_container *gateway_hold_container(struct gateway *g, const char *id)
{
    struct build_container *c;

    mutex_lock(&g->lock);
    c = map_get(&g->containers, id);
    if (c != NULL)
        build_container_hold(c);
    mutex_unlock(&g->lock);
    return c;
}

static struct error *add_container(struct gateway *g, const char *id, struct build_container *c)
{
    struct error *e = NULL;

    mutex_lock(&g->lock);
    if (map_has(&g->containers, id))
        e = err_new(ERR_EXISTS, "Container %s already exists", id);
    else if (g->containers.len >= LIMIT_GATEWAY_CONTAINERS)
        e = err_new(ERR_EXHAUSTED, "more than %d containers", LIMIT_GATEWAY_CONTAINERS);
    else
        map_set(&g->containers, id, c);
    mutex_unlock(&g->lock);
    return e;
}

struct error *gateway_new_container(struct rpc_call *call, void *ctx)
{
    BRIDGE_CALL;
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Gw__NewContainerResponse m = GW__NEW_CONTAINER_RESPONSE__INIT;
    struct build_container *container = NULL;
    Gw__NewContainerRequest *q;

    TRY(rpc_recv_one(call, &gw__new_container_request__descriptor, &arena, &q));
    TRY(bridge_call_enter(call, ctx, &c));
    CLEANUP(freep) char *id = xstrdup(q->container_id);
    TRY(build_container_new(c.gateway->request->build, &arena, q, &container));
    struct error *e = add_container(c.gateway, id, container);

    if (e != NULL) {
        build_container_free(container);
        return e;
    }
    return rpc_send(call, &m.base);
}

struct error *gateway_release_container(struct rpc_call *call, void *ctx)
{
    BRIDGE_CALL;
    Gw__ReleaseContainerResponse m = GW__RELEASE_CONTAINER_RESPONSE__INIT;
    struct build_container *container;
    Gw__ReleaseContainerRequest *q;

    TRY(rpc_recv_one(call, &gw__release_container_request__descriptor, &c.arena, &q));
    TRY(bridge_call_enter(call, ctx, &c));
    mutex_lock(&c.gateway->lock);
    container = map_get(&c.gateway->containers, q->container_id);
    if (container != NULL)
        map_remove(&c.gateway->containers, q->container_id);
    mutex_unlock(&c.gateway->lock);
    if (container == NULL)
        return err_new(ERR_UNKNOWN, "container details for %s not found", q->container_id);
    if (build_container_free(container))
        return err_new(ERR_CANCELLED, "exit code: %d: context canceled",
                       128 + SIGKILL); /* as BuildKit answers */
    return rpc_send(call, &m.base);
}
