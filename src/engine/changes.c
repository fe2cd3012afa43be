/* SPDX-License-Identifier: Apache-2.0 */
/* changes.c - docker import and commit --change: Dockerfile lines applied to a container config */
#include "engine/changes.h"

#include "base/rune.h"
#include "frontend/dockerfile/instruction.h"
#include "frontend/dockerfile/ospath.h"
#include "frontend/dockerfile/words.h"
#include "oci/descriptor.h"

/* CMD and ENTRYPOINT: the JSON form as it is, the shell form behind the shell. */
static json_t *command(const json_t *config, const struct command_line *l)
{
    const json_t *shell = json_object_get(config, "Shell");
    json_t *j;

    if (!l->prepend_shell)
        return strv_to_json(&l->args);
    j = json_array_size(shell) > 0 ? json_deep_copy(shell) : json_pack("[s, s]", "/bin/sh", "-c");
    if (l->args.len > 0)
        json_array_append_new(j, json_string(l->args.v[0]));
    return j;
}

static json_t *object_of(json_t *config, const char *key)
{
    json_t *j = json_object_get(config, key);

    if (!json_is_object(j)) {
        j = json_object();
        json_object_set_new(config, key, j);
    }
    return j;
}

static void set_env(json_t *config, const struct key_value *kv)
{
    json_t *env = json_object_get(config, "Env");
    size_t len = strlen(kv->key);

    if (!json_is_array(env)) {
        env = json_array();
        json_object_set_new(config, "Env", env);
    }
    for (size_t i = 0; i < json_array_size(env); i++) {
        const char *have = json_string_value(json_array_get(env, i));
        if (have != NULL && strncmp(have, kv->key, len) == 0 && have[len] == '=') {
            json_array_set_new(env, i, json_sprintf("%s=%s", kv->key, kv->value));
            return;
        }
    }
    json_array_append_new(env, json_sprintf("%s=%s", kv->key, kv->value));
}

static void set_health(json_t *config, const struct healthcheck *h)
{
    json_t *j = json_pack("{s:o}", "Test", strv_to_json(&h->test));
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = { { "Interval", h->interval },
                    { "Timeout", h->timeout },
                    { "StartPeriod", h->start_period },
                    { "StartInterval", h->start_interval },
                    { "Retries", h->retries } };

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (numbers[i].value != 0)
            json_object_set_new(j, numbers[i].key, json_integer(numbers[i].value));
    }
    json_object_set_new(config, "Healthcheck", j);
}

static void add_trigger(json_t *config, const char *text)
{
    json_t *list = json_object_get(config, "OnBuild");

    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(config, "OnBuild", list);
    }
    json_array_append_new(list, json_string(text));
}

static struct error *expose(json_t *config, const struct instruction *i, const struct words_expansion *x)
{
    CLEANUP(strv_deinit) struct strv words = { 0 }, ports = { 0 };

    for (size_t k = 0; k < i->words.len; k++)
        TRY(words_split(x->options, i->words.v[k], x->env, &words));
    for (size_t k = 0; k < words.len; k++)
        TRY(instruction_ports(words.v[k], i->lines, NULL, &ports));
    for (size_t k = 0; k < ports.len; k++)
        json_object_set_new(object_of(config, "ExposedPorts"), ports.v[k], json_object());
    return NULL;
}

static struct error *add_volumes(json_t *config, const struct strv *paths)
{
    for (size_t k = 0; k < paths->len; k++) {
        if (*paths->v[k] == '\0')
            return err_new(ERR_INVALID, "VOLUME specified can not be an empty string");
        json_object_set_new(object_of(config, "Volumes"), paths->v[k], json_object());
    }
    return NULL;
}

/* Seen from the one that stands there. */
static struct error *set_workdir(json_t *config, const char *path)
{
    const char *now = json_string_value(json_object_get(config, "WorkingDir"));
    CLEANUP(freep) char *dir = NULL;

    if (*path == '\0')
        return err_new(ERR_INVALID, "cannot normalize nothing");
    TRY(ospath_workdir(now == NULL ? "" : now, path, "linux", &dir));
    json_object_set_new(config, "WorkingDir", json_string(dir));
    return NULL;
}

static struct error *apply(json_t *config, const struct instruction *i, const struct words_expansion *x)
{
    switch (i->kind) {
    case INSTR_CMD:
        json_object_set_new(config, "Cmd", command(config, &i->line));
        return NULL;
    case INSTR_ENTRYPOINT:
        json_object_set_new(config, "Entrypoint", command(config, &i->line));
        return NULL;
    case INSTR_ENV:
        for (size_t k = 0; k < i->kv.len; k++)
            set_env(config, &i->kv.v[k]);
        return NULL;
    case INSTR_LABEL:
        for (size_t k = 0; k < i->kv.len; k++)
            json_object_set_new(object_of(config, "Labels"), i->kv.v[k].key, json_string(i->kv.v[k].value));
        return NULL;
    case INSTR_EXPOSE:
        return expose(config, i, x);
    case INSTR_VOLUME:
        return add_volumes(config, &i->words);
    case INSTR_STOPSIGNAL:
        if (!instruction_signal_is_known(i->text))
            return err_new(ERR_INVALID, "invalid signal: %s", i->text);
        json_object_set_new(config, "StopSignal", json_string(i->text));
        return NULL;
    case INSTR_USER:
        json_object_set_new(config, "User", json_string(i->text));
        return NULL;
    case INSTR_WORKDIR:
        return set_workdir(config, i->text);
    case INSTR_ONBUILD:
        add_trigger(config, i->text);
        return NULL;
    case INSTR_HEALTHCHECK:
        set_health(config, &i->health);
        return NULL;
    case INSTR_ADD:
    case INSTR_ARG:
    case INSTR_COPY:
    case INSTR_FROM:
    case INSTR_MAINTAINER:
    case INSTR_RUN:
    case INSTR_SHELL:
        break;
    }
    return err_new(ERR_INVALID, "%s is not a valid change command", instruction_kind_name(i->kind));
}

/* Before any of them is looked at more closely. */
static struct error *check_names(const struct df_ast *ast)
{
    static const char *const valid[] = { "cmd",     "entrypoint", "healthcheck", "env",    "expose", "label",
                                         "onbuild", "stopsignal", "user",        "volume", "workdir" };

    for (size_t i = 0; i < ast->count; i++) {
        bool known = false;

        for (size_t k = 0; k < ARRAY_LEN(valid); k++)
            known |= str_equal_fold(valid[k], ast->nodes[i]->value);
        if (!known)
            return err_new(ERR_INVALID, "%s is not a valid change command", ast->nodes[i]->value);
    }
    return NULL;
}

/* Variables are those of the config as it is by then. */
static struct error *expand_and_apply(struct arena *mem, json_t *config, struct instruction *i,
                                      const struct words_options *words)
{
    CLEANUP(strv_deinit) struct strv vars = { 0 };
    struct words_env env;
    struct words_expansion x = { words, &env };
    const json_t *v;
    size_t k;

    json_array_foreach(json_object_get(config, "Env"), k, v)
    {
        if (json_is_string(v))
            strv_add(&vars, json_string_value(v));
    }
    env = words_env_strv(&vars);
    TRY(instruction_expand(mem, i, words_expand_in, &x));
    return apply(config, i, &x);
}

struct error *changes_apply(json_t *config, const struct strv *changes)
{
    CLEANUP(freep) char *text = strv_join(changes, "\n");
    CLEANUP(arena_deinit) struct arena mem = { 0 };
    struct df_ast ast = { 0 };
    struct words_options words = { 0 };
    bool cmd_set = false;
    struct error *e;

    if (changes->len == 0)
        return NULL;
    TRY(df_ast_parse(&mem, text, strlen(text), &ast));
    TRY(check_names(&ast));
    words.escape = ast.escape;
    e = NULL;
    for (size_t i = 0; e == NULL && i < ast.count; i++) {
        struct instruction *in = NULL;
        e = instruction_parse_command(&mem, ast.nodes[i], &in);
        if (e == NULL)
            e = expand_and_apply(&mem, config, in, &words);
        if (e == NULL && in->kind == INSTR_ENTRYPOINT && !cmd_set)
            json_object_set_new(config, "Cmd", json_null()); /* the old one belongs to the old entrypoint */
        cmd_set = cmd_set || (e == NULL && in->kind == INSTR_CMD);
    }
    if (e != NULL)
        df_error_drop_lines(e);
    return e;
}
