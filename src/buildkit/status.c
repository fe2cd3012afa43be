/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - a job's events as moby.buildkit.v1.StatusResponse */
#include "buildkit/internal.h"

#include "base/limits.h"
#include "llb/encode.h"

#define BATCH_INTERVAL                                                                                       \
    (20 * NS_PER_MS) /* shorter than anybody sees; each message costs a round trip of pings */
#define BATCH_EVENTS 512
#define BATCH_BYTES MIB /* as BuildKit splits: about 1 MiB of log text a message */

/* ---- encoding: a build has thousands of events and each is told twice, to the client and to its record, so
 * they are written field by field as bk.proto numbers them ---- */

static void add_time(struct buf *out, unsigned field, int64_t ns)
{
    int64_t seconds = ns / NS_PER_SEC, nanos = ns % NS_PER_SEC;
    size_t at;

    if (ns == 0)
        return;
    if (nanos < 0) {
        seconds--;
        nanos += NS_PER_SEC;
    }
    at = pbw_begin(out, field);
    pbw_int(out, 1, seconds);
    pbw_int(out, 2, nanos);
    pbw_end(out, at);
}

static void add_group(struct buf *out, const struct progress_event *e)
{
    size_t at;

    if (e->v.group_id == NULL)
        return;
    at = pbw_begin(out, 8);
    pbw_str(out, 1, e->v.group_id);
    pbw_str(out, 2, e->v.group_name);
    pbw_bool(out, 3, e->v.group_weak);
    pbw_end(out, at);
}

static void add_vertex(struct buf *out, const struct progress_event *e)
{
    pbw_str(out, 1, e->vertex);
    for (size_t i = 0; i < e->v.input_count; i++)
        pbw_str_always(out, 2, e->v.inputs[i]);
    pbw_str(out, 3, e->v.name);
    pbw_bool(out, 4, e->v.cached);
    add_time(out, 5, e->v.started_ns);
    add_time(out, 6, e->v.completed_ns);
    pbw_str(out, 7, e->v.error);
    add_group(out, e);
}

static void add_status(struct buf *out, const struct progress_event *e)
{
    pbw_str(out, 1, e->status.id);
    pbw_str(out, 2, e->vertex);
    pbw_str(out, 3, e->status.name);
    pbw_int(out, 4, e->status.current);
    pbw_int(out, 5, e->status.total);
    add_time(out, 6, e->status.timestamp_ns);
    add_time(out, 7, e->status.started_ns);
    add_time(out, 8, e->status.completed_ns);
}

static void add_log(struct buf *out, const struct progress_event *e)
{
    pbw_str(out, 1, e->vertex);
    add_time(out, 2, e->log.timestamp_ns);
    pbw_int(out, 3, e->log.stream);
    pbw_bytes(out, 4, e->log.data, e->log.len);
}

static void add_position(struct buf *out, unsigned field, int32_t line, int32_t character)
{
    size_t at = pbw_begin(out, field);

    pbw_int(out, 1, line);
    pbw_int(out, 2, character);
    pbw_end(out, at);
}

static void add_ranges(struct buf *out, const struct progress_event *e)
{
    for (size_t i = 0; i < e->warning.range_count; i++) {
        const struct llb_range *r = &e->warning.ranges[i];
        size_t at = pbw_begin(out, 7);

        add_position(out, 1, r->start_line, r->start_char);
        add_position(out, 2, r->end_line, r->end_char);
        pbw_end(out, at);
    }
}

static void add_info(struct buf *out, const struct llb_source_info *info)
{
    size_t at;

    if (info == NULL)
        return;
    at = pbw_begin(out, 6);
    pbw_str(out, 1, info->filename);
    pbw_bytes(out, 2, info->data, info->data_len);
    pbw_str(out, 4, info->language);
    pbw_end(out, at);
}

static void add_warning(struct buf *out, const struct progress_event *e)
{
    pbw_str(out, 1, e->vertex);
    pbw_int(out, 2, e->warning.level);
    pbw_str(out, 3, e->warning.short_text);
    for (size_t i = 0; i < e->warning.detail_count; i++)
        pbw_str_always(out, 4, e->warning.detail[i]);
    pbw_str(out, 5, e->warning.url);
    add_info(out, e->warning.info);
    add_ranges(out, e);
}

void builder_encode_status(const struct progress_event *const *events, size_t count, struct buf *out)
{
    static const struct {
        enum progress_kind kind;
        void (*add)(struct buf *out, const struct progress_event *e);
    } fields[] = { { PROGRESS_VERTEX, add_vertex },
                   { PROGRESS_STATUS, add_status },
                   { PROGRESS_LOG, add_log },
                   { PROGRESS_WARNING, add_warning } };

    for (unsigned f = 0; f < ARRAY_LEN(fields); f++) {
        for (size_t i = 0; i < count; i++) {
            if (events[i]->kind != fields[f].kind)
                continue;
            size_t at = pbw_begin(out, f + 1);

            fields[f].add(out, events[i]);
            pbw_end(out, at);
        }
    }
}

/* ---- following ---- */

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
