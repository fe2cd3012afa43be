/* SPDX-License-Identifier: Apache-2.0 */
/* Images by name, and what a name reaches. */
#include "oci/image.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "io/path.h"
#include "store/internal.h"

void image_record_deinit(struct image_record *r)
{
    free(r->name);
    descriptor_deinit(&r->target);
    map_deinit(&r->labels);
    memset(r, 0, sizeof(*r));
}

/* ---- what a name reaches ---------------------------------------------------------------------------------
 */

void reach_deinit(struct reach *r)
{
    map_deinit(&r->blobs);
    map_deinit(&r->diff_ids);
}

/* A document that is here: *ret_here false when it is not. Does not touch the database: documents are always
 * files. */
static struct error *read_document(struct store *s, const struct digest *d, struct buf *out, bool *ret_here)
{
    int r = path_read_file(s->blobs_fd, digest_hex(d), out, LIMIT_MANIFEST);
    *ret_here = r != -ENOENT;
    return r < 0 && r != -ENOENT ? err_sys(-r, "read content %s", d->s) : NULL;
}

static struct error *reach_config(struct store *s, const struct descriptor *config, struct reach *r)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(image_config_deinit) struct image_config c = { 0 };
    bool here;
    map_set(&r->blobs, config->digest.s, (void *)1);
    if (!media_type_is_config(config->media_type))
        return NULL;
    TRY(read_document(s, &config->digest, &text, &here));
    if (!here)
        return NULL;
    struct error *e = image_config_parse(text.data, text.len, &c);
    for (size_t i = 0; e == NULL && i < c.diff_id_count; i++)
        map_set(&r->diff_ids, c.diff_ids[i].s, (void *)1);
    err_free(e); /* a config that we cannot read protects nothing more than itself */
    return NULL;
}

static struct error *reach_manifest(struct store *s, const struct buf *text, const char *media_type,
                                    struct reach *r)
{
    CLEANUP(image_manifest_deinit) struct image_manifest m = { 0 };
    struct error *e = image_manifest_parse(buf_str(text), text->len, media_type, &m);
    if (e != NULL) {
        err_free(e);
        return NULL;
    }
    for (size_t i = 0; i < m.layer_count; i++)
        map_set(&r->blobs, m.layers[i].digest.s, (void *)1);
    return reach_config(s, &m.config, r);
}

static struct error *reach_document(struct store *s, const struct descriptor *d, struct reach *r, int depth)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(image_index_deinit) struct image_index index = { 0 };
    bool here;
    bool seen = map_has(&r->blobs, d->digest.s);
    map_set(&r->blobs, d->digest.s, (void *)1);
    if (seen || depth > LIMIT_INDEX_DEPTH)
        return NULL;
    if (media_type_is_manifest(d->media_type)) {
        TRY(read_document(s, &d->digest, &text, &here));
        return here ? reach_manifest(s, &text, d->media_type, r) : NULL;
    }
    if (!media_type_is_index(d->media_type))
        return NULL;
    TRY(read_document(s, &d->digest, &text, &here));
    struct error *e = here ? image_index_parse(text.data, text.len, d->media_type, &index) : NULL;
    err_free(e);
    for (size_t i = 0; i < index.manifest_count; i++)
        TRY(reach_document(s, &index.manifests[i], r, depth + 1));
    return NULL;
}

struct error *reach_target(struct store *s, const struct descriptor *target, struct reach *r)
{
    return reach_document(s, target, r, 0);
}

/* ---- whole or not ----------------------------------------------------------------------------------------
 */

static struct error *blob_known(struct store *s, const struct digest *d, bool *ret)
{
    struct blob_info info;
    int64_t n = 1;
    if (!recall_find_blob(s, d->s, &info))
        TRY(db_int(&s->db, &n, "SELECT count(*) FROM blobs WHERE digest = ?", "s", d->s));
    *ret = n > 0;
    return NULL;
}

static struct error *layer_known(struct store *s, const struct digest *diff_id, bool *ret)
{
    int64_t n;
    TRY(db_int(&s->db, &n, "SELECT count(*) FROM layers WHERE diff_id = ?", "s", diff_id->s));
    *ret = n > 0;
    return NULL;
}

static struct error *missing(const struct digest *d)
{
    return err_new(ERR_NOT_FOUND, "content %s: not found", d->s);
}

static struct error *check_manifest(struct store *s, const struct buf *text, const char *media_type)
{
    CLEANUP(image_manifest_deinit) struct image_manifest m = { 0 };
    CLEANUP(image_config_deinit) struct image_config c = { 0 };
    CLEANUP(buf_deinit) struct buf config = { 0 };
    bool known;
    TRY(image_manifest_parse(buf_str(text), text->len, media_type, &m));
    TRY(blob_known(s, &m.config.digest, &known));
    if (!known)
        return missing(&m.config.digest);
    bool is_image = media_type_is_config(m.config.media_type);
    if (is_image) {
        TRY(read_document(s, &m.config.digest, &config, &known));
        if (!known)
            return missing(&m.config.digest);
        TRY(image_config_parse(config.data, config.len, &c));
    }
    for (size_t i = 0; i < m.layer_count; i++) {
        TRY(blob_known(s, &m.layers[i].digest, &known));
        /* the unpacked layer serves as well, when its blob was not kept */
        if (!known && is_image && c.diff_id_count == m.layer_count)
            TRY(layer_known(s, &c.diff_ids[i], &known));
        if (!known && !media_type_is_foreign_layer(m.layers[i].media_type))
            return missing(&m.layers[i].digest);
    }
    return NULL;
}

/* Each once: an index may name another many times, and that the next. */
static struct error *check_document(struct store *s, const struct descriptor *d, struct map *seen, int depth)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    CLEANUP(image_index_deinit) struct image_index index = { 0 };
    bool here;
    if (map_has(seen, d->digest.s))
        return NULL;
    map_set(seen, d->digest.s, (void *)1);
    TRY(read_document(s, &d->digest, &text, &here));
    if (!here)
        return missing(&d->digest);
    if (media_type_is_manifest(d->media_type))
        return check_manifest(s, &text, d->media_type);
    if (!media_type_is_index(d->media_type))
        return NULL;
    TRY(image_index_parse(text.data, text.len, d->media_type, &index));
    struct error *first = NULL;
    size_t present = 0;
    for (size_t i = 0; i < index.manifest_count && depth < LIMIT_INDEX_DEPTH; i++) {
        struct error *e = NULL;
        bool known;
        TRY(blob_known(s, &index.manifests[i].digest, &known));
        if (known)
            e = check_document(s, &index.manifests[i], seen, depth + 1);
        else if (first == NULL)
            first = missing(&index.manifests[i].digest);
        if (e != NULL) {
            err_free(first);
            return e;
        }
        present += known;
    }
    /* other platforms may be missing, but not all of them */
    if (present > 0 || index.manifest_count == 0) {
        err_free(first);
        return NULL;
    }
    return first;
}

struct error *image_check_locked(struct store *s, const struct descriptor *target)
{
    CLEANUP(map_deinit) struct map seen = { 0 };
    if (recall_is_whole(s, target))
        return NULL;
    TRY(check_document(s, target, &seen, 0));
    if (target->media_type != NULL)
        recall_whole(s, target);
    return NULL;
}

struct error *image_check(struct store *s, const struct descriptor *target)
{
    TRY(db_lock(&s->db));
    struct error *e = image_check_locked(s, target);
    db_unlock(&s->db);
    return e;
}

/* ---- rows ------------------------------------------------------------------------------------------------
 */

static void note_change(struct store *s)
{
    mutex_lock(&s->lock);
    s->images_version++;
    mutex_unlock(&s->lock);
}

uint64_t images_version(struct store *s)
{
    mutex_lock(&s->lock);
    uint64_t v = s->images_version;
    mutex_unlock(&s->lock);
    return v;
}

struct error *image_put_labelled(struct store *s, const char *name, const struct descriptor *target,
                                 const struct map *labels)
{
    CLEANUP(json_decrefp) json_t *j = descriptor_to_json(target);
    CLEANUP(json_decrefp) json_t *l = labels != NULL ? strmap_to_json(labels) : json_object();
    CLEANUP(freep) char *text = json_dumps(j, JSON_COMPACT);
    CLEANUP(freep) char *labels_text = json_dumps(l, JSON_COMPACT);
    int64_t now = now_ns();
    TRY(db_begin(&s->db));
    struct error *e = image_check_locked(s, target);
    if (e == NULL)
        e = db_exec(
            &s->db,
            "INSERT INTO images(name, digest, descriptor, created_ns, updated_ns, labels) VALUES(?, ?, ?, ?, "
            "?, ?) ON CONFLICT(name) DO "
            "UPDATE SET digest = excluded.digest, descriptor = excluded.descriptor, updated_ns = "
            "excluded.updated_ns, labels = excluded.labels",
            "sssiis", name, target->digest.s, text, now, now, labels_text);
    TRY(db_end(&s->db, e));
    note_change(s);
    return NULL;
}

struct error *image_put(struct store *s, const char *name, const struct descriptor *target)
{
    return image_put_labelled(s, name, target, NULL);
}

struct records {
    struct image_record *list;
    size_t count;
};

static struct error *take_record(void *ctx, sqlite3_stmt *row)
{
    struct records *rs = ctx;
    CLEANUP(json_decrefp) json_t *target = json_loads(db_column(row, 1), 0, NULL);
    CLEANUP(json_decrefp) json_t *labels = json_loads(db_column(row, 4), 0, NULL);
    CLEANUP(image_record_deinit) struct image_record r = { 0 };
    TRY(err_wrap(descriptor_from_json(target, &r.target), "image \"%s\"", db_column(row, 0)));
    strmap_init(&r.labels);
    TRY(strmap_from_json(labels, "labels", &r.labels));
    r.name = xstrdup(db_column(row, 0));
    r.created_ns = sqlite3_column_int64(row, 2);
    r.updated_ns = sqlite3_column_int64(row, 3);
    rs->list = xreallocarray(rs->list, rs->count + 1, sizeof(*rs->list));
    rs->list[rs->count++] = r;
    memset(&r, 0, sizeof(r));
    return NULL;
}

#define RECORD_COLUMNS "SELECT name, descriptor, created_ns, updated_ns, labels FROM images "

static struct error *query_records(struct store *s, struct records *rs, const char *sql, const char *arg)
{
    TRY(db_lock(&s->db));
    struct error *e = db_query(&s->db, take_record, rs, sql, arg != NULL ? "s" : "", arg);
    db_unlock(&s->db);
    if (e == NULL)
        return NULL;
    for (size_t i = 0; i < rs->count; i++)
        image_record_deinit(&rs->list[i]);
    free(rs->list);
    return e;
}

struct error *image_get(struct store *s, const char *name, struct image_record *ret)
{
    struct records rs = { 0 };
    TRY(query_records(s, &rs, RECORD_COLUMNS "WHERE name = ?", name));
    if (rs.count == 0)
        return err_new(ERR_NOT_FOUND, "image \"%s\": not found", name);
    *ret = rs.list[0];
    free(rs.list);
    return NULL;
}

struct error *image_list(struct store *s, struct image_record **ret, size_t *ret_count)
{
    struct records rs = { 0 };
    TRY(query_records(s, &rs, RECORD_COLUMNS "ORDER BY name", NULL));
    *ret = rs.list;
    *ret_count = rs.count;
    return NULL;
}

struct error *image_list_by_target(struct store *s, const struct digest *d, struct image_record **ret,
                                   size_t *ret_count)
{
    struct records rs = { 0 };
    TRY(query_records(s, &rs, RECORD_COLUMNS "WHERE digest = ? ORDER BY name", d->s));
    *ret = rs.list;
    *ret_count = rs.count;
    return NULL;
}

struct error *image_remove(struct store *s, const char *name)
{
    TRY(db_lock(&s->db));
    struct error *e = db_exec(&s->db, "DELETE FROM images WHERE name = ?", "s", name);
    if (e == NULL && db_changes(&s->db) == 0)
        e = err_new(ERR_NOT_FOUND, "image \"%s\": not found", name);
    db_unlock(&s->db);
    if (e == NULL)
        note_change(s);
    return e;
}
