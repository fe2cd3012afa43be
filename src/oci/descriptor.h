/* SPDX-License-Identifier: Apache-2.0 */
/*
 * descriptor.h - OCI descriptors and media types
 */
#ifndef MINKE_OCI_DESCRIPTOR_H
#define MINKE_OCI_DESCRIPTOR_H

#include "base/base.h"
#include "base/vec.h"
#include "oci/digest.h"
#include "oci/platform.h"

#define MT_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MT_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MT_OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define MT_OCI_LAYER "application/vnd.oci.image.layer.v1.tar"
#define MT_OCI_LAYER_GZIP "application/vnd.oci.image.layer.v1.tar+gzip"
#define MT_OCI_LAYER_ZSTD "application/vnd.oci.image.layer.v1.tar+zstd"
#define MT_OCI_EMPTY "application/vnd.oci.empty.v1+json"
#define MT_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define MT_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MT_DOCKER_CONFIG "application/vnd.docker.container.image.v1+json"
#define MT_DOCKER_LAYER "application/vnd.docker.image.rootfs.diff.tar"
#define MT_DOCKER_LAYER_GZIP "application/vnd.docker.image.rootfs.diff.tar.gzip"
#define MT_DOCKER_LAYER_ZSTD "application/vnd.docker.image.rootfs.diff.tar.zstd"
#define MT_OCI_LAYER_FOREIGN "application/vnd.oci.image.layer.nondistributable.v1.tar"
#define MT_OCI_LAYER_FOREIGN_GZIP "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
#define MT_DOCKER_LAYER_FOREIGN "application/vnd.docker.image.rootfs.foreign.diff.tar"
#define MT_DOCKER_LAYER_FOREIGN_GZIP "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

struct descriptor {
    char *media_type;
    struct digest digest;
    int64_t size;
    struct platform platform; /* zeroed when absent */
    struct map annotations;   /* string map */
    char *artifact_type;      /* NULL when absent */
    struct strv urls;
    char *data; /* embedded content as it came, base64; NULL when absent */
};
void descriptor_deinit(struct descriptor *d);
void descriptor_copy(struct descriptor *dst,
                     const struct descriptor *src); /* dst is overwritten, not freed */
/* A fresh one; media_type is copied. */
void descriptor_init(struct descriptor *d, const char *media_type, const struct digest *digest, int64_t size);
const char *descriptor_annotation(const struct descriptor *d,
                                  const char *key); /* borrowed, NULL when absent */
void descriptor_annotate(struct descriptor *d, const char *key, const char *value);
json_t *descriptor_to_json(const struct descriptor *d); /* Go field order: mediaType, digest, size, urls,
                                                           annotations, data, platform, artifactType */
/* Validates digest, size >= 0, types. ERR_INVALID names the field. */
struct error *descriptor_from_json(const json_t *j, struct descriptor *ret) MUST_CHECK;
/* String maps (annotations, labels) as Go writes them: keys sorted. */
json_t *strmap_to_json(const struct map *m);
json_t *strv_to_json(const struct strv *v); /* [] when empty */
/* NULL and null are empty; ERR_INVALID "<what> is not an object". `ret` is added to (strmap_init'ed). */
struct error *strmap_from_json(const json_t *j, const char *what, struct map *ret) MUST_CHECK;
bool media_type_is_index(const char *mt);
bool media_type_is_manifest(const char *mt);
bool media_type_is_config(const char *mt);
bool media_type_is_layer(const char *mt); /* any tar, with any compression; foreign ones too */
bool media_type_is_foreign_layer(const char *mt);

#endif
