/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rune.h"

#include <ctype.h>
#include <locale.h>
#include <pthread.h>
#include <strings.h>
#include <wctype.h>

struct rune_range {
    int32_t lo, hi;
};

#include "base/rune_tables.h"

static bool in_ranges(const struct rune_range *t, size_t count, int32_t r)
{
    size_t lo = 0, hi = count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (r < t[mid].lo)
            hi = mid;
        else if (r > t[mid].hi)
            lo = mid + 1;
        else
            return true;
    }
    return false;
}

/* Length of the sequence that `lead` begins, 0 when it cannot begin one; *ret_bits receives its payload. */
static size_t sequence_length(unsigned char lead, int32_t *ret_bits, int32_t *ret_min)
{
    if (lead >= 0xc2 && lead <= 0xdf) {
        *ret_bits = lead & 0x1f;
        *ret_min = 0x80;
        return 2;
    }
    if ((lead & 0xf0) == 0xe0) {
        *ret_bits = lead & 0x0f;
        *ret_min = 0x800;
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        *ret_bits = lead & 0x07;
        *ret_min = 0x10000;
        return 4;
    }
    return 0;
}

int32_t rune_decode(const char *s, size_t len, size_t *ret_width)
{
    const unsigned char *p = (const unsigned char *)s;
    int32_t r, min;

    *ret_width = len == 0 ? 0 : 1;
    if (len == 0)
        return RUNE_EOF;
    if (p[0] < 0x80)
        return p[0];
    size_t n = sequence_length(p[0], &r, &min);
    if (n == 0 || n > len)
        return RUNE_ERROR;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return RUNE_ERROR;
        r = r << 6 | (p[i] & 0x3f);
    }
    if (r < min || r > 0x10ffff || (r >= 0xd800 && r <= 0xdfff))
        return RUNE_ERROR;
    *ret_width = n;
    return r;
}

void buf_add_rune(struct buf *b, int32_t r)
{
    if (r >= 0 && r < 0x80) {
        buf_addc(b, (char)r);
        return;
    }
    if (r < 0 || r > 0x10ffff || (r >= 0xd800 && r <= 0xdfff))
        r = RUNE_ERROR;
    if (r < 0x800) {
        buf_addc(b, (char)(0xc0 | r >> 6));
        buf_addc(b, (char)(0x80 | (r & 0x3f)));
    } else if (r < 0x10000) {
        buf_addc(b, (char)(0xe0 | r >> 12));
        buf_addc(b, (char)(0x80 | (r >> 6 & 0x3f)));
        buf_addc(b, (char)(0x80 | (r & 0x3f)));
    } else {
        buf_addc(b, (char)(0xf0 | r >> 18));
        buf_addc(b, (char)(0x80 | (r >> 12 & 0x3f)));
        buf_addc(b, (char)(0x80 | (r >> 6 & 0x3f)));
        buf_addc(b, (char)(0x80 | (r & 0x3f)));
    }
}

bool rune_is_space(int32_t r)
{
    if (r < 0x80)
        return r == ' ' || (r >= '\t' && r <= '\r');
    return r == 0x85 || r == 0xa0 || r == 0x1680 || (r >= 0x2000 && r <= 0x200a) || r == 0x2028 ||
           r == 0x2029 || r == 0x202f || r == 0x205f || r == 0x3000;
}

bool rune_is_letter(int32_t r)
{
    if (r < 0x80)
        return (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z');
    return in_ranges(letter_ranges, ARRAY_LEN(letter_ranges), r);
}

bool rune_is_digit(int32_t r)
{
    if (r < 0x80)
        return r >= '0' && r <= '9';
    return in_ranges(digit_ranges, ARRAY_LEN(digit_ranges), r);
}

bool rune_is_print(int32_t r)
{
    if (r < 0x80)
        return r >= ' ' && r <= '~';
    return in_ranges(print_ranges, ARRAY_LEN(print_ranges), r);
}

size_t str_skip_space(const char *s, size_t len)
{
    size_t pos = 0, width;

    while (pos < len && rune_is_space(rune_decode(s + pos, len - pos, &width)))
        pos += width;
    return pos;
}

const char *str_trim_space(const char *s, size_t len, size_t *ret_len)
{
    size_t start = str_skip_space(s, len);
    size_t end = start, width;

    /* What ends in a byte of ASCII that is no blank ends there. */
    if (len > start && (unsigned char)s[len - 1] < 0x80 && !rune_is_space(s[len - 1])) {
        *ret_len = len - start;
        return s + start;
    }
    for (size_t pos = start; pos < len; pos += width) {
        if (!rune_is_space(rune_decode(s + pos, len - pos, &width)))
            end = pos + width;
    }
    *ret_len = end - start;
    return s + start;
}

bool str_equal_fold(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0;
}

/* What knows the letters of all scripts; loaded for the first one beyond ASCII. */
static locale_t letters;

static void load_letters(void)
{
    letters = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

static int32_t change_case(int32_t r, bool upper)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    if (r < 0x80) {
        if (upper)
            return r >= 'a' && r <= 'z' ? r - ('a' - 'A') : r;
        return r >= 'A' && r <= 'Z' ? r + ('a' - 'A') : r;
    }
    pthread_once(&once, load_letters);
    if (letters == (locale_t)0)
        return r;
    return (int32_t)(upper ? towupper_l((wint_t)r, letters) : towlower_l((wint_t)r, letters));
}

static char *with_case(const char *s, bool upper)
{
    struct buf out = { 0 };
    size_t len = strlen(s), width;

    buf_reserve(&out, len);
    for (size_t i = 0; i < len; i += width)
        buf_add_rune(&out, change_case(rune_decode(s + i, len - i, &width), upper));
    return buf_take(&out);
}

char *str_upper(const char *s)
{
    return with_case(s, true);
}

char *str_lower_valid(const char *s)
{
    return with_case(s, false);
}

static void add_escaped(struct buf *b, int32_t r)
{
    static const char from[] = "\a\b\f\n\r\t\v\\\"";
    static const char to[] = "abfnrtv\\\"";
    const char *p = r > 0 && r < 0x80 ? strchr(from, r) : NULL;

    if (p != NULL)
        buf_addf(b, "\\%c", to[p - from]);
    else if (rune_is_print(r))
        buf_add_rune(b, r);
    else if (r < 0x80)
        buf_addf(b, "\\x%02x", (unsigned)r);
    else if (r < 0x10000)
        buf_addf(b, "\\u%04x", (unsigned)r);
    else
        buf_addf(b, "\\U%08x", (unsigned)r);
}

void buf_add_quoted(struct buf *b, const char *s, size_t len)
{
    size_t width;

    buf_addc(b, '"');
    for (size_t pos = 0; pos < len; pos += width) {
        int32_t r = rune_decode(s + pos, len - pos, &width);
        if (r == RUNE_ERROR && width == 1)
            buf_addf(b, "\\x%02x", (unsigned char)s[pos]);
        else
            add_escaped(b, r);
    }
    buf_addc(b, '"');
}

char *str_quote(const char *s)
{
    struct buf b = { 0 };

    buf_add_quoted(&b, s, strlen(s));
    return buf_take(&b);
}

bool utf8_is_valid(const char *s, size_t len)
{
    size_t width;

    for (size_t i = 0; i < len; i += width) {
        width = 1;
        if ((s[i] & 0x80) != 0 && rune_decode(s + i, len - i, &width) == RUNE_ERROR && width == 1)
            return false;
    }
    return true;
}

char *str_valid_utf8(const char *s, size_t len)
{
    struct buf b = { 0 };
    size_t width;

    for (size_t pos = 0; pos < len; pos += width)
        buf_add_rune(&b, rune_decode(s + pos, len - pos, &width));
    return buf_take(&b);
}
