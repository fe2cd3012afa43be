/* SPDX-License-Identifier: Apache-2.0 */
/* flags.c - a command line by its table */
#include "daemon/flags.h"

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
