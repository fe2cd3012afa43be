/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc.c - messages on a stream: what both roles share
 */
#include "wire/grpc.h"

#include "base/limits.h"
#include "task/task.h"
#include "wire/grpc_impl.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>

#define PREFIX_LEN 5 /* compressed flag, length */

/* ---- errors
 * ------------------------------------------------------------------------------------------------------------
 */

static struct error *reset_error(uint32_t code)
{
    enum error_kind kind = ERR_INTERNAL;

    switch (code) {
    case NGHTTP2_CANCEL:
        kind = ERR_CANCELLED;
        break;
    case NGHTTP2_REFUSED_STREAM:
        kind = ERR_UNAVAILABLE;
        break;
    case NGHTTP2_ENHANCE_YOUR_CALM:
        kind = ERR_EXHAUSTED;
        break;
    case NGHTTP2_INADEQUATE_SECURITY:
        kind = ERR_FORBIDDEN;
        break;
    }
    return err_new(kind, "stream terminated by RST_STREAM with error code: %s", nghttp2_http2_strerror(code));
}

struct error *rpc_stream_error(struct rpc_call *c, int r, const char *verb)
{
    switch (r) {
    case -ECANCELED:
    case -ETIMEDOUT:
        return task_error(r, "%s", verb);
    case -ECONNRESET:
        return reset_error(h2_stream_reset_code(c->h2));
    case -ENOTCONN:
        return err_new(ERR_UNAVAILABLE, "error reading from server: EOF");
    case -EPIPE:
        return err_new(ERR_INTERNAL, "unexpected EOF");
    default:
        return err_sys(-r, "%s a message", verb);
    }
}

void rpc_call_deinit(struct rpc_call *c)
{
    rpc_md_deinit(&c->md);
    buf_deinit(&c->in);
    buf_deinit(&c->out);
    err_freep(&c->status);
    free(c->path);
}

/* ---- receiving
 * ---------------------------------------------------------------------------------------------------------
 */

struct error *rpc_recv_prefix(struct rpc_call *c, size_t *ret_len, bool *ret_eof)
{
    uint8_t prefix[PREFIX_LEN];
    bool data;

    *ret_eof = false;
    if (!c->in_ended) {
        TRY(rpc_open_input(c, &data));
        int r = data ? h2_stream_read_full(c->h2, prefix, sizeof(prefix)) : -ENODATA;

        if (r < 0 && r != -ENODATA)
            return rpc_stream_error(c, r, "receive");
        c->in_ended = r == -ENODATA;
    }
    if (c->in_ended) {
        *ret_eof = true;
        return c->server ? NULL : rpc_take_status(c);
    }
    size_t len = (size_t)prefix[1] << 24 | (size_t)prefix[2] << 16 | (size_t)prefix[3] << 8 | prefix[4];

    if (prefix[0] == 1)
        return err_new(ERR_UNIMPLEMENTED, "grpc: Decompressor is not installed for grpc-encoding \"gzip\"");
    if (prefix[0] != 0)
        return err_new(ERR_INTERNAL, "grpc: received unexpected payload format %d", prefix[0]);
    if (len > LIMIT_GRPC_MESSAGE)
        return err_new(ERR_EXHAUSTED, "grpc: received message larger than max (%zu vs. %zu)", len,
                       (size_t)LIMIT_GRPC_MESSAGE);
    *ret_len = len;
    return NULL;
}

struct error *rpc_recv_raw(struct rpc_call *c, struct buf *out, bool *ret_eof)
{
    size_t len = 0;
    bool eof;

    TRY(rpc_recv_prefix(c, &len, &eof));
    *ret_eof = eof;
    buf_clear(out);
    if (eof || len == 0)
        return NULL;
    /* Memory follows what has arrived: a length alone costs the sender nothing. */
    while (out->len < len) {
        size_t step = MIN(len - out->len, LIMIT_H2_STREAM_WINDOW);

        buf_reserve(out, step);
        int r = h2_stream_read_full(c->h2, out->data + out->len, step);

        if (r < 0)
            return rpc_stream_error(c, r == -ENODATA ? -EPIPE : r, "receive");
        out->len += step;
        out->data[out->len] = '\0';
    }
    return NULL;
}

struct error *rpc_recv_any(struct rpc_call *c, const ProtobufCMessageDescriptor *desc, struct pb_arena *a,
                           void **ret)
{
    bool eof;

    TRY(rpc_recv_raw(c, &c->in, &eof));
    if (eof) {
        *ret = NULL;
        return NULL;
    }
    struct error *e = pb_unpack_any(desc, c->in.data, c->in.len, a, ret);

    if (err_is(e, ERR_INVALID))
        e->kind = ERR_INTERNAL; /* as grpc-go answers */
    if (c->in.cap > LIMIT_H2_STREAM_WINDOW)
        buf_deinit(&c->in);
    return err_wrap(e, "grpc: error unmarshalling request");
}

struct error *rpc_recv_one_any(struct rpc_call *c, const ProtobufCMessageDescriptor *desc, struct pb_arena *a,
                               void **ret)
{
    void *m = NULL;

    TRY(rpc_recv_any(c, desc, a, &m));
    if (m == NULL)
        return err_new(ERR_INTERNAL, "%s",
                       c->server ? "EOF" : "cardinality violation: received no response message");
    *ret = m;
    return NULL;
}

/* ---- sending
 * -----------------------------------------------------------------------------------------------------------
 */

struct error *rpc_send_raw(struct rpc_call *c, const void *data, size_t len)
{
    uint8_t prefix[PREFIX_LEN] = { 0, (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                                   (uint8_t)len };

    if (len > LIMIT_GRPC_MESSAGE)
        return err_new(ERR_EXHAUSTED, "trying to send message larger than max (%zu vs. %zu)", len,
                       (size_t)LIMIT_GRPC_MESSAGE);
    TRY(rpc_open_response(c));
    int r = h2_stream_write(c->h2, prefix, sizeof(prefix), data, len);

    if (r == -EPIPE && !c->server)
        return err_new(ERR_UNAVAILABLE, "EOF");
    return r < 0 ? rpc_stream_error(c, r, "send") : NULL;
}

struct error *rpc_send(struct rpc_call *c, const ProtobufCMessage *m)
{
    buf_clear(&c->out);
    if (protobuf_c_message_get_packed_size(m) <= LIMIT_GRPC_MESSAGE) {
        pb_pack(m, &c->out);
        struct error *e = rpc_send_raw(c, c->out.data, c->out.len);

        if (c->out.cap > LIMIT_H2_STREAM_WINDOW)
            buf_deinit(&c->out);
        return e;
    }
    return err_new(ERR_EXHAUSTED, "trying to send message larger than max (%zu vs. %zu)",
                   protobuf_c_message_get_packed_size(m), (size_t)LIMIT_GRPC_MESSAGE);
}

/* ---- metadata
 * ----------------------------------------------------------------------------------------------------------
 */

struct error *rpc_metadata(struct rpc_call *c, const struct rpc_md **ret)
{
    const struct h2_fields *fields;

    if (!c->have_md) {
        int r = h2_stream_headers(c->h2, &fields);

        if (r < 0)
            return rpc_stream_error(c, r, "receive");
        rpc_md_from_fields(&c->md, fields);
        c->have_md = true;
    }
    *ret = &c->md;
    return NULL;
}

const char *rpc_metadata_get(struct rpc_call *c, const char *key)
{
    return rpc_md_get(&c->md, key);
}

const char *rpc_method_path(const struct rpc_call *c)
{
    return c->path;
}
