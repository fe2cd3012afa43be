/* SPDX-License-Identifier: Apache-2.0 */
/* prune.c - which records of the ledger go, by BuildKit's rules: what nobody uses and nothing stands on, the
 * oldest and least used first */
#include <sys/statvfs.h>

#include "base/bytes.h"
#include "store/internal.h"

struct pruning {
    const struct listing *l;
    bool *open; /* the options let it go */
    bool *gone;
    size_t *above;             /* records that stand on it */
    struct map places;         /* id -> place in the listing + 1 */
    size_t *by_use, *by_count; /* places, in these orders */
    double *age, *use;         /* ranks among those that may go now */
    int64_t total, keep;
};

static void pruning_deinit(struct pruning *p)
{
    free(p->open);
    free(p->gone);
    free(p->above);
    map_deinit(&p->places);
    free(p->by_use);
    free(p->by_count);
    free(p->age);
    free(p->use);
}

static int compare(int64_t x, int64_t y)
{
    return (x > y) - (x < y);
}

static int by_last_use(const void *a, const void *b, void *list)
{
    const struct usage_record *records = list;
    return compare(records[*(const size_t *)a].last_used_ns, records[*(const size_t *)b].last_used_ns);
}

static int by_count(const void *a, const void *b, void *list)
{
    const struct usage_record *records = list;
    return compare(records[*(const size_t *)a].usage_count, records[*(const size_t *)b].usage_count);
}

static size_t *sorted(const struct listing *l, int (*order)(const void *a, const void *b, void *list))
{
    size_t *places = xcalloc(l->count + 1, sizeof(*places));
    for (size_t i = 0; i < l->count; i++)
        places[i] = i;
    if (l->count > 1)
        qsort_r(places, l->count, sizeof(*places), order, l->list);
    return places;
}

/* The place of a parent; SIZE_MAX: it is not in the listing. */
static size_t place_of(const struct pruning *p, const char *id)
{
    return (size_t)map_get(&p->places, id) - 1;
}

static struct error *pruning_init(struct pruning *p, const struct listing *l, const struct prune_options *o)
{
    int64_t cutoff_ns = now_ns() - o->keep_ns;
    p->l = l;
    p->open = xcalloc(l->count + 1, sizeof(*p->open));
    p->gone = xcalloc(l->count + 1, sizeof(*p->gone));
    p->above = xcalloc(l->count + 1, sizeof(*p->above));
    p->age = xcalloc(l->count + 1, sizeof(*p->age));
    p->use = xcalloc(l->count + 1, sizeof(*p->use));
    p->by_use = sorted(l, by_last_use);
    p->by_count = sorted(l, by_count);
    TRY(usage_filter(l->list, l->count, &o->filters, p->open));
    for (size_t i = 0; i < l->count; i++)
        map_set(&p->places, l->list[i].id, (void *)(i + 1));
    for (size_t i = 0; i < l->count; i++) {
        const struct usage_record *r = &l->list[i];
        bool spared = !o->all && (r->shared || streq(r->type, "internal") || streq(r->type, "frontend"));
        bool young = o->keep_ns != 0 && r->last_used_ns > cutoff_ns;
        p->open[i] = p->open[i] && !spared && !young && !r->in_use;
        p->total += r->shared ? 0 : r->size;
        for (size_t k = 0; k < r->parents.len; k++) {
            size_t at = place_of(p, r->parents.v[k]);
            if (at != SIZE_MAX)
                p->above[at]++;
        }
    }
    return NULL;
}

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

static bool may_go(const struct pruning *p, size_t i)
{
    return p->open[i] && !p->gone[i] && p->above[i] == 0;
}

/* The lightest of those that may go now, SIZE_MAX: none.  BuildKit weighs a record's rank by last use and
 * that by the count of uses, each in relation to the highest. */
static size_t lightest(struct pruning *p)
{
    const struct usage_record *records = p->l->list;
    double ages = 1, uses = 1, least = 0;
    int64_t last = 0, count = 0;
    size_t best = SIZE_MAX;
    for (size_t k = 0; k < p->l->count; k++) {
        size_t i = p->by_use[k];
        if (!may_go(p, i))
            continue;
        if (records[i].last_used_ns > last) {
            last = records[i].last_used_ns;
            ages++;
        }
        p->age[i] = ages;
    }
    for (size_t k = 0; k < p->l->count; k++) {
        size_t i = p->by_count[k];
        if (!may_go(p, i))
            continue;
        if (records[i].usage_count != count) {
            count = records[i].usage_count;
            uses++;
        }
        p->use[i] = uses;
    }
    for (size_t i = 0; i < p->l->count; i++) {
        double weight = p->age[i] / ages + p->use[i] / uses;
        if (may_go(p, i) && (best == SIZE_MAX || weight < least)) {
            best = i;
            least = weight;
        }
    }
    return best;
}

static void take(struct pruning *p, size_t i, struct ptrv *chosen)
{
    struct usage_record *r = &p->l->list[i];
    p->gone[i] = true;
    p->total -= r->shared ? 0 : r->size;
    for (size_t k = 0; k < r->parents.len; k++) {
        size_t at = place_of(p, r->parents.v[k]);
        if (at != SIZE_MAX)
            p->above[at]--;
    }
    ptrv_add(chosen, r);
}

/* Which records go, in order: one after the other until there is room enough, or all. */
static void choose(struct pruning *p, struct ptrv *chosen)
{
    bool more = p->keep == 0;
    for (size_t i = 0; p->keep != 0 && p->total >= p->keep && (i = lightest(p)) != SIZE_MAX;)
        take(p, i, chosen);
    while (more) {
        more = false;
        for (size_t i = 0; i < p->l->count; i++) {
            if (!may_go(p, i))
                continue;
            take(p, i, chosen);
            more = true;
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
    CLEANUP(pruning_deinit) struct pruning p = { 0 };
    TRY(listing_read_locked(l));
    TRY(pruning_init(&p, l, o));
    p.keep = keep_bytes(s, o, p.total);
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
