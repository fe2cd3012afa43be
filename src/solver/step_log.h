/* SPDX-License-Identifier: Apache-2.0 */
/*
 * step_log.h - how much of a step's output is shown, and the file that keeps the rest; for the files of this
 * room only
 *
 * Not thread-safe: the reporter's lock is held.
 */
#ifndef MINKE_SOLVER_STEP_LOG_H
#define MINKE_SOLVER_STEP_LOG_H

#include "base/base.h"
#include "base/buf.h"

/* One of a step's two streams. Zeroed is ready. */
struct log_clip {
    int64_t seen; /* bytes so far */
    bool clipping;
    char *tail; /* ring of the last LOG_TAIL bytes, made at the first cut */
    size_t tail_next;
    bool tail_full;
};
/* How much of `len` more bytes may be shown, `elapsed_ns` after the step's start.  When the stream begins to
 * be cut, the notice is appended to `notice`. */
size_t log_clip_take(struct log_clip *c, const void *data, size_t len, int64_t elapsed_ns,
                     struct buf *notice);
/* What of the end was not shown (for a step that failed); empty when nothing was cut. c starts anew. */
void log_clip_flush(struct log_clip *c, struct buf *out);
void log_clip_deinit(struct log_clip *c);

/* A new file in `dir_fd` for the whole output of the step `digest`; old ones beyond LIMIT_STEP_LOGS go.
 * Descriptor or -errno. */
int step_log_create(int dir_fd, const char *digest);

#endif
