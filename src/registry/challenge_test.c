/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/challenge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static void one_bearer(void **state)
{
    struct challenge c = { 0 };

    challenge_parse("Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
                    "scope=\"repository:library/x:pull\",error=\"insufficient_scope\"",
                    &c);
    assert_int_equal(c.scheme, CHALLENGE_BEARER);
    assert_string_equal(c.realm, "https://auth.docker.io/token");
    assert_string_equal(c.service, "registry.docker.io");
    assert_string_equal(c.scope, "repository:library/x:pull");
    assert_string_equal(c.error, "insufficient_scope");
    challenge_deinit(&c);
}

static void best_of_several(void **state)
{
    struct challenge c = { 0 };

    challenge_parse("Negotiate, Basic realm=\"a \\\"b\\\"\" , BEARER Realm = x ,service=s", &c);
    assert_int_equal(c.scheme, CHALLENGE_BEARER);
    assert_string_equal(c.realm, "x");
    assert_string_equal(c.service, "s");
    /* a later, weaker one does not replace it */
    challenge_parse("Basic realm=\"z\"", &c);
    assert_string_equal(c.realm, "x");
    challenge_deinit(&c);
}

static void basic_behind_unknown(void **state)
{
    struct challenge c = { 0 };

    challenge_parse("Digest realm=\"d\", nonce=\"n\", Basic realm=\"b\"", &c);
    assert_int_equal(c.scheme, CHALLENGE_BASIC);
    assert_string_equal(c.realm, "b");
    challenge_deinit(&c);
}

static void nonsense(void **state)
{
    static const char *const headers[] = { "",
                                           ",",
                                           "=",
                                           "\"",
                                           "Bearer realm=\"",
                                           "Bearer realm=\"x\\",
                                           "Basic =,=,=\"\"\"",
                                           "\x01\x02\xff",
                                           "Bearer , , ,",
                                           "Foo abc==" };

    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        struct challenge c = { 0 };

        challenge_parse(headers[i], &c);
        challenge_deinit(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_bearer),
        cmocka_unit_test(best_of_several),
        cmocka_unit_test(basic_behind_unknown),
        cmocka_unit_test(nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
