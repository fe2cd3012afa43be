/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/build_config.h"

#include "base/bytes.h"
#include "buildkit/internal.h"
#include "export/layers.h"

#include <stdio.h>

struct error *build_config_open(const struct provenance *p, struct build_config *ret)
{
    *ret = (struct build_config){ .p = p };
    return llb_def_is_scratch(p->def) ? NULL : llb_steps_open(p->def, &ret->steps);
}

void build_config_deinit(struct build_config *c)
{
    llb_steps_freep(&c->steps);
}

/* ---- steps ---- */

static struct error *write_definition(const struct llb_steps *s, enum llb_json_style style,
                                      struct go_writer *out)
{
    go_write_name(out, "llbDefinition");
    return llb_steps_write(s, style, out);
}

static void write_mapping(const struct llb_steps *s, struct go_writer *out)
{
    go_write_name(out, "digestMapping");
    llb_steps_write_names(s, out);
}

/* As members of the open object. */
static struct error *write_steps(const struct llb_steps *s, enum llb_json_style style, struct go_writer *out)
{
    if (style == LLB_JSON_GO_MAP) { /* by name */
        write_mapping(s, out);
        return write_definition(s, style, out);
    }
    TRY(write_definition(s, style, out));
    write_mapping(s, out);
    return NULL;
}

struct error *build_config_write(const struct build_config *c, enum llb_json_style style,
                                 struct go_writer *out)
{
    go_write_open(out, '{');
    if (c->steps != NULL)
        TRY(write_steps(c->steps, style, out));
    go_write_close(out, '}');
    return NULL;
}

/* ---- what is told of some steps, by their names ---- */

struct named {
    char name[48]; /* "step3", "step3:0" */
    const void *of;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static void sort_named(struct named *v, size_t count)
{
    if (count > 1)
        qsort(v, count, sizeof(*v), by_name);
}

/* ---- source ---- */

static struct error *write_info_steps(const struct llb_source_info *info, struct go_writer *out)
{
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    CLEANUP(llb_steps_freep) struct llb_steps *steps = NULL;

    TRY(llb_def_decode(info->definition, info->definition_len, &def));
    if (llb_def_is_scratch(def))
        return NULL;
    TRY(llb_steps_open(def, &steps));
    return write_steps(steps, LLB_JSON_GO, out);
}

static struct error *write_info(const struct llb_source_info *info, struct go_writer *out)
{
    CLEANUP(buf_deinit) struct buf data = { 0 };

    go_write_open(out, '{');
    if (info->filename[0] != '\0')
        go_write_member(out, "filename", info->filename);
    if (info->language[0] != '\0')
        go_write_member(out, "language", info->language);
    base64_encode(&data, info->data, info->data_len);
    if (data.len > 0)
        go_write_member(out, "data", data.data);
    if (info->definition != NULL)
        TRY(write_info_steps(info, out));
    go_write_close(out, '}');
    return NULL;
}

static void write_locations(const struct build_config *c, const struct llb_source *s, struct go_writer *out)
{
    CLEANUP(freep) struct named *v = xcalloc(s->locations.len + 1, sizeof(*v));
    size_t count = 0, step;

    for (size_t i = 0; i < s->locations.len && c->steps != NULL; i++) {
        if (!llb_steps_find(c->steps, s->locations.entries[i].key, &step))
            continue;
        v[count].of = s->locations.entries[i].value;
        snprintf(v[count].name, sizeof(v[count].name), "step%zu", step);
        count++;
    }
    if (count == 0)
        return;
    sort_named(v, count);
    go_write_name(out, "locations");
    go_write_open(out, '{');
    for (size_t i = 0; i < count; i++) {
        go_write_name(out, v[i].name);
        llb_locations_write_json(v[i].of, out);
    }
    go_write_close(out, '}');
}

static struct error *write_source(const struct build_config *c, struct go_writer *out)
{
    const struct llb_source *s = c->p->def->source;

    if (s == NULL || s->info_count == 0)
        return NULL;
    go_write_name(out, "source");
    go_write_open(out, '{');
    write_locations(c, s, out);
    go_write_name(out, "infos");
    go_write_open(out, '[');
    for (size_t i = 0; i < s->info_count; i++)
        TRY(write_info(&s->infos[i], out));
    go_write_close(out, ']');
    go_write_close(out, '}');
    return NULL;
}

/* ---- layers ---- */

/* Those of the result as they are known to others. */
struct known_layers {
    const struct provenance *p;
    const struct map *exported; /* NULL: none */
    struct descriptor *own;     /* of each of p->layer_ids that was asked for; media type NULL: not known */
    bool *asked;
};

static struct known_layers known_layers_new(const struct provenance *p, const struct map *exported)
{
    size_t n = p->layer_ids.len + 1;

    return (struct known_layers){ p, exported, xcalloc(n, sizeof(struct descriptor)),
                                  xcalloc(n, sizeof(bool)) };
}

static void known_layers_deinit(struct known_layers *k)
{
    for (size_t i = 0; i < k->p->layer_ids.len; i++)
        descriptor_deinit(&k->own[i]);
    free(k->own);
    free(k->asked);
}

/* *ret NULL: there is no such blob. */
static struct error *known_layer(struct known_layers *k, size_t layer, const struct descriptor **ret)
{
    const char *id = k->p->layer_ids.entries[layer].key;
    bool found = false;

    *ret = k->exported == NULL ? NULL : map_get(k->exported, id);
    if (*ret != NULL)
        return NULL;
    if (!k->asked[layer])
        TRY(layer_known(k->p->build->builder->config->store, id, &k->own[layer], &found));
    k->asked[layer] = true;
    *ret = k->own[layer].media_type != NULL ? &k->own[layer] : NULL;
    return NULL;
}

/* Is every layer of it known as a blob? */
static struct error *is_known(struct known_layers *k, const struct output_layers *o, bool *ret)
{
    const struct descriptor *d = NULL;

    *ret = true;
    for (size_t i = 0; i < o->len && *ret; i++) {
        TRY(known_layer(k, o->layers[i], &d));
        *ret = d != NULL;
    }
    return NULL;
}

static struct error *write_chain(struct known_layers *k, const struct output_layers *o, struct go_writer *out)
{
    go_write_open(out, '[');
    go_write_open(out, '[');
    for (size_t i = 0; i < o->len; i++) {
        const struct descriptor *d = NULL;

        TRY(known_layer(k, o->layers[i], &d));
        go_write_open(out, '{');
        go_write_member(out, "mediaType", d->media_type);
        go_write_member(out, "digest", d->digest.s);
        go_write_member_int(out, "size", d->size);
        go_write_close(out, '}');
    }
    go_write_close(out, ']');
    go_write_close(out, ']');
    return NULL;
}

static struct error *find_outputs(const struct build_config *c, struct known_layers *k, struct named *v,
                                  size_t *ret_count)
{
    size_t count = 0, step;

    for (size_t i = 0; i < c->p->output_count; i++) {
        const struct output_layers *o = &c->p->outputs[i];
        bool known;

        if (!llb_steps_find(c->steps, o->vertex.s, &step))
            continue;
        TRY(is_known(k, o, &known));
        if (!known)
            continue;
        v[count].of = o;
        snprintf(v[count].name, sizeof(v[count].name), "step%zu:%zu", step, o->index);
        count++;
    }
    sort_named(v, count);
    *ret_count = count;
    return NULL;
}

static struct error *write_layers(const struct build_config *c, const struct map *exported,
                                  struct go_writer *out)
{
    CLEANUP(known_layers_deinit) struct known_layers k = known_layers_new(c->p, exported);
    CLEANUP(freep) struct named *v = xcalloc(c->p->output_count + 1, sizeof(*v));
    size_t count = 0;

    TRY(find_outputs(c, &k, v, &count));
    if (count == 0)
        return NULL;
    go_write_name(out, "layers");
    go_write_open(out, '{');
    for (size_t i = 0; i < count; i++) {
        go_write_name(out, v[i].name);
        TRY(write_chain(&k, v[i].of, out));
    }
    go_write_close(out, '}');
    return NULL;
}

struct error *build_config_write_metadata(const struct build_config *c, const struct map *exported,
                                          struct go_writer *out)
{
    TRY(write_source(c, out));
    return c->steps == NULL ? NULL : write_layers(c, exported, out);
}
