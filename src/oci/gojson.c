/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/gojson.h"

#include "base/bytes.h"
#include "base/rune.h"

#include <stdio.h>

struct writer {
    struct buf *out;
    const char *indent;
};

static void newline(const struct writer *w, int depth)
{
    if (w->indent == NULL)
        return;
    buf_addc(w->out, '\n');
    for (int i = 0; i < depth; i++)
        buf_adds(w->out, w->indent);
}

static void value(const struct writer *w, const json_t *j, int depth, bool sorted);

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void object(const struct writer *w, json_t *j, int depth, bool sorted)
{
    size_t n = json_object_size(j), i = 0;
    const char **keys = xcalloc(n + 1, sizeof(*keys));
    const char *key;
    json_t *v;

    json_object_foreach(j, key, v) keys[i++] = key;
    if (sorted)
        qsort(keys, n, sizeof(*keys), by_name);
    buf_addc(w->out, '{');
    for (i = 0; i < n; i++) {
        if (i > 0)
            buf_addc(w->out, ',');
        newline(w, depth + 1);
        buf_add_json_string(w->out, keys[i], strlen(keys[i]), true);
        buf_adds(w->out, w->indent == NULL ? ":" : ": ");
        value(w, json_object_get(j, keys[i]), depth + 1, false);
    }
    if (n > 0)
        newline(w, depth);
    buf_addc(w->out, '}');
    free(keys);
}

static void array(const struct writer *w, const json_t *j, int depth)
{
    buf_addc(w->out, '[');
    for (size_t i = 0; i < json_array_size(j); i++) {
        if (i > 0)
            buf_addc(w->out, ',');
        newline(w, depth + 1);
        value(w, json_array_get(j, i), depth + 1, false);
    }
    if (json_array_size(j) > 0)
        newline(w, depth);
    buf_addc(w->out, ']');
}

/* The shortest digits that read back as `v`; without an exponent where Go writes none. */
static void add_float(struct buf *out, double v)
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

static void value(const struct writer *w, const json_t *j, int depth, bool sorted)
{
    switch (json_typeof(j)) {
    case JSON_OBJECT:
        object(w, (json_t *)j, depth, sorted);
        break;
    case JSON_ARRAY:
        array(w, j, depth);
        break;
    case JSON_STRING:
        buf_add_json_string(w->out, json_string_value(j), json_string_length(j), true);
        break;
    case JSON_INTEGER:
        buf_addf(w->out, "%lld", (long long)json_integer_value(j));
        break;
    case JSON_REAL:
        add_float(w->out, json_real_value(j));
        break;
    case JSON_TRUE:
        buf_adds(w->out, "true");
        break;
    case JSON_FALSE:
        buf_adds(w->out, "false");
        break;
    case JSON_NULL:
        buf_adds(w->out, "null");
        break;
    }
}

void go_json(struct buf *out, const json_t *j, const char *indent, bool sort_top)
{
    struct writer w = { out, indent };

    value(&w, j, 0, sort_top);
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

    if (ns == 0)
        return json_string("0001-01-01T00:00:00Z");
    format_rfc3339(text, ns);
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
    struct writer w = { out, indent };
    int depth = 0;

    for (size_t i = 0; i < len;) {
        size_t n = text[i] == '"' ? literal_len(text + i, len - i) : 1;
        bool empty =
            (text[i] == '{' || text[i] == '[') && i + 1 < len && (text[i + 1] == '}' || text[i + 1] == ']');

        if (empty)
            n = 2;
        if (!empty && (text[i] == '}' || text[i] == ']'))
            newline(&w, --depth);
        buf_add(out, text + i, n);
        if (!empty && (text[i] == '{' || text[i] == '['))
            newline(&w, ++depth);
        else if (text[i] == ',')
            newline(&w, depth);
        else if (text[i] == ':')
            buf_addc(out, ' ');
        i += n;
    }
}
