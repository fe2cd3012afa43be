/* SPDX-License-Identifier: Apache-2.0 */
/* containers.c - the container room inside the engine: where its images come from and where its events go */
#include "engine/containers.h"

#include "container/container.h"
#include "engine/images.h"
#include "io/path.h"

struct container_room {
    struct containers_config config;
    char *root;
};

/* ---- hooks
 * --------------------------------------------------------------------------------------------------------------------
 */

static char *platform_warning(const struct image_variant *v, const char *asked)
{
    CLEANUP(freep) char *have = platform_format(&v->config.platform);
    CLEANUP(freep) char *host = platform_format(platform_host());

    if (asked != NULL || platform_match(platform_host(), &v->config.platform) > 0)
        return NULL;
    return xasprintf(
        "The requested image's platform (%s) does not match the detected host platform (%s) and no specific "
        "platform was requested",
        have, host);
}

static struct error *find_variant(struct engine *e, const char *name, const char *platform,
                                  struct image_match *match, struct image_variant *variant)
{
    CLEANUP(platform_deinit) struct platform wanted = { 0 };

    if (platform != NULL && *platform != '\0')
        TRY(platform_parse(platform, &wanted));
    TRY(images_find(e, name, match));
    return images_variant(e, &match->target, platform_is_set(&wanted) ? &wanted : NULL, variant);
}

static struct error *find_image(void *ctx, const char *name, const char *platform,
                                struct container_image *ret)
{
    struct engine *e = ctx;
    CLEANUP(image_match_deinit) struct image_match match = { 0 };
    CLEANUP(image_variant_deinit) struct image_variant variant = { 0 };

    TRY(find_variant(e, name, platform, &match, &variant));
    TRY(images_snapshot(e, &variant, &ret->snapshot));
    ret->id = xstrdup(match.target.digest.s);
    ret->os = xstrdup(variant.config.platform.os);
    ret->config = json_incref(json_object_get(variant.config.json, "config"));
    ret->descriptor = descriptor_to_json(&variant.descriptor);
    if (json_object_get(ret->descriptor, "platform") == NULL)
        json_object_set_new(ret->descriptor, "platform", platform_to_json(&variant.config.platform));
    ret->warning = platform_warning(&variant, platform);
    return NULL;
}

static bool image_is(void *ctx, const char *name, const char *id)
{
    CLEANUP(image_match_deinit) struct image_match match = { 0 };
    struct error *e = images_find(ctx, name, &match);
    bool same = e == NULL && streq(match.target.digest.s, id);

    err_free(e);
    return same;
}

static void publish(void *ctx, const char *action, const char *id, const struct map *attributes)
{
    struct engine *e = ctx;

    events_publish(e->events, "container", action, id, attributes);
}

/* ---- the room
 * -----------------------------------------------------------------------------------------------------------------
 */

struct error *engine_open_containers(struct engine *e)
{
    struct container_room *room = NEW(struct container_room);

    room->root = path_join(e->config->data_root, "containers");
    room->config = (struct containers_config){
        .root = room->root,
        .runner = e->runner,
        .store = e->store,
        .find_image = find_image,
        .image_is = image_is,
        .event = publish,
        .ctx = e,
        .defaults = &e->config->containers,
    };
    e->container_room = room;
    return containers_open(&room->config, &e->containers);
}

void engine_reload_containers(struct engine *e)
{
    if (e->container_room != NULL)
        e->container_room->config.defaults = &e->config->containers;
}

void engine_close_containers(struct engine *e)
{
    containers_close(TAKE(e->containers));
    if (e->container_room == NULL)
        return;
    free(e->container_room->root);
    free(TAKE(e->container_room));
}

struct container_counts engine_container_counts(struct engine *e)
{
    struct container_counts c = { 0 };

    if (e->containers != NULL)
        containers_count(e->containers, &c.running, &c.paused, &c.stopped);
    return c;
}

void engine_containers_of_image(struct engine *e, const struct digest *image, struct strv *out)
{
    if (e->containers != NULL)
        containers_of_image(e->containers, image->s, out, NULL);
}

bool engine_image_is_running(struct engine *e, const struct digest *image)
{
    CLEANUP(strv_deinit) struct strv ids = { 0 };
    bool running = false;

    if (e->containers != NULL)
        containers_of_image(e->containers, image->s, &ids, &running);
    return running;
}

json_t *engine_containers_usage(struct engine *e, int version)
{
    struct container_filters all = { 0 };
    json_t *list = NULL;
    struct error *failure =
        e->containers != NULL ? containers_list(e->containers, true, true, 0, &all, version, &list) : NULL;

    err_free(failure); /* only filters can fail */
    return list != NULL ? list : json_array();
}
