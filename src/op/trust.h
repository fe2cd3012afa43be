/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trust.h - a certificate that a root's programs trust for a while
 *
 * It is appended to the first bundle of the usual places, between two marks, and taken out again: a layer
 * that is made of the root afterwards holds nothing of it, and where nobody else wrote to the bundle not even
 * a new time. The root may be any image's and its processes may have done anything meanwhile: only regular
 * files are touched, inside the root, and at most LIMIT_TRUST_BUNDLE bytes of them are read.
 */
#ifndef MINKE_OP_TRUST_H
#define MINKE_OP_TRUST_H

#include "base/error.h"

#include <sys/types.h>
#include <time.h>

struct trust {
    int root_fd;                   /* borrowed */
    const char *path;              /* the bundle; NULL: the root has none, or trusts it anyway */
    const char *pem;               /* borrowed */
    off_t size;                    /* of the bundle as it was */
    struct timespec before, after; /* its times, and those that we left */
};
struct error *trust_add(struct trust *t, int root_fd, const char *pem) MUST_CHECK;
/* Once: later calls do nothing. */
struct error *trust_remove(struct trust *t) MUST_CHECK;

#endif
