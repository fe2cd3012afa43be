/* SPDX-License-Identifier: Apache-2.0 */
/*
 * event.h - events as they are shared between a reporter and the logs of several jobs; for the files of this
 * room only
 *
 * An event is immutable and counted.  What all events of a vertex repeat (digest, name, inputs, group) lies
 * once, in its vertex_info.
 */
#ifndef MINKE_SOLVER_EVENT_H
#define MINKE_SOLVER_EVENT_H

#include "solver/progress.h"

#include <stdatomic.h>

struct vertex_info {
    atomic_uint refs;
    const char *digest, *name;
    const char **inputs;
    size_t input_count;
    char *group_id, *group_name; /* NULL: none */
    bool group_weak;
};
/* Without a group; the inputs' digests are filled in with vertex_info_set_input(), one after the other. */
struct vertex_info *vertex_info_new(const char *digest, const char *name, size_t input_count);
void vertex_info_set_input(struct vertex_info *i, size_t input, const struct digest *d);
struct vertex_info *vertex_info_ref(struct vertex_info *i);
void vertex_info_unref(struct vertex_info *i);

struct event {
    struct progress_event e; /* first: an event is what readers see */
    atomic_uint refs;
    struct vertex_info *info;
};
/* A vertex's state; error may be NULL. */
struct event *event_vertex(struct vertex_info *info, int64_t started_ns, int64_t completed_ns, bool cached,
                           const char *error);
struct event *event_status(struct vertex_info *info, const char *id, const char *name);
struct event *event_log(struct vertex_info *info, int stream, const void *data, size_t len,
                        int64_t timestamp_ns);
struct event *event_warning(struct vertex_info *info, const struct progress_event *w);
/* The same row once more: current etc. are filled in by the caller before anybody sees it. */
struct event *event_status_again(const struct event *row);
struct event *event_ref(struct event *e);
void event_unref(struct event *e);

/* Append to a job's log; `e` stays the caller's. */
void progress_append(struct progress *p, struct event *e);

#endif
