/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/gojson.h"

#include "base/bytes.h"
#include "base/rune.h"

#include <math.h>
#include <stdio.h>

#define EXACT_FLOAT 9007199254740992.0 /* 2^53: whole numbers below are floats to the digit */

static void newline(struct buf *out, const char *indent, int depth)
{
    size_t len;

    if (indent == NULL)
        return;
    len = strlen(indent);
    buf_reserve(out, 1 + (size_t)MAX(depth, 0) * len);
    buf_addc(out, '\n');
    for (int i = 0; i < depth; i++)
        buf_add(out, indent, len);
}

/* ---- writing ---- */

/* What stands between the value before and the next one, in an array or before a name. */
static void separate(struct go_writer *w)
{
    if (w->depth == 0)
        return;
    if (w->filled)
        buf_addc(w->out, ',');
    newline(w->out, w->indent, (int)w->depth);
    w->filled = true;
}

static void before_value(struct go_writer *w)
{
    if (!w->named)
        separate(w);
    w->named = false;
}

void go_write_open(struct go_writer *w, char bracket)
{
    before_value(w);
    buf_addc(w->out, bracket);
    w->depth++;
    w->filled = false;
}

void go_write_close(struct go_writer *w, char bracket)
{
    assert(w->depth > 0 && !w->named);
    w->depth--;
    if (w->filled)
        newline(w->out, w->indent, (int)w->depth);
    buf_addc(w->out, bracket);
    w->filled = true; /* what it stands in */
}

static void add_string(struct go_writer *w, const char *s, size_t len)
{
    buf_add_json_string(w->out, s, len, true);
}

static void write_name(struct go_writer *w, const char *name, size_t len)
{
    separate(w);
    add_string(w, name, len);
    if (w->indent == NULL)
        buf_addc(w->out, ':');
    else
        buf_add(w->out, ": ", 2);
    w->named = true;
}

void go_write_name(struct go_writer *w, const char *name)
{
    write_name(w, name, strlen(name));
}

void go_write_text(struct go_writer *w, const char *s)
{
    size_t len = strlen(s);

    before_value(w);
    if (utf8_is_valid(s, len)) {
        add_string(w, s, len);
        return;
    }
    CLEANUP(freep) char *valid = str_valid_utf8(s, len);

    add_string(w, valid, strlen(valid));
}

void go_write_escaped(struct go_writer *w, const char *s)
{
    before_value(w);
    add_string(w, s, strlen(s));
}

void go_write_raw(struct go_writer *w, const struct buf *value)
{
    before_value(w);
    buf_add(w->out, value->data, value->len);
}

static void add_int(struct buf *out, int64_t v)
{
    char text[24];
    size_t at = sizeof(text);
    uint64_t left = v < 0 ? -(uint64_t)v : (uint64_t)v;

    do
        text[--at] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (v < 0)
        text[--at] = '-';
    buf_add(out, text + at, sizeof(text) - at);
}

void go_write_int(struct go_writer *w, int64_t v)
{
    before_value(w);
    add_int(w->out, v);
}

void go_write_bool(struct go_writer *w, bool v)
{
    before_value(w);
    buf_adds(w->out, v ? "true" : "false");
}

void go_write_null(struct go_writer *w)
{
    before_value(w);
    buf_adds(w->out, "null");
}

static void time_text(char text[40], int64_t ns)
{
    static const char zero[] = "0001-01-01T00:00:00Z";

    if (ns == 0)
        memcpy(text, zero, sizeof(zero));
    else
        format_rfc3339(text, ns);
}

void go_write_time(struct go_writer *w, int64_t ns)
{
    char text[40];

    time_text(text, ns);
    before_value(w);
    add_string(w, text, strlen(text));
}

void go_write_member(struct go_writer *w, const char *name, const char *s)
{
    go_write_name(w, name);
    go_write_text(w, s);
}

void go_write_member_int(struct go_writer *w, const char *name, int64_t v)
{
    go_write_name(w, name);
    go_write_int(w, v);
}

void go_write_member_bool(struct go_writer *w, const char *name, bool v)
{
    go_write_name(w, name);
    go_write_bool(w, v);
}

void go_write_member_time(struct go_writer *w, const char *name, int64_t ns)
{
    go_write_name(w, name);
    go_write_time(w, ns);
}

void go_write_member_json(struct go_writer *w, const char *name, const json_t *j)
{
    go_write_name(w, name);
    go_write_json(w, j);
}

/* The shortest digits that read back as `v`; without an exponent where Go writes none. */
static void add_shortest(struct buf *out, double v)
{
    char text[64], digits[32];
    int precision = 0, exponent;

    do
        snprintf(text, sizeof(text), "%.*e", precision, v);
    while (++precision < 17 && strtod(text, NULL) != v);
    char *e = strchr(text, 'e');
    size_t n = 0;

    exponent = (int)strtol(e + 1, NULL, 10);
    for (const char *p = text; p < e; p++) {
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    }
    digits[n] = '\0';
    if (v != 0 && (exponent < -6 || exponent >= 21)) {
        *e = '\0';
        buf_addf(out, "%se%+d", text, exponent);
        return;
    }
    if (text[0] == '-')
        buf_addc(out, '-');
    if (exponent < 0) {
        buf_addf(out, "0.%.*s%s", -exponent - 1, "000000", digits);
    } else if ((size_t)exponent + 1 >= n) {
        buf_addf(out, "%s%.*s", digits, exponent + 1 - (int)n, "00000000000000000000");
    } else {
        buf_addf(out, "%.*s.%s", exponent + 1, digits, digits + exponent + 1);
    }
}

static void add_float(struct buf *out, double v)
{
    bool whole = v > -EXACT_FLOAT && v < EXACT_FLOAT && v == (double)(int64_t)v;

    if (whole && !(v == 0 && signbit(v)))
        add_int(out, (int64_t)v);
    else
        add_shortest(out, v);
}

void go_write_float(struct go_writer *w, double v)
{
    before_value(w);
    add_float(w->out, v);
}

/* ---- values of jansson ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void write_object(struct go_writer *w, json_t *j, bool sorted)
{
    size_t n = json_object_size(j), i = 0;
    const char **keys = xcalloc(n + 1, sizeof(*keys));
    const char *key;
    json_t *v;

    json_object_foreach(j, key, v) keys[i++] = key;
    if (sorted)
        qsort(keys, n, sizeof(*keys), by_name);
    go_write_open(w, '{');
    for (i = 0; i < n; i++) {
        go_write_name(w, keys[i]);
        go_write_json(w, json_object_get(j, keys[i]));
    }
    go_write_close(w, '}');
    free(keys);
}

static void write_array(struct go_writer *w, const json_t *j)
{
    go_write_open(w, '[');
    for (size_t i = 0; i < json_array_size(j); i++)
        go_write_json(w, json_array_get(j, i));
    go_write_close(w, ']');
}

void go_write_json(struct go_writer *w, const json_t *j)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        write_object(w, (json_t *)j, false);
        break;
    case JSON_ARRAY:
        write_array(w, j);
        break;
    case JSON_STRING:
        before_value(w);
        add_string(w, json_string_value(j), json_string_length(j));
        break;
    case JSON_INTEGER:
        go_write_int(w, json_integer_value(j));
        break;
    case JSON_REAL:
        go_write_float(w, json_real_value(j));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        go_write_bool(w, json_is_true(j));
        break;
    case JSON_NULL:
        go_write_null(w);
        break;
    }
}

void go_json(struct buf *out, const json_t *j, const char *indent, bool sort_top)
{
    struct go_writer w = { .out = out, .indent = indent };

    if (sort_top && json_is_object(j))
        write_object(&w, (json_t *)j, true);
    else
        go_write_json(&w, j);
}

json_t *go_json_text(const char *s)
{
    CLEANUP(buf_deinit) struct buf clean = { 0 };
    size_t len = strlen(s), width;

    for (size_t i = 0; i < len; i += width)
        buf_add_rune(&clean, rune_decode(s + i, len - i, &width));
    return json_string(buf_str(&clean));
}

json_t *go_json_time(int64_t ns)
{
    char text[40];

    time_text(text, ns);
    return json_string(text);
}

static json_t *generic_object(json_t *j)
{
    size_t n = json_object_size(j), i = 0;
    const char **keys = xcalloc(n + 1, sizeof(*keys));
    json_t *to = json_object(), *v;
    const char *key;

    json_object_foreach(j, key, v) keys[i++] = key;
    qsort(keys, n, sizeof(*keys), by_name);
    for (i = 0; i < n; i++)
        json_object_set_new_nocheck(to, keys[i], go_json_generic(json_object_get(j, keys[i])));
    free(keys);
    return to;
}

json_t *go_json_generic(const json_t *j)
{
    json_t *to, *v;
    size_t i;

    if (json_is_object(j))
        return generic_object((json_t *)j);
    if (json_is_integer(j))
        return json_real((double)json_integer_value(j));
    if (!json_is_array(j))
        return json_deep_copy(j);
    to = json_array();
    json_array_foreach(j, i, v) json_array_append_new(to, go_json_generic(v));
    return to;
}

/* ---- text to text ---- */

/* Length of the string literal at `p`, quotes and all. */
static size_t literal_len(const char *p, size_t len)
{
    size_t n = 1;

    while (n < len && p[n] != '"')
        n += p[n] == '\\' ? 2 : 1;
    return MIN(n + 1, len);
}

static void add_literal(struct buf *out, const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool separator = i + 2 < len && memcmp(p + i, "\xe2\x80", 2) == 0 && (p[i + 2] & ~1) == (char)0xa8;

        if (strchr("<>&", p[i]) != NULL && p[i] != '\0') {
            buf_addf(out, "\\u00%02x", (unsigned char)p[i]);
        } else if (separator) { /* U+2028, U+2029 */
            buf_addf(out, "\\u202%x", (unsigned)(p[i + 2] & 0xf));
            i += 2;
        } else {
            buf_addc(out, p[i]);
        }
    }
}

void go_json_compact(struct buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = text[i] == '"' ? literal_len(text + i, len - i) : 1;

        if (text[i] == '"')
            add_literal(out, text + i, n);
        else if (strchr(" \t\r\n", text[i]) == NULL)
            buf_addc(out, text[i]);
        i += n;
    }
}

void go_json_indent(struct buf *out, const char *text, size_t len, const char *indent)
{
    int depth = 0;

    for (size_t i = 0; i < len;) {
        size_t n = text[i] == '"' ? literal_len(text + i, len - i) : 1;
        bool empty =
            (text[i] == '{' || text[i] == '[') && i + 1 < len && (text[i + 1] == '}' || text[i + 1] == ']');

        if (empty)
            n = 2;
        if (!empty && (text[i] == '}' || text[i] == ']'))
            newline(out, indent, --depth);
        buf_add(out, text + i, n);
        if (!empty && (text[i] == '{' || text[i] == '['))
            newline(out, indent, ++depth);
        else if (text[i] == ',')
            newline(out, indent, depth);
        else if (text[i] == ':')
            buf_addc(out, ' ');
        i += n;
    }
}
