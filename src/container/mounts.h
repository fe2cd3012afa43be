/* SPDX-License-Identifier: Apache-2.0 */
/* mounts.h - Binds, Mounts and Tmpfs of a HostConfig as one list */
#ifndef MINKE_CONTAINER_MOUNTS_H
#define MINKE_CONTAINER_MOUNTS_H

#include "base/base.h"
#include "base/error.h"

#include <jansson.h>

struct container_mount {
    bool tmpfs, readonly;
    bool must_exist;   /* --mount type=bind: the source is not made */
    bool create;       /* .. unless it asks for that */
    char *source;      /* path on the host; NULL for tmpfs */
    char *dest;        /* clean, absolute */
    char *mode;        /* as given ("ro,z"), for inspect */
    char *options;     /* mount options, "" none */
    char *propagation; /* "rprivate" by default */
};
struct container_mounts {
    struct container_mount *v;
    size_t count;
};
void container_mounts_deinit(struct container_mounts *m);
/* ERR_INVALID with dockerd's texts; named volumes are ERR_UNIMPLEMENTED. */
struct error *container_mounts_parse(const json_t *host_config, struct container_mounts *ret) MUST_CHECK;
/* MountPoint objects of inspect and list; new reference. */
json_t *container_mounts_json(const json_t *host_config);

#endif
