/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - exporters local and tar: a result's files at the client */
#include "export/view.h"

#include "base/bytes.h"
#include "oci/tar.h"
#include "store/layer_tar.h"
#include "task/task.h"

/* ---- attributes
 * ------------------------------------------------------------------------------------------------------------------
 */

struct error *local_exporter_check(struct exporter *e)
{
    const char *epoch = strmap_get(&e->attrs, "source-date-epoch"), *mode = strmap_get(&e->attrs, "mode");
    const char *src = strmap_get(&e->attrs, "src");

    if (epoch != NULL && epoch[0] != '\0') {
        TRY(err_wrap(epoch_parse(epoch, &e->epoch_s), "invalid SOURCE_DATE_EPOCH: %s", epoch));
        e->has_epoch = true;
    }
    e->epoch_given = epoch != NULL;
    if (mode != NULL && mode[0] != '\0' && !streq(mode, "copy") && !streq(mode, "delete"))
        return err_new(ERR_INVALID, "invalid local exporter mode \"%s\"", mode);
    if (src != NULL && src[0] == '\0')
        return err_new(ERR_INVALID, "empty value for src; omit it to export the entire filesystem");
    return NULL;
}

static bool is_delete_mode(const struct exporter *e)
{
    const char *mode = strmap_get(&e->attrs, "mode");

    return mode != NULL && streq(mode, "delete");
}

static struct error *check_source(const struct export_source *src)
{
    if (src->multi && frontend_result_metadata(src->result, "refs.platforms") == NULL)
        return err_new(ERR_INVALID, "unable to export multiple refs, missing platforms mapping");
    return NULL;
}

/* ---- local
 * -------------------------------------------------------------------------------------------------------------------------
 */

struct copying {
    struct vertex_reporter *reporter;
    char *row;
    int64_t bytes;
};

static void copied(void *ctx, int64_t bytes)
{
    struct copying *c = ctx;

    c->bytes = bytes;
    reporter_status(c->reporter, c->row, "transferring", bytes, 0, false);
}

static void copied_all(const struct copying *c)
{
    reporter_status(c->reporter, c->row, "transferring", c->bytes, 0, true);
}

struct local_task {
    struct view_context *context;
    const struct export_ref *ref;
    struct session *client;
    struct vertex_reporter *reporter;
};

static struct error *send_one(void *arg)
{
    struct local_task *t = arg;
    CLEANUP(view_deinit) struct view v = { .fd = -1 };
    struct copying c = { .reporter = t->reporter };
    struct send_options o = { .exporter_index = t->context->context->index };
    struct error *e;

    TRY(view_open(t->context, t->ref, &v));
    c.row = t->context->split ? xasprintf("copying files %s", t->ref->id) : xstrdup("copying files");
    e = session_send_tree(t->client, &o, v.fd, v.prefix, &v.filter, copied, &c);
    copied_all(&c);
    free(c.row);
    return e;
}

static struct error *send_each(struct local_task *tasks, size_t count)
{
    struct error *e = NULL;
    struct group g;

    if (count == 1)
        return send_one(&tasks[0]);
    group_open(&g, 0);
    for (size_t i = 0; e == NULL && i < count; i++)
        e = group_spawn(&g, "copy files", send_one, &tasks[i]);
    return group_finish(&g, e);
}

static int by_prefix(const void *a, const void *b)
{
    return strcmp(((const struct sync_tree *)a)->prefix, ((const struct sync_tree *)b)->prefix);
}

/* mode=delete: all results in one stream, so that the client may remove what is in none of them. */
static struct error *send_together(struct local_task *tasks, size_t count)
{
    CLEANUP(freep) struct view *views = xcalloc(count + 1, sizeof(*views));
    CLEANUP(freep) struct sync_tree *trees = xcalloc(count + 1, sizeof(*trees));
    struct send_options o = { .exporter_index = tasks[0].context->context->index,
                              .multi_platform_delete = true };
    struct copying c = { .reporter = tasks[0].reporter, .row = xstrdup("copying files") };
    struct error *e = NULL;

    for (size_t i = 0; i < count; i++) {
        views[i].fd = -1;
        if (e == NULL)
            e = view_open(tasks[i].context, tasks[i].ref, &views[i]);
        trees[i] = (struct sync_tree){ .dir_fd = views[i].fd,
                                       .prefix = views[i].prefix,
                                       .filter = &views[i].filter };
    }
    if (e == NULL) {
        qsort(trees, count, sizeof(*trees), by_prefix);
        e = session_send_trees(tasks[0].client, &o, trees, count, copied, &c);
        copied_all(&c);
    }
    for (size_t i = 0; i < count; i++)
        view_deinit(&views[i]);
    free(c.row);
    return e;
}

static struct error *export_local(struct exporter *e, const struct export_context *c,
                                  const struct export_source *src, struct vertex_reporter *r)
{
    CLEANUP(freep) struct local_task *tasks = xcalloc(src->ref_count + 1, sizeof(*tasks));
    CLEANUP(session_unrefp) struct session *client = NULL;
    CLEANUP(view_context_deinit) struct view_context v = { .exporter = e, .context = c, .source = src };

    TRY(check_source(src));
    TRY(export_session(c, &client));
    view_context_init(&v, exporter_flag(e, "platform-split", src->multi));
    for (size_t i = 0; i < src->ref_count; i++)
        tasks[i] = (struct local_task){ &v, &src->refs[i], client, r };
    if (is_delete_mode(e))
        return send_together(tasks, src->ref_count);
    return send_each(tasks, src->ref_count);
}

static struct error *finished(struct vertex_reporter *r, struct error *e)
{
    reporter_complete(r, e);
    reporter_free(r);
    return e;
}

struct error *local_exporter_run(struct exporter *e, const struct export_context *c,
                                 const struct export_source *src, struct map *response)
{
    struct vertex_reporter *r = export_reporter(c, "exporting to client directory");

    return finished(r, export_local(e, c, src, r));
}

/* ---- tar
 * ------------------------------------------------------------------------------------------------------------------------------
 */

static struct error *put(struct stream *out, const void *data, size_t len)
{
    int r = stream_write_full(out, data, len);

    return r < 0 ? task_error(r, "send the tarball") : NULL;
}

static struct error *copy_entry(struct tar_reader *t, struct tar_entry *entry, struct stream *out)
{
    CLEANUP(buf_deinit) struct buf b = { 0 };
    static const char zeros[TAR_BLOCK];
    char chunk[16384];
    ssize_t n;

    tar_add_header(&b, entry);
    TRY(put(out, b.data, b.len));
    while ((n = tar_reader_read(t, chunk, sizeof(chunk))) > 0)
        TRY(put(out, chunk, (size_t)n));
    if (n < 0)
        return task_error((int)n, "read the result");
    return entry->type == TAR_FILE ? put(out, zeros, tar_padding(entry->size)) : NULL;
}

/* Entries below a prefix, with another time where asked for. */
static struct error *rewrite_tar(const struct view *v, struct stream *in, struct stream *out)
{
    CLEANUP(tar_reader_freep) struct tar_reader *t = tar_reader_new(in);
    struct tar_entry *entry;

    if (v->prefix[0] != '\0') {
        CLEANUP(buf_deinit) struct buf b = { 0 };
        CLEANUP(freep) char *name = xasprintf("%s/", v->prefix);
        struct tar_entry dir = {
            .type = TAR_DIR, .name = name, .mode = 0755, .mtime = v->has_epoch ? v->epoch_s : 0
        };
        tar_add_header(&b, &dir);
        TRY(put(out, b.data, b.len));
    }
    for (;;) {
        TRY(tar_reader_next(t, &entry));
        if (entry == NULL)
            return NULL;
        if (v->prefix[0] != '\0') {
            char *name = xasprintf("%s/%s", v->prefix, entry->name);
            free(entry->name);
            entry->name = name;
            if (entry->type == TAR_HARDLINK) {
                char *link = xasprintf("%s/%s", v->prefix, entry->linkname);
                free(entry->linkname);
                entry->linkname = link;
            }
        }
        if (v->has_epoch) {
            entry->mtime = v->epoch_s;
            entry->mtime_nsec = 0;
        }
        TRY(copy_entry(t, entry, out));
    }
}

static struct error *write_tar(struct view_context *c, struct stream *out)
{
    const struct export_source *src = c->source;
    CLEANUP(buf_deinit) struct buf end = { 0 };

    for (size_t i = 0; i < src->ref_count; i++) {
        CLEANUP(view_deinit) struct view v = { .fd = -1 };
        CLEANUP(stream_closep) struct stream *in = NULL;
        TRY(view_open(c, &src->refs[i], &v));
        TRY(layer_tar_open(v.fd, &in));
        if (src->ref_count == 1 && v.prefix[0] == '\0' && !v.has_epoch) { /* as it is, with its end */
            int64_t n = stream_copy(out, in);
            return n < 0 ? task_error((int)n, "send the tarball") : NULL;
        }
        TRY(rewrite_tar(&v, in, out));
    }
    tar_add_end(&end);
    return put(out, end.data, end.len);
}

static struct error *export_tar(struct exporter *e, const struct export_context *c,
                                const struct export_source *src, struct vertex_reporter *r)
{
    struct send_options o = { .exporter_index = c->index };
    CLEANUP(session_unrefp) struct session *client = NULL;
    CLEANUP(view_context_deinit) struct view_context v = { .exporter = e, .context = c, .source = src };
    struct send_stream *send = NULL;
    struct stream *out = NULL;
    struct error *err;

    TRY(check_source(src));
    TRY(export_session(c, &client));
    view_context_init(&v, src->multi); /* names of attestations follow the option, folders do not */
    v.split_names = exporter_flag(e, "platform-split", src->multi);
    TRY(session_send_begin(client, &o, &send, &out));
    reporter_status(r, "sending tarball", "", 0, 0, false);
    err = write_tar(&v, out);
    stream_close(out);
    err = err != NULL ? session_send_fail(send, err) : session_send_finish(send);
    reporter_status(r, "sending tarball", "", 0, 0, true);
    return err;
}

struct error *tar_exporter_run(struct exporter *e, const struct export_context *c,
                               const struct export_source *src, struct map *response)
{
    struct vertex_reporter *r = export_reporter(c, "exporting to client tarball");

    return finished(r, export_tar(e, c, src, r));
}
