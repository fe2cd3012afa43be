/* SPDX-License-Identifier: Apache-2.0 */
/* exec_client.c - the client that started an exec instance: its input goes in, the output goes out */
#include "container/exec_impl.h"

#include <errno.h>
#include <fcntl.h>

/* ---- the attached client
 * ---------------------------------------------------------------------------------------------------- */

struct input {
    struct exec *exec;
    struct stream *conn;
    struct detach_keys keys;
    bool detached;
};

static void leave(struct exec *x)
{
    mutex_lock(&x->lock);
    x->attached = false;
    buf_clear(&x->data);
    cond_broadcast(&x->changed);
    mutex_unlock(&x->lock);
}

static int borrow_stdin(struct exec *x)
{
    mutex_lock(&x->lock);
    int fd = x->stdin_fd < 0 ? -EPIPE : fcntl(x->stdin_fd, F_DUPFD_CLOEXEC, 3);
    mutex_unlock(&x->lock);
    return fd;
}

static void close_stdin(struct exec *x)
{
    mutex_lock(&x->lock);
    closep(&x->stdin_fd);
    mutex_unlock(&x->lock);
}

static struct error *receive_input(void *arg)
{
    struct input *in = arg;
    struct exec *x = in->exec;
    CLEANUP(freep) char *chunk = xmalloc(EXEC_CHUNK);
    CLEANUP(closep) int fd = borrow_stdin(x);
    ssize_t n;
    int r = fd;

    while (r >= 0 && !in->detached && (n = stream_read(in->conn, chunk, EXEC_CHUNK)) > 0) {
        CLEANUP(buf_deinit) struct buf data = { 0 };

        if (x->tty)
            in->detached = detach_keys_filter(&in->keys, (const uint8_t *)chunk, (size_t)n, &data);
        else
            buf_add(&data, chunk, (size_t)n);
        r = fd_write_all(fd, data.data, data.len);
    }
    if (in->detached)
        leave(x);
    else if (r != -ECANCELED && !x->tty)
        close_stdin(x);
    return NULL;
}

/* A connection that is closed on both sides says that the client has gone. */
static struct error *watch_client(void *arg)
{
    struct input *in = arg;

    if (task_wait_fd(stream_fd(in->conn), 0) == 0)
        leave(in->exec);
    return NULL;
}

/* The bytes that wait; empty: the output has ended, or nobody wants more. */
static int take_output(struct exec *x, struct buf *out)
{
    int r = 0;

    buf_clear(out);
    mutex_lock(&x->lock);
    while (r == 0 && x->data.len == 0 && x->attached && !x->output_ended)
        r = cond_wait(&x->changed, &x->lock);
    if (r == 0 && x->attached) {
        struct buf empty = *out;

        *out = x->data;
        x->data = empty;
        cond_broadcast(&x->changed);
    }
    mutex_unlock(&x->lock);
    return r;
}

static struct error *send_output(struct exec *x, struct stream *conn)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };

    for (;;) {
        int r = take_output(x, &out);

        if (r == 0 && out.len == 0)
            return NULL;
        if (r == 0)
            r = stream_write_full(conn, out.data, out.len);
        if (r < 0)
            return task_error(r, "write to an attached client");
    }
}

struct error *exec_serve(struct exec *x, struct stream *conn)
{
    struct input in = { .exec = x, .conn = conn, .keys = x->detach };
    struct error *e = NULL;
    struct group g;

    group_open(&g, GROUP_KEEP_GOING);
    if (x->want_stdin)
        e = group_spawn(&g, "exec stdin", receive_input, &in);
    if (e == NULL && stream_fd(conn) >= 0)
        e = group_spawn(&g, "exec watch", watch_client, &in);
    if (e == NULL)
        e = send_output(x, conn);
    group_cancel(&g);
    err_free(group_join(&g));
    leave(x);
    if (in.detached)
        container_event(x->container, "exec_detach", "execID", x->id, NULL);
    return e;
}

struct error *exec_send_failure(struct exec *x, struct stream *conn, const struct error *e)
{
    CLEANUP(freep) char *line = xasprintf("%s\r\n", e->message);
    int r;

    mutex_lock(&x->lock);
    buf_clear(&x->data);
    exec_add_output_locked(x, 1, line, strlen(line));
    struct buf out = x->data;
    x->data = (struct buf){ 0 };
    mutex_unlock(&x->lock);
    r = stream_write_full(conn, out.data, out.len);
    buf_deinit(&out);
    return r < 0 ? task_error(r, "write to an attached client") : NULL;
}
