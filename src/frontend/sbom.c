/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/sbom.h"

#include "base/csv.h"
#include "llb/state.h"
#include "oci/image.h"
#include "oci/reference.h"

#define DEFAULT_GENERATOR "docker/buildkit-syft-scanner:stable-1"
#define CORE "/run/src/core/sbom"
#define EXTRAS "/run/src/extras"
#define OUT "/run/out/"

/* ---- options ---- */

static struct error *parse_fields(const char *type, const char *value, struct map *ret)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 };

    if (value[0] == '\0')
        return NULL;
    TRY(err_wrap(csv_fields(value, &fields), "failed to parse %s", type));
    for (size_t i = 0; i < fields.len; i++) {
        const char *f = fields.v[i], *eq = strchr(f, '=');
        CLEANUP(freep) char *key = eq == NULL ? xstrdup(f) : xstrndup(f, (size_t)(eq - f));

        strmap_set(ret, key, eq == NULL ? "" : eq + 1);
    }
    return NULL;
}

static struct error *tell_type(const char *type, const char *value, attest_fn fn, void *ctx)
{
    CLEANUP(map_deinit) struct map fields = { 0 };

    strmap_init(&fields);
    TRY(parse_fields(type, value, &fields));
    if (!streq(type, "sbom") && !streq(type, "provenance"))
        return err_new(ERR_INVALID, "unknown attestation type \"%s\"", type);
    return fn != NULL ? fn(ctx, type, &fields) : NULL;
}

struct error *attest_options_each(const struct map *opts, attest_fn fn, void *ctx)
{
    static const char *const prefixes[] = { "attest:", "build-arg:BUILDKIT_ATTEST_" };

    for (size_t p = 0; p < ARRAY_LEN(prefixes); p++) {
        for (size_t i = 0; i < opts->len; i++) {
            const char *rest = str_skip_prefix(opts->entries[i].key, prefixes[p]);
            CLEANUP(freep) char *type = rest == NULL ? NULL : str_lower(rest);

            if (type != NULL)
                TRY(tell_type(type, opts->entries[i].value, fn, ctx));
        }
    }
    return NULL;
}

struct error *sbom_options_parse(const struct map *opts, const char *noun, struct sbom_options *ret)
{
    const char *value = strmap_get(opts, "attest:sbom"), *generator;
    CLEANUP(reference_deinit) struct reference r = { 0 };

    if (value == NULL)
        value = strmap_get(opts, "build-arg:BUILDKIT_ATTEST_SBOM");
    if (value == NULL)
        return NULL;
    strmap_init(&ret->params);
    TRY(parse_fields("sbom", value, &ret->params));
    generator = strmap_get(&ret->params, "generator");
    if (generator == NULL)
        generator = DEFAULT_GENERATOR;
    if (generator[0] == '\0')
        return err_new(ERR_INVALID, "sbom %s cannot be empty", noun);
    TRY(err_wrap(reference_parse(generator, &r), "failed to parse sbom %s %s", noun, generator));
    reference_add_default_tag(&r);
    ret->generator = reference_string(&r);
    map_remove(&ret->params, "generator");
    map_sort(&ret->params);
    ret->wanted = true;
    return NULL;
}

void sbom_options_deinit(struct sbom_options *o)
{
    free(o->generator);
    map_deinit(&o->params);
    *o = (struct sbom_options){ 0 };
}

/* ---- the scanner ---- */

static void add_strings(const json_t *list, struct strv *to)
{
    const json_t *s;
    size_t i;

    json_array_foreach(list, i, s)
    {
        if (json_is_string(s))
            strv_add(to, json_string_value(s));
    }
}

static void read_config(const json_t *config, struct sbom_scanner *s)
{
    const char *dir = json_string_value(json_object_get(config, "WorkingDir"));

    add_strings(json_object_get(config, "Entrypoint"), &s->args);
    add_strings(json_object_get(config, "Cmd"), &s->args);
    add_strings(json_object_get(config, "Env"), &s->env);
    s->dir = xstrdup(dir == NULL || dir[0] == '\0' ? "/" : dir);
}

struct error *sbom_scanner_open(struct bridge *b, const struct sbom_options *o,
                                const struct platform *platform, const char *resolve_mode,
                                struct sbom_scanner *ret)
{
    CLEANUP(resolved_image_deinit) struct resolved_image image = { 0 };
    CLEANUP(freep) char *name = xasprintf("resolve image config for docker-image://%s", o->generator);
    struct resolve_image_options how = { .platform = platform,
                                         .resolve_mode = resolve_mode,
                                         .log_name = name };
    json_t *j;

    *ret = (struct sbom_scanner){ .bridge = b, .options = o, .platform = platform };
    TRY(bridge_resolve_image(b, o->generator, &how, &image));
    TRY(json_parse(image.config.data, image.config.len, "image config", &j));
    read_config(json_object_get(j, "config"), ret);
    json_decref(j);
    return ret->args.len > 0 ? NULL : err_new(ERR_INVALID, "scanner %s does not have cmd", o->generator);
}

void sbom_scanner_deinit(struct sbom_scanner *s)
{
    strv_deinit(&s->args);
    strv_deinit(&s->env);
    free(s->dir);
}

static struct llb_state add_pair(struct llb_builder *b, struct llb_state s, const char *pair)
{
    size_t len = strcspn(pair, "=");

    return llb_add_env(b, s, llb_strndup(b, pair, len), pair[len] == '=' ? pair + len + 1 : "");
}

static struct llb_state scanner_state(struct sbom_scanner *s, struct llb_builder *b, bool extras)
{
    struct llb_options o = { .platform = s->platform };
    struct llb_state st = llb_image(b, s->options->generator, LLB_RESOLVE_DEFAULT, &o);

    st = llb_dir(b, st, s->dir);
    for (size_t i = 0; i < s->env.len; i++)
        st = add_pair(b, st, s->env.v[i]);
    st = llb_add_env(b, st, "BUILDKIT_SCAN_DESTINATION", OUT);
    st = llb_add_env(b, st, "BUILDKIT_SCAN_SOURCE", CORE);
    if (extras)
        st = llb_add_env(b, st, "BUILDKIT_SCAN_SOURCE_EXTRAS", EXTRAS);
    for (size_t i = 0; i < s->options->params.len; i++) {
        const struct map_entry *e = &s->options->params.entries[i];

        st = llb_add_env(b, st, llb_printf(b, "BUILDKIT_SCAN_%s", e->key), e->value);
    }
    return st;
}

static struct error *tree_state(struct llb_builder *b, const struct llb_def *def, struct llb_state *ret)
{
    *ret = llb_scratch();
    return llb_def_is_scratch(def) ? NULL : llb_from_def(b, llb_def_ref((struct llb_def *)def), ret);
}

static struct error *scan_def(struct sbom_scanner *s, struct llb_builder *b, const char *id,
                              const struct llb_def *core, const struct sbom_extra *extras, size_t count,
                              bool ignore_cache, struct llb_def **ret)
{
    CLEANUP(freep) struct llb_mount *mounts = xcalloc(count + 3, sizeof(*mounts));
    struct llb_options o = {
        .platform = s->platform,
        .custom_name = llb_printf(b, "[%s] generating sbom using %s", id, s->options->generator),
        .ignore_cache = ignore_cache,
    };
    struct llb_run run = { .args = &s->args, .mounts = mounts, .mount_count = count + 3 };

    mounts[0] = (struct llb_mount){ .target = "/tmp", .source = llb_scratch(), .tmpfs = true };
    mounts[1] = (struct llb_mount){ .target = CORE, .readonly = true };
    mounts[2] = (struct llb_mount){ .target = OUT, .source = llb_scratch() };
    TRY(tree_state(b, core, &mounts[1].source));
    for (size_t i = 0; i < count; i++) {
        mounts[3 + i] = (struct llb_mount){ .target = llb_printf(b, EXTRAS "/sbom-%s", extras[i].name),
                                            .readonly = true };
        TRY(tree_state(b, extras[i].def, &mounts[3 + i].source));
    }
    struct llb_state after = llb_run(b, scanner_state(s, b, count > 0), &run, &o);

    return llb_marshal(b, llb_run_output(b, after, OUT), NULL, ret);
}

struct error *sbom_scan(struct sbom_scanner *s, const char *id, const struct llb_def *core,
                        const struct sbom_extra *extras, size_t count, bool ignore_cache,
                        struct frontend_result *ret)
{
    CLEANUP(llb_builder_freep) struct llb_builder *b = llb_builder_new();
    struct frontend_attestation *a;
    struct llb_def *def = NULL;
    struct ref *ref = NULL;

    TRY(scan_def(s, b, id, core, extras, count, ignore_cache, &def));
    struct error *e = s->bridge->ops->solve(s->bridge, def, &ref);

    if (e != NULL) {
        llb_def_unref(def);
        return e;
    }
    a = frontend_result_add_attestation(ret, id, 1, "", PREDICATE_SPDX);
    a->ref = ref;
    frontend_attestation_set_metadata(a, "reason", "sbom", 4);
    frontend_attestation_set_metadata(a, "sbom-core", "sbom", 4);
    return NULL;
}
