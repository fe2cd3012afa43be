/* SPDX-License-Identifier: Apache-2.0 */
/* source_meta.c - what a source means now, without making a result of it: images, git remotes, downloads */
#include "base/limits.h"
#include "buildkit/internal.h"
#include "buildkit/policy.h"
#include "op/attestation_chain.h"
#include "oci/purl.h"
#include "op/git.h"
#include "op/http.h"

struct question {
    struct build *build;
    struct ahead *ahead; /* of the request that asks; NULL: none */
    struct pb_arena *arena;
    const Gw__ResolveSourceMetaRequest *request;
    Pb__Op *op; /* after the policies */
    struct vertex_reporter *reporter;
    Gw__ResolveSourceMetaResponse *answer;
};

static ProtobufCBinaryData bytes_of(struct pb_arena *a, const struct buf *b)
{
    return pb_bytes(pb_mem(a, b->data, b->len), b->len);
}

static const char *attr(const struct question *q, const char *key)
{
    const char *s = pb_get_str(q->op->source->attrs, q->op->source->n_attrs, key);

    return s == NULL ? "" : s;
}

/* ---- images
 * ----------------------------------------------------------------------------------------------------------
 */

void platform_from_pb(const Pb__Platform *m, struct platform *ret)
{
    platform_set(ret, m->os, m->architecture, m->variant);
    free(ret->os_version);
    ret->os_version = xstrdup(m->os_version);
    platform_normalize(ret);
}

Pb__Platform *platform_to_pb(struct pb_arena *a, const struct platform *p)
{
    Pb__Platform *m = PB_NEW(a, pb__platform);

    m->os = pb_str(a, p->os);
    m->architecture = pb_str(a, p->architecture);
    m->variant = pb_str(a, p->variant);
    m->os_version = pb_str(a, p->os_version);
    m->os_features = pb_array(a, p->os_feature_count);
    for (size_t i = 0; i < p->os_feature_count; i++)
        m->os_features[m->n_os_features++] = pb_str(a, p->os_features[i]);
    return m;
}

static Gw__BlobEntry *blob_entry(struct pb_arena *a, const struct descriptor *d, const struct buf *data)
{
    Gw__BlobEntry *entry = PB_NEW(a, gw__blob_entry);
    Bk__Descriptor *m = PB_NEW(a, bk__descriptor);

    m->media_type = pb_str(a, d->media_type);
    m->digest = pb_str(a, d->digest.s);
    m->size = d->size;
    m->annotations = pb_array(a, d->annotations.len);
    for (size_t i = 0; i < d->annotations.len; i++) {
        Kv__Str *note = m->annotations[m->n_annotations++] = PB_NEW(a, kv__str);

        note->key = pb_str(a, d->annotations.entries[i].key);
        note->value = pb_str(a, d->annotations.entries[i].value);
    }
    entry->key = m->digest;
    entry->value = PB_NEW(a, gw__blob);
    entry->value->descriptor = m;
    entry->value->data = bytes_of(a, data);
    return entry;
}

static struct error *chain_message(struct question *q, const struct attestation_chain *c,
                                   Gw__AttestationChain *m)
{
    m->root = pb_str(q->arena, c->root.s);
    m->image_manifest = pb_str(q->arena, c->image.s);
    m->attestation_manifest = pb_str(q->arena, c->attestation.s);
    if (c->signature.s[0] != '\0') {
        m->signature_manifests = pb_array(q->arena, 1);
        m->signature_manifests[m->n_signature_manifests++] = pb_str(q->arena, c->signature.s);
    }
    m->blobs = pb_array(q->arena, c->count);
    for (size_t i = 0; i < c->count; i++) {
        CLEANUP(buf_deinit) struct buf data = { 0 };

        TRY(blob_read(q->build->builder->config->store, &c->blobs[i].digest, LIMIT_MANIFEST, &data));
        m->blobs[m->n_blobs++] = blob_entry(q->arena, &c->blobs[i], &data);
    }
    return NULL;
}

/* The documents that a policy judges an image by, if it is one that has such. */
static struct error *attestations(struct question *q, const char *ref, const struct descriptor *target,
                                  const struct platform *platform, const struct image_access *access,
                                  Gw__ResolveSourceImageResponse *im)
{
    CLEANUP(attestation_chain_deinit) struct attestation_chain chain = { 0 };
    CLEANUP(strv_deinit) struct strv predicates = { 0 };

    pb_to_strv(q->request->image->resolve_attestations, q->request->image->n_resolve_attestations,
               &predicates);
    TRY(op_attestation_chain(q->build->builder->config->ops, ref, target, platform, &predicates, access,
                             q->build->lease, &chain));
    if (chain.root.s[0] == '\0')
        return NULL;
    im->attestation_chain = PB_NEW(q->arena, gw__attestation_chain);
    return chain_message(q, &chain, im->attestation_chain);
}

static struct error *resolve_image(struct question *q, const char *ref, const struct image_resolve_options *o,
                                   const struct image_access *access, struct resolved_manifest *ret)
{
    bool asked;

    TRY(ahead_take(q->ahead, ref, o, ret, &asked));
    if (!asked)
        TRY(op_image_resolve(q->build->builder->config->ops, ref, o, access, q->build->lease, ret));
    ahead_note(q->ahead, ref, o);
    return NULL;
}

static struct error *image_meta(struct question *q, const char *ref, bool layout)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };
    CLEANUP(resolved_manifest_deinit) struct resolved_manifest m = { 0 };
    const struct op_config *ops = q->build->builder->config->ops;
    struct image_access access = { .sessions = job_sessions(q->build->job) };
    struct image_resolve_options o = { .mode = q->request->resolve_mode,
                                       .platform = q->request->platform == NULL ? NULL : &p,
                                       .checksum = attr(q, "image.checksum") };
    Gw__ResolveSourceImageResponse *im = PB_NEW(q->arena, gw__resolve_source_image_response);

    if (q->request->platform != NULL)
        platform_from_pb(q->request->platform, &p);
    if (layout)
        TRY(op_layout_resolve(ops, ref, attr(q, "oci.session"), attr(q, "oci.store"), &o, &access,
                              q->build->lease, &m));
    else
        TRY(resolve_image(q, ref, &o, &access, &m));
    im->digest = pb_str(q->arena, m.target.digest.s);
    if (q->request->image == NULL || !q->request->image->no_config)
        im->config = bytes_of(q->arena, &m.config);
    q->answer->image = im;
    const Gw__ResolveSourceImageRequest *asked = q->request->image;

    if (layout || asked == NULL || (!asked->attestation_chain && asked->n_resolve_attestations == 0))
        return NULL;
    return attestations(q, ref, &m.target, o.platform, &access, im);
}

/* ---- git and http
 * ----------------------------------------------------------------------------------------------------------
 */

static struct op_context context_of(const struct question *q, const struct llb_vertex *v)
{
    const struct builder_config *c = q->build->builder->config;

    return (struct op_context){ .solver = c->solver,
                                .vertex = v,
                                .reporter = q->reporter,
                                .sessions = *job_sessions(q->build->job),
                                .store = c->store,
                                .op_ctx = (void *)c->ops,
                                .lease = q->build->lease,
                                .job = q->build->job };
}

static struct error *git_facts(struct question *q)
{
    CLEANUP(git_meta_deinit) struct git_meta m = { 0 };
    const struct llb_vertex v = { .op = q->op };
    struct op_context c = context_of(q, &v);
    Gw__ResolveSourceGitResponse *g = PB_NEW(q->arena, gw__resolve_source_git_response);

    TRY(git_resolve_meta(&c, q->request->git != NULL && q->request->git->return_object, &m));
    g->checksum = pb_str(q->arena, m.checksum);
    g->ref = pb_str(q->arena, m.ref);
    g->commit_checksum = pb_str(q->arena, m.commit_checksum);
    g->commit_object = bytes_of(q->arena, &m.commit_object);
    g->tag_object = bytes_of(q->arena, &m.tag_object);
    q->answer->git = g;
    return NULL;
}

static struct error *checksum_request(const Gw__ResolveSourceMetaRequest *r,
                                      struct http_checksum_request *ret)
{
    const Gw__ChecksumRequest *q = r->http->checksum_request;

    if (q->algo > GW__CHECKSUM_ALGO__SHA512)
        return err_new(ERR_INVALID, "unsupported checksum algorithm %d", (int)q->algo);
    *ret = (struct http_checksum_request){ .kind = (enum http_checksum_kind)q->algo,
                                           .suffix = q->suffix.data,
                                           .suffix_len = q->suffix.len };
    return NULL;
}

static struct error *http_facts(struct question *q)
{
    CLEANUP(http_meta_deinit) struct http_meta m = { 0 };
    const struct llb_vertex v = { .op = q->op };
    struct op_context c = context_of(q, &v);
    struct http_checksum_request sum;
    bool wants_sum = q->request->http != NULL && q->request->http->checksum_request != NULL;
    Gw__ResolveSourceHttpResponse *h = PB_NEW(q->arena, gw__resolve_source_http_response);

    if (wants_sum)
        TRY(checksum_request(q->request, &sum));
    TRY(http_resolve_meta(&c, wants_sum ? &sum : NULL, &m));
    h->checksum = pb_str(q->arena, m.digest.s);
    h->filename = pb_str(q->arena, m.filename);
    if (m.mtime_ns >= 0) {
        h->last_modified = PB_NEW(q->arena, ts__timestamp);
        h->last_modified->seconds = m.mtime_ns / NS_PER_SEC;
    }
    if (wants_sum) {
        h->checksum_response = PB_NEW(q->arena, gw__checksum_response);
        h->checksum_response->digest = pb_str(q->arena, m.checksum);
        h->checksum_response->suffix = pb_bytes(pb_mem(q->arena, sum.suffix, sum.suffix_len), sum.suffix_len);
    }
    q->answer->http = h;
    return NULL;
}

/* ---- all
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *answer(struct question *q)
{
    const char *id = q->op->source->identifier, *rest;

    if ((rest = str_skip_prefix(id, "docker-image://")) != NULL)
        return image_meta(q, rest, false);
    if ((rest = str_skip_prefix(id, "oci-layout://")) != NULL)
        return image_meta(q, rest, true);
    if (str_has_prefix(id, "git://"))
        return git_facts(q);
    if (str_has_prefix(id, "http://") || str_has_prefix(id, "https://"))
        return http_facts(q);
    return NULL; /* nothing to tell of this scheme: the source as it is */
}

/* The caller's message stays as it is: policies change the copy. */
static Pb__Op *op_of(struct pb_arena *a, const Gw__ResolveSourceMetaRequest *q)
{
    Pb__Op *op = PB_NEW(a, pb__op);

    op->op_case = PB__OP__OP_SOURCE;
    op->source = PB_NEW(a, pb__source_op);
    *op->source = *q->source;
    op->source->attrs = pb_array(a, q->source->n_attrs);
    for (size_t i = 0; i < q->source->n_attrs; i++) {
        op->source->attrs[i] = PB_NEW(a, kv__str);
        *op->source->attrs[i] = *q->source->attrs[i];
    }
    op->platform = q->platform;
    return op;
}

struct error *source_meta(struct build *u, struct ahead *ahead, struct pb_arena *a,
                          const Gw__ResolveSourceMetaRequest *request, bool verify,
                          Gw__ResolveSourceMetaResponse **ret)
{
    struct question q = { .build = u, .ahead = ahead, .arena = a, .request = request };
    struct policy_rules extra = { request->source_policies, request->n_source_policies };
    CLEANUP(freep) char *name = NULL, *shown = NULL;
    struct error *e;

    if (request->source == NULL)
        return err_new(ERR_INVALID, "source is required");
    q.op = op_of(a, request);
    q.answer = PB_NEW(a, gw__resolve_source_meta_response);
    TRY(policy_apply_op(u, extra, verify, a, q.op));
    q.answer->source = q.op->source;
    shown = url_redact(q.op->source->identifier);
    name = *request->log_name != '\0' ? xstrdup(request->log_name)
                                      : xasprintf("resolve image config for %s", shown);
    q.reporter = reporter_new(job_progress(u->job), NULL, name);
    reporter_start(q.reporter);
    e = answer(&q);
    reporter_complete(q.reporter, e);
    reporter_free(q.reporter);
    if (e == NULL)
        *ret = q.answer;
    return e;
}
