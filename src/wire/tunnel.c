/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel.c - BytesMessage{data=1} messages as a byte stream
 *
 * The payload is read straight from the HTTP/2 stream into the reader's buffer when the message is just the
 * one field, as every peer sends it; anything else goes through the decoder.
 */
#include "base/limits.h"
#include "wire/grpc_impl.h"

#include <errno.h>

#define FIELD_DATA 0x0a /* field 1, length-delimited */
#define HEAD_MAX 6      /* tag and a length below 2^35 */

struct tunnel {
    struct stream base;
    struct rpc_call *call;
    size_t left;      /* bytes of the current message still in the HTTP/2 stream */
    struct buf spill; /* payload of a message that needed the decoder */
    size_t spilled;   /* of it, what was read */
};

static size_t put_varint(uint8_t *p, size_t n)
{
    size_t len = 0;

    for (; n >= 0x80; n >>= 7)
        p[len++] = (uint8_t)(n | 0x80);
    p[len++] = (uint8_t)n;
    return len;
}

/* Errors of the layer below as an errno; the text is lost with the layer. */
static int low(struct error *e)
{
    int r = e->kind == ERR_CANCELLED ? -ECANCELED : e->kind == ERR_DEADLINE ? -ETIMEDOUT : -ECONNRESET;

    err_free(e);
    return r;
}

static int unpack_spill(struct tunnel *t, const struct buf *message)
{
    struct pb_arena arena = { 0 };
    Sess__BytesMessage *m = NULL;
    struct error *e = pb_unpack(&sess__bytes_message__descriptor, message->data, message->len, &arena, &m);

    if (e == NULL) {
        buf_clear(&t->spill);
        t->spilled = 0;
        buf_add(&t->spill, m->data.data, m->data.len);
    }
    pb_arena_deinit(&arena);
    if (e == NULL)
        return 0;
    err_free(e);
    return -EBADMSG;
}

/* Read tag and length; what is not the plain shape is read whole and decoded. */
static int open_message(struct tunnel *t, size_t len)
{
    struct buf message CLEANUP(buf_deinit) = { 0 };
    uint8_t head[HEAD_MAX];
    size_t have = 0, size = 0;
    bool plain = false;
    int r;

    while (have < len && have < sizeof(head) && !plain) {
        r = h2_stream_read_full(t->call->h2, &head[have], 1);
        if (r < 0)
            return r == -ENODATA ? -EPIPE : r;
        if (have == 0 && head[0] != FIELD_DATA) {
            have = 1;
            break;
        }
        if (have > 0) {
            size |= (size_t)(head[have] & 0x7f) << (7 * (have - 1));
            plain = !(head[have] & 0x80);
        }
        have++;
    }
    if (plain && size == len - have) {
        t->left = size;
        return 0;
    }
    buf_add(&message, head, have);
    buf_reserve(&message, len - have);
    r = h2_stream_read_full(t->call->h2, message.data + have, len - have);
    if (r < 0)
        return r == -ENODATA ? -EPIPE : r;
    message.len = len;
    return unpack_spill(t, &message);
}

static ssize_t tunnel_read(struct stream *s, void *buf, size_t cap)
{
    struct tunnel *t = (struct tunnel *)s;

    while (t->left == 0 && t->spilled == t->spill.len) {
        size_t len = 0;
        bool eof;
        struct error *e = rpc_recv_prefix(t->call, &len, &eof);

        if (e != NULL)
            return low(e);
        if (eof)
            return 0;
        int r = len > 0 ? open_message(t, len) : 0;

        if (r < 0)
            return r;
    }
    if (t->left > 0) {
        ssize_t n = h2_stream_read(t->call->h2, buf, MIN(cap, t->left));

        if (n == 0 && cap > 0)
            return -EPIPE;
        if (n > 0)
            t->left -= (size_t)n;
        return n;
    }
    size_t n = MIN(cap, t->spill.len - t->spilled);

    memcpy(buf, t->spill.data + t->spilled, n);
    t->spilled += n;
    return (ssize_t)n;
}

static ssize_t tunnel_write(struct stream *s, const void *data, size_t len)
{
    struct tunnel *t = (struct tunnel *)s;
    uint8_t head[5 + 1 + 5] = { 0 };
    size_t n = MIN(len, LIMIT_TUNNEL_MESSAGE);

    if (n == 0)
        return 0;
    head[5] = FIELD_DATA;
    size_t head_len = 6 + put_varint(head + 6, n), message = head_len - 5 + n;

    head[1] = (uint8_t)(message >> 24);
    head[2] = (uint8_t)(message >> 16);
    head[3] = (uint8_t)(message >> 8);
    head[4] = (uint8_t)message;
    struct error *e = rpc_open_response(t->call);

    if (e != NULL)
        return low(e);
    int r = h2_stream_write(t->call->h2, head, head_len, data, n);

    return r < 0 ? r : (ssize_t)n;
}

static int tunnel_shut(struct stream *s)
{
    struct tunnel *t = (struct tunnel *)s;

    if (t->call->server)
        return 0; /* ends with its method */
    struct error *e = rpc_close_send(t->call);

    return e != NULL ? low(e) : 0;
}

static void tunnel_close(struct stream *s)
{
    struct tunnel *t = (struct tunnel *)s;

    buf_deinit(&t->spill);
    free(t);
}

struct error *rpc_tunnel(struct rpc_call *c, struct stream **ret)
{
    static const struct stream_ops ops = {
        .read = tunnel_read, .write = tunnel_write, .shut = tunnel_shut, .close = tunnel_close
    };
    struct tunnel *t = NEW(struct tunnel);

    t->base.ops = &ops;
    t->call = c;
    *ret = &t->base;
    return NULL;
}
