/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.h - write protobuf messages by hand, byte for byte as Go's deterministic marshalling does
 *
 * Fields are written in the order of their numbers by the caller; default values are skipped, as proto3 asks,
 * except by the functions that say otherwise.  Map entries always carry key and value.
 */
#ifndef MINKE_LLB_ENCODE_H
#define MINKE_LLB_ENCODE_H

#include "base/base.h"
#include "base/buf.h"
#include "base/vec.h"

void pbw_varint(struct buf *out, uint64_t v);
void pbw_int(struct buf *out, unsigned field,
             int64_t v); /* int32, int64, enum: negative ones take 10 bytes */
void pbw_uint(struct buf *out, unsigned field, uint64_t v);
void pbw_uint_always(struct buf *out, unsigned field, uint64_t v); /* members of a oneof */
void pbw_bool(struct buf *out, unsigned field, bool v);
void pbw_str(struct buf *out, unsigned field, const char *s); /* NULL and "" are skipped */
void pbw_str_always(struct buf *out, unsigned field, const char *s);
void pbw_bytes(struct buf *out, unsigned field, const void *p, size_t len); /* empty is skipped */
void pbw_bytes_always(struct buf *out, unsigned field, const void *p, size_t len);
/* A sub-message: written even when empty; `msg` is emptied. */
void pbw_message(struct buf *out, unsigned field, struct buf *msg);
/* The same written in place: what is added between the two is the sub-message; they nest. */
size_t pbw_begin(struct buf *out, unsigned field);
void pbw_end(struct buf *out, size_t begin); /* what pbw_begin gave */
void pbw_strv(struct buf *out, unsigned field, const struct strv *v);
/* map<string, message>, sorted by key: `encode` appends one value's message. */
void pbw_map(struct buf *out, unsigned field, const struct map *m,
             void (*encode)(struct buf *out, const void *value));
void pbw_strmap(struct buf *out, unsigned field, const struct map *m); /* map<string, string>, the same */

#endif
