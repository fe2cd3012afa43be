/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.h - the entries of a tree in the order of the sync protocol, filtered, one at a time
 *
 * No link is followed; what vanishes during the walk is left out.  The first name of an inode with several is
 * a file, later ones are hard links to it.  A directory that the patterns leave out is still given when
 * something in it is not.
 */
#ifndef MINKE_SESSION_WALK_H
#define MINKE_SESSION_WALK_H

#include "session/sync.h"

struct walk;
/* `tree` and its filter are borrowed until walk_close.  Paths are relative to its directory: the prefix is
 * the caller's. */
struct error *walk_open(const struct sync_tree *tree, struct walk **ret) MUST_CHECK;
/* The next entry: *ret is the caller's (sync_entry_deinit); its path is NULL at the end.  Content digests are
 * not computed. */
struct error *walk_next(struct walk *w, struct sync_entry *ret) MUST_CHECK;
void walk_close(struct walk *w); /* NULL is fine */

#endif
