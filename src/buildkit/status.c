/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - a job's events as moby.buildkit.v1.StatusResponse */
#include "buildkit/internal.h"

#include "base/limits.h"

#define BATCH_INTERVAL                                                                                       \
    (20 * NS_PER_MS) /* shorter than anybody sees; each message costs a round trip of pings */
#define BATCH_EVENTS 512
#define BATCH_BYTES MIB /* as BuildKit splits: about 1 MiB of log text a message */

static Bk__Vertex *vertex(struct pb_arena *a, const struct progress_event *e)
{
    Bk__Vertex *v = PB_NEW(a, bk__vertex);

    v->digest = (char *)e->vertex;
    v->name = (char *)e->v.name;
    v->n_inputs = e->v.input_count;
    v->inputs = pb_array(a, e->v.input_count);
    for (size_t i = 0; i < e->v.input_count; i++)
        v->inputs[i] = (char *)e->v.inputs[i];
    v->cached = e->v.cached;
    v->started = pb_time(a, e->v.started_ns);
    v->completed = pb_time(a, e->v.completed_ns);
    v->error = e->v.error == NULL ? (char *)"" : (char *)e->v.error;
    if (e->v.group_id != NULL) {
        v->progress_group = PB_NEW(a, pb__progress_group);
        v->progress_group->id = (char *)e->v.group_id;
        v->progress_group->name = e->v.group_name == NULL ? (char *)"" : (char *)e->v.group_name;
        v->progress_group->weak = e->v.group_weak;
    }
    return v;
}

static Bk__VertexStatus *status(struct pb_arena *a, const struct progress_event *e)
{
    Bk__VertexStatus *s = PB_NEW(a, bk__vertex_status);

    s->id = (char *)e->status.id;
    s->vertex = (char *)e->vertex;
    s->name = e->status.name == NULL ? (char *)"" : (char *)e->status.name;
    s->current = e->status.current;
    s->total = e->status.total;
    s->timestamp = pb_time(a, e->status.timestamp_ns);
    s->started = pb_time(a, e->status.started_ns);
    s->completed = pb_time(a, e->status.completed_ns);
    return s;
}

static Bk__VertexLog *log_of(struct pb_arena *a, const struct progress_event *e)
{
    Bk__VertexLog *l = PB_NEW(a, bk__vertex_log);

    l->vertex = (char *)e->vertex;
    l->timestamp = pb_time(a, e->log.timestamp_ns);
    l->stream = e->log.stream;
    l->msg = pb_bytes(e->log.data, e->log.len);
    return l;
}

static Pb__Range **ranges(struct pb_arena *a, const struct llb_range *r, size_t count)
{
    Pb__Range **v = pb_array(a, count);

    for (size_t i = 0; i < count; i++) {
        v[i] = PB_NEW(a, pb__range);
        v[i]->start = PB_NEW(a, pb__position);
        v[i]->end = PB_NEW(a, pb__position);
        v[i]->start->line = r[i].start_line;
        v[i]->start->character = r[i].start_char;
        v[i]->end->line = r[i].end_line;
        v[i]->end->character = r[i].end_char;
    }
    return v;
}

static Bk__VertexWarning *warning(struct pb_arena *a, const struct progress_event *e)
{
    Bk__VertexWarning *w = PB_NEW(a, bk__vertex_warning);

    w->vertex = (char *)e->vertex;
    w->level = e->warning.level;
    w->short_text =
        pb_bytes(e->warning.short_text, e->warning.short_text == NULL ? 0 : strlen(e->warning.short_text));
    w->url = e->warning.url == NULL ? (char *)"" : (char *)e->warning.url;
    w->n_detail = e->warning.detail_count;
    w->detail = w->n_detail == 0 ? NULL : pb_alloc(a, w->n_detail * sizeof(*w->detail));
    for (size_t i = 0; i < w->n_detail; i++)
        w->detail[i] = pb_bytes(e->warning.detail[i], strlen(e->warning.detail[i]));
    if (e->warning.info != NULL) {
        w->info = PB_NEW(a, pb__source_info);
        w->info->filename = e->warning.info->filename;
        w->info->language = e->warning.info->language;
        w->info->data = pb_bytes(e->warning.info->data, e->warning.info->data_len);
    }
    w->n_ranges = e->warning.range_count;
    w->ranges = ranges(a, e->warning.ranges, e->warning.range_count);
    return w;
}

void status_from_events(struct pb_arena *a, const struct progress_event *const *events, size_t count,
                        Bk__StatusResponse *out)
{
    out->vertexes = pb_array(a, count);
    out->statuses = pb_array(a, count);
    out->logs = pb_array(a, count);
    out->warnings = pb_array(a, count);
    for (size_t i = 0; i < count; i++) {
        switch (events[i]->kind) {
        case PROGRESS_VERTEX:
            out->vertexes[out->n_vertexes++] = vertex(a, events[i]);
            break;
        case PROGRESS_STATUS:
            out->statuses[out->n_statuses++] = status(a, events[i]);
            break;
        case PROGRESS_LOG:
            out->logs[out->n_logs++] = log_of(a, events[i]);
            break;
        case PROGRESS_WARNING:
            out->warnings[out->n_warnings++] = warning(a, events[i]);
            break;
        }
    }
}

void builder_encode_status(const struct progress_event *const *events, size_t count, struct buf *out)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Bk__StatusResponse m = BK__STATUS_RESPONSE__INIT;

    status_from_events(&a, events, count, &m);
    pb_pack(&m.base, out);
}

/* What is long in it. */
static size_t text_bytes(const struct progress_event *e)
{
    switch (e->kind) {
    case PROGRESS_VERTEX:
        return strlen(e->v.name) + e->v.input_count * DIGEST_LEN +
               (e->v.error == NULL ? 0 : strlen(e->v.error));
    case PROGRESS_STATUS:
        return strlen(e->status.id);
    case PROGRESS_LOG:
        return e->log.len;
    case PROGRESS_WARNING:
        return e->warning.info == NULL ? 0 : e->warning.info->data_len;
    }
    return 0;
}

/* How many of the first events fit one message. */
static size_t batch_length(const struct progress_event *const *events, size_t count)
{
    size_t n = 0, bytes = 0;

    while (n < count && (n == 0 || bytes + text_bytes(events[n]) <= BATCH_BYTES))
        bytes += text_bytes(events[n++]);
    return n;
}

struct error *builder_follow(struct progress *p,
                             struct error *(*batch)(void *ctx, const void *data, size_t len), void *ctx)
{
    struct progress_reader *r = progress_read_open(p);
    CLEANUP(buf_deinit) struct buf out = { 0 };
    const struct progress_event *events[BATCH_EVENTS];
    struct error *e = NULL;
    ssize_t n = 0;

    progress_read_pace(r, BATCH_INTERVAL);
    while (e == NULL && (n = progress_read(r, events, ARRAY_LEN(events))) > 0) {
        for (size_t at = 0; e == NULL && at < (size_t)n;) {
            size_t take = batch_length(events + at, (size_t)n - at);
            buf_clear(&out);
            builder_encode_status(events + at, take, &out);
            e = batch(ctx, out.data == NULL ? "" : out.data, out.len);
            at += take;
        }
    }
    progress_read_close(r);
    if (e == NULL && n < 0)
        e = task_error((int)n, "follow the build's status");
    return e;
}
