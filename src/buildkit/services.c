/* SPDX-License-Identifier: Apache-2.0 */
/* services.c - the table of gRPC services, and the two small ones: health, trace */
#include "buildkit/internal.h"

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

/* ---- the table
 * ------------------------------------------------------------------------------------------------------------------
 */

struct error *builder_serve_grpc(struct builder *b, struct stream *s)
{
    struct gateway_door door = { .builder = b };
    const struct rpc_service services[] = {
        { "moby.buildkit.v1.Control", control_methods, control_method_count, b },
        { "moby.buildkit.v1.frontend.LLBBridge", gateway_methods, gateway_method_count, &door,
          .plain_errors = true },
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
