/* SPDX-License-Identifier: Apache-2.0 */
/* inspect.c - one container as JSON, in full; its log */
#include "container/internal.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "container/mounts.h"
#include "container/shape.h"
#include "io/path.h"
#include "oci/gojson.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DRIVER "overlayfs"

/* ---- small parts
 * --------------------------------------------------------------------------------------------------------------
 */

const char *container_state_word(const struct state *s)
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

/* Takes the descriptor.  What lies deeper than any path that we walk is not counted. */
static int64_t tree_size(int dir_fd, int depth)
{
    DIR *dir = depth > LIMIT_PATH_DEPTH ? NULL : fdopendir(dir_fd);
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

            total += sub >= 0 ? tree_size(sub, depth + 1) : 0;
        }
    }
    closedir(dir);
    return total;
}

int64_t container_size(struct container *ct)
{
    CLEANUP(freep) char *upper = path_join(ct->dir, "upper");
    int fd = open(upper, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd >= 0 ? tree_size(fd, 0) : 0;
}

int64_t container_image_size(struct container *ct)
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

const char *container_network_id(const char *mode)
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
    json_object_set_new(o, "NetworkID", json_string(up ? container_network_id(mode) : ""));
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

json_t *container_networks_locked(const struct container *ct, int version)
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
    json_t *list = container_networks_locked(ct, version);
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

    json_object_set_new(o, "Status", json_string(container_state_word(s)));
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
        json_object_set_new(o, "SizeRootFs", json_integer(own + container_image_size(ct)));
    }
    *ret = o;
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
