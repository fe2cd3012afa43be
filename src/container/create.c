/* SPDX-License-Identifier: Apache-2.0 */
/* create.c - from a client's request to a container on disk */
#include "container/internal.h"

#include "base/bytes.h"
#include "base/log.h"
#include "container/shape.h"
#include "io/path.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

void container_image_deinit(struct container_image *i)
{
    free(i->id);
    free(i->os);
    free(i->warning);
    json_decref(i->config);
    json_decref(i->descriptor);
    snapshot_unref(i->snapshot);
    memset(i, 0, sizeof(*i));
}

static struct error *check_command(const json_t *config)
{
    if (json_array_size(json_object_get(config, "Entrypoint")) +
            json_array_size(json_object_get(config, "Cmd")) ==
        0)
        return err_new(ERR_INVALID, "no command specified");
    return NULL;
}

/* Endpoints may be named for the one network that the container is on; what they ask for beyond that comes
 * later. */
static struct error *check_networking(const json_t *networking)
{
    const json_t *endpoints = json_object_get(networking, "EndpointsConfig");
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)endpoints, name, v)
    {
        const json_t *ipam = json_object_get(v, "IPAMConfig");

        if (!streq(name, "default") && !streq(name, "bridge") && !streq(name, "host") && !streq(name, "none"))
            return err_new(ERR_UNIMPLEMENTED, "user-defined networks are not supported yet: %s", name);
        if (*json_get_string(ipam, "IPv4Address") != '\0' || *json_get_string(ipam, "IPv6Address") != '\0')
            return err_new(
                ERR_INVALID,
                "invalid config for network %s: invalid endpoint settings:\nuser specified IP address is "
                "supported on user defined networks only",
                name);
    }
    return NULL;
}

/* Hostname, and the version-dependent meaning of old clients' requests. */
static void adapt_config(struct container *ct, json_t *config, const json_t *host_config, int version)
{
    if (*json_get_string(config, "Hostname") == '\0') {
        char name[256];

        if (streq(json_get_string(host_config, "NetworkMode"), "host") &&
            gethostname(name, sizeof(name)) == 0)
            name[sizeof(name) - 1] = '\0';
        else
            snprintf(name, sizeof(name), "%.12s", ct->id);
        json_object_set_new(config, "Hostname", json_string(name));
    }
    if (version < 42)
        json_object_set_new((json_t *)host_config, "ConsoleSize", json_pack("[i, i]", 0, 0));
    if (!json_is_object(json_object_get(config, "Labels")))
        json_object_set_new(config, "Labels", json_object());
}

/* The probe chose the one that runs everything; a name that stands for nothing is refused. */
static struct error *check_runtime(const struct runner *r, const char *name)
{
    if (*name == '\0' || streq(name, "io.containerd.runc.v2") || runner_has_runtime(r, name))
        return NULL;
    return err_new(ERR_INVALID, "unknown or invalid runtime name: %s", name);
}

static struct error *make_files(struct container *ct)
{
    static const char *const dirs[] = { "upper", "work" };

    TRY_SYS(make_dirs(ct->dir, 0710), "create %s", ct->dir);
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        CLEANUP(freep) char *path = path_join(ct->dir, dirs[i]);

        if (mkdir(path, 0755) < 0)
            return err_sys(errno, "create %s", path);
    }
    return NULL;
}

static struct error *fill(struct container *ct, const struct container_request *r, struct strv *warnings)
{
    CLEANUP(container_image_deinit) struct container_image image = { 0 };
    CLEANUP(ports_deinit) struct port_bindings ports = { 0 };

    if (r->config == NULL)
        return err_new(ERR_INVALID, "config cannot be empty in order to create a container");
    TRY(shape_config(r->config, &ct->config));
    TRY(shape_host_config(r->host_config, &ct->host_config));
    TRY(settings_check(ct->config, ct->host_config, warnings));
    TRY(check_networking(r->networking));
    TRY(mounts_check(ct->host_config));
    TRY(check_runtime(ct->all->config->runner, json_get_string(ct->host_config, "Runtime")));
    settings_adapt(ct->all->config->defaults, ct->host_config);
    ct->networking = r->networking != NULL ? json_deep_copy(r->networking) : NULL;
    TRY(ct->all->config->find_image(ct->all->config->ctx, json_get_string(ct->config, "Image"), r->platform,
                                    &image));
    if (image.warning != NULL)
        strv_add(warnings, image.warning);
    settings_merge_image(ct->config, image.config);
    TRY(check_command(ct->config));
    TRY(ports_parse(ct->config, ct->host_config, ct->all->config->defaults->publish_ip, &ports));
    adapt_config(ct, ct->config, ct->host_config, r->version);
    ct->tty = json_get_bool(ct->config, "Tty");
    ct->image_id = TAKE(image.id);
    ct->os = image.os != NULL ? TAKE(image.os) : xstrdup("linux");
    ct->image_descriptor = TAKE(image.descriptor);
    ct->snapshot = TAKE(image.snapshot);
    return NULL;
}

static struct error *create(struct container *ct, const struct container_request *r, struct strv *warnings)
{
    TRY(fill(ct, r, warnings));
    table_add(ct->all, ct);
    TRY(table_name(ct->all, ct, r->name));
    TRY(make_files(ct));
    return container_save(ct, true);
}

struct error *container_create(struct containers *c, const struct container_request *r, json_t **ret)
{
    CLEANUP(container_unrefp) struct container *ct = container_new(c);
    CLEANUP(strv_deinit) struct strv warnings = { 0 };

    random_hex(ct->id, CONTAINER_ID_LEN / 2);
    ct->created_ns = now_ns();
    ct->dir = path_join(c->config->root, ct->id);
    ct->log_path = xasprintf("%s/%s-json.log", ct->dir, ct->id);
    struct error *e = create(ct, r, &warnings);
    if (e != NULL) {
        table_remove(c, ct);
        if (access(ct->dir, F_OK) == 0)
            log_err(LOG_WARN, container_discard_files(ct), "cannot remove half a container");
        return e;
    }
    *ret = json_pack("{s:s, s:o}", "Id", ct->id, "Warnings", strv_to_json(&warnings));
    container_event(ct, "create", NULL);
    return NULL;
}
