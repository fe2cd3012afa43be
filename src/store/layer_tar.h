/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer_tar.h - the canonical tar of a layer's directory
 *
 * A function of the directory alone: depth first, names in byte order, a whiteout (char 0:0) at the place of
 * the name it hides, an opaque mark behind its directory, hard links to the first name of an inode, times cut
 * to seconds - byte for byte what BuildKit's differ writes with Go's archive/tar.  Sockets are passed over.
 * Of the attributes security.capability alone is recorded.
 */
#ifndef MINKE_STORE_LAYER_TAR_H
#define MINKE_STORE_LAYER_TAR_H

#include "base/error.h"
#include "io/stream.h"
#include "oci/digest.h"

/* `dir_fd`: the layer's fs folder, borrowed during the call. The stream reads as fast as it is read. */
struct error *layer_tar_open(int dir_fd, struct stream **ret) MUST_CHECK;
/* The same with no time after `newest_s`, seconds since the epoch: other bytes, so another diff ID. */
struct error *layer_tar_open_clamped(int dir_fd, int64_t newest_s, struct stream **ret) MUST_CHECK;
/* The same of a folder that may be in use: what vanishes is passed over, a file that shrinks is filled up
 * with zeros. */
struct error *layer_tar_open_live(int dir_fd, struct stream **ret) MUST_CHECK;
/* The tar of a tree that may be in use: names lie below `prefix` ("": none; else the directory itself comes
 * first), `only` (NULL: all) is the one entry of the directory that counts.  A char 0:0 is a device like any
 * other. */
struct error *tree_tar_open(int dir_fd, const char *prefix, const char *only, struct stream **ret) MUST_CHECK;
/* Digest and size without anybody reading. Waits for disk; seen by cancellation. */
struct error *layer_tar_digest(int dir_fd, struct digest *ret, int64_t *ret_size) MUST_CHECK;

#endif
