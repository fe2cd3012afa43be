/* SPDX-License-Identifier: Apache-2.0 */
#include "container/shape.h"

#include <strings.h>

enum field_type {
    F_STRING,
    F_BOOL,
    F_INT,
    F_STRINGS,    /* array of strings, or null */
    F_STRING_MAP, /* object with string values, or null */
    F_SET,        /* object with empty objects, or null */
    F_ARRAY,
    F_OBJECT,
    F_INT_PTR, /* null when absent */
    F_BOOL_PTR,
    F_PAIR, /* two numbers */
};

struct field {
    const char *name;
    enum field_type type;
    bool omit; /* left out when empty */
};

static const struct field config_fields[] = {
    { "Hostname", F_STRING, false },     { "Domainname", F_STRING, false },
    { "User", F_STRING, false },         { "AttachStdin", F_BOOL, false },
    { "AttachStdout", F_BOOL, false },   { "AttachStderr", F_BOOL, false },
    { "ExposedPorts", F_SET, true },     { "Tty", F_BOOL, false },
    { "OpenStdin", F_BOOL, false },      { "StdinOnce", F_BOOL, false },
    { "Env", F_STRINGS, false },         { "Cmd", F_STRINGS, false },
    { "Healthcheck", F_OBJECT, true },   { "ArgsEscaped", F_BOOL, true },
    { "Image", F_STRING, false },        { "Volumes", F_SET, false },
    { "WorkingDir", F_STRING, false },   { "Entrypoint", F_STRINGS, false },
    { "NetworkDisabled", F_BOOL, true }, { "OnBuild", F_STRINGS, true },
    { "Labels", F_STRING_MAP, false },   { "StopSignal", F_STRING, true },
    { "StopTimeout", F_INT_PTR, true },  { "Shell", F_STRINGS, true },
};

static const struct field host_config_fields[] = {
    { "Binds", F_STRINGS, false },
    { "ContainerIDFile", F_STRING, false },
    { "LogConfig", F_OBJECT, false },
    { "NetworkMode", F_STRING, false },
    { "PortBindings", F_OBJECT, false },
    { "RestartPolicy", F_OBJECT, false },
    { "AutoRemove", F_BOOL, false },
    { "VolumeDriver", F_STRING, false },
    { "VolumesFrom", F_STRINGS, false },
    { "ConsoleSize", F_PAIR, false },
    { "Annotations", F_STRING_MAP, true },
    { "CapAdd", F_STRINGS, false },
    { "CapDrop", F_STRINGS, false },
    { "CgroupnsMode", F_STRING, false },
    { "Dns", F_STRINGS, false },
    { "DnsOptions", F_STRINGS, false },
    { "DnsSearch", F_STRINGS, false },
    { "ExtraHosts", F_STRINGS, false },
    { "GroupAdd", F_STRINGS, false },
    { "IpcMode", F_STRING, false },
    { "Cgroup", F_STRING, false },
    { "Links", F_STRINGS, false },
    { "OomScoreAdj", F_INT, false },
    { "PidMode", F_STRING, false },
    { "Privileged", F_BOOL, false },
    { "PublishAllPorts", F_BOOL, false },
    { "ReadonlyRootfs", F_BOOL, false },
    { "SecurityOpt", F_STRINGS, false },
    { "StorageOpt", F_STRING_MAP, true },
    { "Tmpfs", F_STRING_MAP, true },
    { "UTSMode", F_STRING, false },
    { "UsernsMode", F_STRING, false },
    { "ShmSize", F_INT, false },
    { "Sysctls", F_STRING_MAP, true },
    { "Runtime", F_STRING, true },
    { "Umask", F_INT_PTR, true },
    { "Isolation", F_STRING, false },
    { "CpuShares", F_INT, false },
    { "Memory", F_INT, false },
    { "NanoCpus", F_INT, false },
    { "CgroupParent", F_STRING, false },
    { "BlkioWeight", F_INT, false },
    { "BlkioWeightDevice", F_ARRAY, false },
    { "BlkioDeviceReadBps", F_ARRAY, false },
    { "BlkioDeviceWriteBps", F_ARRAY, false },
    { "BlkioDeviceReadIOps", F_ARRAY, false },
    { "BlkioDeviceWriteIOps", F_ARRAY, false },
    { "CpuPeriod", F_INT, false },
    { "CpuQuota", F_INT, false },
    { "CpuRealtimePeriod", F_INT, false },
    { "CpuRealtimeRuntime", F_INT, false },
    { "CpusetCpus", F_STRING, false },
    { "CpusetMems", F_STRING, false },
    { "Devices", F_ARRAY, false },
    { "DeviceCgroupRules", F_STRINGS, false },
    { "DeviceRequests", F_ARRAY, false },
    { "MemoryReservation", F_INT, false },
    { "MemorySwap", F_INT, false },
    { "MemorySwappiness", F_INT_PTR, false },
    { "OomKillDisable", F_BOOL_PTR, false },
    { "PidsLimit", F_INT_PTR, false },
    { "Ulimits", F_ARRAY, false },
    { "CpuCount", F_INT, false },
    { "CpuPercent", F_INT, false },
    { "IOMaximumIOps", F_INT, false },
    { "IOMaximumBandwidth", F_INT, false },
    { "Mounts", F_ARRAY, true },
    { "MaskedPaths", F_STRINGS, false },
    { "ReadonlyPaths", F_STRINGS, false },
    { "Init", F_BOOL_PTR, true },
};

/* ---- checking
 * -----------------------------------------------------------------------------------------------------------------
 */

static bool all_strings(const json_t *values)
{
    const char *key;
    json_t *v;
    size_t i;

    json_array_foreach(values, i, v)
    {
        if (!json_is_string(v))
            return false;
    }
    json_object_foreach((json_t *)values, key, v)
    {
        if (!json_is_string(v))
            return false;
    }
    return true;
}

static bool all_objects(const json_t *values)
{
    json_t *v;
    size_t i;

    json_array_foreach(values, i, v)
    {
        if (!json_is_object(v))
            return false;
    }
    return true;
}

static bool fits(enum field_type type, const json_t *v)
{
    switch (type) {
    case F_STRING:
        return json_is_string(v);
    case F_BOOL:
    case F_BOOL_PTR:
        return json_is_boolean(v);
    case F_INT:
    case F_INT_PTR:
        return json_is_integer(v);
    case F_STRINGS:
        return json_is_array(v) && all_strings(v);
    case F_STRING_MAP:
        return json_is_object(v) && all_strings(v);
    case F_SET:
    case F_OBJECT:
        return json_is_object(v);
    case F_ARRAY:
        return json_is_array(v) && all_objects(v);
    case F_PAIR:
        return json_is_array(v) && json_array_size(v) == 2 && json_is_integer(json_array_get(v, 0)) &&
               json_is_integer(json_array_get(v, 1));
    }
    return false;
}

static const char *go_type(enum field_type type)
{
    switch (type) {
    case F_STRING:
        return "string";
    case F_BOOL:
    case F_BOOL_PTR:
        return "bool";
    case F_INT:
    case F_INT_PTR:
        return "int64";
    case F_STRINGS:
        return "[]string";
    case F_STRING_MAP:
        return "map[string]string";
    default:
        return "object";
    }
}

static json_t *zero_value(enum field_type type)
{
    switch (type) {
    case F_STRING:
        return json_string("");
    case F_BOOL:
        return json_false();
    case F_INT:
        return json_integer(0);
    case F_PAIR:
        return json_pack("[i, i]", 0, 0);
    default:
        return json_null();
    }
}

static bool is_empty(const json_t *v)
{
    return v == NULL || json_is_null(v) || json_is_false(v) ||
           (json_is_string(v) && *json_string_value(v) == '\0') ||
           (json_is_array(v) && json_array_size(v) == 0) || (json_is_object(v) && json_object_size(v) == 0);
}

static json_t *find_key(const json_t *in, const char *name)
{
    json_t *exact = json_object_get(in, name), *v;
    const char *key;

    if (exact != NULL)
        return exact;
    json_object_foreach((json_t *)in, key, v)
    {
        if (strcasecmp(key, name) == 0)
            return v;
    }
    return NULL;
}

static struct error *shape(const struct field *fields, size_t count, const json_t *in, const char *what,
                           json_t **ret)
{
    json_t *out = json_object();

    for (size_t i = 0; i < count; i++) {
        const struct field *f = &fields[i];
        json_t *v = find_key(in, f->name);

        if (v != NULL && !json_is_null(v) && !fits(f->type, v)) {
            json_decref(out);
            return err_new(ERR_INVALID, "invalid value of %s.%s: it must be of type %s", what, f->name,
                           go_type(f->type));
        }
        if (f->omit && is_empty(v) && !(f->type == F_BOOL_PTR && json_is_boolean(v)))
            continue;
        if (v == NULL || json_is_null(v))
            json_object_set_new(out, f->name, zero_value(f->type));
        else
            json_object_set_new(out, f->name, json_deep_copy(v));
    }
    *ret = out;
    return NULL;
}

struct error *shape_config(const json_t *in, json_t **ret)
{
    return shape(config_fields, ARRAY_LEN(config_fields), in, "Config", ret);
}

struct error *shape_host_config(const json_t *in, json_t **ret)
{
    return shape(host_config_fields, ARRAY_LEN(host_config_fields), in, "HostConfig", ret);
}

/* ---- reading
 * ------------------------------------------------------------------------------------------------------------------
 */

const char *json_get_string(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s != NULL ? s : "";
}

bool json_get_bool(const json_t *o, const char *key)
{
    return json_is_true(json_object_get(o, key));
}

int64_t json_get_int(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

void json_get_strings(const json_t *o, const char *key, struct strv *out)
{
    json_t *v;
    size_t i;

    json_array_foreach(json_object_get(o, key), i, v)
    {
        if (json_is_string(v))
            strv_add(out, json_string_value(v));
    }
}

json_t *strv_json(const struct strv *s)
{
    json_t *array = s->len > 0 ? json_array() : json_null();

    for (size_t i = 0; i < s->len; i++)
        json_array_append_new(array, json_string(s->v[i]));
    return array;
}
