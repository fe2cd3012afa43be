/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/commit.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "container/changes.h"
#include "container/settings.h"
#include "container/shape.h"
#include "container/stats.h"
#include "engine/changes.h"
#include "engine/images.h"
#include "frontend/dockerfile/image.h"
#include "oci/gojson.h"
#include "oci/reference.h"
#include "task/task.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define EMPTY_TAR "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

struct commit {
    struct engine *engine;
    struct container *container;
    struct container_parts parts;
    const struct commit_request *request;
    struct lease *lease;
    struct df_image image;
    struct snapshot *files;
    int tar_fd; /* the changes */
    char *name; /* NULL: none */
};

static void commit_deinit(struct commit *c)
{
    df_image_deinit(&c->image);
    snapshot_unref(c->files);
    closep(&c->tar_fd);
    free(c->name);
    lease_close(c->lease);
}

/* ---- the layer
 * -------------------------------------------------------------------------------------------------------------
 */

static struct error *open_changes(void *ctx, size_t index, struct stream **ret)
{
    const struct commit *c = ctx;
    int fd = fcntl(c->tar_fd, F_DUPFD_CLOEXEC, 3);

    if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        closep(&fd);
        return err_sys(errno, "read the container's changes");
    }
    *ret = stream_from_fd(fd);
    return NULL;
}

static struct error *take_changes(struct commit *c, struct digest *ret)
{
    c->tar_fd = openat(store_work_fd(c->engine->store), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (c->tar_fd < 0)
        return err_sys(errno, "keep the container's changes");
    return container_changes_tar(c->container, c->tar_fd, ret);
}

/* The image's layers, and what the container changed as one more. */
static struct error *make_files(struct commit *c, const struct digest *changes, bool *ret_empty)
{
    struct snapshot *base = c->parts.snapshot;
    size_t n = base == NULL ? 0 : snapshot_layer_count(base);
    CLEANUP(freep) struct layer_source *layers = xcalloc(n + 1, sizeof(*layers));
    int64_t size;

    *ret_empty = streq(changes->s, EMPTY_TAR);
    if (*ret_empty) {
        c->files = base == NULL ? NULL : snapshot_ref(base);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        TRY(snapshot_layer_diff_id(base, i, &layers[i].diff_id, &size));
    layers[n] = (struct layer_source){
        .diff_id = *changes, .description = "committed container", .open = open_changes, .ctx = c
    };
    return snapshot_unpack(c->engine->store, layers, n + 1, c->lease, &c->files);
}

/* ---- the config
 * ------------------------------------------------------------------------------------------------------------
 */

/* History and platform of the container's image; an image that is gone leaves none. */
static struct error *load_base(struct commit *c)
{
    CLEANUP(descriptor_deinit) struct descriptor manifest = { 0 };
    CLEANUP(image_variant_deinit) struct image_variant v = { 0 };
    CLEANUP(buf_deinit) struct buf text = { 0 };
    struct error *e;

    if (c->parts.image_descriptor == NULL)
        return NULL;
    TRY(descriptor_from_json(c->parts.image_descriptor, &manifest));
    e = images_variant(c->engine, &manifest, NULL, &v);
    if (e == NULL)
        e = blob_read(c->engine->store, &v.manifest.config.digest, LIMIT_MANIFEST, &text);
    if (err_is(e, ERR_NOT_FOUND)) {
        err_free(e);
        return NULL;
    }
    TRY(e);
    return df_image_parse(text.data, text.len, &c->image);
}

/* The container's configuration (or what the client gave), with the changes, over the container's own. */
static struct error *make_config(struct commit *c, json_t **ret)
{
    json_t *j = NULL;
    struct error *e;

    if (c->request->config != NULL)
        TRY(shape_config(c->request->config, &j));
    else
        j = json_deep_copy(c->parts.config);
    e = changes_apply(j, c->request->changes);
    if (e != NULL) {
        json_decref(j);
        return e;
    }
    settings_merge_image(j, c->parts.config);
    *ret = j;
    return NULL;
}

/* The image's config is that one alone; what it has besides stays. */
static struct error *set_config(struct commit *c, json_t *config)
{
    CLEANUP(json_decrefp) json_t *document = json_pack("{s:o}", "config", config);
    CLEANUP(freep) char *text = json_dumps(document, JSON_COMPACT);
    struct df_image parsed, *old = &c->image;

    df_image_init(&parsed);
    struct error *e = df_image_parse(text, strlen(text), &parsed);
    if (e != NULL) {
        df_image_deinit(&parsed);
        return e;
    }
    platform_copy(&parsed.platform, platform_is_set(&old->platform) ? &old->platform : platform_host());
    parsed.author = TAKE(old->author);
    parsed.rootfs_type = xstrdup("layers");
    parsed.history = TAKE(old->history);
    parsed.history_count = old->history_count;
    old->history_count = 0;
    df_image_deinit(old);
    *old = parsed;
    return NULL;
}

static void add_history(struct commit *c, bool empty)
{
    CLEANUP(strv_deinit) struct strv cmd = { 0 };
    CLEANUP(freep) char *created_by = NULL;
    const char *author = c->request->author, *comment = c->request->comment;
    struct df_image *i = &c->image;
    char now[40];

    json_get_strings(c->parts.config, "Cmd", &cmd);
    created_by = strv_join(&cmd, " ");
    format_rfc3339(now, now_ns());
    if (author != NULL && *author != '\0')
        str_replace(&i->author, author);
    df_image_add_history(i, xstrdup(created_by), empty, now);
    struct df_history *h = &i->history[i->history_count - 1];
    str_replace(&h->comment, comment);
    str_replace(&h->author, i->author);
    str_replace(&i->created, now);
}

/* ---- the whole
 * -------------------------------------------------------------------------------------------------------------
 */

static struct error *name_image(struct commit *c, const struct descriptor *target)
{
    CLEANUP(map_deinit) struct map labels = { 0 };
    CLEANUP(freep) char *dangling = xasprintf("moby-dangling@%s", target->digest.s);

    strmap_init(&labels);
    if (c->parts.image_id != NULL && *c->parts.image_id != '\0')
        strmap_set(&labels, IMAGE_LABEL_PARENT, c->parts.image_id);
    TRY(image_put_labelled(c->engine->store, dangling, target, &labels));
    images_event(c->engine, "create", target->digest.s, NULL);
    return c->name == NULL ? NULL : images_tag(c->engine, target->digest.s, c->name, NULL);
}

static struct error *write_image(struct commit *c, struct digest *ret)
{
    CLEANUP(descriptor_deinit) struct descriptor target = { 0 };
    const struct commit_request *r = c->request;

    TRY(images_put(c->engine, c->lease, &c->image, c->files, &target));
    TRY(name_image(c, &target));
    *ret = target.digest;
    container_event(c->container, "commit", "comment", r->comment != NULL ? r->comment : "", "imageID",
                    ret->s, "imageRef", c->name != NULL ? c->name : "", NULL);
    return NULL;
}

static struct error *commit(struct commit *c, struct digest *ret)
{
    struct digest changes;
    json_t *config;
    bool empty;

    TRY(lease_open(c->engine->store, &c->lease));
    TRY(make_config(c, &config));
    struct error *e = load_base(c);
    if (e != NULL) {
        json_decref(config);
        return e;
    }
    TRY(set_config(c, config));
    TRY(take_changes(c, &changes));
    TRY(make_files(c, &changes, &empty));
    add_history(c, empty);
    return write_image(c, ret);
}

/* A name that cannot be is refused before anything is done; a tag takes the place of the name's own. */
static struct error *set_name(struct commit *c)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    const struct commit_request *r = c->request;

    if (r->repository == NULL || *r->repository == '\0')
        return NULL;
    TRY(reference_parse(r->repository, &ref));
    if (ref.digest != NULL)
        return err_new(ERR_INVALID, "cannot import digest reference");
    if (r->tag != NULL && *r->tag != '\0') {
        if (!reference_tag_valid(r->tag))
            return err_new(ERR_INVALID, "invalid tag format");
        str_replace(&ref.tag, r->tag);
    }
    reference_add_default_tag(&ref);
    c->name = reference_familiar(&ref);
    return NULL;
}

struct error *engine_commit(struct engine *e, struct container *ct, const struct commit_request *r,
                            struct digest *ret)
{
    CLEANUP(commit_deinit) struct commit c = { .engine = e, .container = ct, .request = r, .tar_fd = -1 };
    struct deadline shield;
    bool held = false;

    df_image_init(&c.image);
    TRY(set_name(&c));
    TRY(container_get_parts(ct, &c.parts));
    if (r->pause && container_is_running(ct)) {
        struct error *failure = container_pause(ct, true);

        held = failure == NULL;
        err_free(failure); /* it is paused already, or has ended */
    }
    struct error *failure = commit(&c, ret);
    if (held) {
        shield_begin(&shield, 10 * NS_PER_SEC);
        log_err(LOG_WARN, container_pause(ct, false), "cannot unpause a container after its commit");
        shield_end(&shield);
    }
    return failure;
}
