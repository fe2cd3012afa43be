/* SPDX-License-Identifier: Apache-2.0 */
/*
 * files.c - the calls that carry files: FileSync.DiffCopy from the client, FileSend.DiffCopy to it
 */
#include <errno.h>

#include "base/limits.h"
#include "session/impl.h"
#include "session/sync.h"

#define FILE_SYNC "/moby.filesync.v1.FileSync/DiffCopy"
#define FILE_SEND "/moby.filesync.v1.FileSend/DiffCopy"
#define SEND_BUFFER (32 * KIB)

/* ---- in ---- */

static void add_values(struct rpc_md *md, const char *key, const struct strv *values)
{
    if (values != NULL)
        session_md_add(md, key, values);
}

static struct error *sync_in(struct session *s, const struct sync_options *o, int dir_fd,
                             struct sync_index *index)
{
    CLEANUP(rpc_md_deinit) struct rpc_md md = { 0 };
    CLEANUP(strv_deinit) struct strv name = { 0 };
    CLEANUP(rpc_call_freep) struct rpc_call *call = NULL;

    if (!session_supports(s, FILE_SYNC))
        return err_new(ERR_INVALID, "no local sources enabled");
    strv_add(&name, o->name);
    session_md_add(&md, "dir-name", &name);
    add_values(&md, "include-patterns", o->include);
    add_values(&md, "exclude-patterns", o->exclude);
    add_values(&md, "followpaths", o->follow);
    TRY(rpc_call_open(s->conn, FILE_SYNC, &md, &call));
    TRY(sync_receive(call, o, dir_fd, index));
    TRY(rpc_close_send(call));
    struct error *e = rpc_finish(call);

    if (e != NULL)
        sync_index_deinit(index);
    return e;
}

struct error *session_sync_in(struct session *s, const struct sync_options *o, int dir_fd,
                              struct sync_index *index)
{
    struct error *e = sync_in(s, o, dir_fd, index);

    if (e != NULL)
        sync_index_deinit(index);
    return e;
}

/* ---- out ---- */

static struct error *open_send(struct session *s, const struct send_options *o, struct rpc_call **ret)
{
    CLEANUP(rpc_md_deinit) struct rpc_md md = { 0 };
    CLEANUP(freep) char *index = xasprintf("%d", o->exporter_index);

    if (!session_supports(s, FILE_SEND))
        return err_new(ERR_INVALID, "method %s not supported by the client", FILE_SEND);
    rpc_md_add(&md, "buildkit-attachable-exporter-id", index);
    for (size_t i = 0; o->metadata != NULL && i < o->metadata->len; i++) {
        CLEANUP(freep) char *key = xasprintf("exporter-md-%s", o->metadata->entries[i].key);

        rpc_md_add(&md, key, o->metadata->entries[i].value);
    }
    if (o->multi_platform_delete)
        rpc_md_add(&md, "buildkit-exporter-multi-platform", "1");
    return rpc_call_open(s->conn, FILE_SEND, &md, ret);
}

/* Why a write to the peer failed: the status it ended the call with, if it did. */
static struct error *status_of(struct rpc_call *call, struct error *e)
{
    if (!err_is(e, ERR_UNAVAILABLE) || task_check_sys() < 0)
        return e;
    struct error *status = rpc_finish(call);

    if (status == NULL)
        return e;
    err_free(e);
    return status;
}

struct error *session_send_trees(struct session *s, const struct send_options *o,
                                 const struct sync_tree *trees, size_t count,
                                 void (*progress)(void *ctx, int64_t bytes), void *ctx)
{
    CLEANUP(rpc_call_freep) struct rpc_call *call = NULL;

    TRY(open_send(s, o, &call));
    TRY(status_of(call, sync_send(call, trees, count, progress, ctx)));
    TRY(rpc_close_send(call));
    return rpc_finish(call);
}

struct error *session_send_tree(struct session *s, const struct send_options *o, int dir_fd,
                                const char *prefix, const struct sync_send_filter *filter,
                                void (*progress)(void *ctx, int64_t bytes), void *ctx)
{
    struct sync_tree tree = { .dir_fd = dir_fd, .prefix = prefix, .filter = filter };

    return session_send_trees(s, o, &tree, 1, progress, ctx);
}

/* ---- a byte stream out ---- */

struct send_stream {
    struct stream stream; /* what the caller writes to; only a view */
    struct rpc_call *call;
    struct stream *tunnel;
    struct buf pending;
    struct error *status; /* how the client ended the call early */
    bool ended;           /* it did */
};

/* The client is not listening any more: for which reason?  What it has already is as good as sent. */
static int ended_early(struct send_stream *f)
{
    if (!f->ended) {
        f->ended = true;
        f->status = rpc_finish(f->call);
    }
    return err_is(f->status, ERR_EXISTS) ? 0 : -EPIPE;
}

static int flush(struct send_stream *f)
{
    if (f->ended)
        return ended_early(f);
    if (f->pending.len == 0)
        return 0;
    int r = stream_write_full(f->tunnel, f->pending.data, f->pending.len);

    buf_clear(&f->pending);
    if (r == 0 || r == -ECANCELED || r == -ETIMEDOUT)
        return r;
    return ended_early(f);
}

static ssize_t send_write(struct stream *s, const void *data, size_t len)
{
    struct send_stream *f = CONTAINER_OF(s, struct send_stream, stream);
    size_t n = MIN(len, SEND_BUFFER - f->pending.len);

    if (f->ended) {
        int r = ended_early(f);

        return r < 0 ? r : (ssize_t)len;
    }
    buf_add(&f->pending, data, n);
    if (f->pending.len == SEND_BUFFER) {
        int r = flush(f);

        if (r < 0)
            return r;
    }
    return (ssize_t)n;
}

static ssize_t send_read(struct stream *s, void *buf, size_t cap)
{
    return 0;
}

static int send_shut(struct stream *s)
{
    return flush(CONTAINER_OF(s, struct send_stream, stream));
}

static void send_close(struct stream *s)
{
    /* session_send_finish and session_send_abandon free it */
}

struct error *session_send_begin(struct session *s, const struct send_options *o, struct send_stream **ret,
                                 struct stream **ret_stream)
{
    static const struct stream_ops ops = {
        .read = send_read, .write = send_write, .shut = send_shut, .close = send_close
    };
    CLEANUP(rpc_call_freep) struct rpc_call *call = NULL;
    struct stream *tunnel;

    TRY(open_send(s, o, &call));
    TRY(rpc_tunnel(call, &tunnel));
    struct send_stream *f = NEW(struct send_stream);

    f->stream.ops = &ops;
    f->call = TAKE(call);
    f->tunnel = tunnel;
    *ret = f;
    *ret_stream = &f->stream;
    return NULL;
}

void session_send_abandon(struct send_stream *f)
{
    if (f == NULL)
        return;
    stream_close(f->tunnel);
    rpc_call_free(f->call);
    buf_deinit(&f->pending);
    err_free(f->status);
    free(f);
}

struct error *session_send_fail(struct send_stream *f, struct error *e)
{
    if (f->ended && f->status != NULL && task_check_sys() == 0) {
        err_free(e);
        e = TAKE(f->status);
    }
    session_send_abandon(f);
    return e;
}

static struct error *finish_stream(struct send_stream *f)
{
    int r = flush(f);

    if (r == -ECANCELED || r == -ETIMEDOUT)
        return task_error(r, "send to the client");
    if (!f->ended) {
        TRY(rpc_close_send(f->call));
        f->ended = true;
        f->status = rpc_finish(f->call);
    } else if (f->status == NULL) {
        return err_new(ERR_UNKNOWN, "the client ended the transfer early");
    }
    return TAKE(f->status);
}

struct error *session_send_finish(struct send_stream *f)
{
    struct error *e = finish_stream(f);

    session_send_abandon(f);
    if (err_is(e, ERR_EXISTS))
        err_freep(&e); /* it has it: "skip" */
    return e;
}
