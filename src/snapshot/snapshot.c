/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots as objects: lists of held layers. */
#include "snapshot/snapshot.h"

#include <stdatomic.h>

#include "base/limits.h"
#include "snapshot/internal.h"
#include "task/task.h"

#define ID_HEX 32

static struct mutex loading = MUTEX_INIT;

static struct layer_info *make_infos(const struct layer_row *rows, size_t count)
{
    struct layer_info *infos = xcalloc(count > 0 ? count : 1, sizeof(*infos));
    for (size_t i = 0; i < count; i++) {
        const struct layer_row *r = &rows[i];
        infos[i] = (struct layer_info){ .id = r->id,
                                        .diff_id = r->diff_id,
                                        .size = r->size,
                                        .created_ns = r->created_ns,
                                        .description = r->description };
    }
    return infos;
}

static void free_rows(struct layer_row *rows, size_t count)
{
    for (size_t i = 0; rows != NULL && i < count; i++)
        layer_row_deinit(&rows[i]);
    free(rows);
}

/* `held` (may be NULL) is taken. */
static struct snapshot *alloc(struct store *s, const char *id, struct layer_chain *held)
{
    struct snapshot *snap = NEW(struct snapshot);
    snap->store = s;
    snap->refs = 1;
    snap->id = xstrdup(id);
    snap->held = held;
    snap->layers = held == NULL ? NULL : held->ids;
    snap->count = held == NULL ? 0 : held->count;
    return snap;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
    if (s != NULL)
        __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void snapshot_unref(struct snapshot *s)
{
    if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    free_rows(s->rows, s->count);
    layer_chain_release(s->held);
    if (s->tree != NULL)
        s->tree_ops->release(s->tree_ctx);
    free(s->infos);
    free(s->id);
    free(s->tree);
    free(s);
}

void snapshot_unrefp(struct snapshot **s)
{
    snapshot_unref(TAKE(*s));
}

const char *snapshot_id(const struct snapshot *s)
{
    return s->id;
}

size_t snapshot_layer_count(const struct snapshot *s)
{
    return s->count;
}

const char *snapshot_layer_id(const struct snapshot *s, size_t i)
{
    assert(i < s->count);
    return s->layers[i];
}

const struct layer_info *snapshot_layer(const struct snapshot *s, size_t i)
{
    const struct layer_info *infos = __atomic_load_n(&s->infos, __ATOMIC_ACQUIRE);
    assert(i < s->count && infos != NULL);
    return &infos[i];
}

const char *snapshot_top(const struct snapshot *s)
{
    return s != NULL && s->count > 0 ? s->layers[s->count - 1] : "";
}

bool snapshot_is_tree(const struct snapshot *s)
{
    return s->tree != NULL;
}

struct snapshot *snapshot_empty(struct store *s)
{
    struct snapshot *snap = alloc(s, "", NULL);
    snap->infos = make_infos(NULL, 0);
    return snap;
}

static void make_id(const struct strv *layers, char dst[ID_HEX + 1])
{
    CLEANUP(freep) char *joined = strv_join(layers, " ");
    struct digest d = digest_of(joined, strlen(joined));
    memcpy(dst, digest_hex(&d), ID_HEX);
    dst[ID_HEX] = '\0';
    if (layers->len == 0)
        dst[0] = '\0';
}

static struct error *get_rows(const struct snapshot *s, struct layer_row *rows)
{
    for (size_t i = 0; i < s->count; i++)
        TRY(layer_get(s->store, s->layers[i], &rows[i]));
    return NULL;
}

/* Several may do it at once: the first stands. */
struct error *snapshot_load(struct snapshot *s)
{
    if (__atomic_load_n(&s->infos, __ATOMIC_ACQUIRE) != NULL)
        return NULL;
    struct layer_row *rows = xcalloc(s->count > 0 ? s->count : 1, sizeof(*rows));
    struct error *e = get_rows(s, rows);
    if (e != NULL) {
        free_rows(rows, s->count);
        return err_wrap(e, "snapshot %s", s->id);
    }
    struct layer_info *infos = make_infos(rows, s->count);
    mutex_lock(&loading);
    bool first = s->infos == NULL;
    if (first) {
        s->rows = rows;
        __atomic_store_n(&s->infos, infos, __ATOMIC_RELEASE);
    }
    mutex_unlock(&loading);
    if (!first) {
        free(infos);
        free_rows(rows, s->count);
    }
    return NULL;
}

static struct snapshot *of_held(struct store *s, struct layer_chain *layers, const char *id)
{
    struct snapshot *snap = alloc(s, id, layers);
    if (snap->count > 0)
        layer_touch(s, snapshot_top(snap));
    return snap;
}

static struct error *make(struct store *s, const struct strv *layers, const char *id, struct snapshot **ret)
{
    CLEANUP(snapshot_unrefp)
    struct snapshot *snap = of_held(s, layer_chain_hold(s, layers->v, layers->len), id);
    TRY(snapshot_load(snap)); /* are they all there? */
    *ret = TAKE(snap);
    return NULL;
}

struct error *snapshot_make(struct store *s, const struct strv *layers, struct snapshot **ret)
{
    char id[ID_HEX + 1];
    struct snapshot *snap;
    make_id(layers, id);
    TRY(make(s, layers, id, &snap));
    struct error *e = layers->len > 0 ? snapshot_row_put(s, id, layers) : NULL;
    if (e != NULL)
        snapshot_unref(snap);
    else
        *ret = snap;
    return e;
}

static void add_layers(struct strv *list, const struct snapshot *s, size_t count)
{
    for (size_t i = 0; s != NULL && i < count; i++)
        strv_add(list, s->layers[i]);
}

struct error *snapshot_extend(struct store *s, struct snapshot *base, const char *layer_id,
                              struct snapshot **ret)
{
    CLEANUP(strv_deinit) struct strv layers = { 0 };
    add_layers(&layers, base, base != NULL ? base->count : 0);
    strv_add(&layers, layer_id);
    return snapshot_make(s, &layers, ret);
}

struct error *snapshot_get(struct store *s, const char *id, struct snapshot **ret)
{
    CLEANUP(snapshot_unrefp) struct snapshot *snap = NULL;
    TRY(snapshot_find(s, id, &snap));
    TRY(snapshot_load(snap));
    *ret = TAKE(snap);
    return NULL;
}

struct error *snapshot_find(struct store *s, const char *id, struct snapshot **ret)
{
    struct layer_chain *layers;
    if (*id == '\0') {
        *ret = snapshot_empty(s);
        return NULL;
    }
    TRY(snapshot_row_hold(s, id, &layers));
    *ret = of_held(s, layers, id);
    return NULL;
}

/* From the top: what a layer says stands or falls with its uppermost place. */
static void drop_repeated(struct strv *layers)
{
    CLEANUP(strv_deinit) struct strv all = *layers;
    CLEANUP(map_deinit) struct map seen = { 0 };
    *layers = (struct strv){ 0 };
    for (size_t i = all.len; i > 0; i--) {
        if (map_has(&seen, all.v[i - 1]))
            *all.v[i - 1] = '\0';
        else
            map_set(&seen, all.v[i - 1], (void *)1);
    }
    for (size_t i = 0; i < all.len; i++) {
        if (*all.v[i] != '\0')
            strv_add(layers, all.v[i]);
    }
}

struct error *snapshot_merge(struct store *s, struct snapshot **list, size_t count, struct snapshot **ret)
{
    CLEANUP(strv_deinit) struct strv layers = { 0 };
    size_t bound =
        LIMIT_REPEATED_LAYERS; /* doubled, so that merges of merges neither grow nor take for ever */
    for (size_t i = 0; i < count; i++) {
        if (list[i] != NULL && list[i]->tree != NULL)
            return err_new(ERR_INVALID, "a tree snapshot cannot be merged");
        add_layers(&layers, list[i], list[i] != NULL ? list[i]->count : 0);
        if (layers.len > bound) {
            drop_repeated(&layers);
            bound = MAX(bound, layers.len * 2);
        }
    }
    if (layers.len > LIMIT_REPEATED_LAYERS)
        drop_repeated(&layers);
    return snapshot_make(s, &layers, ret);
}

struct error *snapshot_prefix(struct snapshot *s, size_t count, struct snapshot **ret)
{
    CLEANUP(strv_deinit) struct strv layers = { 0 };
    assert(count <= s->count && s->tree == NULL);
    add_layers(&layers, s, count);
    return snapshot_make(s->store, &layers, ret);
}

struct snapshot *snapshot_from_tree(struct store *s, const char *id, const char *dir_path,
                                    const struct tree_ops *ops, void *ctx)
{
    struct snapshot *snap = alloc(s, id, NULL);
    snap->infos = make_infos(NULL, 0);
    snap->tree = xstrdup(dir_path);
    snap->tree_ops = ops;
    snap->tree_ctx = ctx;
    return snap;
}

void *snapshot_tree_ctx(const struct snapshot *s, const struct tree_ops *ops)
{
    return s->tree_ops == ops ? s->tree_ctx : NULL;
}
