/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc_impl.h - the inside of a call; for grpc*.c and tunnel.c only
 */
#ifndef MINKE_WIRE_GRPC_IMPL_H
#define MINKE_WIRE_GRPC_IMPL_H

#include "wire/grpc.h"
#include "wire/http2.h"

struct rpc_call {
    struct h2_stream *h2;
    bool server;
    char *path;
    struct rpc_md md; /* of the peer */
    bool have_md;
    bool in_ended;        /* read to the end */
    struct buf in, out;   /* scratch of the receiver, of the sender */
    bool finished;        /* client: `status` is known */
    struct error *status; /* client */
};

/* ---- grpc_fields.c: what gRPC writes into header blocks
 * ---------------------------------------------------------------------- */

/* Metadata of a header block: pseudo fields and what gRPC keeps for itself are left out, "-bin" values
 * decoded (a bad one is dropped). */
void rpc_md_from_fields(struct rpc_md *md, const struct h2_fields *f);
void rpc_md_to_fields(const struct rpc_md *md, struct h2_fields *f);
/* "5S", "100m": 0 or -EINVAL. */
int rpc_parse_timeout(const char *s, int64_t *ret_ns);
/* grpc-status, grpc-message, grpc-status-details-bin. NULL is OK. */
void rpc_status_to_fields(const struct error *e, struct h2_fields *f);
/* NULL for OK; the block must have grpc-status. */
struct error *rpc_status_from_fields(const struct h2_fields *f);

/* ---- grpc.c
 * ----------------------------------------------------------------------------------------------------------------
 */

/* What a stream's negative errno means for a call. `verb` is "receive" or "send". */
struct error *rpc_stream_error(struct rpc_call *c, int r, const char *verb);
void rpc_call_deinit(struct rpc_call *c);
/* Client: the status after the stream's end (its trailers), kept in the call; the clone of it. */
struct error *rpc_take_status(struct rpc_call *c);
/* Server: send the header block unless it went already. Client: nothing. */
struct error *rpc_open_response(struct rpc_call *c);
/* Client: wait for the response's header block and look whether it is gRPC at all. *ret_data: messages may
 * follow. */
struct error *rpc_open_input(struct rpc_call *c, bool *ret_data);
/* The five bytes before the next message. *ret_eof at the end, where a client's status is an error or OK. */
struct error *rpc_recv_prefix(struct rpc_call *c, size_t *ret_len, bool *ret_eof);

#endif
