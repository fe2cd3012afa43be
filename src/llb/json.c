/* SPDX-License-Identifier: Apache-2.0 */
#include "llb/json.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/rune.h"

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

static const char *field_name(struct llb_json *j, const ProtobufCMessageDescriptor *d,
                              const ProtobufCFieldDescriptor *f)
{
    char *name, *to;

    if (j->style != LLB_JSON_PROTO && is_plain_in_go(d, f->name))
        return f->name;
    if (j->style != LLB_JSON_PROTO && d == &pb__user_opt__descriptor && streq(f->name, "by_id"))
        return "byId";
    for (size_t i = 0; i < ARRAY_LEN(odd_names); i++) {
        if (streq(odd_names[i].message, d->name) && streq(odd_names[i].field, f->name))
            return odd_names[i].json;
    }
    name = to = pb_str(&j->arena, f->name);
    for (const char *p = f->name; *p != '\0'; p++)
        *to++ = *p == '_' && p[1] >= 'a' && p[1] <= 'z' ? (char)(*++p - 'a' + 'A') : *p;
    *to = '\0';
    return name;
}

/* ---- shapes: the members of a message's object, in order
 * ------------------------------------------------------------------------------------------------- */

struct member {
    const char *name;
    const ProtobufCFieldDescriptor *field; /* NULL: an object of its own, which holds the message's oneof */
    bool map, kept_zero;
};

struct message_shape {
    struct message_shape *next;
    const ProtobufCMessageDescriptor *message;
    struct member *members, *group; /* `group`: what goes to the oneof's object */
    size_t member_count, group_count;
};

/* Types with a marshaller of their own in BuildKit's Go put the member of their oneof into an object. */
static const char *oneof_name(const struct llb_json *j, const ProtobufCMessageDescriptor *d)
{
    if (j->style == LLB_JSON_PROTO)
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

/* protobuf-c knows no maps: they are lists of entries. */
static bool is_map(const ProtobufCFieldDescriptor *f)
{
    const ProtobufCMessageDescriptor *d = f->descriptor;

    return f->label == PROTOBUF_C_LABEL_REPEATED && f->type == PROTOBUF_C_TYPE_MESSAGE && d->n_fields == 2 &&
           streq(d->fields[0].name, "key") && streq(d->fields[1].name, "value");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static void add_member(struct llb_json *j, struct message_shape *s, const char *group,
                       const ProtobufCFieldDescriptor *f)
{
    struct member m = { .name = field_name(j, s->message, f), .field = f, .map = is_map(f) };

    if (group != NULL && is_unknown(s->message, f))
        return;
    if (group == NULL || (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0) {
        m.kept_zero = group != NULL && is_kept_zero(s->message, f);
        s->members[s->member_count++] = m;
        return;
    }
    if (s->group_count == 0) /* the object stands in the place of its first member */
        s->members[s->member_count++] = (struct member){ .name = group };
    s->group[s->group_count++] = m;
}

static const struct message_shape *shape_of(struct llb_json *j, const ProtobufCMessageDescriptor *d)
{
    const char *group = oneof_name(j, d);
    struct message_shape *s;

    for (s = j->shapes; s != NULL; s = s->next) {
        if (s->message == d)
            return s;
    }
    s = pb_alloc(&j->arena, sizeof(*s));
    s->message = d;
    s->members = pb_alloc(&j->arena, d->n_fields * sizeof(*s->members));
    s->group = pb_alloc(&j->arena, d->n_fields * sizeof(*s->group));
    for (unsigned i = 0; i < d->n_fields; i++)
        add_member(j, s, group, &d->fields[i]);
    if (j->style == LLB_JSON_GO_MAP)
        qsort(s->members, s->member_count, sizeof(*s->members), by_name);
    s->next = j->shapes;
    j->shapes = s;
    return s;
}

/* ---- values
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *nested_definition(struct llb_json *j, const ProtobufCBinaryData *b)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Pb__Definition *def;
    struct error *e;

    if (j->depth == LIMIT_LLB_NESTING)
        return err_new(ERR_INVALID, "definition is nested too deep");
    TRY(pb_unpack(&pb__definition__descriptor, b->data, b->len, &arena, &def));
    j->depth++;
    e = llb_json_write(j, &def->base);
    j->depth--;
    return e;
}

/* Whatever is no 64-bit number in the mapping of protobuf. */
static void number(const struct llb_json *j, int64_t v)
{
    if (j->style == LLB_JSON_GO_MAP)
        go_write_float(j->out, (double)v);
    else
        go_write_int(j->out, v);
}

static void wide_number(const struct llb_json *j, const ProtobufCFieldDescriptor *f, const void *p)
{
    CLEANUP(freep) char *text = NULL;

    if (j->style != LLB_JSON_PROTO) {
        number(j, *(const int64_t *)p);
        return;
    }
    if (f->type == PROTOBUF_C_TYPE_INT64)
        text = xasprintf("%" PRId64, *(const int64_t *)p);
    else
        text = xasprintf("%" PRIu64, *(const uint64_t *)p);
    go_write_text(j->out, text);
}

static void bytes(const struct llb_json *j, const ProtobufCBinaryData *b)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    base64_encode(&text, b->data, b->len);
    go_write_text(j->out, buf_str(&text));
}

static struct error *string(struct llb_json *j, const ProtobufCMessageDescriptor *d,
                            const ProtobufCFieldDescriptor *f, const char *s)
{
    s = s != NULL ? s : "";
    if (j->style == LLB_JSON_PROTO && !utf8_is_valid(s, strlen(s)))
        return err_new(ERR_INVALID, "proto: field %s.%s contains invalid UTF-8", d->name,
                       field_name(j, d, f));
    go_write_text(j->out, s);
    return NULL;
}

static void enum_value(const struct llb_json *j, const ProtobufCFieldDescriptor *f, int v)
{
    const ProtobufCEnumValue *e = protobuf_c_enum_descriptor_get_value(f->descriptor, v);

    if (e != NULL && j->style == LLB_JSON_PROTO)
        go_write_text(j->out, e->name);
    else
        number(j, v);
}

static struct error *message(struct llb_json *j, const ProtobufCMessage *m)
{
    if (m != NULL)
        return llb_json_write(j, m);
    go_write_open(j->out, '{');
    go_write_close(j->out, '}');
    return NULL;
}

/* The value at `p`, whatever it is. */
static struct error *value(struct llb_json *j, const ProtobufCMessageDescriptor *d,
                           const ProtobufCFieldDescriptor *f, const void *p)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
        number(j, *(const int32_t *)p);
        break;
    case PROTOBUF_C_TYPE_UINT32:
        number(j, *(const uint32_t *)p);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        wide_number(j, f, p);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        go_write_bool(j->out, *(const protobuf_c_boolean *)p);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        enum_value(j, f, *(const int *)p);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        if (d == &pb__source_info__descriptor && streq(f->name, "definition"))
            return nested_definition(j, p);
        bytes(j, p);
        break;
    case PROTOBUF_C_TYPE_STRING:
        return string(j, d, f, *(const char *const *)p);
    case PROTOBUF_C_TYPE_MESSAGE:
        return message(j, *(const ProtobufCMessage *const *)p);
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
    static const char zero[sizeof(int64_t)];

    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING: {
        const char *s = *(const char *const *)p;

        return s == NULL || *s == '\0';
    }
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)p)->len == 0;
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(const ProtobufCMessage *const *)p == NULL;
    default:
        return memcmp(p, zero, value_size(f->type)) == 0;
    }
}

/* ---- maps and lists
 * -------------------------------------------------------------------------------------------------- */

struct map_item {
    const ProtobufCMessage *entry;
    const char *key;
    size_t place;
};

static const char *entry_key(const ProtobufCMessage *entry)
{
    const char *key = *(const char *const *)((const char *)entry + entry->descriptor->fields[0].offset);

    return key != NULL ? key : "";
}

static int by_key(const void *a, const void *b)
{
    const struct map_item *x = a, *y = b;
    int order = strcmp(x->key, y->key);

    return order != 0 ? order : x->place < y->place ? -1 : x->place > y->place;
}

/* Of entries with one key the last counts. */
static struct error *map_value(struct llb_json *j, const ProtobufCFieldDescriptor *f,
                               ProtobufCMessage *const *entries, size_t count)
{
    const ProtobufCFieldDescriptor *v = &((const ProtobufCMessageDescriptor *)f->descriptor)->fields[1];
    CLEANUP(freep) struct map_item *items = xcalloc(count, sizeof(*items));

    for (size_t i = 0; i < count; i++)
        items[i] = (struct map_item){ entries[i], entry_key(entries[i]), i };
    if (count > 1)
        qsort(items, count, sizeof(*items), by_key);
    go_write_open(j->out, '{');
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count && streq(items[i].key, items[i + 1].key))
            continue;
        if (!utf8_is_valid(items[i].key, strlen(items[i].key)))
            return err_new(ERR_INVALID, "proto: a map key contains invalid UTF-8");
        go_write_name(j->out, items[i].key);
        TRY(value(j, f->descriptor, v, (const char *)items[i].entry + v->offset));
    }
    go_write_close(j->out, '}');
    return NULL;
}

static struct error *list_value(struct llb_json *j, const ProtobufCMessageDescriptor *d,
                                const ProtobufCFieldDescriptor *f, const char *items, size_t count)
{
    go_write_open(j->out, '[');
    for (size_t i = 0; i < count; i++)
        TRY(value(j, d, f, items + i * value_size(f->type)));
    go_write_close(j->out, ']');
    return NULL;
}

/* ---- messages
 * -------------------------------------------------------------------------------------------------------- */

/* Is there anything to be written of it? */
static bool is_there(const struct llb_json *j, const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const char *base = (const char *)m;

    if (f->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)(base + f->quantifier_offset) > 0;
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        if (*(const uint32_t *)(base + f->quantifier_offset) != f->id)
            return false;
        if (j->style == LLB_JSON_PROTO)
            return true;
    }
    return !is_default(f, base + f->offset);
}

static struct error *member(struct llb_json *j, const ProtobufCMessage *m, const struct member *i)
{
    const ProtobufCFieldDescriptor *f = i->field;
    const char *base = (const char *)m;

    if (!i->kept_zero && !is_there(j, m, f))
        return NULL;
    go_write_name(j->out, i->name);
    if (f->label != PROTOBUF_C_LABEL_REPEATED)
        return value(j, m->descriptor, f, base + f->offset);
    const void *items = *(void *const *)(base + f->offset);
    size_t count = *(const size_t *)(base + f->quantifier_offset);

    return i->map ? map_value(j, f, items, count) : list_value(j, m->descriptor, f, items, count);
}

static struct error *group_value(struct llb_json *j, const ProtobufCMessage *m, const struct message_shape *s,
                                 const char *name)
{
    go_write_name(j->out, name);
    go_write_open(j->out, '{');
    for (size_t i = 0; i < s->group_count; i++)
        TRY(member(j, m, &s->group[i]));
    go_write_close(j->out, '}');
    return NULL;
}

struct error *llb_json_write(struct llb_json *j, const ProtobufCMessage *m)
{
    const struct message_shape *s = shape_of(j, m->descriptor);

    go_write_open(j->out, '{');
    for (size_t i = 0; i < s->member_count; i++) {
        const struct member *at = &s->members[i];

        TRY(at->field == NULL ? group_value(j, m, s, at->name) : member(j, m, at));
    }
    go_write_close(j->out, '}');
    return NULL;
}

void llb_json_init(struct llb_json *j, enum llb_json_style style, struct go_writer *out)
{
    *j = (struct llb_json){ .style = style, .out = out };
}

void llb_json_deinit(struct llb_json *j)
{
    pb_arena_deinit(&j->arena);
}

/* ---- definition
 * ------------------------------------------------------------------------------------------------------ */

static int by_digest(const void *a, const void *b)
{
    return strcmp((*(const struct llb_op *const *)a)->digest.s, (*(const struct llb_op *const *)b)->digest.s);
}

static struct error *write_op(struct llb_json *j, const struct llb_op *op)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Pb__Op *unpacked;

    TRY(pb_unpack(&pb__op__descriptor, op->bytes, op->len, &arena, &unpacked));
    go_write_name(j->out, op->digest.s);
    return llb_json_write(j, &unpacked->base);
}

static struct error *write_ops(struct llb_json *j, const struct llb_def *def)
{
    CLEANUP(freep) const struct llb_op **ops = xcalloc(def->op_count + 1, sizeof(struct llb_op *));

    for (size_t i = 0; i < def->op_count; i++)
        ops[i] = &def->ops[i];
    if (def->op_count > 0)
        qsort(ops, def->op_count, sizeof(struct llb_op *), by_digest);
    go_write_open(j->out, '{');
    for (size_t i = 0; i < def->op_count; i++) {
        if (i + 1 < def->op_count && digest_eq(&ops[i]->digest, &ops[i + 1]->digest))
            continue;
        TRY(write_op(j, ops[i]));
    }
    go_write_close(j->out, '}');
    return NULL;
}

/* The encoded form has its maps sorted. */
static struct error *write_metadata(struct llb_json *j, const Pb__Definition *def)
{
    go_write_open(j->out, '{');
    for (size_t i = 0; i < def->n_metadata; i++) {
        go_write_name(j->out, def->metadata[i]->key);
        TRY(llb_json_write(j, &def->metadata[i]->value->base));
    }
    go_write_close(j->out, '}');
    return NULL;
}

static struct error *write_definition(const struct llb_def *def, const Pb__Definition *unpacked,
                                      struct llb_json *proto, struct llb_json *go)
{
    go_write_open(proto->out, '{');
    go_write_name(proto->out, "def");
    TRY(write_ops(proto, def));
    go_write_name(proto->out, "metadata");
    TRY(write_metadata(go, unpacked));
    go_write_name(proto->out, "source");
    TRY(message(proto, unpacked->source == NULL ? NULL : &unpacked->source->base));
    go_write_close(proto->out, '}');
    return NULL;
}

struct error *llb_def_write_json(const struct llb_def *def, struct go_writer *out)
{
    CLEANUP(buf_deinit) struct buf encoded = { 0 };
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    CLEANUP(llb_json_deinit) struct llb_json proto, go;
    Pb__Definition *unpacked;

    llb_json_init(&proto, LLB_JSON_PROTO, out);
    llb_json_init(&go, LLB_JSON_GO, out);
    llb_def_encode(def, &encoded);
    TRY(pb_unpack(&pb__definition__descriptor, encoded.data, encoded.len, &arena, &unpacked));
    return write_definition(def, unpacked, &proto, &go);
}
