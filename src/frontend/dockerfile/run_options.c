/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/run_options.h"

#include <errno.h>
#include <math.h>

#include "base/csv.h"
#include "base/rune.h"
#include "frontend/dockerfile/suggest.h"

static const char *const type_names[] = {
    [MOUNT_BIND] = "bind",     [MOUNT_CACHE] = "cache", [MOUNT_TMPFS] = "tmpfs",
    [MOUNT_SECRET] = "secret", [MOUNT_SSH] = "ssh",
};
static const char *const sharing_names[] = { "shared", "private", "locked" }; /* from SHARING_SHARED on */
static const char *const mount_keys[] = {
    "type", "from", "source", "target", "readonly",    "id", "sharing", "required",  "size", "mode",
    "uid",  "gid",  "src",    "dst",    "destination", "ro", "rw",      "readwrite", "env",
};

/* One mount while its fields are read. */
struct mount_scan {
    struct arena *mem;
    struct mount_flag m;
    bool access_given; /* read-only or read-write was said */
    word_expander expand;
    void *ctx;
};

static struct error *invalid_value(const char *key, const char *value)
{
    return err_new(ERR_INVALID, "invalid value for %s: %s", key, value);
}

static struct error *unexpected_for_type(const char *key, enum mount_type type)
{
    return err_new(ERR_INVALID, "unexpected key '%s' for mount type '%s'", key, type_names[type]);
}

static struct error *unknown_name(const char *what, const char *value, const char *const *names, size_t count)
{
    CLEANUP(freep) char *quoted = str_quote(value);

    return suggest_wrap(err_new(ERR_INVALID, "unsupported %s %s", what, quoted), value, names, count, true,
                        NULL);
}

static int find_name(const char *value, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (str_equal_fold(value, names[i]))
            return (int)i;
    }
    return -1;
}

/* Unsigned 32-bit number of digits alone. */
static bool parse_u32(const char *s, int base, uint32_t *ret)
{
    uint64_t n = 0;

    if (*s == '\0')
        return false;
    for (; *s != '\0'; s++) {
        if (*s < '0' || *s >= '0' + base)
            return false;
        n = n * (uint64_t)base + (uint64_t)(*s - '0');
        if (n > UINT32_MAX)
            return false;
    }
    *ret = (uint32_t)n;
    return true;
}

/* "512m", "1.5 GiB": bytes in powers of 1024. */
static bool parse_size(const char *s, int64_t *ret)
{
    static const char units[] = "kmgtp";
    size_t len = strlen(s), sep = len;
    char *end;

    while (sep > 0 && strchr("0123456789. ", s[sep - 1]) == NULL)
        sep--;
    if (sep == 0 || rune_is_space((unsigned char)s[0]) || len - sep > 3)
        return false;
    CLEANUP(freep) char *number = xstrndup(s, s[sep - 1] == ' ' ? sep - 1 : sep);
    CLEANUP(freep) char *suffix = str_lower(s + sep);
    double size = strtod(number, &end);
    if (end == number || *end != '\0' || !(size >= 0) || isinf(size))
        return false;
    const char *unit = *suffix != '\0' ? strchr(units, *suffix) : NULL;
    if (unit != NULL && suffix[1] != '\0' && !streq(suffix + 1, "b") && !streq(suffix + 1, "ib"))
        return false;
    if (unit == NULL && *suffix != '\0' && !streq(suffix, "b"))
        return false;
    for (const char *u = units; unit != NULL && u <= unit; u++)
        size *= 1024;
    if (size >= 9223372036854775808.0)
        return false;
    *ret = (int64_t)size;
    return true;
}

static bool takes_required(const struct mount_flag *m)
{
    return m->type == MOUNT_SECRET || m->type == MOUNT_SSH;
}

/* A field without '='. */
static struct error *set_switch(struct mount_scan *s, const char *key, const char *field)
{
    if (streq(key, "readonly") || streq(key, "ro") || streq(key, "readwrite") || streq(key, "rw")) {
        s->m.read_only = streq(key, "readonly") || streq(key, "ro");
        s->access_given = true;
        return NULL;
    }
    if (!streq(key, "required"))
        return err_new(ERR_INVALID, "invalid field '%s' must be a key=value pair", field);
    if (!takes_required(&s->m))
        return unexpected_for_type(key, s->m.type);
    s->m.required = true;
    return NULL;
}

static struct error *set_access(struct mount_scan *s, const char *key, const char *value)
{
    bool on;

    if (parse_bool(value, &on) < 0)
        return invalid_value(key, value);
    s->m.read_only = on == (streq(key, "readonly") || streq(key, "ro"));
    s->access_given = true;
    return NULL;
}

static struct error *set_number(const char *key, const char *value, int base, bool *ret_set, uint32_t *ret)
{
    if (!parse_u32(value, base, ret))
        return err_new(ERR_INVALID, "invalid value %s for %s", value, key);
    *ret_set = true;
    return NULL;
}

static struct error *set_type(struct mount_flag *m, const char *value)
{
    int t = find_name(value, type_names, ARRAY_LEN(type_names));

    if (t < 0)
        return unknown_name("mount type", value, type_names, ARRAY_LEN(type_names));
    m->type = (enum mount_type)t;
    return NULL;
}

static struct error *set_sharing(struct mount_flag *m, const char *value)
{
    int t = find_name(value, sharing_names, ARRAY_LEN(sharing_names));

    if (t < 0)
        return unknown_name("sharing value", value, sharing_names, ARRAY_LEN(sharing_names));
    m->sharing = (enum mount_sharing)(SHARING_SHARED + t);
    return NULL;
}

static struct error *set_required(struct mount_flag *m, const char *key, const char *value)
{
    if (!takes_required(m))
        return unexpected_for_type(key, m->type);
    return parse_bool(value, &m->required) < 0 ? invalid_value(key, value) : NULL;
}

static struct error *set_size(struct mount_flag *m, const char *key, const char *value)
{
    if (m->type != MOUNT_TMPFS)
        return unexpected_for_type(key, m->type);
    return parse_size(value, &m->size_limit) ? NULL : invalid_value(key, value);
}

/* `value` lives as long as the mount. */
static struct error *set_value(struct mount_scan *s, const char *key, const char *value, const char *field)
{
    struct mount_flag *m = &s->m;

    if (streq(key, "type"))
        return set_type(m, value);
    if (streq(key, "from"))
        m->from = value;
    else if (streq(key, "source") || streq(key, "src"))
        m->source = value;
    else if (streq(key, "target") || streq(key, "dst") || streq(key, "destination"))
        m->target = value;
    else if (streq(key, "id"))
        m->id = value;
    else if (streq(key, "env"))
        m->env = value;
    else if (streq(key, "readonly") || streq(key, "ro") || streq(key, "readwrite") || streq(key, "rw"))
        return set_access(s, key, value);
    else if (streq(key, "required"))
        return set_required(m, key, value);
    else if (streq(key, "size"))
        return set_size(m, key, value);
    else if (streq(key, "sharing"))
        return set_sharing(m, value);
    else if (streq(key, "mode"))
        return set_number(key, value, 8, &m->mode_set, &m->mode);
    else if (streq(key, "uid"))
        return set_number(key, value, 10, &m->uid_set, &m->uid);
    else if (streq(key, "gid"))
        return set_number(key, value, 10, &m->gid_set, &m->gid);
    else
        return suggest_wrap(err_new(ERR_INVALID, "unexpected key '%s' in '%s'", key, field), key, mount_keys,
                            ARRAY_LEN(mount_keys), true, NULL);
    return NULL;
}

static struct error *set_field(struct mount_scan *s, const char *field)
{
    const char *eq = strchr(field, '=');
    CLEANUP(freep) char *name = eq != NULL ? xstrndup(field, (size_t)(eq - field)) : xstrdup(field);
    CLEANUP(freep) char *key = str_lower(name);
    const char *value = NULL;

    if (eq == NULL)
        return s->expand != NULL ? set_switch(s, key, field) : NULL;
    if (s->expand != NULL) {
        TRY(s->expand(s->ctx, s->mem, arena_str(s->mem, eq + 1), &value));
        return set_value(s, key, value, field);
    }
    if (!streq(key, "from"))
        return NULL;
    const char *dollar = strchr(eq, '$');
    if (dollar != NULL && dollar[1] != '\0')
        return err_new(ERR_INVALID, "'%s' doesn't support variable expansion, define alias stage instead",
                       key);
    return set_value(s, key, arena_str(s->mem, eq + 1), field);
}

static struct error *check_secret(const struct mount_flag *m)
{
    if (*m->from != '\0')
        return err_new(ERR_INVALID, "secret mount should not have a from");
    if (m->sharing != SHARING_UNSET)
        return err_new(ERR_INVALID, "secret mount should not define sharing");
    if (*m->source == '\0' && *m->target == '\0' && *m->id == '\0')
        return err_new(ERR_INVALID, "invalid secret mount. one of source, target required");
    if (*m->source != '\0' && *m->id != '\0')
        return err_new(ERR_INVALID, "both source and id can't be set");
    return NULL;
}

static struct error *check_mount(struct mount_scan *s)
{
    struct mount_flag *m = &s->m;
    bool takes_owner = takes_required(m) || m->type == MOUNT_CACHE;
    const char *bad = m->mode_set ? "mode" : m->uid_set ? "uid" : m->gid_set ? "gid" : NULL;

    if (!takes_owner && bad != NULL)
        return err_new(ERR_INVALID, "%s not allowed for \"%s\" type mounts", bad, type_names[m->type]);
    if (!s->access_given)
        m->read_only = m->type != MOUNT_CACHE && m->type != MOUNT_TMPFS;
    if (m->type == MOUNT_SECRET)
        TRY(check_secret(m));
    if (m->sharing != SHARING_UNSET && m->type != MOUNT_CACHE)
        return err_new(ERR_INVALID, "invalid cache sharing set for %s mount", type_names[m->type]);
    return NULL;
}

static void fill_strings(struct mount_flag *m)
{
    const char **fields[] = { &m->from, &m->source, &m->target, &m->id };

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (*fields[i] == NULL)
            *fields[i] = "";
    }
}

struct error *run_mount_parse(struct arena *mem, const char *value, word_expander expand, void *ctx,
                              struct mount_flag *ret)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 };
    struct mount_scan s = { .mem = mem, .m = { .type = MOUNT_BIND }, .expand = expand, .ctx = ctx };
    struct error *e = csv_fields(value, &fields);

    if (e != NULL)
        return err_wrap(e, "failed to parse csv mounts");
    for (size_t i = 0; i < fields.len && e == NULL; i++)
        e = set_field(&s, fields.v[i]);
    fill_strings(&s.m);
    if (e == NULL)
        e = check_mount(&s);
    TRY(e);
    *ret = s.m;
    return NULL;
}

static struct error *set_device_field(struct arena *mem, struct run_device *d, const char *field)
{
    static const char *const keys[] = { "name", "required" };
    const char *eq = strchr(field, '=');
    CLEANUP(freep) char *name = eq != NULL ? xstrndup(field, (size_t)(eq - field)) : xstrdup(field);
    CLEANUP(freep) char *key = str_lower(name);

    if (streq(key, "required")) {
        d->required = true;
        return eq != NULL && parse_bool(eq + 1, &d->required) < 0 ? invalid_value(key, eq + 1) : NULL;
    }
    if (eq != NULL && streq(key, "name")) {
        if (*d->name != '\0')
            return err_new(ERR_INVALID, "device name already set to %s", d->name);
        d->name = arena_str(mem, eq + 1);
        return NULL;
    }
    if (*d->name == '\0') {
        d->name = arena_str(mem, field);
        return NULL;
    }
    if (eq == NULL)
        return err_new(ERR_INVALID, "invalid field '%s' must be a key=value pair", field);
    return suggest_wrap(err_new(ERR_INVALID, "unexpected key '%s' in '%s'", key, field), key, keys,
                        ARRAY_LEN(keys), true, NULL);
}

struct error *run_device_parse(struct arena *mem, const char *value, struct run_device *ret)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 };
    struct run_device d = { .name = "" };
    struct error *e = csv_fields(value, &fields);

    if (e != NULL)
        return err_wrap(e, "failed to parse csv devices");
    for (size_t i = 0; i < fields.len && e == NULL; i++)
        e = set_device_field(mem, &d, fields.v[i]);
    TRY(e);
    *ret = d;
    return NULL;
}
