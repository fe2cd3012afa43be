/* SPDX-License-Identifier: Apache-2.0 */
#include "solver/event.h"

/* In one piece, for a build may have many thousands of vertices:  struct | inputs | digests of inputs |
 * digest | name */
struct vertex_info *vertex_info_new(const char *digest, const char *name, size_t input_count)
{
    size_t digest_len = strlen(digest) + 1, name_len = strlen(name) + 1;
    struct vertex_info *i = xcalloc(1, sizeof(*i) + input_count * (sizeof(char *) + sizeof(struct digest)) +
                                           digest_len + name_len);
    char *at = (char *)(i + 1);

    atomic_init(&i->refs, 1);
    i->inputs = (const char **)at;
    i->input_count = input_count;
    at += input_count * sizeof(char *);
    for (size_t k = 0; k < input_count; k++, at += sizeof(struct digest))
        i->inputs[k] = at;
    i->digest = memcpy(at, digest, digest_len);
    i->name = memcpy(at + digest_len, name, name_len);
    return i;
}

void vertex_info_set_input(struct vertex_info *i, size_t input, const struct digest *d)
{
    memcpy((char *)i->inputs[input], d->s, sizeof(d->s));
}

struct vertex_info *vertex_info_ref(struct vertex_info *i)
{
    atomic_fetch_add(&i->refs, 1);
    return i;
}

void vertex_info_unref(struct vertex_info *i)
{
    if (i == NULL || atomic_fetch_sub(&i->refs, 1) != 1)
        return;
    free(i->group_id);
    free(i->group_name);
    free(i);
}

static struct event *event_new(struct vertex_info *info, enum progress_kind kind)
{
    struct event *e = NEW(struct event);

    atomic_init(&e->refs, 1);
    e->info = vertex_info_ref(info);
    e->e.kind = kind;
    e->e.vertex = info->digest;
    return e;
}

struct event *event_vertex(struct vertex_info *info, int64_t started_ns, int64_t completed_ns, bool cached,
                           const char *error)
{
    struct event *e = event_new(info, PROGRESS_VERTEX);

    e->e.v.name = info->name;
    e->e.v.inputs = info->inputs;
    e->e.v.input_count = info->input_count;
    e->e.v.group_id = info->group_id;
    e->e.v.group_name = info->group_name;
    e->e.v.group_weak = info->group_weak;
    e->e.v.started_ns = started_ns;
    e->e.v.completed_ns = completed_ns;
    e->e.v.cached = cached;
    e->e.v.error = xstrdup(error);
    return e;
}

struct event *event_status(struct vertex_info *info, const char *id, const char *name)
{
    struct event *e = event_new(info, PROGRESS_STATUS);

    e->e.status.id = xstrdup(id);
    e->e.status.name = xstrdup(name);
    return e;
}

struct event *event_status_again(const struct event *row)
{
    struct event *e = event_status(row->info, row->e.status.id, row->e.status.name);

    e->e.status.current = row->e.status.current;
    e->e.status.total = row->e.status.total;
    e->e.status.started_ns = row->e.status.started_ns;
    return e;
}

struct event *event_log(struct vertex_info *info, int stream, const void *data, size_t len,
                        int64_t timestamp_ns)
{
    struct event *e = event_new(info, PROGRESS_LOG);

    e->e.log.stream = stream;
    e->e.log.data = xmemdup(data, len);
    e->e.log.len = len;
    e->e.log.timestamp_ns = timestamp_ns;
    return e;
}

static struct llb_source_info *source_info_copy(const struct llb_source_info *src)
{
    struct llb_source_info *i = NEW(struct llb_source_info);

    i->filename = xstrdup(src->filename);
    i->language = xstrdup(src->language);
    i->data = src->data == NULL ? NULL : xmemdup(src->data, src->data_len);
    i->data_len = src->data_len;
    i->definition = src->definition == NULL ? NULL : xmemdup(src->definition, src->definition_len);
    i->definition_len = src->definition_len;
    return i;
}

struct event *event_warning(struct vertex_info *info, const struct progress_event *w)
{
    struct event *e = event_new(info, PROGRESS_WARNING);
    char **detail = xcalloc(w->warning.detail_count + 1, sizeof *detail);

    for (size_t i = 0; i < w->warning.detail_count; i++)
        detail[i] = xstrdup(w->warning.detail[i]);
    e->e.warning.level = w->warning.level;
    e->e.warning.short_text = xstrdup(w->warning.short_text);
    e->e.warning.url = xstrdup(w->warning.url);
    e->e.warning.detail = (const char *const *)detail;
    e->e.warning.detail_count = w->warning.detail_count;
    if (w->warning.info != NULL)
        e->e.warning.info = source_info_copy(w->warning.info);
    e->e.warning.ranges = xmemdup(w->warning.ranges, w->warning.range_count * sizeof *w->warning.ranges);
    e->e.warning.range_count = w->warning.range_count;
    return e;
}

struct event *event_ref(struct event *e)
{
    atomic_fetch_add(&e->refs, 1);
    return e;
}

static void warning_deinit(struct progress_event *w)
{
    struct llb_source_info *i = (struct llb_source_info *)w->warning.info;

    for (size_t n = 0; n < w->warning.detail_count; n++)
        free((char *)w->warning.detail[n]);
    free((void *)w->warning.detail);
    free((char *)w->warning.short_text);
    free((char *)w->warning.url);
    free((void *)w->warning.ranges);
    if (i != NULL) {
        free(i->filename);
        free(i->language);
        free(i->data);
        free(i->definition);
        free(i);
    }
}

void event_unref(struct event *e)
{
    if (e == NULL || atomic_fetch_sub(&e->refs, 1) != 1)
        return;
    switch (e->e.kind) {
    case PROGRESS_VERTEX:
        free((char *)e->e.v.error);
        break;
    case PROGRESS_STATUS:
        free((char *)e->e.status.id);
        free((char *)e->e.status.name);
        break;
    case PROGRESS_LOG:
        free((void *)e->e.log.data);
        break;
    case PROGRESS_WARNING:
        warning_deinit(&e->e);
        break;
    }
    vertex_info_unref(e->info);
    free(e);
}
