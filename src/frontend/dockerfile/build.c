/* SPDX-License-Identifier: Apache-2.0 */
/*
 * build.c - one build: options, the file, its syntax, a conversion for each platform, the result
 */
#include "frontend/dockerfile/build.h"

#include "base/limits.h"
#include "base/rune.h"
#include "frontend/dockerfile/convert.h"
#include "frontend/dockerfile/directive.h"
#include "frontend/dockerfile/dockerui.h"
#include "frontend/dockerfile/subrequest.h"
#include "task/task.h"

#define SYNTAX_ARG "build-arg:BUILDKIT_SYNTAX"

/* One platform of the build, converted in a task of its own. */
struct platform_build {
    struct dockerui *ui;
    const struct dockerui_source *source;
    const struct platform *target; /* NULL: the default */
    bool warns;                    /* the first one: warnings are shown once */
    bool sbom;
    struct convert_result result;
    struct ref *ref;
};

/* ---- errors and warnings
 * ----------------------------------------------------------------------------------------------- */

static struct llb_range *lines_to_ranges(struct df_lines lines, size_t *ret_count)
{
    size_t count = lines.first < 0 ? 0 : (size_t)(MAX(lines.last, lines.first) - lines.first) + 1;
    struct llb_range *ranges;

    count = MIN(count, (size_t)LIMIT_LOCATION_LINES);
    ranges = xcalloc(count + 1, sizeof(*ranges));

    for (size_t i = 0; i < count; i++)
        ranges[i].start_line = ranges[i].end_line = lines.first + (int)i;
    *ret_count = count;
    return ranges;
}

static void fill_info(struct llb_source_info *info, const struct dockerui_source *src, struct buf *definition)
{
    *info = (struct llb_source_info){ .filename = (char *)src->map.filename,
                                      .language = (char *)src->map.language,
                                      .data = (void *)src->map.data,
                                      .data_len = src->map.data_len };
    llb_def_encode(src->map.definition, definition);
    info->definition = definition->data;
    info->definition_len = definition->len;
}

/* Locations of the error become errdefs.Source details, from which clients draw the code frame. */
static struct error *add_sources(struct error *e, const struct dockerui_source *src)
{
    CLEANUP(buf_deinit) struct buf definition = { 0 };
    CLEANUP(freep) struct df_lines *lines = NULL;
    struct llb_source_info info;
    size_t count;

    if (e == NULL)
        return NULL;
    count = df_error_lines(e, NULL, 0);
    if (count == 0)
        return e;
    lines = xcalloc(count, sizeof(*lines));
    df_error_lines(e, lines, count);
    df_error_drop_lines(e);
    fill_info(&info, src, &definition);
    for (size_t i = 0; i < count; i++) {
        size_t range_count;
        CLEANUP(freep) struct llb_range *ranges = lines_to_ranges(lines[i], &range_count);

        llb_add_info_detail(e, &info, ranges, range_count);
    }
    return e;
}

static void warn(void *ctx, const struct lint_warning *w)
{
    const struct platform_build *p = ctx;
    struct bridge *b = p->ui->bridge;
    size_t range_count;
    CLEANUP(freep) struct llb_range *ranges = lines_to_ranges(w->lines, &range_count);
    CLEANUP(freep)
    char *text = lint_format_short(w->info->name, w->text, w->lines.first < 0 ? 0 : w->lines.first);
    CLEANUP(strv_deinit) struct strv detail = { 0 };
    CLEANUP(buf_deinit) struct buf definition = { 0 };
    struct llb_source_info info;
    struct frontend_warning fw = { .digest = p->source->head.s,
                                   .level = 1,
                                   .short_text = text,
                                   .detail = &detail,
                                   .url = w->info->url,
                                   .info = &info,
                                   .ranges = ranges,
                                   .range_count = range_count };

    strv_add(&detail, w->info->description);
    fill_info(&info, p->source, &definition);
    err_free(b->ops->warn(b, &fw)); /* a warning that cannot be shown does not fail the build */
}

/* ---- which frontend
 * ---------------------------------------------------------------------------------------------------- */

static bool is_known_cap(const char *cap)
{
    static const char *const known[] = { "moby.buildkit.frontend.inputs",
                                         "moby.buildkit.frontend.subrequests",
                                         "moby.buildkit.frontend.contexts",
                                         "moby.buildkit.frontend.gitquerystring",
                                         "moby.buildkit.frontend.contexts.zstd" };

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (streq(cap, known[i]))
            return true;
    }
    return false;
}

/* {"name": ...} as detail. */
static struct error *with_name_detail(struct error *e, const char *type_url, const char *name)
{
    CLEANUP(buf_deinit) struct buf json = { 0 };

    buf_adds(&json, "{\"name\":");
    buf_add_json_string(&json, name, strlen(name), true);
    buf_addc(&json, '}');
    err_add_detail(e, type_url, json.data, json.len);
    return e;
}

/* Capabilities that the client needs. *ret_forward: an unknown one may be left to another frontend. */
static struct error *check_caps(const char *wanted, bool *ret_forward)
{
    CLEANUP(strv_deinit) struct strv caps = { 0 };
    struct error *e = NULL;

    *ret_forward = false;
    if (wanted == NULL || *wanted == '\0')
        return NULL;
    strv_split(&caps, wanted, ',');
    for (size_t i = 0; i < caps.len; i++) {
        bool forward = strstr(caps.v[i], "+forward") != NULL;

        caps.v[i][strcspn(caps.v[i], "+")] = '\0';
        if (is_known_cap(caps.v[i]))
            continue;
        err_free(e);
        e = err_new(ERR_UNIMPLEMENTED, "unsupported frontend capability %s", caps.v[i]);
        e = with_name_detail(e, "github.com/moby/buildkit/errdefs.FrontendCap+json", caps.v[i]);
        *ret_forward = forward;
        if (!forward)
            break;
    }
    return e;
}

/* Hand the build to the frontend image that the file or the client names. */
static struct error *forward(struct dockerui *ui, const char *source, const char *cmdline,
                             struct frontend_result *ret)
{
    CLEANUP(map_deinit) struct map opts = { 0 };

    strmap_init(&opts);
    strmap_copy(&opts, &ui->opts);
    strmap_set(&opts, "cmdline", cmdline);
    strmap_set(&opts, "source", source);
    struct error *e = ui->bridge->ops->solve_frontend(ui->bridge, "gateway.v0", &opts, ui->inputs, ret);

    return e;
}

static bool has_sources(const struct error *e)
{
    return err_find_detail(e, "errdefs.Source+json") != NULL;
}

/* Which frontend the file or the client asks for. */
struct syntax {
    const char *arg; /* the client's, NULL: none */
    char *source;    /* NULL: nobody asks */
    struct directive d;
};

static void syntax_deinit(struct syntax *s)
{
    free(s->source);
    directive_deinit(&s->d);
}

static void find_syntax(struct dockerui *ui, const struct dockerui_source *src, struct syntax *ret)
{
    if (dockerui_opt(ui, "cmdline") != NULL)
        return; /* this is that frontend */
    ret->arg = dockerui_opt(ui, SYNTAX_ARG);
    if (ret->arg != NULL) {
        size_t len;
        const char *text = str_trim_space(ret->arg, strlen(ret->arg), &len);

        ret->source = xstrndup(text, MIN(strcspn(text, " "), len));
    } else {
        directive_detect_syntax(src->map.data, src->map.data_len, &ret->source, &ret->d);
    }
}

/* An error of the frontend asked for names who asked, unless it has a place of its own. */
static struct error *blame_syntax(const struct syntax *s, const struct dockerui_source *src, struct error *e)
{
    if (e == NULL || s->source == NULL || has_sources(e))
        return e;
    if (s->arg != NULL)
        return err_wrap(e, "failed with %s = %s", SYNTAX_ARG, s->arg);
    return add_sources(df_error_at(e, s->d.lines), src);
}

/* Questions about the file instead of a build of it. */
static struct error *handle_subrequest(struct dockerui *ui, const struct dockerui_source *src,
                                       struct frontend_result *ret, bool *ret_done)
{
    const char *request = dockerui_opt(ui, "requestid");

    *ret_done = request != NULL;
    if (request == NULL)
        return NULL;
    struct platform_build p = { .ui = ui, .source = src };
    bool known;

    struct error *e = subrequest_answer(ui, src, request, warn, &p, ret, &known);

    if (e != NULL)
        df_error_drop_lines(e); /* questions show no code frame */
    if (e != NULL || known)
        return e;
    return with_name_detail(err_new(ERR_UNIMPLEMENTED, "unsupported request %s", request),
                            "github.com/moby/buildkit/errdefs.Subrequest+json", request);
}

/* ---- platforms
 * ---------------------------------------------------------------------------------------------------------
 */

static struct error *build_platform(void *arg)
{
    struct platform_build *p = arg;
    struct convert_options o = { .ui = p->ui,
                                 .source = &p->source->map,
                                 .target = p->target,
                                 .warn = p->warns ? warn : NULL,
                                 .warn_ctx = p,
                                 .sbom = p->sbom };
    struct llb_def *def;

    TRY(dockerfile_convert(&o, &p->result));
    def = TAKE(p->result.def);
    p->ref = NULL;
    if (p->ui->caches.len > 0)
        p->ui->bridge->ops->import_caches(p->ui->bridge, &p->ui->caches);
    struct error *e = p->ui->bridge->ops->solve(p->ui->bridge, def, &p->ref);

    if (e != NULL)
        llb_def_unref(def);
    return e;
}

static struct error *build_platforms(struct platform_build *v, size_t count)
{
    CLEANUP(group_deinit) struct group g = { 0 };
    struct error *e = NULL;

    if (count == 1)
        return build_platform(&v[0]);
    group_open(&g, 0);
    for (size_t i = 0; e == NULL && i < count; i++)
        e = group_spawn(&g, "dockerfile-platform", build_platform, &v[i]);
    return group_finish(&g, e); /* the first may fail before the second is there */
}

/* ---- result
 * ------------------------------------------------------------------------------------------------------------
 */

/* What the export is for: windows images tell their version only in the config. */
static void export_platform(const struct platform_build *p, struct platform *ret)
{
    const struct platform *image = &p->result.image.platform;

    platform_copy(ret, p->target != NULL ? p->target : platform_host());
    platform_normalize(ret);
    if (!streq(ret->os, "windows") || image->os == NULL || !streq(image->os, ret->os))
        return;
    if (*ret->os_version == '\0' && image->os_version != NULL)
        str_replace(&ret->os_version, image->os_version);
    if (ret->os_feature_count == 0 && image->os_feature_count > 0) {
        struct strv features = { 0 };

        for (size_t i = 0; i < image->os_feature_count; i++)
            strv_add(&features, image->os_features[i]);
        ret->os_features = features.v;
        ret->os_feature_count = features.len;
    }
    platform_normalize(ret);
}

static void set_metadata(struct frontend_result *ret, const char *key, const char *platform,
                         const struct buf *value)
{
    CLEANUP(freep) char *full = platform != NULL ? xasprintf("%s/%s", key, platform) : xstrdup(key);

    frontend_result_set_metadata(ret, full, value->data, value->len);
}

/* The id before the image's additions, as BuildKit names the result. */
static char *platform_id(const struct platform_build *p)
{
    CLEANUP(platform_deinit) struct platform plain = { 0 };

    platform_copy(&plain, p->target != NULL ? p->target : platform_host());
    platform_normalize(&plain);
    return platform_format_all(&plain);
}

static void add_result(const struct platform_build *p, bool multi, struct frontend_result *ret,
                       struct buf *platforms)
{
    CLEANUP(platform_deinit) struct platform exported = { 0 };
    CLEANUP(buf_deinit) struct buf config = { 0 }, base = { 0 }, epoch = { 0 };
    CLEANUP(freep) char *id = platform_id(p), *json = NULL;
    const char *key = multi ? id : NULL;
    json_t *j;

    export_platform(p, &exported);
    frontend_result_add_ref(ret, key, p->ref);
    df_image_encode(&p->result.image, &config);
    set_metadata(ret, "containerimage.config", key, &config);
    if (p->result.has_base) {
        df_image_encode(&p->result.base_image, &base);
        set_metadata(ret, "containerimage.base.config", key, &base);
    }
    if (p->result.has_epoch) {
        buf_addf(&epoch, "%lld", (long long)p->result.epoch);
        set_metadata(ret, "source.date.epoch", key, &epoch);
    }
    buf_adds(platforms, platforms->data[platforms->len - 1] == '[' ? "{\"ID\":" : ",{\"ID\":");
    buf_add_json_string(platforms, id, strlen(id), true);
    j = platform_to_json(&exported);
    json = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    buf_addf(platforms, ",\"Platform\":%s}", json);
}

static void make_result(struct dockerui *ui, const struct platform_build *v, size_t count,
                        struct frontend_result *ret)
{
    CLEANUP(buf_deinit) struct buf platforms = { 0 };

    buf_adds(&platforms, "{\"Platforms\":[");
    ret->multi = ui->multi_platform;
    for (size_t i = 0; i < count; i++)
        add_result(&v[i], ui->multi_platform, ret, &platforms);
    buf_adds(&platforms, "]}");
    frontend_result_set_metadata(ret, "refs.platforms", platforms.data, platforms.len);
}

/* An SBOM of every platform's result. */
static struct error *scan_all(struct sbom_scanner *s, const struct platform_build *v, size_t count,
                              struct frontend_result *ret)
{
    struct bridge *b = s->bridge;

    for (size_t i = 0; i < count; i++) {
        const struct convert_result *r = &v[i].result;
        CLEANUP(freep) char *id = platform_id(&v[i]);

        TRY(sbom_scan(s, id, b->ops->ref_def(b, v[i].ref), r->extras, r->extra_count, r->ignore_cache, ret));
    }
    return NULL;
}

static struct error *convert_all(struct dockerui *ui, const struct dockerui_source *src,
                                 struct frontend_result *ret)
{
    size_t count = MAX(ui->target_count, (size_t)1);
    struct platform_build *v = xcalloc(count, sizeof(*v));
    CLEANUP(sbom_scanner_deinit) struct sbom_scanner scanner = { 0 };
    const struct sbom_options *sbom = &ui->sbom;
    struct error *e = NULL;

    if (sbom->wanted)
        e = sbom_scanner_open(ui->bridge, sbom, &ui->build_platform, dockerui_opt(ui, "image-resolve-mode"),
                              &scanner);
    for (size_t i = 0; i < count; i++) {
        v[i].ui = ui;
        v[i].sbom = sbom->wanted;
        v[i].source = src;
        v[i].target = ui->target_count > 0 ? &ui->targets[i] : NULL;
        v[i].warns = i == 0;
        df_image_init(&v[i].result.image);
        df_image_init(&v[i].result.base_image);
    }
    if (e == NULL)
        e = add_sources(build_platforms(v, count), src);
    if (e == NULL)
        make_result(ui, v, count, ret);
    if (e == NULL && sbom->wanted)
        e = scan_all(&scanner, v, count, ret);
    for (size_t i = 0; i < count; i++)
        convert_result_deinit(&v[i].result);
    free(v);
    return e;
}

static struct error *check_source(const struct dockerui *ui, const char *source)
{
    const struct bridge_ops *ops = ui->bridge->ops;

    return ops->check_frontend == NULL ? NULL : ops->check_frontend(ui->bridge, source);
}

/* ---- the build
 * ---------------------------------------------------------------------------------------------------------
 */

/* The build by this frontend. `missing`: a capability that the client needs and this one lacks; taken. */
static struct error *build_here(struct dockerui *ui, const struct dockerui_source *src, struct error *missing,
                                struct frontend_result *ret)
{
    bool done;

    if (missing != NULL)
        return missing;
    TRY(handle_subrequest(ui, src, ret, &done));
    return done ? NULL : convert_all(ui, src, ret);
}

static struct error *build(struct dockerui *ui, struct dockerui_source *src, struct frontend_result *ret)
{
    CLEANUP(err_freep) struct error *missing = NULL;
    CLEANUP(syntax_deinit) struct syntax s = { 0 };
    bool may_forward;

    missing = check_caps(dockerui_opt(ui, "frontend.caps"), &may_forward);
    if (missing != NULL && !may_forward)
        return TAKE(missing);
    TRY(dockerui_read_entrypoint(ui, src));
    find_syntax(ui, src, &s);
    if (s.source != NULL) {
        struct error *e = check_source(ui, s.source);

        if (e != NULL)
            return blame_syntax(&s, src, e);
    }
    if (s.source == NULL || frontend_is_builtin(s.source))
        return blame_syntax(&s, src, build_here(ui, src, TAKE(missing), ret));
    return blame_syntax(&s, src, forward(ui, s.source, s.arg != NULL ? s.arg : s.d.value, ret));
}

struct error *frontend_dockerfile_build(struct bridge *b, const struct map *opts, const struct map *inputs,
                                        struct frontend_result *ret)
{
    struct dockerui_source src = { 0 };
    struct dockerui ui;
    struct error *e;

    TRY(dockerui_init(&ui, b, opts, inputs));
    e = build(&ui, &src, ret);
    dockerui_source_deinit(&src);
    dockerui_deinit(&ui);
    if (e != NULL)
        frontend_result_deinit(ret);
    return e;
}
