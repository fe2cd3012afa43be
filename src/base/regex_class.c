/* SPDX-License-Identifier: Apache-2.0 */
/* regex_class.c - sets of characters, and the escapes that name characters */
#include "base/bytes.h"
#include "base/regex_impl.h"

#include <errno.h>

#include "base/rune.h"

struct class *regex_class_new(struct regex *re)
{
    if (re->class_count == re->class_cap) {
        re->class_cap = re->class_cap == 0 ? 4 : re->class_cap * 2;
        re->classes = xreallocarray(re->classes, re->class_cap, sizeof(*re->classes));
    }
    re->classes[re->class_count] = (struct class){ 0 };
    return &re->classes[re->class_count++];
}

void regex_class_add(struct class *c, int32_t lo, int32_t hi)
{
    if (c->count == c->cap) {
        c->cap = c->cap == 0 ? 4 : c->cap * 2;
        c->ranges = xreallocarray(c->ranges, c->cap, sizeof(*c->ranges));
    }
    c->ranges[c->count++] = (struct class_range){ lo, hi };
}

void regex_class_add_pairs(struct class *c, const char *pairs, bool negated)
{
    int32_t next = 0;

    for (const char *p = pairs; *p != '\0'; p += 2) {
        int32_t lo = (unsigned char)p[0], hi = (unsigned char)p[1];
        if (!negated) {
            regex_class_add(c, lo, hi);
            continue;
        }
        if (lo > next)
            regex_class_add(c, next, lo - 1);
        next = hi + 1;
    }
    if (negated)
        regex_class_add(c, next, 0x10ffff);
}

bool regex_class_has(const struct class *c, int32_t r)
{
    for (size_t i = 0; i < c->count; i++) {
        if (r >= c->ranges[i].lo && r <= c->ranges[i].hi)
            return !c->negated;
    }
    return c->negated;
}

/* Both cases of the letters that are in it. */
static void class_fold(struct class *c)
{
    for (size_t i = 0, n = c->count; i < n; i++) {
        for (int32_t r = MAX(c->ranges[i].lo, 'A'); r <= MIN(c->ranges[i].hi, 'z'); r++) {
            if (is_ascii_letter(r))
                regex_class_add(c, r ^ 0x20, r ^ 0x20);
        }
    }
}

static const struct {
    const char *name, *pairs; /* pairs in ascending order */
} named_classes[] = {
    { "alnum", "09AZaz" },
    { "alpha", "AZaz" },
    { "ascii", "\x01\x7f" },
    { "blank", "\t\t  " },
    { "cntrl", "\x01\x1f\x7f\x7f" },
    { "digit", "09" },
    { "graph", "!~" },
    { "lower", "az" },
    { "print", " ~" },
    { "punct", "!/:@[`{~" },
    { "space", "\t\r  " },
    { "upper", "AZ" },
    { "word", "09AZ__az" },
    { "xdigit", "09AFaf" },
};

const char *regex_perl_pairs(char c)
{
    switch (c | 0x20) {
    case 'd':
        return "09";
    case 's':
        return "\t\n\f\r  ";
    case 'w':
        return "09AZ__az";
    default:
        return NULL;
    }
}

int regex_peek(const struct compiler *c)
{
    return c->pos < c->len ? (unsigned char)c->s[c->pos] : -1;
}

int32_t regex_next(struct compiler *c)
{
    size_t width;
    int32_t r = rune_decode(c->s + c->pos, c->len - c->pos, &width);

    c->pos += width;
    return r;
}

static int parse_hex_escape(struct compiler *c, int32_t *ret)
{
    int hi = hex_digit(regex_peek(c));

    if (hi < 0)
        return -EINVAL;
    c->pos++;
    int lo = hex_digit(regex_peek(c));
    if (lo < 0)
        return -EINVAL;
    c->pos++;
    *ret = hi * 16 + lo;
    return 0;
}

static int parse_octal_escape(struct compiler *c, int first, int32_t *ret)
{
    int32_t r = first - '0';

    if (first != '0' && (regex_peek(c) < '0' || regex_peek(c) > '7'))
        return -EINVAL; /* a back reference */
    for (int i = 1; i < 3 && regex_peek(c) >= '0' && regex_peek(c) <= '7'; i++)
        r = r * 8 + (c->s[c->pos++] - '0');
    *ret = r;
    return 0;
}

int regex_parse_escape(struct compiler *c, int32_t *ret)
{
    static const char names[] = "afnrtv";
    static const char values[] = "\a\f\n\r\t\v";
    int32_t r = regex_next(c);

    if (r >= '0' && r <= '7')
        return parse_octal_escape(c, r, ret);
    if (r == 'x')
        return parse_hex_escape(c, ret);
    const char *p = r > 0 && r < 0x80 ? strchr(names, r) : NULL;
    if (p != NULL) {
        *ret = values[p - names];
        return 0;
    }
    if (r < 0 || r >= 0x80 || rune_is_letter(r) || rune_is_digit(r))
        return -EINVAL;
    *ret = r;
    return 0;
}

static int parse_class_char(struct compiler *c, int32_t *ret)
{
    if (regex_peek(c) < 0)
        return -EINVAL;
    if (regex_peek(c) == '\\') {
        c->pos++;
        return regex_parse_escape(c, ret);
    }
    *ret = regex_next(c);
    return 0;
}

/* "[:name:]" at the position: 1 taken, 0 not one, -EINVAL unknown name. */
static int parse_named_class(struct compiler *c, struct class *cl)
{
    const char *s = c->s + c->pos;
    const char *end = c->len - c->pos > 2 ? memmem(s + 2, c->len - c->pos - 2, ":]", 2) : NULL;

    if (end == NULL || s[0] != '[' || s[1] != ':')
        return 0;
    s += 2;
    bool negated = *s == '^';
    if (negated)
        s++;
    for (size_t i = 0; i < ARRAY_LEN(named_classes); i++) {
        size_t n = strlen(named_classes[i].name);
        if ((size_t)(end - s) == n && memcmp(s, named_classes[i].name, n) == 0) {
            regex_class_add_pairs(cl, named_classes[i].pairs, negated);
            c->pos = (size_t)(end + 2 - c->s);
            return 1;
        }
    }
    return -EINVAL;
}

static int parse_class_item(struct compiler *c, struct class *cl)
{
    int32_t lo, hi;
    int named = parse_named_class(c, cl);

    if (named != 0)
        return named < 0 ? named : 0;
    if (regex_peek(c) == '\\' && c->pos + 1 < c->len && regex_perl_pairs(c->s[c->pos + 1]) != NULL) {
        char k = c->s[c->pos + 1];
        regex_class_add_pairs(cl, regex_perl_pairs(k), k < 'a');
        c->pos += 2;
        return 0;
    }
    int r = parse_class_char(c, &lo);
    if (r < 0)
        return r;
    hi = lo;
    if (c->pos + 1 < c->len && regex_peek(c) == '-' && c->s[c->pos + 1] != ']') {
        c->pos++;
        r = parse_class_char(c, &hi);
        if (r < 0)
            return r;
        if (hi < lo)
            return -EINVAL;
    }
    regex_class_add(cl, lo, hi);
    return 0;
}

int regex_parse_class(struct compiler *c)
{
    struct class *cl = regex_class_new(c->re);

    if (regex_peek(c) == '^') {
        cl->negated = true;
        c->pos++;
    }
    for (bool first = true; first || regex_peek(c) != ']'; first = false) {
        int r = parse_class_item(c, cl);
        if (r < 0)
            return r;
    }
    c->pos++;
    if (c->fold)
        class_fold(cl);
    return 0;
}
