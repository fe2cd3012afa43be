/* SPDX-License-Identifier: Apache-2.0 */
/* inspect.c - containers as JSON: one in full, many in short */
#include "container/internal.h"

#include "base/bytes.h"
#include "container/mounts.h"
#include "container/shape.h"
#include "io/path.h"
#include "oci/gojson.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DRIVER "overlayfs"

/* ---- small parts
 * --------------------------------------------------------------------------------------------------------------
 */

static const char *state_word(const struct state *s)
{
    if (s->running)
        return s->paused ? "paused" : s->restarting ? "restarting" : "running";
    if (s->removing)
        return "removing";
    if (s->dead)
        return "dead";
    return s->started_ns == 0 ? "created" : "exited";
}

/* go-units' HumanDuration. */
static char *human_duration(int64_t ns)
{
    int64_t s = ns / NS_PER_SEC;
    int64_t hours = (s + 1800) / 3600;

    if (s < 1)
        return xstrdup("Less than a second");
    if (s == 1)
        return xstrdup("1 second");
    if (s < 60)
        return xasprintf("%lld seconds", (long long)s);
    if (s < 120)
        return xstrdup("About a minute");
    if (s < 3600)
        return xasprintf("%lld minutes", (long long)(s / 60));
    if (hours == 1)
        return xstrdup("About an hour");
    if (hours < 48)
        return xasprintf("%lld hours", (long long)hours);
    if (hours < 24 * 7 * 2)
        return xasprintf("%lld days", (long long)(hours / 24));
    if (hours < 24 * 30 * 2)
        return xasprintf("%lld weeks", (long long)(hours / 24 / 7));
    if (hours < 24 * 365 * 2)
        return xasprintf("%lld months", (long long)(hours / 24 / 30));
    return xasprintf("%lld years", (long long)(s / 3600 / 24 / 365));
}

static char *status_of(const struct container *ct)
{
    const struct state *s = &ct->state;
    const char *health = ct->health.status;
    int64_t now = now_ns();

    if (s->restarting) {
        CLEANUP(freep) char *ended = human_duration(now - s->finished_ns);

        return xasprintf("Restarting (%d) %s ago", s->exit_code, ended);
    }
    if (s->running) {
        CLEANUP(freep) char *since = human_duration(now - s->started_ns);

        if (s->paused || health == NULL)
            return xasprintf("Up %s%s", since, s->paused ? " (Paused)" : "");
        return xasprintf("Up %s (%s%s)", since, streq(health, "starting") ? "health: " : "", health);
    }
    if (s->removing)
        return xstrdup("Removal In Progress");
    if (s->dead)
        return xstrdup("Dead");
    if (s->started_ns == 0)
        return xstrdup("Created");
    CLEANUP(freep) char *since = human_duration(now - s->finished_ns);
    return xasprintf("Exited (%d) %s ago", s->exit_code, since);
}

char *container_status_text(struct container *ct)
{
    mutex_lock(&ct->lock);
    char *text = status_of(ct);
    mutex_unlock(&ct->lock);
    return text;
}

static int64_t tree_size(int dir_fd)
{
    DIR *dir = fdopendir(dir_fd);
    struct dirent *entry;
    int64_t total = 0;

    if (dir == NULL) {
        close(dir_fd);
        return 0;
    }
    while ((entry = readdir(dir)) != NULL) {
        struct stat st;

        if (streq(entry->d_name, ".") || streq(entry->d_name, "..") ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        if (S_ISREG(st.st_mode)) {
            total += st.st_size;
        } else if (S_ISDIR(st.st_mode)) {
            int sub = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

            total += sub >= 0 ? tree_size(sub) : 0;
        }
    }
    closedir(dir);
    return total;
}

int64_t container_size(struct container *ct)
{
    CLEANUP(freep) char *upper = path_join(ct->dir, "upper");
    int fd = open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd >= 0 ? tree_size(fd) : 0;
}

static int64_t image_size(struct container *ct)
{
    int64_t total = 0;

    for (size_t i = 0; i < snapshot_layer_count(ct->snapshot); i++)
        total += snapshot_layer(ct->snapshot, i)->size;
    return total;
}

/* ---- networks
 * -----------------------------------------------------------------------------------------------------------------
 */

/* The ids of the three networks that always are there; network routes show the same. */
static const struct {
    const char *mode, *id;
} networks[] = {
    { "bridge", "6b1d5d5f5b7a4a0c9b0e2f3c7a1d8e9f00112233445566778899aabbccddee01" },
    { "host", "6b1d5d5f5b7a4a0c9b0e2f3c7a1d8e9f00112233445566778899aabbccddee02" },
    { "none", "6b1d5d5f5b7a4a0c9b0e2f3c7a1d8e9f00112233445566778899aabbccddee03" },
};

static const char *network_id(const char *mode)
{
    for (size_t i = 0; i < ARRAY_LEN(networks); i++)
        if (streq(networks[i].mode, mode))
            return networks[i].id;
    return "";
}

/* One EndpointSettings, with ct->lock held. */
static json_t *endpoint_locked(const struct container *ct, int version)
{
    const struct network *n = runner_network(ct->all->config->runner);
    bool up = ct->state.running, bridged = up && ct->ip != NULL && n != NULL;
    const char *mode = json_get_string(ct->host_config, "NetworkMode");
    json_t *o = json_object();

    json_object_set_new(o, "IPAMConfig", json_null());
    json_object_set_new(o, "Links", json_null());
    json_object_set_new(o, "Aliases", json_null());
    json_object_set_new(o, "DriverOpts", json_null());
    if (version >= 48)
        json_object_set_new(o, "GwPriority", json_integer(0));
    json_object_set_new(o, "NetworkID", json_string(up ? network_id(mode) : ""));
    json_object_set_new(o, "EndpointID", json_string(ct->endpoint_id));
    json_object_set_new(o, "Gateway", json_string(bridged ? network_gateway(n) : ""));
    json_object_set_new(o, "IPAddress", json_string(bridged ? ct->ip : ""));
    json_object_set_new(o, "MacAddress", json_string(bridged && ct->mac != NULL ? ct->mac : ""));
    json_object_set_new(o, "IPPrefixLen", json_integer(bridged ? network_prefix(n) : 0));
    json_object_set_new(o, "IPv6Gateway", json_string(""));
    json_object_set_new(o, "GlobalIPv6Address", json_string(""));
    json_object_set_new(o, "GlobalIPv6PrefixLen", json_integer(0));
    json_object_set_new(o, "DNSNames", json_null());
    return o;
}

static json_t *networks_locked(const struct container *ct, int version)
{
    json_t *o = json_object();

    json_object_set_new(o, json_get_string(ct->host_config, "NetworkMode"), endpoint_locked(ct, version));
    return o;
}

static json_t *network_settings_locked(const struct container *ct, int version)
{
    static const char *const legacy[] = { "EndpointID",          "Gateway",   "GlobalIPv6Address",
                                          "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen",
                                          "IPv6Gateway",         "MacAddress" };
    json_t *o = json_object();
    json_t *list = networks_locked(ct, version);
    json_t *bridge = json_object_get(list, "bridge");

    if (version < 52)
        json_object_set_new(o, "Bridge", json_string(""));
    json_object_set_new(o, "SandboxID", json_string(ct->sandbox_id));
    json_object_set_new(o, "SandboxKey", json_string(""));
    json_object_set_new(o, "Ports", ct->state.running ? ports_json(&ct->ports, ct->config) : json_object());
    if (version < 52) {
        json_object_set_new(o, "HairpinMode", json_false());
        json_object_set_new(o, "LinkLocalIPv6Address", json_string(""));
        json_object_set_new(o, "LinkLocalIPv6PrefixLen", json_integer(0));
        json_object_set_new(o, "SecondaryIPAddresses", json_null());
        json_object_set_new(o, "SecondaryIPv6Addresses", json_null());
        for (size_t i = 0; bridge != NULL && i < ARRAY_LEN(legacy); i++)
            json_object_set(o, legacy[i], json_object_get(bridge, legacy[i]));
    }
    json_object_set_new(o, "Networks", list);
    return o;
}

/* ---- inspect
 * ------------------------------------------------------------------------------------------------------------------
 */

static json_t *state_locked(const struct container *ct)
{
    const struct state *s = &ct->state;
    json_t *o = json_object();

    json_object_set_new(o, "Status", json_string(state_word(s)));
    json_object_set_new(o, "Running", json_boolean(s->running));
    json_object_set_new(o, "Paused", json_boolean(s->paused));
    json_object_set_new(o, "Restarting", json_boolean(s->restarting));
    json_object_set_new(o, "OOMKilled", json_boolean(s->oom_killed));
    json_object_set_new(o, "Dead", json_boolean(s->dead));
    json_object_set_new(o, "Pid", json_integer(s->pid));
    json_object_set_new(o, "ExitCode", json_integer(s->exit_code));
    json_object_set_new(o, "Error", go_json_text(s->error != NULL ? s->error : ""));
    json_object_set_new(o, "StartedAt", go_json_time(s->started_ns));
    json_object_set_new(o, "FinishedAt", go_json_time(s->finished_ns));
    if (ct->health.status != NULL)
        json_object_set_new(o, "Health", health_json_locked(ct));
    return o;
}

/* Path is the first word of entrypoint and command, Args the rest. */
static void add_command(const struct container *ct, json_t *o)
{
    CLEANUP(strv_deinit) struct strv words = { 0 };
    json_t *args = json_array();

    json_get_strings(ct->config, "Entrypoint", &words);
    json_get_strings(ct->config, "Cmd", &words);
    for (size_t i = 1; i < words.len; i++)
        json_array_append_new(args, json_string(words.v[i]));
    json_object_set_new(o, "Path", json_string(words.len > 0 ? words.v[0] : ""));
    json_object_set_new(o, "Args", args);
}

static void add_storage(json_t *o, int version)
{
    if (version < 52)
        json_object_set_new(o, "GraphDriver", json_pack("{s:n, s:s}", "Data", "Name", DRIVER));
    else
        json_object_set_new(o, "Storage", json_pack("{s:{s:{s:s}}}", "RootFS", "Snapshot", "Name", DRIVER));
}

struct error *container_inspect(struct container *ct, bool size, int version, json_t **ret)
{
    CLEANUP(freep) char *name = container_name(ct);
    CLEANUP(freep) char *slashed = xasprintf("/%s", name);
    json_t *o = json_object(), *execs = execs_running(ct);

    mutex_lock(&ct->lock);
    json_object_set_new(o, "Id", json_string(ct->id));
    json_object_set_new(o, "Created", go_json_time(ct->created_ns));
    add_command(ct, o);
    json_object_set_new(o, "State", state_locked(ct));
    json_object_set_new(o, "Image", json_string(ct->image_id));
    json_object_set_new(o, "ResolvConfPath", json_string(""));
    json_object_set_new(o, "HostnamePath", json_string(""));
    json_object_set_new(o, "HostsPath", json_string(""));
    json_object_set_new(o, "LogPath", json_string(ct->log_path));
    json_object_set_new(o, "Name", json_string(slashed));
    json_object_set_new(o, "RestartCount", json_integer(ct->restarts));
    json_object_set_new(o, "Driver", json_string(DRIVER));
    json_object_set_new(o, "Platform", json_string(ct->os));
    json_object_set_new(o, "MountLabel", json_string(""));
    json_object_set_new(o, "ProcessLabel", json_string(""));
    json_object_set_new(o, "AppArmorProfile", json_string(""));
    json_object_set_new(o, "ExecIDs", execs);
    json_object_set_new(o, "HostConfig", json_deep_copy(ct->host_config));
    add_storage(o, version);
    json_object_set_new(o, "Mounts", container_mounts_json(ct->host_config));
    json_object_set_new(o, "Config", json_deep_copy(ct->config));
    json_object_set_new(o, "NetworkSettings", network_settings_locked(ct, version));
    if (version >= 48 && ct->image_descriptor != NULL)
        json_object_set_new(o, "ImageManifestDescriptor", json_deep_copy(ct->image_descriptor));
    mutex_unlock(&ct->lock);
    if (version < 56)
        json_object_del(json_object_get(o, "HostConfig"), "Umask");
    if (size) {
        int64_t own = container_size(ct);

        json_object_set_new(o, "SizeRw", json_integer(own));
        json_object_set_new(o, "SizeRootFs", json_integer(own + image_size(ct)));
    }
    *ret = o;
    return NULL;
}

/* ---- list
 * ---------------------------------------------------------------------------------------------------------------------
 */

static char *command_text(const struct container *ct)
{
    CLEANUP(strv_deinit) struct strv words = { 0 };
    struct buf b = { 0 };

    json_get_strings(ct->config, "Entrypoint", &words);
    json_get_strings(ct->config, "Cmd", &words);
    for (size_t i = 0; i < words.len; i++) {
        /* As dockerd quotes an argument with a blank in it. */
        bool quote = i > 0 && strchr(words.v[i], ' ') != NULL;

        buf_addf(&b, "%s%s%s%s", i > 0 ? " " : "", quote ? "'" : "", words.v[i], quote ? "'" : "");
    }
    return buf_take(&b);
}

static const char *shown_image(const struct container *ct)
{
    const char *name = json_get_string(ct->config, "Image");
    const struct containers_config *c = ct->all->config;

    return c->image_is == NULL || c->image_is(c->ctx, name, ct->image_id) ? name : ct->image_id;
}

static json_t *summary(struct container *ct, bool size, int version)
{
    CLEANUP(freep) char *name = container_name(ct);
    CLEANUP(freep) char *slashed = xasprintf("/%s", name);
    CLEANUP(freep) char *command = command_text(ct);
    CLEANUP(freep) char *status = container_status_text(ct);
    const json_t *labels = json_object_get(ct->config, "Labels");
    const char *mode = json_get_string(ct->host_config, "NetworkMode");
    json_t *o = json_object();

    json_object_set_new(o, "Id", json_string(ct->id));
    json_object_set_new(o, "Names", json_pack("[s]", slashed));
    json_object_set_new(o, "Image", json_string(shown_image(ct)));
    json_object_set_new(o, "ImageID", json_string(ct->image_id));
    if (version >= 48 && ct->image_descriptor != NULL)
        json_object_set_new(o, "ImageManifestDescriptor", json_deep_copy(ct->image_descriptor));
    json_object_set_new(o, "Command", json_string(command));
    json_object_set_new(o, "Created", json_integer(ct->created_ns / NS_PER_SEC));
    mutex_lock(&ct->lock);
    json_object_set_new(o, "Ports", ct->state.running ? ports_summary(&ct->ports, ct->config) : json_array());
    json_t *settings = json_pack("{s:o}", "Networks", networks_locked(ct, version));
    json_t *state = json_string(state_word(&ct->state));
    mutex_unlock(&ct->lock);
    if (size) {
        int64_t own = container_size(ct);

        if (own > 0)
            json_object_set_new(o, "SizeRw", json_integer(own));
        json_object_set_new(o, "SizeRootFs", json_integer(own + image_size(ct)));
    }
    json_object_set_new(o, "Labels", json_is_object(labels) ? json_deep_copy(labels) : json_object());
    json_object_set_new(o, "State", state);
    json_object_set_new(o, "Status", json_string(status));
    json_object_set_new(o, "HostConfig", json_pack("{s:s}", "NetworkMode", mode));
    json_object_set_new(o, "NetworkSettings", settings);
    json_object_set_new(o, "Mounts", container_mounts_json(ct->host_config));
    return o;
}

/* ---- filters
 * ------------------------------------------------------------------------------------------------------------------
 */

static bool empty(const struct strv *v)
{
    return v == NULL || v->len == 0;
}

/* "key" or "key=value" for each: all must hold. */
static bool has_labels(const struct container *ct, const struct strv *wanted)
{
    const json_t *labels = json_object_get(ct->config, "Labels");

    for (size_t i = 0; wanted != NULL && i < wanted->len; i++) {
        CLEANUP(freep) char *key = xstrdup(wanted->v[i]);
        char *value = strchr(key, '=');

        if (value != NULL)
            *value++ = '\0';
        const json_t *have = json_object_get(labels, key);
        if (have == NULL || (value != NULL && !streq(value, json_string_value(have))))
            return false;
    }
    return true;
}

static bool matches_name(const char *name, const struct strv *wanted)
{
    if (empty(wanted))
        return true;
    for (size_t i = 0; i < wanted->len; i++) {
        const char *w = wanted->v[i];
        bool start = *w == '^';
        CLEANUP(freep) char *text = xstrdup(w + start + (w[start] == '/'));
        size_t len = strlen(text);
        bool end = len > 0 && text[len - 1] == '$';

        if (end)
            text[--len] = '\0';
        if (start && end ? streq(name, text)
            : start      ? str_has_prefix(name, text)
            : end        ? str_has_suffix(name, text)
                         : strstr(name, text) != NULL)
            return true;
    }
    return false;
}

static bool matches_prefix(const char *value, const struct strv *wanted)
{
    if (empty(wanted))
        return true;
    for (size_t i = 0; i < wanted->len; i++)
        if (str_has_prefix(value, wanted->v[i]))
            return true;
    return false;
}

static bool matches_exit(const struct state *s, const struct strv *wanted)
{
    if (empty(wanted))
        return true;
    for (size_t i = 0; i < wanted->len; i++) {
        int64_t code;

        if (parse_i64(wanted->v[i], &code) == 0 && code == s->exit_code && !s->running && s->started_ns != 0)
            return true;
    }
    return false;
}

static bool matches_image(const struct container *ct, const struct strv *wanted)
{
    const struct containers_config *c = ct->all->config;

    if (empty(wanted))
        return true;
    for (size_t i = 0; i < wanted->len; i++)
        if (str_has_prefix(ct->image_id, wanted->v[i]) ||
            (c->image_is != NULL && c->image_is(c->ctx, wanted->v[i], ct->image_id)))
            return true;
    return false;
}

static bool matches_volume(const struct container *ct, const struct strv *wanted)
{
    CLEANUP(container_mounts_deinit) struct container_mounts list = { 0 };
    struct error *e;

    if (empty(wanted))
        return true;
    e = container_mounts_parse(ct->host_config, &list);
    err_free(e);
    for (size_t i = 0; i < list.count; i++)
        if (strv_has(wanted, list.v[i].dest) ||
            (list.v[i].source != NULL && strv_has(wanted, list.v[i].source)))
            return true;
    return false;
}

/* "80", "80/tcp"; `published`: by the host's port, else by the container's. */
static bool matches_port(const json_t *ports, const struct strv *wanted, bool published)
{
    json_t *p;
    size_t k;

    if (empty(wanted))
        return true;
    json_array_foreach(ports, k, p)
    {
        CLEANUP(freep)
        char *plain = xasprintf("%lld", (long long)json_get_int(p, published ? "PublicPort" : "PrivatePort"));
        CLEANUP(freep) char *full = xasprintf("%s/%s", plain, json_get_string(p, "Type"));

        if (!streq(plain, "0") &&
            (strv_has(wanted, full) || (streq(json_get_string(p, "Type"), "tcp") && strv_has(wanted, plain))))
            return true;
    }
    return false;
}

static bool passes(struct container *ct, const struct container_filters *f)
{
    CLEANUP(freep) char *name = container_name(ct);
    CLEANUP(freep) char *health = NULL;
    struct state s;
    json_t *ports;

    mutex_lock(&ct->lock);
    health = xstrdup(ct->health.status != NULL ? ct->health.status : "none");
    s = ct->state;
    s.error = NULL;
    ports = ports_summary(&ct->ports, ct->config);
    mutex_unlock(&ct->lock);
    bool ok = matches_prefix(ct->id, f->id) && matches_name(name, f->name) && has_labels(ct, f->label) &&
              (empty(f->status) || strv_has(f->status, state_word(&s))) && matches_exit(&s, f->exited) &&
              matches_image(ct, f->ancestor) && matches_volume(ct, f->volume) &&
              (empty(f->network) || strv_has(f->network, json_get_string(ct->host_config, "NetworkMode")) ||
               matches_prefix(network_id(json_get_string(ct->host_config, "NetworkMode")), f->network)) &&
              matches_port(ports, f->publish, true) && matches_port(ports, f->expose, false) &&
              (empty(f->health) || strv_has(f->health, health)) &&
              (empty(f->is_task) || strv_has(f->is_task, "false") || strv_has(f->is_task, "0"));
    json_decref(ports);
    return ok;
}

static struct error *check_filters(const struct container_filters *f)
{
    static const char *const states[] = { "created",  "running", "paused", "restarting",
                                          "removing", "exited",  "dead" };

    for (size_t i = 0; f->status != NULL && i < f->status->len; i++) {
        bool known = false;

        for (size_t k = 0; k < ARRAY_LEN(states); k++)
            known |= streq(states[k], f->status->v[i]);
        if (!known)
            return err_new(ERR_INVALID,
                           "invalid filter 'status=%s': invalid value for state (%s): must be one of "
                           "created, running, paused, "
                           "restarting, removing, exited, dead",
                           f->status->v[i], f->status->v[i]);
    }
    for (size_t i = 0; f->exited != NULL && i < f->exited->len; i++) {
        int64_t code;

        if (parse_i64(f->exited->v[i], &code) < 0)
            return err_new(ERR_INVALID, "invalid filter 'exited=%s'", f->exited->v[i]);
    }
    return NULL;
}

/* Creation time of the one named by a before/since filter; 0 without a filter. */
static struct error *reference_time(struct containers *c, const struct strv *names, int64_t *ret)
{
    CLEANUP(container_unrefp) struct container *ct = NULL;

    *ret = 0;
    if (empty(names))
        return NULL;
    TRY(container_find(c, names->v[names->len - 1], &ct));
    *ret = ct->created_ns;
    return NULL;
}

struct error *containers_list(struct containers *c, bool all, bool size, int64_t limit,
                              const struct container_filters *f, int version, json_t **ret)
{
    int64_t before, since;
    size_t count;

    TRY(check_filters(f));
    TRY(reference_time(c, f->before, &before));
    TRY(reference_time(c, f->since, &since));
    all |= !empty(f->status) || limit > 0;
    json_t *list = json_array();
    struct container **found = table_all(c, &count);
    for (size_t i = 0; i < count; i++) {
        struct container *ct = found[i];

        if ((!all && !container_is_running(ct)) || (before != 0 && ct->created_ns >= before) ||
            ct->created_ns <= since || !passes(ct, f))
            continue;
        if (limit > 0 && (int64_t)json_array_size(list) >= limit)
            break;
        json_array_append_new(list, summary(ct, size, version));
    }
    table_all_free(found, count);
    *ret = list;
    return NULL;
}

struct error *containers_prune(struct containers *c, const struct strv *label, const struct strv *label_not,
                               int64_t until_ns, json_t **ret)
{
    json_t *deleted = json_null();
    int64_t bytes = 0;
    size_t count;
    struct container **list = table_all(c, &count);

    for (size_t i = 0; i < count && task_check_sys() == 0; i++) {
        struct container *ct = list[i];
        int64_t own;

        if (container_is_running(ct) || (until_ns != 0 && ct->created_ns > until_ns) ||
            !has_labels(ct, label) || (!empty(label_not) && has_labels(ct, label_not)))
            continue;
        own = container_size(ct);
        struct error *e = container_remove(ct, ct->id, false);
        if (e != NULL) { /* somebody started or removed it meanwhile */
            err_free(e);
            continue;
        }
        bytes += own;
        if (json_is_null(deleted))
            deleted = json_array();
        json_array_append_new(deleted, json_string(ct->id));
    }
    table_all_free(list, count);
    *ret = json_pack("{s:o, s:I}", "ContainersDeleted", deleted, "SpaceReclaimed", (json_int_t)bytes);
    return NULL;
}

/* ---- logs
 * ---------------------------------------------------------------------------------------------------------------------
 */

struct error *container_logs_check(struct container *ct)
{
    mutex_lock(&ct->lock);
    bool gone = ct->state.removing || ct->state.dead || ct->state.removed;
    mutex_unlock(&ct->lock);
    if (gone)
        return err_new(ERR_CONFLICT, "can not get logs from container which is dead or marked for removal");
    if (streq(json_get_string(json_object_get(ct->host_config, "LogConfig"), "Type"), "none"))
        return err_new(ERR_UNIMPLEMENTED, "configured logging driver does not support reading");
    return NULL;
}

struct error *container_logs(struct container *ct, const struct log_read *o, log_fn fn, void *ctx)
{
    mutex_lock(&ct->lock);
    struct logfile *live = ct->log != NULL ? logfile_ref(ct->log) : NULL;
    mutex_unlock(&ct->lock);
    struct error *e = logfile_read(ct->log_path, live, o, fn, ctx);
    logfile_unref(live);
    return e;
}
