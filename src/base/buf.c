/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "base/rune.h"

void buf_deinit(struct buf *b)
{
    free(b->data);
    *b = (struct buf){ 0 };
}

void buf_clear(struct buf *b)
{
    buf_truncate(b, 0);
}

void buf_reserve(struct buf *b, size_t extra)
{
    size_t need;
    bool over = __builtin_add_overflow(b->len, extra, &need);

    over |= __builtin_add_overflow(need, (size_t)1, &need); /* the NUL */
    if (over)
        abort();
    if (need <= b->cap)
        return;
    size_t cap = b->cap > SIZE_MAX / 2 ? need : MAX(b->cap * 2, (size_t)64);

    b->cap = MAX(cap, need);
    b->data = xrealloc(b->data, b->cap);
    b->data[b->len] = '\0';
}

void buf_add(struct buf *b, const void *p, size_t len)
{
    if (b->cap - b->len <= len) /* the NUL too */
        buf_reserve(b, len);
    if (len > 0)
        memcpy(b->data + b->len, p, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
    va_list again;

    va_copy(again, ap);
    buf_reserve(b, 64);
    size_t room = b->cap - b->len;
    int n = vsnprintf(b->data + b->len, room, fmt, ap);

    assert(n >= 0);
    if ((size_t)n >= room) {
        buf_reserve(b, (size_t)n);
        n = vsnprintf(b->data + b->len, b->cap - b->len, fmt, again);
    }
    va_end(again);
    b->len += (size_t)n;
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(b, fmt, ap);
    va_end(ap);
}

void buf_drop(struct buf *b, size_t n)
{
    assert(n <= b->len);
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n + 1);
    b->len -= n;
}

void buf_truncate(struct buf *b, size_t len)
{
    assert(len <= b->len);
    b->len = len;
    if (b->data != NULL)
        b->data[len] = '\0';
}

char *buf_take(struct buf *b)
{
    buf_reserve(b, 0);
    char *s = b->data;

    *b = (struct buf){ 0 };
    return s;
}

const char *buf_str(const struct buf *b)
{
    return b->data != NULL ? b->data : "";
}

static void add_json_ascii(struct buf *b, unsigned char c, bool html)
{
    static const char plain_escapes[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    const char *at = c != '\0' ? strchr(plain_escapes, c) : NULL;

    if (at != NULL) {
        buf_addc(b, '\\');
        buf_addc(b, letters[at - plain_escapes]);
    } else if (c < 0x20 || (html && (c == '<' || c == '>' || c == '&'))) {
        buf_addf(b, "\\u%04x", c);
    } else {
        buf_addc(b, (char)c);
    }
}

/* What stands in JSON as it is: printable ASCII but for ", &, <, > and \\. */
static const bool plain_in_json[256] = {
    [' ' ... '!'] = true, ['#' ... '%'] = true, ['\'' ... ';'] = true,
    ['='] = true,         ['?' ... '['] = true, [']' ... '~'] = true,
};

static size_t plain_json(const unsigned char *p, size_t len)
{
    size_t n = 0;

    while (n < len && plain_in_json[p[n]])
        n++;
    return n;
}

void buf_add_json_string(struct buf *b, const char *s, size_t len, bool html)
{
    const unsigned char *p = (const unsigned char *)s;

    buf_reserve(b, len + 2);
    buf_addc(b, '"');
    while (len > 0) {
        size_t n = plain_json(p, len);

        buf_add(b, p, n);
        p += n;
        len -= n;
        if (len == 0)
            break;
        if (rune_decode((const char *)p, len, &n) == RUNE_ERROR && n == 1)
            buf_adds(b, "\\ufffd");
        else if (n == 1)
            add_json_ascii(b, *p, html);
        else if (n == 3 && p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9))
            buf_adds(b, p[2] == 0xa8 ? "\\u2028"
                                     : "\\u2029"); /* line ends in JavaScript: Go escapes them always */
        else
            buf_add(b, p, n);
        p += n;
        len -= n;
    }
    buf_addc(b, '"');
}

void buf_add_query_escaped(struct buf *b, const char *s)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            strchr("-_.~", c) != NULL) {
            buf_addc(b, (char)c);
        } else if (c == ' ') {
            buf_addc(b, '+');
        } else {
            buf_add(b, (char[]){ '%', hex[c >> 4], hex[c & 15] }, 3);
        }
    }
}
