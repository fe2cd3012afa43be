/* SPDX-License-Identifier: Apache-2.0 */
/* provenance.c - gathering what a result was made from */
#include "buildkit/provenance.h"

#include "buildkit/internal.h"
#include "oci/gojson.h"
#include "oci/image.h"

void provenance_deinit(struct provenance *p)
{
    capture_deinit(&p->capture);
    for (size_t i = 0; i < p->output_count; i++)
        free(p->outputs[i].layers);
    free(p->outputs);
    map_deinit(&p->layer_ids);
    llb_def_unref(p->def);
    json_decref(p->root);
    free(p->target);
    *p = (struct provenance){ 0 };
}

/* ---- options ---- */

static struct error *parse_flag(const struct map *attrs, const char *key, bool *ret)
{
    const char *v = strmap_get(attrs, key);

    if (v != NULL && parse_bool(v, ret) < 0)
        return err_new(ERR_INVALID,
                       "failed to parse %s flag \"%s\": strconv.ParseBool: parsing \"%s\": invalid syntax",
                       key, v, v);
    return NULL;
}

struct error *provenance_options_parse(const struct map *attrs, struct provenance_options *ret)
{
    const char *mode = strmap_get(attrs, "mode"), *version = strmap_get(attrs, "version");
    const char *inline_only = strmap_get(attrs, "inline-only"), *filename = strmap_get(attrs, "filename");
    const char *builder = strmap_get(attrs, "builder-id");

    if (version != NULL && version[0] == '\0')
        return err_new(ERR_INVALID, "provenance SLSA version cannot be empty");
    if (version != NULL && !streq(version, "v1") && !streq(version, "v0.2"))
        return err_new(ERR_INVALID, "invalid provenance SLSA version: %s", version);
    if (mode != NULL && !streq(mode, "full") && !streq(mode, "max") && !streq(mode, "min"))
        return err_new(ERR_INVALID, "invalid mode \"%s\"", mode);
    ret->slsa02 = version != NULL && streq(version, "v0.2");
    ret->max = mode == NULL || !streq(mode, "min");
    if (inline_only != NULL && parse_bool(inline_only, &ret->inline_only) < 0)
        ret->inline_only = false;
    TRY(parse_flag(attrs, "reproducible", &ret->reproducible));
    TRY(parse_flag(attrs, "complete-materials", &ret->complete));
    ret->builder_id = xstrdup(builder == NULL ? "" : builder);
    ret->filename = xstrdup(filename == NULL ? "provenance.json" : filename);
    return NULL;
}

void provenance_options_deinit(struct provenance_options *o)
{
    free(o->builder_id);
    free(o->filename);
    *o = (struct provenance_options){ 0 };
}

/* ---- platforms of a result ---- */

void result_platforms_deinit(struct result_platforms *p)
{
    for (size_t i = 0; i < p->len; i++) {
        free(p->v[i].id);
        platform_deinit(&p->v[i].platform);
    }
    free(p->v);
    *p = (struct result_platforms){ 0 };
}

static struct error *parse_platforms(const json_t *list, struct result_platforms *ret)
{
    const json_t *item;
    size_t i;

    if (json_array_size(list) == 0)
        return err_new(ERR_INVALID, "invalid empty platforms index for exporter");
    ret->v = xcalloc(json_array_size(list), sizeof(*ret->v));
    json_array_foreach(list, i, item)
    {
        const char *id = json_string_value(json_object_get(item, "ID"));
        struct result_platform *p = &ret->v[ret->len];

        if (id == NULL || id[0] == '\0')
            return err_new(ERR_INVALID, "invalid empty platform key for exporter");
        TRY(platform_from_json(json_object_get(item, "Platform"), &p->platform));
        p->id = xstrdup(id);
        ret->len++;
        if (!platform_is_set(&p->platform) || p->platform.os[0] == '\0' ||
            p->platform.architecture[0] == '\0')
            return err_new(ERR_INVALID, "invalid platform value of %s for exporter", id);
        platform_normalize(&p->platform);
    }
    return NULL;
}

/* The JSON value null: nothing was said. */
static bool is_null(const struct frontend_metadata *m)
{
    CLEANUP(freep) char *text = xstrndup(m->value, m->len);

    return streq(text, "null");
}

static struct error *platform_of_config(const struct frontend_result *r, struct platform *ret)
{
    const struct frontend_metadata *m = frontend_result_metadata(r, "containerimage.config");
    json_t *j;

    if (m != NULL && !is_null(m)) {
        TRY(json_parse(m->value, m->len, "image config", &j));
        struct error *e = platform_from_json(j, ret);

        json_decref(j);
        TRY(e);
        if (platform_is_set(ret) && (ret->os[0] == '\0') != (ret->architecture[0] == '\0'))
            return err_new(ERR_INVALID,
                           "invalid image config: os and architecture must be specified together");
    }
    if (!platform_is_set(ret) || ret->os[0] == '\0' || ret->architecture[0] == '\0') {
        platform_deinit(ret);
        platform_copy(ret, platform_host());
    }
    platform_normalize(ret);
    return NULL;
}

struct error *result_platforms(const struct frontend_result *r, struct result_platforms *ret)
{
    const struct frontend_metadata *m = frontend_result_metadata(r, "refs.platforms");
    struct error *e;
    json_t *j;

    if (m != NULL && (m->len == 0 || is_null(m)))
        return parse_platforms(NULL, ret);
    if (m != NULL) {
        TRY(json_parse(m->value, m->len, "failed to parse platforms", &j));
        e = parse_platforms(json_object_get(j, "Platforms"), ret);
        json_decref(j);
        return e;
    }
    ret->v = xcalloc(1, sizeof(*ret->v));
    ret->len = 1;
    e = platform_of_config(r, &ret->v[0].platform);
    ret->v[0].id = e == NULL ? platform_format_all(&ret->v[0].platform) : NULL;
    return e;
}

/* ---- capture ---- */

/* Everything else that was solved from `r` down: a Dockerfile that was read, inputs of other frontends. */
static void add_other_refs(struct request *r, const struct frontend_result *res, struct capture *c)
{
    mutex_lock(&r->lock);
    for (size_t i = 0; i < r->children.len; i++)
        add_other_refs(r->children.v[i], res, c);
    for (size_t i = 0; i < r->refs.len; i++) {
        bool result = false;

        for (size_t k = 0; k < res->ref_count && !result; k++)
            result = res->refs[k].ref == r->refs.v[i];
        for (size_t k = 0; k < res->attestation_count && !result; k++)
            result = res->attestations[k].ref == r->refs.v[i];
        if (!result)
            capture_ref(c, r->build->builder->config->store, r->refs.v[i]);
    }
    mutex_unlock(&r->lock);
}

struct image_list {
    struct request_image **v;
    size_t len;
};

static void collect_images(struct request *r, struct image_list *l)
{
    mutex_lock(&r->lock);
    for (size_t i = 0; i < r->image_count; i++) {
        l->v = xreallocarray(l->v, l->len + 1, sizeof(*l->v));
        l->v[l->len++] = NEW(struct request_image);
        struct request_image *to = l->v[l->len - 1], *from = &r->images[i];

        *to = (struct request_image){ .ref = xstrdup(from->ref),
                                      .digest = xstrdup(from->digest),
                                      .local = from->local };
        if (platform_is_set(&from->platform))
            platform_copy(&to->platform, &from->platform);
    }
    for (size_t i = 0; i < r->children.len; i++)
        collect_images(r->children.v[i], l);
    mutex_unlock(&r->lock);
}

static void image_list_deinit(struct image_list *l)
{
    for (size_t i = 0; i < l->len; i++) {
        free(l->v[i]->ref);
        free(l->v[i]->digest);
        platform_deinit(&l->v[i]->platform);
        free(l->v[i]);
    }
    free(l->v);
}

static bool looked_up_for(const struct image_list *l, const char *ref, const struct platform *p)
{
    for (size_t i = 0; i < l->len; i++) {
        if (streq(l->v[i]->ref, ref) && platform_is_set(&l->v[i]->platform) &&
            platform_eq(&l->v[i]->platform, p))
            return true;
    }
    return false;
}

/* Of an image that was looked up for each platform of the result, only this result's. */
static bool is_for_another(const struct image_list *l, const struct request_image *i,
                           const struct result_platforms *all, const struct platform *mine)
{
    if (!platform_is_set(&i->platform) || mine == NULL)
        return false;
    for (size_t k = 0; k < all->len; k++) {
        if (!looked_up_for(l, i->ref, &all->v[k].platform))
            return false;
    }
    return !streq(i->platform.os, mine->os) || !streq(i->platform.architecture, mine->architecture);
}

static void add_images(struct request *r, const struct result_platforms *all, const struct platform *mine,
                       struct capture *c)
{
    CLEANUP(image_list_deinit) struct image_list l = { 0 };

    collect_images(r, &l);
    for (size_t i = 0; i < l.len; i++) {
        const struct request_image *im = l.v[i];

        if (!is_for_another(&l, im, all, mine))
            capture_image(c, im->ref, im->digest, platform_is_set(&im->platform) ? &im->platform : NULL,
                          im->local);
    }
}

/* The request that the user made: the outermost that says anything. */
static const struct request *root_of(const struct request *r)
{
    const struct request *root = NULL;

    for (const struct request *at = r->parent; at != NULL; at = at->parent) {
        if (request_is_set(at))
            root = at;
    }
    return root;
}

static json_t *root_json(const struct request *r, const struct capture *c)
{
    const struct request *root = root_of(r);
    json_t *j, *own, *q;

    if (root == NULL)
        return NULL;
    j = request_json(root, c);
    own = request_json(r, c);
    q = json_object_get(j, "request");
    if (json_object_size(q) == 0 || json_equal(j, own)) {
        json_decref(j);
        j = NULL;
    }
    json_decref(own);
    return j;
}

static const struct result_platform *find_platform(const struct result_platforms *p, const char *id)
{
    for (size_t i = 0; i < p->len; i++) {
        if (id == NULL ? p->len == 1 : streq(p->v[i].id, id))
            return &p->v[i];
    }
    return NULL;
}

static uint32_t layer_index(struct provenance *p, const char *id)
{
    size_t known = (size_t)map_get(&p->layer_ids, id);

    if (known == 0) {
        known = p->layer_ids.len + 1;
        map_set(&p->layer_ids, id, (void *)known);
    }
    return (uint32_t)(known - 1);
}

/* `below`: an output that was captured before; what it shares of its layers, most often all but one, is not
 * looked up. */
static void capture_output(struct provenance *p, const struct digest *vertex, size_t index,
                           const struct snapshot *s, const struct snapshot *below)
{
    const struct output_layers *before = below == NULL ? NULL : &p->outputs[p->output_count - 1];
    struct output_layers *o = &p->outputs[p->output_count++];

    *o = (struct output_layers){ .vertex = *vertex, .index = index, .len = snapshot_layer_count(s) };
    o->layers = xcalloc(o->len, sizeof(*o->layers));
    for (size_t i = 0; i < o->len; i++) {
        bool shared =
            before != NULL && i < before->len && snapshot_layer_id(s, i) == snapshot_layer_id(below, i);

        o->layers[i] = shared ? before->layers[i] : layer_index(p, snapshot_layer_id(s, i));
    }
}

/* What the steps left behind; layers only: a tree of the client is none. */
static void capture_outputs(struct provenance *p)
{
    CLEANUP(ref_vertices_deinit) struct ref_vertices l = ref_vertices(p->ref);
    const struct snapshot *below = NULL;
    size_t most = 0;

    for (size_t i = 0; i < l.len; i++)
        most += l.v[i].output_count;
    p->outputs = xcalloc(most + 1, sizeof(*p->outputs));
    for (size_t i = 0; i < l.len; i++) {
        for (size_t k = 0; k < l.v[i].output_count; k++) {
            const struct snapshot *s = l.v[i].outputs[k];

            if (s == NULL || snapshot_is_tree(s) || snapshot_layer_count(s) == 0)
                continue;
            capture_output(p, &l.v[i].vertex->digest, k, s, below);
            below = s;
        }
    }
}

struct error *provenance_capture(struct build *u, const struct frontend_result *res, const char *id,
                                 struct ref *ref, struct provenance *ret)
{
    CLEANUP(result_platforms_deinit) struct result_platforms platforms = { 0 };
    struct request *owner = request_owner(&u->root, ref);
    const struct result_platform *mine;

    if (owner == NULL)
        return err_new(ERR_UNKNOWN, "could not find request for ref %s", ref_id(ref));
    TRY(result_platforms(res, &platforms));
    mine = find_platform(&platforms, id);
    ret->build = u;
    ret->ref = ref;
    ret->request = owner;
    ret->def = llb_def_ref((struct llb_def *)ref_def(ref));
    capture_outputs(ret);
    capture_ref(&ret->capture, u->builder->config->store, ref);
    if (owner->parent != NULL)
        ret->root = root_json(owner, &ret->capture);
    add_other_refs(owner, res, &ret->capture);
    add_images(owner, &platforms, id == NULL || mine == NULL ? NULL : &mine->platform, &ret->capture);
    if (mine != NULL)
        ret->target = platform_format_all(&mine->platform);
    return capture_finish(&ret->capture);
}

/* ---- completeness ---- */

static void describe_gap(const struct capture_gap *g, struct buf *text)
{
    const char *what = *g->name != '\0' ? g->name : g->op;

    buf_addf(text, "\n  - %s", *what != '\0' ? what : "<unnamed>");
    if (*g->method != '\0')
        buf_addf(text, "\n    method: %s", g->method);
    if (*g->uri != '\0')
        buf_addf(text, "\n    url: %s", g->uri);
    buf_addf(text, "\n    reason: %s", g->reason);
}

static void tell_gaps(const char *title, const struct capture_gap *gaps, size_t count, struct buf *text,
                      struct go_writer *detail)
{
    if (count > 0)
        buf_addf(text, "\n\n%s:", title);
    for (size_t i = 0; i < count; i++) {
        describe_gap(&gaps[i], text);
        capture_gap_write(&gaps[i], detail);
    }
}

struct error *provenance_check(const struct provenance *p, const struct provenance_options *o)
{
    const struct capture *c = &p->capture;
    CLEANUP(freep) struct capture_gap *locals = xcalloc(c->locals.len + 1, sizeof(*locals));
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(buf_deinit) struct buf detail = { 0 };
    struct go_writer w = { .out = &detail };
    struct error *e;

    if (!o->complete || (!c->incomplete && c->locals.len == 0))
        return NULL;
    for (size_t i = 0; i < c->locals.len; i++)
        locals[i] = (struct capture_gap){ "", c->locals.v[i], "", "", "local_source" };
    buf_adds(&text,
             "provenance materials are incomplete\n\nThe build requested complete provenance materials, "
             "but not all dependencies could be captured.");
    go_write_open(&w, '{');
    go_write_name(&w, "incomplete");
    go_write_open(&w, '[');
    tell_gaps("Uncaptured local sources", locals, c->locals.len, &text, &w);
    tell_gaps("Uncaptured requests", c->gaps, c->gap_count, &text, &w);
    go_write_close(&w, ']');
    go_write_close(&w, '}');
    e = err_new(ERR_UNKNOWN, "%s", buf_str(&text));
    err_add_detail(e, "github.com/moby/buildkit/errdefs.ProvenanceMaterialsIncomplete+json", detail.data,
                   detail.len);
    return e;
}
