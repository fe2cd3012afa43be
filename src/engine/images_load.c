/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images_load.c - docker load: an OCI layout or a docker archive, as one stream, into the store
 *
 * Nothing of the archive touches the file system by its own name: blobs go into the store under their
 * verified digest, small documents stay in memory, links are only looked up.  What is not named at the end is
 * collected with the lease.
 */
#include "engine/images.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "oci/compress.h"
#include "oci/reference.h"
#include "oci/tar.h"
#include "task/task.h"

#include <errno.h>

struct stored_blob {
    struct digest digest;
    int64_t size;
    const char *media_type; /* of a layer, by its first bytes */
};

struct load {
    struct engine *engine;
    struct lease *lease;
    struct map documents; /* path -> struct buf * */
    struct map blobs;     /* path -> struct stored_blob * */
    struct map links;     /* path -> target path (string map) */
    size_t entries, document_bytes;
    const struct image_progress *progress;
};

static void free_document(void *b)
{
    buf_deinit(b);
    free(b);
}

static void load_deinit(struct load *l)
{
    map_deinit(&l->documents);
    map_deinit(&l->blobs);
    map_deinit(&l->links);
    lease_close(l->lease);
}

/* ---- reading the archive
 * ------------------------------------------------------------------------------------------------------ */

static const char *layer_type(const uint8_t *head, size_t len)
{
    if (len >= 2 && head[0] == 0x1f && head[1] == 0x8b)
        return MT_OCI_LAYER_GZIP;
    if (len >= 4 && head[0] == 0x28 && head[1] == 0xb5 && head[2] == 0x2f && head[3] == 0xfd)
        return MT_OCI_LAYER_ZSTD;
    return MT_OCI_LAYER;
}

static struct error *read_failed(ssize_t n)
{
    if (n == -EPIPE)
        return err_new(ERR_INVALID, "the archive ends early");
    return n == -EBADMSG ? err_new(ERR_INVALID, "the archive is corrupt")
                         : task_error((int)n, "read the archive");
}

static struct error *copy_entry(struct tar_reader *t, struct ingest *in, struct stored_blob *b)
{
    CLEANUP(freep) char *chunk = xmalloc(65536);

    for (;;) {
        ssize_t n = tar_reader_read(t, chunk, 65536);
        if (n == 0)
            return NULL;
        if (n < 0)
            return read_failed(n);
        if (b->size == 0)
            b->media_type = layer_type((const uint8_t *)chunk, (size_t)n);
        b->size += n;
        TRY(ingest_write(in, chunk, (size_t)n));
    }
}

static struct error *store_blob(struct load *l, struct tar_reader *t, const char *path,
                                const struct digest *expected)
{
    struct stored_blob *b = NEW(struct stored_blob);
    struct ingest *in;
    int64_t have;
    char key[33];
    struct error *e;

    map_set(&l->blobs, path, b);
    random_hex(key, 16);
    TRY(ingest_begin(l->engine->store, l->lease, key, &have, &in));
    b->media_type = MT_OCI_LAYER;
    e = copy_entry(t, in, b);
    if (e == NULL)
        e = ingest_commit(in, expected, -1, &b->digest);
    ingest_close(in, false);
    return err_wrap(e, "load %s", path);
}

static struct error *keep_document(struct load *l, struct tar_reader *t, const char *path)
{
    struct buf *b = NEW(struct buf);
    char chunk[4096];
    ssize_t n;

    map_set(&l->documents, path, b);
    while ((n = tar_reader_read(t, chunk, sizeof(chunk))) > 0) {
        l->document_bytes += (size_t)n;
        if (b->len + (size_t)n > LIMIT_MANIFEST || l->document_bytes > LIMIT_LOAD_DOCUMENTS)
            return err_new(ERR_INVALID, "load %s: the document is too large", path);
        buf_add(b, chunk, (size_t)n);
    }
    return n < 0 ? read_failed(n) : NULL;
}

static struct error *read_file(struct load *l, struct tar_reader *t, const struct tar_entry *entry,
                               const char *path)
{
    const char *hex = str_skip_prefix(path, "blobs/sha256/");
    struct digest expected = { "" };

    if (hex != NULL) {
        CLEANUP(freep) char *text = xasprintf("sha256:%s", hex);
        if (digest_parse(text, &expected) < 0)
            return err_new(ERR_INVALID, "load %s: not a digest", path);
        return store_blob(l, t, path, &expected);
    }
    if (str_has_suffix(path, ".tar") || entry->size > (int64_t)LIMIT_MANIFEST)
        return store_blob(l, t, path, &expected);
    return keep_document(l, t, path);
}

static struct error *read_archive(struct load *l, struct stream *body)
{
    CLEANUP(tar_reader_freep) struct tar_reader *t = tar_reader_new(body);
    struct tar_entry *entry;

    for (;;) {
        CLEANUP(freep) char *path = NULL;
        TRY(tar_reader_next(t, &entry));
        if (entry == NULL)
            return NULL;
        if (++l->entries > LIMIT_LOAD_ENTRIES)
            return err_new(ERR_INVALID, "the archive has too many entries");
        path = path_clean(entry->name);
        if (entry->type == TAR_FILE) {
            TRY(read_file(l, t, entry, path));
        } else if (entry->type == TAR_SYMLINK || entry->type == TAR_HARDLINK) {
            /* old docker archives point one layer.tar at another */
            CLEANUP(freep) char *dir = path_dir(path);
            CLEANUP(freep)
            char *target =
                entry->type == TAR_HARDLINK ? path_clean(entry->linkname) : path_join(dir, entry->linkname);
            strmap_set(&l->links, path, target);
        }
    }
}

/* The file of that name, through at most a few links; NULL when there is none. */
static const char *follow(const struct load *l, const char *path)
{
    for (int i = 0; i < 8 && path != NULL; i++) {
        if (map_has(&l->blobs, path) || map_has(&l->documents, path))
            return path;
        path = strmap_get(&l->links, path);
    }
    return NULL;
}

/* ---- naming what came
 * ------------------------------------------------------------------------------------------------------------
 */

static struct error *say(const struct load *l, const char *what, const char *name)
{
    return l->progress->line(l->progress->ctx,
                             json_pack("{s:o}", "stream", json_sprintf("%s: %s\n", what, name)));
}

/* Whole, for some platform that can be used; the host's variant is unpacked, so that it runs at once. */
static struct error *check_image(struct load *l, const struct descriptor *target)
{
    CLEANUP(image_variant_deinit) struct image_variant v = { 0 };
    struct snapshot *s = NULL;

    TRY(images_variant(l->engine, target, NULL, &v));
    if (!v.available)
        return err_new(ERR_NOT_FOUND, "image %s: content of a layer is missing from the archive",
                       target->digest.s);
    TRY(images_snapshot(l->engine, &v, &s));
    snapshot_unref(s);
    return NULL;
}

static struct error *name_image(struct load *l, const struct descriptor *target, const char *wanted)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(freep) char *name = NULL;
    CLEANUP(freep) char *shown = NULL;

    TRY(check_image(l, target));
    if (wanted == NULL) {
        name = xasprintf("moby-dangling@%s", target->digest.s);
        TRY(image_put(l->engine->store, name, target));
        images_event(l->engine, "load", target->digest.s, NULL);
        return say(l, "Loaded image ID", target->digest.s);
    }
    TRY(reference_parse(wanted, &r));
    reference_add_default_tag(&r);
    name = reference_string(&r);
    shown = reference_familiar(&r);
    TRY(image_put(l->engine->store, name, target));
    images_event(l->engine, "load", target->digest.s, name);
    return say(l, "Loaded image", shown);
}

static const char *name_of(const struct descriptor *d)
{
    const char *name = strmap_get(&d->annotations, "io.containerd.image.name");
    const char *ref = strmap_get(&d->annotations, "org.opencontainers.image.ref.name");
    struct reference r = { 0 };
    struct error *e;

    if (name != NULL || ref == NULL)
        return name;
    if (strchr(ref, ':') == NULL && strchr(ref, '/') == NULL)
        return NULL; /* a bare tag names nothing */
    e = reference_parse(ref, &r);
    reference_deinit(&r);
    err_free(e);
    return e == NULL ? ref : NULL;
}

static struct error *load_layout(struct load *l, const struct buf *document)
{
    CLEANUP(image_index_deinit) struct image_index index = { 0 };

    TRY(image_index_parse(document->data, document->len, MT_OCI_INDEX, &index));
    if (index.manifest_count == 0)
        return err_new(ERR_INVALID, "index.json names no image");
    for (size_t i = 0; i < index.manifest_count; i++) {
        struct descriptor target = { 0 };
        struct error *e;
        if (descriptor_is_attestation(&index.manifests[i]))
            continue;
        descriptor_copy(&target, &index.manifests[i]);
        map_deinit(&target.annotations); /* they are the archive's, not the image's */
        strmap_init(&target.annotations);
        e = name_image(l, &target, name_of(&index.manifests[i]));
        descriptor_deinit(&target);
        TRY(e);
    }
    return NULL;
}

/* ---- docker archives
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct error *layer_descriptor(struct load *l, const json_t *path, json_t *layers)
{
    const char *text = json_string_value(path), *at;
    CLEANUP(freep) char *clean = text == NULL ? NULL : path_clean(text);
    struct stored_blob *b;

    at = clean == NULL ? NULL : follow(l, clean);
    b = at == NULL ? NULL : map_get(&l->blobs, at);
    if (b == NULL)
        return err_new(ERR_INVALID, "manifest.json: layer \"%s\" is not in the archive",
                       text == NULL ? "" : text);
    json_array_append_new(layers, json_pack("{s:s, s:s, s:I}", "mediaType", b->media_type, "digest",
                                            b->digest.s, "size", (json_int_t)b->size));
    return NULL;
}

static struct error *put_config(struct load *l, const char *path, struct digest *ret, int64_t *ret_size)
{
    CLEANUP(freep) char *clean = path_clean(path);
    const char *at = follow(l, clean);
    struct stored_blob *b = at == NULL ? NULL : map_get(&l->blobs, at);
    struct buf *document = at == NULL ? NULL : map_get(&l->documents, at);

    if (b != NULL) {
        *ret = b->digest;
        *ret_size = b->size;
        return NULL;
    }
    if (document == NULL)
        return err_new(ERR_INVALID, "manifest.json: config \"%s\" is not in the archive", path);
    *ret_size = (int64_t)document->len;
    return blob_put(l->engine->store, l->lease, document->data, document->len, ret);
}

static struct error *put_manifest(struct load *l, const json_t *entry, struct descriptor *ret)
{
    const char *config = json_string_value(json_object_get(entry, "Config"));
    json_t *layers = json_array(), *path, *manifest;
    CLEANUP(freep) char *text = NULL;
    struct error *e = NULL;
    struct digest d = { 0 };
    int64_t size = 0;
    size_t i;

    if (config == NULL)
        e = err_new(ERR_INVALID, "manifest.json: an entry has no Config");
    else
        e = put_config(l, config, &d, &size);
    json_array_foreach(json_object_get(entry, "Layers"), i, path)
    {
        if (e == NULL)
            e = layer_descriptor(l, path, layers);
    }
    if (e != NULL) {
        json_decref(layers);
        return e;
    }
    manifest = json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:o}", "schemaVersion", 2, "mediaType",
                         MT_OCI_MANIFEST, "config", "mediaType", MT_OCI_CONFIG, "digest", d.s, "size",
                         (json_int_t)size, "layers", layers);
    text = json_dumps(manifest, JSON_COMPACT);
    json_decref(manifest);
    ret->media_type = xstrdup(MT_OCI_MANIFEST);
    ret->size = (int64_t)strlen(text);
    strmap_init(&ret->annotations);
    return blob_put(l->engine->store, l->lease, text, strlen(text), &ret->digest);
}

static struct error *load_entry(struct load *l, const json_t *entry)
{
    CLEANUP(descriptor_deinit) struct descriptor target = { 0 };
    json_t *tags = json_object_get(entry, "RepoTags"), *tag;
    size_t i;

    TRY(put_manifest(l, entry, &target));
    if (json_array_size(tags) == 0)
        return name_image(l, &target, NULL);
    json_array_foreach(tags, i, tag)
    {
        if (!json_is_string(tag))
            return err_new(ERR_INVALID, "manifest.json: a RepoTags entry is not a string");
        TRY(name_image(l, &target, json_string_value(tag)));
    }
    return NULL;
}

static struct error *load_docker(struct load *l, const struct buf *document)
{
    struct error *e = NULL;
    json_t *list, *entry;
    size_t i;

    TRY(json_parse(document->data, document->len, "manifest.json", &list));
    if (!json_is_array(list) || json_array_size(list) == 0)
        e = err_new(ERR_INVALID, "manifest.json: not a list of images");
    json_array_foreach(list, i, entry)
    {
        if (e == NULL)
            e = load_entry(l, entry);
    }
    json_decref(list);
    return e;
}

struct error *images_load(struct engine *e, struct stream *body, bool quiet, const struct image_progress *p)
{
    CLEANUP(load_deinit) struct load l = { .engine = e, .progress = p };
    struct stream *plain;
    const struct buf *document;
    struct error *err;

    l.documents.free_value = free_document;
    l.blobs.free_value = free;
    strmap_init(&l.links);
    TRY(lease_open(e->store, &l.lease));
    TRY(decompress_stream(stream_limited(body, UINT64_MAX), &plain));
    err = read_archive(&l, plain);
    stream_close(plain);
    TRY(err);
    if ((document = map_get(&l.documents, "index.json")) != NULL)
        return load_layout(&l, document);
    if ((document = map_get(&l.documents, "manifest.json")) != NULL)
        return load_docker(&l, document);
    return err_new(ERR_INVALID,
                   "unrecognized image format: the archive has neither index.json nor manifest.json");
}
