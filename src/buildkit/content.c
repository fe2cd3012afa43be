/* SPDX-License-Identifier: Apache-2.0 */
/*
 * content.c - containerd's Content service, read only: the blobs that history records name, and what the
 * store holds
 */
#include "base/limits.h"
#include "buildkit/internal.h"

#define CONTENT_CHUNK MIB
#define LIST_BLOCK 100 /* infos in one message */

static struct error *content_find(struct builder *b, const char *text, int64_t *ret_size, struct stream **ret)
{
    struct blob_info info;
    struct digest d;
    struct error *e = history_blob_open(b->history, text, ret_size, ret);

    if (e == NULL || !err_is(e, ERR_NOT_FOUND))
        return e;
    err_free(e);
    if (digest_parse(text, &d) < 0)
        return err_new(ERR_INVALID, "invalid digest \"%s\"", text);
    TRY(blob_stat(b->config->store, &d, &info));
    *ret_size = info.size;
    return ret == NULL ? NULL : blob_open(b->config->store, &d, ret);
}

static struct error *content_info(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Content__InfoResponse m = CONTENT__INFO_RESPONSE__INIT;
    Content__Info info = CONTENT__INFO__INIT;
    Content__InfoRequest *q;

    TRY(rpc_recv_one(call, &content__info_request__descriptor, &a, &q));
    TRY(content_find(ctx, q->digest, &info.size, NULL));
    info.digest = q->digest;
    m.info = &info;
    return rpc_send(call, &m.base);
}

static struct error *skip(struct stream *s, int64_t n)
{
    char chunk[16384];

    while (n > 0) {
        ssize_t r = stream_read(s, chunk, (size_t)MIN(n, (int64_t)sizeof(chunk)));
        if (r < 0)
            return task_error((int)r, "read content");
        if (r == 0)
            break;
        n -= r;
    }
    return NULL;
}

static struct error *content_send(struct rpc_call *call, struct stream *s, int64_t offset, int64_t left)
{
    CLEANUP(freep) char *chunk = xmalloc(CONTENT_CHUNK);

    while (left > 0) {
        Content__ReadContentResponse m = CONTENT__READ_CONTENT_RESPONSE__INIT;
        ssize_t n = stream_read(s, chunk, (size_t)MIN(left, (int64_t)CONTENT_CHUNK));
        if (n < 0)
            return task_error((int)n, "read content");
        if (n == 0)
            break;
        m.offset = offset;
        m.data = pb_bytes(chunk, (size_t)n);
        TRY(rpc_send(call, &m.base));
        offset += n;
        left -= n;
    }
    return NULL;
}

static struct error *content_read(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(stream_closep) struct stream *s = NULL;
    Content__ReadContentRequest *q;
    int64_t size = 0;

    TRY(rpc_recv_one(call, &content__read_content_request__descriptor, &a, &q));
    TRY(content_find(ctx, q->digest, &size, &s));
    if (q->offset < 0 || q->offset > size || q->size < 0)
        return err_new(ERR_RANGE, "read past object length %lld bytes", (long long)size);
    TRY(skip(s, q->offset));
    return content_send(call, s, q->offset, q->size > 0 ? MIN(q->size, size - q->offset) : size - q->offset);
}

/* ---- lists
 * ------------------------------------------------------------------------------------------------------------------
 */

static int by_digest(const void *a, const void *b)
{
    return strcmp(((const struct blob_info *)a)->digest.s, ((const struct blob_info *)b)->digest.s);
}

static const char *blob_field(const void *record, const char *field, char **made)
{
    return streq(field, "digest") ? ((const struct blob_info *)record)->digest.s : NULL;
}

/* Those that pass, each digest once. */
static struct error *send_infos(struct rpc_call *call, const struct filters *f, const struct blob_list *l)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Content__ListContentResponse m = CONTENT__LIST_CONTENT_RESPONSE__INIT;
    Content__Info *block[LIST_BLOCK];

    m.info = block;
    for (size_t i = 0; i < l->count; i++) {
        const struct blob_info *b = &l->list[i];

        if ((i > 0 && digest_eq(&b->digest, &b[-1].digest)) || !filters_pass(f, blob_field, b))
            continue;
        Content__Info *info = block[m.n_info++] = PB_NEW(&a, content__info);

        info->digest = (char *)b->digest.s;
        info->size = b->size;
        info->created_at = info->updated_at = pb_time(&a, b->created_ns);
        if (m.n_info == ARRAY_LEN(block)) {
            TRY(rpc_send(call, &m.base));
            m.n_info = 0;
            pb_arena_reset(&a);
        }
    }
    return m.n_info > 0 ? rpc_send(call, &m.base) : NULL;
}

static struct error *content_list(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(strv_deinit) struct strv texts = { 0 };
    CLEANUP(filters_freep) struct filters *f = NULL;
    struct blob_list l = { 0 };
    const struct builder *b = ctx;
    Content__ListContentRequest *q;

    TRY(rpc_recv_one(call, &content__list_content_request__descriptor, &a, &q));
    pb_to_strv(q->filters, q->n_filters, &texts);
    TRY(filters_parse(&texts, &f));
    struct error *e = blob_list(b->config->store, &l);

    if (e == NULL)
        e = history_blob_list(b->history, &l);
    if (e == NULL && l.count > 0)
        qsort(l.list, l.count, sizeof(*l.list), by_digest);
    if (e == NULL)
        e = send_infos(call, f, &l);
    free(l.list);
    return e;
}

/* ---- what is being written
 * ------------------------------------------------------------------------------------------------------------------
 */

static Content__Status *status_message(struct pb_arena *a, const struct ingest_info *i)
{
    Content__Status *m = PB_NEW(a, content__status);
    struct digest d;

    m->ref = pb_str(a, i->key);
    m->offset = i->size;
    m->started_at = pb_time(a, i->started_ns);
    m->updated_at = pb_time(a, i->updated_ns);
    if (digest_parse(i->key, &d) == 0)
        m->expected = m->ref;
    return m;
}

static struct error *content_status(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(ingest_list_deinit) struct ingest_list l = { 0 };
    Content__StatusResponse m = CONTENT__STATUS_RESPONSE__INIT;
    const struct builder *b = ctx;
    Content__StatusRequest *q;

    TRY(rpc_recv_one(call, &content__status_request__descriptor, &a, &q));
    ingest_list(b->config->store, &l);
    for (size_t i = 0; i < l.count && m.status == NULL; i++)
        if (streq(l.list[i].key, q->ref))
            m.status = status_message(&a, &l.list[i]);
    if (m.status == NULL)
        return err_new(ERR_NOT_FOUND, "could not get status for ref \"%s\": not found", q->ref);
    return rpc_send(call, &m.base);
}

static const char *ingest_field(const void *record, const char *field, char **made)
{
    return streq(field, "ref") ? ((const struct ingest_info *)record)->key : NULL;
}

static struct error *content_list_statuses(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(strv_deinit) struct strv texts = { 0 };
    CLEANUP(filters_freep) struct filters *f = NULL;
    CLEANUP(ingest_list_deinit) struct ingest_list l = { 0 };
    Content__ListStatusesResponse m = CONTENT__LIST_STATUSES_RESPONSE__INIT;
    const struct builder *b = ctx;
    Content__ListStatusesRequest *q;

    TRY(rpc_recv_one(call, &content__list_statuses_request__descriptor, &a, &q));
    pb_to_strv(q->filters, q->n_filters, &texts);
    TRY(filters_parse(&texts, &f));
    ingest_list(b->config->store, &l);
    m.statuses = pb_array(&a, l.count);
    for (size_t i = 0; i < l.count; i++)
        if (filters_pass(f, ingest_field, &l.list[i]))
            m.statuses[m.n_statuses++] = status_message(&a, &l.list[i]);
    return rpc_send(call, &m.base);
}

/* Update, Delete, Write, Abort: whatever they ask. */
static struct error *content_refuse(struct rpc_call *call, void *ctx)
{
    return err_new(ERR_UNKNOWN, "read-only content store");
}

const struct rpc_method content_methods[] = {
    { "Abort", content_refuse },
    { "Delete", content_refuse },
    { "Info", content_info },
    { "List", content_list },
    { "ListStatuses", content_list_statuses },
    { "Read", content_read },
    { "Status", content_status },
    { "Update", content_refuse },
    { "Write", content_refuse },
};
const size_t content_method_count = ARRAY_LEN(content_methods);
