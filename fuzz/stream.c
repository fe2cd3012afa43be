/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "task/task.h"

struct fuzz_input {
    struct stream base;
    const uint8_t *data;
    size_t len, step;
};

static ssize_t input_read(struct stream *s, void *buf, size_t cap)
{
    struct fuzz_input *f = (struct fuzz_input *)s;
    size_t n = MIN(MIN(cap, f->step), f->len);
    int r = task_check_sys();

    if (r < 0)
        return r;
    memcpy(buf, f->data, n);
    f->data += n;
    f->len -= n;
    return (ssize_t)n;
}

static ssize_t input_write(struct stream *s, const void *buf, size_t len)
{
    return (ssize_t)len;
}

static int input_shut(struct stream *s)
{
    return 0;
}

static void input_close(struct stream *s)
{
    free(s);
}

struct stream *fuzz_stream(const uint8_t *data, size_t len, size_t step)
{
    static const struct stream_ops ops = {
        .read = input_read, .write = input_write, .shut = input_shut, .close = input_close
    };
    struct fuzz_input *f = NEW(struct fuzz_input);

    *f = (struct fuzz_input){
        .base = { .ops = &ops }, .data = data, .len = len, .step = MAX(step, (size_t)1)
    };
    return &f->base;
}
