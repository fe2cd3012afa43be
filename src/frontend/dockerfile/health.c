/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/health.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/rune.h"
#include "frontend/dockerfile/flags.h"

/* Quoted as Go's time package does: bytes that are not plain ASCII as \x.. */
static char *quote_plain(const char *s, size_t len)
{
    struct buf b = { 0 };

    buf_addc(&b, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < ' ' || c >= 0x80)
            buf_addf(&b, "\\x%02x", c);
        else if (c == '"' || c == '\\')
            buf_addf(&b, "\\%c", c);
        else
            buf_addc(&b, (char)c);
    }
    buf_addc(&b, '"');
    return buf_take(&b);
}

static bool is_unit(const char *s, size_t len)
{
    static const char *const units[] = { "ns", "us", "µs", "μs", "ms", "s", "m", "h" };

    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (strlen(units[i]) == len && memcmp(units[i], s, len) == 0)
            return true;
    }
    return false;
}

/* Why parse_duration refused it: the first part that has no unit or an unknown one, else the whole. */
static struct error *duration_error(const char *s)
{
    static const char digits[] = "0123456789.";
    CLEANUP(freep) char *all = quote_plain(s, strlen(s));
    const char *p = s + (*s == '-' || *s == '+');

    while (*p != '\0') {
        size_t whole = strspn(p, "0123456789");
        size_t fraction = p[whole] == '.' ? strspn(p + whole + 1, "0123456789") : 0;
        if (whole + fraction == 0)
            break;
        p += whole + (p[whole] == '.' ? 1 + fraction : 0);
        size_t unit = strcspn(p, digits);
        if (unit == 0)
            return err_new(ERR_INVALID, "time: missing unit in duration %s", all);
        if (!is_unit(p, unit)) {
            CLEANUP(freep) char *name = quote_plain(p, unit);
            return err_new(ERR_INVALID, "time: unknown unit %s in duration %s", name, all);
        }
        p += unit;
    }
    return err_new(ERR_INVALID, "time: invalid duration %s", all);
}

static struct error *parse_interval(const struct flag *f, int64_t *ret)
{
    int64_t ns;

    if (*f->value == '\0')
        return NULL;
    if (parse_duration(f->value, &ns) < 0)
        return duration_error(f->value);
    if (ns != 0 && ns < NS_PER_MS)
        return err_new(ERR_INVALID, "Interval \"%s\" cannot be less than 1ms", f->name);
    *ret = ns;
    return NULL;
}

static struct error *parse_retries(const char *value, int *ret)
{
    const char *digits = value + (*value == '-' || *value == '+');
    bool number = *digits != '\0' && digits[strspn(digits, "0123456789")] == '\0';
    int64_t n = 0;

    if (*value == '\0')
        return NULL;
    if (!number || parse_i64(*value == '+' ? digits : value, &n) < 0 || n > INT32_MAX || n < INT32_MIN) {
        CLEANUP(freep) char *quoted = str_quote(value);
        return err_new(ERR_INVALID, "strconv.ParseInt: parsing %s: %s", quoted,
                       number ? "value out of range" : "invalid syntax");
    }
    if (n < 0)
        return err_new(ERR_INVALID, "--retries cannot be negative (%d)", (int)n);
    *ret = (int)n;
    return NULL;
}

static struct error *parse_command(struct arena *mem, const struct df_node *n, const char *type,
                                   struct healthcheck *h)
{
    if (!streq(type, "CMD")) {
        CLEANUP(freep) char *quoted = str_quote(type);
        return err_new(ERR_INVALID, "Unknown type %s in HEALTHCHECK (try CMD)", quoted);
    }
    if (n->args.len < 2)
        return err_new(ERR_INVALID, "Missing command after HEALTHCHECK CMD");
    arena_strv_add(mem, &h->test, n->json ? "CMD" : "CMD-SHELL");
    for (size_t i = 1; i < n->args.len; i++)
        arena_strv_add(mem, &h->test, n->args.v[i]);
    return NULL;
}

struct error *healthcheck_parse(struct arena *mem, const struct df_node *n, struct healthcheck *ret)
{
    enum { INTERVAL, TIMEOUT, START_PERIOD, START_INTERVAL, RETRIES };
    struct flag flags[] = {
        [INTERVAL] = { .name = "interval", .type = FLAG_STRING },
        [TIMEOUT] = { .name = "timeout", .type = FLAG_STRING },
        [START_PERIOD] = { .name = "start-period", .type = FLAG_STRING },
        [START_INTERVAL] = { .name = "start-interval", .type = FLAG_STRING },
        [RETRIES] = { .name = "retries", .type = FLAG_STRING },
    };

    if (n->args.len == 0)
        return err_new(ERR_INVALID, "HEALTHCHECK requires at least one argument");
    CLEANUP(freep) char *type = str_upper(n->args.v[0]);
    if (streq(type, "NONE")) {
        if (n->args.len > 1)
            return err_new(ERR_INVALID, "HEALTHCHECK NONE takes no arguments");
        arena_strv_add(mem, &ret->test, "NONE");
        return NULL;
    }
    TRY(flags_parse(mem, &n->flags, flags, ARRAY_LEN(flags)));
    TRY(parse_command(mem, n, type, ret));
    TRY(parse_interval(&flags[INTERVAL], &ret->interval));
    TRY(parse_interval(&flags[TIMEOUT], &ret->timeout));
    TRY(parse_interval(&flags[START_PERIOD], &ret->start_period));
    TRY(parse_interval(&flags[START_INTERVAL], &ret->start_interval));
    return parse_retries(flags[RETRIES].value, &ret->retries);
}
