/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/descriptor.h"

void descriptor_deinit(struct descriptor *d)
{
    free(d->media_type);
    free(d->artifact_type);
    free(d->data);
    platform_deinit(&d->platform);
    map_deinit(&d->annotations);
    strv_deinit(&d->urls);
    memset(d, 0, sizeof(*d));
}

void descriptor_init(struct descriptor *d, const char *media_type, const struct digest *digest, int64_t size)
{
    memset(d, 0, sizeof(*d));
    strmap_init(&d->annotations);
    d->media_type = xstrdup(media_type);
    d->digest = *digest;
    d->size = size;
}

void descriptor_copy(struct descriptor *dst, const struct descriptor *src)
{
    descriptor_init(dst, src->media_type, &src->digest, src->size);
    if (platform_is_set(&src->platform))
        platform_copy(&dst->platform, &src->platform);
    strmap_copy(&dst->annotations, &src->annotations);
    dst->artifact_type = xstrdup(src->artifact_type);
    strv_copy(&dst->urls, &src->urls);
    dst->data = xstrdup(src->data);
}

const char *descriptor_annotation(const struct descriptor *d, const char *key)
{
    return strmap_get(&d->annotations, key);
}

void descriptor_annotate(struct descriptor *d, const char *key, const char *value)
{
    if (d->annotations.free_value == NULL)
        strmap_init(&d->annotations);
    strmap_set(&d->annotations, key, value);
}

json_t *descriptor_to_json(const struct descriptor *d)
{
    json_t *j = json_object();
    json_object_set_new(j, "mediaType", json_string(d->media_type != NULL ? d->media_type : ""));
    json_object_set_new(j, "digest", json_string(d->digest.s));
    json_object_set_new(j, "size", json_integer(d->size));
    if (d->urls.len > 0)
        json_object_set_new(j, "urls", strv_to_json(&d->urls));
    if (d->annotations.len > 0)
        json_object_set_new(j, "annotations", strmap_to_json(&d->annotations));
    if (d->data != NULL)
        json_object_set_new(j, "data", json_string(d->data));
    if (platform_is_set(&d->platform))
        json_object_set_new(j, "platform", platform_to_json(&d->platform));
    if (d->artifact_type != NULL && *d->artifact_type != '\0')
        json_object_set_new(j, "artifactType", json_string(d->artifact_type));
    return j;
}

/* Go marshals a map with its keys in order. */
json_t *strv_to_json(const struct strv *v)
{
    json_t *j = json_array();

    for (size_t i = 0; i < v->len; i++)
        json_array_append_new(j, json_string(v->v[i]));
    return j;
}

json_t *strmap_to_json(const struct map *m)
{
    struct map sorted;
    strmap_init(&sorted);
    strmap_copy(&sorted, m);
    map_sort(&sorted);
    json_t *j = json_object();
    for (size_t i = 0; i < sorted.len; i++)
        json_object_set_new(j, sorted.entries[i].key, json_string(sorted.entries[i].value));
    map_deinit(&sorted);
    return j;
}

struct error *strmap_from_json(const json_t *j, const char *what, struct map *ret)
{
    if (j == NULL || json_is_null(j))
        return NULL;
    if (!json_is_object(j))
        return err_new(ERR_INVALID, "%s is not an object", what);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)j, key, value)
    {
        if (!json_is_string(value))
            return err_new(ERR_INVALID, "%s: value of \"%s\" is not a string", what, key);
        strmap_set(ret, key, json_string_value(value));
    }
    return NULL;
}

/* An optional string member. */
static struct error *get_string(const json_t *j, const char *key, const char **ret)
{
    const json_t *v = json_object_get(j, key);
    if (v == NULL || json_is_null(v)) {
        *ret = NULL;
        return NULL;
    }
    if (!json_is_string(v))
        return err_new(ERR_INVALID, "descriptor: \"%s\" is not a string", key);
    *ret = json_string_value(v);
    return NULL;
}

static struct error *fill_optional(const json_t *j, struct descriptor *d)
{
    const char *text;
    TRY(get_string(j, "artifactType", &text));
    d->artifact_type = xstrdup(text);
    TRY(get_string(j, "data", &text));
    d->data = xstrdup(text);
    TRY(strmap_from_json(json_object_get(j, "annotations"), "descriptor: \"annotations\"", &d->annotations));

    const json_t *urls = json_object_get(j, "urls");
    if (urls != NULL && !json_is_null(urls) && !json_is_array(urls))
        return err_new(ERR_INVALID, "descriptor: \"urls\" is not an array");
    for (size_t i = 0; i < json_array_size(urls); i++) {
        const char *url = json_string_value(json_array_get(urls, i));
        if (url == NULL)
            return err_new(ERR_INVALID, "descriptor: \"urls\" holds something else than strings");
        strv_add(&d->urls, url);
    }
    const json_t *platform = json_object_get(j, "platform");
    if (platform != NULL && !json_is_null(platform))
        TRY(platform_from_json(platform, &d->platform));
    return NULL;
}

struct error *descriptor_from_json(const json_t *j, struct descriptor *ret)
{
    if (!json_is_object(j))
        return err_new(ERR_INVALID, "descriptor is not an object");
    const char *media_type;
    const char *digest;
    struct digest parsed;
    TRY(get_string(j, "mediaType", &media_type));
    TRY(get_string(j, "digest", &digest));
    if (digest == NULL || digest_parse(digest, &parsed) < 0)
        return err_new(ERR_INVALID, "descriptor: \"digest\" is not a sha256 digest: \"%.100s\"",
                       digest != NULL ? digest : "");
    const json_t *size = json_object_get(j, "size");
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return err_new(ERR_INVALID, "descriptor %s: \"size\" is not a size", digest);

    CLEANUP(descriptor_deinit) struct descriptor d;
    descriptor_init(&d, media_type != NULL ? media_type : "", &parsed, json_integer_value(size));
    TRY(fill_optional(j, &d));
    *ret = d;
    memset(&d, 0, sizeof(d));
    return NULL;
}

bool media_type_is_index(const char *mt)
{
    return mt != NULL && (streq(mt, MT_OCI_INDEX) || streq(mt, MT_DOCKER_LIST));
}

bool media_type_is_manifest(const char *mt)
{
    return mt != NULL && (streq(mt, MT_OCI_MANIFEST) || streq(mt, MT_DOCKER_MANIFEST));
}

bool media_type_is_config(const char *mt)
{
    return mt != NULL && (streq(mt, MT_OCI_CONFIG) || streq(mt, MT_DOCKER_CONFIG));
}

bool media_type_is_foreign_layer(const char *mt)
{
    return mt != NULL && (str_has_prefix(mt, "application/vnd.docker.image.rootfs.foreign.") ||
                          str_has_prefix(mt, "application/vnd.oci.image.layer.nondistributable."));
}

bool media_type_is_layer(const char *mt)
{
    return mt != NULL && (str_has_prefix(mt, MT_OCI_LAYER) || str_has_prefix(mt, MT_DOCKER_LAYER) ||
                          streq(mt, "application/vnd.docker.container.image.rootfs.diff+x-gtar") ||
                          media_type_is_foreign_layer(mt));
}
