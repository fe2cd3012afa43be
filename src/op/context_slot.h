/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context_slot.h - where a client's directory stays between builds
 *
 * A slot is a cache mount of its own that one build at a time has: `tree` is the directory, `pack` holds its
 * small files (session/pack.h), `index` says what there is (with digests), so that only changed files travel
 * and none is read again.  The index is moved away before the tree changes: a crash leaves a slot without
 * one, which is emptied.  A pack only grows behind what the index knows.  An index of an earlier boot is not
 * trusted, for nothing of a slot is synced to disk.
 *
 * The first time that somebody looks into the tree (a bind mount, the frontend) its small files are laid out,
 * and from then on this slot has no pack: the next build will do the same.
 */
#ifndef MINKE_OP_CONTEXT_SLOT_H
#define MINKE_OP_CONTEXT_SLOT_H

#include "op/copy.h"
#include "session/pack.h"
#include "snapshot/snapshot.h"
#include "task/task.h"

struct context_slot {
    struct cache_mount *mount;
    int tree_fd;
    struct sync_index index;
    struct buf saved;      /* the index file as it is */
    bool aside;            /* it is out of the way: the tree changes */
    struct sync_pack pack; /* fd -1: none */
    struct mutex lock;
    struct cond changed;
    unsigned copies; /* that read the pack now */
    bool laying_out, broken;
};

/* `key` names it, `what` describes it for the ledger. */
struct error *context_slot_acquire(struct store *s, const char *key, const char *what,
                                   struct context_slot **ret) MUST_CHECK;
void context_slot_free(struct context_slot *s);
/* The tree is about to change: the index goes out of the way.  Low tier. */
int context_slot_set_aside(struct context_slot *s) MUST_CHECK;
/* After a sync: the index is in place again, written anew only when it changed. */
struct error *context_slot_save(struct context_slot *s) MUST_CHECK;
/* What is in it is in no known state: delete it with the slot. */
void context_slot_discard(struct context_slot *s);
/* All of it as a tree (tree_ops). */
struct error *context_slot_lay_out(struct context_slot *s) MUST_CHECK;
/* Copy from it without that: the files that are not in tree_fd, until the end.  *ret false: there are none
 * such. */
struct error *context_slot_copy_begin(struct context_slot *s, struct copy_packed *packed,
                                      bool *ret) MUST_CHECK;
void context_slot_copy_end(struct context_slot *s);

/* The slot of a synced context; NULL for all other results.  local.c. */
struct context_slot *local_slot(const struct snapshot *s);

#endif
