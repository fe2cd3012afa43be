/* SPDX-License-Identifier: Apache-2.0 */
/* image.c - exporters image and moby: a name in the image store */
#include "export/internal.h"

#include "oci/reference.h"

struct error *image_exporter_check(struct exporter *e)
{
    const char *compression = strmap_get(&e->attrs, "compression");

    if (streq(e->kind->type, "moby")) { /* what dockerd fills in */
        if (!map_has(&e->attrs, "dangling-name-prefix"))
            strmap_set(&e->attrs, "dangling-name-prefix", "moby-dangling");
        if (!map_has(&e->attrs, "danging-name-empty-only"))
            strmap_set(&e->attrs, "danging-name-empty-only", "true");
        if (!map_has(&e->attrs, "unpack"))
            strmap_set(&e->attrs, "unpack", "true");
    }
    if (exporter_flag(e, "push", false) || exporter_flag(e, "push-by-digest", false))
        return err_new(ERR_UNIMPLEMENTED, "pushing to a registry is not supported yet");
    if (compression != NULL && !streq(compression, "uncompressed") &&
        exporter_flag(e, "force-compression", false))
        return err_new(ERR_UNIMPLEMENTED,
                       "compression=%s of stored layers is not supported: the store keeps them uncompressed",
                       compression);
    if (exporter_flag(e, "rewrite-timestamp", false))
        return err_new(ERR_UNIMPLEMENTED, "rewrite-timestamp is not supported yet");
    return NULL;
}

/* Canonical names of the comma list, without duplicates. */
static struct error *parse_names(const char *list, struct strv *ret)
{
    CLEANUP(strv_deinit) struct strv parts = { 0 };

    if (list == NULL || list[0] == '\0')
        return NULL;
    strv_split(&parts, list, ',');
    for (size_t i = 0; i < parts.len; i++) {
        CLEANUP(reference_deinit) struct reference r = { 0 };
        CLEANUP(freep) char *name = NULL;
        if (parts.v[i][0] == '\0')
            continue;
        TRY(err_wrap(reference_parse(parts.v[i], &r), "failed to parse %s", parts.v[i]));
        if (r.digest != NULL)
            return err_new(ERR_INVALID, "build tag cannot contain a digest");
        reference_add_default_tag(&r);
        name = reference_string(&r);
        if (!strv_has(ret, name))
            strv_add(ret, name);
    }
    return NULL;
}

static struct error *put_name(const struct export_context *c, const char *name,
                              const struct descriptor *target, struct vertex_reporter *r)
{
    CLEANUP(freep) char *row = xasprintf("naming to %s", name);
    struct error *e;

    reporter_status(r, row, "", 0, 0, false);
    e = image_put(c->store, name, target);
    reporter_status(r, row, "", 0, 0, true);
    if (e == NULL && c->named != NULL)
        c->named(c->ctx, name, target);
    return e;
}

/* What the store keeps: without the annotations of this one export. */
static void stored_target(const struct committed_image *i, struct descriptor *ret)
{
    descriptor_init(ret, i->target.media_type, &i->target.digest, i->target.size);
}

/* A name that a build moves leaves the old image behind; unless another name still points to it, it stays as
 * a dangling one. */
static struct error *keep_replaced(const struct exporter *e, const struct export_context *c, const char *name,
                                   const struct descriptor *next)
{
    const char *prefix = strmap_get(&e->attrs, "dangling-name-prefix");
    struct image_record old = { 0 };
    struct image_record *others = NULL;
    CLEANUP(freep) char *dangling = NULL;
    size_t n = 0;
    struct error *err;

    if (prefix == NULL)
        return NULL;
    err = image_get(c->store, name, &old);
    if (err_is(err, ERR_NOT_FOUND)) {
        err_free(err);
        return NULL;
    }
    TRY(err);
    if (!digest_eq(&old.target.digest, &next->digest)) {
        err = image_list_by_target(c->store, &old.target.digest, &others, &n);
        dangling = xasprintf("%s@%s", prefix, old.target.digest.s);
        if (err == NULL && n == 1)
            err = image_put(c->store, dangling, &old.target);
    }
    for (size_t i = 0; i < n; i++)
        image_record_deinit(&others[i]);
    free(others);
    image_record_deinit(&old);
    return err;
}

static struct error *name_result(struct exporter *e, const struct export_context *c,
                                 const struct committed_image *image, struct vertex_reporter *r,
                                 struct map *response)
{
    const char *list = strmap_get(&e->attrs, "name"), *prefix = strmap_get(&e->attrs, "dangling-name-prefix");
    CLEANUP(strv_deinit) struct strv names = { 0 };
    CLEANUP(descriptor_deinit) struct descriptor target = { 0 };
    CLEANUP(freep) char *joined = NULL;

    stored_target(image, &target);
    TRY(parse_names(list, &names));
    if (!exporter_flag(e, "store", true))
        return NULL;
    for (size_t i = 0; i < names.len; i++) {
        TRY(keep_replaced(e, c, names.v[i], &target));
        TRY(put_name(c, names.v[i], &target, r));
        if (exporter_flag(e, "name-canonical", false)) {
            CLEANUP(freep)
            char *canonical = xasprintf("%.*s@%s", (int)(strrchr(names.v[i], ':') - names.v[i]), names.v[i],
                                        target.digest.s);
            TRY(put_name(c, canonical, &target, r));
        }
    }
    if (names.len == 0 && prefix != NULL) {
        CLEANUP(freep) char *dangling = xasprintf("%s@%s", prefix, target.digest.s);
        TRY(put_name(c, dangling, &target, r));
    }
    if (names.len > 0) {
        joined = strv_join(&names, ",");
        strmap_set(response, "image.name", joined);
    }
    return NULL;
}

static struct error *export_image(struct exporter *e, const struct export_context *c,
                                  const struct export_source *src, struct lease *lease,
                                  struct vertex_reporter *r, struct map *response)
{
    CLEANUP(committed_image_deinit) struct committed_image image = { 0 };

    TRY(image_commit(e, c, src, lease, r, &image));
    TRY(name_result(e, c, &image, r, response));
    image_response(&image, response);
    return NULL;
}

struct error *image_exporter_run(struct exporter *e, const struct export_context *c,
                                 const struct export_source *src, struct map *response)
{
    struct vertex_reporter *r = export_reporter(c, "exporting to image");
    struct lease *lease = NULL;
    struct error *err = lease_open(c->store, &lease);

    if (err == NULL)
        err = export_image(e, c, src, lease, r, response);
    lease_close(lease);
    reporter_complete(r, err);
    reporter_free(r);
    return err;
}
