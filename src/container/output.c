/* SPDX-License-Identifier: Apache-2.0 */
/*
 * output.c - from the container to its log and to who is attached; from who is attached to the container
 *
 *   pipe or terminal --> output_pump --> logfile
 *                                   \--> attachment.data (bounded) --> container_attach --> client
 *
 * A client that does not read holds the container up once its buffer is full, as with dockerd.
 */
#include "container/detach.h"
#include "container/internal.h"

#include "base/limits.h"
#include "base/log.h"
#include "container/shape.h"
#include "io/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#define ATTACH_BUFFER ((size_t)1 << 20)
#define CHUNK ((size_t)32 * 1024)
#define FRAME_HEADER 8

/* ---- out
 * ----------------------------------------------------------------------------------------------------------------------
 */

static void add_frame(struct buf *out, enum log_stream stream, const void *data, size_t len)
{
    const uint8_t header[FRAME_HEADER] = {
        stream == LOG_STDERR ? 2 : 1, 0,           0, 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
        (uint8_t)(len >> 8),          (uint8_t)len
    };

    buf_add(out, header, sizeof(header));
    buf_add(out, data, len);
}

static bool wants(const struct attachment *a, enum log_stream stream)
{
    return !a->gone && (a->streams & stream) != 0;
}

static bool somebody_is_full_locked(const struct container *ct, enum log_stream stream)
{
    for (const struct attachment *a = ct->attachments; a != NULL; a = a->next)
        if (wants(a, stream) && a->data.len >= ATTACH_BUFFER)
            return true;
    return false;
}

static int broadcast(struct container *ct, enum log_stream stream, const void *data, size_t len)
{
    int r = 0;

    mutex_lock(&ct->lock);
    while (r == 0 && somebody_is_full_locked(ct, stream))
        r = cond_wait(&ct->changed, &ct->lock);
    for (struct attachment *a = ct->attachments; r == 0 && a != NULL; a = a->next) {
        if (!wants(a, stream))
            continue;
        if (a->framed)
            add_frame(&a->data, stream, data, len);
        else
            buf_add(&a->data, data, len);
    }
    if (ct->attachments != NULL)
        cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
    return r;
}

struct error *output_pump(void *output)
{
    struct output *o = output;
    CLEANUP(freep) char *chunk = xmalloc(CHUNK);
    CLEANUP(stream_closep) struct stream *in = stream_from_fd(TAKE_FD(o->fd));
    bool told = false;
    ssize_t n;

    while ((n = stream_read(in, chunk, CHUNK)) > 0) {
        CLEANUP(err_freep)
        struct error *e = o->log == NULL ? NULL : logfile_write(o->log, o->stream, chunk, (size_t)n);

        /* A full disk must not stop the container: what it says then is lost to the log alone. */
        if (e != NULL && !told)
            log_error("cannot write a container's log", "id", o->container->id, "error", e->message);
        told |= e != NULL;
        int r = broadcast(o->container, o->stream, chunk, (size_t)n);
        if (r < 0)
            return task_error(r, "pass the container's output on");
    }
    /* A terminal whose last user is gone says EIO. */
    return n < 0 && n != -EIO ? task_error((int)n, "read the container's output") : NULL;
}

void output_close(struct container *ct)
{
    mutex_lock(&ct->lock);
    ct->output_ends++;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
}

/* ---- an attached client
 * ------------------------------------------------------------------------------------------------------- */

static void enlist(struct container *ct, struct attachment *a)
{
    mutex_lock(&ct->lock);
    a->run = ct->output_ends;
    a->next = ct->attachments;
    ct->attachments = a;
    mutex_unlock(&ct->lock);
}

static void delist(struct container *ct, struct attachment *a)
{
    mutex_lock(&ct->lock);
    for (struct attachment **p = &ct->attachments; *p != NULL; p = &(*p)->next) {
        if (*p != a)
            continue;
        *p = a->next;
        break;
    }
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
    buf_deinit(&a->data);
}

static bool is_over_locked(const struct container *ct, const struct attachment *a)
{
    return a->gone || ct->state.removed || ct->output_ends != a->run;
}

/* The bytes that wait for this client; empty at the end. */
static int take_output(struct container *ct, struct attachment *a, struct buf *out)
{
    int r = 0;

    mutex_lock(&ct->lock);
    while (r == 0 && a->data.len == 0 && !is_over_locked(ct, a))
        r = cond_wait(&ct->changed, &ct->lock);
    if (r == 0) {
        buf_clear(out);
        struct buf empty = *out;
        *out = a->data;
        a->data = empty;
        cond_broadcast(&ct->changed);
    }
    mutex_unlock(&ct->lock);
    return r;
}

static struct error *send_output(struct container *ct, struct attachment *a, struct stream *conn)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };

    for (;;) {
        int r = take_output(ct, a, &out);

        if (r < 0)
            return task_error(r, "wait for the container's output");
        if (out.len == 0)
            return NULL;
        r = stream_write_full(conn, out.data, out.len);
        if (r < 0)
            return task_error(r, "write to an attached client");
    }
}

/* ---- in
 * -----------------------------------------------------------------------------------------------------------------------
 */

/* The container's stdin for this writer alone: a copy of the descriptor, -EPIPE when there is none (any
 * more). */
static int borrow_stdin(struct container *ct, const struct attachment *a)
{
    int r = 0, fd = -EPIPE;

    mutex_lock(&ct->lock);
    while (r == 0 && !is_over_locked(ct, a) && (ct->stdin_busy || ct->stdin_fd < 0) && !ct->stdin_closed)
        r = cond_wait(&ct->changed, &ct->lock);
    if (r == 0 && ct->stdin_fd >= 0 && !ct->stdin_busy) {
        fd = fcntl(ct->stdin_fd, F_DUPFD_CLOEXEC, 3);
        ct->stdin_busy = fd >= 0;
    }
    mutex_unlock(&ct->lock);
    return r < 0 ? r : fd;
}

static void return_stdin(struct container *ct, int fd)
{
    close(fd);
    mutex_lock(&ct->lock);
    ct->stdin_busy = false;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
}

static int write_stdin(struct container *ct, const struct attachment *a, const struct buf *data)
{
    int fd = borrow_stdin(ct, a);

    if (fd < 0)
        return fd;
    int r = fd_write_all(fd, data->data, data->len);
    return_stdin(ct, fd);
    return r;
}

static void close_stdin(struct container *ct)
{
    mutex_lock(&ct->lock);
    closep(&ct->stdin_fd);
    ct->stdin_closed = true;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
}

struct input {
    struct container *container;
    struct attachment *attachment;
    struct stream *conn;
    struct detach_keys detach;
    bool detached;
};

static void leave(struct container *ct, struct attachment *a)
{
    mutex_lock(&ct->lock);
    a->gone = true;
    cond_broadcast(&ct->changed);
    mutex_unlock(&ct->lock);
}

static struct error *receive_input(void *arg)
{
    struct input *in = arg;
    struct container *ct = in->container;
    CLEANUP(freep) char *chunk = xmalloc(CHUNK);
    ssize_t n;
    int r = 0;

    while (r == 0 && !in->detached && (n = stream_read(in->conn, chunk, CHUNK)) > 0) {
        CLEANUP(buf_deinit) struct buf data = { 0 };

        if (ct->tty)
            in->detached = detach_keys_filter(&in->detach, (const uint8_t *)chunk, (size_t)n, &data);
        else
            buf_add(&data, chunk, (size_t)n);
        if (data.len > 0)
            r = write_stdin(ct, in->attachment, &data);
    }
    if (in->detached)
        leave(ct, in->attachment);
    /* The end of one client's input is the end of the container's, when it is to have one input only. */
    else if (r == 0 && !ct->tty && json_get_bool(ct->config, "StdinOnce"))
        close_stdin(ct);
    return NULL;
}

/* ---- attach
 * -------------------------------------------------------------------------------------------------------------------
 */

struct error *container_attach_check(struct container *ct, const struct attach_options *o)
{
    struct detach_keys d;

    if (o->detach_keys != NULL && detach_keys_parse(o->detach_keys, &d) < 0)
        return err_new(ERR_INVALID, "Invalid detach keys (%s) provided", o->detach_keys);
    if (container_is_paused(ct))
        return err_new(ERR_CONFLICT, "container %s is paused, unpause the container before attach", ct->id);
    if (container_is_restarting(ct))
        return err_new(ERR_CONFLICT, "container %s is restarting, wait until the container is running",
                       ct->id);
    return NULL;
}

/* Nobody reads from a client that gives no input, and one that is done with input is still there: only a
 * connection that is closed on both sides says that it has gone. */
static struct error *watch_client(void *arg)
{
    struct input *in = arg;
    int r = task_wait_fd(stream_fd(in->conn), 0);

    if (r == 0)
        leave(in->container, in->attachment);
    return NULL;
}

struct log_sender {
    struct stream *conn;
    bool framed;
};

static struct error *send_record(void *ctx, const struct log_record *r)
{
    struct log_sender *s = ctx;
    CLEANUP(buf_deinit) struct buf out = { 0 };

    if (s->framed)
        add_frame(&out, r->stream, r->text, r->len);
    else
        buf_add(&out, r->text, r->len);
    TRY_SYS(stream_write_full(s->conn, out.data, out.len), "write to an attached client");
    return NULL;
}

static struct error *send_past(struct container *ct, const struct attachment *a, struct stream *conn)
{
    struct log_sender sender = { .conn = conn, .framed = a->framed };
    struct log_read all = { .tail = -1, .streams = a->streams };

    return container_logs(ct, &all, send_record, &sender);
}

static struct error *attach_streams(struct container *ct, const struct attach_options *o,
                                    struct attachment *a, struct stream *conn)
{
    struct input input = { .container = ct, .attachment = a, .conn = conn };
    struct group g;
    struct error *e = NULL;

    if (detach_keys_parse(o->detach_keys, &input.detach) < 0)
        return err_new(ERR_INVALID, "Invalid detach keys (%s) provided", o->detach_keys);
    group_open(&g, GROUP_KEEP_GOING);
    if (o->want_stdin && json_get_bool(ct->config, "OpenStdin"))
        e = group_spawn(&g, "attach stdin", receive_input, &input);
    if (e == NULL && stream_fd(conn) >= 0)
        e = group_spawn(&g, "attach watch", watch_client, &input);
    if (e == NULL)
        e = send_output(ct, a, conn);
    group_cancel(&g);
    err_free(group_join(&g));
    if (e != NULL || input.detached)
        container_event(ct, "detach", NULL);
    return e;
}

struct error *container_attach(struct container *ct, const struct attach_options *o, struct stream *conn)
{
    struct attachment a = {
        .streams = (o->want_stdout ? LOG_STDOUT : 0) | (o->want_stderr ? LOG_STDERR : 0),
        .framed = o->multiplexed && !ct->tty,
    };
    struct error *e = NULL;

    container_event(ct, "attach", NULL);
    /* Listed before the past is sent: what comes in between is kept, not lost. */
    if (o->stream)
        enlist(ct, &a);
    if (o->logs)
        e = send_past(ct, &a, conn);
    if (o->stream) {
        if (e == NULL)
            e = attach_streams(ct, o, &a, conn);
        delist(ct, &a);
    }
    return e;
}
