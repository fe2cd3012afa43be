/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A download goes through these states, and back to the first whenever its connection breaks:
 *
 *   no exchange ---- connect (Range from `have`) ----> exchange ---- body ----> all bytes ---- commit ---->
 * done ^                                                |
 *        +------ pause, or the next server --------------+
 */
#include "registry/fetch.h"

#include <errno.h>

#include "base/limits.h"
#include "io/stream.h"
#include "registry/client.h"
#include "registry/push.h"
#include "registry/retry.h"
#include "task/task.h"

#define CHUNK (64 * KIB)

struct download {
    struct stream stream; /* first: registry_open gives it out */
    struct registry *r;
    const struct reference *ref;
    struct auth_call auth;
    const struct registry_progress *progress; /* NULL */
    struct store *store;
    struct lease *lease;
    struct descriptor d;
    struct endpoints endpoints;
    size_t at; /* the endpoint in use */
    struct ingest *ingest;
    int64_t have;
    int64_t furthest; /* the most we ever had: progress is more than that */
    struct exchange *x;
    struct retry again;
    int connections;
    bool slot, done;
    bool resumed;          /* some bytes are from an earlier connection */
    bool restarted;        /* after a wrong digest; once is enough */
    bool streaming;        /* bytes were given away: no way back to the first one */
    struct error *failure; /* of a stream's read */
};

static void report(const struct download *dl, const char *action, int64_t current)
{
    if (dl->progress != NULL && dl->progress->blob != NULL)
        dl->progress->blob(dl->progress->ctx, &dl->d, action, current, dl->d.size);
}

static void release_slot(struct download *dl)
{
    if (dl->slot)
        semaphore_release(&dl->r->downloads, 1);
    dl->slot = false;
}

static void download_deinit(struct download *dl)
{
    exchange_close(TAKE(dl->x));
    if (dl->ingest != NULL)
        ingest_close(TAKE(dl->ingest), !dl->done && dl->have > 0);
    release_slot(dl);
    auth_call_end(&dl->auth, dl->r->tokens);
    endpoints_deinit(&dl->endpoints);
    descriptor_deinit(&dl->d);
    err_free(TAKE(dl->failure));
}

static struct error *forget_bytes(struct download *dl)
{
    if (dl->have == 0)
        return NULL;
    if (dl->streaming)
        return err_new(ERR_UNAVAILABLE, "the server cannot continue the download of %s", dl->d.digest.s);
    dl->have = 0;
    return ingest_reset(dl->ingest);
}

/* Take the slot and the one writer's place of the blob.  *ret_there when somebody else brought it meanwhile.
 */
static struct error *begin(struct download *dl, bool *ret_there)
{
    struct blob_info info;

    TRY(ingest_begin(dl->store, dl->lease, dl->d.digest.s, &dl->have, &dl->ingest));
    dl->resumed = dl->have > 0;
    struct error *e = blob_stat(dl->store, &dl->d.digest, &info);

    *ret_there = e == NULL;
    if (e != NULL && !err_is(e, ERR_NOT_FOUND))
        return e;
    err_free(e);
    if (!*ret_there && dl->have > dl->d.size)
        return forget_bytes(dl);
    return NULL;
}

/* ---- connecting ---- */

static struct error *check_content_range(const struct download *dl)
{
    const char *range = exchange_header(dl->x, "Content-Range");
    CLEANUP(freep) char *want = xasprintf("bytes %lld-", (long long)dl->have);

    if (range == NULL || !str_has_prefix(range, want))
        return err_new(ERR_UNAVAILABLE, "unhandled content range in response: %.128s",
                       range != NULL ? range : "none");
    return NULL;
}

/* Is what was answered the rest of the blob? */
static struct error *check_answer(struct download *dl, const struct registry_query *q)
{
    int status = exchange_status(dl->x);

    if (status == 206) {
        TRY(check_content_range(dl));
    } else if (status == 200) {
        TRY(forget_bytes(dl)); /* the server does not resume */
    } else if (status == 404) {
        return err_new(ERR_NOT_FOUND, "could not fetch content descriptor %s (%s) from remote: not found",
                       dl->d.digest.s, dl->d.media_type);
    } else {
        return registry_refusal(dl->x, q);
    }
    dl->resumed = dl->have > 0;
    int64_t length = exchange_content_length(dl->x);

    if (length >= 0 && length != dl->d.size - dl->have)
        return err_new(ERR_DATA_LOSS, "the server announces %lld bytes of %s, expected %lld",
                       (long long)length, dl->d.digest.s, (long long)(dl->d.size - dl->have));
    return NULL;
}

static struct error *connect_at(struct download *dl)
{
    CLEANUP(strv_deinit) struct strv headers = { 0 };
    CLEANUP(freep) char *path = xasprintf("blobs/%s", dl->d.digest.s);
    struct registry_query q = { .endpoint = &dl->endpoints.v[dl->at],
                                .ref = dl->ref,
                                .auth = dl->auth.use,
                                .method = "GET",
                                .path = path,
                                .headers = &headers,
                                .last = dl->at + 1 == dl->endpoints.len };

    strv_addf(&headers, "Accept: %s, */*", dl->d.media_type);
    strv_add(&headers, "Accept-Encoding: identity");
    if (dl->have > 0)
        strv_addf(&headers, "Range: bytes=%lld-", (long long)dl->have);
    TRY(registry_send(dl->r, &q, &dl->x));
    if (exchange_status(dl->x) == 416 && dl->have > 0) {
        /* what we hold is no part of what the server has */
        exchange_close(TAKE(dl->x));
        TRY(forget_bytes(dl));
        return connect_at(dl);
    }
    return check_answer(dl, &q);
}

/* The first server that has it, from `at` on. */
static struct error *connect(struct download *dl)
{
    if (!dl->slot) {
        int r = semaphore_acquire(&dl->r->downloads, 1);

        if (r < 0)
            return task_error(r, "wait for a download slot");
        dl->slot = true;
    }
    if (++dl->connections > LIMIT_REGISTRY_CONNECTIONS)
        return err_new(ERR_UNAVAILABLE, "the download of %s broke off %d times", dl->d.digest.s,
                       LIMIT_REGISTRY_CONNECTIONS);
    for (;;) {
        struct error *e = connect_at(dl);

        if (e == NULL)
            return NULL;
        exchange_close(TAKE(dl->x));
        struct error *stop = task_check();

        if (stop != NULL || dl->at + 1 == dl->endpoints.len) {
            if (stop != NULL)
                err_free(e);
            return stop != NULL ? stop : e;
        }
        err_free(e);
        dl->at++;
    }
}

/* ---- the body ---- */

static struct error *commit(struct download *dl)
{
    exchange_close(TAKE(dl->x));
    release_slot(dl);
    TRY(ingest_commit(dl->ingest, &dl->d.digest, dl->d.size, &dl->d.digest));
    dl->done = true;
    if (media_type_is_layer(dl->d.media_type))
        registry_note_source(dl->store, dl->ref, &dl->d.digest);
    return NULL;
}

/* All bytes are here.  Let curl see the end, so that the connection can be used again, if it is known to be
 * near. */
static struct error *finish(struct download *dl)
{
    char extra;

    if (dl->x != NULL && exchange_content_length(dl->x) >= 0 && exchange_read(dl->x, &extra, 1) > 0)
        return err_new(ERR_DATA_LOSS, "%s is longer than the %lld bytes of its descriptor", dl->d.digest.s,
                       (long long)dl->d.size);
    struct error *e = commit(dl);

    if (e == NULL)
        return NULL;
    if (err_is(e, ERR_INVALID))
        dl->have = 0; /* not worth keeping */
    if (!dl->resumed || dl->restarted || dl->streaming || !err_is(e, ERR_INVALID))
        return e;
    /* part of it was left by an earlier attempt or another server: once more from the start */
    err_free(e);
    dl->have = 0;
    dl->restarted = true;
    return ingest_reset(dl->ingest);
}

static struct error *broken(struct download *dl, ssize_t n)
{
    struct error *e;

    if (n == -ECANCELED || n == -ETIMEDOUT)
        return task_error((int)n, "download %s", dl->d.digest.s);
    e = err_new(ERR_UNAVAILABLE, "download %s: the connection broke off after %lld of %lld bytes%s%s",
                dl->d.digest.s, (long long)dl->have, (long long)dl->d.size,
                dl->x != NULL && *exchange_failure(dl->x) != '\0' ? ": " : "",
                dl->x != NULL ? exchange_failure(dl->x) : "");
    exchange_close(TAKE(dl->x));
    e->errnum = ECONNRESET;
    if (!retry_worthwhile(&dl->again, e, 0))
        return e;
    return retry_pause(&dl->again, e, 0);
}

static struct error *accept_bytes(struct download *dl, const void *buf, size_t n)
{
    if ((int64_t)n > dl->d.size - dl->have) {
        struct error *e = ingest_reset(dl->ingest);

        err_free(e); /* the file is given up anyway */
        dl->have = 0;
        return err_new(ERR_DATA_LOSS, "%s is longer than the %lld bytes of its descriptor", dl->d.digest.s,
                       (long long)dl->d.size);
    }
    TRY(ingest_write(dl->ingest, buf, n));
    dl->have += (int64_t)n;
    if (dl->have > dl->furthest) {
        dl->furthest = dl->have;
        dl->again = (struct retry){ .pause_ns = dl->r->config->retry_ns };
    }
    report(dl, "downloading", dl->have);
    return NULL;
}

/* The next bytes, written to the store already; *ret_n is 0 when the blob is complete and verified. */
static struct error *download_more(struct download *dl, void *buf, size_t cap, size_t *ret_n)
{
    *ret_n = 0;
    while (!dl->done) {
        TRY(task_check());
        if (dl->have == dl->d.size) {
            TRY(finish(dl));
            continue;
        }
        if (dl->x == NULL)
            TRY(connect(dl));
        ssize_t n = exchange_read(dl->x, buf, cap);

        if (n > 0) {
            TRY(accept_bytes(dl, buf, (size_t)n));
            *ret_n = (size_t)n;
            return NULL;
        }
        TRY(broken(dl, n));
    }
    return NULL;
}

/* ---- what registry.h offers ---- */

static struct error *download_init(struct download *dl, struct registry *r, const struct reference *ref,
                                   const struct registry_auth *auth, struct store *s, struct lease *l,
                                   const struct descriptor *d, const struct registry_progress *p)
{
    *dl = (struct download){ .r = r,
                             .ref = ref,
                             .store = s,
                             .lease = l,
                             .progress = p,
                             .again = { .pause_ns = r->config->retry_ns } };
    auth_call_begin(&dl->auth, auth);
    descriptor_copy(&dl->d, d);
    if (d->size < 0)
        return err_new(ERR_INVALID, "invalid descriptor size %lld", (long long)d->size);
    return endpoints_of(r->config, ref->domain, auth != NULL && auth->insecure, &dl->endpoints);
}

static struct error *blob_there(struct store *s, struct lease *l, const struct descriptor *d, bool *ret)
{
    struct blob_info info;

    lease_add_blob(l, &d->digest);
    struct error *e = blob_stat(s, &d->digest, &info);

    *ret = e == NULL;
    if (err_is(e, ERR_NOT_FOUND)) {
        err_free(e);
        return NULL;
    }
    return e;
}

static bool is_manifest(const struct descriptor *d)
{
    return media_type_is_manifest(d->media_type) || media_type_is_index(d->media_type);
}

static struct error *fetch_blob(struct download *dl)
{
    CLEANUP(freep) char *chunk = NULL;
    bool there = false;
    size_t n;

    TRY(begin(dl, &there));
    if (there) {
        report(dl, "exists", dl->d.size);
        return NULL;
    }
    chunk = xmalloc(CHUNK);
    do
        TRY(download_more(dl, chunk, CHUNK, &n));
    while (n > 0);
    report(dl, "done", dl->d.size);
    return NULL;
}

struct error *registry_fetch(struct registry *r, const struct reference *ref,
                             const struct registry_auth *auth, struct store *s, struct lease *l,
                             const struct descriptor *d, const struct registry_progress *p)
{
    struct download dl;
    bool there = false;

    TRY(blob_there(s, l, d, &there));
    if (there) {
        if (p != NULL && p->blob != NULL)
            p->blob(p->ctx, d, "exists", d->size, d->size);
        return NULL;
    }
    if (is_manifest(d))
        return registry_fetch_manifest(r, ref, auth, s, l, d);
    struct error *e = download_init(&dl, r, ref, auth, s, l, d, p);

    if (e == NULL)
        e = fetch_blob(&dl);
    download_deinit(&dl);
    return e;
}

/* ---- a download as a stream ---- */

static int failure_errno(const struct error *e)
{
    if (err_is(e, ERR_CANCELLED))
        return -ECANCELED;
    if (err_is(e, ERR_DEADLINE))
        return -ETIMEDOUT;
    if (err_is(e, ERR_INVALID) || err_is(e, ERR_DATA_LOSS) || err_is(e, ERR_CONFLICT))
        return -EBADMSG;
    return e->errnum > 0 ? -e->errnum : -EIO;
}

static ssize_t download_read(struct stream *s, void *buf, size_t cap)
{
    struct download *dl = CONTAINER_OF(s, struct download, stream);
    size_t n = 0;

    if (dl->failure == NULL)
        dl->failure = download_more(dl, buf, cap, &n);
    if (dl->failure != NULL)
        return failure_errno(dl->failure);
    dl->streaming = true;
    if (n == 0)
        report(dl, "done", dl->d.size);
    return (ssize_t)n;
}

static ssize_t download_write(struct stream *s, const void *buf, size_t len)
{
    return -EBADF;
}

static int download_shut(struct stream *s)
{
    return 0;
}

static void download_close(struct stream *s)
{
    struct download *dl = CONTAINER_OF(s, struct download, stream);

    download_deinit(dl);
    free(dl);
}

static const struct stream_ops download_ops = {
    .read = download_read,
    .write = download_write,
    .shut = download_shut,
    .close = download_close,
};

struct error *registry_stream_error(struct stream *s)
{
    if (s->ops != &download_ops)
        return NULL;
    struct download *dl = CONTAINER_OF(s, struct download, stream);

    return dl->failure != NULL ? err_clone(dl->failure) : NULL;
}

/* Partly here from an earlier attempt, or complete by now: the rest first, then a stream of the stored blob.
 */
static struct error *open_stored(struct download *dl, bool there, struct stream **ret)
{
    CLEANUP(freep) char *chunk = NULL;
    size_t n = there ? 0 : 1;

    if (!there)
        chunk = xmalloc(CHUNK);
    while (n > 0)
        TRY(download_more(dl, chunk, CHUNK, &n));
    report(dl, there ? "exists" : "done", dl->d.size);
    return blob_open(dl->store, &dl->d.digest, ret);
}

struct error *registry_open(struct registry *r, const struct reference *ref, const struct registry_auth *auth,
                            struct store *s, struct lease *l, const struct descriptor *d,
                            const struct registry_progress *p, struct stream **ret)
{
    bool there = false;

    TRY(blob_there(s, l, d, &there));
    if (there) {
        if (p != NULL && p->blob != NULL)
            p->blob(p->ctx, d, "exists", d->size, d->size);
        return blob_open(s, &d->digest, ret);
    }
    struct download *dl = xmalloc(sizeof(*dl));
    struct error *e = download_init(dl, r, ref, auth, s, l, d, p);

    if (e == NULL)
        e = begin(dl, &there);
    if (e == NULL && !there && dl->have == 0) {
        dl->stream.ops = &download_ops;
        *ret = &dl->stream;
        return NULL;
    }
    if (e == NULL)
        e = open_stored(dl, there, ret);
    download_deinit(dl);
    free(dl);
    return e;
}

/* ---- how long a blob is ---- */

static struct error *not_there(const struct digest *d)
{
    return err_new(ERR_NOT_FOUND, "could not fetch content descriptor %s from remote: not found", d->s);
}

struct error *registry_blob_size(struct registry *r, const struct reference *ref,
                                 const struct registry_auth *auth, const struct digest *d, int64_t *ret)
{
    CLEANUP(endpoints_deinit) struct endpoints endpoints = { 0 };
    CLEANUP(freep) char *path = xasprintf("blobs/%s", d->s);
    struct auth_call call;
    struct error *e;

    TRY(endpoints_of(r->config, ref->domain, auth != NULL && auth->insecure, &endpoints));
    auth_call_begin(&call, auth);
    e = not_there(d);
    for (size_t i = 0; i < endpoints.len && e != NULL && !err_is(e, ERR_CANCELLED); i++) {
        CLEANUP(exchange_closep) struct exchange *x = NULL;
        struct registry_query q = { .endpoint = &endpoints.v[i],
                                    .ref = ref,
                                    .auth = call.use,
                                    .method = "HEAD",
                                    .path = path,
                                    .last = i + 1 == endpoints.len };
        struct error *one = registry_send(r, &q, &x);

        err_free(e);
        e = one;
        if (e == NULL && exchange_status(x) == 404)
            e = not_there(d);
        else if (e == NULL && exchange_status(x) != 200)
            e = registry_refusal(x, &q);
        if (e == NULL && (*ret = exchange_content_length(x)) < 0)
            e = err_new(ERR_UNAVAILABLE, "the registry does not tell the size of %s", d->s);
    }
    auth_call_end(&call, r->tokens);
    return e;
}
