/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/config.h"
#include "base/buf.h"
#include "base/log.h"
#include "daemon/faces.h"
#include "io/path.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- defaults ---- */

static void set_default_paths(struct config *c)
{
    bool dockerd = c->face == FACE_DOCKERD;
    const char *home = getenv("HOME"), *certs = getenv("DOCKER_CERT_PATH"),
               *docker_config = getenv("DOCKER_CONFIG");
    const char *toml = getenv("BUILDKITD_CONFIG");
    CLEANUP(freep)
    char *dir = certs != NULL && *certs != '\0' ? xstrdup(certs)
                : docker_config != NULL && *docker_config != '\0'
                    ? xstrdup(docker_config)
                    : path_join(home != NULL ? home : "/", ".docker");

    c->config_file = xstrdup(dockerd        ? "/etc/docker/daemon.json"
                             : toml != NULL ? toml
                                            : "/etc/buildkit/buildkitd.toml");
    c->pidfile = xstrdup(dockerd ? "/var/run/docker.pid" : "");
    c->data_root = xstrdup(dockerd ? "/var/lib/docker" : "/var/lib/buildkit");
    c->exec_root = xstrdup(dockerd ? "/var/run/docker" : "");
    c->group = xstrdup(dockerd ? "docker" : "");
    c->tls_ca = dockerd ? path_join(dir, "ca.pem") : xstrdup("");
    c->tls_cert = dockerd ? path_join(dir, "cert.pem") : xstrdup("");
    c->tls_key = dockerd ? path_join(dir, "key.pem") : xstrdup("");
}

static void set_defaults(struct config *c)
{
    char **empty[] = { &c->http_proxy,      &c->https_proxy, &c->no_proxy,
                       &c->cgroup_parent,   &c->bridge,      &c->bip,
                       &c->worker_binary,   &c->otel_socket, &c->provenance_env_dir,
                       &c->min_api_version, &c->publish_ip,  &c->seccomp_profile,
                       &c->source_policy };

    for (size_t i = 0; i < ARRAY_LEN(empty); i++)
        *empty[i] = xstrdup("");
    set_default_paths(c);
    c->log_level = xstrdup("info");
    c->log_format = xstrdup("text");
    c->shutdown_timeout = 15;
    c->max_downloads = 3;
    c->max_uploads = 5;
    c->max_download_attempts = 5;
    c->default_runtime = xstrdup("");
    c->userland_proxy = true;
    c->shm_size = INT64_C(64) << 20;
    c->mtu = 1500;
    c->default_stop_timeout = 10;
    c->log_driver = xstrdup("json-file");
    c->history_max_entries = -1;
    c->gc.enabled = true;
    c->dockerfile_frontend = c->gateway_frontend = true;
    c->worker_network = xstrdup("auto");
    if (c->face == FACE_DOCKERD) {
        strv_add(&c->entitlements, "network.host");
        strv_add(&c->entitlements, "device");
    }
}

static void gc_deinit(struct config_gc *gc)
{
    for (size_t i = 0; i < gc->rule_count; i++)
        strv_deinit(&gc->rules[i].filters);
    free(gc->rules);
}

static void registries_deinit(struct config *c)
{
    for (size_t i = 0; i < c->registry_count; i++) {
        struct config_registry *r = &c->registries[i];

        free(r->host);
        free(r->ca_file);
        free(r->cert_file);
        free(r->key_file);
        strv_deinit(&r->mirrors);
    }
    free(c->registries);
}

void config_deinit(struct config *c)
{
    char *strings[] = { c->config_file,
                        c->pidfile,
                        c->log_level,
                        c->log_format,
                        c->group,
                        c->tls_ca,
                        c->tls_cert,
                        c->tls_key,
                        c->data_root,
                        c->exec_root,
                        c->http_proxy,
                        c->https_proxy,
                        c->no_proxy,
                        c->bridge,
                        c->default_runtime,
                        c->cgroup_parent,
                        c->bip,
                        c->log_driver,
                        c->worker_network,
                        c->worker_binary,
                        c->otel_socket,
                        c->provenance_env_dir,
                        c->min_api_version,
                        c->publish_ip,
                        c->seccomp_profile,
                        c->source_policy };
    struct strv *lists[] = {
        &c->hosts,         &c->registry_mirrors, &c->insecure_registries,   &c->dns,
        &c->dns_options,   &c->dns_search,       &c->host_gateway_ips,      &c->address_pools,
        &c->ulimits,       &c->exec_options,     &c->cdi_spec_dirs,         &c->labels,
        &c->entitlements,  &c->worker_labels,    &c->frontend_repositories, &c->worker_platforms,
        &c->without_effect
    };

    for (size_t i = 0; i < ARRAY_LEN(strings); i++)
        free(strings[i]);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        strv_deinit(lists[i]);
    for (size_t i = 0; i < c->runtime_count; i++) {
        free(c->runtimes[i].name);
        free(c->runtimes[i].path);
        strv_deinit(&c->runtimes[i].args);
    }
    free(c->runtimes);
    registries_deinit(c);
    map_deinit(&c->log_options);
    map_deinit(&c->features);
    gc_deinit(&c->gc);
    *c = (struct config){ 0 };
}

/* ---- listeners ---- */

/* "tcp://:2375", "host", "unix://": as the listener wants it, with what was left out. */
static char *normal_host(const char *host, bool tls)
{
    const char *rest = strstr(host, "://");

    if (str_has_prefix(host, "fd://"))
        return xstrdup(host);
    if (str_has_prefix(host, "unix://"))
        return xstrdup(host[7] != '\0' ? host : "unix:///var/run/docker.sock");
    rest = rest != NULL ? rest + 3 : host;
    const char *colon = strrchr(rest, ':'), *bracket = strrchr(rest, ']');
    bool has_port = colon != NULL && colon[1] != '\0' && (bracket == NULL || colon > bracket);
    size_t host_len =
        colon != NULL && (bracket == NULL || colon > bracket) ? (size_t)(colon - rest) : strlen(rest);

    return xasprintf("tcp://%.*s:%s", host_len > 0 ? (int)host_len : 9, host_len > 0 ? rest : "localhost",
                     has_port ? colon + 1
                     : tls    ? "2376"
                              : "2375");
}

static void normalise_hosts(struct config *c)
{
    CLEANUP(strv_deinit) struct strv hosts = c->hosts;

    c->hosts = (struct strv){ 0 };
    for (size_t i = 0; i < hosts.len; i++) {
        const char *host = hosts.v[i] + strspn(hosts.v[i], " \t");

        if (*host == '\0')
            continue;
        CLEANUP(freep) char *normal = c->face == FACE_DOCKERD ? normal_host(host, c->tls) : xstrdup(host);

        if (!strv_has(&c->hosts, normal))
            strv_take(&c->hosts, TAKE(normal));
    }
    if (c->hosts.len == 0 && c->face == FACE_BUILDKITD)
        strv_add(&c->hosts, "unix:///run/buildkit/buildkitd.sock");
    else if (c->hosts.len == 0)
        strv_add(&c->hosts, c->tls ? "tcp://localhost:2376" : "unix:///var/run/docker.sock");
}

/* ---- command line ---- */

static const struct flag_table *table_of(const struct config *c)
{
    return c->face == FACE_DOCKERD ? &dockerd_flags : &buildkitd_flags;
}

static bool given(const struct config *c, const struct flag_state *states, const char *name)
{
    const struct flag_table *t = table_of(c);
    const struct flag_spec *spec = flags_find(t, name);

    return spec != NULL && states[spec - t->specs].changed;
}

static void print_help(const struct config *c)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };

    if (c->face == FACE_DOCKERD)
        buf_addf(&out, "\nUsage:\t%s [OPTIONS]\n\nA self-sufficient runtime for containers.\n\nOptions:\n",
                 c->program);
    else
        buf_addf(&out, "NAME:\n   %s - build daemon\n\nUSAGE:\n   %s [global options]\n\nGLOBAL OPTIONS:\n",
                 c->program, c->program);
    flags_usage(table_of(c), &out);
    fputs(out.data, stdout);
}

static void print_version(const struct config *c)
{
    if (c->face == FACE_DOCKERD)
        printf("Docker version %s, build minke-%s\n", ENGINE_VERSION, MINKE_VERSION);
    else
        printf("buildkitd github.com/moby/buildkit %s minke-%s\n", BUILDKITD_VERSION, MINKE_VERSION);
}

/* As cobra and dockerd's main print it. */
static struct error *flag_error(const struct config *c, struct error *e)
{
    if (e == NULL || c->face != FACE_DOCKERD)
        return e;
    struct error *shown =
        err_new(ERR_INVALID, "Status: %s\nSee '%s --help'., Code: 125", e->message, c->program);

    err_free(e);
    return shown;
}

static struct error *parse_flags(int argc, char **argv, struct config *c, struct flag_state *states)
{
    int positional;

    TRY(flag_error(c, flag_table_parse(table_of(c), argc, argv, c, states, &positional)));
    if (positional < argc && c->face == FACE_DOCKERD && !given(c, states, "help") &&
        !given(c, states, "version"))
        return err_new(ERR_INVALID,
                       "\"%s\" accepts no argument(s).\nSee '%s --help'.\n\nUsage:  %s [OPTIONS]\n\n"
                       "A self-sufficient runtime for containers.",
                       c->program, c->program, c->program);
    return NULL;
}

static bool file_missing(const char *path)
{
    return access(path, F_OK) < 0;
}

/* --tlsverify, whatever its value, turns TLS on; TLS verifies unless that says no. */
static void settle_tls(struct config *c, const struct flag_state *states)
{
    const char *verify = getenv("DOCKER_TLS_VERIFY");

    if (c->face == FACE_BUILDKITD) {
        c->tls = c->tls_cert[0] != '\0';
        c->tls_verify = c->tls && c->tls_ca[0] != '\0';
        return;
    }
    if (given(c, states, "tlsverify") || c->tls_verify || (verify != NULL && *verify != '\0'))
        c->tls = true;
    if (c->tls && !given(c, states, "tlsverify"))
        c->tls_verify = true;
    char **files[] = { &c->tls_cert, &c->tls_key, &c->tls_ca };
    const char *const names[] = { "tlscert", "tlskey", "tlscacert" };

    for (size_t i = 0; i < ARRAY_LEN(files) && c->tls; i++)
        if (!given(c, states, names[i]) && file_missing(*files[i]))
            (*files[i])[0] = '\0';
}

/* "Reserved[,Free[,Maximum]]" in megabytes, or percentages. */
static struct error *settle_keepstorage(struct config *c, const struct flag_state *states)
{
    const struct flag_spec *spec = flags_find(table_of(c), "oci-worker-gc-keepstorage");
    struct config_space *spaces[] = { &c->gc.reserved, &c->gc.min_free, &c->gc.max_used };
    CLEANUP(strv_deinit) struct strv parts = { 0 };

    if (spec == NULL || !states[spec - table_of(c)->specs].changed)
        return NULL;
    const struct strv *values = &states[spec - table_of(c)->specs].values;

    strv_split(&parts, values->v[values->len - 1], ',');
    if (parts.len > ARRAY_LEN(spaces))
        return err_new(ERR_INVALID, "failed to parse gc storage limits: \"%s\"", values->v[values->len - 1]);
    for (size_t i = 0; i < parts.len; i++) {
        int64_t megabytes;
        json_t *text = parse_i64(parts.v[i], &megabytes) == 0 ? json_integer(megabytes * 1000000)
                                                              : json_string(parts.v[i]);
        struct error *e = config_space_parse(text, spaces[i]);

        json_decref(text);
        TRY(e);
    }
    return NULL;
}

static struct error *load_file(struct config *c, struct flag_state *states, bool *ret_found)
{
    bool named = given(c, states, c->face == FACE_DOCKERD ? "config-file" : "config"), found = true;

    *ret_found = false;
    if (c->config_file[0] == '\0')
        return NULL;
    struct error *e = c->face == FACE_DOCKERD ? daemon_json_load(c->config_file, states, c, &found)
                                              : buildkitd_toml_load(c->config_file, states, c, &found);

    *ret_found = found;
    if (!found && !named) {
        err_free(e);
        return NULL;
    }
    return e;
}

/* buildkitd has no flag for it: beside the data where that was moved, so that two of them do not share it. */
static void settle_exec_root(struct config *c)
{
    if (c->face != FACE_BUILDKITD)
        return;
    free(c->exec_root);
    c->exec_root = streq(c->data_root, "/var/lib/buildkit") ? xstrdup("/run/buildkit/minke")
                                                            : path_join(c->data_root, "exec");
}

/* buildkitd allows devices wherever CDI is on, whatever else its list of entitlements says. */
static void settle_devices(struct config *c)
{
    if (c->face == FACE_BUILDKITD && !c->cdi_disabled && !strv_has(&c->entitlements, "device"))
        strv_add(&c->entitlements, "device");
}

/* buildkitd replaces its default list by what is given, dockerd has none to replace. */
static struct error *settle(struct config *c, const struct flag_state *states, bool from_file)
{
    if (c->face == FACE_DOCKERD)
        c->group_given = given(c, states, "group");
    else
        c->group_given = c->group[0] != '\0';
    settle_tls(c, states);
    if (c->face == FACE_BUILDKITD)
        TRY(settle_keepstorage(c, states));
    settle_exec_root(c);
    settle_devices(c);
    if (c->data_root[0] == '\0' || c->exec_root[0] == '\0')
        return err_new(ERR_INVALID, "the data root and the exec root must not be empty");
    normalise_hosts(c);
    if (!from_file || c->face != FACE_DOCKERD)
        return config_check(c);
    return err_wrap(config_check(c),
                    "unable to configure the Docker daemon with file %s: merged configuration validation "
                    "from file and command line "
                    "flags failed",
                    c->config_file);
}

static void detect_face(const char *argv0, struct config *c)
{
    const char *slash = strrchr(argv0, '/');

    c->program = slash != NULL ? slash + 1 : argv0;
    c->face = streq(c->program, "buildkitd") ? FACE_BUILDKITD : FACE_DOCKERD;
}

static struct error *load(int argc, char **argv, struct config *c, struct flag_state *states, bool *ret_done)
{
    TRY(parse_flags(argc, argv, c, states));
    *ret_done = true;
    if (given(c, states, "help"))
        print_help(c);
    else if (given(c, states, "version"))
        print_version(c);
    else
        *ret_done = false;
    if (*ret_done)
        return NULL;
    bool from_file;

    TRY(load_file(c, states, &from_file));
    TRY(settle(c, states, from_file));
    if (c->validate) {
        fputs("configuration OK\n", stderr);
        *ret_done = true;
    }
    return NULL;
}

struct error *config_load(int argc, char **argv, struct config *ret, bool *ret_done)
{
    struct config c = { 0 };

    detect_face(argc > 0 ? argv[0] : "minked", &c);
    set_defaults(&c);
    struct flag_state *states = xcalloc(table_of(&c)->count, sizeof(*states));
    struct error *e = load(argc, argv, &c, states, ret_done);

    for (size_t i = 0; i < table_of(&c)->count; i++)
        strv_deinit(&states[i].values);
    free(states);
    if (e != NULL)
        config_deinit(&c);
    else
        *ret = c;
    return e;
}
