/* SPDX-License-Identifier: Apache-2.0 */
/* classic_dispatch.c - what each instruction does to the stage of a classic build */
#include "engine/classic_impl.h"

#include "frontend/dockerfile/gotext.h"

/* ---- configs and commands
 * ------------------------------------------------------------------------------------------------ */

void classic_shell(const struct classic_stage *s, struct strv *ret)
{
    if (s->image.config.shell.len > 0) {
        strv_copy(ret, &s->image.config.shell);
        return;
    }
    strv_add(ret, "/bin/sh");
    strv_add(ret, "-c");
}

static void drop_history(struct df_image *i)
{
    while (i->history_count > 0) {
        struct df_history *h = &i->history[--i->history_count];

        free(h->created);
        free(h->created_by);
        free(h->author);
        free(h->comment);
    }
}

struct digest classic_step_config(const struct classic_stage *s, const struct strv *cmd, bool no_entrypoint)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct df_image i;

    df_image_init(&i);
    df_image_copy(&i, &s->image.config);
    drop_history(&i);
    strv_clear(&i.diff_ids);
    i.has_diff_ids = false;
    str_replace(&i.created, NULL);
    str_replace(&i.author, NULL);
    strv_clear(&i.cmd);
    strv_copy(&i.cmd, cmd);
    if (no_entrypoint)
        strv_clear(&i.entrypoint);
    df_image_encode(&i, &text);
    df_image_deinit(&i);
    return digest_of(text.data, text.len);
}

struct error *classic_step(struct classic *c, struct classic_stage *s, const struct strv *words,
                           classic_files_fn make_files)
{
    CLEANUP(strv_deinit) struct strv cmd = { 0 };
    CLEANUP(snapshot_unrefp) struct snapshot *files = NULL;
    CLEANUP(freep) char *created_by = NULL;
    struct digest config;
    bool hit;

    classic_shell(s, &cmd);
    strv_copy(&cmd, words);
    created_by = strv_join(&cmd, " ");
    config = classic_step_config(s, &cmd, false);
    TRY(classic_image_probe(c, s, &config, created_by, &hit));
    if (hit)
        return NULL;
    TRY(classic_host_check(c));
    TRY(classic_say_running(c));
    if (make_files != NULL)
        TRY(make_files(c, s, &files));
    return classic_image_commit(c, s, files, &config, created_by);
}

/* A step that changes the config alone. */
static struct error *commit(struct classic *c, struct classic_stage *s, const char *comment)
{
    CLEANUP(strv_deinit) struct strv words = { 0 };

    strv_add(&words, "#(nop) ");
    strv_add(&words, comment);
    return classic_step(c, s, &words, NULL);
}

/* "KEYWORD [a b]" */
static struct error *commit_list(struct classic *c, struct classic_stage *s, const char *keyword,
                                 const struct strv *v, bool quoted)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    buf_addf(&text, "%s ", keyword);
    buf_add_go_list(&text, v, quoted);
    return commit(c, s, buf_str(&text));
}

static struct error *commit_text(struct classic *c, struct classic_stage *s, const char *keyword,
                                 const char *text)
{
    CLEANUP(freep) char *comment = xasprintf("%s %s", keyword, text);

    return commit(c, s, comment);
}

/* ---- instructions
 * ---------------------------------------------------------------------------------------------------------
 */

static struct error *env(struct classic *c, struct classic_stage *s, const struct key_value_list *kv)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    buf_adds(&text, "ENV");
    for (size_t i = 0; i < kv->len; i++) {
        buf_addf(&text, " %s=%s", kv->v[i].key, kv->v[i].value);
        df_image_set_env(&s->image.config, kv->v[i].key, kv->v[i].value);
    }
    return commit(c, s, buf_str(&text));
}

static struct error *label(struct classic *c, struct classic_stage *s, const struct key_value_list *kv)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    buf_adds(&text, "LABEL");
    for (size_t i = 0; i < kv->len; i++) {
        buf_addf(&text, " %s=%s", kv->v[i].key, kv->v[i].value);
        strmap_set(&s->image.config.labels, kv->v[i].key, kv->v[i].value);
    }
    return commit(c, s, buf_str(&text));
}

static struct error *arg(struct classic *c, struct classic_stage *s, const struct arg_list *args)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    buf_adds(&text, "ARG ");
    for (size_t i = 0; i < args->len; i++) {
        const struct arg_def *a = &args->v[i];

        buf_addf(&text, "%s%s%s%s", i > 0 ? " " : "", a->key, a->value != NULL ? "=" : "",
                 a->value != NULL ? a->value : "");
        classic_args_add(&c->args, a);
    }
    return commit(c, s, buf_str(&text));
}

static void set_command(struct classic_stage *s, const struct command_line *line, struct strv *to)
{
    struct strv words = { 0 };

    if (line->prepend_shell && line->args.len > 0)
        classic_shell(s, &words);
    strv_copy(&words, &line->args);
    strv_deinit(to);
    *to = words;
}

static struct error *cmd(struct classic *c, struct classic_stage *s, const struct command_line *line)
{
    struct df_image *i = &s->image.config;

    set_command(s, line, &i->cmd);
    i->args_escaped = false;
    TRY(commit_list(c, s, "CMD", &i->cmd, true));
    s->cmd_set = s->cmd_set || line->args.len > 0;
    return NULL;
}

static struct error *entrypoint(struct classic *c, struct classic_stage *s, const struct command_line *line)
{
    struct df_image *i = &s->image.config;

    set_command(s, line, &i->entrypoint);
    i->args_escaped = false;
    if (!s->cmd_set)
        strv_clear(&i->cmd);
    return commit_list(c, s, "ENTRYPOINT", &i->entrypoint, true);
}

static struct error *healthcheck(struct classic *c, struct classic_stage *s, const struct healthcheck *h)
{
    CLEANUP(buf_deinit) struct buf text = { 0 }, old = { 0 };
    struct df_image *i = &s->image.config;

    if (i->has_health && i->health.test.len > 0 && !streq(i->health.test.v[0], "NONE")) {
        buf_add_go_list(&old, &i->health.test, false);
        TRY(classic_say(c, "Note: overriding previous HEALTHCHECK: %s\n", buf_str(&old)));
    }
    i->has_health = true;
    strv_clear(&i->health.test);
    strv_copy(&i->health.test, &h->test);
    i->health.interval = h->interval;
    i->health.timeout = h->timeout;
    i->health.start_period = h->start_period;
    i->health.start_interval = h->start_interval;
    i->health.retries = h->retries;
    buf_adds(&text, "HEALTHCHECK &{Test:");
    buf_add_go_list(&text, &h->test, false);
    buf_adds(&text, " Interval:");
    buf_add_go_duration(&text, h->interval);
    buf_adds(&text, " Timeout:");
    buf_add_go_duration(&text, h->timeout);
    buf_adds(&text, " StartPeriod:");
    buf_add_go_duration(&text, h->start_period);
    buf_adds(&text, " StartInterval:");
    buf_add_go_duration(&text, h->start_interval);
    buf_addf(&text, " Retries:%d}", h->retries);
    return commit(c, s, buf_str(&text));
}

static struct error *expose(struct classic *c, struct classic_stage *s, const struct instruction *ins,
                            const struct words_env *env)
{
    CLEANUP(strv_deinit) struct strv words = { 0 }, ports = { 0 };
    CLEANUP(freep) char *shown = NULL;

    for (size_t i = 0; i < ins->words.len; i++)
        TRY(words_split(&c->words, ins->words.v[i], env, &words));
    for (size_t i = 0; i < words.len; i++)
        TRY(instruction_ports(words.v[i], ins->lines, NULL, &ports));
    for (size_t i = 0; i < ports.len; i++)
        strmap_set(&s->image.config.exposed_ports, ports.v[i], "");
    shown = strv_join(&words, " ");
    return commit_text(c, s, "EXPOSE", shown);
}

static struct error *volume(struct classic *c, struct classic_stage *s, const struct strv *words)
{
    for (size_t i = 0; i < words->len; i++) {
        if (*words->v[i] == '\0')
            return err_new(ERR_INVALID, "VOLUME specified can not be an empty string");
        strmap_set(&s->image.config.volumes, words->v[i], "");
    }
    return commit_list(c, s, "VOLUME", words, false);
}

static struct error *shell(struct classic *c, struct classic_stage *s, const struct strv *words)
{
    strv_clear(&s->image.config.shell);
    strv_copy(&s->image.config.shell, words);
    return commit_list(c, s, "SHELL", words, false);
}

static struct error *stop_signal(struct classic *c, struct classic_stage *s, const char *text)
{
    if (!instruction_signal_is_known(text))
        return err_new(ERR_INVALID, "invalid signal: %s", text);
    str_replace(&s->image.config.stop_signal, text);
    return commit_text(c, s, "STOPSIGNAL", text);
}

/* ---- all
 * --------------------------------------------------------------------------------------------------------------------
 */

static struct error *dispatch(struct classic *c, struct classic_stage *s, struct instruction *ins,
                              const struct words_env *env_now)
{
    switch (ins->kind) {
    case INSTR_ADD:
    case INSTR_COPY:
        return classic_copy(c, s, ins);
    case INSTR_RUN:
        return classic_run(c, s, ins);
    case INSTR_WORKDIR:
        return classic_workdir(c, s, ins->text);
    case INSTR_ENV:
        return env(c, s, &ins->kv);
    case INSTR_LABEL:
        return label(c, s, &ins->kv);
    case INSTR_ARG:
        return arg(c, s, &ins->arg);
    case INSTR_CMD:
        return cmd(c, s, &ins->line);
    case INSTR_ENTRYPOINT:
        return entrypoint(c, s, &ins->line);
    case INSTR_HEALTHCHECK:
        return healthcheck(c, s, &ins->health);
    case INSTR_EXPOSE:
        return expose(c, s, ins, env_now);
    case INSTR_VOLUME:
        return volume(c, s, &ins->words);
    case INSTR_SHELL:
        return shell(c, s, &ins->words);
    case INSTR_STOPSIGNAL:
        return stop_signal(c, s, ins->text);
    case INSTR_USER:
        str_replace(&s->image.config.user, ins->text);
        return commit_text(c, s, "USER", ins->text);
    case INSTR_MAINTAINER:
        str_replace(&s->maintainer, ins->text);
        return commit_text(c, s, "MAINTAINER", ins->text);
    case INSTR_ONBUILD:
        strv_add(&s->image.config.on_build, ins->text);
        return commit_text(c, s, "ONBUILD", ins->text);
    case INSTR_FROM:
        break;
    }
    return err_new(ERR_INVALID, "%s: not an instruction of a stage", ins->name);
}

/* What stood as "Running in" is gone: nothing is kept of a step but its image. */
static struct error *say_removed(struct classic *c, bool failed)
{
    struct error *e = NULL;

    for (size_t i = 0; e == NULL && i < c->temporary.len; i++) {
        if (c->o->force_remove || (c->o->remove && !failed))
            e = classic_say(c, " ---> Removed intermediate container %s\n", c->temporary.v[i]);
    }
    strv_clear(&c->temporary);
    return e;
}

struct error *classic_dispatch(struct classic *c, struct classic_stage *s, struct instruction *ins)
{
    CLEANUP(strv_deinit) struct strv vars = { 0 };
    struct words_env env_now;
    struct words_expansion x = { &c->words, &env_now };
    struct error *e, *said;

    strv_copy(&vars, &s->image.config.env);
    classic_args_env(&c->args, &s->image.config.env, &vars);
    env_now = words_env_strv(&vars);
    TRY(instruction_expand(&c->mem, ins, words_expand_in, &x));
    e = dispatch(c, s, ins, &env_now);
    said = say_removed(c, e != NULL);
    if (e == NULL)
        return said;
    err_free(said);
    return e;
}
