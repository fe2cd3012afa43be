/* SPDX-License-Identifier: Apache-2.0 */
/* Records of builds: what they say is the history's business (buildkit/history.h). */
#include "store/internal.h"

struct error *build_record_put(struct store *s, int64_t id, const char *ref, const void *data, size_t len)
{
    struct error *e;

    TRY(db_lock(&s->db));
    e = db_exec(&s->db, "INSERT OR REPLACE INTO builds(id, ref, record) VALUES(?, ?, ?)", "isb", id, ref,
                data, len);
    db_unlock(&s->db);
    return e;
}

struct error *build_record_remove(struct store *s, int64_t id)
{
    struct error *e;

    TRY(db_lock(&s->db));
    e = db_exec(&s->db, "DELETE FROM builds WHERE id = ?", "i", id);
    db_unlock(&s->db);
    return e;
}

struct reading {
    void (*each)(void *ctx, int64_t id, const void *data, size_t len);
    void *ctx;
};

static struct error *take_record(void *ctx, sqlite3_stmt *row)
{
    const struct reading *r = ctx;
    const void *data = sqlite3_column_blob(row, 1);

    r->each(r->ctx, sqlite3_column_int64(row, 0), data, (size_t)sqlite3_column_bytes(row, 1));
    return NULL;
}

struct error *build_record_walk(struct store *s,
                                void (*each)(void *ctx, int64_t id, const void *data, size_t len), void *ctx)
{
    struct reading r = { .each = each, .ctx = ctx };
    struct error *e;

    TRY(db_lock(&s->db));
    e = db_query(&s->db, take_record, &r, "SELECT id, record FROM builds ORDER BY id", "");
    db_unlock(&s->db);
    return e;
}
