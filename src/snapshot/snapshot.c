/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots as objects: lists of held layers. */
#include "snapshot/snapshot.h"

#include <stdatomic.h>

#include "snapshot/internal.h"

#define ID_HEX 32

static void fill_infos(struct snapshot *s)
{
    s->infos = xcalloc(s->count > 0 ? s->count : 1, sizeof(*s->infos));
    for (size_t i = 0; i < s->count; i++) {
        const struct layer_row *r = &s->rows[i];
        s->infos[i] = (struct layer_info){ .id = r->id,
                                           .diff_id = r->diff_id,
                                           .size = r->size,
                                           .created_ns = r->created_ns,
                                           .description = r->description };
    }
}

static struct snapshot *alloc(struct store *s, const char *id, size_t layers)
{
    struct snapshot *snap = NEW(struct snapshot);
    snap->store = s;
    snap->refs = 1;
    snap->id = xstrdup(id);
    snap->rows = xcalloc(layers > 0 ? layers : 1, sizeof(*snap->rows));
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
    for (size_t i = 0; i < s->count; i++) {
        layer_release(s->store, s->rows[i].id);
        layer_row_deinit(&s->rows[i]);
    }
    if (s->release != NULL)
        s->release(s->release_ctx);
    free(s->rows);
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

const struct layer_info *snapshot_layer(const struct snapshot *s, size_t i)
{
    assert(i < s->count);
    return &s->infos[i];
}

const char *snapshot_top(const struct snapshot *s)
{
    return s != NULL && s->count > 0 ? s->rows[s->count - 1].id : "";
}

bool snapshot_is_tree(const struct snapshot *s)
{
    return s->tree != NULL;
}

struct snapshot *snapshot_empty(struct store *s)
{
    struct snapshot *snap = alloc(s, "", 0);
    fill_infos(snap);
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

static struct error *hold_all(struct store *s, const struct strv *layers, struct snapshot *snap)
{
    for (size_t i = 0; i < layers->len; i++) {
        TRY(layer_hold_and_get(s, layers->v[i], &snap->rows[i]));
        snap->count++;
    }
    fill_infos(snap);
    return NULL;
}

static struct error *make(struct store *s, const struct strv *layers, const char *id, struct snapshot **ret)
{
    CLEANUP(snapshot_unrefp) struct snapshot *snap = alloc(s, id, layers->len);
    TRY(hold_all(s, layers, snap));
    if (snap->count > 0)
        layer_touch(s, snapshot_top(snap));
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
        strv_add(list, s->rows[i].id);
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
    CLEANUP(strv_deinit) struct strv layers = { 0 };
    if (*id == '\0') {
        *ret = snapshot_empty(s);
        return NULL;
    }
    TRY(snapshot_row_get(s, id, &layers));
    return err_wrap(make(s, &layers, id, ret), "snapshot %s", id);
}

struct error *snapshot_merge(struct store *s, struct snapshot **list, size_t count, struct snapshot **ret)
{
    CLEANUP(strv_deinit) struct strv all = { 0 };
    CLEANUP(strv_deinit) struct strv layers = { 0 };
    CLEANUP(map_deinit) struct map seen = { 0 };
    for (size_t i = 0; i < count; i++) {
        if (list[i] != NULL && list[i]->tree != NULL)
            return err_new(ERR_INVALID, "a tree snapshot cannot be merged");
        add_layers(&all, list[i], list[i] != NULL ? list[i]->count : 0);
    }
    /* from the top, so that the last place of a layer is the one that counts */
    for (size_t i = all.len; i > 0; i--) {
        if (map_has(&seen, all.v[i - 1])) {
            free(all.v[i - 1]);
            all.v[i - 1] = xstrdup("");
        } else {
            map_set(&seen, all.v[i - 1], (void *)1);
        }
    }
    for (size_t i = 0; i < all.len; i++) {
        if (*all.v[i] != '\0')
            strv_add(&layers, all.v[i]);
    }
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
                                    void (*release)(void *), void *ctx)
{
    struct snapshot *snap = alloc(s, id, 0);
    fill_infos(snap);
    snap->tree = xstrdup(dir_path);
    snap->release = release;
    snap->release_ctx = ctx;
    return snap;
}
