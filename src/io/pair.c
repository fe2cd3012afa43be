/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pair.c - two connected streams in memory
 *
 * Two ring buffers under one lock; end 0 reads ring 0 and writes ring 1, end 1 the other way round.
 */
#include "io/stream.h"
#include "task/task.h"

#include <errno.h>

struct ring {
    char *data; /* made at the first write */
    size_t at, len;
    bool writer_left, reader_left;
    struct cond readable, writable;
};

struct pair {
    struct mutex lock;
    size_t cap;
    struct ring rings[2];
    struct end {
        struct stream base;
        struct pair *pair;
        int index;
        bool open;
    } ends[2];
};

static struct end *end_of(struct stream *s)
{
    return CONTAINER_OF(s, struct end, base);
}

static ssize_t pair_read(struct stream *s, void *buf, size_t cap)
{
    struct end *end = end_of(s);
    struct pair *p = end->pair;
    struct ring *ring = &p->rings[end->index];
    int r = task_check_sys();

    if (r < 0)
        return r;
    CLEANUP(mutex_unlockp) struct mutex *lock = mutex_guard(&p->lock);

    while (ring->len == 0 && !ring->writer_left && r == 0)
        r = cond_wait(&ring->readable, lock);
    if (r < 0)
        return r;
    size_t n = MIN(cap, ring->len), first = MIN(n, p->cap - ring->at);

    if (n == 0)
        return 0;
    memcpy(buf, ring->data + ring->at, first);
    memcpy((char *)buf + first, ring->data, n - first);
    ring->at = (ring->at + n) % p->cap;
    ring->len -= n;
    cond_signal(&ring->writable);
    return (ssize_t)n;
}

static ssize_t pair_write(struct stream *s, const void *buf, size_t len)
{
    struct end *end = end_of(s);
    struct pair *p = end->pair;
    struct ring *ring = &p->rings[1 - end->index];
    int r = task_check_sys();

    if (r < 0)
        return r;
    CLEANUP(mutex_unlockp) struct mutex *lock = mutex_guard(&p->lock);

    while (ring->len == p->cap && !ring->reader_left && !ring->writer_left && r == 0)
        r = cond_wait(&ring->writable, lock);
    if (ring->reader_left || ring->writer_left)
        return -EPIPE;
    if (r < 0)
        return r;
    if (ring->data == NULL)
        ring->data = xmalloc(p->cap);
    size_t n = MIN(len, p->cap - ring->len), tail = (ring->at + ring->len) % p->cap,
           first = MIN(n, p->cap - tail);

    memcpy(ring->data + tail, buf, first);
    memcpy(ring->data, (const char *)buf + first, n - first);
    ring->len += n;
    cond_signal(&ring->readable);
    return (ssize_t)n;
}

static int pair_shut(struct stream *s)
{
    struct end *end = end_of(s);
    struct ring *ring = &end->pair->rings[1 - end->index];

    CLEANUP(mutex_unlockp) UNUSED struct mutex *lock = mutex_guard(&end->pair->lock);

    ring->writer_left = true;
    cond_broadcast(&ring->readable);
    cond_broadcast(&ring->writable);
    return 0;
}

static void pair_free(struct pair *p)
{
    for (int i = 0; i < 2; i++) {
        cond_deinit(&p->rings[i].readable);
        cond_deinit(&p->rings[i].writable);
        free(p->rings[i].data);
    }
    mutex_deinit(&p->lock);
    free(p);
}

static void pair_close(struct stream *s)
{
    struct end *end = end_of(s);
    struct pair *p = end->pair;
    struct ring *in = &p->rings[end->index], *out = &p->rings[1 - end->index];

    mutex_lock(&p->lock);
    in->reader_left = true;
    out->writer_left = true;
    cond_broadcast(&in->writable);
    cond_broadcast(&out->readable);
    end->open = false;
    bool last = !p->ends[1 - end->index].open;

    mutex_unlock(&p->lock);
    if (last)
        pair_free(p);
}

static const struct stream_ops pair_ops = {
    .read = pair_read,
    .write = pair_write,
    .shut = pair_shut,
    .close = pair_close,
};

void stream_pair(struct stream **ret_a, struct stream **ret_b, size_t cap)
{
    struct pair *p = NEW(struct pair);

    assert(cap > 0);
    mutex_init(&p->lock);
    p->cap = cap;
    for (int i = 0; i < 2; i++) {
        cond_init(&p->rings[i].readable);
        cond_init(&p->rings[i].writable);
        p->ends[i] = (struct end){ .base.ops = &pair_ops, .pair = p, .index = i, .open = true };
    }
    *ret_a = &p->ends[0].base;
    *ret_b = &p->ends[1].base;
}
