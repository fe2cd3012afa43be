/* SPDX-License-Identifier: Apache-2.0 */
/* What takes room on disk, record by record, and pruning it by BuildKit's rules. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
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

struct listing {
    struct store *s;
    struct reach images;
    struct strv targets;
    struct usage_record *list;
    size_t count, cap;
};

static void listing_deinit(struct listing *l)
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

static struct error *list_locked(struct listing *l)
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
    struct error *e = list_locked(l);
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

/* ---- pruning ---------------------------------------------------------------------------------------------
 */

struct candidate {
    size_t index;    /* in the listing */
    double age, use; /* BuildKit weighs the order of last use and that of the count of uses */
};

struct pruning {
    struct listing *l;
    const struct prune_options *o;
    bool *passes; /* the filters */
    bool *gone;
    int64_t total, keep;
    int64_t cutoff_ns;
};

static int64_t keep_bytes(struct store *s, const struct prune_options *o, int64_t total)
{
    struct statvfs v;
    if (o->max_used_bytes == 0 && o->reserved_bytes == 0 && o->min_free_bytes == 0)
        return 0;
    int64_t keep = o->max_used_bytes;
    if (o->min_free_bytes > 0 && fstatvfs(s->root_fd, &v) == 0) {
        int64_t excess = o->min_free_bytes - (int64_t)(v.f_bfree * v.f_frsize);
        if (excess > 0)
            keep = keep == 0 ? total - excess : MIN(keep, total - excess);
    }
    return MAX(keep, o->reserved_bytes);
}

/* Records that nobody uses and no other record stands on. */
static size_t find_candidates(struct pruning *p, struct candidate *list)
{
    CLEANUP(map_deinit) struct map parents = { 0 };
    size_t n = 0;
    for (size_t i = 0; i < p->l->count; i++) {
        for (size_t k = 0; !p->gone[i] && k < p->l->list[i].parents.len; k++)
            map_set(&parents, p->l->list[i].parents.v[k], (void *)1);
    }
    for (size_t i = 0; i < p->l->count; i++) {
        const struct usage_record *r = &p->l->list[i];
        bool spared = !p->o->all && (r->shared || streq(r->type, "internal") || streq(r->type, "frontend"));
        bool young = p->o->keep_ns != 0 && r->last_used_ns > p->cutoff_ns;
        if (!p->gone[i] && p->passes[i] && !spared && !young && !r->in_use && !map_has(&parents, r->id))
            list[n++].index = i;
    }
    return n;
}

static const struct usage_record *sort_records; /* qsort has no context; guarded by the database's lock */

static int by_last_use(const void *a, const void *b)
{
    int64_t x = sort_records[((const struct candidate *)a)->index].last_used_ns;
    int64_t y = sort_records[((const struct candidate *)b)->index].last_used_ns;
    return (x > y) - (x < y);
}

static int by_count(const void *a, const void *b)
{
    int64_t x = sort_records[((const struct candidate *)a)->index].usage_count;
    int64_t y = sort_records[((const struct candidate *)b)->index].usage_count;
    return (x > y) - (x < y);
}

static int by_weight(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;
    double dx = x->age + x->use, dy = y->age + y->use;
    return (dx > dy) - (dx < dy);
}

static void sort_candidates(const struct usage_record *records, struct candidate *list, size_t n)
{
    double ages = 1, uses = 1;
    int64_t last = 0, count = 0;
    sort_records = records;
    qsort(list, n, sizeof(*list), by_last_use);
    for (size_t i = 0; i < n; i++) {
        int64_t t = records[list[i].index].last_used_ns;
        if (t > last) {
            last = t;
            ages++;
        }
        list[i].age = ages;
    }
    qsort(list, n, sizeof(*list), by_count);
    for (size_t i = 0; i < n; i++) {
        int64_t c = records[list[i].index].usage_count;
        if (c != count) {
            count = c;
            uses++;
        }
        list[i].use = uses;
    }
    for (size_t i = 0; i < n; i++) {
        list[i].age /= ages;
        list[i].use /= uses;
    }
    qsort(list, n, sizeof(*list), by_weight);
}

/* Which records go, in order. */
static void choose(struct pruning *p, struct ptrv *chosen)
{
    bool gc = p->keep != 0;
    CLEANUP(freep) struct candidate *list = xcalloc(p->l->count + 1, sizeof(*list));
    for (;;) {
        if (gc && p->total < p->keep)
            return;
        size_t n = find_candidates(p, list);
        if (n == 0)
            return;
        if (gc)
            sort_candidates(p->l->list, list, n);
        for (size_t i = 0; i < (gc ? 1 : n); i++) {
            struct usage_record *r = &p->l->list[list[i].index];
            p->gone[list[i].index] = true;
            p->total -= r->shared ? 0 : r->size;
            ptrv_add(chosen, r);
        }
    }
}

static struct error *drop_record(struct store *s, const struct usage_record *r, struct trash *t)
{
    struct db *db = &s->db;
    if (r->mutable_) {
        strv_add(&t->mounts, r->id);
        return db_exec(db, "DELETE FROM cache_mounts WHERE id = ?", "s", r->id);
    }
    if (r->shared) /* an image needs the layer: only the record goes */
        return db_exec(db, "UPDATE layers SET record = 0 WHERE id = ?", "s", r->id);
    strv_add(&t->layers, r->id);
    TRY(db_exec(db, "DELETE FROM blobs WHERE layer = ?", "s", r->id));
    return db_exec(db, "DELETE FROM layers WHERE id = ?", "s", r->id);
}

static struct error *drop_chosen(struct store *s, const struct ptrv *chosen, struct trash *t)
{
    CLEANUP(strv_deinit) struct strv layers = { 0 };
    for (size_t i = 0; i < chosen->len; i++) {
        const struct usage_record *r = chosen->v[i];
        if (!r->mutable_)
            strv_add(&layers, r->id);
    }
    TRY(drop_snapshots_of(s, &layers));
    for (size_t i = 0; i < chosen->len; i++)
        TRY(drop_record(s, chosen->v[i], t));
    return NULL;
}

static struct error *prune_locked(struct store *s, const struct prune_options *o, struct listing *l,
                                  struct ptrv *chosen, struct trash *t)
{
    struct pruning p = { .l = l, .o = o, .cutoff_ns = now_ns() - o->keep_ns };
    TRY(list_locked(l));
    for (size_t i = 0; i < l->count; i++)
        p.total += l->list[i].shared ? 0 : l->list[i].size;
    p.keep = keep_bytes(s, o, p.total);
    CLEANUP(freep) bool *passes = xcalloc(l->count + 1, sizeof(bool));
    CLEANUP(freep) bool *gone = xcalloc(l->count + 1, sizeof(bool));
    p.passes = passes;
    p.gone = gone;
    TRY(usage_filter(l->list, l->count, &o->filters, passes));
    choose(&p, chosen);
    return drop_chosen(s, chosen, t);
}

struct error *store_prune(struct store *s, const struct prune_options *o,
                          void (*removed)(void *ctx, const struct usage_record *r), void *ctx)
{
    CLEANUP(listing_deinit) struct listing l = { .s = s };
    CLEANUP(ptrv_deinit) struct ptrv chosen = { 0 };
    CLEANUP(trash_deinit) struct trash t = { 0 };
    TRY(bumps_flush(s));
    TRY(db_begin(&s->db));
    recall_suspend(s);
    struct error *e = trash_commit(s, &t, prune_locked(s, o, &l, &chosen, &t));
    recall_resume(s);
    TRY(e);
    for (size_t i = 0; removed != NULL && i < chosen.len; i++)
        removed(ctx, chosen.v[i]);
    return store_collect(s, NULL);
}
