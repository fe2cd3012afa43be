/* SPDX-License-Identifier: Apache-2.0 */
/* images_save.c - docker save: an OCI layout with a manifest.json for readers of the old format, streamed */
#include "engine/images.h"

#include "base/limits.h"
#include "oci/reference.h"
#include "oci/tar.h"
#include "task/task.h"

struct save {
    struct engine *engine;
    struct stream *out;
    struct map written; /* digest -> non-NULL */
    json_t *index, *docker;
    const struct platform *platform;
};

static struct error *write_bytes(struct save *s, const void *data, size_t len)
{
    int r = stream_write_full(s->out, data, len);

    return r < 0 ? task_error(r, "write the archive") : NULL;
}

static struct error *write_header(struct save *s, const char *name, enum tar_type type, int64_t size)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    struct tar_entry e = {
        .type = type, .name = (char *)name, .mode = type == TAR_DIR ? 0755 : 0644, .size = size
    };

    tar_add_header(&b, &e);
    return write_bytes(s, b.data, b.len);
}

static struct error *write_padding(struct save *s, int64_t size)
{
    static const char zeros[TAR_BLOCK];

    return write_bytes(s, zeros, tar_padding(size));
}

static struct error *write_document(struct save *s, const char *name, const char *text)
{
    TRY(write_header(s, name, TAR_FILE, (int64_t)strlen(text)));
    TRY(write_bytes(s, text, strlen(text)));
    return write_padding(s, (int64_t)strlen(text));
}

static struct error *write_blob(struct save *s, const struct digest *d)
{
    CLEANUP(stream_closep) struct stream *content = NULL;
    CLEANUP(freep) char *name = xasprintf("blobs/sha256/%s", digest_hex(d));
    struct blob_info info;
    int64_t n;

    if (map_has(&s->written, d->s))
        return NULL;
    map_set(&s->written, d->s, s);
    TRY(blob_stat(s->engine->store, d, &info));
    TRY(blob_open(s->engine->store, d, &content));
    TRY(write_header(s, name, TAR_FILE, info.size));
    n = stream_copy(s->out, content);
    if (n < 0)
        return task_error((int)n, "write blob %s", d->s);
    if (n != info.size)
        return err_new(ERR_DATA_LOSS, "blob %s has %lld bytes, %lld were expected", d->s, (long long)n,
                       (long long)info.size);
    return write_padding(s, info.size);
}

static struct error *save_manifest(struct save *s, const struct image_variant *v)
{
    TRY(write_blob(s, &v->manifest.config.digest));
    for (size_t i = 0; i < v->manifest.layer_count; i++)
        TRY(write_blob(s, &v->manifest.layers[i].digest));
    return write_blob(s, &v->descriptor.digest);
}

/* Every variant that is here, then the index itself. */
static struct error *save_index(struct save *s, const struct descriptor *target,
                                const struct image_index *index)
{
    for (size_t i = 0; i < index->manifest_count; i++) {
        CLEANUP(image_variant_deinit) struct image_variant v = { 0 };
        struct error *e = images_variant(s->engine, &index->manifests[i], NULL, &v);
        if (err_is(e, ERR_NOT_FOUND) || (e == NULL && !v.available)) {
            err_free(e);
            continue;
        }
        TRY(e);
        TRY(save_manifest(s, &v));
    }
    return write_blob(s, &target->digest);
}

static struct error *save_target(struct save *s, const struct descriptor *target, struct image_variant *main)
{
    CLEANUP(buf_deinit) struct buf document = { 0 };
    CLEANUP(image_index_deinit) struct image_index index = { 0 };
    bool is_index;

    TRY(images_variant(s->engine, target, s->platform, main));
    if (!main->available)
        return err_new(ERR_NOT_FOUND, "unable to save image %s: content of a layer is not in the store",
                       target->digest.s);
    TRY(blob_read(s->engine->store, &target->digest, LIMIT_MANIFEST, &document));
    TRY(image_document_kind(document.data, document.len, target->media_type, &is_index));
    if (!is_index || s->platform != NULL)
        return save_manifest(s, main);
    TRY(image_index_parse(document.data, document.len, target->media_type, &index));
    return save_index(s, target, &index);
}

static void add_docker(struct save *s, const struct image_variant *v, json_t *tags)
{
    json_t *layers = json_array();

    for (size_t i = 0; i < v->manifest.layer_count; i++)
        json_array_append_new(layers,
                              json_sprintf("blobs/sha256/%s", digest_hex(&v->manifest.layers[i].digest)));
    json_array_append_new(s->docker,
                          json_pack("{s:o, s:o, s:o}", "Config",
                                    json_sprintf("blobs/sha256/%s", digest_hex(&v->manifest.config.digest)),
                                    "RepoTags", tags, "Layers", layers));
}

static struct error *add_name(struct save *s, const struct descriptor *target, const char *name, json_t *tags)
{
    CLEANUP(descriptor_deinit) struct descriptor d = { 0 };
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(freep) char *familiar = NULL;

    descriptor_copy(&d, target);
    if (name != NULL) {
        TRY(reference_parse(name, &r));
        familiar = reference_familiar(&r);
        descriptor_annotate(&d, "io.containerd.image.name", name);
        if (r.tag != NULL)
            descriptor_annotate(&d, "org.opencontainers.image.ref.name", r.tag);
        json_array_append_new(tags, json_string(familiar));
    }
    json_array_append_new(s->index, descriptor_to_json(&d));
    return NULL;
}

static struct error *save_one(struct save *s, const char *what)
{
    CLEANUP(image_match_deinit) struct image_match m = { 0 };
    CLEANUP(image_variant_deinit) struct image_variant v = { 0 };
    const struct descriptor *target;
    json_t *tags;

    TRY(images_find(s->engine, what, &m));
    TRY(save_target(s, &m.target, &v));
    target = s->platform == NULL ? &m.target : &v.descriptor;
    tags = json_array();
    struct error *e = add_name(s, target, m.name, tags);

    add_docker(s, &v, tags);
    return e;
}

static struct error *write_ends(struct save *s)
{
    CLEANUP(freep) char *index = NULL;
    CLEANUP(freep) char *docker = NULL;
    CLEANUP(buf_deinit) struct buf end = { 0 };
    json_t *j =
        json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType", MT_OCI_INDEX, "manifests", s->index);

    index = json_dumps(j, JSON_COMPACT);
    docker = json_dumps(s->docker, JSON_COMPACT);
    json_decref(j);
    TRY(write_document(s, "index.json", index));
    TRY(write_document(s, "manifest.json", docker));
    TRY(write_document(s, "oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}"));
    tar_add_end(&end);
    return write_bytes(s, end.data, end.len);
}

struct error *images_save(struct engine *e, const struct strv *names, const struct platform *platform,
                          struct stream *out)
{
    struct save s = {
        .engine = e, .out = out, .index = json_array(), .docker = json_array(), .platform = platform
    };
    struct error *err = write_header(&s, "blobs/", TAR_DIR, 0);

    if (err == NULL)
        err = write_header(&s, "blobs/sha256/", TAR_DIR, 0);
    for (size_t i = 0; err == NULL && i < names->len; i++)
        err = save_one(&s, names->v[i]);
    if (err == NULL)
        err = write_ends(&s);
    json_decref(s.index);
    json_decref(s.docker);
    map_deinit(&s.written);
    return err;
}
