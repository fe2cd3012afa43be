/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/request.h"

#include "buildkit/internal.h"

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
    request_deinit(r);
    free(r);
}

void request_add_ref(struct request *r, struct ref *ref)
{
    mutex_lock(&r->lock);
    ptrv_add(&r->refs, ref);
    mutex_unlock(&r->lock);
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
