/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/instruction.h"

#include "base/rune.h"
#include "frontend/dockerfile/flags.h"
#include "frontend/dockerfile/health.h"
#include "frontend/dockerfile/run_options.h"
#include "frontend/dockerfile/suggest.h"

static const char *const kind_names[] = {
    [INSTR_ADD] = "ADD",
    [INSTR_ARG] = "ARG",
    [INSTR_CMD] = "CMD",
    [INSTR_COPY] = "COPY",
    [INSTR_ENTRYPOINT] = "ENTRYPOINT",
    [INSTR_ENV] = "ENV",
    [INSTR_EXPOSE] = "EXPOSE",
    [INSTR_FROM] = "FROM",
    [INSTR_HEALTHCHECK] = "HEALTHCHECK",
    [INSTR_LABEL] = "LABEL",
    [INSTR_MAINTAINER] = "MAINTAINER",
    [INSTR_ONBUILD] = "ONBUILD",
    [INSTR_RUN] = "RUN",
    [INSTR_SHELL] = "SHELL",
    [INSTR_STOPSIGNAL] = "STOPSIGNAL",
    [INSTR_USER] = "USER",
    [INSTR_VOLUME] = "VOLUME",
    [INSTR_WORKDIR] = "WORKDIR",
};

const char *instruction_kind_name(enum instruction_kind kind)
{
    return kind_names[kind];
}

/* ---- what several keywords share ---- */

static struct error *need_one(const struct instruction *i)
{
    return err_new(ERR_INVALID, "%s requires at least one argument", kind_names[i->kind]);
}

static struct error *no_flags(struct arena *mem, const struct df_node *n)
{
    return flags_parse(mem, &n->flags, NULL, 0);
}

/* The comments above by their first word, the first of equals: what may describe a name. */
static void index_comments(const struct strv *comments, struct map *ret)
{
    for (size_t i = 0; i < comments->len; i++) {
        CLEANUP(freep) char *word = xstrndup(comments->v[i], strcspn(comments->v[i], " "));
        if (!map_has(ret, word) && comments->v[i][strlen(word)] == ' ')
            map_set(ret, word, comments->v[i]);
    }
}

/* Of the comment "NAME text" the text, "" when there is none. */
static const char *find_description(const struct map *comments, const char *name)
{
    if (comments->len == 0)
        return "";
    CLEANUP(freep) char *word = xstrndup(name, strcspn(name, " "));
    const char *c = map_get(comments, word);
    const char *rest = c != NULL ? str_skip_prefix(c, name) : NULL;

    return *name != '\0' && rest != NULL && *rest == ' ' ? rest + 1 : "";
}

/* A comment directly above FROM or ARG should describe one of the names. */
static void check_description(const char *keyword, const struct strv *names, const struct df_node *n,
                              struct lint *lint)
{
    if (n->comments.len == 0 || names->len == 0)
        return;
    const char *last = n->comments.v[n->comments.len - 1];
    CLEANUP(freep) char *first = xstrndup(last, strcspn(last, " "));
    if (strv_has(names, first))
        return;
    lint_report(lint, LINT_INVALID_DEFINITION_DESCRIPTION, n->lines, keyword,
                names->len > 1 ? "<arg_key>" : names->v[0]);
}

static struct error *parse_text(struct arena *mem, const struct df_node *n, struct instruction *i)
{
    if (n->args.len != 1)
        return err_new(ERR_INVALID, "%s requires exactly one argument", kind_names[i->kind]);
    if (i->kind != INSTR_STOPSIGNAL)
        TRY(no_flags(mem, n));
    i->text = n->args.v[0];
    return NULL;
}

static struct error *parse_key_values(struct arena *mem, const struct df_node *n, struct instruction *i)
{
    TRY(no_flags(mem, n));
    if (n->args.len == 0)
        return need_one(i);
    i->kv.v = arena_alloc(mem, n->args.len / 3 * sizeof(*i->kv.v));
    for (size_t a = 0; a + 2 < n->args.len; a += 3) {
        if (*n->args.v[a] == '\0')
            return err_new(ERR_INVALID, "%s names can not be blank", kind_names[i->kind]);
        i->kv.v[i->kv.len++] = (struct key_value){
            .key = n->args.v[a],
            .value = n->args.v[a + 1],
            .no_delim = *n->args.v[a + 2] == '\0',
        };
    }
    return NULL;
}

static void set_command_line(struct arena *mem, const struct df_node *n, struct command_line *line)
{
    line->args = n->args;
    line->prepend_shell = !n->json;
    if (n->heredoc_count == 0)
        return;
    line->files = arena_alloc(mem, n->heredoc_count * sizeof(*line->files));
    for (size_t k = 0; k < n->heredoc_count; k++) {
        const struct df_heredoc *h = &n->heredocs[k];
        line->files[line->file_count++] = (struct inline_file){ h->name, h->content, h->chomp };
    }
}

/* ---- one keyword each ---- */

/* `source` is the word in the arguments, `body` what the parser read for that name (NULL: nothing). */
static void add_content(struct arena *mem, const struct df_heredoc *source, const struct df_heredoc *body,
                        struct copy_args *c)
{
    const char *data = body != NULL ? body->content : "";

    c->contents = arena_grow(mem, c->contents, c->content_count, sizeof(*c->contents));
    c->contents[c->content_count++] = (struct source_content){
        .path = source->name,
        .data = source->chomp ? heredoc_chomp(mem, data) : data,
        .expand = source->expand,
    };
}

/* Of heredocs with one name the last counts. */
static struct error *parse_sources(struct arena *mem, const struct df_node *n, struct instruction *i)
{
    CLEANUP(map_deinit) struct map bodies = { 0 };
    size_t last = n->args.len - 1;
    struct df_heredoc h;

    if (heredoc_parse(mem, n->args.v[last], &h))
        return err_new(ERR_INVALID, "%s cannot accept a heredoc as a destination", kind_names[i->kind]);
    for (size_t k = 0; k < n->heredoc_count; k++)
        map_set(&bodies, n->heredocs[k].name, &n->heredocs[k]);
    for (size_t a = 0; a < last; a++) {
        if (heredoc_parse(mem, n->args.v[a], &h))
            add_content(mem, &h, map_get(&bodies, h.name), &i->copy);
        else
            arena_strv_add(mem, &i->copy.paths, n->args.v[a]);
    }
    i->copy.dest = n->args.v[last];
    return NULL;
}

static struct error *parse_copy(struct arena *mem, const struct df_node *n, struct instruction *i)
{
    enum { CHOWN, CHMOD, LINK, EXCLUDE, FROM, PARENTS, ADD_ONLY = FROM, KEEP_GIT = FROM, CHECKSUM, UNPACK };
    struct copy_args *c = &i->copy;
    struct flag copy_flags[] = {
        [CHOWN] = { .name = "chown", .type = FLAG_STRING },
        [CHMOD] = { .name = "chmod", .type = FLAG_STRING },
        [LINK] = { .name = "link", .type = FLAG_BOOL },
        [EXCLUDE] = { .name = "exclude", .type = FLAG_STRINGS, .list = &c->exclude },
        [FROM] = { .name = "from", .type = FLAG_STRING },
        [PARENTS] = { .name = "parents", .type = FLAG_BOOL },
    };
    struct flag add_flags[] = {
        [CHOWN] = { .name = "chown", .type = FLAG_STRING },
        [CHMOD] = { .name = "chmod", .type = FLAG_STRING },
        [LINK] = { .name = "link", .type = FLAG_BOOL },
        [EXCLUDE] = { .name = "exclude", .type = FLAG_STRINGS, .list = &c->exclude },
        [KEEP_GIT] = { .name = "keep-git-dir", .type = FLAG_BOOL },
        [CHECKSUM] = { .name = "checksum", .type = FLAG_STRING },
        [UNPACK] = { .name = "unpack", .type = FLAG_BOOL },
    };
    bool add = i->kind == INSTR_ADD;
    struct flag *flags = add ? add_flags : copy_flags;

    if (n->args.len < 2)
        return err_new(ERR_INVALID,
                       "%s requires at least two arguments, but only one was provided. Destination could not "
                       "be determined",
                       kind_names[i->kind]);
    TRY(flags_parse(mem, &n->flags, flags, add ? ARRAY_LEN(add_flags) : ARRAY_LEN(copy_flags)));
    c->chown = flags[CHOWN].value;
    c->chmod = flags[CHMOD].value;
    c->link = flags[LINK].on;
    c->from = add ? "" : flags[FROM].value;
    c->parents = !add && flags[PARENTS].on;
    c->checksum = add ? flags[CHECKSUM].value : "";
    c->keep_git_dir_set = add && flags[KEEP_GIT].used;
    c->keep_git_dir = add && flags[KEEP_GIT].on;
    c->unpack_set = add && flags[UNPACK].used;
    c->unpack = add && flags[UNPACK].on;
    return parse_sources(mem, n, i);
}

static bool is_stage_name(const char *s)
{
    static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789-_.";

    return *s >= 'a' && *s <= 'z' && s[strspn(s, rest)] == '\0';
}

/* Letters of ASCII in the word; false: it has others too. */
static bool find_case(const char *s, bool *ret_lower, bool *ret_upper)
{
    *ret_lower = *ret_upper = false;
    for (; *s != '\0' && (unsigned char)*s < 0x80; s++) {
        *ret_lower |= *s >= 'a' && *s <= 'z';
        *ret_upper |= *s >= 'A' && *s <= 'Z';
    }
    return *s == '\0';
}

/* "FROM x AS y": is the case of AS that of FROM?  A FROM in mixed case is another rule's business. */
static bool as_matches_from(const char *from, const char *as)
{
    bool from_lower, from_upper, lower, upper;

    if (find_case(from, &from_lower, &from_upper) && find_case(as, &lower, &upper))
        return !from_upper ? !upper : from_lower || !lower;
    CLEANUP(freep) char *lower_from = str_lower_valid(from);
    CLEANUP(freep) char *upper_from = str_upper(from);
    CLEANUP(freep) char *lower_as = str_lower_valid(as);
    CLEANUP(freep) char *upper_as = str_upper(as);

    if (streq(from, lower_from))
        return streq(as, lower_as);
    return !streq(from, upper_from) || streq(as, upper_as);
}

static void check_from_casing(const struct df_node *n, struct lint *lint)
{
    if (n->args.len < 3)
        return;
    if (n->args.len == 3 && !is_stage_name(n->args.v[2])) {
        CLEANUP(freep) char *lower = str_lower_valid(n->args.v[2]);

        if (!streq(lower, n->args.v[2]))
            lint_report(lint, LINT_STAGE_NAME_CASING, n->lines, n->args.v[2]);
    }
    if (!as_matches_from(n->value, n->args.v[1]))
        lint_report(lint, LINT_FROM_AS_CASING, n->lines, n->value, n->args.v[1]);
}

static struct error *parse_from(struct arena *mem, const struct df_node *n, struct instruction *i,
                                struct lint *lint)
{
    struct flag platform = { .name = "platform", .type = FLAG_STRING };
    CLEANUP(map_deinit) struct map comments = { 0 };
    struct strv names = { 0 };
    bool named = n->args.len == 3 && str_equal_fold(n->args.v[1], "as");

    check_from_casing(n, lint);
    if (!named && n->args.len != 1)
        return err_new(ERR_INVALID, "FROM requires either one or three arguments");
    i->from.stage_name = named ? n->args.v[2] : "";
    if (named && !is_stage_name(i->from.stage_name)) {
        CLEANUP(freep) char *lower = str_lower_valid(n->args.v[2]);

        i->from.stage_name = arena_str(mem, lower);
    }
    if (named && !is_stage_name(i->from.stage_name)) {
        CLEANUP(freep) char *quoted = str_quote(n->args.v[2]);
        return err_new(ERR_INVALID,
                       "invalid name for build stage: %s, name can't start with a number or contain symbols",
                       quoted);
    }
    TRY(flags_parse(mem, &n->flags, &platform, 1));
    i->from.base = n->args.v[0];
    i->from.platform = platform.value;
    index_comments(&n->comments, &comments);
    i->from.description = find_description(&comments, i->from.stage_name);
    if (named) {
        arena_strv_add(mem, &names, i->from.stage_name);
        check_description("FROM", &names, n, lint);
    }
    return NULL;
}

/* The inner instruction as text again, to be parsed when a stage builds upon this one. */
static const char *trigger_text(struct arena *mem, const struct df_node *n)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    const char *s = n->original + strspn(n->original, "\t\n\f\r ");

    if (strncasecmp(s, "ONBUILD", 7) == 0)
        s += 7 + strspn(s + 7, "\t\n\f\r ");
    else
        s = n->original;
    if (n->heredoc_count == 0)
        return s;
    buf_adds(&b, s);
    for (size_t k = 0; k < n->heredoc_count; k++)
        buf_addf(&b, "\n%s%s", n->heredocs[k].content, n->heredocs[k].name);
    return arena_str(mem, buf_str(&b));
}

static struct error *parse_onbuild(struct arena *mem, const struct df_node *n, struct instruction *i)
{
    size_t len;

    if (n->args.len == 0)
        return need_one(i);
    TRY(no_flags(mem, n));
    const char *s = str_trim_space(n->args.v[0], strlen(n->args.v[0]), &len);
    CLEANUP(freep) char *word = xstrndup(s, len);
    CLEANUP(freep) char *trigger = str_upper(word);
    if (streq(trigger, "ONBUILD"))
        return err_new(ERR_INVALID, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    if (streq(trigger, "MAINTAINER") || streq(trigger, "FROM"))
        return err_new(ERR_INVALID, "%s isn't allowed as an ONBUILD trigger", trigger);
    i->text = trigger_text(mem, n);
    return NULL;
}

/* The one of the names that it is; NULL: none. */
static const char *find_name(const char *s, const char *const *names)
{
    while (*names != NULL && !streq(s, *names))
        names++;
    return *names;
}

static struct error *parse_run_modes(const char *network, const char *security, struct run_args *r)
{
    static const char *const networks[] = { "default", "none", "host", NULL };
    static const char *const securities[] = { "sandbox", "insecure", NULL };
    CLEANUP(freep) char *quoted = NULL;

    r->network = find_name(network, networks);
    r->security = find_name(security, securities);
    if (r->network == NULL) {
        quoted = str_quote(network);
        return err_new(ERR_INVALID, "invalid network mode %s", quoted);
    }
    if (r->security == NULL) {
        quoted = str_quote(security);
        return err_new(ERR_INVALID, "security %s is not valid", quoted);
    }
    return NULL;
}

static struct error *parse_run(struct arena *mem, const struct df_node *n, struct instruction *i)
{
    struct strv devices = { 0 };
    struct run_args *r = &i->run;
    struct flag flags[] = {
        { .name = "device", .type = FLAG_STRINGS, .list = &devices },
        { .name = "mount", .type = FLAG_STRINGS, .list = &r->mount_flags },
        { .name = "network", .type = FLAG_STRING },
        { .name = "security", .type = FLAG_STRING },
    };

    TRY(flags_parse(mem, &n->flags, flags, ARRAY_LEN(flags)));
    set_command_line(mem, n, &r->line);
    if (devices.len > 0)
        r->devices = arena_alloc(mem, devices.len * sizeof(*r->devices));
    for (size_t k = 0; k < devices.len; k++) {
        TRY(run_device_parse(mem, devices.v[k], &r->devices[k]));
        r->device_count++;
    }
    if (r->mount_flags.len > 0)
        r->mounts = arena_alloc(mem, r->mount_flags.len * sizeof(*r->mounts));
    for (size_t k = 0; k < r->mount_flags.len; k++) {
        TRY(run_mount_parse(mem, r->mount_flags.v[k], NULL, NULL, &r->mounts[k]));
        r->mount_count++;
    }
    return parse_run_modes(flags[2].used ? flags[2].value : "default",
                           flags[3].used ? flags[3].value : "sandbox", r);
}

static struct error *parse_command(struct arena *mem, const struct df_node *n, struct instruction *i)
{
    TRY(no_flags(mem, n));
    set_command_line(mem, n, &i->line);
    return NULL;
}

static struct error *parse_expose(struct arena *mem, const struct df_node *n, struct instruction *i)
{
    if (n->args.len == 0)
        return need_one(i);
    TRY(no_flags(mem, n));
    for (size_t a = 0; a < n->args.len; a++)
        arena_strv_add(mem, &i->words, n->args.v[a]);
    strv_sort(&i->words);
    return NULL;
}

static struct error *parse_volume(struct arena *mem, const struct df_node *n, struct instruction *i)
{
    if (n->args.len == 0)
        return need_one(i);
    TRY(no_flags(mem, n));
    for (size_t a = 0; a < n->args.len; a++) {
        size_t len;
        const char *s = str_trim_space(n->args.v[a], strlen(n->args.v[a]), &len);
        if (len == 0)
            return err_new(ERR_INVALID, "VOLUME specified can not be an empty string");
        arena_strv_add(mem, &i->words, arena_strn(mem, s, len));
    }
    return NULL;
}

static struct error *parse_arg(struct arena *mem, const struct df_node *n, struct instruction *i,
                               struct lint *lint)
{
    struct strv names = { 0 };
    CLEANUP(map_deinit) struct map comments = { 0 };

    if (n->args.len == 0)
        return need_one(i);
    i->arg.v = arena_alloc(mem, n->args.len * sizeof(*i->arg.v));
    index_comments(&n->comments, &comments);
    for (size_t a = 0; a < n->args.len; a++) {
        const char *eq = strchr(n->args.v[a], '=');
        if (eq == n->args.v[a])
            return err_new(ERR_INVALID, "ARG names can not be blank");
        struct arg_def *d = &i->arg.v[i->arg.len++];
        d->key = eq != NULL ? arena_strn(mem, n->args.v[a], (size_t)(eq - n->args.v[a])) : n->args.v[a];
        d->value = eq != NULL ? eq + 1 : NULL;
        d->description = find_description(&comments, d->key);
        arena_strv_add(mem, &names, d->key);
    }
    check_description("ARG", &names, n, lint);
    return NULL;
}

static struct error *parse_shell(struct arena *mem, const struct df_node *n, struct instruction *i)
{
    TRY(no_flags(mem, n));
    if (n->args.len == 0)
        return need_one(i);
    if (!n->json)
        return err_new(ERR_INVALID, "SHELL requires the arguments to be in JSON form");
    i->words = n->args;
    return NULL;
}

static struct error *parse_kind(struct arena *mem, const struct df_node *n, struct instruction *i,
                                struct lint *lint)
{
    switch (i->kind) {
    case INSTR_ADD:
    case INSTR_COPY:
        return parse_copy(mem, n, i);
    case INSTR_ARG:
        return parse_arg(mem, n, i, lint);
    case INSTR_CMD:
    case INSTR_ENTRYPOINT:
        return parse_command(mem, n, i);
    case INSTR_ENV:
    case INSTR_LABEL:
        return parse_key_values(mem, n, i);
    case INSTR_EXPOSE:
        return parse_expose(mem, n, i);
    case INSTR_FROM:
        return parse_from(mem, n, i, lint);
    case INSTR_HEALTHCHECK:
        return healthcheck_parse(mem, n, &i->health);
    case INSTR_ONBUILD:
        return parse_onbuild(mem, n, i);
    case INSTR_RUN:
        return parse_run(mem, n, i);
    case INSTR_SHELL:
        return parse_shell(mem, n, i);
    case INSTR_VOLUME:
        return parse_volume(mem, n, i);
    case INSTR_MAINTAINER:
        lint_report(lint, LINT_MAINTAINER_DEPRECATED, n->lines);
        return parse_text(mem, n, i);
    case INSTR_STOPSIGNAL:
    case INSTR_USER:
    case INSTR_WORKDIR:
        return parse_text(mem, n, i);
    }
    assert(false);
    return NULL;
}

static struct error *unknown_instruction(const struct df_node *n)
{
    return suggest_wrap(err_new(ERR_INVALID, "unknown instruction: %s", n->value), n->value, kind_names,
                        ARRAY_LEN(kind_names), false, NULL);
}

/* Without blanks around: a part of the text where it ends as that does. */
static const char *trimmed(struct arena *mem, const char *text)
{
    size_t len;
    const char *s = str_trim_space(text, strlen(text), &len);

    return s[len] == '\0' ? s : arena_strn(mem, s, len);
}

struct error *instruction_parse(struct arena *mem, const struct df_node *n, struct lint *lint,
                                struct instruction **ret)
{
    size_t kind = 0;

    /* Letters of both cases differ in one bit: most keywords are passed over at their first one. */
    while (kind < ARRAY_LEN(kind_names) && (((kind_names[kind][0] ^ n->value[0]) & ~0x20) != 0 ||
                                            !str_equal_fold(n->value, kind_names[kind])))
        kind++;
    if (kind == ARRAY_LEN(kind_names))
        return df_error_at(unknown_instruction(n), n->lines);
    struct instruction *i = ARENA_NEW(mem, struct instruction);
    CLEANUP(lint_deinit) struct lint scope = { 0 };
    lint_init_scope(&scope, lint, &n->comments);
    i->kind = (enum instruction_kind)kind;
    i->lines = n->lines;
    TRY(df_error_at(parse_kind(mem, n, i, &scope), n->lines));
    i->name = n->value;
    i->code = trimmed(mem, n->original);
    i->comments = n->comments;
    *ret = i;
    return NULL;
}

struct error *instruction_parse_command(struct arena *mem, const struct df_node *n, struct instruction **ret)
{
    struct instruction *i = NULL;

    TRY(instruction_parse(mem, n, NULL, &i));
    if (i->kind == INSTR_FROM)
        return df_error_at(err_new(ERR_INVALID, "*instructions.Stage is not a command type"), n->lines);
    *ret = i;
    return NULL;
}

struct instruction *instruction_new_label(struct arena *mem, const char *key, const char *value)
{
    struct instruction *i = ARENA_NEW(mem, struct instruction);

    i->kind = INSTR_LABEL;
    i->name = "label";
    i->code = arena_strf(mem, "LABEL %s=%s", key, value);
    i->lines = DF_NOWHERE;
    i->kv.v = ARENA_NEW(mem, struct key_value);
    i->kv.v[0] = (struct key_value){ arena_str(mem, key), arena_str(mem, value), false };
    i->kv.len = 1;
    i->kv.no_expand = true;
    return i;
}
