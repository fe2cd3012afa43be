/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include "base/limits.h"
#include "solver/event.h"
#include "solver/step_log.h"
#include "task/task.h"

#include <errno.h>
#include <unistd.h>

#define ROW_INTERVAL (100 * NS_PER_MS)

struct vertex_reporter {
    struct mutex lock;
    struct vertex_info *info;
    struct ptrv said;  /* struct event *, references: what a job that joins later is told */
    struct ptrv sinks; /* struct progress *, references */
    struct ptrv
        open; /* rows not completed: struct event *, references; timestamp_ns is that of the last one told */
    int64_t started_ns;
    bool running;

    struct log_clip clips[2];
    int log_dir_fd; /* borrowed, -1: nowhere */
    int log_fd;     /* -1: nothing was clipped, or the file failed */
    bool log_failed;
    int64_t log_kept;
};

static struct vertex_reporter *reporter_make(struct vertex_info *info)
{
    struct vertex_reporter *r = NEW(struct vertex_reporter);

    mutex_init(&r->lock);
    r->info = info;
    r->log_dir_fd = r->log_fd = -1;
    return r;
}

static void say_locked(struct vertex_reporter *r, struct event *e)
{
    ptrv_add(&r->said, e);
    for (size_t i = 0; i < r->sinks.len; i++)
        progress_append(r->sinks.v[i], e);
}

struct vertex_reporter *reporter_new(struct progress *p, const char *digest, const char *name)
{
    struct digest made = digest == NULL ? digest_of(name, strlen(name)) : (struct digest){ "" };
    struct vertex_reporter *r = reporter_make(vertex_info_new(digest == NULL ? made.s : digest, name, 0));

    say_locked(r, event_vertex(r->info, 0, 0, false, NULL));
    if (p != NULL)
        reporter_add(r, p);
    return r;
}

struct vertex_reporter *reporter_for_vertex(struct progress *p, const struct llb_vertex *v)
{
    struct vertex_info *info = vertex_info_new(v->digest.s, v->name, v->input_count);
    const struct llb_progress_group *g = v->meta->progress_group;
    struct vertex_reporter *r;

    for (size_t i = 0; i < v->input_count; i++)
        vertex_info_set_input(info, i, &v->inputs[i].vertex->digest);
    if (g != NULL) {
        info->group_id = xstrdup(g->id);
        info->group_name = xstrdup(g->name);
        info->group_weak = g->weak;
    }
    r = reporter_make(info);
    say_locked(r, event_vertex(r->info, 0, 0, false, NULL));
    if (p != NULL)
        reporter_add(r, p);
    return r;
}

void reporter_add(struct vertex_reporter *r, struct progress *p)
{
    bool known = false;

    mutex_lock(&r->lock);
    for (size_t i = 0; i < r->sinks.len; i++)
        known = known || r->sinks.v[i] == p;
    if (!known) {
        ptrv_add(&r->sinks, progress_ref(p));
        for (size_t i = 0; i < r->said.len; i++)
            progress_append(p, r->said.v[i]);
    }
    mutex_unlock(&r->lock);
}

/* Tell the row's new state; the row takes the place of the one told before. */
static void row_locked(struct vertex_reporter *r, size_t index, struct event *e)
{
    struct event *old = r->open.v[index];

    r->open.v[index] = event_ref(e);
    event_unref(old);
    say_locked(r, e);
    if (e->e.status.completed_ns != 0) {
        event_unref(r->open.v[index]);
        ptrv_remove(&r->open, index);
    }
}

static void complete_rows_locked(struct vertex_reporter *r)
{
    int64_t now = now_ns();

    while (r->open.len > 0) {
        struct event *e = event_status_again(r->open.v[0]);

        e->e.status.timestamp_ns = e->e.status.completed_ns = now;
        row_locked(r, 0, e);
    }
}

void reporter_free(struct vertex_reporter *r)
{
    if (r == NULL)
        return;
    complete_rows_locked(r);
    for (size_t i = 0; i < r->said.len; i++)
        event_unref(r->said.v[i]);
    for (size_t i = 0; i < r->sinks.len; i++)
        progress_unref(r->sinks.v[i]);
    ptrv_deinit(&r->said);
    ptrv_deinit(&r->sinks);
    ptrv_deinit(&r->open);
    log_clip_deinit(&r->clips[0]);
    log_clip_deinit(&r->clips[1]);
    closep(&r->log_fd);
    vertex_info_unref(r->info);
    mutex_deinit(&r->lock);
    free(r);
}

const char *reporter_digest(const struct vertex_reporter *r)
{
    return r->info->digest;
}

void reporter_start(struct vertex_reporter *r)
{
    mutex_lock(&r->lock);
    r->started_ns = now_ns();
    r->running = true;
    log_clip_deinit(&r->clips[0]);
    log_clip_deinit(&r->clips[1]);
    say_locked(r, event_vertex(r->info, r->started_ns, 0, false, NULL));
    mutex_unlock(&r->lock);
}

/* The end of what was cut belongs to the reason of a failure. */
static void flush_logs_locked(struct vertex_reporter *r)
{
    for (int i = 0; i < 2; i++) {
        CLEANUP(buf_deinit) struct buf tail = { 0 };

        log_clip_flush(&r->clips[i], &tail);
        if (tail.len > 0)
            say_locked(r, event_log(r->info, i + 1, tail.data, tail.len, now_ns()));
    }
}

void reporter_complete(struct vertex_reporter *r, const struct error *e)
{
    int64_t now = now_ns();

    mutex_lock(&r->lock);
    if (e != NULL)
        flush_logs_locked(r);
    complete_rows_locked(r);
    say_locked(r, event_vertex(r->info, r->running ? r->started_ns : now, now, false,
                               e == NULL ? NULL : e->message));
    r->running = false;
    mutex_unlock(&r->lock);
}

void reporter_cached(struct vertex_reporter *r)
{
    int64_t now = now_ns();

    mutex_lock(&r->lock);
    complete_rows_locked(r);
    say_locked(r, event_vertex(r->info, now, now, true, NULL));
    r->running = false;
    mutex_unlock(&r->lock);
}

void reporter_status(struct vertex_reporter *r, const char *id, const char *name, int64_t current,
                     int64_t total, bool done)
{
    int64_t now = now_ns();
    size_t i = 0;

    mutex_lock(&r->lock);
    while (i < r->open.len && !streq(((struct event *)r->open.v[i])->e.status.id, id))
        i++;
    bool fresh = i == r->open.len;
    const struct event *row = fresh ? NULL : r->open.v[i];

    if (fresh || done || now - row->e.status.timestamp_ns >= ROW_INTERVAL ||
        !streq(row->e.status.name, name)) {
        struct event *e = event_status(r->info, id, name);

        e->e.status.current = current;
        e->e.status.total = total;
        e->e.status.started_ns = fresh ? now : row->e.status.started_ns;
        e->e.status.timestamp_ns = now;
        e->e.status.completed_ns = done ? now : 0;
        if (fresh)
            ptrv_add(&r->open, event_ref(e));
        row_locked(r, i, e);
    }
    mutex_unlock(&r->lock);
}

void reporter_keep_log(struct vertex_reporter *r, int dir_fd)
{
    mutex_lock(&r->lock);
    r->log_dir_fd = dir_fd;
    mutex_unlock(&r->lock);
}

static void keep_locked(struct vertex_reporter *r, const char *data, size_t len)
{
    while (len > 0 && !r->log_failed && r->log_kept < (int64_t)LIMIT_STEP_LOG_KEPT) {
        ssize_t n = write(r->log_fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        r->log_failed = n <= 0; /* disk full: the step goes on without */
        data += MAX(n, 0);
        len -= (size_t)MAX(n, 0);
        r->log_kept += MAX(n, 0);
    }
}

/* The first cut: what was shown so far begins the file. */
static void begin_keeping_locked(struct vertex_reporter *r)
{
    r->log_fd = step_log_create(r->log_dir_fd, r->info->digest);
    r->log_failed = r->log_fd < 0;
    for (size_t i = 0; i < r->said.len; i++) {
        const struct event *e = r->said.v[i];

        if (e->e.kind == PROGRESS_LOG)
            keep_locked(r, e->e.log.data, e->e.log.len);
    }
}

void reporter_log(struct vertex_reporter *r, int stream, const void *data, size_t len)
{
    CLEANUP(buf_deinit) struct buf shown = { 0 };
    CLEANUP(buf_deinit) struct buf notice = { 0 };
    int64_t now = now_ns();

    if (len == 0)
        return;
    mutex_lock(&r->lock);
    size_t show =
        log_clip_take(&r->clips[stream == 2], data, len, r->running ? now - r->started_ns : 1, &notice);

    if (show < len && r->log_dir_fd >= 0 && r->log_fd < 0 && !r->log_failed)
        begin_keeping_locked(r);
    if (r->log_fd >= 0)
        keep_locked(r, data, len);
    buf_add(&shown, data, show);
    buf_add(&shown, notice.data, notice.len);
    if (shown.len > 0)
        say_locked(r, event_log(r->info, stream, shown.data, shown.len, now));
    mutex_unlock(&r->lock);
}

void reporter_warn(struct vertex_reporter *r, const struct progress_event *warning)
{
    mutex_lock(&r->lock);
    say_locked(r, event_warning(r->info, warning));
    mutex_unlock(&r->lock);
}
