/* SPDX-License-Identifier: Apache-2.0 */
/* request_json.c - a request as provenance shows it (BuildKit's RequestProvenance) */
#include "buildkit/capture.h"
#include "buildkit/request.h"

#include "frontend/dockerfile/gitref.h"
#include "io/path.h"
#include "oci/purl.h"

bool request_is_set(const struct request *r)
{
    return r->frontend[0] != '\0' || r->args.len > 0 || r->inputs.len > 0;
}

/* ---- arguments ---- */

/* What depends on this host or client and not on what is built. */
static bool is_left_out(const char *key)
{
    return streq(key, "cgroup-parent") || streq(key, "image-resolve-mode") || streq(key, "platform") ||
           streq(key, "cache-imports") || str_has_prefix(key, "attest:");
}

json_t *request_args_json(const struct request *r)
{
    CLEANUP(map_deinit) struct map sorted = { 0 };
    json_t *j = json_object();

    strmap_init(&sorted);
    strmap_copy(&sorted, &r->args);
    map_sort(&sorted);
    for (size_t i = 0; i < sorted.len; i++) {
        const char *key = sorted.entries[i].key;
        /* Any may be an address with a password, as those of build arguments that ADD or a proxy take. */
        CLEANUP(freep) char *value = url_redact(sorted.entries[i].value);

        if (!is_left_out(key))
            json_object_set_new_nocheck(j, key, json_string_nocheck(value));
    }
    return j;
}

/* ---- where the configuration came from ---- */

static json_t *digest_set(const char *pin)
{
    const char *colon = strchr(pin, ':');

    if (colon != NULL) {
        CLEANUP(freep) char *algorithm = xstrndup(pin, (size_t)(colon - pin));

        return json_pack("{s:s}", algorithm, colon + 1);
    }
    return json_pack("{s:s}", strlen(pin) == 64 ? "sha256" : "sha1", pin);
}

/* A git URL in its fragment form, with or without the directory; NULL when it is none. */
static char *fragment_form(const char *url, bool with_subdir)
{
    struct git_ref g = { 0 };
    CLEANUP(freep) char *dir = NULL;
    bool is_git = false;
    struct error *e = git_ref_parse(url, &g, &is_git);
    char *text = NULL;

    if (e == NULL && is_git) {
        CLEANUP(freep) char *rooted = with_subdir ? xasprintf("/%s", g.subdir) : xstrdup("/");

        dir = path_clean(rooted);
        if (g.ref[0] == '\0' && streq(dir, "/"))
            text = xstrdup(g.remote);
        else
            text = xasprintf("%s#%s%s%s", g.remote, g.ref, streq(dir, "/") ? "" : ":", dir + 1);
    }
    err_free(e);
    git_ref_deinit(&g);
    return text;
}

static const struct material *find_material(const struct capture *c, enum material_kind kind,
                                            const char *name)
{
    for (size_t i = 0; i < c->material_count; i++) {
        if (c->materials[i].kind == kind && streq(c->materials[i].name, name))
            return &c->materials[i];
    }
    return NULL;
}

/* The context's address, and what it was. */
static void set_context(json_t *to, const char *url, const struct capture *sources)
{
    CLEANUP(freep) char *repository = fragment_form(url, false);
    CLEANUP(freep) char *shown = NULL;
    const struct material *m = repository == NULL ? NULL : find_material(sources, MATERIAL_GIT, repository);

    if (m != NULL)
        shown = fragment_form(url, true);
    else
        m = find_material(sources, MATERIAL_HTTP, url);
    CLEANUP(freep) char *redacted = url_redact(shown == NULL ? url : shown);

    json_object_set_new_nocheck(to, "uri", json_string_nocheck(redacted));
    if (m != NULL && m->pin[0] != '\0')
        json_object_set_new_nocheck(to, "digest", digest_set(m->pin));
}

static const char *text_of(const json_t *args, const char *key)
{
    const char *v = json_string_value(json_object_get(args, key));

    return v == NULL || v[0] == '\0' ? NULL : v;
}

json_t *request_config_source(json_t *args, const struct capture *sources)
{
    const char *key = text_of(args, "contextkey");
    json_t *j = json_object();

    if (key == NULL)
        key = text_of(args, "input:context") != NULL ? "input:context" : "context";
    if (text_of(args, key) != NULL) {
        CLEANUP(freep) char *name = xstrdup(key); /* may be a value of what is changed here */

        set_context(j, text_of(args, name), sources);
        json_object_del(args, name);
    }
    if (text_of(args, "filename") != NULL) {
        json_object_set_nocheck(j, "path", json_object_get(args, "filename"));
        json_object_del(args, "filename");
    }
    return j;
}

json_t *request_json(const struct request *r, const struct capture *sources)
{
    json_t *args = request_args_json(r), *source = request_config_source(args, sources), *q = json_object();

    if (r->frontend[0] != '\0')
        json_object_set_new_nocheck(q, "frontend", json_string_nocheck(r->frontend));
    if (json_object_size(args) > 0)
        json_object_set(q, "args", args);
    if (r->producers != NULL)
        json_object_set(q, "inputs", r->producers);
    json_decref(args);
    return json_pack("{s:o, s:o}", "configSource", source, "request", q);
}
