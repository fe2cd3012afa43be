/* SPDX-License-Identifier: Apache-2.0 */
/*
 * db.h - the one SQLite file, opened at its first use (private to the store)
 *
 * One connection behind one lock: every statement is short, prepared once and kept by its text.  WAL with
 * synchronous=NORMAL: a commit costs no fsync; after a power cut the last transactions may be missing, never
 * half there.  A transaction is db_begin ... db_commit in one task; the lock is held in between, so no wait
 * point may lie inside.
 */
#ifndef MINKE_STORE_DB_H
#define MINKE_STORE_DB_H

#include <sqlite3.h>

#include "base/base.h"
#include "base/error.h"
#include "base/vec.h"
#include "task/task.h"

struct db {
    struct mutex lock;
    sqlite3 *conn; /* NULL until first use */
    char *path;
    struct map statements;                              /* text -> sqlite3_stmt */
    struct error *(*on_open)(struct db *db, void *ctx); /* runs once, in the lock */
    void *ctx;
    struct error *broken; /* opening or rolling back failed: the same answer for all */
};
void db_init(struct db *db, const char *path, struct error *(*on_open)(struct db *, void *), void *ctx);
void db_deinit(struct db *db);

/* Take the lock (and open). */
struct error *db_lock(struct db *db) MUST_CHECK;
void db_unlock(struct db *db);
struct error *db_begin(struct db *db) MUST_CHECK;  /* db_lock and BEGIN IMMEDIATE */
struct error *db_commit(struct db *db) MUST_CHECK; /* COMMIT, or ROLLBACK when that fails; unlocks */
void db_rollback(struct db *db);                   /* unlocks */
/* End a transaction by what its body returned: commit when NULL, else roll back and give `e` on. */
struct error *db_end(struct db *db, struct error *e) MUST_CHECK;

/* With the lock held.  `types` names the arguments: s text (NULL: SQL NULL), i int64_t, b blob (const void *,
 * size_t). */
struct error *db_exec(struct db *db, const char *sql, const char *types, ...) MUST_CHECK;
typedef struct error *(*db_row_fn)(void *ctx, sqlite3_stmt *row);
struct error *db_query(struct db *db, db_row_fn fn, void *ctx, const char *sql, const char *types,
                       ...) MUST_CHECK;
/* One row's first column: *ret malloc'd, NULL when there is no row. */
struct error *db_text(struct db *db, char **ret, const char *sql, const char *types, ...) MUST_CHECK;
struct error *db_int(struct db *db, int64_t *ret, const char *sql, const char *types,
                     ...) MUST_CHECK; /* 0 when there is no row */
int64_t db_changes(struct db *db);    /* rows that the last db_exec touched */

/* A column as text, never NULL; borrowed until the next step. */
const char *db_column(sqlite3_stmt *row, int column);

#endif
