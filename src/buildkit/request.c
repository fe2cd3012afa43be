/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/request.h"

#include "base/limits.h"
#include "buildkit/capture.h"
#include "buildkit/internal.h"

/* ---- who made an input ---- */

static void register_producer(struct request *r, struct ref *ref)
{
    struct builder *b = r->build->builder;
    int64_t index;
    struct producer p = { .request = r, .ref = ref };
    struct error *e = ref == NULL || r->parent == NULL ? NULL : llb_def_head(ref_def(ref), &p.head, &index);

    if (e != NULL || p.head.s[0] == '\0') {
        err_free(e);
        return;
    }
    mutex_lock(&b->lock);
    if (b->producer_count == b->producer_cap) {
        b->producer_cap = MAX((size_t)16, b->producer_cap * 2);
        b->producers = xreallocarray(b->producers, b->producer_cap, sizeof(*b->producers));
    }
    b->producers[b->producer_count++] = p;
    mutex_unlock(&b->lock);
}

static void drop_producers(struct builder *b, bool (*gone)(const struct producer *p, const void *arg),
                           const void *arg)
{
    size_t kept = 0;

    mutex_lock(&b->lock);
    for (size_t i = 0; i < b->producer_count; i++) {
        if (!gone(&b->producers[i], arg))
            b->producers[kept++] = b->producers[i];
    }
    b->producer_count = kept;
    mutex_unlock(&b->lock);
}

static bool of_build(const struct producer *p, const void *build)
{
    return p->request->build == build;
}

static bool of_request(const struct producer *p, const void *request)
{
    return p->request == request;
}

void producers_drop(struct build *u)
{
    drop_producers(u->builder, of_build, u);
}

/* What was asked of the one that made the definition with this head; NULL when nobody did, or several that
 * were asked different things. */
static json_t *find_producer_locked(const struct builder *b, const struct digest *head)
{
    json_t *found = NULL;

    for (size_t i = 0; i < b->producer_count; i++) {
        const struct producer *p = &b->producers[i];
        CLEANUP(capture_deinit) struct capture c = { 0 };

        if (!digest_eq(&p->head, head))
            continue;
        capture_ref(&c, b->config->store, p->ref);
        json_t *j = request_json(p->request, &c);

        if (found != NULL && !json_equal(found, j)) {
            json_decref(found);
            json_decref(j);
            return NULL;
        }
        json_decref(found);
        found = j;
    }
    return found;
}

/* How many requests `j` tells of: itself, and what its inputs were made by. */
static size_t count_requests(const json_t *j)
{
    json_t *inputs = json_object_get(json_object_get(j, "request"), "inputs"), *one;
    size_t n = 1;
    const char *key;

    json_object_foreach(inputs, key, one) n += count_requests(one);
    return n;
}

/* One that would make the whole too large (each may be told of many times) is left out. */
static json_t *find_producers(struct builder *b, const struct map *inputs)
{
    json_t *all = json_object();
    size_t total = 0;

    mutex_lock(&b->lock);
    for (size_t i = 0; i < inputs->len; i++) {
        struct digest head;
        int64_t index;
        struct error *e = llb_def_head(inputs->entries[i].value, &head, &index);
        json_t *j = e == NULL ? find_producer_locked(b, &head) : NULL;

        err_free(e);
        if (j == NULL)
            continue;
        total += count_requests(j);
        if (total <= LIMIT_PRODUCERS)
            json_object_set_new_nocheck(all, inputs->entries[i].key, j);
        else
            json_decref(j);
    }
    mutex_unlock(&b->lock);
    if (json_object_size(all) > 0)
        return all;
    json_decref(all);
    return NULL;
}

/* ---- the tree ---- */

static void unref_def(void *def)
{
    llb_def_unref(def);
}

void request_init(struct request *r, struct build *u, struct request *parent, const char *frontend,
                  const struct map *args, const struct map *inputs)
{
    r->build = u;
    r->parent = parent;
    r->frontend = xstrdup(frontend == NULL ? "" : frontend);
    strmap_init(&r->args);
    if (args != NULL)
        strmap_copy(&r->args, args);
    r->inputs.free_value = unref_def;
    for (size_t i = 0; inputs != NULL && i < inputs->len; i++)
        map_set(&r->inputs, inputs->entries[i].key, llb_def_ref(inputs->entries[i].value));
    map_sort(&r->inputs);
    if (r->inputs.len > 0)
        r->producers = find_producers(u->builder, &r->inputs);
    mutex_init(&r->lock);
    bridge_init(r);
}

void request_deinit(struct request *r)
{
    for (size_t i = 0; i < r->children.len; i++)
        request_free(r->children.v[i]);
    ptrv_deinit(&r->children);
    ptrv_deinit(&r->refs);
    for (size_t i = 0; i < r->image_count; i++) {
        free(r->images[i].ref);
        free(r->images[i].digest);
        platform_deinit(&r->images[i].platform);
    }
    free(r->images);
    map_deinit(&r->args);
    map_deinit(&r->inputs);
    json_decref(r->producers);
    free(r->frontend);
    mutex_deinit(&r->lock);
}

struct request *request_new(struct request *parent, const char *frontend, const struct map *args,
                            const struct map *inputs)
{
    struct request *r = NEW(struct request);

    request_init(r, parent->build, parent, frontend, args, inputs);
    r->bridge.session_id = parent->bridge.session_id;
    return r;
}

void request_free(struct request *r)
{
    if (r == NULL)
        return;
    drop_producers(r->build->builder, of_request, r);
    request_deinit(r);
    free(r);
}

void request_add_ref(struct request *r, struct ref *ref)
{
    mutex_lock(&r->lock);
    ptrv_add(&r->refs, ref);
    mutex_unlock(&r->lock);
    register_producer(r, ref);
}

struct request *request_owner(struct request *r, const struct ref *ref)
{
    struct request *found = NULL;

    mutex_lock(&r->lock);
    for (size_t i = 0; found == NULL && i < r->children.len; i++)
        found = request_owner(r->children.v[i], ref);
    for (size_t i = 0; found == NULL && i < r->refs.len; i++)
        found = r->refs.v[i] == ref ? r : NULL;
    mutex_unlock(&r->lock);
    return found;
}

void request_adopt(struct request *r, struct request *child)
{
    mutex_lock(&r->lock);
    ptrv_add(&r->children, child);
    mutex_unlock(&r->lock);
}

void request_add_image(struct request *r, const struct resolved_image *image, const struct platform *platform,
                       bool local)
{
    struct request_image *i;

    mutex_lock(&r->lock);
    r->images = xreallocarray(r->images, r->image_count + 1, sizeof(*r->images));
    i = &r->images[r->image_count++];
    *i = (struct request_image){ .ref = xstrdup(image->ref),
                                 .digest = xstrdup(image->digest),
                                 .local = local };
    if (platform != NULL)
        platform_copy(&i->platform, platform);
    mutex_unlock(&r->lock);
}
