/* SPDX-License-Identifier: Apache-2.0 */
#include "llb/state.h"

#include "llb/gopath.h"
#include "llb/node.h"

#include <jansson.h>
#include <stdio.h>

/* ---- the builder's memory
 * ---------------------------------------------------------------------------------------------- */

struct llb_builder *llb_builder_new(void)
{
    struct llb_builder *b = NEW(struct llb_builder);

    pthread_mutex_init(&b->lock, NULL);
    return b;
}

void llb_builder_free(struct llb_builder *b)
{
    if (b == NULL)
        return;
    for (struct llb_node *n = b->nodes; n != NULL; n = n->next) {
        if (n->kind == NODE_SOURCE)
            map_deinit(&n->source.attrs);
    }
    for (size_t i = 0; i < b->imports.len; i++)
        import_free(b->imports.v[i]);
    ptrv_deinit(&b->imports);
    for (size_t i = 0; i < b->platforms.len; i++) {
        platform_deinit(b->platforms.v[i]);
        free(b->platforms.v[i]);
    }
    ptrv_deinit(&b->platforms);
    map_deinit(&b->images);
    arena_deinit(&b->mem);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

void llb_builder_freep(struct llb_builder **b)
{
    llb_builder_free(*b);
    *b = NULL;
}

void *llb_alloc(struct llb_builder *b, size_t size)
{
    void *p;

    pthread_mutex_lock(&b->lock);
    p = size > 0 ? arena_alloc(&b->mem, size) : NULL;
    pthread_mutex_unlock(&b->lock);
    return p;
}

char *llb_strndup(struct llb_builder *b, const char *s, size_t len)
{
    char *copy;

    pthread_mutex_lock(&b->lock);
    copy = arena_strn(&b->mem, s, len);
    pthread_mutex_unlock(&b->lock);
    return copy;
}

char *llb_strdup(struct llb_builder *b, const char *s)
{
    return s != NULL ? llb_strndup(b, s, strlen(s)) : NULL;
}

char *llb_printf(struct llb_builder *b, const char *fmt, ...)
{
    CLEANUP(freep) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    return llb_strdup(b, text);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && streq(a, b));
}

/* To the letter, not what they mean. */
static bool same_platform(const struct platform *a, const struct platform *b)
{
    if (a == b)
        return true;
    if (!same_text(a->os, b->os) || !same_text(a->architecture, b->architecture) ||
        !same_text(a->variant, b->variant) || !same_text(a->os_version, b->os_version) ||
        a->os_feature_count != b->os_feature_count)
        return false;
    for (size_t i = 0; i < a->os_feature_count; i++) {
        if (!streq(a->os_features[i], b->os_features[i]))
            return false;
    }
    return true;
}

/* A build knows few platforms: each is kept once. */
static const struct platform *find_platform_locked(const struct llb_builder *b, const struct platform *p)
{
    for (size_t i = 0; i < b->platforms.len; i++) {
        if (same_platform(b->platforms.v[i], p))
            return b->platforms.v[i];
    }
    return NULL;
}

const struct platform *llb_platform_dup(struct llb_builder *b, const struct platform *p)
{
    const struct platform *known;

    if (p == NULL || !platform_is_set(p))
        return NULL;
    pthread_mutex_lock(&b->lock);
    known = find_platform_locked(b, p);
    if (known == NULL) {
        struct platform *copy = NEW(struct platform);

        platform_copy(copy, p);
        ptrv_add(&b->platforms, copy);
        known = copy;
    }
    pthread_mutex_unlock(&b->lock);
    return known;
}

/* ---- states
 * ------------------------------------------------------------------------------------------------------------
 */

struct llb_output *output_resolve(struct llb_builder *b, struct llb_output *o)
{
    while (o != NULL && o->late) {
        if (!o->bound && o->make != NULL) {
            o->target = o->make(b, o->make_ctx).out;
            o->bound = true;
        }
        o = o->target;
    }
    return o;
}

struct llb_output *node_output(struct llb_builder *b, struct llb_node *n, int64_t index,
                               const struct platform *p)
{
    struct llb_output *o = llb_alloc(b, sizeof(*o));

    o->node = n;
    o->index = index;
    o->platform = p;
    return o;
}

struct llb_output *llb_output_late(struct llb_builder *b)
{
    struct llb_output *o = llb_alloc(b, sizeof(*o));

    o->late = true;
    return o;
}

void llb_output_bind(struct llb_output *late, struct llb_state s)
{
    late->target = s.out;
    late->bound = true;
}

struct llb_output *llb_output_lazy(struct llb_builder *b, llb_make_fn make, void *ctx)
{
    struct llb_output *o = llb_output_late(b);

    o->make = make;
    o->make_ctx = ctx;
    return o;
}

struct llb_state llb_scratch(void)
{
    return (struct llb_state){ .dir = "/" };
}

struct llb_state llb_new_state(struct llb_output *out)
{
    return llb_with_output(llb_scratch(), out);
}

struct llb_state llb_with_output(struct llb_state s, struct llb_output *out)
{
    s.out = out;
    if (out != NULL && out->platform != NULL)
        s.platform = out->platform;
    return s;
}

struct llb_state llb_add_env(struct llb_builder *b, struct llb_state s, const char *key, const char *value)
{
    s.env = llb_env_set(b, s.env, key, value);
    return s;
}

struct llb_state llb_dir(struct llb_builder *b, struct llb_state s, const char *dir)
{
    CLEANUP(freep) char *joined = NULL;

    if (!gopath_is_abs(dir)) {
        joined = gopath_join(s.dir != NULL && *s.dir != '\0' ? s.dir : "/", dir);
        dir = joined;
    }
    s.dir = llb_strdup(b, dir);
    return s;
}

struct llb_state llb_set_platform(struct llb_builder *b, struct llb_state s, const struct platform *p)
{
    CLEANUP(platform_deinit) struct platform normal = { 0 };

    platform_copy(&normal, p);
    platform_normalize(&normal);
    s.platform = llb_platform_dup(b, &normal);
    return s;
}

const struct platform *node_normal_platform(const struct llb_node *n)
{
    struct llb_builder *b = n->builder;
    const struct platform *normal;

    pthread_mutex_lock(&b->lock);
    normal = b->platform == n->platform ? b->normal : NULL;
    pthread_mutex_unlock(&b->lock);
    if (normal != NULL)
        return normal;
    normal = llb_set_platform(b, llb_scratch(), n->platform).platform;
    pthread_mutex_lock(&b->lock);
    b->platform = n->platform;
    b->normal = normal;
    pthread_mutex_unlock(&b->lock);
    return normal;
}

static void free_json(json_t **j)
{
    json_decref(*j);
}

/* A member without regard to case, as Go's decoder finds it. */
static json_t *member(const json_t *object, const char *name)
{
    json_t *exact = json_object_get(object, name), *value;
    const char *key;

    if (exact != NULL)
        return exact;
    json_object_foreach((json_t *)object, key, value)
    {
        if (strcasecmp(key, name) == 0)
            return value;
    }
    return NULL;
}

static const char *member_string(const json_t *object, const char *name)
{
    const char *s = json_string_value(member(object, name));

    return s != NULL ? s : "";
}

struct error *llb_with_image_config(struct llb_builder *b, struct llb_state s, const void *json, size_t len,
                                    struct llb_state *ret)
{
    json_error_t je;
    CLEANUP(free_json) json_t *root = json_loadb(json, len, 0, &je);
    json_t *config, *item;
    size_t i;

    if (root == NULL)
        return err_new(ERR_INVALID, "failed to parse image config: %s", je.text);
    config = member(root, "config");
    json_array_foreach(member(config, "Env"), i, item)
    {
        const char *text = json_string_value(item), *eq = text != NULL ? strchr(text, '=') : NULL;

        if (text == NULL || *text == '\0' || eq == text)
            continue;
        s = llb_add_env(b, s, eq != NULL ? llb_strndup(b, text, (size_t)(eq - text)) : text,
                        eq != NULL ? eq + 1 : "");
    }
    s = llb_dir(b, s, member_string(config, "WorkingDir"));
    if (*member_string(root, "architecture") != '\0' && *member_string(root, "os") != '\0') {
        CLEANUP(platform_deinit) struct platform p = { 0 };

        TRY(platform_from_json(root, &p));
        s = llb_set_platform(b, s, &p);
    }
    *ret = s;
    return NULL;
}

/* ---- nodes
 * -------------------------------------------------------------------------------------------------------------
 */

struct strv llb_strv_dup(struct llb_builder *b, const struct strv *v)
{
    struct strv copy = { 0 };

    if (v == NULL || v->len == 0)
        return copy;
    copy.v = llb_alloc(b, (v->len + 1) * sizeof(copy.v[0]));
    for (; copy.len < v->len; copy.len++)
        copy.v[copy.len] = llb_strdup(b, v->v[copy.len]);
    return copy;
}

static struct llb_progress_group *group_dup(struct llb_builder *b, const struct llb_options *o)
{
    struct llb_progress_group *g = llb_alloc(b, sizeof(*g));

    g->id = llb_strdup(b, o->group_id);
    g->name = llb_strdup(b, o->group_name != NULL ? o->group_name : "");
    g->weak = o->group_weak;
    return g;
}

static struct llb_resources *resources_dup(struct llb_builder *b, const struct llb_resources *r)
{
    struct llb_resources *copy = llb_alloc(b, sizeof(*copy));

    *copy = *r;
    copy->cpuset_cpus = llb_strdup(b, r->cpuset_cpus != NULL ? r->cpuset_cpus : "");
    copy->cpuset_mems = llb_strdup(b, r->cpuset_mems != NULL ? r->cpuset_mems : "");
    return copy;
}

struct llb_node *node_new(struct llb_builder *b, enum node_kind kind, const struct llb_options *o)
{
    static const struct llb_options none;
    struct llb_node *n = llb_alloc(b, sizeof(*n));

    if (o == NULL)
        o = &none;
    n->builder = b;
    n->kind = kind;
    n->platform = llb_platform_dup(b, o->platform);
    n->command = llb_strdup(b, o->command);
    n->custom_name = llb_strdup(b, o->custom_name);
    n->ignore_cache = o->ignore_cache;
    if (o->group_id != NULL)
        n->progress_group = group_dup(b, o);
    if (o->resources != NULL)
        n->resources = resources_dup(b, o->resources);
    if (o->source != NULL) {
        struct llb_range *ranges = llb_alloc(b, o->range_count * sizeof(*ranges));

        if (o->range_count > 0)
            memcpy(ranges, o->ranges, o->range_count * sizeof(*ranges));
        n->locations = llb_alloc(b, sizeof(*n->locations));
        n->locations[0] = (struct node_location){ o->source, ranges, o->range_count };
        n->location_count = 1;
    }
    pthread_mutex_lock(&b->lock);
    n->next = b->nodes;
    b->nodes = n;
    pthread_mutex_unlock(&b->lock);
    return n;
}
