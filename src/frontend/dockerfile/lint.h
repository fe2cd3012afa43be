/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lint.h - the build checks: rules, their texts, what is switched off, where warnings go
 *
 * Texts, names and URLs are those of BuildKit.  A `struct lint` is used by one task.  A scope made from
 * comments borrows its parent and shares its list of reported rules.
 */
#ifndef MINKE_FRONTEND_DOCKERFILE_LINT_H
#define MINKE_FRONTEND_DOCKERFILE_LINT_H

#include "frontend/dockerfile/parser.h"

/* In brackets: the strings that lint_report takes, in this order. */
enum lint_rule {
    LINT_STAGE_NAME_CASING,                   /* [stage name] */
    LINT_FROM_AS_CASING,                      /* [from, as] as typed */
    LINT_NO_EMPTY_CONTINUATION,               /* [] */
    LINT_CONSISTENT_INSTRUCTION_CASING,       /* [command, "uppercase" or "lowercase"] */
    LINT_DUPLICATE_STAGE_NAME,                /* [name] */
    LINT_RESERVED_STAGE_NAME,                 /* [name] */
    LINT_JSON_ARGS_RECOMMENDED,               /* [CMD or ENTRYPOINT] */
    LINT_MAINTAINER_DEPRECATED,               /* [] */
    LINT_UNDEFINED_ARG_IN_FROM,               /* [argument, suggestion or ""] */
    LINT_WORKDIR_RELATIVE_PATH,               /* [path] */
    LINT_UNDEFINED_VAR,                       /* [name, suggestion or ""] */
    LINT_MULTIPLE_INSTRUCTIONS_DISALLOWED,    /* [CMD, ENTRYPOINT, HEALTHCHECK] */
    LINT_LEGACY_KEY_VALUE_FORMAT,             /* [keyword] */
    LINT_INVALID_BASE_IMAGE_PLATFORM,         /* [image, expected, actual] */
    LINT_REDUNDANT_TARGET_PLATFORM,           /* [variable] */
    LINT_SECRETS_USED_IN_ARG_OR_ENV,          /* [instruction, key] */
    LINT_INVALID_DEFAULT_ARG_IN_FROM,         /* [base name] */
    LINT_FROM_PLATFORM_FLAG_CONST_DISALLOWED, /* [platform] */
    LINT_COPY_IGNORED_FILE,                   /* [command, file] */
    LINT_INVALID_DEFINITION_DESCRIPTION,      /* [instruction, name]; experimental */
    LINT_EXPOSE_PROTO_CASING,                 /* [port] */
    LINT_EXPOSE_INVALID_FORMAT,               /* [port] */
    LINT_RULE_COUNT,
};

struct lint_rule_info {
    const char *name;
    const char *description;
    const char *url; /* "" for InvalidBaseImagePlatform */
    bool experimental;
};
const struct lint_rule_info *lint_rule_info(enum lint_rule rule);

/* What a `check` directive or BUILDKIT_DOCKERFILE_CHECK says: "skip=A,B;error=true;experimental=all". */
struct lint_config {
    bool skip_all, experimental_all, return_as_error;
    struct strv skip, experimental;
};
struct error *lint_config_parse(const char *text, struct lint_config *ret) MUST_CHECK;
void lint_config_deinit(struct lint_config *c);

/* One warning; all borrowed.  `text` is the formatted message ("fmtmsg"). */
struct lint_warning {
    enum lint_rule rule;
    const struct lint_rule_info *info;
    const char *text;
    struct df_lines lines;
};

struct lint {
    struct lint_config config; /* owned */
    struct lint *parent;       /* scope; NULL for the root */
    struct strv reported;      /* root only: rule names in order of their first report */
    uint32_t skip_mask, experimental_mask, reported_mask;  /* bit per rule */
    void (*warn)(void *ctx, const struct lint_warning *w); /* NULL: lint is off */
    void *ctx;
};
/* Takes the content of `config`. */
void lint_init(struct lint *l, struct lint_config *config,
               void (*warn)(void *ctx, const struct lint_warning *w), void *ctx);
void lint_deinit(struct lint *l);
/* A scope of `parent` (may be NULL) with the `check=` comment above an instruction merged in; release with
 * lint_deinit. */
void lint_init_scope(struct lint *l, struct lint *parent, const struct strv *comments);

/* Would a report of this rule be shown (saves the work of finding out)? False for NULL. */
bool lint_enabled(const struct lint *l, enum lint_rule rule);
/* Report; the strings the rule takes follow.  No-op when skipped or `l` is NULL. */
void lint_report(struct lint *l, enum lint_rule rule, struct df_lines at, ...);
/* "lint violation found for rules: A, B" when the config says error=true and something was reported, else
 * NULL. */
struct error *lint_error(const struct lint *l) MUST_CHECK;
/* "Rule: message (line N)" as warnings read in the status stream. New string. */
char *lint_format_short(const char *rule, const char *text, int line);

#endif
