/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sync.h - the file sync protocol (fsutil, protocol.md 4.6), both roles, and the index of a synced tree
 *
 * The sender walks a tree and announces every entry (STAT); the receiver compares with what it has, asks for
 * the files that differ (REQ, by position in the announcement) and gets their bytes (DATA), several files
 * interleaved; FIN goes both ways. Order of entries: a directory comes right before what it holds, names
 * compare bytewise.
 *
 * The receiver trusts nothing: order, paths, types, ids, lengths are checked, every access is below dir_fd
 * and follows no link (security.md B26, B27, D5).  It compares with the index, never with the disk: the
 * directory must be exclusively its own.
 */
#ifndef MINKE_SESSION_SYNC_H
#define MINKE_SESSION_SYNC_H

#include "session/session.h"

#include <sys/stat.h>

/* Go's os.FileMode, as it is on the wire. */
#define GO_MODE_DIR (1U << 31)
#define GO_MODE_SYMLINK (1U << 27)
#define GO_MODE_DEVICE (1U << 26)
#define GO_MODE_PIPE (1U << 25)
#define GO_MODE_SOCKET (1U << 24)
#define GO_MODE_SETUID (1U << 23)
#define GO_MODE_SETGID (1U << 22)
#define GO_MODE_CHAR (1U << 21)
#define GO_MODE_STICKY (1U << 20)
#define GO_MODE_IRREGULAR (1U << 19)
#define GO_MODE_TYPE                                                                                         \
    (GO_MODE_DIR | GO_MODE_SYMLINK | GO_MODE_DEVICE | GO_MODE_PIPE | GO_MODE_SOCKET | GO_MODE_CHAR |         \
     GO_MODE_IRREGULAR)

uint32_t go_mode_from_stat(mode_t mode);
mode_t go_mode_to_stat(uint32_t mode); /* type and permission bits */

/* ---- the index
 * ----------------------------------------------------------------------------------------------------------
 */

/* Bytewise with '/' below every other byte: the order of a walk. */
int sync_path_compare(const char *a, const char *b);
/* Binary search. Borrowed; NULL when absent. */
struct sync_entry *sync_index_find(const struct sync_index *index, const char *path);
/* What lies directly in directory `dir` ("": the root), in order; NULL behind the last. *at: 0 at first. */
const struct sync_entry *sync_index_next(const struct sync_index *index, const char *dir, size_t *at);
void sync_entry_deinit(struct sync_entry *e);
/* A private binary form with a checksum: what was saved is loaded whole or not at all. */
void sync_index_save(const struct sync_index *index, struct buf *out);
/* Errors: ERR_DATA_LOSS it is not what sync_index_save wrote (also after a change of the form). */
struct error *sync_index_load(const void *data, size_t len, struct sync_index *ret) MUST_CHECK;

/* ---- receiving
 * ----------------------------------------------------------------------------------------------------------
 */

/* The receiver on an open call of either role, up to the peer's FIN; see session_sync_in. */
struct error *sync_receive(struct rpc_call *c, const struct sync_options *o, int dir_fd,
                           struct sync_index *index) MUST_CHECK;

/* ---- sending
 * ------------------------------------------------------------------------------------------------------------
 */

/* What is sent and how it looks.  Zeroed: everything as it is. */
struct sync_send_filter {
    const struct strv *include, *exclude; /* patterns as .dockerignore has them; NULL */
    bool set_owner;                       /* all entries belong to uid:gid */
    uint32_t uid, gid;
    bool set_mtime, clamp_mtime; /* all have mtime_ns; none is later than mtime_ns */
    int64_t mtime_ns;
    bool no_xattrs;
    /* The last word on an entry, which may be changed but for its path; false leaves it out (a directory with
     * all it holds). NULL. */
    bool (*map)(void *ctx, struct sync_entry *e);
    void *ctx;
};
/* A tree and where it appears: "" or one clean relative path, made of directories 0755. */
struct sync_tree {
    int dir_fd; /* borrowed */
    const char *prefix;
    const struct sync_send_filter *filter; /* NULL */
};
/* The sender on an open call of either role, up to our FIN.  Trees must be sorted by prefix and no
 * prefix below another; those with one prefix appear as one tree, of whose files no two have one path.
 * `progress` gets the bytes of file content sent so far; may be NULL. */
struct error *sync_send(struct rpc_call *c, const struct sync_tree *trees, size_t count,
                        void (*progress)(void *ctx, int64_t bytes), void *ctx) MUST_CHECK;
/* session_send_tree for several trees in one stream. */
struct error *session_send_trees(struct session *s, const struct send_options *o,
                                 const struct sync_tree *trees, size_t count,
                                 void (*progress)(void *ctx, int64_t bytes), void *ctx) MUST_CHECK;

#endif
