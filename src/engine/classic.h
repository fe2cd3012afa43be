/* SPDX-License-Identifier: Apache-2.0 */
/*
 * classic.h - the classic builder: POST /build, version 1
 *
 * One instruction after the other in the order of the file, every one an image of its own that the next one
 * starts from.  What changes files runs through the solver, so that its cache is the one of all other builds;
 * what only changes the config is found again among the images that classic builds left (their labels say
 * what each was made from).  The output is dockerd's: "Step 1/3 : ..", " ---> Running in ..", " ---> <short
 * id>".
 */
#ifndef MINKE_ENGINE_CLASSIC_H
#define MINKE_ENGINE_CLASSIC_H

#include "engine/engine.h"
#include "llb/state.h"

/* All may be empty; texts may be NULL. */
struct classic_options {
    struct strv tags;       /* canonical */
    const char *dockerfile; /* in the context; "Dockerfile" by default */
    const char *remote;     /* URL of the context: an archive, a repository, or a Dockerfile alone */
    const char *target, *platform, *network, *cgroup_parent;
    const char *host_gateway; /* address for hosts that name "host-gateway" */
    bool no_cache, pull, remove, force_remove, squash;
    struct map build_args;         /* name -> value (owned); NULL: named without a value */
    struct map labels;             /* string map */
    struct strv cache_from, hosts; /* hosts: "name:address" */
    struct llb_ulimit *ulimits;    /* owned, with their names */
    size_t ulimit_count;
    struct llb_resources resources; /* the texts are owned */
    int64_t shm_size;               /* bytes; 0: the default */
    json_t *host_config;            /* limits and hosts as a container's HostConfig has them; owned */
    json_t *auths;                  /* X-Registry-Config: registry -> credentials; owned */
};
void classic_options_init(struct classic_options *o);
void classic_options_deinit(struct classic_options *o);

/* Lines of the answer ({"stream": ..}); `line` takes j. */
struct classic_output {
    struct error *(*line)(void *ctx, json_t *j);
    void *ctx;
};

/* Build from the tar (any compression) in `body`, or from o->remote.  *ret is the image's id.  Errors: before
 * the first line those of the request (ERR_INVALID ..); a step's exit code is in the detail
 * "ExitMessage+json". */
struct error *classic_build(struct engine *e, const struct classic_options *o, struct stream *body,
                            const struct classic_output *out, struct digest *ret) MUST_CHECK;

#endif
