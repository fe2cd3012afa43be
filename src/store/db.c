/* SPDX-License-Identifier: Apache-2.0 */
#include "store/db.h"

#include <errno.h>

/* Each step lifts user_version by one; an older file is brought up, a newer one refused. */
static const char *const migrations[] = {
    "CREATE TABLE blobs(digest TEXT PRIMARY KEY, size INTEGER NOT NULL, created_ns INTEGER NOT NULL,"
    " layer TEXT, synced INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX blobs_layer ON blobs(layer) WHERE layer IS NOT NULL;"
    "CREATE TABLE images(name TEXT PRIMARY KEY, digest TEXT NOT NULL, descriptor TEXT NOT NULL,"
    " created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL, labels TEXT NOT NULL DEFAULT '{}');"
    "CREATE INDEX images_digest ON images(digest);"
    /* chain: '' when the directory does not depend on what lies below, else the chain ID that it was unpacked
       for */
    "CREATE TABLE layers(id TEXT PRIMARY KEY, parent TEXT NOT NULL DEFAULT '', diff_id TEXT, tar_size "
    "INTEGER NOT NULL DEFAULT 0,"
    " chain TEXT, size INTEGER NOT NULL, created_ns INTEGER NOT NULL, last_used_ns INTEGER NOT NULL DEFAULT "
    "0,"
    " usage_count INTEGER NOT NULL DEFAULT 0, description TEXT NOT NULL DEFAULT '', type TEXT NOT NULL "
    "DEFAULT 'regular',"
    " record INTEGER NOT NULL DEFAULT 1, synced INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX layers_diff_id ON layers(diff_id) WHERE diff_id IS NOT NULL;"
    "CREATE TABLE diff_id_blobs(diff_id TEXT NOT NULL, digest TEXT NOT NULL, media_type TEXT NOT NULL, "
    "descriptor TEXT NOT NULL,"
    " UNIQUE(diff_id, digest));"
    "CREATE INDEX diff_id_blobs_digest ON diff_id_blobs(digest);"
    "CREATE TABLE snapshots(id TEXT PRIMARY KEY, layers TEXT NOT NULL);"
    "CREATE TABLE cache(key TEXT PRIMARY KEY, result TEXT NOT NULL, preimage BLOB, created_ns INTEGER NOT "
    "NULL,"
    " last_used_ns INTEGER NOT NULL);"
    "CREATE INDEX cache_result ON cache(result);"
    "CREATE TABLE cache_mounts(id TEXT PRIMARY KEY, cache_id TEXT NOT NULL, description TEXT NOT NULL, size "
    "INTEGER NOT NULL,"
    " created_ns INTEGER NOT NULL, last_used_ns INTEGER NOT NULL DEFAULT 0, usage_count INTEGER NOT NULL "
    "DEFAULT 0);"
    "CREATE INDEX cache_mounts_cache_id ON cache_mounts(cache_id);"
    "CREATE TABLE facts(key TEXT PRIMARY KEY, value TEXT NOT NULL);"
    "CREATE TABLE state(key TEXT PRIMARY KEY, value TEXT NOT NULL);",
    "CREATE TABLE builds(id INTEGER PRIMARY KEY, ref TEXT NOT NULL, record BLOB NOT NULL);",
    /* what the step that made the layer asked for through its proxy (proxy/record.h); NULL: it had none */
    "ALTER TABLE layers ADD COLUMN fetched TEXT;",
};

void db_init(struct db *db, const char *path, struct error *(*on_open)(struct db *, void *), void *ctx)
{
    memset(db, 0, sizeof(*db));
    mutex_init(&db->lock);
    db->path = xstrdup(path);
    db->on_open = on_open;
    db->ctx = ctx;
}

void db_deinit(struct db *db)
{
    for (size_t i = 0; i < db->statements.len; i++)
        sqlite3_finalize(db->statements.entries[i].value);
    map_deinit(&db->statements);
    if (db->conn != NULL)
        sqlite3_close_v2(db->conn);
    err_free(db->broken);
    free(db->path);
    mutex_deinit(&db->lock);
}

static struct error *sql_error(struct db *db, const char *what)
{
    int code = db->conn != NULL ? sqlite3_errcode(db->conn) : SQLITE_NOMEM;
    const char *text = db->conn != NULL ? sqlite3_errmsg(db->conn) : "out of memory";
    enum error_kind kind = code == SQLITE_FULL                                  ? ERR_EXHAUSTED
                           : code == SQLITE_CORRUPT || code == SQLITE_NOTADB    ? ERR_DATA_LOSS
                           : code == SQLITE_READONLY || code == SQLITE_CANTOPEN ? ERR_FORBIDDEN
                                                                                : ERR_INTERNAL;
    return err_new(kind, "database: %s: %s", what, text);
}

static struct error *run_script(struct db *db, const char *sql)
{
    return sqlite3_exec(db->conn, sql, NULL, NULL, NULL) == SQLITE_OK ? NULL : sql_error(db, "exec");
}

static struct error *migrate(struct db *db)
{
    int64_t version;
    TRY(db_int(db, &version, "PRAGMA user_version", ""));
    if (version == (int64_t)ARRAY_LEN(migrations))
        return NULL;
    if (version < 0 || version > (int64_t)ARRAY_LEN(migrations))
        return err_new(ERR_CONFLICT, "database \"%s\" has version %lld, this program knows up to %zu",
                       db->path, (long long)version, ARRAY_LEN(migrations));
    TRY(run_script(db, "BEGIN IMMEDIATE"));
    struct error *e = NULL;
    for (size_t i = (size_t)version; e == NULL && i < ARRAY_LEN(migrations); i++)
        e = run_script(db, migrations[i]);
    CLEANUP(freep) char *stamp = xasprintf("PRAGMA user_version = %zu", ARRAY_LEN(migrations));
    if (e == NULL)
        e = run_script(db, stamp);
    if (e == NULL)
        return run_script(db, "COMMIT");
    err_free(run_script(db, "ROLLBACK"));
    return e;
}

static struct error *open_locked(struct db *db)
{
    /* Our lock serialises; the library needs none of its own. */
    if (sqlite3_open_v2(db->path, &db->conn, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return sql_error(db, "open");
    /* A stock client may look in: wait for it.  A fresh file is set up without waiting for the disk. */
    sqlite3_busy_timeout(db->conn, 5000);
    TRY(run_script(db, "PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL"));
    TRY(migrate(db));
    TRY(run_script(db, "PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=OFF; PRAGMA temp_store=MEMORY"));
    return db->on_open != NULL ? db->on_open(db, db->ctx) : NULL;
}

struct error *db_lock(struct db *db)
{
    mutex_lock(&db->lock);
    if (db->conn == NULL && db->broken == NULL)
        db->broken = open_locked(db);
    if (db->broken == NULL)
        return NULL;
    struct error *e = err_clone(db->broken);
    mutex_unlock(&db->lock);
    return e;
}

void db_unlock(struct db *db)
{
    mutex_unlock(&db->lock);
}

struct error *db_begin(struct db *db)
{
    TRY(db_lock(db));
    struct error *e = db_exec(db, "BEGIN IMMEDIATE", "");
    if (e != NULL)
        db_unlock(db);
    return e;
}

/* SQLite has rolled back by itself after some errors.  A transaction that stays open would swallow all that
 * comes: then nothing comes any more, and the next start begins from what was committed. */
static void roll_back(struct db *db)
{
    struct error *e = sqlite3_get_autocommit(db->conn) ? NULL : db_exec(db, "ROLLBACK", "");

    if (e != NULL && !sqlite3_get_autocommit(db->conn) && db->broken == NULL)
        db->broken = TAKE(e);
    err_free(e);
}

struct error *db_commit(struct db *db)
{
    struct error *e = db_exec(db, "COMMIT", "");
    if (e != NULL)
        roll_back(db);
    db_unlock(db);
    return e;
}

void db_rollback(struct db *db)
{
    roll_back(db);
    db_unlock(db);
}

struct error *db_end(struct db *db, struct error *e)
{
    if (e == NULL)
        return db_commit(db);
    db_rollback(db);
    return e;
}

/* ---- statements ------------------------------------------------------------------------------------------
 */

static struct error *prepared(struct db *db, const char *sql, sqlite3_stmt **ret)
{
    sqlite3_stmt *s = map_get(&db->statements, sql);
    if (s == NULL) {
        if (sqlite3_prepare_v3(db->conn, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL) != SQLITE_OK)
            return sql_error(db, sql);
        map_set(&db->statements, sql, s);
    }
    *ret = s;
    return NULL;
}

static int bind_all(sqlite3_stmt *s, const char *types, va_list ap)
{
    int r = SQLITE_OK;
    for (int i = 1; r == SQLITE_OK && *types != '\0'; types++, i++) {
        if (*types == 's') {
            const char *text = va_arg(ap, const char *);
            r = sqlite3_bind_text(s, i, text, -1, SQLITE_STATIC); /* NULL binds NULL */
        } else if (*types == 'i') {
            r = sqlite3_bind_int64(s, i, va_arg(ap, int64_t));
        } else {
            assert(*types == 'b');
            const void *data = va_arg(ap, const void *);
            size_t len = va_arg(ap, size_t);
            r = sqlite3_bind_blob64(s, i, data, len, SQLITE_STATIC);
        }
    }
    return r;
}

static struct error *run(struct db *db, db_row_fn fn, void *ctx, const char *sql, const char *types,
                         va_list ap)
{
    sqlite3_stmt *s = NULL;
    struct error *e = NULL;
    int r;
    TRY(prepared(db, sql, &s));
    r = bind_all(s, types, ap);
    while (r == SQLITE_OK || r == SQLITE_ROW) {
        r = sqlite3_step(s);
        if (r == SQLITE_ROW && fn != NULL)
            e = fn(ctx, s);
        if (e != NULL)
            break;
    }
    if (e == NULL && r != SQLITE_DONE && r != SQLITE_ROW)
        e = sql_error(db, sql);
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return e;
}

struct error *db_exec(struct db *db, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    struct error *e = run(db, NULL, NULL, sql, types, ap);
    va_end(ap);
    return e;
}

struct error *db_query(struct db *db, db_row_fn fn, void *ctx, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    struct error *e = run(db, fn, ctx, sql, types, ap);
    va_end(ap);
    return e;
}

const char *db_column(sqlite3_stmt *row, int column)
{
    const char *s = (const char *)sqlite3_column_text(row, column);
    return s != NULL ? s : "";
}

static struct error *take_text(void *ctx, sqlite3_stmt *row)
{
    char **ret = ctx;
    if (*ret == NULL)
        *ret = xstrdup(db_column(row, 0));
    return NULL;
}

struct error *db_text(struct db *db, char **ret, const char *sql, const char *types, ...)
{
    va_list ap;
    char *text = NULL;
    va_start(ap, types);
    struct error *e = run(db, take_text, &text, sql, types, ap);
    va_end(ap);
    if (e == NULL)
        *ret = text;
    else
        free(text);
    return e;
}

static struct error *take_int(void *ctx, sqlite3_stmt *row)
{
    *(int64_t *)ctx = sqlite3_column_int64(row, 0);
    return NULL;
}

struct error *db_int(struct db *db, int64_t *ret, const char *sql, const char *types, ...)
{
    va_list ap;
    int64_t n = 0;
    va_start(ap, types);
    struct error *e = run(db, take_int, &n, sql, types, ap);
    va_end(ap);
    if (e == NULL)
        *ret = n;
    return e;
}

int64_t db_changes(struct db *db)
{
    return sqlite3_changes64(db->conn);
}
