/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One blob: HEAD, and when the registry does not have it, POST for a place and PUT to it.  A place dies with
 * its connection, so what is tried again is both.
 */
#include "registry/push.h"

#include <errno.h>

#include "base/limits.h"
#include "base/log.h"
#include "oci/image.h"
#include "registry/client.h"
#include "registry/retry.h"

struct registry_push {
    struct registry *r;
    struct store *store;
    const struct registry_push_options *options;
    struct auth_call auth;
    struct endpoints endpoints;
    const struct endpoint *endpoint; /* the registry itself */
    struct descriptor *blobs;
    size_t blob_count;
    struct descriptor *documents; /* children before parents; the target is the last */
    size_t document_count;
    /* what several tasks take from */
    struct mutex lock;
    size_t next;
};

/* ---- what there is to push ---- */

static void add_once(struct descriptor **list, size_t *count, const struct descriptor *d)
{
    for (size_t i = 0; i < *count; i++)
        if (digest_eq(&(*list)[i].digest, &d->digest))
            return;
    *list = xreallocarray(*list, *count + 1, sizeof(**list));
    descriptor_copy(&(*list)[(*count)++], d);
}

static struct error *add_blob(struct registry_push *p, const struct descriptor *d)
{
    struct blob_info info;

    if (media_type_is_foreign_layer(d->media_type))
        return NULL; /* stays where its URL says */
    struct error *e = blob_stat(p->store, &d->digest, &info);

    if (err_is(e, ERR_NOT_FOUND) && p->options->bring != NULL) {
        err_free(e);
        add_once(&p->blobs, &p->blob_count, d);
        return NULL;
    }
    TRY(e);
    if (info.size != d->size)
        return err_new(ERR_INVALID, "%s has %lld bytes, its descriptor says %lld", d->digest.s,
                       (long long)info.size, (long long)d->size);
    add_once(&p->blobs, &p->blob_count, d);
    return NULL;
}

static struct error *walk_manifest(struct registry_push *p, const struct buf *text, const char *media_type)
{
    struct image_manifest m = { 0 };
    struct error *e = image_manifest_parse(text->data, text->len, media_type, &m);

    if (e == NULL)
        e = add_blob(p, &m.config);
    for (size_t i = 0; e == NULL && i < m.layer_count; i++)
        e = add_blob(p, &m.layers[i]);
    image_manifest_deinit(&m);
    return e;
}

static struct error *walk_document(struct registry_push *p, const struct descriptor *d, int depth);

static struct error *walk_index(struct registry_push *p, const struct buf *text, const char *media_type,
                                int depth)
{
    struct image_index x = { 0 };
    struct error *e = image_index_parse(text->data, text->len, media_type, &x);

    for (size_t i = 0; e == NULL && i < x.manifest_count; i++) {
        const struct descriptor *entry = &x.manifests[i];
        bool is_document =
            media_type_is_manifest(entry->media_type) || media_type_is_index(entry->media_type);

        /* the index of a build cache lists blobs */
        e = is_document ? walk_document(p, entry, depth + 1) : add_blob(p, entry);
    }
    image_index_deinit(&x);
    return e;
}

static bool is_known(const struct registry_push *p, const struct digest *d)
{
    for (size_t i = 0; i < p->document_count; i++)
        if (digest_eq(&p->documents[i].digest, d))
            return true;
    return false;
}

static struct error *walk_document(struct registry_push *p, const struct descriptor *d, int depth)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    bool is_index;

    if (depth > LIMIT_INDEX_DEPTH)
        return err_new(ERR_INVALID, "an index holds indexes more than %d levels deep", LIMIT_INDEX_DEPTH);
    if (is_known(p, &d->digest))
        return NULL;
    TRY(blob_read(p->store, &d->digest, LIMIT_MANIFEST, &text));
    TRY(image_document_kind(text.data, text.len, d->media_type, &is_index));
    if (is_index)
        TRY(walk_index(p, &text, d->media_type, depth));
    else
        TRY(walk_manifest(p, &text, d->media_type));
    add_once(&p->documents, &p->document_count, d);
    return NULL;
}

struct error *registry_push_begin(struct registry *r, const struct registry_push_options *o, struct store *s,
                                  const struct descriptor *target, struct registry_push **ret)
{
    struct registry_push *p = NEW(struct registry_push);
    struct error *e;

    p->r = r;
    p->store = s;
    p->options = o;
    mutex_init(&p->lock);
    auth_call_begin(&p->auth, o->auth);
    e = endpoints_of(r->config, o->ref->domain, o->insecure, &p->endpoints);
    if (e == NULL) {
        p->endpoint = &p->endpoints.v[p->endpoints.len - 1];
        e = walk_document(p, target, 0);
    }
    if (e != NULL) {
        registry_push_end(p);
        return e;
    }
    *ret = p;
    return NULL;
}

void registry_push_end(struct registry_push *p)
{
    if (p == NULL)
        return;
    auth_call_end(&p->auth, p->r->tokens);
    endpoints_deinit(&p->endpoints);
    for (size_t i = 0; i < p->blob_count; i++)
        descriptor_deinit(&p->blobs[i]);
    for (size_t i = 0; i < p->document_count; i++)
        descriptor_deinit(&p->documents[i]);
    free(p->blobs);
    free(p->documents);
    mutex_deinit(&p->lock);
    free(p);
}

/* ---- one blob ---- */

struct upload {
    struct registry_push *push;
    const struct descriptor *d;
    bool shown; /* its progress is for users */
};

static void report(const struct upload *u, const char *action, int64_t current)
{
    const struct registry_progress *p = u->push->options->progress;

    if (u->shown && p != NULL && p->blob != NULL)
        p->blob(p->ctx, u->d, action, current, u->d->size);
}

static struct error *open_content(void *ctx, struct stream **ret)
{
    struct upload *u = ctx;

    return blob_open(u->push->store, &u->d->digest, ret);
}

static void on_sent(void *ctx, int64_t bytes)
{
    report(ctx, "pushing", bytes);
}

static struct registry_query query_of(const struct registry_push *p, const char *method, const char *path)
{
    return (struct registry_query){ .endpoint = p->endpoint,
                                    .ref = p->options->ref,
                                    .auth = p->auth.use,
                                    .method = method,
                                    .path = path,
                                    .push = true,
                                    .last = true };
}

static struct error *is_there(const struct upload *u, bool *ret_there)
{
    CLEANUP(freep) char *path = xasprintf("blobs/%s", u->d->digest.s);
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    struct registry_query q = query_of(u->push, "HEAD", path);

    TRY(registry_send(u->push->r, &q, &x));
    *ret_there = exchange_status(x) == 200;
    return *ret_there || exchange_status(x) == 404 ? NULL : registry_refusal(x, &q);
}

/* "source/sha256:..": a repository that has the blob, as "domain path". */
static char *source_key(const struct digest *d)
{
    return xasprintf("source/%s", d->s);
}

void registry_note_source(struct store *s, const struct reference *ref, const struct digest *d)
{
    CLEANUP(freep) char *key = source_key(d);
    CLEANUP(freep) char *value = xasprintf("%s %s", ref->domain, ref->path);
    CLEANUP(err_freep) struct error *e = fact_put(s, key, value);

    if (e != NULL)
        log_warn("cannot note where a blob came from", "digest", d->s, "error", e->message);
}

/* Another repository of this registry that has the blob, or NULL. */
static char *mount_candidate(const struct upload *u)
{
    const struct reference *ref = u->push->options->ref;
    CLEANUP(freep) char *key = source_key(&u->d->digest);
    CLEANUP(freep) char *value = NULL;
    CLEANUP(err_freep) struct error *e = fact_get(u->push->store, key, &value);
    char *space = e == NULL && value != NULL ? strchr(value, ' ') : NULL;

    if (space == NULL)
        return NULL;
    *space = '\0';
    return streq(value, ref->domain) && !streq(space + 1, ref->path) ? xstrdup(space + 1) : NULL;
}

/* Ask for a place, or for a mount.  A mount that is refused is no failure: *ret_x stays NULL. */
static struct error *begin_upload(const struct upload *u, const char *mount_from, struct exchange **ret_x)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    CLEANUP(buf_deinit) struct buf path = { 0 };

    buf_adds(&path, "blobs/uploads/");
    if (mount_from != NULL) {
        buf_addf(&path, "?mount=%s&from=", u->d->digest.s);
        buf_add_query_escaped(&path, mount_from);
    }
    struct registry_query q = query_of(u->push, "POST", buf_str(&path));

    q.mount_from = mount_from;
    struct error *e = registry_send(u->push->r, &q, &x);

    bool denied = err_is(e, ERR_UNAUTHORIZED) || err_is(e, ERR_FORBIDDEN); /* also by the token server */

    if (mount_from != NULL && (denied || (e == NULL && exchange_status(x) >= 400))) {
        err_free(e);
        return NULL;
    }
    TRY(e);
    switch (exchange_status(x)) {
    case 200:
    case 201:
    case 202:
    case 204:
        *ret_x = TAKE(x);
        return NULL;
    default:
        return registry_refusal(x, &q);
    }
}

/* The address to PUT to, with the digest added. */
static struct error *upload_url(const struct upload *u, const struct exchange *x, char **ret,
                                bool *ret_foreign)
{
    const char *location = exchange_header(x, "Location");
    CLEANUP(freep) char *own = NULL;
    CLEANUP(freep) char *theirs = NULL;
    CLEANUP(freep) char *url = NULL;

    if (location == NULL)
        return err_new(ERR_UNKNOWN, "the registry gave no place to upload %s to", u->d->digest.s);
    TRY(exchange_url_resolve(exchange_url(x), location, &url));
    TRY(exchange_url_origin(exchange_url(x), &own));
    TRY(exchange_url_origin(url, &theirs));
    if (str_has_prefix(own, "https://") && str_has_prefix(theirs, "http://") &&
        !u->push->endpoint->schemes[0])
        return err_new(ERR_UNKNOWN, "refusing to upload in clear to %s", theirs);
    *ret_foreign = !streq(own, theirs);
    *ret = xasprintf("%s%cdigest=%s", url, strchr(url, '?') != NULL ? '&' : '?', u->d->digest.s);
    return NULL;
}

static struct error *put_content(struct upload *u, const struct exchange *place, int *ret_status)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    CLEANUP(freep) char *url = NULL;
    struct registry_query q = query_of(u->push, "PUT", NULL);

    TRY(upload_url(u, place, &url, &q.foreign));
    strv_add(&headers, "Content-Type: application/octet-stream");
    q.url = url;
    q.headers = &headers;
    q.last = false;
    q.open_body = open_content;
    q.sent = on_sent;
    q.body_ctx = u;
    q.body_size = u->d->size;
    report(u, "pushing", 0);
    TRY(registry_send(u->push->r, &q, &x));
    *ret_status = exchange_status(x);
    return *ret_status >= 200 && *ret_status <= 204 ? NULL : registry_refusal(x, &q);
}

static struct error *try_upload(struct upload *u, const char *mount_from, int *ret_status,
                                const char **ret_how)
{
    CLEANUP(exchange_closep) struct exchange *place = NULL;

    if (mount_from != NULL)
        TRY(begin_upload(u, mount_from, &place));
    if (place != NULL && exchange_status(place) == 201) {
        *ret_how = "mounted";
        return NULL;
    }
    if (place == NULL)
        TRY(begin_upload(u, NULL, &place));
    *ret_how = "pushed";
    return put_content(u, place, ret_status);
}

static struct error *upload_blob(struct upload *u)
{
    CLEANUP(freep) char *mount_from = mount_candidate(u);
    struct retry again = { .pause_ns = u->push->r->config->retry_ns };
    const char *how = NULL;
    bool there = false;

    TRY(is_there(u, &there));
    if (!there && u->push->options->bring != NULL)
        TRY(u->push->options->bring(u->push->options->ctx, u->d));
    for (; !there;) {
        int status = 0;
        struct error *e = try_upload(u, mount_from, &status, &how);

        if (e == NULL)
            break;
        if (!retry_worthwhile(&again, e, status))
            return e;
        TRY(retry_pause(&again, e, 0));
    }
    if (u->shown)
        registry_note_source(u->push->store, u->push->options->ref, &u->d->digest);
    CLEANUP(freep) char *mounted = xasprintf("mounted from %s", mount_from != NULL ? mount_from : "");

    report(u, there ? "exists" : streq(how, "mounted") ? mounted : how, u->d->size);
    return NULL;
}

/* ---- all blobs ---- */

static bool take_next(struct registry_push *p, size_t *ret)
{
    mutex_lock(&p->lock);
    bool more = p->next < p->blob_count;

    if (more)
        *ret = p->next++;
    mutex_unlock(&p->lock);
    return more;
}

static struct upload upload_of(struct registry_push *p, size_t i)
{
    return (
        struct upload){ .push = p, .d = &p->blobs[i], .shown = media_type_is_layer(p->blobs[i].media_type) };
}

static struct error *push_worker(void *arg)
{
    struct registry_push *p = arg;
    size_t i = 0;

    while (take_next(p, &i)) {
        struct upload u = upload_of(p, i);
        int r = semaphore_acquire(&p->r->uploads, 1);

        if (r < 0)
            return task_error(r, "wait for an upload slot");
        struct error *e = upload_blob(&u);

        semaphore_release(&p->r->uploads, 1);
        TRY(e);
    }
    return NULL;
}

struct error *registry_push_blobs(struct registry_push *p)
{
    size_t limit = p->r->config->max_uploads > 0 ? (size_t)p->r->config->max_uploads : LIMIT_PUSH_TASKS;
    size_t workers = MIN(MIN(limit, (size_t)LIMIT_PUSH_TASKS), p->blob_count);
    struct error *e = NULL;
    struct group g;

    p->next = 0;
    for (size_t i = 0; i < p->blob_count; i++) {
        struct upload u = upload_of(p, i);

        report(&u, "waiting", 0);
    }
    group_open(&g, 0);
    for (size_t i = 0; e == NULL && i < workers; i++)
        e = group_spawn(&g, "push blobs", push_worker, p);
    return group_finish(&g, e);
}

/* ---- documents ---- */

/* Does the registry have this document under that name?  A registry with tags that cannot be moved refuses to
 * be told again. */
static struct error *same_document(const struct upload *u, const char *path, bool *ret_same)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    struct registry_query q = query_of(u->push, "HEAD", path);

    strv_addf(&headers, "Accept: %s, */*", u->d->media_type);
    q.headers = &headers;
    TRY(registry_send(u->push->r, &q, &x));
    const char *told = exchange_header(x, "Docker-Content-Digest");

    *ret_same = exchange_status(x) == 200 && told != NULL && streq(told, u->d->digest.s);
    return exchange_status(x) == 200 || exchange_status(x) == 404 ? NULL : registry_refusal(x, &q);
}

static struct error *put_document(struct upload *u, const char *name)
{
    CLEANUP(exchange_closep) struct exchange *x = NULL;
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    CLEANUP(freep) char *path = xasprintf("manifests/%s", name);
    struct registry_query q = query_of(u->push, "PUT", path);
    bool same = false;

    TRY(same_document(u, path, &same));
    if (same)
        return NULL;
    strv_addf(&headers, "Content-Type: %s", u->d->media_type);
    q.headers = &headers;
    q.open_body = open_content;
    q.body_ctx = u;
    q.body_size = u->d->size;
    TRY(registry_send(u->push->r, &q, &x));
    int status = exchange_status(x);

    if (status < 200 || status > 204)
        return registry_refusal(x, &q);
    const char *told = exchange_header(x, "Docker-Content-Digest");

    if (told != NULL && !streq(told, u->d->digest.s))
        return err_new(ERR_DATA_LOSS, "got digest %.128s, expected %s", told, u->d->digest.s);
    return NULL;
}

struct error *registry_push_manifests(struct registry_push *p)
{
    for (size_t i = 0; i < p->document_count; i++) {
        struct upload u = { .push = p, .d = &p->documents[i] };
        const char *tag = i + 1 == p->document_count ? p->options->ref->tag : NULL;

        TRY(put_document(&u, tag != NULL ? tag : u.d->digest.s));
        registry_note_document(p->store, p->options->ref, &u.d->digest);
    }
    return NULL;
}
