/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon_json.c - the configuration file of dockerd
 *
 * Keys are those of the flags (lists have a plural of their own).  A key that is no option, and one that is
 * given as a flag too, refuse the whole file with dockerd's words.
 */
#include "base/buf.h"
#include "base/limits.h"
#include "daemon/faces.h"
#include "io/path.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Objects whose content is a value, not more keys. */
static const char *const flat_options[] = { "cluster-store-opts",
                                            "default-network-opts",
                                            "log-opts",
                                            "runtimes",
                                            "default-ulimits",
                                            "features",
                                            "builder",
                                            "nri-opts",
                                            "extension-config" };
/* Known in the file alone. */
static const char *const file_only[] = { "features",
                                         "builder",
                                         "min-api-version",
                                         "extension-config",
                                         "deprecated-key-path",
                                         "allow-nondistributable-artifacts" };

static bool is_in(const char *s, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (streq(s, list[i]))
            return true;
    return false;
}

static const char *key_of(const struct flag_spec *spec)
{
    return spec->file_key != NULL ? spec->file_key : spec->name;
}

static const struct flag_spec *find_by_key(const char *key)
{
    for (size_t i = 0; i < dockerd_flags.count; i++)
        if (streq(key_of(&dockerd_flags.specs[i]), key))
            return &dockerd_flags.specs[i];
    return NULL;
}

/* ---- as Go prints a decoded value ---- */

static void add_value(struct buf *out, const json_t *value)
{
    const char *key, *space = "";
    json_t *item;
    size_t i;

    switch (json_typeof(value)) {
    case JSON_STRING:
        buf_adds(out, json_string_value(value));
        break;
    case JSON_INTEGER:
        buf_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        buf_addf(out, "%g", json_real_value(value));
        break;
    case JSON_NULL:
        buf_adds(out, "<nil>");
        break;
    case JSON_ARRAY:
        buf_addc(out, '[');
        json_array_foreach((json_t *)value, i, item)
        {
            buf_adds(out, space);
            add_value(out, item);
            space = " ";
        }
        buf_addc(out, ']');
        break;
    case JSON_OBJECT:
        buf_adds(out, "map[");
        json_object_foreach((json_t *)value, key, item)
        {
            buf_addf(out, "%s%s:", space, key);
            add_value(out, item);
            space = " ";
        }
        buf_addc(out, ']');
        break;
    default:
        buf_adds(out, json_is_true(value) ? "true" : "false");
    }
}

/* ---- unknown keys and conflicts ---- */

/* All keys that the file sets; objects that are no value are opened. Values stay borrowed. */
static void flatten(json_t *file, struct map *ret)
{
    const char *key, *inner_key;
    json_t *value, *inner;

    json_object_foreach(file, key, value)
    {
        if (!json_is_object(value) || is_in(key, flat_options, ARRAY_LEN(flat_options))) {
            map_set(ret, key, value);
            continue;
        }
        json_object_foreach(value, inner_key, inner) map_set(ret, inner_key, inner);
    }
}

static struct error *refuse_unknown(const struct map *keys)
{
    CLEANUP(strv_deinit) struct strv unknown = { 0 };

    for (size_t i = 0; i < keys->len; i++) {
        const char *key = keys->entries[i].key;

        if (find_by_key(key) == NULL && flags_find(&dockerd_flags, key) == NULL &&
            !is_in(key, file_only, ARRAY_LEN(file_only)))
            strv_add(&unknown, key);
    }
    if (unknown.len == 0)
        return NULL;
    CLEANUP(freep) char *names = strv_join(&unknown, ", ");

    return err_new(ERR_INVALID, "the following directives don't match any configuration option: %s", names);
}

/* "http://user:secret@host" without what is secret. */
static char *mask_credentials(const char *url)
{
    const char *rest = strstr(url, "://"),
               *at = rest != NULL ? memchr(rest + 3, '@', strcspn(rest + 3, "/")) : NULL;

    return at == NULL ? xstrdup(url) : xasprintf("%.*sxxxxx:xxxxx%s", (int)(rest + 3 - url), url, at);
}

static char *describe_conflict(const struct flag_spec *spec, const struct flag_state *state, const char *key,
                               const json_t *value)
{
    CLEANUP(buf_deinit) struct buf in_file = { 0 };
    CLEANUP(freep) char *in_flag = flag_print(spec, state), *shown_flag = NULL, *shown_file = NULL;
    bool secret = streq(key, "http-proxy") || streq(key, "https-proxy");

    add_value(&in_file, value);
    shown_flag = secret ? mask_credentials(in_flag) : xstrdup(in_flag);
    shown_file = secret ? mask_credentials(buf_str(&in_file)) : xstrdup(buf_str(&in_file));
    return xasprintf("%s: (from flag: %s, from file: %s)", key, shown_flag, shown_file);
}

static struct error *refuse_conflicts(const struct map *keys, const struct flag_state *states)
{
    CLEANUP(strv_deinit) struct strv conflicts = { 0 };
    const char *both =
        map_has(keys, "host-gateway-ip") && map_has(keys, "host-gateway-ips")
            ? "host-gateway-ip and host-gateway-ips must not both be specified in the config file"
            : NULL;

    for (size_t i = 0; i < dockerd_flags.count; i++) {
        const struct flag_spec *spec = &dockerd_flags.specs[i];
        const char *key = key_of(spec);

        if (!states[i].changed || streq(key, "runtimes"))
            continue;
        if (streq(key, "host-gateway-ips") && map_has(keys, "host-gateway-ip"))
            key = "host-gateway-ip";
        if (map_has(keys, key))
            strv_take(&conflicts, describe_conflict(spec, &states[i], key, map_get(keys, key)));
    }
    if (conflicts.len == 0)
        return both != NULL ? err_new(ERR_INVALID, "%s", both) : NULL;
    CLEANUP(freep) char *list = strv_join(&conflicts, ", ");

    return err_new(
        ERR_INVALID,
        "%s%sthe following directives are specified both as a flag and in the configuration file: %s",
        both != NULL ? both : "", both != NULL ? "\n" : "", list);
}

/* ---- values ---- */

static struct error *wrong_type(const char *key, const json_t *value, const char *wanted)
{
    static const char *const kinds[] = {
        [JSON_OBJECT] = "object", [JSON_ARRAY] = "array", [JSON_STRING] = "string", [JSON_INTEGER] = "number",
        [JSON_REAL] = "number",   [JSON_TRUE] = "bool",   [JSON_FALSE] = "bool",    [JSON_NULL] = "null",
    };

    return err_new(
        ERR_INVALID,
        "invalid JSON: json: cannot unmarshal %s into Go struct field Config.CommonConfig.%s of type %s",
        kinds[json_typeof(value)], key, wanted);
}

/* One value through the flag's own checks. */
static struct error *set_checked(const struct flag_spec *spec, const char *text, struct config *c)
{
    return err_wrap(flag_set(spec, text, c),
                    spec->kind == FLAG_IP_LIST
                        ? "invalid JSON"
                        : "merged configuration validation from file and command line flags failed");
}

static struct error *set_array(const struct flag_spec *spec, const json_t *value, struct config *c)
{
    json_t *item;
    size_t i;

    if (!json_is_array(value))
        return wrong_type(key_of(spec), value, "[]string");
    json_array_foreach((json_t *)value, i, item)
    {
        if (!json_is_string(item))
            return wrong_type(key_of(spec), item, "string");
        TRY(set_checked(spec, json_string_value(item), c));
    }
    return NULL;
}

static struct error *set_map(const struct flag_spec *spec, const json_t *value, struct config *c)
{
    const char *key;
    json_t *item;

    if (!json_is_object(value))
        return wrong_type(key_of(spec), value,
                          spec->kind == FLAG_SWITCHES ? "map[string]bool" : "map[string]string");
    json_object_foreach((json_t *)value, key, item)
    {
        if (spec->kind == FLAG_SWITCHES ? !json_is_boolean(item) : !json_is_string(item))
            return wrong_type(key_of(spec), item, spec->kind == FLAG_SWITCHES ? "bool" : "string");
        CLEANUP(freep)
        char *pair = xasprintf("%s=%s", key,
                               spec->kind == FLAG_SWITCHES ? (json_is_true(item) ? "true" : "false")
                                                           : json_string_value(item));

        TRY(set_checked(spec, pair, c));
    }
    return NULL;
}

/* "runtimes": {"name": {"path": "...", "runtimeArgs": ["..."]}} */
static struct error *set_runtimes(const struct flag_spec *spec, const json_t *value, struct config *c)
{
    const char *name;
    json_t *item, *arg;
    size_t i;

    if (!json_is_object(value))
        return wrong_type("runtimes", value, "map[string]system.Runtime");
    json_object_foreach((json_t *)value, name, item)
    {
        const char *path = json_string_value(json_object_get(item, "path"));

        if (json_object_get(item, "runtimeType") != NULL && path == NULL)
            return err_new(
                ERR_INVALID,
                "runtime %s: shims (runtimeType) are not supported: give the path of an OCI runtime", name);
        if (path == NULL)
            return err_new(ERR_INVALID, "runtime %s: either a runtimeType or a path must be configured",
                           name);
        CLEANUP(freep) char *pair = xasprintf("%s=%s", name, path);

        TRY(set_checked(spec, pair, c));
        json_array_foreach(json_object_get(item, "runtimeArgs"), i, arg)
        {
            if (!json_is_string(arg))
                return wrong_type("runtimes.runtimeArgs", arg, "string");
            strv_add(&c->runtimes[c->runtime_count - 1].args, json_string_value(arg));
        }
    }
    return NULL;
}

/* [{"base": "10.0.0.0/8", "size": 24}] */
static struct error *set_pools(const struct flag_spec *spec, const json_t *value, struct config *c)
{
    json_t *item;
    size_t i;

    if (!json_is_array(value))
        return wrong_type("default-address-pools", value, "[]*ipamutils.NetworkToSplit");
    json_array_foreach((json_t *)value, i, item)
    {
        const json_t *base = json_object_get(item, "base"), *size = json_object_get(item, "size");

        if (!json_is_string(base) || (size != NULL && !json_is_integer(size)))
            return wrong_type("default-address-pools", item, "ipamutils.NetworkToSplit");
        CLEANUP(freep)
        char *text = xasprintf("base=%s,size=%" JSON_INTEGER_FORMAT, json_string_value(base),
                               json_integer_value(size));

        TRY(set_checked(spec, text, c));
    }
    return NULL;
}

/* {"nofile": {"Name": "nofile", "Hard": 64000, "Soft": 64000}}; field names in any case as Go reads them. */
static struct error *set_ulimits(const struct flag_spec *spec, const json_t *value, struct config *c)
{
    const char *name, *key;
    json_t *item, *number;

    if (!json_is_object(value))
        return wrong_type("default-ulimits", value, "map[string]*container.Ulimit");
    json_object_foreach((json_t *)value, name, item)
    {
        json_int_t soft = 0, hard = 0;

        json_object_foreach(item, key, number)
        {
            if (strcasecmp(key, "soft") == 0)
                soft = json_integer_value(number);
            else if (strcasecmp(key, "hard") == 0)
                hard = json_integer_value(number);
        }
        CLEANUP(freep)
        char *text = xasprintf("%s=%" JSON_INTEGER_FORMAT ":%" JSON_INTEGER_FORMAT, name, soft, hard);

        TRY(set_checked(spec, text, c));
    }
    return NULL;
}

static struct error *set_scalar(const struct flag_spec *spec, const json_t *value, struct config *c)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    const char *wanted = spec->kind == FLAG_BOOL ? "bool" : spec->kind == FLAG_INT ? "int" : "string";
    bool fits = spec->kind == FLAG_BOOL  ? json_is_boolean(value)
                : spec->kind == FLAG_INT ? json_is_integer(value)
                                         : json_is_string(value);

    if (!fits)
        return wrong_type(key_of(spec), value, wanted);
    add_value(&text, value);
    return set_checked(spec, buf_str(&text), c);
}

static struct error *set_value(const struct flag_spec *spec, const json_t *value, struct config *c)
{
    if (spec->attrs & FLAG_WITHOUT_EFFECT)
        strv_addf(&c->without_effect, "\"%s\" in %s", key_of(spec), c->config_file);
    if (json_is_null(value))
        return NULL;
    switch (spec->kind) {
    case FLAG_LIST:
    case FLAG_IP_LIST:
        return set_array(spec, value, c);
    case FLAG_MAP:
    case FLAG_SWITCHES:
        return set_map(spec, value, c);
    case FLAG_RUNTIME:
        return set_runtimes(spec, value, c);
    case FLAG_POOL:
        return set_pools(spec, value, c);
    case FLAG_ULIMIT:
        return set_ulimits(spec, value, c);
    case FLAG_MAP_OF_MAPS:
    case FLAG_NRI:
        return json_is_object(value) ? NULL : wrong_type(key_of(spec), value, "map[string]map[string]string");
    default:
        return set_scalar(spec, value, c);
    }
}

static struct error *set_file_only(const char *key, json_t *value, struct config *c)
{
    if (streq(key, "builder"))
        return builder_json_apply(value, c);
    if (!streq(key, "min-api-version")) {
        strv_addf(&c->without_effect, "\"%s\" in %s", key, c->config_file);
        return NULL;
    }
    if (!json_is_string(value))
        return wrong_type(key, value, "string");
    free(c->min_api_version);
    c->min_api_version = xstrdup(json_string_value(value));
    return NULL;
}

static struct error *apply_keys(json_t *file, struct config *c)
{
    const char *key;
    json_t *value;

    json_object_foreach(file, key, value)
    {
        const struct flag_spec *spec = find_by_key(streq(key, "host-gateway-ip") ? "host-gateway-ips" : key);

        if (streq(key, "proxies") && json_is_object(value))
            TRY(apply_keys(value, c));
        else if (streq(key, "host-gateway-ip") && json_is_string(value))
            TRY(set_checked(spec, json_string_value(value), c));
        else if (spec != NULL && !streq(key, "config-file") && !streq(key, "validate") &&
                 !streq(key, "help") && !streq(key, "version"))
            TRY(set_value(spec, value, c));
        else if (is_in(key, file_only, ARRAY_LEN(file_only)))
            TRY(set_file_only(key, value, c));
        else /* passes dockerd's check (a flag's name where the key has another), and sets nothing there
                either */
            strv_addf(&c->without_effect, "\"%s\" in %s", key, c->config_file);
    }
    return NULL;
}

/* ---- the file ---- */

static struct error *parse_file(const char *path, const struct buf *text, json_t **ret)
{
    const char *p = buf_str(text);
    json_error_t why;

    p = str_skip_prefix(p, "\xef\xbb\xbf") != NULL ? p + 3 : p;
    p += strspn(p, " \t\r\n");
    if (*p == '\0') {
        *ret = json_object();
        return NULL;
    }
    *ret = json_loads(p, 0, &why);
    if (*ret == NULL)
        return err_new(ERR_INVALID, "invalid JSON: %s (line %d, column %d)", why.text, why.line, why.column);
    if (json_is_object(*ret))
        return NULL;
    struct error *e = err_new(ERR_INVALID, "invalid JSON: %s does not hold an object", path);

    json_decref(*ret);
    *ret = NULL;
    return e;
}

static struct error *load(const char *path, struct flag_state *states, struct config *c, bool *ret_found)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(json_decrefp) json_t *file = NULL;
    CLEANUP(map_deinit) struct map keys = { 0 };
    int r = file_read(path, &text, LIMIT_CONTROL_FILE);

    *ret_found = r != -ENOENT;
    if (r < 0) {
        char space[128];

        return err_new(ERR_INVALID, "open %s: %s", path,
                       r == -ENOENT ? "no such file or directory" : strerror_r(-r, space, sizeof(space)));
    }
    TRY(parse_file(path, &text, &file));
    flatten(file, &keys);
    TRY(refuse_unknown(&keys));
    TRY(refuse_conflicts(&keys, states));
    return apply_keys(file, c);
}

struct error *daemon_json_load(const char *path, struct flag_state *states, struct config *c, bool *ret_found)
{
    return err_wrap(load(path, states, c, ret_found), "unable to configure the Docker daemon with file %s",
                    path);
}
