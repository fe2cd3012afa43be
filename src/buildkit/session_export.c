/* SPDX-License-Identifier: Apache-2.0 */
/* session_export.c - exporters that the client names when the result is there, and what came of them */
#include "buildkit/internal.h"
#include "session/session.h"
#include "wire/grpc.h"

#define SERVICE "/moby.exporter.v1.Exporter/"

static Kv__Bytes **metadata_of(struct pb_arena *a, const struct frontend_result *r)
{
    Kv__Bytes **list = pb_array(a, r->metadata_count);

    for (size_t i = 0; i < r->metadata_count; i++) {
        list[i] = PB_NEW(a, kv__bytes);
        list[i]->key = r->metadata[i].key;
        list[i]->value = pb_bytes(r->metadata[i].value, r->metadata[i].len);
    }
    return list;
}

/* A client that says nothing of it has none. */
static struct error *none_if_unknown(struct error *e)
{
    if (!err_is(e, ERR_UNAVAILABLE) && !err_is(e, ERR_UNIMPLEMENTED))
        return e;
    err_free(e);
    return NULL;
}

static struct error *resolve(const Sess__ExporterRequest *q, struct exporter **ret)
{
    CLEANUP(map_deinit) struct map attrs = { 0 };

    strmap_from_entries(q->attrs, q->n_attrs, &attrs);
    return exporter_resolve(q->type, &attrs, ret);
}

struct error *session_exporters_ask(const struct build *u, const char *session_id,
                                    struct error *(*add)(void *ctx, struct exporter *x), void *ctx)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(session_unrefp) struct session *s = NULL;
    Sess__FindExportersRequest q = SESS__FIND_EXPORTERS_REQUEST__INIT;
    Sess__FindExportersResponse *r = NULL;

    TRY(session_get(u->builder->config->sessions, session_id, &s));
    q.metadata = metadata_of(&a, &u->result);
    q.n_metadata = u->result.metadata_count;
    q.refs = pb_array(&a, u->result.ref_count);
    for (size_t i = 0; i < u->result.ref_count; i++)
        if (u->result.refs[i].ref != NULL)
            q.refs[q.n_refs++] = pb_str(&a, ref_id(u->result.refs[i].ref));
    TRY(none_if_unknown(rpc_unary(session_conn(s), SERVICE "FindExporters", NULL, &q.base,
                                  &sess__find_exporters_response__descriptor, &a, &r)));
    for (size_t i = 0; r != NULL && i < r->n_exporters; i++) {
        struct exporter *x;

        TRY(resolve(r->exporters[i], &x));
        TRY(add(ctx, x));
    }
    return NULL;
}

struct error *session_exporters_tell(const struct build *u, const char *session_id,
                                     const struct map *response)
{
    CLEANUP(pb_arena_deinit) struct pb_arena a = { 0 };
    CLEANUP(session_unrefp) struct session *s = NULL;
    Sess__FinalizeExportRequest q = SESS__FINALIZE_EXPORT_REQUEST__INIT;
    Sess__FinalizeExportResponse *r;

    TRY(session_get(u->builder->config->sessions, session_id, &s));
    q.exporter_response = pb_from_strmap(&a, response, &q.n_exporter_response);
    return none_if_unknown(rpc_unary(session_conn(s), SERVICE "FinalizeExport", NULL, &q.base,
                                     &sess__finalize_export_response__descriptor, &a, &r));
}
