/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/outline.h"

#include "frontend/dockerfile/build_stage.h"
#include "llb/gopath.h"

/* What is known of an argument. Borrowed from the file, the stage or the gathering. */
struct arg_info {
    const char *value, *description;
    struct df_lines lines;
    struct map deps; /* set: arguments that the default of one before the first FROM mentions */
};

/* One walk over the stages. */
struct gathering {
    struct convert *c;
    struct outline *o;
    struct map metas;                             /* name -> struct arg_info: ARGs before the first FROM */
    struct map seen_args, seen_secrets, seen_ssh; /* sets */
    struct map from;                              /* stage -> struct strv: arguments that its FROM mentions */
};

static void arg_info_free(void *p)
{
    struct arg_info *info = p;

    map_deinit(&info->deps);
    free(info);
}

static void list_deinit(struct outline_list *l)
{
    for (size_t i = 0; i < l->len; i++) {
        free(l->v[i].name);
        free(l->v[i].value);
        free(l->v[i].description);
    }
    free(l->v);
}

void outline_deinit(struct outline *o)
{
    free(o->name);
    free(o->description);
    list_deinit(&o->args);
    list_deinit(&o->secrets);
    list_deinit(&o->ssh);
    *o = (struct outline){ 0 };
}

static struct outline_item *list_add(struct outline_list *l, const char *name, struct df_lines lines)
{
    if ((l->len & (l->len - 1)) == 0) /* grown at powers of two */
        l->v = xreallocarray(l->v, l->len == 0 ? 1 : l->len * 2, sizeof(*l->v));
    l->v[l->len] = (struct outline_item){ xstrdup(name), xstrdup(""), xstrdup(""), false, lines, l->len };
    return &l->v[l->len++];
}

static void stage_key(const struct build_stage *s, char ret[24])
{
    snprintf(ret, 24, "%p", (const void *)s);
}

static bool walk_once(struct map *set, const struct build_stage *s)
{
    char key[24];

    stage_key(s, key);
    if (map_has(set, key))
        return false;
    set_add(set, key);
    return true;
}

/* ---- arguments before the first FROM
 * -------------------------------------------------------------------------------- */

/* Names in the default; an argument that builds on its own older value has what that one had. */
static void set_deps(struct arg_info *info, const struct arg_info *old, const char *name,
                     const struct strv *matched)
{
    for (size_t i = 0; i < matched->len; i++)
        set_add(&info->deps, matched->v[i]);
    if (!map_remove(&info->deps, name) || old == NULL)
        return;
    for (size_t i = 0; i < old->deps.len; i++)
        set_add(&info->deps, old->deps.entries[i].key);
}

static struct error *add_meta(struct gathering *g, const struct instruction *ins, const struct arg_def *arg,
                              const struct llb_env **env)
{
    CLEANUP(words_result_deinit) struct words_result r = { 0 };
    struct convert *c = g->c;
    struct arg_info *info = NEW(struct arg_info);
    const char *value = strmap_get(&c->build_args, arg->key);

    *info = (struct arg_info){ .value = "", .description = arg->description, .lines = ins->lines };
    if (value == NULL && arg->value != NULL) {
        struct words_env from = env_of(env);
        struct error *e = words_process(&c->words, arg->value, &from, &r);

        if (e != NULL) {
            arg_info_free(info);
            return e;
        }
        set_deps(info, map_get(&g->metas, arg->key), arg->key, &r.matched);
        value = llb_strdup(c->b, r.text);
    }
    if (value != NULL) {
        *env = llb_env_set(c->b, *env, arg->key, value);
        info->value = llb_env_get(*env, arg->key);
    }
    map_set(&g->metas, arg->key, info);
    return NULL;
}

static struct error *add_metas(struct gathering *g)
{
    struct convert *c = g->c;
    const char *target = c->ui->target;
    const struct llb_env *env;

    if (*target == '\0')
        target = c->file.stages[c->file.stage_count - 1].name;
    env = default_args(c, target);
    for (size_t i = 0; i < c->file.meta_arg_count; i++) {
        const struct instruction *ins = c->file.meta_args[i];

        for (size_t k = 0; k < ins->arg.len; k++)
            TRY(add_meta(g, ins, &ins->arg.v[k], &env));
    }
    return NULL;
}

/* ---- arguments of a stage
 * -------------------------------------------------------------------------------------------- */

/* A stage's arguments while they are gathered. */
struct stage_args {
    struct map own; /* name -> struct arg_info: what its ARGs declare */
    struct strv used;
    struct map in_used; /* set of the same */
};

static void stage_args_deinit(struct stage_args *a)
{
    map_deinit(&a->own);
    strv_deinit(&a->used);
    map_deinit(&a->in_used);
}

static void use(struct stage_args *a, const char *name)
{
    if (map_has(&a->in_used, name))
        return;
    set_add(&a->in_used, name);
    strv_add(&a->used, name);
}

static size_t count_args(const struct build_stage *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->command_count; i++)
        n += s->commands[i].ins->kind == INSTR_ARG ? s->commands[i].ins->arg.len : 0;
    return n;
}

/* ARGs of the stage with the values they had: those stand at the end, behind what the base stage had. One
 * that only lets a global argument in says nothing of its own. */
static void add_own(const struct gathering *g, const struct build_stage *s, struct stage_args *a)
{
    size_t count = count_args(s), next = s->arg_count - MIN(s->arg_count, count);

    for (size_t i = 0; i < s->command_count; i++) {
        const struct instruction *ins = s->commands[i].ins;

        for (size_t k = 0; ins->kind == INSTR_ARG && k < ins->arg.len && next < s->arg_count; k++, next++) {
            const struct arg_def *arg = &ins->arg.v[k];
            const char *value = s->args[next].value;
            struct arg_info *info;

            use(a, arg->key);
            if (arg->value == NULL && value != NULL && !map_has(&g->c->build_args, arg->key))
                continue;
            info = NEW(struct arg_info);
            *info = (struct arg_info){ .value = value != NULL ? value : "",
                                       .description = arg->description,
                                       .lines = ins->lines };
            map_set(&a->own, arg->key, info);
        }
    }
}

static void add_words(const struct gathering *g, const char *text, struct strv *names)
{
    CLEANUP(words_result_deinit) struct words_result r = { 0 };
    struct words_env env = env_of(&g->c->global_args);
    struct error *e = words_process(&g->c->words, text, &env, &r);

    strv_copy(names, &r.matched);
    err_free(e); /* the conversion would have failed on it */
}

static void names_free(void *p)
{
    strv_deinit(p);
    free(p);
}

/* Arguments that one FROM mentions; none for a stage that a named context replaces. */
static const struct strv *from_names(struct gathering *g, const struct build_stage *s)
{
    char key[24];
    struct strv *names;

    stage_key(s, key);
    names = map_get(&g->from, key);
    if (names != NULL)
        return names;
    names = NEW(struct strv);
    if (s->named == NULL) {
        add_words(g, s->parsed->base, names);
        add_words(g, s->parsed->platform, names);
    }
    map_set(&g->from, key, names);
    return names;
}

/* What the FROM of the stage, of its base and so on mention. */
static void add_from(struct gathering *g, const struct build_stage *s, struct stage_args *a)
{
    for (; s != NULL && s->parsed != NULL; s = s->base) {
        const struct strv *names = from_names(g, s);

        for (size_t i = 0; i < names->len; i++)
            use(a, names->v[i]);
    }
}

static void add_args(struct gathering *g, const struct build_stage *s)
{
    CLEANUP(stage_args_deinit) struct stage_args a = { .own = { .free_value = arg_info_free } };

    add_own(g, s, &a);
    add_from(g, s, &a);
    for (size_t i = 0; i < a.used.len; i++) { /* grows on the way */
        const char *name = a.used.v[i];
        const struct arg_info *info = map_get(&a.own, name);
        struct outline_item *item;

        if (info == NULL)
            info = map_get(&g->metas, name);
        for (size_t k = 0; info != NULL && k < info->deps.len; k++)
            use(&a, info->deps.entries[k].key);
        if (info == NULL || map_has(&g->seen_args, a.used.v[i]))
            continue;
        set_add(&g->seen_args, a.used.v[i]);
        item = list_add(&g->o->args, a.used.v[i], info->lines);
        str_replace(&item->value, info->value);
        str_replace(&item->description, info->description);
    }
}

/* ---- secrets, ssh
 * ------------------------------------------------------------------------------------------------------- */

static void add_required(struct outline_list *list, struct map *seen, const char *name, bool required,
                         struct df_lines lines)
{
    if (map_has(seen, name))
        return;
    set_add(seen, name);
    list_add(list, name, lines)->required = required;
}

static void add_mounts(struct gathering *g, const struct instruction *ins)
{
    for (size_t i = 0; i < ins->run.mount_count; i++) {
        const struct mount_flag *m = &ins->run.mounts[i];

        if (m->type == MOUNT_SECRET) {
            CLEANUP(freep) char *base = gopath_base(m->target);
            const char *id = *m->source != '\0' ? m->source : *m->id != '\0' ? m->id : base;

            add_required(&g->o->secrets, &g->seen_secrets, id, m->required, ins->lines);
        } else if (m->type == MOUNT_SSH) {
            add_required(&g->o->ssh, &g->seen_ssh, *m->id != '\0' ? m->id : "default", m->required,
                         ins->lines);
        }
    }
}

/* ---- all
 * ---------------------------------------------------------------------------------------------------------------
 */

static int by_line(const void *a, const void *b)
{
    const struct outline_item *x = a, *y = b;

    if (x->lines.first != y->lines.first)
        return x->lines.first - y->lines.first;
    return x->position < y->position ? -1 : 1;
}

/* In the order of the file; what shares a line keeps its order. */
static void sort(struct outline_list *l)
{
    if (l->len > 1)
        qsort(l->v, l->len, sizeof(*l->v), by_line);
}

static void gather_stages(struct gathering *g, const struct build_stage *target)
{
    CLEANUP(ptrv_deinit) struct ptrv todo = { 0 }; /* a stack */
    CLEANUP(map_deinit) struct map seen = { 0 };

    ptrv_add(&todo, (void *)target);
    while (todo.len > 0) {
        const struct build_stage *s = todo.v[--todo.len];

        if (!walk_once(&seen, s))
            continue;
        add_args(g, s);
        for (size_t i = 0; i < s->command_count; i++) {
            if (s->commands[i].ins->kind == INSTR_RUN)
                add_mounts(g, s->commands[i].ins);
        }
        for (size_t i = s->dep_count; i > 0; i--)
            ptrv_add(&todo, s->deps[i - 1].stage);
        if (s->base != NULL)
            ptrv_add(&todo, s->base);
    }
}

struct error *outline_gather(struct convert *c, const struct build_stage *target, struct outline *ret)
{
    struct gathering g = {
        .c = c, .o = ret, .metas = { .free_value = arg_info_free }, .from = { .free_value = names_free }
    };
    struct error *e = add_metas(&g);

    if (e == NULL) {
        ret->name = xstrdup(target->parsed->name);
        ret->description = xstrdup(target->parsed->description);
        gather_stages(&g, target);
        sort(&ret->args);
        sort(&ret->secrets);
        sort(&ret->ssh);
    }
    map_deinit(&g.metas);
    map_deinit(&g.seen_args);
    map_deinit(&g.seen_secrets);
    map_deinit(&g.seen_ssh);
    map_deinit(&g.from);
    return e;
}
