/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/compose.h"

#include "base/bytes.h"

#include <sys/statvfs.h>
#include <unistd.h>

#define GB INT64_C(1000000000)
#define HOUR_NS (3600 * NS_PER_SEC)

/* ---- garbage collection
 * ------------------------------------------------------------------------------------------------------ */

static int64_t disk_bytes(const char *path)
{
    struct statvfs v;

    return statvfs(path, &v) < 0 ? 0 : (int64_t)v.f_blocks * (int64_t)v.f_frsize;
}

static int64_t space_bytes(const struct config_space *s, int64_t disk, int64_t otherwise)
{
    if (s->percent > 0)
        return disk / 100 * s->percent;
    return s->bytes > 0 ? s->bytes : otherwise;
}

/* BuildKit's four default rules (protocol: cheap things first after 48 h, then 60 days, then by size, then
 * everything). */
static void default_rules(const struct config *c, int64_t disk, struct builder_config *b)
{
    bool engine = c->face == FACE_DOCKERD;
    int64_t reserved = space_bytes(&c->gc.reserved, disk, engine ? disk / 10 : MIN(disk / 10, 10 * GB));
    int64_t max_used =
        space_bytes(&c->gc.max_used, disk, engine ? disk / 10 * 8 : MIN(disk / 10 * 8, 100 * GB));
    int64_t min_free = space_bytes(&c->gc.min_free, disk, disk / 5);
    int64_t cheap =
        engine ? MAX((int64_t)(reserved * 0.138), INT64_C(512) * 1000 * 1000) : INT64_C(512) * 1000 * 1000;

    b->gc = xcalloc(4, sizeof(*b->gc));
    b->gc_count = 4;
    b->gc[0] = (struct gc_policy){ .keep_ns = 48 * HOUR_NS, .max_used_bytes = cheap };
    strv_add(&b->gc[0].filters, "type==source.local");
    strv_add(&b->gc[0].filters, "type==exec.cachemount");
    strv_add(&b->gc[0].filters, "type==source.git.checkout");
    for (size_t i = 1; i < 4; i++)
        b->gc[i] = (struct gc_policy){ .reserved_bytes = reserved,
                                       .max_used_bytes = max_used,
                                       .min_free_bytes = min_free };
    b->gc[1].keep_ns = 60 * 24 * HOUR_NS;
    b->gc[3].all = true;
}

static void compose_gc(const struct config *c, struct builder_config *b)
{
    int64_t disk = disk_bytes(c->data_root);

    if (!c->gc.enabled)
        return;
    if (c->gc.rule_count == 0) {
        default_rules(c, disk, b);
        return;
    }
    b->gc = xcalloc(c->gc.rule_count, sizeof(*b->gc));
    b->gc_count = c->gc.rule_count;
    for (size_t i = 0; i < c->gc.rule_count; i++) {
        const struct config_gc_rule *r = &c->gc.rules[i];
        b->gc[i] = (struct gc_policy){ .all = r->all,
                                       .keep_ns = r->keep_ns,
                                       .reserved_bytes = space_bytes(&r->reserved, disk, 0),
                                       .max_used_bytes = space_bytes(&r->max_used, disk, 0),
                                       .min_free_bytes = space_bytes(&r->min_free, disk, 0) };
        strv_copy(&b->gc[i].filters, &r->filters);
    }
}

/* ---- registries
 * ------------------------------------------------------------------------------------------------------------------
 */

static void add_host(struct registry_config *r, const char *host, const struct strv *mirrors)
{
    struct registry_host_config *h = &r->hosts[r->host_count++];

    h->host = xstrdup(host);
    strv_copy(&h->mirrors, mirrors);
}

static void compose_registry(const struct config *c, struct registry_config *r)
{
    r->hosts = xcalloc(c->registry_count + 1, sizeof(*r->hosts));
    if (c->registry_mirrors.len > 0)
        add_host(r, "docker.io", &c->registry_mirrors);
    for (size_t i = 0; i < c->registry_count; i++) {
        const struct config_registry *from = &c->registries[i];
        struct registry_host_config *h = &r->hosts[r->host_count];
        add_host(r, from->host, &from->mirrors);
        h->plain_http = from->plain_http;
        h->insecure = from->insecure;
        h->ca_file = xstrdup(from->ca_file);
        h->cert_file = xstrdup(from->cert_file);
        h->key_file = xstrdup(from->key_file);
    }
    strv_copy(&r->insecure_registries, &c->insecure_registries);
    r->user_agent = xasprintf("docker/%s minke/%s", ENGINE_VERSION, MINKE_VERSION);
    r->max_downloads = (int)c->max_downloads;
}

/* ---- running
 * ----------------------------------------------------------------------------------------------------------------------
 */

static const char *or_default(const char *s)
{
    return s == NULL || s[0] == '\0' ? NULL : s;
}

static void compose_runner(const struct config *c, struct runner_config *r)
{
    r->exec_root = c->exec_root;
    r->runtimes = xcalloc(c->runtime_count + 1, sizeof(*r->runtimes));
    for (size_t i = 0; i < c->runtime_count; i++) {
        struct runtime_config *to = &r->runtimes[r->runtime_count++];
        to->name = xstrdup(c->runtimes[i].name);
        to->path = xstrdup(c->runtimes[i].path);
        strv_copy(&to->args, &c->runtimes[i].args);
    }
    r->default_runtime = or_default(c->default_runtime);
    if (c->face == FACE_BUILDKITD)
        r->default_runtime = or_default(c->worker_binary);
    r->cgroup_parent = or_default(c->cgroup_parent);
    r->bridge_cidr = or_default(c->bip);
    r->bridge_name = or_default(c->bridge);
    r->userland_network = true;
    strv_copy(&r->dns, &c->dns);
    strv_copy(&r->dns_search, &c->dns_search);
    strv_copy(&r->dns_options, &c->dns_options);
}

static void compose_builder(const struct config *c, struct builder_config *b)
{
    static char hostname[256];

    if (gethostname(hostname, sizeof(hostname) - 1) < 0)
        hostname[0] = '\0';
    b->version = BUILDKIT_VERSION;
    b->executor = "oci";
    b->hostname = hostname;
    b->engine = c->face == FACE_DOCKERD;
    strv_copy(&b->entitlements, &c->entitlements);
    strv_copy(&b->extra_labels, &c->worker_labels);
    if (c->host_gateway_ips.len > 0)
        b->host_gateway_ip = c->host_gateway_ips.v[0];
    b->history_max_entries = (int)c->history_max_entries;
    b->history_max_age_ns = c->history_max_age_ns;
    compose_gc(c, b);
}

void compose_engine(const struct config *c, struct engine_config *e)
{
    *e = (struct engine_config){
        .data_root = c->data_root,
        .exec_root = c->exec_root,
        .buildkitd = c->face == FACE_BUILDKITD,
        .default_runtime = c->default_runtime,
        .debug = c->debug,
        .max_parallelism = (int)c->max_parallelism,
        .default_stop_timeout = (int)c->default_stop_timeout,
        .server_version = ENGINE_VERSION,
        .experimental = c->experimental,
    };
    strmap_init(&e->log_opts);
    strmap_copy(&e->log_opts, &c->log_options);
    strv_copy(&e->labels, &c->labels);
    strv_copy(&e->insecure_registries, &c->insecure_registries);
    strv_copy(&e->registry_mirrors, &c->registry_mirrors);
    compose_runner(c, &e->runner);
    compose_registry(c, &e->registry);
    compose_builder(c, &e->builder);
}

void compose_deinit(struct engine_config *e)
{
    for (size_t i = 0; i < e->runner.runtime_count; i++) {
        free(e->runner.runtimes[i].name);
        free(e->runner.runtimes[i].path);
        strv_deinit(&e->runner.runtimes[i].args);
    }
    free(e->runner.runtimes);
    strv_deinit(&e->runner.dns);
    strv_deinit(&e->runner.dns_search);
    strv_deinit(&e->runner.dns_options);
    for (size_t i = 0; i < e->registry.host_count; i++) {
        struct registry_host_config *h = &e->registry.hosts[i];
        free(h->host);
        strv_deinit(&h->mirrors);
        free(h->ca_file);
        free(h->cert_file);
        free(h->key_file);
    }
    free(e->registry.hosts);
    strv_deinit(&e->registry.insecure_registries);
    free(e->registry.user_agent);
    for (size_t i = 0; i < e->builder.gc_count; i++)
        strv_deinit(&e->builder.gc[i].filters);
    free(e->builder.gc);
    strv_deinit(&e->builder.entitlements);
    strv_deinit(&e->builder.extra_labels);
    map_deinit(&e->log_opts);
    strv_deinit(&e->labels);
    strv_deinit(&e->insecure_registries);
    strv_deinit(&e->registry_mirrors);
}
