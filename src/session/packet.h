/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packet.h - fsutil.types.Packet on the wire, decoded in place
 *
 * File content is most of what travels: it is not copied for decoding.
 */
#ifndef MINKE_SESSION_PACKET_H
#define MINKE_SESSION_PACKET_H

#include "base/base.h"
#include "base/buf.h"

enum packet_type { PACKET_STAT, PACKET_REQ, PACKET_DATA, PACKET_FIN, PACKET_ERR };

struct packet {
    uint32_t type;
    uint32_t id;
    const void *stat; /* encoded fs.Stat; NULL: absent */
    size_t stat_len;
    const void *data;
    size_t len;
};
/* `ret` borrows from `data`. 0 or -EBADMSG. */
int packet_decode(const void *data, size_t len, struct packet *ret) MUST_CHECK;
/* Append the encoded packet (without a stat). */
void packet_encode(const struct packet *p, struct buf *out);
/* All of it but the bytes at `data`, which follow: at most PACKET_HEAD bytes. */
#define PACKET_HEAD 32
void packet_encode_head(const struct packet *p, struct buf *out);

#endif
