/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What look-ups found lately, in memory: a build that finds everything asks for each of its steps twice and
 * for each of its layers and blobs several times, and a statement costs more than all the rest of it.
 *
 * Rows are noted as they are read, with the database's lock held, and whoever writes one forgets it first,
 * with the same lock held.  A row that is remembered is still there: whoever may drop some suspends this
 * first, with the database's lock held, and looks at the holds afterwards; what was held before by what is
 * remembered, it sees.
 */
#include "base/limits.h"
#include "store/internal.h"

static void free_layer_row(void *row)
{
    layer_row_deinit(row);
    free(row);
}

static void forget_chain(void *arg)
{
    layer_chain_forget_locked(arg);
}

void recall_init(struct recall *r)
{
    strmap_init(&r->results);
    strmap_init(&r->came_as);
    strmap_init(&r->whole);
    r->rows.free_value = free_layer_row;
    r->blobs.free_value = free;
    r->layers.free_value = forget_chain;
}

static void drop_cache(struct recall *r)
{
    map_deinit(&r->results);
    map_deinit(&r->layers);
    r->cache_bytes = 0;
}

static void drop_content(struct recall *r)
{
    map_deinit(&r->rows);
    map_deinit(&r->blobs);
    map_deinit(&r->came_as);
    map_deinit(&r->whole);
    r->content_bytes = 0;
}

void recall_deinit(struct recall *r)
{
    drop_cache(r);
    drop_content(r);
}

/* May an entry of so many bytes be added?  One that is replaced counts on: it is a bound, not a sum. */
static bool admit_cache_locked(struct recall *r, size_t bytes)
{
    if (r->suspended > 0)
        return false;
    if (r->cache_bytes + bytes > LIMIT_RECALL)
        drop_cache(r);
    r->cache_bytes += bytes + RECALL_ENTRY;
    return true;
}

static bool admit_content_locked(struct recall *r, size_t bytes)
{
    if (r->suspended > 0)
        return false;
    if (r->content_bytes + bytes > LIMIT_RECALL)
        drop_content(r);
    r->content_bytes += bytes + RECALL_ENTRY;
    return true;
}

static void forget(struct store *s, struct map *m, const char *key)
{
    mutex_lock(&s->lock);
    map_remove(m, key);
    mutex_unlock(&s->lock);
}

void recall_result(struct store *s, const char *key, const char *result)
{
    mutex_lock(&s->lock);
    if (admit_cache_locked(&s->recall, strlen(key) + strlen(result)))
        strmap_set(&s->recall.results, key, result);
    mutex_unlock(&s->lock);
}

char *recall_find_result(struct store *s, const char *key)
{
    mutex_lock(&s->lock);
    char *found = xstrdup(strmap_get(&s->recall.results, key));
    mutex_unlock(&s->lock);
    return found;
}

void recall_layers(struct store *s, const char *snapshot, struct layer_chain *l)
{
    mutex_lock(&s->lock);
    if (admit_cache_locked(&s->recall, strlen(snapshot) + l->count * CHAINED_LAYER)) {
        layer_chain_remember_locked(l);
        map_set(&s->recall.layers, snapshot, l);
    }
    mutex_unlock(&s->lock);
}

struct layer_chain *recall_hold_layers(struct store *s, const char *snapshot)
{
    mutex_lock(&s->lock);
    struct layer_chain *l = map_get(&s->recall.layers, snapshot);
    if (l != NULL)
        layer_chain_hold_again_locked(l);
    mutex_unlock(&s->lock);
    return l;
}

/* ---- layers ----------------------------------------------------------------------------------------------
 */

static void copy_layer_row(struct layer_row *to, const struct layer_row *from)
{
    *to = *from;
    to->id = xstrdup(from->id);
    to->parent = xstrdup(from->parent);
    to->chain = xstrdup(from->chain);
    to->description = xstrdup(from->description);
    to->type = xstrdup(from->type);
}

void recall_layer_row(struct store *s, const struct layer_row *row)
{
    size_t bytes = sizeof(*row) + 2 * strlen(row->id) + strlen(row->parent) + strlen(row->chain) +
                   strlen(row->description) + strlen(row->type);

    mutex_lock(&s->lock);
    if (admit_content_locked(&s->recall, bytes)) {
        struct layer_row *kept = NEW(struct layer_row);

        copy_layer_row(kept, row);
        map_set(&s->recall.rows, row->id, kept);
    }
    mutex_unlock(&s->lock);
}

bool recall_find_layer_row(struct store *s, const char *id, struct layer_row *ret)
{
    mutex_lock(&s->lock);
    const struct layer_row *row = map_get(&s->recall.rows, id);
    if (row != NULL)
        copy_layer_row(ret, row);
    mutex_unlock(&s->lock);
    return row != NULL;
}

void recall_forget_layer_row(struct store *s, const char *id)
{
    forget(s, &s->recall.rows, id);
}

/* ---- blobs -----------------------------------------------------------------------------------------------
 */

void recall_blob(struct store *s, const struct blob_info *info)
{
    mutex_lock(&s->lock);
    if (admit_content_locked(&s->recall, sizeof(*info) + strlen(info->digest.s)))
        map_set(&s->recall.blobs, info->digest.s, xmemdup(info, sizeof(*info)));
    mutex_unlock(&s->lock);
}

bool recall_find_blob(struct store *s, const char *digest, struct blob_info *ret)
{
    mutex_lock(&s->lock);
    const struct blob_info *info = map_get(&s->recall.blobs, digest);
    if (info != NULL)
        *ret = *info;
    mutex_unlock(&s->lock);
    return info != NULL;
}

void recall_forget_blob(struct store *s, const char *digest)
{
    mutex_lock(&s->lock);
    map_remove(&s->recall.blobs, digest);
    map_deinit(&s->recall.came_as); /* a layer may come as this one now */
    mutex_unlock(&s->lock);
}

void recall_came_as(struct store *s, const char *diff_id, const char *descriptor)
{
    mutex_lock(&s->lock);
    if (admit_content_locked(&s->recall, strlen(diff_id) + strlen(descriptor)))
        strmap_set(&s->recall.came_as, diff_id, descriptor);
    mutex_unlock(&s->lock);
}

char *recall_find_came_as(struct store *s, const char *diff_id)
{
    mutex_lock(&s->lock);
    char *found = xstrdup(strmap_get(&s->recall.came_as, diff_id));
    mutex_unlock(&s->lock);
    return found;
}

void recall_forget_came_as(struct store *s, const char *diff_id)
{
    forget(s, &s->recall.came_as, diff_id);
}

void recall_whole(struct store *s, const struct descriptor *target)
{
    mutex_lock(&s->lock);
    if (admit_content_locked(&s->recall, strlen(target->digest.s) + strlen(target->media_type)))
        strmap_set(&s->recall.whole, target->digest.s, target->media_type);
    mutex_unlock(&s->lock);
}

bool recall_is_whole(struct store *s, const struct descriptor *target)
{
    mutex_lock(&s->lock);
    const char *media_type = strmap_get(&s->recall.whole, target->digest.s);
    bool known = media_type != NULL && target->media_type != NULL && streq(media_type, target->media_type);
    mutex_unlock(&s->lock);
    return known;
}

/* ---- rows that go ----------------------------------------------------------------------------------------
 */

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
