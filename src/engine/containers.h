/* SPDX-License-Identifier: Apache-2.0 */
/* containers.h - the engine's ties to the container room: image snapshots in, events out */
#ifndef MINKE_ENGINE_CONTAINERS_H
#define MINKE_ENGINE_CONTAINERS_H

#include "engine/engine.h"

struct error *engine_open_containers(struct engine *e) MUST_CHECK;
void engine_reload_containers(struct engine *e); /* the newest configuration's defaults hold */
void engine_close_containers(struct engine *e);  /* safe on a half-open engine */

struct container_counts {
    int running, paused, stopped;
};
struct container_counts engine_container_counts(struct engine *e);

/* Ids of containers whose image is that manifest or index, appended. */
void engine_containers_of_image(struct engine *e, const struct digest *image, struct strv *out);
/* Is one of them running? */
bool engine_image_is_running(struct engine *e, const struct digest *image);

/* All containers as /system/df lists them; a new array. */
json_t *engine_containers_usage(struct engine *e, int version);

#endif
