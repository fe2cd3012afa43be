/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of layers, snapshots and cache mounts. */
#include "store/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "store/internal.h"

void layer_row_deinit(struct layer_row *r)
{
    free(r->id);
    free(r->parent);
    free(r->chain);
    free(r->description);
    free(r->type);
    memset(r, 0, sizeof(*r));
}

/* ---- layers ----------------------------------------------------------------------------------------------
 */

static struct error *insert_layer(struct store *s, const struct layer_row *r)
{
    return db_exec(&s->db,
                   "INSERT INTO layers(id, parent, diff_id, tar_size, chain, size, created_ns, last_used_ns, "
                   "usage_count, "
                   "description, type, record) VALUES(?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
                   "sssisiiissi", r->id, r->parent != NULL ? r->parent : "",
                   r->diff_id.s[0] != '\0' ? r->diff_id.s : NULL, r->tar_size,
                   r->chain != NULL ? r->chain : "", r->size, r->created_ns, r->created_ns,
                   r->description != NULL ? r->description : "",
                   r->type != NULL && *r->type != '\0' ? r->type : "regular", (int64_t)!r->no_record);
}

struct error *layer_publish(struct store *s, struct lease *lease, const char *work_name,
                            const struct layer_row *row)
{
    if (lease != NULL)
        lease_add_layer(lease, row->id);
    TRY(db_begin(&s->db));
    struct error *e = NULL;
    if (renameat(s->work_fd, work_name, s->layers_fd, row->id) < 0)
        e = err_sys(errno, "publish layer %s", row->id);
    if (e == NULL)
        e = insert_layer(s, row);
    TRY(publish_end(s, e));
    store_mark_unsynced(s);
    return NULL;
}

struct found {
    struct layer_row *row;
    bool any;
};

static struct error *take_layer(void *ctx, sqlite3_stmt *row)
{
    struct found *f = ctx;
    struct layer_row *r = f->row;
    f->any = true;
    r->id = xstrdup(db_column(row, 0));
    r->parent = xstrdup(db_column(row, 1));
    if (digest_parse(db_column(row, 2), &r->diff_id) < 0)
        r->diff_id.s[0] = '\0';
    r->tar_size = sqlite3_column_int64(row, 3);
    r->chain = xstrdup(db_column(row, 4));
    r->size = sqlite3_column_int64(row, 5);
    r->created_ns = sqlite3_column_int64(row, 6);
    r->description = xstrdup(db_column(row, 7));
    r->type = xstrdup(db_column(row, 8));
    return NULL;
}

struct error *layer_get(struct store *s, const char *id, struct layer_row *ret)
{
    struct layer_row row = { 0 };
    struct found f = { .row = &row };
    if (recall_find_layer_row(s, id, ret))
        return NULL;
    TRY(db_lock(&s->db));
    struct error *e = db_query(&s->db, take_layer, &f,
                               "SELECT id, parent, diff_id, tar_size, chain, size, created_ns, description, "
                               "type FROM layers WHERE id = ?",
                               "s", id);
    if (e == NULL && f.any)
        recall_layer_row(s, &row);
    db_unlock(&s->db);
    if (e == NULL && !f.any)
        e = err_new(ERR_NOT_FOUND, "layer %s: not found", id);
    if (e != NULL) {
        layer_row_deinit(&row);
        return e;
    }
    *ret = row;
    return NULL;
}

struct error *layer_find_by_diff_id(struct store *s, const struct digest *diff_id, const char *chain,
                                    char **ret_id)
{
    TRY(db_lock(&s->db));
    struct error *e =
        db_text(&s->db, ret_id,
                "SELECT id FROM layers WHERE diff_id = ? AND chain IN ('', ?) ORDER BY created_ns LIMIT 1",
                "ss", diff_id->s, chain);
    db_unlock(&s->db);
    return e;
}

struct error *layer_set_diff_id(struct store *s, const char *id, const struct digest *diff_id,
                                int64_t tar_size, bool canonical)
{
    TRY(db_begin(&s->db));
    recall_forget_layer_row(s, id);
    struct error *e = db_exec(&s->db, "UPDATE layers SET diff_id = ?, tar_size = ? WHERE id = ?", "sis",
                              diff_id->s, tar_size, id);
    if (e == NULL && canonical)
        e = blob_insert(s, diff_id, tar_size, id);
    return db_end(&s->db, e);
}

struct error *layer_set_type(struct store *s, const char *id, const char *type)
{
    TRY(db_lock(&s->db));
    recall_forget_layer_row(s, id);
    struct error *e =
        db_exec(&s->db, "UPDATE layers SET type = ? WHERE id = ? AND type = 'regular'", "ss", type, id);
    db_unlock(&s->db);
    return e;
}

struct error *layer_set_fetched(struct store *s, const char *id, const char *text)
{
    TRY(db_lock(&s->db));
    struct error *e = db_exec(&s->db, "UPDATE layers SET fetched = ? WHERE id = ?", "ss", text, id);
    db_unlock(&s->db);
    return e;
}

struct error *layer_fetched(struct store *s, const char *id, char **ret)
{
    TRY(db_lock(&s->db));
    struct error *e =
        db_text(&s->db, ret, "SELECT fetched FROM layers WHERE id = ? AND fetched NOT NULL", "s", id);
    db_unlock(&s->db);
    return e;
}

struct error *layer_make_record(struct store *s, const char *id, const char *description)
{
    TRY(db_lock(&s->db));
    recall_forget_layer_row(s, id);
    struct error *e =
        db_exec(&s->db, "UPDATE layers SET record = 1, description = ? WHERE id = ? AND record = 0", "ss",
                description, id);
    db_unlock(&s->db);
    return e;
}

struct error *diff_id_blob_put(struct store *s, const struct digest *diff_id, const struct descriptor *blob)
{
    json_t *j = descriptor_to_json(blob);
    CLEANUP(freep) char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    TRY(db_lock(&s->db));
    recall_forget_came_as(s, diff_id->s);
    struct error *e = db_exec(
        &s->db,
        "INSERT OR REPLACE INTO diff_id_blobs(diff_id, digest, media_type, descriptor) VALUES(?, ?, ?, ?)",
        "ssss", diff_id->s, blob->digest.s, blob->media_type != NULL ? blob->media_type : "", text);
    db_unlock(&s->db);
    return e;
}

/* *ret: descriptor as JSON, "" when there is none. */
static struct error *find_came_as(struct store *s, const char *diff_id, const char *media_type, char **ret)
{
    char *text = NULL;
    TRY(db_lock(&s->db));
    struct error *e = db_text(&s->db, &text,
                              "SELECT d.descriptor FROM diff_id_blobs d JOIN blobs b ON b.digest = d.digest "
                              "WHERE d.diff_id = ? AND "
                              "(? IS NULL OR d.media_type = ?) ORDER BY d.rowid LIMIT 1",
                              "sss", diff_id, media_type, media_type);
    if (e == NULL && text == NULL)
        text = xstrdup("");
    if (e == NULL && media_type == NULL)
        recall_came_as(s, diff_id, text);
    db_unlock(&s->db);
    *ret = text;
    return e;
}

struct error *diff_id_blob_find(struct store *s, const struct digest *diff_id, const char *media_type,
                                struct descriptor *ret, bool *ret_found)
{
    CLEANUP(freep) char *text = media_type == NULL ? recall_find_came_as(s, diff_id->s) : NULL;
    if (text == NULL)
        TRY(find_came_as(s, diff_id->s, media_type, &text));
    *ret_found = text[0] != '\0';
    if (!*ret_found)
        return NULL;
    json_t *j = json_loads(text, 0, NULL);
    struct error *e = descriptor_from_json(j, ret);
    json_decref(j);
    return e;
}

/* Hold first, then look: what is there now stays. */
static struct error *hold_row(struct store *s, const char *id, const char *what, const char *sql)
{
    int64_t count;
    mutex_lock(&s->lock);
    hold_add_locked(&s->layers_held, id);
    mutex_unlock(&s->lock);
    struct error *e = db_lock(&s->db);
    if (e == NULL) {
        e = db_int(&s->db, &count, sql, "s", id);
        db_unlock(&s->db);
    }
    if (e == NULL && count == 0)
        e = err_new(ERR_NOT_FOUND, "%s %s: not found", what, id);
    if (e != NULL)
        layer_release(s, id);
    return e;
}

struct error *layer_hold(struct store *s, const char *id)
{
    return hold_row(s, id, "layer", "SELECT count(*) FROM layers WHERE id = ?");
}

void layer_release(struct store *s, const char *id)
{
    mutex_lock(&s->lock);
    hold_drop_locked(&s->layers_held, id);
    mutex_unlock(&s->lock);
}

void layer_touch(struct store *s, const char *id)
{
    bump_note(s, &s->layer_bumps, id);
}

static int open_below(int dir_fd, const char *id, const char *name)
{
    char path[LAYER_ID_LEN + 16];
    snprintf(path, sizeof(path), "%.*s/%s", LAYER_ID_LEN, id, name);
    int fd = openat(dir_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 ? fd : -errno;
}

int layer_dir(struct store *s, const char *id)
{
    return open_below(s->layers_fd, id, "fs");
}

int layer_skeleton(struct store *s, const char *id)
{
    return open_below(s->layers_fd, id, "skeleton");
}

struct error *layer_skeleton_put(struct store *s, const char *id, const char *work_name)
{
    CLEANUP(freep) char *path = xasprintf("%s/skeleton", id);
    if (renameat(s->work_fd, work_name, s->layers_fd, path) == 0) {
        store_mark_unsynced(s);
        return NULL;
    }
    int e = errno;
    store_discard(s, work_name);
    return e == EEXIST || e == ENOTEMPTY ? NULL : err_sys(e, "keep the skeleton of layer %s", id);
}

/* ---- snapshots -------------------------------------------------------------------------------------------
 */

struct error *snapshot_row_put(struct store *s, const char *id, const struct strv *layers)
{
    CLEANUP(freep) char *list = strv_join(layers, " ");
    int64_t known;
    TRY(db_lock(&s->db));
    /* nearly always there: no write then */
    struct error *e = db_int(&s->db, &known, "SELECT count(*) FROM snapshots WHERE id = ?", "s", id);
    if (e == NULL && known == 0)
        e = db_exec(&s->db, "INSERT OR IGNORE INTO snapshots(id, layers) VALUES(?, ?)", "ss", id, list);
    db_unlock(&s->db);
    return e;
}

/* A row is there as long as all its layers are; what is held before the lock is given back stays. */
struct error *snapshot_row_hold(struct store *s, const char *id, struct layer_chain **ret)
{
    CLEANUP(freep) char *list = NULL;
    *ret = recall_hold_layers(s, id);
    if (*ret != NULL)
        return NULL;
    TRY(db_lock(&s->db));
    struct error *e = db_text(&s->db, &list, "SELECT layers FROM snapshots WHERE id = ?", "s", id);
    if (e == NULL && list != NULL) {
        CLEANUP(strv_deinit) struct strv ids = { 0 };
        if (*list != '\0')
            strv_split(&ids, list, ' ');
        *ret = layer_chain_hold(s, ids.v, ids.len);
        recall_layers(s, id, *ret);
    }
    db_unlock(&s->db);
    if (e == NULL && list == NULL)
        e = err_new(ERR_NOT_FOUND, "snapshot %s: not found", id);
    return e;
}

/* ---- cache mounts ----------------------------------------------------------------------------------------
 */

static struct error *take_id(void *ctx, sqlite3_stmt *row)
{
    strv_add(ctx, db_column(row, 0));
    return NULL;
}

struct error *mount_row_list(struct store *s, const char *cache_id, struct strv *ret_ids)
{
    TRY(db_lock(&s->db));
    struct error *e =
        db_query(&s->db, take_id, ret_ids,
                 "SELECT id FROM cache_mounts WHERE cache_id = ? ORDER BY created_ns", "s", cache_id);
    db_unlock(&s->db);
    return e;
}

struct error *mount_row_forget(struct store *s, const char *cache_id, struct strv *ret_ids)
{
    CLEANUP(freep) char *over = xasprintf("%s:", cache_id);

    TRY(db_begin(&s->db));
    struct error *e =
        db_query(&s->db, take_id, ret_ids,
                 "SELECT id FROM cache_mounts WHERE cache_id = ? OR substr(cache_id, 1, length(?)) = ?",
                 "sss", cache_id, over, over);
    if (e == NULL)
        e = db_exec(&s->db,
                    "UPDATE cache_mounts SET cache_id = '#' || id WHERE cache_id = ? OR substr(cache_id, 1, "
                    "length(?)) = ?",
                    "sss", cache_id, over, over);
    return db_end(&s->db, e);
}

struct error *mount_row_put(struct store *s, const char *work_name, const char *id, const char *cache_id,
                            const char *description)
{
    int64_t now = now_ns();
    TRY(db_begin(&s->db));
    struct error *e = NULL;
    if (renameat(s->work_fd, work_name, s->mounts_fd, id) < 0)
        e = err_sys(errno, "publish cache mount %s", id);
    if (e == NULL)
        e = db_exec(&s->db,
                    "INSERT INTO cache_mounts(id, cache_id, description, size, created_ns, last_used_ns) "
                    "VALUES(?, ?, ?, 0, ?, ?)",
                    "sssii", id, cache_id, description != NULL ? description : "", now, now);
    return publish_end(s, e);
}

/* Its size is to be measured anew: the first use since the last time is written at once, and others later. */
struct error *mount_row_used(struct store *s, const char *id)
{
    mutex_lock(&s->lock);
    bool known = map_has(&s->unmeasured, id);
    mutex_unlock(&s->lock);
    if (known) {
        bump_note(s, &s->mount_bumps, id);
        return NULL;
    }
    TRY(db_lock(&s->db));
    struct error *e = db_exec(
        &s->db,
        "UPDATE cache_mounts SET size = -1, last_used_ns = ?, usage_count = usage_count + 1 WHERE id = ?",
        "is", now_ns(), id);
    mutex_lock(&s->lock);
    if (e == NULL)
        map_set(&s->unmeasured, id, (void *)1);
    mutex_unlock(&s->lock);
    db_unlock(&s->db);
    return e;
}

struct error *mount_remove(struct store *s, const char *id)
{
    CLEANUP(trash_deinit) struct trash t = { 0 };
    strv_add(&t.mounts, id);
    TRY(db_begin(&s->db));
    return trash_commit(s, &t, db_exec(&s->db, "DELETE FROM cache_mounts WHERE id = ?", "s", id));
}

int mount_dir(struct store *s, const char *id)
{
    return open_below(s->mounts_fd, id, "fs");
}

/* Ids are random, so mounts and layers may share one table of holds. */
void mount_hold(struct store *s, const char *id)
{
    mutex_lock(&s->lock);
    hold_add_locked(&s->layers_held, id);
    mutex_unlock(&s->lock);
}

struct error *mount_hold_row(struct store *s, const char *id)
{
    return hold_row(s, id, "cache mount", "SELECT count(*) FROM cache_mounts WHERE id = ?");
}

void mount_release(struct store *s, const char *id)
{
    layer_release(s, id);
}
