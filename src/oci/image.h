/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - image documents: manifest, index, config
 *
 * Read bounded (LIMIT_MANIFEST, LIMIT_JSON_DEPTH) and checked as far as we use them; a document that has both
 * `manifests` and `layers` is refused, and so is one whose own mediaType contradicts the one it was announced
 * with.  A config keeps its JSON, so that fields that we do not know survive.
 */
#ifndef MINKE_OCI_IMAGE_H
#define MINKE_OCI_IMAGE_H

#include "oci/descriptor.h"

/* JSON from outside: at most LIMIT_MANIFEST bytes, LIMIT_JSON_DEPTH levels, no duplicate keys. `what` begins
 * the error text. */
struct error *json_parse(const void *data, size_t len, const char *what, json_t **ret) MUST_CHECK;

/* Deeper than LIMIT_JSON_DEPTH: not for a parser that recurses. */
bool json_too_deep(const char *text, size_t len);

struct image_manifest {
    char *media_type; /* its own, else the announced one */
    struct descriptor config;
    struct descriptor *layers; /* lowest first */
    size_t layer_count;
    struct map annotations; /* string map */
    char *artifact_type;    /* NULL when absent */
};
void image_manifest_deinit(struct image_manifest *m);
/* `media_type`: as announced (descriptor or content type); NULL when unknown. */
struct error *image_manifest_parse(const void *data, size_t len, const char *media_type,
                                   struct image_manifest *ret) MUST_CHECK;

struct image_index {
    char *media_type;
    struct descriptor *manifests;
    size_t manifest_count;
    struct map annotations; /* string map */
};
void image_index_deinit(struct image_index *i);
struct error *image_index_parse(const void *data, size_t len, const char *media_type,
                                struct image_index *ret) MUST_CHECK;
/* The manifest (or nested index) that serves `want` best, or NULL.  Attestations and foreign platforms are
 * passed over; an entry without platform serves when nothing else does. */
const struct descriptor *image_index_pick(const struct image_index *i, const struct platform *want);
/* An entry that describes another one (annotation vnd.docker.reference.type: attestation-manifest). */
bool descriptor_is_attestation(const struct descriptor *d);
/* Manifest or index, by what the document holds; ERR_INVALID when it is neither or both. */
struct error *image_document_kind(const void *data, size_t len, const char *media_type,
                                  bool *ret_is_index) MUST_CHECK;

struct image_config {
    json_t *json; /* the document */
    struct platform platform;
    struct digest *diff_ids; /* lowest first */
    size_t diff_id_count;
};
void image_config_deinit(struct image_config *c);
struct error *image_config_parse(const void *data, size_t len, struct image_config *ret) MUST_CHECK;

#endif
