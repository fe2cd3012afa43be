/* SPDX-License-Identifier: Apache-2.0 */
/* gojson_syntax.c - is a text JSON, and if not, what does Go's decoder say about it? */
#include "oci/gojson_decode.h"

#include "base/limits.h"
#include "base/rune.h"

#include <stdarg.h>

struct scan {
    const char *p, *end;
    char *failure; /* NULL: none yet */
    unsigned depth;
};

static bool PRINTF(2, 3) fail(struct scan *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    s->failure = xvasprintf(fmt, ap);
    va_end(ap);
    return false;
}

static bool cut_short(struct scan *s)
{
    return fail(s, GO_JSON_CUT_SHORT);
}

/* The next byte; at the end a blank, which is what Go feeds its scanner there. */
static int next(const struct scan *s)
{
    return s->p < s->end ? (unsigned char)*s->p : ' ';
}

/* A byte in single quotes, read as the code point of that number. */
static bool unexpected(struct scan *s, const char *where)
{
    CLEANUP(buf_deinit) struct buf one = { 0 }, quoted = { 0 };
    int c = next(s);

    if (c == '\'' || c == '"')
        return fail(s, "invalid character '%s' %s", c == '"' ? "\"" : "\\'", where);
    buf_add_rune(&one, c);
    buf_add_quoted(&quoted, one.data, one.len);
    return fail(s, "invalid character '%.*s' %s", (int)quoted.len - 2, buf_str(&quoted) + 1, where);
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n'))
        s->p++;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(int c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* ---- values without parts
 * ----------------------------------------------------------------------------------------------------- */

/* Behind the backslash. */
static bool scan_escape(struct scan *s)
{
    int c = next(s);

    if (c == '\0' || strchr("bfnrt\\/\"u", c) == NULL)
        return unexpected(s, "in string escape code");
    s->p++;
    for (int i = 0; c == 'u' && i < 4; i++, s->p++) {
        if (!is_hex(next(s)))
            return unexpected(s, "in \\u hexadecimal character escape");
    }
    return true;
}

/* At the opening quote. */
static bool scan_string(struct scan *s)
{
    s->p++;
    while (s->p < s->end) {
        unsigned char c = (unsigned char)*s->p;

        if (c < 0x20)
            return unexpected(s, "in string literal");
        s->p++;
        if (c == '"')
            return true;
        if (c == '\\' && !scan_escape(s))
            return false;
    }
    return cut_short(s);
}

/* At least one digit. */
static bool scan_digits(struct scan *s, const char *where)
{
    if (!is_digit(next(s)))
        return unexpected(s, where);
    while (is_digit(next(s)))
        s->p++;
    return true;
}

static bool scan_number(struct scan *s)
{
    if (next(s) == '-')
        s->p++;
    if (next(s) == '0')
        s->p++; /* no digit follows a leading zero */
    else if (!scan_digits(s, "in numeric literal"))
        return false;
    if (next(s) == '.') {
        s->p++;
        if (!scan_digits(s, "after decimal point in numeric literal"))
            return false;
    }
    if (next(s) != 'e' && next(s) != 'E')
        return true;
    s->p++;
    if (next(s) == '+' || next(s) == '-')
        s->p++;
    return scan_digits(s, "in exponent of numeric literal");
}

static bool scan_literal(struct scan *s, const char *word)
{
    for (const char *w = word; *w != '\0'; w++, s->p++) {
        CLEANUP(freep) char *where = NULL;

        if (next(s) == *w)
            continue;
        where = xasprintf("in literal %s (expecting '%c')", word, *w);
        return unexpected(s, where);
    }
    return true;
}

/* ---- values with parts
 * -------------------------------------------------------------------------------------------------------- */

static bool scan_value(struct scan *s);

/* Behind a member or an element: *ret_more says whether another one follows. */
static bool scan_separator(struct scan *s, char close, const char *where, bool *ret_more)
{
    skip_space(s);
    if (s->p == s->end)
        return cut_short(s);
    *ret_more = *s->p == ',';
    if (!*ret_more && *s->p != close)
        return unexpected(s, where);
    s->p++;
    return true;
}

static bool scan_member(struct scan *s)
{
    skip_space(s);
    if (s->p == s->end)
        return cut_short(s);
    if (*s->p != '"')
        return unexpected(s, "looking for beginning of object key string");
    if (!scan_string(s))
        return false;
    skip_space(s);
    if (s->p == s->end)
        return cut_short(s);
    if (*s->p != ':')
        return unexpected(s, "after object key");
    s->p++;
    return scan_value(s);
}

static bool scan_parts(struct scan *s)
{
    bool object = *s->p++ == '{', more = true;

    skip_space(s);
    if (next(s) == (object ? '}' : ']')) {
        s->p++;
        return true;
    }
    while (more) {
        if (!(object ? scan_member(s) : scan_value(s)))
            return false;
        if (!scan_separator(s, object ? '}' : ']',
                            object ? "after object key:value pair" : "after array element", &more))
            return false;
    }
    return true;
}

static bool scan_value(struct scan *s)
{
    bool ok;

    skip_space(s);
    if (s->p == s->end)
        return cut_short(s);
    switch (*s->p) {
    case '{':
    case '[':
        if (++s->depth > LIMIT_JSON_DEPTH)
            return fail(s, "exceeded max depth");
        ok = scan_parts(s);
        s->depth--;
        return ok;
    case '"':
        return scan_string(s);
    case 't':
        return scan_literal(s, "true");
    case 'f':
        return scan_literal(s, "false");
    case 'n':
        return scan_literal(s, "null");
    default:
        return *s->p == '-' || is_digit(next(s)) ? scan_number(s)
                                                 : unexpected(s, "looking for beginning of value");
    }
}

char *go_json_syntax_error(const char *text, size_t len)
{
    struct scan s = { .p = text, .end = text + len };

    if (!scan_value(&s))
        return s.failure;
    skip_space(&s);
    if (s.p < s.end)
        (void)unexpected(&s, "after top-level value");
    return s.failure;
}
