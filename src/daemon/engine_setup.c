/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/engine_setup.h"
#include "base/bytes.h"

#include <sys/statvfs.h>
#include <unistd.h>

#define GB INT64_C(1000000000)
#define HOUR (3600 * NS_PER_SEC)
#define DEFAULT_GATEWAY "172.17.0.1"

static const char *null_if_empty(const char *s)
{
    return s[0] != '\0' ? s : NULL;
}

/* ---- garbage collection: BuildKit's four rules, unless the user wrote others ---- */

static int64_t disk_total(const char *root)
{
    struct statvfs st;

    return statvfs(root, &st) < 0 ? 0 : (int64_t)((uint64_t)st.f_blocks * st.f_frsize);
}

/* As moby counts: binary gigabytes, rounded up, each taken for a decimal one. */
static int64_t share(int64_t total, int percent)
{
    return (total / 100 * percent / (INT64_C(1) << 30) + 1) * GB;
}

static int64_t bytes_of(const struct config_space *space, int64_t total)
{
    return space->percent > 0 ? share(total, space->percent) : space->bytes;
}

static bool is_set(const struct config_space *space)
{
    return space->bytes != 0 || space->percent != 0;
}

struct spaces {
    int64_t reserved, max_used, min_free;
};

static struct spaces default_spaces(const struct config *c, int64_t total)
{
    const struct config_gc *gc = &c->gc;
    bool flat_caps = c->face == FACE_BUILDKITD;

    if (is_set(&gc->reserved) || is_set(&gc->max_used) || is_set(&gc->min_free))
        return (struct spaces){ bytes_of(&gc->reserved, total), bytes_of(&gc->max_used, total),
                                bytes_of(&gc->min_free, total) };
    if (total == 0)
        return (struct spaces){ 2 * GB, 0, 0 };
    struct spaces s = { share(total, 10), share(total, 80), share(total, 20) };

    if (flat_caps) {
        s.reserved = MIN(s.reserved, 10 * GB);
        s.max_used = MIN(s.max_used, 100 * GB);
    }
    return s;
}

static struct gc_policy rule(bool all, int64_t keep_ns, const struct spaces *s)
{
    return (struct gc_policy){ .all = all,
                               .keep_ns = keep_ns,
                               .reserved_bytes = s->reserved,
                               .max_used_bytes = s->max_used,
                               .min_free_bytes = s->min_free };
}

static void default_rules(struct engine_setup *s, const struct config *c, int64_t total)
{
    struct spaces spaces = default_spaces(c, total), temporary = { .max_used = 512 * 1000 * 1000 };

    if (c->face == FACE_DOCKERD) /* moby's share: e times pi times phi percent */
        temporary.max_used = MAX(temporary.max_used, (int64_t)((double)spaces.reserved * 0.138175 + 0.5));
    s->gc = xcalloc(4, sizeof(*s->gc));
    s->gc[0] = rule(false, 48 * HOUR, &temporary);
    strv_add(&s->gc[0].filters, "type==source.local");
    strv_add(&s->gc[0].filters, "type==exec.cachemount");
    strv_add(&s->gc[0].filters, "type==source.git.checkout");
    s->gc[1] = rule(false, 60 * 24 * HOUR, &spaces);
    s->gc[2] = rule(false, 0, &spaces);
    s->gc[3] = rule(true, 0, &spaces);
    s->engine.builder.gc_count = 4;
}

static void own_rules(struct engine_setup *s, const struct config_gc *gc, int64_t total)
{
    s->gc = xcalloc(gc->rule_count, sizeof(*s->gc));
    for (size_t i = 0; i < gc->rule_count; i++) {
        const struct config_gc_rule *r = &gc->rules[i];
        struct spaces spaces = { bytes_of(&r->reserved, total), bytes_of(&r->max_used, total),
                                 bytes_of(&r->min_free, total) };

        s->gc[i] = rule(r->all, r->keep_ns, &spaces);
        strv_copy(&s->gc[i].filters, &r->filters);
    }
    s->engine.builder.gc_count = gc->rule_count;
}

static void set_gc(struct engine_setup *s, const struct config *c)
{
    int64_t total = disk_total(c->data_root);

    if (!c->gc.enabled)
        return;
    if (c->gc.rule_count > 0)
        own_rules(s, &c->gc, total);
    else
        default_rules(s, c, total);
    s->engine.builder.gc = s->gc;
}

/* ---- the rest ---- */

/* Where CDI specifications are; nowhere when devices are switched off. */
static void set_devices(struct engine_setup *s, const struct config *c)
{
    static const char *const defaults[] = { "/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi" };
    const char *feature = strmap_get(&c->features, "cdi");

    if (c->cdi_disabled || (feature != NULL && streq(feature, "false")))
        return;
    strv_copy(&s->cdi_dirs, &c->cdi_spec_dirs);
    for (size_t i = 0; c->cdi_spec_dirs.len == 0 && i < (c->face == FACE_BUILDKITD ? 3 : 2); i++)
        strv_add(&s->cdi_dirs, defaults[i]);
    s->engine.runner.cdi_dirs = s->cdi_dirs;
}

static void set_runner(struct engine_setup *s, const struct config *c)
{
    struct runner_config *r = &s->engine.runner;
    size_t count = c->runtime_count + (c->worker_binary[0] != '\0' ? 1 : 0);

    s->runtimes = xcalloc(count, sizeof(*s->runtimes));
    for (size_t i = 0; i < c->runtime_count; i++)
        s->runtimes[i] = (struct runtime_config){ .name = c->runtimes[i].name,
                                                  .path = c->runtimes[i].path,
                                                  .args = c->runtimes[i].args };
    if (c->worker_binary[0] != '\0')
        s->runtimes[c->runtime_count] =
            (struct runtime_config){ .name = c->worker_binary, .path = c->worker_binary };
    r->exec_root = c->exec_root;
    r->runtimes = s->runtimes;
    r->runtime_count = count;
    r->default_runtime = null_if_empty(c->worker_binary[0] != '\0' ? c->worker_binary : c->default_runtime);
    r->cgroup_parent = null_if_empty(c->cgroup_parent);
    r->bridge_cidr = null_if_empty(c->bip);
    r->bridge_name = streq(c->bridge, "none") ? NULL : null_if_empty(c->bridge);
    r->host_network = streq(c->worker_network, "host");
    r->userland_network = !streq(c->bridge, "none");
    r->dns = c->dns;
    r->dns_search = c->dns_search;
    r->dns_options = c->dns_options;
    set_devices(s, c);
}

static void set_registry(struct engine_setup *s, const struct config *c)
{
    struct registry_config *r = &s->engine.registry;
    size_t count = 0;

    s->hosts = xcalloc(c->registry_count + 1, sizeof(*s->hosts));
    if (c->registry_mirrors.len > 0) {
        s->hosts[count].host = xstrdup("docker.io");
        strv_copy(&s->hosts[count++].mirrors, &c->registry_mirrors);
    }
    for (size_t i = 0; i < c->registry_count; i++) {
        const struct config_registry *from = &c->registries[i];
        struct registry_host_config *to = &s->hosts[count++];

        *to = (struct registry_host_config){ .host = xstrdup(from->host),
                                             .plain_http = from->plain_http,
                                             .insecure = from->insecure,
                                             .ca_file = from->ca_file,
                                             .cert_file = from->cert_file,
                                             .key_file = from->key_file };
        strv_copy(&to->mirrors, &from->mirrors);
    }
    r->hosts = s->hosts;
    r->host_count = count;
    r->insecure_registries = c->insecure_registries;
    s->user_agent = xasprintf("docker/%s minke/%s", ENGINE_VERSION, MINKE_VERSION);
    r->user_agent = s->user_agent;
    r->max_downloads = (int)MIN(c->max_downloads, (int64_t)INT16_MAX);
    r->max_uploads = (int)MIN(c->max_uploads, (int64_t)INT16_MAX);
}

/* What "host-gateway" means to containers: the bridge's own address, when nothing else is said. */
static void set_gateway(struct engine_setup *s, const struct config *c)
{
    const char *given = c->host_gateway_ips.len > 0 ? c->host_gateway_ips.v[0] : c->bip;

    s->gateway = xstrndup(given, strcspn(given, "/"));
    if (s->gateway[0] == '\0') {
        free(s->gateway);
        s->gateway = xstrdup(DEFAULT_GATEWAY);
    }
}

static void set_builder(struct engine_setup *s, const struct config *c)
{
    struct builder_config *b = &s->engine.builder;

    if (gethostname(s->hostname, sizeof(s->hostname) - 1) < 0)
        s->hostname[0] = '\0';
    set_gateway(s, c);
    b->version = BUILDKIT_VERSION;
    b->executor = c->face == FACE_DOCKERD ? "containerd" : "oci";
    b->hostname = s->hostname;
    b->engine = c->face == FACE_DOCKERD;
    b->entitlements = c->entitlements;
    b->extra_labels = c->worker_labels;
    b->no_dockerfile_frontend = !c->dockerfile_frontend;
    b->no_gateway_frontend = !c->gateway_frontend;
    b->frontend_repositories = c->frontend_repositories;
    b->host_gateway_ip = s->gateway;
    if (c->face == FACE_BUILDKITD)
        b->provenance_env_dir =
            c->provenance_env_dir[0] != '\0' ? c->provenance_env_dir : "/etc/buildkit/provenance.d";
    b->source_policy_file = null_if_empty(c->source_policy);
    b->proxy_network = c->proxy_network;
    b->history_max_entries = (int)MIN(c->history_max_entries, (int64_t)INT32_MAX);
    b->history_max_age_ns = c->history_max_age_ns;
    set_gc(s, c);
}

static void set_containers(struct engine_setup *s, const struct config *c)
{
    s->engine.containers = (struct container_defaults){
        .log_options = &c->log_options,
        .log_driver = null_if_empty(c->log_driver),
        .stop_timeout = (int)MIN(c->default_stop_timeout, (int64_t)INT32_MAX),
        .shutdown_timeout = c->shutdown_timeout,
        .shm_size = c->shm_size,
        .ulimits = &c->ulimits,
        .publish_ip = streq(c->publish_ip, "0.0.0.0") ? NULL : null_if_empty(c->publish_ip),
        .init = c->init,
        .no_new_privileges = c->no_new_privileges,
        .no_seccomp = streq(c->seccomp_profile, "unconfined")
    };
}

void engine_setup_init(struct engine_setup *s, const struct config *c)
{
    struct engine_config *e = &s->engine;

    *s = (struct engine_setup){ 0 };
    e->data_root = c->data_root;
    e->exec_root = c->exec_root;
    e->buildkitd = c->face == FACE_BUILDKITD;
    e->labels = c->labels;
    e->default_runtime = c->default_runtime[0] != '\0' ? c->default_runtime : "runc";
    e->debug = c->debug;
    e->max_parallelism = (int)MIN(c->max_parallelism, (int64_t)INT32_MAX);
    set_containers(s, c);
    e->server_version = ENGINE_VERSION;
    e->insecure_registries = c->insecure_registries;
    e->registry_mirrors = c->registry_mirrors;
    e->experimental = c->experimental;
    e->classic_builder_preferred =
        strmap_get(&c->features, "buildkit") != NULL && streq(strmap_get(&c->features, "buildkit"), "false");
    set_runner(s, c);
    set_registry(s, c);
    set_builder(s, c);
}

void engine_setup_deinit(struct engine_setup *s)
{
    for (size_t i = 0; i < s->engine.registry.host_count; i++) {
        free(s->hosts[i].host);
        strv_deinit(&s->hosts[i].mirrors);
    }
    for (size_t i = 0; i < s->engine.builder.gc_count; i++)
        strv_deinit(&s->gc[i].filters);
    free(s->hosts);
    free(s->gc);
    free(s->runtimes);
    strv_deinit(&s->cdi_dirs);
    free(s->gateway);
    free(s->user_agent);
    *s = (struct engine_setup){ 0 };
}
