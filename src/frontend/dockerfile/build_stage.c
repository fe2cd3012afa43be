/* SPDX-License-Identifier: Apache-2.0 */
/* Stages: names, what they start from, which of them copy from which. */
#include "frontend/dockerfile/build_stage.h"

#include "base/limits.h"
#include "frontend/dockerfile/parser.h"

#include <strings.h>

/* ---- stages
 * ------------------------------------------------------------------------------------------------------------
 */

/* `base_name` is borrowed. */
static struct build_stage *stage_new(struct convert *c, const char *base_name, struct df_lines lines)
{
    struct build_stage *s = ARENA_NEW(&c->mem, struct build_stage);

    s->base_name = base_name;
    s->name = "";
    s->code = "";
    s->lines = lines;
    s->state = (struct llb_state){ 0 };
    s->paths = &s->own_paths;
    df_image_init(&s->image);
    return s;
}

void stage_free(struct build_stage *s)
{
    df_image_deinit(&s->image);
    named_context_free(s->named);
    map_deinit(&s->own_paths);
}

/* Put a stage in its place, and find the stage it builds on. */
static void register_stage(struct convert *c, struct build_stage *s)
{
    ptrv_add(&c->stages, s);
    s->base = map_get(&c->by_name, s->base_name);
    if (s->parsed != NULL && *s->parsed->name != '\0') {
        CLEANUP(freep) char *lower = str_lower(s->parsed->name);

        map_set(&c->by_name, lower, s);
    }
}

struct build_stage *stage_find(const struct convert *c, const char *name)
{
    CLEANUP(freep) char *lower = str_lower(name);

    return map_get(&c->by_name, lower);
}

void stage_add_arg(struct convert *c, struct build_stage *s, const char *key, const char *value)
{
    s->args = arena_grow(&c->mem, s->args, s->arg_count, sizeof(s->args[0]));
    s->args[s->arg_count++] = (struct build_arg){ key, value };
}

void stage_inherit(struct convert *c, struct build_stage *s)
{
    struct build_stage *base = s->base;

    if (base == NULL)
        return;
    s->state = base->state;
    s->platform = base->platform;
    df_image_copy(&s->image, &base->image);
    strv_clear(&s->image.on_build); /* triggers do not carry over from a stage of the same file */
    s->base_image = base->base_image;
    s->paths = base->paths;
    s->workdir_set = base->workdir_set;
    for (size_t i = 0; i < base->arg_count; i++)
        stage_add_arg(c, s, base->args[i].key, base->args[i].value);
}

/* ---- FROM
 * --------------------------------------------------------------------------------------------------------------
 */

static struct error *expand_base(struct convert *c, struct lint *lint, const struct stage *st,
                                 struct build_stage *s)
{
    CLEANUP(words_result_deinit) struct words_result r = { 0 };
    struct words_env env = env_of(&c->global_args);
    struct error *e;

    if (*st->base != '\0' && words_plain(&c->words, st->base)) {
        s->base_name = st->base;
        return NULL;
    }
    e = words_process(&c->words, st->base, &env, &r);
    check_unused_from_args(c, lint, &r, st->lines);
    if (e == NULL && *r.text == '\0')
        e = err_new(ERR_INVALID, "base name (%s) should not be blank", st->base);
    TRY(df_error_at(e, st->lines));
    s->base_name = llb_strdup(c->b, r.text);
    return NULL;
}

static struct error *expand_platform(struct convert *c, struct lint *lint, const struct stage *st,
                                     struct build_stage *s)
{
    CLEANUP(words_result_deinit) struct words_result r = { 0 };
    CLEANUP(platform_deinit) struct platform p = { 0 };
    struct words_env env = env_of(&c->global_args);
    struct error *e;

    if (*st->platform == '\0')
        return NULL;
    e = words_process(&c->words, st->platform, &env, &r);
    check_from_platform(c, lint, st, &r);
    if (e != NULL)
        return df_error_at(
            err_wrap(e, "failed to process arguments for platform %s", r.text != NULL ? r.text : ""),
            st->lines);
    if (*r.text == '\0') {
        e = err_new(ERR_INVALID, "empty platform value from expression %s", st->platform);
        return suggest_any(df_error_at(e, st->lines), &r.unmatched, c->global_args);
    }
    e = platform_parse(r.text, &p);
    if (e != NULL) {
        e = suggest_any(df_error_at(e, st->lines), &r.unmatched, c->global_args);
        return df_error_at(err_wrap(e, "failed to parse platform %s", st->platform), st->lines);
    }
    s->platform = llb_platform_dup(c->b, &p);
    return NULL;
}

/* Steps that will be shown: the base image, and what makes layers. */
static int count_steps(const struct build_stage *s)
{
    int total = !streq(s->base_name, "scratch") && s->base == NULL;

    for (size_t i = 0; i < s->parsed->command_count; i++) {
        enum instruction_kind kind = s->parsed->commands[i]->kind;

        total += kind == INSTR_ADD || kind == INSTR_COPY || kind == INSTR_RUN || kind == INSTR_WORKDIR;
    }
    return total;
}

static void stage_used_paths(void *ctx, struct strv *ret)
{
    const struct build_stage *s = ctx;

    used_paths(s->paths, ret);
}

/* A named context in place of the whole stage. */
static struct error *find_replacement(struct convert *c, struct build_stage *s)
{
    const char *name = s->parsed->name;
    struct named_context_options o = { .platform = s->platform != NULL ? s->platform : c->o->target,
                                       .resolve_mode = llb_resolve_mode_name(c->ui->resolve_mode),
                                       .paths = stage_used_paths,
                                       .paths_ctx = s };

    if (*name == '\0' || strcasecmp(name, "scratch") == 0 || strcasecmp(name, "context") == 0)
        return NULL;
    return named_context_find(c->ui, name, &o, &s->named);
}

static struct error *build_stage(struct convert *c, const struct stage *st, size_t index, struct lint *lint)
{
    struct build_stage *s = stage_new(c, st->base, st->lines);
    struct error *e;

    s->parsed = st;
    s->code = st->code;
    s->name = *st->name != '\0' ? st->name : llb_printf(c->b, "stage-%zu", index);
    e = expand_base(c, lint, st, s);
    if (e == NULL)
        e = expand_platform(c, lint, st, s);
    if (e == NULL)
        e = find_replacement(c, s);
    if (e != NULL) {
        stage_free(s);
        return e;
    }
    register_stage(c, s);
    if (s->named != NULL) {
        s->base = NULL;
        return NULL;
    }
    s->cmd_total = count_steps(s);
    s->ignore_cache = dockerui_is_no_cache(c->ui, st->name);
    return NULL;
}

struct error *stages_build(struct convert *c)
{
    if (c->file.stage_count > LIMIT_DOCKERFILE_STAGES)
        return err_new(ERR_INVALID, "dockerfile has %zu stages, at most %d are allowed", c->file.stage_count,
                       LIMIT_DOCKERFILE_STAGES);
    for (size_t i = 0; i < c->file.stage_count; i++) {
        struct lint scope;
        struct error *e;

        lint_init_scope(&scope, &c->lint, &c->file.stages[i].comments);
        e = build_stage(c, &c->file.stages[i], i, &scope);
        lint_deinit(&scope);
        TRY(e);
    }
    return NULL;
}

/* ---- commands
 * ----------------------------------------------------------------------------------------------------------
 */

static void add_dep(struct convert *c, struct build_stage *s, struct build_stage *on,
                    const struct instruction *by)
{
    for (size_t i = 0; i < s->dep_count; i++) {
        if (s->deps[i].stage == on) {
            s->deps[i].by = by;
            return;
        }
    }
    s->deps = arena_grow(&c->mem, s->deps, s->dep_count, sizeof(s->deps[0]));
    s->deps[s->dep_count++] = (struct stage_dep){ on, by };
}

static struct build_stage *unregistered_stage(struct convert *c, const char *image, struct df_lines lines)
{
    struct build_stage *s = stage_new(c, image, lines);

    s->unregistered = true;
    return s;
}

/* COPY --from=: a stage's name or index, or an image. */
static struct error *link_copy(struct convert *c, const struct instruction *ins, struct build_stage **ret)
{
    static const struct llb_env *const no_env = NULL;
    struct words_env env = env_of(&no_env);
    CLEANUP(freep) char *expanded = NULL;
    const char *from = ins->copy.from;
    int64_t index;

    TRY(words_expand(&c->words, from, &env, &expanded));
    if (!streq(expanded, from))
        return err_new(ERR_INVALID,
                       "variable expansion is not supported for --from, define a new stage with FROM "
                       "using ARG from global scope as a workaround");
    if (parse_i64(*from == '+' ? from + 1 : from, &index) == 0) {
        if (index < 0 || index >= (int64_t)c->stages.len)
            return err_new(ERR_INVALID, "invalid stage index %lld", (long long)index);
        *ret = c->stages.v[index];
        return NULL;
    }
    *ret = stage_find(c, from);
    if (*ret == NULL)
        *ret = unregistered_stage(c, from, ins->lines);
    return NULL;
}

/* Sources of a command. Stages that are new are not registered yet. */
static struct error *command_init(struct convert *c, struct instruction *ins, struct build_command *cmd)
{
    *cmd = (struct build_command){ .ins = ins };
    if (ins->kind == INSTR_COPY && *ins->copy.from != '\0') {
        cmd->sources = arena_alloc(&c->mem, sizeof(cmd->sources[0]));
        TRY(link_copy(c, ins, &cmd->sources[0]));
        cmd->source_count = 1;
    } else if (ins->kind == INSTR_RUN && ins->run.mount_count > 0) {
        cmd->source_count = ins->run.mount_count;
        cmd->sources = arena_alloc(&c->mem, cmd->source_count * sizeof(cmd->sources[0]));
        for (size_t i = 0; i < cmd->source_count; i++) {
            const char *from = ins->run.mounts[i].from;

            /* Whether the mount has a source at all is known only when its type is. */
            from = *from != '\0' ? from : "scratch";
            cmd->sources[i] = stage_find(c, from);
            if (cmd->sources[i] == NULL)
                cmd->sources[i] = unregistered_stage(c, from, DF_NOWHERE);
        }
    }
    return NULL;
}

static void link_sources(struct convert *c, struct build_stage *s, const struct build_command *cmd)
{
    for (size_t i = 0; i < cmd->source_count; i++) {
        add_dep(c, s, cmd->sources[i], cmd->ins);
        if (cmd->sources[i]->unregistered)
            register_stage(c, cmd->sources[i]);
    }
}

/* ---- cycles
 * ------------------------------------------------------------------------------------------------------------
 */

struct visit {
    struct build_stage *stage;
    size_t next; /* dependency to look at */
};

/* The instructions that lead around the cycle are the locations of the error. */
static struct error *cycle_error(const struct build_stage *start, const struct visit *path, size_t depth)
{
    struct error *e = err_new(ERR_INVALID, "circular dependency detected on stage: %s", start->name);

    for (size_t i = 0; i < depth; i++)
        e = df_error_at(e, path[i].stage->deps[path[i].next - 1].by->lines);
    return e;
}

static struct error *find_cycle(struct build_stage *start, struct visit *path)
{
    size_t depth = 0;

    path[depth++] = (struct visit){ start, 0 };
    start->visit = STAGE_OPEN;
    while (depth > 0) {
        struct visit *top = &path[depth - 1];
        struct build_stage *dep;

        if (top->next == top->stage->dep_count) {
            top->stage->visit = STAGE_DONE;
            depth--;
            continue;
        }
        dep = top->stage->deps[top->next++].stage;
        if (dep->visit == STAGE_OPEN)
            return cycle_error(start, path, depth);
        if (dep->visit == STAGE_DONE)
            continue;
        dep->visit = STAGE_OPEN;
        path[depth++] = (struct visit){ dep, 0 };
    }
    return NULL;
}

static struct error *check_cycles(struct convert *c)
{
    CLEANUP(freep) struct visit *path = xcalloc(c->stages.len + 1, sizeof(*path));

    for (size_t i = 0; i < c->stages.len; i++) {
        struct build_stage *s = c->stages.v[i];

        if (s->visit == STAGE_UNSEEN)
            TRY(find_cycle(s, path));
    }
    return NULL;
}

/* A command that could not be linked to the end: stages of its own are nobody's. */
static void abandon_command(struct build_command *cmd)
{
    for (size_t i = 0; i < cmd->source_count; i++) {
        if (cmd->sources[i] != NULL && cmd->sources[i]->unregistered)
            stage_free(cmd->sources[i]);
    }
}

struct error *stages_link(struct convert *c)
{
    for (size_t i = 0; i < c->stages.len; i++) {
        struct build_stage *s = c->stages.v[i];
        size_t count = s->parsed != NULL ? s->parsed->command_count : 0;

        s->commands = arena_alloc(&c->mem, count * sizeof(s->commands[0]));
        for (size_t k = 0; k < count; k++) {
            struct error *e = command_init(c, s->parsed->commands[k], &s->commands[k]);

            if (e != NULL) {
                abandon_command(&s->commands[k]);
                return e;
            }
            s->command_count++;
            link_sources(c, s, &s->commands[k]);
        }
    }
    TRY(check_cycles(c));
    if (c->stages.len == 1)
        ((struct build_stage *)c->stages.v[0])->name = "";
    return NULL;
}

static void reach(struct build_stage *s, struct ptrv *ret)
{
    if (s->reached)
        return;
    s->reached = true;
    ptrv_add(ret, s);
}

void stages_reachable(struct convert *c, struct build_stage *target, struct ptrv *ret)
{
    for (size_t i = 0; i < c->stages.len; i++)
        ((struct build_stage *)c->stages.v[i])->reached = false;
    /* The list is the queue: what it holds is looked at in turn. */
    reach(target, ret);
    for (size_t i = 0; c->o->all_stages && i < c->stages.len; i++)
        reach(c->stages.v[i], ret);
    for (size_t i = 0; i < ret->len; i++) {
        struct build_stage *s = ret->v[i];

        if (s->base != NULL)
            reach(s->base, ret);
        for (size_t k = 0; k < s->dep_count; k++)
            reach(s->deps[k].stage, ret);
    }
}

/* ---- ONBUILD
 * -----------------------------------------------------------------------------------------------------------
 */

/* The one instruction of a trigger, placed where the stage's FROM is. */
static struct error *parse_trigger(struct convert *c, struct build_stage *s, const char *text,
                                   struct instruction **ret)
{
    struct df_ast ast = { 0 };
    struct error *e = df_ast_parse(&c->mem, text, strlen(text), &ast);

    if (e == NULL && ast.count != 1)
        e = err_new(ERR_INVALID, "onbuild trigger should be a single expression");
    if (e == NULL) {
        ast.nodes[0]->lines = s->lines.first < 0 ? (struct df_lines){ 0, 0 } : s->lines;
        e = instruction_parse_command(&c->mem, ast.nodes[0], ret);
    }
    return e;
}

struct error *stage_add_triggers(struct convert *c, struct build_stage *s, const struct strv *triggers,
                                 bool *ret_new_deps)
{
    struct build_command *all = arena_alloc(&c->mem, (triggers->len + s->command_count) * sizeof(*all));
    size_t n = 0;

    *ret_new_deps = false;
    for (size_t i = 0; i < triggers->len; i++) {
        struct instruction *ins;
        struct error *e;

        TRY(parse_trigger(c, s, triggers->v[i], &ins));
        e = command_init(c, ins, &all[n]);
        if (e != NULL) {
            abandon_command(&all[n]);
            return e;
        }
        all[n].onbuild = true;
        *ret_new_deps |= all[n].source_count > 0;
        link_sources(c, s, &all[n++]);
    }
    if (s->command_count > 0)
        memcpy(&all[n], s->commands, s->command_count * sizeof(*all));
    s->commands = all;
    s->command_count += n;
    s->cmd_total += (int)n;
    return NULL;
}
