/* SPDX-License-Identifier: Apache-2.0 */
/* predicate.c - provenance as a document; members in the order of BuildKit's Go structs */
#include "buildkit/build_config.h"
#include "buildkit/internal.h"
#include "oci/purl.h"

#define BUILD_TYPE1 "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
#define BUILD_TYPE02 "https://mobyproject.org/buildkit@v1"

/* The parts that both versions have. */
struct document {
    const struct provenance *p;
    const struct provenance_options *o;
    const struct map *layers; /* as they were exported, or NULL */
    json_t *materials, *source, *request, *vcs;
    struct build_config config;
    bool complete_request, complete_materials;
    int64_t finished_ns;
};

static void document_deinit(struct document *d)
{
    json_decref(d->materials);
    json_decref(d->source);
    json_decref(d->request);
    json_decref(d->vcs);
    build_config_deinit(&d->config);
}

/* ---- materials ---- */

static json_t *digest_json(const struct material *m)
{
    const char *colon = strchr(m->pin, ':');
    CLEANUP(freep) char *algorithm = colon == NULL ? NULL : xstrndup(m->pin, (size_t)(colon - m->pin));

    if (m->kind == MATERIAL_GIT)
        return json_pack("{s:s}", strlen(m->pin) == 64 ? "sha256" : "sha1", m->pin);
    return colon == NULL ? NULL : json_pack("{s:s}", algorithm, colon + 1);
}

static struct error *material_json(const struct material *m, json_t **ret)
{
    CLEANUP(freep) char *uri = NULL;
    json_t *digest = digest_json(m);

    if (m->kind == MATERIAL_IMAGE || m->kind == MATERIAL_BLOB) {
        struct error *e = purl_of_image(m->local ? "oci" : "docker", m->name, &m->platform,
                                        m->kind == MATERIAL_BLOB ? "blob" : NULL, NULL, &uri);

        if (e != NULL) {
            json_decref(digest);
            return e;
        }
    }
    *ret = json_object();
    json_object_set_new_nocheck(*ret, "uri", json_string_nocheck(uri == NULL ? m->name : uri));
    if (digest != NULL)
        json_object_set_new(*ret, "digest", digest);
    return NULL;
}

/* The blob that a repository came out of, as a material of its own. */
static struct error *bundle_json(const struct material *m, json_t **ret)
{
    const char *ref = strstr(m->bundle, "://"), *at = strrchr(m->bundle, '@');
    const char *colon = at == NULL ? NULL : strchr(at, ':');
    CLEANUP(freep) char *name = NULL;
    CLEANUP(freep) char *uri = NULL;
    CLEANUP(freep) char *algorithm = NULL;

    *ret = NULL;
    if (ref == NULL || at == NULL || at <= ref || colon == NULL) /* the source has checked it */
        return NULL;
    name = xstrndup(ref + 3, (size_t)(at - ref - 3));
    algorithm = xstrndup(at + 1, (size_t)(colon - at - 1));
    TRY(purl_of_image(str_has_prefix(m->bundle, "oci-layout+blob:") ? "oci" : "docker", name, NULL, "bundle",
                      m->name, &uri));
    *ret = json_pack("{s:s, s:{s:s}}", "uri", uri, "digest", algorithm, colon + 1);
    return NULL;
}

static struct error *add_materials(struct document *d)
{
    const struct capture *c = &d->p->capture;

    d->materials = json_array();
    for (size_t i = 0; i < c->material_count; i++) {
        json_t *j = NULL;

        TRY(material_json(&c->materials[i], &j));
        json_array_append_new(d->materials, j);
        if (c->materials[i].bundle == NULL)
            continue;
        TRY(bundle_json(&c->materials[i], &j));
        if (j != NULL)
            json_array_append_new(d->materials, j);
    }
    return NULL;
}

/* ---- the request ---- */

static void add_grants(json_t *to, const char *key, const struct grants *g)
{
    json_t *list = json_array();

    for (size_t i = 0; i < g->len; i++) {
        json_t *one = json_object();

        json_object_set_new_nocheck(one, "id", json_string_nocheck(g->v[i].id));
        if (g->v[i].optional)
            json_object_set_new(one, "optional", json_true());
        json_array_append_new(list, one);
    }
    if (g->len > 0)
        json_object_set(to, key, list);
    json_decref(list);
}

/* vcs:* of the arguments are told elsewhere. */
static json_t *take_vcs(json_t *args)
{
    json_t *vcs = json_object(), *v;
    const char *key;
    void *next;

    json_object_foreach_safe(args, next, key, v)
    {
        const char *name = str_skip_prefix(key, "vcs:");

        if (name == NULL)
            continue;
        if (json_string_length(v) > 0)
            json_object_set_nocheck(vcs, name, v);
        json_object_del(args, key);
    }
    return vcs;
}

static void add_request(struct document *d)
{
    const struct request *r = d->p->request;
    const struct capture *c = &d->p->capture;
    bool asked = r->parent != NULL;
    json_t *args = asked ? request_args_json(r) : json_object(), *locals = json_array();

    d->source = request_config_source(args, c);
    d->vcs = take_vcs(args);
    d->request = json_object();
    if (asked && r->frontend[0] != '\0')
        json_object_set_new_nocheck(d->request, "frontend", json_string_nocheck(r->frontend));
    if (json_object_size(args) > 0)
        json_object_set(d->request, "args", args);
    json_decref(args);
    add_grants(d->request, "secrets", &c->secrets);
    add_grants(d->request, "ssh", &c->ssh);
    for (size_t i = 0; i < c->locals.len; i++)
        json_array_append_new(locals, json_pack("{s:o}", "name", go_json_text(c->locals.v[i])));
    if (c->locals.len > 0)
        json_object_set(d->request, "locals", locals);
    json_decref(locals);
    if (asked && r->producers != NULL)
        json_object_set_new(d->request, "inputs", json_deep_copy(r->producers));
    if (d->p->root != NULL)
        json_object_set_new(d->request, "root", json_deep_copy(d->p->root));
    d->complete_request = asked && r->frontend[0] != '\0';
}

/* mode=min: what the user passed in stays out. true: something did. */
static bool scrub(json_t *request)
{
    json_t *args = json_object_get(request, "args"), *v;
    bool scrubbed = false;
    const char *key;
    void *next;

    json_object_foreach_safe(args, next, key, v)
    {
        if (str_has_prefix(key, "build-arg:") || str_has_prefix(key, "label:")) {
            json_object_del(args, key);
            scrubbed = true;
        }
    }
    if (args != NULL && json_object_size(args) == 0)
        json_object_del(request, "args");
    json_object_del(request, "secrets");
    json_object_del(request, "ssh");
    json_object_foreach(json_object_get(request, "inputs"), key, v)
    {
        if (scrub(json_object_get(v, "request")))
            scrubbed = true;
    }
    v = json_object_get(json_object_get(request, "root"), "request");
    return v != NULL && scrub(v) ? true : scrubbed;
}

/* ---- the two versions ---- */

static void add_environment(const struct document *d, json_t *to)
{
    const json_t *env = d->p->build->builder->provenance_env;
    const char *frontend = json_string_value(json_object_get(d->request, "frontend"));

    if (frontend != NULL && streq(frontend, "dockerfile.v0"))
        json_object_set_new(to, "dockerfileVersion", json_string(WORKER_DOCKERFILE_VERSION));
    if (env != NULL)
        json_object_update(to, (json_t *)env);
}

static void write_if(struct go_writer *w, const char *name, bool value)
{
    if (value)
        go_write_member_bool(w, name, true);
}

static bool hermetic(const struct document *d)
{
    return d->complete_materials && !d->p->capture.network;
}

static char *host_platform(void)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };

    platform_copy(&p, platform_host());
    platform_normalize(&p);
    return platform_format(&p);
}

/* That steps had their network through the proxy, and what of it cannot be named. */
static void write_network(const struct capture *c, struct go_writer *w)
{
    go_write_name(w, "network");
    go_write_open(w, '{');
    go_write_member(w, "mode", "proxy");
    if (c->gap_count > 0) {
        go_write_name(w, "proxy");
        go_write_open(w, '{');
        go_write_name(w, "incomplete");
        go_write_open(w, '[');
        for (size_t i = 0; i < c->gap_count; i++)
            capture_gap_write(&c->gaps[i], w);
        go_write_close(w, ']');
        go_write_close(w, '}');
    }
    go_write_close(w, '}');
}

/* What minke itself knows of a build beside its definition. */
static struct error *write_metadata(const struct document *d, struct go_writer *w)
{
    go_write_open(w, '{');
    if (json_object_size(d->vcs) > 0)
        go_write_member_json(w, "vcs", d->vcs);
    if (d->o->max)
        TRY(build_config_write_metadata(&d->config, d->layers, w));
    if (d->p->capture.proxied)
        write_network(&d->p->capture, w);
    go_write_close(w, '}');
    return NULL;
}

/* Members by name, for Go writes these by way of a map; the build's configuration is written in its place. */
static json_t *internal_parameters(const struct document *d)
{
    json_t *j = json_object(), *generic;
    CLEANUP(freep) char *platform = host_platform();

    if (d->o->max)
        json_object_set_new(j, "buildConfig", json_null());
    json_object_set_new(j, "builderPlatform", json_string(platform));
    add_environment(d, j);
    if (d->p->target != NULL)
        json_object_set_new(j, "targetPlatform", json_string(d->p->target));
    generic = go_json_generic(j);
    json_decref(j);
    return generic;
}

static struct error *write_internal(const struct document *d, struct go_writer *w)
{
    json_t *internal = internal_parameters(d), *v;
    struct error *e = NULL;
    const char *key;

    go_write_open(w, '{');
    json_object_foreach(internal, key, v)
    {
        go_write_name(w, key);
        if (streq(key, "buildConfig"))
            e = build_config_write(&d->config, LLB_JSON_GO_MAP, w);
        else
            go_write_json(w, v);
        if (e != NULL)
            break;
    }
    json_decref(internal);
    TRY(e);
    go_write_close(w, '}');
    return NULL;
}

static struct error *write_definition1(const struct document *d, struct go_writer *w)
{
    go_write_open(w, '{');
    go_write_member(w, "buildType", BUILD_TYPE1);
    if (json_array_size(d->materials) > 0)
        go_write_member_json(w, "resolvedDependencies", d->materials);
    go_write_name(w, "externalParameters");
    go_write_open(w, '{');
    go_write_member_json(w, "configSource", d->source);
    go_write_member_json(w, "request", d->request);
    go_write_close(w, '}');
    go_write_name(w, "internalParameters");
    TRY(write_internal(d, w));
    go_write_close(w, '}');
    return NULL;
}

static void write_builder(const struct document *d, struct go_writer *w)
{
    go_write_name(w, "builder");
    go_write_open(w, '{');
    go_write_member(w, "id", d->o->builder_id);
    go_write_close(w, '}');
}

static struct error *write_metadata1(const struct document *d, struct go_writer *w)
{
    const struct build *u = d->p->build;

    go_write_open(w, '{');
    go_write_member(w, "invocationId", u->id);
    go_write_member_time(w, "startedOn", u->started_ns);
    go_write_member_time(w, "finishedOn", d->finished_ns);
    go_write_name(w, "buildkit_metadata");
    TRY(write_metadata(d, w));
    write_if(w, "buildkit_hermetic", hermetic(d));
    go_write_name(w, "buildkit_completeness");
    go_write_open(w, '{');
    go_write_member_bool(w, "request", d->complete_request);
    go_write_member_bool(w, "resolvedDependencies", d->complete_materials);
    go_write_close(w, '}');
    write_if(w, "buildkit_reproducible", d->o->reproducible);
    go_write_close(w, '}');
    return NULL;
}

static struct error *write_predicate1(const struct document *d, struct go_writer *w)
{
    go_write_open(w, '{');
    go_write_name(w, "buildDefinition");
    TRY(write_definition1(d, w));
    go_write_name(w, "runDetails");
    go_write_open(w, '{');
    write_builder(d, w);
    go_write_name(w, "metadata");
    TRY(write_metadata1(d, w));
    go_write_close(w, '}');
    go_write_close(w, '}');
    return NULL;
}

static json_t *invocation02(const struct document *d)
{
    CLEANUP(freep) char *platform = host_platform();
    json_t *environment = json_pack("{s:s}", "platform", platform), *generic, *source = json_object();
    json_t *path = json_object_get(d->source, "path"), *v;
    const char *key;

    json_object_foreach(d->source, key, v)
    {
        if (v != path)
            json_object_set(source, key, v);
    }
    if (path != NULL)
        json_object_set(source, "entryPoint", path);
    add_environment(d, environment);
    generic = go_json_generic(environment);
    json_decref(environment);
    return json_pack("{s:o, s:O, s:o}", "configSource", source, "parameters", d->request, "environment",
                     generic);
}

static void write_invocation02(const struct document *d, struct go_writer *w)
{
    json_t *j = invocation02(d);

    go_write_member_json(w, "invocation", j);
    json_decref(j);
}

static struct error *write_metadata02(const struct document *d, struct go_writer *w)
{
    const struct build *u = d->p->build;

    go_write_open(w, '{');
    go_write_member(w, "buildInvocationID", u->id);
    go_write_member_time(w, "buildStartedOn", u->started_ns);
    go_write_member_time(w, "buildFinishedOn", d->finished_ns);
    go_write_name(w, "completeness");
    go_write_open(w, '{');
    go_write_member_bool(w, "parameters", d->complete_request);
    go_write_member_bool(w, "environment", true);
    go_write_member_bool(w, "materials", d->complete_materials);
    go_write_close(w, '}');
    go_write_member_bool(w, "reproducible", d->o->reproducible);
    go_write_name(w, BUILD_TYPE02 "#metadata");
    TRY(write_metadata(d, w));
    write_if(w, BUILD_TYPE02 "#hermetic", hermetic(d));
    go_write_close(w, '}');
    return NULL;
}

static struct error *write_predicate02(const struct document *d, struct go_writer *w)
{
    go_write_open(w, '{');
    write_builder(d, w);
    go_write_member(w, "buildType", BUILD_TYPE02);
    if (json_array_size(d->materials) > 0)
        go_write_member_json(w, "materials", d->materials);
    write_invocation02(d, w);
    if (d->o->max) {
        go_write_name(w, "buildConfig");
        TRY(build_config_write(&d->config, LLB_JSON_GO, w));
    }
    go_write_name(w, "metadata");
    TRY(write_metadata02(d, w));
    go_write_close(w, '}');
    return NULL;
}

/* ---- the whole ---- */

/* All attestations of a build say the same. */
static int64_t finish_time(struct build *u)
{
    int64_t ns;

    mutex_lock(&u->root.lock);
    if (u->completed_ns == 0)
        u->completed_ns = now_ns();
    ns = u->completed_ns;
    mutex_unlock(&u->root.lock);
    return ns;
}

struct error *provenance_write(const struct provenance *p, const struct provenance_options *o,
                               const struct map *layers, struct buf *out)
{
    CLEANUP(document_deinit)
    struct document d = { .p = p, .o = o, .layers = layers, .finished_ns = finish_time(p->build) };
    struct go_writer w = { .out = out, .indent = "  " };

    d.complete_materials = !p->capture.incomplete && p->capture.locals.len == 0;
    TRY(add_materials(&d));
    add_request(&d);
    if (o->max)
        TRY(build_config_open(p, &d.config));
    else if (scrub(d.request))
        d.complete_request = false;
    json_object_set_new(d.request, "compatibilityVersion", json_integer(p->build->compatibility));
    return o->slsa02 ? write_predicate02(&d, &w) : write_predicate1(&d, &w);
}
