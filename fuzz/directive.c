/* SPDX-License-Identifier: Apache-2.0 */
/* Directives of a Dockerfile: syntax in all its forms, escape, check and the options of checks. */
#include "fuzz.h"

#include "frontend/dockerfile/directive.h"
#include "frontend/dockerfile/lint.h"

static void check_found(const char *data, size_t len, const char *name)
{
    struct directive d;
    char *first;

    if (!directive_find(name, data, len, &first, &d))
        return;
    assert(streq(d.name, name) && str_has_prefix(d.value, first) && d.lines.first > 0);
    if (streq(name, "check")) {
        struct lint_config c = { 0 };
        struct error *e = lint_config_parse(first, &c);

        assert(e == NULL || *e->message != '\0');
        err_free(e);
        lint_config_deinit(&c);
    }
    free(first);
    directive_deinit(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(freep) char *text = xmemdup(data, len);
    struct directive d;
    char *first;

    if (directive_detect_syntax(text, len, &first, &d)) {
        assert(str_has_prefix(d.value, first));
        free(first);
        directive_deinit(&d);
    }
    check_found(text, len, "syntax");
    check_found(text, len, "escape");
    check_found(text, len, "check");
    return 0;
}
