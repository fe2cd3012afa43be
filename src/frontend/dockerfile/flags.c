/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/flags.h"

#include "base/rune.h"
#include "frontend/dockerfile/suggest.h"

#define MAX_FLAGS 16

static struct error *unknown_flag(const char *name, const struct flag *flags, size_t count)
{
    const char *names[MAX_FLAGS];

    assert(count <= MAX_FLAGS);
    for (size_t i = 0; i < count; i++)
        names[i] = flags[i].name;
    return suggest_wrap(err_new(ERR_INVALID, "unknown flag: --%s", name), name, names, count, true, NULL);
}

static struct error *missing_value(const struct flag *f)
{
    return err_new(ERR_INVALID, "missing a value on flag: --%s", f->name);
}

static struct error *set_flag(struct arena *mem, struct flag *f, const char *value)
{
    if (f->used && f->type != FLAG_STRINGS)
        return err_new(ERR_INVALID, "duplicate flag specified: --%s", f->name);
    f->used = true;
    if (f->type == FLAG_BOOL) {
        if (value != NULL && *value == '\0')
            return missing_value(f);
        f->on = value == NULL || str_equal_fold(value, "true");
        if (!f->on && !str_equal_fold(value, "false"))
            return err_new(ERR_INVALID, "expecting boolean value for flag --%s, not: %s", f->name, value);
        return NULL;
    }
    if (value == NULL)
        return missing_value(f);
    if (f->type == FLAG_STRINGS)
        arena_strv_add(mem, f->list, value);
    else
        f->value = value;
    return NULL;
}

struct error *flags_parse(struct arena *mem, const struct strv *args, struct flag *flags, size_t count)
{
    for (size_t i = 0; i < count; i++)
        flags[i].value = "";
    for (size_t i = 0; i < args->len; i++) {
        const char *arg = args->v[i];
        if (!str_has_prefix(arg, "--"))
            return err_new(ERR_INVALID, "arg should start with -- : %s", arg);
        const char *eq = strchr(arg, '=');
        const char *name = eq != NULL ? arena_strn(mem, arg + 2, (size_t)(eq - arg - 2)) : arg + 2;
        size_t k = 0;
        while (k < count && !streq(flags[k].name, name))
            k++;
        if (k == count)
            return unknown_flag(name, flags, count);
        TRY(set_flag(mem, &flags[k], eq != NULL ? eq + 1 : NULL));
    }
    return NULL;
}
