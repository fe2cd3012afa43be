/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/image.h"

#include "base/limits.h"

/* ---- bounded JSON ----------------------------------------------------------------------------------------
 */

/* jansson's own bound is far above what a small stack bears. */
bool json_too_deep(const char *p, size_t len)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > LIMIT_JSON_DEPTH)
                return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

struct error *json_parse(const void *data, size_t len, const char *what, json_t **ret)
{
    json_error_t error;
    if (len > LIMIT_MANIFEST)
        return err_new(ERR_INVALID, "%s is larger than %zu bytes", what, (size_t)LIMIT_MANIFEST);
    if (json_too_deep(data, len))
        return err_new(ERR_INVALID, "%s is nested deeper than %d levels", what, LIMIT_JSON_DEPTH);
    json_t *j = json_loadb(data, len, JSON_REJECT_DUPLICATES, &error);
    if (j == NULL)
        return err_new(ERR_INVALID, "%s is not valid JSON: %s", what, error.text);
    *ret = j;
    return NULL;
}

/* ---- manifest and index ----------------------------------------------------------------------------------
 */

static void descriptors_free(struct descriptor *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        descriptor_deinit(&list[i]);
    free(list);
}

static struct error *read_descriptors(const json_t *array, const char *what, struct descriptor **ret,
                                      size_t *ret_count)
{
    if (array == NULL || json_is_null(array)) {
        *ret = NULL;
        *ret_count = 0;
        return NULL;
    }
    if (!json_is_array(array))
        return err_new(ERR_INVALID, "%s is not an array", what);
    size_t count = json_array_size(array);
    if (count > LIMIT_IMAGE_DESCRIPTORS)
        return err_new(ERR_INVALID, "%s has more than %d entries", what, LIMIT_IMAGE_DESCRIPTORS);
    struct descriptor *list = xcalloc(count > 0 ? count : 1, sizeof(*list));
    for (size_t i = 0; i < count; i++) {
        struct error *e = descriptor_from_json(json_array_get(array, i), &list[i]);
        if (e != NULL) {
            descriptors_free(list, i);
            return err_wrap(e, "%s[%zu]", what, i);
        }
    }
    *ret = list;
    *ret_count = count;
    return NULL;
}

/* What the document says it is must not contradict how it was announced, nor what it holds. */
static struct error *check_kind(const json_t *j, const char *announced, bool *ret_is_index,
                                const char **ret_media_type)
{
    if (!json_is_object(j))
        return err_new(ERR_INVALID, "manifest is not an object");
    bool has_manifests = json_object_get(j, "manifests") != NULL;
    bool has_layers = json_object_get(j, "layers") != NULL || json_object_get(j, "config") != NULL;
    const json_t *own_json = json_object_get(j, "mediaType");
    const char *own = json_string_value(own_json);
    if (own_json != NULL && !json_is_null(own_json) && own == NULL)
        return err_new(ERR_INVALID, "manifest: \"mediaType\" is not a string");
    if (own != NULL && *own == '\0')
        own = NULL;
    if (announced != NULL && !media_type_is_index(announced) && !media_type_is_manifest(announced))
        announced = NULL;

    if (has_manifests && has_layers)
        return err_new(ERR_INVALID, "manifest has both \"manifests\" and \"layers\" or \"config\": cannot "
                                    "tell an index from a manifest");
    if (json_object_get(j, "fsLayers") != NULL || json_object_get(j, "history") != NULL)
        return err_new(ERR_INVALID, "docker schema 1 manifests are not supported");
    if (!has_manifests && !has_layers)
        return err_new(ERR_INVALID, "manifest has neither \"manifests\" nor \"layers\"");
    if (announced != NULL && own != NULL && !streq(announced, own))
        return err_new(ERR_INVALID, "manifest says it is \"%.100s\" but came as \"%.100s\"", own, announced);
    const char *media_type = own != NULL ? own : announced;
    if (media_type == NULL)
        media_type = has_manifests ? MT_OCI_INDEX : MT_OCI_MANIFEST;
    if ((has_manifests && media_type_is_manifest(media_type)) ||
        (has_layers && media_type_is_index(media_type)))
        return err_new(ERR_INVALID, "manifest of type \"%s\" holds the fields of another type", media_type);
    if (!media_type_is_index(media_type) && !media_type_is_manifest(media_type))
        return err_new(ERR_INVALID, "unsupported manifest media type \"%.100s\"", media_type);
    *ret_is_index = has_manifests;
    *ret_media_type = media_type;
    return NULL;
}

struct error *image_document_kind(const void *data, size_t len, const char *media_type, bool *ret_is_index)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    const char *unused;
    TRY(json_parse(data, len, "manifest", &j));
    return check_kind(j, media_type, ret_is_index, &unused);
}

void image_manifest_deinit(struct image_manifest *m)
{
    free(m->media_type);
    free(m->artifact_type);
    descriptor_deinit(&m->config);
    descriptors_free(m->layers, m->layer_count);
    map_deinit(&m->annotations);
    memset(m, 0, sizeof(*m));
}

struct error *image_manifest_parse(const void *data, size_t len, const char *media_type,
                                   struct image_manifest *ret)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    CLEANUP(image_manifest_deinit) struct image_manifest m = { 0 };
    bool is_index;
    const char *own;
    TRY(json_parse(data, len, "manifest", &j));
    TRY(check_kind(j, media_type, &is_index, &own));
    if (is_index)
        return err_new(ERR_INVALID, "expected a manifest, got an index");
    m.media_type = xstrdup(own);
    TRY(err_wrap(descriptor_from_json(json_object_get(j, "config"), &m.config), "manifest: \"config\""));
    TRY(read_descriptors(json_object_get(j, "layers"), "manifest: \"layers\"", &m.layers, &m.layer_count));
    strmap_init(&m.annotations);
    TRY(strmap_from_json(json_object_get(j, "annotations"), "manifest: \"annotations\"", &m.annotations));
    m.artifact_type = xstrdup(json_string_value(json_object_get(j, "artifactType")));
    *ret = m;
    memset(&m, 0, sizeof(m));
    return NULL;
}

void image_index_deinit(struct image_index *i)
{
    free(i->media_type);
    descriptors_free(i->manifests, i->manifest_count);
    map_deinit(&i->annotations);
    memset(i, 0, sizeof(*i));
}

struct error *image_index_parse(const void *data, size_t len, const char *media_type, struct image_index *ret)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    CLEANUP(image_index_deinit) struct image_index i = { 0 };
    bool is_index;
    const char *own;
    TRY(json_parse(data, len, "index", &j));
    TRY(check_kind(j, media_type, &is_index, &own));
    if (!is_index)
        return err_new(ERR_INVALID, "expected an index, got a manifest");
    i.media_type = xstrdup(own);
    TRY(read_descriptors(json_object_get(j, "manifests"), "index: \"manifests\"", &i.manifests,
                         &i.manifest_count));
    strmap_init(&i.annotations);
    TRY(strmap_from_json(json_object_get(j, "annotations"), "index: \"annotations\"", &i.annotations));
    *ret = i;
    memset(&i, 0, sizeof(i));
    return NULL;
}

bool descriptor_is_attestation(const struct descriptor *d)
{
    const char *type = descriptor_annotation(d, "vnd.docker.reference.type");
    return type != NULL && streq(type, "attestation-manifest");
}

const struct descriptor *image_index_pick(const struct image_index *i, const struct platform *want)
{
    const struct descriptor *best = NULL;
    int best_score = 0;
    for (size_t n = 0; n < i->manifest_count; n++) {
        const struct descriptor *d = &i->manifests[n];
        if (descriptor_is_attestation(d) ||
            (!media_type_is_manifest(d->media_type) && !media_type_is_index(d->media_type)))
            continue;
        int score = platform_is_set(&d->platform) ? platform_match(want, &d->platform) : 1;
        if (score > best_score) {
            best = d;
            best_score = score;
        }
    }
    return best;
}

/* ---- config ----------------------------------------------------------------------------------------------
 */

void image_config_deinit(struct image_config *c)
{
    json_decref(c->json);
    platform_deinit(&c->platform);
    free(c->diff_ids);
    memset(c, 0, sizeof(*c));
}

struct error *image_config_parse(const void *data, size_t len, struct image_config *ret)
{
    CLEANUP(image_config_deinit) struct image_config c = { 0 };
    TRY(json_parse(data, len, "image config", &c.json));
    TRY(err_wrap(platform_from_json(c.json, &c.platform), "image config"));
    const json_t *rootfs = json_object_get(c.json, "rootfs");
    const json_t *ids = json_object_get(rootfs, "diff_ids");
    if (ids != NULL && !json_is_null(ids) && !json_is_array(ids))
        return err_new(ERR_INVALID, "image config: \"diff_ids\" is not an array");
    size_t count = json_array_size(ids);
    if (count > LIMIT_IMAGE_DESCRIPTORS)
        return err_new(ERR_INVALID, "image config has more than %d layers", LIMIT_IMAGE_DESCRIPTORS);
    c.diff_ids = xcalloc(count > 0 ? count : 1, sizeof(*c.diff_ids));
    for (size_t i = 0; i < count; i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        if (id == NULL || digest_parse(id, &c.diff_ids[i]) < 0)
            return err_new(ERR_INVALID, "image config: diff ID %zu is not a sha256 digest", i);
    }
    c.diff_id_count = count;
    *ret = c;
    memset(&c, 0, sizeof(c));
    return NULL;
}
