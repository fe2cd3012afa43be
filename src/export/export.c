/* SPDX-License-Identifier: Apache-2.0 */
/* export.c - kinds of exporters and their attributes */
#include "export/internal.h"

#include "base/bytes.h"

#include <errno.h>

static const struct exporter_kind kinds[] = {
    { "image", "image", true, image_exporter_check, image_exporter_run },
    { "moby", "image", true, image_exporter_check, image_exporter_run },
    { "oci", "oci", true, layout_exporter_check, layout_exporter_run },
    { "docker", "docker", true, layout_exporter_check, layout_exporter_run },
    { "local", "local", false, local_exporter_check, local_exporter_run },
    { "tar", "tar", false, local_exporter_check, tar_exporter_run },
};

/* Booleans that an image exporter reads; a value that is none is refused before the build starts. */
static const char *const flags[] = { "push",
                                     "push-by-digest",
                                     "unpack",
                                     "store",
                                     "dangling",
                                     "oci-mediatypes",
                                     "rewrite-timestamp",
                                     "force-compression",
                                     "tar",
                                     "name-canonical",
                                     "danging-name-empty-only",
                                     "platform-split",
                                     "registry.insecure",
                                     "prefer-nondist-layers",
                                     "oci-artifact",
                                     "attestation-inline" };

bool exporter_flag(const struct exporter *e, const char *name, bool absent)
{
    const char *v = strmap_get(&e->attrs, name);
    bool r = absent;

    if (v != NULL && v[0] == '\0')
        return true;
    return v != NULL && parse_bool(v, &r) < 0 ? absent : r;
}

static struct error *check_flags(const struct exporter *e)
{
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        const char *v = strmap_get(&e->attrs, flags[i]);
        bool b;
        if (v != NULL && v[0] != '\0' && parse_bool(v, &b) < 0)
            return err_new(
                ERR_INVALID,
                "non-bool value specified for %s: strconv.ParseBool: parsing \"%s\": invalid syntax",
                flags[i], v);
    }
    return NULL;
}

struct error *epoch_parse(const char *text, int64_t *ret_s)
{
    int r = parse_i64(text, ret_s);

    if (r == 0 && (*ret_s > INT64_MAX / NS_PER_SEC || *ret_s < INT64_MIN / NS_PER_SEC))
        r = -ERANGE;
    if (r == 0)
        return NULL;
    return err_new(ERR_INVALID, "strconv.ParseInt: parsing \"%s\": %s", text,
                   r == -ERANGE ? "value out of range" : "invalid syntax");
}

static struct error *parse_epoch(struct exporter *e)
{
    const char *v = strmap_get(&e->attrs, "source-date-epoch");

    /* a word stands for a source whose time the frontend knows */
    if (v == NULL || streq(v, "context"))
        return NULL;
    e->epoch_given = true;
    if (v[0] == '\0')
        return NULL;
    TRY(err_wrap(epoch_parse(v, &e->epoch_s), "invalid source-date-epoch"));
    e->has_epoch = true;
    return NULL;
}

struct error *export_epoch(const struct exporter *e, const struct export_source *src,
                           const struct export_ref *ref, bool *ret_has, int64_t *ret_s)
{
    CLEANUP(freep)
    char *key = ref == NULL || ref->key == NULL ? NULL : xasprintf("source.date.epoch/%s", ref->key);
    const struct frontend_metadata *m = key == NULL ? NULL : frontend_result_metadata(src->result, key);

    *ret_has = e->has_epoch;
    *ret_s = e->epoch_s;
    if (m == NULL)
        m = frontend_result_metadata(src->result, "source.date.epoch");
    if (e->epoch_given || m == NULL || m->len == 0)
        return NULL;
    CLEANUP(freep) char *text = xstrndup(m->value, m->len);

    TRY(err_wrap(epoch_parse(text, ret_s), "invalid SOURCE_DATE_EPOCH from frontend: \"%s\": invalid ",
                 text));
    *ret_has = true;
    return NULL;
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"

/* The parts of annotation[-TYPE][\[PLATFORM\]].KEY; false: it is none, and passed over as any unknown
 * attribute. */
static bool split_annotation(const char *attr, char **ret_type, char **ret_platform, const char **ret_key)
{
    static const char platform_chars[] = LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/-";
    const char *p = str_skip_prefix(attr, "annotation");
    size_t n = p != NULL && *p == '-' ? strspn(p + 1, LOWER "-") : 0;

    if (p == NULL || (*p == '-' && n == 0))
        return false;
    *ret_type = n > 0 ? xstrndup(p + 1, n) : xstrdup("manifest");
    p += n > 0 ? n + 1 : 0;
    if (*p == '[') {
        n = strspn(p + 1, platform_chars);
        if (n == 0 || p[n + 1] != ']')
            return false;
        *ret_platform = xstrndup(p + 1, n);
        p += n + 2;
    }
    *ret_key = p + 1;
    return *p == '.' && p[1] != '\0' && strpbrk(p + 1, " \t\n\f\r") == NULL;
}

static struct error *annotation_place(const char *type, enum annotation_place *ret)
{
    static const struct {
        const char *type;
        enum annotation_place place;
    } places[] = { { "index-descriptor", ANNOTATE_INDEX_DESCRIPTOR },
                   { "index", ANNOTATE_INDEX },
                   { "manifest-descriptor", ANNOTATE_MANIFEST_DESCRIPTOR },
                   { "manifest", ANNOTATE_MANIFEST } };

    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (streq(type, places[i].type)) {
            *ret = places[i].place;
            return NULL;
        }
    }
    return err_new(ERR_INVALID, "unrecognized annotation type %s", type);
}

static struct error *parse_annotation(struct exporter *e, const char *attr, const char *value)
{
    CLEANUP(freep) char *type = NULL;
    CLEANUP(freep) char *platform = NULL;
    CLEANUP(freep) char *id = NULL;
    CLEANUP(freep) char *full = NULL;
    enum annotation_place place = ANNOTATE_MANIFEST;
    const char *key;

    if (!split_annotation(attr, &type, &platform, &key))
        return NULL;
    TRY(annotation_place(type, &place));
    if (platform != NULL) {
        CLEANUP(platform_deinit) struct platform p = { 0 };

        TRY(platform_parse(platform, &p));
        platform_normalize(&p);
        id = platform_format(&p);
    }
    full = xasprintf("%s\n%s", id == NULL ? "" : id, key);
    strmap_set(&e->annotations[place], full, value);
    return NULL;
}

static struct error *parse_attrs(struct exporter *e)
{
    TRY(check_flags(e));
    if (!e->kind->image)
        return e->kind->check(e);
    TRY(parse_epoch(e));
    /* what stays here is not compressed; what leaves is, as BuildKit's is */
    e->format =
        (struct layer_format){ .kind = COMPRESSION_GZIP,
                               .level = -1,
                               .keep_plain = streq(e->type, "image") && !exporter_flag(e, "push", false) };
    TRY(layer_format_parse(&e->attrs, &e->format));
    e->format.keep_foreign = exporter_flag(e, "prefer-nondist-layers", false);
    /* what nobody asked for (buildx adds inline-only provenance to every build) does not turn a result that
     * stays in the store into an index whose digest changes with each build */
    e->inline_attestations = exporter_flag(
        e, "attestation-inline",
        streq(e->type, "image") && (!streq(e->kind->type, "moby") || exporter_flag(e, "push", false)));
    if (!exporter_flag(e, "oci-mediatypes", true)) {
        if (exporter_flag(e, "oci-artifact", false))
            return err_new(ERR_INVALID,
                           "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"");
    }
    for (size_t i = 0; i < e->attrs.len; i++) {
        if (str_has_prefix(e->attrs.entries[i].key, "annotation"))
            TRY(parse_annotation(e, e->attrs.entries[i].key, e->attrs.entries[i].value));
    }
    return e->kind->check(e);
}

/* Annotations that the frontend asks for stand before the exporter's own. */
static struct error *frontend_annotations(struct exporter *e, const struct frontend_result *r)
{
    for (size_t i = 0; i < r->metadata_count; i++) {
        const struct frontend_metadata *m = &r->metadata[i];
        CLEANUP(freep) char *value = NULL;

        if (!str_has_prefix(m->key, "annotation"))
            continue;
        value = xstrndup(m->value, m->len);
        TRY(parse_annotation(e, m->key, value));
    }
    return NULL;
}

/* An annotation for a platform that is not there is a mistake; one result answers to any name. */
static struct error *check_annotations(const struct exporter *e, const struct export_source *src)
{
    for (size_t p = 0; p < ARRAY_LEN(e->annotations); p++) {
        for (size_t i = 0; src->ref_count > 1 && i < e->annotations[p].len; i++) {
            const char *key = e->annotations[p].entries[i].key;
            CLEANUP(freep) char *id = xstrndup(key, strcspn(key, "\n"));
            bool found = id[0] == '\0';

            for (size_t k = 0; k < src->ref_count && !found; k++)
                found = streq(src->refs[k].id, id);
            if (!found)
                return err_new(ERR_INVALID, "invalid annotation: no platform %s found in source", id);
        }
    }
    return NULL;
}

struct error *export_defaults(struct exporter *e, const struct export_context *c,
                              const struct export_source *src)
{
    bool newest = c->compatibility == 0 || c->compatibility >= 30;
    bool oci = newest || streq(e->type, "oci") || src->attestation_count > 0;

    e->oci_types = exporter_flag(e, "oci-mediatypes", oci);
    e->oci_artifact = exporter_flag(e, "oci-artifact", newest && e->oci_types);
    if (e->oci_artifact && !e->oci_types)
        return err_new(ERR_INVALID,
                       "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"");
    TRY(frontend_annotations(e, src->result));
    return check_annotations(e, src);
}

struct error *export_err(struct error *e)
{
    if (e != NULL && e->kind != ERR_CANCELLED && e->kind != ERR_DEADLINE && e->kind != ERR_UNIMPLEMENTED)
        e->kind = ERR_UNKNOWN;
    return e;
}

struct error *exporter_resolve(const char *type, const struct map *attrs, struct exporter **ret)
{
    struct exporter *e;
    struct error *err;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!streq(kinds[i].type, type))
            continue;
        e = NEW(struct exporter);
        e->kind = &kinds[i];
        e->type = kinds[i].canonical;
        strmap_init(&e->attrs);
        for (size_t k = 0; k < ARRAY_LEN(e->annotations); k++)
            strmap_init(&e->annotations[k]);
        strmap_copy(&e->attrs, attrs);
        err = parse_attrs(e);
        if (err != NULL) {
            exporter_free(e);
            return export_err(err);
        }
        *ret = e;
        return NULL;
    }
    return err_new(ERR_UNKNOWN, "exporter \"%s\" could not be found", type);
}

void exporter_free(struct exporter *e)
{
    if (e == NULL)
        return;
    map_deinit(&e->attrs);
    for (size_t i = 0; i < ARRAY_LEN(e->annotations); i++)
        map_deinit(&e->annotations[i]);
    free(e);
}

const char *exporter_type(const struct exporter *e)
{
    return e->type;
}

bool exporter_needs_layers(const struct exporter *e)
{
    return e->kind->image;
}

const struct map *exporter_attrs(const struct exporter *e)
{
    return &e->attrs;
}

struct error *exporter_run(struct exporter *e, const struct export_context *c,
                           const struct export_source *src, struct map *response)
{
    return export_err(e->kind->run(e, c, src, response));
}

/* ---- common
 * ----------------------------------------------------------------------------------------------------------------------
 */

/* Its digest is BuildKit's: sha256("<build ref>-export-<i>"), so that clients can tell exports apart. */
struct vertex_reporter *export_reporter(const struct export_context *c, const char *name)
{
    CLEANUP(freep) char *text = xasprintf("%s-export-%d", c->build_ref, c->index);
    struct digest d = digest_of(text, strlen(text));
    struct vertex_reporter *r = reporter_new(c->progress, d.s, name);

    reporter_start(r);
    return r;
}

struct error *export_session(const struct export_context *c, struct session **ret)
{
    if (c->session_id == NULL || c->session_id[0] == '\0')
        return err_new(ERR_INVALID, "could not access local files without session");
    return session_get(c->sessions.manager, c->session_id, ret);
}

char *platform_folder(const char *id)
{
    char *s = xstrdup(id);

    for (char *p = s; *p != '\0'; p++) {
        if (*p == '/' || *p == '\\' || *p == ':')
            *p = '_';
    }
    if (streq(s, ".") || streq(s, ".."))
        memset(s, '_', strlen(s));
    return s;
}
