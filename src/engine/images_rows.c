/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/images_rows.h"

#include "task/task.h"

struct error *image_row(const struct image_progress *p, const char *id, const char *status, json_t *detail)
{
    return p->line(p->ctx,
                   json_pack("{s:s, s:o, s:s}", "status", status, "progressDetail", detail, "id", id));
}

struct error *image_line(const struct image_progress *p, const char *id, char *status)
{
    json_t *j = json_pack("{s:s}", "status", status);

    if (id != NULL)
        json_object_set_new(j, "id", json_string(id));
    free(status);
    return p->line(p->ctx, j);
}

static struct error *say(struct image_rows *w, const struct progress_event *e)
{
    const char *hex = e->kind == PROGRESS_STATUS ? str_skip_prefix(e->status.id, "sha256:") : NULL;
    CLEANUP(freep) char *id = hex != NULL ? xstrndup(hex, 12) : NULL;

    return id != NULL ? w->say(w, id, e) : NULL;
}

static struct error *tell(void *arg)
{
    struct image_rows *w = arg;
    struct progress_reader *r = progress_read_open(w->progress);
    const struct progress_event *events[64];
    struct error *e = NULL;
    ssize_t n = 0;

    while (e == NULL && (n = progress_read(r, events, ARRAY_LEN(events))) > 0) {
        for (ssize_t i = 0; e == NULL && i < n; i++)
            e = say(w, events[i]);
    }
    progress_read_close(r);
    return e != NULL || n >= 0 ? e : task_error((int)n, "follow the progress");
}

struct error *image_rows_run(struct image_rows *w, const char *name,
                             struct error *(*work)(void *ctx, struct vertex_reporter *r), void *ctx)
{
    struct group g;

    w->progress = progress_new();
    struct vertex_reporter *reporter = reporter_new(w->progress, NULL, name);

    group_open(&g, GROUP_KEEP_GOING);
    reporter_start(reporter);
    struct error *e = group_spawn(&g, "image rows", tell, w);

    if (e == NULL)
        e = work(ctx, reporter);
    reporter_complete(reporter, e);
    reporter_free(reporter);
    progress_close(w->progress);
    struct error *told = group_join(&g);

    progress_unref(w->progress);
    map_deinit(&w->seen);
    if (e == NULL)
        return told;
    err_free(told);
    return e;
}
