/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pbjson.c - messages as protojson, by their descriptors
 *
 * A field's JSON name is its name in BuildKit's .proto with "_x" made "X".  Ours are named alike but for the
 * table below.
 */
#include "base/bytes.h"
#include "wire/pb.h"

static const struct {
    const char *message;
    uint32_t field;
    const char *name;
} other_names[] = {
    { "pb.Definition", 3, "Source" },  { "pb.Platform", 1, "Architecture" },
    { "pb.Platform", 2, "OS" },        { "pb.Platform", 3, "Variant" },
    { "pb.Platform", 4, "OSVersion" }, { "pb.Platform", 5, "OSFeatures" },
    { "pb.HostIp", 1, "Host" },        { "pb.HostIp", 2, "IP" },
    { "pb.Ulimit", 1, "Name" },        { "pb.Ulimit", 2, "Soft" },
    { "pb.Ulimit", 3, "Hard" },        { "pb.SecretEnv", 1, "ID" },
    { "pb.Mount", 19, "TmpfsOpt" },    { "pb.Mount", 22, "SSHOpt" },
    { "pb.Mount", 23, "resultID" },    { "pb.CacheOpt", 1, "ID" },
    { "pb.SecretOpt", 1, "ID" },       { "pb.SshOpt", 1, "ID" },
    { "pb.ExportCache", 1, "Value" },  { "pb.FileActionCopy", 7, "attemptUnpackDockerCompatibility" },
    { "pb.UserOpt", 2, "byID" },
};

static void add_name(const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f, struct buf *out)
{
    bool upper = false;

    buf_addc(out, '"');
    for (size_t i = 0; i < ARRAY_LEN(other_names); i++) {
        if (other_names[i].field == f->id && streq(other_names[i].message, d->name)) {
            buf_addf(out, "%s\":", other_names[i].name);
            return;
        }
    }
    for (const char *c = f->name; *c != '\0'; c++) {
        if (*c != '_')
            buf_addc(out, upper && *c >= 'a' && *c <= 'z' ? (char)(*c - 'a' + 'A') : *c);
        upper = *c == '_';
    }
    buf_adds(out, "\":");
}

/* Map entries are messages {key, value}. */
static bool is_map_entry(const ProtobufCFieldDescriptor *f)
{
    const ProtobufCMessageDescriptor *d = f->type == PROTOBUF_C_TYPE_MESSAGE ? f->descriptor : NULL;

    return f->label == PROTOBUF_C_LABEL_REPEATED && d != NULL && d->n_fields == 2 &&
           streq(d->fields[0].name, "key") && streq(d->fields[1].name, "value");
}

static void add_string(const char *s, struct buf *out)
{
    buf_add_json_string(out, s != NULL ? s : "", s != NULL ? strlen(s) : 0, false);
}

static void add_value(const ProtobufCFieldDescriptor *f, const void *at, struct buf *out)
{
    const ProtobufCBinaryData *bytes = at;

    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        buf_addf(out, "%d", *(const int32_t *)at);
        return;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        buf_addf(out, "%u", *(const uint32_t *)at);
        return;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        buf_addf(out, "\"%lld\"", (long long)*(const int64_t *)at);
        return;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        buf_addf(out, "\"%llu\"", (unsigned long long)*(const uint64_t *)at);
        return;
    case PROTOBUF_C_TYPE_FLOAT:
        buf_addf(out, "%.9g", (double)*(const float *)at);
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        buf_addf(out, "%.17g", *(const double *)at);
        return;
    case PROTOBUF_C_TYPE_BOOL:
        buf_adds(out, *(const protobuf_c_boolean *)at ? "true" : "false");
        return;
    case PROTOBUF_C_TYPE_STRING:
        add_string(*(const char *const *)at, out);
        return;
    case PROTOBUF_C_TYPE_BYTES:
        buf_addc(out, '"');
        base64_encode(out, bytes->data, bytes->len);
        buf_addc(out, '"');
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        if (*(const ProtobufCMessage *const *)at != NULL)
            pb_to_json(*(const ProtobufCMessage *const *)at, out);
        else
            buf_adds(out, "{}"); /* a map entry without a value */
        return;
    }
}

static size_t size_of(ProtobufCType t)
{
    switch (t) {
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    default:
        return 4;
    }
}

/* Is a singular field set to something? */
static bool is_set(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    const char *at = (const char *)m + f->offset;
    static const char zero[8];

    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
        return *(const uint32_t *)((const char *)m + f->quantifier_offset) == f->id;
    if (f->type == PROTOBUF_C_TYPE_STRING)
        return *(const char *const *)at != NULL && **(const char *const *)at != '\0';
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)at)->len > 0;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(const void *const *)at != NULL;
    return memcmp(at, zero, size_of(f->type)) != 0;
}

static void add_entry(const ProtobufCMessage *entry, struct buf *out)
{
    const ProtobufCFieldDescriptor *f = entry->descriptor->fields;

    add_string(*(const char *const *)((const char *)entry + f[0].offset), out);
    buf_addc(out, ':');
    add_value(&f[1], (const char *)entry + f[1].offset, out);
}

static void add_repeated(const ProtobufCFieldDescriptor *f, const char *v, size_t count, struct buf *out)
{
    bool map = is_map_entry(f);

    buf_addc(out, map ? '{' : '[');
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_addc(out, ',');
        if (map)
            add_entry(((const ProtobufCMessage *const *)(const void *)v)[i], out);
        else
            add_value(f, v + i * size_of(f->type), out);
    }
    buf_addc(out, map ? '}' : ']');
}

void pb_to_json(const ProtobufCMessage *m, struct buf *out)
{
    const ProtobufCMessageDescriptor *d = m->descriptor;
    const char *comma = "";

    buf_addc(out, '{');
    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
        size_t count = repeated ? *(const size_t *)((const char *)m + f->quantifier_offset) : 0;

        if (repeated ? count == 0 : !is_set(m, f))
            continue;
        buf_adds(out, comma);
        comma = ",";
        add_name(d, f, out);
        if (repeated)
            add_repeated(f, *(const char *const *)((const char *)m + f->offset), count, out);
        else
            add_value(f, (const char *)m + f->offset, out);
    }
    buf_addc(out, '}');
}
