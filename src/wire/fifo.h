/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fifo.h - a growing ring of bytes between one who puts and one who takes; the lock is the owner's
 *
 * A zeroed struct is empty.  The memory stays while it is in use: fresh pages for every burst would cost more
 * than the copying.
 */
#ifndef MINKE_WIRE_FIFO_H
#define MINKE_WIRE_FIFO_H

#include "base/base.h"

struct fifo {
    char *data;
    size_t head, len, cap;
};

void fifo_deinit(struct fifo *f); /* empty again */
void fifo_put(struct fifo *f, const void *p, size_t len);
/* Copies at most `cap` bytes out; the count. */
size_t fifo_take(struct fifo *f, void *p, size_t cap);

#endif
