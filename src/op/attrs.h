/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attrs.h - attributes of source ops, and the file that some of them make; for this room only
 */
#ifndef MINKE_OP_ATTRS_H
#define MINKE_OP_ATTRS_H

#include "llb/llb.h"

const char *source_attr(const struct llb_vertex *v, const char *key); /* "" when absent */

/* http.perm, http.uid, http.gid: 0 leaves the default. */
struct file_meta {
    long perm, uid, gid;
};
struct error *source_file_meta(const struct llb_vertex *v, struct file_meta *ret) MUST_CHECK;
/* Owner, mode and times of a file that was written; `name` for messages. */
struct error *source_finish_file(int fd, const char *name, const struct file_meta *m,
                                 int64_t mtime_ns) MUST_CHECK;

#endif
