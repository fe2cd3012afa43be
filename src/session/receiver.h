/* SPDX-License-Identifier: Apache-2.0 */
/*
 * receiver.h - the inside of the receiving role: announced.c takes what the peer announces, receive.c does
 * the rest
 *
 * One task reads packets and acts on each.  Requests are written by the same task: at most
 * LIMIT_SYNC_REQUESTS are unanswered, so few bytes that no peer can be stuck on them, and the reader cannot
 * be either.
 *
 *   STAT  ->  checked, compared with the old index (both are in order: one pass), made at once or queued as
 * wanted DATA  ->  written and hashed; the empty one ends its file the empty STAT, and nothing wanted any
 * more  ->  what is left of the old tree goes, hard links, directory times, FIN FIN   ->  done
 *
 * Hard links wait for the end: their target may be a file that is still on its way.
 */
#ifndef MINKE_SESSION_RECEIVER_H
#define MINKE_SESSION_RECEIVER_H

#include "base/limits.h"
#include "io/pattern.h"
#include "oci/digest.h"
#include "session/pack.h"
#include "session/packet.h"
#include "session/place.h"
#include "session/sync.h"

/* Written beside the files when only metadata travels: each stat as uint32 length (little endian) and
 * protobuf bytes. */
#define SYNC_METADATA_FILE ".fsutil-metadata"

/* What is true of an entry of the new index. */
enum {
    NEW_TOUCHED = 1, /* a directory whose time must be set again */
    NEW_CHANGED = 2, /* its inode is another than before */
    NEW_CHECKED = 4, /* announced as it was, and asked for all the same: what is here stays if its bytes do */
};

/* A file that was asked for. */
struct incoming {
    uint32_t id;
    size_t entry;
    int fd; /* -1 until its first bytes, and for the pack */
    struct hasher *hash;
    struct buf held; /* NEW_CHECKED, or for the pack: what came so far, while nothing is written */
    int64_t received;
};

struct wanted {
    uint32_t id;
    size_t entry;
};

/* An open directory of the walk; the first is the root. */
struct level {
    char *path, *last; /* last: name of the last entry announced in it */
    size_t entry;      /* in the new index; SIZE_MAX: root, or not there (yet) */
    struct sync_entry
        pending; /* only metadata travels: made when something in it does; path NULL: nothing to make */
};

struct receiver {
    struct rpc_call *call;
    const struct sync_options *o;
    struct place place;
    struct sync_index old, new; /* `new` grows in order */
    uint8_t *flags;             /* of each new entry */
    size_t old_at;              /* of the old index, what was not compared yet */
    struct level *levels;
    size_t level_count, level_cap;
    struct wanted *wanted; /* from wanted_at on: not asked for yet */
    size_t wanted_at, wanted_count, wanted_cap;
    struct incoming incoming[LIMIT_SYNC_REQUESTS];
    size_t incoming_count;
    size_t *links; /* new entries that are hard links to make */
    size_t link_count, link_cap;
    uint32_t next_id;
    size_t text_bytes;
    bool all_stats, fin_sent, fin_received;
    struct pattern_set exceptions; /* only metadata travels: but for these */
    struct buf metadata;           /* only metadata travels: what goes into SYNC_METADATA_FILE */
    struct pb_arena arena;
    struct buf message, out;
    int64_t progress;
    int64_t waited_ns; /* for the peer */
};

#define RECEIVER_GROW(array, count, cap)                                                                     \
    do {                                                                                                     \
        if ((count) == (cap)) {                                                                              \
            (cap) = (cap) == 0 ? 64 : (cap)*2;                                                               \
            (array) = xreallocarray((array), (cap), sizeof(*(array)));                                       \
        }                                                                                                    \
    } while (0)
#define TRY_DISK(call, what, path)                                                                           \
    do {                                                                                                     \
        int disk_ = (call);                                                                                  \
        if (disk_ < 0)                                                                                       \
            return err_sys(-disk_, "failed to %s %s", what, path);                                           \
    } while (0)

/* An announced entry, encoded.  announced.c. */
struct error *receiver_stat(struct receiver *r, const void *stat, size_t len) MUST_CHECK;
/* All is announced: what is left of the old tree goes. */
struct error *receiver_remove_rest(struct receiver *r) MUST_CHECK;
void receiver_init_levels(struct receiver *r);
void receiver_deinit_levels(struct receiver *r);

#endif
