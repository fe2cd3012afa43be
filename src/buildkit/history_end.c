/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_end.c - what is written of a build once it has ended: its log, trace, provenance and error
 *
 * Nobody waits for that but who asks for records, and it takes as long as a small build does.  So it is done
 * when no build runs, by one task and in the order of the ends; at once where somebody asks, or where much
 * has gathered.
 */
#include "buildkit/history_impl.h"

#include "base/log.h"
#include "buildkit/stack.h"
#include "buildkit/trace.h"

#define IDLE_NS (50 * NS_PER_MS)   /* without a build before records are written */
#define DELAY_NS (2 * NS_PER_SEC)  /* the longest that one waits for that */
#define QUEUE_LENGTH ((size_t)32)  /* as many wait */
#define WRITE_NS (10 * NS_PER_SEC) /* what one may take once the daemon stops */

struct ending {
    struct history *history;
    struct history_record *record;
    struct build *build; /* closed */
    struct progress *progress;
    struct error *failure;
    int64_t ended_ns;
    int64_t queued_ns; /* monotonic */
    struct history_blob log, external_error, trace;
    struct history_attestation *attestations;
    size_t attestation_count;
};

static void ending_free(struct ending *x)
{
    build_free(x->build);
    progress_unref(x->progress);
    err_free(x->failure);
    free(x);
}

/* ---- the files ---- */

static struct error *write_frame(void *ctx, const void *data, size_t len)
{
    uint8_t head[4] = { (uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16), (uint8_t)(len >> 24) };

    TRY(blob_write(ctx, head, sizeof(head)));
    return blob_write(ctx, data, len);
}

static struct error *fill_log(struct blob_writer *w, void *progress)
{
    return builder_follow(progress, write_frame, w);
}

static struct error *fill_text(struct blob_writer *w, void *arg)
{
    const struct buf *text = arg;

    return blob_write(w, text->data, text->len);
}

/* Provenance of every result with all there is to tell, whatever the client asked for. */
static struct error *make_provenance(struct ending *x, struct buf *text)
{
    const struct build *u = x->build;
    struct provenance_options o = {
        .max = true, .builder_id = u->attest.how.builder_id == NULL ? (char *)"" : u->attest.how.builder_id
    };

    for (size_t i = 0; i < u->provenance_count; i++) {
        const struct provenance *p = &u->provenance[i];
        struct history_attestation *to = &x->attestations[x->attestation_count];

        if (p->ref == NULL)
            continue;
        buf_clear(text);
        TRY(provenance_write(p, &o, NULL, text));
        TRY(history_blob_make(x->history, fill_text, text, &to->blob));
        to->key = xstrdup(u->result.refs[i].key);
        x->attestation_count++;
    }
    return NULL;
}

static struct error *make_trace(struct ending *x, struct buf *text)
{
    buf_clear(text);
    TRY(trace_write(x->progress, x->record->ref, x->build->started_ns, x->ended_ns, x->failure, text));
    return history_blob_make(x->history, fill_text, text, &x->trace);
}

static struct error *make_error(struct ending *x, struct buf *text)
{
    CLEANUP(err_freep) struct error *traced = err_clone(x->failure);
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };

    buf_clear(text);
    stack_add_detail(traced, x->history->builder->config->version);
    pb_pack(&pb_from_error(&a, traced)->base, text);
    return history_blob_make(x->history, fill_text, text, &x->external_error);
}

static void end_record(struct history_record *r, const struct ending *x)
{
    r->ending = 0;
    r->log = x->log;
    r->trace = x->trace;
    r->external_error = x->external_error;
    r->attestations = x->attestations;
    r->attestation_count = x->attestation_count;
    r->completed_ns = x->ended_ns;
    r->generation++;
}

/* What the record will say, which it does not yet. */
static void foretell(struct ending *x, struct buf *text)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    struct history_record told;

    buf_clear(text);
    mutex_lock(&x->history->lock);
    told = *x->record;
    end_record(&told, x);
    pb_pack(&history_message_locked(&a, &told)->base, text);
    mutex_unlock(&x->history->lock);
}

/* Whoever is told of the end finds the row: it is written first. */
static void complete(struct ending *x, struct buf *text)
{
    CLEANUP(ptrv_deinit) struct ptrv gone = { 0 };
    struct history *h = x->history;

    mutex_lock(&h->rows);
    foretell(x, text);
    history_hold_results(h, x->record);
    log_err(LOG_WARN, history_row_write(h, x->record, text), "the build's record is lost with this run");
    mutex_lock(&h->lock);
    h->filling = false;
    end_record(x->record, x);
    history_changed_locked(h, x->record, BK__BUILD_HISTORY_EVENT_TYPE__COMPLETE);
    history_expire_locked(h, &gone);
    mutex_unlock(&h->lock);
    history_forget(h, &gone);
    mutex_unlock(&h->rows);
}

/* `text`: memory for the documents. */
static void write_ending(struct ending *x, struct buf *text)
{
    struct deadline shield;

    shield_begin(&shield, WRITE_NS);
    log_err(LOG_WARN, history_blob_make(x->history, fill_log, x->progress, &x->log),
            "the build's log is not kept");
    log_err(LOG_WARN, make_trace(x, text), "the build's trace is not kept");
    log_err(LOG_WARN, make_provenance(x, text), "the build's provenance is not kept");
    if (x->failure != NULL)
        log_err(LOG_WARN, make_error(x, text), "the build's error is not kept");
    shield_end(&shield);
    complete(x, text);
    ending_free(x);
}

/* ---- when ---- */

/* ns until the first of the queue is to be written; 0 or less: now. */
static int64_t due_locked(const struct history *h)
{
    const struct ending *first = h->queue.v[0];
    int64_t now = monotonic_ns();
    int64_t late = first->queued_ns + DELAY_NS - now;

    if (h->closing || h->waiting > 0 || h->queue.len > QUEUE_LENGTH)
        return 0;
    return h->running > 0 ? late : MIN(late, h->ended_ns + IDLE_NS - now);
}

static struct ending *take_due_locked(struct history *h)
{
    struct ending *x;
    int64_t left;
    bool timed_out;
    int r = 0; /* not 0: the daemon stops */

    while (r == 0 && (left = due_locked(h)) > 0)
        r = cond_wait_for(&h->due, &h->lock, left, &timed_out);
    x = h->queue.v[0];
    ptrv_remove(&h->queue, 0);
    h->filling = true;
    return x;
}

/* All that is queued until there is nothing more. */
static struct error *write_queue(void *arg)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct history *h = arg;

    mutex_lock(&h->lock);
    while (h->queue.len > 0) {
        struct ending *x = take_due_locked(h);

        mutex_unlock(&h->lock);
        write_ending(x, &text);
        mutex_lock(&h->lock);
    }
    h->writing = false;
    mutex_unlock(&h->lock);
    return NULL;
}

/* ---- ends ---- */

static void keep_results(struct history_record *r, const struct build *u)
{
    r->results = xcalloc(u->exported_count + 1, sizeof(*r->results));
    for (size_t i = 0; i < u->exported_count; i++)
        descriptor_copy(&r->results[r->result_count++], &u->exported[i]);
}

static void keep_facts_locked(struct history *h, struct history_record *r, const struct build *u,
                              const struct error *failure)
{
    const struct frontend_result *result = &u->result;

    r->ending = ++h->endings;
    r->error = err_clone(failure);
    r->counts = progress_count(job_progress(u->job));
    for (size_t i = 0; i < result->metadata_count; i++) {
        CLEANUP(freep) char *value = xstrndup(result->metadata[i].value, result->metadata[i].len);
        strmap_set(&r->response, result->metadata[i].key, value);
    }
    if (failure == NULL)
        keep_results(r, u);
    h->running--;
    h->ended_ns = monotonic_ns();
}

struct ending *history_end(struct history *h, struct history_record *r, const struct build *u,
                           const struct error *failure)
{
    struct ending *x;

    if (r == NULL)
        return NULL;
    x = NEW(struct ending);
    *x = (struct ending){ .history = h,
                          .record = r,
                          .progress = progress_ref(job_progress(u->job)),
                          .failure = err_clone(failure),
                          .ended_ns = now_ns(),
                          .attestations = xcalloc(u->provenance_count + 1, sizeof(*x->attestations)) };
    mutex_lock(&h->lock);
    keep_facts_locked(h, r, u, failure);
    mutex_unlock(&h->lock);
    return x;
}

void history_write(struct ending *x, struct build *u)
{
    struct history *h = x->history;
    bool start;

    x->build = u;
    x->queued_ns = monotonic_ns();
    mutex_lock(&h->lock);
    ptrv_add(&h->queue, x);
    start = !h->writing;
    h->writing = true;
    cond_broadcast(&h->due);
    mutex_unlock(&h->lock);
    if (!start)
        return;
    struct error *e = group_spawn(&h->writers, "history", write_queue, h);

    if (e != NULL) { /* no more tasks, or the daemon ends */
        err_free(e);
        history_hurry(h);
        err_free(write_queue(h));
        history_relax(h);
    }
}

/* ---- waiting ---- */

void history_hurry(struct history *h)
{
    mutex_lock(&h->lock);
    h->waiting++;
    cond_broadcast(&h->due);
    mutex_unlock(&h->lock);
}

void history_relax(struct history *h)
{
    mutex_lock(&h->lock);
    h->waiting--;
    mutex_unlock(&h->lock);
}

static bool is_written_locked(const struct history *h, uint64_t last)
{
    for (size_t i = 0; i < h->records.len; i++) {
        const struct history_record *r = h->records.v[i];

        if (r->ending != 0 && r->ending <= last)
            return false;
    }
    return true;
}

struct error *history_await_endings(struct history *h)
{
    int r = 0;

    history_hurry(h);
    mutex_lock(&h->lock);
    for (uint64_t last = h->endings; r == 0 && !is_written_locked(h, last);)
        r = cond_wait(&h->news, &h->lock);
    mutex_unlock(&h->lock);
    history_relax(h);
    return r == 0 ? NULL : task_error(r, "wait for build history");
}

void history_finish_endings(struct history *h)
{
    mutex_lock(&h->lock);
    h->closing = true;
    cond_broadcast(&h->due);
    mutex_unlock(&h->lock);
    err_free(group_join(&h->writers));
}
