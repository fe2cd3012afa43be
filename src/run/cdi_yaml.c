/* SPDX-License-Identifier: Apache-2.0 */
#include "run/cdi_yaml.h"

#include "base/limits.h"

#include <dlfcn.h>
#include <pthread.h>
#include <yaml.h>

/* ---- the library
 * ----------------------------------------------------------------------------------------------------- */

static struct {
    int (*initialize)(yaml_parser_t *);
    void (*set_input)(yaml_parser_t *, const unsigned char *, size_t);
    int (*parse)(yaml_parser_t *, yaml_event_t *);
    void (*event_delete)(yaml_event_t *);
    void (*parser_delete)(yaml_parser_t *);
    bool loaded;
} lib;

static void load(void)
{
    void *h = dlopen("libyaml-0.so.2", RTLD_NOW | RTLD_LOCAL);

    if (h == NULL)
        return;
    *(void **)&lib.initialize = dlsym(h, "yaml_parser_initialize");
    *(void **)&lib.set_input = dlsym(h, "yaml_parser_set_input_string");
    *(void **)&lib.parse = dlsym(h, "yaml_parser_parse");
    *(void **)&lib.event_delete = dlsym(h, "yaml_event_delete");
    *(void **)&lib.parser_delete = dlsym(h, "yaml_parser_delete");
    lib.loaded = lib.initialize != NULL && lib.set_input != NULL && lib.parse != NULL &&
                 lib.event_delete != NULL && lib.parser_delete != NULL;
}

/* ---- events to values
 * ------------------------------------------------------------------------------------------------ */

static struct error *next(yaml_parser_t *p, yaml_event_t *ret)
{
    if (lib.parse(p, ret))
        return NULL;
    return err_new(ERR_INVALID, "line %zu: %s", p->problem_mark.line + 1,
                   p->problem != NULL ? p->problem : "no YAML");
}

static struct error *refuse(const yaml_event_t *e, const char *what)
{
    return err_new(ERR_INVALID, "line %zu: %s", e->start_mark.line + 1, what);
}

static json_t *plain_scalar(const char *s, size_t len)
{
    int64_t number;

    if (len == 0 || streq(s, "~") || streq(s, "null"))
        return json_null();
    if (streq(s, "true") || streq(s, "false"))
        return json_boolean(*s == 't');
    if (parse_i64(s, &number) == 0)
        return json_integer(number);
    return json_stringn(s, len);
}

static struct error *scalar(const yaml_event_t *e, json_t **ret)
{
    const char *s = (const char *)e->data.scalar.value;
    size_t len = e->data.scalar.length;

    *ret = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_scalar(s, len) : json_stringn(s, len);
    return *ret == NULL ? refuse(e, "text is not UTF-8") : NULL;
}

static struct error *value(yaml_parser_t *p, const yaml_event_t *e, int depth, json_t **ret);

static struct error *sequence(yaml_parser_t *p, int depth, json_t **ret)
{
    json_t *list = json_array();
    struct error *e = NULL;
    bool end = false;

    while (e == NULL && !end) {
        yaml_event_t event;
        json_t *item = NULL;

        e = next(p, &event);
        if (e != NULL)
            break;
        end = event.type == YAML_SEQUENCE_END_EVENT;
        if (!end)
            e = value(p, &event, depth, &item);
        if (item != NULL)
            json_array_append_new(list, item);
        lib.event_delete(&event);
    }
    if (e != NULL)
        json_decref(list);
    else
        *ret = list;
    return e;
}

static struct error *pair(yaml_parser_t *p, const yaml_event_t *key, int depth, json_t *map)
{
    yaml_event_t event;
    json_t *item = NULL;
    struct error *e;

    if (key->type != YAML_SCALAR_EVENT)
        return refuse(key, "a key must be text");
    TRY(next(p, &event));
    e = value(p, &event, depth, &item);
    if (e == NULL && json_object_set_new(map, (const char *)key->data.scalar.value, item) < 0)
        e = refuse(key, "text is not UTF-8");
    lib.event_delete(&event);
    return e;
}

static struct error *mapping(yaml_parser_t *p, int depth, json_t **ret)
{
    json_t *map = json_object();
    struct error *e = NULL;
    bool end = false;

    while (e == NULL && !end) {
        yaml_event_t event;

        e = next(p, &event);
        if (e != NULL)
            break;
        end = event.type == YAML_MAPPING_END_EVENT;
        if (!end)
            e = pair(p, &event, depth, map);
        lib.event_delete(&event);
    }
    if (e != NULL)
        json_decref(map);
    else
        *ret = map;
    return e;
}

static struct error *value(yaml_parser_t *p, const yaml_event_t *e, int depth, json_t **ret)
{
    if (depth == LIMIT_YAML_DEPTH)
        return refuse(e, "nested too deep");
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        if (e->data.scalar.anchor != NULL)
            return refuse(e, "anchors are not supported");
        return scalar(e, ret);
    case YAML_SEQUENCE_START_EVENT:
        if (e->data.sequence_start.anchor != NULL)
            return refuse(e, "anchors are not supported");
        return sequence(p, depth + 1, ret);
    case YAML_MAPPING_START_EVENT:
        if (e->data.mapping_start.anchor != NULL)
            return refuse(e, "anchors are not supported");
        return mapping(p, depth + 1, ret);
    default:
        return refuse(e, "a value was expected");
    }
}

/* Past the starts of stream and document. */
static struct error *document(yaml_parser_t *p, json_t **ret)
{
    for (;;) {
        yaml_event_t event;
        struct error *e;
        bool start;

        TRY(next(p, &event));
        start = event.type == YAML_STREAM_START_EVENT || event.type == YAML_DOCUMENT_START_EVENT;
        e = start ? NULL : value(p, &event, 0, ret);
        lib.event_delete(&event);
        if (!start)
            return e;
    }
}

struct error *yaml_to_json(const char *text, size_t len, json_t **ret)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    yaml_parser_t parser;
    struct error *e;

    pthread_once(&once, load);
    if (!lib.loaded)
        return err_new(ERR_UNIMPLEMENTED, "YAML cannot be read: libyaml-0.so.2 is missing");
    if (!lib.initialize(&parser))
        return err_new(ERR_EXHAUSTED, "YAML cannot be read: out of memory");
    lib.set_input(&parser, (const unsigned char *)text, len);
    e = document(&parser, ret);
    lib.parser_delete(&parser);
    return e;
}
