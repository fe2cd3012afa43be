/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_json.c - a source policy as a file: the JSON that buildctl and buildx read
 *
 * Strict, for a rule that is not understood would not hold: an unknown key or word is an error.
 */
#include "base/bytes.h"
#include "llb/policy.h"
#include "oci/image.h"

/* Does the object have these keys only? */
static struct error *check_keys(const json_t *object, const char *where, const char *const *known,
                                size_t count)
{
    const char *key;
    json_t *value;

    if (!json_is_object(object))
        return err_new(ERR_INVALID, "%s is not an object", where);
    json_object_foreach((json_t *)object, key, value)
    {
        size_t i = 0;

        while (i < count && !streq(known[i], key))
            i++;
        if (i == count)
            return err_new(ERR_INVALID, "%s: unknown key \"%s\"", where, key);
    }
    return NULL;
}
#define CHECK_KEYS(object, where, ...)                                                                       \
    check_keys(object, where, (const char *const[]){ __VA_ARGS__ },                                          \
               sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

static struct error *take_text(const json_t *object, const char *where, const char *key, struct pb_arena *a,
                               char **ret)
{
    const json_t *value = json_object_get(object, key);

    if (value == NULL)
        return NULL;
    if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
        return err_new(ERR_INVALID, "%s: \"%s\" is not text", where, key);
    *ret = pb_str(a, json_string_value(value));
    return NULL;
}

/* A word of `names`, or its number; absent: the first. */
static struct error *take_word(const json_t *value, const char *where, const char *const *names, size_t count,
                               int *ret)
{
    *ret = 0;
    if (value == NULL)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        if (json_is_string(value) ? streq(json_string_value(value), names[i])
                                  : json_is_integer(value) && json_integer_value(value) == (json_int_t)i) {
            *ret = (int)i;
            return NULL;
        }
    }
    return err_new(ERR_INVALID, "%s: none of %s, %s, %s", where, names[0], names[1], names[2]);
}

static struct error *take_constraint(const json_t *j, struct pb_arena *a, Pol__AttrConstraint *c)
{
    static const char *const names[] = { "EQUAL", "NOTEQUAL", "MATCHES" };
    int word;

    TRY(CHECK_KEYS(j, "constraint", "key", "value", "condition"));
    TRY(take_text(j, "constraint", "key", a, &c->key));
    TRY(take_text(j, "constraint", "value", a, &c->value));
    TRY(take_word(json_object_get(j, "condition"), "condition", names, ARRAY_LEN(names), &word));
    c->condition = (Pol__AttrMatch)word;
    return NULL;
}

static struct error *take_selector(const json_t *j, struct pb_arena *a, Pol__Selector *s)
{
    static const char *const names[] = { "WILDCARD", "EXACT", "REGEX" };
    const json_t *match = json_object_get(j, "matchType"), *other = json_object_get(j, "match_type");
    const json_t *list = json_object_get(j, "constraints");
    int word;

    TRY(CHECK_KEYS(j, "selector", "identifier", "matchType", "match_type", "constraints"));
    if (match != NULL && other != NULL)
        return err_new(ERR_INVALID, "selector: \"matchType\" and \"match_type\" are one key");
    TRY(take_text(j, "selector", "identifier", a, &s->identifier));
    TRY(take_word(match != NULL ? match : other, "match_type", names, ARRAY_LEN(names), &word));
    s->match_type = (Pol__MatchType)word;
    if (list != NULL && !json_is_array(list))
        return err_new(ERR_INVALID, "selector: \"constraints\" is not a list");
    s->constraints = pb_array(a, json_array_size(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        s->constraints[s->n_constraints] = PB_NEW(a, pol__attr_constraint);
        TRY(take_constraint(json_array_get(list, i), a, s->constraints[s->n_constraints++]));
    }
    return NULL;
}

static struct error *take_update(const json_t *j, struct pb_arena *a, Pol__Update *u)
{
    json_t *attrs = json_object_get(j, "attrs"), *value;
    const char *key;

    TRY(CHECK_KEYS(j, "updates", "identifier", "attrs"));
    TRY(take_text(j, "updates", "identifier", a, &u->identifier));
    if (attrs != NULL && !json_is_object(attrs))
        return err_new(ERR_INVALID, "updates: \"attrs\" is not an object");
    u->attrs = pb_array(a, json_object_size(attrs));
    json_object_foreach(attrs, key, value)
    {
        Kv__Str *kv = u->attrs[u->n_attrs++] = PB_NEW(a, kv__str);

        kv->key = pb_str(a, key);
        TRY(take_text(attrs, "attrs", key, a, &kv->value));
    }
    return NULL;
}

static struct error *take_rule(const json_t *j, struct pb_arena *a, Pol__Rule *r)
{
    static const char *const names[] = { "ALLOW", "DENY", "CONVERT" };
    const json_t *selector = json_object_get(j, "selector"), *updates = json_object_get(j, "updates");
    int word;

    TRY(CHECK_KEYS(j, "rule", "action", "selector", "updates"));
    TRY(take_word(json_object_get(j, "action"), "action", names, ARRAY_LEN(names), &word));
    r->action = (Pol__Action)word;
    if (selector != NULL)
        TRY(take_selector(selector, a, r->selector = PB_NEW(a, pol__selector)));
    if (updates != NULL)
        TRY(take_update(updates, a, r->updates = PB_NEW(a, pol__update)));
    return NULL;
}

static struct error *take_policy(const json_t *j, struct pb_arena *a, Pol__Policy *p)
{
    const json_t *rules = json_object_get(j, "rules"), *version = json_object_get(j, "version");

    TRY(CHECK_KEYS(j, "policy", "version", "rules"));
    if (version != NULL && (!json_is_integer(version) || json_integer_value(version) < 0))
        return err_new(ERR_INVALID, "policy: \"version\" is not a number");
    p->version = json_integer_value(version);
    if (rules != NULL && !json_is_array(rules))
        return err_new(ERR_INVALID, "policy: \"rules\" is not a list");
    p->rules = pb_array(a, json_array_size(rules));
    for (size_t i = 0; i < json_array_size(rules); i++) {
        p->rules[p->n_rules] = PB_NEW(a, pol__rule);
        TRY(err_wrap(take_rule(json_array_get(rules, i), a, p->rules[p->n_rules++]), "rule %zu", i + 1));
    }
    return policy_check(p);
}

struct error *policy_from_json(const void *data, size_t len, struct pb_arena *a, Pol__Policy **ret)
{
    Pol__Policy *p = PB_NEW(a, pol__policy);
    struct error *e;
    json_t *j;

    TRY(json_parse(data, len, "source policy", &j));
    e = take_policy(j, a, p);
    json_decref(j);
    if (e == NULL)
        *ret = p;
    return e;
}
