/* SPDX-License-Identifier: Apache-2.0 */
/* containers.c - /containers */
#include "api/router.h"

#include "base/bytes.h"
#include "container/container.h"
#include "engine/engine.h"
#include "oci/gojson.h"

#include <stdio.h>

#define FRAME_HEADER 8

static struct error *find(struct api_request *r, struct container **ret)
{
    return container_find(r->engine->containers, api_param(r, "name"), ret);
}

/* Seconds of the query `t`; *ret_given says whether it was there. */
static struct error *timeout_query(struct api_request *r, int64_t *ret, const int64_t **ret_given)
{
    const char *text = api_query(r, "t");

    *ret_given = NULL;
    if (text == NULL || *text == '\0')
        return NULL;
    TRY(api_query_int(r, "t", 0, ret));
    *ret_given = ret;
    return NULL;
}

/* ---- create
 * -------------------------------------------------------------------------------------------------------------------
 */

static struct error *create(struct api_request *r)
{
    json_t *body = NULL, *reply = NULL;

    TRY(api_body_json(r, &body));
    struct container_request c = {
        .name = api_query(r, "name"),
        .config = json_object_size(body) > 0 ? body : NULL,
        .host_config = json_object_get(body, "HostConfig"),
        .networking = json_object_get(body, "NetworkingConfig"),
        .platform = r->version >= 41 ? api_query(r, "platform") : NULL,
        .version = r->version,
    };
    struct error *e = container_create(r->engine->containers, &c, &reply);
    json_decref(body);
    return e != NULL ? e : api_reply_json(r, 201, reply);
}

/* ---- start, stop and the like
 * ------------------------------------------------------------------------------------------------- */

/* 304 has no body, so that it is no error here. */
static struct error *reply_changed(struct api_request *r, struct error *e)
{
    if (e == NULL)
        return api_reply_empty(r, 204);
    if (e->kind != ERR_NOT_MODIFIED)
        return e;
    err_free(e);
    return api_reply_empty(r, 304);
}

static struct error *start(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;

    if (r->http->request->content_length > 7 ||
        (r->http->request->has_body && r->http->request->content_length < 0))
        return err_new(ERR_INVALID, "starting container with non-empty request body was deprecated since API "
                                    "v1.22 and removed in v1.24");
    TRY(find(r, &ct));
    return reply_changed(r, container_start(ct));
}

static struct error *stop(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    const int64_t *given;
    int64_t seconds;

    TRY(timeout_query(r, &seconds, &given));
    TRY(find(r, &ct));
    struct error *e = container_stop(ct, r->version >= 42 ? api_query(r, "signal") : NULL, given);
    if (e != NULL && e->kind != ERR_NOT_MODIFIED)
        e = err_wrap(e, "cannot stop container: %s", api_param(r, "name"));
    return reply_changed(r, e);
}

static struct error *restart(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    const int64_t *given;
    int64_t seconds;

    TRY(timeout_query(r, &seconds, &given));
    TRY(find(r, &ct));
    TRY(err_wrap(container_restart(ct, r->version >= 42 ? api_query(r, "signal") : NULL, given),
                 "Cannot restart container %s", api_param(r, "name")));
    return api_reply_empty(r, 204);
}

static struct error *kill_container(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    const char *name = api_param(r, "name");

    TRY(err_wrap(find(r, &ct), "cannot kill container: %s", name));
    TRY(err_wrap(container_kill(ct, api_query(r, "signal")), "cannot kill container: %s", name));
    return api_reply_empty(r, 204);
}

static struct error *rename_container(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    const char *name = api_query(r, "name");

    if (name == NULL || *name == '\0')
        return err_new(ERR_INVALID, "Neither old nor new names may be empty");
    TRY(find(r, &ct));
    TRY(container_rename(ct, name));
    return api_reply_empty(r, 204);
}

static struct error *remove_container(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;

    if (api_query_bool(r, "link", false))
        return err_new(ERR_UNIMPLEMENTED, "links to other containers (--link): not supported yet");
    TRY(find(r, &ct));
    TRY(container_remove(ct, api_param(r, "name"), api_query_bool(r, "force", false)));
    return api_reply_empty(r, 204);
}

static struct error *resize(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    int64_t width, height;

    TRY(api_query_int(r, "h", -1, &height));
    TRY(api_query_int(r, "w", -1, &width));
    if (height < 0 || height > UINT32_MAX)
        return err_new(ERR_INVALID, "invalid resize height \"%s\": invalid syntax",
                       api_query(r, "h") ? api_query(r, "h") : "");
    if (width < 0 || width > UINT32_MAX)
        return err_new(ERR_INVALID, "invalid resize width \"%s\": invalid syntax",
                       api_query(r, "w") ? api_query(r, "w") : "");
    TRY(find(r, &ct));
    TRY(container_resize(ct, (unsigned)width, (unsigned)height));
    return api_reply_empty(r, 200);
}

/* ---- wait
 * ---------------------------------------------------------------------------------------------------------------------
 */

static struct error *wait_condition(struct api_request *r, enum wait_condition *ret)
{
    const char *text = r->version >= 30 ? api_query(r, "condition") : NULL;

    *ret = WAIT_NOT_RUNNING;
    if (text == NULL || *text == '\0' || streq(text, "not-running"))
        return NULL;
    if (streq(text, "next-exit"))
        *ret = WAIT_NEXT_EXIT;
    else if (streq(text, "removed"))
        *ret = WAIT_REMOVED;
    else
        return err_new(ERR_INVALID, "invalid condition: \"%s\"", text);
    return NULL;
}

static struct error *wait_container(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    CLEANUP(freep) char *why = NULL;
    CLEANUP(freep) char *text = NULL;
    CLEANUP(buf_deinit) struct buf line = { 0 };
    struct container_waiter waiter;
    enum wait_condition condition;
    int code = 0;

    TRY(wait_condition(r, &condition));
    TRY(find(r, &ct));
    container_wait_begin(ct, condition, &waiter);
    http_set_header(r->http, "Content-Type", "application/json");
    /* The client starts the container once it has the header: the wait has begun then. */
    struct error *e = r->version >= 30 ? http_start(r->http, 200, -1) : NULL;
    if (e != NULL) {
        container_unref(waiter.container);
        return e;
    }
    TRY(container_wait_end(&waiter, &code, &why));
    json_t *reply = json_pack("{s:i}", "StatusCode", code);
    if (why != NULL)
        json_object_set_new(reply, "Error", json_pack("{s:o}", "Message", go_json_text(why)));
    text = json_dumps(reply, JSON_COMPACT);
    json_decref(reply);
    buf_addf(&line, "%s\n", text);
    return http_write(r->http, line.data, line.len);
}

/* ---- attach
 * -------------------------------------------------------------------------------------------------------------------
 */

static struct error *attach(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    CLEANUP(stream_closep) struct stream *conn = NULL;
    bool upgrade = http_header(r->http->request, "upgrade") != NULL;
    struct attach_options o = {
        .want_stdin = api_query_bool(r, "stdin", false),
        .want_stdout = api_query_bool(r, "stdout", false),
        .want_stderr = api_query_bool(r, "stderr", false),
        .logs = api_query_bool(r, "logs", false),
        .stream = api_query_bool(r, "stream", false),
        .detach_keys = api_query(r, "detachKeys"),
    };

    TRY(find(r, &ct));
    TRY(container_attach_check(ct, &o));
    o.multiplexed = !container_has_tty(ct);
    bool named = upgrade && o.multiplexed && r->version >= 42;
    http_set_header(r->http, "Content-Type",
                    named ? "application/vnd.docker.multiplexed-stream"
                          : "application/vnd.docker.raw-stream");
    TRY(http_hijack(r->http, upgrade ? "tcp" : NULL, &conn));
    struct error *e = container_attach(ct, &o, conn);
    if (e == NULL)
        (void)stream_shut(conn);
    return e;
}

static struct error *attach_websocket(struct api_request *r)
{
    return err_new(ERR_UNIMPLEMENTED, "attaching over a websocket: not supported yet");
}

/* ---- logs
 * ---------------------------------------------------------------------------------------------------------------------
 */

struct log_writer {
    struct http_exchange *http;
    bool framed, timestamps;
};

/* Nanoseconds always with nine digits, so that lines stay aligned. */
static void add_timestamp(struct buf *out, int64_t ns)
{
    char text[40];
    int64_t whole = ns - ns % NS_PER_SEC;

    format_rfc3339(text, whole);
    buf_add(out, text, strlen(text) - 1);
    buf_addf(out, ".%09lldZ ", (long long)(ns % NS_PER_SEC));
}

static struct error *write_record(void *ctx, const struct log_record *record)
{
    struct log_writer *w = ctx;
    CLEANUP(buf_deinit) struct buf out = { 0 };
    static const char header[FRAME_HEADER] = { 0 };

    if (w->framed)
        buf_add(&out, header, sizeof(header));
    if (w->timestamps)
        add_timestamp(&out, record->time_ns);
    buf_add(&out, record->text, record->len);
    if (w->framed) {
        size_t len = out.len - FRAME_HEADER;

        out.data[0] = record->stream == LOG_STDERR ? 2 : 1;
        for (int i = 0; i < 4; i++)
            out.data[4 + i] = (char)(len >> (24 - 8 * i));
    }
    return http_write(w->http, out.data, out.len);
}

static struct error *time_query(struct api_request *r, const char *name, int64_t *ret)
{
    const char *text = api_query(r, name);

    *ret = 0;
    if (text == NULL || *text == '\0' || streq(text, "0"))
        return NULL;
    if (parse_time(text, ret) < 0)
        return err_new(ERR_INVALID, "invalid value for \"%s\": failed to parse value as timestamp: \"%s\"",
                       name, text);
    return NULL;
}

static struct error *logs_query(struct api_request *r, struct log_read *o)
{
    bool out = api_query_bool(r, "stdout", false), err = api_query_bool(r, "stderr", false);
    const char *tail = api_query(r, "tail");

    if (!out && !err)
        return err_new(ERR_INVALID, "must specify at least one of 'stdout' or 'stderr'");
    o->streams = (out ? LOG_STDOUT : 0) | (err ? LOG_STDERR : 0);
    o->follow = api_query_bool(r, "follow", false);
    if (tail == NULL || parse_i64(tail, &o->tail) < 0)
        o->tail = -1; /* "all", and whatever is no number */
    TRY(time_query(r, "since", &o->since_ns));
    return time_query(r, "until", &o->until_ns);
}

static struct error *logs(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    struct log_writer w = { .http = r->http, .timestamps = api_query_bool(r, "timestamps", false) };
    struct log_read o = { 0 };

    TRY(logs_query(r, &o));
    TRY(find(r, &ct));
    TRY(container_logs_check(ct));
    w.framed = !container_has_tty(ct);
    http_set_header(r->http, "Content-Type",
                    w.framed && r->version >= 42 ? "application/vnd.docker.multiplexed-stream"
                                                 : "application/vnd.docker.raw-stream");
    TRY(http_start(r->http, 200, -1));
    return container_logs(ct, &o, write_record, &w);
}

/* ---- looking
 * ------------------------------------------------------------------------------------------------------------------
 */

static struct error *inspect(struct api_request *r)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;
    json_t *j = NULL;

    TRY(find(r, &ct));
    TRY(container_inspect(ct, api_query_bool(r, "size", false), r->version, &j));
    return api_reply_json(r, 200, j);
}

static struct error *check_health(const struct strv *values)
{
    static const char *const known[] = { "none", "starting", "healthy", "unhealthy" };

    for (size_t i = 0; values != NULL && i < values->len; i++) {
        bool ok = false;

        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            ok |= streq(values->v[i], known[k]);
        if (!ok)
            return err_new(ERR_INVALID,
                           "invalid filter 'health=%s': invalid value for health (%s): must be one of none, "
                           "starting, healthy, unhealthy",
                           values->v[i], values->v[i]);
    }
    return NULL;
}

static struct error *list(struct api_request *r)
{
    static const char *const allowed[] = { "ancestor",  "annotation", "before",  "exited",  "id",
                                           "isolation", "label",      "name",    "status",  "health",
                                           "since",     "volume",     "network", "is-task", "publish",
                                           "expose",    NULL };
    CLEANUP(api_filters_deinit) struct api_filters f = { 0 };
    int64_t limit;
    json_t *j = NULL;

    TRY(api_query_filters(r, allowed, &f));
    TRY(api_query_int(r, "limit", 0, &limit));
    TRY(check_health(api_filter(&f, "health")));
    struct container_filters c = {
        .id = api_filter(&f, "id"),
        .name = api_filter(&f, "name"),
        .label = api_filter(&f, "label"),
        .status = api_filter(&f, "status"),
        .exited = api_filter(&f, "exited"),
        .ancestor = api_filter(&f, "ancestor"),
        .before = api_filter(&f, "before"),
        .since = api_filter(&f, "since"),
        .network = api_filter(&f, "network"),
        .publish = api_filter(&f, "publish"),
        .expose = api_filter(&f, "expose"),
        .volume = api_filter(&f, "volume"),
        .health = api_filter(&f, "health"),
        .is_task = api_filter(&f, "is-task"),
        .isolation = api_filter(&f, "isolation"),
    };
    TRY(containers_list(r->engine->containers, api_query_bool(r, "all", false),
                        api_query_bool(r, "size", false), limit, &c, r->version, &j));
    return api_reply_json(r, 200, j);
}

/* "until" of prune: a moment, or how long ago. */
static struct error *until_filter(const struct strv *until, int64_t *ret)
{
    int64_t ago;

    *ret = 0;
    if (until == NULL || until->len == 0)
        return NULL;
    if (until->len > 1)
        return err_new(ERR_INVALID, "more than one until filter specified");
    if (parse_duration(until->v[0], &ago) == 0)
        *ret = now_ns() - ago;
    else if (parse_time(until->v[0], ret) < 0)
        return err_new(ERR_INVALID, "invalid filter 'until=%s'", until->v[0]);
    return NULL;
}

static struct error *prune(struct api_request *r)
{
    static const char *const allowed[] = { "label", "label!", "until", NULL };
    CLEANUP(api_filters_deinit) struct api_filters f = { 0 };
    CLEANUP(map_deinit) struct map attributes = { 0 };
    CLEANUP(freep) char *bytes = NULL;
    int64_t until;
    json_t *j = NULL;

    TRY(api_query_filters(r, allowed, &f));
    TRY(until_filter(api_filter(&f, "until"), &until));
    TRY(containers_prune(r->engine->containers, api_filter(&f, "label"), api_filter(&f, "label!"), until,
                         &j));
    strmap_init(&attributes);
    bytes = xasprintf("%lld", (long long)json_integer_value(json_object_get(j, "SpaceReclaimed")));
    strmap_set(&attributes, "reclaimed", bytes);
    events_publish(r->engine->events, "container", "prune", "", &attributes);
    return api_reply_json(r, 200, j);
}

/* ---- what comes later
 * ---------------------------------------------------------------------------------------------------------
 */

static struct error *later(const char *what)
{
    return err_new(ERR_UNIMPLEMENTED, "%s: not supported yet", what);
}

static struct error *later_update(struct api_request *r)
{
    return later("updating a container's limits (docker update)");
}

static const struct route container_route_list[] = {
    { "GET", "/containers/json", list, false },
    { "POST", "/containers/create", create, false },
    { "POST", "/containers/prune", prune, false },
    { "GET", "/containers/{name}/json", inspect, false },
    { "GET", "/containers/{name}/logs", logs, false },
    { "POST", "/containers/{name}/start", start, false },
    { "POST", "/containers/{name}/stop", stop, false },
    { "POST", "/containers/{name}/restart", restart, false },
    { "POST", "/containers/{name}/kill", kill_container, false },
    { "POST", "/containers/{name}/wait", wait_container, false },
    { "POST", "/containers/{name}/resize", resize, false },
    { "POST", "/containers/{name}/attach", attach, false },
    { "POST", "/containers/{name}/rename", rename_container, false },
    { "DELETE", "/containers/{name}", remove_container, false },
    { "GET", "/containers/{name}/attach/ws", attach_websocket, false },
    { "POST", "/containers/{name}/update", later_update, false },
};
const struct route_table container_routes = { container_route_list, ARRAY_LEN(container_route_list) };
