/* SPDX-License-Identifier: Apache-2.0 */
/* commit_attestation.c - the attestation manifest beside an image's manifest */
#include "export/commit.h"

#include "export/attestation.h"
#include "oci/gojson.h"
#include "oci/purl.h"

#define ARTIFACT_TYPE "application/vnd.docker.attestation.manifest.v1+json"
#define MT_IN_TOTO "application/vnd.in-toto+json"

/* Layers of the image by their id in the store. */
static void layers_by_id(struct snapshot *s, const struct layer_list *l, struct map *ret)
{
    for (size_t i = 0; i < l->count; i++)
        map_set(ret, snapshot_layer(s, i)->id, &l->blobs[i]);
}

static json_t *digest_set(const struct digest *d)
{
    return json_pack("{s:s}", "sha256", digest_hex(d));
}

/* The image under each of its names. */
static struct error *own_subjects(const struct commit *c, const struct export_ref *ref,
                                  const struct descriptor *target, json_t **ret)
{
    json_t *list = json_array();

    for (size_t i = 0; c->names != NULL && i < c->names->len; i++) {
        CLEANUP(freep) char *name = NULL;
        struct error *e = purl_of_image("docker", c->names->v[i], &ref->platform, NULL, NULL, &name);

        if (e != NULL) {
            json_decref(list);
            return e;
        }
        json_array_append_new(list,
                              json_pack("{s:s, s:o}", "name", name, "digest", digest_set(&target->digest)));
    }
    *ret = list;
    return NULL;
}

/* The statement as a blob. */
static struct error *put_statement(struct commit *c, struct attestation *a, const struct map *layers,
                                   const json_t *own, json_t **ret, struct digest *ret_digest)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    TRY(attestation_statement(a, layers, own, &text));
    TRY(blob_put(c->context->store, c->lease, text.data, text.len, ret_digest));
    commit_add_blob(c->image, ret_digest);
    *ret = json_pack("{s:s, s:s, s:I}", "mediaType", MT_IN_TOTO, "digest", ret_digest->s, "size",
                     (json_int_t)text.len);
    if (c->exporter->oci_types)
        json_object_set_new(*ret, "annotations",
                            json_pack("{s:o}", "in-toto.io/predicate-type", go_json_text(a->predicate_type)));
    return NULL;
}

static struct error *put_statements(struct commit *c, struct attestations *l, const struct map *layers,
                                    const json_t *own, json_t *ret_layers, json_t *ret_digests)
{
    for (size_t i = 0; i < l->len; i++) {
        struct digest d;
        json_t *layer;

        TRY(put_statement(c, &l->v[i], layers, own, &layer, &d));
        json_array_append_new(ret_layers, layer);
        json_array_append_new(ret_digests, json_string(d.s));
    }
    return NULL;
}

/* "{}" for artifacts; else an image config of no platform, so that old tools take it for an image. */
static struct error *put_config(struct commit *c, const json_t *digests, json_t **ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct digest d;
    json_t *j;

    if (c->exporter->oci_artifact) {
        buf_adds(&text, "{}");
    } else {
        j = json_pack("{s:s, s:s, s:{}, s:{s:s, s:O}}", "architecture", "unknown", "os", "unknown", "config",
                      "rootfs", "type", "layers", "diff_ids", digests);
        go_json(&text, j, NULL, false);
        json_decref(j);
    }
    TRY(blob_put(c->context->store, c->lease, text.data, text.len, &d));
    commit_add_blob(c->image, &d);
    *ret = json_pack("{s:s, s:s, s:I}", "mediaType",
                     c->exporter->oci_artifact ? MT_OCI_EMPTY
                     : c->exporter->oci_types  ? MT_OCI_CONFIG
                                               : MT_DOCKER_CONFIG,
                     "digest", d.s, "size", (json_int_t)text.len);
    if (c->exporter->oci_artifact)
        json_object_set_new(*ret, "data", json_string("e30="));
    return NULL;
}

static json_t *manifest_json(const struct commit *c, const struct descriptor *target, json_t *config,
                             json_t *layers)
{
    const char *type = c->exporter->oci_types ? MT_OCI_MANIFEST : MT_DOCKER_MANIFEST;
    json_t *j = json_pack("{s:i, s:s}", "schemaVersion", 2, "mediaType", type);

    if (c->exporter->oci_artifact)
        json_object_set_new(j, "artifactType", json_string(ARTIFACT_TYPE));
    json_object_set_new(j, "config", config);
    json_object_set(j, "layers", json_array_size(layers) > 0 ? layers : json_null());
    if (c->exporter->oci_artifact)
        json_object_set_new(j, "subject",
                            json_pack("{s:s, s:s, s:I}", "mediaType", target->media_type, "digest",
                                      target->digest.s, "size", (json_int_t)target->size));
    return j;
}

static struct error *put_manifest(struct commit *c, const struct descriptor *target, struct attestations *l,
                                  const struct map *by_id, const json_t *own, json_t *layers, json_t *digests,
                                  struct descriptor *ret)
{
    struct digest d;
    json_t *config;
    int64_t size;

    TRY(put_statements(c, l, by_id, own, layers, digests));
    TRY(put_config(c, digests, &config));
    TRY(commit_put_document(c, manifest_json(c, target, config, layers), "exporting attestation manifest", &d,
                            &size));
    commit_add_blob(c->image, &d);
    descriptor_init(ret, c->exporter->oci_types ? MT_OCI_MANIFEST : MT_DOCKER_MANIFEST, &d, size);
    descriptor_annotate(ret, "vnd.docker.reference.digest", target->digest.s);
    descriptor_annotate(ret, "vnd.docker.reference.type", "attestation-manifest");
    platform_set(&ret->platform, "unknown", "unknown", NULL);
    return NULL;
}

struct error *commit_attestations(struct commit *c, const struct export_ref *ref,
                                  const struct descriptor *target, struct snapshot *snapshot,
                                  const struct layer_list *layers, struct descriptor *ret, bool *ret_made)
{
    CLEANUP(attestations_deinit) struct attestations l = { 0 };
    CLEANUP(map_deinit) struct map by_id = { 0 };
    json_t *own, *list, *digests;
    struct error *e;

    *ret_made = attestations_any(c->source, ref->id, true);
    if (!*ret_made)
        return NULL;
    TRY(attestations_collect(c->source, ref->id, true, &l));
    layers_by_id(snapshot, layers, &by_id);
    for (size_t i = 0; i < l.len; i++)
        TRY(sbom_supplement(&l.v[i], snapshot, c->context->store, &by_id, c->context->version));
    TRY(own_subjects(c, ref, target, &own));
    list = json_array();
    digests = json_array();
    e = put_manifest(c, target, &l, &by_id, own, list, digests, ret);
    json_decref(own);
    json_decref(list);
    json_decref(digests);
    return e;
}
