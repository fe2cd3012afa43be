/* SPDX-License-Identifier: Apache-2.0 */
/*
 * builder_json.c - "builder" of daemon.json, and the values that buildkitd.toml writes the same way
 *
 * Go reads these keys in any case, so do we: "gc" and "GC", "reservedSpace" and "ReservedSpace".
 */
#include "base/bytes.h"
#include "daemon/faces.h"

#include <strings.h>

static json_t *get(const json_t *object, const char *name)
{
    const char *key;
    json_t *value, *found = NULL;

    json_object_foreach((json_t *)object, key, value) if (strcasecmp(key, name) == 0 && !json_is_null(value))
        found = value;
    return found;
}

/* The first of several names that is there. */
static json_t *get_either(const json_t *object, const char *name, const char *deprecated)
{
    json_t *value = get(object, name);

    return value != NULL ? value : get(object, deprecated);
}

struct error *config_space_parse(const json_t *value, struct config_space *ret)
{
    static const char units[] = "bkmgtp";
    char *end;

    if (value == NULL)
        return NULL;
    if (json_is_integer(value)) {
        *ret = (struct config_space){ .bytes = json_integer_value(value) };
        return NULL;
    }
    const char *text = json_string_value(value);

    if (text == NULL)
        return err_new(ERR_INVALID, "failed to parse disk space: neither a number nor a string");
    if (text[0] == '\0')
        return NULL;
    double number = strtod(text, &end);

    end += strspn(end, " ");
    if (end != text && streq(end, "%") && number >= 0 && number <= 100) {
        *ret = (struct config_space){ .percent = (int)number };
        return NULL;
    }
    const char *unit = *end != '\0' ? strchr(units, *end | 0x20) : units;
    bool tail_fits =
        *end == '\0' || end[1] == '\0' || strcasecmp(end + 1, "b") == 0 || strcasecmp(end + 1, "ib") == 0;

    if (end != text && number >= 0 && unit != NULL && tail_fits) {
        for (const char *u = units; u < unit; u++)
            number *= 1024; /* "20GB", too: docker's sizes are powers of two */
        if (number < 9.2e18) {
            *ret = (struct config_space){ .bytes = (int64_t)number };
            return NULL;
        }
    }
    return err_new(ERR_INVALID, "failed to parse disk space \"%s\": invalid size", text);
}

struct error *config_duration_parse(const json_t *value, int64_t *ret_ns)
{
    int64_t number;

    if (value == NULL)
        return NULL;
    if (json_is_integer(value)) {
        if (__builtin_mul_overflow((int64_t)json_integer_value(value), NS_PER_SEC, ret_ns))
            return err_new(ERR_INVALID, "duration out of range");
        return NULL;
    }
    const char *text = json_string_value(value);

    if (text == NULL)
        return err_new(ERR_INVALID, "duration is neither a number nor a string");
    if (parse_i64(text, &number) == 0 && !__builtin_mul_overflow(number, NS_PER_SEC, ret_ns))
        return NULL;
    if (parse_duration(text, ret_ns) < 0)
        return err_new(ERR_INVALID, "time: invalid duration \"%s\"", text);
    return NULL;
}

struct config_gc_rule *config_gc_add(struct config_gc *gc)
{
    gc->rules = xreallocarray(gc->rules, gc->rule_count + 1, sizeof(*gc->rules));
    gc->rules[gc->rule_count] = (struct config_gc_rule){ 0 };
    return &gc->rules[gc->rule_count++];
}

/* "filter": ["type=source.local", "unused-for=48h"]; the latter is a keep duration. */
static struct error *add_filter(const char *text, struct config_gc_rule *rule)
{
    const char *unused_for = str_skip_prefix(text, "unused-for=");

    if (unused_for == NULL) {
        const char *equals = strchr(text, '=');

        if (equals != NULL && equals[1] != '=' && equals > text && equals[-1] != '!' && equals[-1] != '~')
            strv_addf(&rule->filters, "%.*s==%s", (int)(equals - text), text, equals + 1);
        else
            strv_add(&rule->filters, text);
        return NULL;
    }
    if (parse_duration(unused_for, &rule->keep_ns) < 0)
        return err_new(ERR_INVALID, "failed to parse unused-for filter: time: invalid duration \"%s\"",
                       unused_for);
    return NULL;
}

static struct error *apply_rule(const json_t *object, struct config_gc *gc)
{
    struct config_gc_rule *rule = config_gc_add(gc);
    json_t *filters = get(object, "Filter"), *item;
    size_t i;

    rule->all = json_is_true(get(object, "All"));
    json_array_foreach(filters, i, item) if (json_is_string(item))
        TRY(add_filter(json_string_value(item), rule));
    TRY(config_space_parse(get_either(object, "ReservedSpace", "KeepStorage"), &rule->reserved));
    TRY(config_space_parse(get(object, "MaxUsedSpace"), &rule->max_used));
    return config_space_parse(get(object, "MinFreeSpace"), &rule->min_free);
}

static struct error *apply_gc(const json_t *object, struct config_gc *gc)
{
    json_t *enabled = get(object, "Enabled"), *item;
    size_t i;

    gc->enabled = enabled == NULL || json_is_true(enabled);
    TRY(config_space_parse(get_either(object, "DefaultReservedSpace", "DefaultKeepStorage"), &gc->reserved));
    TRY(config_space_parse(get(object, "DefaultMaxUsedSpace"), &gc->max_used));
    TRY(config_space_parse(get(object, "DefaultMinFreeSpace"), &gc->min_free));
    json_array_foreach(get(object, "Policy"), i, item) TRY(apply_rule(item, gc));
    return NULL;
}

/* Say yes or no to one entitlement: the default stands where nothing is said. */
static void apply_entitlement(const json_t *object, const char *key, const char *name,
                              struct strv *entitlements)
{
    const json_t *value = get(object, key);

    if (!json_is_boolean(value))
        return;
    for (size_t i = entitlements->len; i > 0; i--)
        if (streq(entitlements->v[i - 1], name))
            strv_remove(entitlements, i - 1);
    if (json_is_true(value))
        strv_add(entitlements, name);
}

static struct error *apply_history(const json_t *object, struct config *c)
{
    const json_t *entries = get(object, "MaxEntries");

    if (entries != NULL && (!json_is_integer(entries) || json_integer_value(entries) < 0))
        return err_new(ERR_INVALID, "builder.history.maxEntries must be a number of at least 0");
    c->history_max_entries =
        entries != NULL ? json_integer_value(entries) : 1; /* no floor: age alone decides */
    return config_duration_parse(get(object, "MaxAge"), &c->history_max_age_ns);
}

struct error *builder_json_apply(json_t *builder, struct config *c)
{
    const json_t *gc = get(builder, "GC"), *entitlements = get(builder, "Entitlements"),
                 *history = get(builder, "History"), *policy = get(builder, "SourcePolicy");

    if (!json_is_object(builder))
        return err_new(ERR_INVALID, "invalid JSON: json: cannot unmarshal the value of \"builder\" into Go "
                                    "struct field Config.builder of type config.BuilderConfig");
    if (json_is_object(gc))
        TRY(err_wrap(apply_gc(gc, &c->gc), "builder.gc"));
    if (json_is_object(entitlements)) {
        apply_entitlement(entitlements, "network-host", "network.host", &c->entitlements);
        apply_entitlement(entitlements, "security-insecure", "security.insecure", &c->entitlements);
        apply_entitlement(entitlements, "device", "device", &c->entitlements);
    }
    if (json_is_object(history))
        TRY(err_wrap(apply_history(history, c), "builder.history"));
    if (policy != NULL) {
        if (!json_is_string(policy))
            return err_new(ERR_INVALID, "builder.sourcePolicy must be the path of a file");
        free(c->source_policy);
        c->source_policy = xstrdup(json_string_value(policy));
    }
    return NULL;
}
