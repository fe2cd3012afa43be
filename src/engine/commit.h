/* SPDX-License-Identifier: Apache-2.0 */
/* commit.h - docker commit: an image of a container as it is */
#ifndef MINKE_ENGINE_COMMIT_H
#define MINKE_ENGINE_COMMIT_H

#include "container/container.h"
#include "engine/engine.h"

struct commit_request {
    const char *repository, *tag; /* NULL or "": not named */
    const char *author, *comment; /* may be NULL */
    bool pause;                   /* hold the container meanwhile */
    const json_t *config;         /* instead of the container's own; NULL: that */
    const struct strv *changes;   /* Dockerfile lines */
};
/* *ret: the image's id. */
struct error *engine_commit(struct engine *e, struct container *ct, const struct commit_request *r,
                            struct digest *ret) MUST_CHECK;

#endif
