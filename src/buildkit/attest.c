/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/attest.h"

#include "buildkit/internal.h"
#include "frontend/dockerfile/csv.h"
#include "oci/reference.h"

#define DEFAULT_GENERATOR "docker/buildkit-syft-scanner:stable-1"

/* ---- options ---- */

static struct error *parse_fields(const char *type, const char *value, struct map *ret)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 };

    if (value[0] == '\0')
        return NULL;
    TRY(err_wrap(csv_fields(value, &fields), "failed to parse %s", type));
    for (size_t i = 0; i < fields.len; i++) {
        const char *f = fields.v[i], *eq = strchr(f, '=');
        CLEANUP(freep) char *key = eq == NULL ? xstrdup(f) : xstrndup(f, (size_t)(eq - f));

        strmap_set(ret, key, eq == NULL ? "" : eq + 1);
    }
    return NULL;
}

static struct error *parse_sbom(const struct map *attrs, struct attest_options *o)
{
    const char *generator = strmap_get(attrs, "generator");
    CLEANUP(reference_deinit) struct reference r = { 0 };

    if (generator == NULL)
        generator = DEFAULT_GENERATOR;
    if (generator[0] == '\0')
        return err_new(ERR_INVALID, "sbom generator cannot be empty");
    TRY(err_wrap(reference_parse(generator, &r), "failed to parse sbom generator %s", generator));
    reference_add_default_tag(&r);
    o->generator = reference_string(&r);
    strmap_init(&o->sbom_params);
    strmap_copy(&o->sbom_params, attrs);
    map_remove(&o->sbom_params, "generator");
    o->sbom = true;
    return NULL;
}

static struct error *parse_type(const char *type, const char *value, struct attest_options *o)
{
    CLEANUP(map_deinit) struct map attrs = { 0 };

    strmap_init(&attrs);
    TRY(parse_fields(type, value, &attrs));
    if (streq(type, "sbom"))
        return o->sbom ? NULL : parse_sbom(&attrs, o);
    if (!streq(type, "provenance"))
        return err_new(ERR_INVALID, "unknown attestation type \"%s\"", type);
    if (o->provenance)
        return NULL;
    o->provenance = true;
    return provenance_options_parse(&attrs, &o->how);
}

struct error *attest_options_parse(const struct map *attrs, struct attest_options *ret)
{
    static const char *const prefixes[] = { "attest:", "build-arg:BUILDKIT_ATTEST_" };

    for (size_t p = 0; attrs != NULL && p < ARRAY_LEN(prefixes); p++) {
        for (size_t i = 0; i < attrs->len; i++) {
            const char *rest = str_skip_prefix(attrs->entries[i].key, prefixes[p]);
            CLEANUP(freep) char *type = rest == NULL ? NULL : str_lower(rest);

            if (type != NULL)
                TRY(parse_type(type, attrs->entries[i].value, ret));
        }
    }
    if (attrs != NULL) {
        const char *no_cache = strmap_get(attrs, "no-cache");

        ret->no_cache = no_cache != NULL && no_cache[0] == '\0';
        ret->resolve_mode = strmap_get(attrs, "image-resolve-mode");
    }
    return NULL;
}

void attest_options_deinit(struct attest_options *o)
{
    provenance_options_deinit(&o->how);
    free(o->generator);
    map_deinit(&o->sbom_params);
    *o = (struct attest_options){ 0 };
}

/* ---- provenance ---- */

struct error *attest_capture(struct build *u)
{
    const struct frontend_result *res = &u->result;

    u->provenance = xcalloc(res->ref_count + 1, sizeof(*u->provenance));
    u->provenance_count = res->ref_count;
    for (size_t i = 0; i < res->ref_count; i++) {
        if (res->refs[i].ref != NULL)
            TRY(provenance_capture(u, res, res->refs[i].key, res->refs[i].ref, &u->provenance[i]));
    }
    return NULL;
}

/* ---- the list for exporters ---- */

struct attest_context {
    const struct provenance *provenance;
    const struct provenance_options *options;
    struct snapshot *snapshot;
    char *sbom_core, *inline_only;
};

static struct error *write_provenance(void *arg, const struct map *layers, struct buf *out)
{
    const struct attest_context *c = arg;

    return provenance_write(c->provenance, c->options, layers, out);
}

/* One that the frontend or a scanner made. */
static struct error *add_made(const struct frontend_attestation *from, struct attest_list *l)
{
    struct attest_context *c = &l->contexts[l->len];
    struct export_attestation *to = &l->v[l->len++];
    bool inline_only = false;

    c->sbom_core = frontend_attestation_metadata(from, "sbom-core");
    c->inline_only = frontend_attestation_metadata(from, "inline-only");
    if (c->inline_only != NULL && streq(c->inline_only, "true"))
        inline_only = true;
    *to = (struct export_attestation){ .id = from->key,
                                       .bundle = from->kind == 1,
                                       .inline_only = inline_only,
                                       .path = from->path,
                                       .predicate_type = from->predicate_type,
                                       .sbom_core = c->sbom_core,
                                       .subjects = from->subjects,
                                       .subject_count = from->subject_count };
    if (from->ref == NULL)
        return NULL;
    TRY(ref_result(from->ref, &c->snapshot));
    to->snapshot = c->snapshot;
    return NULL;
}

static struct error *add_provenance(const struct attest_options *o, const struct provenance *p,
                                    const char *id, struct attest_list *l)
{
    struct attest_context *c = &l->contexts[l->len];

    TRY(provenance_check(p, &o->how));
    *c = (struct attest_context){ .provenance = p, .options = &o->how };
    l->v[l->len++] =
        (struct export_attestation){ .id = id,
                                     .inline_only = o->how.inline_only,
                                     .path = o->how.filename,
                                     .predicate_type = o->how.slsa02 ? PREDICATE_SLSA02 : PREDICATE_SLSA1,
                                     .content = write_provenance,
                                     .ctx = c };
    return NULL;
}

struct error *attest_list_make(struct build *u, const struct attest_options *o, const struct export_ref *refs,
                               size_t count, struct attest_list *ret)
{
    const struct frontend_result *res = &u->result;
    size_t most = res->attestation_count + count;

    ret->v = xcalloc(most + 1, sizeof(*ret->v));
    ret->contexts = xcalloc(most + 1, sizeof(*ret->contexts));
    for (size_t i = 0; i < res->attestation_count; i++)
        TRY(add_made(&res->attestations[i], ret));
    for (size_t i = 0; o->provenance && i < count; i++) {
        const struct provenance *p = NULL;

        for (size_t k = 0; k < u->provenance_count && p == NULL; k++) {
            if (res->refs[k].key == refs[i].key && u->provenance[k].ref != NULL)
                p = &u->provenance[k];
        }
        if (p != NULL)
            TRY(add_provenance(o, p, refs[i].id, ret));
    }
    return NULL;
}

void attest_list_deinit(struct attest_list *l)
{
    for (size_t i = 0; i < l->len; i++) {
        snapshot_unref(l->contexts[i].snapshot);
        free(l->contexts[i].sbom_core);
        free(l->contexts[i].inline_only);
    }
    free(l->contexts);
    free(l->v);
    *l = (struct attest_list){ 0 };
}

struct error *attest_scan(struct build *u, const struct attest_options *o)
{
    return NULL;
}
