/* SPDX-License-Identifier: Apache-2.0 */
/* detach.h - the keys by which a client leaves a terminal: "ctrl-p,ctrl-q" */
#ifndef MINKE_CONTAINER_DETACH_H
#define MINKE_CONTAINER_DETACH_H

#include "base/base.h"
#include "base/buf.h"

#define DETACH_KEYS_MAX 16

struct detach_keys {
    uint8_t keys[DETACH_KEYS_MAX];
    size_t count, seen; /* seen: how many of the sequence have come */
};
/* NULL or "": ctrl-p,ctrl-q. 0 or -EINVAL. */
int detach_keys_parse(const char *text, struct detach_keys *d) MUST_CHECK;
/* Put what passes into `out`; keys of a sequence that began are held back until it is broken.  True: the
 * sequence is complete. */
bool detach_keys_filter(struct detach_keys *d, const uint8_t *data, size_t len, struct buf *out);

#endif
