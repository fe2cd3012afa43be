/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/document.h"

#include "base/limits.h"
#include "oci/descriptor.h"
#include "oci/image.h"

#define MT_SCHEMA1 "application/vnd.docker.distribution.manifest.v1"

struct error *document_parse(const char *data, size_t len, json_t **ret)
{
    json_error_t why;

    if (json_too_deep(data, len))
        return err_new(ERR_INVALID, "JSON is nested deeper than %d levels", LIMIT_JSON_DEPTH);
    json_t *doc = json_loadb(data, len, 0, &why);

    if (doc == NULL)
        return err_new(ERR_INVALID, "invalid JSON: %s", why.text);
    if (!json_is_object(doc)) {
        json_decref(doc);
        return err_new(ERR_INVALID, "invalid JSON: not an object");
    }
    *ret = doc;
    return NULL;
}

static struct error *refuse_schema1(const char *media_type)
{
    return err_new(ERR_INVALID,
                   "media type \"%s\" is no longer supported since containerd v2.0, please rebuild the image "
                   "as \"%s\" or "
                   "\"%s\"",
                   media_type, MT_DOCKER_MANIFEST, MT_OCI_MANIFEST);
}

/* "application/json; charset=utf-8" without its parameters. */
static char *bare_type(const char *content_type)
{
    size_t n = strcspn(content_type, "; \t");

    return xstrndup(content_type, n);
}

/* The type of a document that names none, from its server's header or from what it holds. */
static const char *implied_type(const char *header, bool is_index)
{
    if (is_index)
        return header != NULL && media_type_is_index(header) ? header : MT_OCI_INDEX;
    return header != NULL && media_type_is_manifest(header) ? header : MT_OCI_MANIFEST;
}

static struct error *check_document(const json_t *doc, const char *header, char **ret)
{
    const char *own = json_string_value(json_object_get(doc, "mediaType"));
    const json_t *manifests = json_object_get(doc, "manifests");
    bool layers = json_object_get(doc, "layers") != NULL || json_object_get(doc, "config") != NULL;
    json_int_t schema = json_integer_value(json_object_get(doc, "schemaVersion"));

    if (schema == 1 || json_object_get(doc, "fsLayers") != NULL ||
        (own != NULL && str_has_prefix(own, MT_SCHEMA1)))
        return refuse_schema1(own != NULL ? own : MT_SCHEMA1 "+prettyjws");
    if (manifests != NULL && layers)
        return err_new(ERR_INVALID, "invalid manifest: it is an index and an image at once");
    if (manifests == NULL && !layers)
        return err_new(ERR_INVALID, "invalid manifest: it holds neither layers nor manifests");
    const char *type = own != NULL && *own != '\0' ? own : implied_type(header, manifests != NULL);
    bool fits = manifests != NULL ? media_type_is_index(type) : media_type_is_manifest(type);

    if (!fits)
        return err_new(ERR_INVALID, "invalid manifest: media type \"%s\" does not fit its content", type);
    bool header_tells = header != NULL && (media_type_is_index(header) || media_type_is_manifest(header));

    if (header_tells && !streq(header, type))
        return err_new(ERR_INVALID, "invalid manifest: media type \"%s\" was sent as \"%s\"", type, header);
    *ret = xstrdup(type);
    return NULL;
}

struct error *document_media_type(const char *data, size_t len, const char *content_type, char **ret)
{
    CLEANUP(freep) char *header = content_type != NULL ? bare_type(content_type) : NULL;
    json_t *doc = NULL;

    TRY(err_wrap(document_parse(data, len, &doc), "invalid manifest"));
    struct error *e = check_document(doc, header, ret);

    json_decref(doc);
    return e;
}
