/* SPDX-License-Identifier: Apache-2.0 */
/*
 * images_push.c - docker push
 *
 * The store keeps the layers of what was built here uncompressed; what a registry gets is compressed, so its
 * manifest is another one.  Facts "pushed/REPOSITORY@DIGEST" = digest of the image here keep the two
 * together: RepoDigests shows what others can pull, and that name finds the image.
 */
#include "engine/images_rows.h"

#include "export/compress.h"
#include "oci/reference.h"
#include "registry/push.h"
#include "task/task.h"

/* ---- pushed digests ---- */

static char *fact_key(const struct reference *r, const char *digest)
{
    CLEANUP(freep) char *name = reference_name(r);

    return xasprintf("pushed/%s@%s", name, digest);
}

struct error *images_pushed_find(struct engine *e, const struct reference *r, struct digest *ret,
                                 bool *ret_found)
{
    CLEANUP(freep) char *key = fact_key(r, r->digest);
    CLEANUP(freep) char *value = NULL;

    TRY(fact_get(e->store, key, &value));
    *ret_found = value != NULL && digest_parse(value, ret) == 0;
    return NULL;
}

struct error *images_pushed_list(struct engine *e, const struct reference *r, const struct digest *local,
                                 struct strv *ret)
{
    CLEANUP(freep) char *prefix = fact_key(r, "");
    CLEANUP(freep) char *name = reference_familiar_name(r);
    struct map facts = { 0 };

    strmap_init(&facts);
    struct error *err = fact_list(e->store, prefix, &facts);

    for (size_t i = 0; err == NULL && i < facts.len; i++)
        if (streq(facts.entries[i].value, local->s))
            strv_addf(ret, "%s@%s", name, facts.entries[i].key + strlen(prefix));
    map_deinit(&facts);
    return err;
}

/* ---- rows ---- */

static void on_blob(void *ctx, const struct descriptor *d, const char *action, int64_t current, int64_t total)
{
    bool done = streq(action, "pushed") || streq(action, "exists") || str_has_prefix(action, "mounted from ");

    reporter_status(ctx, d->digest.s, action, current, total, done);
}

static const char *status_text(const char *action)
{
    static const char *const texts[][2] = { { "waiting", "Waiting" },
                                            { "pushing", "Pushing" },
                                            { "exists", "Layer already exists" },
                                            { "pushed", "Pushed" } };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (streq(action, texts[i][0]))
            return texts[i][1];
    return "Preparing";
}

static struct error *say_status(struct image_rows *w, const char *id, const struct progress_event *e)
{
    const char *action = e->status.name;
    json_t *detail = json_object();

    if (action == NULL) {
        json_decref(detail);
        return NULL;
    }
    const char *from = str_skip_prefix(action, "mounted from ");
    CLEANUP(freep)
    char *text = from != NULL ? xasprintf("Mounted from %s", from) : xstrdup(status_text(action));

    if (streq(action, "pushing") && e->status.completed_ns == 0) {
        json_object_set_new(detail, "current", json_integer(e->status.current));
        json_object_set_new(detail, "total", json_integer(e->status.total));
    }
    return image_row(w->out, id, text, detail);
}

/* ---- one name ---- */

struct push {
    struct engine *engine;
    const struct reference *ref;
    const struct registry_auth *auth;
    struct lease *lease;
    const struct image_progress *out;
};

/* From `target` to `pushed`: what is not compressed is, and that is sent. */
struct transfer {
    struct push *push;
    const struct descriptor *target;
    struct descriptor *pushed; /* what the registry has then */
};

static struct error *send(struct push *u, struct vertex_reporter *reporter, const struct descriptor *target)
{
    struct registry_progress progress = { .ctx = reporter, .blob = on_blob };
    struct registry_push_options o = { .ref = u->ref, .auth = u->auth, .progress = &progress };
    struct registry_push *p = NULL;
    struct error *e = registry_push_begin(u->engine->registry, &o, u->engine->store, target, &p);

    if (e == NULL)
        e = registry_push_blobs(p);
    if (e == NULL)
        e = registry_push_manifests(p);
    registry_push_end(p);
    return e;
}

static struct error *compress_and_send(void *ctx, struct vertex_reporter *reporter)
{
    static const struct layer_format format = { .kind = COMPRESSION_GZIP, .level = -1 };
    struct transfer *t = ctx;
    struct push *u = t->push;

    TRY(image_compress(u->engine->store, u->lease, t->target, &format, t->pushed));
    return send(u, reporter, t->pushed);
}

static struct error *push_target(struct push *u, const struct descriptor *target, struct descriptor *ret)
{
    struct image_rows rows = { .out = u->out, .say = say_status };
    struct transfer t = { u, target, ret };

    return image_rows_run(&rows, "push", compress_and_send, &t);
}

static struct error *note_pushed(struct push *u, const struct descriptor *local,
                                 const struct descriptor *pushed)
{
    CLEANUP(freep) char *key = fact_key(u->ref, pushed->digest.s);

    return digest_eq(&local->digest, &pushed->digest) ? NULL
                                                      : fact_put(u->engine->store, key, local->digest.s);
}

static struct error *say_instead(struct push *u, const struct descriptor *index,
                                 const struct descriptor *chosen)
{
    return u->out->line(u->out->ctx, json_pack("{s:{s:b, s:o, s:o}}", "aux", "manifestPushedInsteadOfIndex",
                                               1, "originalIndex", descriptor_to_json(index),
                                               "selectedManifest", descriptor_to_json(chosen)));
}

/* An index of which only some variants are here: push the one that serves this host. */
static struct error *push_variant(struct push *u, const struct descriptor *index, struct error *missing,
                                  struct descriptor *ret)
{
    struct image_variant v = { 0 };
    struct error *e = images_variant(u->engine, index, NULL, &v);

    if (e != NULL || !v.available) {
        err_free(e);
        image_variant_deinit(&v);
        return missing;
    }
    err_free(missing);
    e = push_target(u, &v.descriptor, ret);
    if (e == NULL)
        e = say_instead(u, index, &v.descriptor);
    image_variant_deinit(&v);
    return e;
}

static struct error *choose(struct push *u, const struct descriptor *target, const struct platform *platform,
                            struct descriptor *ret)
{
    CLEANUP(image_variant_deinit) struct image_variant v = { 0 };

    if (platform == NULL) {
        descriptor_copy(ret, target);
        return NULL;
    }
    TRY(images_variant(u->engine, target, platform, &v));
    descriptor_copy(ret, &v.descriptor);
    return NULL;
}

static struct error *push_image(struct push *u, const struct image_record *image,
                                const struct platform *platform)
{
    CLEANUP(descriptor_deinit) struct descriptor target = { 0 };
    CLEANUP(descriptor_deinit) struct descriptor pushed = { 0 };
    CLEANUP(freep) char *shown = reference_familiar(u->ref);

    lease_add_blob(u->lease, &image->target.digest);
    TRY(choose(u, &image->target, platform, &target));
    struct error *e = push_target(u, &target, &pushed);

    if (err_is(e, ERR_NOT_FOUND) && platform == NULL && media_type_is_index(target.media_type)) {
        descriptor_deinit(&pushed);
        pushed = (struct descriptor){ 0 };
        e = push_variant(u, &target, e, &pushed);
    }
    TRY(e);
    TRY(note_pushed(u, &image->target, &pushed));
    images_event(u->engine, "push", shown, NULL);
    return u->ref->tag == NULL ? NULL
                               : image_line(u->out, NULL,
                                            xasprintf("%s: digest: %s size: %lld", u->ref->tag,
                                                      pushed.digest.s, (long long)pushed.size));
}

static struct error *push_name(struct engine *e, const struct reference *ref,
                               const struct registry_auth *auth, const struct platform *platform,
                               const struct image_progress *p)
{
    struct push u = { .engine = e, .ref = ref, .auth = auth, .out = p };
    CLEANUP(freep) char *name = reference_string(ref);
    CLEANUP(freep) char *shown = reference_familiar(ref);
    struct image_record image = { 0 };
    struct error *err = image_get(e->store, name, &image);

    if (err_is(err, ERR_NOT_FOUND)) {
        err_free(err);
        return err_new(ERR_NOT_FOUND, "tag does not exist: %s", shown);
    }
    TRY(err);
    err = lease_open(e->store, &u.lease);
    if (err == NULL)
        err = push_image(&u, &image, platform);
    lease_close(u.lease);
    image_record_deinit(&image);
    return err;
}

/* ---- the request ---- */

static struct error *push_all_tags(struct engine *e, const struct reference *repo,
                                   const struct registry_auth *auth, const struct platform *platform,
                                   const struct image_progress *p)
{
    CLEANUP(freep) char *name = reference_name(repo);
    CLEANUP(freep) char *shown = reference_familiar_name(repo);
    struct image_record *list = NULL;
    struct error *err = NULL;
    size_t n = 0, found = 0, len = strlen(name);

    TRY(image_list(e->store, &list, &n));
    for (size_t i = 0; i < n; i++) {
        CLEANUP(reference_deinit) struct reference r = { 0 };

        if (err == NULL && strncmp(list[i].name, name, len) == 0 && list[i].name[len] == ':') {
            found++;
            err = reference_parse(list[i].name, &r);
            if (err == NULL)
                err = push_name(e, &r, auth, platform, p);
        }
        image_record_deinit(&list[i]);
    }
    free(list);
    if (err == NULL && found == 0)
        err = err_new(ERR_NOT_FOUND, "An image does not exist locally with the tag: %s", shown);
    return err;
}

struct error *images_push(struct engine *e, const char *image, const char *tag,
                          const struct platform *platform, const json_t *auth, const struct image_progress *p)
{
    CLEANUP(reference_deinit) struct reference ref = { 0 };
    CLEANUP(freep) char *repo = NULL;
    struct image_auth credentials;

    TRY(reference_parse(image, &ref));
    const struct registry_auth *use = image_auth_init(&credentials, auth, ref.domain);

    if (tag != NULL && tag[0] != '\0') {
        if (!reference_tag_valid(tag))
            return err_new(ERR_INVALID, "invalid tag format");
        free(ref.tag);
        ref.tag = xstrdup(tag);
    }
    repo = reference_name(&ref);
    TRY(image_line(p, NULL, xasprintf("The push refers to repository [%s]", repo)));
    if (ref.tag == NULL && ref.digest == NULL)
        return push_all_tags(e, &ref, use, platform, p);
    return push_name(e, &ref, use, platform, p);
}
