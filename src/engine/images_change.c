/* SPDX-License-Identifier: Apache-2.0 */
/* images_change.c - tag, delete, prune, with docker's rules about what is still in use */
#include "engine/images.h"

#include "base/bytes.h"
#include "engine/containers.h"
#include "oci/reference.h"

#define SHORT_ID 12

static char *familiar(const char *name)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    struct error *e = reference_parse(name, &r);

    if (e != NULL) {
        err_free(e);
        return xstrdup(name);
    }
    return reference_familiar(&r);
}

void images_event(struct engine *e, const char *action, const char *id, const char *name)
{
    CLEANUP(map_deinit) struct map attributes = { 0 };
    CLEANUP(freep) char *shown = name == NULL ? xstrdup(id) : familiar(name);

    strmap_init(&attributes);
    strmap_set(&attributes, "name", shown);
    events_publish(e->events, "image", action, id, &attributes);
}

/* ---- tag
 * --------------------------------------------------------------------------------------------------------------------
 */

struct error *images_tag(struct engine *e, const char *what, const char *repository, const char *tag)
{
    CLEANUP(image_match_deinit) struct image_match m = { 0 };
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(freep)
    char *full = tag != NULL && tag[0] != '\0' ? xasprintf("%s:%s", repository, tag) : xstrdup(repository);
    CLEANUP(freep) char *name = NULL;
    CLEANUP(map_deinit) struct map labels = { 0 };

    TRY(reference_parse(full, &r));
    if (r.digest != NULL)
        return err_new(ERR_INVALID, "refusing to create a tag with a digest reference");
    reference_add_default_tag(&r);
    TRY(images_find(e, what, &m));
    name = reference_string(&r);
    strmap_init(&labels);
    TRY(images_labels(e, &m.target.digest, &labels));
    TRY(image_put_labelled(e->store, name, &m.target, &labels));
    for (size_t i = 0; i < m.names.len; i++) {
        if (images_is_dangling_name(m.names.v[i]))
            TRY(image_remove(e->store, m.names.v[i])); /* it has a real name now */
    }
    images_event(e, "tag", m.target.digest.s, name);
    return NULL;
}

/* ---- delete
 * -------------------------------------------------------------------------------------------------------------------
 */

static struct error *conflict(const char *reference, bool hard, const char *fmt, const char *container,
                              const char *image)
{
    CLEANUP(freep) char *message = NULL;

    if (fmt == NULL)
        message = xstrdup("image is referenced in multiple repositories");
    else
        message = xasprintf("%s %.*s is using its referenced image %.*s", fmt, SHORT_ID, container, SHORT_ID,
                            image);
    return err_new(ERR_CONFLICT, "conflict: unable to delete %s (%s) - %s", reference,
                   hard ? "cannot be forced" : "must be forced", message);
}

/* May the image with that digest go altogether?  `by_id`: several names are a (soft) conflict. */
static struct error *check_unused(struct engine *e, const struct image_match *m, const char *shown,
                                  bool by_id, bool force)
{
    CLEANUP(strv_deinit) struct strv users = { 0 };
    const char *hex = digest_hex(&m->target.digest);
    size_t real = 0;

    engine_containers_of_image(e, &m->target.digest, &users);
    if (users.len > 0 && by_id && engine_image_is_running(e, &m->target.digest))
        return err_new(ERR_CONFLICT,
                       "conflict: unable to delete %.*s (cannot be forced) - image is being used by running "
                       "container %.*s",
                       SHORT_ID, hex, SHORT_ID, users.v[0]);
    if (force)
        return NULL;
    if (users.len > 0 && by_id)
        return err_new(ERR_CONFLICT,
                       "conflict: unable to delete %.*s (must be forced) - image is being used by stopped "
                       "container %.*s",
                       SHORT_ID, hex, SHORT_ID, users.v[0]);
    if (users.len > 0)
        return conflict(shown, false, "container", users.v[0], hex);
    for (size_t i = 0; i < m->names.len; i++)
        real += images_is_dangling_name(m->names.v[i]) ? 0 : 1;
    if (by_id && real > 1) {
        CLEANUP(freep) char *short_id = xstrndup(hex, SHORT_ID);
        return conflict(short_id, false, NULL, NULL, NULL);
    }
    return NULL;
}

static struct error *untag(struct engine *e, const struct image_match *m, const char *name, json_t *out)
{
    CLEANUP(freep) char *shown = familiar(name);

    TRY(image_remove(e->store, name));
    if (images_is_dangling_name(name))
        return NULL;
    json_array_append_new(out, json_pack("{s:s}", "Untagged", shown));
    images_event(e, "untag", m->target.digest.s, name);
    return NULL;
}

static struct error *delete_names(struct engine *e, const struct image_match *m, json_t *out)
{
    for (size_t i = 0; i < m->names.len; i++)
        TRY(untag(e, m, m->names.v[i], out));
    json_array_append_new(out, json_pack("{s:s}", "Deleted", m->target.digest.s));
    images_event(e, "delete", m->target.digest.s, NULL);
    return NULL;
}

static struct error *has_children(struct engine *e, const struct digest *parent, bool *ret)
{
    struct image_record *v = NULL;
    size_t n = 0;

    *ret = false;
    TRY(image_list(e->store, &v, &n));
    for (size_t i = 0; i < n; i++) {
        const char *p = strmap_get(&v[i].labels, IMAGE_LABEL_PARENT);

        *ret = *ret || (p != NULL && streq(p, parent->s));
        image_record_deinit(&v[i]);
    }
    free(v);
    return NULL;
}

/* May this image go because the last one made from it went?  Unnamed, not used, no other child. */
static struct error *is_leftover(struct engine *e, const struct image_match *m, bool *ret)
{
    CLEANUP(strv_deinit) struct strv users = { 0 };

    *ret = false;
    for (size_t i = 0; i < m->names.len; i++) {
        if (!images_is_dangling_name(m->names.v[i]))
            return NULL;
    }
    engine_containers_of_image(e, &m->target.digest, &users);
    if (users.len > 0)
        return NULL;
    TRY(has_children(e, &m->target.digest, ret));
    *ret = !*ret;
    return NULL;
}

/* The images of earlier steps, from the last one down, as far as nothing else needs them. */
static struct error *delete_parents(struct engine *e, const char *first, json_t *out)
{
    CLEANUP(freep) char *next = xstrdup(first);

    while (next != NULL) {
        CLEANUP(image_match_deinit) struct image_match m = { 0 };
        CLEANUP(map_deinit) struct map labels = { 0 };
        struct error *err = images_find(e, next, &m);
        bool leftover;

        if (err_is(err, ERR_NOT_FOUND)) {
            err_free(err);
            return NULL;
        }
        TRY(err);
        TRY(is_leftover(e, &m, &leftover));
        if (!leftover)
            return NULL;
        strmap_init(&labels);
        TRY(images_labels(e, &m.target.digest, &labels));
        TRY(delete_names(e, &m, out));
        free(next);
        next = xstrdup(strmap_get(&labels, IMAGE_LABEL_PARENT));
    }
    return NULL;
}

static struct error *delete_all(struct engine *e, const struct image_match *m, bool prune, json_t *out)
{
    CLEANUP(map_deinit) struct map labels = { 0 };

    strmap_init(&labels);
    TRY(images_labels(e, &m->target.digest, &labels));
    TRY(delete_names(e, m, out));
    if (prune)
        TRY(delete_parents(e, strmap_get(&labels, IMAGE_LABEL_PARENT), out));
    return store_collect(e->store, NULL);
}

/* A name of an image that containers still use, by force: only the name goes, the content stays under a
 * dangling one. */
static struct error *soft_delete(struct engine *e, const struct image_match *m, json_t *out)
{
    CLEANUP(freep) char *dangling = xasprintf("moby-dangling@%s", m->target.digest.s);
    CLEANUP(map_deinit) struct map labels = { 0 };

    strmap_init(&labels);
    TRY(images_labels(e, &m->target.digest, &labels));
    TRY(image_put_labelled(e->store, dangling, &m->target, &labels));
    return untag(e, m, m->name, out);
}

static struct error *delete_match(struct engine *e, const char *what, const struct image_match *m, bool force,
                                  bool prune, json_t *out)
{
    bool by_id = m->name == NULL;
    CLEANUP(freep) char *shown = familiar(by_id ? what : m->name);
    CLEANUP(strv_deinit) struct strv users = { 0 };

    if (!by_id && m->names.len > 1)
        return untag(e, m, m->name, out);
    TRY(check_unused(e, m, shown, by_id, force));
    engine_containers_of_image(e, &m->target.digest, &users);
    if (users.len > 0 && !by_id)
        return soft_delete(e, m, out);
    return delete_all(e, m, prune, out);
}

struct error *images_delete(struct engine *e, const char *what, bool force, bool prune, json_t **ret)
{
    CLEANUP(image_match_deinit) struct image_match m = { 0 };
    json_t *out;
    struct error *err;

    TRY(images_find(e, what, &m));
    out = json_array();
    err = delete_match(e, what, &m, force, prune, out);
    if (err != NULL) {
        json_decref(out);
        return err;
    }
    *ret = out;
    return NULL;
}

/* ---- prune
 * ----------------------------------------------------------------------------------------------------------------------
 */

static struct error *prune_one(struct engine *e, const json_t *image, bool dangling_only, json_t *out)
{
    const char *id = json_string_value(json_object_get(image, "Id"));
    CLEANUP(image_match_deinit) struct image_match m = { 0 };
    CLEANUP(strv_deinit) struct strv users = { 0 };
    struct error *err = images_find(e, id, &m);

    if (err_is(err, ERR_NOT_FOUND)) { /* gone meanwhile */
        err_free(err);
        return NULL;
    }
    TRY(err);
    if (dangling_only && json_array_size(json_object_get(image, "RepoTags")) > 0)
        return NULL;
    engine_containers_of_image(e, &m.target.digest, &users);
    return users.len > 0 ? NULL : delete_all(e, &m, true, out);
}

struct error *images_prune(struct engine *e, bool dangling_only, const struct image_filters *f,
                           json_t **ret_deleted, int64_t *ret_bytes)
{
    json_t *images, *image, *out;
    struct error *err = NULL;
    int64_t bytes = 0;
    size_t i;

    TRY(images_list(e, f, &(struct image_list_options){ .version = 56 }, &images));
    out = json_array();
    json_array_foreach(images, i, image)
    {
        size_t before = json_array_size(out);
        if (err == NULL)
            err = prune_one(e, image, dangling_only, out);
        if (json_array_size(out) > before)
            bytes += json_integer_value(json_object_get(image, "Size"));
    }
    json_decref(images);
    if (err != NULL) {
        json_decref(out);
        return err;
    }
    *ret_deleted = out;
    *ret_bytes = bytes;
    return NULL;
}
