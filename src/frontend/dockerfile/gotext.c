/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/gotext.h"

#include "base/bytes.h"
#include "base/rune.h"

#include <ctype.h>
#include <errno.h>

/* A fraction (of 0, 3, 6 or 9 decimals) without its last zeros, then the unit. */
static void add_scaled(struct buf *b, uint64_t v, unsigned decimals, const char *unit)
{
    static const uint64_t scales[] = { [0] = 1, [3] = 1000, [6] = 1000000, [9] = 1000000000 };
    uint64_t scale = scales[decimals];
    char digits[20];

    buf_addf(b, "%llu", (unsigned long long)(v / scale));
    v %= scale;
    if (v > 0) {
        int len = snprintf(digits, sizeof(digits), "%0*llu", (int)decimals, (unsigned long long)v);

        while (len > 0 && digits[len - 1] == '0')
            len--;
        buf_addf(b, ".%.*s", len, digits);
    }
    buf_adds(b, unit);
}

void buf_add_go_duration(struct buf *b, int64_t ns)
{
    uint64_t v = ns < 0 ? -(uint64_t)ns : (uint64_t)ns, seconds;

    if (v == 0) {
        buf_adds(b, "0s");
        return;
    }
    if (ns < 0)
        buf_addc(b, '-');
    if (v < 1000) {
        add_scaled(b, v, 0, "ns");
    } else if (v < 1000000) {
        add_scaled(b, v, 3, "\xc2\xb5s");
    } else if (v < (uint64_t)NS_PER_SEC) {
        add_scaled(b, v, 6, "ms");
    } else {
        seconds = v / (uint64_t)NS_PER_SEC;
        if (seconds >= 3600)
            buf_addf(b, "%lluh", (unsigned long long)(seconds / 3600));
        if (seconds >= 60)
            buf_addf(b, "%llum", (unsigned long long)(seconds / 60 % 60));
        add_scaled(b, v % (60 * (uint64_t)NS_PER_SEC), 9, "s");
    }
}

void buf_add_go_list(struct buf *b, const struct strv *v, bool quoted)
{
    buf_addc(b, '[');
    for (size_t i = 0; i < v->len; i++) {
        if (i > 0)
            buf_addc(b, ' ');
        if (quoted)
            buf_add_quoted(b, v->v[i], strlen(v->v[i]));
        else
            buf_adds(b, v->v[i]);
    }
    buf_addc(b, ']');
}

/* Does `s` start as the pattern says: 0 stands for a digit, anything else for itself? */
static bool matches(const char *s, const char *pattern)
{
    for (; *pattern != '\0'; s++, pattern++) {
        if (*pattern == '0' ? !isdigit((unsigned char)*s) : *s != *pattern)
            return false;
    }
    return true;
}

struct error *go_time_normalize(const char *s, char **ret)
{
    const char *zone = s + strlen("2006-01-02T15:04:05");
    struct buf out = { 0 };
    int64_t ns;

    if (!matches(s, "0000-00-00T00:00:00") || parse_time(s, &ns) < 0)
        return err_new(ERR_INVALID, "parsing time \"%s\" as \"2006-01-02T15:04:05Z07:00\": cannot parse", s);
    buf_add(&out, s, (size_t)(zone - s));
    if (*zone == '.' || *zone == ',') {
        size_t digits = strspn(zone + 1, "0123456789"), keep = MIN(digits, (size_t)9);

        while (keep > 0 && zone[keep] == '0')
            keep--;
        if (keep > 0) {
            buf_addc(&out, '.');
            buf_add(&out, zone + 1, keep);
        }
        zone += 1 + digits;
    }
    buf_adds(&out, streq(zone, "+00:00") || streq(zone, "-00:00") ? "Z" : zone);
    *ret = buf_take(&out);
    return NULL;
}

static struct error *number_error(const char *fn, const char *s, int r)
{
    CLEANUP(freep) char *quoted = str_quote(s);

    return err_new(ERR_INVALID, "strconv.%s: parsing %s: %s", fn, quoted,
                   r == -ERANGE ? "value out of range" : "invalid syntax");
}

struct error *go_parse_int(const char *s, int64_t *ret)
{
    int r = parse_i64(*s == '+' && isdigit((unsigned char)s[1]) ? s + 1 : s, ret);

    return r < 0 ? number_error("ParseInt", s, r) : NULL;
}

struct error *go_parse_uint(const char *s, uint64_t *ret)
{
    int r = parse_u64(s, ret);

    return r < 0 ? number_error("ParseUint", s, r) : NULL;
}
