/* SPDX-License-Identifier: Apache-2.0 */
/* classic.c - a classic build from the Dockerfile to its tags */
#include "engine/classic_impl.h"

#include "base/bytes.h"
#include "base/rune.h"
#include "oci/reference.h"
#include "task/task.h"

/* ---- options
 * ---------------------------------------------------------------------------------------------------------------
 */

void classic_options_init(struct classic_options *o)
{
    *o = (struct classic_options){ .resources = { .cpuset_cpus = xstrdup(""), .cpuset_mems = xstrdup("") } };
    o->build_args.free_value = free;
    strmap_init(&o->labels);
}

void classic_options_deinit(struct classic_options *o)
{
    strv_deinit(&o->tags);
    strv_deinit(&o->cache_from);
    strv_deinit(&o->hosts);
    map_deinit(&o->build_args);
    map_deinit(&o->labels);
    for (size_t i = 0; i < o->ulimit_count; i++)
        free((char *)o->ulimits[i].name);
    free(o->ulimits);
    free(o->resources.cpuset_cpus);
    free(o->resources.cpuset_mems);
    json_decref(o->auths);
    json_decref(o->host_config);
}

/* ---- the answer
 * ------------------------------------------------------------------------------------------------------------
 */

static struct error *say_text(struct classic *c, const char *text, size_t len)
{
    CLEANUP(freep) char *valid = str_valid_utf8(text, len);

    return c->out->line(c->out->ctx, json_pack("{s:s}", "stream", valid));
}

struct error *classic_say(struct classic *c, const char *fmt, ...)
{
    CLEANUP(freep) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    return say_text(c, text, strlen(text));
}

/* What goes to stderr is red, as dockerd sends it. */
struct error *classic_say_bytes(struct classic *c, bool is_stderr, const void *data, size_t len)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    buf_adds(&text, is_stderr ? "\x1b[91m" : "");
    buf_add(&text, data, len);
    buf_adds(&text, is_stderr ? "\x1b[0m" : "");
    return say_text(c, buf_str(&text), text.len);
}

struct error *classic_say_running(struct classic *c)
{
    char id[CLASSIC_SHORT_ID + 1];

    random_hex(id, CLASSIC_SHORT_ID / 2);
    strv_add(&c->temporary, id);
    return classic_say(c, " ---> Running in %s\n", id);
}

static struct error *say_id(struct classic *c, const struct digest *id)
{
    return classic_say(c, " ---> %.*s\n", CLASSIC_SHORT_ID, id->s[0] == '\0' ? "" : digest_hex(id));
}

/* ---- the file
 * --------------------------------------------------------------------------------------------------------------
 */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* --label: one instruction each at the end of the last stage. */
static void add_labels(struct classic *c)
{
    struct stage *last = &c->file.stages[c->file.stage_count - 1];
    const struct map *labels = &c->o->labels;
    CLEANUP(freep) char **names = xcalloc(labels->len + 1, sizeof(*names));

    for (size_t i = 0; i < labels->len; i++)
        names[i] = labels->entries[i].key;
    if (labels->len > 0)
        qsort(names, labels->len, sizeof(*names), compare_names);
    for (size_t i = 0; i < labels->len; i++) {
        last->commands = arena_grow(&c->mem, last->commands, last->command_count, sizeof(*last->commands));
        last->commands[last->command_count++] =
            instruction_new_label(&c->mem, names[i], strmap_get(labels, names[i]));
    }
}

/* Without the locations: nobody draws a code frame here. */
static struct error *plain_error(struct error *e)
{
    if (e != NULL)
        df_error_drop_lines(e);
    return e;
}

static struct error *find_target(struct classic *c, size_t *ret)
{
    const char *target = c->o->target;
    CLEANUP(freep) char *quoted = NULL;
    int at;

    *ret = c->file.stage_count;
    if (target == NULL || *target == '\0')
        return NULL;
    at = dockerfile_find_stage(&c->file, target);
    if (at < 0) {
        quoted = str_quote(target);
        return err_new(ERR_INVALID, "target stage %s could not be found", quoted);
    }
    *ret = (size_t)at + 1;
    return NULL;
}

static struct error *parse_file(struct classic *c)
{
    size_t wanted;

    if (c->text.len == 0)
        return err_new(ERR_INVALID, "the Dockerfile (%s) cannot be empty", c->dockerfile_name);
    TRY(err_wrap(plain_error(df_ast_parse(&c->mem, c->text.data, c->text.len, &c->ast)), "failed to parse %s",
                 c->dockerfile_name));
    c->words.escape = c->ast.escape;
    TRY(plain_error(dockerfile_parse_stages(&c->mem, &c->ast, NULL, &c->file)));
    if (c->file.stage_count == 0)
        return err_new(ERR_UNKNOWN, "No image was generated. Is your Dockerfile empty?");
    TRY(find_target(c, &wanted));
    c->file.stage_count = MIN(c->file.stage_count, wanted); /* what comes after the target is not built */
    add_labels(c);
    return NULL;
}

static struct error *print_warnings(struct classic *c)
{
    for (size_t i = 0; i < c->ast.warning_count; i++) {
        CLEANUP(freep) char *text = xasprintf("[WARNING]: %s\n", c->ast.warnings[i].text);

        TRY(classic_say_bytes(c, true, text, strlen(text)));
    }
    if (c->ast.warning_count == 0)
        return NULL;
    static const char last[] =
        "[WARNING]: Empty continuation lines will become errors in a future release.\n";
    return classic_say_bytes(c, true, last, strlen(last));
}

/* ---- stages
 * ----------------------------------------------------------------------------------------------------------------
 */

static struct error *expand_meta(struct classic *c, const char *word, char **ret)
{
    CLEANUP(strv_deinit) struct strv vars = { 0 };
    struct words_env env;

    classic_args_meta_env(&c->args, &vars);
    env = words_env_strv(&vars);
    return words_expand(&c->words, word, &env, ret);
}

static struct error *stage_platform(struct classic *c, const struct stage *st, struct platform *ret)
{
    CLEANUP(freep) char *text = NULL;

    platform_copy(ret, &c->platform);
    if (*st->platform == '\0')
        return NULL;
    TRY(err_wrap(expand_meta(c, st->platform, &text), "failed to process arguments for platform %s",
                 st->platform));
    platform_deinit(ret);
    return err_wrap(platform_parse(text, ret), "failed to parse platform %s", text);
}

static bool has_path(const struct df_image *i)
{
    for (size_t k = 0; k < i->env.len; k++) {
        if (str_has_prefix(i->env.v[k], "PATH="))
            return true;
    }
    return false;
}

static struct error *base_image(struct classic *c, const char *name, const struct platform *platform,
                                struct classic_image *ret)
{
    for (size_t i = 0; i < c->done_count; i++) {
        if (*c->done[i].name != '\0' && str_equal_fold(c->done[i].name, name)) {
            classic_image_copy(ret, &c->done[i].image);
            return NULL;
        }
    }
    if (streq(name, "scratch")) {
        platform_copy(&ret->config.platform, platform_is_set(platform) ? platform : platform_host());
        return NULL;
    }
    return classic_image_get(c, name, true, platform_is_set(platform) ? platform : NULL, ret);
}

static struct error *run_trigger(struct classic *c, struct classic_stage *s, const char *text)
{
    struct instruction *ins = NULL;
    struct df_ast ast = { 0 };
    struct error *e = plain_error(df_ast_parse(&c->mem, text, strlen(text), &ast));

    if (e == NULL && ast.count != 1)
        e = err_new(ERR_INVALID, "onbuild trigger should be a single expression");
    if (e == NULL)
        e = plain_error(instruction_parse_command(&c->mem, ast.nodes[0], &ins));
    return e != NULL ? e : classic_dispatch(c, s, ins);
}

static struct error *run_triggers(struct classic *c, struct classic_stage *s)
{
    CLEANUP(strv_deinit) struct strv triggers = { 0 };

    strv_copy(&triggers, &s->image.config.on_build);
    if (triggers.len == 0)
        return NULL;
    strv_clear(&s->image.config.on_build);
    TRY(classic_say(c, "# Executing %zu build trigger%s\n", triggers.len, triggers.len > 1 ? "s" : ""));
    for (size_t i = 0; i < triggers.len; i++)
        TRY(run_trigger(c, s, triggers.v[i]));
    return NULL;
}

static struct error *begin_stage(struct classic *c, const struct stage *st, struct classic_stage *s)
{
    CLEANUP(platform_deinit) struct platform platform = { 0 };
    CLEANUP(freep) char *base = NULL;

    TRY(stage_platform(c, st, &platform));
    TRY(expand_meta(c, st->base, &base));
    if (*base == '\0')
        return err_new(ERR_INVALID, "base name (%s) should not be blank", st->base);
    TRY(base_image(c, base, &platform, &s->image));
    if (!streq(classic_platform(c, s)->os, "linux"))
        return err_new(ERR_INVALID, "operating system is not supported");
    if (!has_path(&s->image.config))
        strv_addf(&s->image.config.env, "PATH=%s", default_path_env("linux"));
    return run_triggers(c, s);
}

/* ---- steps
 * -----------------------------------------------------------------------------------------------------------------
 */

struct counter {
    size_t now, total;
};

static struct error *say_step(struct classic *c, struct counter *n, const char *code)
{
    TRY(classic_say(c, "Step %zu/%zu : %s", ++n->now, n->total, code));
    return classic_say(c, "\n");
}

static struct error *build_stage(struct classic *c, const struct stage *st, struct classic_stage *s,
                                 struct counter *n)
{
    TRY(say_step(c, n, st->code));
    TRY(begin_stage(c, st, s));
    TRY(say_id(c, &s->image.id));
    for (size_t i = 0; i < st->command_count; i++) {
        TRY(task_check());
        TRY(say_step(c, n, st->commands[i]->code));
        TRY(classic_dispatch(c, s, st->commands[i]));
        TRY(say_id(c, &s->image.id));
    }
    return s->image.id.s[0] == '\0'
               ? NULL
               : c->out->line(c->out->ctx, json_pack("{s:{s:s}}", "aux", "ID", s->image.id.s));
}

static struct error *expand_arg(void *ctx, struct arena *mem, const char *word, const char **ret)
{
    CLEANUP(freep) char *text = NULL;

    TRY(expand_meta(ctx, word, &text));
    *ret = arena_str(mem, text);
    return NULL;
}

static struct error *meta_args(struct classic *c, struct counter *n)
{
    for (size_t i = 0; i < c->file.meta_arg_count; i++) {
        struct instruction *ins = c->file.meta_args[i];

        TRY(say_step(c, n, ins->code));
        TRY(instruction_expand(&c->mem, ins, expand_arg, c));
        for (size_t k = 0; k < ins->arg.len; k++)
            classic_args_add_meta(&c->args, &ins->arg.v[k]);
    }
    return NULL;
}

static struct error *build_all(struct classic *c)
{
    struct counter n = { .total = c->file.meta_arg_count + c->file.stage_count };
    CLEANUP(freep) char *unused = NULL;

    for (size_t i = 0; i < c->file.stage_count; i++)
        n.total += c->file.stages[i].command_count;
    c->done = xcalloc(c->file.stage_count + 1, sizeof(*c->done));
    TRY(print_warnings(c));
    TRY(classic_image_sources(c));
    TRY(meta_args(c, &n));
    for (size_t i = 0; i < c->file.stage_count; i++) {
        const struct stage *st = &c->file.stages[i];
        struct classic_stage *s = &c->done[i];

        if (*st->name != '\0' && dockerfile_find_stage(&c->file, st->name) != (int)i)
            return err_new(ERR_INVALID, "%s stage name already used", st->name);
        s->name = st->name;
        classic_image_init(&s->image);
        classic_args_begin_stage(&c->args);
        struct error *e = build_stage(c, st, s, &n);

        c->done_count++; /* also to be released when it failed */
        TRY(e);
    }
    unused = classic_args_unused(&c->args);
    return unused == NULL ? NULL
                          : classic_say(c, "[Warning] One or more build-args %s were not consumed\n", unused);
}

/* ---- the whole
 * -------------------------------------------------------------------------------------------------------------
 */

static struct error *set_platform(struct classic *c)
{
    const char *asked = c->o->platform;

    return asked == NULL || *asked == '\0' ? NULL : platform_parse(asked, &c->platform);
}

static struct error *tag_all(struct classic *c, const struct digest *id, const struct strv *tags)
{
    for (size_t i = 0; i < tags->len; i++) {
        CLEANUP(reference_deinit) struct reference r = { 0 };
        CLEANUP(freep) char *shown = NULL;

        TRY(images_tag(c->engine, id->s, tags->v[i], NULL));
        TRY(reference_parse(tags->v[i], &r));
        shown = reference_familiar(&r);
        TRY(classic_say(c, "Successfully tagged %s\n", shown));
    }
    return NULL;
}

static struct error *build(struct classic *c, struct stream *body, struct digest *ret)
{
    TRY(classic_context_load(c, body));
    TRY(set_platform(c));
    TRY(parse_file(c));
    TRY(build_all(c));
    *ret = c->done[c->done_count - 1].image.id;
    if (ret->s[0] == '\0')
        return err_new(ERR_UNKNOWN, "No image was generated. Is your Dockerfile empty?");
    if (c->o->squash)
        return err_new(ERR_UNIMPLEMENTED, "error squashing image: not implemented");
    TRY(classic_say(c, "Successfully built %.*s\n", CLASSIC_SHORT_ID, digest_hex(ret)));
    return tag_all(c, ret, &c->o->tags);
}

static void classic_deinit(struct classic *c)
{
    for (size_t i = 0; i < c->done_count; i++) {
        classic_image_deinit(&c->done[i].image);
        free(c->done[i].maintainer);
    }
    free(c->done);
    for (size_t i = 0; i < c->source_count; i++)
        classic_image_deinit(&c->sources[i]);
    free(c->sources);
    strv_deinit(&c->temporary);
    classic_args_deinit(&c->args);
    platform_deinit(&c->platform);
    arena_deinit(&c->mem);
    free(c->dockerfile_name);
    buf_deinit(&c->text);
    snapshot_unref(c->context);
}

static struct error *open_job(struct classic *c, struct strv *entitlements)
{
    char ref[26];
    struct job_options o = { .ref = ref, .entitlements = entitlements, .internal = true };

    random_id(ref, 25);
    strv_add(entitlements,
             "network.host"); /* who may use this API may run a container in the host's network */
    TRY(lease_open(c->engine->store, &c->lease));
    TRY(job_open(c->engine->solver, &o, &c->job));
    c->events = progress_read_open(job_progress(c->job));
    return NULL;
}

struct error *classic_build(struct engine *e, const struct classic_options *o, struct stream *body,
                            const struct classic_output *out, struct digest *ret)
{
    CLEANUP(strv_deinit) struct strv entitlements = { 0 };
    struct classic c = { .engine = e, .o = o, .out = out };
    struct error *err;

    ret->s[0] = '\0';
    classic_args_init(&c.args, &o->build_args);
    err = open_job(&c, &entitlements);
    if (err == NULL) {
        scope_enter(job_scope(c.job));
        err = build(&c, body, ret);
        scope_leave(job_scope(c.job));
    }
    classic_deinit(&c);
    if (c.events != NULL)
        progress_read_close(c.events);
    if (c.job != NULL)
        job_close(c.job);
    lease_close(c.lease);
    return err;
}
