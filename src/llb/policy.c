/* SPDX-License-Identifier: Apache-2.0 */
#include "llb/policy.h"

#include "base/limits.h"
#include "base/regex.h"

#include <errno.h>

/* A selector as a regular expression; wildcards are translated as BuildKit does. */
struct selector {
    const Pol__Selector *pol;
    struct regex *re; /* NULL: exact */
};

static void selector_deinit(struct selector *s)
{
    regex_free(s->re);
}

struct error *policy_check(const Pol__Policy *p)
{
    for (size_t i = 0; i < p->n_rules; i++) {
        if (p->rules[i]->selector == NULL)
            return err_new(ERR_INVALID, "invalid nil selector in policy");
    }
    return NULL;
}

/* ---- matching
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *compile(const char *pattern, struct regex **ret)
{
    if (regex_compile(pattern, strlen(pattern), ret) < 0)
        return err_new(ERR_UNKNOWN, "error parsing regexp: `%s`", pattern);
    return NULL;
}

/* "*" takes anything: ^..(.*)..$ */
static struct error *compile_wildcard(const char *wildcard, struct regex **ret)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };

    if (strstr(wildcard, "**") != NULL)
        return err_new(ERR_UNKNOWN, "failed to translate wildcard \"%s\" to regexp: invalid wildcard: \"**\"",
                       wildcard);
    buf_addc(&b, '^');
    for (const char *p = wildcard; *p != '\0'; p++) {
        if (*p == '*') {
            buf_adds(&b, "(.*)");
            continue;
        }
        if (strchr("\\.+?()|[]{}^$", *p) != NULL)
            buf_addc(&b, '\\');
        buf_addc(&b, *p);
    }
    buf_addc(&b, '$');
    return compile(buf_str(&b), ret);
}

static struct error *selector_init(struct selector *s, const Pol__Selector *pol)
{
    *s = (struct selector){ .pol = pol };
    switch (pol->match_type) {
    case POL__MATCH_TYPE__EXACT:
        return NULL;
    case POL__MATCH_TYPE__WILDCARD:
        return compile_wildcard(pol->identifier, &s->re);
    case POL__MATCH_TYPE__REGEX:
        return compile(pol->identifier, &s->re);
    default:
        return err_new(ERR_UNKNOWN, "unknown match type: %d", (int)pol->match_type);
    }
}

static struct error *constraint_holds(const Pol__AttrConstraint *c, const Pb__SourceOp *op, bool *ret)
{
    const char *value = pb_get_str(op->attrs, op->n_attrs, c->key);
    struct regex *re;

    value = value == NULL ? "" : value;
    switch (c->condition) {
    case POL__ATTR_MATCH__EQUAL:
        *ret = streq(value, c->value);
        return NULL;
    case POL__ATTR_MATCH__NOTEQUAL:
        *ret = !streq(value, c->value);
        return NULL;
    case POL__ATTR_MATCH__MATCHES:
        if (regex_compile(c->value, strlen(c->value), &re) < 0)
            return err_new(ERR_UNKNOWN, "invalid regex \"%s\"", c->value);
        *ret = regex_matches(re, value, strlen(value));
        regex_free(re);
        return NULL;
    default:
        return err_new(ERR_UNKNOWN, "unknown attr condition: %d", (int)c->condition);
    }
}

static struct error *matches(const struct selector *s, const Pb__SourceOp *op, bool *ret)
{
    *ret = true;
    for (size_t i = 0; *ret && i < s->pol->n_constraints; i++)
        TRY(constraint_holds(s->pol->constraints[i], op, ret));
    if (*ret && !streq(s->pol->identifier, op->identifier))
        *ret = s->re != NULL && regex_matches(s->re, op->identifier, strlen(op->identifier));
    return NULL;
}

/* ---- converting
 * ----------------------------------------------------------------------------------------------------------
 */

/* What the update says, with the parts that the selector took from the identifier. */
static struct error *format_identifier(const struct selector *s, const char *from, const char *format,
                                       struct pb_arena *a, char **ret)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };

    if (s->re == NULL) {
        *ret = pb_str(a, format);
        return NULL;
    }
    if (s->pol->match_type == POL__MATCH_TYPE__WILDCARD && !regex_matches(s->re, from, strlen(from))) {
        *ret = pb_str(a, from); /* equal to the selector, yet not matched by it */
        return NULL;
    }
    if (regex_replace_all(s->re, from, strlen(from), format, LIMIT_POLICY_IDENTIFIER, &b) < 0)
        return err_new(ERR_UNKNOWN, "error formatting destination: longer than %zu bytes",
                       LIMIT_POLICY_IDENTIFIER);
    *ret = pb_str(a, buf_str(&b));
    return NULL;
}

static bool set_attr(struct pb_arena *a, Pb__SourceOp *op, const Kv__Str *from)
{
    Kv__Str **longer, *kv;

    for (size_t i = 0; i < op->n_attrs; i++) {
        if (!streq(op->attrs[i]->key, from->key))
            continue;
        if (streq(op->attrs[i]->value, from->value))
            return false;
        op->attrs[i]->value = pb_str(a, from->value);
        return true;
    }
    if (*from->value == '\0')
        return false; /* as absent as before */
    longer = pb_array(a, op->n_attrs + 1);
    if (op->n_attrs > 0)
        memcpy(longer, op->attrs, op->n_attrs * sizeof(*longer));
    longer[op->n_attrs] = kv = PB_NEW(a, kv__str);
    kv->key = pb_str(a, from->key);
    kv->value = pb_str(a, from->value);
    op->attrs = longer;
    op->n_attrs++;
    return true;
}

static struct error *convert(const struct selector *s, const Pol__Rule *rule, struct pb_arena *a,
                             Pb__SourceOp *op, bool *ret_changed)
{
    const char *format;
    char *to = NULL;

    if (rule->updates == NULL)
        return err_new(ERR_UNKNOWN, "missing destination for convert rule");
    format = *rule->updates->identifier != '\0' ? rule->updates->identifier : s->pol->identifier;
    TRY(format_identifier(s, op->identifier, format, a, &to));
    if (*to != '\0' && !streq(to, op->identifier)) {
        op->identifier = to;
        *ret_changed = true;
    }
    for (size_t i = 0; i < rule->updates->n_attrs; i++)
        *ret_changed |= set_attr(a, op, rule->updates->attrs[i]);
    return NULL;
}

/* ---- evaluating
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *apply_rule(const Pol__Rule *rule, struct pb_arena *a, Pb__SourceOp *op, bool *deny,
                                bool *ret_changed)
{
    CLEANUP(selector_deinit) struct selector s = { 0 };
    struct error *e = selector_init(&s, rule->selector);
    bool matched = false;

    if (e == NULL)
        e = matches(&s, op, &matched);
    if (e != NULL)
        return err_wrap(e, "error matching source policy");
    if (!matched)
        return NULL;
    switch (rule->action) {
    case POL__ACTION__ALLOW:
        *deny = false;
        return NULL;
    case POL__ACTION__DENY:
        *deny = true;
        return NULL;
    case POL__ACTION__CONVERT:
        return err_wrap(convert(&s, rule, a, op, ret_changed), "error mutating source policy");
    default:
        return err_new(ERR_UNKNOWN, "source policy: rule %d %s: unknown type \"%s\"", (int)rule->action,
                       rule->selector->identifier, op->identifier);
    }
}

static struct error *apply_policy(const Pol__Policy *p, struct pb_arena *a, Pb__SourceOp *op,
                                  bool *ret_changed)
{
    bool deny = false;

    for (size_t i = 0; i < p->n_rules; i++) {
        TRY(apply_rule(p->rules[i], a, op, &deny, ret_changed));
        if (*ret_changed)
            return NULL;
    }
    if (deny)
        return err_new(ERR_UNKNOWN, "source \"%s\" denied by policy: source denied by policy",
                       op->identifier);
    return NULL;
}

struct error *policy_evaluate(const Pol__Policy *const *policies, size_t count, struct pb_arena *a,
                              Pb__SourceOp *op, bool *ret_changed)
{
    for (int round = 0;; round++) {
        bool changed = false;

        if (round > LIMIT_POLICY_MUTATIONS)
            return err_new(ERR_UNKNOWN, "too many mutations on a single source: too many operations");
        for (size_t i = 0; i < count && !changed; i++)
            TRY(apply_policy(policies[i], a, op, &changed));
        if (!changed)
            return NULL;
        *ret_changed = true;
    }
}
