/* SPDX-License-Identifier: Apache-2.0 */
/* What each instruction does to the stage: state, image config, history. */
#include "base/bytes.h"
#include "base/rune.h"
#include "frontend/dockerfile/build_stage.h"
#include "frontend/dockerfile/gotext.h"
#include "frontend/dockerfile/ospath.h"
#include "oci/purl.h"

#include <signal.h>

/* ---- variables
 * ---------------------------------------------------------------------------------------------------------
 */

struct expansion {
    struct build_stage *s;
    const struct instruction *ins;
    struct lint *lint;
    const struct words_options *words;
};

static struct error *expand_word(void *ctx, struct arena *mem, const char *word, const char **ret)
{
    struct expansion *x = ctx;
    struct words_env env = env_of(&x->s->state.env);
    CLEANUP(words_result_deinit) struct words_result r = { 0 };
    struct error *e;

    *ret = word;
    if (words_plain(x->words, word))
        return NULL;
    e = words_process(x->words, word, &env, &r);
    check_unmatched(x->s, x->s->state.env, x->lint, &r.unmatched, x->ins->lines);
    TRY(e);
    *ret = arena_str(mem, r.text);
    return NULL;
}

static struct error *expand(struct convert *c, struct build_stage *s, struct instruction *ins,
                            struct lint *lint)
{
    const struct words_options raw = { .escape = '\\', .skip_quotes = true, .one_word = true };
    struct words_options words = c->words;
    struct expansion x = { s, ins, lint, &words };

    words.one_word = true;
    /* The value of an ARG may be replaced: it is expanded only when it counts. */
    if (ins->kind != INSTR_ARG)
        TRY(instruction_expand(&c->mem, ins, expand_word, &x));
    x.words = &raw;
    return instruction_expand_raw(&c->mem, ins, expand_word, &x);
}

static void text_history(struct convert *c, struct build_stage *s, const char *keyword, const char *text,
                         bool layer)
{
    CLEANUP(buf_deinit) struct buf history = { 0 };

    buf_adds(&history, keyword);
    buf_addc(&history, ' ');
    buf_adds(&history, text);
    stage_history(c, s, &history, layer);
}

/* ---- ENV, ARG, LABEL
 * --------------------------------------------------------------------------------------------------- */

static void add_pair(const struct convert *c, struct buf *out, const char *key, const char *value)
{
    if (c->o->only_check)
        return; /* nobody will see the history */
    buf_addc(out, ' ');
    buf_adds(out, key);
    buf_addc(out, '=');
    buf_adds(out, value);
}

static struct error *dispatch_env(struct convert *c, struct build_stage *s, const struct instruction *ins,
                                  struct lint *lint)
{
    CLEANUP(buf_deinit) struct buf history = { 0 };

    buf_adds(&history, "ENV");
    for (size_t i = 0; i < ins->kv.len; i++) {
        const struct key_value *kv = &ins->kv.v[i];

        if (kv->no_delim)
            lint_report(lint, LINT_LEGACY_KEY_VALUE_FORMAT, ins->lines, ins->name);
        check_secret_key("ENV", kv->key, ins->lines, lint);
        add_pair(c, &history, kv->key, kv->value);
        s->state = llb_add_env(c->b, s->state, kv->key, kv->value);
        df_image_set_env(&s->image, kv->key, kv->value);
    }
    stage_history(c, s, &history, false);
    return NULL;
}

static struct error *dispatch_label(struct convert *c, struct build_stage *s, const struct instruction *ins,
                                    struct lint *lint)
{
    CLEANUP(buf_deinit) struct buf history = { 0 };

    buf_adds(&history, "LABEL");
    for (size_t i = 0; i < ins->kv.len; i++) {
        const struct key_value *kv = &ins->kv.v[i];

        if (kv->no_delim)
            lint_report(lint, LINT_LEGACY_KEY_VALUE_FORMAT, ins->lines, ins->name);
        add_pair(c, &history, kv->key, kv->value);
        strmap_set(&s->image.labels, kv->key, kv->value);
    }
    stage_history(c, s, &history, false);
    return NULL;
}

/* The value that an ARG gets, as long as the conversion; NULL when it stays unset. */
static struct error *arg_value(struct convert *c, struct build_stage *s, const struct arg_def *arg,
                               const struct instruction *ins, struct lint *lint, const char **ret)
{
    const char *given = strmap_get(&c->build_args, arg->key);
    struct expansion x = { s, ins, lint, &c->words };

    *ret = given;
    if (given != NULL)
        return NULL;
    if (arg->value == NULL) {
        *ret = llb_env_get(c->global_args, arg->key);
        return NULL;
    }
    return expand_word(&x, &c->mem, arg->value, ret);
}

static struct error *dispatch_arg(struct convert *c, struct build_stage *s, const struct instruction *ins,
                                  struct lint *lint)
{
    CLEANUP(buf_deinit) struct buf history = { 0 };

    buf_adds(&history, "ARG");
    for (size_t i = 0; i < ins->arg.len; i++) {
        const struct arg_def *arg = &ins->arg.v[i];
        const char *value;

        check_secret_key("ARG", arg->key, ins->lines, lint);
        TRY(arg_value(c, s, arg, ins, lint, &value));
        if (value != NULL && !streq(arg->key, "BUILDKIT_SBOM_SCAN_CONTEXT") &&
            !streq(arg->key, "BUILDKIT_SBOM_SCAN_STAGE"))
            s->state = llb_add_env(c->b, s->state, arg->key, value);
        stage_add_arg(c, s, arg->key, value);
        if (c->o->only_check)
            continue; /* nobody will see the history */
        buf_addc(&history, ' ');
        buf_adds(&history, arg->key);
        if (value != NULL) {
            CLEANUP(freep) char *shown = url_redact(value);

            buf_addc(&history, '=');
            buf_adds(&history, shown);
        }
    }
    stage_history(c, s, &history, false);
    return NULL;
}

/* ---- WORKDIR, USER
 * ----------------------------------------------------------------------------------------------------- */

/* Image and state; *ret is the directory with forward slashes. */
static struct error *set_workdir(struct convert *c, struct build_stage *s, const char *path, char **ret)
{
    CLEANUP(freep) char *wd = NULL;
    const char *current = s->image.working_dir != NULL ? s->image.working_dir : "";

    TRY(err_wrap(ospath_workdir(current, path, s->platform->os, &wd), "normalizing workdir"));
    *ret = ospath_to_slash(wd, s->platform->os);
    free(s->image.working_dir);
    s->image.working_dir = TAKE(wd);
    s->state = llb_dir(c->b, s->state, *ret);
    return NULL;
}

static void make_workdir(struct convert *c, struct build_stage *s, const struct instruction *ins,
                         const char *wd)
{
    struct words_env env = env_of(&s->state.env);
    CLEANUP(freep) char *text = step_text(&c->words, ins->code, &env);
    CLEANUP(freep) char *name = step_name(s, text, c->ui->multi_platform, s->platform, s->state.env);
    struct llb_options o = { .custom_name = name, .platform = s->platform };
    struct llb_chown owner;
    const char *user = s->image.user;
    int64_t created = c->epoch * NS_PER_SEC;

    options_locate(c, &o, ins->lines);
    if (user != NULL && *user != '\0')
        owner = llb_chown_parse(c->b, user);
    s->state = llb_file(c->b, s->state,
                        llb_mkdir(c->b, NULL, wd, 0755, true, user != NULL && *user != '\0' ? &owner : NULL,
                                  c->has_epoch ? &created : NULL),
                        &o);
}

static struct error *dispatch_workdir(struct convert *c, struct build_stage *s, const struct instruction *ins,
                                      struct lint *lint)
{
    CLEANUP(freep) char *wd = NULL;
    bool layer;

    if (!s->workdir_set && !ospath_is_abs(ins->text, s->platform->os))
        lint_report(lint, LINT_WORKDIR_RELATIVE_PATH, ins->lines, ins->text);
    s->workdir_set = true;
    TRY(set_workdir(c, s, ins->text, &wd));
    layer = !streq(wd, "/");
    if (layer && !c->o->only_check)
        make_workdir(c, s, ins, wd);
    text_history(c, s, "WORKDIR", wd, layer);
    return NULL;
}

static void set_user(struct convert *c, struct build_stage *s, const char *user)
{
    s->state.user = llb_strdup(c->b, user);
    str_replace(&s->image.user, user);
}

/* ---- CMD, ENTRYPOINT, HEALTHCHECK, SHELL
 * ------------------------------------------------------------------------------- */

static void command_words(struct build_stage *s, const struct instruction *ins, struct lint *lint,
                          struct strv *ret)
{
    if (!ins->line.prepend_shell) {
        strv_copy(ret, &ins->line.args);
        return;
    }
    if (s->image.shell.len == 0)
        lint_report(lint, LINT_JSON_ARGS_RECOMMENDED, ins->lines, ins->name);
    with_shell(&s->image, &ins->line.args, ret);
}

static void list_history(struct convert *c, struct build_stage *s, const char *keyword, const struct strv *v,
                         bool quoted)
{
    CLEANUP(buf_deinit) struct buf history = { 0 };

    buf_addf(&history, "%s ", keyword);
    buf_add_go_list(&history, v, quoted);
    stage_history(c, s, &history, false);
}

static void dispatch_cmd(struct convert *c, struct build_stage *s, const struct instruction *ins,
                         struct lint *lint)
{
    check_used_once(&s->seen_cmd, ins, lint);
    strv_clear(&s->image.cmd);
    command_words(s, ins, lint, &s->image.cmd);
    s->image.args_escaped = true;
    list_history(c, s, "CMD", &s->image.cmd, true);
}

static void dispatch_entrypoint(struct convert *c, struct build_stage *s, const struct instruction *ins,
                                struct lint *lint)
{
    check_used_once(&s->seen_entrypoint, ins, lint);
    strv_clear(&s->image.entrypoint);
    command_words(s, ins, lint, &s->image.entrypoint);
    if (!s->seen_cmd.set)
        strv_clear(&s->image.cmd);
    list_history(c, s, "ENTRYPOINT", &s->image.entrypoint, true);
}

static void dispatch_healthcheck(struct convert *c, struct build_stage *s, const struct instruction *ins,
                                 struct lint *lint)
{
    CLEANUP(buf_deinit) struct buf history = { 0 };
    struct df_health *h = &s->image.health;

    check_used_once(&s->seen_healthcheck, ins, lint);
    s->image.has_health = true;
    strv_clear(&h->test);
    strv_copy(&h->test, &ins->health.test);
    h->interval = ins->health.interval;
    h->timeout = ins->health.timeout;
    h->start_period = ins->health.start_period;
    h->start_interval = ins->health.start_interval;
    h->retries = ins->health.retries;
    buf_adds(&history, "HEALTHCHECK {Test:");
    buf_add_go_list(&history, &h->test, false);
    buf_adds(&history, " Interval:");
    buf_add_go_duration(&history, h->interval);
    buf_adds(&history, " Timeout:");
    buf_add_go_duration(&history, h->timeout);
    buf_adds(&history, " StartPeriod:");
    buf_add_go_duration(&history, h->start_period);
    buf_adds(&history, " StartInterval:");
    buf_add_go_duration(&history, h->start_interval);
    buf_addf(&history, " Retries:%lld}", (long long)h->retries);
    stage_history(c, s, &history, false);
}

static void dispatch_shell(struct convert *c, struct build_stage *s, const struct instruction *ins)
{
    strv_clear(&s->image.shell);
    strv_copy(&s->image.shell, &ins->words);
    list_history(c, s, "SHELL", &ins->words, false);
}

/* ---- VOLUME, STOPSIGNAL, MAINTAINER
 * ------------------------------------------------------------------------------------ */

static struct error *dispatch_volume(struct convert *c, struct build_stage *s, const struct instruction *ins)
{
    for (size_t i = 0; i < ins->words.len; i++) {
        if (*ins->words.v[i] == '\0')
            return err_new(ERR_INVALID, "VOLUME specified can not be an empty string");
        strmap_set(&s->image.volumes, ins->words.v[i], "");
    }
    list_history(c, s, "VOLUME", &ins->words, false);
    return NULL;
}

/* RTMIN, RTMIN+n, RTMAX-n as moby's table has them. */
static bool is_realtime_signal(const char *name)
{
    const char *rest = str_skip_prefix(name, "RTMIN"), *prefix = "+";
    int64_t n, most = 15;

    if (rest == NULL) {
        rest = str_skip_prefix(name, "RTMAX");
        prefix = "-";
        most = 14;
    }
    if (rest == NULL || *rest == '\0')
        return rest != NULL;
    rest = str_skip_prefix(rest, prefix);
    return rest != NULL && *rest != '0' && *rest != '+' && *rest != '-' && parse_i64(rest, &n) == 0 &&
           n <= most;
}

bool instruction_signal_is_known(const char *text)
{
    static const char *const names[] = { "ABRT", "ALRM", "BUS",    "CHLD",  "CLD",  "CONT",   "FPE",
                                         "HUP",  "ILL",  "INT",    "IO",    "IOT",  "KILL",   "PIPE",
                                         "POLL", "PROF", "PWR",    "QUIT",  "SEGV", "STKFLT", "STOP",
                                         "SYS",  "TERM", "TRAP",   "TSTP",  "TTIN", "TTOU",   "URG",
                                         "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ" };
    CLEANUP(freep) char *upper = str_upper(text);
    const char *name = str_has_prefix(upper, "SIG") ? upper + 3 : upper;
    int64_t number;

    if (parse_i64(*text == '+' ? text + 1 : text, &number) == 0)
        return number != 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (streq(name, names[i]))
            return true;
    }
    return is_realtime_signal(name);
}

static struct error *dispatch_stop_signal(struct convert *c, struct build_stage *s,
                                          const struct instruction *ins)
{
    if (!instruction_signal_is_known(ins->text))
        return err_new(ERR_INVALID, "invalid signal: %s", ins->text);
    str_replace(&s->image.stop_signal, ins->text);
    text_history(c, s, "STOPSIGNAL", ins->text, false);
    return NULL;
}

/* ---- all
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct error *dispatch(struct convert *c, struct build_stage *s, struct build_command *cmd,
                              struct lint *lint)
{
    struct instruction *ins = cmd->ins;

    s->in_onbuild = cmd->onbuild;
    TRY(expand(c, s, ins, lint));
    switch (ins->kind) {
    case INSTR_ADD:
    case INSTR_COPY:
        return dispatch_copy(c, s, cmd, lint);
    case INSTR_RUN:
        return dispatch_run(c, s, cmd);
    case INSTR_ENV:
        return dispatch_env(c, s, ins, lint);
    case INSTR_ARG:
        return dispatch_arg(c, s, ins, lint);
    case INSTR_LABEL:
        return dispatch_label(c, s, ins, lint);
    case INSTR_WORKDIR:
        return dispatch_workdir(c, s, ins, lint);
    case INSTR_EXPOSE:
        return dispatch_expose(c, s, cmd, lint);
    case INSTR_VOLUME:
        return dispatch_volume(c, s, ins);
    case INSTR_STOPSIGNAL:
        return dispatch_stop_signal(c, s, ins);
    case INSTR_CMD:
        dispatch_cmd(c, s, ins, lint);
        break;
    case INSTR_ENTRYPOINT:
        dispatch_entrypoint(c, s, ins, lint);
        break;
    case INSTR_HEALTHCHECK:
        dispatch_healthcheck(c, s, ins, lint);
        break;
    case INSTR_SHELL:
        dispatch_shell(c, s, ins);
        break;
    case INSTR_USER:
        set_user(c, s, ins->text);
        text_history(c, s, "USER", ins->text, false);
        break;
    case INSTR_MAINTAINER:
        str_replace(&s->image.author, ins->text);
        text_history(c, s, "MAINTAINER", ins->text, false);
        break;
    case INSTR_ONBUILD:
        strv_add(&s->image.on_build, ins->text);
        break;
    case INSTR_FROM:
        break;
    }
    return NULL;
}

struct error *stage_dispatch(struct convert *c, struct build_stage *s, struct build_command *cmd)
{
    struct lint scope;
    struct error *e;

    lint_init_scope(&scope, &c->lint, &cmd->ins->comments);
    e = dispatch(c, s, cmd, &scope);
    lint_deinit(&scope);
    return df_error_at(e, cmd->ins->lines);
}

/* ---- from the image config
 * --------------------------------------------------------------------------------------------- */

static bool has_path(const struct df_image *image)
{
    for (size_t i = 0; i < image->env.len; i++) {
        if (str_has_prefix(image->env.v[i], "PATH="))
            return true;
    }
    return false;
}

struct error *stage_start(struct convert *c, struct build_stage *s)
{
    CLEANUP(freep) char *wd = NULL;
    const char *dir;

    stage_inherit(c, s);
    s->dispatched = true;
    if (s->platform == NULL)
        s->platform = c->target;
    if (!has_path(&s->image) && !streq(s->platform->os, "windows"))
        strv_addf(&s->image.env, "PATH=%s", default_path_env(s->platform->os));
    for (size_t i = 0; i < s->image.env.len; i++) {
        const char *e = s->image.env.v[i];
        size_t len = strcspn(e, "=");

        s->state = llb_add_env(c->b, s->state, llb_strndup(c->b, e, len), e[len] == '=' ? e + len + 1 : "");
    }
    if (*c->ui->hostname != '\0')
        s->state.hostname = llb_strdup(c->b, c->ui->hostname);
    dir = s->image.working_dir;
    if (dir != NULL && *dir != '\0') {
        CLEANUP(freep) char *copy = xstrdup(dir);

        TRY(df_error_at(set_workdir(c, s, copy, &wd), s->lines));
    }
    if (s->image.user != NULL && *s->image.user != '\0') {
        CLEANUP(freep) char *copy = xstrdup(s->image.user);

        set_user(c, s, copy);
    }
    s->state.network = c->ui->network;
    return NULL;
}
