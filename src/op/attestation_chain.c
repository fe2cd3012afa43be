/* SPDX-License-Identifier: Apache-2.0 */
#include "op/attestation_chain.h"

#include "base/limits.h"
#include "oci/image.h"
#include "op/image.h"
#include "registry/referrers.h"

#define BUNDLE "application/vnd.dev.sigstore.bundle.v0.3+json"
#define COSIGN "application/vnd.dev.cosign.artifact.sig.v1+json"

void attestation_chain_deinit(struct attestation_chain *c)
{
    for (size_t i = 0; i < c->count; i++)
        descriptor_deinit(&c->blobs[i]);
    free(c->blobs);
    *c = (struct attestation_chain){ 0 };
}

struct walk {
    struct provider *provider;
    struct attestation_chain *chain;
    int64_t total;
};

static bool has_blob(const struct attestation_chain *c, const struct digest *d)
{
    for (size_t i = 0; i < c->count; i++)
        if (digest_eq(&c->blobs[i].digest, d))
            return true;
    return false;
}

/* One more document; `text` may be NULL. */
static struct error *take(struct walk *w, const struct descriptor *d, struct buf *text)
{
    struct attestation_chain *c = w->chain;
    CLEANUP(buf_deinit) struct buf own = { 0 };

    if (d->size < 0 || d->size > (int64_t)LIMIT_ATTESTATION_CHAIN - w->total)
        return err_new(ERR_EXHAUSTED, "the attestations of %s are larger than %d bytes", c->root.s,
                       (int)LIMIT_ATTESTATION_CHAIN);
    w->total += d->size;
    TRY(err_wrap(provider_document(w->provider, d, text == NULL ? &own : text), "reading blob %s",
                 d->digest.s));
    c->blobs = xreallocarray(c->blobs, c->count + 1, sizeof(*c->blobs));
    descriptor_copy(&c->blobs[c->count++], d);
    return NULL;
}

/* The layers of a manifest that a predicate (NULL: none asked) is about. */
static struct error *take_layers(struct walk *w, const struct buf *manifest, const struct strv *predicates)
{
    CLEANUP(json_decrefp) json_t *j = NULL;
    json_t *one;
    size_t i;

    TRY(json_parse(manifest->data, manifest->len, "manifest", &j));
    json_array_foreach(json_object_get(j, "layers"), i, one)
    {
        CLEANUP(descriptor_deinit) struct descriptor d = { 0 };

        TRY(descriptor_from_json(one, &d));
        const char *type = descriptor_annotation(&d, "in-toto.io/predicate-type");

        if (predicates != NULL && (type == NULL || !strv_has(predicates, type)))
            continue;
        if (!has_blob(w->chain, &d.digest))
            TRY(take(w, &d, NULL));
    }
    return NULL;
}

/* The first bundle, else the first older form. */
static const struct descriptor *pick_signature(const struct image_index *l)
{
    static const char *const types[] = { BUNDLE, COSIGN };

    for (size_t t = 0; t < ARRAY_LEN(types); t++)
        for (size_t i = 0; i < l->manifest_count; i++)
            if (l->manifests[i].artifact_type != NULL && streq(l->manifests[i].artifact_type, types[t]))
                return &l->manifests[i];
    return NULL;
}

static struct error *add_signature(struct walk *w, const struct registry_image *r)
{
    CLEANUP(image_index_deinit) struct image_index list = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    const struct descriptor *signature;

    if (r->registry == NULL)
        return NULL;
    TRY(err_wrap(registry_referrers(r->registry, &r->ref, r->auth, &w->chain->attestation, &list),
                 "fetching referrers for attestation manifest %s", w->chain->attestation.s));
    signature = pick_signature(&list);
    if (signature == NULL)
        return NULL;
    w->chain->signature = signature->digest;
    TRY(take(w, signature, &text));
    return take_layers(w, &text, NULL);
}

static const struct descriptor *find_attestation(const struct image_index *index, const struct digest *of)
{
    for (size_t i = 0; i < index->manifest_count; i++) {
        const struct descriptor *d = &index->manifests[i];
        const char *digest = descriptor_annotation(d, "vnd.docker.reference.digest");

        if (descriptor_is_attestation(d) && digest != NULL && streq(digest, of->s))
            return d;
    }
    return NULL;
}

static struct error *walk_index(struct walk *w, const struct registry_image *r,
                                const struct image_index *index, const struct platform *platform,
                                const struct strv *predicates)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    const struct descriptor *image = image_index_pick(index, platform), *attestation;

    if (image == NULL) {
        CLEANUP(freep) char *name = platform_format_all(platform);

        return err_new(ERR_NOT_FOUND,
                       "resolving image manifest for platform %s: no manifest for platform %s: not found",
                       name, name);
    }
    w->chain->image = image->digest;
    attestation = find_attestation(index, &image->digest);
    if (attestation == NULL)
        return NULL;
    w->chain->attestation = attestation->digest;
    TRY(take(w, attestation, &text));
    TRY(add_signature(w, r));
    return predicates->len == 0 ? NULL : take_layers(w, &text, predicates);
}

struct error *op_attestation_chain(const struct op_config *c, const char *ref,
                                   const struct descriptor *target, const struct platform *platform,
                                   const struct strv *predicates, const struct image_access *access,
                                   struct lease *lease, struct attestation_chain *ret)
{
    CLEANUP(registry_image_deinit) struct registry_image r;
    CLEANUP(image_index_deinit) struct image_index index = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct walk w = { .provider = &r.provider, .chain = ret };
    struct error *e = registry_image_init(c, ref, access, lease, &r);

    *ret = (struct attestation_chain){ 0 };
    TRY(e);
    if (!streq(target->media_type, MT_OCI_INDEX))
        return NULL;
    ret->root = target->digest;
    TRY(take(&w, target, &text));
    TRY(image_index_parse(text.data, text.len, target->media_type, &index));
    return walk_index(&w, &r, &index, platform == NULL ? platform_host() : platform, predicates);
}
