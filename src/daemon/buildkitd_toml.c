/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buildkitd_toml.c - what buildkitd.toml sets
 *
 * One table of paths and fields; tables with names of the user's choosing (registries) and lists of rules
 * have functions.  A flag stands over the file.  A key that we do not know is named in the log and otherwise
 * passed over, as buildkitd does.
 */
#include "base/buf.h"
#include "base/limits.h"
#include "daemon/faces.h"
#include "daemon/toml.h"
#include "io/path.h"

#include <errno.h>

struct toml_key {
    const char *path; /* "grpc.address" */
    const char *flag; /* when it was given, the file's value is not taken; NULL: there is no such flag */
    enum flag_kind kind;
    size_t field;
};

#define AT(member) offsetof(struct config, member)

/* clang-format off */
static const struct toml_key keys[] = {
    { "debug", "debug", FLAG_BOOL, AT(debug) },
    { "trace", "trace", FLAG_BOOL, AT(debug) },
    { "root", "root", FLAG_STRING, AT(data_root) },
    { "insecure-entitlements", "allow-insecure-entitlement", FLAG_LIST, AT(entitlements) },
    { "log.format", "log-format", FLAG_STRING, AT(log_format) },
    { "log.level", "log-level", FLAG_STRING, AT(log_level) },
    { "grpc.address", "addr", FLAG_LIST, AT(hosts) },
    { "grpc.tls.cert", "tlscert", FLAG_STRING, AT(tls_cert) },
    { "grpc.tls.key", "tlskey", FLAG_STRING, AT(tls_key) },
    { "grpc.tls.ca", "tlscacert", FLAG_STRING, AT(tls_ca) },
    { "otel.socketPath", "otel-socket-path", FLAG_STRING, AT(otel_socket) },
    { "cdi.disabled", "cdi-disabled", FLAG_BOOL, AT(cdi_disabled) },
    { "cdi.specDirs", "cdi-spec-dir", FLAG_LIST, AT(cdi_spec_dirs) },
    { "dns.nameservers", NULL, FLAG_LIST, AT(dns) },
    { "dns.options", NULL, FLAG_LIST, AT(dns_options) },
    { "dns.searchDomains", NULL, FLAG_LIST, AT(dns_search) },
    { "worker.oci.platforms", "oci-worker-platform", FLAG_LIST, AT(worker_platforms) },
    { "worker.oci.binary", "oci-worker-binary", FLAG_STRING, AT(worker_binary) },
    { "worker.oci.networkMode", "oci-worker-net", FLAG_STRING, AT(worker_network) },
    { "worker.oci.bridgeName", NULL, FLAG_STRING, AT(bridge) },
    { "worker.oci.bridgeSubnet", NULL, FLAG_STRING, AT(bip) },
    { "worker.oci.defaultCgroupParent", NULL, FLAG_STRING, AT(cgroup_parent) },
    { "worker.oci.max-parallelism", "oci-max-parallelism", FLAG_INT, AT(max_parallelism) },
    { "worker.oci.gc", "oci-worker-gc", FLAG_BOOL, AT(gc.enabled) },
    { "provenanceEnvDir", NULL, FLAG_STRING, AT(provenance_env_dir) },
    { "proxyNetwork", "proxy-network", FLAG_BOOL, AT(proxy_network) },
    { "sourcePolicy", NULL, FLAG_STRING, AT(source_policy) },
};
/* clang-format on */

/* Known and handled by a function, with all that lies below. */
static const char *const handled[] = { "registry",
                                       "frontend.dockerfile.v0.enabled",
                                       "frontend.gateway.v0.enabled",
                                       "frontend.gateway.v0.allowedRepositories",
                                       "history.maxAge",
                                       "history.maxEntries",
                                       "grpc.gid",
                                       "worker.oci.labels",
                                       "worker.oci.gcpolicy",
                                       "worker.oci.gckeepstorage",
                                       "worker.oci.reservedSpace",
                                       "worker.oci.maxUsedSpace",
                                       "worker.oci.minFreeSpace" };

static json_t *at_path(json_t *root, const char *path)
{
    while (root != NULL) {
        size_t len = strcspn(path, ".");
        CLEANUP(freep) char *key = xstrndup(path, len);

        root = json_object_get(root, key);
        if (path[len] == '\0')
            return root;
        path += len + 1;
    }
    return NULL;
}

static bool flag_given(const char *name, const struct flag_state *states)
{
    const struct flag_spec *spec = name != NULL ? flags_find(&buildkitd_flags, name) : NULL;

    return spec != NULL && states[spec - buildkitd_flags.specs].changed;
}

static struct error *wrong_type(const char *path, const char *wanted)
{
    return err_new(ERR_INVALID, "failed to parse config: %s must be %s", path, wanted);
}

static struct error *take_list(const char *path, const json_t *value, struct strv *field)
{
    json_t *item;
    size_t i;

    if (!json_is_array(value))
        return wrong_type(path, "an array of strings");
    strv_clear(field);
    json_array_foreach((json_t *)value, i, item)
    {
        if (!json_is_string(item))
            return wrong_type(path, "an array of strings");
        strv_add(field, json_string_value(item));
    }
    return NULL;
}

static struct error *take_key(const struct toml_key *k, const json_t *value, struct config *c)
{
    void *field = (char *)c + k->field;

    switch (k->kind) {
    case FLAG_BOOL:
        if (!json_is_boolean(value))
            return wrong_type(k->path, "true or false");
        *(bool *)field = json_is_true(value);
        return NULL;
    case FLAG_INT:
        if (!json_is_integer(value))
            return wrong_type(k->path, "an integer");
        *(int64_t *)field = json_integer_value(value);
        return NULL;
    case FLAG_STRING:
        if (!json_is_string(value))
            return wrong_type(k->path, "a string");
        free(*(char **)field);
        *(char **)field = xstrdup(json_string_value(value));
        return NULL;
    default:
        return take_list(k->path, value, field);
    }
}

/* ---- registries ---- */

static void take_optional(const json_t *value, char **field)
{
    if (json_is_string(value))
        *field = xstrdup(json_string_value(value));
}

static struct error *take_registry(const char *host, const json_t *table, struct config *c)
{
    const json_t *mirrors = json_object_get(table, "mirrors"),
                 *pair = json_array_get(json_object_get(table, "keypair"), 0);

    if (!json_is_object(table))
        return wrong_type("registry", "a table for each host");
    c->registries = xreallocarray(c->registries, c->registry_count + 1, sizeof(*c->registries));
    struct config_registry *r = &c->registries[c->registry_count++];

    *r = (struct config_registry){ .host = xstrdup(host) };
    if (mirrors != NULL)
        TRY(take_list("registry.mirrors", mirrors, &r->mirrors));
    r->plain_http = json_is_true(json_object_get(table, "http"));
    r->insecure = json_is_true(json_object_get(table, "insecure"));
    take_optional(json_array_get(json_object_get(table, "ca"), 0), &r->ca_file);
    take_optional(json_object_get(pair, "key"), &r->key_file);
    take_optional(json_object_get(pair, "cert"), &r->cert_file);
    return NULL;
}

static struct error *take_registries(json_t *root, struct config *c)
{
    const char *host;
    json_t *table;

    json_object_foreach(at_path(root, "registry"), host, table) TRY(take_registry(host, table, c));
    return NULL;
}

/* ---- garbage collection, history, labels ---- */

static struct error *take_rule(const json_t *table, struct config_gc *gc)
{
    struct config_gc_rule *rule = config_gc_add(gc);
    const json_t *filters = json_object_get(table, "filters"),
                 *reserved = json_object_get(table, "reservedSpace");

    rule->all = json_is_true(json_object_get(table, "all"));
    if (filters != NULL)
        TRY(take_list("worker.oci.gcpolicy.filters", filters, &rule->filters));
    TRY(config_duration_parse(json_object_get(table, "keepDuration"), &rule->keep_ns));
    TRY(config_space_parse(reserved != NULL ? reserved : json_object_get(table, "keepBytes"),
                           &rule->reserved));
    TRY(config_space_parse(json_object_get(table, "maxUsedSpace"), &rule->max_used));
    return config_space_parse(json_object_get(table, "minFreeSpace"), &rule->min_free);
}

/* What the default rules are made of, when there are no others. */
static struct error *take_space(const json_t *worker, struct config_gc *gc)
{
    const json_t *reserved = json_object_get(worker, "reservedSpace");

    TRY(config_space_parse(reserved != NULL ? reserved : json_object_get(worker, "gckeepstorage"),
                           &gc->reserved));
    TRY(config_space_parse(json_object_get(worker, "maxUsedSpace"), &gc->max_used));
    return config_space_parse(json_object_get(worker, "minFreeSpace"), &gc->min_free);
}

static struct error *take_gc(json_t *root, const struct flag_state *states, struct config *c)
{
    json_t *worker = at_path(root, "worker.oci"), *rule;
    size_t i;

    if (!flag_given("oci-worker-gc-keepstorage", states))
        TRY(take_space(worker, &c->gc));
    json_array_foreach(json_object_get(worker, "gcpolicy"), i, rule) TRY(take_rule(rule, &c->gc));
    return NULL;
}

static struct error *take_history(json_t *root, struct config *c)
{
    const json_t *history = at_path(root, "history"), *entries = json_object_get(history, "maxEntries");

    if (history == NULL)
        return NULL;
    if (entries != NULL && (!json_is_integer(entries) || json_integer_value(entries) < 0))
        return wrong_type("history.maxEntries", "an integer of at least 0");
    c->history_max_entries =
        entries != NULL ? json_integer_value(entries) : 1; /* no floor: age alone decides */
    return config_duration_parse(json_object_get(history, "maxAge"), &c->history_max_age_ns);
}

static struct error *take_labels(json_t *root, struct config *c)
{
    const char *key;
    json_t *value;

    json_object_foreach(at_path(root, "worker.oci.labels"), key, value)
    {
        if (!json_is_string(value))
            return wrong_type("worker.oci.labels", "a table of strings");
        strv_addf(&c->worker_labels, "%s=%s", key, json_string_value(value));
    }
    return NULL;
}

static struct error *take_enabled(const json_t *table, const char *path, bool *field)
{
    const json_t *value = json_object_get(table, "enabled");

    if (value != NULL && !json_is_boolean(value))
        return wrong_type(path, "true or false");
    *field = value == NULL ? *field : json_is_true(value);
    return NULL;
}

/* Their names have dots. */
static struct error *take_frontends(json_t *root, struct config *c)
{
    const json_t *all = at_path(root, "frontend"), *gateway = json_object_get(all, "gateway.v0"),
                 *repositories = json_object_get(gateway, "allowedRepositories");

    TRY(take_enabled(json_object_get(all, "dockerfile.v0"), "frontend.dockerfile.v0.enabled",
                     &c->dockerfile_frontend));
    TRY(take_enabled(gateway, "frontend.gateway.v0.enabled", &c->gateway_frontend));
    return repositories == NULL ? NULL
                                : take_list("frontend.gateway.v0.allowedRepositories", repositories,
                                            &c->frontend_repositories);
}

/* A gid for the sockets: as the group. */
static struct error *take_gid(json_t *root, const struct flag_state *states, struct config *c)
{
    const json_t *gid = at_path(root, "grpc.gid");

    if (gid == NULL || flag_given("group", states))
        return NULL;
    if (!json_is_integer(gid) || json_integer_value(gid) < 0)
        return wrong_type("grpc.gid", "a number");
    free(c->group);
    c->group = xasprintf("%" JSON_INTEGER_FORMAT, json_integer_value(gid));
    return NULL;
}

/* ---- the file ---- */

static bool is_known(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (streq(keys[i].path, path))
            return true;
    for (size_t i = 0; i < ARRAY_LEN(handled); i++)
        if (streq(handled[i], path))
            return true;
    return false;
}

static void note_unknown(json_t *table, const char *prefix, unsigned depth, struct config *c)
{
    const char *key;
    json_t *value;

    json_object_foreach(table, key, value)
    {
        CLEANUP(freep) char *path = xasprintf("%s%s%s", prefix, *prefix != '\0' ? "." : "", key);

        if (is_known(path))
            continue;
        if (json_is_object(value) && depth < TOML_DEPTH)
            note_unknown(value, path, depth + 1, c);
        else
            strv_addf(&c->without_effect, "%s in %s", path, c->config_file);
    }
}

static struct error *apply(json_t *root, struct flag_state *states, struct config *c)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const json_t *value = at_path(root, keys[i].path);

        if (value != NULL && !flag_given(keys[i].flag, states))
            TRY(take_key(&keys[i], value, c));
    }
    TRY(take_registries(root, c));
    TRY(take_history(root, c));
    TRY(take_labels(root, c));
    TRY(take_frontends(root, c));
    TRY(take_gid(root, states, c));
    TRY(take_gc(root, states, c));
    note_unknown(root, "", 0, c);
    return NULL;
}

struct error *buildkitd_toml_load(const char *path, struct flag_state *states, struct config *c,
                                  bool *ret_found)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    json_t *root = NULL;
    int r = file_read(path, &text, LIMIT_CONTROL_FILE);

    *ret_found = r != -ENOENT;
    if (r == -ENOENT)
        return NULL;
    if (r < 0)
        return err_sys(-r, "failed to load config from %s", path);
    TRY(err_wrap(toml_parse(buf_str(&text), &root), "failed to parse config %s", path));
    struct error *e = apply(root, states, c);

    json_decref(root);
    return e;
}
