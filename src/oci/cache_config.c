/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/cache_config.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "oci/gojson.h"
#include "oci/image.h"

static void record_deinit(struct cache_record *r)
{
    for (size_t i = 0; i < r->input_count; i++) {
        for (size_t k = 0; k < r->inputs[i].link_count; k++)
            free(r->inputs[i].links[k].selector);
        free(r->inputs[i].links);
    }
    for (size_t i = 0; i < r->result_count; i++)
        free(r->results[i].list);
    free(r->inputs);
    free(r->results);
}

void cache_config_deinit(struct cache_config *c)
{
    for (size_t i = 0; i < c->record_count; i++)
        record_deinit(&c->records[i]);
    free(c->records);
    free(c->layers);
    *c = (struct cache_config){ 0 };
}

/* ---- building one
 * ------------------------------------------------------------------------------------------------------------
 */

/* Room for one more of `size` bytes; grows by doubling. */
static void *grown(void *list, size_t count, size_t size)
{
    bool full = (count & (count - 1)) == 0;

    return full ? xreallocarray(list, count == 0 ? 1 : count * 2, size) : list;
}

struct cache_record *cache_config_add_record(struct cache_config *c, const struct digest *d)
{
    c->records = grown(c->records, c->record_count, sizeof(*c->records));
    struct cache_record *r = &c->records[c->record_count++];

    *r = (struct cache_record){ .digest = *d };
    return r;
}

void cache_record_set_inputs(struct cache_record *r, size_t count)
{
    r->inputs = xcalloc(count + 1, sizeof(*r->inputs));
    r->input_count = count;
}

static bool same_selector(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : streq(a, b);
}

static void add_link(struct cache_input *i, size_t record, const char *selector)
{
    i->links = grown(i->links, i->link_count, sizeof(*i->links));
    i->links[i->link_count++] = (struct cache_link){ record, xstrdup(selector) };
}

void cache_input_add(struct cache_input *i, size_t record, const char *selector)
{
    for (size_t k = 0; k < i->link_count; k++)
        if (i->links[k].record == record && same_selector(i->links[k].selector, selector))
            return;
    add_link(i, record, selector);
}

static size_t append_layer(struct cache_config *c, const struct digest *blob, int64_t parent)
{
    c->layers = grown(c->layers, c->layer_count, sizeof(*c->layers));
    c->layers[c->layer_count] = (struct cache_layer){ *blob, parent };
    return c->layer_count++;
}

size_t cache_config_add_layer(struct cache_config *c, const struct digest *blob, int64_t parent)
{
    for (size_t i = 0; i < c->layer_count; i++)
        if (c->layers[i].parent == parent && digest_eq(&c->layers[i].blob, blob))
            return i;
    return append_layer(c, blob, parent);
}

static struct cache_result *add_result(struct cache_record *r, int64_t created_ns)
{
    r->results = grown(r->results, r->result_count, sizeof(*r->results));
    struct cache_result *x = &r->results[r->result_count++];

    *x = (struct cache_result){ .created_ns = created_ns };
    return x;
}

void cache_record_add_result(struct cache_record *r, size_t top, int64_t created_ns)
{
    add_result(r, created_ns)->top = top;
}

void cache_record_add_list(struct cache_record *r, const size_t *layers, size_t count, int64_t created_ns)
{
    struct cache_result *x = add_result(r, created_ns);

    x->list = xcalloc(count + 1, sizeof(*x->list));
    for (size_t i = 0; i < count; i++)
        x->list[i] = layers[i];
    x->list_len = count;
}

/* ---- writing
 * -----------------------------------------------------------------------------------------------------------------
 */

static json_t *time_json(int64_t ns)
{
    char text[40];

    format_rfc3339(text, ns);
    return json_string(text);
}

static json_t *results_json(const struct cache_record *r, bool lists)
{
    json_t *all = json_array();

    for (size_t i = 0; i < r->result_count; i++) {
        const struct cache_result *x = &r->results[i];
        json_t *j = json_object(), *list = json_array();

        for (size_t k = 0; k < x->list_len; k++)
            json_array_append_new(list, json_integer((json_int_t)x->list[k]));
        if (x->list == NULL)
            json_object_set_new(j, "layer", json_integer((json_int_t)x->top));
        else
            json_object_set(j, "layers", list);
        json_decref(list);
        json_object_set_new(j, "createdAt", time_json(x->created_ns));
        if ((x->list != NULL) == lists)
            json_array_append(all, j);
        json_decref(j);
    }
    return all;
}

static json_t *inputs_json(const struct cache_record *r)
{
    json_t *all = json_array();

    for (size_t i = 0; i < r->input_count; i++) {
        json_t *links = json_array();

        for (size_t k = 0; k < r->inputs[i].link_count; k++) {
            const struct cache_link *l = &r->inputs[i].links[k];
            json_t *j = json_object();

            if (l->selector != NULL)
                json_object_set_new(j, "selector", json_string(l->selector));
            json_object_set_new(j, "link", json_integer((json_int_t)l->record));
            json_array_append_new(links, j);
        }
        json_array_append_new(all, links);
    }
    return all;
}

/* What is empty is left out. */
static void set_list(json_t *j, const char *key, json_t *list)
{
    if (json_array_size(list) > 0)
        json_object_set(j, key, list);
    json_decref(list);
}

static json_t *records_json(const struct cache_config *c)
{
    json_t *all = json_array();

    for (size_t i = 0; i < c->record_count; i++) {
        json_t *j = json_object();

        set_list(j, "layers", results_json(&c->records[i], false));
        set_list(j, "chains", results_json(&c->records[i], true));
        json_object_set_new(j, "digest", json_string(c->records[i].digest.s));
        set_list(j, "inputs", inputs_json(&c->records[i]));
        json_array_append_new(all, j);
    }
    return all;
}

void cache_config_write_records(const struct cache_config *c, struct buf *out)
{
    json_t *j = records_json(c);

    go_json(out, j, NULL, false);
    json_decref(j);
}

void cache_config_write(const struct cache_config *c, struct buf *out)
{
    json_t *j = json_object(), *layers = json_array();

    for (size_t i = 0; i < c->layer_count; i++) {
        json_t *l = json_pack("{s:s}", "blob", c->layers[i].blob.s);

        if (c->layers[i].parent != 0) /* the first layer is not written: Go's omitempty */
            json_object_set_new(l, "parent", json_integer((json_int_t)c->layers[i].parent));
        json_array_append_new(layers, l);
    }
    set_list(j, "layers", layers);
    set_list(j, "records", records_json(c));
    go_json(out, j, NULL, false);
    json_decref(j);
}

/* ---- reading
 * -----------------------------------------------------------------------------------------------------------------
 */

static struct error *bad(const char *what)
{
    return err_new(ERR_INVALID, "invalid cache config: %s", what);
}

/* A list that may be missing; else *ret is NULL. */
static struct error *list_of(const json_t *j, const char *key, json_t **ret)
{
    json_t *v = json_object_get(j, key);

    *ret = json_is_array(v) ? v : NULL;
    return v == NULL || json_is_null(v) || json_is_array(v) ? NULL : bad(key);
}

static struct error *index_of(const json_t *j, size_t count, const char *what, size_t *ret)
{
    json_int_t n = json_integer_value(j);

    if (!json_is_integer(j) || n < 0 || (uint64_t)n >= count)
        return err_new(ERR_INVALID, "invalid %s: %lld", what, (long long)n);
    *ret = (size_t)n;
    return NULL;
}

static struct error *parse_layers(const json_t *list, struct cache_config *c)
{
    json_t *j;
    size_t i;

    json_array_foreach(list, i, j)
    {
        const char *blob = json_string_value(json_object_get(j, "blob"));
        const json_t *parent = json_object_get(j, "parent");
        json_int_t n = json_integer_value(parent);
        struct digest d;

        if (blob == NULL || digest_parse(blob, &d) < 0)
            return bad("layer without a digest");
        if ((parent != NULL && !json_is_integer(parent)) || n < -1 || n >= (json_int_t)json_array_size(list))
            return err_new(ERR_INVALID, "invalid layer index %lld", (long long)n);
        append_layer(c, &d, (int64_t)n);
    }
    return NULL;
}

static int64_t created(const json_t *j)
{
    const char *text = json_string_value(json_object_get(j, "createdAt"));
    int64_t ns = 0;

    return text == NULL || parse_time(text, &ns) < 0 ? 0 : ns;
}

static struct error *parse_list(const json_t *j, size_t layer_count, struct cache_record *r)
{
    json_t *layers, *v;
    size_t i;

    TRY(list_of(j, "layers", &layers));
    if (json_array_size(layers) > LIMIT_LAYERS)
        return bad("too many layers in a chain");
    CLEANUP(freep) size_t *list = xcalloc(json_array_size(layers) + 1, sizeof(*list));

    json_array_foreach(layers, i, v) TRY(index_of(v, layer_count, "layer index", &list[i]));
    cache_record_add_list(r, list, json_array_size(layers), created(j));
    return NULL;
}

static struct error *parse_results(const json_t *j, size_t layer_count, struct cache_record *r)
{
    json_t *list, *v;
    size_t i, top = 0;

    TRY(list_of(j, "layers", &list));
    json_array_foreach(list, i, v)
    {
        TRY(index_of(json_object_get(v, "layer"), layer_count, "layer index", &top));
        cache_record_add_result(r, top, created(v));
    }
    TRY(list_of(j, "chains", &list));
    json_array_foreach(list, i, v) TRY(parse_list(v, layer_count, r));
    return NULL;
}

static struct error *parse_links(const json_t *links, size_t record_count, struct cache_input *in)
{
    json_t *v;
    size_t i, record = 0;

    json_array_foreach(links, i, v)
    {
        const char *selector = json_string_value(json_object_get(v, "selector"));

        TRY(index_of(json_object_get(v, "link"), record_count, "record ID", &record));
        add_link(in, record, selector == NULL || *selector == '\0' ? NULL : selector);
    }
    return NULL;
}

static struct error *parse_record(const json_t *j, size_t record_count, struct cache_config *c)
{
    const char *text = json_string_value(json_object_get(j, "digest"));
    struct cache_record *r;
    struct digest d;
    json_t *inputs, *v;
    size_t i;

    if (text == NULL || digest_parse(text, &d) < 0)
        d.s[0] = '\0';
    r = cache_config_add_record(c, &d);
    TRY(parse_results(j, c->layer_count, r));
    TRY(list_of(j, "inputs", &inputs));
    cache_record_set_inputs(r, json_array_size(inputs));
    json_array_foreach(inputs, i, v)
    {
        if (!json_is_array(v) || json_array_size(v) == 0)
            return err_new(ERR_INVALID, "invalid empty input for record %zu", c->record_count - 1);
        TRY(parse_links(v, record_count, &r->inputs[i]));
    }
    return NULL;
}

static struct error *parse_records(const json_t *list, struct cache_config *c)
{
    json_t *j;
    size_t i;

    json_array_foreach(list, i, j) TRY(parse_record(j, json_array_size(list), c));
    return NULL;
}

static struct error *finish_parse(struct error *e, json_t *j, struct cache_config *c,
                                  struct cache_config *ret)
{
    json_decref(j);
    if (e != NULL) {
        cache_config_deinit(c);
        return e;
    }
    *ret = *c;
    return NULL;
}

struct error *cache_config_parse(const void *data, size_t len, struct cache_config *ret)
{
    struct cache_config c = { 0 };
    json_t *j, *layers, *records = NULL;

    TRY(json_parse(data, len, "cache config", &j));
    struct error *e = json_is_object(j) ? list_of(j, "layers", &layers) : bad("not an object");

    if (e == NULL)
        e = list_of(j, "records", &records);
    if (e == NULL)
        e = parse_layers(layers, &c);
    if (e == NULL)
        e = parse_records(records, &c);
    return finish_parse(e, j, &c, ret);
}

struct error *cache_config_parse_records(const void *data, size_t len, const struct digest *layers,
                                         size_t layer_count, struct cache_config *ret)
{
    struct cache_config c = { 0 };
    json_t *j;

    TRY(json_parse(data, len, "cache records", &j));
    for (size_t i = 0; i < layer_count; i++)
        append_layer(&c, &layers[i], (int64_t)i - 1);
    struct error *e = json_is_array(j) || json_is_null(j) ? parse_records(j, &c) : bad("not an array");

    return finish_parse(e, j, &c, ret);
}

struct error *cache_config_layers(const struct cache_config *c, const struct cache_result *r, size_t **ret,
                                  size_t *ret_count)
{
    size_t n = 0;

    if (r->list != NULL) {
        *ret = xmemdup(r->list, (r->list_len + 1) * sizeof(*r->list));
        *ret_count = r->list_len;
        return NULL;
    }
    for (int64_t at = (int64_t)r->top; at >= 0; at = c->layers[at].parent)
        if (++n > LIMIT_LAYERS)
            return err_new(ERR_INVALID, "invalid looping layer");
    *ret_count = n;
    *ret = xcalloc(n + 1, sizeof(**ret));
    for (int64_t at = (int64_t)r->top; at >= 0; at = c->layers[at].parent)
        (*ret)[--n] = (size_t)at;
    return NULL;
}
