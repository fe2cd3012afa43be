/* SPDX-License-Identifier: Apache-2.0 */
/* The conversion from start to end. */
#include "frontend/dockerfile/convert.h"

#include "base/rune.h"
#include "frontend/dockerfile/build_stage.h"
#include "frontend/dockerfile/directive.h"
#include "frontend/dockerfile/outline.h"
#include "frontend/dockerfile/suggest.h"

#include <strings.h>

void convert_result_deinit(struct convert_result *r)
{
    for (size_t i = 0; i < r->extra_count; i++) {
        free(r->extras[i].name);
        llb_def_unref(r->extras[i].def);
    }
    free(r->extras);
    llb_def_unref(r->def);
    df_image_deinit(&r->image);
    df_image_deinit(&r->base_image);
    r->def = NULL;
}

/* ---- start
 * -------------------------------------------------------------------------------------------------------------
 */

static struct error *init_lint(struct convert *c)
{
    CLEANUP(directive_deinit) struct directive d = { 0 };
    CLEANUP(freep) char *first = NULL;
    struct lint_config config = { 0 };
    const char *text = c->ui->lint_config;

    if (text == NULL) {
        directive_find("check", c->o->source->data, c->o->source->data_len, &first, &d);
        text = first;
    }
    TRY(err_wrap(lint_config_parse(text != NULL ? text : "", &config), "failed to parse check options"));
    lint_init(&c->lint, &config, c->o->warn, c->o->warn_ctx);
    return NULL;
}

static struct error *parse(struct convert *c)
{
    if (c->o->source->data_len == 0)
        return err_new(ERR_INVALID, "the Dockerfile cannot be empty");
    TRY(init_lint(c));
    TRY(df_ast_parse(&c->mem, c->o->source->data, c->o->source->data_len, &c->ast));
    c->words.escape = c->ast.escape;
    for (size_t i = 0; i < c->ast.warning_count; i++)
        lint_report(&c->lint, LINT_NO_EMPTY_CONTINUATION, c->ast.warnings[i].lines);
    TRY(dockerfile_parse_stages(&c->mem, &c->ast, &c->lint, &c->file));
    if (c->file.stage_count == 0)
        return err_new(ERR_INVALID, "dockerfile contains no stages to build");
    check_stage_names(c);
    check_casing(c);
    return NULL;
}

static struct error *init_args(struct convert *c)
{
    const char *target = c->ui->target;
    const struct llb_env *defaults;

    if (*target == '\0')
        target = c->file.stages[c->file.stage_count - 1].name;
    defaults = default_args(c, target);
    check_base_defaults(c, defaults);
    TRY(meta_args_apply(c, defaults, &c->build_args, &c->meta_args, &c->global_args));
    return resolve_epoch(c);
}

/* http_proxy and its kin among the build arguments, in any case; of several spellings the last in byte order
 * counts. */
static void init_proxy(struct convert *c)
{
    CLEANUP(map_deinit) struct map sorted = { 0 };
    struct llb_proxy *p = llb_alloc(c->b, sizeof(*p));

    strmap_init(&sorted);
    strmap_copy(&sorted, &c->build_args);
    map_sort(&sorted);
    for (size_t i = 0; i < sorted.len; i++) {
        const char *key = sorted.entries[i].key, **field = NULL;

        if (strcasecmp(key, "http_proxy") == 0)
            field = &p->http;
        else if (strcasecmp(key, "https_proxy") == 0)
            field = &p->https;
        else if (strcasecmp(key, "ftp_proxy") == 0)
            field = &p->ftp;
        else if (strcasecmp(key, "no_proxy") == 0)
            field = &p->no_proxy;
        else if (strcasecmp(key, "all_proxy") == 0)
            field = &p->all;
        if (field == NULL)
            continue;
        *field = llb_strdup(c->b, sorted.entries[i].value);
        c->proxy = p;
    }
}

/* ---- target
 * ------------------------------------------------------------------------------------------------------------
 */

static struct error *find_target(struct convert *c, struct build_stage **ret)
{
    const char *name = c->ui->target;
    CLEANUP(strv_deinit) struct strv names = { 0 };
    CLEANUP(freep) char *quoted = NULL;

    *ret = *name != '\0' ? stage_find(c, name) : c->stages.v[c->stages.len - 1];
    if (*ret != NULL)
        return NULL;
    for (size_t i = 0; i < c->stages.len; i++)
        strv_add(&names, ((struct build_stage *)c->stages.v[i])->name);
    quoted = str_quote(name);
    return suggest_wrap(err_new(ERR_INVALID, "target stage %s could not be found", quoted), name,
                        (const char *const *)names.v, names.len, true, NULL);
}

static struct error *load_ignore(struct convert *c)
{
    CLEANUP(strv_deinit) struct strv patterns = { 0 };

    TRY(dockerui_ignore_patterns(c->ui, &patterns));
    if (patterns.len == 0)
        return NULL;
    TRY(pattern_set_init(&c->ignore, (const char *const *)patterns.v, patterns.len));
    c->has_ignore = true;
    return NULL;
}

/* Every stage that is needed, in the order of the file. */
static struct error *dispatch_stages(struct convert *c)
{
    TRY(load_ignore(c));
    for (size_t i = 0; i < c->stages.len; i++) {
        struct build_stage *s = c->stages.v[i];

        if (!s->reached || s->dispatched)
            continue;
        TRY(stage_start(c, s));
        for (size_t k = 0; k < s->command_count; k++)
            TRY(stage_dispatch(c, s, &s->commands[k]));
    }
    return NULL;
}

/* ---- end
 * ---------------------------------------------------------------------------------------------------------------
 */

static void set_image_platform(struct convert *c, struct platform *p)
{
    const struct platform *t = c->target;
    bool same = streq(t->os, p->os != NULL ? p->os : "") &&
                streq(t->architecture, p->architecture != NULL ? p->architecture : "");

    if (p->os == NULL) {
        platform_copy(p, t);
        return;
    }
    str_replace(&p->os, t->os);
    str_replace(&p->architecture, t->architecture);
    if (*t->variant != '\0' || !same)
        str_replace(&p->variant, t->variant);
    if (*t->os_version != '\0' || !same)
        str_replace(&p->os_version, t->os_version);
    if (t->os_feature_count > 0) {
        struct platform copy = { 0 };

        platform_copy(&copy, t);
        for (size_t i = 0; i < p->os_feature_count; i++)
            free(p->os_features[i]);
        free(p->os_features);
        p->os_features = TAKE(copy.os_features);
        p->os_feature_count = copy.os_feature_count;
        copy.os_feature_count = 0;
        platform_deinit(&copy);
    }
}

/* BUILDKIT_SBOM_SCAN_*: a boolean for all stages, or a list of their names. */
static bool scan_wanted(const char *stage, const char *value)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    bool b;

    if (parse_bool(value, &b) == 0)
        return b;
    strv_split(&names, value, ',');
    return strv_has(&names, stage);
}

static bool stage_scans(const struct convert *c, const struct build_stage *s, const char *arg)
{
    const char *global = llb_env_get(c->global_args, arg);
    bool wanted = global != NULL && scan_wanted(s->name, global);

    for (size_t i = 0; i < s->arg_count; i++) {
        if (streq(s->args[i].key, arg) && s->args[i].value != NULL)
            wanted = scan_wanted(s->name, s->args[i].value);
    }
    return wanted;
}

static struct error *add_extra(struct convert *c, const char *name, struct llb_state s,
                               struct convert_result *ret)
{
    struct sbom_extra *x;

    ret->extras = xreallocarray(ret->extras, ret->extra_count + 1, sizeof(*ret->extras));
    x = &ret->extras[ret->extra_count++];
    *x = (struct sbom_extra){ .name = xstrdup(name) };
    return err_wrap(llb_marshal(c->b, s, c->target, &x->def), "failed to marshal LLB definition");
}

/* What BUILDKIT_SBOM_SCAN_CONTEXT and _STAGE ask for. */
static struct error *find_extras(struct convert *c, struct build_stage *target, struct llb_state context,
                                 struct convert_result *ret)
{
    CLEANUP(ptrv_deinit) struct ptrv stages = { 0 };

    ret->ignore_cache = target->ignore_cache;
    if (stage_scans(c, target, "BUILDKIT_SBOM_SCAN_CONTEXT"))
        TRY(add_extra(c, "context", context, ret));
    stages_reachable(c, target, &stages);
    for (size_t i = 0; i < stages.len; i++) {
        const struct build_stage *s = stages.v[i];

        if (s == target || !stage_scans(c, s, "BUILDKIT_SBOM_SCAN_STAGE"))
            continue;
        ret->ignore_cache = ret->ignore_cache || s->ignore_cache;
        TRY(add_extra(c, s->name, s->state, ret));
    }
    return NULL;
}

static struct error *finish(struct convert *c, struct build_stage *target, struct convert_result *ret)
{
    CLEANUP(strv_deinit) struct strv paths = { 0 };
    struct llb_state context;

    for (size_t i = 0; i < c->ui->labels.len; i++)
        strmap_set(&target->image.labels, c->ui->labels.entries[i].key, c->ui->labels.entries[i].value);
    TRY(lint_error(&c->lint));
    if (c->o->only_check)
        return NULL;
    used_paths(&c->ctx_paths, &paths);
    TRY(dockerui_main_context(c->ui, c->b, &paths, &context));
    llb_output_bind(c->context, context);
    if (!c->implicit_target)
        set_image_platform(c, &target->image.platform);
    if (target->image.platform.os != NULL)
        platform_normalize(&target->image.platform);
    TRY(err_wrap(llb_marshal(c->b, target->state, c->target, &ret->def), "failed to marshal LLB definition"));
    if (c->o->sbom)
        TRY(find_extras(c, target, context, ret));
    df_image_move(&ret->image, &target->image);
    ret->has_base = target->base_image != NULL;
    if (ret->has_base)
        df_image_copy(&ret->base_image, target->base_image);
    ret->has_epoch = c->has_epoch;
    ret->epoch = c->epoch;
    return NULL;
}

static struct error *convert(struct convert *c, struct convert_result *ret)
{
    struct build_stage *target;

    TRY(parse(c));
    TRY(init_args(c));
    init_proxy(c);
    TRY(stages_build(c));
    TRY(find_target(c, &target));
    TRY(stages_link(c));
    TRY(stages_resolve(c, target));
    TRY(dispatch_stages(c));
    set_add(target->paths, "/"); /* all of the result is used */
    TRY(finish(c, target, ret));
    return c->o->outline != NULL ? outline_gather(c, target, c->o->outline) : NULL;
}

static void convert_deinit(struct convert *c)
{
    for (size_t i = 0; i < c->stages.len; i++)
        stage_free(c->stages.v[i]);
    ptrv_deinit(&c->stages);
    map_deinit(&c->by_name);
    map_deinit(&c->ctx_paths);
    for (size_t i = 0; i < c->base_images.len; i++) {
        df_image_deinit(c->base_images.v[i]);
        free(c->base_images.v[i]);
    }
    ptrv_deinit(&c->base_images);
    lint_deinit(&c->lint);
    map_deinit(&c->build_args);
    map_deinit(&c->meta_args);
    pattern_set_deinit(&c->ignore);
    arena_deinit(&c->mem);
    llb_builder_free(c->b);
}

struct error *dockerfile_convert(const struct convert_options *o, struct convert_result *ret)
{
    struct convert c = { .o = o, .ui = o->ui };
    struct error *e;

    df_image_init(&ret->image);
    df_image_init(&ret->base_image);
    c.b = llb_builder_new();
    c.context = llb_output_late(c.b);
    strmap_init(&c.build_args);
    strmap_copy(&c.build_args, &o->ui->build_args);
    c.implicit_target = o->target == NULL;
    c.build = llb_platform_dup(c.b, &o->ui->build_platform);
    c.target = o->target != NULL ? llb_platform_dup(c.b, o->target) : c.build;
    e = convert(&c, ret);
    convert_deinit(&c);
    return e;
}
