/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/lint.h"

#include "base/rune.h"
#include "frontend/dockerfile/directive.h"

#define RULE_URL(page) "https://docs.docker.com/go/dockerfile/rule/" page "/"

/* `text`: %1 %2 %3 are the rule's strings, %q1 the same in quotes; `tail` follows when the second string is
 * not empty. */
static const struct rule {
    struct lint_rule_info info;
    int args;
    const char *text, *tail;
} rules[LINT_RULE_COUNT] = {
    [LINT_STAGE_NAME_CASING] = { { "StageNameCasing", "Stage names should be lowercase",
                                   RULE_URL("stage-name-casing"), false },
                                 1,
                                 "Stage name '%1' should be lowercase",
                                 NULL },
    [LINT_FROM_AS_CASING] = { { "FromAsCasing",
                                "The 'as' keyword should match the case of the 'from' keyword",
                                RULE_URL("from-as-casing"), false },
                              2,
                              "'%2' and '%1' keywords' casing do not match",
                              NULL },
    [LINT_NO_EMPTY_CONTINUATION] = { { "NoEmptyContinuation",
                                       "Empty continuation lines will become errors in a future release",
                                       RULE_URL("no-empty-continuation"), false },
                                     0,
                                     "Empty continuation line",
                                     NULL },
    [LINT_CONSISTENT_INSTRUCTION_CASING] = { { "ConsistentInstructionCasing",
                                               "All commands within the Dockerfile should use the same "
                                               "casing (either upper or lower)",
                                               RULE_URL("consistent-instruction-casing"), false },
                                             2,
                                             "Command '%1' should match the case of the command majority "
                                             "(%2)",
                                             NULL },
    [LINT_DUPLICATE_STAGE_NAME] = { { "DuplicateStageName", "Stage names should be unique",
                                      RULE_URL("duplicate-stage-name"), false },
                                    1,
                                    "Duplicate stage name %q1, stage names should be unique",
                                    NULL },
    [LINT_RESERVED_STAGE_NAME] = { { "ReservedStageName", "Reserved words should not be used as stage names",
                                     RULE_URL("reserved-stage-name"), false },
                                   1,
                                   "Stage name should not use the same name as reserved stage %q1",
                                   NULL },
    [LINT_JSON_ARGS_RECOMMENDED] = { { "JSONArgsRecommended",
                                       "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended "
                                       "behavior related to OS signals",
                                       RULE_URL("json-args-recommended"), false },
                                     1,
                                     "JSON arguments recommended for %1 to prevent unintended behavior "
                                     "related to OS signals",
                                     NULL },
    [LINT_MAINTAINER_DEPRECATED] = { { "MaintainerDeprecated",
                                       "The MAINTAINER instruction is deprecated, use a label instead to "
                                       "define an image author",
                                       RULE_URL("maintainer-deprecated"), false },
                                     0,
                                     "Maintainer instruction is deprecated in favor of using label",
                                     NULL },
    [LINT_UNDEFINED_ARG_IN_FROM] = { { "UndefinedArgInFrom", "FROM command must use declared ARGs",
                                       RULE_URL("undefined-arg-in-from"), false },
                                     2,
                                     "FROM argument '%1' is not declared",
                                     " (did you mean %2?)" },
    [LINT_WORKDIR_RELATIVE_PATH] = { { "WorkdirRelativePath",
                                       "Relative workdir without an absolute workdir declared within the "
                                       "build can have unexpected results if "
                                       "the base image changes",
                                       RULE_URL("workdir-relative-path"), false },
                                     1,
                                     "Relative workdir %q1 can have unexpected results if the base image "
                                     "changes",
                                     NULL },
    [LINT_UNDEFINED_VAR] = { { "UndefinedVar", "Variables should be defined before their use",
                               RULE_URL("undefined-var"), false },
                             2,
                             "Usage of undefined variable '$%1'",
                             " (did you mean $%2?)" },
    [LINT_MULTIPLE_INSTRUCTIONS_DISALLOWED] = { { "MultipleInstructionsDisallowed",
                                                  "Multiple instructions of the same type should not be used "
                                                  "in the same stage",
                                                  RULE_URL("multiple-instructions-disallowed"), false },
                                                1,
                                                "Multiple %1 instructions should not be used in the same "
                                                "stage because only the last one will be used",
                                                NULL },
    [LINT_LEGACY_KEY_VALUE_FORMAT] = { { "LegacyKeyValueFormat",
                                         "Legacy key/value format with whitespace separator should not be "
                                         "used",
                                         RULE_URL("legacy-key-value-format"), false },
                                       1,
                                       "\"%1 key=value\" should be used instead of legacy \"%1 key value\" "
                                       "format",
                                       NULL },
    [LINT_INVALID_BASE_IMAGE_PLATFORM] = { { "InvalidBaseImagePlatform",
                                             "Base image platform does not match expected target platform",
                                             "", false },
                                           3,
                                           "Base image %1 was pulled with platform %q3, expected %q2 for "
                                           "current build",
                                           NULL },
    [LINT_REDUNDANT_TARGET_PLATFORM] = { { "RedundantTargetPlatform",
                                           "Setting platform to predefined $TARGETPLATFORM in FROM is "
                                           "redundant as this is the default behavior",
                                           RULE_URL("redundant-target-platform"), false },
                                         1,
                                         "Setting platform to predefined %1 in FROM is redundant as this is "
                                         "the default behavior",
                                         NULL },
    [LINT_SECRETS_USED_IN_ARG_OR_ENV] = { { "SecretsUsedInArgOrEnv",
                                            "Sensitive data should not be used in the ARG or ENV commands",
                                            RULE_URL("secrets-used-in-arg-or-env"), false },
                                          2,
                                          "Do not use ARG or ENV instructions for sensitive data (%1 %q2)",
                                          NULL },
    [LINT_INVALID_DEFAULT_ARG_IN_FROM] = { { "InvalidDefaultArgInFrom",
                                             "Default value for global ARG results in an empty or invalid "
                                             "base image name",
                                             RULE_URL("invalid-default-arg-in-from"), false },
                                           1,
                                           "Default value for ARG %1 results in empty or invalid base image "
                                           "name",
                                           NULL },
    [LINT_FROM_PLATFORM_FLAG_CONST_DISALLOWED] = { { "FromPlatformFlagConstDisallowed",
                                                     "FROM --platform flag should not use a constant value",
                                                     RULE_URL("from-platform-flag-const-disallowed"), false },
                                                   1,
                                                   "FROM --platform flag should not use constant value %q1",
                                                   NULL },
    [LINT_COPY_IGNORED_FILE] = { { "CopyIgnoredFile",
                                   "Attempting to Copy file that is excluded by .dockerignore",
                                   RULE_URL("copy-ignored-file"), false },
                                 2,
                                 "Attempting to %1 file %q2 that is excluded by .dockerignore",
                                 NULL },
    [LINT_INVALID_DEFINITION_DESCRIPTION] = { { "InvalidDefinitionDescription",
                                                "Comment for build stage or argument should follow the "
                                                "format: `# <arg/stage name> <description>`. If "
                                                "this is not intended to be a description comment, add an "
                                                "empty line or comment between the instruction "
                                                "and the comment.",
                                                RULE_URL("invalid-definition-description"), true },
                                              2,
                                              "Comment for %1 should follow the format: `# %2 <description>`",
                                              NULL },
    [LINT_EXPOSE_PROTO_CASING] = { { "ExposeProtoCasing",
                                     "Protocol in EXPOSE instruction should be lowercase",
                                     RULE_URL("expose-proto-casing"), false },
                                   1,
                                   "Defined protocol '%1' in EXPOSE instruction should be lowercase",
                                   NULL },
    [LINT_EXPOSE_INVALID_FORMAT] = { { "ExposeInvalidFormat",
                                       "IP address and host-port mapping should not be used in EXPOSE "
                                       "instruction. This will become an error in "
                                       "a future release",
                                       RULE_URL("expose-invalid-format"), false },
                                     1,
                                     "EXPOSE instruction should not define an IP address or host-port "
                                     "mapping, found '%1'",
                                     NULL },
};

#define MAX_ARGS 3

const struct lint_rule_info *lint_rule_info(enum lint_rule rule)
{
    return &rules[rule].info;
}

/* ---- configuration ---- */

static void set_rules(struct strv *list, bool *all, const char *value, size_t len)
{
    CLEANUP(freep) char *text = xstrndup(value, len);
    CLEANUP(strv_deinit) struct strv parts = { 0 };

    if (streq(text, "all")) {
        *all = true;
        return;
    }
    strv_clear(list);
    strv_split(&parts, text, ',');
    for (size_t i = 0; i < parts.len; i++) {
        size_t n;
        const char *s = str_trim_space(parts.v[i], strlen(parts.v[i]), &n);
        strv_addn(list, s, n);
    }
}

static struct error *set_error(struct lint_config *c, const char *option, const char *value, size_t len)
{
    CLEANUP(freep) char *text = xstrndup(value, len);
    CLEANUP(freep) char *quoted = str_quote(text);
    CLEANUP(freep) char *quoted_option = str_quote(option);

    if (parse_bool(text, &c->return_as_error) < 0)
        return err_new(ERR_INVALID,
                       "failed to parse check option %s: strconv.ParseBool: parsing %s: invalid syntax",
                       quoted_option, quoted);
    return NULL;
}

static struct error *invalid_option(const char *s, size_t len)
{
    CLEANUP(buf_deinit) struct buf quoted = { 0 };

    buf_add_quoted(&quoted, s, len);
    return err_new(ERR_INVALID, "invalid check option %s", buf_str(&quoted));
}

static struct error *parse_option(struct lint_config *c, const char *option)
{
    const char *eq = strchr(option, '=');
    size_t key_len, value_len;

    if (eq == NULL)
        return invalid_option(option, strlen(option));
    const char *key = str_trim_space(option, (size_t)(eq - option), &key_len);
    const char *value = str_trim_space(eq + 1, strlen(eq + 1), &value_len);
    if (key_len == 4 && memcmp(key, "skip", 4) == 0)
        set_rules(&c->skip, &c->skip_all, value, value_len);
    else if (key_len == 12 && memcmp(key, "experimental", 12) == 0)
        set_rules(&c->experimental, &c->experimental_all, value, value_len);
    else if (key_len == 5 && memcmp(key, "error", 5) == 0)
        return set_error(c, option, value, value_len);
    else
        return invalid_option(key, key_len);
    return NULL;
}

/* At most three options; what follows the second ';' is one of them. */
struct error *lint_config_parse(const char *text, struct lint_config *ret)
{
    struct lint_config c = { 0 };
    struct error *e = NULL;
    size_t len;
    const char *s = str_trim_space(text, strlen(text), &len);
    CLEANUP(freep) char *rest = xstrndup(s, len);
    char *option = rest;

    for (int i = 1; len > 0 && option != NULL && e == NULL; i++) {
        char *end = i < 3 ? strchr(option, ';') : NULL;
        if (end != NULL)
            *end++ = '\0';
        e = parse_option(&c, option);
        option = end;
    }
    if (e != NULL) {
        lint_config_deinit(&c);
        return e;
    }
    *ret = c;
    return NULL;
}

void lint_config_deinit(struct lint_config *c)
{
    strv_deinit(&c->skip);
    strv_deinit(&c->experimental);
    *c = (struct lint_config){ 0 };
}

/* ---- reporting ---- */

static uint32_t mask_of(const struct strv *names, bool all)
{
    uint32_t mask = 0;

    if (!all && names->len == 0)
        return 0;
    for (int r = 0; r < LINT_RULE_COUNT; r++) {
        if (all || strv_has(names, rules[r].info.name))
            mask |= UINT32_C(1) << r;
    }
    return mask;
}

static void set_config(struct lint *l, struct lint_config *config)
{
    l->config = *config;
    *config = (struct lint_config){ 0 };
    l->skip_mask |= mask_of(&l->config.skip, l->config.skip_all);
    l->experimental_mask |= mask_of(&l->config.experimental, l->config.experimental_all);
}

void lint_init(struct lint *l, struct lint_config *config,
               void (*warn)(void *ctx, const struct lint_warning *w), void *ctx)
{
    *l = (struct lint){ .warn = warn, .ctx = ctx };
    set_config(l, config);
}

void lint_deinit(struct lint *l)
{
    lint_config_deinit(&l->config);
    strv_deinit(&l->reported);
    *l = (struct lint){ 0 };
}

/* The configuration of the first `check=` among the comments; a malformed one counts as none. */
static void config_from_comments(const struct strv *comments, struct lint_config *ret)
{
    for (size_t i = 0; i < comments->len; i++) {
        struct directive_reader r = { .comment = "" };
        struct directive d = { 0 };
        bool found;
        struct error *e = directive_read(&r, comments->v[i], strlen(comments->v[i]), &d, &found);
        found = e == NULL && found && streq(d.name, "check");
        err_free(e);
        if (found) {
            d.value[strcspn(d.value, " ")] = '\0';
            e = lint_config_parse(d.value, ret);
            err_free(e);
        }
        directive_deinit(&d);
        if (found)
            return;
    }
}

void lint_init_scope(struct lint *l, struct lint *parent, const struct strv *comments)
{
    struct lint_config config = { 0 };

    *l = (struct lint){ .parent = parent };
    if (parent == NULL)
        return;
    l->warn = parent->warn;
    l->ctx = parent->ctx;
    l->skip_mask = parent->skip_mask;
    l->experimental_mask = parent->experimental_mask;
    if (comments->len == 0)
        return;
    config_from_comments(comments, &config);
    set_config(l, &config);
}

bool lint_enabled(const struct lint *l, enum lint_rule rule)
{
    uint32_t bit = UINT32_C(1) << rule;

    if (l == NULL || l->warn == NULL)
        return false;
    return rules[rule].info.experimental ? (l->experimental_mask & bit) != 0 : (l->skip_mask & bit) == 0;
}

static void add_formatted(struct buf *b, const char *text, const char *const *args)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p != '%') {
            buf_addc(b, *p);
            continue;
        }
        bool quote = *++p == 'q';
        if (quote)
            p++;
        const char *arg = args[*p - '1'];
        if (quote)
            buf_add_quoted(b, arg, strlen(arg));
        else
            buf_adds(b, arg);
    }
}

void lint_report(struct lint *l, enum lint_rule rule, struct df_lines at, ...)
{
    const struct rule *r = &rules[rule];
    const char *args[MAX_ARGS] = { "", "", "" };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    va_list ap;

    if (!lint_enabled(l, rule))
        return;
    va_start(ap, at);
    for (int i = 0; i < r->args; i++) {
        const char *arg = va_arg(ap, const char *);
        args[i] = arg != NULL ? arg : "";
    }
    va_end(ap);
    add_formatted(&text, r->text, args);
    if (r->tail != NULL && *args[1] != '\0')
        add_formatted(&text, r->tail, args);
    struct lint *root = l;
    while (root->parent != NULL)
        root = root->parent;
    if ((root->reported_mask & UINT32_C(1) << rule) == 0)
        strv_add(&root->reported, r->info.name);
    root->reported_mask |= UINT32_C(1) << rule;
    l->warn(l->ctx, &(struct lint_warning){ rule, &r->info, buf_str(&text), at });
}

struct error *lint_error(const struct lint *l)
{
    if (l == NULL || !l->config.return_as_error || l->reported.len == 0)
        return NULL;
    CLEANUP(freep) char *names = strv_join(&l->reported, ", ");
    return err_new(ERR_UNKNOWN, "lint violation found for rules: %s", names);
}

char *lint_format_short(const char *rule, const char *text, int line)
{
    return line > 0 ? xasprintf("%s: %s (line %d)", rule, text, line) : xasprintf("%s: %s", rule, text);
}
