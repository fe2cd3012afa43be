/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - the four operations, what is built from them, and the small wrappers (memory, buffer, head,
 * limit)
 */
#include "io/stream.h"
#include "task/task.h"

#include <errno.h>

#define COPY_CHUNK ((size_t)64 * 1024)

ssize_t stream_read(struct stream *s, void *buf, size_t cap)
{
    return s->ops->read(s, buf, cap);
}

ssize_t stream_write(struct stream *s, const void *buf, size_t len)
{
    return len > 0 ? s->ops->write(s, buf, len) : 0;
}

int stream_shut(struct stream *s)
{
    return s->ops->shut(s);
}

void stream_close(struct stream *s)
{
    if (s != NULL)
        s->ops->close(s);
}

void stream_closep(struct stream **s)
{
    stream_close(TAKE(*s));
}

int stream_fd(struct stream *s)
{
    return s->ops->fd != NULL ? s->ops->fd(s) : -1;
}

int stream_read_full(struct stream *s, void *buf, size_t len)
{
    char *at = buf;

    while (len > 0) {
        ssize_t n = stream_read(s, at, len);

        if (n < 0)
            return (int)n;
        if (n == 0)
            return -EPIPE;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

int stream_write_full(struct stream *s, const void *buf, size_t len)
{
    const char *at = buf;

    while (len > 0) {
        ssize_t n = stream_write(s, at, len);

        if (n < 0)
            return (int)n;
        assert(n > 0);
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

int stream_read_all(struct stream *s, struct buf *out, size_t limit)
{
    size_t left = limit;

    for (;;) {
        buf_reserve(out, MIN(left, COPY_CHUNK) + 1); /* one more, to see that the limit is passed */
        ssize_t n = stream_read(s, out->data + out->len, MIN(left, COPY_CHUNK) + 1);

        if (n <= 0) {
            out->data[out->len] = '\0';
            return (int)n;
        }
        if ((size_t)n > left) {
            out->data[out->len] = '\0';
            return -EFBIG;
        }
        left -= (size_t)n;
        out->len += (size_t)n;
        out->data[out->len] = '\0';
    }
}

int64_t stream_copy(struct stream *dst, struct stream *src)
{
    CLEANUP(freep) char *chunk = xmalloc(COPY_CHUNK);
    int64_t total = 0;

    for (;;) {
        ssize_t n = stream_read(src, chunk, COPY_CHUNK);

        if (n <= 0)
            return n < 0 ? n : total;
        int r = stream_write_full(dst, chunk, (size_t)n);

        if (r < 0)
            return r;
        total += n;
    }
}

static int shut_nothing(struct stream *s)
{
    return 0;
}

static ssize_t write_refused(struct stream *s, const void *buf, size_t len)
{
    return -EBADF;
}

/* ---- memory ---- */

struct memory_stream {
    struct stream base;
    size_t len, at;
    char data[];
};

static ssize_t memory_read(struct stream *s, void *buf, size_t cap)
{
    struct memory_stream *m = CONTAINER_OF(s, struct memory_stream, base);
    size_t n = MIN(cap, m->len - m->at);
    int r = task_check_sys();

    if (r < 0)
        return r;
    if (n > 0)
        memcpy(buf, m->data + m->at, n);
    m->at += n;
    return (ssize_t)n;
}

static void memory_close(struct stream *s)
{
    free(CONTAINER_OF(s, struct memory_stream, base));
}

static const struct stream_ops memory_ops = {
    .read = memory_read,
    .write = write_refused,
    .shut = shut_nothing,
    .close = memory_close,
};

struct stream *stream_from_memory(const void *data, size_t len)
{
    struct memory_stream *m = xmalloc(sizeof(*m) + len);

    *m = (struct memory_stream){ .base.ops = &memory_ops, .len = len };
    if (len > 0)
        memcpy(m->data, data, len);
    return &m->base;
}

/* ---- into a buffer ---- */

struct sink_stream {
    struct stream base;
    struct buf *out;
};

static ssize_t sink_read(struct stream *s, void *buf, size_t cap)
{
    return 0;
}

static ssize_t sink_write(struct stream *s, const void *buf, size_t len)
{
    int r = task_check_sys();

    if (r < 0)
        return r;
    buf_add(CONTAINER_OF(s, struct sink_stream, base)->out, buf, len);
    return (ssize_t)len;
}

static void sink_close(struct stream *s)
{
    free(CONTAINER_OF(s, struct sink_stream, base));
}

static const struct stream_ops sink_ops = {
    .read = sink_read,
    .write = sink_write,
    .shut = shut_nothing,
    .close = sink_close,
};

struct stream *stream_to_buf(struct buf *out)
{
    struct sink_stream *s = NEW(struct sink_stream);

    s->base.ops = &sink_ops;
    s->out = out;
    return &s->base;
}

/* ---- read-ahead in front of a stream ---- */

struct head_stream {
    struct stream base;
    struct stream *below;
    size_t len, at;
    char head[];
};

static ssize_t head_read(struct stream *s, void *buf, size_t cap)
{
    struct head_stream *h = CONTAINER_OF(s, struct head_stream, base);
    size_t n = MIN(cap, h->len - h->at);

    if (h->at == h->len)
        return stream_read(h->below, buf, cap);
    int r = task_check_sys();

    if (r < 0)
        return r;
    memcpy(buf, h->head + h->at, n);
    h->at += n;
    return (ssize_t)n;
}

static ssize_t head_write(struct stream *s, const void *buf, size_t len)
{
    return stream_write(CONTAINER_OF(s, struct head_stream, base)->below, buf, len);
}

static int head_shut(struct stream *s)
{
    return stream_shut(CONTAINER_OF(s, struct head_stream, base)->below);
}

static void head_close(struct stream *s)
{
    struct head_stream *h = CONTAINER_OF(s, struct head_stream, base);

    stream_close(h->below);
    free(h);
}

static int head_fd(struct stream *s)
{
    struct head_stream *h = CONTAINER_OF(s, struct head_stream, base);

    return h->at == h->len ? stream_fd(h->below) : -1;
}

static const struct stream_ops head_ops = {
    .read = head_read,
    .write = head_write,
    .shut = head_shut,
    .close = head_close,
    .fd = head_fd,
};

struct stream *stream_with_head(struct stream *s, const void *head, size_t len)
{
    if (len == 0)
        return s;
    struct head_stream *h = xmalloc(sizeof(*h) + len);

    *h = (struct head_stream){ .base.ops = &head_ops, .below = s, .len = len };
    memcpy(h->head, head, len);
    return &h->base;
}

/* ---- a part of a stream ---- */

struct limited_stream {
    struct stream base;
    struct stream *below;
    uint64_t left;
};

static ssize_t limited_read(struct stream *s, void *buf, size_t cap)
{
    struct limited_stream *l = CONTAINER_OF(s, struct limited_stream, base);

    if (l->left == 0)
        return 0;
    ssize_t n = stream_read(l->below, buf, (size_t)MIN((uint64_t)cap, l->left));

    if (n > 0)
        l->left -= (uint64_t)n;
    return n;
}

static void limited_close(struct stream *s)
{
    free(CONTAINER_OF(s, struct limited_stream, base));
}

static const struct stream_ops limited_ops = {
    .read = limited_read,
    .write = write_refused,
    .shut = shut_nothing,
    .close = limited_close,
};

struct stream *stream_limited(struct stream *s, uint64_t len)
{
    struct limited_stream *l = NEW(struct limited_stream);

    *l = (struct limited_stream){ .base.ops = &limited_ops, .below = s, .left = len };
    return &l->base;
}
