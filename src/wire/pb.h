/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pb.h - protobuf messages of the wire: decoding into an arena, encoding, and the small conversions everybody
 * needs
 *
 * The message types come from proto/NAME.proto by protobuf-c: message M of package p is `P__M`, its
 * descriptor `p__m__descriptor` (pb LLB, bk Control, gw LLBBridge, bkt worker, pol source policy, caps, fs
 * fsutil, sess session services, content, health, rpc Status and Any, ts Timestamp, kv map entries, otlp).
 *
 * Decoding: all that a message points to lies in a `struct pb_arena` and goes with it; never call a message's
 * free_unpacked.  The arena is bounded (LIMIT_PB_ARENA), so that a small message that unfolds to a huge one
 * fails instead of taking the memory. Presence as in proto3: an absent message is NULL, an absent string "",
 * absent bytes {0, NULL}.  A string that holds a NUL byte is refused; other bytes are taken as they are,
 * valid UTF-8 or not, as BuildKit does.
 *
 * Encoding: build the message on the stack with its __INIT macro, pointing at whatever lives long enough (an
 * arena helps: pb_str, pb_array, pb_add_str), then pb_pack.  Maps are repeated entries {key, value}; decoders
 * take them in any order, and ours write them in the order given.
 */
#ifndef MINKE_WIRE_PB_H
#define MINKE_WIRE_PB_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/vec.h"

#include "bk.pb-c.h"
#include "bkt.pb-c.h"
#include "caps.pb-c.h"
#include "content.pb-c.h"
#include "fs.pb-c.h"
#include "gw.pb-c.h"
#include "health.pb-c.h"
#include "kv.pb-c.h"
#include "otlp.pb-c.h"
#include "pb.pb-c.h"
#include "pol.pb-c.h"
#include "rpc.pb-c.h"
#include "sess.pb-c.h"
#include "ts.pb-c.h"

/* ---- arena
 * -------------------------------------------------------------------------------------------------------------
 */

/* An arena (base/arena.h) with protobuf-c's allocator.  Zeroed is empty and ready. */
struct pb_arena {
    struct arena mem; /* its `used` is bounded by LIMIT_PB_ARENA while decoding */
    ProtobufCAllocator alloc;
};
void pb_arena_deinit(struct pb_arena *a);
/* Forget all that was allocated, keep one block: for loops that decode one message a turn. */
void pb_arena_reset(struct pb_arena *a);
/* Zeroed, aligned to 16. Never NULL: for sizes of our own choice. */
void *pb_alloc(struct pb_arena *a, size_t size);
char *pb_str(struct pb_arena *a, const char *s); /* copy; "" for NULL */
char *pb_strf(struct pb_arena *a, const char *fmt, ...) PRINTF(2, 3);
void *pb_mem(struct pb_arena *a, const void *p, size_t len); /* copy */

/* ---- messages
 * ----------------------------------------------------------------------------------------------------------
 */

/* Decode `len` bytes; *ret lies in the arena. Errors: ERR_INVALID when it does not decode or a string holds a
 * NUL, ERR_EXHAUSTED when it unfolds to too much. */
struct error *pb_unpack_any(const ProtobufCMessageDescriptor *desc, const void *data, size_t len,
                            struct pb_arena *a, void **ret) MUST_CHECK;
/* Bk__SolveRequest *m; TRY(pb_unpack(&bk__solve_request__descriptor, data, len, &arena, &m)); */
#define pb_unpack(desc, data, len, arena, ret)                                                               \
    ({                                                                                                       \
        void *pb_msg_ = NULL;                                                                                \
        struct error *pb_err_ = pb_unpack_any(desc, data, len, arena, &pb_msg_);                             \
        if (pb_err_ == NULL)                                                                                 \
            *(ret) = pb_msg_;                                                                                \
        pb_err_;                                                                                             \
    })
/* Append the encoded message. Takes any message: pb_pack(&m.base, out). */
void pb_pack(const ProtobufCMessage *m, struct buf *out);
/* Append the message as protojson (Go's google.golang.org/protobuf/encoding/protojson reads it): names are
 * BuildKit's, enums are numbers, what is at its default is left out.  For messages of package pb. */
void pb_to_json(const ProtobufCMessage *m, struct buf *out);
/* A fresh message in the arena, initialised: Bk__Vertex *v = PB_NEW(arena, bk__vertex); */
void *pb_new(struct pb_arena *a, const ProtobufCMessageDescriptor *desc);
#define PB_NEW(arena, name) pb_new(arena, &name##__descriptor)

/* ---- conversions
 * ------------------------------------------------------------------------------------------------------- */

/* Timestamp of ns since the epoch; NULL for 0 (not set). */
Ts__Timestamp *pb_time(struct pb_arena *a, int64_t ns);
int64_t pb_time_ns(const Ts__Timestamp *t); /* 0 for NULL; saturates */
/* bytes that borrow. */
static inline ProtobufCBinaryData pb_bytes(const void *p, size_t len)
{
    return (ProtobufCBinaryData){ .len = len, .data = (uint8_t *)p };
}
/* Array of `n` pointers in the arena (NULL when 0), for repeated message fields. */
static inline void *pb_array(struct pb_arena *a, size_t n)
{
    return n == 0 ? NULL : pb_alloc(a, n * sizeof(void *));
}
/* A string map (base/vec.h) as repeated kv.Str entries that borrow the map's strings: field =
 * pb_from_strmap(a, &m, &n). */
Kv__Str **pb_from_strmap(struct pb_arena *a, const struct map *m, size_t *ret_n);
/* The other way: copied in; a key that comes twice keeps its last value. `m` must be a string map. */
void pb_to_strmap(Kv__Str *const *entries, size_t n, struct map *m);
/* Value of a key, or NULL. Borrowed. */
const char *pb_get_str(Kv__Str *const *entries, size_t n, const char *key);
/* repeated string from and to a vector. The first borrows. */
char **pb_from_strv(struct pb_arena *a, const struct strv *s, size_t *ret_n);
void pb_to_strv(char *const *v, size_t n, struct strv *s);

/* google.rpc.Status to and from an error, details unchanged; code 0 or NULL gives NULL. The message borrows
 * from `e`. */
Rpc__Status *pb_from_error(struct pb_arena *a, const struct error *e);
struct error *pb_to_error(const Rpc__Status *s) MUST_CHECK;

#endif
