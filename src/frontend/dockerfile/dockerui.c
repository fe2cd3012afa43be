/* SPDX-License-Identifier: Apache-2.0 */
/* Frontend options to a configuration. */
#include "frontend/dockerfile/dockerui.h"

#include "base/csv.h"
#include "base/rune.h"
#include "frontend/dockerfile/gotext.h"
#include "frontend/dockerfile/lint.h"

#include <arpa/inet.h>

#define ARG_PREFIX "build-arg:"

const char *dockerui_opt(const struct dockerui *ui, const char *key)
{
    return strmap_get(&ui->opts, key);
}

static const char *opt(const struct dockerui *ui, const char *key)
{
    const char *v = dockerui_opt(ui, key);

    return v != NULL ? v : "";
}

static void filter(const struct map *opts, const char *prefix, struct map *ret)
{
    for (size_t i = 0; i < opts->len; i++) {
        const char *name = str_skip_prefix(opts->entries[i].key, prefix);

        if (name != NULL)
            strmap_set(ret, name, opts->entries[i].value);
    }
}

/* ---- single options
 * ---------------------------------------------------------------------------------------------------- */

static struct error *parse_platforms(struct dockerui *ui)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    const char *v = opt(ui, "platform");

    if (*v == '\0')
        return NULL;
    strv_split(&names, v, ',');
    ui->targets = xcalloc(names.len, sizeof(ui->targets[0]));
    for (size_t i = 0; i < names.len; i++) {
        TRY(err_wrap(platform_parse(names.v[i], &ui->targets[i]), "failed to parse target platform %s",
                     names.v[i]));
        platform_normalize(&ui->targets[i]);
        ui->target_count++;
    }
    return NULL;
}

static struct error *parse_resolve_mode(struct dockerui *ui)
{
    const char *v = opt(ui, "image-resolve-mode");

    if (*v == '\0' || streq(v, "default"))
        ui->resolve_mode = LLB_RESOLVE_DEFAULT;
    else if (streq(v, "pull"))
        ui->resolve_mode = LLB_RESOLVE_PULL;
    else if (streq(v, "local"))
        ui->resolve_mode = LLB_RESOLVE_LOCAL;
    else
        return err_new(ERR_INVALID, "invalid image-resolve-mode: %s", v);
    return NULL;
}

/* The address as Go prints it, or NULL. */
static char *normal_ip(const char *s)
{
    unsigned char a[sizeof(struct in6_addr)];
    static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
    char text[INET6_ADDRSTRLEN];

    if (inet_pton(AF_INET, s, a) == 1)
        return xstrdup(inet_ntop(AF_INET, a, text, sizeof(text)));
    if (inet_pton(AF_INET6, s, a) != 1)
        return NULL;
    if (memcmp(a, mapped, sizeof(mapped)) == 0)
        return xstrdup(inet_ntop(AF_INET, a + sizeof(mapped), text, sizeof(text)));
    return xstrdup(inet_ntop(AF_INET6, a, text, sizeof(text)));
}

static struct error *parse_hosts(struct dockerui *ui)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 };
    const char *v = opt(ui, "add-hosts");

    if (*v == '\0')
        return NULL;
    TRY(csv_fields(v, &fields));
    ui->hosts = xcalloc(fields.len, sizeof(ui->hosts[0]));
    for (size_t i = 0; i < fields.len; i++) {
        CLEANUP(freep) char *lower = str_lower(fields.v[i]);
        char *eq = strchr(lower, '='), *ip;

        if (eq == NULL)
            return err_new(ERR_INVALID, "invalid key-value pair %s", fields.v[i]);
        *eq = '\0';
        ip = normal_ip(eq + 1);
        if (ip == NULL)
            return err_new(ERR_INVALID, "failed to parse IP %s", eq + 1);
        ui->hosts[ui->host_count++] = (struct llb_host_ip){ .host = xstrdup(lower), .ip = ip };
    }
    return NULL;
}

static bool is_ulimit_name(const char *s)
{
    static const char *const names[] = { "core",    "cpu",      "data",   "fsize",      "locks",
                                         "memlock", "msgqueue", "nice",   "nofile",     "nproc",
                                         "rss",     "rtprio",   "rttime", "sigpending", "stack" };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (streq(s, names[i]))
            return true;
    }
    return false;
}

/* name=soft[:hard] */
static struct error *parse_ulimit(const char *text, struct llb_ulimit *ret)
{
    CLEANUP(freep) char *name = xstrndup(text, strcspn(text, "="));
    CLEANUP(strv_deinit) struct strv values = { 0 };
    const char *eq = strchr(text, '=');

    if (eq == NULL)
        return err_new(ERR_INVALID, "invalid ulimit argument: %s", text);
    if (!is_ulimit_name(name))
        return err_new(ERR_INVALID, "invalid ulimit type: %s", name);
    strv_split(&values, eq + 1, ':');
    if (values.len > 2)
        return err_new(ERR_INVALID,
                       "too many limit value arguments - %s, can only have up to two, `soft[:hard]`", eq + 1);
    if (values.len == 2)
        TRY(go_parse_int(values.v[1], &ret->hard));
    TRY(go_parse_int(values.v[0], &ret->soft));
    if (values.len == 1)
        ret->hard = ret->soft;
    if (ret->hard != -1 && ret->soft == -1)
        return err_new(
            ERR_INVALID,
            "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: %lld",
            (long long)ret->hard);
    if (ret->hard != -1 && ret->soft > ret->hard)
        return err_new(ERR_INVALID, "ulimit soft limit must be less than or equal to hard limit: %lld > %lld",
                       (long long)ret->soft, (long long)ret->hard);
    ret->name = TAKE(name);
    return NULL;
}

static struct error *parse_ulimits(struct dockerui *ui)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 };
    const char *v = opt(ui, "ulimit");

    if (*v == '\0')
        return NULL;
    TRY(csv_fields(v, &fields));
    ui->ulimits = xcalloc(fields.len, sizeof(ui->ulimits[0]));
    for (size_t i = 0; i < fields.len; i++) {
        TRY(parse_ulimit(fields.v[i], &ui->ulimits[i]));
        ui->ulimit_count++;
    }
    return NULL;
}

static struct error *parse_network(struct dockerui *ui)
{
    const char *v = opt(ui, "force-network-mode");

    if (*v == '\0' || streq(v, "sandbox"))
        ui->network = PB__NET_MODE__UNSET;
    else if (streq(v, "none"))
        ui->network = PB__NET_MODE__NONE;
    else if (streq(v, "host"))
        ui->network = PB__NET_MODE__HOST;
    else
        return err_new(ERR_INVALID, "invalid netmode %s", v);
    return NULL;
}

/* ---- resources
 * ---------------------------------------------------------------------------------------------------------
 */

static struct error *parse_signed(struct dockerui *ui, const char *key, bool unlimited, int64_t *ret)
{
    const char *v = opt(ui, key);

    if (*v == '\0')
        return NULL;
    TRY(err_wrap(go_parse_int(v, ret), "invalid %s value: %s", key, v));
    if (unlimited && (*ret < -1 || *ret == 0))
        return err_new(ERR_INVALID, "invalid %s value: %s: must be -1 (unlimited) or > 0", key, v);
    if (!unlimited && *ret <= 0)
        return err_new(ERR_INVALID, "invalid %s value: %s: must be > 0", key, v);
    ui->has_resources = true;
    return NULL;
}

static struct error *parse_unsigned(struct dockerui *ui, const char *key, uint64_t *ret)
{
    const char *v = opt(ui, key);

    if (*v == '\0')
        return NULL;
    TRY(err_wrap(go_parse_uint(v, ret), "invalid %s value: %s", key, v));
    if (*ret == 0)
        return err_new(ERR_INVALID, "invalid %s value: %s: must be > 0", key, v);
    ui->has_resources = true;
    return NULL;
}

#define MAX_CPU 8192

/* One element of "0-3,5". */
static struct error *check_cpus(const char *part)
{
    CLEANUP(freep) char *quoted = str_quote(part);
    int64_t low = -1, high = -1;
    char *dash = strchr(part, '-');
    CLEANUP(freep) char *first = xstrndup(part, dash != NULL ? (size_t)(dash - part) : strlen(part));
    size_t n;
    CLEANUP(freep) char *low_text = NULL, *high_text = NULL;
    const char *t = str_trim_space(first, strlen(first), &n);

    low_text = xstrndup(t, n);
    if (dash == NULL) {
        if (parse_i64(low_text, &low) < 0 || low < 0)
            return err_new(ERR_INVALID, "invalid cpuset element %s", quoted);
        if (low > MAX_CPU)
            return err_new(ERR_INVALID, "cpuset element %s exceeds maximum %d", quoted, MAX_CPU);
        return NULL;
    }
    t = str_trim_space(dash + 1, strlen(dash + 1), &n);
    high_text = xstrndup(t, n);
    if (parse_i64(low_text, &low) < 0 || parse_i64(high_text, &high) < 0 || low < 0 || high < low)
        return err_new(ERR_INVALID, "invalid cpuset range %s", quoted);
    if (high > MAX_CPU)
        return err_new(ERR_INVALID, "cpuset range %s exceeds maximum %d", quoted, MAX_CPU);
    return NULL;
}

static struct error *parse_cpuset(struct dockerui *ui, const char *key, char **ret)
{
    CLEANUP(strv_deinit) struct strv parts = { 0 };
    const char *v = opt(ui, key);

    *ret = xstrdup(v);
    if (*v == '\0')
        return NULL;
    strv_split(&parts, v, ',');
    for (size_t i = 0; i < parts.len; i++) {
        size_t n;
        const char *t = str_trim_space(parts.v[i], strlen(parts.v[i]), &n);
        CLEANUP(freep) char *part = xstrndup(t, n);

        if (n > 0)
            TRY(err_wrap(check_cpus(part), "invalid %s value: %s", key, v));
    }
    ui->has_resources = true;
    return NULL;
}

static struct error *parse_resources(struct dockerui *ui)
{
    struct llb_resources *r = &ui->resources;

    TRY(parse_signed(ui, "memory", false, &r->memory));
    TRY(parse_signed(ui, "memswap", true, &r->memory_swap));
    TRY(parse_unsigned(ui, "cpushares", &r->cpu_shares));
    TRY(parse_unsigned(ui, "cpuperiod", &r->cpu_period));
    TRY(parse_signed(ui, "cpuquota", false, &r->cpu_quota));
    TRY(parse_cpuset(ui, "cpusetcpus", &r->cpuset_cpus));
    return parse_cpuset(ui, "cpusetmems", &r->cpuset_mems);
}

/* ---- all of them
 * ------------------------------------------------------------------------------------------------------- */

static void parse_no_cache(struct dockerui *ui)
{
    const char *v = dockerui_opt(ui, "no-cache");

    if (v == NULL)
        return;
    if (*v == '\0')
        ui->no_cache_all = true;
    else
        strv_split(&ui->no_cache, v, ',');
}

static struct error *parse_multi_platform(struct dockerui *ui)
{
    const char *v = opt(ui, ARG_PREFIX "BUILDKIT_MULTI_PLATFORM");

    ui->multi_platform = ui->target_count > 1;
    if (*v != '\0')
        strmap_set(&ui->opts, "multi-platform", v);
    v = opt(ui, "multi-platform");
    if (*v != '\0') {
        bool on;

        if (parse_bool(v, &on) < 0)
            return err_new(ERR_INVALID, "invalid boolean value for multi-platform: %s", v);
        if (!on && ui->multi_platform)
            return err_new(ERR_INVALID,
                           "conflicting config: returning multiple target platforms is not allowed");
        ui->multi_platform = on;
    }
    return NULL;
}

static struct error *parse_arguments(struct dockerui *ui)
{
    const char *v;

    filter(&ui->opts, ARG_PREFIX, &ui->build_args);
    filter(&ui->opts, "label:", &ui->labels);
    ui->cache_ns = xstrdup(opt(ui, ARG_PREFIX "BUILDKIT_CACHE_MOUNT_NS"));
    ui->cgroup_parent = xstrdup(opt(ui, "cgroup-parent"));
    ui->target = xstrdup(opt(ui, "target"));
    v = opt(ui, ARG_PREFIX "BUILDKIT_SANDBOX_HOSTNAME");
    ui->hostname = xstrdup(*v != '\0' ? v : opt(ui, "hostname"));
    v = dockerui_opt(ui, ARG_PREFIX "BUILDKIT_DOCKERFILE_CHECK");
    if (v != NULL) {
        CLEANUP(lint_config_deinit) struct lint_config config = { 0 };

        TRY(err_wrap(lint_config_parse(v, &config), "failed to parse %s",
                     ARG_PREFIX "BUILDKIT_DOCKERFILE_CHECK"));
        ui->lint_config = xstrdup(v);
    }
    v = opt(ui, ARG_PREFIX "BUILDKIT_GIT_ADVICE");
    if (*v != '\0' && parse_bool(v, &ui->git_advice) < 0) {
        CLEANUP(freep) char *quoted = str_quote(v);

        return err_new(ERR_INVALID, "failed to parse %s: strconv.ParseBool: parsing %s: invalid syntax",
                       ARG_PREFIX "BUILDKIT_GIT_ADVICE", quoted);
    }
    return NULL;
}

static struct error *check_removed(struct dockerui *ui)
{
    bool on = false;

    if (*opt(ui, "override-copy-image") != '\0')
        return err_new(ERR_INVALID, "support for \"override-copy-image\" was removed in BuildKit 0.11");
    if (parse_bool(opt(ui, ARG_PREFIX "BUILDKIT_DISABLE_FILEOP"), &on) == 0 && on)
        return err_new(ERR_INVALID,
                       "support for \"BUILDKIT_DISABLE_FILEOP\" build-arg was removed in BuildKit 0.11");
    return NULL;
}

static struct error *parse_all(struct dockerui *ui)
{
    TRY(check_removed(ui));
    TRY(parse_platforms(ui));
    TRY(parse_resolve_mode(ui));
    TRY(err_wrap(parse_hosts(ui), "failed to parse additional hosts"));
    if (*opt(ui, "shm-size") != '\0')
        TRY(err_wrap(go_parse_int(opt(ui, "shm-size"), &ui->shm_size), "failed to parse shm size"));
    TRY(err_wrap(parse_ulimits(ui), "failed to parse ulimit"));
    TRY(err_wrap(parse_resources(ui), "failed to parse resource limits"));
    TRY(parse_network(ui));
    parse_no_cache(ui);
    TRY(parse_multi_platform(ui));
    return parse_arguments(ui);
}

struct error *dockerui_init(struct dockerui *ui, struct bridge *b, const struct map *opts,
                            const struct map *inputs)
{
    struct error *e;

    *ui = (struct dockerui){ .bridge = b, .inputs = inputs };
    mutex_init(&ui->lock);
    cond_init(&ui->changed);
    strmap_init(&ui->opts);
    strmap_init(&ui->build_args);
    strmap_init(&ui->labels);
    strmap_copy(&ui->opts, opts);
    platform_copy(&ui->build_platform, b->worker_count > 0 ? &b->workers[0] : platform_host());
    e = parse_all(ui);
    if (e == NULL)
        e = cache_imports_parse(opts, &ui->caches);
    if (e == NULL)
        e = attest_options_each(opts, NULL, NULL);
    if (e == NULL)
        e = sbom_options_parse(opts, "scanner", &ui->sbom);
    if (e != NULL)
        dockerui_deinit(ui);
    return e;
}

void dockerui_deinit(struct dockerui *ui)
{
    if (ui->bridge == NULL)
        return;
    group_deinit(&ui->ahead);
    cache_imports_deinit(&ui->caches);
    sbom_options_deinit(&ui->sbom);
    map_deinit(&ui->opts);
    map_deinit(&ui->build_args);
    map_deinit(&ui->labels);
    free(ui->target);
    free(ui->cache_ns);
    free(ui->cgroup_parent);
    free(ui->hostname);
    free(ui->lint_config);
    for (size_t i = 0; i < ui->host_count; i++) {
        free((char *)ui->hosts[i].host);
        free((char *)ui->hosts[i].ip);
    }
    free(ui->hosts);
    for (size_t i = 0; i < ui->ulimit_count; i++)
        free((char *)ui->ulimits[i].name);
    free(ui->ulimits);
    free(ui->resources.cpuset_cpus);
    free(ui->resources.cpuset_mems);
    platform_deinit(&ui->build_platform);
    for (size_t i = 0; i < ui->target_count; i++)
        platform_deinit(&ui->targets[i]);
    free(ui->targets);
    strv_deinit(&ui->no_cache);
    free(ui->context_name);
    free(ui->dockerfile_name);
    free(ui->filename);
    free(ui->context_subdir);
    free(ui->context_url);
    llb_def_unref(ui->context_input);
    llb_def_unref(ui->dockerfile_input);
    buf_deinit(&ui->ignore);
    free(ui->ignore_name);
    while (ui->resolved != NULL) {
        struct resolve_entry *next = ui->resolved->next;

        free(ui->resolved->key);
        err_free(ui->resolved->error);
        resolved_image_deinit(&ui->resolved->image);
        free(ui->resolved);
        ui->resolved = next;
    }
    cond_deinit(&ui->changed);
    mutex_deinit(&ui->lock);
    *ui = (struct dockerui){ 0 };
}

bool dockerui_is_no_cache(const struct dockerui *ui, const char *stage)
{
    for (size_t i = 0; i < ui->no_cache.len; i++) {
        if (str_equal_fold(ui->no_cache.v[i], stage))
            return true;
    }
    return ui->no_cache_all;
}
