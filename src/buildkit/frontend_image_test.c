/* SPDX-License-Identifier: Apache-2.0 */
/* Which images may be frontends. */
#include "buildkit/builder.h"
#include "buildkit/frontend_image.h"

#include <setjmp.h>

#include <cmocka.h>

/* `allowed`: repositories, with commas; "": any. */
static void expect(const char *allowed, const char *source, const char *message)
{
    struct builder_config c = { 0 };

    if (allowed[0] != '\0')
        strv_split(&c.frontend_repositories, allowed, ',');
    struct error *e = frontend_check_source(&c, source);

    if (message == NULL && e != NULL)
        fail_msg("%s by %s: %s", source, allowed, e->message);
    if (message != NULL && e == NULL)
        fail_msg("%s by %s: allowed", source, allowed);
    if (message != NULL)
        assert_non_null(strstr(e->message, message));
    err_free(e);
    strv_deinit(&c.frontend_repositories);
}

#define REFUSED "is not an allowed gateway source"

static void repositories_are_compared_in_full(void **state)
{
    expect("", "anything/at:all", NULL);
    expect("docker.io/a/b", "a/b", NULL);
    expect("docker.io/a/b", "a/b:tag", NULL);
    expect("docker.io/a/b",
           "docker.io/a/b@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", NULL);
    expect("b", "docker.io/library/b", NULL);
    expect("x/y,a/b", "a/b", NULL);
    expect("docker.io/a/b", "a/bc", REFUSED);
    expect("docker.io/a/b", "a/b/c", REFUSED);
    expect("docker.io/a/b", "example.com/a/b", REFUSED);
    expect("docker.io/a/b", "b", REFUSED);
    expect("example.com/a", "example.com:5000/a", REFUSED);
    expect("docker.io/a/b", "dockerfile.v0", NULL); /* no image */
}

static void nonsense_is_refused(void **state)
{
    expect("docker.io/a/b", "A/B", "");
    expect("docker.io/a/b", "", "");
    expect("docker.io/a/b", "a/b:", "");
    expect("Not A Name", "a/b", ""); /* a list that cannot be read allows nothing */
}

static void no_gateway_no_image(void **state)
{
    struct builder_config c = { .no_gateway_frontend = true };
    struct error *e = frontend_check_source(&c, "a/b");

    assert_true(err_is(e, ERR_NOT_FOUND));
    assert_string_equal(e->message, "invalid frontend: gateway.v0");
    err_free(e);
    assert_null(frontend_check_source(&c, "dockerfile.v0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repositories_are_compared_in_full),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(no_gateway_no_image),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
