/* SPDX-License-Identifier: Apache-2.0 */
/* Named contexts: --build-context and what bake links. */
#include "frontend/dockerfile/dockerui.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/rune.h"
#include "frontend/dockerfile/ignore.h"
#include "frontend/dockerfile/remote_context.h"
#include "oci/reference.h"

#include <jansson.h>

/* ---- finding
 * -----------------------------------------------------------------------------------------------------------
 */

static struct named_context *lookup(struct dockerui *ui, const char *name, const char *key,
                                    const struct named_context_options *o)
{
    CLEANUP(freep) char *opt = xasprintf("context:%s", key);
    const char *input = dockerui_opt(ui, opt);
    struct named_context *nc;

    if (input == NULL)
        return NULL;
    nc = NEW(struct named_context);
    nc->name = xstrdup(name);
    nc->key = xstrdup(key);
    nc->input = xstrdup(input);
    nc->platform = o->platform;
    nc->resolve_mode = o->resolve_mode;
    nc->paths = o->paths;
    nc->paths_ctx = o->paths_ctx;
    return nc;
}

static bool has_contexts(const struct dockerui *ui)
{
    for (size_t i = 0; i < ui->opts.len; i++) {
        if (str_has_prefix(ui->opts.entries[i].key, "context:"))
            return true;
    }
    return false;
}

/* A reference beyond doubt. */
static bool is_simple(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");

    return len > 0 && len < 64 && name[len] == '\0';
}

void named_context_free(struct named_context *nc)
{
    if (nc == NULL)
        return;
    free(nc->name);
    free(nc->key);
    free(nc->input);
    free(nc);
}

struct error *named_context_find(struct dockerui *ui, const char *name, const struct named_context_options *o,
                                 struct named_context **ret)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(platform_deinit) struct platform p = { 0 };
    CLEANUP(freep) char *familiar = NULL, *format = NULL, *key = NULL;
    bool some = has_contexts(ui);
    size_t len;

    *ret = NULL;
    if (!some && is_simple(name))
        return NULL;
    TRY(err_wrap(reference_parse(name, &r), "invalid context name %s", name));
    if (!some)
        return NULL;
    familiar = reference_familiar(&r);
    len = strlen(familiar);
    if (str_has_suffix(familiar, ":latest"))
        familiar[len - strlen(":latest")] = '\0';
    platform_copy(&p, o->platform != NULL ? o->platform : platform_host());
    platform_normalize(&p);
    format = platform_format_all(&p);
    key = xasprintf("%s::%s", familiar, format);
    *ret = lookup(ui, familiar, key, o);
    if (*ret == NULL)
        *ret = lookup(ui, familiar, familiar, o);
    return NULL;
}

/* ---- images
 * ------------------------------------------------------------------------------------------------------------
 */

struct load {
    struct dockerui *ui;
    struct llb_builder *b;
    const struct named_context *nc;
    struct llb_state *ret;
    struct df_image *image;
    bool *has_image;
    int depth; /* how often policies put another source in its place */
};

static struct error *load_named(struct load l);

static struct error *use_image(const struct load *l, struct llb_state s, const struct buf *config)
{
    TRY(df_image_parse(config->data, config->len, l->image));
    *l->has_image = true;
    return llb_with_image_config(l->b, s, config->data, config->len, l->ret);
}

/* A policy says that the context is another source, no image. */
static struct error *load_other(const struct load *l, const char *identifier)
{
    struct named_context nc = *l->nc;
    CLEANUP(freep) char *input = xstrdup(identifier);
    struct load other = *l;

    if (str_has_prefix(input, "local://"))
        memmove(input + strlen("local:"), input + strlen("local://"), strlen(input + strlen("local://")) + 1);
    nc.input = input;
    other.nc = &nc;
    other.depth++;
    return load_named(other);
}

static struct error *load_image(const struct load *l, const char *ref)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(resolved_image_deinit) struct resolved_image image = { 0 };
    CLEANUP(freep) char *full = NULL, *log = NULL, *name = NULL;
    struct resolve_image_options o = { .platform = l->nc->platform, .resolve_mode = l->nc->resolve_mode };

    ref = str_has_prefix(ref, "//") ? ref + 2 : ref;
    if (streq(ref, "scratch")) {
        *l->ret = llb_scratch();
        return NULL;
    }
    name = xasprintf("[context %s] %s", l->nc->key, ref);
    log = xasprintf("[context %s] load metadata for %s", l->nc->key, ref);
    TRY(reference_parse(ref, &r));
    reference_add_default_tag(&r);
    full = reference_string(&r);
    o.log_name = log;
    TRY(dockerui_resolve_image(l->ui, full, &o, &image));
    if (image.other != NULL)
        return load_other(l, image.other);
    TRY(use_image(l,
                  llb_image(l->b, image.ref, LLB_RESOLVE_DEFAULT,
                            &(struct llb_options){ .custom_name = name, .platform = l->nc->platform }),
                  &image.config));
    str_replace(&l->image->created, NULL);
    return NULL;
}

/* store@digest, as distribution's reference.Parse reads it: a name without a default domain. */
static struct error *load_oci_layout(const struct load *l, const char *spec)
{
    CLEANUP(reference_deinit) struct reference dummy = { 0 };
    CLEANUP(resolved_image_deinit) struct resolved_image image = { 0 };
    CLEANUP(freep) char *store = NULL, *full = NULL, *log = NULL, *name = NULL;
    const char *at;
    struct resolve_image_options o = { .platform = l->nc->platform, .oci_layout = true };

    spec = str_has_prefix(spec, "//") ? spec + 2 : spec;
    at = strrchr(spec, '@');
    if (at == NULL)
        return err_new(ERR_INVALID, "oci-layout reference \"%s\" has no digest", spec);
    if (at == spec || !digest_valid(at + 1))
        return err_new(ERR_INVALID, "could not parse oci-layout reference \"%s\": invalid reference format",
                       spec);
    store = xstrndup(spec, (size_t)(at - spec));
    if (strrchr(store, ':') != NULL && strchr(strrchr(store, ':'), '/') == NULL)
        *strrchr(store, ':') = '\0'; /* the name alone names the store */
    TRY(err_wrap(reference_parse(l->nc->name, &dummy), "could not parse oci-layout reference \"%s\"",
                 l->nc->name));
    str_replace(&dummy.digest, at + 1);
    full = reference_string(&dummy);
    log = xasprintf("[context %s] load metadata for %s", l->nc->key, full);
    name = xasprintf("[context %s] OCI load from client", l->nc->key);
    o.log_name = log;
    o.session_id = l->ui->bridge->session_id;
    o.store_id = store;
    TRY(dockerui_resolve_image(l->ui, full, &o, &image));
    return err_wrap(
        use_image(l,
                  llb_oci_layout(l->b, full, l->ui->bridge->session_id, store,
                                 &(struct llb_options){ .custom_name = name, .platform = l->nc->platform }),
                  &image.config),
        "could not parse oci-layout image config");
}

/* ---- local folders
 * ----------------------------------------------------------------------------------------------------- */

/* Kept until the definition is marshalled, when the paths that are used are known. */
struct lazy_local {
    const char *name, *custom_name, *session, *hint;
    struct strv excludes; /* strings in the builder's memory */
    used_paths_fn paths;
    void *paths_ctx;
};

static struct llb_state make_local(struct llb_builder *b, void *ctx)
{
    struct lazy_local *z = ctx;
    CLEANUP(strv_deinit) struct strv paths = { 0 };
    struct llb_local_options local = { .session_id = z->session,
                                       .shared_key_hint = z->hint,
                                       .exclude_patterns = &z->excludes,
                                       .follow_paths = &paths };

    if (z->paths != NULL)
        z->paths(z->paths_ctx, &paths);
    return llb_local(b, z->name, &local, &(struct llb_options){ .custom_name = z->custom_name });
}

static struct error *read_excludes(const struct load *l, const char *local, struct strv *ret)
{
    CLEANUP(freep) char *hint = xasprintf("context:%s-.dockerignore", l->nc->key);
    CLEANUP(freep) char *name = xasprintf("[context %s] load .dockerignore", l->nc->key);
    CLEANUP(strv_deinit) struct strv names = { 0 };
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new(); /* the other is shared by tasks */
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct llb_local_options o = { .session_id = dockerui_local_session(l->ui, local),
                                   .shared_key_hint = hint,
                                   .follow_paths = &names,
                                   .differ_none = true };
    const struct bridge_ops *ops = l->ui->bridge->ops;
    struct ref *ref = NULL;
    struct error *e;

    strv_add(&names, ".dockerignore");
    TRY(llb_marshal(b, llb_local(b, local, &o, &(struct llb_options){ .custom_name = name }), NULL, &def));
    e = ops->solve(l->ui->bridge, def, &ref);
    if (e != NULL)
        return e;
    def = NULL; /* taken */
    TRY(ops->evaluate(l->ui->bridge, ref));
    e = dockerui_read_file(l->ui, ref, ".dockerignore", &text);
    if (e != NULL && !err_is(e, ERR_EXHAUSTED) && !err_is(e, ERR_CANCELLED)) {
        err_free(e); /* absent */
        return NULL;
    }
    TRY(e);
    return err_wrap(ignore_parse(text.data, text.len, ret), "failed parsing .dockerignore");
}

static struct error *load_local(const struct load *l, const char *local)
{
    CLEANUP(strv_deinit) struct strv excludes = { 0 };
    CLEANUP(freep) char *key = xasprintf("sharedkey:localdir:%s", l->nc->key);
    const char *shared = dockerui_opt(l->ui, key);
    struct lazy_local *z = llb_alloc(l->b, sizeof(*z));

    TRY(read_excludes(l, local, &excludes));
    z->name = llb_strdup(l->b, local);
    z->custom_name = llb_printf(l->b, "[context %s] load from client", l->nc->key);
    z->session = llb_strdup(l->b, dockerui_local_session(l->ui, local));
    z->hint = llb_printf(l->b, "context:%s-%s", l->nc->key, shared != NULL ? shared : "");
    z->excludes.v = llb_alloc(l->b, (excludes.len + 1) * sizeof(char *));
    z->excludes.len = excludes.len;
    for (size_t i = 0; i < excludes.len; i++)
        z->excludes.v[i] = llb_strdup(l->b, excludes.v[i]);
    z->paths = l->nc->paths;
    z->paths_ctx = l->nc->paths_ctx;
    *l->ret = llb_new_state(llb_output_lazy(l->b, make_local, z));
    return NULL;
}

/* ---- inputs
 * ------------------------------------------------------------------------------------------------------------
 */

static void free_json(json_t **j)
{
    json_decref(*j);
}

/* Metadata of an input: {"containerimage.config": base64, ...}. */
static struct error *input_config(const char *text, struct buf *ret)
{
    json_error_t je;
    CLEANUP(free_json) json_t *root = json_loads(text, 0, &je);
    const char *encoded;

    if (root == NULL)
        return err_new(ERR_INVALID, "failed to parse input metadata %s: %s", text, je.text);
    encoded = json_string_value(json_object_get(root, "containerimage.config"));
    if (encoded != NULL && base64_decode(ret, encoded, strlen(encoded)) < 0)
        return err_new(ERR_INVALID, "failed to parse input metadata %s: illegal base64 data", text);
    return NULL;
}

static struct error *load_input(const struct load *l, const char *name)
{
    struct llb_def *def = l->ui->inputs != NULL ? map_get(l->ui->inputs, name) : NULL;
    CLEANUP(freep) char *key = xasprintf("input-metadata:%s", name);
    CLEANUP(buf_deinit) struct buf config = { 0 };
    const char *metadata = dockerui_opt(l->ui, key);

    if (def == NULL)
        return err_new(ERR_INVALID, "invalid input %s for %s", name, l->nc->key);
    TRY(llb_from_def(l->b, llb_def_ref(def), l->ret));
    if (metadata == NULL)
        return NULL;
    TRY(input_config(metadata, &config));
    if (config.len == 0)
        return NULL;
    TRY(llb_with_image_config(l->b, *l->ret, config.data, config.len, l->ret));
    TRY(err_wrap(df_image_parse(config.data, config.len, l->image), "failed to parse image config for %s",
                 l->nc->key));
    *l->has_image = true;
    return NULL;
}

/* ---- remote
 * ------------------------------------------------------------------------------------------------------------
 */

/* A git repository; `http`: or else a download, as it is. */
static struct error *load_remote(const struct load *l, bool http)
{
    CLEANUP(freep) char *name = xasprintf("[context %s] %s", l->nc->key, l->nc->input);
    CLEANUP(freep) char *git_name = xasprintf(REMOTE_GIT_STEP, l->nc->input);
    bool is_git;

    TRY(remote_git(l->b, l->nc->input,
                   &(struct remote_git_options){ .name = git_name, .advice = l->ui->git_advice }, l->ret,
                   &is_git));
    if (is_git)
        return NULL;
    if (!http)
        return err_new(ERR_INVALID, "invalid git context %s", l->nc->input);
    *l->ret = remote_file(l->b, l->nc->input, name);
    return NULL;
}

/* ---- all
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct error *load_named(struct load l)
{
    const struct named_context *nc = l.nc;
    const char *colon = strchr(nc->input, ':');
    CLEANUP(freep) char *scheme = NULL;

    if (l.depth > LIMIT_CONTEXT_RECURSION)
        return err_new(ERR_INVALID,
                       "context recursion limit exceeded; this may indicate a cycle in the provided source "
                       "policies: %s",
                       nc->input);
    *l.has_image = false;
    if (colon == NULL)
        return err_new(ERR_INVALID, "invalid context specifier %s for %s", nc->input, nc->key);
    scheme = xstrndup(nc->input, (size_t)(colon - nc->input));
    if (streq(scheme, "docker-image"))
        return load_image(&l, colon + 1);
    if (streq(scheme, "oci-layout"))
        return load_oci_layout(&l, colon + 1);
    if (streq(scheme, "local"))
        return load_local(&l, colon + 1);
    if (streq(scheme, "input"))
        return load_input(&l, colon + 1);
    if (streq(scheme, "git") || str_has_prefix(scheme, "git@") || streq(scheme, "http") ||
        streq(scheme, "https"))
        return load_remote(&l, !str_has_prefix(scheme, "git"));
    return err_new(ERR_INVALID, "unsupported context source %s for %s", scheme, nc->key);
}

struct error *named_context_load(struct dockerui *ui, struct llb_builder *b, const struct named_context *nc,
                                 struct llb_state *ret, struct df_image *ret_image, bool *ret_has_image)
{
    return load_named((struct load){ ui, b, nc, ret, ret_image, ret_has_image, 0 });
}
