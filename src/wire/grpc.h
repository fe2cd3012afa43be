/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc.h - gRPC over HTTP/2, both roles
 *
 * Server: a table of services; each call runs its method's function in a task of its own, under a scope that
 * is cancelled when the client resets the stream, its deadline passes or the connection ends.  What the
 * function returns becomes the trailers: NULL is status OK, an error its code, message and details
 * (grpc-status-details-bin), unchanged.
 *
 * Client: a `struct rpc_conn` on any stream; calls may be made from any task.  The error of a failed call has
 * the kind, message and details that the server sent.
 *
 * A call may be received from by one task while another sends.  All calls that send or receive are wait
 * points.
 */
#ifndef MINKE_WIRE_GRPC_H
#define MINKE_WIRE_GRPC_H

#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "io/stream.h"
#include "wire/pb.h"

struct rpc_call;
struct rpc_conn;

/* ---- metadata
 * ----------------------------------------------------------------------------------------------------------
 */

/* Ordered, repeated keys allowed; keys lower case. Values of keys that end in "-bin" are raw bytes here and
 * base64 on the wire. */
struct rpc_md_entry {
    char *key, *value; /* value has a NUL behind it */
    size_t len;
};
struct rpc_md {
    struct rpc_md_entry *v;
    size_t len, cap;
};
void rpc_md_deinit(struct rpc_md *md);
void rpc_md_add(struct rpc_md *md, const char *key,
                const char *value); /* copies; the key is lowered; bytes that HTTP forbids become '?' */
void rpc_md_add_bin(struct rpc_md *md, const char *key, const void *value, size_t len);
const char *rpc_md_get(const struct rpc_md *md, const char *key); /* the first, or NULL; borrowed */
void rpc_md_all(const struct rpc_md *md, const char *key,
                struct strv *out); /* appends all values of the key */

/* ---- server
 * ------------------------------------------------------------------------------------------------------------
 */

struct rpc_method {
    const char *name; /* "Solve" */
    struct error *(*fn)(struct rpc_call *call, void *ctx);
};
struct rpc_service {
    const char *name; /* "moby.buildkit.v1.Control" */
    const struct rpc_method *methods;
    size_t method_count;
    void *ctx;
    bool plain_errors; /* its errors are of code Unknown, whatever their kind, but for cancellation and
                          deadlines */
};
struct rpc_server {
    const struct rpc_service *const *services;
    size_t service_count;
};

/* Serve on `s` (taken) until the connection ends or the task is cancelled; joins all calls. `server` is
 * borrowed. */
struct error *rpc_serve_stream(const struct rpc_server *server, struct stream *s) MUST_CHECK;

/* ---- both roles
 * -------------------------------------------------------------------------------------------------------- */

/* The next message, decoded into the arena; *ret is NULL at the end of the stream.
 * Vertex *m; TRY(rpc_recv(call, &bk__vertex__descriptor, &arena, &m)); */
struct error *rpc_recv_any(struct rpc_call *c, const ProtobufCMessageDescriptor *desc, struct pb_arena *a,
                           void **ret) MUST_CHECK;
#define rpc_recv(call, desc, arena, ret)                                                                     \
    ({                                                                                                       \
        void *rpc_msg_ = NULL;                                                                               \
        struct error *rpc_err_ = rpc_recv_any(call, desc, arena, &rpc_msg_);                                 \
        if (rpc_err_ == NULL)                                                                                \
            *(ret) = rpc_msg_;                                                                               \
        rpc_err_;                                                                                            \
    })
/* The one request of a unary or server-streaming method: an absent message is an error. */
struct error *rpc_recv_one_any(struct rpc_call *c, const ProtobufCMessageDescriptor *desc, struct pb_arena *a,
                               void **ret) MUST_CHECK;
#define rpc_recv_one(call, desc, arena, ret)                                                                 \
    ({                                                                                                       \
        void *rpc_msg_ = NULL;                                                                               \
        struct error *rpc_err_ = rpc_recv_one_any(call, desc, arena, &rpc_msg_);                             \
        if (rpc_err_ == NULL)                                                                                \
            *(ret) = rpc_msg_;                                                                               \
        rpc_err_;                                                                                            \
    })
/* The next message's bytes; replaces what `out` holds. *ret_eof true at the end of the stream. */
struct error *rpc_recv_raw(struct rpc_call *c, struct buf *out, bool *ret_eof) MUST_CHECK;

/* rpc_send(call, &message.base). On a client, ERR_UNAVAILABLE "EOF" when the server has ended the call:
 * rpc_finish tells why. */
struct error *rpc_send(struct rpc_call *c, const ProtobufCMessage *m) MUST_CHECK;
struct error *rpc_send_raw(struct rpc_call *c, const void *data, size_t len) MUST_CHECK;

/* Metadata of the peer: a server's is the request's; a client waits for the response's header block. Borrowed
 * until the call ends. */
struct error *rpc_metadata(struct rpc_call *c, const struct rpc_md **ret) MUST_CHECK;
/* Server: first value of a key of the request, or NULL. */
const char *rpc_metadata_get(struct rpc_call *c, const char *key);
const char *rpc_method_path(const struct rpc_call *c); /* "/pkg.Service/Method" */

/* gRPC messages BytesMessage{data=1} as a byte stream (Control.Session, FileSend, ssh, upload): boundaries
 * vanish, empty messages are skipped, writes go out in messages of at most LIMIT_TUNNEL_MESSAGE.  shut
 * half-closes a client's side; a server's side ends when its method returns. The call is borrowed and must
 * outlive the stream; closing the stream leaves the call as it is. */
struct error *rpc_tunnel(struct rpc_call *c, struct stream **ret) MUST_CHECK;

/* ---- server only
 * ------------------------------------------------------------------------------------------------------- */

/* Send the response's header block now, with metadata of our own (may be NULL). At most once, before the
 * first message. */
struct error *rpc_send_headers(struct rpc_call *c, const struct rpc_md *md) MUST_CHECK;

/* ---- client
 * ------------------------------------------------------------------------------------------------------------
 */

/* HTTP/2 client on `s` (taken, also on failure); its tasks live below the current task's scope until
 * rpc_conn_close.  Does not wait. */
struct error *rpc_connect(struct stream *s, struct rpc_conn **ret) MUST_CHECK;
void rpc_conn_close(struct rpc_conn *c); /* NULL is fine; all calls must have ended */
void rpc_conn_closep(struct rpc_conn **c);
/* Wait until the connection is gone: NULL; or the error of the task's scope. */
struct error *rpc_conn_wait(struct rpc_conn *c) MUST_CHECK;
bool rpc_conn_closed(struct rpc_conn *c);
void rpc_conn_abort(struct rpc_conn *c); /* fail all calls now; from any task */

/* Begin a call; `md` may be NULL.  A deadline of the current task travels as grpc-timeout.
 * Errors: ERR_UNAVAILABLE when the connection is gone. */
struct error *rpc_call_open(struct rpc_conn *c, const char *path, const struct rpc_md *md,
                            struct rpc_call **ret) MUST_CHECK;
/* Half-close: no more messages from us. */
struct error *rpc_close_send(struct rpc_call *c) MUST_CHECK;
/* Read to the end and take the status: NULL for OK, else the server's error.  Messages that still come are
 * dropped. */
struct error *rpc_finish(struct rpc_call *c) MUST_CHECK;
/* Cancel unless finished (RST_STREAM CANCEL), free. NULL is fine. */
void rpc_call_free(struct rpc_call *c);
void rpc_call_freep(struct rpc_call **c);

/* One request, one response decoded into the arena. */
struct error *rpc_unary_any(struct rpc_conn *c, const char *path, const struct rpc_md *md,
                            const ProtobufCMessage *request, const ProtobufCMessageDescriptor *desc,
                            struct pb_arena *a, void **ret) MUST_CHECK;
#define rpc_unary(conn, path, md, request, desc, arena, ret)                                                 \
    ({                                                                                                       \
        void *rpc_msg_ = NULL;                                                                               \
        struct error *rpc_err_ = rpc_unary_any(conn, path, md, request, desc, arena, &rpc_msg_);             \
        if (rpc_err_ == NULL)                                                                                \
            *(ret) = rpc_msg_;                                                                               \
        rpc_err_;                                                                                            \
    })

#endif
