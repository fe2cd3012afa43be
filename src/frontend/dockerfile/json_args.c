/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/json_args.h"

#include <errno.h>
#include <math.h>

#include "base/rune.h"

#define JSON_NESTING 10000 /* where Go's decoder gives up */

struct scan {
    const char *s;
    size_t len, pos;
    bool nul; /* a string held one */
};

static int peek(const struct scan *j)
{
    return j->pos < j->len ? (unsigned char)j->s[j->pos] : -1;
}

static void skip_blanks(struct scan *j)
{
    while (peek(j) == ' ' || peek(j) == '\t' || peek(j) == '\r' || peek(j) == '\n')
        j->pos++;
}

static bool take(struct scan *j, char c)
{
    if (peek(j) != c)
        return false;
    j->pos++;
    return true;
}

/* Behind "\u". */
static int scan_hex4(struct scan *j, int32_t *ret)
{
    int32_t r = 0;

    for (int i = 0; i < 4; i++, j->pos++) {
        int c = peek(j);
        if (c >= '0' && c <= '9')
            r = r * 16 + c - '0';
        else if (c >= 'a' && c <= 'f')
            r = r * 16 + c - 'a' + 10;
        else if (c >= 'A' && c <= 'F')
            r = r * 16 + c - 'A' + 10;
        else
            return -EINVAL;
    }
    *ret = r;
    return 0;
}

/* Two halves make one character; half of a pair reads as U+FFFD. */
static int scan_unicode(struct scan *j, struct buf *out)
{
    int32_t hi, lo;

    if (scan_hex4(j, &hi) < 0)
        return -EINVAL;
    if (hi >= 0xd800 && hi < 0xdc00 && j->len - j->pos >= 6 && j->s[j->pos] == '\\' &&
        j->s[j->pos + 1] == 'u') {
        struct scan ahead = { .s = j->s, .len = j->len, .pos = j->pos + 2 };
        if (scan_hex4(&ahead, &lo) == 0 && lo >= 0xdc00 && lo < 0xe000) {
            j->pos = ahead.pos;
            hi = 0x10000 + ((hi - 0xd800) << 10) + (lo - 0xdc00);
        }
    }
    j->nul |= hi == 0;
    buf_add_rune(out, hi);
    return 0;
}

/* Behind a backslash. */
static int scan_escape(struct scan *j, struct buf *out)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    int c = peek(j);
    const char *p = c > 0 ? strchr(from, c) : NULL;

    if (c < 0)
        return -EINVAL;
    j->pos++;
    if (c == 'u')
        return scan_unicode(j, out);
    if (p == NULL)
        return -EINVAL;
    buf_addc(out, to[p - from]);
    return 0;
}

/* At the opening quote. */
static int scan_string(struct scan *j, struct buf *out)
{
    size_t width;

    if (!take(j, '"'))
        return -EINVAL;
    while (!take(j, '"')) {
        if (peek(j) < ' ')
            return -EINVAL;
        if (take(j, '\\')) {
            if (scan_escape(j, out) < 0)
                return -EINVAL;
            continue;
        }
        buf_add_rune(out, rune_decode(j->s + j->pos, j->len - j->pos, &width));
        j->pos += width;
    }
    return 0;
}

static bool skip_digits(struct scan *j)
{
    size_t start = j->pos;

    while (peek(j) >= '0' && peek(j) <= '9')
        j->pos++;
    return j->pos > start;
}

static int skip_number(struct scan *j)
{
    size_t start = j->pos;

    take(j, '-');
    if (!take(j, '0') && !skip_digits(j))
        return -EINVAL;
    if (take(j, '.') && !skip_digits(j))
        return -EINVAL;
    if (peek(j) == 'e' || peek(j) == 'E') {
        j->pos++;
        if (!take(j, '+'))
            take(j, '-');
        if (!skip_digits(j))
            return -EINVAL;
    }
    CLEANUP(freep) char *text = xstrndup(j->s + start, j->pos - start);
    return isinf(strtod(text, NULL)) ? -EINVAL : 0;
}

static int skip_scalar(struct scan *j)
{
    static const char *const words[] = { "true", "false", "null" };
    CLEANUP(buf_deinit) struct buf ignored = { 0 };

    if (peek(j) == '"')
        return scan_string(j, &ignored);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        size_t n = strlen(words[i]);
        if (j->len - j->pos >= n && memcmp(j->s + j->pos, words[i], n) == 0) {
            j->pos += n;
            return 0;
        }
    }
    return skip_number(j);
}

/* "key": of an object. */
static int skip_key(struct scan *j)
{
    CLEANUP(buf_deinit) struct buf ignored = { 0 };

    skip_blanks(j);
    if (scan_string(j, &ignored) < 0)
        return -EINVAL;
    skip_blanks(j);
    return take(j, ':') ? 0 : -EINVAL;
}

/* Any value, checked and thrown away.  `stack` holds the closing characters of what is open. */
static int skip_value(struct scan *j)
{
    CLEANUP(buf_deinit) struct buf stack = { 0 };

    do {
        bool opened = false;
        skip_blanks(j);
        if (peek(j) == '[' || peek(j) == '{') {
            char open = j->s[j->pos++];
            buf_addc(&stack, open == '[' ? ']' : '}');
            if (stack.len > JSON_NESTING - 1)
                return -EINVAL;
            skip_blanks(j);
            opened = peek(j) != stack.data[stack.len - 1];
            if (opened && open == '{' && skip_key(j) < 0)
                return -EINVAL;
            if (opened)
                continue;
        } else if (skip_scalar(j) < 0) {
            return -EINVAL;
        }
        /* A value has ended: close what ends with it, or go on behind a comma. */
        for (skip_blanks(j); stack.len > 0 && take(j, stack.data[stack.len - 1]); skip_blanks(j))
            buf_truncate(&stack, stack.len - 1);
        if (stack.len > 0 && !take(j, ','))
            return -EINVAL;
        if (stack.len > 0 && stack.data[stack.len - 1] == '}' && skip_key(j) < 0)
            return -EINVAL;
    } while (stack.len > 0);
    return 0;
}

static int scan_elements(struct scan *j, struct strv *ret)
{
    bool others = false;

    skip_blanks(j);
    if (take(j, ']'))
        return 0;
    do {
        skip_blanks(j);
        if (peek(j) == '"') {
            struct buf text = { 0 };
            int r = scan_string(j, &text);
            strv_take(ret, buf_take(&text));
            if (r < 0)
                return r;
        } else {
            others = true;
            if (skip_value(j) < 0)
                return -EINVAL;
        }
        skip_blanks(j);
    } while (take(j, ','));
    if (!take(j, ']'))
        return -EINVAL;
    return others ? -EDOM : 0;
}

int json_string_array(const char *s, size_t len, struct strv *ret)
{
    struct scan j = { .s = s, .len = len };
    CLEANUP(strv_deinit) struct strv found = { 0 };

    if (!take(&j, '['))
        return -EINVAL;
    int r = scan_elements(&j, &found);
    if (r == -EINVAL)
        return r;
    skip_blanks(&j);
    if (j.pos < len)
        return -EINVAL;
    if (r < 0)
        return r;
    if (j.nul)
        return -EILSEQ;
    strv_copy(ret, &found);
    return 0;
}
