/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/images_view.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "engine/containers.h"
#include "oci/reference.h"

void image_view_deinit(struct image_view *v)
{
    descriptor_deinit(&v->target);
    strv_deinit(&v->names);
    free(v->parent);
    image_variant_deinit(&v->variant);
}

int64_t image_config_time(const json_t *config, const char *key)
{
    const char *text = json_string_value(json_object_get(config, key));
    int64_t ns = 0;

    if (text != NULL && parse_time(text, &ns) < 0)
        ns = 0;
    return ns;
}

static int64_t blob_size(struct engine *e, const struct digest *d, bool stored)
{
    struct blob_info info;
    struct error *err = blob_stat(e->store, d, &info);

    err_free(err);
    if (err != NULL || (stored && info.layer_id[0] != '\0'))
        return 0;
    return info.size;
}

struct image_sizes image_variant_sizes(struct engine *e, const struct image_variant *v)
{
    struct image_sizes s = { 0 };
    struct snapshot *snap = NULL;

    s.content = v->descriptor.size + blob_size(e, &v->manifest.config.digest, true);
    for (size_t i = 0; i < v->manifest.layer_count; i++)
        s.content += blob_size(e, &v->manifest.layers[i].digest, true);
    struct error *err = snapshot_by_diff_ids(e->store, v->config.diff_ids, v->config.diff_id_count, &snap);
    for (size_t i = 0; err == NULL && i < snapshot_layer_count(snap); i++)
        s.unpacked += snapshot_layer(snap, i)->size;
    err_free(err);
    snapshot_unref(snap);
    return s;
}

/* What was pushed stands for the digest here. */
static void add_digests(struct engine *e, const struct image_view *v, const struct reference *r,
                        json_t *digests)
{
    CLEANUP(freep) char *repo = reference_familiar_name(r);
    CLEANUP(strv_deinit) struct strv found = { 0 };
    err_free(images_pushed_list(e, r, &v->target.digest, &found)); /* without it the digest here stands */

    if (found.len == 0)
        strv_addf(&found, "%s@%s", repo, v->target.digest.s);
    for (size_t i = 0; i < found.len; i++) {
        bool seen = false;

        for (size_t k = 0; k < json_array_size(digests); k++)
            seen = seen || streq(json_string_value(json_array_get(digests, k)), found.v[i]);
        if (!seen)
            json_array_append_new(digests, json_string(found.v[i]));
    }
}

void image_view_names(struct engine *eng, const struct image_view *v, json_t *tags, json_t *digests)
{
    for (size_t i = 0; i < v->names.len; i++) {
        CLEANUP(reference_deinit) struct reference r = { 0 };
        CLEANUP(freep) char *familiar = NULL;
        struct error *e = images_is_dangling_name(v->names.v[i]) ? NULL : reference_parse(v->names.v[i], &r);
        if (e != NULL || r.domain == NULL) {
            err_free(e);
            continue;
        }
        familiar = reference_familiar(&r);
        if (r.digest == NULL)
            json_array_append_new(tags, json_string(familiar));
        add_digests(eng, v, &r, digests);
    }
}

json_t *image_view_config(const struct image_view *v)
{
    return v->variant.config.json == NULL ? NULL : json_object_get(v->variant.config.json, "config");
}

/* ---- manifests=1
 * ------------------------------------------------------------------------------------------------------------------
 */

static json_t *image_data(struct engine *e, const struct image_variant *v, int64_t unpacked)
{
    CLEANUP(strv_deinit) struct strv users = { 0 };

    engine_containers_of_image(e, &v->descriptor.digest, &users);
    return json_pack("{s:o, s:o, s:{s:I}}", "Platform", platform_to_json(&v->config.platform), "Containers",
                     strv_to_json(&users), "Size", "Unpacked", (json_int_t)unpacked);
}

static json_t *manifest_summary(struct engine *e, const struct descriptor *d)
{
    CLEANUP(image_variant_deinit) struct image_variant v = { 0 };
    bool attestation = descriptor_is_attestation(d);
    const char *subject = strmap_get(&d->annotations, "vnd.docker.reference.digest");
    json_t *j = json_pack("{s:s, s:o}", "ID", d->digest.s, "Descriptor", descriptor_to_json(d));
    struct image_sizes s = { 0 };
    struct error *err = images_variant(e, d, NULL, &v);

    if (err == NULL)
        s = image_variant_sizes(e, &v);
    json_object_set_new(j, "Available", json_boolean(err == NULL && v.available));
    json_object_set_new(j, "Size",
                        json_pack("{s:I, s:I}", "Content", (json_int_t)s.content, "Total",
                                  (json_int_t)(s.content + s.unpacked)));
    json_object_set_new(j, "Kind", json_string(attestation ? "attestation" : "image"));
    if (attestation)
        json_object_set_new(j, "AttestationData", json_pack("{s:s}", "For", subject == NULL ? "" : subject));
    else if (err == NULL)
        json_object_set_new(j, "ImageData", image_data(e, &v, s.unpacked));
    else
        json_object_set_new(j, "ImageData",
                            json_pack("{s:o, s:[], s:{s:i}}", "Platform", platform_to_json(&d->platform),
                                      "Containers", "Size", "Unpacked", 0));
    err_free(err);
    return j;
}

json_t *image_view_manifests(struct engine *e, const struct image_view *v)
{
    CLEANUP(buf_deinit) struct buf document = { 0 };
    CLEANUP(image_index_deinit) struct image_index index = { 0 };
    json_t *j = json_array();
    bool is_index = false;
    struct error *err = blob_read(e->store, &v->target.digest, LIMIT_MANIFEST, &document);

    if (err == NULL)
        err = image_document_kind(document.data, document.len, v->target.media_type, &is_index);
    if (err == NULL && !is_index) {
        struct descriptor d = { 0 };
        descriptor_copy(&d, &v->target);
        if (!platform_is_set(&d.platform) && v->variant.config.json != NULL)
            platform_copy(&d.platform, &v->variant.config.platform);
        json_array_append_new(j, manifest_summary(e, &d));
        descriptor_deinit(&d);
    } else if (err == NULL) {
        err = image_index_parse(document.data, document.len, v->target.media_type, &index);
        for (size_t i = 0; err == NULL && i < index.manifest_count; i++)
            json_array_append_new(j, manifest_summary(e, &index.manifests[i]));
    }
    err_free(err); /* what cannot be read has no manifests to show */
    return j;
}
