/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahead.h - base images are asked for while the Dockerfile still travels
 *
 * A rebuild mostly starts from the images that the build before it started from.  What a frontend asked for
 * is remembered by who asked and how (the session's shared key, the frontend, its options); the next request
 * like that asks the registries for the same at once.  An answer is taken for the same question only, once,
 * and within the request that asked for it: it is never older than its build.  What nobody wants ends with
 * the request.
 */
#ifndef MINKE_BUILDKIT_AHEAD_H
#define MINKE_BUILDKIT_AHEAD_H

#include "base/limits.h"
#include "oci/digest.h"
#include "op/op.h"
#include "task/task.h"

struct request;

/* ---- of the builder: what requests asked for */

struct ahead_images {
    struct digest key; /* of the requests like that; "" = none */
    struct ahead_image *v;
    size_t count;
    struct strv needs; /* other things, by names of the frontend's */
};
struct ahead_memory {
    struct mutex lock;
    struct ahead_images entries[LIMIT_AHEAD_REQUESTS]; /* a ring */
    size_t next;
};
void ahead_memory_init(struct ahead_memory *m);
void ahead_memory_deinit(struct ahead_memory *m);

/* ---- of a request */

struct ahead;
/* Begin to ask for what the last request like `r` asked for.  NULL where nothing can be asked ahead: the
 * build has no session, or policies that decide what may be asked. */
struct ahead *ahead_begin(struct request *r);
/* The answer to that question, or its error, if it is asked for (then it is waited for): *ret_asked. Taken.
 */
struct error *ahead_take(struct ahead *a, const char *ref, const struct image_resolve_options *o,
                         struct resolved_manifest *ret, bool *ret_asked) MUST_CHECK;
/* The question was asked, and answered. */
void ahead_note(struct ahead *a, const char *ref, const struct image_resolve_options *o);
/* Did the last request like this one need that?  Waits until that is known.  And: this one does. */
bool ahead_needed_before(struct ahead *a, const char *what);
void ahead_note_needed(struct ahead *a, const char *what);
/* The frontend ended: nothing is asked any more.  `keep`: what was noted is for the next one. */
void ahead_end(struct ahead *a, bool keep);

#endif
