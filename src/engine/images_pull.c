/* SPDX-License-Identifier: Apache-2.0 */
/* images_pull.c - docker pull and docker import */
#include "engine/images_rows.h"

#include "base/bytes.h"
#include "oci/compress.h"
#include "oci/gojson.h"
#include "oci/reference.h"
#include "op/unpack.h"
#include "task/task.h"

/* ---- rows ---- */

static struct error *say_status(struct image_rows *w, const char *id, const struct progress_event *e)
{
    bool done = e->status.completed_ns != 0,
         download = e->status.name == NULL || !streq(e->status.name, "extracting");

    if (!map_has(&w->seen, id)) {
        map_set(&w->seen, id, w);
        TRY(image_row(w->out, id, "Pulling fs layer", json_object()));
    }
    if (done)
        return image_row(w->out, id, download ? "Download complete" : "Pull complete", json_object());
    return image_row(w->out, id, download ? "Downloading" : "Extracting",
                     json_pack("{s:I, s:I}", "current", (json_int_t)e->status.current, "total",
                               (json_int_t)e->status.total));
}

/* ---- pull
 * --------------------------------------------------------------------------------------------------------------------------
 */

struct pull {
    struct engine *engine;
    struct reference ref;
    char *name, *shown;
    struct lease *lease;
    struct image_access access;
    struct resolved_manifest manifest;
};

static struct error *pull_layers(void *ctx, struct vertex_reporter *r)
{
    CLEANUP(snapshot_unrefp) struct snapshot *s = NULL;
    struct pull *u = ctx;

    return op_image_pull(&u->engine->ops, u->name, &u->manifest, &u->access, u->lease, r, &s);
}

static bool is_current(struct pull *u)
{
    struct image_record r = { 0 };
    struct error *e = image_get(u->engine->store, u->name, &r);
    bool same = e == NULL && digest_eq(&r.target.digest, &u->manifest.target.digest);

    err_free(e);
    image_record_deinit(&r);
    return same;
}

/* The words of dockerd, whose client lists what it tried.  `e` is taken. */
static struct error *explain_resolve(const struct pull *u, const struct platform *platform, struct error *e)
{
    static const char no_match[] = "no match for platform in manifest: not found";

    if (e == NULL)
        return NULL;
    if (!err_is(e, ERR_NOT_FOUND) || !str_has_suffix(e->message, no_match))
        return err_wrap(e, "failed to resolve reference \"%s\"", u->name);
    CLEANUP(freep) char *wanted = platform_format(platform != NULL ? platform : platform_host());

    err_free(e);
    return err_new(ERR_NOT_FOUND, "no matching manifest for %s in the manifest list entries: %s", wanted,
                   no_match);
}

/* Nothing is said before the name is resolved: until then an error is the whole answer, with its status. */
static struct error *pull_run(struct pull *u, const struct platform *platform, const struct image_progress *p)
{
    struct image_resolve_options o = { .mode = "pull", .platform = platform };
    struct image_rows rows = { .out = p, .say = say_status };
    bool current;

    TRY(explain_resolve(u, platform,
                        op_image_resolve(&u->engine->ops, u->name, &o, &u->access, u->lease, &u->manifest)));
    TRY(image_line(p, u->ref.tag != NULL ? u->ref.tag : u->ref.digest,
                   xasprintf("Pulling from %s", u->ref.path)));
    current = is_current(u);
    TRY(image_rows_run(&rows, u->name, pull_layers, u));
    TRY(image_put(u->engine->store, u->name, &u->manifest.target));
    images_event(u->engine, "pull", u->shown, NULL);
    TRY(image_line(p, NULL, xasprintf("Digest: %s", u->manifest.target.digest.s)));
    return image_line(
        p, NULL,
        xasprintf(current ? "Status: Image is up to date for %s" : "Status: Downloaded newer image for %s",
                  u->shown));
}

struct error *images_pull(struct engine *e, const char *ref, const struct platform *platform,
                          const json_t *auth, const struct image_progress *p)
{
    struct pull u = { .engine = e };
    struct image_auth credentials;
    struct error *err = reference_parse(ref, &u.ref);

    if (err == NULL) {
        u.access.auth = image_auth_init(&credentials, auth, u.ref.domain);
        reference_add_default_tag(&u.ref);
        u.name = reference_string(&u.ref);
        u.shown = reference_familiar(&u.ref);
        err = lease_open(e->store, &u.lease);
    }
    if (err == NULL)
        err = pull_run(&u, platform, p);
    resolved_manifest_deinit(&u.manifest);
    lease_close(u.lease);
    reference_deinit(&u.ref);
    free(u.name);
    free(u.shown);
    return err;
}

/* ---- import
 * --------------------------------------------------------------------------------------------------------------------------
 */

static struct error *import_layer(struct engine *e, struct stream *body, struct snapshot **ret)
{
    struct active *a;
    struct error *err;

    TRY(active_begin(e->store, NULL, &a));
    err = op_unpack_archive(stream_limited(body, UINT64_MAX), active_fd(a), NULL);
    if (err == NULL)
        err = active_commit(a, "imported layer", "regular", ret);
    else
        active_abandon(a);
    return err;
}

static json_t *import_config(const struct platform *p, json_t *config, const char *message,
                             const struct digest *diff_id)
{
    char now[40];
    json_t *j;

    format_rfc3339(now, now_ns());
    j = platform_to_json(p);
    json_object_set_new(j, "created", json_string(now));
    json_object_set(j, "config", config);
    json_object_set_new(j, "rootfs", json_pack("{s:s, s:[s]}", "type", "layers", "diff_ids", diff_id->s));
    json_object_set_new(j, "history",
                        json_pack("[{s:s, s:o}]", "created", now, "comment", go_json_text(message)));
    return j;
}

/* `j` is taken. */
static struct error *put_json(struct engine *e, struct lease *l, json_t *j, struct digest *ret,
                              int64_t *ret_size)
{
    CLEANUP(freep) char *text = json_dumps(j, JSON_COMPACT);

    json_decref(j);
    *ret_size = (int64_t)strlen(text);
    return blob_put(e->store, l, text, strlen(text), ret);
}

static struct error *put_image(struct engine *e, struct lease *l, struct snapshot *s,
                               const struct platform *platform, json_t *config, const char *message,
                               struct descriptor *ret)
{
    struct digest diff_id, config_digest;
    int64_t layer_size, config_size;

    TRY(snapshot_layer_diff_id(s, 0, &diff_id, &layer_size));
    TRY(put_json(e, l, import_config(platform, config, message, &diff_id), &config_digest, &config_size));
    ret->media_type = xstrdup(MT_OCI_MANIFEST);
    strmap_init(&ret->annotations);
    return put_json(e, l,
                    json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:[{s:s, s:s, s:I}]}", "schemaVersion", 2,
                              "mediaType", MT_OCI_MANIFEST, "config", "mediaType", MT_OCI_CONFIG, "digest",
                              config_digest.s, "size", (json_int_t)config_size, "layers", "mediaType",
                              MT_OCI_LAYER, "digest", diff_id.s, "size", (json_int_t)layer_size),
                    &ret->digest, &ret->size);
}

static struct error *name_import(struct engine *e, const char *ref, const struct descriptor *target)
{
    CLEANUP(reference_deinit) struct reference r = { 0 };
    CLEANUP(freep) char *name = NULL;

    if (ref == NULL || ref[0] == '\0') {
        name = xasprintf("moby-dangling@%s", target->digest.s);
    } else {
        TRY(reference_parse(ref, &r));
        if (r.digest != NULL)
            return err_new(ERR_INVALID, "cannot import digest reference");
        reference_add_default_tag(&r);
        name = reference_string(&r);
    }
    TRY(image_put(e->store, name, target));
    images_event(e, "import", target->digest.s, ref == NULL || ref[0] == '\0' ? NULL : name);
    return NULL;
}

struct error *images_import(struct engine *e, struct stream *body, const char *ref, const char *message,
                            const struct platform *platform, json_t *config, struct digest *ret)
{
    CLEANUP(snapshot_unrefp) struct snapshot *s = NULL;
    CLEANUP(descriptor_deinit) struct descriptor target = { 0 };
    struct lease *lease = NULL;
    struct error *err;

    TRY(import_layer(e, body, &s));
    TRY(lease_open(e->store, &lease));
    err = put_image(e, lease, s, platform == NULL ? platform_host() : platform, config, message, &target);
    if (err == NULL)
        err = name_import(e, ref, &target);
    lease_close(lease);
    *ret = target.digest;
    return err;
}
