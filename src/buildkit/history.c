/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history.c - the builds of this run: records in memory, logs and errors as files below the store's work
 * folder
 *
 * The files are unlinked with the record; what a crash leaves is swept with the work folder at the next
 * start.
 */
#include "buildkit/internal.h"
#include "oci/purl.h"
#include "buildkit/stack.h"
#include "buildkit/trace.h"

#include "base/bytes.h"
#include "base/log.h"
#include "export/export.h"
#include "io/path.h"
#include "oci/digest.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_MEDIA_TYPE "application/vnd.buildkit.status.v0"
#define TRACE_MEDIA_TYPE "application/vnd.buildkit.otlp.json.v0"
#define ERROR_MEDIA_TYPE "application/vnd.googleapis.google.rpc.status+proto"

struct history_blob {
    struct digest digest; /* "" = none */
    int64_t size;
};

/* What was attested of one result. */
struct history_attestation {
    char *key; /* platform id; NULL of a single result */
    struct history_blob blob;
};

struct history_exporter {
    char *type;
    struct map attrs;
};

struct history_record {
    char *ref, *frontend;
    struct map attrs, response;
    struct history_exporter *exporters;
    size_t exporter_count;
    int64_t created_ns, completed_ns; /* 0: still runs */
    struct error *error;
    struct history_blob log, external_error, trace;
    struct history_attestation *attestations; /* provenance */
    size_t attestation_count;
    struct descriptor *results; /* of each exporter; media_type NULL: no image */
    size_t result_count;
    struct progress_counts counts;
    int generation;
    bool pinned, deleted;
    uint64_t changed; /* sequence of the last event */
    uint64_t ending;  /* != 0: the build has ended, its files are being written; in order of the ends */
    Bk__BuildHistoryEventType event;
};

struct history {
    struct builder *builder;
    struct mutex lock;
    struct cond news;
    struct ptrv records; /* oldest first */
    uint64_t sequence, endings;
    struct group writers; /* of builds that have ended */
    int dir_fd;
};

struct error *history_new(struct builder *b, struct history **ret)
{
    struct history *h;
    int work = store_work_fd(b->config->store), fd;

    if (mkdirat(work, "history", 0700) < 0 && errno != EEXIST)
        return err_sys(errno, "make the history folder");
    fd = openat(work, "history", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(errno, "open the history folder");
    h = NEW(struct history);
    h->builder = b;
    h->dir_fd = fd;
    mutex_init(&h->lock);
    cond_init(&h->news);
    group_open(&h->writers, GROUP_DAEMON | GROUP_KEEP_GOING);
    *ret = h;
    return NULL;
}

static bool record_has(const struct history_record *r, const struct digest *d)
{
    bool has = digest_eq(&r->log.digest, d) || digest_eq(&r->external_error.digest, d) ||
               digest_eq(&r->trace.digest, d);

    for (size_t i = 0; i < r->attestation_count && !has; i++)
        has = digest_eq(&r->attestations[i].blob.digest, d);
    return has;
}

/* Equal texts are one file: it goes with the last of its records, and while one is being written nobody knows
 * whether it will have it. */
static void blob_drop(struct history *h, const struct history_record *of, struct history_blob *b)
{
    bool shared = b->digest.s[0] == '\0';

    for (size_t i = 0; i < h->records.len && !shared; i++) {
        const struct history_record *r = h->records.v[i];

        shared = r != of && (r->ending != 0 || record_has(r, &b->digest));
    }
    if (!shared)
        unlinkat(h->dir_fd, digest_hex(&b->digest), 0);
    *b = (struct history_blob){ 0 };
}

static void drop_blobs(struct history *h, struct history_record *r)
{
    blob_drop(h, r, &r->log);
    blob_drop(h, r, &r->external_error);
    blob_drop(h, r, &r->trace);
    for (size_t i = 0; i < r->attestation_count; i++) {
        blob_drop(h, r, &r->attestations[i].blob);
        free(r->attestations[i].key);
    }
    r->attestation_count = 0;
}

static void record_free(struct history *h, struct history_record *r)
{
    drop_blobs(h, r);
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
    err_free(r->error);
    free(r->ref);
    free(r->frontend);
    free(r);
}

void history_free(struct history *h)
{
    if (h == NULL)
        return;
    err_free(group_join(&h->writers)); /* they end by themselves */
    while (h->records.len > 0) {
        struct history_record *r = h->records.v[h->records.len - 1];

        ptrv_remove(&h->records, h->records.len - 1);
        record_free(h, r);
    }
    ptrv_deinit(&h->records);
    close(h->dir_fd);
    cond_deinit(&h->news);
    mutex_deinit(&h->lock);
    free(h);
}

static void changed_locked(struct history *h, struct history_record *r, Bk__BuildHistoryEventType event)
{
    r->event = event;
    r->changed = ++h->sequence;
    cond_broadcast(&h->news);
}

/* ---- writing
 * -------------------------------------------------------------------------------------------------------------------
 */

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
    changed_locked(h, r, BK__BUILD_HISTORY_EVENT_TYPE__STARTED);
    mutex_unlock(&h->lock);
    return r;
}

struct log_writer {
    int fd;
    struct hasher *hasher;
    int64_t size;
    const char *version; /* of the builder */
};

static struct error *write_all(struct log_writer *w, const void *data, size_t len)
{
    hasher_add(w->hasher, data, len);
    w->size += (int64_t)len;
    while (len > 0) {
        ssize_t n = write(w->fd, data, len);
        if (n < 0)
            return err_sys(errno, "write a build's log");
        data = (const char *)data + n;
        len -= (size_t)n;
    }
    return NULL;
}

static struct error *write_frame(void *ctx, const void *data, size_t len)
{
    uint8_t head[4] = { (uint8_t)len, (uint8_t)(len >> 8), (uint8_t)(len >> 16), (uint8_t)(len >> 24) };

    TRY(write_all(ctx, head, sizeof(head)));
    return write_all(ctx, data, len);
}

/* Content made by `fill` as a file named by its digest. */
static struct error *blob_make(struct history *h, struct error *(*fill)(struct log_writer *w, void *arg),
                               void *arg, struct history_blob *ret)
{
    CLEANUP(hasher_freep) struct hasher *hasher = hasher_new();
    CLEANUP(closep) int fd = -1;
    struct log_writer w = { .hasher = hasher, .version = h->builder->config->version };
    char name[33];
    struct error *e;

    random_hex(name, 16);
    w.fd = fd = openat(h->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(errno, "create a build's log");
    e = fill(&w, arg);
    if (e == NULL) {
        ret->digest = hasher_sum(hasher);
        ret->size = w.size;
        if (renameat(h->dir_fd, name, h->dir_fd, digest_hex(&ret->digest)) < 0)
            e = err_sys(errno, "keep a build's log");
    }
    if (e != NULL) {
        unlinkat(h->dir_fd, name, 0);
        *ret = (struct history_blob){ 0 };
    }
    return e;
}

static struct error *fill_log(struct log_writer *w, void *progress)
{
    return builder_follow(progress, write_frame, w);
}

static struct error *fill_error(struct log_writer *w, void *arg)
{
    CLEANUP(err_freep) struct error *traced = err_clone(arg);
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(buf_deinit) struct buf b = { 0 };

    stack_add_detail(traced, w->version);
    pb_pack(&pb_from_error(&a, traced)->base, &b);
    return write_all(w, b.data, b.len);
}

static struct error *fill_text(struct log_writer *w, void *arg)
{
    const struct buf *text = arg;

    return write_all(w, text->data, text->len);
}

/* What is written of a build once it has ended: nobody waits for it but who asks for the record. */
struct ending {
    struct history *history;
    struct history_record *record;
    struct build *build; /* closed */
    struct progress *progress;
    struct error *failure;
    int64_t ended_ns;
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

/* Provenance of every result with all there is to tell, whatever the client asked for. */
static struct error *make_provenance(struct ending *x)
{
    const struct build *u = x->build;
    struct provenance_options o = {
        .max = true, .builder_id = u->attest.how.builder_id == NULL ? (char *)"" : u->attest.how.builder_id
    };

    for (size_t i = 0; i < u->provenance_count; i++) {
        const struct provenance *p = &u->provenance[i];
        struct history_attestation *to = &x->attestations[x->attestation_count];
        CLEANUP(buf_deinit) struct buf text = { 0 };

        if (p->ref == NULL)
            continue;
        TRY(provenance_write(p, &o, NULL, &text));
        TRY(blob_make(x->history, fill_text, &text, &to->blob));
        to->key = xstrdup(u->result.refs[i].key);
        x->attestation_count++;
    }
    return NULL;
}

static struct error *make_trace(const struct ending *x, struct history_blob *ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    TRY(trace_write(x->progress, x->record->ref, x->build->started_ns, x->ended_ns, x->failure, &text));
    return blob_make(x->history, fill_text, &text, ret);
}

static void keep_results(struct history_record *r, const struct build *u)
{
    r->results = xcalloc(u->exported_count + 1, sizeof(*r->results));
    for (size_t i = 0; i < u->exported_count; i++)
        descriptor_copy(&r->results[r->result_count++], &u->exported[i]);
}

/* Oldest records go when there are too many and they are too old, or simply too many while none may be kept
 * by age. */
static void expire_locked(struct history *h)
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
        record_free(h, r);
    }
}

static void complete(struct ending *x)
{
    struct history *h = x->history;
    struct history_record *r = x->record;

    mutex_lock(&h->lock);
    r->ending = 0;
    r->log = x->log;
    r->trace = x->trace;
    r->external_error = x->external_error;
    r->attestations = x->attestations;
    r->attestation_count = x->attestation_count;
    r->completed_ns = x->ended_ns;
    r->generation++;
    changed_locked(h, r, BK__BUILD_HISTORY_EVENT_TYPE__COMPLETE);
    expire_locked(h);
    mutex_unlock(&h->lock);
    ending_free(x);
}

static struct error *write_ending(void *arg)
{
    struct ending *x = arg;
    struct history *h = x->history;
    struct deadline shield;

    shield_begin(&shield, 10 * NS_PER_SEC);
    log_err(LOG_WARN, blob_make(h, fill_log, x->progress, &x->log), "the build's log is not kept");
    log_err(LOG_WARN, make_trace(x, &x->trace), "the build's trace is not kept");
    log_err(LOG_WARN, make_provenance(x), "the build's provenance is not kept");
    if (x->failure != NULL)
        log_err(LOG_WARN, blob_make(h, fill_error, x->failure, &x->external_error),
                "the build's error is not kept");
    shield_end(&shield);
    complete(x);
    return NULL;
}

static void keep_facts_locked(struct history *h, struct history_record *r, const struct build *u,
                              const struct error *failure, const struct map *response)
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
}

struct ending *history_end(struct history *h, struct history_record *r, const struct build *u,
                           const struct error *failure, const struct map *response)
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
    keep_facts_locked(h, r, u, failure, response);
    mutex_unlock(&h->lock);
    return x;
}

void history_write(struct ending *x, struct build *u)
{
    x->build = u;
    struct error *e = group_spawn(&x->history->writers, "history", write_ending, x);

    if (e != NULL) { /* no more tasks, or the daemon ends */
        err_free(e);
        err_free(write_ending(x));
    }
}

/* ---- reading
 * --------------------------------------------------------------------------------------------------------------------
 */

static struct history_record *find_locked(struct history *h, const char *ref)
{
    for (size_t i = h->records.len; i-- > 0;) {
        struct history_record *r = h->records.v[i];
        if (!r->deleted && streq(r->ref, ref))
            return r;
    }
    return NULL;
}

/* Wait for the records of the builds that have ended by now: their clients know that they did. */
static struct error *wait_endings(struct history *h)
{
    int r = 0;

    mutex_lock(&h->lock);
    uint64_t last = h->endings;
    for (size_t i = 0; r == 0 && i < h->records.len;) {
        const struct history_record *at = h->records.v[i];

        if (at->ending == 0 || at->ending > last) {
            i++;
            continue;
        }
        r = cond_wait(&h->news, &h->lock);
        i = 0; /* the list may have changed meanwhile */
    }
    mutex_unlock(&h->lock);
    return r == 0 ? NULL : task_error(r, "wait for build history");
}

static struct error *blob_open_at(struct history *h, const struct digest *d, int64_t *ret_size,
                                  struct stream **ret)
{
    struct stat st;
    int fd = openat(h->dir_fd, digest_hex(d), O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_new(ERR_NOT_FOUND, "content %s: not found", d->s);
    if (ret_size != NULL)
        *ret_size = st.st_size;
    if (ret != NULL)
        *ret = stream_from_fd(fd);
    else
        close(fd);
    return NULL;
}

struct error *history_open_log(struct history *h, const char *ref, struct stream **ret)
{
    struct digest d = { "" };
    struct history_record *r;
    int waited = 0;

    mutex_lock(&h->lock);
    while ((r = find_locked(h, ref)) != NULL && r->ending != 0 && waited == 0)
        waited = cond_wait(&h->news, &h->lock);
    if (r != NULL && r->completed_ns != 0)
        d = r->log.digest;
    mutex_unlock(&h->lock);
    if (waited < 0)
        return task_error(waited, "wait for the record of build %s", ref);
    if (d.s[0] == '\0')
        return err_new(ERR_NOT_FOUND, "no such job %s", ref);
    return blob_open_at(h, &d, NULL, ret);
}

struct error *history_blob_list(struct history *h, struct blob_list *ret)
{
    int fd = openat(h->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    if (dir == NULL) {
        struct error *e = err_sys(errno, "list the history's blobs");

        closep(&fd);
        return e;
    }
    while ((entry = readdir(dir)) != NULL) {
        CLEANUP(freep) char *text = xasprintf("sha256:%s", entry->d_name);
        struct blob_info i = { 0 };
        struct stat st;

        if (digest_parse(text, &i.digest) < 0 || fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue; /* not a blob, or just deleted */
        i.size = st.st_size;
        i.created_ns = st.st_mtim.tv_sec * NS_PER_SEC + st.st_mtim.tv_nsec;
        ret->list = xreallocarray(ret->list, ret->count + 1, sizeof(*ret->list));
        ret->list[ret->count++] = i;
    }
    closedir(dir);
    return NULL;
}

struct error *history_blob_open(struct history *h, const char *digest, int64_t *ret_size, struct stream **ret)
{
    struct digest d;

    if (digest_parse(digest, &d) < 0)
        return err_new(ERR_INVALID, "invalid digest \"%s\"", digest);
    return blob_open_at(h, &d, ret_size, ret);
}

/* ---- records as messages
 * ----------------------------------------------------------------------------------------------------------
 */

static Bk__Descriptor *descriptor(struct pb_arena *a, const char *media_type, const char *digest,
                                  int64_t size)
{
    Bk__Descriptor *d = PB_NEW(a, bk__descriptor);

    d->media_type = pb_str(a, media_type);
    d->digest = pb_str(a, digest);
    d->size = size;
    return d;
}

static Kv__Str **copy_map(struct pb_arena *a, const struct map *m, size_t *ret_n)
{
    Kv__Str **v = pb_from_strmap(a, m, ret_n);

    for (size_t i = 0; i < *ret_n; i++) {
        v[i]->key = pb_str(a, v[i]->key);
        v[i]->value = pb_str(a, v[i]->value);
    }
    return v;
}

static Rpc__Status *copy_error(struct pb_arena *a, const struct error *e)
{
    Rpc__Status *s = PB_NEW(a, rpc__status);

    s->code = err_grpc_code(e->kind);
    s->message = pb_str(a, e->message);
    return s;
}

static Bk__Descriptor *attestation_descriptor(struct pb_arena *a, const struct history_attestation *at)
{
    Bk__Descriptor *d = descriptor(a, MT_IN_TOTO, at->blob.digest.s, at->blob.size);

    d->annotations = pb_array(a, 1);
    d->annotations[d->n_annotations++] = PB_NEW(a, kv__str);
    d->annotations[0]->key = (char *)"in-toto.io/predicate-type";
    d->annotations[0]->value = (char *)PREDICATE_SLSA1;
    return d;
}

/* Of the single result into `result`, of several by their platform into `results`. */
static void add_attestations(struct pb_arena *a, const struct history_record *r, Bk__BuildHistoryRecord *m)
{
    m->results = pb_array(a, r->attestation_count);
    for (size_t i = 0; i < r->attestation_count; i++) {
        Bk__BuildResultInfo *to;

        if (r->attestations[i].key == NULL) {
            if (m->result == NULL)
                m->result = PB_NEW(a, bk__build_result_info);
            to = m->result;
        } else {
            Bk__BuildResultEntry *entry = m->results[m->n_results++] = PB_NEW(a, bk__build_result_entry);

            entry->key = pb_str(a, r->attestations[i].key);
            to = entry->value = PB_NEW(a, bk__build_result_info);
        }
        to->attestations = pb_array(a, 1);
        to->attestations[to->n_attestations++] = attestation_descriptor(a, &r->attestations[i]);
    }
}

/* By exporter; the first also where older clients look. */
static void add_results(struct pb_arena *a, const struct history_record *r, Bk__BuildResultInfo *to)
{
    to->results = pb_array(a, r->result_count);
    for (size_t i = 0; i < r->result_count; i++) {
        const struct descriptor *d = &r->results[i];
        Bk__DescriptorEntry *entry;

        if (d->media_type == NULL)
            continue;
        entry = to->results[to->n_results++] = PB_NEW(a, bk__descriptor_entry);
        entry->key = (int64_t)i;
        entry->value = descriptor(a, d->media_type, d->digest.s, d->size);
        if (to->result_deprecated == NULL)
            to->result_deprecated = entry->value;
    }
}

static Bk__BuildHistoryRecord *message_locked(struct pb_arena *a, const struct history_record *r)
{
    Bk__BuildHistoryRecord *m = PB_NEW(a, bk__build_history_record);

    m->ref = pb_str(a, r->ref);
    m->frontend = pb_str(a, r->frontend);
    m->frontend_attrs = copy_map(a, &r->attrs, &m->n_frontend_attrs);
    m->exporter_response = copy_map(a, &r->response, &m->n_exporter_response);
    m->exporters = pb_array(a, r->exporter_count);
    for (size_t i = 0; i < r->exporter_count; i++) {
        Bk__Exporter *x = m->exporters[m->n_exporters++] = PB_NEW(a, bk__exporter);
        x->type = pb_str(a, r->exporters[i].type);
        x->attrs = copy_map(a, &r->exporters[i].attrs, &x->n_attrs);
    }
    m->created_at = pb_time(a, r->created_ns);
    m->completed_at = pb_time(a, r->completed_ns);
    m->generation = r->generation;
    m->pinned = r->pinned;
    m->num_total_steps = r->counts.total;
    m->num_cached_steps = r->counts.cached;
    m->num_completed_steps = r->counts.completed;
    m->num_warnings = r->counts.warnings;
    if (r->error != NULL)
        m->error = copy_error(a, r->error);
    if (r->log.digest.s[0] != '\0')
        m->logs = descriptor(a, LOG_MEDIA_TYPE, r->log.digest.s, r->log.size);
    if (r->external_error.digest.s[0] != '\0')
        m->external_error =
            descriptor(a, ERROR_MEDIA_TYPE, r->external_error.digest.s, r->external_error.size);
    if (r->completed_ns != 0 && r->error == NULL) /* clients look into it without asking */
        m->result = PB_NEW(a, bk__build_result_info);
    if (r->trace.digest.s[0] != '\0')
        m->trace = descriptor(a, TRACE_MEDIA_TYPE, r->trace.digest.s, r->trace.size);
    add_attestations(a, r, m);
    if (m->result != NULL)
        add_results(a, r, m->result);
    return m;
}

/* ---- filters: entries are ANDed, `key==v`, `key!=v`, `key~=v`
 * ------------------------------------------------------------------ */

static const char *status_name(const struct history_record *r)
{
    if (r->completed_ns == 0)
        return "running";
    if (r->error == NULL)
        return "completed";
    return r->error->kind == ERR_CANCELLED ? "canceled" : "error";
}

static const char *field(const struct history_record *r, const char *key, size_t len)
{
    if (len == 3 && strncmp(key, "ref", 3) == 0)
        return r->ref;
    if (len == 6 && strncmp(key, "status", 6) == 0)
        return status_name(r);
    if (len == 10 && strncmp(key, "repository", 10) == 0) {
        const char *v = strmap_get(&r->attrs, "vcs:source");
        return v != NULL                                  ? v
               : strmap_get(&r->attrs, "context") != NULL ? strmap_get(&r->attrs, "context")
                                                          : "";
    }
    return NULL;
}

/* *ret is whether the record passes; an unknown key or operator is the caller's mistake. */
static struct error *filter_match(const char *filter, const struct history_record *r, bool *ret)
{
    size_t key = strcspn(filter, "=!~");
    const char *op = filter + key, *value, *have;

    *ret = true;
    if (filter[0] == '\0')
        return NULL;
    if (strncmp(op, "==", 2) != 0 && strncmp(op, "!=", 2) != 0 && strncmp(op, "~=", 2) != 0)
        return err_new(ERR_INVALID, "invalid filter \"%s\"", filter);
    value = op + 2;
    have = field(r, filter, key);
    if (have == NULL)
        return err_new(ERR_INVALID, "unknown filter field in \"%s\"", filter);
    if (op[0] == '=')
        *ret = streq(have, value);
    else if (op[0] == '!')
        *ret = !streq(have, value);
    else
        *ret = strstr(have, value) != NULL;
    return NULL;
}

static struct error *passes(const Bk__BuildHistoryRequest *q, const struct history_record *r, bool *ret)
{
    *ret = !r->deleted && (q->ref[0] == '\0' || streq(q->ref, r->ref)) &&
           !(q->active_only && r->completed_ns != 0);
    for (size_t i = 0; *ret && i < q->n_filter; i++)
        TRY(filter_match(q->filter[i], r, ret));
    return NULL;
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

/* All records newer than `seen`, in order of change; the snapshot at first is newest build first and cut at
 * `limit`. */
static struct error *collect(struct history *h, const Bk__BuildHistoryRequest *q, bool first,
                             struct event_list *l)
{
    uint64_t seen = l->seen;
    struct error *e = NULL;

    mutex_lock(&h->lock);
    l->len = 0;
    l->v = pb_array(&l->arena, h->records.len);
    for (size_t i = h->records.len; e == NULL && i-- > 0;) {
        struct history_record *r = h->records.v[i];
        bool ok = false;
        if (!first && r->changed <= seen)
            continue;
        if (!first && r->deleted)
            ok = q->ref[0] == '\0' || streq(q->ref, r->ref);
        else
            e = passes(q, r, &ok);
        if (e != NULL || !ok || (first && q->limit > 0 && l->len >= (size_t)q->limit))
            continue;
        Bk__BuildHistoryEvent *ev = l->v[l->len++] = PB_NEW(&l->arena, bk__build_history_event);
        ev->type = r->event;
        ev->record = message_locked(&l->arena, r);
    }
    l->seen = h->sequence;
    mutex_unlock(&h->lock);
    return e;
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

struct error *history_listen(struct history *h, struct rpc_call *call, const Bk__BuildHistoryRequest *q)
{
    struct event_list l = { 0 };
    struct error *e = wait_endings(h);

    for (bool first = true; e == NULL; first = false) {
        e = collect(h, q, first, &l);
        for (size_t i = 0; e == NULL && i < l.len; i++)
            e = rpc_send(call, &l.v[i]->base);
        pb_arena_reset(&l.arena);
        if (q->early_exit)
            break;
        if (e == NULL)
            e = wait_news(h, l.seen);
    }
    pb_arena_deinit(&l.arena);
    return e;
}

struct error *history_update(struct history *h, const Bk__UpdateBuildHistoryRequest *q)
{
    struct history_record *r;
    struct error *e = NULL;

    TRY(wait_endings(h));
    mutex_lock(&h->lock);
    r = find_locked(h, q->ref);
    if (r == NULL || (q->remove && r->completed_ns == 0)) {
        e = err_new(ERR_NOT_FOUND, "lease \"ref_%s\": not found", q->ref);
    } else if (q->remove) {
        r->deleted = true;
        drop_blobs(h, r);
        changed_locked(h, r, BK__BUILD_HISTORY_EVENT_TYPE__DELETED);
    } else {
        r->pinned = q->finalize ? r->pinned : q->pinned;
        r->generation++;
        changed_locked(h, r,
                       r->completed_ns == 0 ? BK__BUILD_HISTORY_EVENT_TYPE__STARTED
                                            : BK__BUILD_HISTORY_EVENT_TYPE__COMPLETE);
    }
    mutex_unlock(&h->lock);
    return e;
}
