/* SPDX-License-Identifier: Apache-2.0 */
/* images_find.c - from what a user typed to an image, and from an image to the variant that runs here */
#include "engine/images.h"

#include "base/limits.h"
#include "oci/compress.h"
#include "oci/reference.h"

#include <ctype.h>

#define DANGLING_PREFIX "moby-dangling@"

void image_match_deinit(struct image_match *m)
{
    descriptor_deinit(&m->target);
    strv_deinit(&m->names);
    free(m->name);
    *m = (struct image_match){ 0 };
}

void image_variant_deinit(struct image_variant *v)
{
    descriptor_deinit(&v->descriptor);
    image_manifest_deinit(&v->manifest);
    image_config_deinit(&v->config);
    *v = (struct image_variant){ 0 };
}

bool images_is_dangling_name(const char *name)
{
    return str_has_prefix(name, DANGLING_PREFIX);
}

static struct error *no_such(const char *what)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(freep) char *familiar = NULL;
    struct error *e = reference_parse(what, &r);

    if (e != NULL) {
        err_free(e);
        return err_new(ERR_NOT_FOUND, "No such image: %s", what);
    }
    reference_add_default_tag(&r);
    familiar = reference_familiar(&r);
    return err_new(ERR_NOT_FOUND, "No such image: %s", familiar);
}

static struct error *fill_match(struct engine *e, const struct descriptor *target, struct image_match *ret)
{
    struct image_record *v = NULL;
    size_t n = 0;

    TRY(image_list_by_target(e->store, &target->digest, &v, &n));
    descriptor_copy(&ret->target, target);
    for (size_t i = 0; i < n; i++) {
        strv_add(&ret->names, v[i].name);
        image_record_deinit(&v[i]);
    }
    free(v);
    return NULL;
}

struct error *images_labels(struct engine *e, const struct digest *target, struct map *ret)
{
    struct image_record *v = NULL;
    size_t n = 0;

    TRY(image_list_by_target(e->store, target, &v, &n));
    for (size_t i = 0; i < n; i++) {
        strmap_copy(ret, &v[i].labels);
        image_record_deinit(&v[i]);
    }
    free(v);
    return NULL;
}

/* Hex digits that may be a (shortened) id, without "sha256:". NULL when it cannot be one. */
static const char *id_prefix(const char *what)
{
    const char *hex = str_skip_prefix(what, "sha256:");

    if (hex == NULL)
        hex = what;
    if (hex[0] == '\0' || strlen(hex) > 64)
        return NULL;
    for (const char *p = hex; *p != '\0'; p++) {
        if (!isdigit((unsigned char)*p) && !(*p >= 'a' && *p <= 'f'))
            return NULL;
    }
    return hex;
}

static struct error *find_by_id(struct engine *e, const char *hex, const char *what, struct image_match *ret,
                                bool *ret_found)
{
    CLEANUP(descriptor_deinit) struct descriptor found = { 0 };
    struct image_record *v = NULL;
    size_t n = 0;
    bool ambiguous = false;

    TRY(image_list(e->store, &v, &n));
    for (size_t i = 0; i < n; i++) {
        if (str_has_prefix(digest_hex(&v[i].target.digest), hex)) {
            ambiguous =
                ambiguous || (found.media_type != NULL && !digest_eq(&found.digest, &v[i].target.digest));
            if (found.media_type == NULL)
                descriptor_copy(&found, &v[i].target);
        }
        image_record_deinit(&v[i]);
    }
    free(v);
    if (ambiguous)
        return err_new(ERR_NOT_FOUND, "No such image: %s: the id is ambiguous", what);
    *ret_found = found.media_type != NULL;
    return *ret_found ? fill_match(e, &found, ret) : NULL;
}

/* name@digest: the name must exist with that target. */
static bool digest_agrees(const struct reference *r, const struct descriptor *target)
{
    return r->digest == NULL || streq(r->digest, target->digest.s);
}

static struct error *find_by_name(struct engine *e, const char *what, struct image_match *ret,
                                  bool *ret_found)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(freep) char *name = NULL;
    CLEANUP(freep) char *repo_name = NULL;
    struct image_record record = { 0 };
    struct error *err;

    TRY(reference_parse(what, &r));
    if (r.digest != NULL && r.tag == NULL) { /* repo@digest: any name of the repository with that target */
        CLEANUP(freep) char *repo = reference_name(&r);
        struct image_record *v = NULL;
        struct digest d;
        size_t n = 0;
        if (digest_parse(r.digest, &d) < 0)
            return err_new(ERR_INVALID, "invalid reference format");
        TRY(image_list_by_target(e->store, &d, &v, &n));
        if (n == 0) {
            bool pushed;

            TRY(images_pushed_find(e, &r, &d, &pushed));
            if (pushed)
                TRY(image_list_by_target(e->store, &d, &v, &n));
        }
        err = NULL;
        for (size_t i = 0; i < n; i++) {
            size_t len = strlen(repo);
            if (!*ret_found && err == NULL && strncmp(v[i].name, repo, len) == 0 &&
                (v[i].name[len] == ':' || v[i].name[len] == '@')) {
                *ret_found = true;
                ret->name = xstrdup(v[i].name);
                err = fill_match(e, &v[i].target, ret);
            }
            image_record_deinit(&v[i]);
        }
        free(v);
        return err;
    }
    reference_add_default_tag(&r);
    repo_name = reference_name(&r);
    name = xasprintf("%s:%s", repo_name, r.tag);
    err = image_get(e->store, name, &record);
    if (err_is(err, ERR_NOT_FOUND)) {
        err_free(err);
        return NULL;
    }
    TRY(err);
    *ret_found = digest_agrees(&r, &record.target);
    if (*ret_found) {
        ret->name = xstrdup(record.name);
        err = fill_match(e, &record.target, ret);
    }
    image_record_deinit(&record);
    return err;
}

struct error *images_find(struct engine *e, const char *what, struct image_match *ret)
{
    const char *hex = id_prefix(what);
    bool found = false, is_id = str_has_prefix(what, "sha256:");
    struct error *err = NULL;

    if (!is_id)
        err = find_by_name(e, what, ret, &found);
    if (err != NULL && hex == NULL)
        return err;
    err_free(err);
    if (!found && hex != NULL)
        TRY(find_by_id(e, hex, what, ret, &found));
    return found ? NULL : no_such(what);
}

/* ---- variants
 * ------------------------------------------------------------------------------------------------------------------
 */

static bool blob_here(struct engine *e, const struct digest *d)
{
    struct blob_info info;
    struct error *err = blob_stat(e->store, d, &info);

    err_free(err);
    return err == NULL;
}

static bool layers_here(struct engine *e, const struct image_variant *v)
{
    struct snapshot *s = NULL;
    struct error *err = snapshot_by_diff_ids(e->store, v->config.diff_ids, v->config.diff_id_count, &s);
    bool all = true;

    snapshot_unref(s);
    err_free(err);
    if (err == NULL)
        return true;
    for (size_t i = 0; all && i < v->manifest.layer_count; i++)
        all = blob_here(e, &v->manifest.layers[i].digest);
    return all;
}

static struct error *read_variant(struct engine *e, const struct descriptor *d, struct image_variant *ret)
{
    CLEANUP(buf_deinit) struct buf manifest = { 0 };
    CLEANUP(buf_deinit) struct buf config = { 0 };

    descriptor_copy(&ret->descriptor, d);
    TRY(blob_read(e->store, &d->digest, LIMIT_MANIFEST, &manifest));
    TRY(image_manifest_parse(manifest.data, manifest.len, d->media_type, &ret->manifest));
    TRY(blob_read(e->store, &ret->manifest.config.digest, LIMIT_MANIFEST, &config));
    TRY(image_config_parse(config.data, config.len, &ret->config));
    ret->available = layers_here(e, ret);
    return NULL;
}

/* The best entry for `want`; without a wish the host's, else the first whose manifest is here. */
static const struct descriptor *pick(struct engine *e, const struct image_index *index,
                                     const struct platform *want)
{
    const struct descriptor *d = image_index_pick(index, want == NULL ? platform_host() : want);

    if (want != NULL || (d != NULL && blob_here(e, &d->digest)))
        return d;
    for (size_t i = 0; i < index->manifest_count; i++) {
        if (!descriptor_is_attestation(&index->manifests[i]) && blob_here(e, &index->manifests[i].digest))
            return &index->manifests[i];
    }
    return d;
}

struct error *images_variant(struct engine *e, const struct descriptor *target,
                             const struct platform *platform, struct image_variant *ret)
{
    CLEANUP(buf_deinit) struct buf document = { 0 };
    CLEANUP(image_index_deinit) struct image_index index = { 0 };
    CLEANUP(freep) char *name = NULL;
    const struct descriptor *d;
    bool is_index;

    TRY(blob_read(e->store, &target->digest, LIMIT_MANIFEST, &document));
    TRY(image_document_kind(document.data, document.len, target->media_type, &is_index));
    if (!is_index) {
        TRY(read_variant(e, target, ret));
        if (platform == NULL || platform_match(platform, &ret->config.platform) > 0)
            return NULL;
        name = platform_format(platform);
        return err_new(ERR_NOT_FOUND,
                       "image with reference %s was found but does not provide the specified platform (%s)",
                       target->digest.s, name);
    }
    TRY(image_index_parse(document.data, document.len, target->media_type, &index));
    d = pick(e, &index, platform);
    if (d == NULL) {
        name = platform_format(platform == NULL ? platform_host() : platform);
        return err_new(ERR_NOT_FOUND,
                       "image with reference %s was found but does not provide the specified platform (%s)",
                       target->digest.s, name);
    }
    return read_variant(e, d, ret);
}

struct layer_blobs {
    struct engine *engine;
    const struct image_variant *variant;
};

static struct error *open_layer(void *ctx, size_t index, struct stream **ret)
{
    struct layer_blobs *l = ctx;
    struct stream *raw;

    TRY(blob_open(l->engine->store, &l->variant->manifest.layers[index].digest, &raw));
    return decompress_stream(raw, ret);
}

struct error *images_snapshot(struct engine *e, const struct image_variant *v, struct snapshot **ret)
{
    struct layer_blobs blobs = { .engine = e, .variant = v };
    CLEANUP(freep) struct layer_source *layers = NULL;
    struct lease *lease = NULL;
    struct error *err = snapshot_by_diff_ids(e->store, v->config.diff_ids, v->config.diff_id_count, ret);

    if (!err_is(err, ERR_NOT_FOUND))
        return err;
    err_free(err);
    if (v->manifest.layer_count != v->config.diff_id_count)
        return err_new(ERR_INVALID, "the image's config lists %zu layers, its manifest %zu",
                       v->config.diff_id_count, v->manifest.layer_count);
    layers = xcalloc(v->manifest.layer_count + 1, sizeof(*layers));
    for (size_t i = 0; i < v->manifest.layer_count; i++)
        layers[i] = (struct layer_source){ .diff_id = v->config.diff_ids[i],
                                           .description = "loaded layer",
                                           .blob = &v->manifest.layers[i],
                                           .open = open_layer,
                                           .ctx = &blobs };
    TRY(lease_open(e->store, &lease));
    err = snapshot_unpack(e->store, layers, v->manifest.layer_count, lease, ret);
    lease_close(lease);
    return err;
}
