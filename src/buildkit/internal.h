/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the files of this room share: the builder, its live builds, its history
 *
 * A build is live from job_open to job_close.  Calls that arrive by its ref (bridge, Status, cancel) take a
 * reference with build_find() and give it back with build_put(); the build's own task waits for the last one
 * before it closes the job.
 */
#ifndef MINKE_BUILDKIT_INTERNAL_H
#define MINKE_BUILDKIT_INTERNAL_H

#include "base/bytes.h"
#include "buildkit/ahead.h"
#include "buildkit/attest.h"
#include "buildkit/builder.h"
#include "buildkit/entitlements.h"
#include "buildkit/gateway.h"
#include "buildkit/policy.h"
#include "buildkit/provenance.h"
#include "buildkit/request.h"
#include "export/cache.h"
#include "export/export.h"
#include "task/task.h"
#include "wire/pb.h"

#define STATUS_WAIT_NS (6 * NS_PER_SEC) /* Status before Solve */
#define BRIDGE_WAIT_NS (3 * NS_PER_SEC) /* LLBBridge calls before Solve */
#define ENDED_KEEP_NS (10 * NS_PER_SEC) /* Status after the end */

/* Caches that a build reads, each once. */
struct import_set {
    struct mutex lock;
    struct cond changed;
    struct map states; /* name -> enum import_state */
};

struct build {
    struct request root; /* its bridge is the client's, over the gateway */
    struct builder *builder;
    char *ref;
    struct job *job;
    const Pol__Policy *policy;  /* of the request, borrowed; NULL: none */
    const char *policy_session; /* the same */
    bool proxy_network;
    struct lease *lease;       /* what resolving images brought in */
    struct import_set imports; /* of the build's caches */
    unsigned users;            /* calls under way; the builder's lock */
    bool closing;              /* no new users */
    bool driven;               /* by a client, over the gateway, until Return */
    struct gateway gateway;    /* of the root's bridge */
    struct frontend_result result;
    struct history_record *record; /* NULL: not recorded */
    int64_t received_ns;           /* monotonic */
    char id[26];                   /* names this run in its provenance */
    int64_t started_ns;
    int64_t completed_ns; /* when the first attestation was made; 0: not yet; under root.lock */
    int compatibility;    /* version asked for */
    struct attest_options attest;
    struct entitlements entitlements;
    struct provenance *provenance; /* of result.refs; made before the exports */
    size_t provenance_count;
    struct descriptor *exported; /* what each exporter made, by its index; media_type NULL: no image */
    size_t exported_count;
    struct request *scanner; /* through which SBOM scanners are solved; NULL: none */
};

/* A build that ended a moment ago and is not in the history: its events stay for late Status calls. */
struct ended_build {
    char *ref;
    struct progress *progress;
    int64_t ended_ns; /* monotonic */
};

struct builder {
    const struct builder_config *config;
    struct mutex lock;
    struct cond changed;           /* a build came or went */
    struct ptrv live;              /* struct build */
    struct ended_build ended[256]; /* as many as one connection has calls under way */
    size_t ended_at;
    uint64_t ended_count;       /* builds that hold nothing any more; builder_await_ended() */
    struct producer *producers; /* of the live builds */
    json_t *provenance_env;     /* NULL: none */
    Pol__Policy *policy;        /* of the configuration; NULL: none.  In policy_arena */
    struct pb_arena policy_arena;
    size_t producer_count, producer_cap;
    struct history *history;
    struct ahead_memory ahead; /* base images of recent requests */
    char *worker_id;
    struct pb_arena worker_arena;
    Bkt__WorkerRecord *worker; /* immutable after start */
};

/* ---- builds
 * -------------------------------------------------------------------------------------------------------------------
 */

/* Wait up to timeout_ns for the live build `ref`; NULL when it does not come. Give it back with build_put. */
struct error *build_find(struct builder *b, const char *ref, int64_t timeout_ns,
                         struct build **ret) MUST_CHECK;
void build_put(struct build *u);
/* The events of a build that runs or has just ended, a reference; NULL: there is none. */
struct progress *live_progress(struct builder *b, const char *ref);
void live_add(struct build *u);
/* Take it off the list, cancel calls that still use it, and wait for them; its events stay for a while. */
void live_remove(struct build *u);
/* A build ended in an error; if it never came to run, Status calls that wait for it end with nothing to show.
 */
void live_refused(struct builder *b, const char *ref);
void live_deinit(struct builder *b);
void live_note_ended(struct builder *b); /* a build holds nothing any more; builder_await_ended() */
void bridge_init(struct request *r);

/* ---- build caches (cache.c)
 * -------------------------------------------------------------------------------------------------------------
 */

struct cache_exporter_list {
    struct cache_exporter **v;
    size_t len;
};
void cache_exporter_list_deinit(struct cache_exporter_list *l);
/* Errors: "duplicate cache exports [registry]", as cache_exporter_resolve. */
struct error *resolve_cache_exporters(const struct build_request *r,
                                      struct cache_exporter_list *ret) MUST_CHECK;
void import_set_init(struct import_set *s);
void import_set_deinit(struct import_set *s);
/* Exporters that the client's session names now that there is a result; `add` takes each. */
struct error *session_exporters_ask(const struct build *u, const char *session_id,
                                    struct error *(*add)(void *ctx, struct exporter *x),
                                    void *ctx) MUST_CHECK;
/* And what all exporters answered: the client may fail the build yet. */
struct error *session_exporters_tell(const struct build *u, const char *session_id,
                                     const struct map *response) MUST_CHECK;
/* Warn where the result has other platforms than the frontend's option "platform" asked for.  Errors: what
 * the result says of its platforms makes no sense. */
struct error *verify_platforms(struct build *u, const struct map *frontend_attrs) MUST_CHECK;
/* As bridge_ops.import_caches; all at once. */
void build_import_caches(struct build *u, const struct cache_imports *l);
/* What each result was made of, for the image that is made of it; *ret (malloc'd, of `count`) is NULL when
 * nobody asked. */
struct error *inline_caches(const struct cache_exporter_list *l, const struct frontend_result *res,
                            size_t count, struct cache_source **ret) MUST_CHECK;
void inline_caches_free(struct cache_source *v, size_t count);
/* All others, side by side.  `c`: their common context. */
struct error *export_caches(const struct cache_exporter_list *l, const struct frontend_result *res,
                            const struct export_context *c, struct map *response) MUST_CHECK;

/* ---- bridge helpers for the gRPC face
 * ---------------------------------------------------------------------------------------- */

/* ops->solve with rules of this request besides the build's. */
struct error *bridge_solve(struct bridge *b, struct policy_rules extra, struct llb_def *def,
                           struct ref **ret) MUST_CHECK;
/* source_meta() for whoever asks through this bridge; an image is noted for the provenance. */
struct error *bridge_source_meta(struct bridge *b, struct pb_arena *a, const Gw__ResolveSourceMetaRequest *q,
                                 Gw__ResolveSourceMetaResponse **ret) MUST_CHECK;
struct error *bridge_read_dir(struct bridge *b, struct ref *ref, const char *path, const char *include,
                              struct file_stat **ret, size_t *ret_count) MUST_CHECK;

/* ---- history: records of builds
 * --------------------------------------------------------------------------------------------- */

struct history;
struct history_record;
struct ending;
struct error *history_new(struct builder *b, struct history **ret) MUST_CHECK;
void history_free(struct history *h);
/* A build began; NULL when nothing is recorded. */
struct history_record *history_begin(struct history *h, const struct build_request *r,
                                     struct exporter *const *exporters);
/* `u` ended, its progress is closed: notes its error and results.  From here on, the functions below wait
 * for the rest of its record. */
struct ending *history_end(struct history *h, struct history_record *r, const struct build *u,
                           const struct error *failure);
/* `u` (taken) holds nothing any more: a task of the history's keeps its log, trace and provenance, when no
 * build runs or somebody asks for them. */
void history_write(struct ending *x, struct build *u);
/* The last that there is of a build: what its record is made from. */
void build_free(struct build *u);
/* Stream of the kept log frames (LE32 length + StatusResponse); ERR_NOT_FOUND when the ref is unknown or
 * still runs. */
struct error *history_open_log(struct history *h, const char *ref, struct stream **ret) MUST_CHECK;
/* Blobs named by records (logs, errors), for the Content service. */
struct error *history_blob_open(struct history *h, const char *digest, int64_t *ret_size,
                                struct stream **ret) MUST_CHECK;
/* Digest and size of each, to the end of `ret`. */
struct error *history_blob_list(struct history *h, struct blob_list *ret) MUST_CHECK;
struct error *history_listen(struct history *h, struct rpc_call *call,
                             const Bk__BuildHistoryRequest *r) MUST_CHECK;
struct error *history_update(struct history *h, const Bk__UpdateBuildHistoryRequest *r) MUST_CHECK;

/* ---- messages
 * -------------------------------------------------------------------------------------------------------------------
 */

#define WORKER_DOCKERFILE_VERSION "1.28.0"
struct error *worker_init(struct builder *b) MUST_CHECK;
/* The devices that the host offers now; in the arena. */
void worker_add_devices(const struct builder *b, struct pb_arena *a, Bkt__WorkerRecord *w);
Caps__ApiCap **worker_frontend_caps(struct pb_arena *a, size_t *ret_count);
Caps__ApiCap **worker_llb_caps(struct pb_arena *a, size_t *ret_count);

extern const struct rpc_method control_methods[], gateway_methods[], content_methods[], health_methods[],
    trace_methods[];
extern const size_t control_method_count, gateway_method_count, content_method_count, health_method_count,
    trace_method_count;

/* The value of FrontendAttrs etc. as a string map. */
void strmap_from_entries(Kv__Str *const *entries, size_t n, struct map *m);
void cache_imports_from_entries(Bk__CacheOptionsEntry *const *entries, size_t n, struct cache_imports *l);
/* FrontendInputs as name -> struct llb_def * (references; freed with the map). */
struct error *inputs_from_entries(Bk__DefinitionEntry *const *entries, size_t n, struct map *m) MUST_CHECK;

#endif
