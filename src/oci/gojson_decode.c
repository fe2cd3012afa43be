/* SPDX-License-Identifier: Apache-2.0 */
/* gojson_decode.c - a text that is JSON, into values of a type */
#include "oci/gojson_decode.h"

#include "base/rune.h"

const struct go_type go_string = { .kind = GO_STRING, .name = "string" };
const struct go_type go_int64 = { .kind = GO_INT64, .name = "int64" };

struct decode {
    const char *p; /* the text is valid, so that it needs no end */
    const struct go_type *owner;
    const char *field; /* of `owner` that is read; NULL: none */
    char *failure;     /* the first */
};

static void skip_space(struct decode *d)
{
    d->p += strspn(d->p, " \t\r\n");
}

/* "json: cannot unmarshal `what` into .. of type `type`" */
static void mismatch(struct decode *d, const char *what, const struct go_type *type)
{
    const char *dot;

    if (d->failure != NULL)
        return;
    if (d->field == NULL) {
        d->failure = xasprintf("json: cannot unmarshal %s into Go value of type %s", what, type->name);
        return;
    }
    dot = strrchr(d->owner->name, '.');
    d->failure = xasprintf("json: cannot unmarshal %s into Go struct field %s.%s of type %s", what,
                           dot == NULL ? d->owner->name : dot + 1, d->field, type->name);
}

/* ---- strings
 * ------------------------------------------------------------------------------------------------------------------
 */

static int32_t read_hex(struct decode *d)
{
    char digits[5] = { d->p[0], d->p[1], d->p[2], d->p[3], '\0' };

    d->p += 4;
    return (int32_t)strtol(digits, NULL, 16);
}

/* Behind "\u": two that make a pair are one code point, a half of a pair is none. */
static int32_t read_code_point(struct decode *d)
{
    int32_t r = read_hex(d), low;

    if (r < 0xd800 || r > 0xdfff)
        return r;
    if (r > 0xdbff || d->p[0] != '\\' || d->p[1] != 'u')
        return RUNE_ERROR;
    d->p += 2;
    low = read_hex(d);
    if (low >= 0xdc00 && low <= 0xdfff)
        return 0x10000 + ((r - 0xd800) << 10) + (low - 0xdc00);
    d->p -= 6;
    return RUNE_ERROR;
}

static void read_escape(struct decode *d, struct buf *out)
{
    static const char codes[] = "bfnrt", values[] = "\b\f\n\r\t";
    char c = *d->p++;
    const char *known = strchr(codes, c);

    if (c == 'u')
        buf_add_rune(out, read_code_point(d));
    else
        buf_addc(out, known != NULL ? values[known - codes] : c);
}

/* At the opening quote; what is not UTF-8 becomes U+FFFD. */
static char *read_string(struct decode *d, size_t *ret_len)
{
    CLEANUP(buf_deinit) struct buf raw = { 0 };
    char *valid;

    for (d->p++; *d->p != '"';) {
        if (*d->p != '\\') {
            buf_addc(&raw, *d->p++);
            continue;
        }
        d->p++;
        read_escape(d, &raw);
    }
    d->p++;
    valid = str_valid_utf8(buf_str(&raw), raw.len);
    *ret_len = strlen(valid);
    if (raw.len > 0 && memchr(raw.data, '\0', raw.len) != NULL && d->failure == NULL)
        d->failure = xstrdup("a string holds the character U+0000");
    return valid;
}

/* ---- values
 * --------------------------------------------------------------------------------------------------------------------
 */

static json_t *read_value(struct decode *d, const struct go_type *type);

static json_t *read_number(struct decode *d, const struct go_type *type)
{
    size_t len = strspn(d->p, "+-.eE0123456789");
    CLEANUP(freep) char *digits = xstrndup(d->p, len), *shown = xasprintf("number %s", digits);
    int64_t n;

    d->p += len;
    if (type == NULL)
        return NULL;
    if (type->kind == GO_INT64 && parse_i64(digits, &n) == 0)
        return json_integer(n);
    mismatch(d, type->kind == GO_INT64 ? shown : "number", type);
    return NULL;
}

static json_t *read_word(struct decode *d, const struct go_type *type)
{
    bool is_null = *d->p == 'n';

    d->p += *d->p == 'f' ? strlen("false") : strlen("true");
    if (!is_null && type != NULL)
        mismatch(d, "bool", type);
    return NULL;
}

static json_t *read_text(struct decode *d, const struct go_type *type)
{
    size_t len;
    CLEANUP(freep) char *text = read_string(d, &len);

    if (type == NULL)
        return NULL;
    if (type->kind == GO_STRING)
        return json_stringn(text, len);
    mismatch(d, "string", type);
    return NULL;
}

static json_t *read_array(struct decode *d, const struct go_type *type)
{
    bool wanted = type != NULL && type->kind == GO_SLICE;
    json_t *all = wanted ? json_array() : NULL;

    if (type != NULL && !wanted)
        mismatch(d, "array", type);
    d->p++;
    for (skip_space(d); *d->p != ']'; skip_space(d)) {
        json_t *one;

        d->p += *d->p == ',';
        one = read_value(d, wanted ? type->of : NULL);
        if (wanted)
            json_array_append_new(all, one != NULL ? one : json_null());
    }
    d->p++;
    return all;
}

static const struct go_field *find_field(const struct go_type *type, const char *name)
{
    for (size_t i = 0; i < type->field_count; i++) {
        if (str_equal_fold(type->fields[i].name, name))
            return &type->fields[i];
    }
    return NULL;
}

static void read_member(struct decode *d, const struct go_type *type, json_t *to)
{
    const struct go_field *field;
    const char *outer_field = d->field;
    const struct go_type *outer = d->owner;
    size_t len;
    CLEANUP(freep) char *name = read_string(d, &len);
    json_t *value;

    skip_space(d);
    d->p++; /* the colon */
    if (to == NULL) {
        json_decref(read_value(d, NULL));
        return;
    }
    if (type->kind == GO_MAP) {
        value = read_value(d, type->of);
        json_object_set_new(to, name, value != NULL ? value : json_null());
        return;
    }
    field = find_field(type, name);
    if (field != NULL) {
        d->owner = type;
        d->field = field->name;
    }
    value = read_value(d, field != NULL ? field->type : NULL);
    d->owner = outer;
    d->field = outer_field;
    if (field != NULL && value != NULL) /* null leaves a field as it is */
        json_object_set_new(to, field->name, value);
}

static json_t *read_object(struct decode *d, const struct go_type *type)
{
    bool wanted = type != NULL && (type->kind == GO_MAP || type->kind == GO_STRUCT);
    json_t *all = wanted ? json_object() : NULL;

    if (type != NULL && !wanted)
        mismatch(d, "object", type);
    d->p++;
    for (skip_space(d); *d->p != '}'; skip_space(d)) {
        d->p += *d->p == ',';
        skip_space(d);
        read_member(d, type, all);
    }
    d->p++;
    return all;
}

/* `type` NULL: it is passed over.  NULL: null, or of another type. */
static json_t *read_value(struct decode *d, const struct go_type *type)
{
    skip_space(d);
    switch (*d->p) {
    case '{':
        return read_object(d, type);
    case '[':
        return read_array(d, type);
    case '"':
        return read_text(d, type);
    case 't':
    case 'f':
    case 'n':
        return read_word(d, type);
    default:
        return read_number(d, type);
    }
}

struct error *go_json_decode(const char *text, size_t len, const struct go_type *type, json_t **ret)
{
    CLEANUP(freep) char *failure = go_json_syntax_error(text, len), *terminated = NULL;
    struct decode d = { 0 };
    struct error *e = NULL;

    *ret = NULL;
    if (failure != NULL)
        return err_new(ERR_INVALID, "%s", failure);
    d.p = terminated = xstrndup(text, len);
    *ret = read_value(&d, type);
    if (*ret == NULL)
        *ret = json_null();
    if (d.failure != NULL) {
        e = err_new(ERR_INVALID, "%s", d.failure);
        json_decref(TAKE(*ret));
    }
    free(d.failure);
    return e;
}
