/* SPDX-License-Identifier: Apache-2.0 */
/* cache_imports.c - which build caches a request names */
#include "frontend/frontend.h"
#include "oci/image.h"

void cache_imports_deinit(struct cache_imports *l)
{
    for (size_t i = 0; i < l->len; i++) {
        free(l->v[i].type);
        map_deinit(&l->v[i].attrs);
    }
    free(l->v);
    *l = (struct cache_imports){ 0 };
}

struct map *cache_imports_add(struct cache_imports *l, const char *type)
{
    l->v = xreallocarray(l->v, l->len + 1, sizeof(*l->v));
    struct cache_import *i = &l->v[l->len++];

    *i = (struct cache_import){ .type = xstrdup(type) };
    strmap_init(&i->attrs);
    return &i->attrs;
}

/* Go takes members by name in any case; clients write them as the struct's tags say. */
static struct error *parse_entry(const json_t *j, struct cache_imports *l)
{
    const char *type = json_string_value(json_object_get(j, "Type"));
    const json_t *attrs = json_object_get(j, "Attrs");

    if (!json_is_object(j))
        return err_new(ERR_INVALID, "an entry is not an object");
    if (type == NULL && json_object_get(j, "Type") != NULL)
        return err_new(ERR_INVALID, "Type is not a string");
    return strmap_from_json(attrs, "Attrs", cache_imports_add(l, type == NULL ? "" : type));
}

static struct error *parse_json(const char *text, struct cache_imports *l)
{
    json_t *j, *entry;
    struct error *e = NULL;
    size_t i;

    TRY(json_parse(text, strlen(text), "the list", &j));
    if (!json_is_array(j))
        e = err_new(ERR_INVALID, "the list is not an array");
    json_array_foreach(j, i, entry)
    {
        if (e == NULL)
            e = parse_entry(entry, l);
    }
    json_decref(j);
    return e;
}

struct error *cache_imports_parse(const struct map *opts, struct cache_imports *l)
{
    CLEANUP(strv_deinit) struct strv refs = { 0 };
    const char *list = strmap_get(opts, "cache-imports"), *from = strmap_get(opts, "cache-from");

    if (list != NULL && list[0] != '\0')
        TRY(err_wrap(parse_json(list, l), "failed to unmarshal cache-imports (\"%s\")", list));
    if (from != NULL && from[0] != '\0')
        strv_split(&refs, from, ',');
    for (size_t i = 0; i < refs.len; i++)
        strmap_set(cache_imports_add(l, "registry"), "ref", refs.v[i]);
    return NULL;
}
