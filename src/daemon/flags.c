/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/flags.h"
#include "base/buf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

static void *field_of(const struct flag_spec *spec, struct config *c)
{
    return spec->field == FLAG_NO_FIELD ? NULL : (char *)c + spec->field;
}

/* ---- one value of each kind; field is NULL for flags without effect: checked all the same ---- */

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

/* ---- command line ---- */

const struct flag_spec *flags_find(const struct flag_table *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++)
        if (streq(t->specs[i].name, name))
            return &t->specs[i];
    return NULL;
}

static const struct flag_spec *find_shorthand(const struct flag_table *t, char c)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->specs[i].shorthand == c)
            return &t->specs[i];
    return NULL;
}

struct parse {
    const struct flag_table *table;
    struct config *config;
    struct flag_state *states;
    int argc, at; /* the next argument */
    char **argv;
};

static struct error *apply(struct parse *p, const struct flag_spec *spec, const char *value)
{
    struct flag_state *state = &p->states[spec - p->table->specs];
    struct error *e = flag_set(spec, value, p->config);

    if (e != NULL && p->table->single_dash)
        return err_wrap(e, "invalid value \"%s\" for flag -%s", value, spec->name);
    if (e != NULL && spec->shorthand != '\0')
        return err_wrap(e, "invalid argument \"%s\" for \"-%c, --%s\" flag", value, spec->shorthand,
                        spec->name);
    if (e != NULL)
        return err_wrap(e, "invalid argument \"%s\" for \"--%s\" flag", value, spec->name);
    if (!state->changed && (spec->attrs & FLAG_WITHOUT_EFFECT))
        strv_addf(&p->config->without_effect, "--%s", spec->name);
    state->changed = true;
    strv_add(&state->values, value);
    if (spec->attrs & FLAG_DEPRECATED)
        fprintf(stderr, "Flag --%s has been deprecated, %s\n", spec->name, spec->note);
    return NULL;
}

static struct error *parse_long(struct parse *p, const char *arg, const char *body)
{
    const char *equals = strchrnul(body, '=');
    CLEANUP(freep) char *name = xstrndup(body, (size_t)(equals - body));

    if (name[0] == '\0' || name[0] == '-')
        return err_new(ERR_INVALID, "bad flag syntax: %s", arg);
    const struct flag_spec *spec = flags_find(p->table, name);

    if (spec == NULL && p->table->single_dash)
        return err_new(ERR_INVALID, "flag provided but not defined: -%s", name);
    if (spec == NULL)
        return err_new(ERR_INVALID, "unknown flag: --%s", name);
    if (*equals != '\0')
        return apply(p, spec, equals + 1);
    if (spec->kind == FLAG_BOOL)
        return apply(p, spec, "true");
    if (p->at == p->argc)
        return err_new(ERR_INVALID,
                       p->table->single_dash ? "flag needs an argument: %s" : "flag needs an argument: --%s",
                       name);
    return apply(p, spec, p->argv[p->at++]);
}

/* "-Dlinfo": bools in a row, then at most one with a value. */
static struct error *parse_shorthands(struct parse *p, const char *letters)
{
    while (*letters != '\0') {
        const struct flag_spec *spec = find_shorthand(p->table, *letters);

        if (spec == NULL)
            return err_new(ERR_INVALID, "unknown shorthand flag: '%c' in -%s", *letters, letters);
        if (streq(spec->name, "help"))
            fprintf(stderr, "Flag shorthand -h has been deprecated, please use --help\n");
        if (letters[1] == '=' && letters[2] != '\0')
            return apply(p, spec, letters + 2);
        if (spec->kind == FLAG_BOOL) {
            TRY(apply(p, spec, "true"));
            letters++;
            continue;
        }
        if (letters[1] != '\0')
            return apply(p, spec, letters + 1);
        if (p->at == p->argc)
            return err_new(ERR_INVALID, "flag needs an argument: '%c' in -%s", *letters, letters);
        return apply(p, spec, p->argv[p->at++]);
    }
    return NULL;
}

struct error *flag_table_parse(const struct flag_table *t, int argc, char **argv, struct config *c,
                               struct flag_state *states, int *ret_first_positional)
{
    struct parse p = { .table = t, .config = c, .states = states, .argc = argc, .argv = argv, .at = 1 };
    int positional = argc;

    while (p.at < argc) {
        const char *arg = argv[p.at++];

        if (streq(arg, "--")) {
            positional = MIN(positional, p.at);
            break;
        }
        if (arg[0] != '-' || arg[1] == '\0')
            positional = MIN(positional, p.at - 1);
        else if (arg[1] == '-')
            TRY(parse_long(&p, arg, arg + 2));
        else if (t->single_dash && flags_find(t, arg + 1) != NULL)
            TRY(parse_long(&p, arg, arg + 1));
        else if (t->single_dash && arg[2] != '\0')
            TRY(parse_long(&p, arg, arg + 1));
        else
            TRY(parse_shorthands(&p, arg + 1));
    }
    *ret_first_positional = positional;
    return NULL;
}

/* ---- printing ---- */

static bool is_list(enum flag_kind kind)
{
    return kind == FLAG_LIST || kind == FLAG_IP_LIST || kind == FLAG_POOL || kind == FLAG_ULIMIT ||
           kind == FLAG_NRI || kind == FLAG_RUNTIME;
}

static bool is_map(enum flag_kind kind)
{
    return kind == FLAG_MAP || kind == FLAG_SWITCHES || kind == FLAG_MAP_OF_MAPS;
}

/* "base=10.0.0.0/8,size=24" prints as "10.0.0.0/8 24". */
static char *print_pools(const struct strv *values)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };

    for (size_t i = 0; i < values->len; i++) {
        const char *base = strstr(values->v[i], "base="), *size = strstr(values->v[i], "size=");

        buf_addf(&out, "%s%.*s %.*s", i > 0 ? ", " : "", base != NULL ? (int)strcspn(base + 5, ",") : 0,
                 base != NULL ? base + 5 : "", size != NULL ? (int)strcspn(size + 5, ",") : 1,
                 size != NULL ? size + 5 : "0");
    }
    return buf_take(&out);
}

char *flag_print(const struct flag_spec *spec, const struct flag_state *state)
{
    const struct strv *values = &state->values;

    if (values->len == 0)
        return xstrdup(spec->initial);
    if (spec->kind == FLAG_POOL)
        return print_pools(values);
    if (is_list(spec->kind)) {
        CLEANUP(freep) char *all = strv_join(values, " ");

        return xasprintf("[%s]", all);
    }
    if (is_map(spec->kind)) {
        CLEANUP(freep) char *all = strv_join(values, " ");

        for (char *equals = all; (equals = strchr(equals, '=')) != NULL;)
            *equals = ':';
        return xasprintf("map[%s]", all);
    }
    return xstrdup(values->v[values->len - 1]);
}

static const char *type_name(enum flag_kind kind)
{
    static const char *const names[] = {
        [FLAG_BOOL] = "",
        [FLAG_STRING] = "string",
        [FLAG_INT] = "int",
        [FLAG_IP] = "ip",
        [FLAG_BYTES] = "bytes",
        [FLAG_LIST] = "list",
        [FLAG_IP_LIST] = "list",
        [FLAG_MAP] = "map",
        [FLAG_SWITCHES] = "map",
        [FLAG_RUNTIME] = "runtime",
        [FLAG_POOL] = "pool-options",
        [FLAG_ULIMIT] = "ulimit",
        [FLAG_MAP_OF_MAPS] = "mapmap",
        [FLAG_NRI] = "nri-opts",
    };

    return names[kind];
}

/* Text in lines of at most `width`, later ones indented; broken a little early, so that no short word ends up
 * alone. */
static void add_wrapped(struct buf *out, const char *text, size_t indent, size_t width)
{
    static const size_t slack = 5;
    size_t room = width - indent - slack;

    while (strlen(text) >= room + slack) {
        size_t cut = room;

        while (cut > 0 && text[cut - 1] != ' ')
            cut--;
        if (cut == 0)
            break;
        buf_add(out, text, cut - 1);
        buf_addf(out, "\n%*s", (int)indent, "");
        text += cut;
    }
    buf_adds(out, text);
    buf_addc(out, '\n');
}

void flags_usage(const struct flag_table *t, struct buf *out)
{
    size_t widest = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < t->count; i++) {
            const struct flag_spec *f = &t->specs[i];
            const char *type = type_name(f->kind);

            if (f->attrs & (FLAG_HIDDEN | FLAG_DEPRECATED))
                continue;
            bool shown =
                f->shorthand != '\0' && (t->single_dash || f->shorthand != 'h'); /* -h is deprecated */
            char shorthand[4] = { '-', f->shorthand, ',', '\0' };
            CLEANUP(freep)
            char *head =
                xasprintf("  %3s --%s%s%s", shown ? shorthand : "", f->name, *type != '\0' ? " " : "", type);

            widest = MAX(widest, strlen(head));
            if (pass == 0)
                continue;
            const char *quote = f->kind == FLAG_STRING ? "\"" : "";
            CLEANUP(freep)
            char *text = f->initial[0] != '\0'
                             ? xasprintf("%s (default %s%s%s)", f->usage, quote, f->initial, quote)
                             : xstrdup(f->usage);

            buf_addf(out, "%-*s   ", (int)widest, head);
            add_wrapped(out, text, widest + 3, 79);
        }
    }
}
