/* SPDX-License-Identifier: Apache-2.0 */
/* system.c - /_ping, /version, /info, /auth, /events */
#include "api/router.h"

#include "base/bytes.h"
#include "engine/containers.h"
#include "engine/engine.h"
#include "io/path.h"
#include "oci/platform.h"
#include "task/task.h"

#include <errno.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- ping, version
 * -----------------------------------------------------------------------------------------------------------
 */

static struct error *ping(struct api_request *r)
{
    http_set_header(r->http, "Builder-Version", r->engine->config->classic_builder_preferred ? "1" : "2");
    http_set_header(r->http, "Swarm", "inactive");
    http_set_header(r->http, "Cache-Control", "no-cache, no-store, must-revalidate");
    http_set_header(r->http, "Pragma", "no-cache");
    if (streq(r->http->request->method, "HEAD"))
        return http_reply(r->http, 200, "text/plain; charset=utf-8", "", 0);
    return http_reply(r->http, 200, "text/plain; charset=utf-8", "OK", 2);
}

static struct error *version(struct api_request *r)
{
    const struct engine_config *c = r->engine->config;
    struct utsname u;
    json_t *component;

    if (uname(&u) < 0)
        return err_sys(errno, "read the kernel's version");
    component =
        json_pack("[{s:s, s:s, s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s}}, {s:s, s:s, s:{}}]", "Name", "Engine",
                  "Version", c->server_version, "Details", "ApiVersion", API_VERSION_MAX, "Arch",
                  platform_host()->architecture, "Experimental", c->experimental ? "true" : "false",
                  "KernelVersion", u.release, "MinAPIVersion", API_VERSION_MIN, "Os", "linux", "GitCommit",
                  "minke-" MINKE_VERSION, "Name", "minke", "Version", MINKE_VERSION, "Details");
    return api_reply_json(r, 200,
                          json_pack("{s:{s:s}, s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "Platform",
                                    "Name", "minke " MINKE_VERSION, "Components", component, "Version",
                                    c->server_version, "ApiVersion", API_VERSION_MAX, "MinAPIVersion",
                                    API_VERSION_MIN, "GitCommit", "minke-" MINKE_VERSION, "GoVersion", "none",
                                    "Os", "linux", "Arch", platform_host()->architecture, "KernelVersion",
                                    u.release));
}

/* ---- info
 * ----------------------------------------------------------------------------------------------------------------------
 */

static size_t count_images(struct engine *e)
{
    struct image_record *v = NULL;
    size_t n = 0, distinct = 0;
    struct map seen = { 0 };

    err_free(image_list(e->store, &v, &n));
    for (size_t i = 0; i < n; i++) {
        if (!map_has(&seen, v[i].target.digest.s)) {
            map_set(&seen, v[i].target.digest.s, v);
            distinct++;
        }
        image_record_deinit(&v[i]);
    }
    free(v);
    map_deinit(&seen);
    return distinct;
}

/* The value of NAME= in /etc/os-release, without quotes. */
static char *os_name(const char *name)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    CLEANUP(strv_deinit) struct strv lines = { 0 };

    if (file_read("/etc/os-release", &b, 65536) < 0)
        return xstrdup("Linux");
    strv_split(&lines, buf_str(&b), '\n');
    for (size_t i = 0; i < lines.len; i++) {
        const char *v = str_skip_prefix(lines.v[i], name);
        if (v == NULL || v[0] != '=')
            continue;
        v++;
        if (v[0] == '"' && strlen(v) >= 2)
            return xstrndup(v + 1, strlen(v) - 2);
        return xstrdup(v);
    }
    return xstrdup("Linux");
}

static bool pure_cgroup2(void)
{
    return access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
}

static void info_host(json_t *j)
{
    CLEANUP(freep) char *pretty = os_name("PRETTY_NAME");
    CLEANUP(freep) char *os_version = os_name("VERSION_ID");
    char host[256] = "";
    struct utsname u = { 0 };
    struct sysinfo si = { 0 };

    uname(&u);
    sysinfo(&si);
    gethostname(host, sizeof(host) - 1);
    json_object_set_new(j, "Name", json_string(host));
    json_object_set_new(j, "KernelVersion", json_string(u.release));
    json_object_set_new(j, "OperatingSystem", json_string(pretty));
    json_object_set_new(j, "OSVersion", json_string(os_version));
    json_object_set_new(j, "OSType", json_string("linux"));
    json_object_set_new(j, "Architecture", json_string(u.machine));
    json_object_set_new(j, "NCPU", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(j, "MemTotal", json_integer((json_int_t)si.totalram * si.mem_unit));
    json_object_set_new(j, "CgroupDriver", json_string("cgroupfs"));
    json_object_set_new(j, "CgroupVersion", json_string(pure_cgroup2() ? "2" : "1"));
}

static void info_counts(json_t *j, struct engine *e)
{
    struct container_counts n = engine_container_counts(e);

    json_object_set_new(j, "Containers", json_integer(n.running + n.paused + n.stopped));
    json_object_set_new(j, "ContainersRunning", json_integer(n.running));
    json_object_set_new(j, "ContainersPaused", json_integer(n.paused));
    json_object_set_new(j, "ContainersStopped", json_integer(n.stopped));
    json_object_set_new(j, "Images", json_integer((json_int_t)count_images(e)));
}

static void info_limits(json_t *j)
{
    static const char *const on[] = { "MemoryLimit", "SwapLimit",      "CpuCfsPeriod",
                                      "CpuCfsQuota", "CPUShares",      "CPUSet",
                                      "PidsLimit",   "IPv4Forwarding", "OomKillDisable" };

    for (size_t i = 0; i < ARRAY_LEN(on); i++)
        json_object_set_new(j, on[i], json_true());
}

static void info_registry(json_t *j, const struct engine_config *c)
{
    json_t *cidrs = json_pack("[s, s]", "::1/128", "127.0.0.0/8"), *index = json_object();

    for (size_t i = 0; i < c->insecure_registries.len; i++) {
        const char *h = c->insecure_registries.v[i];
        if (strchr(h, '/') != NULL)
            json_array_append_new(cidrs, json_string(h));
        else
            json_object_set_new(
                index, h,
                json_pack("{s:s, s:[], s:b, s:b}", "Name", h, "Mirrors", "Secure", 0, "Official", 0));
    }
    json_object_set_new(index, "docker.io",
                        json_pack("{s:s, s:o, s:b, s:b}", "Name", "docker.io", "Mirrors",
                                  strv_to_json(&c->registry_mirrors), "Secure", 1, "Official", 1));
    json_object_set_new(j, "RegistryConfig",
                        json_pack("{s:o, s:o, s:o}", "InsecureRegistryCIDRs", cidrs, "IndexConfigs", index,
                                  "Mirrors", strv_to_json(&c->registry_mirrors)));
}

static json_t *info_runtimes(const struct engine_config *c)
{
    json_t *j = json_object();

    for (size_t i = 0; i < c->runner.runtime_count; i++)
        json_object_set_new(j, c->runner.runtimes[i].name,
                            json_pack("{s:s}", "path", c->runner.runtimes[i].path));
    return j;
}

static struct error *info(struct api_request *r)
{
    struct engine *e = r->engine;
    const struct engine_config *c = e->config;
    json_t *j = json_object();
    char now[40];

    format_rfc3339(now, now_ns());
    json_object_set_new(j, "ID", json_string(e->id));
    info_counts(j, e);
    json_object_set_new(j, "Driver", json_string("overlayfs"));
    json_object_set_new(j, "DriverStatus",
                        json_pack("[[s, s]]", "driver-type", "io.containerd.snapshotter.v1"));
    json_object_set_new(j, "Plugins",
                        json_pack("{s:[s], s:[s, s, s], s:n, s:[s]}", "Volume", "local", "Network", "bridge",
                                  "host", "null", "Authorization", "Log", "json-file"));
    info_limits(j);
    json_object_set_new(j, "Debug", json_boolean(c->debug));
    json_object_set_new(j, "NFd", json_integer(0));
    json_object_set_new(j, "NGoroutines", json_integer((json_int_t)task_count()));
    json_object_set_new(j, "SystemTime", json_string(now));
    json_object_set_new(j, "LoggingDriver", json_string("json-file"));
    json_object_set_new(j, "NEventsListener", json_integer(0));
    info_host(j);
    json_object_set_new(j, "IndexServerAddress", json_string("https://index.docker.io/v1/"));
    info_registry(j, c);
    json_object_set_new(j, "GenericResources", json_null());
    json_object_set_new(j, "DockerRootDir", json_string(c->data_root));
    json_object_set_new(j, "HttpProxy", json_string(""));
    json_object_set_new(j, "HttpsProxy", json_string(""));
    json_object_set_new(j, "NoProxy", json_string(""));
    json_object_set_new(j, "Labels", strv_to_json(&c->labels));
    json_object_set_new(j, "ExperimentalBuild", json_boolean(c->experimental));
    json_object_set_new(j, "ServerVersion", json_string(c->server_version));
    json_object_set_new(j, "Runtimes", info_runtimes(c));
    json_object_set_new(j, "DefaultRuntime", json_string(c->default_runtime));
    json_object_set_new(j, "Swarm",
                        json_pack("{s:s, s:s, s:s, s:b, s:s, s:n}", "NodeID", "", "NodeAddr", "",
                                  "LocalNodeState", "inactive", "ControlAvailable", 0, "Error", "",
                                  "RemoteManagers"));
    json_object_set_new(j, "LiveRestoreEnabled", json_false());
    json_object_set_new(j, "Isolation", json_string(""));
    json_object_set_new(j, "InitBinary", json_string("docker-init"));
    json_object_set_new(j, "ContainerdCommit", json_pack("{s:s}", "ID", ""));
    json_object_set_new(j, "RuncCommit", json_pack("{s:s}", "ID", ""));
    json_object_set_new(j, "InitCommit", json_pack("{s:s}", "ID", ""));
    json_object_set_new(
        j, "SecurityOptions",
        json_pack(pure_cgroup2() ? "[s, s]" : "[s]", "name=seccomp,profile=builtin", "name=cgroupns"));
    json_object_set_new(j, "CDISpecDirs", strv_to_json(&c->runner.cdi_dirs));
    json_object_set_new(j, "Warnings", json_null());
    return api_reply_json(r, 200, j);
}

/* ---- auth
 * ----------------------------------------------------------------------------------------------------------------------
 */

/* Try the credentials against the registry's /v2/; the client keeps them. */
static struct error *auth(struct api_request *r)
{
    json_t *body = NULL;
    const char *user, *secret, *server;
    struct error *e;

    TRY(api_body_json(r, &body));
    user = json_string_value(json_object_get(body, "username"));
    secret = json_string_value(json_object_get(body, "password"));
    server = json_string_value(json_object_get(body, "serveraddress"));
    if (server == NULL || server[0] == '\0')
        server = "https://index.docker.io/v1/";
    e = registry_login(r->engine->registry, server, user == NULL ? "" : user, secret == NULL ? "" : secret);
    json_decref(body);
    TRY(e);
    return api_reply_json(r, 200, json_pack("{s:s, s:s}", "IdentityToken", "", "Status", "Login Succeeded"));
}

/* ---- events
 * ----------------------------------------------------------------------------------------------------------------------
 */

static const char *const event_filters[] = { "config", "container", "daemon", "event",  "image",
                                             "label",  "network",   "node",   "plugin", "scope",
                                             "secret", "service",   "type",   "volume", NULL };

static bool any_equal(const struct strv *want, const char *a, const char *b)
{
    for (size_t i = 0; want != NULL && i < want->len; i++) {
        if ((a != NULL && streq(want->v[i], a)) || (b != NULL && streq(want->v[i], b)))
            return true;
    }
    return false;
}

static bool label_matches(const struct strv *want, const struct event *e)
{
    for (size_t i = 0; i < want->len; i++) {
        const char *eq = strchr(want->v[i], '='), *v;
        CLEANUP(freep)
        char *key = eq == NULL ? xstrdup(want->v[i]) : xstrndup(want->v[i], (size_t)(eq - want->v[i]));
        v = strmap_get(&e->attributes, key);
        if (v == NULL || (eq != NULL && !streq(v, eq + 1)))
            return false;
    }
    return true;
}

static bool event_passes(const struct api_filters *f, const struct event *e)
{
    const struct strv *types = api_filter(f, "type"), *actions = api_filter(f, "event"),
                      *labels = api_filter(f, "label");
    const struct strv *containers = api_filter(f, "container"), *images = api_filter(f, "image");
    const char *name = strmap_get(&e->attributes, "name"), *image = strmap_get(&e->attributes, "image");

    if (types != NULL && types->len > 0 && !any_equal(types, e->type, NULL))
        return false;
    if (actions != NULL && actions->len > 0 && !any_equal(actions, e->action, NULL))
        return false;
    if (labels != NULL && !label_matches(labels, e))
        return false;
    if (containers != NULL && containers->len > 0 &&
        !(streq(e->type, "container") && any_equal(containers, e->id, name)))
        return false;
    if (images != NULL && images->len > 0 &&
        !(streq(e->type, "image") ? any_equal(images, e->id, name) : any_equal(images, image, NULL)))
        return false;
    return true;
}

static json_t *event_json(const struct event *e, int version)
{
    json_t *j = json_object();

    if (version < 52) { /* the old top-level fields end with API 1.52 */
        const char *image = strmap_get(&e->attributes, "image");
        json_object_set_new(j, "status", json_string(e->action));
        json_object_set_new(j, "id", json_string(e->id));
        if (image != NULL)
            json_object_set_new(j, "from", json_string(image));
    }
    json_object_set_new(j, "Type", json_string(e->type));
    json_object_set_new(j, "Action", json_string(e->action));
    json_object_set_new(j, "Actor",
                        json_pack("{s:s, s:o}", "ID", e->id, "Attributes", api_json_strmap(&e->attributes)));
    json_object_set_new(j, "scope", json_string("local"));
    json_object_set_new(j, "time", json_integer(e->time_ns / NS_PER_SEC));
    json_object_set_new(j, "timeNano", json_integer(e->time_ns));
    return j;
}

static struct error *event_time(const struct api_request *r, const char *name, int64_t *ret)
{
    const char *v = api_query(r, name);

    *ret = 0;
    if (v == NULL || v[0] == '\0')
        return NULL;
    if (parse_time(v, ret) < 0)
        return err_new(ERR_INVALID, "invalid value \"%s\" for query parameter %s: not a time", v, name);
    return NULL;
}

static struct error *write_event(struct api_request *r, const struct event *e)
{
    json_t *j = event_json(e, r->version);
    CLEANUP(freep) char *text = json_dumps(j, JSON_COMPACT);
    CLEANUP(buf_deinit) struct buf line = { 0 };

    json_decref(j);
    buf_addf(&line, "%s\n", text == NULL ? "{}" : text);
    return http_write(r->http, line.data, line.len);
}

static struct error *stream_events(struct api_request *r, const struct api_filters *f, int64_t since,
                                   int64_t until)
{
    uint64_t sequence = since == 0 ? events_now(r->engine->events) : 0;

    http_set_header(r->http, "Content-Type", r->version >= 52 ? "application/x-ndjson" : "application/json");
    TRY(http_start(r->http, 200, -1));
    for (;;) {
        struct event *e = NULL;
        struct error *failure = NULL;
        TRY(events_next(r->engine->events, &sequence, until, &e));
        if (e == NULL)
            return NULL;
        if (e->time_ns >= since && (until == 0 || e->time_ns <= until) && event_passes(f, e))
            failure = write_event(r, e);
        engine_event_unref(e);
        TRY(failure);
    }
}

static struct error *events(struct api_request *r)
{
    CLEANUP(api_filters_deinit) struct api_filters f = { 0 };
    int64_t since, until;

    TRY(event_time(r, "since", &since));
    TRY(event_time(r, "until", &until));
    TRY(api_query_filters(r, event_filters, &f));
    return stream_events(r, &f, since, until);
}

static const struct route routes[] = {
    { "GET", "/_ping", ping, true },  { "GET", "/version", version, false }, { "GET", "/info", info, false },
    { "POST", "/auth", auth, false }, { "GET", "/events", events, false },
};
const struct route_table system_routes = { routes, ARRAY_LEN(routes) };
