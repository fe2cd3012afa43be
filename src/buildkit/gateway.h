/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gateway.h - a bridge that somebody else drives over gRPC (LLBBridge): a build's client, or a frontend image
 *
 * A client's calls name their build in metadata; a frontend image has a connection of its own, whose calls
 * all are about one gateway.  What is returned, and the containers that were asked for, belong to the
 * gateway.
 */
#ifndef MINKE_BUILDKIT_GATEWAY_H
#define MINKE_BUILDKIT_GATEWAY_H

#include "buildkit/request.h"
#include "solver/solver.h"
#include "wire/grpc.h"

struct builder;
struct build_container;

struct gateway {
    struct request *request; /* whose bridge it is; borrowed */
    struct mutex lock;       /* of all below */
    struct cond changed;
    bool closing; /* no new containers */
    bool returned;
    struct frontend_result result;
    struct error *failure;
    struct map containers; /* the client's id -> struct build_container */
};
void gateway_init(struct gateway *g, struct request *r);
/* No call is under way.  Kills what still runs in containers. Shielded. */
void gateway_deinit(struct gateway *g);
/* LLBBridge.Return: exactly once. `result` and `failure` are taken. */
struct error *gateway_return(struct gateway *g, struct frontend_result *result,
                             struct error *failure) MUST_CHECK;
/* Wait for it. */
struct error *gateway_wait(struct gateway *g, struct frontend_result *ret) MUST_CHECK;

/* The container of that id, held; NULL: there is none. */
struct build_container *gateway_hold_container(struct gateway *g, const char *id);

/* What the methods get as their context. */
struct gateway_door {
    struct builder *builder;
    struct gateway *gateway; /* NULL: found by the call's build id */
};

/* One call: found, entered; released by bridge_call_leave. */
struct bridge_call {
    struct pb_arena arena;
    struct gateway *gateway;
    struct build *build; /* held while a client's call is under way; NULL for a frontend image */
    struct scope *own;   /* the call's, which ends when its client gives it up; with `build`, borrowed */
};
struct error *bridge_call_enter(struct rpc_call *call, const struct gateway_door *door,
                                struct bridge_call *c) MUST_CHECK;
void bridge_call_leave(struct bridge_call *c);
#define BRIDGE_CALL CLEANUP(bridge_call_leave) struct bridge_call c = { 0 }
struct job *bridge_call_job(const struct bridge_call *c);
struct bridge *bridge_call_bridge(const struct bridge_call *c);
/* "" is scratch: NULL. */
struct error *bridge_call_ref(const struct bridge_call *c, const char *id, struct ref **ret) MUST_CHECK;
/* `e` is the failure of a solve of `ref`, NULL passes: as the client gets it. */
struct error *bridge_call_failure(struct ref *ref, struct error *e) MUST_CHECK;

/* What a frontend returned, as clients get it, with memory of `a`. */
struct error *gateway_result_message(struct pb_arena *a, const struct frontend_result *r,
                                     Gw__Result **ret) MUST_CHECK;
/* The same from a frontend: its refs are the build's.  ERR_EXHAUSTED: more than LIMIT_RESULT_ENTRIES of
 * something. */
struct error *gateway_result_from_message(const struct bridge_call *c, const Gw__Result *m,
                                          struct frontend_result *r) MUST_CHECK;

/* Methods in files of their own. */
struct error *gateway_read_file(struct rpc_call *call, void *door) MUST_CHECK;
struct error *gateway_read_dir(struct rpc_call *call, void *door) MUST_CHECK;
struct error *gateway_stat_file(struct rpc_call *call, void *door) MUST_CHECK;
struct error *gateway_read_file_container(struct rpc_call *call, void *door) MUST_CHECK;
struct error *gateway_read_dir_container(struct rpc_call *call, void *door) MUST_CHECK;
struct error *gateway_stat_file_container(struct rpc_call *call, void *door) MUST_CHECK;
struct error *gateway_new_container(struct rpc_call *call, void *door) MUST_CHECK;
struct error *gateway_release_container(struct rpc_call *call, void *door) MUST_CHECK;
struct error *gateway_exec_process(struct rpc_call *call, void *door) MUST_CHECK;

#endif
