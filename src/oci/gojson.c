/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/gojson.h"

#include "base/rune.h"

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

static void value(const struct writer *w, const json_t *j, int depth, bool sorted)
{
    char *text;

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
        text = json_dumps(j, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
        buf_adds(w->out, text);
        free(text);
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
