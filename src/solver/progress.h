/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - what happened to the vertices of a build: an append-only event log per job, followed by any
 * number of readers
 *
 * A vertex that is shared by several builds (equal runs joined) reports once and is seen in each of them.
 * Events keep BuildKit's meaning (protocol.md section 5): declared, started, completed, cached, statuses,
 * logs, warnings.  Thread-safe; reporting never waits.
 */
#ifndef MINKE_SOLVER_PROGRESS_H
#define MINKE_SOLVER_PROGRESS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "llb/llb.h"
#include "oci/digest.h"

struct progress; /* of one job, shared (ref) */
struct progress *progress_new(void);
struct progress *progress_ref(struct progress *p);
void progress_unref(struct progress *p);
/* No event follows; every vertex still running is completed with "context canceled", open statuses are
 * completed.  Idempotent. */
void progress_close(struct progress *p);

/* ---- events
 * ----------------------------------------------------------------------------------------------------------------
 */

enum progress_kind { PROGRESS_VERTEX, PROGRESS_STATUS, PROGRESS_LOG, PROGRESS_WARNING };
struct progress_event {
    enum progress_kind kind;
    const char *vertex; /* digest */
    union {
        struct {
            const char *name;
            const char *const *inputs;
            size_t input_count;
            bool cached;
            int64_t started_ns, completed_ns;  /* 0: not yet */
            const char *error;                 /* NULL: none */
            const char *group_id, *group_name; /* NULL: no progress group */
            bool group_weak;
        } v;
        struct {
            const char *id, *name;
            int64_t current, total, timestamp_ns, started_ns, completed_ns;
        } status;
        struct {
            int stream; /* 1 stdout, 2 stderr */
            const void *data;
            size_t len;
            int64_t timestamp_ns;
        } log;
        struct {
            int level;
            const char *short_text, *url;
            const char *const *detail;
            size_t detail_count;
            const struct llb_source_info *info;
            const struct llb_range *ranges;
            size_t range_count;
        } warning;
    };
};
/* Follow from the beginning. Events are borrowed until the next call; they stay alive as long as the reader.
 */
struct progress_reader;
struct progress_reader *progress_read_open(struct progress *p);
/* Up to `cap` events that are there; waits for at least one.  0 = the job has ended and all was read.
 * -ECANCELED, -ETIMEDOUT. */
ssize_t progress_read(struct progress_reader *r, const struct progress_event **events, size_t cap) MUST_CHECK;
/* From now on batches come `interval_ns` apart at least; the end is told at once. */
void progress_read_pace(struct progress_reader *r, int64_t interval_ns);
void progress_read_close(struct progress_reader *r);
/* A warning about a vertex named by digest (`w->vertex`), from outside its reporter. Deep copied. */
void progress_warn(struct progress *p, const struct progress_event *w);
/* Counts for history records, of vertices by digest. */
struct progress_counts {
    int total, cached, completed, warnings;
};
struct progress_counts progress_count(struct progress *p);

/* ---- reporting
 * ----------------------------------------------------------------------------------------------------------------
 */

/* One vertex's reporter; it may write to several jobs' logs (solver adds them). Thread-safe. */
struct vertex_reporter;
/* A vertex that is no LLB op: exporters, "[internal] load metadata ..", "importing cache ..". `digest` NULL:
 * made from the name. */
struct vertex_reporter *reporter_new(struct progress *p, const char *digest, const char *name);
struct vertex_reporter *reporter_for_vertex(struct progress *p, const struct llb_vertex *v);
void reporter_add(struct vertex_reporter *r, struct progress *p); /* replays what it said so far into p */
void reporter_free(struct vertex_reporter *r);                    /* completes open statuses */
const char *reporter_digest(const struct vertex_reporter *r);
void reporter_start(struct vertex_reporter *r);
void reporter_complete(struct vertex_reporter *r,
                       const struct error *e);   /* NULL: done; completes open statuses first */
void reporter_cached(struct vertex_reporter *r); /* started = completed = now, cached */
/* A row: begin, any updates, end. `id` is the row's text, `name` the verb ("transferring"); total may be 0.
 * Updates that come faster than the eye are dropped, the first and the last never. */
void reporter_status(struct vertex_reporter *r, const char *id, const char *name, int64_t current,
                     int64_t total, bool done);
/* Output of a step.  A stream is shown up to LIMIT_STEP_LOG_SHOWN bytes and 200 KiB a second
 * (BUILDKIT_STEP_LOG_MAX_SIZE and BUILDKIT_STEP_LOG_MAX_SPEED of the environment, -1: no limit); beyond it
 * BuildKit's "[output clipped, ..]" stands, and a step that fails shows the last 256 KiB. */
void reporter_log(struct vertex_reporter *r, int stream, const void *data, size_t len);
/* Where the whole output of a step goes once it is clipped: a file below `dir_fd` (borrowed, must outlive r),
 * of which the newest LIMIT_STEP_LOGS are kept.  -1: nowhere. */
void reporter_keep_log(struct vertex_reporter *r, int dir_fd);
void reporter_warn(struct vertex_reporter *r,
                   const struct progress_event *warning); /* kind PROGRESS_WARNING; deep copied */
/* A warning from outside (LLBBridge.Warn, the Dockerfile linter) about a vertex that this job may not have
 * declared itself. */
void progress_warn(struct progress *p, const struct progress_event *warning);

#endif
