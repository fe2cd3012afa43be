/* SPDX-License-Identifier: Apache-2.0 */
#include "llb/policy.h"

#include "llb/state.h"

#include <setjmp.h>

#include <cmocka.h>

#define BUSYBOX "docker-image://docker.io/library/busybox:latest"
#define ALPINE "docker-image://docker.io/library/alpine:latest"

struct rule {
    Pol__Action action;
    const char *selector;
    Pol__MatchType match;
    const char *update;                        /* NULL: none */
    const char *attr, *value;                  /* of the update */
    const char *constraint, *constraint_value; /* NULL: none */
    Pol__AttrMatch condition;
};

static Pol__Policy *policy(struct pb_arena *a, const struct rule *rules, size_t n)
{
    Pol__Policy *p = PB_NEW(a, pol__policy);

    p->rules = pb_array(a, n);
    for (size_t i = 0; i < n; i++) {
        Pol__Rule *r = p->rules[p->n_rules++] = PB_NEW(a, pol__rule);

        r->action = rules[i].action;
        r->selector = PB_NEW(a, pol__selector);
        r->selector->identifier = pb_str(a, rules[i].selector);
        r->selector->match_type = rules[i].match;
        if (rules[i].constraint != NULL) {
            Pol__AttrConstraint *c = PB_NEW(a, pol__attr_constraint);

            r->selector->constraints = pb_array(a, r->selector->n_constraints = 1);
            r->selector->constraints[0] = c;
            c->key = pb_str(a, rules[i].constraint);
            c->value = pb_str(a, rules[i].constraint_value);
            c->condition = rules[i].condition;
        }
        if (rules[i].update == NULL)
            continue;
        r->updates = PB_NEW(a, pol__update);
        r->updates->identifier = pb_str(a, rules[i].update);
        if (rules[i].attr != NULL) {
            r->updates->attrs = pb_array(a, r->updates->n_attrs = 1);
            r->updates->attrs[0] = PB_NEW(a, kv__str);
            r->updates->attrs[0]->key = pb_str(a, rules[i].attr);
            r->updates->attrs[0]->value = pb_str(a, rules[i].value);
        }
    }
    return p;
}

/* What becomes of a source with the attribute k=v: its identifier, or the error's text. */
static void evaluate(const struct rule *rules, size_t n, const char *from, const char *expected)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(err_freep) struct error *e = NULL;
    const Pol__Policy *p = policy(&a, rules, n);
    Pb__SourceOp *op = PB_NEW(&a, pb__source_op);
    bool changed = false;

    op->identifier = pb_str(&a, from);
    op->attrs = pb_array(&a, op->n_attrs = 1);
    op->attrs[0] = PB_NEW(&a, kv__str);
    op->attrs[0]->key = pb_str(&a, "k");
    op->attrs[0]->value = pb_str(&a, "v");
    assert_null(policy_check(p));
    e = policy_evaluate(&p, 1, &a, op, &changed);
    assert_string_equal(e != NULL ? e->message : op->identifier, expected);
    if (e == NULL)
        assert_int_equal(changed, !streq(from, expected));
}

static void test_decisions(void **state)
{
#define DENIED(id) "source \"" id "\" denied by policy: source denied by policy"
    const struct rule deny_all[] = { { POL__ACTION__DENY, "docker-image://*", 0 } };
    const struct rule allow_last[] = { { POL__ACTION__DENY, "*", 0 }, { POL__ACTION__ALLOW, BUSYBOX, 0 } };
    const struct rule exact[] = { { POL__ACTION__DENY, "docker-image://*", POL__MATCH_TYPE__EXACT } };
    const struct rule dots[] = { { POL__ACTION__DENY, "docker-image://docker.io/library/busybox.latest",
                                   0 } };
    const struct rule both[] = { { POL__ACTION__DENY, "a**b", 0 } };
    const struct rule equal[] = { { POL__ACTION__DENY, "*", 0, .constraint = "k", .constraint_value = "v" } };
    const struct rule other[] = { { POL__ACTION__DENY, "*", 0, .constraint = "k", .constraint_value = "w" } };
    const struct rule unlike[] = { { POL__ACTION__DENY, "*", 0, .constraint = "none", .constraint_value = "w",
                                     .condition = POL__ATTR_MATCH__NOTEQUAL } };
    const struct rule like[] = { { POL__ACTION__DENY, "*", 0, .constraint = "k",
                                   .constraint_value = "^[u-w]$", .condition = POL__ATTR_MATCH__MATCHES } };
    const struct rule broken[] = { { POL__ACTION__DENY, "(", POL__MATCH_TYPE__REGEX } };

    evaluate(deny_all, 1, BUSYBOX, DENIED(BUSYBOX));
    evaluate(deny_all, 1, "https://x/y", "https://x/y");
    evaluate(allow_last, 2, BUSYBOX, BUSYBOX);
    evaluate(allow_last, 2, ALPINE, DENIED(ALPINE));
    evaluate(exact, 1, BUSYBOX, BUSYBOX);
    evaluate(exact, 1, "docker-image://*", DENIED("docker-image://*"));
    evaluate(dots, 1, BUSYBOX, BUSYBOX);
    evaluate(
        both, 1, "x",
        "error matching source policy: failed to translate wildcard \"a**b\" to regexp: invalid wildcard: "
        "\"**\"");
    evaluate(equal, 1, "x", DENIED("x"));
    evaluate(other, 1, "x", "x");
    evaluate(unlike, 1, "x", DENIED("x"));
    evaluate(like, 1, "x", DENIED("x"));
    evaluate(broken, 1, "x", "error matching source policy: error parsing regexp: `(`");
}

static void test_conversions(void **state)
{
    const struct rule wildcard[] = { { POL__ACTION__CONVERT, "docker-image://docker.io/library/*:*", 0,
                                       "docker-image://mirror/${1}:${2}-x" } };
    const struct rule regex[] = { { POL__ACTION__CONVERT, "docker\\-image://docker\\.io/library/golang:(.*)",
                                    POL__MATCH_TYPE__REGEX, "docker-image://mirror/golang:$1" } };
    const struct rule exact[] = { { POL__ACTION__CONVERT, BUSYBOX, POL__MATCH_TYPE__EXACT, ALPINE } };
    const struct rule attrs[] = { { POL__ACTION__CONVERT, "https://x/y", 0, "", "http.checksum",
                                    "sha256:00" } };
    const struct rule loop[] = { { POL__ACTION__CONVERT, BUSYBOX, 0, ALPINE },
                                 { POL__ACTION__CONVERT, ALPINE, 0, BUSYBOX } };
    const struct rule then_denied[] = { { POL__ACTION__DENY, "docker-image://docker.io/library/alpine:*", 0 },
                                        { POL__ACTION__CONVERT, BUSYBOX, 0, ALPINE } };
    const struct rule no_update[] = { { POL__ACTION__CONVERT, BUSYBOX, 0 } };

    evaluate(wildcard, 1, BUSYBOX, "docker-image://mirror/busybox:latest-x");
    evaluate(regex, 1, "docker-image://docker.io/library/golang:1.19", "docker-image://mirror/golang:1.19");
    evaluate(exact, 1, BUSYBOX, ALPINE);
    evaluate(loop, 2, BUSYBOX, "too many mutations on a single source: too many operations");
    evaluate(then_denied, 2, BUSYBOX, DENIED(ALPINE));
    evaluate(no_update, 1, BUSYBOX, "error mutating source policy: missing destination for convert rule");

    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    const Pol__Policy *p = policy(&a, attrs, 1);
    Pb__SourceOp *op = PB_NEW(&a, pb__source_op);
    bool changed = false;

    op->identifier = pb_str(&a, "https://x/y");
    assert_null(policy_evaluate(&p, 1, &a, op, &changed));
    assert_true(changed);
    assert_string_equal(pb_get_str(op->attrs, op->n_attrs, "http.checksum"), "sha256:00");
}

static struct error *to_alpine(void *ctx, struct pb_arena *a, Pb__Op *op, bool *ret_changed)
{
    if (strstr(op->source->identifier, "busybox") != NULL) {
        op->source->identifier = pb_str(a, ALPINE);
        *ret_changed = true;
    }
    return NULL;
}

/* Ops are not compared byte for byte: Go writes the fields of a oneof last. */
static void test_definition(void **state)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL, *other = NULL;
    CLEANUP(llb_graph_freep) struct llb_graph *g = NULL;
    const struct llb_options named = { .custom_name = "make x" };

    for (int i = 0; i < 2; i++) {
        struct llb_state s = llb_image(b, i == 0 ? "debian" : "busybox", LLB_RESOLVE_DEFAULT, NULL);

        llb_def_unref(def);
        llb_def_unref(other);
        def = other = NULL;
        s = llb_file(b, s, llb_mkfile(b, NULL, "/x", 0644, "x", 1), &named);
        assert_null(llb_marshal(b, s, NULL, &def));
        assert_null(llb_def_convert(def, to_alpine, NULL, i == 1, &other));
        assert_int_equal(other == def, i == 0);
    }
    assert_int_equal(other->op_count, def->op_count);
    assert_null(llb_load(other, &g));
    assert_int_equal(g->vertex_count, 2);
    assert_string_equal(g->vertices[0].name, ALPINE);
    assert_string_equal(g->vertices[1].name, "make x");
}

static void test_names(void **state)
{
    static const char *const names[][2] = {
        { "ADD https://u:p@h/x /y", "ADD https://h/x /y" },
        { "ADD git@h:x ssh://git@h/y", "ADD git@h:x ssh://git@h/y" },
        { "a://b:c@d@e/ f://:g@h", "a://e/ f://h" },
        { "http://h:80/a@b:c", "http://h:80/a@b:c" },
        { "x://", "x://" },
    };
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
        CLEANUP(llb_graph_freep) struct llb_graph *g = NULL;

        assert_null(llb_marshal(
            b, llb_image(b, "x", LLB_RESOLVE_DEFAULT, &(struct llb_options){ .custom_name = names[i][0] }),
            NULL, &def));
        assert_null(llb_load(def, &g));
        assert_string_equal(g->vertices[0].name, names[i][1]);
    }
}

static void json(const char *text, const char *expected)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Pol__Policy *p = NULL;
    struct error *e = policy_from_json(text, strlen(text), &a, &p);

    assert_string_equal(e == NULL ? "" : e->message, expected);
    err_free(e);
}

static void test_json(void **state)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    const char *text =
        "{\"version\":1,\"rules\":[{\"action\":\"CONVERT\",\"selector\":{\"identifier\":\"docker-image://*\","
        "\"match_type\":\"REGEX\",\"constraints\":[{\"key\":\"k\",\"value\":\"v\",\"condition\":\"MATCHES\"}]"
        "},"
        "\"updates\":{\"identifier\":\"new\",\"attrs\":{\"a\":\"b\"}}},"
        "{\"action\":1,\"selector\":{\"matchType\":\"EXACT\"}}]}";
    Pol__Policy *p = NULL;

    assert_null(policy_from_json(text, strlen(text), &a, &p));
    assert_int_equal(p->n_rules, 2);
    assert_int_equal(p->rules[0]->action, POL__ACTION__CONVERT);
    assert_int_equal(p->rules[0]->selector->match_type, POL__MATCH_TYPE__REGEX);
    assert_int_equal(p->rules[0]->selector->constraints[0]->condition, POL__ATTR_MATCH__MATCHES);
    assert_string_equal(p->rules[0]->updates->attrs[0]->value, "b");
    assert_int_equal(p->rules[1]->action, POL__ACTION__DENY);
    assert_int_equal(p->rules[1]->selector->match_type, POL__MATCH_TYPE__EXACT);
    json("{}", "");
    json("[]", "policy is not an object");
    json("{\"rules\":[{\"action\":\"DENIED\",\"selector\":{}}]}",
         "rule 1: action: none of ALLOW, DENY, CONVERT");
    json("{\"rules\":[{\"selector\":{}},{\"selector\":{\"name\":\"x\"}}]}",
         "rule 2: selector: unknown key \"name\"");
    json("{\"rules\":[{\"action\":\"DENY\"}]}", "invalid nil selector in policy");
    json("{\"rules\":[{\"selector\":{\"match_type\":\"EXACT\",\"matchType\":\"REGEX\"}}]}",
         "rule 1: selector: \"matchType\" and \"match_type\" are one key");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decisions),  cmocka_unit_test(test_conversions),
        cmocka_unit_test(test_definition), cmocka_unit_test(test_names),
        cmocka_unit_test(test_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
