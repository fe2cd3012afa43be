/* SPDX-License-Identifier: Apache-2.0 */
/* Leases live in memory: after a restart nobody runs who could hold one. */
#include "store/internal.h"

struct lease {
    struct store *store;
    struct strv blobs, layers;
};

void hold_add_locked(struct map *m, const char *key)
{
    uintptr_t count = (uintptr_t)map_get(m, key);
    map_set(m, key, (void *)(count + 1));
}

void hold_drop_locked(struct map *m, const char *key)
{
    uintptr_t count = (uintptr_t)map_get(m, key);
    assert(count > 0);
    if (count == 1)
        map_remove(m, key);
    else
        map_set(m, key, (void *)(count - 1));
}

bool blob_is_held(struct store *s, const char *digest)
{
    mutex_lock(&s->lock);
    bool held = map_has(&s->blobs_held, digest);
    mutex_unlock(&s->lock);
    return held;
}

bool layer_is_held(struct store *s, const char *layer_id)
{
    mutex_lock(&s->lock);
    bool held = map_has(&s->layers_held, layer_id) || layer_is_chained_locked(s, layer_id);
    mutex_unlock(&s->lock);
    return held;
}

struct error *lease_open(struct store *s, struct lease **ret)
{
    struct lease *l = NEW(struct lease);
    l->store = s;
    *ret = l;
    return NULL;
}

static void add(struct lease *l, struct strv *list, struct map *m, const char *key)
{
    mutex_lock(&l->store->lock);
    strv_add(list, key);
    hold_add_locked(m, key);
    mutex_unlock(&l->store->lock);
}

void lease_add_blob(struct lease *l, const struct digest *d)
{
    add(l, &l->blobs, &l->store->blobs_held, d->s);
}

void lease_add_layer(struct lease *l, const char *layer_id)
{
    add(l, &l->layers, &l->store->layers_held, layer_id);
}

void lease_close(struct lease *l)
{
    if (l == NULL)
        return;
    mutex_lock(&l->store->lock);
    for (size_t i = 0; i < l->blobs.len; i++)
        hold_drop_locked(&l->store->blobs_held, l->blobs.v[i]);
    for (size_t i = 0; i < l->layers.len; i++)
        hold_drop_locked(&l->store->layers_held, l->layers.v[i]);
    mutex_unlock(&l->store->lock);
    strv_deinit(&l->blobs);
    strv_deinit(&l->layers);
    free(l);
}
