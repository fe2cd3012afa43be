/* SPDX-License-Identifier: Apache-2.0 */
/*
 * internal.h - what the files of the snapshot room share
 */
#ifndef MINKE_SNAPSHOT_INTERNAL_H
#define MINKE_SNAPSHOT_INTERNAL_H

#include <sys/stat.h>

#include "snapshot/snapshot.h"
#include "store/layer.h"

struct snapshot {
    struct store *store;
    unsigned refs; /* atomic */
    char *id;
    struct layer_chain *held; /* NULL: a tree, or nothing */
    char *const *layers;      /* of held: ids, lowest first */
    size_t count;
    struct layer_row *rows;   /* NULL: not loaded */
    struct layer_info *infos; /* borrow from rows; atomic, NULL: not loaded */
    char *tree;               /* path of a tree snapshot, else NULL */
    const struct tree_ops *tree_ops;
    void *tree_ctx;
};

/* From layer ids, lowest first; each is held.  Writes the snapshot's row.  ERR_NOT_FOUND when a layer is
 * gone. */
struct error *snapshot_make(struct store *s, const struct strv *layers, struct snapshot **ret) MUST_CHECK;
/* `base` (may be NULL) and one more layer. */
struct error *snapshot_extend(struct store *s, struct snapshot *base, const char *layer_id,
                              struct snapshot **ret) MUST_CHECK;
const char *
snapshot_top(const struct snapshot *s); /* id of the uppermost layer, "" without one; NULL is fine */

/* ---- mounts (mount.c) ------------------------------------------------------------------------------------
 */

/* Detached overlay of layers/<id>/fs; upper_fd and work_fd -1: read-only.  An empty folder is added where
 * overlayfs wants more.  `lasting`: the upper folder will be mounted again. */
struct error *overlay_mount(struct store *s, const struct snapshot *snap, int upper_fd, int work_fd,
                            bool lasting, int *ret_fd) MUST_CHECK;
struct error *overlay_mount_ids(struct store *s, const struct strv *layers,
                                int *ret_fd) MUST_CHECK; /* read-only */

/* ---- trees -----------------------------------------------------------------------------------------------
 */

bool is_whiteout(const struct stat *st);
int make_whiteout(int dir_fd, const char *name) MUST_CHECK;
int set_opaque(int dir_fd) MUST_CHECK; /* a directory opened for reading */
/* 1, 0 or a negative errno: trusted.overlay.opaque is "y". */
int is_opaque(int dir_fd);
/* BuildKit's rule of what did not change: owner, mode, device, security.capability; for others than
 * directories size and time too, and content where both times are whole seconds (they may have been cut).  1
 * same, 0 not, negative errno. */
int same_entry(int a_dir, const char *a_name, const struct stat *a, int b_dir, const char *b_name,
               const struct stat *b) MUST_CHECK;
/* Names of a directory, sorted by bytes. */
int list_dir(int dir_fd, struct strv *ret) MUST_CHECK;
/* One entry with metadata, attributes and content (not what is below a directory). */
int copy_entry(int src_dir, const char *src_name, const struct stat *st, int dst_dir,
               const char *dst_name) MUST_CHECK;
/* A tree's content into an existing directory; hard links inside are kept. */
int copy_tree(int src_fd, int dst_fd) MUST_CHECK;
int copy_metadata(int src_fd, const struct stat *st,
                  int dst_fd) MUST_CHECK; /* owner, mode, attributes, times; open descriptors */

/* Make a finished overlay upper folder a canonical layer (settle.c). `lower_fd`: view of what lies below, -1
 * none. */
struct error *settle_layer(int upper_fd, int lower_fd, int64_t *ret_size) MUST_CHECK;

#endif
