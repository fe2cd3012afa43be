/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builder.h - the builder as a whole: jobs, frontends, exporters, history, and BuildKit's gRPC services on
 * top
 *
 * builder_build() is one build from request to stored result; Control.Solve and POST /build?version=2 are two
 * doors to it. builder_serve_grpc() speaks HTTP/2 on any stream; builder_serve_session() takes the client's
 * side channel. Thread-safe.  Answers to ListWorkers and Info come from memory, without locks that a build
 * holds (protocol.md trap 42).
 */
#ifndef MINKE_BUILDKIT_BUILDER_H
#define MINKE_BUILDKIT_BUILDER_H

#include "frontend/frontend.h"
#include "op/op.h"
#include "session/session.h"
#include "solver/solver.h"
#include "store/store.h"
#include "wire/grpc.h"
#include "wire/pb.h"

struct gc_policy {
    bool all;
    int64_t keep_ns, reserved_bytes, max_used_bytes, min_free_bytes;
    struct strv filters;
};

struct builder_config {
    struct store *store;
    struct session_manager *sessions;
    struct solver *solver;
    const struct op_config *ops;
    const char *version;             /* BuildKit version to answer: "v0.34.2" */
    const char *executor, *hostname; /* worker labels */
    bool
        engine; /* behind dockerd's face: the moby exporter's defaults, worker labels of containerd's store */
    struct strv
        entitlements; /* what the configuration allows: "network.host", "security.insecure", "device" */
    bool no_dockerfile_frontend, no_gateway_frontend;
    struct strv frontend_repositories; /* whose images may be frontends; none: any */
    struct strv extra_labels;          /* "k=v" */
    const char *host_gateway_ip;       /* NULL: none */
    struct gc_policy *gc;
    size_t gc_count;
    int history_max_entries;        /* -1: default 50; 0: nothing is recorded */
    int64_t history_max_age_ns;     /* 0: default 48 h */
    bool proxy_network;             /* of every build */
    const char *source_policy_file; /* rules that hold for every build, before its own (JSON); NULL: none */
    const char *provenance_env_dir; /* JSON files for the environment part of provenance; NULL: none */
    /* A name was pointed at an image (for /events). May be NULL. */
    void (*image_named)(void *ctx, const char *name, const struct descriptor *target);
    void *ctx;
};

struct builder;
/* `c` is borrowed and must outlive the builder. */
struct error *builder_new(const struct builder_config *c, struct builder **ret) MUST_CHECK;
void builder_free(struct builder *b);

/* The configuration's source policy for builds that are none of the builder's: sources of a definition as the
 * rules leave them (a reference to `def` when nothing changes), and the image that is to be taken for `name`
 * (new string; NULL: that one).  Errors: `source "X" denied by policy`. */
struct error *builder_apply_policy(struct builder *b, struct llb_def *def, struct llb_def **ret) MUST_CHECK;
struct error *builder_apply_image_policy(struct builder *b, const char *name, char **ret) MUST_CHECK;

/* ---- doors
 * -----------------------------------------------------------------------------------------------------------------
 */

/* Serve gRPC over HTTP/2 on `s` (taken) until it ends. */
struct error *builder_serve_grpc(struct builder *b, struct stream *s) MUST_CHECK;
/* Serve one session (POST /session after its 101) until it ends; `s` is taken. */
struct error *builder_serve_session(struct builder *b, const struct session_hello *h,
                                    struct stream *s) MUST_CHECK;

struct build_exporter {
    const char *type;
    const struct map *attrs; /* string map */
};
struct build_request {
    const char *ref; /* "" or NULL: made */
    const char *session_id;
    const char *frontend; /* "" and no definition: the client drives the build through the bridge and ends it
                             with Return */
    struct llb_def *definition;        /* borrowed; NULL: none, which is not an empty one: that is scratch */
    const struct map *frontend_attrs;  /* string map */
    const struct map *frontend_inputs; /* name -> struct llb_def * */
    const struct build_exporter *exporters;
    size_t exporter_count;
    const struct build_exporter *cache_exports; /* types registry, local, inline */
    size_t cache_export_count;
    const struct cache_imports
        *cache_imports; /* for `definition`; NULL: none.  Frontends name theirs in options */
    const struct strv *entitlements;
    const Pol__Policy *source_policy; /* NULL: none */
    const char *policy_session;       /* of the client's PolicyVerifier; NULL or "": none */
    bool session_exporters;           /* the session is asked for more exporters, and told what came of all */
    bool internal;                    /* not recorded in history */
    bool proxy_network;               /* steps reach their network through a proxy of ours (proxy/proxy.h) */
    int compatibility;                /* version of behaviour: 10, 20, 30; 0: the newest */
};
#define COMPATIBILITY_CURRENT 30
/* Run one build to its end, under the current task's scope.  `response`: string map (ExporterResponse). */
struct error *builder_build(struct builder *b, const struct build_request *r,
                            struct map *response) MUST_CHECK;
/* The live (or just ended) build's events; waits up to 6 s for it to appear.  ERR_NOT_FOUND "no such job
 * <ref>". */
struct error *builder_progress(struct builder *b, const char *ref, struct progress **ret) MUST_CHECK;
/* Follow events until the build ends: `batch` gets encoded moby.buildkit.v1.StatusResponse messages. */
struct error *builder_follow(struct progress *p,
                             struct error *(*batch)(void *ctx, const void *data, size_t len),
                             void *ctx) MUST_CHECK;
/* Cancel a live build by its ref; false when there is none. */
bool builder_cancel(struct builder *b, const char *ref);
size_t builder_active(struct builder *b);
/* Wait until more than *seen builds have ended and let go of what they held; *seen: how many those are now.
 * 0 or -ECANCELED. */
int builder_await_ended(struct builder *b, uint64_t *seen) MUST_CHECK;

/* One batch of events as an encoded moby.buildkit.v1.StatusResponse, appended (POST /build?version=2 sends
 * these as aux). */
struct progress_event;
void builder_encode_status(const struct progress_event *const *events, size_t count, struct buf *out);

#endif
