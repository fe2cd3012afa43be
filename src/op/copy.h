/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.h - copy paths between two roots as LLB's copy does (cp -a with BuildKit's rules about directories,
 * links and owners)
 *
 * Both roots may be hostile: paths are resolved inside them, the walk itself follows no link, and device
 * nodes are made, never opened. Error texts name paths as seen from the roots, as BuildKit's do.  Wait points
 * between files.
 */
#ifndef MINKE_OP_COPY_H
#define MINKE_OP_COPY_H

#include "base/base.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/vec.h"

struct file_owner {
    uint32_t uid, gid;
};

/* Files of the source that do not lie in its folders: a synced context keeps small ones in one file.  They
 * are read from several tasks at once. */
#define COPY_PACKED_MAX (64 * KIB)
struct copy_packed_file {
    size_t id;
    const char *name; /* borrowed, as long as the source is there */
    uint32_t mode, uid, gid;
    size_t size; /* at most COPY_PACKED_MAX */
    int64_t mtime_ns;
};
struct copy_packed {
    /* The next one directly in `dir` ("" the root; else relative, clean, no links in it); false: no more. *at
     * is 0 at first. */
    bool (*next)(void *ctx, const char *dir, size_t *at, struct copy_packed_file *ret);
    bool (*find)(void *ctx, const char *path, struct copy_packed_file *ret);
    int (*read)(void *ctx, size_t id, char *dst); /* all of it: 0 or a negative errno */
    void *ctx;
};

struct copy_options {
    const struct file_owner *owner; /* NULL: keep the source's; made directories are root's */
    int64_t timestamp_ns;           /* -1: keep the source's */
    int mode;                       /* -1: keep; also of directories */
    const char *mode_text;          /* symbolic ("u+x,go-w") or octal; NULL or "": `mode` */
    bool dir_contents, follow_links, always_replace;
    const struct strv *include, *exclude; /* patterns relative to the source; may be NULL */
    /* The destination is an overlay, and this its upper folder (active_upper_fd): directories that the copy
     * makes are filled there, at half the cost.  NULL: it is not. */
    const int *upper_root;
    const struct copy_packed *packed; /* of the source; NULL: it is all in its folders */
    /* Large files whose owner, mode and time stay as they are may share their content with the source, which
     * never changes in place (a layer, a synced context): where the filesystem has no reflinks, by a hard
     * link. Small ones are copied: they cost little, and in a container a file shows how many names it has.
     */
    bool share;
    /* Where a link cannot be made at once (in the overlay itself): the file was made empty, put a link to
     * `from_fd` there later.  `to_fd` is open on it.  True: it will be.  NULL: copy. */
    bool (*link_later)(void *ctx, int to_fd, int from_fd);
    void *link_ctx;
};

/* `src` below src_root to `dst` below dst_root; missing directories of `dst` are made. */
struct error *copy_path(int src_root, const char *src, int dst_root, const char *dst,
                        const struct copy_options *o) MUST_CHECK;
/* The paths that `src` names: itself without wildcards, else what matches, sorted. `packed` may be NULL. */
struct error *copy_matches(int root, const struct copy_packed *packed, const char *src, bool follow,
                           struct strv *ret) MUST_CHECK;
/* mkdir -p: directories that exist are left alone; `path` may end in anything. */
struct error *copy_mkdirs(int root, const char *path, uint32_t mode, const struct file_owner *owner,
                          int64_t timestamp_ns) MUST_CHECK;
/* An absolute clean path with "/." and "/" kept at its end, as BuildKit cleans copy paths. New string. */
char *copy_clean(const char *path);

/* "OP PATH: no such file or directory", as Go writes it, from a negative errno. */
struct error *copy_path_err(int r, const char *op, const char *path) MUST_CHECK;
/* Apply a mode text to a mode: 0 or -EINVAL. */
int mode_apply(const char *text, uint32_t mode, bool dir, uint32_t *ret) MUST_CHECK;

/* What an opened path gets: owner (NULL: unchanged), mode (-1: unchanged), time (-1: unchanged).  `name` in
 * `dir_fd`, link not followed. */
int copy_set_meta(int dir_fd, const char *name, const struct file_owner *owner, int mode,
                  int64_t timestamp_ns) MUST_CHECK;

#endif
