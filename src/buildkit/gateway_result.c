/* SPDX-License-Identifier: Apache-2.0 */
/* gateway_result.c - a frontend's result as a message, and the other way round */
#include "buildkit/gateway.h"

#include "base/limits.h"

static struct error *ref_message(struct pb_arena *a, struct ref *ref, Gw__Ref **ret)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    Gw__Ref *m = PB_NEW(a, gw__ref);

    *ret = m;
    if (ref == NULL)
        return NULL;
    m->id = pb_str(a, ref_id(ref));
    llb_def_encode(ref_def(ref), &b);
    return pb_unpack(&pb__definition__descriptor, pb_mem(a, b.data, b.len), b.len, a, &m->def);
}

static struct error *refs_message(struct pb_arena *a, const struct frontend_result *r, Gw__Result *m)
{
    Gw__RefMap *map;

    if (!r->multi) {
        m->result_case = GW__RESULT__RESULT_REF;
        return ref_message(a, r->ref_count > 0 ? r->refs[0].ref : NULL, &m->ref);
    }
    map = PB_NEW(a, gw__ref_map);
    map->refs = pb_array(a, r->ref_count);
    for (size_t i = 0; i < r->ref_count; i++) {
        Gw__RefEntry *entry = map->refs[map->n_refs++] = PB_NEW(a, gw__ref_entry);
        entry->key = r->refs[i].key;
        TRY(ref_message(a, r->refs[i].ref, &entry->value));
    }
    m->result_case = GW__RESULT__RESULT_REFS;
    m->refs = map;
    return NULL;
}

static Gw__AttestationsEntry *attestations_of(struct pb_arena *a, const struct frontend_result *r,
                                              const char *key, Gw__Result *m)
{
    Gw__AttestationsEntry *entry;
    size_t count = 0;

    for (size_t i = 0; i < m->n_attestations; i++) {
        if (streq(m->attestations[i]->key, key))
            return m->attestations[i];
    }
    for (size_t i = 0; i < r->attestation_count; i++)
        count += streq(r->attestations[i].key, key);
    entry = m->attestations[m->n_attestations++] = PB_NEW(a, gw__attestations_entry);
    entry->key = pb_str(a, key);
    entry->value = PB_NEW(a, gw__attestations);
    entry->value->attestation = pb_array(a, count);
    return entry;
}

/* Clients look into every attestation's ref: there is always one (protocol.md trap 12). */
static struct error *attestation_message(struct pb_arena *a, const struct frontend_attestation *from,
                                         Gw__Attestation **ret)
{
    Gw__Attestation *m = *ret = PB_NEW(a, gw__attestation);

    m->kind = from->kind;
    m->path = pb_str(a, from->path);
    m->in_toto_predicate_type = pb_str(a, from->predicate_type);
    m->metadata = pb_array(a, from->metadata_count);
    for (size_t i = 0; i < from->metadata_count; i++) {
        Kv__Bytes *kv = m->metadata[m->n_metadata++] = PB_NEW(a, kv__bytes);
        kv->key = from->metadata[i].key;
        kv->value = pb_bytes(from->metadata[i].value, from->metadata[i].len);
    }
    m->in_toto_subjects = pb_array(a, from->subject_count);
    for (size_t i = 0; i < from->subject_count; i++) {
        Gw__InTotoSubject *s = m->in_toto_subjects[m->n_in_toto_subjects++] = PB_NEW(a, gw__in_toto_subject);
        s->kind = from->subjects[i].raw ? GW__IN_TOTO_SUBJECT_KIND__RAW : GW__IN_TOTO_SUBJECT_KIND__SELF;
        s->name = from->subjects[i].name;
        s->digest = pb_from_strv(a, &from->subjects[i].digests, &s->n_digest);
    }
    return ref_message(a, from->ref, &m->ref);
}

static struct error *attestation_messages(struct pb_arena *a, const struct frontend_result *r, Gw__Result *m)
{
    m->attestations = pb_array(a, r->attestation_count);
    for (size_t i = 0; i < r->attestation_count; i++) {
        Gw__Attestations *list = attestations_of(a, r, r->attestations[i].key, m)->value;

        TRY(attestation_message(a, &r->attestations[i], &list->attestation[list->n_attestation]));
        list->n_attestation++;
    }
    return NULL;
}

struct error *gateway_result_message(struct pb_arena *a, const struct frontend_result *r, Gw__Result **ret)
{
    Gw__Result *m = PB_NEW(a, gw__result);

    m->metadata = pb_array(a, r->metadata_count);
    for (size_t i = 0; i < r->metadata_count; i++) {
        Kv__Bytes *kv = m->metadata[m->n_metadata++] = PB_NEW(a, kv__bytes);
        kv->key = r->metadata[i].key;
        kv->value = pb_bytes(r->metadata[i].value, r->metadata[i].len);
    }
    *ret = m;
    TRY(attestation_messages(a, r, m));
    return refs_message(a, r, m);
}

static struct error *add_attestation(const struct bridge_call *c, const char *key, const Gw__Attestation *m,
                                     struct frontend_result *r)
{
    struct frontend_attestation *at =
        frontend_result_add_attestation(r, key, (int)m->kind, m->path, m->in_toto_predicate_type);

    for (size_t i = 0; i < m->n_metadata; i++)
        frontend_attestation_set_metadata(at, m->metadata[i]->key, m->metadata[i]->value.data,
                                          m->metadata[i]->value.len);
    for (size_t i = 0; i < m->n_in_toto_subjects; i++) {
        const Gw__InTotoSubject *from = m->in_toto_subjects[i];
        struct frontend_subject *to =
            frontend_attestation_add_subject(at, from->kind == GW__IN_TOTO_SUBJECT_KIND__RAW, from->name);

        pb_to_strv(from->digest, from->n_digest, &to->digests);
    }
    return m->ref == NULL ? NULL : bridge_call_ref(c, m->ref->id, &at->ref);
}

static struct error *add_refs(const struct bridge_call *c, const Gw__Result *m, struct frontend_result *r)
{
    struct ref *ref = NULL;

    switch (m->result_case) {
    case GW__RESULT__RESULT_REF:
        TRY(bridge_call_ref(c, m->ref->id, &ref));
        frontend_result_add_ref(r, NULL, ref);
        return NULL;
    case GW__RESULT__RESULT_REF_DEPRECATED:
        TRY(bridge_call_ref(c, m->ref_deprecated, &ref));
        frontend_result_add_ref(r, NULL, ref);
        return NULL;
    case GW__RESULT__RESULT_REFS:
        r->multi = true;
        for (size_t i = 0; i < m->refs->n_refs; i++) {
            const Gw__RefEntry *entry = m->refs->refs[i];
            TRY(bridge_call_ref(c, entry->value == NULL ? "" : entry->value->id, &ref));
            frontend_result_add_ref(r, entry->key, ref);
        }
        return NULL;
    case GW__RESULT__RESULT_REFS_DEPRECATED:
        r->multi = true;
        for (size_t i = 0; i < m->refs_deprecated->n_refs; i++) {
            TRY(bridge_call_ref(c, m->refs_deprecated->refs[i]->value, &ref));
            frontend_result_add_ref(r, m->refs_deprecated->refs[i]->key, ref);
        }
        return NULL;
    case GW__RESULT__RESULT__NOT_SET:
    default:
        return NULL;
    }
}

/* Looked up by name wherever a result goes: no more of each than an image index has room for. */
static struct error *check_counts(const Gw__Result *m)
{
    size_t refs = m->result_case == GW__RESULT__RESULT_REFS              ? m->refs->n_refs
                  : m->result_case == GW__RESULT__RESULT_REFS_DEPRECATED ? m->refs_deprecated->n_refs
                                                                         : 0;
    size_t attestations = 0;

    for (size_t i = 0; i < m->n_attestations; i++)
        attestations += m->attestations[i]->value == NULL ? 0 : m->attestations[i]->value->n_attestation;
    if (refs > LIMIT_RESULT_ENTRIES || attestations > LIMIT_RESULT_ENTRIES ||
        m->n_metadata > 4 * LIMIT_RESULT_ENTRIES)
        return err_new(ERR_EXHAUSTED, "a result of %zu refs, %zu attestations and %zu metadata is too large",
                       refs, attestations, m->n_metadata);
    return NULL;
}

struct error *gateway_result_from_message(const struct bridge_call *c, const Gw__Result *m,
                                          struct frontend_result *r)
{
    TRY(check_counts(m));
    for (size_t i = 0; i < m->n_metadata; i++)
        frontend_result_set_metadata(r, m->metadata[i]->key, m->metadata[i]->value.data,
                                     m->metadata[i]->value.len);
    TRY(add_refs(c, m, r));
    for (size_t i = 0; i < m->n_attestations; i++) {
        const Gw__AttestationsEntry *entry = m->attestations[i];
        for (size_t k = 0; entry->value != NULL && k < entry->value->n_attestation; k++)
            TRY(add_attestation(c, entry->key, entry->value->attestation[k], r));
    }
    return NULL;
}
