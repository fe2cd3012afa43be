/* SPDX-License-Identifier: Apache-2.0 */
/* An image config's JSON: read without regard to the case of names, as Go's decoder does, and written in Go's
 * order. */
#include "frontend/dockerfile/image.h"

#include "base/limits.h"
#include "frontend/dockerfile/gotext.h"

#include <jansson.h>
#include <strings.h>

/* ---- reading
 * -----------------------------------------------------------------------------------------------------------
 */

static void free_json(json_t **j)
{
    json_decref(*j);
}

/* A member without regard to case, as Go's decoder finds it; NULL when absent or null. */
static json_t *member(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name), *v;
    const char *key;

    if (value == NULL) {
        json_object_foreach((json_t *)object, key, v)
        {
            if (strcasecmp(key, name) == 0)
                value = v;
        }
    }
    return json_is_null(value) ? NULL : value;
}

static struct error *type_error(const char *name, const char *wanted)
{
    return err_new(ERR_INVALID, "json: cannot unmarshal field %s into Go value of type %s", name, wanted);
}

static struct error *get_string(const json_t *o, const char *name, char **ret)
{
    const json_t *j = member(o, name);

    if (j == NULL)
        return NULL;
    if (!json_is_string(j))
        return type_error(name, "string");
    str_replace(ret, json_string_value(j));
    return NULL;
}

static struct error *get_strings(const json_t *o, const char *name, struct strv *ret)
{
    const json_t *j = member(o, name);
    json_t *item;
    size_t i;

    if (j == NULL)
        return NULL;
    if (!json_is_array(j))
        return type_error(name, "[]string");
    json_array_foreach((json_t *)j, i, item)
    {
        if (!json_is_string(item) && !json_is_null(item))
            return type_error(name, "string");
        strv_add(ret, json_is_string(item) ? json_string_value(item) : "");
    }
    return NULL;
}

/* A map of strings, or a set (map of empty objects). */
static struct error *get_map(const json_t *o, const char *name, bool strings, struct map *ret)
{
    const json_t *j = member(o, name);
    json_t *value;
    const char *key;

    if (j == NULL)
        return NULL;
    if (!json_is_object(j))
        return type_error(name, "map");
    json_object_foreach((json_t *)j, key, value)
    {
        if (strings && !json_is_string(value) && !json_is_null(value))
            return type_error(name, "string");
        strmap_set(ret, key, strings && json_is_string(value) ? json_string_value(value) : "");
    }
    return NULL;
}

static struct error *get_int(const json_t *o, const char *name, int64_t *ret)
{
    const json_t *j = member(o, name);

    if (j == NULL)
        return NULL;
    if (!json_is_integer(j))
        return type_error(name, "int64");
    *ret = json_integer_value(j);
    return NULL;
}

static struct error *get_bool(const json_t *o, const char *name, bool *ret)
{
    const json_t *j = member(o, name);

    if (j == NULL)
        return NULL;
    if (!json_is_boolean(j))
        return type_error(name, "bool");
    *ret = json_is_true(j);
    return NULL;
}

static struct error *get_time(const json_t *o, const char *name, char **ret)
{
    CLEANUP(freep) char *text = NULL;
    char *normal;

    TRY(get_string(o, name, &text));
    if (text == NULL)
        return NULL;
    TRY(go_time_normalize(text, &normal));
    free(*ret);
    *ret = normal;
    return NULL;
}

static struct error *parse_history(const json_t *root, struct df_image *i)
{
    const json_t *list = member(root, "history");
    json_t *item;
    size_t k;

    json_array_foreach((json_t *)list, k, item)
    {
        struct df_history *h = df_image_push_history(i);

        TRY(get_time(item, "created", &h->created));
        TRY(get_string(item, "created_by", &h->created_by));
        TRY(get_string(item, "author", &h->author));
        TRY(get_string(item, "comment", &h->comment));
        TRY(get_bool(item, "empty_layer", &h->empty_layer));
    }
    return NULL;
}

static struct error *parse_health(const json_t *config, struct df_image *i)
{
    const json_t *h = member(config, "Healthcheck");

    if (h == NULL)
        return NULL;
    if (!json_is_object(h))
        return type_error("Healthcheck", "v1.HealthcheckConfig");
    i->has_health = true;
    TRY(get_strings(h, "Test", &i->health.test));
    TRY(get_int(h, "Interval", &i->health.interval));
    TRY(get_int(h, "Timeout", &i->health.timeout));
    TRY(get_int(h, "StartPeriod", &i->health.start_period));
    TRY(get_int(h, "StartInterval", &i->health.start_interval));
    return get_int(h, "Retries", &i->health.retries);
}

static struct error *parse_config(const json_t *config, struct df_image *i)
{
    TRY(get_string(config, "User", &i->user));
    TRY(get_map(config, "ExposedPorts", false, &i->exposed_ports));
    TRY(get_strings(config, "Env", &i->env));
    TRY(get_strings(config, "Entrypoint", &i->entrypoint));
    TRY(get_strings(config, "Cmd", &i->cmd));
    TRY(get_map(config, "Volumes", false, &i->volumes));
    TRY(get_string(config, "WorkingDir", &i->working_dir));
    TRY(get_map(config, "Labels", true, &i->labels));
    TRY(get_string(config, "StopSignal", &i->stop_signal));
    TRY(get_bool(config, "ArgsEscaped", &i->args_escaped));
    TRY(parse_health(config, i));
    TRY(get_strings(config, "OnBuild", &i->on_build));
    return get_strings(config, "Shell", &i->shell);
}

static struct error *parse_platform(const json_t *root, struct platform *p)
{
    struct strv features = { 0 };

    TRY(get_string(root, "architecture", &p->architecture));
    TRY(get_string(root, "os", &p->os));
    TRY(get_string(root, "variant", &p->variant));
    TRY(get_string(root, "os.version", &p->os_version));
    TRY(get_strings(root, "os.features", &features));
    p->os_features = features.v;
    p->os_feature_count = features.len;
    if (p->architecture == NULL)
        p->architecture = xstrdup("");
    if (p->os == NULL)
        p->os = xstrdup("");
    if (p->variant == NULL)
        p->variant = xstrdup("");
    if (p->os_version == NULL)
        p->os_version = xstrdup("");
    return NULL;
}

static struct error *parse_image(const json_t *root, struct df_image *i)
{
    const json_t *rootfs = member(root, "rootfs"), *config = member(root, "config");

    TRY(get_time(root, "created", &i->created));
    TRY(get_string(root, "author", &i->author));
    TRY(parse_platform(root, &i->platform));
    TRY(get_string(rootfs, "type", &i->rootfs_type));
    i->has_diff_ids = member(rootfs, "diff_ids") != NULL;
    TRY(get_strings(rootfs, "diff_ids", &i->diff_ids));
    TRY(parse_history(root, i));
    if (config != NULL && !json_is_object(config))
        return type_error("config", "v1.DockerOCIImageConfig");
    return parse_config(config, i);
}

struct error *df_image_parse(const void *json, size_t len, struct df_image *ret)
{
    json_error_t je;
    CLEANUP(free_json) json_t *root = NULL;
    struct error *e;

    df_image_init(ret);
    if (len > LIMIT_MANIFEST)
        return err_new(ERR_INVALID, "image config exceeds maximum allowed size of %zu bytes", LIMIT_MANIFEST);
    root = json_loadb(json, len, JSON_ALLOW_NUL, &je);
    if (root == NULL)
        return err_new(ERR_INVALID, "%s", je.text);
    e = parse_image(root, ret);
    if (e != NULL)
        df_image_deinit(ret);
    return e;
}

/* ---- writing
 * -----------------------------------------------------------------------------------------------------------
 */

static void add_name(struct buf *out, const char *name)
{
    if (out->len > 0 && out->data[out->len - 1] != '{')
        buf_addc(out, ',');
    buf_addc(out, '"');
    buf_adds(out, name);
    buf_adds(out, "\":");
}

static void add_text(struct buf *out, const char *s)
{
    buf_add_json_string(out, s, strlen(s), true);
}

static void add_string(struct buf *out, const char *name, const char *value)
{
    if (value == NULL || *value == '\0')
        return;
    add_name(out, name);
    add_text(out, value);
}

static void add_array(struct buf *out, const struct strv *v)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < v->len; i++) {
        if (i > 0)
            buf_addc(out, ',');
        add_text(out, v->v[i]);
    }
    buf_addc(out, ']');
}

static void add_strings(struct buf *out, const char *name, const struct strv *v)
{
    if (v->len == 0)
        return;
    add_name(out, name);
    add_array(out, v);
}

static void add_map(struct buf *out, const char *name, const struct map *m, bool strings)
{
    CLEANUP(map_deinit) struct map sorted = { 0 };

    if (m->len == 0)
        return;
    strmap_init(&sorted);
    strmap_copy(&sorted, m);
    map_sort(&sorted);
    add_name(out, name);
    buf_addc(out, '{');
    for (size_t i = 0; i < sorted.len; i++) {
        if (i > 0)
            buf_addc(out, ',');
        add_text(out, sorted.entries[i].key);
        buf_addc(out, ':');
        if (strings)
            add_text(out, sorted.entries[i].value);
        else
            buf_adds(out, "{}");
    }
    buf_addc(out, '}');
}

static void add_int(struct buf *out, const char *name, int64_t v)
{
    if (v == 0)
        return;
    add_name(out, name);
    buf_addf(out, "%lld", (long long)v);
}

static void add_true(struct buf *out, const char *name, bool v)
{
    if (!v)
        return;
    add_name(out, name);
    buf_adds(out, "true");
}

static void add_history(struct buf *out, const struct df_image *i)
{
    if (i->history_count == 0)
        return;
    add_name(out, "history");
    buf_addc(out, '[');
    for (size_t k = 0; k < i->history_count; k++) {
        const struct df_history *h = &i->history[k];

        buf_adds(out, k > 0 ? ",{" : "{");
        add_string(out, "created", h->created);
        add_string(out, "created_by", h->created_by);
        add_string(out, "author", h->author);
        add_string(out, "comment", h->comment);
        add_true(out, "empty_layer", h->empty_layer);
        buf_addc(out, '}');
    }
    buf_addc(out, ']');
}

static void add_health(struct buf *out, const struct df_image *i)
{
    if (!i->has_health)
        return;
    add_name(out, "Healthcheck");
    buf_addc(out, '{');
    add_strings(out, "Test", &i->health.test);
    add_int(out, "Interval", i->health.interval);
    add_int(out, "Timeout", i->health.timeout);
    add_int(out, "StartPeriod", i->health.start_period);
    add_int(out, "StartInterval", i->health.start_interval);
    add_int(out, "Retries", i->health.retries);
    buf_addc(out, '}');
}

static void add_config(struct buf *out, const struct df_image *i)
{
    add_name(out, "config");
    buf_addc(out, '{');
    add_string(out, "User", i->user);
    add_map(out, "ExposedPorts", &i->exposed_ports, false);
    add_strings(out, "Env", &i->env);
    add_strings(out, "Entrypoint", &i->entrypoint);
    add_strings(out, "Cmd", &i->cmd);
    add_map(out, "Volumes", &i->volumes, false);
    add_string(out, "WorkingDir", i->working_dir);
    add_map(out, "Labels", &i->labels, true);
    add_string(out, "StopSignal", i->stop_signal);
    add_true(out, "ArgsEscaped", i->args_escaped);
    add_health(out, i);
    add_strings(out, "OnBuild", &i->on_build);
    add_strings(out, "Shell", &i->shell);
    buf_addc(out, '}');
}

static void add_platform(struct buf *out, const struct platform *p)
{
    struct strv features = { .v = p->os_features, .len = p->os_feature_count };

    add_name(out, "architecture");
    add_text(out, p->architecture != NULL ? p->architecture : "");
    add_name(out, "os");
    add_text(out, p->os != NULL ? p->os : "");
    add_string(out, "os.version", p->os_version);
    add_strings(out, "os.features", &features);
    add_string(out, "variant", p->variant);
}

void df_image_encode(const struct df_image *i, struct buf *out)
{
    buf_addc(out, '{');
    add_string(out, "created", i->created);
    add_string(out, "author", i->author);
    add_platform(out, &i->platform);
    add_name(out, "rootfs");
    buf_addc(out, '{');
    add_name(out, "type");
    add_text(out, i->rootfs_type != NULL ? i->rootfs_type : "");
    add_name(out, "diff_ids");
    if (i->has_diff_ids || i->diff_ids.len > 0)
        add_array(out, &i->diff_ids);
    else
        buf_adds(out, "null");
    buf_addc(out, '}');
    add_history(out, i);
    add_config(out, i);
    buf_addc(out, '}');
}
