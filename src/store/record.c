/* SPDX-License-Identifier: Apache-2.0 */
/* Cache records, facts, and the last uses that are written in batches. */
#include "base/bytes.h"
#include "store/internal.h"

#define BUMPS_MAX 4096 /* waiting uses before somebody writes them */

void bump_note(struct store *s, struct map *m, const char *key)
{
    mutex_lock(&s->lock);
    struct bump *b = map_get(m, key);
    if (b == NULL) {
        b = NEW(struct bump);
        map_set(m, key, b);
    }
    b->last_ns = now_ns();
    b->count++;
    bool full = m->len >= BUMPS_MAX;
    mutex_unlock(&s->lock);
    if (full)
        err_free(bumps_flush(s)); /* what is lost here is a time of use */
}

static struct error *write_bumps(struct store *s, struct map *cache, struct map *layers, struct map *mounts)
{
    for (size_t i = 0; i < mounts->len; i++) {
        const struct bump *b = mounts->entries[i].value;
        TRY(db_exec(&s->db,
                    "UPDATE cache_mounts SET last_used_ns = ?, usage_count = usage_count + ? WHERE id = ?",
                    "iis", b->last_ns, b->count, mounts->entries[i].key));
    }
    for (size_t i = 0; i < cache->len; i++) {
        const struct bump *b = cache->entries[i].value;
        TRY(db_exec(&s->db, "UPDATE cache SET last_used_ns = ? WHERE key = ?", "is", b->last_ns,
                    cache->entries[i].key));
    }
    for (size_t i = 0; i < layers->len; i++) {
        const struct bump *b = layers->entries[i].value;
        TRY(db_exec(&s->db, "UPDATE layers SET last_used_ns = ?, usage_count = usage_count + ? WHERE id = ?",
                    "iis", b->last_ns, b->count, layers->entries[i].key));
    }
    return NULL;
}

struct error *bumps_flush(struct store *s)
{
    mutex_lock(&s->lock);
    struct map cache = s->cache_bumps;
    struct map layers = s->layer_bumps;
    struct map mounts = s->mount_bumps;
    s->mount_bumps = (struct map){ .free_value = free };
    s->cache_bumps = (struct map){ .free_value = free };
    s->layer_bumps = (struct map){ .free_value = free };
    mutex_unlock(&s->lock);
    struct error *e = NULL;
    if (cache.len > 0 || layers.len > 0 || mounts.len > 0) {
        e = db_begin(&s->db);
        if (e == NULL)
            e = db_end(&s->db, write_bumps(s, &cache, &layers, &mounts));
    }
    map_deinit(&cache);
    map_deinit(&layers);
    map_deinit(&mounts);
    return e;
}

struct error *cache_put(struct store *s, const char *key, const char *result_id, const void *preimage,
                        size_t len)
{
    int64_t now = now_ns();
    TRY(db_lock(&s->db));
    struct error *e;
    if (preimage != NULL)
        e = db_exec(&s->db,
                    "INSERT OR REPLACE INTO cache(key, result, preimage, created_ns, last_used_ns) VALUES(?, "
                    "?, ?, ?, ?)",
                    "ssbii", key, result_id, preimage, len, now, now);
    else
        e = db_exec(&s->db,
                    "INSERT OR REPLACE INTO cache(key, result, created_ns, last_used_ns) VALUES(?, ?, ?, ?)",
                    "ssii", key, result_id, now, now);
    if (e == NULL)
        recall_result(s, key, result_id);
    db_unlock(&s->db);
    return e;
}

struct error *cache_find(struct store *s, const char *key, char **ret_result_id)
{
    char *result = recall_find_result(s, key);
    if (result == NULL) {
        TRY(db_lock(&s->db));
        struct error *e = db_text(&s->db, &result, "SELECT result FROM cache WHERE key = ?", "s", key);
        if (result != NULL)
            recall_result(s, key, result);
        db_unlock(&s->db);
        TRY(e);
    }
    if (result != NULL)
        bump_note(s, &s->cache_bumps, key);
    *ret_result_id = result;
    return NULL;
}

struct walk {
    bool (*fn)(void *ctx, const char *key, const char *result, const void *preimage, size_t len);
    void *ctx;
    bool stopped;
};

static struct error *walk_row(void *ctx, sqlite3_stmt *row)
{
    struct walk *w = ctx;
    const void *preimage = sqlite3_column_blob(row, 2);
    size_t len = (size_t)sqlite3_column_bytes(row, 2);
    if (!w->stopped && !w->fn(w->ctx, db_column(row, 0), db_column(row, 1), preimage, len))
        w->stopped = true;
    return NULL;
}

struct error *cache_walk(struct store *s,
                         bool (*fn)(void *ctx, const char *key, const char *result, const void *preimage,
                                    size_t len),
                         void *ctx)
{
    struct walk w = { fn, ctx, false };
    TRY(db_lock(&s->db));
    struct error *e = db_query(
        &s->db, walk_row, &w,
        "SELECT key, result, preimage FROM cache WHERE preimage IS NOT NULL ORDER BY created_ns DESC", "");
    db_unlock(&s->db);
    return e;
}

struct error *fact_get(struct store *s, const char *key, char **ret)
{
    TRY(db_lock(&s->db));
    struct error *e = db_text(&s->db, ret, "SELECT value FROM facts WHERE key = ?", "s", key);
    db_unlock(&s->db);
    return e;
}

struct error *fact_put(struct store *s, const char *key, const char *value)
{
    TRY(db_lock(&s->db));
    struct error *e = value != NULL ? db_exec(&s->db, "INSERT OR REPLACE INTO facts(key, value) VALUES(?, ?)",
                                              "ss", key, value)
                                    : db_exec(&s->db, "DELETE FROM facts WHERE key = ?", "s", key);
    db_unlock(&s->db);
    return e;
}

static struct error *take_fact(void *ctx, sqlite3_stmt *row)
{
    strmap_set(ctx, db_column(row, 0), db_column(row, 1));
    return NULL;
}

struct error *fact_list(struct store *s, const char *prefix, struct map *ret)
{
    CLEANUP(freep) char *end = xasprintf("%s\xff", prefix);
    TRY(db_lock(&s->db));
    struct error *e =
        db_query(&s->db, take_fact, ret,
                 "SELECT key, value FROM facts WHERE key >= ? AND key < ? ORDER BY key", "ss", prefix, end);
    db_unlock(&s->db);
    return e;
}
