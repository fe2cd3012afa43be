/* SPDX-License-Identifier: Apache-2.0 */
/* A Dockerfile: directives, lines, heredocs, typed instructions, expansion. */
#include "fuzz.h"

#include "base/rune.h"
#include "frontend/dockerfile/directive.h"
#include "frontend/dockerfile/instruction.h"
#include "frontend/dockerfile/words.h"

static struct error *expand(void *ctx, struct arena *mem, const char *word, const char **ret)
{
    static const char *const vars[] = { "A=1", "B=x y" };
    CLEANUP(strv_deinit) struct strv env = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(vars); i++)
        strv_add(&env, vars[i]);
    struct words_env lookup = words_env_strv(&env);
    struct words_expansion x = { ctx, &lookup };
    return words_expand_in(&x, mem, word, ret);
}

static void check_error(struct error *e, int lines)
{
    struct df_lines at[4];
    size_t count = MIN(df_error_lines(e, at, ARRAY_LEN(at)), ARRAY_LEN(at));

    assert(e->message != NULL && *e->message != '\0');
    for (size_t i = 0; i < count; i++)
        assert(at[i].first >= 0 && at[i].first <= at[i].last && at[i].last <= lines);
    err_free(e);
}

static void expand_all(struct arena *mem, struct dockerfile *d, char escape, int lines)
{
    struct words_options o = { .escape = escape }, raw = { .escape = '\\', .skip_quotes = true };

    for (size_t s = 0; s < d->stage_count; s++) {
        assert(*d->stages[s].base != '\0' && d->stages[s].lines.first > 0);
        for (size_t k = 0; k < d->stages[s].command_count; k++) {
            struct instruction *i = d->stages[s].commands[k];
            struct error *e = instruction_expand(mem, i, expand, &o);
            if (e == NULL)
                e = instruction_expand_raw(mem, i, expand, &raw);
            if (e != NULL)
                check_error(e, lines);
        }
    }
}

static void count_warning(void *ctx, const struct lint_warning *w)
{
    assert(w->info->name != NULL && *w->text != '\0');
}

static void check_directives(const char *s, size_t len)
{
    struct directive d;
    char *first;

    if (directive_detect_syntax(s, len, &first, &d)) {
        assert(str_has_prefix(d.value, first));
        free(first);
        directive_deinit(&d);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(freep) char *text = xmemdup(data, len);
    CLEANUP(arena_deinit) struct arena mem = { 0 };
    struct df_ast ast = { 0 };
    struct dockerfile d = { 0 };
    struct lint lint;
    struct lint_config config = { .experimental_all = true };
    int lines = 1;

    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    check_directives(text, len);
    struct error *e = df_ast_parse(&mem, text, len, &ast);
    if (e != NULL) {
        check_error(e, lines);
        return 0;
    }
    assert(ast.count > 0);
    for (size_t i = 1; i < ast.count; i++)
        assert(ast.nodes[i]->lines.first > ast.nodes[i - 1]->lines.last);
    lint_init(&lint, &config, count_warning, NULL);
    e = dockerfile_parse_stages(&mem, &ast, &lint, &d);
    if (e != NULL)
        check_error(e, lines);
    else
        expand_all(&mem, &d, ast.escape, lines);
    lint_deinit(&lint);
    return 0;
}
