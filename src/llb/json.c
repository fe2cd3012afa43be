/* SPDX-License-Identifier: Apache-2.0 */
#include "llb/json.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "oci/gojson.h"

#include <inttypes.h>

/* ---- names of fields
 * ------------------------------------------------------------------------------------------------- */

/* What is not simply our name in lowerCamelCase. */
static const struct {
    const char *message, *field, *json;
} odd_names[] = {
    { "pb.Platform", "architecture", "Architecture" },
    { "pb.Platform", "os", "OS" },
    { "pb.Platform", "variant", "Variant" },
    { "pb.Platform", "os_version", "OSVersion" },
    { "pb.Platform", "os_features", "OSFeatures" },
    { "pb.HostIp", "host", "Host" },
    { "pb.HostIp", "ip", "IP" },
    { "pb.Ulimit", "name", "Name" },
    { "pb.Ulimit", "soft", "Soft" },
    { "pb.Ulimit", "hard", "Hard" },
    { "pb.SecretEnv", "id", "ID" },
    { "pb.CacheOpt", "id", "ID" },
    { "pb.SecretOpt", "id", "ID" },
    { "pb.SshOpt", "id", "ID" },
    { "pb.Mount", "tmpfs_opt", "TmpfsOpt" },
    { "pb.Mount", "ssh_opt", "SSHOpt" },
    { "pb.Mount", "result_id", "resultID" },
    { "pb.ExportCache", "value", "Value" },
    { "pb.Definition", "source", "Source" },
    { "pb.FileActionCopy", "attempt_unpack", "attemptUnpackDockerCompatibility" },
    { "pb.UserOpt", "by_id", "byID" },
};

/* BuildKit's .proto has some names in small letters, and its Go structs keep those. */
static bool is_plain_in_go(const ProtobufCMessageDescriptor *d, const char *field)
{
    return d == &pb__op_metadata__descriptor || d == &pb__proxy_env__descriptor ||
           streq(field, "proxy_env") || str_has_suffix(field, "_patterns") || streq(field, "required_paths");
}

static char *field_name(enum llb_json_style style, const ProtobufCMessageDescriptor *d,
                        const ProtobufCFieldDescriptor *f)
{
    struct buf out = { 0 };

    if (style == LLB_JSON_GO && is_plain_in_go(d, f->name))
        return xstrdup(f->name);
    if (style == LLB_JSON_GO && d == &pb__user_opt__descriptor && streq(f->name, "by_id"))
        return xstrdup("byId");

    for (size_t i = 0; i < ARRAY_LEN(odd_names); i++) {
        if (streq(odd_names[i].message, d->name) && streq(odd_names[i].field, f->name))
            return xstrdup(odd_names[i].json);
    }
    for (const char *p = f->name; *p != '\0'; p++) {
        if (*p == '_' && p[1] >= 'a' && p[1] <= 'z')
            buf_addc(&out, (char)(*++p - 'a' + 'A'));
        else
            buf_addc(&out, *p);
    }
    return buf_take(&out);
}

/* ---- values
 * ----------------------------------------------------------------------------------------------------------
 */

struct writer {
    enum llb_json_style style;
    unsigned depth; /* definitions within definitions */
};

static struct error *message_json(const struct writer *w, const ProtobufCMessage *m, json_t **ret);

static struct error *nested_definition(const struct writer *w, const ProtobufCBinaryData *b, json_t **ret)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    struct writer inner = { w->style, w->depth + 1 };
    Pb__Definition *def;

    if (inner.depth > LIMIT_LLB_NESTING)
        return err_new(ERR_INVALID, "definition is nested too deep");
    TRY(pb_unpack(&pb__definition__descriptor, b->data, b->len, &arena, &def));
    return message_json(&inner, &def->base, ret);
}

static json_t *number(const struct writer *w, const ProtobufCFieldDescriptor *f, const void *p)
{
    CLEANUP(freep) char *text = NULL;

    if (w->style == LLB_JSON_GO)
        return json_integer(*(const int64_t *)p);
    if (f->type == PROTOBUF_C_TYPE_INT64)
        text = xasprintf("%" PRId64, *(const int64_t *)p);
    else
        text = xasprintf("%" PRIu64, *(const uint64_t *)p);
    return json_string(text);
}

static json_t *bytes(const ProtobufCBinaryData *b)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    base64_encode(&text, b->data, b->len);
    return json_string(buf_str(&text));
}

static struct error *string(const struct writer *w, const ProtobufCMessageDescriptor *d,
                            const ProtobufCFieldDescriptor *f, const char *s, json_t **ret)
{
    s = s != NULL ? s : "";
    *ret = w->style == LLB_JSON_GO ? go_json_text(s) : json_string(s);
    if (*ret == NULL) {
        CLEANUP(freep) char *name = field_name(w->style, d, f);

        return err_new(ERR_INVALID, "proto: field %s.%s contains invalid UTF-8", d->name, name);
    }
    return NULL;
}

static json_t *enum_name(const struct writer *w, const ProtobufCFieldDescriptor *f, int v)
{
    const ProtobufCEnumValue *e = protobuf_c_enum_descriptor_get_value(f->descriptor, v);

    return e != NULL && w->style == LLB_JSON_PROTO ? json_string(e->name) : json_integer(v);
}

/* The value at `p`, whatever it is. */
static struct error *value_json(const struct writer *w, const ProtobufCMessageDescriptor *d,
                                const ProtobufCFieldDescriptor *f, const void *p, json_t **ret)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
        *ret = json_integer(*(const int32_t *)p);
        break;
    case PROTOBUF_C_TYPE_UINT32:
        *ret = json_integer(*(const uint32_t *)p);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        *ret = number(w, f, p);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        *ret = json_boolean(*(const protobuf_c_boolean *)p);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        *ret = enum_name(w, f, *(const int *)p);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        if (streq(d->name, "pb.SourceInfo") && streq(f->name, "definition"))
            return nested_definition(w, p, ret);
        *ret = bytes(p);
        break;
    case PROTOBUF_C_TYPE_STRING:
        return string(w, d, f, *(const char *const *)p, ret);
    case PROTOBUF_C_TYPE_MESSAGE:
        if (*(const ProtobufCMessage *const *)p == NULL)
            *ret = json_object();
        else
            return message_json(w, *(const ProtobufCMessage *const *)p, ret);
        break;
    default:
        return err_new(ERR_INTERNAL, "field %s.%s is of no known type", d->name, f->name);
    }
    return NULL;
}

static size_t value_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return sizeof(int64_t);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return sizeof(int32_t);
    }
}

/* Defaults are left out. */
static bool is_default(const ProtobufCFieldDescriptor *f, const void *p)
{
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        const char *s = *(const char *const *)p;

        return s == NULL || *s == '\0';
    }
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)p)->len == 0;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(const ProtobufCMessage *const *)p == NULL;
    static const char zero[sizeof(int64_t)];
    return memcmp(p, zero, value_size(f->type)) == 0;
}

/* ---- maps and lists
 * -------------------------------------------------------------------------------------------------- */

/* protobuf-c knows no maps: they are lists of entries. */
static bool is_map(const ProtobufCFieldDescriptor *f)
{
    const ProtobufCMessageDescriptor *d = f->descriptor;

    return f->type == PROTOBUF_C_TYPE_MESSAGE && d->n_fields == 2 && streq(d->fields[0].name, "key") &&
           streq(d->fields[1].name, "value");
}

static const char *entry_key(const ProtobufCMessage *entry)
{
    const char *key = *(const char *const *)((const char *)entry + entry->descriptor->fields[0].offset);

    return key != NULL ? key : "";
}

static int by_key(const void *a, const void *b)
{
    return strcmp(entry_key(*(const ProtobufCMessage *const *)a),
                  entry_key(*(const ProtobufCMessage *const *)b));
}

static struct error *map_json(const struct writer *w, const ProtobufCFieldDescriptor *f,
                              ProtobufCMessage *const *entries, size_t count, json_t **ret)
{
    CLEANUP(freep) ProtobufCMessage **sorted = xcalloc(count, sizeof(*sorted));
    json_t *map = json_object();
    struct error *e = NULL;

    memcpy(sorted, entries, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), by_key);
    for (size_t i = 0; e == NULL && i < count; i++) {
        const ProtobufCFieldDescriptor *value =
            &((const ProtobufCMessageDescriptor *)f->descriptor)->fields[1];
        json_t *v = NULL;

        e = value_json(w, f->descriptor, value, (const char *)sorted[i] + value->offset, &v);
        if (e == NULL && json_object_set_new(map, entry_key(sorted[i]), v) < 0)
            e = err_new(ERR_INVALID, "proto: a map key contains invalid UTF-8");
    }
    if (e != NULL)
        json_decref(map);
    else
        *ret = map;
    return e;
}

static struct error *list_json(const struct writer *w, const ProtobufCMessageDescriptor *d,
                               const ProtobufCFieldDescriptor *f, const char *items, size_t count,
                               json_t **ret)
{
    json_t *list = json_array();
    struct error *e = NULL;

    for (size_t i = 0; e == NULL && i < count; i++) {
        json_t *v = NULL;

        e = value_json(w, d, f, items + i * value_size(f->type), &v);
        if (e == NULL)
            json_array_append_new(list, v);
    }
    if (e != NULL)
        json_decref(list);
    else
        *ret = list;
    return e;
}

/* ---- messages
 * -------------------------------------------------------------------------------------------------------- */

/* *ret stays NULL for a field that is not there. */
static struct error *field_json(const struct writer *w, const ProtobufCMessage *m,
                                const ProtobufCFieldDescriptor *f, json_t **ret)
{
    const char *base = (const char *)m;
    const void *p = base + f->offset;

    if (f->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t count = *(const size_t *)(base + f->quantifier_offset);
        const void *items = *(void *const *)p;

        if (count == 0)
            return NULL;
        return is_map(f) ? map_json(w, f, items, count, ret)
                         : list_json(w, m->descriptor, f, items, count, ret);
    }
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        if (*(const uint32_t *)(base + f->quantifier_offset) != f->id)
            return NULL;
        if (w->style == LLB_JSON_GO && is_default(f, p))
            return NULL;
    } else if (is_default(f, p)) {
        return NULL;
    }
    return value_json(w, m->descriptor, f, p, ret);
}

/* Types with a marshaller of their own in BuildKit's Go put the member of their oneof into an object. */
static const char *oneof_name(const struct writer *w, const ProtobufCMessageDescriptor *d)
{
    if (w->style != LLB_JSON_GO)
        return NULL;
    return d == &pb__op__descriptor            ? "Op"
           : d == &pb__file_action__descriptor ? "Action"
           : d == &pb__user_opt__descriptor    ? "User"
                                               : NULL;
}

/* What that marshaller writes though it is zero, or does not know. */
static bool is_kept_zero(const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f)
{
    return d == &pb__file_action__descriptor && f->type == PROTOBUF_C_TYPE_INT64;
}

static bool is_unknown(const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f)
{
    return d == &pb__file_action__descriptor && streq(f->name, "symlink");
}

/* The object that field `f` goes to: the message's, or that of its oneof, made at the place of its first
 * member. */
static json_t *object_of(json_t *object, const char *group, const ProtobufCFieldDescriptor *f)
{
    if (group == NULL || (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0)
        return object;
    if (json_object_get(object, group) == NULL)
        json_object_set_new(object, group, json_object());
    return json_object_get(object, group);
}

static struct error *message_json(const struct writer *w, const ProtobufCMessage *m, json_t **ret)
{
    const char *group = oneof_name(w, m->descriptor);
    json_t *object = json_object();

    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        CLEANUP(freep) char *name = field_name(w->style, m->descriptor, f);
        json_t *to = object_of(object, group, f), *v = NULL;
        struct error *e = group != NULL && is_unknown(m->descriptor, f) ? NULL : field_json(w, m, f, &v);

        if (e != NULL) {
            json_decref(object);
            return e;
        }
        if (v == NULL && group != NULL && is_kept_zero(m->descriptor, f))
            v = json_integer(0);
        if (v != NULL)
            json_object_set_new(to, name, v);
    }
    *ret = object;
    return NULL;
}

struct error *llb_message_to_json(const ProtobufCMessage *m, enum llb_json_style style, json_t **ret)
{
    struct writer w = { .style = style };

    return message_json(&w, m, ret);
}

/* ---- definition
 * ------------------------------------------------------------------------------------------------------ */

static int by_digest(const void *a, const void *b)
{
    return strcmp((*(const struct llb_op *const *)a)->digest.s, (*(const struct llb_op *const *)b)->digest.s);
}

static struct error *op_json(const struct llb_op *op, json_t **ret)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Pb__Op *unpacked;

    TRY(pb_unpack(&pb__op__descriptor, op->bytes, op->len, &arena, &unpacked));
    return llb_message_to_json(&unpacked->base, LLB_JSON_PROTO, ret);
}

static struct error *ops_json(const struct llb_def *def, json_t *ret)
{
    CLEANUP(freep) const struct llb_op **ops = xcalloc(def->op_count + 1, sizeof(struct llb_op *));

    for (size_t i = 0; i < def->op_count; i++)
        ops[i] = &def->ops[i];
    if (def->op_count > 0)
        qsort(ops, def->op_count, sizeof(struct llb_op *), by_digest);
    for (size_t i = 0; i < def->op_count; i++) {
        json_t *op = NULL;

        TRY(op_json(ops[i], &op));
        json_object_set_new(ret, ops[i]->digest.s, op);
    }
    return NULL;
}

/* The encoded form has its maps sorted. */
static struct error *metadata_json(const Pb__Definition *def, json_t *ret)
{
    for (size_t i = 0; i < def->n_metadata; i++) {
        json_t *j = NULL;

        TRY(llb_message_to_json(&def->metadata[i]->value->base, LLB_JSON_GO, &j));
        json_object_set_new(ret, def->metadata[i]->key, j);
    }
    return NULL;
}

struct error *llb_def_to_json(const struct llb_def *def, json_t **ret)
{
    CLEANUP(buf_deinit) struct buf encoded = { 0 };
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    json_t *ops = json_object(), *metadata = json_object(), *source = NULL;
    Pb__Definition *unpacked;
    struct error *e;

    llb_def_encode(def, &encoded);
    e = pb_unpack(&pb__definition__descriptor, encoded.data, encoded.len, &arena, &unpacked);
    if (e == NULL)
        e = ops_json(def, ops);
    if (e == NULL)
        e = metadata_json(unpacked, metadata);
    if (e == NULL && unpacked->source != NULL)
        e = llb_message_to_json(&unpacked->source->base, LLB_JSON_PROTO, &source);
    if (e == NULL && source == NULL)
        source = json_object();
    if (e == NULL)
        *ret = json_pack("{s:O, s:O, s:O}", "def", ops, "metadata", metadata, "source", source);
    json_decref(ops);
    json_decref(metadata);
    json_decref(source);
    return e;
}
