/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images_rows.h - the rows of a pull or a push, one a layer
 *
 * What works reports to a private progress log; one task tells it to the client, so that several may work at
 * once and a slow client holds nobody up but that task.
 */
#ifndef MINKE_ENGINE_IMAGES_ROWS_H
#define MINKE_ENGINE_IMAGES_ROWS_H

#include "engine/images.h"

struct image_rows {
    const struct image_progress *out;
    /* A status event in the words of docker; for a layer that they have no words for: nothing. */
    struct error *(*say)(struct image_rows *w, const char *id, const struct progress_event *e);
    struct map seen; /* `say`'s: ids that had a row */
    struct progress *progress;
};
/* Run `work` with rows under that name.  Its error, or else that of telling the client. */
struct error *image_rows_run(struct image_rows *w, const char *name,
                             struct error *(*work)(void *ctx, struct vertex_reporter *r),
                             void *ctx) MUST_CHECK;

/* {"status":.., "progressDetail":.., "id":..}; `detail` is taken. */
struct error *image_row(const struct image_progress *p, const char *id, const char *status,
                        json_t *detail) MUST_CHECK;
/* {"status":.., "id":..}; `id` may be NULL; `status` is taken. */
struct error *image_line(const struct image_progress *p, const char *id, char *status) MUST_CHECK;

#endif
