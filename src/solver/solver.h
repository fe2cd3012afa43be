/* SPDX-License-Identifier: Apache-2.0 */
/*
 * solver.h - LLB definitions to results: keys, cache, joined runs
 *
 * A memoised recursion over result ids (docs/architecture.md).  key(v) = H(op digest, ids of its inputs); a
 * hit costs no mounting, no reading, no input evaluation.  On a miss the inputs are evaluated and the content
 * key is asked: for inputs of which the op reads only some paths the content digest of those paths stands in
 * place of the id.  Else the op runs, and both keys are recorded with their pre-image.  Equal keys in flight
 * join one run across jobs; the run is cancelled when its last waiter leaves.
 *
 * Vertices with the same digest are one node for all jobs that are open; the node remembers its result, or
 * its failure, as long as one of them is (a job that comes to a failed node tries it again).  Thread-safe.  A
 * waiting vertex costs a struct; the task that calls ref_result() does the cheap steps itself, only what
 * resolves, hashes or runs gets a task.
 */
#ifndef MINKE_SOLVER_SOLVER_H
#define MINKE_SOLVER_SOLVER_H

#include "llb/llb.h"
#include "session/session.h"
#include "snapshot/snapshot.h"
#include "solver/progress.h"
#include "store/store.h"

struct solver;
struct job;
struct ref; /* a lazily solved output of one definition, owned by its job */

/* ---- what an op kind does (registered by the op room)
 * ------------------------------------------------------------------------ */

struct node;
/* What an op's code gets while it resolves or runs.  Borrowed. */
struct op_context {
    struct solver *solver;
    const struct llb_vertex *vertex;
    struct vertex_reporter *reporter;
    struct session_group sessions; /* of the jobs that wait for this run */
    struct store *store;
    void *op_ctx;         /* given at registration (runner, registry ...) */
    const char *resolved; /* in run(): what resolve() said; NULL when there is none */
    struct node *node;    /* the solver's own; NULL: the op is only looked at, outside of a solve */
    struct lease *lease;  /* then: what op_lease() gives */
    struct job *job;      /* then: the build that asks */
};
/* What a source turned out to mean holds for a build: whoever asks again in it hears the same, so that what a
 * policy was asked about is what is used.  op_recall: a new string, NULL when nothing is noted. */
char *op_recall(const struct op_context *c, const char *key);
void op_note(const struct op_context *c, const char *key, const char *value);
/* In run(), from any task: may this step ask for `url`?  All builds that wait for it are asked.  *ret_url:
 * what it gets instead (new string); NULL: just that. */
struct error *op_check_url(const struct op_context *c, const char *url, char **ret_url) MUST_CHECK;
/* A lease that protects what this op brings in, until its result is recorded and no job holds it. Opened at
 * the first call. */
struct error *op_lease(struct op_context *c, struct lease **ret) MUST_CHECK;
/* In resolve(): what the identifier means now, as provenance names it: a digest, a commit. */
void op_pin(struct op_context *c, const char *pin);

/* run() is about to fail: what its mounts (a file op: the roots of its actions) hold, in the op's order, is
 * kept as long as the failure is known.  The array and the references in it are taken; entries may be NULL.
 */
void op_keep_failed(struct op_context *c, struct snapshot **mounts, size_t count);
/* run() of a file op is about to fail: which action, as clients are told (errdefs.FileAction). */
void op_failed_action(struct op_context *c, size_t action);

/* In run() of an op that `nests`: the result of another definition, in the same build: with its entitlements,
 * policies, sessions and progress.  *ret is a new reference (NULL = scratch).  Errors: as ref_result(); one
 * that names the limit when definitions are nested too deep or are too many. */
struct error *op_solve(struct op_context *c, struct llb_def *def, struct snapshot **ret) MUST_CHECK;

/* Paths of an input that an op reads, as LLB's copy selects them. */
struct op_selector {
    char *path;                  /* "/" and below */
    bool wildcard, follow_links; /* of the last component */
    struct strv include, exclude, required;
};
/* How an input enters the content key.  A zeroed one: by the input's result id. */
struct op_input_key {
    bool by_content;
    struct op_selector *selectors; /* none: all of it */
    size_t selector_count;
};
void op_input_key_deinit(struct op_input_key *k);
struct op_selector *op_input_key_add(struct op_input_key *k,
                                     const char *path); /* borrowed until the next call */

struct op_impl {
    const char *name;
    /* Sources only: what the identifier means now, as a stable text ("docker-image:sha256:..", a commit):
     * alone it makes the key, so nothing else of the world may influence run().  NULL: the key is made of the
     * op and its inputs. *ret_result may be given at once (a synced context; its id names its content): then
     * run() is not called. */
    struct error *(*resolve)(struct op_context *c, char **ret_text, struct snapshot **ret_result);
    bool resolve_is_run; /* resolve() gives the result: what goes wrong there is no matter of keys */
    /* The op as text for the key, lines of "field value", without what must not influence it (proxy env,
     * cache ids, ...); NULL: the digest of the op's bytes, which names its inputs' vertices too. Appended. */
    struct error *(*key_text)(const struct llb_vertex *v, struct buf *out);
    /* How input i enters the content key; NULL: by id. `ret` is zeroed. */
    struct error *(*input_key)(const struct llb_vertex *v, size_t input, struct op_input_key *ret);
    /* Are the layers of input i the lower ones of a result? NULL: of none. */
    bool (*extends)(const struct llb_vertex *v, size_t input);
    /* How many results it has; NULL: one. */
    size_t (*output_count)(const struct llb_vertex *v);
    /* Do it. outputs[0..output_count) are to be filled (NULL = scratch); inputs may be NULL for scratch. */
    struct error *(*run)(struct op_context *c, struct snapshot **inputs, struct snapshot **outputs,
                         size_t output_count);
    /* May a build with these entitlements have it? Asked when a build brings the op in, whatever is known of
     * its result; NULL: yes. */
    struct error *(*check)(void *op_ctx, const struct strv *entitlements, const struct llb_vertex *v);
    /* CPU-heavy and child-running ops are counted against max_parallelism; downloads are not. */
    bool takes_cpu;
    /* It calls op_solve().  What that gives depends on more than the op and its inputs, so it is never looked
     * up (what it solves is), and is a build's own: two builds never wait for each other's. */
    bool nests;
};

struct solver_config {
    struct store *store;
    struct session_manager *sessions;
    int max_parallelism; /* 0: number of CPUs + 2 steps at once; whole builds are never queued */
};
struct solver *solver_new(const struct solver_config *c);
void solver_free(struct solver *s); /* all jobs are closed; cancels and joins what runs */
/* type: the Op oneof case (PB__OP__OP_EXEC ...); source ops additionally by scheme ("docker-image", "local");
 * else scheme NULL. A later one
 * stands before an earlier. */
void solver_register(struct solver *s, int op_case, const char *scheme, const struct op_impl *impl,
                     void *op_ctx);

/* Called with the graph of every definition before it is solved for the first time (from the task that
 * solves); an error fails the solve.  One; before the first job. */
void solver_on_load(struct solver *s, struct error *(*fn)(void *ctx, const struct llb_graph *g), void *ctx);

/* Called when a step of a build reaches out for a URL (op_check_url): as that; `ref` is the build's.  One;
 * before the first job. */
void solver_on_fetch(struct solver *s,
                     struct error *(*fn)(void *ctx, const char *ref, const char *url, char **ret_url),
                     void *ctx);

/* ---- jobs
 * ---------------------------------------------------------------------------------------------------------------------
 */

struct job_options {
    const char *ref;        /* SolveRequest.Ref; unique among live jobs: ERR_EXISTS "job ID %s exists" */
    const char *session_id; /* "" or NULL: none */
    const struct strv *entitlements; /* granted ones: "network.host", "security.insecure", "device" */
    bool internal;
    /* A definition that a step brings in (op_solve), as the build's policies leave it: a new reference. NULL:
     * there are none. */
    struct error *(*allow)(void *ctx, struct llb_def *def, struct llb_def **ret);
    void *allow_ctx;
    bool exports_layers; /* digests of the results' layers will be asked for: make them with the layers */
};
struct error *job_open(struct solver *s, const struct job_options *o, struct job **ret) MUST_CHECK;
/* Cancels what only this job waits for, joins its tasks, frees its refs, closes its progress. */
void job_close(struct job *j);
struct progress *job_progress(struct job *j); /* borrowed */
const struct session_group *job_sessions(struct job *j);
struct scope *job_scope(struct job *j); /* borrowed; cancelling it cancels the job */
bool job_allows(const struct job *j, const char *entitlement);

/* A lazy ref on the definition's terminal input. `def` taken on success.  Errors: invalid LLB, unknown
 * capabilities, ungranted entitlements
 * ("network.host is not allowed"). *ret NULL for an empty definition. */
struct error *job_ref(struct job *j, struct llb_def *def, struct ref **ret) MUST_CHECK;
/* Solve now (joins a solve under way); *ret is a new reference (may be NULL = scratch).  A failing op gives
 * its error as BuildKit's clients expect it: kind ERR_UNKNOWN, details errdefs.Source (one per location),
 * errdefs.Vertex, then the op's own. */
struct error *ref_result(struct ref *r, struct snapshot **ret) MUST_CHECK;
/* `e` came from ref_result(r) on behalf of a client that may debug it: add the detail errdefs.Solve with the
 * op that failed and the ids of what its inputs and mounts hold.  The job keeps those results. */
void ref_add_solve_detail(struct ref *r, struct error *e);
/* A result kept for a detail, by its id: a new reference; false when there is none of that id. */
bool job_find_result(struct job *j, const char *id, struct snapshot **ret);
/* Solve until it is known what the result is: its layers may be in another cache still. */
struct error *ref_find(struct ref *r) MUST_CHECK;
/* Solve until there is a result, here or as layers in another cache. */
struct error *ref_evaluate(struct ref *r) MUST_CHECK;
const char *ref_id(const struct ref *r);                 /* opaque, unique; borrowed */
const struct llb_def *ref_def(const struct ref *r);      /* borrowed */
struct ref *job_find_ref(struct job *j, const char *id); /* NULL when unknown */

/* One vertex of a solved ref; valid as long as the ref's job is open. */
struct ref_vertex {
    const struct llb_vertex *vertex;
    char *pin;                       /* of sources: see op_pin(); NULL when it said nothing */
    struct snapshot *const *outputs; /* NULL entries: scratch */
    size_t output_count;
};
struct ref_vertices {
    struct ref_vertex *v;
    size_t len;
};
void ref_vertices_deinit(struct ref_vertices *l);
/* The vertices of a ref that was solved, inputs first; none when it was not. */
struct ref_vertices ref_vertices(struct ref *r);

/* ---- content digests
 * -------------------------------------------------------------------------------------------------------- */

/* Digest of what the selectors of `k` name in `snap` (NULL: scratch): mode, owner, link target, device
 * numbers, xattrs and content of every entry, no times; names relative to the selected paths.  Kept in memory
 * per snapshot id.  Errors: ERR_NOT_FOUND "failed to calculate checksum of ref ID: "/x": not found". */
struct error *content_digest(struct solver *s, struct snapshot *snap, const struct op_input_key *k,
                             struct digest *ret) MUST_CHECK;
/* While a tree snapshot of this id lives, its content is known from an index and nothing is read.  `index` is
 * borrowed until removed; several may stand under one id (equal content). */
void content_index_add(struct solver *s, const char *snapshot_id, const struct sync_index *index);
void content_index_remove(struct solver *s, const char *snapshot_id, const struct sync_index *index);

/* Why did a step run?  `step` is a key or the step's name; its newest record is compared with the earlier one
 * of the same step (else of the same kind) that is most like it.  *ret: text, what was and what is, inputs
 * first; malloc'd. Errors: ERR_NOT_FOUND. */
struct error *solver_explain(struct solver *s, const char *step, char **ret) MUST_CHECK;

#endif
