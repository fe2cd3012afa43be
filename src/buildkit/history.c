/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.c - the builds: records in memory, those that have ended also in the store's database, logs and
 * errors as files in ROOT/history
 *
 * Files come before the row that names them and go after it; what a crash leaves is swept at the next start
 * (history_load).
 */
#include "buildkit/history_impl.h"

#include "base/log.h"
#include "export/export.h"
#include "oci/purl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct error *history_new(struct builder *b, struct history **ret)
{
    struct history *h;
    int root = store_root_fd(b->config->store), fd;
    struct error *e;

    if (mkdirat(root, "history", 0700) < 0 && errno != EEXIST)
        return err_sys(errno, "make the history folder");
    fd = openat(root, "history", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(errno, "open the history folder");
    h = NEW(struct history);
    h->builder = b;
    h->dir_fd = fd;
    mutex_init(&h->rows);
    mutex_init(&h->lock);
    cond_init(&h->news);
    cond_init(&h->due);
    group_open(&h->writers, GROUP_DAEMON | GROUP_KEEP_GOING);
    mutex_lock(&h->rows);
    e = history_load(h);
    mutex_unlock(&h->rows);
    if (e != NULL) {
        history_free(h);
        return err_wrap(e, "read the history");
    }
    *ret = h;
    return NULL;
}

void history_record_free(struct history_record *r)
{
    for (size_t i = 0; i < r->attestation_count; i++)
        free(r->attestations[i].key);
    free(r->attestations);
    for (size_t i = 0; i < r->exporter_count; i++) {
        free(r->exporters[i].type);
        map_deinit(&r->exporters[i].attrs);
    }
    free(r->exporters);
    map_deinit(&r->attrs);
    map_deinit(&r->response);
    for (size_t i = 0; i < r->result_count; i++)
        descriptor_deinit(&r->results[i]);
    free(r->results);
    lease_close(r->lease);
    err_free(r->error);
    free(r->ref);
    free(r->frontend);
    free(r);
}

void history_free(struct history *h)
{
    if (h == NULL)
        return;
    history_finish_endings(h);
    for (size_t i = 0; i < h->records.len; i++)
        history_record_free(h->records.v[i]);
    ptrv_deinit(&h->records);
    ptrv_deinit(&h->queue);
    close(h->dir_fd);
    cond_deinit(&h->news);
    cond_deinit(&h->due);
    mutex_deinit(&h->lock);
    mutex_deinit(&h->rows);
    free(h);
}

void history_changed_locked(struct history *h, struct history_record *r, Bk__BuildHistoryEventType event)
{
    r->event = event;
    r->changed = ++h->sequence;
    cond_broadcast(&h->news);
}

/* ---- beginning, expiring ---- */

static int max_entries(const struct history *h)
{
    return h->builder->config->history_max_entries < 0 ? 50 : h->builder->config->history_max_entries;
}

/* Values that are URLs lose their credentials, as in provenance: records are for everybody who may ask. */
static void copy_redacted(struct map *to, const struct map *from)
{
    for (size_t i = 0; i < from->len; i++) {
        CLEANUP(freep) char *shown = url_redact(from->entries[i].value);

        strmap_set(to, from->entries[i].key, shown);
    }
}

struct history_record *history_begin(struct history *h, const struct build_request *q,
                                     struct exporter *const *exporters)
{
    struct history_record *r;

    if (max_entries(h) == 0)
        return NULL;
    r = NEW(struct history_record);
    r->ref = xstrdup(q->ref);
    r->frontend = xstrdup(q->frontend == NULL ? "" : q->frontend);
    strmap_init(&r->attrs);
    strmap_init(&r->response);
    if (q->frontend_attrs != NULL)
        copy_redacted(&r->attrs, q->frontend_attrs);
    r->exporters = xcalloc(q->exporter_count + 1, sizeof(*r->exporters));
    for (size_t i = 0; i < q->exporter_count; i++) {
        struct history_exporter *x = &r->exporters[r->exporter_count++];
        x->type = xstrdup(exporter_type(exporters[i]));
        strmap_init(&x->attrs);
        strmap_copy(&x->attrs, exporter_attrs(exporters[i]));
    }
    r->created_ns = now_ns();
    mutex_lock(&h->lock);
    ptrv_add(&h->records, r);
    h->running++;
    history_changed_locked(h, r, BK__BUILD_HISTORY_EVENT_TYPE__STARTED);
    mutex_unlock(&h->lock);
    return r;
}

/* Oldest records go when there are too many and they are too old, or simply too many while none may be kept
 * by age. */
void history_expire_locked(struct history *h, struct ptrv *gone)
{
    int64_t age = h->builder->config->history_max_age_ns > 0 ? h->builder->config->history_max_age_ns
                                                             : 48 * 3600 * NS_PER_SEC;
    int64_t now = now_ns();
    size_t hard = (size_t)max_entries(h) * 20; /* memory stays bounded whatever the age */

    for (size_t i = 0; i < h->records.len && h->records.len > (size_t)max_entries(h);) {
        struct history_record *r = h->records.v[i];
        bool old = r->completed_ns != 0 && !r->pinned &&
                   (now - r->completed_ns > age || h->records.len > hard || r->deleted);
        if (!old) {
            i++;
            continue;
        }
        ptrv_remove(&h->records, i);
        ptrv_add(gone, r);
    }
}

void history_forget(struct history *h, struct ptrv *gone)
{
    for (; gone->len > 0; ptrv_remove(gone, gone->len - 1)) {
        struct history_record *r = gone->v[gone->len - 1];

        log_err(LOG_WARN, history_row_remove(h, r), "an old build's record stays until the next start");
        mutex_lock(&h->lock);
        history_blobs_drop(h, r);
        mutex_unlock(&h->lock);
        history_record_free(r);
    }
}

/* ---- reading ---- */

static struct history_record *find_locked(struct history *h, const char *ref)
{
    for (size_t i = h->records.len; i-- > 0;) {
        struct history_record *r = h->records.v[i];
        if (!r->deleted && streq(r->ref, ref))
            return r;
    }
    return NULL;
}

struct error *history_open_log(struct history *h, const char *ref, struct stream **ret)
{
    struct digest d = { "" };
    struct history_record *r;
    int waited = 0;

    history_hurry(h);
    mutex_lock(&h->lock);
    while ((r = find_locked(h, ref)) != NULL && r->ending != 0 && waited == 0)
        waited = cond_wait(&h->news, &h->lock);
    if (r != NULL && r->completed_ns != 0)
        d = r->log.digest;
    mutex_unlock(&h->lock);
    history_relax(h);
    if (waited < 0)
        return task_error(waited, "wait for the record of build %s", ref);
    if (d.s[0] == '\0')
        return err_new(ERR_NOT_FOUND, "no such job %s", ref);
    return history_blob_open_at(h, &d, NULL, ret);
}

/* ---- ListenBuildHistory
 * ------------------------------------------------------------------------------------------------------------
 */

struct event_list {
    struct pb_arena arena;
    Bk__BuildHistoryEvent **v;
    size_t len;
    uint64_t seen;
};

/* Filters choose among what there is; of what changes later, all is told. */
static bool is_asked_for(const Bk__BuildHistoryRequest *q, const struct history_filters *filters,
                         const struct history_record *r, const struct event_list *l)
{
    if (q->ref[0] != '\0' && !streq(q->ref, r->ref))
        return false;
    if (filters == NULL)
        return r->changed > l->seen;
    return !r->deleted && !(q->active_only && r->completed_ns != 0) &&
           !(q->limit > 0 && l->len >= (size_t)q->limit) && history_filters_pass(filters, r);
}

/* The records that are there, newest build first and cut at `limit`; without filters, those newer than
 * `seen`. */
static void collect(struct history *h, const Bk__BuildHistoryRequest *q,
                    const struct history_filters *filters, struct event_list *l)
{
    mutex_lock(&h->lock);
    l->len = 0;
    l->v = pb_array(&l->arena, h->records.len);
    for (size_t i = h->records.len; i-- > 0;) {
        const struct history_record *r = h->records.v[i];
        Bk__BuildHistoryEvent *ev;

        if (!is_asked_for(q, filters, r, l))
            continue;
        ev = l->v[l->len++] = PB_NEW(&l->arena, bk__build_history_event);
        ev->type = r->event;
        ev->record = history_message_locked(&l->arena, r);
    }
    l->seen = h->sequence;
    mutex_unlock(&h->lock);
}

static struct error *wait_news(struct history *h, uint64_t seen)
{
    int r = 0;

    mutex_lock(&h->lock);
    while (h->sequence == seen && r == 0)
        r = cond_wait(&h->news, &h->lock);
    mutex_unlock(&h->lock);
    return r == 0 ? NULL : task_error(r, "wait for build history");
}

static struct error *listen(struct history *h, struct rpc_call *call, const Bk__BuildHistoryRequest *q)
{
    struct history_filters *filters = NULL;
    struct event_list l = { 0 };
    struct error *e = q->limit < 0 ? err_new(ERR_INVALID, "invalid limit %d", (int)q->limit)
                                   : history_filters_parse(q->filter, q->n_filter, &filters);

    if (e == NULL)
        e = history_await_endings(h);
    while (e == NULL) {
        collect(h, q, filters, &l);
        history_filters_free(TAKE(filters));
        for (size_t i = 0; e == NULL && i < l.len; i++)
            e = rpc_send(call, &l.v[i]->base);
        pb_arena_reset(&l.arena);
        if (q->early_exit)
            break;
        if (e == NULL)
            e = wait_news(h, l.seen);
    }
    history_filters_free(filters);
    pb_arena_deinit(&l.arena);
    return e;
}

struct error *history_listen(struct history *h, struct rpc_call *call, const Bk__BuildHistoryRequest *q)
{
    struct error *e;

    history_hurry(h); /* who listens sees an end when it comes */
    e = listen(h, call, q);
    history_relax(h);
    return e;
}

/* What the record of a build that has ended says now, for its row. */
static void pack_locked(const struct history_record *r, struct buf *text)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };

    pb_pack(&history_message_locked(&a, r)->base, text);
}

/* *ret: what has changed. */
static struct error *update_locked(struct history *h, const Bk__UpdateBuildHistoryRequest *q,
                                   struct history_record **ret)
{
    struct history_record *r = find_locked(h, q->ref);

    if (r == NULL || (q->remove && r->completed_ns == 0))
        return err_new(ERR_NOT_FOUND, "lease \"ref_%s\": not found", q->ref);
    if (q->remove) {
        r->deleted = true;
        history_changed_locked(h, r, BK__BUILD_HISTORY_EVENT_TYPE__DELETED);
    } else {
        r->pinned = q->finalize ? r->pinned : q->pinned;
        r->generation++;
        history_changed_locked(h, r,
                               r->completed_ns == 0 ? BK__BUILD_HISTORY_EVENT_TYPE__STARTED
                                                    : BK__BUILD_HISTORY_EVENT_TYPE__COMPLETE);
    }
    *ret = r;
    return NULL;
}

/* In `rows`: nobody else takes the record off the list. */
static struct error *update(struct history *h, const Bk__UpdateBuildHistoryRequest *q)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct history_record *r = NULL;
    struct error *e;
    bool ended;

    mutex_lock(&h->lock);
    e = update_locked(h, q, &r);
    ended = e == NULL && r->completed_ns != 0;
    if (ended && !q->remove)
        pack_locked(r, &text);
    mutex_unlock(&h->lock);
    if (!ended)
        return e;
    if (!q->remove)
        return history_row_write(h, r, &text);
    TRY(history_row_remove(h, r));
    lease_close(TAKE(r->lease));
    mutex_lock(&h->lock);
    history_blobs_drop(h, r);
    mutex_unlock(&h->lock);
    return NULL;
}

struct error *history_update(struct history *h, const Bk__UpdateBuildHistoryRequest *q)
{
    struct error *e;

    TRY(history_await_endings(h));
    mutex_lock(&h->rows);
    e = update(h, q);
    mutex_unlock(&h->rows);
    return e;
}
