/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/attest.h"

#include "buildkit/internal.h"

/* ---- options ---- */

static struct error *parse_type(void *ctx, const char *type, const struct map *fields)
{
    struct attest_options *o = ctx;

    if (streq(type, "sbom") || o->provenance)
        return NULL; /* sbom_options_parse() */
    o->provenance = true;
    return provenance_options_parse(fields, &o->how);
}

struct error *attest_options_parse(const struct map *attrs, struct attest_options *ret)
{
    if (attrs != NULL) {
        TRY(attest_options_each(attrs, parse_type, ret));
        TRY(sbom_options_parse(attrs, "generator", &ret->sbom));
        const char *no_cache = strmap_get(attrs, "no-cache");

        ret->no_cache = no_cache != NULL && no_cache[0] == '\0';
        ret->resolve_mode = strmap_get(attrs, "image-resolve-mode");
    }
    return NULL;
}

void attest_options_deinit(struct attest_options *o)
{
    provenance_options_deinit(&o->how);
    sbom_options_deinit(&o->sbom);
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

/* ---- SBOMs ---- */

static struct error *scan_results(struct build *u, struct sbom_scanner *s, const struct attest_options *o)
{
    CLEANUP(result_platforms_deinit) struct result_platforms platforms = { 0 };
    struct frontend_result *res = &u->result;

    TRY(result_platforms(res, &platforms));
    for (size_t i = 0; i < platforms.len; i++) {
        struct ref *ref = NULL;

        for (size_t k = 0; k < res->ref_count && ref == NULL; k++) {
            if (res->ref_count == 1 || streq(res->refs[k].key, platforms.v[i].id))
                ref = res->refs[k].ref;
        }
        if (ref != NULL)
            TRY(sbom_scan(s, platforms.v[i].id, ref_def(ref), NULL, 0, o->no_cache, res));
    }
    return NULL;
}

struct error *attest_scan(struct build *u, const struct attest_options *o)
{
    CLEANUP(sbom_scanner_deinit) struct sbom_scanner s = { 0 };

    if (!o->sbom.wanted || frontend_result_has_sbom(&u->result))
        return NULL;
    u->scanner =
        request_new(&u->root, "", NULL, NULL); /* what it solves is none of the results' provenance */
    TRY(sbom_scanner_open(&u->scanner->bridge, &o->sbom, platform_host(), o->resolve_mode, &s));
    return scan_results(u, &s, o);
}
