/* SPDX-License-Identifier: Apache-2.0 */
/* What is attested of an image: the statements that lie beside its manifest in the index. */
#include "engine/images.h"

#include "base/limits.h"

struct statements {
    struct engine *engine;
    const struct image_attestation_options *options;
    json_t *list;
};

/* JSON of somebody else's making. */
static struct error *read_statement(struct engine *e, const struct descriptor *d, json_t **ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    TRY(err_wrap(blob_read(e->store, &d->digest, LIMIT_ATTESTATION, &text),
                 "failed to read attestation statement %s", d->digest.s));
    if (!json_too_deep((const char *)text.data, text.len))
        *ret = json_loadb((const char *)text.data, text.len, 0, NULL);
    return *ret != NULL ? NULL : err_new(ERR_INVALID, "attestation statement %s is not JSON", d->digest.s);
}

static struct error *add_statement(struct statements *s, const struct descriptor *d)
{
    const char *type = descriptor_annotation(d, "in-toto.io/predicate-type");
    const struct image_attestation_options *o = s->options;
    json_t *j, *statement = NULL;

    if (type == NULL || type[0] == '\0' || (o->types->len > 0 && !strv_has(o->types, type)))
        return NULL;
    if (o->statements)
        TRY(read_statement(s->engine, d, &statement));
    j = json_pack("{s:o, s:s}", "Descriptor", descriptor_to_json(d), "PredicateType", type);
    if (statement != NULL)
        json_object_set_new(j, "Statement", statement);
    json_array_append_new(s->list, j);
    return NULL;
}

static struct error *add_manifest(struct statements *s, const struct descriptor *d)
{
    CLEANUP(image_manifest_deinit) struct image_manifest m = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };

    TRY(blob_read(s->engine->store, &d->digest, LIMIT_MANIFEST, &text));
    TRY(image_manifest_parse(text.data, text.len, d->media_type, &m));
    for (size_t i = 0; i < m.layer_count; i++)
        TRY(add_statement(s, &m.layers[i]));
    return NULL;
}

/* Of the variant that serves the platform. */
static struct error *add_index(struct statements *s, const struct descriptor *target, const struct buf *text)
{
    CLEANUP(image_index_deinit) struct image_index index = { 0 };
    CLEANUP(image_variant_deinit) struct image_variant v = { 0 };

    TRY(image_index_parse(text->data, text->len, target->media_type, &index));
    TRY(images_variant(s->engine, target, s->options->platform, &v));
    for (size_t i = 0; i < index.manifest_count; i++) {
        const struct descriptor *d = &index.manifests[i];
        const char *subject = descriptor_annotation(d, "vnd.docker.reference.digest");

        if (descriptor_is_attestation(d) && subject != NULL && streq(subject, v.descriptor.digest.s))
            return add_manifest(s, d);
    }
    return NULL;
}

struct error *images_attestations(struct engine *e, const char *what,
                                  const struct image_attestation_options *o, json_t **ret)
{
    struct statements s = { .engine = e, .options = o, .list = json_array() };
    CLEANUP(image_match_deinit) struct image_match m = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    bool is_index = false;
    struct error *err = images_find(e, what, &m);

    if (err == NULL)
        err = blob_read(e->store, &m.target.digest, LIMIT_MANIFEST, &text);
    if (err == NULL)
        err = image_document_kind(text.data, text.len, m.target.media_type, &is_index);
    if (err == NULL && is_index)
        err = add_index(&s, &m.target, &text);
    if (err != NULL)
        json_decref(TAKE(s.list));
    *ret = s.list;
    return err;
}
