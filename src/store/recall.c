/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What look-ups in the cache found lately, in memory: a build that finds everything asks for each of its
 * steps twice, and a statement costs more than all the rest of it.
 *
 * A row that is remembered is still there: whoever may drop some suspends this first, with the database's
 * lock held, and looks at the holds afterwards; what was held before by what is remembered, it sees.
 */
#include "base/limits.h"
#include "store/internal.h"

void recall_init(struct recall *r)
{
    strmap_init(&r->results);
    strmap_init(&r->layers);
}

void recall_deinit(struct recall *r)
{
    map_deinit(&r->results);
    map_deinit(&r->layers);
    r->bytes = 0;
}

static void note_locked(struct store *s, struct map *m, const char *key, const char *value)
{
    struct recall *r = &s->recall;
    size_t bytes = strlen(key) + strlen(value) + RECALL_ENTRY;

    if (r->suspended > 0)
        return;
    if (r->bytes + bytes > LIMIT_RECALL)
        recall_deinit(r);
    strmap_set(m, key, value);
    r->bytes += bytes; /* one that was replaced counts on: it is a bound, not a sum */
}

void recall_result(struct store *s, const char *key, const char *result)
{
    mutex_lock(&s->lock);
    note_locked(s, &s->recall.results, key, result);
    mutex_unlock(&s->lock);
}

char *recall_find_result(struct store *s, const char *key)
{
    mutex_lock(&s->lock);
    char *found = xstrdup(strmap_get(&s->recall.results, key));
    mutex_unlock(&s->lock);
    return found;
}

void recall_layers(struct store *s, const char *snapshot, const char *layers)
{
    mutex_lock(&s->lock);
    note_locked(s, &s->recall.layers, snapshot, layers);
    mutex_unlock(&s->lock);
}

bool recall_hold_layers(struct store *s, const char *snapshot, struct strv *ret)
{
    mutex_lock(&s->lock);
    const char *list = strmap_get(&s->recall.layers, snapshot);
    if (list != NULL) {
        strv_split(ret, list, ' ');
        for (size_t i = 0; i < ret->len; i++)
            hold_add_locked(&s->layers_held, ret->v[i]);
    }
    mutex_unlock(&s->lock);
    return list != NULL;
}

void recall_suspend(struct store *s)
{
    mutex_lock(&s->lock);
    s->recall.suspended++;
    recall_deinit(&s->recall);
    mutex_unlock(&s->lock);
}

void recall_resume(struct store *s)
{
    mutex_lock(&s->lock);
    s->recall.suspended--;
    mutex_unlock(&s->lock);
}
