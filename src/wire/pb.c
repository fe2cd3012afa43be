/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/pb.h"

#include "base/bytes.h"
#include "base/limits.h"

/* protobuf-c's allocator: NULL at the limit makes the decoder give up. */
static void *arena_decode_alloc(void *data, size_t size)
{
    struct pb_arena *a = data;

    if (size > LIMIT_PB_ARENA || a->mem.used > LIMIT_PB_ARENA - size)
        return NULL;
    return arena_take(&a->mem, size, 16);
}

static void arena_decode_free(void *data, void *p)
{
}

void pb_arena_deinit(struct pb_arena *a)
{
    arena_deinit(&a->mem);
}

void pb_arena_reset(struct pb_arena *a)
{
    arena_reset(&a->mem);
}

void *pb_alloc(struct pb_arena *a, size_t size)
{
    return arena_alloc(&a->mem, size);
}

char *pb_str(struct pb_arena *a, const char *s)
{
    return s == NULL || *s == '\0' ? (char *)protobuf_c_empty_string : arena_str(&a->mem, s);
}

char *pb_strf(struct pb_arena *a, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    CLEANUP(freep) char *s = xvasprintf(fmt, ap);
    va_end(ap);
    return pb_str(a, s);
}

void *pb_mem(struct pb_arena *a, const void *p, size_t len)
{
    return arena_mem(&a->mem, p, len);
}

/* ---- what protobuf-c does not look at: a NUL would end its C string early, and what was checked would not
 * be what is used ---- */

struct wire {
    const uint8_t *at, *end;
};

static bool take_varint(struct wire *w, uint64_t *ret)
{
    *ret = 0;
    for (unsigned shift = 0; shift < 64 && w->at < w->end; shift += 7) {
        uint8_t byte = *w->at++;

        *ret |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return true;
    }
    return false;
}

/* The next field: its number, and its bytes when it has a length (`ret_data` NULL when not). */
static bool take_field(struct wire *w, uint32_t *ret_number, struct wire *ret_data)
{
    uint64_t key, value;

    if (!take_varint(w, &key))
        return false;
    *ret_number = (uint32_t)MIN(key >> 3, (uint64_t)UINT32_MAX);
    *ret_data = (struct wire){ 0 };
    switch (key & 7) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        return take_varint(w, &value);
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        value = 8;
        break;
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        value = 4;
        break;
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        if (!take_varint(w, &value))
            return false;
        break;
    default:
        return false;
    }
    if (value > (size_t)(w->end - w->at))
        return false;
    if ((key & 7) == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)
        *ret_data = (struct wire){ w->at, w->at + value };
    w->at += value;
    return true;
}

/* The first string field that holds a NUL, or NULL.  What does not parse is left to the decoder.  The depth
 * is that of our own .proto files: none nests in itself. */
static const ProtobufCFieldDescriptor *field_with_nul(const ProtobufCMessageDescriptor *desc, struct wire w)
{
    struct wire data;
    uint32_t number;

    while (w.at < w.end && take_field(&w, &number, &data)) {
        if (data.at == data.end)
            continue;
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(desc, number);
        const ProtobufCFieldDescriptor *found = NULL;

        if (f != NULL && f->type == PROTOBUF_C_TYPE_MESSAGE)
            found = field_with_nul(f->descriptor, data);
        else if (f != NULL && f->type == PROTOBUF_C_TYPE_STRING &&
                 memchr(data.at, 0, (size_t)(data.end - data.at)))
            found = f;
        if (found != NULL)
            return found;
    }
    return NULL;
}

struct error *pb_unpack_any(const ProtobufCMessageDescriptor *desc, const void *data, size_t len,
                            struct pb_arena *a, void **ret)
{
    const struct wire whole = { data, len > 0 ? (const uint8_t *)data + len : data };
    const ProtobufCFieldDescriptor *bad = field_with_nul(desc, whole);

    if (bad != NULL)
        return err_new(ERR_INVALID, "message %s: string %s holds a NUL byte", desc->name, bad->name);
    a->alloc = (ProtobufCAllocator){ arena_decode_alloc, arena_decode_free, a };

    void *m = protobuf_c_message_unpack(desc, &a->alloc, len, len > 0 ? data : (const void *)"");

    if (m == NULL && a->mem.used > LIMIT_PB_ARENA / 2)
        return err_new(ERR_EXHAUSTED, "message %s is too large when decoded", desc->name);
    if (m == NULL)
        return err_new(ERR_INVALID, "cannot decode message %s of %zu bytes", desc->name, len);
    *ret = m;
    return NULL;
}

void pb_pack(const ProtobufCMessage *m, struct buf *out)
{
    size_t size = protobuf_c_message_get_packed_size(m);

    buf_reserve(out, size);
    out->len += protobuf_c_message_pack(m, (uint8_t *)out->data + out->len);
    out->data[out->len] = '\0';
}

void *pb_new(struct pb_arena *a, const ProtobufCMessageDescriptor *desc)
{
    void *m = pb_alloc(a, desc->sizeof_message);

    protobuf_c_message_init(desc, m);
    return m;
}

Ts__Timestamp *pb_time(struct pb_arena *a, int64_t ns)
{
    if (ns == 0)
        return NULL;
    Ts__Timestamp *t = PB_NEW(a, ts__timestamp);

    t->seconds = ns / NS_PER_SEC;
    t->nanos = (int32_t)(ns % NS_PER_SEC);
    if (t->nanos < 0) {
        t->seconds--;
        t->nanos += (int32_t)NS_PER_SEC;
    }
    return t;
}

int64_t pb_time_ns(const Ts__Timestamp *t)
{
    int64_t ns;

    if (t == NULL)
        return 0;
    if (__builtin_mul_overflow(t->seconds, NS_PER_SEC, &ns) || __builtin_add_overflow(ns, t->nanos, &ns))
        return t->seconds < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

Kv__Str **pb_from_strmap(struct pb_arena *a, const struct map *m, size_t *ret_n)
{
    Kv__Str **v = pb_array(a, m->len);

    for (size_t i = 0; i < m->len; i++) {
        v[i] = PB_NEW(a, kv__str);
        v[i]->key = m->entries[i].key;
        v[i]->value = m->entries[i].value;
    }
    *ret_n = m->len;
    return v;
}

void pb_to_strmap(Kv__Str *const *entries, size_t n, struct map *m)
{
    for (size_t i = 0; i < n; i++)
        strmap_set(m, entries[i]->key, entries[i]->value);
}

const char *pb_get_str(Kv__Str *const *entries, size_t n, const char *key)
{
    while (n-- > 0)
        if (streq(entries[n]->key, key))
            return entries[n]->value;
    return NULL;
}

char **pb_from_strv(struct pb_arena *a, const struct strv *s, size_t *ret_n)
{
    char **v = pb_array(a, s->len);

    for (size_t i = 0; i < s->len; i++)
        v[i] = s->v[i];
    *ret_n = s->len;
    return v;
}

void pb_to_strv(char *const *v, size_t n, struct strv *s)
{
    for (size_t i = 0; i < n; i++)
        strv_add(s, v[i]);
}

Rpc__Status *pb_from_error(struct pb_arena *a, const struct error *e)
{
    if (e == NULL)
        return NULL;
    Rpc__Status *s = PB_NEW(a, rpc__status);

    s->code = err_grpc_code(e->kind);
    s->message = e->message != NULL ? e->message : pb_str(a, "");
    s->details = pb_array(a, e->detail_count);
    for (size_t i = 0; i < e->detail_count; i++) {
        Rpc__Any *any = PB_NEW(a, rpc__any);

        any->type_url = e->details[i].type_url;
        any->value = pb_bytes(e->details[i].value, e->details[i].len);
        s->details[s->n_details++] = any;
    }
    return s;
}

struct error *pb_to_error(const Rpc__Status *s)
{
    if (s == NULL || s->code == 0)
        return NULL;
    struct error *e = err_new(err_kind_from_grpc(s->code), "%s", s->message);

    for (size_t i = 0; i < s->n_details; i++)
        err_add_detail(e, s->details[i]->type_url, s->details[i]->value.data, s->details[i]->value.len);
    return e;
}
