/* SPDX-License-Identifier: Apache-2.0 */
/* archive.h - files into and out of a container as tars: docker cp, docker export */
#ifndef MINKE_CONTAINER_ARCHIVE_H
#define MINKE_CONTAINER_ARCHIVE_H

#include "container/container.h"

/* {"name":..,"size":..,"mode":<Go's FileMode>,"mtime":..,"linkTarget":..}; a new reference.  ERR_NOT_FOUND
 * "Could not find the file .. in container ..", with the name `shown`. */
struct error *container_path_stat(struct container *ct, const char *path, const char *shown,
                                  json_t **ret) MUST_CHECK;
/* A file, or a directory and what is below it (with "/." at the end: without its name). `start` is called
 * with the stat (borrowed) before the first byte goes to `out` (borrowed). */
struct error *container_path_get(struct container *ct, const char *path, const char *shown,
                                 struct error *(*start)(void *ctx, const json_t *stat), void *ctx,
                                 struct stream *out) MUST_CHECK;
struct archive_put_options {
    bool keep_kind;    /* a directory is not replaced by something else, nor the other way round */
    bool own_user;     /* what comes belongs to the user that the container names, if any */
    const char *shown; /* how the user calls the container */
};
/* Unpack a tar (any compression; taken) into the directory `path`. */
struct error *container_path_put(struct container *ct, const char *path, const struct archive_put_options *o,
                                 struct stream *archive) MUST_CHECK;
/* The whole filesystem, without mounts. `start` is called before the first byte goes to `out` (borrowed). */
struct error *container_export(struct container *ct, struct error *(*start)(void *ctx), void *ctx,
                               struct stream *out) MUST_CHECK;

#endif
