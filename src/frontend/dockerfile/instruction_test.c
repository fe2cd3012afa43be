/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
/* cmocka wants these first */
#include <cmocka.h>

#include "base/bytes.h"
#include "frontend/dockerfile/instruction.h"
#include "frontend/dockerfile/suggest.h"
#include "frontend/dockerfile/words.h"

struct parsed {
    struct arena mem;
    struct df_ast ast;
    struct dockerfile d;
};

static struct error *parse(const char *text, struct lint *lint, struct parsed *p)
{
    *p = (struct parsed){ 0 };
    TRY(df_ast_parse(&p->mem, text, strlen(text), &p->ast));
    return dockerfile_parse_stages(&p->mem, &p->ast, lint, &p->d);
}

static void release(struct parsed *p)
{
    arena_deinit(&p->mem);
}

static const struct instruction *only(const struct parsed *p)
{
    assert_int_equal(p->d.stage_count, 1);
    assert_int_equal(p->d.stages[0].command_count, 1);
    return p->d.stages[0].commands[0];
}

static void test_stages(void **state)
{
    CLEANUP(release) struct parsed p = { 0 };

    assert_null(parse("# V version\nARG V=1 W\nFROM --platform=$P base:$V AS Build\nRUN x\n# out the "
                      "result\nFROM build as out\n",
                      NULL, &p));
    assert_int_equal(p.d.meta_arg_count, 1);
    assert_int_equal(p.d.meta_args[0]->arg.len, 2);
    assert_string_equal(p.d.meta_args[0]->arg.v[0].description, "version");
    assert_null(p.d.meta_args[0]->arg.v[1].value);
    assert_int_equal(p.d.stage_count, 2);
    assert_string_equal(p.d.stages[0].name, "build");
    assert_string_equal(p.d.stages[0].platform, "$P");
    assert_string_equal(p.d.stages[0].code, "FROM --platform=$P base:$V AS Build");
    assert_string_equal(p.d.stages[1].description, "the result");
    assert_int_equal(dockerfile_find_stage(&p.d, "BUILD"), 0);
    assert_int_equal(dockerfile_find_stage(&p.d, "x"), -1);
}

static void test_copy(void **state)
{
    CLEANUP(release) struct parsed p = { 0 };

    assert_null(
        parse("FROM a\nCOPY --link --from=b --exclude=x --exclude=y <<-E z /d\n\ta\n\tE\n", NULL, &p));
    const struct copy_args *c = &only(&p)->copy;
    assert_true(c->link && !c->parents);
    assert_string_equal(c->from, "b");
    assert_int_equal(c->exclude.len, 2);
    assert_string_equal(c->paths.v[0], "z");
    assert_string_equal(c->contents[0].path, "E");
    assert_string_equal(c->contents[0].data, "a\n");
    assert_true(c->contents[0].expand);
    assert_string_equal(c->dest, "/d");
}

static struct error *expand_word(void *ctx, struct arena *mem, const char *word, const char **ret)
{
    struct words_options o = { .escape = '\\' };
    struct words_env env = words_env_strv(ctx);
    struct words_expansion x = { &o, &env };

    return words_expand_in(&x, mem, word, ret);
}

static void test_run(void **state)
{
    CLEANUP(strv_deinit) struct strv env = { 0 };
    CLEANUP(release) struct parsed p = { 0 };

    strv_add(&env, "T=/cache");
    assert_null(parse("FROM a\nRUN --mount=type=cache,target=$T,sharing=locked,from=b "
                      "--mount=type=tmpfs,target=/t,size=1.5k "
                      "--network=none --device=gpu,required echo $T\n",
                      NULL, &p));
    const struct run_args *r = &only(&p)->run;
    assert_string_equal(r->mounts[0].from, "b");
    assert_string_equal(r->network, "none");
    assert_string_equal(r->security, "sandbox");
    assert_string_equal(r->devices[0].name, "gpu");
    assert_true(r->devices[0].required && r->line.prepend_shell);
    assert_string_equal(r->line.args.v[0], "echo $T");
    assert_null(instruction_expand(&p.mem, p.d.stages[0].commands[0], expand_word, &env));
    assert_int_equal(r->mounts[0].type, MOUNT_CACHE);
    assert_string_equal(r->mounts[0].target, "/cache");
    assert_int_equal(r->mounts[0].sharing, SHARING_LOCKED);
    assert_false(r->mounts[0].read_only);
    assert_int_equal(r->mounts[1].size_limit, 1536);
    assert_string_equal(r->line.args.v[0], "echo $T"); /* the shell's business */
}

static void test_health(void **state)
{
    CLEANUP(release) struct parsed p = { 0 };

    assert_null(parse("FROM a\nHEALTHCHECK --interval=1m30s --retries=3 CMD curl x\n", NULL, &p));
    const struct healthcheck *h = &only(&p)->health;
    assert_string_equal(h->test.v[0], "CMD-SHELL");
    assert_string_equal(h->test.v[1], "curl x");
    assert_true(h->interval == 90 * NS_PER_SEC && h->timeout == 0);
    assert_int_equal(h->retries, 3);
}

#define LINE(n) "dockerfile parse error on line " #n ": "

static void test_errors(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "RUN x\n", "no build stage in current context" },
        { "FORM a\n", LINE(1) "unknown instruction: FORM (did you mean FROM?)" },
        { "FROM a\n\nwrkdir /\n", LINE(3) "unknown instruction: wrkdir (did you mean workdir?)" },
        { "FROM a\nzzz\n", LINE(2) "unknown instruction: zzz" },
        { "FROM a b\n", LINE(1) "FROM requires either one or three arguments" },
        { "FROM a AS 1\n",
          LINE(1) "invalid name for build stage: \"1\", name can't start with a number or contain symbols" },
        { "FROM --platfrm=x a\n", LINE(1) "unknown flag: --platfrm (did you mean platform?)" },
        { "FROM a\nCOPY --link --link a b\n", LINE(2) "duplicate flag specified: --link" },
        { "FROM a\nCOPY --link=no a b\n", LINE(2) "expecting boolean value for flag --link, not: no" },
        { "FROM a\nCOPY --from a b\n", LINE(2) "missing a value on flag: --from" },
        { "FROM a\nCOPY a\n", LINE(2) "COPY requires at least two arguments, but only one was provided. "
                                      "Destination could not be determined" },
        { "FROM a\nADD a <<E\nE\n", LINE(2) "ADD cannot accept a heredoc as a destination" },
        { "FROM a\nENV\n", LINE(2) "ENV requires at least one argument" },
        { "FROM a\nENV =b\n", LINE(2) "ENV names can not be blank" },
        { "FROM a\nARG =b\n", LINE(2) "ARG names can not be blank" },
        { "FROM a\nUSER\n", LINE(2) "USER requires exactly one argument" },
        { "FROM a\nSHELL x\n", LINE(2) "SHELL requires the arguments to be in JSON form" },
        { "FROM a\nVOLUME [\"\"]\n", LINE(2) "VOLUME specified can not be an empty string" },
        { "FROM a\nONBUILD FROM b\n", LINE(2) "FROM isn't allowed as an ONBUILD trigger" },
        { "FROM a\nONBUILD ONBUILD RUN b\n", LINE(2) "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed" },
        { "FROM a\nHEALTHCHECK FOO\n", LINE(2) "Unknown type \"FOO\" in HEALTHCHECK (try CMD)" },
        { "FROM a\nHEALTHCHECK --timeout=5 CMD x\n", LINE(2) "time: missing unit in duration \"5\"" },
        { "FROM a\nHEALTHCHECK --timeout=5q CMD x\n", LINE(2) "time: unknown unit \"q\" in duration \"5q\"" },
        { "FROM a\nHEALTHCHECK --timeout=1us CMD x\n",
          LINE(2) "Interval \"timeout\" cannot be less than 1ms" },
        { "FROM a\nHEALTHCHECK --retries=-1 CMD x\n", LINE(2) "--retries cannot be negative (-1)" },
        { "FROM a\nRUN --network=x y\n", LINE(2) "invalid network mode \"x\"" },
        { "FROM a\nRUN --security=x y\n", LINE(2) "security \"x\" is not valid" },
        { "FROM a\nRUN --mount=from=$x y\n",
          LINE(2) "'from' doesn't support variable expansion, define alias stage instead" },
        { "FROM a\nRUN --mount=a\\\"b y\n",
          LINE(
              2) "failed to parse csv mounts: parse error on line 1, column 2: bare \" in non-quoted-field" },
        { "FROM a\nRUN --device=a,requird=1 y\n",
          LINE(2) "unexpected key 'requird' in 'requird=1' (did you mean required?)" },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(release) struct parsed p = { 0 };
        struct error *e = parse(cases[i].text, NULL, &p);
        struct df_lines at;
        assert_non_null(e);
        assert_string_equal(e->message, cases[i].message);
        assert_int_equal(df_error_lines(e, &at, 1), 1);
        err_free(e);
    }
}

static void test_mount_errors(void **state)
{
    static const struct {
        const char *mount, *message;
    } cases[] = {
        { "type=cach", "unsupported mount type \"cach\" (did you mean cache?)" },
        { "foo", "invalid field 'foo' must be a key=value pair" },
        { "taget=/x", "unexpected key 'taget' in 'taget=/x' (did you mean target?)" },
        { "type=bind,sharing=locked", "invalid cache sharing set for bind mount" },
        { "type=bind,mode=1", "mode not allowed for \"bind\" type mounts" },
        { "type=bind,required", "unexpected key 'required' for mount type 'bind'" },
        { "type=cache,size=1", "unexpected key 'size' for mount type 'cache'" },
        { "type=tmpfs,size=x", "invalid value for size: x" },
        { "type=cache,uid=x", "invalid value x for uid" },
        { "type=secret", "invalid secret mount. one of source, target required" },
        { "type=secret,id=a,src=b", "both source and id can't be set" },
        { "type=secret,id=a,sharing=shared", "secret mount should not define sharing" },
        { "ro=maybe", "invalid value for ro: maybe" },
    };
    struct strv none = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(freep) char *text = xasprintf("FROM a\nRUN --mount=%s x\n", cases[i].mount);
        CLEANUP(release) struct parsed p = { 0 };
        assert_null(parse(text, NULL, &p));
        struct error *e = instruction_expand(&p.mem, p.d.stages[0].commands[0], expand_word, &none);
        assert_non_null(e);
        assert_string_equal(e->message, cases[i].message);
        err_free(e);
    }
}

static void collect(void *ctx, const struct lint_warning *w)
{
    strv_addf(ctx, "%s:%d", w->info->name, w->lines.first);
}

static void test_lint(void **state)
{
    CLEANUP(strv_deinit) struct strv seen = { 0 };
    CLEANUP(release) struct parsed p = { 0 };
    struct lint_config config;
    struct lint lint;

    assert_null(lint_config_parse("skip=FromAsCasing;error=true", &config));
    lint_init(&lint, &config, collect, &seen);
    assert_null(parse("FROM a as Bc\nMAINTAINER x\n# check=skip=MaintainerDeprecated\nMAINTAINER y\n"
                      "# check=experimental=all\n# no description\nARG z\nMAINTAINER w\n",
                      &lint, &p));
    CLEANUP(freep) char *got = strv_join(&seen, " ");
    assert_string_equal(
        got,
        "StageNameCasing:1 MaintainerDeprecated:2 InvalidDefinitionDescription:7 MaintainerDeprecated:8");
    struct error *e = lint_error(&lint);
    assert_string_equal(e->message, "lint violation found for rules: StageNameCasing, MaintainerDeprecated, "
                                    "InvalidDefinitionDescription");
    err_free(e);
    lint_deinit(&lint);
}

static void keep_text(void *ctx, const struct lint_warning *w)
{
    *(char **)ctx = xstrdup(w->text);
}

static void test_lint_texts(void **state)
{
    struct lint_config config = { 0 };
    struct lint lint;
    char *text = NULL;

    lint_init(&lint, &config, keep_text, &text);
    lint_report(&lint, LINT_UNDEFINED_VAR, DF_NOWHERE, "PAHT", "PATH");
    assert_string_equal(text, "Usage of undefined variable '$PAHT' (did you mean $PATH?)");
    free(text);
    lint_report(&lint, LINT_UNDEFINED_VAR, DF_NOWHERE, "x", NULL);
    assert_string_equal(text, "Usage of undefined variable '$x'");
    free(text);
    lint_report(&lint, LINT_INVALID_BASE_IMAGE_PLATFORM, DF_NOWHERE, "a", "linux/amd64", "linux/arm64");
    assert_string_equal(
        text,
        "Base image a was pulled with platform \"linux/arm64\", expected \"linux/amd64\" for current build");
    free(text);
    lint_deinit(&lint);
    struct error *e = lint_config_parse("foo=1", &config);
    assert_string_equal(e->message, "invalid check option \"foo\"");
    err_free(e);
    CLEANUP(freep) char *brief = lint_format_short("Rule", "text", 3);
    assert_string_equal(brief, "Rule: text (line 3)");
}

static void test_suggest(void **state)
{
    static const char *const options[] = { "from", "chown", "chmod", "link" };
    static const struct {
        const char *val, *match;
    } cases[] = { { "form", "from" }, { "chwon", "chown" }, { "lnk", "link" },
                  { "link", NULL },   { "xyzzy", NULL },    { "cmod", "chmod" } };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        CLEANUP(freep) char *got = suggest_find(cases[i].val, options, ARRAY_LEN(options), true);
        if (cases[i].match == NULL)
            assert_null(got);
        else
            assert_string_equal(got, cases[i].match);
    }
    CLEANUP(freep) char *upper = suggest_find("FORM", options, ARRAY_LEN(options), false);
    assert_string_equal(upper, "FROM");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages), cmocka_unit_test(test_copy),       cmocka_unit_test(test_run),
        cmocka_unit_test(test_health), cmocka_unit_test(test_errors),     cmocka_unit_test(test_mount_errors),
        cmocka_unit_test(test_lint),   cmocka_unit_test(test_lint_texts), cmocka_unit_test(test_suggest),
    };

    return cmocka_run_group_tests_name("instruction", tests, NULL, NULL);
}
