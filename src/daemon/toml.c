/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/toml.h"
#include "base/buf.h"
#include "base/vec.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

struct toml {
    const char *p;
    unsigned line;
    unsigned depth;
    struct map headers; /* tables opened by [a.b]: a second time is an error */
};

static struct error *bad(const struct toml *t, const char *what)
{
    return err_new(ERR_INVALID, "line %u: %s", t->line, what);
}

static void skip_blanks(struct toml *t)
{
    t->p += strspn(t->p, " \t");
}

/* Blanks, comments and line ends. */
static void skip_lines(struct toml *t)
{
    for (;;) {
        skip_blanks(t);
        if (*t->p == '#')
            t->p += strcspn(t->p, "\n");
        if (t->p[0] == '\r' && t->p[1] == '\n')
            t->p++;
        if (*t->p != '\n')
            return;
        t->p++;
        t->line++;
    }
}

static struct error *end_line(struct toml *t)
{
    skip_blanks(t);
    if (*t->p == '#')
        t->p += strcspn(t->p, "\n");
    if (t->p[0] == '\r' && t->p[1] == '\n')
        t->p++;
    return *t->p == '\n' || *t->p == '\0' ? NULL : bad(t, "expected the end of the line");
}

/* ---- strings ---- */

static void add_rune(struct buf *out, uint32_t rune)
{
    if (rune < 0x80) {
        buf_addc(out, (char)rune);
    } else if (rune < 0x800) {
        buf_addc(out, (char)(0xc0 | rune >> 6));
        buf_addc(out, (char)(0x80 | (rune & 63)));
    } else if (rune < 0x10000) {
        buf_addc(out, (char)(0xe0 | rune >> 12));
        buf_addc(out, (char)(0x80 | (rune >> 6 & 63)));
        buf_addc(out, (char)(0x80 | (rune & 63)));
    } else {
        buf_addc(out, (char)(0xf0 | rune >> 18));
        buf_addc(out, (char)(0x80 | (rune >> 12 & 63)));
        buf_addc(out, (char)(0x80 | (rune >> 6 & 63)));
        buf_addc(out, (char)(0x80 | (rune & 63)));
    }
}

static struct error *take_unicode(struct toml *t, int digits, struct buf *out)
{
    uint32_t rune = 0;

    for (int i = 0; i < digits; i++, t->p++) {
        char c = *t->p;
        int digit = c >= '0' && c <= '9'                     ? c - '0'
                    : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                             : -1;

        if (digit < 0)
            return bad(t, "bad unicode escape");
        rune = rune << 4 | (uint32_t)digit;
    }
    if (rune == 0 || rune > 0x10ffff || (rune >= 0xd800 && rune <= 0xdfff))
        return bad(t, "bad unicode escape");
    add_rune(out, rune);
    return NULL;
}

static struct error *take_escape(struct toml *t, struct buf *out, bool multiline)
{
    static const char letters[] = "btnfr\"\\", plain[] = "\b\t\n\f\r\"\\";
    const char *at = *t->p != '\0' ? strchr(letters, *t->p) : NULL;

    if (at != NULL) {
        buf_addc(out, plain[at - letters]);
        t->p++;
        return NULL;
    }
    if (*t->p == 'u' || *t->p == 'U')
        return take_unicode(t, *t->p++ == 'u' ? 4 : 8, out);
    if (multiline && t->p[strspn(t->p, " \t\r")] == '\n') { /* the line goes on */
        while (strchr(" \t\r\n", *t->p) != NULL && *t->p != '\0')
            t->line += *t->p++ == '\n';
        return NULL;
    }
    return bad(t, "bad escape");
}

static struct error *take_string(struct toml *t, struct buf *out)
{
    char quote = *t->p;
    bool multiline = t->p[1] == quote && t->p[2] == quote;

    t->p += multiline ? 3 : 1;
    if (multiline && *t->p == '\r' && t->p[1] == '\n')
        t->p++;
    if (multiline && *t->p == '\n') {
        t->p++;
        t->line++;
    }
    for (;;) {
        char c = *t->p;

        if (c == '\0' || (c == '\n' && !multiline))
            return bad(t, "string without an end");
        if (c == quote && (!multiline || (t->p[1] == quote && t->p[2] == quote && t->p[3] != quote))) {
            t->p += multiline ? 3 : 1;
            return NULL;
        }
        if (((unsigned char)c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f)
            return bad(t, "control character in a string");
        t->p++;
        t->line += c == '\n';
        if (c == '\\' && quote == '"')
            TRY(take_escape(t, out, multiline));
        else
            buf_addc(out, c);
    }
}

/* ---- numbers ---- */

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c == '+' ||
           c == '-' || c == '.' || c == ':';
}

static json_t *integer_of(const char *digits)
{
    int64_t value;
    const char *s = digits[0] == '+' ? digits + 1 : digits;
    const char *unsigned_part = s + (*s == '-' ? 1 : 0);

    if (unsigned_part[0] == '0' && unsigned_part[1] != '\0') {
        int base = unsigned_part[1] == 'x'   ? 16
                   : unsigned_part[1] == 'o' ? 8
                   : unsigned_part[1] == 'b' ? 2
                                             : 0;
        char *end;

        if (base == 0 || s != digits || unsigned_part != s || strpbrk(s + 2, "+-") != NULL)
            return NULL;
        errno = 0;
        long long number = strtoll(s + 2, &end, base);

        return *end == '\0' && end != s + 2 && errno == 0 ? json_integer(number) : NULL;
    }
    return parse_i64(s, &value) == 0 ? json_integer(value) : NULL;
}

static json_t *real_of(const char *digits)
{
    char *end;

    if (strpbrk(digits, ".eE") == NULL || strpbrk(digits, "xX:") != NULL ||
        strspn(digits, "+-0123456789.eE") != strlen(digits))
        return NULL;
    double value = strtod(digits, &end);

    return *end == '\0' && isfinite(value) ? json_real(value) : NULL;
}

/* true, false, or a number: a bare word. */
static struct error *take_word(struct toml *t, json_t **ret)
{
    CLEANUP(buf_deinit) struct buf word = { 0 };

    for (char last = '_'; is_word(*t->p); last = *t->p++) {
        if (*t->p == '_' && (!is_word(last) || strchr("_+-.:", last) != NULL))
            return bad(t, "misplaced _ in a number");
        if (*t->p != '_')
            buf_addc(&word, *t->p);
    }
    const char *s = buf_str(&word);

    if (streq(s, "true") || streq(s, "false"))
        *ret = json_boolean(s[0] == 't');
    else
        *ret = integer_of(s);
    if (*ret == NULL)
        *ret = real_of(s);
    return *ret != NULL ? NULL : err_new(ERR_INVALID, "line %u: \"%s\" is no value", t->line, s);
}

/* ---- keys ---- */

static struct error *take_simple_key(struct toml *t, char **ret)
{
    CLEANUP(buf_deinit) struct buf key = { 0 };

    if (*t->p == '"' || *t->p == '\'') {
        if (t->p[1] == t->p[0] && t->p[2] == t->p[0])
            return bad(t, "a key cannot span lines");
        TRY(take_string(t, &key));
    } else {
        size_t len = strspn(t->p, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");

        if (len == 0)
            return bad(t, "expected a key");
        buf_add(&key, t->p, len);
        t->p += len;
    }
    *ret = buf_take(&key);
    return NULL;
}

/* a."b".c */
static struct error *take_key(struct toml *t, struct strv *ret)
{
    for (;;) {
        char *key = NULL;

        skip_blanks(t);
        TRY(take_simple_key(t, &key));
        strv_take(ret, key);
        if (ret->len > TOML_DEPTH)
            return bad(t, "too many parts in a key");
        skip_blanks(t);
        if (*t->p != '.')
            return NULL;
        t->p++;
    }
}

/* The table below `object`, made when missing; of an array of tables its last. Borrowed. */
static struct error *enter(struct toml *t, json_t *object, const char *key, json_t **ret)
{
    json_t *value = json_object_get(object, key);

    if (value == NULL) {
        value = json_object();
        if (json_object_set_new(object, key, value) < 0)
            return bad(t, "a key that is not UTF-8");
    }
    if (json_is_array(value) && json_array_size(value) > 0)
        value = json_array_get(value, json_array_size(value) - 1);
    if (!json_is_object(value))
        return err_new(ERR_INVALID, "line %u: \"%s\" is no table", t->line, key);
    *ret = value;
    return NULL;
}

/* ---- values ---- */

static struct error *take_value(struct toml *t, json_t **ret);

static struct error *take_pair(struct toml *t, json_t *object)
{
    CLEANUP(strv_deinit) struct strv key = { 0 };
    CLEANUP(json_decrefp) json_t *value = NULL;

    TRY(take_key(t, &key));
    if (*t->p++ != '=') {
        t->p--;
        return bad(t, "expected = behind the key");
    }
    TRY(take_value(t, &value));
    for (size_t i = 0; i + 1 < key.len; i++)
        TRY(enter(t, object, key.v[i], &object));
    if (json_object_get(object, key.v[key.len - 1]) != NULL)
        return err_new(ERR_INVALID, "line %u: \"%s\" is given twice", t->line, key.v[key.len - 1]);
    if (json_object_set_new(object, key.v[key.len - 1], TAKE(value)) < 0)
        return bad(t, "a key that is not UTF-8");
    return NULL;
}

static struct error *take_array(struct toml *t, json_t *array)
{
    t->p++;
    for (;;) {
        json_auto_t *item = NULL;

        skip_lines(t);
        if (*t->p == ']')
            break;
        TRY(take_value(t, &item));
        json_array_append(array, item);
        skip_lines(t);
        if (*t->p == ',')
            t->p++;
        else if (*t->p != ']')
            return bad(t, "expected , or ] in an array");
    }
    t->p++;
    return NULL;
}

static struct error *take_inline_table(struct toml *t, json_t *object)
{
    t->p++;
    skip_blanks(t);
    for (bool first = true; *t->p != '}'; first = false) {
        if (!first && *t->p++ != ',')
            return bad(t, "expected , or } in a table");
        TRY(take_pair(t, object));
        skip_blanks(t);
    }
    t->p++;
    return NULL;
}

static struct error *take_value(struct toml *t, json_t **ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    skip_blanks(t);
    if (*t->p == '"' || *t->p == '\'') {
        TRY(take_string(t, &text));
        *ret = json_stringn(buf_str(&text), text.len);
        return *ret != NULL ? NULL : bad(t, "a string that is not UTF-8");
    }
    if (*t->p != '[' && *t->p != '{')
        return take_word(t, ret);
    if (t->depth == TOML_DEPTH)
        return bad(t, "too deeply nested");
    bool array = *t->p == '[';

    *ret = array ? json_array() : json_object();
    t->depth++;
    TRY(array ? take_array(t, *ret) : take_inline_table(t, *ret));
    t->depth--;
    return NULL;
}

/* ---- lines ---- */

/* One more table at the end of the array `name`, which is made when missing. Borrowed. */
static struct error *append_table(struct toml *t, json_t *table, const char *name, json_t **ret)
{
    json_t *list = json_object_get(table, name);

    if (list == NULL) {
        list = json_array();
        if (json_object_set_new(table, name, list) < 0)
            return bad(t, "a key that is not UTF-8");
    }
    json_t *entry = json_object();

    if (json_array_append_new(list, entry) < 0)
        return err_new(ERR_INVALID, "line %u: \"%s\" is no array of tables", t->line, name);
    *ret = entry;
    return NULL;
}

/* [a.b] or [[a.b]]: what follows goes there. */
static struct error *take_header(struct toml *t, json_t *root, json_t **ret)
{
    CLEANUP(strv_deinit) struct strv key = { 0 };
    bool array = t->p[1] == '[';
    json_t *table = root;

    t->p += array ? 2 : 1;
    TRY(take_key(t, &key));
    if (*t->p++ != ']' || (array && *t->p++ != ']')) {
        t->p--;
        return bad(t, "expected ] behind a table's name");
    }
    for (size_t i = 0; i + 1 < key.len; i++)
        TRY(enter(t, table, key.v[i], &table));
    const char *last = key.v[key.len - 1];

    if (array) {
        TRY(append_table(t, table, last, ret));
        map_deinit(&t->headers); /* tables below the new entry are new ones */
        return end_line(t);
    }
    TRY(enter(t, table, last, ret));
    CLEANUP(freep) char *name = strv_join(&key, "\n");

    if (map_has(&t->headers, name))
        return err_new(ERR_INVALID, "line %u: table \"%s\" is opened twice", t->line, last);
    map_set(&t->headers, name, NULL);
    return end_line(t);
}

static struct error *take_lines(struct toml *t, json_t *root)
{
    json_t *table = root;

    for (skip_lines(t); *t->p != '\0'; skip_lines(t)) {
        if (*t->p == '[') {
            TRY(take_header(t, root, &table));
            continue;
        }
        TRY(take_pair(t, table));
        TRY(end_line(t));
    }
    return NULL;
}

struct error *toml_parse(const char *text, json_t **ret)
{
    struct toml t = { .p = text, .line = 1 };
    json_t *root = json_object();
    struct error *e = take_lines(&t, root);

    map_deinit(&t.headers);
    if (e != NULL)
        json_decref(root);
    else
        *ret = root;
    return e;
}
