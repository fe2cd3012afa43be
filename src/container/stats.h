/* SPDX-License-Identifier: Apache-2.0 */
/* stats.h - what a running container uses and runs: docker stats, docker top; and holding it: docker pause */
#ifndef MINKE_CONTAINER_STATS_H
#define MINKE_CONTAINER_STATS_H

#include "container/container.h"

/* A sample; what the one before it said stands in precpu_stats and preread. */
struct container_sample {
    json_t *cpu;     /* owned */
    int64_t read_ns; /* 0: there was none */
};
void container_sample_deinit(struct container_sample *s);
/* Take a sample: *ret in the shape of the API with `previous` in it, which becomes this one.  A container
 * that does not run gives zeros. */
struct error *container_stats(struct container *ct, struct container_sample *previous,
                              json_t **ret) MUST_CHECK;

/* {"Titles":[..],"Processes":[[..]]} by the host's ps. ERR_CONFLICT when it does not run. */
struct error *container_top(struct container *ct, const char *ps_args, json_t **ret) MUST_CHECK;

struct error *container_pause(struct container *ct, bool paused) MUST_CHECK;

#endif
