/* SPDX-License-Identifier: Apache-2.0 */
/* predicate.c - provenance as a document; members in the order of BuildKit's Go structs */
#include "buildkit/internal.h"
#include "buildkit/provenance.h"
#include "export/layers.h"
#include "llb/steps.h"
#include "oci/gojson.h"
#include "oci/purl.h"

#define BUILD_TYPE1 "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md"
#define BUILD_TYPE02 "https://mobyproject.org/buildkit@v1"

/* The parts that both versions have. */
struct document {
    const struct provenance *p;
    const struct provenance_options *o;
    json_t *materials, *source, *request, *config, *metadata; /* `config` NULL: mode=min */
    bool complete_request, complete_materials;
    int64_t finished_ns;
};

static void document_deinit(struct document *d)
{
    json_decref(d->materials);
    json_decref(d->source);
    json_decref(d->request);
    json_decref(d->config);
    json_decref(d->metadata);
}

static json_t *time_json(int64_t ns)
{
    char text[40];

    format_rfc3339(text, ns);
    return json_string(text);
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
    json_t *args = asked ? request_args_json(r) : json_object(), *vcs, *locals = json_array();

    d->source = request_config_source(args, c);
    vcs = take_vcs(args);
    if (json_object_size(vcs) > 0)
        json_object_set(d->metadata, "vcs", vcs);
    json_decref(vcs);
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

/* ---- mode=max: steps, source, layers ---- */

static struct error *add_steps(const struct llb_def *def, json_t *to, struct map *names)
{
    json_t *steps, *digests;

    TRY(llb_def_steps(def, &steps, names));
    if (steps == NULL)
        return NULL;
    digests = strmap_to_json(names);
    json_object_set_new(to, "llbDefinition", steps);
    json_object_set_new(to, "digestMapping", digests);
    return NULL;
}

static struct error *info_json(const struct llb_source_info *info, json_t **ret)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    CLEANUP(map_deinit) struct map names = { 0 };
    CLEANUP(buf_deinit) struct buf data = { 0 };
    json_t *j = *ret = json_object();

    strmap_init(&names);
    if (info->filename[0] != '\0')
        json_object_set_new_nocheck(j, "filename", json_string_nocheck(info->filename));
    if (info->language[0] != '\0')
        json_object_set_new_nocheck(j, "language", json_string_nocheck(info->language));
    base64_encode(&data, info->data, info->data_len);
    if (data.len > 0)
        json_object_set_new(j, "data", json_string(data.data));
    if (info->definition == NULL)
        return NULL;
    TRY(llb_def_decode(info->definition, info->definition_len, &def));
    return add_steps(def, j, &names);
}

static struct error *add_source(struct document *d, const struct llb_def *def, const struct map *names)
{
    const struct llb_source *s = def->source;
    json_t *source, *infos, *locations;
    CLEANUP(map_deinit) struct map sorted = { 0 };

    if (s == NULL || s->info_count == 0)
        return NULL;
    source = json_object();
    json_object_set_new(d->metadata, "source", source);
    locations = json_object();
    for (size_t i = 0; i < s->locations.len; i++) {
        const char *step = strmap_get(names, s->locations.entries[i].key);

        if (step != NULL)
            map_set(&sorted, step, s->locations.entries[i].value);
    }
    map_sort(&sorted);
    for (size_t i = 0; i < sorted.len; i++)
        json_object_set_new(locations, sorted.entries[i].key, llb_locations_json(sorted.entries[i].value));
    if (sorted.len > 0)
        json_object_set(source, "locations", locations);
    json_decref(locations);
    infos = json_array();
    json_object_set_new(source, "infos", infos);
    for (size_t i = 0; i < s->info_count; i++) {
        json_t *one = NULL;
        struct error *e = info_json(&s->infos[i], &one);

        json_array_append_new(infos, one);
        TRY(e);
    }
    return NULL;
}

/* Layers as they are known to others, by id; NULL value: none. */
struct known_layers {
    const struct map *exported;
    struct store *store;
    struct map seen; /* id -> struct descriptor */
};

static void free_descriptor(void *d)
{
    if (d != NULL)
        descriptor_deinit(d);
    free(d);
}

static struct error *known_layer(struct known_layers *k, const char *id, const struct descriptor **ret)
{
    struct descriptor *d = k->exported == NULL ? NULL : map_get(k->exported, id);
    bool found;

    *ret = d;
    if (d != NULL || map_has(&k->seen, id)) {
        *ret = d != NULL ? d : map_get(&k->seen, id);
        return NULL;
    }
    d = NEW(struct descriptor);
    struct error *e = layer_known(k->store, id, d, &found);

    if (e != NULL || !found)
        free(TAKE(d));
    TRY(e);
    map_set(&k->seen, id, d);
    *ret = d;
    return NULL;
}

/* The layers of one output; NULL when one is not known as a blob. */
static struct error *chain_json(struct known_layers *k, const struct output_layers *o, json_t **ret)
{
    json_t *chain = json_array();

    *ret = NULL;
    for (size_t i = 0; i < o->len; i++) {
        const struct descriptor *d = NULL;
        struct error *e = known_layer(k, o->ids[i], &d);

        if (e != NULL || d == NULL) {
            json_decref(chain);
            return e;
        }
        json_array_append_new(chain, json_pack("{s:s, s:s, s:I}", "mediaType", d->media_type, "digest",
                                               d->digest.s, "size", (json_int_t)d->size));
    }
    *ret = chain;
    return NULL;
}

static struct error *add_output(struct known_layers *k, const struct output_layers *o, const char *step,
                                struct map *layers)
{
    CLEANUP(freep) char *key = xasprintf("%s:%zu", step, o->index);
    json_t *chain;

    TRY(chain_json(k, o, &chain));
    if (chain != NULL)
        map_set(layers, key, json_pack("[o]", chain));
    return NULL;
}

static void free_json(void *j)
{
    json_decref(j);
}

static struct error *add_layers(struct document *d, const struct map *exported, const struct map *names)
{
    CLEANUP(map_deinit) struct map layers = { .free_value = free_json };
    struct known_layers k = { .exported = exported,
                              .store = d->p->build->builder->config->store,
                              .seen = { .free_value = free_descriptor } };
    struct error *e = NULL;

    for (size_t i = 0; e == NULL && i < d->p->output_count; i++) {
        const struct output_layers *o = &d->p->outputs[i];
        const char *step = strmap_get(names, o->vertex.s);

        if (step != NULL)
            e = add_output(&k, o, step, &layers);
    }
    map_deinit(&k.seen);
    TRY(e);
    if (layers.len == 0)
        return NULL;
    map_sort(&layers);
    json_t *j = json_object();

    for (size_t i = 0; i < layers.len; i++)
        json_object_set(j, layers.entries[i].key, layers.entries[i].value);
    json_object_set_new(d->metadata, "layers", j);
    return NULL;
}

static struct error *add_build_config(struct document *d, const struct map *layers)
{
    const struct llb_def *def = d->p->def;
    CLEANUP(map_deinit) struct map names = { 0 };

    strmap_init(&names);
    d->config = json_object();
    TRY(add_steps(def, d->config, &names));
    TRY(add_source(d, def, &names));
    return add_layers(d, layers, &names);
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

static void set_if(json_t *to, const char *key, bool value)
{
    if (value)
        json_object_set_new(to, key, json_true());
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

static json_t *definition1(const struct document *d)
{
    json_t *internal = json_object(), *generic, *j = json_pack("{s:s}", "buildType", BUILD_TYPE1);
    CLEANUP(freep) char *platform = host_platform();

    if (d->config != NULL)
        json_object_set(internal, "buildConfig", d->config);
    json_object_set_new(internal, "builderPlatform", json_string(platform));
    add_environment(d, internal);
    if (d->p->target != NULL)
        json_object_set_new(internal, "targetPlatform", json_string(d->p->target));
    generic = go_json_generic(internal); /* Go writes these by way of a map */
    json_decref(internal);
    if (json_array_size(d->materials) > 0)
        json_object_set(j, "resolvedDependencies", d->materials);
    json_object_set_new(j, "externalParameters",
                        json_pack("{s:O, s:O}", "configSource", d->source, "request", d->request));
    json_object_set_new(j, "internalParameters", generic);
    return j;
}

static json_t *predicate1(const struct document *d)
{
    const struct build *u = d->p->build;
    json_t *m =
        json_pack("{s:s, s:o, s:o, s:O}", "invocationId", u->id, "startedOn", time_json(u->started_ns),
                  "finishedOn", time_json(d->finished_ns), "buildkit_metadata", d->metadata);

    set_if(m, "buildkit_hermetic", hermetic(d));
    json_object_set_new(m, "buildkit_completeness",
                        json_pack("{s:b, s:b}", "request", d->complete_request, "resolvedDependencies",
                                  d->complete_materials));
    set_if(m, "buildkit_reproducible", d->o->reproducible);
    return json_pack("{s:o, s:{s:{s:o}, s:o}}", "buildDefinition", definition1(d), "runDetails", "builder",
                     "id", go_json_text(d->o->builder_id), "metadata", m);
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

static json_t *predicate02(const struct document *d)
{
    const struct build *u = d->p->build;
    json_t *m = json_pack("{s:s, s:o, s:o, s:{s:b, s:b, s:b}, s:b, s:O}", "buildInvocationID", u->id,
                          "buildStartedOn", time_json(u->started_ns), "buildFinishedOn",
                          time_json(d->finished_ns), "completeness", "parameters", d->complete_request,
                          "environment", true, "materials", d->complete_materials, "reproducible",
                          d->o->reproducible, BUILD_TYPE02 "#metadata", d->metadata);
    json_t *j = json_pack("{s:{s:o}, s:s}", "builder", "id", go_json_text(d->o->builder_id), "buildType",
                          BUILD_TYPE02);

    set_if(m, BUILD_TYPE02 "#hermetic", hermetic(d));
    if (json_array_size(d->materials) > 0)
        json_object_set(j, "materials", d->materials);
    json_object_set_new(j, "invocation", invocation02(d));
    if (d->config != NULL)
        json_object_set(j, "buildConfig", d->config);
    json_object_set_new(j, "metadata", m);
    return j;
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
    struct document d = { .p = p, .o = o, .metadata = json_object(), .finished_ns = finish_time(p->build) };
    json_t *j;

    d.complete_materials = !p->capture.incomplete && p->capture.locals.len == 0;
    TRY(add_materials(&d));
    add_request(&d);
    if (o->max)
        TRY(add_build_config(&d, layers));
    else if (scrub(d.request))
        d.complete_request = false;
    json_object_set_new(d.request, "compatibilityVersion", json_integer(p->build->compatibility));
    j = o->slsa02 ? predicate02(&d) : predicate1(&d);
    go_json(out, j, "  ", false);
    json_decref(j);
    return NULL;
}
