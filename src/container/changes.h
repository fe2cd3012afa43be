/* SPDX-License-Identifier: Apache-2.0 */
/* changes.h - what a container did to its filesystem: docker diff, and the layer of docker commit */
#ifndef MINKE_CONTAINER_CHANGES_H
#define MINKE_CONTAINER_CHANGES_H

#include "container/container.h"
#include "oci/digest.h"

/* [{"Path":"/x","Kind":0}]: 0 changed, 1 added, 2 deleted; by path.  null when there are none. */
struct error *container_changes(struct container *ct, json_t **ret) MUST_CHECK;
/* The changes as a layer's tar, written to `fd`. */
struct error *container_changes_tar(struct container *ct, int fd, struct digest *ret) MUST_CHECK;

#endif
