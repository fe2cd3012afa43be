/* SPDX-License-Identifier: Apache-2.0 */
/* history_message.c - a record as its message, and back */
#include "buildkit/history_impl.h"

#include "oci/purl.h"

#include <errno.h>

#define LOG_MEDIA_TYPE "application/vnd.buildkit.status.v0"
#define TRACE_MEDIA_TYPE "application/vnd.buildkit.otlp.json.v0"
#define RESULTS_MAX 65536 /* what a row that was damaged may ask for */
#define ERROR_MEDIA_TYPE "application/vnd.googleapis.google.rpc.status+proto"

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
        entry->value->annotations = copy_map(a, &d->annotations, &entry->value->n_annotations);
        if (to->result_deprecated == NULL)
            to->result_deprecated = entry->value;
    }
}

Bk__BuildHistoryRecord *history_message_locked(struct pb_arena *a, const struct history_record *r)
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

/* ---- and back ---- */

/* Absent: none. */
static int read_blob(const Bk__Descriptor *d, struct history_blob *ret)
{
    if (d == NULL)
        return 0;
    ret->size = d->size;
    return digest_parse(d->digest, &ret->digest);
}

static int read_attestations(const Bk__BuildResultInfo *from, const char *key, struct history_record *r)
{
    for (size_t i = 0; from != NULL && i < from->n_attestations; i++) {
        struct history_attestation *to;

        r->attestations = xreallocarray(r->attestations, r->attestation_count + 1, sizeof(*r->attestations));
        to = &r->attestations[r->attestation_count++];
        *to = (struct history_attestation){ .key = key == NULL ? NULL : xstrdup(key) };
        if (read_blob(from->attestations[i], &to->blob) < 0)
            return -EINVAL;
    }
    return 0;
}

/* Their keys are the numbers of exporters, ascending. */
static int read_results(const Bk__BuildResultInfo *from, struct history_record *r)
{
    for (size_t i = 0; from != NULL && i < from->n_results; i++) {
        const Bk__DescriptorEntry *entry = from->results[i];
        struct digest digest;

        if (entry->key < (int64_t)r->result_count || entry->key >= RESULTS_MAX || entry->value == NULL ||
            digest_parse(entry->value->digest, &digest) < 0)
            return -EINVAL;
        r->results = xreallocarray(r->results, (size_t)entry->key + 1, sizeof(*r->results));
        while (r->result_count <= (size_t)entry->key)
            r->results[r->result_count++] = (struct descriptor){ 0 };
        struct descriptor *d = &r->results[entry->key];

        descriptor_init(d, entry->value->media_type, &digest, entry->value->size);
        pb_to_strmap(entry->value->annotations, entry->value->n_annotations, &d->annotations);
    }
    return 0;
}

static void read_exporters(const Bk__BuildHistoryRecord *m, struct history_record *r)
{
    r->exporters = xcalloc(m->n_exporters + 1, sizeof(*r->exporters));
    for (size_t i = 0; i < m->n_exporters; i++) {
        struct history_exporter *x = &r->exporters[r->exporter_count++];

        x->type = xstrdup(m->exporters[i]->type);
        strmap_init(&x->attrs);
        pb_to_strmap(m->exporters[i]->attrs, m->exporters[i]->n_attrs, &x->attrs);
    }
}

static struct history_record *read_plain(const Bk__BuildHistoryRecord *m)
{
    struct history_record *r = NEW(struct history_record);

    r->ref = xstrdup(m->ref);
    r->frontend = xstrdup(m->frontend);
    strmap_init(&r->attrs);
    strmap_init(&r->response);
    pb_to_strmap(m->frontend_attrs, m->n_frontend_attrs, &r->attrs);
    pb_to_strmap(m->exporter_response, m->n_exporter_response, &r->response);
    read_exporters(m, r);
    r->created_ns = pb_time_ns(m->created_at);
    r->completed_ns = pb_time_ns(m->completed_at);
    r->error = pb_to_error(m->error);
    r->counts = (struct progress_counts){ .total = m->num_total_steps,
                                          .cached = m->num_cached_steps,
                                          .completed = m->num_completed_steps,
                                          .warnings = m->num_warnings };
    r->generation = m->generation;
    r->pinned = m->pinned;
    r->event = BK__BUILD_HISTORY_EVENT_TYPE__COMPLETE;
    return r;
}

struct error *history_record_parse(const void *data, size_t len, struct history_record **ret)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Bk__BuildHistoryRecord *m;
    struct history_record *r;
    int status;

    TRY(pb_unpack(&bk__build_history_record__descriptor, data, len, &a, &m));
    r = read_plain(m);
    status = read_blob(m->logs, &r->log) < 0 || read_blob(m->trace, &r->trace) < 0 ||
                     read_blob(m->external_error, &r->external_error) < 0 ||
                     read_attestations(m->result, NULL, r) < 0 || read_results(m->result, r) < 0
                 ? -EINVAL
                 : 0;
    for (size_t i = 0; status == 0 && i < m->n_results; i++)
        status = read_attestations(m->results[i]->value, m->results[i]->key, r);
    if (status < 0 || r->completed_ns == 0) {
        history_record_free(r);
        return err_new(ERR_DATA_LOSS, "the record says what it cannot");
    }
    *ret = r;
    return NULL;
}
