/* SPDX-License-Identifier: Apache-2.0 */
/* classic_image.c - images of a classic build: those it starts from, and one for every step */
#include "engine/classic_impl.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"

/* Of a tar without entries: a step that left the files alone has no layer. */
#define EMPTY_LAYER "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"

void classic_image_init(struct classic_image *i)
{
    *i = (struct classic_image){ 0 };
    df_image_init(&i->config);
}

void classic_image_deinit(struct classic_image *i)
{
    snapshot_unref(i->snapshot);
    df_image_deinit(&i->config);
    *i = (struct classic_image){ 0 };
}

void classic_image_copy(struct classic_image *dst, const struct classic_image *src)
{
    struct snapshot *old = dst->snapshot;

    dst->id = src->id;
    dst->snapshot = src->snapshot == NULL ? NULL : snapshot_ref(src->snapshot);
    snapshot_unref(old);
    df_image_copy(&dst->config, &src->config);
}

/* ---- finding
 * -------------------------------------------------------------------------------------------------------------
 */

static struct error *load(struct classic *c, const char *name, const struct platform *platform,
                          struct classic_image *ret)
{
    CLEANUP(image_match_deinit) struct image_match match = { 0 };
    CLEANUP(image_variant_deinit) struct image_variant variant = { 0 };
    CLEANUP(buf_deinit) struct buf config = { 0 };
    struct engine *e = c->engine;

    TRY(images_find(e, name, &match));
    TRY(images_variant(e, &match.target, platform, &variant));
    TRY(images_snapshot(e, &variant, &ret->snapshot));
    TRY(blob_read(e->store, &variant.manifest.config.digest, LIMIT_MANIFEST, &config));
    TRY(df_image_parse(config.data, config.len, &ret->config));
    ret->id = match.target.digest;
    lease_add_blob(c->lease, &ret->id);
    lease_add_blob(c->lease, &variant.descriptor.digest);
    lease_add_blob(c->lease, &variant.manifest.config.digest);
    return NULL;
}

/* Credentials for the registry that `name` is at, as docker's client keys them. */
static const json_t *auth_for(const struct classic *c, const char *name)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(freep) char *https = NULL;
    struct error *e = reference_parse(name, &r);
    const json_t *found;

    if (e != NULL) {
        err_free(e);
        return NULL;
    }
    if (streq(r.domain, "docker.io")) {
        found = json_object_get(c->o->auths, "https://index.docker.io/v1/");
        return found != NULL ? found : json_object_get(c->o->auths, "docker.io");
    }
    found = json_object_get(c->o->auths, r.domain);
    https = xasprintf("https://%s", r.domain);
    return found != NULL ? found : json_object_get(c->o->auths, https);
}

struct error *classic_image_get(struct classic *c, const char *name, bool pull,
                                const struct platform *platform, struct classic_image *ret)
{
    struct image_progress progress = { .line = c->out->line, .ctx = c->out->ctx };
    CLEANUP(freep) char *other = NULL;
    struct error *e = NULL;

    if (pull)
        TRY(builder_apply_image_policy(c->engine->builder, name, &other));
    if (other != NULL)
        name = other;

    if (!pull || !c->o->pull) {
        e = load(c, name, platform, ret);
        if (!pull || !err_is(e, ERR_NOT_FOUND))
            return e;
        err_free(e);
        classic_image_deinit(ret);
        classic_image_init(ret);
    }
    TRY(images_pull(c->engine, name, platform, auth_for(c, name), &progress));
    return load(c, name, platform, ret);
}

/* ---- steps done before
 * ---------------------------------------------------------------------------------------------------- */

static bool label_is(const struct image_record *r, const char *key, const char *value)
{
    const char *have = strmap_get(&r->labels, key);

    return have != NULL && streq(have, value);
}

/* The newest image made from `parent` ("": from nothing) by a step with that config. */
static struct error *find_step(struct classic *c, const struct digest *parent, const struct digest *config,
                               struct digest *ret)
{
    struct image_record *v = NULL;
    int64_t newest = 0;
    size_t n = 0;

    ret->s[0] = '\0';
    TRY(image_list(c->engine->store, &v, &n));
    for (size_t i = 0; i < n; i++) {
        bool from = parent->s[0] == '\0' ? label_is(&v[i], CLASSIC_FROM_SCRATCH, "1")
                                         : label_is(&v[i], IMAGE_LABEL_PARENT, parent->s);

        if (from && label_is(&v[i], CLASSIC_CONFIG, config->s) && v[i].created_ns >= newest) {
            newest = v[i].created_ns;
            *ret = v[i].target.digest;
        }
        image_record_deinit(&v[i]);
    }
    free(v);
    return NULL;
}

static struct error *take_over(struct classic *c, struct classic_stage *s, const struct digest *id,
                               bool *ret_hit)
{
    struct classic_image found;
    struct error *e;

    classic_image_init(&found);
    e = load(c, id->s, NULL, &found);
    *ret_hit = e == NULL;
    if (e == NULL) {
        classic_image_deinit(&s->image);
        s->image = found;
        return classic_say(c, " ---> Using cache\n");
    }
    classic_image_deinit(&found);
    if (e->kind != ERR_NOT_FOUND && e->kind != ERR_INVALID)
        return e;
    err_free(e); /* not whole any more: the step is done again */
    return NULL;
}

/* ---- --cache-from: an image that went the same way has the next step's layer too */

struct error *classic_image_sources(struct classic *c)
{
    c->sources = xcalloc(c->o->cache_from.len + 1, sizeof(*c->sources));
    for (size_t i = 0; i < c->o->cache_from.len; i++) {
        struct classic_image *at = &c->sources[c->source_count];
        struct error *e;

        classic_image_init(at);
        e = load(c, c->o->cache_from.v[i], NULL, at);
        if (e == NULL) {
            c->source_count++;
            continue;
        }
        classic_image_deinit(at);
        if (err_is(e, ERR_CANCELLED))
            return e;
        log_err(LOG_WARN, e, "cache-from is skipped");
    }
    return NULL;
}

static bool same_row(const struct df_history *a, const struct df_history *b)
{
    const char *x = a->created_by == NULL ? "" : a->created_by,
               *y = b->created_by == NULL ? "" : b->created_by;
    const char *t = a->created == NULL ? "" : a->created, *u = b->created == NULL ? "" : b->created;

    return streq(x, y) && streq(t, u) && a->empty_layer == b->empty_layer;
}

/* Did `source` begin as the stage's image is now, and go on with this step? */
static bool goes_on(const struct classic_image *source, const struct classic_image *now,
                    const char *created_by)
{
    const struct df_image *a = &source->config, *b = &now->config;
    size_t rows = now->id.s[0] == '\0' ? 0 : b->history_count;

    if (rows >= a->history_count || (now->id.s[0] != '\0' && b->diff_ids.len > a->diff_ids.len))
        return false;
    for (size_t i = 0; i < rows; i++) {
        if (!same_row(&a->history[i], &b->history[i]))
            return false;
    }
    for (size_t i = 0; now->id.s[0] != '\0' && i < b->diff_ids.len; i++) {
        if (!streq(a->diff_ids.v[i], b->diff_ids.v[i]))
            return false;
    }
    return a->history[rows].created_by != NULL && streq(a->history[rows].created_by, created_by);
}

static struct error *commit(struct classic *c, struct classic_stage *s, struct snapshot *files,
                            const struct digest *config, const struct df_history *row);

static struct error *probe_sources(struct classic *c, struct classic_stage *s, const struct digest *config,
                                   const char *created_by, bool *ret_hit)
{
    for (size_t i = 0; i < c->source_count; i++) {
        CLEANUP(snapshot_unrefp) struct snapshot *files = NULL;
        const struct classic_image *source = &c->sources[i];
        const struct df_history *row;
        size_t layers = s->image.snapshot == NULL ? 0 : snapshot_layer_count(s->image.snapshot);

        if (!goes_on(source, &s->image, created_by))
            continue;
        row = &source->config.history[s->image.id.s[0] == '\0' ? 0 : s->image.config.history_count];
        if (!row->empty_layer && layers >= snapshot_layer_count(source->snapshot))
            continue;
        *ret_hit = true;
        TRY(classic_say(c, " ---> Using cache\n"));
        if (!row->empty_layer)
            TRY(snapshot_prefix(source->snapshot, layers + 1, &files));
        return commit(c, s, files, config, row);
    }
    return NULL;
}

struct error *classic_image_probe(struct classic *c, struct classic_stage *s, const struct digest *config,
                                  const char *created_by, bool *ret_hit)
{
    struct digest id;

    *ret_hit = false;
    if (c->o->no_cache)
        return NULL;
    TRY(find_step(c, &s->image.id, config, &id));
    if (id.s[0] != '\0')
        TRY(take_over(c, s, &id, ret_hit));
    return *ret_hit ? NULL : probe_sources(c, s, config, created_by, ret_hit);
}

/* ---- a step's image
 * ------------------------------------------------------------------------------------------------------- */

static struct error *name_step(struct classic *c, const struct descriptor *target,
                               const struct digest *parent, const struct digest *config)
{
    CLEANUP(map_deinit) struct map labels = { 0 };
    CLEANUP(freep) char *name = xasprintf("moby-dangling@%s", target->digest.s);

    strmap_init(&labels);
    if (parent->s[0] != '\0')
        strmap_set(&labels, IMAGE_LABEL_PARENT, parent->s);
    else
        strmap_set(&labels, CLASSIC_FROM_SCRATCH, "1");
    strmap_set(&labels, CLASSIC_CONFIG, config->s);
    TRY(image_put_labelled(c->engine->store, name, target, &labels));
    images_event(c->engine, "create", target->digest.s, NULL);
    return NULL;
}

static void add_row(struct classic_stage *s, const char *created_by, const char *created, bool empty)
{
    struct df_image *i = &s->image.config;

    df_image_add_history(i, xstrdup(created_by), empty, created);
    struct df_history *h = &i->history[i->history_count - 1];

    str_replace(&h->comment, NULL);
    if (i->author != NULL && *i->author != '\0')
        str_replace(&h->author, i->author);
    str_replace(&i->created, created);
}

/* `files` NULL: the step left them alone. */
static struct error *commit(struct classic *c, struct classic_stage *s, struct snapshot *files,
                            const struct digest *config, const struct df_history *row)
{
    CLEANUP(descriptor_deinit) struct descriptor target = { 0 };
    struct df_image *i = &s->image.config;

    if (s->maintainer != NULL)
        str_replace(&i->author, s->maintainer);
    if (i->rootfs_type == NULL)
        i->rootfs_type = xstrdup("layers");
    if (!platform_is_set(&i->platform))
        platform_copy(&i->platform, classic_platform(c, s));
    add_row(s, row->created_by, row->created, files == NULL);
    if (files != NULL) {
        snapshot_unref(s->image.snapshot);
        s->image.snapshot = snapshot_ref(files);
    }
    TRY(images_put(c->engine, c->lease, i, s->image.snapshot, &target));
    TRY(name_step(c, &target, &s->image.id, config));
    s->image.id = target.digest;
    return NULL;
}

/* Did the step change nothing? */
static struct error *is_empty(const struct classic_stage *s, struct snapshot *files, bool *ret)
{
    size_t before = s->image.snapshot == NULL ? 0 : snapshot_layer_count(s->image.snapshot);
    size_t after = files == NULL ? 0 : snapshot_layer_count(files);
    struct digest diff_id;
    int64_t size;

    *ret = after <= before;
    if (after != before + 1)
        return NULL;
    TRY(snapshot_layer_diff_id(files, after - 1, &diff_id, &size));
    *ret = streq(diff_id.s, EMPTY_LAYER);
    return NULL;
}

struct error *classic_image_commit(struct classic *c, struct classic_stage *s, struct snapshot *files,
                                   const struct digest *config, const char *created_by)
{
    struct df_history row = { .created_by = (char *)created_by };
    char now[40];
    bool empty = true;

    if (files != NULL)
        TRY(is_empty(s, files, &empty));
    format_rfc3339(now, now_ns());
    row.created = now;
    return commit(c, s, empty ? NULL : files, config, &row);
}
