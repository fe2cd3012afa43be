/* SPDX-License-Identifier: Apache-2.0 */
/* services.c - the table of gRPC services, and the three small ones: health, trace, content */
#include "buildkit/internal.h"

#include "base/limits.h"

#define CONTENT_CHUNK MIB

/* ---- grpc.health.v1
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *health_check(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Health__CheckResponse m = HEALTH__CHECK_RESPONSE__INIT;
    Health__CheckRequest *q;

    TRY(rpc_recv_one(call, &health__check_request__descriptor, &a, &q));
    if (q->service[0] != '\0')
        return err_new(ERR_NOT_FOUND, "unknown service");
    m.status = HEALTH__SERVING_STATUS__SERVING;
    return rpc_send(call, &m.base);
}

static struct error *health_watch(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Health__CheckResponse m = HEALTH__CHECK_RESPONSE__INIT;
    Health__CheckRequest *q;

    TRY(rpc_recv_one(call, &health__check_request__descriptor, &a, &q));
    m.status =
        q->service[0] == '\0' ? HEALTH__SERVING_STATUS__SERVING : HEALTH__SERVING_STATUS__SERVICE_UNKNOWN;
    TRY(rpc_send(call, &m.base));
    /* The status never changes: hold the stream until the client ends it or the daemon stops. */
    while (task_check_sys() == 0) {
        int r = task_sleep(3600 * NS_PER_SEC);
        if (r < 0)
            return task_error(r, "watch health");
    }
    return task_check();
}

static struct error *health_list(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Health__CheckResponse status = HEALTH__CHECK_RESPONSE__INIT;
    Health__StatusEntry entry = HEALTH__STATUS_ENTRY__INIT, *entries[] = { &entry };
    Health__ListResponse m = HEALTH__LIST_RESPONSE__INIT;
    Health__ListRequest *q;

    TRY(rpc_recv_one(call, &health__list_request__descriptor, &a, &q));
    status.status = HEALTH__SERVING_STATUS__SERVING;
    entry.value = &status;
    m.statuses = entries;
    m.n_statuses = 1;
    return rpc_send(call, &m.base);
}

const struct rpc_method health_methods[] = { { "Check", health_check },
                                             { "List", health_list },
                                             { "Watch", health_watch } };
const size_t health_method_count = ARRAY_LEN(health_methods);

/* ---- OTLP traces: accepted and dropped
 * ----------------------------------------------------------------------------------------- */

static struct error *trace_export(struct rpc_call *call, void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    Otlp__ExportTraceServiceResponse m = OTLP__EXPORT_TRACE_SERVICE_RESPONSE__INIT;
    Otlp__ExportTraceServiceRequest *q;

    TRY(rpc_recv_one(call, &otlp__export_trace_service_request__descriptor, &a, &q));
    return rpc_send(call, &m.base);
}

const struct rpc_method trace_methods[] = { { "Export", trace_export } };
const size_t trace_method_count = ARRAY_LEN(trace_methods);

/* ---- containerd content, read only: the blobs that history records name, and what the store holds
 * ------------------------------- */

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

const struct rpc_method content_methods[] = { { "Info", content_info }, { "Read", content_read } };
const size_t content_method_count = ARRAY_LEN(content_methods);

/* ---- the table
 * ------------------------------------------------------------------------------------------------------------------
 */

struct error *builder_serve_grpc(struct builder *b, struct stream *s)
{
    struct gateway_door door = { .builder = b };
    const struct rpc_service services[] = {
        { "moby.buildkit.v1.Control", control_methods, control_method_count, b },
        { "moby.buildkit.v1.frontend.LLBBridge", gateway_methods, gateway_method_count, &door },
        { "containerd.services.content.v1.Content", content_methods, content_method_count, b },
        { "grpc.health.v1.Health", health_methods, health_method_count, b },
        { "opentelemetry.proto.collector.trace.v1.TraceService", trace_methods, trace_method_count, b },
    };
    const struct rpc_service *list[ARRAY_LEN(services)];
    struct rpc_server server = { .services = list, .service_count = ARRAY_LEN(services) };

    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        list[i] = &services[i];
    return rpc_serve_stream(&server, s);
}
