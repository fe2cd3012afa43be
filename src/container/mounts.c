/* SPDX-License-Identifier: Apache-2.0 */
#include "container/mounts.h"

#include "base/vec.h"
#include "container/internal.h"
#include "container/shape.h"
#include "io/path.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define TMPFS_OPTIONS "noexec,nosuid,nodev"

void container_mounts_deinit(struct container_mounts *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free(m->v[i].source);
        free(m->v[i].dest);
        free(m->v[i].mode);
        free(m->v[i].options);
        free(m->v[i].propagation);
    }
    free(m->v);
    memset(m, 0, sizeof(*m));
}

static struct container_mount *add(struct container_mounts *m)
{
    m->v = xreallocarray(m->v, m->count + 1, sizeof(*m->v));
    memset(&m->v[m->count], 0, sizeof(*m->v));
    return &m->v[m->count++];
}

static struct error *check_dest(struct container_mounts *m, const char *dest, char **ret)
{
    char *clean;

    if (*dest != '/')
        return err_new(ERR_INVALID, "invalid mount path: '%s' mount path must be absolute", dest);
    clean = path_clean(dest);
    if (streq(clean, "/")) {
        free(clean);
        return err_new(ERR_INVALID, "invalid specification: destination can't be '/'");
    }
    for (size_t i = 0; i < m->count; i++) {
        if (m->v[i].dest == NULL || !streq(m->v[i].dest, clean))
            continue;
        free(clean);
        return err_new(ERR_INVALID, "Duplicate mount point: %s", dest);
    }
    *ret = clean;
    return NULL;
}

/* ---- -v source:dest[:mode]
 * ---------------------------------------------------------------------------------------------------- */

static bool is_propagation(const char *s)
{
    const char *p = *s == 'r' ? s + 1 : s;

    return streq(p, "private") || streq(p, "shared") || streq(p, "slave");
}

static struct error *parse_mode(const char *spec, const char *mode, struct container_mount *m)
{
    CLEANUP(strv_deinit) struct strv words = { 0 };

    strv_split(&words, mode, ',');
    for (size_t i = 0; i < words.len; i++) {
        const char *w = words.v[i];

        if (streq(w, "ro")) {
            m->readonly = true;
        } else if (is_propagation(w)) {
            free(m->propagation);
            m->propagation = xstrdup(w);
        } else if (!streq(w, "rw") && !streq(w, "z") && !streq(w, "Z") && !streq(w, "nocopy") &&
                   !streq(w, "consistent") && !streq(w, "cached") && !streq(w, "delegated") && *w != '\0') {
            return err_new(ERR_INVALID, "invalid mode: %s in \"%s\"", w, spec);
        }
    }
    return NULL;
}

static struct error *parse_bind(const char *spec, struct container_mounts *list)
{
    CLEANUP(strv_deinit) struct strv parts = { 0 };

    strv_split(&parts, spec, ':');
    if (parts.len < 2 || parts.len > 3 || *parts.v[0] == '\0' || *parts.v[1] == '\0')
        return err_new(ERR_INVALID, "invalid volume specification: '%s'", spec);
    if (*parts.v[0] != '/')
        return err_new(ERR_UNIMPLEMENTED, "named volumes are not supported yet: %s", parts.v[0]);
    struct container_mount *m = add(list);
    m->propagation = xstrdup("rprivate");
    m->options = xstrdup("");
    m->source = path_clean(parts.v[0]);
    m->mode = xstrdup(parts.len > 2 ? parts.v[2] : "");
    m->create = true;
    TRY(check_dest(list, parts.v[1], &m->dest));
    return parse_mode(spec, m->mode, m);
}

/* ---- --mount
 * ------------------------------------------------------------------------------------------------------------------
 */

static struct error *parse_bind_mount(const json_t *o, struct container_mount *m)
{
    const json_t *options = json_object_get(o, "BindOptions");
    const char *source = json_get_string(o, "Source"), *propagation = json_get_string(options, "Propagation");
    struct stat st;

    if (*source != '/')
        return err_new(
            ERR_INVALID,
            "invalid mount config for type \"bind\": invalid mount path: '%s' mount path must be absolute",
            source);
    if (*propagation != '\0' && !is_propagation(propagation))
        return err_new(ERR_INVALID, "invalid mount config for type \"bind\": invalid propagation mode: %s",
                       propagation);
    m->source = path_clean(source);
    m->create = json_get_bool(options, "CreateMountpoint");
    m->must_exist = !m->create;
    m->propagation = xstrdup(*propagation != '\0' ? propagation : "rprivate");
    m->options = xstrdup("");
    if (m->must_exist && stat(m->source, &st) < 0)
        return err_new(ERR_INVALID,
                       "invalid mount config for type \"bind\": bind source path does not exist: %s", source);
    return NULL;
}

static struct error *parse_tmpfs_mount(const json_t *o, struct container_mount *m)
{
    const json_t *options = json_object_get(o, "TmpfsOptions");
    int64_t size = json_get_int(options, "SizeBytes"), mode = json_get_int(options, "Mode");
    struct buf b = { 0 };

    if (*json_get_string(o, "Source") != '\0')
        return err_new(ERR_INVALID,
                       "invalid mount config for type \"tmpfs\": field Source must not be specified");
    if (size < 0)
        return err_new(ERR_INVALID,
                       "invalid mount config for type \"tmpfs\": tmpfs size must not be negative");
    buf_adds(&b, TMPFS_OPTIONS);
    if (size > 0)
        buf_addf(&b, ",size=%lld", (long long)size);
    if (mode > 0)
        buf_addf(&b, ",mode=%llo", (unsigned long long)mode);
    if (m->readonly)
        buf_adds(&b, ",ro");
    m->tmpfs = true;
    m->options = buf_take(&b);
    return NULL;
}

static struct error *parse_mount(const json_t *o, struct container_mounts *list)
{
    const char *type = json_get_string(o, "Type"), *source = json_get_string(o, "Source");
    struct container_mount *m = add(list);

    m->mode = xstrdup("");
    m->readonly = json_get_bool(o, "ReadOnly");
    if (streq(type, "volume") || *type == '\0')
        return err_new(ERR_UNIMPLEMENTED, "%s volumes are not supported yet%s%s",
                       *source != '\0' ? "named" : "anonymous", *source != '\0' ? ": " : "", source);
    if (!streq(type, "bind") && !streq(type, "tmpfs"))
        return err_new(ERR_UNIMPLEMENTED, "mounts of type \"%s\": not supported yet", type);
    if (*json_get_string(o, "Target") == '\0')
        return err_new(ERR_INVALID, "invalid mount config for type \"%s\": field Target must not be empty",
                       type);
    TRY(check_dest(list, json_get_string(o, "Target"), &m->dest));
    return streq(type, "bind") ? parse_bind_mount(o, m) : parse_tmpfs_mount(o, m);
}

static struct error *parse_tmpfs(const char *dest, const char *options, struct container_mounts *list)
{
    struct container_mount *m = add(list);

    m->tmpfs = true;
    m->mode = xstrdup(options);
    m->options = *options != '\0' ? xasprintf(TMPFS_OPTIONS ",%s", options) : xstrdup(TMPFS_OPTIONS);
    return check_dest(list, dest, &m->dest);
}

static struct error *parse_all(const json_t *h, struct container_mounts *list)
{
    CLEANUP(strv_deinit) struct strv binds = { 0 };
    const char *dest;
    json_t *v;
    size_t i;

    json_get_strings(h, "Binds", &binds);
    for (i = 0; i < binds.len; i++)
        TRY(parse_bind(binds.v[i], list));
    json_array_foreach(json_object_get(h, "Mounts"), i, v)
    {
        TRY(parse_mount(v, list));
    }
    json_object_foreach(json_object_get(h, "Tmpfs"), dest, v)
    {
        TRY(parse_tmpfs(dest, json_string_value(v), list));
    }
    return NULL;
}

struct error *container_mounts_parse(const json_t *host_config, struct container_mounts *ret)
{
    CLEANUP(container_mounts_deinit) struct container_mounts list = { 0 };

    TRY(parse_all(host_config, &list));
    *ret = list;
    memset(&list, 0, sizeof(list));
    return NULL;
}

struct error *mounts_check(const json_t *host_config)
{
    CLEANUP(container_mounts_deinit) struct container_mounts list = { 0 };

    return container_mounts_parse(host_config, &list);
}

/* ---- shown
 * --------------------------------------------------------------------------------------------------------------------
 */

json_t *container_mounts_json(const json_t *host_config)
{
    CLEANUP(container_mounts_deinit) struct container_mounts list = { 0 };
    json_t *array = json_array();
    struct error *e = container_mounts_parse(host_config, &list);

    err_free(e); /* it was parsed at creation; a source that is gone since shows no mounts */
    for (size_t i = 0; i < list.count; i++) {
        const struct container_mount *m = &list.v[i];

        /* Tmpfs of --tmpfs is not a mount point for dockerd; of --mount it is. */
        if (m->tmpfs && json_object_get(json_object_get(host_config, "Tmpfs"), m->dest) != NULL)
            continue;
        json_array_append_new(array,
                              json_pack("{s:s, s:s, s:s, s:s, s:b, s:s}", "Type", m->tmpfs ? "tmpfs" : "bind",
                                        "Source", m->source != NULL ? m->source : "", "Destination", m->dest,
                                        "Mode", m->mode, "RW", !m->readonly, "Propagation",
                                        m->propagation != NULL ? m->propagation : ""));
    }
    return array;
}
