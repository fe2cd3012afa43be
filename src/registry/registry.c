/* SPDX-License-Identifier: Apache-2.0 */
#include "registry/push.h"
#include "registry/registry.h"

#include "base/log.h"
#include "base/limits.h"
#include "registry/client.h"
#include "registry/document.h"
#include "registry/fetch.h"
#include "registry/retry.h"

#define DEFAULT_DOWNLOADS 3
#define DEFAULT_UPLOADS 5

static int or_default(int n, int by_default)
{
    return n > 0 ? n : by_default;
}

struct registry *registry_new(const struct registry_config *config)
{
    struct registry *r = NEW(struct registry);

    r->config = config;
    r->client = exchange_pool_new(config->user_agent);
    r->tokens = auth_cache_new();
    semaphore_init(&r->downloads, or_default(config->max_downloads, DEFAULT_DOWNLOADS));
    semaphore_init(&r->uploads, or_default(config->max_uploads, DEFAULT_UPLOADS));
    mutex_init(&r->lock);
    return r;
}

void registry_reload(struct registry *r, const struct registry_config *config)
{
    r->config = config;
    semaphore_set_limit(&r->downloads, or_default(config->max_downloads, DEFAULT_DOWNLOADS));
    semaphore_set_limit(&r->uploads, or_default(config->max_uploads, DEFAULT_UPLOADS));
    mutex_lock(&r->lock);
    map_deinit(&r->plain_hosts); /* what an insecure host was found to speak may be asked for no more */
    mutex_unlock(&r->lock);
}

void registry_free(struct registry *r)
{
    if (r == NULL)
        return;
    exchange_pool_free(r->client);
    auth_cache_free(r->tokens);
    semaphore_deinit(&r->downloads);
    semaphore_deinit(&r->uploads);
    map_deinit(&r->plain_hosts);
    mutex_deinit(&r->lock);
    free(r);
}

void registry_trim(struct registry *r)
{
    exchange_pool_trim(r->client);
}

/* ---- resolve: a name becomes a descriptor, its manifest comes into the store ---- */

/* How far an endpoint got; the error of the one that got furthest is the one to tell. */
enum progress_rank { RANK_NONE, RANK_UNREACHABLE, RANK_NOT_FOUND, RANK_REFUSED };

struct resolution {
    struct registry *r;
    const struct reference *ref;
    const struct registry_auth *auth;
    struct store *store;
    struct lease *lease;
    const struct endpoint *endpoint;
    bool last;               /* no other endpoint follows */
    enum progress_rank rank; /* of what the last try came to */
};

static void accept_headers(struct strv *headers)
{
    strv_add(headers, "Accept: " MT_DOCKER_MANIFEST ", " MT_DOCKER_LIST ", " MT_OCI_MANIFEST ", " MT_OCI_INDEX
                      ", */*");
}

static struct error *not_found(const struct reference *ref)
{
    CLEANUP(freep) char *name = reference_string(ref);

    return err_new(ERR_NOT_FOUND, "%s: not found", name);
}

/* The answer is no manifest: what to say of it. */
static struct error *refused(struct resolution *s, struct exchange *x, const struct registry_query *q)
{
    if (exchange_status(x) == 404) {
        s->rank = RANK_NOT_FOUND;
        return not_found(s->ref);
    }
    s->rank = RANK_REFUSED;
    return registry_refusal(x, q);
}

/* "document/sha256:../docker.io/library/busybox": the registry has that document in that repository. */
static char *document_key(const struct reference *ref, const struct digest *d)
{
    return xasprintf("document/%s/%s/%s", d->s, ref->domain, ref->path);
}

void registry_note_document(struct store *s, const struct reference *ref, const struct digest *d)
{
    CLEANUP(freep) char *key = document_key(ref, d);
    CLEANUP(freep) char *known = NULL;
    struct error *e = fact_get(s, key, &known);

    if (e == NULL && known == NULL)
        e = fact_put(s, key, "1");
    log_err(LOG_WARN, e, "cannot note where a document came from");
}

static bool same_repository(const struct reference *ref, const char *name)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(err_freep) struct error *e = reference_parse(name, &r);

    return e == NULL && streq(r.domain, ref->domain) && streq(r.path, ref->path);
}

struct error *registry_knows_document(struct store *s, const struct reference *ref, const struct digest *d,
                                      bool *ret)
{
    CLEANUP(freep) char *key = document_key(ref, d);
    CLEANUP(freep) char *known = NULL;
    struct image_record *list = NULL;
    size_t count = 0;

    TRY(fact_get(s, key, &known));
    *ret = known != NULL;
    if (*ret)
        return NULL;
    TRY(image_list_by_target(s, d, &list, &count));
    for (size_t i = 0; i < count; i++) {
        *ret = *ret || same_repository(ref, list[i].name);
        image_record_deinit(&list[i]);
    }
    free(list);
    return NULL;
}

/* A manifest that is in the store already needs no transfer; its content says its type. */
static struct error *from_store(struct resolution *s, const struct digest *d, const char *content_type,
                                bool *ret_found, struct descriptor *ret)
{
    CLEANUP(buf_deinit) struct buf data = { 0 };
    CLEANUP(freep) char *type = NULL;
    struct error *e;

    *ret_found = false;
    lease_add_blob(s->lease, d);
    e = blob_read(s->store, d, LIMIT_MANIFEST, &data);
    if (err_is(e, ERR_NOT_FOUND)) {
        err_free(e);
        return NULL;
    }
    TRY(e);
    TRY(document_media_type(buf_str(&data), data.len, content_type, &type));
    *ret = (struct descriptor){ .media_type = TAKE(type), .digest = *d, .size = (int64_t)data.len };
    *ret_found = true;
    return NULL;
}

/* GET manifests/<what>; `expected` is NULL when only a tag is known. */
static struct error *get_manifest(struct resolution *s, const char *what, const struct digest *expected,
                                  struct descriptor *ret)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    CLEANUP(buf_deinit) struct buf body = { 0 };
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    CLEANUP(freep) char *path = xasprintf("manifests/%s", what);
    CLEANUP(freep) char *type = NULL;
    struct registry_query q = { .endpoint = s->endpoint,
                                .ref = s->ref,
                                .auth = s->auth,
                                .method = "GET",
                                .path = path,
                                .headers = &headers,
                                .last = s->last };

    accept_headers(&headers);
    TRY(registry_send(s->r, &q, &x));
    if (exchange_status(x) != 200)
        return refused(s, x, &q);
    s->rank = RANK_REFUSED;
    TRY(err_wrap(exchange_read_body(x, LIMIT_MANIFEST, &body), "read the manifest \"%s\"", what));
    struct digest got = digest_of(buf_str(&body), body.len);

    if (expected != NULL && !digest_eq(&got, expected))
        return err_new(ERR_DATA_LOSS, "the manifest %s came with the digest %s", expected->s, got.s);
    TRY(document_media_type(buf_str(&body), body.len, exchange_header(x, "Content-Type"), &type));
    TRY(blob_put(s->store, s->lease, buf_str(&body), body.len, &got));
    registry_note_document(s->store, s->ref, &got);
    *ret = (struct descriptor){ .media_type = TAKE(type), .digest = got, .size = (int64_t)body.len };
    return NULL;
}

/* HEAD tells the digest without counting against a pull limit; then the manifest comes by digest, if at all.
 */
static struct error *resolve_tag(struct resolution *s, struct descriptor *ret)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    CLEANUP(freep) char *path = xasprintf("manifests/%s", s->ref->tag);
    struct registry_query q = { .endpoint = s->endpoint,
                                .ref = s->ref,
                                .auth = s->auth,
                                .method = "HEAD",
                                .path = path,
                                .headers = &headers,
                                .last = s->last };
    struct digest d;
    bool found = false;

    accept_headers(&headers);
    TRY(registry_send(s->r, &q, &x));
    int status = exchange_status(x);

    /* a HEAD answer has no body to explain itself */
    if (status == 403 || status == 429 || status == 405)
        return get_manifest(s, s->ref->tag, NULL, ret);
    if (status != 200)
        return refused(s, x, &q);
    const char *told = exchange_header(x, "Docker-Content-Digest");

    if (told == NULL)
        return get_manifest(s, s->ref->tag, NULL, ret);
    s->rank = RANK_REFUSED;
    if (digest_parse(told, &d) < 0)
        return err_new(ERR_INVALID, "\"%.128s\" in header not a valid digest", told);
    int64_t size = exchange_content_length(x);

    if (size > (int64_t)LIMIT_MANIFEST)
        return err_new(ERR_EXHAUSTED, "rejecting %lld byte manifest for %s", (long long)size, s->ref->path);
    TRY(from_store(s, &d, exchange_header(x, "Content-Type"), &found, ret));
    if (found)
        registry_note_document(s->store, s->ref, &d);
    return found ? NULL : get_manifest(s, d.s, &d, ret);
}

static struct error *resolve_at(struct resolution *s, struct descriptor *ret)
{
    struct digest d;

    s->rank = RANK_UNREACHABLE;
    if (s->ref->digest == NULL)
        return resolve_tag(s, ret);
    if (digest_parse(s->ref->digest, &d) < 0)
        return err_new(ERR_INVALID, "invalid digest \"%.128s\"", s->ref->digest);
    return get_manifest(s, d.s, &d, ret);
}

/* Ask one server after the other; the error of the one that got furthest is returned. */
static struct error *resolve_anywhere(struct resolution *s, const struct endpoints *all,
                                      struct descriptor *ret)
{
    CLEANUP(err_freep) struct error *best = NULL;
    enum progress_rank best_rank = RANK_NONE;

    for (size_t i = 0; i < all->len; i++) {
        s->endpoint = &all->v[i];
        s->last = i + 1 == all->len;
        CLEANUP(err_freep) struct error *e = resolve_at(s, ret);

        if (e == NULL)
            return NULL;
        TRY(task_check());
        if (s->rank > best_rank) {
            err_free(best);
            best = TAKE(e);
            best_rank = s->rank;
        }
    }
    return TAKE(best);
}

struct error *registry_resolve(struct registry *r, const struct reference *ref,
                               const struct registry_auth *auth, struct store *store, struct lease *l,
                               struct descriptor *ret)
{
    CLEANUP(endpoints_deinit) struct endpoints all = { 0 };
    struct resolution s = { .r = r, .ref = ref, .auth = auth, .store = store, .lease = l };
    struct digest d;
    bool found = false;

    if (ref->digest != NULL && digest_parse(ref->digest, &d) == 0) {
        TRY(registry_knows_document(store, ref, &d, &found));
        if (found)
            TRY(from_store(&s, &d, NULL, &found, ret));
        if (found)
            return NULL;
    }
    if (ref->digest == NULL && ref->tag == NULL)
        return err_new(ERR_INVALID, "\"%s/%s\" has neither tag nor digest", ref->domain, ref->path);
    TRY(endpoints_of(r->config, ref->domain, auth != NULL && auth->insecure, &all));
    struct auth_call call;

    auth_call_begin(&call, auth);
    s.auth = call.use;
    struct error *e = resolve_anywhere(&s, &all, ret);

    auth_call_end(&call, r->tokens);
    return e;
}

struct error *registry_fetch_manifest(struct registry *r, const struct reference *ref,
                                      const struct registry_auth *auth, struct store *store, struct lease *l,
                                      const struct descriptor *d)
{
    CLEANUP(endpoints_deinit) struct endpoints all = { 0 };
    CLEANUP(descriptor_deinit) struct descriptor got = { 0 };
    struct reference pinned = *ref; /* shares its strings */
    struct resolution s = { .r = r, .ref = &pinned, .auth = auth, .store = store, .lease = l };

    pinned.digest = (char *)d->digest.s;
    TRY(endpoints_of(r->config, ref->domain, auth != NULL && auth->insecure, &all));
    struct auth_call call;

    auth_call_begin(&call, auth);
    s.auth = call.use;
    struct error *e = resolve_anywhere(&s, &all, &got);

    auth_call_end(&call, r->tokens);
    TRY(e);
    if (got.size != d->size)
        return err_new(ERR_DATA_LOSS, "the manifest %s has %lld bytes, not %lld", d->digest.s,
                       (long long)got.size, (long long)d->size);
    if (!streq(got.media_type, d->media_type))
        return err_new(ERR_INVALID, "the manifest %s is \"%s\", not \"%s\"", d->digest.s, got.media_type,
                       d->media_type);
    return NULL;
}
