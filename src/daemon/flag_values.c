/* SPDX-License-Identifier: Apache-2.0 */
/* flag_values.c - one value of each kind; the field is NULL for flags without effect: checked all the same */
#include "daemon/flags.h"

#include <arpa/inet.h>
#include <errno.h>

static void *field_of(const struct flag_spec *spec, struct config *c)
{
    return spec->field == FLAG_NO_FIELD ? NULL : (char *)c + spec->field;
}

static struct error *set_bool(const char *value, bool *field)
{
    bool parsed;

    if (parse_bool(value, &parsed) < 0)
        return err_new(ERR_INVALID, "strconv.ParseBool: parsing \"%s\": invalid syntax", value);
    if (field != NULL)
        *field = parsed;
    return NULL;
}

static struct error *set_string(const char *value, char **field)
{
    if (field != NULL) {
        free(*field);
        *field = xstrdup(value);
    }
    return NULL;
}

static struct error *set_int(const char *value, int64_t *field)
{
    int64_t parsed;
    int r = parse_i64(value[0] == '+' ? value + 1 : value, &parsed);

    if (r < 0)
        return err_new(ERR_INVALID, "strconv.ParseInt: parsing \"%s\": %s", value,
                       r == -ERANGE ? "value out of range" : "invalid syntax");
    if (field != NULL)
        *field = parsed;
    return NULL;
}

static bool is_ip(const char *value)
{
    unsigned char space[16];

    return inet_pton(AF_INET, value, space) == 1 || inet_pton(AF_INET6, value, space) == 1;
}

static struct error *set_ip(const char *value, char **field)
{
    if (value[0] != '\0' && !is_ip(value))
        return err_new(ERR_INVALID, "failed to parse IP: \"%s\"", value);
    return set_string(value, field);
}

/* "64m", "1.5g", "512": docker's units, powers of 1024. */
static struct error *set_bytes(const char *value, int64_t *field)
{
    static const char units[] = "bkmgtp";
    char *end;
    double number = strtod(value, &end);
    int64_t factor = 1;
    const char *unit = *end != '\0' ? strchr(units, *end | 0x20) : units;

    if (end == value || number < 0 || value[0] == '-' || unit == NULL ||
        (*end != '\0' && end[1] != '\0' && strcasecmp(end + 1, "b") != 0 && strcasecmp(end + 1, "ib") != 0))
        return err_new(ERR_INVALID, "invalid size: '%s'", value);
    for (const char *u = units; *end != '\0' && u < unit; u++)
        factor *= 1024;
    if (number * (double)factor >= 9.2e18)
        return err_new(ERR_INVALID, "invalid size: '%s'", value);
    if (field != NULL)
        *field = (int64_t)(number * (double)factor);
    return NULL;
}

static struct error *add_to_list(const char *value, struct strv *field)
{
    if (field != NULL)
        strv_add(field, value);
    return NULL;
}

static struct error *add_ip(const char *value, struct strv *field)
{
    if (!is_ip(value))
        return err_new(ERR_INVALID, "ParseAddr(\"%s\"): unable to parse IP", value);
    return add_to_list(value, field);
}

static struct error *add_to_map(const char *value, struct map *field)
{
    const char *equals = strchrnul(value, '=');
    CLEANUP(freep) char *key = xstrndup(value, (size_t)(equals - value));

    if (field != NULL)
        strmap_set(field, key, *equals != '\0' ? equals + 1 : "");
    return NULL;
}

static struct error *add_switch(const char *value, struct map *field)
{
    const char *equals = strchrnul(value, '=');
    CLEANUP(freep) char *key = xstrndup(value, (size_t)(equals - value));
    bool on = true;

    if (key[0] == '\0')
        return err_new(ERR_INVALID, "invalid option name: %s", value);
    if (*equals != '\0')
        TRY(set_bool(equals + 1, &on));
    if (field != NULL)
        strmap_set(field, key, on ? "true" : "false");
    return NULL;
}

static char *trimmed(const char *s, size_t len)
{
    while (len > 0 && (*s == ' ' || *s == '\t'))
        s++, len--;
    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
        len--;
    return xstrndup(s, len);
}

static struct error *add_runtime(const char *value, struct config *c)
{
    const char *equals = strchrnul(value, '=');
    CLEANUP(freep) char *typed = trimmed(value, (size_t)(equals - value));
    CLEANUP(freep) char *path = *equals != '\0' ? trimmed(equals + 1, strlen(equals + 1)) : xstrdup("");
    CLEANUP(freep) char *name = str_lower(typed);

    if (name[0] == '\0' || path[0] == '\0')
        return err_new(ERR_INVALID, "invalid runtime argument: %s", value);
    if (streq(name, "runc"))
        return err_new(ERR_INVALID, "runtime name 'runc' is reserved");
    for (size_t i = 0; i < c->runtime_count; i++)
        if (streq(c->runtimes[i].name, name))
            return err_new(ERR_INVALID, "runtime '%s' was already defined", name);
    c->runtimes = xreallocarray(c->runtimes, c->runtime_count + 1, sizeof(*c->runtimes));
    c->runtimes[c->runtime_count++] = (struct config_runtime){ .name = TAKE(name), .path = TAKE(path) };
    return NULL;
}

static struct error *add_pool(const char *value, struct strv *field)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 };

    strv_split(&fields, value, ',');
    for (size_t i = 0; i < fields.len; i++) {
        const char *base = str_skip_prefix(fields.v[i], "base="),
                   *size = str_skip_prefix(fields.v[i], "size=");
        int64_t number;

        if (strchr(fields.v[i], '=') == NULL)
            return err_new(ERR_INVALID, "invalid field '%s' must be a key=value pair", fields.v[i]);
        if (base == NULL && size == NULL)
            return err_new(ERR_INVALID, "unexpected key '%.*s' in '%s'", (int)strcspn(fields.v[i], "="),
                           fields.v[i], fields.v[i]);
        if (size != NULL && parse_i64(size, &number) < 0)
            return err_new(
                ERR_INVALID,
                "invalid size value: \"%s\" (must be integer): strconv.Atoi: parsing \"%s\": invalid syntax",
                value, size);
        if (base != NULL && strchr(base, '/') == NULL)
            return err_new(ERR_INVALID, "invalid base prefix \"%s\": netip.ParsePrefix(\"%s\"): no '/'", base,
                           base);
    }
    return add_to_list(value, field);
}

static struct error *add_ulimit(const char *value, struct strv *field)
{
    static const char *const names[] = { "core",    "cpu",      "data",   "fsize",      "locks",
                                         "memlock", "msgqueue", "nice",   "nofile",     "nproc",
                                         "rss",     "rtprio",   "rttime", "sigpending", "stack" };
    CLEANUP(strv_deinit) struct strv parts = { 0 };
    const char *equals = strchr(value, '=');
    bool known = false;
    int64_t limit, hard = -1;

    if (equals == NULL)
        return err_new(ERR_INVALID, "invalid ulimit argument: %s", value);
    CLEANUP(freep) char *name = xstrndup(value, (size_t)(equals - value));

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        known |= streq(name, names[i]);
    if (!known)
        return err_new(ERR_INVALID, "invalid ulimit type: %s", name);
    strv_split(&parts, equals + 1, ':');
    if (parts.len > 2)
        return err_new(ERR_INVALID,
                       "too many limit value arguments - %s, can only have up to two, `soft[:hard]`",
                       equals + 1);
    for (size_t i = 0; i < parts.len; i++) {
        if (parse_i64(parts.v[i], &limit) < 0)
            return err_new(ERR_INVALID, "strconv.ParseInt: parsing \"%s\": invalid syntax", parts.v[i]);
        if (i == 1 && limit != -1 && (hard == -1 || hard > limit))
            return err_new(ERR_INVALID, "ulimit soft limit must be less than or equal to hard limit: %s > %s",
                           hard == -1 ? "soft: -1" : parts.v[0], parts.v[1]);
        hard = limit;
    }
    return add_to_list(value, field);
}

static struct error *add_map_of_maps(const char *value, struct strv *field)
{
    const char *equals = strchr(value, '=');

    if (equals == NULL || strchr(equals + 1, '=') == NULL)
        return err_new(ERR_INVALID, "invalid value \"%s\" for map option, should be root-key=key=value",
                       value);
    return add_to_list(value, field);
}

struct error *flag_set(const struct flag_spec *spec, const char *value, struct config *c)
{
    CLEANUP(freep) char *checked = NULL;
    void *field = field_of(spec, c);

    if (spec->check != NULL) {
        TRY(spec->check(value, &checked));
        value = checked;
    }
    switch (spec->kind) {
    case FLAG_BOOL:
        return set_bool(value, field);
    case FLAG_STRING:
        return set_string(value, field);
    case FLAG_INT:
        return set_int(value, field);
    case FLAG_IP:
        return set_ip(value, field);
    case FLAG_BYTES:
        return set_bytes(value, field);
    case FLAG_LIST:
    case FLAG_NRI:
        return add_to_list(value, field);
    case FLAG_IP_LIST:
        return add_ip(value, field);
    case FLAG_MAP:
        return add_to_map(value, field);
    case FLAG_SWITCHES:
        return add_switch(value, field);
    case FLAG_RUNTIME:
        return add_runtime(value, c);
    case FLAG_POOL:
        return add_pool(value, field);
    case FLAG_ULIMIT:
        return add_ulimit(value, field);
    case FLAG_MAP_OF_MAPS:
        return add_map_of_maps(value, field);
    }
    return err_new(ERR_INTERNAL, "flag --%s has no kind", spec->name);
}
