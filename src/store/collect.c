/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nothing reaches is dropped.  Roots: image names, leases and live snapshots, cache records (through
 * their snapshots), and layers that are records of the ledger.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "store/internal.h"

/* ---- dropping --------------------------------------------------------------------------------------------
 */

void trash_deinit(struct trash *t)
{
    strv_deinit(&t->blobs);
    strv_deinit(&t->layers);
    strv_deinit(&t->mounts);
}

/* Move to work/ under names of our own: *moved gets them. */
static void move_away(struct store *s, int dir_fd, const struct strv *names, struct strv *moved)
{
    for (size_t i = 0; i < names->len; i++) {
        char name[LAYER_ID_LEN + 1];
        random_id(name, LAYER_ID_LEN);
        if (renameat(dir_fd, names->v[i], s->work_fd, name) == 0)
            strv_add(moved, name);
        else if (errno != ENOENT) {
            log_warn("cannot move away", "name", names->v[i]);
            atomic_store(&s->orphans, true);
        }
    }
}

struct error *trash_commit(struct store *s, struct trash *t, struct error *e)
{
    CLEANUP(strv_deinit) struct strv moved = { 0 };
    if (e != NULL) {
        db_rollback(&s->db);
        return e;
    }
    e = db_exec(&s->db, "COMMIT", "");
    if (e != NULL) {
        db_rollback(&s->db);
        return e;
    }
    /* Rows first: after a crash here the sweep finds files without rows. Still locked: nobody can publish the
     * same name yet. */
    move_away(s, s->blobs_fd, &t->blobs, &moved);
    move_away(s, s->layers_fd, &t->layers, &moved);
    move_away(s, s->mounts_fd, &t->mounts, &moved);
    db_unlock(&s->db);
    for (size_t i = 0; i < moved.len; i++)
        store_discard(s, moved.v[i]);
    return NULL;
}

struct standing {
    struct map layers;     /* that are going */
    struct strv snapshots; /* that stand on one of them */
};

static struct error *take_standing(void *ctx, sqlite3_stmt *row)
{
    struct standing *st = ctx;
    CLEANUP(strv_deinit) struct strv layers = { 0 };
    bool found = false;
    strv_split(&layers, db_column(row, 1), ' ');
    for (size_t i = 0; i < layers.len && !found; i++)
        found = map_has(&st->layers, layers.v[i]);
    if (found)
        strv_add(&st->snapshots, db_column(row, 0));
    return NULL;
}

struct error *drop_snapshots_of(struct store *s, const struct strv *layers)
{
    struct standing st = { 0 };
    if (layers->len == 0)
        return NULL;
    for (size_t i = 0; i < layers->len; i++)
        map_set(&st.layers, layers->v[i], (void *)1);
    struct error *e = db_query(&s->db, take_standing, &st, "SELECT id, layers FROM snapshots", "");
    for (size_t i = 0; e == NULL && i < st.snapshots.len; i++) {
        e = db_exec(&s->db, "DELETE FROM cache WHERE result = ?", "s", st.snapshots.v[i]);
        if (e == NULL)
            e = db_exec(&s->db, "DELETE FROM snapshots WHERE id = ?", "s", st.snapshots.v[i]);
    }
    map_deinit(&st.layers);
    strv_deinit(&st.snapshots);
    return e;
}

/* ---- marking ---------------------------------------------------------------------------------------------
 */

struct marks {
    struct store *s;
    struct reach images;
    struct map layers;   /* layer ids to keep */
    struct strv targets; /* descriptors of images, as text */
    struct trash trash;
};

static struct error *take_target(void *ctx, sqlite3_stmt *row)
{
    strv_add(ctx, db_column(row, 0));
    return NULL;
}

static struct error *mark_images(struct marks *m)
{
    TRY(db_query(&m->s->db, take_target, &m->targets, "SELECT descriptor FROM images", ""));
    for (size_t i = 0; i < m->targets.len; i++) {
        CLEANUP(descriptor_deinit) struct descriptor d = { 0 };
        json_t *j = json_loads(m->targets.v[i], 0, NULL);
        struct error *e = descriptor_from_json(j, &d);
        json_decref(j);
        if (e == NULL)
            e = reach_target(m->s, &d, &m->images);
        TRY(e);
    }
    return NULL;
}

/* Blobs that a lease holds keep what they reach. */
static struct error *mark_leased(struct marks *m)
{
    CLEANUP(strv_deinit) struct strv held = { 0 };
    mutex_lock(&m->s->lock);
    for (size_t i = 0; i < m->s->blobs_held.len; i++)
        strv_add(&held, m->s->blobs_held.entries[i].key);
    mutex_unlock(&m->s->lock);
    for (size_t i = 0; i < held.len; i++)
        map_set(&m->images.blobs, held.v[i], (void *)1);
    return NULL;
}

static struct error *take_snapshot(void *ctx, sqlite3_stmt *row)
{
    struct marks *m = ctx;
    CLEANUP(strv_deinit) struct strv ids = { 0 };
    strv_split(&ids, db_column(row, 0), ' ');
    for (size_t i = 0; i < ids.len; i++)
        map_set(&m->layers, ids.v[i], (void *)1);
    return NULL;
}

static bool layer_kept(struct marks *m, const char *id, const char *diff_id, bool record)
{
    return record || map_has(&m->layers, id) || layer_is_held(m->s, id) ||
           (*diff_id != '\0' && map_has(&m->images.diff_ids, diff_id)) ||
           (*diff_id != '\0' && map_has(&m->images.blobs, diff_id));
}

static struct error *mark_layer(void *ctx, sqlite3_stmt *row)
{
    struct marks *m = ctx;
    const char *id = db_column(row, 0);
    if (layer_kept(m, id, db_column(row, 1), sqlite3_column_int(row, 2) != 0)) {
        map_set(&m->layers, id, (void *)1);
        return NULL;
    }
    strv_add(&m->trash.layers, id);
    m->trash.bytes += sqlite3_column_int64(row, 3);
    return NULL;
}

static struct error *mark_blob(void *ctx, sqlite3_stmt *row)
{
    struct marks *m = ctx;
    const char *digest = db_column(row, 0);
    const char *layer = db_column(row, 2);
    if (map_has(&m->images.blobs, digest) || blob_is_held(m->s, digest))
        return NULL;
    if (*layer != '\0' && map_has(&m->layers, layer))
        return NULL; /* costs nothing as long as its layer stays */
    if (*layer == '\0') {
        strv_add(&m->trash.blobs, digest + 7);
        m->trash.bytes += sqlite3_column_int64(row, 1);
    }
    return NULL;
}

/* A pulled layer is exported from the registry's blob: its directory alone need not give the same bytes. */
static struct error *mark_layer_blob(void *ctx, sqlite3_stmt *row)
{
    struct marks *m = ctx;
    if (map_has(&m->layers, db_column(row, 1)))
        map_set(&m->images.blobs, db_column(row, 0), (void *)1);
    return NULL;
}

static struct error *drop_rows(struct marks *m)
{
    struct db *db = &m->s->db;
    TRY(drop_snapshots_of(m->s, &m->trash.layers));
    for (size_t i = 0; i < m->trash.layers.len; i++) {
        const char *id = m->trash.layers.v[i];
        TRY(db_exec(db, "DELETE FROM layers WHERE id = ?", "s", id));
        TRY(db_exec(db, "DELETE FROM blobs WHERE layer = ?", "s", id));
    }
    for (size_t i = 0; i < m->trash.blobs.len; i++) {
        CLEANUP(freep) char *digest = xasprintf("sha256:%s", m->trash.blobs.v[i]);
        TRY(db_exec(db, "DELETE FROM blobs WHERE digest = ?", "s", digest));
        TRY(db_exec(db, "DELETE FROM diff_id_blobs WHERE digest = ?", "s", digest));
        TRY(db_exec(db,
                    "DELETE FROM facts WHERE key > 'document/' || ? || '/' AND key < 'document/' || ? || '0'",
                    "ss", digest, digest));
        TRY(db_exec(db, "DELETE FROM facts WHERE key = 'source/' || ? OR (key LIKE 'layer/%' AND value = ?)",
                    "ss", digest, digest));
    }
    /* chain keys without a result (solver/stage.c) lead to such as have one */
    return db_exec(db,
                   "DELETE FROM cache WHERE result = '?' AND NOT EXISTS "
                   "(SELECT 1 FROM cache WHERE key LIKE 'chain-%' AND result <> '?')",
                   "");
}

static struct error *mark_and_drop(struct marks *m)
{
    TRY(mark_images(m));
    TRY(mark_leased(m));
    TRY(db_query(&m->s->db, take_snapshot, m,
                 "SELECT layers FROM snapshots WHERE id IN (SELECT result FROM cache)", ""));
    TRY(db_query(&m->s->db, mark_layer, m, "SELECT id, coalesce(diff_id, ''), record, size FROM layers", ""));
    TRY(db_query(
        &m->s->db, mark_layer_blob, m,
        "SELECT d.digest, l.id FROM diff_id_blobs d JOIN layers l ON l.diff_id = d.diff_id WHERE NOT EXISTS "
        "(SELECT 1 FROM blobs b WHERE b.digest = l.diff_id AND coalesce(b.layer, '') <> '')",
        ""));
    TRY(db_query(&m->s->db, mark_blob, m, "SELECT digest, size, layer FROM blobs", ""));
    return drop_rows(m);
}

struct error *store_collect(struct store *s, int64_t *ret_bytes)
{
    struct marks m = { .s = s };
    struct error *e = db_begin(&s->db);
    if (e == NULL) {
        recall_suspend(s);
        e = trash_commit(s, &m.trash, mark_and_drop(&m));
        recall_resume(s);
    }
    if (e == NULL && ret_bytes != NULL)
        *ret_bytes = m.trash.bytes;
    reach_deinit(&m.images);
    map_deinit(&m.layers);
    strv_deinit(&m.targets);
    trash_deinit(&m.trash);
    return e;
}
