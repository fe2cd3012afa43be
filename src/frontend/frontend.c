/* SPDX-License-Identifier: Apache-2.0 */
/* Frontends by name, and what passes between them and the builder. */
#include "frontend/frontend.h"

#include "oci/reference.h"

void frontend_result_deinit(struct frontend_result *r)
{
    for (size_t i = 0; i < r->ref_count; i++)
        free(r->refs[i].key);
    free(r->refs);
    for (size_t i = 0; i < r->metadata_count; i++) {
        free(r->metadata[i].key);
        free(r->metadata[i].value);
    }
    free(r->metadata);
    for (size_t i = 0; i < r->attestation_count; i++) {
        struct frontend_attestation *a = &r->attestations[i];

        free(a->key);
        free(a->path);
        free(a->predicate_type);
        for (size_t k = 0; k < a->metadata_count; k++) {
            free(a->metadata[k].key);
            free(a->metadata[k].value);
        }
        free(a->metadata);
        for (size_t k = 0; k < a->subject_count; k++) {
            free(a->subjects[k].name);
            strv_deinit(&a->subjects[k].digests);
        }
        free(a->subjects);
    }
    free(r->attestations);
    *r = (struct frontend_result){ 0 };
}

void frontend_result_add_ref(struct frontend_result *r, const char *key, struct ref *ref)
{
    r->refs = xreallocarray(r->refs, r->ref_count + 1, sizeof(r->refs[0]));
    r->refs[r->ref_count++] = (struct frontend_result_ref){ xstrdup(key), ref };
}

void frontend_result_set_metadata(struct frontend_result *r, const char *key, const void *value, size_t len)
{
    struct frontend_metadata *m = (struct frontend_metadata *)frontend_result_metadata(r, key);

    if (m == NULL) {
        r->metadata = xreallocarray(r->metadata, r->metadata_count + 1, sizeof(r->metadata[0]));
        m = &r->metadata[r->metadata_count++];
        *m = (struct frontend_metadata){ .key = xstrdup(key) };
    }
    free(m->value);
    m->value = xmemdup(value, len);
    m->len = len;
}

const struct frontend_metadata *frontend_result_metadata(const struct frontend_result *r, const char *key)
{
    for (size_t i = 0; i < r->metadata_count; i++) {
        if (streq(r->metadata[i].key, key))
            return &r->metadata[i];
    }
    return NULL;
}

struct frontend_attestation *frontend_result_add_attestation(struct frontend_result *r, const char *key,
                                                             int kind, const char *path,
                                                             const char *predicate_type)
{
    struct frontend_attestation *a;

    r->attestations = xreallocarray(r->attestations, r->attestation_count + 1, sizeof(*r->attestations));
    a = &r->attestations[r->attestation_count++];
    *a = (struct frontend_attestation){
        .key = xstrdup(key), .kind = kind, .path = xstrdup(path), .predicate_type = xstrdup(predicate_type)
    };
    return a;
}

void frontend_attestation_set_metadata(struct frontend_attestation *a, const char *key, const void *value,
                                       size_t len)
{
    a->metadata = xreallocarray(a->metadata, a->metadata_count + 1, sizeof(*a->metadata));
    a->metadata[a->metadata_count++] =
        (struct frontend_metadata){ .key = xstrdup(key), .value = xmemdup(value, len), .len = len };
}

struct frontend_subject *frontend_attestation_add_subject(struct frontend_attestation *a, bool raw,
                                                          const char *name)
{
    struct frontend_subject *s;

    a->subjects = xreallocarray(a->subjects, a->subject_count + 1, sizeof(*a->subjects));
    s = &a->subjects[a->subject_count++];
    *s = (struct frontend_subject){ .raw = raw, .name = xstrdup(name) };
    return s;
}

char *frontend_attestation_metadata(const struct frontend_attestation *a, const char *key)
{
    for (size_t i = 0; i < a->metadata_count; i++) {
        if (streq(a->metadata[i].key, key))
            return xstrndup(a->metadata[i].value, a->metadata[i].len);
    }
    return NULL;
}

bool frontend_result_has_sbom(const struct frontend_result *r)
{
    for (size_t i = 0; i < r->attestation_count; i++) {
        if (streq(r->attestations[i].predicate_type, PREDICATE_SPDX))
            return true;
    }
    return false;
}

void resolved_image_deinit(struct resolved_image *i)
{
    free(i->ref);
    free(i->digest);
    buf_deinit(&i->config);
    free(i->other);
    *i = (struct resolved_image){ 0 };
}

void file_stat_deinit(struct file_stat *s)
{
    free(s->path);
    free(s->linkname);
    *s = (struct file_stat){ 0 };
}

/* ---- by name
 * -----------------------------------------------------------------------------------------------------------
 */

bool frontend_is_builtin(const char *source)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    struct error *e;

    if (streq(source, "dockerfile.v0"))
        return true;
    e = reference_parse(source, &r);
    if (e != NULL) {
        err_free(e);
        return false;
    }
    /* Who pins a digest wants those bytes. */
    return r.digest == NULL && streq(r.domain, "docker.io") &&
           (streq(r.path, "docker/dockerfile") || streq(r.path, "docker/dockerfile-upstream"));
}

struct error *bridge_resolve_image(struct bridge *b, const char *ref, const struct resolve_image_options *o,
                                   struct resolved_image *ret)
{
    struct error *e = b->ops->resolve_image(b, ref, o, ret);

    if (e == NULL)
        return NULL;
    switch (e->kind) {
    case ERR_NOT_FOUND:
    case ERR_UNAUTHORIZED:
    case ERR_FORBIDDEN:
    case ERR_EXHAUSTED:
    case ERR_UNAVAILABLE:
    case ERR_DATA_LOSS:
        e->kind = ERR_UNKNOWN;
        break;
    default:
        break;
    }
    return err_wrap(e, "failed to resolve source metadata for %s", ref);
}
