/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/fifo.h"

#define FIFO_MIN ((size_t)4096)

void fifo_deinit(struct fifo *f)
{
    free(f->data);
    *f = (struct fifo){ 0 };
}

static void copy_out(const struct fifo *f, void *p, size_t len)
{
    size_t first = MIN(len, f->cap - f->head);

    memcpy(p, f->data + f->head, first);
    memcpy((char *)p + first, f->data, len - first);
}

static void grow(struct fifo *f, size_t need)
{
    size_t cap = MAX(f->cap, FIFO_MIN);

    while (cap < need)
        cap *= 2;
    char *data = xmalloc(cap);

    if (f->len > 0)
        copy_out(f, data, f->len);
    free(f->data);
    f->data = data;
    f->head = 0;
    f->cap = cap;
}

void fifo_put(struct fifo *f, const void *p, size_t len)
{
    if (len == 0)
        return;
    if (f->cap - f->len < len)
        grow(f, f->len + len);
    size_t tail = (f->head + f->len) & (f->cap - 1), first = MIN(len, f->cap - tail);

    memcpy(f->data + tail, p, first);
    memcpy(f->data, (const char *)p + first, len - first);
    f->len += len;
}

size_t fifo_take(struct fifo *f, void *p, size_t cap)
{
    size_t n = MIN(cap, f->len);

    if (n == 0)
        return 0;
    copy_out(f, p, n);
    f->head = (f->head + n) & (f->cap - 1);
    f->len -= n;
    if (f->len == 0)
        f->head = 0; /* the front is warm */
    return n;
}
