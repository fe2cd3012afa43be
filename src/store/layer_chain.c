/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layer_chain.c - layers of snapshots, held as a whole
 *
 * The results of a build stand on each other, so a layer is in many chains.  A chain keeps a pointer to each
 * of its layers' counts: to hold it once more, as every look-up that finds it does, costs no search.
 */
#include "store/internal.h"

/* A layer that some chain names; in store.chained_layers, under store.lock. */
struct chained_layer {
    size_t chains; /* that name it */
    size_t holds;  /* of those, that are held */
    char id[];
};

struct held_chain {
    struct layer_chain chain; /* first: what others see */
    struct store *store;
    size_t holds, memories; /* under store.lock */
    struct chained_layer *layers[];
};

static struct held_chain *of(struct layer_chain *l)
{
    return CONTAINER_OF(l, struct held_chain, chain);
}

static struct chained_layer *name_locked(struct store *s, const char *id)
{
    struct chained_layer *l = map_get(&s->chained_layers, id);

    if (l == NULL) {
        size_t len = strlen(id);

        l = xcalloc(1, sizeof(*l) + len + 1);
        memcpy(l->id, id, len);
        map_set(&s->chained_layers, id, l);
    }
    l->chains++;
    return l;
}

static void free_unused_locked(struct held_chain *h)
{
    if (h->holds > 0 || h->memories > 0)
        return;
    for (size_t i = 0; i < h->chain.count; i++) {
        struct chained_layer *l = h->layers[i];

        if (--l->chains > 0)
            continue;
        map_remove(&h->store->chained_layers, l->id);
        free(l);
    }
    free((void *)h->chain.ids);
    free(h);
}

static void hold_locked(struct held_chain *h)
{
    if (h->holds++ > 0)
        return;
    for (size_t i = 0; i < h->chain.count; i++)
        h->layers[i]->holds++;
}

struct layer_chain *layer_chain_hold(struct store *s, char *const *ids, size_t count)
{
    struct held_chain *h = xcalloc(1, sizeof(*h) + count * sizeof(h->layers[0]));
    char **names = xcalloc(count + 1, sizeof(*names));

    h->store = s;
    h->chain = (struct layer_chain){ names, count };
    mutex_lock(&s->lock);
    for (size_t i = 0; i < count; i++) {
        h->layers[i] = name_locked(s, ids[i]);
        names[i] = h->layers[i]->id;
    }
    hold_locked(h);
    mutex_unlock(&s->lock);
    return &h->chain;
}

struct layer_chain *layer_chain_hold_again_locked(struct layer_chain *l)
{
    hold_locked(of(l));
    return l;
}

void layer_chain_release(struct layer_chain *l)
{
    struct held_chain *h = l == NULL ? NULL : of(l);
    struct store *s;

    if (h == NULL)
        return;
    s = h->store;
    mutex_lock(&s->lock);
    if (--h->holds == 0) {
        for (size_t i = 0; i < l->count; i++)
            h->layers[i]->holds--;
        free_unused_locked(h);
    }
    mutex_unlock(&s->lock);
}

void layer_chain_remember_locked(struct layer_chain *l)
{
    of(l)->memories++;
}

void layer_chain_forget_locked(struct layer_chain *l)
{
    of(l)->memories--;
    free_unused_locked(of(l));
}

bool layer_is_chained_locked(struct store *s, const char *id)
{
    const struct chained_layer *l = map_get(&s->chained_layers, id);

    return l != NULL && l->holds > 0;
}
