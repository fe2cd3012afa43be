/* SPDX-License-Identifier: Apache-2.0 */
#include "export/layers.h"

#include "base/limits.h"
#include "store/layer.h"
#include "store/layer_tar.h"
#include "task/task.h"

#define CHUNK (256 * KIB)

void layer_list_deinit(struct layer_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        descriptor_deinit(&l->blobs[i]);
    free(l->blobs);
    free(l->diff_ids);
    *l = (struct layer_list){ 0 };
}

/* Some work for each layer, in a few tasks that take one after the other. */
struct layer_work {
    struct mutex lock;
    size_t next, count;
    struct error *(*fn)(void *ctx, size_t i);
    void *ctx;
};

static struct error *work_task(void *arg)
{
    struct layer_work *w = arg;

    for (;;) {
        mutex_lock(&w->lock);
        size_t i = w->next;

        if (i < w->count)
            w->next++;
        mutex_unlock(&w->lock);
        if (i >= w->count)
            return NULL;
        TRY(w->fn(w->ctx, i));
    }
}

static struct error *for_each_layer(size_t count, struct error *(*fn)(void *ctx, size_t i), void *ctx)
{
    struct layer_work w = { .count = count, .fn = fn, .ctx = ctx };
    struct error *e = NULL;
    struct group g;

    mutex_init(&w.lock);
    group_open(&g, 0);
    for (size_t i = 0; e == NULL && i < MIN(count, (size_t)LIMIT_COMPRESS_TASKS); i++)
        e = group_spawn(&g, "export layers", work_task, &w);
    e = group_finish(&g, e);
    mutex_deinit(&w.lock);
    return e;
}

/* ---- collecting ---- */

struct collect {
    struct snapshot *snapshot;
    struct store *store;
    struct lease *lease;
    const struct layer_format *format;
    struct layer_list *list;
};

static bool no_work(const struct collect *c, size_t i)
{
    return snapshot_layer(c->snapshot, i)->diff_id.s[0] != '\0' && c->format->keep_plain && !c->format->force;
}

static struct error *collect_one(void *ctx, size_t i)
{
    struct collect *c = ctx;
    CLEANUP(descriptor_deinit) struct descriptor have = { 0 };
    struct digest *diff_id = &c->list->diff_ids[i];
    int64_t size;

    if (c->list->blobs[i].media_type != NULL)
        return NULL;
    TRY(snapshot_layer_diff_id(c->snapshot, i, diff_id, &size));
    TRY(snapshot_layer_blob(c->snapshot, i, &have));
    return layer_compress(c->store, c->lease, diff_id, &have, c->format, &c->list->blobs[i]);
}

struct error *layers_collect(struct snapshot *s, struct store *store, struct lease *lease,
                             const struct layer_format *f, struct layer_list *ret)
{
    size_t n = s == NULL ? 0 : snapshot_layer_count(s), waiting = 0;
    struct collect c = { s, store, lease, f, ret };

    ret->blobs = xcalloc(n + 1, sizeof(*ret->blobs));
    ret->diff_ids = xcalloc(n + 1, sizeof(*ret->diff_ids));
    ret->count = ret->kept = n;
    for (size_t i = 0; i < n; i++) { /* no task for what is only looked up */
        if (no_work(&c, i))
            TRY(collect_one(&c, i));
        else
            waiting++;
    }
    if (waiting == 1) {
        for (size_t i = 0; i < n; i++)
            TRY(collect_one(&c, i));
        return NULL;
    }
    return waiting == 0 ? NULL : for_each_layer(n, collect_one, &c);
}

static struct error *known_blob(struct store *s, const struct digest *diff_id, struct descriptor *ret,
                                bool *ret_found)
{
    struct blob_info info;

    TRY(diff_id_blob_find(s, diff_id, NULL, ret, ret_found));
    if (*ret_found)
        return NULL;
    struct error *e = blob_stat(s, diff_id, &info);

    if (err_is(e, ERR_NOT_FOUND)) {
        err_free(e);
        return NULL;
    }
    TRY(e);
    descriptor_init(ret, MT_OCI_LAYER, diff_id, info.size);
    *ret_found = true;
    return NULL;
}

struct error *layer_known(struct store *s, const char *id, struct descriptor *ret, bool *ret_found)
{
    struct layer_row row;
    struct error *e = NULL;

    *ret_found = false;
    TRY(layer_get(s, id, &row));
    if (row.diff_id.s[0] != '\0')
        e = known_blob(s, &row.diff_id, ret, ret_found);
    layer_row_deinit(&row);
    return e;
}

struct item_collect {
    struct layer_item *items;
    struct store *store;
    struct lease *lease;
    const struct layer_format *format;
};

static struct error *collect_item(void *ctx, size_t i)
{
    struct item_collect *c = ctx;
    CLEANUP(descriptor_deinit) struct descriptor have = { 0 };
    struct layer_item *item = &c->items[i];
    int64_t size;

    if (item->blob.media_type != NULL)
        return NULL;
    TRY(snapshot_layer_diff_id(item->snapshot, item->index, &item->diff_id, &size));
    TRY(snapshot_layer_blob(item->snapshot, item->index, &have));
    lease_add_blob(c->lease, &have.digest);
    return layer_compress(c->store, c->lease, &item->diff_id, &have, c->format, &item->blob);
}

struct error *layers_collect_items(struct layer_item *items, size_t count, struct store *store,
                                   struct lease *lease, const struct layer_format *f)
{
    struct item_collect c = { items, store, lease, f };

    return count == 0 ? NULL : for_each_layer(count, collect_item, &c);
}

/* ---- times ---- */

struct clamp {
    struct snapshot *snapshot;
    struct store *store;
    int64_t epoch_s;
    struct layer_source *sources;
    bool *keep; /* the base image's */
};

static struct error *open_layer(void *ctx, size_t i, struct stream **ret)
{
    struct clamp *c = ctx;
    const char *id = snapshot_layer(c->snapshot, i)->id;
    CLEANUP(closep) int fd = layer_dir(c->store, id);

    TRY_SYS(fd, "open layer %s", id);
    return err_wrap(layer_tar_open_clamped(fd, c->keep[i] ? INT64_MAX : c->epoch_s, ret), "layer %s", id);
}

static struct error *digest_clamped(void *ctx, size_t i)
{
    struct clamp *c = ctx;
    CLEANUP(stream_closep) struct stream *in = NULL;
    CLEANUP(hasher_freep) struct hasher *h = hasher_new();
    CLEANUP(freep) char *chunk = xmalloc(CHUNK);
    ssize_t n;

    if (c->keep[i])
        return NULL;
    TRY(open_layer(c, i, &in));
    while ((n = stream_read(in, chunk, CHUNK)) > 0)
        hasher_add(h, chunk, (size_t)n);
    if (n < 0)
        return task_error((int)n, "read layer %s", snapshot_layer(c->snapshot, i)->id);
    c->sources[i].diff_id = hasher_sum(h);
    return NULL;
}

struct error *layers_clamp(struct snapshot *s, struct store *store, struct lease *lease, int64_t epoch_s,
                           const struct digest *base, size_t base_count, size_t *ret_kept,
                           struct snapshot **ret)
{
    size_t n = snapshot_layer_count(s);
    CLEANUP(freep) struct layer_source *sources = xcalloc(n + 1, sizeof(*sources));
    CLEANUP(freep) bool *keep = xcalloc(n + 1, sizeof(*keep));
    struct clamp c = { s, store, epoch_s, sources, keep };
    bool diverged = false;

    *ret_kept = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t size;

        sources[i] = (struct layer_source){ .open = open_layer, .ctx = &c };
        TRY(snapshot_layer_diff_id(s, i, &sources[i].diff_id, &size));
        diverged = diverged || i >= base_count || !digest_eq(&sources[i].diff_id, &base[i]);
        keep[i] = !diverged;
        *ret_kept += keep[i] ? 1 : 0;
    }
    TRY(for_each_layer(n, digest_clamped, &c));
    return snapshot_unpack(store, sources, n, lease, ret);
}
