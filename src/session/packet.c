/* SPDX-License-Identifier: Apache-2.0 */
#include "session/packet.h"

#include <errno.h>

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct cursor {
    const uint8_t *p, *end;
};

static int get_varint(struct cursor *c, uint64_t *ret)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (c->p == c->end)
            return -EBADMSG;
        uint8_t byte = *c->p++;

        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *ret = value;
            return 0;
        }
    }
    return -EBADMSG;
}

static int get_bytes(struct cursor *c, const void **ret, size_t *ret_len)
{
    uint64_t len;

    if (get_varint(c, &len) < 0 || len > (uint64_t)(c->end - c->p))
        return -EBADMSG;
    *ret = c->p;
    *ret_len = (size_t)len;
    c->p += len;
    return 0;
}

static int skip(struct cursor *c, unsigned wire)
{
    const void *bytes;
    uint64_t value;
    size_t len = wire == WIRE_FIXED64 ? 8 : 4;

    if (wire == WIRE_VARINT)
        return get_varint(c, &value);
    if (wire == WIRE_BYTES)
        return get_bytes(c, &bytes, &len);
    if ((wire != WIRE_FIXED64 && wire != WIRE_FIXED32) || (size_t)(c->end - c->p) < len)
        return -EBADMSG;
    c->p += len;
    return 0;
}

static int decode_field(struct cursor *c, uint64_t key, struct packet *p)
{
    unsigned wire = key & 7;
    uint64_t value;

    switch (key >> 3) {
    case 1:
    case 3:
        if (wire != WIRE_VARINT)
            return -EBADMSG;
        if (get_varint(c, &value) < 0)
            return -EBADMSG;
        *((key >> 3) == 1 ? &p->type : &p->id) = (uint32_t)value;
        return 0;
    case 2:
        return wire == WIRE_BYTES ? get_bytes(c, &p->stat, &p->stat_len) : -EBADMSG;
    case 4:
        return wire == WIRE_BYTES ? get_bytes(c, &p->data, &p->len) : -EBADMSG;
    case 0:
        return -EBADMSG;
    default:
        return skip(c, wire);
    }
}

int packet_decode(const void *data, size_t len, struct packet *ret)
{
    struct cursor c = { data, (const uint8_t *)data + len };
    struct packet p = { 0 };

    while (c.p < c.end) {
        uint64_t key;

        if (get_varint(&c, &key) < 0 || decode_field(&c, key, &p) < 0)
            return -EBADMSG;
    }
    *ret = p;
    return 0;
}

static void put_varint(struct buf *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        buf_addc(out, (char)(value | 0x80));
    buf_addc(out, (char)value);
}

void packet_encode_head(const struct packet *p, struct buf *out)
{
    if (p->type != 0) {
        buf_addc(out, 1 << 3);
        put_varint(out, p->type);
    }
    if (p->id != 0) {
        buf_addc(out, 3 << 3);
        put_varint(out, p->id);
    }
    if (p->len > 0) {
        buf_addc(out, 4 << 3 | WIRE_BYTES);
        put_varint(out, p->len);
    }
}

void packet_encode(const struct packet *p, struct buf *out)
{
    packet_encode_head(p, out);
    buf_add(out, p->data, p->len);
}
