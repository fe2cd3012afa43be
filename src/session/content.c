/* SPDX-License-Identifier: Apache-2.0 */
/*
 * content.c - the containerd Content service of the client as a blob store (protocol.md 3.8)
 */
#include <errno.h>

#include "base/limits.h"
#include "session/impl.h"

#define CONTENT "/containerd.services.content.v1.Content/"
#define WRITE_CHUNK (1 * MIB)

static void choose_store(struct rpc_md *md, const char *store_id)
{
    rpc_md_add(md, "buildkit-attachable-store-id", store_id);
}

struct error *session_content_info(struct session *s, const char *store_id, const char *digest,
                                   int64_t *ret_size)
{
    CLEANUP(rpc_md_deinit) struct rpc_md md = { 0 };
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Content__InfoRequest request = CONTENT__INFO_REQUEST__INIT;
    Content__InfoResponse *response;

    choose_store(&md, store_id);
    request.digest = (char *)digest;
    TRY(rpc_unary(s->conn, CONTENT "Info", &md, &request.base, &content__info_response__descriptor, &arena,
                  &response));
    if (response->info == NULL || !streq(response->info->digest, digest) || response->info->size < 0)
        return err_new(ERR_INVALID, "the client's answer does not fit the content %s", digest);
    *ret_size = response->info->size;
    return NULL;
}

/* ---- reading ---- */

struct content_stream {
    struct stream stream;
    struct rpc_call *call;
    struct pb_arena arena;
    const uint8_t *data; /* in the arena: not read yet */
    size_t len;
    int64_t offset;
};

static int low(struct error *e)
{
    int r = err_is(e, ERR_CANCELLED)   ? -ECANCELED
            : err_is(e, ERR_DEADLINE)  ? -ETIMEDOUT
            : err_is(e, ERR_NOT_FOUND) ? -ENOENT
                                       : -EIO;

    err_free(e);
    return r;
}

static ssize_t content_read(struct stream *s, void *buf, size_t cap)
{
    struct content_stream *c = CONTAINER_OF(s, struct content_stream, stream);

    while (c->len == 0) {
        Content__ReadContentResponse *m;

        pb_arena_reset(&c->arena);
        struct error *e = rpc_recv(c->call, &content__read_content_response__descriptor, &c->arena, &m);

        if (e != NULL)
            return low(e);
        if (m == NULL)
            return 0;
        if (m->offset != c->offset)
            return -EBADMSG;
        c->data = m->data.data;
        c->len = m->data.len;
        c->offset += (int64_t)m->data.len;
    }
    size_t n = MIN(cap, c->len);

    memcpy(buf, c->data, n);
    c->data += n;
    c->len -= n;
    return (ssize_t)n;
}

static ssize_t content_write(struct stream *s, const void *buf, size_t len)
{
    return -EBADF;
}

static int content_shut(struct stream *s)
{
    return 0;
}

static void content_close(struct stream *s)
{
    struct content_stream *c = CONTAINER_OF(s, struct content_stream, stream);

    rpc_call_free(c->call);
    pb_arena_deinit(&c->arena);
    free(c);
}

struct error *session_content_open(struct session *s, const char *store_id, const char *digest,
                                   struct stream **ret)
{
    static const struct stream_ops ops = {
        .read = content_read, .write = content_write, .shut = content_shut, .close = content_close
    };
    CLEANUP(rpc_md_deinit) struct rpc_md md = { 0 };
    CLEANUP(rpc_call_freep) struct rpc_call *call = NULL;
    Content__ReadContentRequest request = CONTENT__READ_CONTENT_REQUEST__INIT;

    choose_store(&md, store_id);
    request.digest = (char *)digest;
    TRY(rpc_call_open(s->conn, CONTENT "Read", &md, &call));
    TRY(rpc_send(call, &request.base));
    TRY(rpc_close_send(call));
    struct content_stream *c = NEW(struct content_stream);

    c->stream.ops = &ops;
    c->call = TAKE(call);
    *ret = &c->stream;
    return NULL;
}

/* ---- writing: STAT opens, WRITE and its answer in turn, COMMIT ---- */

struct writing {
    struct rpc_call *call;
    const char *ref, *digest;
    int64_t size, offset;
};

static struct error *exchange(struct writing *w, Content__WriteContentRequest *m, int64_t *ret_offset)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Content__WriteContentResponse *answer;

    TRY(rpc_send(w->call, &m->base));
    TRY(rpc_recv(w->call, &content__write_content_response__descriptor, &arena, &answer));
    if (answer == NULL)
        return err_new(ERR_UNAVAILABLE, "the client ended the transfer of %s early", w->digest);
    *ret_offset = answer->offset;
    return NULL;
}

static struct error *open_writing(struct writing *w)
{
    Content__WriteContentRequest m = CONTENT__WRITE_CONTENT_REQUEST__INIT;

    m.action = CONTENT__WRITE_ACTION__STAT;
    m.ref = (char *)w->ref;
    m.total = w->size;
    m.expected = (char *)w->digest;
    TRY(exchange(w, &m, &w->offset));
    if (w->offset < 0 || w->offset > w->size)
        return err_new(ERR_INVALID, "the client holds %lld bytes of %s, more than there are",
                       (long long)w->offset, w->digest);
    return NULL;
}

/* What an earlier attempt left there is not sent again. */
static struct error *skip(struct stream *content, int64_t count)
{
    char drop[4096];

    while (count > 0) {
        ssize_t n = stream_read(content, drop, (size_t)MIN(count, (int64_t)sizeof(drop)));

        if (n < 0)
            return task_error((int)n, "read the content");
        if (n == 0)
            return err_new(ERR_DATA_LOSS, "the content ended early");
        count -= n;
    }
    return NULL;
}

static struct error *send_content(struct writing *w, struct stream *content)
{
    CLEANUP(freep) char *chunk = xmalloc(WRITE_CHUNK);
    ssize_t n;

    while ((n = stream_read(content, chunk, WRITE_CHUNK)) > 0) {
        Content__WriteContentRequest m = CONTENT__WRITE_CONTENT_REQUEST__INIT;
        int64_t at = 0;

        m.action = CONTENT__WRITE_ACTION__WRITE;
        m.offset = w->offset;
        m.data = pb_bytes(chunk, (size_t)n);
        TRY(exchange(w, &m, &at));
        w->offset += n;
        if (at != w->offset)
            return err_new(ERR_DATA_LOSS, "the client has %lld bytes of %s, %lld were sent", (long long)at,
                           w->digest, (long long)w->offset);
    }
    return n < 0 ? task_error((int)n, "read the content %s", w->digest) : NULL;
}

static struct error *commit(struct writing *w)
{
    Content__WriteContentRequest m = CONTENT__WRITE_CONTENT_REQUEST__INIT;
    int64_t at = 0;

    m.action = CONTENT__WRITE_ACTION__COMMIT;
    m.total = w->size;
    m.expected = (char *)w->digest;
    m.offset = w->offset;
    TRY(exchange(w, &m, &at));
    TRY(rpc_close_send(w->call));
    return rpc_finish(w->call);
}

static struct error *write_content(struct writing *w, struct stream *content)
{
    TRY(open_writing(w));
    TRY(skip(content, w->offset));
    TRY(send_content(w, content));
    return commit(w);
}

struct error *session_content_write(struct session *s, const char *store_id, const char *ref,
                                    const char *digest, int64_t size, struct stream *content)
{
    CLEANUP(rpc_md_deinit) struct rpc_md md = { 0 };
    CLEANUP(rpc_call_freep) struct rpc_call *call = NULL;

    choose_store(&md, store_id);
    TRY(rpc_call_open(s->conn, CONTENT "Write", &md, &call));
    struct writing w = { .call = call, .ref = ref, .digest = digest, .size = size };
    struct error *e = write_content(&w, content);

    /* a failed send says only that the call is over */
    if (err_is(e, ERR_UNAVAILABLE) && streq(e->message, "EOF")) {
        struct error *status = rpc_finish(call);

        if (status != NULL) {
            err_free(e);
            e = status;
        }
    }
    if (err_is(e, ERR_EXISTS))
        err_freep(&e);
    return e;
}
