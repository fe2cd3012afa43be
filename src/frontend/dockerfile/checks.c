/* SPDX-License-Identifier: Apache-2.0 */
/* The build checks that need more than one instruction's text. */
#include "base/rune.h"
#include "frontend/dockerfile/build_stage.h"
#include "frontend/dockerfile/suggest.h"
#include "llb/gopath.h"
#include "oci/reference.h"

/* ---- the file as a whole
 * ----------------------------------------------------------------------------------------------- */

void check_stage_names(struct convert *c)
{
    CLEANUP(map_deinit) struct map seen = { 0 };

    for (size_t i = 0; i < c->file.stage_count; i++) {
        const struct stage *st = &c->file.stages[i];

        if (*st->name == '\0')
            continue;
        if (streq(st->name, "context") || streq(st->name, "scratch"))
            lint_report(&c->lint, LINT_RESERVED_STAGE_NAME, st->lines, st->name);
        if (map_has(&seen, st->name))
            lint_report(&c->lint, LINT_DUPLICATE_STAGE_NAME, st->lines, st->name);
        set_add(&seen, st->name);
    }
}

/* Keywords have no letters but those of ASCII. */
static bool is_lower(const char *s)
{
    while (*s != '\0' && !(*s >= 'A' && *s <= 'Z'))
        s++;
    return *s == '\0';
}

static bool is_upper(const char *s)
{
    while (*s != '\0' && !(*s >= 'a' && *s <= 'z'))
        s++;
    return *s == '\0';
}

static void count_casing(const char *keyword, size_t *lower, size_t *upper)
{
    if (is_lower(keyword))
        ++*lower;
    else if (is_upper(keyword))
        ++*upper;
}

static void check_keyword(struct convert *c, const char *keyword, bool majority_lower, struct df_lines lines)
{
    if (majority_lower && !is_lower(keyword))
        lint_report(&c->lint, LINT_CONSISTENT_INSTRUCTION_CASING, lines, keyword, "lowercase");
    else if (!majority_lower && !is_upper(keyword))
        lint_report(&c->lint, LINT_CONSISTENT_INSTRUCTION_CASING, lines, keyword, "uppercase");
}

void check_casing(struct convert *c)
{
    size_t lower = 0, upper = 0;

    for (size_t i = 0; i < c->file.stage_count; i++) {
        const struct stage *st = &c->file.stages[i];

        count_casing(st->keyword, &lower, &upper);
        for (size_t k = 0; k < st->command_count; k++)
            count_casing(st->commands[k]->name, &lower, &upper);
    }
    for (size_t i = 0; i < c->file.stage_count; i++) {
        const struct stage *st = &c->file.stages[i];

        check_keyword(c, st->keyword, lower > upper, st->lines);
        for (size_t k = 0; k < st->command_count; k++)
            check_keyword(c, st->commands[k]->name, lower > upper, st->commands[k]->lines);
    }
}

/* Base images must make sense when no argument is given. */
void check_base_defaults(struct convert *c, const struct llb_env *defaults)
{
    const struct llb_env *env = NULL;
    struct words_env from = env_of(&env);
    struct error *e = meta_args_apply(c, defaults, NULL, NULL, &env);
    const char *good = NULL; /* of the stage before */

    for (size_t i = 0; e == NULL && i < c->file.stage_count; i++) {
        const struct stage *st = &c->file.stages[i];
        CLEANUP(reference_deinit) struct reference r = { 0 };
        CLEANUP(freep) char *name = NULL;
        struct error *bad;

        if (good != NULL && streq(st->base, good))
            continue;
        e = words_expand(&c->words, st->base, &from, &name);
        if (e != NULL)
            break;
        bad = reference_parse(name, &r);
        if (bad != NULL)
            lint_report(&c->lint, LINT_INVALID_DEFAULT_ARG_IN_FROM, st->lines, st->base);
        else
            good = st->base;
        err_free(bad);
    }
    err_free(e); /* the conversion proper meets it again */
}

/* ---- FROM
 * --------------------------------------------------------------------------------------------------------------
 */

void check_unused_from_args(struct convert *c, struct lint *lint, const struct words_result *r,
                            struct df_lines lines)
{
    CLEANUP(strv_deinit) struct strv known = { 0 };

    if (r->unmatched.len == 0)
        return;
    for (size_t i = 0; i < c->meta_args.len; i++)
        strv_add(&known, c->meta_args.entries[i].key);
    llb_env_keys(c->global_args, &known);
    for (size_t i = 0; i < r->unmatched.len; i++) {
        CLEANUP(freep) char *match = NULL;

        if (strv_has(&known, r->unmatched.v[i]))
            continue;
        match = suggest_find(r->unmatched.v[i], (const char *const *)known.v, known.len, true);
        lint_report(lint, LINT_UNDEFINED_ARG_IN_FROM, lines, r->unmatched.v[i], match != NULL ? match : "");
    }
}

static void check_redundant_target(struct convert *c, struct lint *lint, const struct stage *st,
                                   const struct words_result *r)
{
    const char *target = llb_env_get(c->global_args, "TARGETPLATFORM");

    if (r->matched.len == 1 && r->unmatched.len == 0 && streq(r->matched.v[0], "TARGETPLATFORM") &&
        streq(r->text, target != NULL ? target : ""))
        lint_report(lint, LINT_REDUNDANT_TARGET_PLATFORM, st->lines, st->platform);
}

void check_from_platform(struct convert *c, struct lint *lint, const struct stage *st,
                         const struct words_result *r)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };
    struct error *e;

    check_unused_from_args(c, lint, r, st->lines);
    if (r->text == NULL)
        return;
    check_redundant_target(c, lint, st, r);
    if (r->matched.len > 0 || r->unmatched.len > 0)
        return;
    e = platform_parse(r->text, &p);
    if (e == NULL && strstr(st->name, p.os) == NULL && strstr(st->name, p.architecture) == NULL)
        lint_report(lint, LINT_FROM_PLATFORM_FLAG_CONST_DISALLOWED, st->lines, r->text);
    err_free(e);
}

void check_base_platform(struct convert *c, const char *name, const struct platform *expected,
                         const struct platform *actual, struct df_lines lines)
{
    CLEANUP(platform_deinit) struct platform want = { 0 }, have = { 0 };
    CLEANUP(freep) char *want_text = NULL, *have_text = NULL;

    if (streq(expected->os, actual->os) && streq(expected->architecture, actual->architecture))
        return;
    platform_copy(&want, expected);
    platform_copy(&have, actual);
    platform_normalize(&want);
    platform_normalize(&have);
    want_text = platform_format_all(&want);
    have_text = platform_format_all(&have);
    lint_report(&c->lint, LINT_INVALID_BASE_IMAGE_PLATFORM, lines, name, want_text, have_text);
}

struct error *suggest_any(struct error *e, const struct strv *keys, const struct llb_env *env)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    bool done = false;

    llb_env_keys(env, &names);
    for (size_t i = 0; !done && i < keys->len; i++)
        e = suggest_wrap(e, keys->v[i], (const char *const *)names.v, names.len, true, &done);
    return e;
}

/* ---- instructions
 * ------------------------------------------------------------------------------------------------------ */

static bool is_hidden_arg(const char *name)
{
    return streq(name, "BUILDKIT_SBOM_SCAN_CONTEXT") || streq(name, "BUILDKIT_SBOM_SCAN_STAGE");
}

static bool is_stage_arg(const struct build_stage *s, const char *name)
{
    for (size_t i = 0; i < s->arg_count; i++) {
        if (streq(s->args[i].key, name))
            return true;
    }
    return false;
}

void check_unmatched(struct build_stage *s, const struct llb_env *env, struct lint *lint,
                     const struct strv *unmatched, struct df_lines lines)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };

    for (size_t i = 0; i < unmatched->len; i++) {
        CLEANUP(freep) char *match = NULL;

        if (is_stage_arg(s, unmatched->v[i]) || is_hidden_arg(unmatched->v[i]))
            continue;
        if (names.len == 0)
            llb_env_keys(env, &names);
        match = suggest_find(unmatched->v[i], (const char *const *)names.v, names.len, true);
        lint_report(lint, LINT_UNDEFINED_VAR, lines, unmatched->v[i], match != NULL ? match : "");
    }
}

void check_used_once(struct seen_at *seen, const struct instruction *ins, struct lint *lint)
{
    /* The earlier one is reported: it is the one without effect. */
    if (seen->set)
        lint_report(lint, LINT_MULTIPLE_INSTRUCTIONS_DISALLOWED, seen->lines, ins->name);
    seen->set = true;
    seen->lines = ins->lines;
}

static bool is_word(const char *s, size_t len, const char *const *words, size_t count)
{
    char part[64]; /* more than a word has in any case: of a letter of theirs 3 bytes at most */

    if (len >= sizeof(part))
        return false;
    memcpy(part, s, len);
    part[len] = '\0';
    for (size_t i = 0; i < count; i++) {
        /* Letters of both cases differ in one bit. */
        bool other = (unsigned char)part[0] < 0x80 && ((part[0] ^ words[i][0]) & ~0x20) != 0;

        if (!other && str_equal_fold(part, words[i]))
            return true;
    }
    return false;
}

/* One of the words between underscores. */
static bool has_word(const char *key, const char *const *words, size_t count)
{
    for (;;) {
        size_t len = strcspn(key, "_");

        if (is_word(key, len, words, count))
            return true;
        if (key[len] == '\0')
            return false;
        key += len + 1;
    }
}

void check_secret_key(const char *instruction, const char *key, struct df_lines lines, struct lint *lint)
{
    static const char *const secret[] = { "apikey",   "auth",  "credential", "credentials", "key",
                                          "password", "pword", "passwd",     "secret",      "token" };
    static const char *const harmless[] = { "public", "file", "version" };

    if (has_word(key, secret, ARRAY_LEN(secret)) && !has_word(key, harmless, ARRAY_LEN(harmless)))
        lint_report(lint, LINT_SECRETS_USED_IN_ARG_OR_ENV, lines, instruction, key);
}

static bool ignores_root(const struct pattern_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        const char *p = pattern_text(set, i);

        if (!pattern_is_exclusion(set, i) && (streq(p, "*") || streq(p, "**") || streq(p, "**/*")))
            return true;
    }
    return false;
}

void check_copy_source(struct convert *c, struct lint *lint, bool add, const char *src, struct df_lines lines)
{
    CLEANUP(freep) char *clean = NULL;
    bool ignored = false;
    struct error *e;

    if (!c->has_ignore || c->ignore.exclusions)
        return;
    clean = gopath_clean(src);
    if ((streq(clean, ".") || streq(clean, "/")) && !ignores_root(&c->ignore))
        return;
    e = pattern_set_match(&c->ignore, clean, &ignored);
    if (e == NULL && ignored)
        lint_report(lint, LINT_COPY_IGNORED_FILE, lines, add ? "Add" : "Copy", clean);
    err_free(e); /* a check is no reason to fail */
}
