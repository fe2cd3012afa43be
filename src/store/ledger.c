/* SPDX-License-Identifier: Apache-2.0 */
/* What takes room on disk, record by record. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "store/internal.h"

void usage_record_deinit(struct usage_record *r)
{
    free(r->id);
    free(r->description);
    strv_deinit(&r->parents);
    memset(r, 0, sizeof(*r));
}

/* ---- listing ---------------------------------------------------------------------------------------------
 */

void listing_deinit(struct listing *l)
{
    for (size_t i = 0; i < l->count; i++)
        usage_record_deinit(&l->list[i]);
    free(l->list);
    reach_deinit(&l->images);
    strv_deinit(&l->targets);
}

static struct usage_record *add_record(struct listing *l)
{
    if (l->count == l->cap) {
        l->cap = l->cap > 0 ? l->cap * 2 : 64;
        l->list = xreallocarray(l->list, l->cap, sizeof(*l->list));
    }
    struct usage_record *r = &l->list[l->count++];
    memset(r, 0, sizeof(*r));
    return r;
}

/* The types are a closed set: a record points to our own copy. */
static const char *known_type(const char *type)
{
    static const char *const types[] = {
        "regular", "internal", "frontend", "source.local", "source.git.checkout", "exec.cachemount"
    };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (streq(type, types[i]))
            return types[i];
    }
    return types[0];
}

static struct error *take_target(void *ctx, sqlite3_stmt *row)
{
    strv_add(ctx, db_column(row, 0));
    return NULL;
}

static struct error *reach_images(struct listing *l)
{
    TRY(db_query(&l->s->db, take_target, &l->targets, "SELECT descriptor FROM images", ""));
    for (size_t i = 0; i < l->targets.len; i++) {
        CLEANUP(descriptor_deinit) struct descriptor d = { 0 };
        json_t *j = json_loads(l->targets.v[i], 0, NULL);
        struct error *e = descriptor_from_json(j, &d);
        json_decref(j);
        if (e == NULL)
            e = reach_target(l->s, &d, &l->images);
        TRY(e);
    }
    return NULL;
}

static struct error *take_layer(void *ctx, sqlite3_stmt *row)
{
    struct listing *l = ctx;
    struct usage_record *r = add_record(l);
    const char *parent = db_column(row, 1);
    const char *diff_id = db_column(row, 8);
    r->id = xstrdup(db_column(row, 0));
    if (*parent != '\0')
        strv_add(&r->parents, parent);
    r->size = sqlite3_column_int64(row, 2);
    r->created_ns = sqlite3_column_int64(row, 3);
    r->last_used_ns = sqlite3_column_int64(row, 4);
    r->usage_count = sqlite3_column_int64(row, 5);
    r->description = xstrdup(db_column(row, 6));
    r->type = known_type(db_column(row, 7));
    r->in_use = layer_is_held(l->s, r->id);
    r->shared =
        *diff_id != '\0' && (map_has(&l->images.diff_ids, diff_id) || map_has(&l->images.blobs, diff_id));
    return NULL;
}

static struct error *take_mount(void *ctx, sqlite3_stmt *row)
{
    struct listing *l = ctx;
    struct usage_record *r = add_record(l);
    r->id = xstrdup(db_column(row, 0));
    r->size = sqlite3_column_int64(row, 1);
    r->created_ns = sqlite3_column_int64(row, 2);
    r->last_used_ns = sqlite3_column_int64(row, 3);
    r->usage_count = sqlite3_column_int64(row, 4);
    r->description = xstrdup(db_column(row, 5));
    /* a synced context is kept as a mount whose name says so */
    r->type = str_has_prefix(db_column(row, 6), "source.local:") ? "source.local"
              : str_has_prefix(db_column(row, 6), "source.git:") ? "source.git.checkout"
                                                                 : "exec.cachemount";
    r->mutable_ = true;
    r->in_use = layer_is_held(l->s, r->id);
    return NULL;
}

struct error *listing_read_locked(struct listing *l)
{
    TRY(reach_images(l));
    TRY(db_query(&l->s->db, take_layer, l,
                 "SELECT id, parent, size, created_ns, last_used_ns, usage_count, description, type, "
                 "coalesce(diff_id, '') FROM layers "
                 "WHERE record = 1 ORDER BY created_ns",
                 ""));
    return db_query(
        &l->s->db, take_mount, l,
        "SELECT id, size, created_ns, last_used_ns, usage_count, description, cache_id FROM cache_mounts "
        "ORDER BY created_ns",
        "");
}

/* ---- measuring -------------------------------------------------------------------------------------------
 */

static int add_usage(int dir_fd, const char *name, struct map *seen, int64_t *bytes, int depth)
{
    struct stat st;
    char key[24];
    CLEANUP(closep) int fd = -1;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno; /* a running step may remove it meanwhile */
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
        snprintf(key, sizeof(key), "%llx", (unsigned long long)st.st_ino);
        if (map_has(seen, key))
            return 0;
        map_set(seen, key, (void *)1);
    }
    *bytes += (int64_t)st.st_blocks * 512;
    if (!S_ISDIR(st.st_mode) || depth > LIMIT_PATH_DEPTH)
        return 0;
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (dir == NULL)
        return errno == ENOENT ? 0 : -errno;
    fd = -1;
    const struct dirent *e;
    int r = task_check_sys();
    while (r == 0 && (errno = 0, e = readdir(dir)) != NULL) {
        if (!streq(e->d_name, ".") && !streq(e->d_name, ".."))
            r = add_usage(dirfd(dir), e->d_name, seen, bytes, depth + 1);
    }
    if (r == 0)
        r = -errno;
    closedir(dir);
    return r;
}

/* A step leaves its cache mount unmeasured: walking a large one is not the step's business. */
static struct error *measure_mounts(struct store *s)
{
    CLEANUP(strv_deinit) struct strv ids = { 0 };
    TRY(db_lock(&s->db));
    struct error *e = db_query(&s->db, take_target, &ids, "SELECT id FROM cache_mounts WHERE size < 0", "");
    mutex_lock(&s->lock);
    map_deinit(&s->unmeasured); /* the next use says so again */
    mutex_unlock(&s->lock);
    db_unlock(&s->db);
    for (size_t i = 0; e == NULL && i < ids.len; i++) {
        struct map seen = { 0 };
        int64_t bytes = 0;
        int r = add_usage(s->mounts_fd, ids.v[i], &seen, &bytes, 0);
        map_deinit(&seen);
        if (r < 0)
            return task_error(r, "measure cache mount %s", ids.v[i]);
        TRY(db_lock(&s->db));
        e = db_exec(&s->db, "UPDATE cache_mounts SET size = ? WHERE id = ?", "is", bytes, ids.v[i]);
        db_unlock(&s->db);
    }
    return e;
}

static struct error *list_records(struct store *s, struct listing *l)
{
    l->s = s;
    TRY(bumps_flush(s));
    TRY(measure_mounts(s));
    TRY(db_lock(&s->db));
    struct error *e = listing_read_locked(l);
    db_unlock(&s->db);
    return e;
}

struct error *usage_list(struct store *s, struct usage_record **ret, size_t *ret_count)
{
    CLEANUP(listing_deinit) struct listing l = { 0 };
    TRY(list_records(s, &l));
    *ret = TAKE(l.list);
    *ret_count = l.count;
    l.count = 0;
    return NULL;
}
