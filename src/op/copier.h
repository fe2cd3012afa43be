/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copier.h - the inside of a copy: copy.c begins it, copy_walk.c goes through the folders, copy_dir.c,
 * copy_file.c and copy_meta.c make what it finds there, copy_packed.c the files that lie in none
 */
#ifndef MINKE_OP_COPIER_H
#define MINKE_OP_COPIER_H

#include "base/buf.h"
#include "io/pattern.h"
#include "op/copy.h"

#include <dirent.h>
#include <sys/stat.h>

struct workers;

struct frame {
    int src_fd, dst_fd; /* dst_fd -1: not made yet */
    int overlay_fd;     /* dst_fd is in the upper folder, this the same directory in the overlay; else -1 */
    DIR *dir;           /* owns src_fd */
    char *name;         /* in the frame above; "" components of path are cut at path_len */
    size_t path_len;    /* of copier.path */
    struct stat st;
    bool included; /* by itself: its metadata is copied */
    bool created, set_meta, restore_time;
    bool plain; /* created, and new files in it are root's */
    bool *include, *exclude;
};

struct copier {
    const struct copy_options *o;
    struct pattern_set include, exclude;
    int dst_dir; /* parent of the destination, O_PATH */
    char *dst_name;
    char *dst_path; /* absolute in its root, for links and texts */
    const char *src_path;
    int dst_root;
    struct buf path; /* of the current entry below the source; "" the source itself */
    struct frame *frames;
    size_t depth, cap;
    size_t upper_from; /* frames from this level on are in the upper folder; SIZE_MAX: none */
    struct map
        links;   /* device and inode of a file with several names -> where it went, in the destination root */
    char *chunk; /* COPY_PACKED_MAX; made on first use */
    char *src_real;          /* with packed files: the source in its root, no links in it, no leading slash */
    struct strv made;        /* directories that this copy made above the destination, outermost first */
    struct workers *workers; /* started by the first folder that has enough packed files */
    unsigned seen;
    bool asked_clones, clones; /* the filesystem has reflinks */
};

char *copier_dst_name(const struct copier *c); /* the current entry as seen from its root; a new string */
/* An error at the current entry, as seen from the roots. */
struct error *copier_src_err(const struct copier *c, int r, const char *op);
struct error *copier_dst_err(const struct copier *c, int r, const char *op);
struct timespec copier_stamp(int64_t ns);
struct error *copier_mode(const struct copier *c, const struct stat *st, mode_t *ret) MUST_CHECK;
/* Owner, mode, times and attributes of something that has a descriptor; src_fd -1: it has no attributes.
 * `made_mode` >= 0: it was just made with these permission bits, where new files are root's, so that most of
 * it need not be said again. */
struct error *copier_set_meta(const struct copier *c, int src_fd, int dst_fd, const struct stat *st,
                              int made_mode) MUST_CHECK;
/* The same of what must not be opened: links, devices, pipes. */
struct error *copier_set_meta_at(const struct copier *c, int src_dir, const char *src, int dst_dir,
                                 const char *dst, const struct stat *st) MUST_CHECK;
void copier_times(const struct copier *c, const struct stat *st, struct timespec t[2]);
struct file_owner copier_owner(const struct copier *c, const struct stat *st);
/* Is the entry included, and may it be passed over with all below it? */
struct error *copier_filter(struct copier *c, bool **include, bool **exclude, bool *ret_in,
                            bool *ret_skip) MUST_CHECK;
/* Nothing but a directory for a directory may stand in the way. */
struct error *copier_clear(struct copier *c, int dst_dir, const char *dst, bool src_is_dir) MUST_CHECK;
/* `from` is open on a regular file of that status. `plain`: new files in dst_dir are root's. */
struct error *copier_regular(struct copier *c, int from, int dst_dir, const char *dst, const struct stat *st,
                             bool plain) MUST_CHECK;
/* A link, a device, a pipe. */
struct error *copier_leaf(struct copier *c, int src_dir, const char *src, int dst_dir, const char *dst,
                          const struct stat *st) MUST_CHECK;
/* `src` in src_dir to `dst` below the last frame (or the destination's parent).  A directory is entered only.
 */
struct error *copier_entry(struct copier *c, int src_dir, const char *src, const char *dst,
                           unsigned char type) MUST_CHECK;
/* All that lies in the directories that are entered. */
struct error *copier_walk(struct copier *c) MUST_CHECK;
/* A new frame for it.  `include` and `exclude` are taken. */
struct error *copier_enter_dir(struct copier *c, int src_dir, const char *src, const char *dst,
                               const struct stat *st, bool in, bool *include, bool *exclude) MUST_CHECK;
/* Nothing is left in its folder; of what lies in none, the workers may finish it. */
struct error *copier_leave_dir(struct copier *c) MUST_CHECK;
/* The counterparts of all frames are there afterwards. */
struct error *copier_make_parents(struct copier *c) MUST_CHECK;
int copier_dst_dir(const struct copier *c); /* where the current entry goes */
/* The last frame is off the stack: the caller's. */
struct frame copier_pop(struct copier *c);
/* Its directory is complete: metadata, then the frame goes. c->path is its path. */
struct error *copier_finish_dir(struct copier *c, struct frame *f) MUST_CHECK;
void copier_drop_dir(struct frame *f); /* without that, after an error */

/* ---- copy_packed.c */

/* The packed file `f` to `dst` below the last frame (or the destination's parent). */
struct error *copier_packed_file(struct copier *c, const struct copy_packed_file *f,
                                 const char *dst) MUST_CHECK;
/* All that lie directly in the last frame's directory. *ret_left: the frame is off the stack, and finished
 * when they are made. */
struct error *copier_packed_dir(struct copier *c, bool *ret_left) MUST_CHECK;
/* The status that the file would have. */
struct stat copier_packed_stat(const struct copy_packed_file *f);
/* Wait for what was started; `e` (taken) is what the walk met. */
struct error *copier_workers_end(struct copier *c, struct error *e) MUST_CHECK;

#endif
