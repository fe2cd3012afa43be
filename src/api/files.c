/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - a container's files, use and processes: archive, export, changes, top, stats, pause, commit */
#include "api/router.h"

#include "base/bytes.h"
#include "container/archive.h"
#include "container/changes.h"
#include "container/stats.h"
#include "engine/commit.h"
#include "oci/gojson.h"
#include "task/task.h"

static struct error *find(struct api_request *r, struct container **ret)
{
    return container_find(r->engine->containers, api_param(r, "name"), ret);
}

/* ---- archive
 * --------------------------------------------------------------------------------------------------------------
 */

static struct error *path_query(struct api_request *r, const char **ret)
{
    *ret = api_query(r, "path");
    return *ret != NULL && **ret != '\0' ? NULL : err_new(ERR_INVALID, "bad parameter: path cannot be empty");
}

static void set_stat_header(struct api_request *r, const json_t *stat)
{
    CLEANUP(buf_deinit) struct buf json = { 0 }, text = { 0 };

    go_json(&json, stat, NULL, false);
    base64_encode(&text, json.data, json.len);
    http_set_header(r->http, "X-Docker-Container-Path-Stat", buf_str(&text));
}

static struct error *begin_archive(void *ctx, const json_t *stat)
{
    struct api_request *r = ctx;

    set_stat_header(r, stat);
    http_set_header(r->http, "Content-Type", "application/x-tar");
    return http_start(r->http, 200, -1);
}

static struct error *archive_get(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    CLEANUP(json_decrefp) json_t *stat = NULL;
    const char *path, *name = api_param(r, "name");

    TRY(path_query(r, &path));
    TRY(find(r, &ct));
    if (!streq(r->http->request->method, "HEAD"))
        return container_path_get(ct, path, name, begin_archive, r, http_body_writer(r->http));
    TRY(container_path_stat(ct, path, name, &stat));
    set_stat_header(r, stat);
    return api_reply_empty(r, 200);
}

static struct error *archive_put(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    struct archive_put_options o = { .keep_kind = api_query_bool(r, "noOverwriteDirNonDir", false),
                                     .own_user = api_query_bool(r, "copyUIDGID", false),
                                     .shown = api_param(r, "name") };
    const char *path;

    TRY(path_query(r, &path));
    TRY(find(r, &ct));
    TRY(container_path_put(ct, path, &o, stream_limited(r->http->body, UINT64_MAX)));
    return api_reply_empty(r, 200);
}

static struct error *begin_export(void *ctx)
{
    struct api_request *r = ctx;

    http_set_header(r->http, "Content-Type", "application/octet-stream");
    return http_start(r->http, 200, -1);
}

static struct error *export(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;

    TRY(find(r, &ct));
    return container_export(ct, begin_export, r, http_body_writer(r->http));
}

static struct error *changes(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    json_t *j;

    TRY(find(r, &ct));
    TRY(container_changes(ct, &j));
    return api_reply_json(r, 200, j);
}

/* ---- use
 * ------------------------------------------------------------------------------------------------------------------
 */

static struct error *top(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    json_t *j;

    TRY(find(r, &ct));
    TRY(container_top(ct, api_query(r, "ps_args"), &j));
    return api_reply_json(r, 200, j);
}

static struct error *send_stats(struct api_request *r, json_t *j)
{
    CLEANUP(freep) char *text = json_dumps(j, JSON_COMPACT);
    CLEANUP(buf_deinit) struct buf line = { 0 };

    json_decref(j);
    if (r->http->status == 0) {
        http_set_header(r->http, "Content-Type", "application/json");
        TRY(http_start(r->http, 200, -1));
    }
    buf_addf(&line, "%s\n", text);
    return http_write(r->http, line.data, line.len);
}

/* One sample a second until the client leaves, or the container is removed. */
static struct error *stream_stats(struct api_request *r, struct container *ct, struct container_sample *s)
{
    json_t *j;

    for (;;) {
        TRY(container_stats(ct, s, &j));
        TRY(send_stats(r, j));
        if (container_is_removed(ct))
            return NULL;
        int n = task_sleep(NS_PER_SEC);
        if (n < 0)
            return task_error(n, "follow the statistics");
    }
}

static struct error *stats(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    CLEANUP(container_sample_deinit) struct container_sample sample = { 0 };
    json_t *j;

    TRY(find(r, &ct));
    if (api_query_bool(r, "stream", true))
        return stream_stats(r, ct, &sample);
    TRY(container_stats(ct, &sample, &j));
    if (!api_query_bool(r, "one-shot", false) && container_is_running(ct)) { /* two, a second apart */
        json_decref(j);
        int n = task_sleep(NS_PER_SEC);
        if (n < 0)
            return task_error(n, "take the statistics");
        TRY(container_stats(ct, &sample, &j));
    }
    return send_stats(r, j);
}

static struct error *pause_container(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;

    TRY(find(r, &ct));
    TRY(container_pause(ct, true));
    return api_reply_empty(r, 204);
}

static struct error *unpause_container(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;

    TRY(find(r, &ct));
    TRY(container_pause(ct, false));
    return api_reply_empty(r, 204);
}

/* ---- commit
 * ---------------------------------------------------------------------------------------------------------------
 */

static struct error *commit(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    CLEANUP(json_decrefp) json_t *body = NULL;
    CLEANUP(strv_deinit) struct strv lines = { 0 };
    const char *name = api_query(r, "container");
    struct commit_request q = { .repository = api_query(r, "repo"),
                                .tag = api_query(r, "tag"),
                                .author = api_query(r, "author"),
                                .comment = api_query(r, "comment"),
                                .pause = api_query_bool(r, "pause", true),
                                .changes = &lines };
    struct digest id;

    http_params_all(&r->http->request->query, "changes", &lines);
    TRY(api_body_json(r, &body));
    q.config = json_object_size(body) > 0 ? body : NULL;
    if (name == NULL || *name == '\0')
        return err_new(ERR_INVALID, "invalid name or ID supplied: \"\"");
    TRY(container_find(r->engine->containers, name, &ct));
    TRY(engine_commit(r->engine, ct, &q, &id));
    return api_reply_json(r, 201, json_pack("{s:s}", "Id", id.s));
}

static const struct route files_route_list[] = {
    { "GET", "/containers/{name}/archive", archive_get, true },
    { "PUT", "/containers/{name}/archive", archive_put, false },
    { "GET", "/containers/{name}/export", export, false },
    { "GET", "/containers/{name}/changes", changes, false },
    { "GET", "/containers/{name}/top", top, false },
    { "GET", "/containers/{name}/stats", stats, false },
    { "POST", "/containers/{name}/pause", pause_container, false },
    { "POST", "/containers/{name}/unpause", unpause_container, false },
    { "POST", "/commit", commit, false },
};
const struct route_table files_routes = { files_route_list, ARRAY_LEN(files_route_list) };
