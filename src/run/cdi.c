/* SPDX-License-Identifier: Apache-2.0 */
#include "run/cdi.h"

#include "base/limits.h"
#include "base/log.h"
#include "io/path.h"
#include "run/cdi_yaml.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define ANNOTATION_CLASS "org.mobyproject.buildkit.device.class"
#define ANNOTATION_ALLOW "org.mobyproject.buildkit.device.autoallow"

static void device_deinit(struct cdi_device *d)
{
    free(d->name);
    map_deinit(&d->annotations);
    json_decref(d->edits);
}

void cdi_devices_deinit(struct cdi_devices *d)
{
    for (size_t i = 0; i < d->len; i++)
        device_deinit(&d->v[i]);
    free(d->v);
    *d = (struct cdi_devices){ 0 };
}

/* ---- reading
 * ---------------------------------------------------------------------------------------------------------
 */

static struct error *read_whole(int dir_fd, const char *name, struct buf *ret)
{
    CLEANUP(closep) int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char chunk[8192];
    ssize_t n;

    TRY_SYS(fd < 0 ? -errno : 0, "open %s", name);
    while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
        if (ret->len + (size_t)n > LIMIT_CDI_SPEC)
            return err_new(ERR_INVALID, "%s is larger than %zu bytes", name, LIMIT_CDI_SPEC);
        buf_add(ret, chunk, (size_t)n);
    }
    TRY_SYS(n < 0 ? -errno : 0, "read %s", name);
    return NULL;
}

static struct error *parse_file(int dir_fd, const char *name, json_t **ret)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    json_error_t je;

    TRY(read_whole(dir_fd, name, &text));
    if (!str_has_suffix(name, ".json"))
        return yaml_to_json(buf_str(&text), text.len, ret);
    *ret = json_loadb(buf_str(&text), text.len, JSON_REJECT_DUPLICATES, &je);
    return *ret == NULL ? err_new(ERR_INVALID, "line %d: %s", je.line, je.text) : NULL;
}

/* Annotations are text; YAML has other scalars as well. */
static void copy_annotations(struct map *to, const json_t *from)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)from, key, value)
    {
        CLEANUP(freep)
        char *text = json_is_string(value) ? xstrdup(json_string_value(value))
                                           : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

        if (text != NULL)
            strmap_set(to, key, text);
    }
}

static void add_device(struct cdi_devices *all, const char *kind, const json_t *spec, const json_t *device)
{
    const char *name = json_string_value(json_object_get(device, "name")), *allow;
    json_t *edits[] = { json_object_get(spec, "containerEdits"), json_object_get(device, "containerEdits") };
    struct cdi_device d = { .edits = json_array() };

    if (name == NULL || *name == '\0')
        return;
    d.name = xasprintf("%s=%s", kind, name);
    strmap_init(&d.annotations);
    copy_annotations(&d.annotations, json_object_get(spec, "annotations"));
    copy_annotations(&d.annotations, json_object_get(device, "annotations"));
    for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
        if (json_is_object(edits[i]))
            json_array_append(d.edits, edits[i]);
    }
    allow = strmap_get(&d.annotations, ANNOTATION_ALLOW);
    if (allow != NULL && parse_bool(allow, &d.auto_allow) < 0)
        d.auto_allow = false;
    for (size_t i = 0; i < all->len; i++) {
        if (streq(all->v[i].name, d.name)) {
            device_deinit(&all->v[i]);
            all->v[i] = d;
            return;
        }
    }
    all->v = xreallocarray(all->v, all->len + 1, sizeof(*all->v));
    all->v[all->len++] = d;
}

static struct error *add_spec(struct cdi_devices *all, int dir_fd, const char *name)
{
    json_t *spec = NULL, *device;
    struct error *e = parse_file(dir_fd, name, &spec);
    const char *kind = json_string_value(json_object_get(spec, "kind"));
    size_t i;

    if (e == NULL && (kind == NULL || strchr(kind, '/') == NULL || strchr(kind, '=') != NULL))
        e = err_new(ERR_INVALID, "no kind of the form vendor/class");
    if (e == NULL) {
        json_array_foreach(json_object_get(spec, "devices"), i, device) add_device(all, kind, spec, device);
    }
    json_decref(spec);
    return e;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct cdi_device *)a)->name, ((const struct cdi_device *)b)->name);
}

static bool is_spec(const char *name)
{
    return str_has_suffix(name, ".json") || str_has_suffix(name, ".yaml") || str_has_suffix(name, ".yml");
}

static void load_directory(const char *path, struct cdi_devices *ret)
{
    CLEANUP(strv_deinit) struct strv names = { 0 };
    DIR *dir = opendir(path);
    struct dirent *entry;

    if (dir == NULL) {
        if (errno != ENOENT)
            log_warn("CDI directory cannot be read", "directory", path, "error", strerrordesc_np(errno));
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (is_spec(entry->d_name))
            strv_add(&names, entry->d_name);
    }
    strv_sort(&names);
    for (size_t i = 0; i < names.len; i++) {
        struct error *e = add_spec(ret, dirfd(dir), names.v[i]);

        if (e != NULL)
            log_warn("CDI specification left out", "directory", path, "file", names.v[i], "error",
                     e->message);
        err_free(e);
    }
    closedir(dir);
}

void cdi_load(const struct strv *dirs, struct cdi_devices *ret)
{
    *ret = (struct cdi_devices){ 0 };
    for (size_t i = 0; i < dirs->len; i++)
        load_directory(dirs->v[i], ret);
    if (ret->len > 1)
        qsort(ret->v, ret->len, sizeof(*ret->v), by_name);
}

/* ---- finding
 * ---------------------------------------------------------------------------------------------------------
 */

const struct cdi_device *cdi_get(const struct cdi_devices *d, const char *name)
{
    for (size_t i = 0; i < d->len; i++) {
        if (streq(d->v[i].name, name))
            return &d->v[i];
    }
    return NULL;
}

static void add_once(struct strv *names, const char *name)
{
    if (!strv_has(names, name))
        strv_add(names, name);
}

/* Devices of a kind by name, by "*", or the first one. */
static size_t find_kind(const struct cdi_devices *d, const char *wanted, struct strv *ret)
{
    size_t kind = strcspn(wanted, "="), found = 0;
    const char *name = wanted[kind] == '=' ? wanted + kind + 1 : "";
    bool all = streq(name, "*"), first = *name == '\0';

    for (size_t i = 0; i < d->len && !(first && found > 0); i++) {
        const char *device = d->v[i].name;

        if (strncmp(device, wanted, kind) != 0 || device[kind] != '=')
            continue;
        if (!all && !first && !streq(device + kind + 1, name))
            continue;
        add_once(ret, device);
        found++;
    }
    return found;
}

static size_t find_class(const struct cdi_devices *d, const char *wanted, struct strv *ret)
{
    size_t found = 0;

    for (size_t i = 0; i < d->len; i++) {
        const char *class = strmap_get(&d->v[i].annotations, ANNOTATION_CLASS);

        if (class != NULL && streq(class, wanted)) {
            add_once(ret, d->v[i].name);
            found++;
        }
    }
    return found;
}

struct error *cdi_find(const struct cdi_devices *d, const char *wanted, bool optional, struct strv *ret)
{
    size_t kind = strcspn(wanted, "=");
    const char *slash = memchr(wanted, '/', kind);
    size_t found = slash != NULL && slash > wanted ? find_kind(d, wanted, ret) : 0;

    if (found == 0)
        found = find_class(d, wanted, ret);
    if (found > 0)
        return NULL;
    if (!optional)
        return err_new(ERR_UNKNOWN, "required device \"%s\" is not registered", wanted);
    log_warn("optional device is not registered", "device", wanted);
    return NULL;
}

void cdi_edits(const struct cdi_devices *d, const struct strv *names, json_t *ret)
{
    for (size_t i = 0; i < names->len; i++) {
        const struct cdi_device *device = cdi_get(d, names->v[i]);

        if (device != NULL)
            json_array_extend(ret, device->edits);
    }
}
