/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.h - the small files of a synced tree, one behind the other in one file
 *
 * Making a file costs many times what its bytes do, and what a client sends is seldom looked at as a tree:
 * steps copy from it into layers, where each file is made anyway.  So small files go here instead of into the
 * directory, and their entries say where (sync_entry.packed).  Whoever needs a tree has them laid out.
 *
 * Files with extended attributes and those with several names are never here.  Low tier: 0 or a negative
 * errno.
 */
#ifndef MINKE_SESSION_PACK_H
#define MINKE_SESSION_PACK_H

#include "base/buf.h"
#include "base/limits.h"
#include "session/place.h"

#define SYNC_PACK_FILE (64 * KIB) /* larger ones are files of their own */

struct sync_pack {
    int fd;      /* borrowed; read and written by position */
    int64_t end; /* what is written */
    struct buf pending;
};
void sync_pack_deinit(struct sync_pack *p); /* what is pending is lost */

/* Does the announced file belong here?  `p` may be NULL. */
bool sync_pack_takes(const struct sync_pack *p, const struct sync_entry *e);
/* Append a file's bytes; *ret becomes the entry's `packed`.  They may be read after a flush. */
int sync_pack_add(struct sync_pack *p, const void *data, size_t len, int64_t *ret) MUST_CHECK;
int sync_pack_flush(struct sync_pack *p) MUST_CHECK;
/* The e->size bytes of a packed file (at most SYNC_PACK_FILE).  -EIO: the pack is shorter than its index
 * says. */
int sync_pack_read(int fd, const struct sync_entry *e, char *dst) MUST_CHECK;
/* Make the file in its directory; its place in the pack is given up. */
int sync_pack_lay_out(const struct sync_pack *p, struct place *place, struct sync_entry *e) MUST_CHECK;
/* All of them; directories keep their times. */
int sync_pack_lay_out_all(const struct sync_pack *p, int dir_fd, struct sync_index *index) MUST_CHECK;
/* More than half of it (and not just a little) is of no use any more. */
bool sync_pack_is_sparse(const struct sync_pack *p, const struct sync_index *index);
/* Move what is in use to the (empty) file open as `to_fd`: the pack is there from then on. */
int sync_pack_move(struct sync_pack *p, struct sync_index *index, int to_fd) MUST_CHECK;

#endif
