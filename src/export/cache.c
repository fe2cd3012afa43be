/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c - build caches that leave the house: who asked for which, and one export from begin to end */
#include "export/cache_impl.h"

#include "base/bytes.h"
#include "oci/gojson.h"

static struct error *flag(const struct map *attrs, const char *key, bool *ret)
{
    const char *v = strmap_get(attrs, key);

    if (v != NULL && parse_bool(v, ret) < 0)
        return err_new(ERR_INVALID, "failed to parse %s: strconv.ParseBool: parsing \"%s\": invalid syntax",
                       key, v);
    return NULL;
}

static struct error *parse_target(const struct map *attrs, struct cache_exporter *e)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    const char *name = strmap_get(attrs, "ref"), *dest = strmap_get(attrs, "dest");

    if (streq(e->type, "local")) {
        if (dest == NULL || dest[0] == '\0')
            return err_new(ERR_INVALID, "local cache exporter requires dest");
        e->dest = xstrdup(dest);
        return NULL;
    }
    if (name == NULL || name[0] == '\0')
        return err_new(ERR_INVALID, "missing ref");
    TRY(reference_parse(name, &ref));
    reference_add_default_tag(&ref);
    e->ref = reference_string(&ref);
    return NULL;
}

static struct error *parse_attrs(const struct map *attrs, struct cache_exporter *e)
{
    const char *mode = strmap_get(attrs, "mode"), *ignore = strmap_get(attrs, "ignore-error");

    e->max = mode != NULL && streq(mode, "max"); /* anything else is min */
    if (ignore != NULL && parse_bool(ignore, &e->ignore_error) < 0)
        e->ignore_error = false;
    e->oci_types = true;
    e->format = (struct layer_format){ .kind = COMPRESSION_GZIP, .level = -1 };
    if (streq(e->type, "inline"))
        return NULL;
    TRY(layer_format_parse(attrs, &e->format));
    TRY(parse_target(attrs, e));
    TRY(flag(attrs, "oci-mediatypes", &e->oci_types));
    e->image_manifest = e->oci_types;
    TRY(flag(attrs, "image-manifest", &e->image_manifest));
    return flag(attrs, "registry.insecure", &e->insecure);
}

struct error *cache_exporter_resolve(const char *type, const struct map *attrs, struct cache_exporter **ret)
{
    static const char *const types[] = { "registry", "local", "inline" };

    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (!streq(types[i], type))
            continue;
        struct cache_exporter *e = NEW(struct cache_exporter);

        e->type = types[i];
        struct error *err = parse_attrs(attrs, e);

        if (err != NULL) {
            cache_exporter_free(e);
            return export_err(err_wrap(err, "failed to configure %s cache exporter", type));
        }
        *ret = e;
        return NULL;
    }
    return err_new(ERR_UNKNOWN, "unknown cache exporter: \"%s\"", type);
}

void cache_exporter_free(struct cache_exporter *e)
{
    if (e == NULL)
        return;
    free(e->ref);
    free(e->dest);
    free(e);
}

bool cache_exporter_is_inline(const struct cache_exporter *e)
{
    return streq(e->type, "inline");
}

void cache_source_deinit(struct cache_source *s)
{
    cache_steps_deinit(&s->steps);
    free(s->heads);
    *s = (struct cache_source){ 0 };
}

/* ---- one export
 * --------------------------------------------------------------------------------------------------------------
 */

static struct error *send_cache(struct cache_parcel *p, struct map *response)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    if (p->config.layer_count == 0) {
        reporter_status(p->reporter, "skipping cache export for empty result", "", 0, 0, true);
        return NULL;
    }
    TRY(cache_parcel_send(p));
    json_t *j = descriptor_to_json(&p->manifest);

    go_json(&text, j, NULL, false);
    json_decref(j);
    strmap_set(response, "cache.manifest", buf_str(&text));
    return NULL;
}

static struct error *export_all(struct cache_parcel *p, const struct cache_source *src, struct map *response)
{
    static const char first[] = "preparing build cache for export", second[] = "sending cache export";
    struct error *e;

    reporter_status(p->reporter, first, "", 0, 0, false);
    e = cache_parcel_pack(p, src);
    reporter_status(p->reporter, first, "", 0, 0, true);
    TRY(e);
    reporter_status(p->reporter, second, "", 0, 0, false);
    e = send_cache(p, response);
    reporter_status(p->reporter, second, "", 0, 0, true);
    return e;
}

struct error *cache_export(const struct cache_exporter *e, const struct export_context *c,
                           const struct cache_source *src, struct map *response)
{
    CLEANUP(cache_parcel_deinit) struct cache_parcel p = { .exporter = e, .context = c };
    CLEANUP(freep) char *id = xasprintf("%s-cache-%d", c->build_ref, c->index);
    struct digest d = digest_of(id, strlen(id));
    struct error *err = lease_open(c->store, &p.lease);

    p.reporter =
        reporter_new(c->progress, d.s,
                     e->ref != NULL ? "exporting cache to registry" : "exporting cache to client directory");
    reporter_start(p.reporter);
    if (err == NULL)
        err = export_all(&p, src, response);
    lease_close(p.lease);
    reporter_complete(p.reporter, err);
    reporter_free(p.reporter);
    if (err == NULL || !e->ignore_error || err_is(err, ERR_CANCELLED))
        return export_err(err);
    err_free(err);
    return NULL;
}
