/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/random.h>

void hex_encode(char *dst, const void *src, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = src;

    for (size_t i = 0; i < len; i++) {
        *dst++ = digits[p[i] >> 4];
        *dst++ = digits[p[i] & 15];
    }
    *dst = '\0';
}

static int lower_hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

int hex_digit(int c)
{
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return lower_hex_digit(c);
}

int hex_decode(void *dst, const char *src, size_t len)
{
    unsigned char *out = dst;

    if (len % 2 != 0)
        return -EINVAL;
    for (size_t i = 0; i < len; i += 2) {
        int high = lower_hex_digit(src[i]), low = lower_hex_digit(src[i + 1]);

        if (high < 0 || low < 0)
            return -EINVAL;
        *out++ = (unsigned char)(high << 4 | low);
    }
    return 0;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct buf *out, const void *src, size_t len)
{
    const unsigned char *p = src;

    buf_reserve(out, len / 3 * 4 + 4);
    for (; len > 0; p += MIN(len, (size_t)3), len -= MIN(len, (size_t)3)) {
        uint32_t v = (uint32_t)p[0] << 16 | (len > 1 ? (uint32_t)p[1] << 8 : 0) | (len > 2 ? p[2] : 0);
        char quad[4] = {
            base64_digits[v >> 18],
            base64_digits[v >> 12 & 63],
            len > 1 ? base64_digits[v >> 6 & 63] : '=',
            len > 2 ? base64_digits[v & 63] : '=',
        };

        buf_add(out, quad, 4);
    }
}

static int base64_digit(char c)
{
    if (c == '-')
        c = '+';
    if (c == '_')
        c = '/';
    const char *at = c != '\0' ? strchr(base64_digits, c) : NULL;

    return at != NULL ? (int)(at - base64_digits) : -1;
}

int base64_decode(struct buf *out, const char *src, size_t len)
{
    size_t pad = 0;
    uint32_t bits = 0;
    unsigned bit_count = 0;

    while (pad < 2 && len > pad && src[len - pad - 1] == '=')
        pad++;
    if ((pad > 0 && len % 4 != 0) || (len - pad) % 4 == 1)
        return -EINVAL;
    size_t before = out->len;

    for (size_t i = 0; i < len - pad; i++) {
        int digit = base64_digit(src[i]);

        if (digit < 0) {
            if (out->data != NULL)
                buf_truncate(out, before);
            return -EINVAL;
        }
        bits = bits << 6 | (uint32_t)digit;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            buf_addc(out, (char)(bits >> bit_count & 0xff));
        }
    }
    return 0;
}

void random_bytes(void *p, size_t len)
{
    char *at = p;

    while (len > 0) {
        ssize_t n = getrandom(at, MIN(len, (size_t)256), 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort(); /* no kernel that we run on lacks getrandom */
        at += n;
        len -= (size_t)n;
    }
}

void random_id(char *dst, size_t len)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    unsigned char pool[64];
    size_t left = 0;

    for (size_t i = 0; i < len;) {
        unsigned base = i == 0 ? 26 : 36;

        if (left == 0) {
            random_bytes(pool, sizeof(pool));
            left = sizeof(pool);
        }
        unsigned char r = pool[--left];

        if (r < 256 / base * base) /* the rest would make some characters likelier than others */
            dst[i++] = digits[r % base];
    }
    dst[len] = '\0';
}

void random_hex(char *dst, size_t bytes)
{
    unsigned char raw[32];

    *dst = '\0';
    for (size_t n; bytes > 0; bytes -= n, dst += 2 * n) {
        n = MIN(bytes, sizeof(raw));
        random_bytes(raw, n);
        hex_encode(dst, raw, n);
    }
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

int64_t now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int64_t monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static char *put_digits(char *at, uint64_t v, int count)
{
    for (int i = count; i-- > 0; v /= 10)
        at[i] = (char)('0' + v % 10);
    return at + count;
}

/* The date `days` after 1970-01-01 as YYYY-MM-DD.  Years begin in March here, so that the leap day is their
 * last. */
static char *put_date(char *at, int64_t days)
{
    int64_t since = days + 719468;                                /* 0000-03-01 */
    int64_t era = (since >= 0 ? since : since - 146096) / 146097; /* of 400 years */
    int64_t day = since - era * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t month;

    day -= 365 * year + year / 4 - year / 100;
    month = (5 * day + 2) / 153; /* from March */
    day -= (153 * month + 2) / 5;
    at = put_digits(at, (uint64_t)(year + era * 400 + (month >= 10)), 4);
    *at++ = '-';
    at = put_digits(at, (uint64_t)(month < 10 ? month + 3 : month - 9), 2);
    *at++ = '-';
    return put_digits(at, (uint64_t)day + 1, 2);
}

void format_rfc3339(char dst[40], int64_t unix_ns)
{
    int64_t ns = unix_ns % NS_PER_SEC, seconds = unix_ns / NS_PER_SEC, days, left;
    char *at;

    if (ns < 0) {
        ns += NS_PER_SEC;
        seconds--;
    }
    left = seconds % 86400;
    days = seconds / 86400;
    if (left < 0) {
        left += 86400;
        days--;
    }
    at = put_date(dst, days);
    *at++ = 'T';
    at = put_digits(at, (uint64_t)left / 3600, 2);
    *at++ = ':';
    at = put_digits(at, (uint64_t)left / 60 % 60, 2);
    *at++ = ':';
    at = put_digits(at, (uint64_t)left % 60, 2);
    if (ns > 0) {
        *at++ = '.';
        at = put_digits(at, (uint64_t)ns, 9);
        while (at[-1] == '0')
            at--;
    }
    *at++ = 'Z';
    *at = '\0';
}

void format_rfc3339_at(char dst[40], int64_t unix_ns, int offset)
{
    int minutes = abs(offset) / 60;
    size_t n;

    format_rfc3339(dst, unix_ns + offset * NS_PER_SEC);
    n = strlen(dst) - 1; /* the Z */
    if (offset != 0)
        snprintf(dst + n, 40 - n, "%c%02d:%02d", offset < 0 ? '-' : '+', minutes / 60 % 100, minutes % 60);
}

/* `count` digits at *s as a number; moves *s. -1 when there are fewer. */
static int take_digits(const char **s, int count)
{
    int value = 0;

    for (int i = 0; i < count; i++, (*s)++) {
        if (**s < '0' || **s > '9')
            return -1;
        value = value * 10 + (**s - '0');
    }
    return value;
}

/* ".123" as nanoseconds; digits behind the ninth are dropped. -1 when no digit follows the point. */
static int64_t take_fraction(const char **s)
{
    int64_t ns = 0, unit = NS_PER_SEC / 10;

    if (**s != '.')
        return 0;
    (*s)++;
    if (**s < '0' || **s > '9')
        return -1;
    for (; **s >= '0' && **s <= '9'; (*s)++, unit /= 10)
        ns += unit * (**s - '0');
    return ns;
}

static int days_in_month(int year, int month)
{
    static const unsigned char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

/* "Z" or "+hh:mm" to the end of the string: seconds east of UTC. */
static int take_zone(const char *s, int *ret_seconds)
{
    if (streq(s, "Z")) {
        *ret_seconds = 0;
        return 0;
    }
    char sign = *s;

    if (sign != '+' && sign != '-')
        return -EINVAL;
    s++;
    int hours = take_digits(&s, 2);

    if (hours < 0 || hours > 23 || *s++ != ':')
        return -EINVAL;
    int minutes = take_digits(&s, 2);

    if (minutes < 0 || minutes > 59 || *s != '\0')
        return -EINVAL;
    *ret_seconds = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
    return 0;
}

static int combine(int64_t seconds, int64_t ns, int64_t *ret)
{
    int64_t total;

    if (__builtin_mul_overflow(seconds, NS_PER_SEC, &total) || __builtin_add_overflow(total, ns, &total))
        return -EINVAL;
    *ret = total;
    return 0;
}

static int parse_rfc3339(const char *s, int64_t *ret_ns)
{
    struct tm tm = { 0 };
    static const char separators[] = "--T::";
    int fields[6], zone;

    for (int i = 0; i < 6; i++) {
        fields[i] = take_digits(&s, i == 0 ? 4 : 2);
        if (fields[i] < 0 || (i < 5 && *s++ != separators[i]))
            return -EINVAL;
    }
    if (fields[1] < 1 || fields[1] > 12 || fields[2] < 1 || fields[2] > days_in_month(fields[0], fields[1]) ||
        fields[3] > 23 || fields[4] > 59 || fields[5] > 59)
        return -EINVAL;
    int64_t ns = take_fraction(&s);

    if (ns < 0 || take_zone(s, &zone) < 0)
        return -EINVAL;
    tm.tm_year = fields[0] - 1900;
    tm.tm_mon = fields[1] - 1;
    tm.tm_mday = fields[2];
    tm.tm_hour = fields[3];
    tm.tm_min = fields[4];
    tm.tm_sec = fields[5];
    return combine(timegm(&tm) - zone, ns, ret_ns);
}

int parse_time(const char *s, int64_t *ret_ns)
{
    const char *p = s;
    bool negative = *p == '-';
    int64_t seconds = 0;

    if (strchr(s, 'T') != NULL)
        return parse_rfc3339(s, ret_ns);
    p += negative ? 1 : 0;
    if (*p < '0' || *p > '9')
        return -EINVAL;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(seconds, 10, &seconds) ||
            __builtin_add_overflow(seconds, *p - '0', &seconds))
            return -EINVAL;
    int64_t ns = take_fraction(&p);

    if (ns < 0 || *p != '\0')
        return -EINVAL;
    return combine(negative ? -seconds : seconds, negative ? -ns : ns, ret_ns);
}

struct unit {
    const char *name;
    int64_t ns;
};

/* Longer names before those that they begin with. */
static const struct unit units[] = {
    { "ns", 1 },         { "us", 1000 },      { "\xc2\xb5s", 1000 },    { "\xce\xbcs", 1000 },
    { "ms", NS_PER_MS }, { "s", NS_PER_SEC }, { "m", 60 * NS_PER_SEC }, { "h", 3600 * NS_PER_SEC },
};

/* One "12.5m" of a duration, added to *total. */
static int take_duration_part(const char **s, uint64_t *total)
{
    uint64_t whole = 0;
    double fraction = 0, scale = 1;
    bool digits = false;

    for (; **s >= '0' && **s <= '9'; (*s)++, digits = true)
        if (__builtin_mul_overflow(whole, 10u, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(**s - '0'), &whole))
            return -EINVAL;
    if (**s == '.')
        for ((*s)++; **s >= '0' && **s <= '9'; (*s)++, digits = true) {
            if (scale < 1e17) { /* more digits than a double holds do not matter */
                fraction = fraction * 10 + (**s - '0');
                scale *= 10;
            }
        }
    if (!digits)
        return -EINVAL;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        const char *rest = str_skip_prefix(*s, units[i].name);

        if (rest == NULL || (*rest != '\0' && *rest != '.' && (*rest < '0' || *rest > '9')))
            continue;
        *s = rest;
        if (__builtin_mul_overflow(whole, (uint64_t)units[i].ns, &whole) ||
            __builtin_add_overflow(*total, whole, total) ||
            __builtin_add_overflow(*total, (uint64_t)(fraction * ((double)units[i].ns / scale)), total))
            return -EINVAL;
        return 0;
    }
    return -EINVAL;
}

int parse_duration(const char *s, int64_t *ret_ns)
{
    bool negative = *s == '-';
    uint64_t total = 0;

    if (*s == '-' || *s == '+')
        s++;
    if (streq(s, "0")) {
        *ret_ns = 0;
        return 0;
    }
    if (*s == '\0')
        return -EINVAL;
    while (*s != '\0')
        if (take_duration_part(&s, &total) < 0 || total > (uint64_t)INT64_MAX + (negative ? 1 : 0))
            return -EINVAL;
    *ret_ns = negative ? (int64_t)(0 - total) : (int64_t)total;
    return 0;
}
