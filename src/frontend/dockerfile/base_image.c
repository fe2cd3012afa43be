/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base_image.c - what stages start from: scratch, an image, a named context
 *
 * Everything that waits (image configs, contexts) runs in tasks, one for each stage, which only write their
 * own `struct lookup`.  The results are applied one after the other in the order of the stages, so that step
 * numbers do not depend on who answered first.
 */
#include "frontend/dockerfile/build_stage.h"

#include "frontend/dockerfile/suggest.h"
#include "oci/reference.h"
#include "task/task.h"

#include <strings.h>

struct lookup {
    struct convert *c;
    struct build_stage *s;
    const char *orig_name; /* base as in the file */
    const struct platform *platform;
    struct named_context *context; /* for the base name; the lookup's own */
    bool from_context;             /* state and image come from a context */
    struct llb_state state;
    struct df_image image;
    bool has_image;
    struct resolved_image resolved;
    struct lookup *same;  /* an earlier one for the same image and platform: its answer is asked for first,
                             and is this one's where it came from a registry; NULL: none */
    struct lookup *other; /* for the same image and another platform, which are kept once each */
    const struct df_image *base; /* once applied: `image`, kept by the conversion */
};

static void lookup_deinit(struct lookup *l)
{
    named_context_free(l->context);
    df_image_deinit(&l->image);
    resolved_image_deinit(&l->resolved);
}

static void base_used_paths(void *ctx, struct strv *ret)
{
    const struct build_stage *s = ctx;

    used_paths(s->paths, ret);
}

/* ---- tasks
 * -------------------------------------------------------------------------------------------------------------
 */

static struct error *find_context(struct lookup *l)
{
    struct named_context_options o = { .platform = l->platform,
                                       .resolve_mode = llb_resolve_mode_name(l->c->ui->resolve_mode),
                                       .paths = base_used_paths,
                                       .paths_ctx = l->s };

    if (strcasecmp(l->s->base_name, "scratch") == 0 || strcasecmp(l->s->base_name, "context") == 0)
        return NULL;
    return named_context_find(l->c->ui, l->s->base_name, &o, &l->context);
}

static struct error *load_context(struct lookup *l, const struct named_context *nc)
{
    l->from_context = true;
    return named_context_load(l->c->ui, l->c->b, nc, &l->state, &l->image, &l->has_image);
}

/* The stages' names and some well-known images, for "did you mean". */
static void add_known_names(struct convert *c, struct strv *names)
{
    static const char *const repos[] = {
        "alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"
    };

    for (size_t i = 0; i < c->stages.len; i++) {
        const struct build_stage *s = c->stages.v[i];

        if (*s->name != '\0')
            strv_add(names, s->name);
    }
    for (size_t i = 0; i < ARRAY_LEN(repos); i++) {
        strv_add(names, repos[i]);
        strv_addf(names, "docker.io/library%s", repos[i]);
        strv_addf(names, "%s:latest", repos[i]);
        strv_addf(names, "docker.io/library%s:latest", repos[i]);
    }
}

static struct error *resolve(struct lookup *l)
{
    CLEANUP(freep) char *format = platform_format_all(l->platform), *log = NULL;
    CLEANUP(strv_deinit) struct strv names = { 0 };
    struct resolve_image_options o = { .platform = l->platform,
                                       .resolve_mode = llb_resolve_mode_name(l->c->ui->resolve_mode) };
    struct error *e;

    log = xasprintf("[%s%sinternal] load metadata for %s", l->c->ui->multi_platform ? format : "",
                    l->c->ui->multi_platform ? " " : "", l->s->base_name);
    o.log_name = log;
    e = dockerui_resolve_image(l->c->ui, l->s->base_name, &o, &l->resolved);
    if (e == NULL && l->resolved.other != NULL)
        return err_new(ERR_UNKNOWN, "ref mutated by policy to non-image: docker-image://%s -> %s",
                       l->s->base_name, l->resolved.other);
    if (e == NULL)
        return NULL;
    add_known_names(l->c, &names);
    return suggest_wrap(err_wrap(e, "%s", l->orig_name), l->orig_name, (const char *const *)names.v,
                        names.len, true, NULL);
}

/* Images of RUN --mount have no place of their own: the file is named, no line of it. */
static struct error *error_at_stage(const struct lookup *l, struct error *e)
{
    return df_error_at(e, l->s->lines.first >= 0 ? l->s->lines : DF_NO_LINE);
}

static struct error *lookup_task(void *arg)
{
    struct lookup *l = arg;
    struct error *e;

    if (l->s->named != NULL) {
        e = load_context(l, l->s->named);
    } else {
        e = find_context(l);
        if (e == NULL)
            e = l->context != NULL ? load_context(l, l->context) : resolve(l);
    }
    return error_at_stage(l, e);
}

/* An answer that the other lookup got from a registry is one for this as well; a context depends on what the
 * stage uses of it. */
static bool takes_same(const struct lookup *l)
{
    return l->same != NULL && !l->same->from_context;
}

/* ---- applying
 * ----------------------------------------------------------------------------------------------------------
 */

static void set_platform(struct convert *c, struct build_stage *s, const struct platform *p)
{
    s->platform = llb_platform_dup(c->b, p);
}

/* A context in place of the stage: nothing of the stage is left to do. */
static void apply_replacement(struct lookup *l)
{
    struct build_stage *s = l->s;

    s->dispatched = true;
    s->state = l->state;
    if (!l->has_image)
        return;
    str_replace(&l->image.created, NULL);
    df_image_copy(&s->image, &l->image);
    if (*l->image.platform.architecture != '\0' && *l->image.platform.os != '\0')
        set_platform(l->c, s, &l->image.platform);
}

static void keep_base_image(struct lookup *l)
{
    struct df_image *kept = xcalloc(1, sizeof(*kept));

    *kept = l->image;
    df_image_init(&l->image);
    ptrv_add(&l->c->base_images, kept);
    l->base = kept;
}

static void start_from_base(struct build_stage *s, const struct df_image *base)
{
    s->base_image = base;
    df_image_copy(&s->image, base);
    str_replace(&s->image.created, NULL);
}

static void apply_context(struct lookup *l)
{
    struct build_stage *s = l->s;

    if (!l->has_image)
        df_image_init_scratch(&l->image, l->platform);
    keep_base_image(l);
    start_from_base(s, l->base);
    s->state = llb_set_platform(l->c->b, l->state, l->platform);
    set_platform(l->c, s, l->platform);
}

/* What the image is for, where the build asks for nothing and it could run here. */
static const struct platform *detect_platform(const struct convert *c, const struct df_image *image,
                                              const struct platform *target)
{
    const struct platform *p = &image->platform;

    if (streq(target->os, p->os) && streq(target->architecture, p->architecture))
        return target;
    if (streq(c->build->os, p->os) && streq(c->build->architecture, p->architecture))
        return c->build;
    return target;
}

/* No layers at all; old images do not tell them, but their history does. */
static bool is_empty(const struct df_image *image)
{
    if (image->diff_ids.len > 0)
        return false;
    for (size_t i = 0; i < image->history_count; i++) {
        if (!image->history[i].empty_layer)
            return false;
    }
    return true;
}

/* The image that the answer is about, and its name by digest. */
static struct error *read_image(struct lookup *l)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    CLEANUP(freep) char *name = NULL;

    TRY(err_wrap(df_image_parse(l->resolved.config.data, l->resolved.config.len, &l->image),
                 "failed to parse image config"));
    keep_base_image(l);
    TRY(err_wrap(reference_parse(l->resolved.ref, &ref), "failed to parse ref \"%s\"", l->resolved.ref));
    if (l->resolved.digest != NULL && *l->resolved.digest != '\0')
        str_replace(&ref.digest, l->resolved.digest);
    name = reference_string(&ref);
    l->s->base_name = llb_strdup(l->c->b, name);
    return NULL;
}

static struct error *apply_image(struct lookup *l, bool *ret_empty)
{
    struct build_stage *s = l->s;

    if (takes_same(l)) {
        l->base = l->same->base;
        s->base_name = l->same->s->base_name;
    } else {
        TRY(read_image(l));
    }
    start_from_base(s, l->base);
    if (s->platform == NULL && l->c->implicit_target)
        l->platform = detect_platform(l->c, l->base, l->platform);
    *ret_empty = is_empty(l->base);
    return NULL;
}

static struct llb_state image_state(struct lookup *l)
{
    struct build_stage *s = l->s;
    struct convert *c = l->c;
    CLEANUP(freep) char *text = xasprintf("FROM %s", s->base_name);
    CLEANUP(freep) char *name = step_name(s, text, c->ui->multi_platform, l->platform, NULL);
    struct llb_options o = { .command = s->code, .platform = l->platform, .custom_name = name };

    options_locate(c, &o, s->lines);
    return llb_image(c->b, s->base_name, c->ui->resolve_mode, &o);
}

static void set_image_state(struct lookup *l, bool reachable)
{
    struct build_stage *s = l->s;
    struct convert *c = l->c;

    s->state = c->o->only_check ? llb_scratch() : image_state(l); /* in a check nobody will see it */
    if (reachable)
        check_base_platform(c, l->orig_name, l->platform, &s->image.platform, s->lines);
}

static struct error *apply(struct lookup *l, bool reachable)
{
    bool empty = false;

    if (reachable && l->from_context) {
        if (l->s->named != NULL)
            apply_replacement(l);
        else
            apply_context(l);
        return NULL;
    }
    if (reachable)
        TRY(df_error_at(apply_image(l, &empty), l->s->lines));
    if (empty)
        l->s->state = llb_scratch();
    else
        set_image_state(l, reachable);
    set_platform(l->c, l->s, l->platform);
    return NULL;
}

/* ---- all stages
 * -------------------------------------------------------------------------------------------------------- */

static void use_scratch(struct convert *c, struct build_stage *s)
{
    s->state = llb_scratch();
    df_image_deinit(&s->image);
    df_image_init_scratch(&s->image, c->target);
    s->platform = c->target;
    if (s->unregistered)
        s->dispatched = true;
}

/* The whole name, with registry and tag. `known`: those that were asked for before. */
static struct error *full_name(struct convert *c, struct map *known, const char *name, const char **ret)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    CLEANUP(freep) char *full = NULL;
    struct error *e;

    *ret = map_get(known, name);
    if (*ret != NULL)
        return NULL;
    e = reference_parse(name, &ref);
    if (e != NULL)
        return err_wrap(e, "failed to parse stage name \"%s\"", name);
    reference_add_default_tag(&ref);
    full = reference_string(&ref);
    *ret = llb_strdup(c->b, full);
    map_set(known, name, (void *)*ret);
    return NULL;
}

static struct error *prepare(struct convert *c, struct build_stage *s, struct map *known, struct lookup *l)
{
    l->c = c;
    l->s = s;
    df_image_init(&l->image);
    l->orig_name = s->base_name;
    l->platform = s->platform != NULL ? s->platform : c->target;
    return df_error_at(full_name(c, known, s->base_name, &s->base_name), s->lines);
}

/* Find the stages that start from an image that another one starts from as well. */
static void find_same(struct lookup *lookups, size_t count)
{
    CLEANUP(map_deinit) struct map first = { 0 }; /* name -> lookup, that of the next platform behind it */

    for (size_t i = 0; i < count; i++) {
        struct lookup *l = &lookups[i];
        void **place;

        if (l->s->named != NULL || !l->s->reached)
            continue;
        place = map_at(&first, l->s->base_name);
        for (l->same = *place; l->same != NULL && l->same->platform != l->platform;)
            l->same = l->same->other;
        if (l->same == NULL) {
            l->other = *place;
            *place = l;
        }
    }
}

/* Run the lookups of reachable stages, each in a task: those that are the first of their kind, or the others.
 * Registries take their time: the client sends its .dockerignore meanwhile. */
static struct error *run_lookups(struct convert *c, struct lookup *lookups, size_t count, bool others)
{
    CLEANUP(group_deinit) struct group g = { 0 };
    struct error *e = NULL;

    group_open(&g, 0);
    for (size_t i = 0; e == NULL && i < count; i++) {
        struct lookup *l = &lookups[i];

        if (l->s->reached && (l->same != NULL) == others && !takes_same(l))
            e = group_spawn(&g, "resolve-base", lookup_task, l);
    }
    if (e == NULL && group_live(&g) > 0) {
        scope_enter(g.scope);
        dockerui_preload_ignore(c->ui);
        scope_leave(g.scope);
    }
    return group_finish(&g, e);
}

static struct error *resolve_once(struct convert *c, struct lookup *lookups, size_t *count)
{
    CLEANUP(map_deinit) struct map names = { 0 };

    for (size_t i = 0; i < c->stages.len; i++) {
        struct build_stage *s = c->stages.v[i];

        if (s->base != NULL || s->dispatched || s->resolved)
            continue;
        s->resolved = s->reached; /* the others may be needed later, for triggers */
        if (streq(s->base_name, "scratch") && s->named == NULL) {
            use_scratch(c, s);
            continue;
        }
        TRY(prepare(c, s, &names, &lookups[(*count)++]));
    }
    find_same(lookups, *count);
    TRY(run_lookups(c, lookups, *count, false));
    TRY(run_lookups(c, lookups, *count, true));
    for (size_t i = 0; i < *count; i++) {
        struct build_stage *s = lookups[i].s;
        struct error *e = apply(&lookups[i], s->reached);

        if (s->unregistered)
            s->dispatched = true;
        TRY(e);
    }
    return NULL;
}

static struct error *resolve_reached(struct convert *c)
{
    struct lookup *lookups = xcalloc(c->stages.len + 1, sizeof(*lookups));
    size_t count = 0;
    struct error *e = resolve_once(c, lookups, &count);

    for (size_t i = 0; i < count; i++)
        lookup_deinit(&lookups[i]);
    free(lookups);
    return e;
}

/* Triggers of the base image, or of the stage of this file that it builds on. */
static struct error *run_triggers(struct convert *c, struct build_stage *s, bool *ret_new_deps)
{
    CLEANUP(strv_deinit) struct strv triggers = { 0 };

    *ret_new_deps = false;
    stage_inherit(c, s);
    strv_copy(&triggers, &s->image.on_build);
    if (s->base != NULL && !s->onbuild_done) {
        for (size_t i = 0; i < s->base->command_count; i++) {
            if (s->base->commands[i].ins->kind == INSTR_ONBUILD)
                strv_add(&triggers, s->base->commands[i].ins->text);
        }
        s->onbuild_done = true;
    }
    if (triggers.len == 0)
        return NULL;
    strv_clear(&s->image.on_build);
    return df_error_set_at(stage_add_triggers(c, s, &triggers, ret_new_deps), s->lines);
}

struct error *stages_resolve(struct convert *c, struct build_stage *target)
{
    bool again = true;

    while (again) {
        CLEANUP(ptrv_deinit) struct ptrv needed = { 0 };

        stages_reachable(c, target, &needed);
        TRY(resolve_reached(c));
        again = false;
        for (size_t i = 0; i < c->stages.len; i++) {
            bool new_deps = false;

            if (((struct build_stage *)c->stages.v[i])->reached)
                TRY(run_triggers(c, c->stages.v[i], &new_deps));
            again |= new_deps;
        }
    }
    return NULL;
}
