/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c - remote caches as objects, and which of their records a node is */
#include "solver/cache.h"

#include "base/limits.h"
#include "solver/node.h"

struct remote_cache {
    atomic_uint refs;
    char *id;
    struct cache_config config;
    const struct remote_cache_ops *ops;
    void *ctx;
    size_t *by_digest;     /* records, sorted by digest */
    struct solver *solver; /* in whose list it stands; NULL: in none */
};

/* ---- objects
 * -----------------------------------------------------------------------------------------------------------------
 */

static int by_digest(const void *a, const void *b, void *records)
{
    const struct cache_record *r = records;
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    int c = strcmp(r[x].digest.s, r[y].digest.s);

    return c != 0 ? c : (x > y) - (x < y);
}

struct remote_cache *remote_cache_new(const char *id, struct cache_config *config,
                                      const struct remote_cache_ops *ops, void *ctx)
{
    struct remote_cache *c = NEW(struct remote_cache);

    atomic_init(&c->refs, 1);
    c->id = xstrdup(id);
    c->config = *config;
    *config = (struct cache_config){ 0 };
    c->ops = ops;
    c->ctx = ctx;
    c->by_digest = xcalloc(c->config.record_count + 1, sizeof(size_t));
    for (size_t i = 0; i < c->config.record_count; i++)
        c->by_digest[i] = i;
    if (c->config.record_count > 0)
        qsort_r(c->by_digest, c->config.record_count, sizeof(size_t), by_digest, c->config.records);
    return c;
}

struct remote_cache *remote_cache_ref(struct remote_cache *c)
{
    atomic_fetch_add(&c->refs, 1);
    return c;
}

/* The last reference of one that others may find goes under the lock. */
static bool last_reference(struct remote_cache *c)
{
    struct solver *s = c->solver;

    if (s == NULL)
        return atomic_fetch_sub(&c->refs, 1) == 1;
    mutex_lock(&s->lock);
    bool last = atomic_fetch_sub(&c->refs, 1) == 1;

    if (last)
        ptrv_drop(&s->caches, c);
    mutex_unlock(&s->lock);
    return last;
}

void remote_cache_unref(struct remote_cache *c)
{
    if (c == NULL || !last_reference(c))
        return;
    if (c->ops->free != NULL)
        c->ops->free(c->ctx);
    cache_config_deinit(&c->config);
    free(c->by_digest);
    free(c->id);
    free(c);
}

const struct cache_config *remote_cache_config(const struct remote_cache *c)
{
    return &c->config;
}

void *remote_cache_ctx(const struct remote_cache *c, const struct remote_cache_ops *ops)
{
    return c->ops == ops ? c->ctx : NULL;
}

/* Builds that read the same cache have one object, so that they can share nodes. */
void job_add_cache(struct job *j, struct remote_cache *c)
{
    struct solver *s = j->solver;
    struct remote_cache *found = NULL;
    bool known = false;

    mutex_lock(&s->lock);
    for (size_t i = 0; i < s->caches.len && found == NULL; i++) {
        struct remote_cache *other = s->caches.v[i];

        if (streq(other->id, c->id) && other->ops == c->ops)
            found = remote_cache_ref(other);
    }
    if (found == NULL) {
        c->solver = s;
        ptrv_add(&s->caches, c);
        found = TAKE(c);
    }
    for (size_t i = 0; i < j->caches.len; i++)
        known = known || j->caches.v[i] == found;
    if (!known)
        ptrv_add(&j->caches, TAKE(found));
    mutex_unlock(&s->lock);
    remote_cache_unref(found);
    remote_cache_unref(c);
}

/* ---- is there anything under chain keys?
 * ----------------------------------------------------------------------------------------
 */

#define IMPORTED_FACT "cache.imported"

struct error *solver_imported(struct solver *s, bool *ret)
{
    int known = atomic_load(&s->imported);

    if (known < 0) {
        CLEANUP(freep) char *fact = NULL;

        TRY(fact_get(s->config.store, IMPORTED_FACT, &fact));
        known = fact != NULL;
        atomic_store(&s->imported, known);
    }
    *ret = known > 0;
    return NULL;
}

struct error *solver_set_imported(struct solver *s)
{
    if (atomic_load(&s->imported) > 0)
        return NULL;
    TRY(fact_put(s->config.store, IMPORTED_FACT, "1"));
    atomic_store(&s->imported, 1);
    return NULL;
}

/* ---- matching
 * ----------------------------------------------------------------------------------------------------------------
 */

bool remote_has_match(const struct match_list *l, const struct remote_cache *c, size_t record)
{
    for (size_t i = 0; l != NULL && i < l->len; i++)
        if (l->v[i].cache == c && l->v[i].record == record)
            return true;
    return false;
}

static void add_match(struct match_list *l, struct remote_cache *c, size_t record)
{
    if (l->len >= LIMIT_CACHE_MATCHES || remote_has_match(l, c, record))
        return;
    l->v = xreallocarray(l->v, l->len + 1, sizeof(*l->v));
    l->v[l->len++] = (struct cache_match){ c, record };
}

/* The first record of that digest in by_digest. */
static size_t lower_bound(const struct remote_cache *c, const struct digest *d)
{
    size_t low = 0, high = c->config.record_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (strcmp(c->config.records[c->by_digest[mid]].digest.s, d->s) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static const struct match_list *input_matches(const struct node *n, size_t i)
{
    const struct node *in = n->inputs[i];

    return in->matches == NULL ? NULL : &in->matches[n->vertex->inputs[i].index];
}

/* `content` (may be NULL): digests of what is read of each input, "" where they are not known. */
static bool input_fits(const struct node *n, const struct remote_cache *c, const struct cache_record *r,
                       size_t i, const struct digest *content)
{
    for (size_t k = 0; k < r->inputs[i].link_count; k++) {
        const struct cache_link *l = &r->inputs[i].links[k];
        const struct cache_record *target = &c->config.records[l->record];

        if (l->selector != NULL) /* another builder's: ours need none */
            continue;
        if (remote_has_match(input_matches(n, i), c, l->record))
            return true;
        if (content != NULL && content[i].s[0] != '\0' && target->input_count == 0 &&
            digest_eq(&target->digest, &content[i]))
            return true;
    }
    return false;
}

static bool record_fits(const struct node *n, const struct remote_cache *c, const struct cache_record *r,
                        const struct digest *content)
{
    if (r->input_count != n->vertex->input_count)
        return false;
    for (size_t i = 0; i < r->input_count; i++)
        if (!input_fits(n, c, r, i, content))
            return false;
    return true;
}

static void match_output(struct node *n, size_t output, const struct digest *d, const struct digest *content)
{
    for (size_t i = 0; i < n->caches.len; i++) {
        struct remote_cache *c = n->caches.v[i];

        for (size_t k = lower_bound(c, d); k < c->config.record_count; k++) {
            const struct cache_record *r = &c->config.records[c->by_digest[k]];

            if (!digest_eq(&r->digest, d))
                break;
            if (record_fits(n, c, r, content))
                add_match(&n->matches[output], c, c->by_digest[k]);
        }
    }
}

static struct error *match(struct node *n, const struct digest *content)
{
    if (n->matches == NULL)
        n->matches = xcalloc(n->output_count + 1, sizeof(*n->matches));
    for (size_t i = 0; i < n->output_count; i++) {
        struct digest d;

        TRY(node_record_digest(n, node_source(n), i, &d));
        match_output(n, i, &d, content);
    }
    return NULL;
}

struct error *remote_match(struct node *n)
{
    return n->caches.len == 0 ? NULL : match(n, NULL);
}

struct error *remote_match_content(struct node *n)
{
    CLEANUP(freep) struct digest *content = xcalloc(n->vertex->input_count + 1, sizeof(*content));

    if (n->caches.len == 0)
        return NULL;
    for (size_t i = 0; i < n->vertex->input_count; i++)
        if (n->input_done[i])
            TRY(node_input_content(n, i, node_input(n, i), &content[i]));
    return match(n, content);
}

bool remote_matched(const struct node *n)
{
    for (size_t i = 0; n->matches != NULL && i < n->output_count; i++)
        if (n->matches[i].len > 0)
            return true;
    return false;
}

static struct remote_hit first_hit(const struct match_list *l)
{
    for (size_t i = 0; i < l->len; i++) {
        const struct cache_record *r = &l->v[i].cache->config.records[l->v[i].record];

        if (r->result_count > 0)
            return (struct remote_hit){ l->v[i].cache, &r->results[0] };
    }
    return (struct remote_hit){ 0 };
}

void remote_choose_hits(struct node *n)
{
    CLEANUP(freep) struct remote_hit *hits = xcalloc(n->output_count + 1, sizeof(*hits));

    if (n->matches == NULL || n->hits != NULL)
        return;
    for (size_t i = 0; i < n->output_count; i++) {
        hits[i] = first_hit(&n->matches[i]);
        if (n->needed[i] && hits[i].cache == NULL)
            return;
    }
    n->hits = TAKE(hits);
}

void remote_forget(struct node *n)
{
    for (size_t i = 0; n->matches != NULL && i < n->output_count; i++)
        free(n->matches[i].v);
    free(TAKE(n->matches));
    free(TAKE(n->hits));
}

struct error *remote_load(struct remote_hit *h, struct op_context *c, struct snapshot **ret)
{
    return h->cache->ops->load(h->cache->ctx, c, h->result, ret);
}
