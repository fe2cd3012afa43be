/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - what Config and HostConfig mean: defaults, what is refused, what comes from the image */
#include "container/internal.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "container/shape.h"
#include "run/caps.h"
#include "run/runtime.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <strings.h>
#include <unistd.h>

#define SHM_SIZE (INT64_C(64) << 20)

/* ---- what is refused
 * ----------------------------------------------------------------------------------------------------------
 */

static struct error *later(const char *what)
{
    return err_new(ERR_UNIMPLEMENTED, "%s: not supported yet", what);
}

static bool has_items(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_array_size(v) > 0 || json_object_size(v) > 0;
}

static struct error *check_later(const json_t *h)
{
    static const struct {
        const char *key, *what;
    } lists[] = {
        { "VolumesFrom", "volumes from other containers (--volumes-from)" },
        { "Links", "links to other containers (--link)" },
        { "Devices", "device mappings (--device)" },
        { "DeviceRequests", "device requests (--gpus)" },
        { "DeviceCgroupRules", "device cgroup rules" },
        { "StorageOpt", "storage options (--storage-opt)" },
        { "BlkioWeightDevice", "block IO limits" },
        { "BlkioDeviceReadBps", "block IO limits" },
        { "BlkioDeviceWriteBps", "block IO limits" },
        { "BlkioDeviceReadIOps", "block IO limits" },
        { "BlkioDeviceWriteIOps", "block IO limits" },
    };
    const json_t *restart = json_object_get(h, "RestartPolicy");
    const char *policy = json_get_string(restart, "Name");

    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        if (has_items(h, lists[i].key))
            return later(lists[i].what);
    if (*json_get_string(h, "VolumeDriver") != '\0' && !streq(json_get_string(h, "VolumeDriver"), "local"))
        return later("volume drivers");
    TRY(restart_policy_check(h));
    if (*policy != '\0' && !streq(policy, "no") && json_get_bool(h, "AutoRemove"))
        return err_new(ERR_INVALID, "can't create 'AutoRemove' container with restart policy");
    return NULL;
}

static struct error *check_modes(const json_t *h)
{
    static const struct {
        const char *key, *what;
    } modes[] = { { "PidMode", "PID" }, { "IpcMode", "IPC" }, { "NetworkMode", "network" } };
    const char *network = json_get_string(h, "NetworkMode");
    const char *ipc = json_get_string(h, "IpcMode");

    for (size_t i = 0; i < ARRAY_LEN(modes); i++)
        if (str_has_prefix(json_get_string(h, modes[i].key), "container:"))
            return err_new(ERR_UNIMPLEMENTED,
                           "sharing the %s namespace of another container: not supported yet", modes[i].what);
    if (*network != '\0' && !streq(network, "default") && !streq(network, "bridge") &&
        !streq(network, "none") && !streq(network, "host"))
        return err_new(ERR_UNIMPLEMENTED, "user-defined networks are not supported yet: %s", network);
    if (*ipc != '\0' && !streq(ipc, "private") && !streq(ipc, "shareable") && !streq(ipc, "host") &&
        !streq(ipc, "none"))
        return err_new(ERR_INVALID, "invalid IPC mode: %s", ipc);
    if (*json_get_string(h, "PidMode") != '\0' && !streq(json_get_string(h, "PidMode"), "host"))
        return err_new(ERR_INVALID, "invalid PID mode: %s", json_get_string(h, "PidMode"));
    if (*json_get_string(h, "UTSMode") != '\0' && !streq(json_get_string(h, "UTSMode"), "host"))
        return err_new(ERR_INVALID, "invalid UTS mode: %s", json_get_string(h, "UTSMode"));
    return NULL;
}

static struct error *check_caps(const json_t *h)
{
    static const char *const keys[] = { "CapAdd", "CapDrop" };

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        CLEANUP(strv_deinit) struct strv names = { 0 };

        json_get_strings(h, keys[i], &names);
        for (size_t k = 0; k < names.len; k++)
            if (strcasecmp(names.v[k], "ALL") != 0 && cap_parse(names.v[k]) < 0)
                return err_new(ERR_INVALID, "invalid %s: unknown capability: \"%s\"", keys[i], names.v[k]);
    }
    return NULL;
}

static struct error *check_security(const json_t *h)
{
    static const char *const accepted[] = { "no-new-privileges",       "no-new-privileges=true",
                                            "no-new-privileges:true",  "no-new-privileges=false",
                                            "no-new-privileges:false", "seccomp=unconfined",
                                            "seccomp:unconfined",      "seccomp=builtin",
                                            "apparmor=unconfined",     "apparmor:unconfined",
                                            "label=disable",           "label:disable",
                                            "apparmor=docker-default", "systempaths=unconfined" };
    CLEANUP(strv_deinit) struct strv options = { 0 };

    json_get_strings(h, "SecurityOpt", &options);
    for (size_t i = 0; i < options.len; i++) {
        bool known = false;

        for (size_t k = 0; k < ARRAY_LEN(accepted); k++)
            known |= streq(options.v[i], accepted[k]);
        if (!known)
            return err_new(ERR_UNIMPLEMENTED, "security option \"%.100s\": not supported yet", options.v[i]);
    }
    return NULL;
}

static struct error *check_log_config(const json_t *h)
{
    const json_t *l = json_object_get(h, "LogConfig");
    const char *type = json_get_string(l, "Type");
    struct logfile_options o;

    if (streq(type, "none"))
        return NULL;
    if (*type != '\0' && !streq(type, "json-file") && !streq(type, "local"))
        return err_new(ERR_UNIMPLEMENTED, "log driver \"%s\": not supported yet", type);
    return logfile_options_parse(json_object_get(l, "Config"), &o);
}

static struct error *check_health(const json_t *h)
{
    static const char *const times[] = { "Interval", "Timeout", "StartPeriod", "StartInterval" };

    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        int64_t ns = json_get_int(h, times[i]);

        if (ns != 0 && ns < NS_PER_MS)
            return err_new(ERR_INVALID, "%s in Healthcheck cannot be less than 1ms", times[i]);
    }
    return json_get_int(h, "Retries") < 0 ? err_new(ERR_INVALID, "Retries in Healthcheck cannot be negative")
                                          : NULL;
}

static struct error *check_config(const json_t *c)
{
    CLEANUP(strv_deinit) struct strv env = { 0 };
    const char *dir = json_get_string(c, "WorkingDir");
    const char *signal = json_get_string(c, "StopSignal");
    const json_t *timeout = json_object_get(c, "StopTimeout");

    if (*dir != '\0' && *dir != '/')
        return err_new(ERR_INVALID, "the working directory '%s' is invalid, it needs to be an absolute path",
                       dir);
    if (*signal != '\0' && signal_parse(signal) < 0)
        return err_new(ERR_INVALID, "invalid signal: %s", signal);
    if (json_is_integer(timeout) && json_integer_value(timeout) < -1)
        return err_new(ERR_INVALID, "invalid stop timeout: %lld", (long long)json_integer_value(timeout));
    json_get_strings(c, "Env", &env);
    for (size_t i = 0; i < env.len; i++)
        if (*env.v[i] == '\0' || *env.v[i] == '=')
            return err_new(ERR_INVALID, "invalid environment variable: %s", env.v[i]);
    if (strlen(json_get_string(c, "Hostname")) > 64)
        return err_new(ERR_INVALID, "invalid hostname: it is longer than 64 bytes");
    return check_health(json_object_get(c, "Healthcheck"));
}

struct error *settings_check(const json_t *config, const json_t *host_config, struct strv *warnings)
{
    TRY(check_config(config));
    TRY(check_modes(host_config));
    TRY(check_later(host_config));
    TRY(container_check_limits(host_config));
    TRY(check_caps(host_config));
    TRY(check_security(host_config));
    return check_log_config(host_config);
}

/* ---- defaults
 * -----------------------------------------------------------------------------------------------------------------
 */

static void adapt_log_config(const struct container_defaults *c, json_t *h)
{
    json_t *l = json_object_get(h, "LogConfig");
    const char *type = json_get_string(l, "Type");
    const json_t *given = json_object_get(l, "Config");
    json_t *options = json_is_object(given) ? json_deep_copy(given) : json_object();
    CLEANUP(freep)
    char *name = xstrdup(*type != '\0' ? type : c->log_driver != NULL ? c->log_driver : "json-file");

    for (size_t i = 0; c->log_options != NULL && !streq(name, "none") && i < c->log_options->len; i++)
        if (json_object_get(options, c->log_options->entries[i].key) == NULL)
            json_object_set_new(options, c->log_options->entries[i].key,
                                json_string(c->log_options->entries[i].value));
    json_object_set_new(h, "LogConfig", json_pack("{s:s, s:o}", "Type", name, "Config", options));
}

static void set_if_empty(json_t *o, const char *key, const char *value)
{
    if (*json_get_string(o, key) == '\0')
        json_object_set_new(o, key, json_string(value));
}

/* "nofile=1024:2048" as HostConfig has it. */
static json_t *ulimit_json(const char *text)
{
    const char *equals = strchr(text, '='), *colon = strchr(text, ':');
    CLEANUP(freep) char *name = xstrndup(text, (size_t)(equals - text));
    CLEANUP(freep) char *soft_text = xstrndup(equals + 1, strcspn(equals + 1, ":"));
    int64_t soft = 0, hard;

    (void)!parse_i64(soft_text, &soft); /* the daemon's configuration has checked it */
    if (colon == NULL || parse_i64(colon + 1, &hard) < 0)
        hard = soft;
    return json_pack("{s:s, s:I, s:I}", "Name", name, "Hard", (json_int_t)hard, "Soft", (json_int_t)soft);
}

/* The daemon's limits for what the container does not limit itself. */
static void adapt_ulimits(const struct strv *defaults, json_t *h)
{
    json_t *own = json_object_get(h, "Ulimits"), *v;
    size_t k;

    if (!json_is_array(own)) {
        own = json_array();
        json_object_set_new(h, "Ulimits", own);
    }
    for (size_t i = 0; i < defaults->len; i++) {
        json_t *limit = ulimit_json(defaults->v[i]);
        bool given = false;

        json_array_foreach(own, k, v)
        {
            given |= streq(json_get_string(v, "Name"), json_get_string(limit, "Name"));
        }
        if (!given)
            json_array_append(own, limit);
        json_decref(limit);
    }
}

void settings_adapt(const struct container_defaults *c, json_t *h)
{
    int64_t memory = json_get_int(h, "Memory");

    if (*json_get_string(h, "NetworkMode") == '\0' || streq(json_get_string(h, "NetworkMode"), "default"))
        json_object_set_new(h, "NetworkMode", json_string("bridge"));
    if (!json_is_object(json_object_get(h, "RestartPolicy")) ||
        *json_get_string(json_object_get(h, "RestartPolicy"), "Name") == '\0')
        json_object_set_new(h, "RestartPolicy",
                            json_pack("{s:s, s:i}", "Name", "no", "MaximumRetryCount", 0));
    if (!json_is_object(json_object_get(h, "PortBindings")))
        json_object_set_new(h, "PortBindings", json_object());
    set_if_empty(h, "IpcMode", "private");
    set_if_empty(h, "CgroupnsMode", cgroup_layout() == CGROUP_V2 ? "private" : "host");
    set_if_empty(h, "Runtime", "runc");
    if (json_get_int(h, "ShmSize") == 0)
        json_object_set_new(h, "ShmSize", json_integer(c->shm_size > 0 ? c->shm_size : SHM_SIZE));
    if (memory > 0 && json_get_int(h, "MemorySwap") == 0)
        json_object_set_new(h, "MemorySwap", json_integer(memory <= INT64_MAX / 2 ? memory * 2 : memory));
    if (c->ulimits != NULL && c->ulimits->len > 0)
        adapt_ulimits(c->ulimits, h);
    adapt_log_config(c, h);
}

/* ---- the image
 * ----------------------------------------------------------------------------------------------------------------
 */

static size_t key_len(const char *env)
{
    return strcspn(env, "=");
}

/* The image's variables come first; one that the user names too is the user's. */
static void merge_env(json_t *config, const json_t *image)
{
    CLEANUP(strv_deinit) struct strv own = { 0 };
    CLEANUP(strv_deinit) struct strv base = { 0 };

    json_get_strings(config, "Env", &own);
    json_get_strings(image, "Env", &base);
    for (size_t i = 0; i < base.len; i++) {
        bool overridden = false;

        for (size_t k = 0; k < own.len && !overridden; k++)
            overridden = key_len(own.v[k]) == key_len(base.v[i]) &&
                         memcmp(own.v[k], base.v[i], key_len(base.v[i])) == 0;
        if (!overridden)
            strv_add(&own, base.v[i]);
    }
    json_object_set_new(config, "Env", strv_json(&own));
}

/* Keys of the image that the user does not have. */
static void merge_object(json_t *config, const json_t *image, const char *key)
{
    json_t *own = json_object_get(config, key);
    json_t *base = json_object_get(image, key);

    if (!json_is_object(base) || json_object_size(base) == 0)
        return;
    if (!json_is_object(own)) {
        own = json_object();
        json_object_set_new(config, key, own);
    }
    const char *name;
    json_t *value;
    json_object_foreach(base, name, value)
    {
        if (json_object_get(own, name) == NULL)
            json_object_set(own, name, value);
    }
}

static void merge_string(json_t *config, const json_t *image, const char *key)
{
    if (*json_get_string(config, key) == '\0' && *json_get_string(image, key) != '\0')
        json_object_set(config, key, json_object_get(image, key));
}

/* The user's entrypoint takes the image's command away; only both left alone take both over. */
static void merge_command(json_t *config, const json_t *image)
{
    const json_t *entrypoint = json_object_get(config, "Entrypoint");
    bool given = json_is_array(entrypoint);

    /* [""] on the command line is docker's way to clear it. */
    bool cleared =
        json_array_size(entrypoint) == 1 && *json_string_value(json_array_get(entrypoint, 0)) == '\0';

    if (json_array_size(entrypoint) == 0) {
        if (json_array_size(json_object_get(config, "Cmd")) == 0 &&
            json_is_array(json_object_get(image, "Cmd")))
            json_object_set(config, "Cmd", json_object_get(image, "Cmd"));
        if (!given && json_is_array(json_object_get(image, "Entrypoint")))
            json_object_set(config, "Entrypoint", json_object_get(image, "Entrypoint"));
    }
    if (cleared)
        json_object_set_new(config, "Entrypoint", json_null());
}

/* What the user's health check does not say is the image's. */
static void merge_health(json_t *config, const json_t *image)
{
    static const char *const numbers[] = { "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries" };
    const json_t *base = json_object_get(image, "Healthcheck");
    json_t *own = json_object_get(config, "Healthcheck");

    if (!json_is_object(base))
        return;
    if (!json_is_object(own)) {
        json_object_set(config, "Healthcheck", (json_t *)base);
        return;
    }
    if (json_array_size(json_object_get(own, "Test")) == 0 && json_object_get(base, "Test") != NULL)
        json_object_set(own, "Test", json_object_get(base, "Test"));
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (json_get_int(own, numbers[i]) == 0 && json_get_int(base, numbers[i]) != 0)
            json_object_set(own, numbers[i], json_object_get(base, numbers[i]));
}

void settings_merge_image(json_t *config, const json_t *image)
{
    if (!json_is_object(image))
        return;
    merge_string(config, image, "User");
    merge_string(config, image, "WorkingDir");
    merge_string(config, image, "StopSignal");
    merge_env(config, image);
    merge_object(config, image, "ExposedPorts");
    merge_object(config, image, "Labels");
    merge_object(config, image, "Volumes");
    merge_command(config, image);
    merge_health(config, image);
    if (json_object_get(config, "Shell") == NULL && json_is_array(json_object_get(image, "Shell")))
        json_object_set(config, "Shell", json_object_get(image, "Shell"));
    if (json_object_get(config, "OnBuild") == NULL && json_is_array(json_object_get(image, "OnBuild")))
        json_object_set(config, "OnBuild", json_object_get(image, "OnBuild"));
}
