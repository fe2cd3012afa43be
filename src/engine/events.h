/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.h - what happened to images, containers and the builder: GET /events
 *
 * The last EVENTS_KEPT are kept for `since`; readers follow.  Thread-safe; publishing never waits.
 */
#ifndef MINKE_ENGINE_EVENTS_H
#define MINKE_ENGINE_EVENTS_H

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"

#define EVENTS_KEPT 256

struct event {
    unsigned refs;
    char *type, *action, *id; /* "image", "tag", "sha256:.." */
    struct map attributes;    /* string map */
    int64_t time_ns;
    uint64_t sequence;
};
struct event *engine_event_ref(struct event *e);
void engine_event_unref(struct event *e);

struct events;
struct events *events_new(void);
void events_free(struct events *h);
/* `attributes` (string map, may be NULL) is copied. */
void events_publish(struct events *h, const char *type, const char *action, const char *id,
                    const struct map *attributes);
/* The next event after *sequence (0: from the oldest kept): waits; *ret is a reference, *sequence moves on.
 * With `until_ns` (not 0) *ret is NULL once that time of day has passed. */
struct error *events_next(struct events *h, uint64_t *sequence, int64_t until_ns,
                          struct event **ret) MUST_CHECK;
/* Sequence of the newest event: start here to see only what comes. */
uint64_t events_now(struct events *h);

#endif
