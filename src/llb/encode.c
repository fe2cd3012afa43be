/* SPDX-License-Identifier: Apache-2.0 */
#include "llb/encode.h"

enum wire_type { WIRE_VARINT = 0, WIRE_LEN = 2 };

void pbw_varint(struct buf *out, uint64_t v)
{
    while (v >= 0x80) {
        buf_addc(out, (char)(v | 0x80));
        v >>= 7;
    }
    buf_addc(out, (char)v);
}

static void add_tag(struct buf *out, unsigned field, enum wire_type type)
{
    pbw_varint(out, (uint64_t)field << 3 | type);
}

void pbw_uint_always(struct buf *out, unsigned field, uint64_t v)
{
    add_tag(out, field, WIRE_VARINT);
    pbw_varint(out, v);
}

void pbw_uint(struct buf *out, unsigned field, uint64_t v)
{
    if (v != 0)
        pbw_uint_always(out, field, v);
}

void pbw_int(struct buf *out, unsigned field, int64_t v)
{
    pbw_uint(out, field, (uint64_t)v);
}

void pbw_bool(struct buf *out, unsigned field, bool v)
{
    pbw_uint(out, field, v);
}

void pbw_bytes_always(struct buf *out, unsigned field, const void *p, size_t len)
{
    add_tag(out, field, WIRE_LEN);
    pbw_varint(out, len);
    if (len > 0)
        buf_add(out, p, len);
}

void pbw_bytes(struct buf *out, unsigned field, const void *p, size_t len)
{
    if (len > 0)
        pbw_bytes_always(out, field, p, len);
}

void pbw_str_always(struct buf *out, unsigned field, const char *s)
{
    pbw_bytes_always(out, field, s, s != NULL ? strlen(s) : 0);
}

void pbw_str(struct buf *out, unsigned field, const char *s)
{
    if (s != NULL && *s != '\0')
        pbw_str_always(out, field, s);
}

void pbw_message(struct buf *out, unsigned field, struct buf *msg)
{
    pbw_bytes_always(out, field, msg->data, msg->len);
    buf_clear(msg);
}

size_t pbw_begin(struct buf *out, unsigned field)
{
    add_tag(out, field, WIRE_LEN);
    buf_addc(out, '\0'); /* the length, when it is known: one byte for most */
    return out->len;
}

void pbw_end(struct buf *out, size_t begin)
{
    size_t len = out->len - begin, more = 0;

    for (size_t v = len; v >= 0x80; v >>= 7)
        more++;
    if (more > 0) {
        buf_reserve(out, more);
        memmove(out->data + begin + more, out->data + begin, len + 1); /* the NUL too */
        out->len += more;
    }
    for (size_t v = len, i = begin - 1;; v >>= 7) {
        out->data[i++] = (char)(v >= 0x80 ? v | 0x80 : v);
        if (v < 0x80)
            break;
    }
}

void pbw_strv(struct buf *out, unsigned field, const struct strv *v)
{
    for (size_t i = 0; i < v->len; i++)
        pbw_str_always(out, field, v->v[i]);
}

static int compare_entries(const void *a, const void *b)
{
    const struct map_entry *const *x = a, *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

/* The entries by key, malloc'd; NULL: there are none. */
static const struct map_entry **sorted_entries(const struct map *m)
{
    const struct map_entry **sorted = m->len > 0 ? xreallocarray(NULL, m->len, sizeof(sorted[0])) : NULL;

    for (size_t i = 0; i < m->len; i++)
        sorted[i] = &m->entries[i];
    if (m->len > 1)
        qsort(sorted, m->len, sizeof(sorted[0]), compare_entries);
    return sorted;
}

void pbw_map(struct buf *out, unsigned field, const struct map *m,
             void (*encode)(struct buf *out, const void *value))
{
    CLEANUP(freep) const struct map_entry **sorted = sorted_entries(m);

    for (size_t i = 0; i < m->len; i++) {
        size_t entry = pbw_begin(out, field), value;

        pbw_str_always(out, 1, sorted[i]->key);
        value = pbw_begin(out, 2);
        encode(out, sorted[i]->value);
        pbw_end(out, value);
        pbw_end(out, entry);
    }
}

void pbw_strmap(struct buf *out, unsigned field, const struct map *m)
{
    CLEANUP(freep) const struct map_entry **sorted = sorted_entries(m);

    for (size_t i = 0; i < m->len; i++) {
        size_t entry = pbw_begin(out, field);

        pbw_str_always(out, 1, sorted[i]->key);
        pbw_str_always(out, 2, sorted[i]->value);
        pbw_end(out, entry);
    }
}
