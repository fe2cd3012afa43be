/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/trace.h"

#include "base/bytes.h"
#include "base/vec.h"
#include "oci/gojson.h"
#include "task/task.h"

#define KIND_INTERNAL 1
#define KIND_SERVER 2
#define SPAN_ID_BYTES ((size_t)8)
#define SPAN_ID_HEX (2 * SPAN_ID_BYTES + 1)

struct trace {
    char id[33], root_id[SPAN_ID_HEX];
    struct go_writer out;
    struct buf root, no_parent, success, resource, library; /* values that most spans share */
};

struct span {
    const char *name, *id, *error; /* `error` NULL: none */
    int64_t started_ns, ended_ns;
};

/* ---- the last word on each vertex that was started ---- */

static void note(struct map *vertices, const struct progress_event *e)
{
    if (e->kind == PROGRESS_VERTEX && e->v.started_ns != 0)
        map_set(vertices, e->vertex, (void *)e);
}

/* The events live as long as the reader. */
static struct error *collect(struct progress_reader *r, struct map *ret)
{
    const struct progress_event *events[64];
    ssize_t n;

    while ((n = progress_read(r, events, ARRAY_LEN(events))) > 0) {
        for (ssize_t i = 0; i < n; i++)
            note(ret, events[i]);
    }
    return n < 0 ? task_error((int)n, "read the build's progress") : NULL;
}

/* ---- writing ---- */

static void write_null(struct go_writer *w, const char *name)
{
    go_write_name(w, name);
    go_write_null(w);
}

static void write_escaped(struct go_writer *w, const char *name, const char *text)
{
    go_write_name(w, name);
    go_write_escaped(w, text);
}

static void write_context(struct go_writer *w, const char *trace, const char *span, const char *flags)
{
    go_write_open(w, '{');
    go_write_member(w, "TraceID", trace);
    go_write_member(w, "SpanID", span);
    go_write_member(w, "TraceFlags", flags);
    go_write_member(w, "TraceState", "");
    go_write_member_bool(w, "Remote", false);
    go_write_close(w, '}');
}

/* Up to its value. */
static void open_attribute(struct go_writer *w, const char *key, const char *type)
{
    go_write_open(w, '{');
    go_write_member(w, "Key", key);
    go_write_name(w, "Value");
    go_write_open(w, '{');
    go_write_member(w, "Type", type);
}

static void close_attribute(struct go_writer *w)
{
    go_write_close(w, '}');
    go_write_close(w, '}');
}

static void write_attribute(struct go_writer *w, const char *key, const char *text)
{
    open_attribute(w, key, "STRING");
    go_write_member(w, "Value", text);
    close_attribute(w);
}

static void write_status(struct go_writer *w, const char *error)
{
    go_write_open(w, '{');
    go_write_member(w, "Code", error == NULL ? "Unset" : "Error");
    write_escaped(w, "Description", error == NULL ? "" : error);
    go_write_close(w, '}');
}

static void write_resource(struct go_writer *w)
{
    go_write_open(w, '[');
    write_attribute(w, "service.name", "buildkitd");
    go_write_close(w, ']');
}

static void write_library(struct go_writer *w)
{
    go_write_open(w, '{');
    go_write_member(w, "Name", "minke");
    go_write_member(w, "Version", "");
    go_write_member(w, "SchemaURL", "");
    go_write_close(w, '}');
}

/* Of a member's value. */
static struct go_writer shared_value(const struct trace *t, struct buf *out)
{
    return (struct go_writer){ .out = out, .indent = t->out.indent, .depth = 1, .named = true };
}

static void make_shared(struct trace *t)
{
    struct go_writer root = shared_value(t, &t->root), none = shared_value(t, &t->no_parent),
                     success = shared_value(t, &t->success), resource = shared_value(t, &t->resource),
                     library = shared_value(t, &t->library);

    write_context(&root, t->id, t->root_id, "01");
    write_context(&none, "00000000000000000000000000000000", "0000000000000000", "00");
    write_status(&success, NULL);
    write_resource(&resource);
    write_library(&library);
}

static void drop_shared(struct trace *t)
{
    buf_deinit(&t->root);
    buf_deinit(&t->no_parent);
    buf_deinit(&t->success);
    buf_deinit(&t->resource);
    buf_deinit(&t->library);
}

static void write_shared(struct go_writer *w, const char *name, const struct buf *value)
{
    go_write_name(w, name);
    go_write_raw(w, value);
}

/* The members before the attributes, and those behind. */
static void open_span(struct trace *t, const struct span *s, bool root)
{
    struct go_writer *w = &t->out;

    go_write_open(w, '{');
    write_escaped(w, "Name", s->name);
    go_write_name(w, "SpanContext");
    write_context(w, t->id, s->id, "01");
    write_shared(w, "Parent", root ? &t->no_parent : &t->root);
    go_write_member_int(w, "SpanKind", root ? KIND_SERVER : KIND_INTERNAL);
    go_write_member_time(w, "StartTime", s->started_ns);
    go_write_member_time(w, "EndTime", s->ended_ns);
    go_write_name(w, "Attributes");
    go_write_open(w, '[');
}

static void close_span(struct trace *t, const struct span *s, size_t children)
{
    struct go_writer *w = &t->out;

    go_write_close(w, ']');
    write_null(w, "Events");
    write_null(w, "Links");
    go_write_name(w, "Status");
    if (s->error == NULL)
        go_write_raw(w, &t->success);
    else
        write_status(w, s->error);
    go_write_member_int(w, "DroppedAttributes", 0);
    go_write_member_int(w, "DroppedEvents", 0);
    go_write_member_int(w, "DroppedLinks", 0);
    go_write_member_int(w, "ChildSpanCount", (int64_t)children);
    write_shared(w, "Resource", &t->resource);
    write_shared(w, "InstrumentationLibrary", &t->library);
    go_write_close(w, '}');
    buf_addc(w->out, '\n');
}

static void write_vertex(struct trace *t, const struct progress_event *e, const uint8_t id[SPAN_ID_BYTES],
                         int64_t ended_ns)
{
    char hex[SPAN_ID_HEX];
    const struct span s = { .name = e->v.name,
                            .id = hex,
                            .error = e->v.error,
                            .started_ns = e->v.started_ns,
                            .ended_ns = e->v.completed_ns == 0 ? ended_ns : e->v.completed_ns };

    hex_encode(hex, id, SPAN_ID_BYTES);
    open_span(t, &s, false);
    write_attribute(&t->out, "vertex", e->vertex);
    open_attribute(&t->out, "cached", "BOOL");
    go_write_member_bool(&t->out, "Value", e->v.cached);
    close_attribute(&t->out);
    close_span(t, &s, 0);
}

static void write_vertices(struct trace *t, const struct map *vertices, int64_t ended_ns)
{
    CLEANUP(freep) uint8_t *ids = xcalloc(vertices->len + 1, SPAN_ID_BYTES);

    random_bytes(ids, vertices->len * SPAN_ID_BYTES);
    for (size_t i = 0; i < vertices->len; i++)
        write_vertex(t, vertices->entries[i].value, ids + i * SPAN_ID_BYTES, ended_ns);
}

static void write_build(struct trace *t, const char *ref, const struct span *s, size_t children)
{
    open_span(t, s, true);
    write_attribute(&t->out, "build.ref", ref);
    close_span(t, s, children);
}

struct error *trace_write(struct progress *p, const char *ref, int64_t started_ns, int64_t ended_ns,
                          const struct error *failure, struct buf *out)
{
    struct trace t = { .out = { .out = out, .indent = "  " } };
    const struct span root = { .name = "moby.buildkit.v1.Control/Solve",
                               .id = t.root_id,
                               .error = failure == NULL ? NULL : failure->message,
                               .started_ns = started_ns,
                               .ended_ns = ended_ns };
    struct progress_reader *r = progress_read_open(p);
    CLEANUP(map_deinit) struct map vertices = { 0 };
    struct error *e = collect(r, &vertices);

    random_hex(t.id, 16);
    random_hex(t.root_id, SPAN_ID_BYTES);
    make_shared(&t);
    if (e == NULL) {
        write_build(&t, ref, &root, vertices.len);
        write_vertices(&t, &vertices, ended_ns);
    }
    drop_shared(&t);
    progress_read_close(r);
    return e;
}
