/* SPDX-License-Identifier: Apache-2.0 */
/* image.c - exporters image and moby: a name in the image store, and in registries */
#include "export/internal.h"

#include "base/bytes.h"
#include "oci/reference.h"

struct error *image_exporter_check(struct exporter *e)
{
    if (streq(e->kind->type, "moby")) { /* what dockerd fills in */
        if (!map_has(&e->attrs, "dangling-name-prefix"))
            strmap_set(&e->attrs, "dangling-name-prefix", "moby-dangling");
        if (!map_has(&e->attrs, "danging-name-empty-only"))
            strmap_set(&e->attrs, "danging-name-empty-only", "true");
        if (!map_has(&e->attrs, "unpack"))
            strmap_set(&e->attrs, "unpack", "true");
    }
    return NULL;
}

/* Canonical names of the comma list, without duplicates; `bare`: as they are, without a tag. */
static struct error *parse_names(const char *list, bool bare, struct strv *ret)
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
        if (!bare)
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

static struct error *name_result(struct exporter *e, const struct export_context *c, const struct strv *names,
                                 const struct committed_image *image, struct vertex_reporter *r)
{
    const char *prefix = strmap_get(&e->attrs, "dangling-name-prefix");
    CLEANUP(descriptor_deinit) struct descriptor target = { 0 };

    stored_target(image, &target);
    for (size_t i = 0; i < names->len; i++) {

        TRY(put_name(c, names->v[i], &target, r));
        if (exporter_flag(e, "name-canonical", false)) {
            CLEANUP(reference_deinit) struct reference ref = { 0 };
            CLEANUP(freep) char *canonical = NULL;

            TRY(reference_parse(names->v[i], &ref));
            canonical = xasprintf("%s/%s@%s", ref.domain, ref.path, target.digest.s);
            TRY(put_name(c, canonical, &target, r));
        }
    }
    if (prefix != NULL && (names->len == 0 || !exporter_flag(e, "danging-name-empty-only", false))) {
        CLEANUP(freep) char *dangling = xasprintf("%s@%s", prefix, target.digest.s);
        TRY(put_name(c, dangling, &target, r));
    }
    return NULL;
}

/* What names the result: the attribute; "*" is what the frontend says in image.name. */
static struct error *result_names(const struct exporter *e, const struct export_source *src, struct strv *ret)
{
    const char *list = strmap_get(&e->attrs, "name");
    const struct frontend_metadata *m = frontend_result_metadata(src->result, "image.name");
    CLEANUP(freep) char *meta = m == NULL ? NULL : xstrndup(m->value, m->len);

    if (list != NULL && streq(list, "*") && meta != NULL)
        list = meta;
    return parse_names(list, exporter_flag(e, "push-by-digest", false), ret);
}

static struct error *export_image(struct exporter *e, const struct export_context *c,
                                  const struct export_source *src, struct lease *lease,
                                  struct vertex_reporter *r, struct map *response)
{
    CLEANUP(committed_image_deinit) struct committed_image image = { 0 };
    CLEANUP(strv_deinit) struct strv names = { 0 };

    TRY(result_names(e, src, &names));
    TRY(image_commit(e, c, src, &names, lease, r, &image));
    if (c->names_images && exporter_flag(e, "store", true))
        TRY(name_result(e, c, &names, &image, r));
    if (names.len > 0) {
        CLEANUP(freep) char *joined = strv_join(&names, ",");

        strmap_set(response, "image.name", joined);
    }
    image_response(&image, -1, response);
    return exporter_flag(e, "push", false) ? image_push(e, c, &names, &image, r) : NULL;
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
