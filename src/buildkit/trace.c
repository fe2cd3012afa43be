/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/trace.h"

#include "base/bytes.h"
#include "base/vec.h"
#include "oci/gojson.h"
#include "task/task.h"

#define NO_TRACE "00000000000000000000000000000000"
#define NO_SPAN "0000000000000000"
#define KIND_INTERNAL 1
#define KIND_SERVER 2

struct spans {
    char trace_id[33], root_id[17];
    struct buf *out;
};

/* The last word on a vertex. */
struct vertex_span {
    char *name, *error;
    int64_t started_ns, completed_ns;
    bool cached;
};

static void vertex_span_free(void *arg)
{
    struct vertex_span *s = arg;

    free(s->name);
    free(s->error);
    free(s);
}

static json_t *context_json(const char *trace, const char *span, const char *flags)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:b}", "TraceID", trace, "SpanID", span, "TraceFlags", flags,
                     "TraceState", "", "Remote", false);
}

static json_t *attribute(const char *key, json_t *value)
{
    const char *type = json_is_boolean(value) ? "BOOL" : "STRING";

    return json_pack("{s:s, s:{s:s, s:o}}", "Key", key, "Value", "Type", type, "Value", value);
}

static json_t *time_json(int64_t ns)
{
    char text[40];

    format_rfc3339(text, ns);
    return json_string(text);
}

static json_t *status_json(const char *error)
{
    json_t *j = json_pack("{s:s}", "Code", error == NULL ? "Unset" : "Error");

    json_object_set_new_nocheck(j, "Description", json_string_nocheck(error == NULL ? "" : error));
    return j;
}

struct span {
    const char *name, *id, *error;
    bool root;
    int64_t started_ns, ended_ns;
    json_t *attributes;
    size_t children;
};

static void add_span(struct spans *s, const struct span *v)
{
    json_t *j = json_object();

    json_object_set_new_nocheck(j, "Name", json_string_nocheck(v->name));
    json_object_set_new(j, "SpanContext", context_json(s->trace_id, v->id, "01"));
    json_object_set_new(j, "Parent",
                        v->root ? context_json(NO_TRACE, NO_SPAN, "00")
                                : context_json(s->trace_id, s->root_id, "01"));
    json_object_set_new(j, "SpanKind", json_integer(v->root ? KIND_SERVER : KIND_INTERNAL));
    json_object_set_new(j, "StartTime", time_json(v->started_ns));
    json_object_set_new(j, "EndTime", time_json(v->ended_ns));
    json_object_set_new(j, "Attributes", v->attributes);
    json_object_set_new(j, "Events", json_null());
    json_object_set_new(j, "Links", json_null());
    json_object_set_new(j, "Status", status_json(v->error));
    json_object_set_new(j, "DroppedAttributes", json_integer(0));
    json_object_set_new(j, "DroppedEvents", json_integer(0));
    json_object_set_new(j, "DroppedLinks", json_integer(0));
    json_object_set_new(j, "ChildSpanCount", json_integer((json_int_t)v->children));
    json_object_set_new(j, "Resource", json_pack("[o]", attribute("service.name", json_string("buildkitd"))));
    json_object_set_new(j, "InstrumentationLibrary",
                        json_pack("{s:s, s:s, s:s}", "Name", "minke", "Version", "", "SchemaURL", ""));
    go_json(s->out, j, "  ", false);
    buf_addc(s->out, '\n');
    json_decref(j);
}

static void note(struct map *spans, const struct progress_event *e)
{
    struct vertex_span *s;

    if (e->kind != PROGRESS_VERTEX || e->v.started_ns == 0)
        return;
    s = NEW(struct vertex_span);
    *s = (struct vertex_span){ .name = xstrdup(e->v.name),
                               .error = xstrdup(e->v.error),
                               .started_ns = e->v.started_ns,
                               .completed_ns = e->v.completed_ns,
                               .cached = e->v.cached };
    map_set(spans, e->vertex, s);
}

static struct error *collect(struct progress *p, struct map *ret)
{
    const struct progress_event *events[64];
    struct progress_reader *r = progress_read_open(p);
    ssize_t n;

    while ((n = progress_read(r, events, ARRAY_LEN(events))) > 0) {
        for (ssize_t i = 0; i < n; i++)
            note(ret, events[i]);
    }
    progress_read_close(r);
    return n < 0 ? task_error((int)n, "read the build's progress") : NULL;
}

struct error *trace_write(struct progress *p, const char *ref, int64_t started_ns, int64_t ended_ns,
                          const struct error *failure, struct buf *out)
{
    CLEANUP(map_deinit) struct map vertices = { .free_value = vertex_span_free };
    struct spans s = { .out = out };

    random_hex(s.trace_id, 16);
    random_hex(s.root_id, 8);
    TRY(collect(p, &vertices));
    add_span(&s, &(struct span){ .name = "moby.buildkit.v1.Control/Solve",
                                 .id = s.root_id,
                                 .error = failure == NULL ? NULL : failure->message,
                                 .root = true,
                                 .started_ns = started_ns,
                                 .ended_ns = ended_ns,
                                 .attributes = json_pack("[o]", attribute("build.ref", json_string(ref))),
                                 .children = vertices.len });
    for (size_t i = 0; i < vertices.len; i++) {
        const struct vertex_span *v = vertices.entries[i].value;
        char id[17];

        random_hex(id, 8);
        add_span(&s, &(struct span){ .name = v->name,
                                     .id = id,
                                     .error = v->error,
                                     .started_ns = v->started_ns,
                                     .ended_ns = v->completed_ns == 0 ? ended_ns : v->completed_ns,
                                     .attributes = json_pack(
                                         "[o, o]", attribute("vertex", json_string(vertices.entries[i].key)),
                                         attribute("cached", json_boolean(v->cached))) });
    }
    return NULL;
}
