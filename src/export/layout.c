/* SPDX-License-Identifier: Apache-2.0 */
/* layout.c - exporters oci and docker: an OCI layout to the client, as one tar or blob by blob into a folder
 */
#include "oci/gojson.h"
#include "export/internal.h"

#include "base/bytes.h"
#include "oci/reference.h"
#include "oci/tar.h"
#include "task/task.h"

struct error *layout_exporter_check(struct exporter *e)
{
    return NULL;
}

/* ---- the archive
 * -------------------------------------------------------------------------------------------------------------------
 */

static struct error *write_bytes(struct stream *out, const void *data, size_t len)
{
    int r = stream_write_full(out, data, len);

    return r < 0 ? task_error(r, "send the archive") : NULL;
}

static struct error *write_header(struct stream *out, const char *name, enum tar_type type, int64_t size)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    struct tar_entry e = {
        .type = type, .name = (char *)name, .mode = type == TAR_DIR ? 0755 : 0444, .size = size
    };

    tar_add_header(&b, &e);
    return write_bytes(out, b.data, b.len);
}

static struct error *write_padding(struct stream *out, int64_t size)
{
    static const char zeros[TAR_BLOCK];

    return write_bytes(out, zeros, tar_padding(size));
}

static struct error *write_text(struct stream *out, const char *name, const char *text, size_t len)
{
    TRY(write_header(out, name, TAR_FILE, (int64_t)len));
    TRY(write_bytes(out, text, len));
    return write_padding(out, (int64_t)len);
}

static struct error *write_blob(struct store *s, struct stream *out, const struct digest *d)
{
    CLEANUP(stream_closep) struct stream *content = NULL;
    CLEANUP(freep) char *name = xasprintf("blobs/sha256/%s", digest_hex(d));
    struct blob_info info;
    int64_t n;

    TRY(blob_stat(s, d, &info));
    TRY(blob_open(s, d, &content));
    TRY(write_header(out, name, TAR_FILE, info.size));
    n = stream_copy(out, content);
    if (n < 0)
        return task_error((int)n, "send blob %s", d->s);
    if (n != info.size)
        return err_new(ERR_DATA_LOSS, "blob %s has %lld bytes, %lld were expected", d->s, (long long)n,
                       (long long)info.size);
    return write_padding(out, info.size);
}

/* Names of the result, canonical; "*" is what the frontend says in image.name. */
static struct error *result_names(const struct exporter *e, const struct export_source *src, struct strv *ret)
{
    const char *list = strmap_get(&e->attrs, "name");
    const struct frontend_metadata *m = frontend_result_metadata(src->result, "image.name");
    CLEANUP(freep) char *meta = m == NULL ? NULL : xstrndup(m->value, m->len);
    CLEANUP(strv_deinit) struct strv parts = { 0 };

    if (list != NULL && streq(list, "*") && meta != NULL)
        list = meta;
    if (list == NULL || list[0] == '\0')
        return NULL;
    strv_split(&parts, list, ',');
    for (size_t i = 0; i < parts.len; i++) {
        CLEANUP(reference_deinit) struct reference r = { 0 };
        CLEANUP(freep) char *name = NULL;
        TRY(err_wrap(reference_parse(parts.v[i], &r), "failed to parse %s", parts.v[i]));
        reference_add_default_tag(&r);
        name = reference_string(&r);
        if (!strv_has(ret, name))
            strv_add(ret, name);
    }
    return NULL;
}

/* When it was made, for annotations. */
static struct error *created_time(const struct exporter *e, const struct export_source *src, int64_t *ret_ns)
{
    bool has;
    int64_t s;

    TRY(export_epoch(e, src, NULL, &has, &s));
    *ret_ns = has ? s * NS_PER_SEC : now_ns();
    return NULL;
}

static json_t *index_entry(const struct committed_image *i, int64_t created_ns, const char *name)
{
    CLEANUP(descriptor_deinit) struct descriptor d = { 0 };
    char now[40];

    descriptor_copy(&d, &i->target);
    format_rfc3339(now, created_ns / NS_PER_SEC * NS_PER_SEC);
    if (name != NULL) {
        const char *tag = strrchr(name, ':');
        descriptor_annotate(&d, "io.containerd.image.name", name);
        descriptor_annotate(&d, "org.opencontainers.image.ref.name", tag == NULL ? name : tag + 1);
    }
    if (descriptor_annotation(&d, "org.opencontainers.image.created") == NULL) /* not asked for */
        descriptor_annotate(&d, "org.opencontainers.image.created", now);
    return descriptor_to_json(&d);
}

static struct error *write_index(struct stream *out, const struct committed_image *i, int64_t created_ns,
                                 const struct strv *names)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    json_t *list = json_array(), *j;

    for (size_t k = 0; k < names->len; k++)
        json_array_append_new(list, index_entry(i, created_ns, names->v[k]));
    if (names->len == 0)
        json_array_append_new(list, index_entry(i, created_ns, NULL));
    j = json_pack("{s:i, s:s, s:o}", "schemaVersion", 2, "mediaType", MT_OCI_INDEX, "manifests", list);
    go_json(&text, j, NULL, false);
    json_decref(j);
    return write_text(out, "index.json", text.data, text.len);
}

/* What docker load of any age reads. */
static struct error *write_docker_manifest(struct stream *out, const struct committed_image *i,
                                           const struct strv *names)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    json_t *tags = names->len == 0 ? json_null() : json_array(), *layers = json_array(), *j;

    for (size_t k = 0; k < names->len; k++) {
        CLEANUP(reference_deinit) struct reference r = { 0 };
        CLEANUP(freep) char *familiar = NULL;
        TRY(reference_parse(names->v[k], &r));
        familiar = reference_familiar(&r);
        json_array_append_new(tags, json_string(familiar));
    }
    for (size_t k = 0; k < i->layer_count; k++)
        json_array_append_new(layers, json_sprintf("blobs/sha256/%s", digest_hex(&i->layers[k])));
    j = json_pack("[{s:o, s:o, s:o}]", "Config",
                  json_sprintf("blobs/sha256/%s", digest_hex(&i->image_config)), "RepoTags", tags, "Layers",
                  layers);
    go_json(&text, j, NULL, false);
    json_decref(j);
    return write_text(out, "manifest.json", text.data, text.len);
}

static struct error *write_layout(const struct exporter *e, struct store *s, struct stream *out,
                                  const struct committed_image *i, int64_t created_ns,
                                  const struct strv *names)
{
    static const char version[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    CLEANUP(buf_deinit) struct buf end = { 0 };

    TRY(write_header(out, "blobs/", TAR_DIR, 0));
    TRY(write_header(out, "blobs/sha256/", TAR_DIR, 0));
    for (size_t k = 0; k < i->blob_count; k++)
        TRY(write_blob(s, out, &i->blobs[k]));
    TRY(write_index(out, i, created_ns, names));
    if (streq(e->type, "docker"))
        TRY(write_docker_manifest(out, i, names));
    TRY(write_text(out, "oci-layout", version, sizeof(version) - 1));
    tar_add_end(&end);
    return write_bytes(out, end.data, end.len);
}

/* ---- to the client
 * ------------------------------------------------------------------------------------------------------------------
 */

static struct error *send_tar(const struct exporter *e, const struct export_context *c,
                              struct session *client, const struct committed_image *i, int64_t created_ns,
                              const struct strv *names, const struct map *response)
{
    struct send_options o = { .exporter_index = c->index, .metadata = response };
    struct send_stream *send = NULL;
    struct stream *out = NULL;
    struct error *err = session_send_begin(client, &o, &send, &out);

    TRY(err);
    err = write_layout(e, c->store, out, i, created_ns, names);
    stream_close(out);
    return err != NULL ? session_send_fail(send, err) : session_send_finish(send);
}

static struct error *send_blobs(const struct export_context *c, struct session *client,
                                const struct committed_image *i)
{
    for (size_t k = 0; k < i->blob_count; k++) {
        CLEANUP(stream_closep) struct stream *content = NULL;
        const struct digest *d = &i->blobs[k];
        CLEANUP(freep)
        char *ref = xasprintf("%s-%s",
                              digest_eq(d, &i->target.digest) ? "manifest"
                              : digest_eq(d, &i->config)      ? "config"
                                                              : "layer",
                              d->s);
        struct blob_info info;
        TRY(blob_stat(c->store, d, &info));
        TRY(blob_open(c->store, d, &content));
        TRY(session_content_write(client, "export", ref, d->s, info.size, content));
    }
    return NULL;
}

static struct error *export_layout(struct exporter *e, const struct export_context *c,
                                   const struct export_source *src, struct lease *lease,
                                   struct vertex_reporter *r, struct map *response)
{
    CLEANUP(committed_image_deinit) struct committed_image image = { 0 };
    CLEANUP(session_unrefp) struct session *client = NULL;
    CLEANUP(strv_deinit) struct strv names = { 0 };
    CLEANUP(freep) char *joined = NULL;
    int64_t created_ns;
    struct error *err;

    TRY(export_session(c, &client));
    if (streq(e->type, "docker") && src->multi)
        return err_new(ERR_INVALID, "docker exporter does not currently support exporting manifest lists");
    TRY(result_names(e, src, &names));
    TRY(image_commit(e, c, src, &names, lease, r, &image));
    if (names.len > 0) {
        joined = strv_join(&names, ",");
        strmap_set(response, "image.name", joined);
    }
    TRY(created_time(e, src, &created_ns));
    image_response(&image, created_ns, response);
    reporter_status(r, "sending tarball", "", 0, 0, false);
    if (exporter_flag(e, "tar", true))
        err = send_tar(e, c, client, &image, created_ns, &names, response);
    else
        err = send_blobs(c, client, &image);
    reporter_status(r, "sending tarball", "", 0, 0, true);
    return err;
}

struct error *layout_exporter_run(struct exporter *e, const struct export_context *c,
                                  const struct export_source *src, struct map *response)
{
    struct vertex_reporter *r = export_reporter(
        c, streq(e->type, "docker") ? "exporting to docker image format" : "exporting to oci image format");
    struct lease *lease = NULL;
    struct error *err = lease_open(c->store, &lease);

    if (err == NULL)
        err = export_layout(e, c, src, lease, r, response);
    lease_close(lease);
    reporter_complete(r, err);
    reporter_free(r);
    return err;
}
