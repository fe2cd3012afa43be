/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.h - the solver's inside: one node for a vertex of all open jobs, and the steps it goes through; for
 * this room only
 *
 *        inputs keyed       hit                     hit                 equal run in flight
 *   idle ----> (resolve) -> lookup --miss--> content --miss--> run  ...joined
 *    ^  demand        \        \________________ \______________\_____\
 *    |                 v                                               v
 *    +--cancelled--- failed                                           done
 *
 * With caches from elsewhere there is one more way through: lookup or content may end in a *promise*, when a
 * remote record is this step.  A promised node is keyed, so what needs it can be looked up, but it has no
 * result yet.  Somebody who needs that forces it: the layers are fetched (or, when the record has none or
 * they are gone, it goes on to content and run).
 *
 * One lock, solver.lock, guards everything here; a node that is BUSY is worked on by exactly one task, which
 * alone touches what the lock's comment marks as the stage's.  Nothing waits under the lock.
 */
#ifndef MINKE_SOLVER_NODE_H
#define MINKE_SOLVER_NODE_H

#include "solver/cache.h"
#include "task/task.h"

#include <stdatomic.h>

struct impl_entry {
    int op_case;
    char *scheme; /* NULL: any */
    const struct op_impl *impl;
    void *ctx;
};

/* Who does this op; NULL: nobody. */
const struct impl_entry *impl_find(const struct solver *s, const struct llb_vertex *v);

/* A loaded graph, shared by the refs and nodes that look into it. */
struct graph_box {
    atomic_uint refs;
    struct llb_graph *graph;
};
struct graph_box *graph_box_ref(struct graph_box *b);
void graph_box_unref(struct graph_box *b);

enum node_state {
    NODE_IDLE,    /* nobody asked, or what ran was cancelled */
    NODE_WAITING, /* for inputs */
    NODE_READY,   /* to be looked up by whoever comes first */
    NODE_QUEUED,  /* for a slot */
    NODE_BUSY,
    NODE_JOINED,   /* waits for the equal run of `leader` */
    NODE_PROMISED, /* found in a remote cache; nobody needs the result yet */
    NODE_DONE,
    NODE_FAILED,
};
enum node_stage { STAGE_RESOLVE, STAGE_LOOKUP, STAGE_CONTENT, STAGE_FETCH, STAGE_RUN };
/* Will an exporter ask for the digests of the layers that it makes, and when are they made? */
enum node_layers { LAYERS_UNASKED, LAYERS_AFTER_STEP, LAYERS_IN_STEP };
enum node_outcome { OUTCOME_MISS, OUTCOME_HIT, OUTCOME_PROMISE };

struct node_list {
    struct node *first, *last;
};

/* What a step that takes long needs a slot of: a processor, or the wide world. */
enum slot_kind { SLOT_CPU, SLOT_IO, SLOT_KINDS };
/* A job's steps that want one kind of slot. */
struct lane {
    const struct job *job; /* NULL: of no job that is left */
    struct node_list queue;
    int running; /* that were taken from here */
    bool listed; /* in slots.lanes */
};
struct slots {
    int running, limit;
    struct ptrv lanes; /* struct lane *, those with a queue among them; the one served last comes last */
};

#define NODE_KEY_LEN 64 /* hex of a SHA-256 */
typedef char node_key[NODE_KEY_LEN + 1];

/* Records of remote caches that are an output of a node. */
struct cache_match {
    struct remote_cache *cache; /* one of node.caches */
    size_t record;
};
struct match_list {
    struct cache_match *v;
    size_t len;
};
struct remote_hit {
    struct remote_cache *cache; /* NULL: none */
    const struct cache_result *result;
};

/* What of a step it was that failed, beside the step as a whole. */
struct failure_place {
    enum { FAILED_STEP, FAILED_ACTION, FAILED_CONTENT } kind;
    size_t index; /* of the file op's action; of the input whose content was read for the key */
};

struct node {
    struct solver *solver;
    char *id; /* in solver.nodes */
    struct graph_box *box;
    const struct llb_vertex *vertex;
    const struct op_impl *impl;
    void *op_ctx;
    bool fresh;  /* ignore_cache: never looked up */
    bool partly; /* not all outputs are used */
    struct vertex_reporter *reporter;

    struct node **inputs; /* as vertex->inputs; in the same jobs as this one */
    size_t input_count;
    struct ptrv dependents; /* one entry per edge */
    size_t pending;         /* inputs that are waited for: to be keyed, or (needs_results) to be done */
    bool needs_results;
    bool *awaits;     /* which inputs those are */
    bool *input_done; /* as it was when the stage began */
    bool *needed;     /* outputs that are used; the others may be missing */

    enum node_state state;
    enum node_stage stage;
    struct node_list *list; /* the queue it stands in */
    struct lane *lane;      /* NODE_QUEUED or at work in a slot: whose turn it takes */
    struct node *next, *prev;
    bool keyed;  /* promised or done, or was: what stands below is constant */
    bool forced; /* somebody needs the result, not only the key */
    struct ptrv jobs;
    size_t demand;       /* solves under way that need it */
    struct scope *scope; /* of the task at work */
    struct ptrv caches;  /* struct remote_cache, referenced: those of the job that it was made for */
    struct job *closing; /* the job whose end will free it */
    struct node *leader;
    struct ptrv followers;

    /* the stage's while BUSY, constant when DONE */
    char *source_text;         /* of resolve */
    char *pin;                 /* of resolve, for provenance; NULL: none */
    node_key key, content_key; /* "": none */
    struct buf preimage, content_preimage;
    node_key chain_key, chain_content_key; /* the same without ids of results; "": not known */
    struct match_list *matches;            /* by output; NULL: none */
    struct remote_hit *hits;               /* by output; NULL: none, or they could not be loaded */
    uint64_t looked_at;                    /* solver.finished_count when the last look-up began */
    struct snapshot **run_inputs;          /* references, taken when the run begins */
    struct snapshot **outputs;
    size_t output_count;
    bool cached;                 /* found, not made */
    bool shown;                  /* a hit that was told to the clients */
    bool by_content;             /* there is a content key */
    struct error *error;         /* FAILED: as the op gave it */
    struct digest failed_vertex; /* FAILED: whose error it is; this one or an input's */
    struct snapshot **failed;    /* FAILED: what the op's mounts held, or NULL; references */
    size_t failed_count;
    struct failure_place failed_at; /* FAILED */
    struct lease *lease;

    unsigned depth; /* of one that nests: in how many nested definitions it stands; constant */

    enum node_layers layers;
    struct hashing *hashing; /* under way; borrowed */
};

/* One ref_result() under way. */
struct demand {
    struct node *head;
    struct cond wake;
    bool idle;
    bool lazy;                  /* to have it keyed is enough */
    struct demand *next, *prev; /* in solver.idle */
};

struct solver {
    struct solver_config config;
    struct impl_entry *impls;
    size_t impl_count;
    struct error *(*on_load)(void *ctx, const struct llb_graph *g); /* may be NULL */
    void *on_load_ctx;
    struct error *(*on_fetch)(void *ctx, const char *ref, const char *url, char **ret_url);
    void *on_fetch_ctx;
    struct group group; /* of the tasks at work */
    int log_dir_fd;     /* whole logs of clipped steps; -1: none */

    struct mutex lock;
    struct map nodes;   /* id -> struct node */
    struct map lent;    /* digest of a vertex -> struct node with caches, for builds without any */
    struct map running; /* key -> struct node: equal runs join it */
    struct map jobs;    /* ref -> struct job */
    struct node_list ready;
    struct slots slots[SLOT_KINDS];
    struct lane stray_lanes[SLOT_KINDS];
    struct demand *idle;                 /* solves that sleep */
    char finished[64][NODE_KEY_LEN + 1]; /* keys of the newest runs, by finished_count */
    uint64_t finished_count;
    struct cond settled; /* a BUSY node is no longer */
    struct ptrv demands;

    struct semaphore hash_slots;
    struct content_cache *content;
    struct ptrv caches;  /* struct remote_cache that somebody has a reference to */
    atomic_int imported; /* are there records under chain keys? -1: not asked yet */
};

struct ref {
    char id[26];
    struct job *job;
    struct graph_box *box;
    struct node **nodes;       /* as box->graph->vertices, made at the first solve; under solver.lock */
    bool loaded;               /* on_load has seen it; under solver.lock */
    const struct node *parent; /* the step that solves it; NULL: none */
};

struct job {
    struct solver *solver;
    char *ref;
    struct strv entitlements;
    bool exports_layers;
    struct error *(*allow)(void *ctx, struct llb_def *def, struct llb_def **ret); /* may be NULL */
    void *allow_ctx;
    unsigned nested;               /* definitions of op_solve; under solver.lock */
    bool closing;                  /* no nodes come to it any more; under solver.lock */
    struct lane lanes[SLOT_KINDS]; /* under solver.lock */
    struct session_group sessions;
    struct progress *progress;
    struct scope *scope;
    struct map noted; /* string map of op_note; under solver.lock */
    struct map refs;  /* id -> struct ref; under solver.lock */
    struct map
        results; /* id -> struct snapshot, references: what details of errors name; under solver.lock */
    struct ptrv caches; /* struct remote_cache, referenced; under solver.lock */
    struct ptrv nodes;  /* attached ones */
    struct ptrv ending; /* nodes that only this job, now closing, holds */
};

/* ---- node.c ---- */
/* Find or make the nodes of r's graph, inputs first, and attach them to r's job. */
struct error *ref_make_nodes_locked(struct ref *r) MUST_CHECK;
/* Out of all tables; the memory is freed later (node_free), without the lock. */
void node_unlink_locked(struct node *n);
void node_free(struct node *n);

/* ---- schedule.c ---- */
void node_list_push(struct node_list *l, struct node *n);
void node_list_remove(struct node *n);     /* from the queue that it stands in, if any */
bool node_wanted(const struct node *n);    /* by a solve, or by those that joined its run */
void node_activate_locked(struct node *n); /* an idle one that somebody wants: begin */
void node_enqueue_locked(
    struct node *n); /* its stage can begin: as soon as somebody has time, or a slot is free */
void node_retire_locked(struct node *n); /* nothing happens when somebody still wants it */
/* Nobody works on it any more.  What it was keyed by stays: whatever stands above it may be reading that. */
void node_let_go_locked(struct node *n);
void node_show_inputs_locked(struct node *n); /* as cached: they are about to be used */
/* Look up the first node that is ready, whosever it is.  There is one. */
void solver_look_up_locked(struct solver *s);

/* ---- inputs.c ---- */
void node_done_locked(struct node *n);    /* it has its results: so it is told to those that wait */
void node_promise_locked(struct node *n); /* it is keyed; its result is in another cache */
/* It and all that need it have failed, for the error of `vertex`; n->error is set. */
void node_fail_locked(struct node *n, struct digest vertex);
void node_force_locked(struct node *n); /* somebody needs its result */
/* A miss: on to the stage after this one, when the results that it reads are here. */
void node_advance_locked(struct node *n);
enum node_stage node_stage_after(const struct node *n); /* a miss */

/* ---- join.c ---- */
/* A node that missed and has its inputs: it runs, joins an equal run, or looks again for one that just ended.
 */
void run_begin_locked(struct node *n);
void run_leave_locked(struct node *n); /* nobody can join it any more; nothing happens when it does not run */
void run_note_finished_locked(const struct node *n);
/* Those that joined it get its result or its error `e`; `again`: they run themselves. */
void run_release_followers_locked(struct node *n, const struct error *e, bool again);

/* ---- demand.c ---- */
/* Attach r's nodes to its job and ask for all of them; leave takes it back. */
struct error *demand_enter_locked(struct demand *d, struct ref *r) MUST_CHECK;
void demand_leave_locked(struct demand *d, struct ref *r);
/* Do what is ready, then sleep; until the head is done (lazy: keyed) or failed. 0, -ECANCELED, -ETIMEDOUT. */
int demand_wait_locked(struct demand *d) MUST_CHECK;
/* A lazy one: until all nodes of r are keyed, at one moment. */
struct error *demand_wait_keyed_locked(struct demand *d, struct ref *r) MUST_CHECK;
void demand_wake_one_locked(struct solver *s); /* one that sleeps: something is ready */
void demand_wake_locked(struct node *n);       /* those whose head it is */

/* ---- detach.c ---- */
/* Let go of the job's nodes; those that nobody else holds are freed when this returns (what is at work is
 * waited for). */
void job_detach(struct job *j);

/* ---- slots.c ---- */
void slots_queue_locked(struct node *n); /* n->stage says for which kind */
/* The next one that may begin, with its slot; NULL: none.  Given back by slots_leave_locked. */
struct node *slots_take_locked(struct solver *s, enum slot_kind kind);
void slots_leave_locked(struct node *n);                        /* nothing happens when it has none */
void slots_start_locked(struct solver *s);                      /* those that may begin now */
void slots_move_locked(struct node *n, const struct job *from); /* `from` is no job of n any more */
void slots_forget_locked(struct job *j);                        /* no node is in its lanes any more */

/* ---- stage.c, op_context.c, key.c: without the lock, on a node that is BUSY ---- */
void op_context_init(struct node *n, struct op_context *c);
void op_context_deinit(struct op_context *c);
struct error *stage_resolve(struct node *n) MUST_CHECK; /* may fill outputs: done */
struct error *stage_lookup(struct node *n, enum node_outcome *ret) MUST_CHECK;
struct error *stage_content(struct node *n, enum node_outcome *ret) MUST_CHECK;
struct error *stage_fetch(struct node *n) MUST_CHECK; /* the layers of the hits */
struct error *stage_run(struct node *n) MUST_CHECK;
void node_clear_failed(struct node *n);                      /* what the mounts held */
void node_clear_stage(struct node *n);                       /* forget what stages left, to begin anew */
struct snapshot *node_input(const struct node *n, size_t i); /* borrowed; NULL: scratch, or not there yet */
/* What a source that is keyed has turned out to be; NULL: no source.  Borrowed from the node: the stage's. */
const char *node_source(const struct node *n);
/* How inputs stand in a key. */
enum key_kind { KEY_ID, KEY_CONTENT, KEY_CHAIN, KEY_CHAIN_CONTENT };
/* *ret_by_content: an input counts by its content, so that a content key differs; left alone else. */
struct error *node_make_key(struct node *n, enum key_kind kind, bool *ret_by_content, struct buf *preimage,
                            node_key ret) MUST_CHECK;
/* A chain key, where all inputs that it names have one.  Without results that were fetched, now or earlier,
 * nobody needs it. */
struct error *node_make_chain_key(struct node *n, enum key_kind kind, node_key ret) MUST_CHECK;
/* What names an output's step on every machine, apart from its inputs; `source` as node_source says. */
struct error *node_record_digest(const struct node *n, const char *source, size_t output,
                                 struct digest *ret) MUST_CHECK;
/* Digest of what it reads of input i, which is `in`; "" when that goes by key only. */
struct error *node_input_content(const struct node *n, size_t i, struct snapshot *in,
                                 struct digest *ret) MUST_CHECK;

/* ---- cache.c: remote caches; of a node that is BUSY ---- */
struct error *remote_match(struct node *n) MUST_CHECK;         /* by the records of the inputs */
struct error *remote_match_content(struct node *n) MUST_CHECK; /* and by content where it can be had */
/* Is that record in the list?  NULL is an empty one. */
bool remote_has_match(const struct match_list *l, const struct remote_cache *c, size_t record);
bool remote_matched(const struct node *n); /* some record is this step */
void remote_choose_hits(struct node *n);   /* node.hits, when every needed output has one */
void remote_forget(struct node *n);        /* matches and hits */
struct error *remote_load(struct remote_hit *h, struct op_context *c, struct snapshot **ret) MUST_CHECK;
struct error *solver_imported(struct solver *s, bool *ret) MUST_CHECK;
struct error *solver_set_imported(struct solver *s) MUST_CHECK;

/* ---- layers.c ---- */
void layers_ask_locked(struct ref *r);               /* those of r's result, if the job exports layers */
void layers_hash_in_step(struct node *n);            /* of a node that is BUSY, when its op has run */
struct hashing *layers_begin_locked(struct node *n); /* of a node that is done; NULL: nothing to do */
void layers_hash_after_step(struct hashing *h);      /* takes it */
void layers_forget_locked(struct node *n);           /* the node goes: nobody waits any more */

/* ---- content.c ---- */
struct content_cache *content_cache_new(void);
void content_cache_free(struct content_cache *c);

#endif
