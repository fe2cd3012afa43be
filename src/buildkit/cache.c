/* SPDX-License-Identifier: Apache-2.0 */
/* cache.c - the build caches that a build reads and writes */
#include "buildkit/internal.h"
#include "base/log.h"
#include "op/cache_import.h"

/* ---- reading
 * -----------------------------------------------------------------------------------------------------------------
 */

enum import_state { IMPORT_UNDER_WAY = 1, IMPORT_OVER };

void import_set_init(struct import_set *s)
{
    mutex_init(&s->lock);
    cond_init(&s->changed);
}

void import_set_deinit(struct import_set *s)
{
    map_deinit(&s->states);
    cond_deinit(&s->changed);
    mutex_deinit(&s->lock);
}

struct import_task {
    struct build *build;
    const struct cache_import *import;
    char *name;
};

/* As BuildKit names it: the reference, else the type and a number made of the attributes. */
static char *import_name(const struct cache_import *i)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };
    const char *ref = strmap_get(&i->attrs, "ref");
    uint64_t number = 0;
    struct digest d;

    if (streq(i->type, "registry") && ref != NULL && ref[0] != '\0')
        return xstrdup(ref);
    for (size_t k = 0; k < i->attrs.len; k++)
        buf_addf(&text, "%s=%s\n", i->attrs.entries[k].key, (const char *)i->attrs.entries[k].value);
    d = digest_of(text.data, text.len);
    for (size_t k = 0; k < 16; k++)
        number = number << 4 | (uint64_t)(strchr("0123456789abcdef", digest_hex(&d)[k]) - "0123456789abcdef");
    return xasprintf("%s:%llu", i->type, (unsigned long long)number);
}

/* A cache that cannot be read is a row that says so. */
static struct error *import_main(void *arg)
{
    struct import_task *t = arg;
    CLEANUP(cache_list_deinit) struct cache_list found = { 0 };
    CLEANUP(freep) char *row = xasprintf("importing cache manifest from %s", t->name);
    struct vertex_reporter *r = reporter_new(job_progress(t->build->job), NULL, row);
    struct error *e;

    reporter_start(r);
    e = op_cache_import(t->build->builder->config->ops, t->import->type, &t->import->attrs,
                        job_sessions(t->build->job), t->build->lease, r, &found);
    for (size_t i = 0; e == NULL && i < found.len; i++)
        job_add_cache(t->build->job, TAKE(found.v[i]));
    reporter_complete(r, e);
    reporter_free(r);
    err_free(e);
    return NULL;
}

/* False: another call has done it, or is doing it. */
static bool claim_import(struct build *u, const char *name)
{
    mutex_lock(&u->imports.lock);
    bool first = !map_has(&u->imports.states, name);

    if (first)
        map_set(&u->imports.states, name, (void *)IMPORT_UNDER_WAY);
    mutex_unlock(&u->imports.lock);
    return first;
}

static void end_import(struct build *u, const char *name)
{
    mutex_lock(&u->imports.lock);
    map_set(&u->imports.states, name, (void *)IMPORT_OVER);
    cond_broadcast(&u->imports.changed);
    mutex_unlock(&u->imports.lock);
}

/* A cancelled build goes on without. */
static void await_import(struct build *u, const char *name)
{
    int r = 0;

    mutex_lock(&u->imports.lock);
    while (r == 0 && map_get(&u->imports.states, name) == (void *)IMPORT_UNDER_WAY)
        r = cond_wait(&u->imports.changed, &u->imports.lock);
    mutex_unlock(&u->imports.lock);
}

void build_import_caches(struct build *u, const struct cache_imports *l)
{
    CLEANUP(freep) struct import_task *tasks = xcalloc(l->len + 1, sizeof(*tasks));
    CLEANUP(freep) bool *mine = xcalloc(l->len + 1, sizeof(bool));
    struct group g;

    group_open(&g, GROUP_KEEP_GOING);
    for (size_t i = 0; i < l->len; i++) {
        tasks[i] = (struct import_task){ u, &l->v[i], import_name(&l->v[i]) };
        mine[i] = claim_import(u, tasks[i].name);
        if (mine[i])
            log_err(LOG_WARN, group_spawn(&g, "import-cache", import_main, &tasks[i]),
                    "cannot import a build cache");
    }
    err_free(group_join(&g));
    for (size_t i = 0; i < l->len;
         i++) /* all, before one is waited for: two calls may wait for each other's */
        if (mine[i])
            end_import(u, tasks[i].name);
    for (size_t i = 0; i < l->len; i++) {
        if (!mine[i])
            await_import(u, tasks[i].name);
        free(tasks[i].name);
    }
}

/* ---- writing
 * -----------------------------------------------------------------------------------------------------------------
 */

void cache_exporter_list_deinit(struct cache_exporter_list *l)
{
    for (size_t i = 0; i < l->len; i++)
        cache_exporter_free(l->v[i]);
    free(l->v);
    *l = (struct cache_exporter_list){ 0 };
}

static char *export_key(const struct build_exporter *x)
{
    CLEANUP(map_deinit) struct map attrs = { 0 };
    CLEANUP(buf_deinit) struct buf key = { 0 };
    const char *ref = strmap_get(x->attrs, "ref");

    if (streq(x->type, "registry") && ref != NULL && ref[0] != '\0')
        return xstrdup(ref);
    strmap_init(&attrs);
    strmap_copy(&attrs, x->attrs);
    map_sort(&attrs);
    buf_adds(&key, x->type);
    for (size_t i = 0; i < attrs.len; i++)
        buf_addf(&key, "\n%s=%s", attrs.entries[i].key, (const char *)attrs.entries[i].value);
    return buf_take(&key);
}

/* Inline once is enough; anything else twice is a mistake. */
static struct error *check_duplicates(const struct build_request *r)
{
    CLEANUP(map_deinit) struct map seen = { 0 };
    CLEANUP(strv_deinit) struct strv twice = { 0 };

    for (size_t i = 0; i < r->cache_export_count; i++) {
        const struct build_exporter *x = &r->cache_exports[i];
        CLEANUP(freep) char *key = export_key(x);
        size_t times = (size_t)map_get(&seen, key);

        if (times == 1 && !streq(x->type, "inline"))
            strv_add(&twice, x->type);
        map_set(&seen, key, (void *)(times + 1));
    }
    if (twice.len == 0)
        return NULL;
    CLEANUP(freep) char *list = strv_join(&twice, " ");

    return err_new(ERR_UNKNOWN, "duplicate cache exports [%s]", list);
}

struct error *resolve_cache_exporters(const struct build_request *r, struct cache_exporter_list *ret)
{
    TRY(check_duplicates(r));
    ret->v = xcalloc(r->cache_export_count + 1, sizeof(*ret->v));
    for (size_t i = 0; i < r->cache_export_count; i++) {
        TRY(cache_exporter_resolve(r->cache_exports[i].type, r->cache_exports[i].attrs, &ret->v[ret->len]));
        ret->len++;
    }
    return NULL;
}

static struct error *add_ref(struct cache_source *s, struct ref *ref)
{
    s->heads = xreallocarray(s->heads, s->head_count + 1, sizeof(*s->heads));
    s->heads[s->head_count] = SIZE_MAX;
    return ref_cache_steps(ref, &s->steps, &s->heads[s->head_count++]);
}

struct error *inline_caches(const struct cache_exporter_list *l, const struct frontend_result *res,
                            size_t count, struct cache_source **ret)
{
    bool wanted = false;
    struct error *e = NULL;

    for (size_t i = 0; i < l->len; i++)
        wanted = wanted || cache_exporter_is_inline(l->v[i]);
    *ret = NULL;
    if (!wanted)
        return NULL;
    struct cache_source *v = xcalloc(count + 1, sizeof(*v));

    for (size_t i = 0; e == NULL && i < res->ref_count; i++)
        if (res->refs[i].ref != NULL)
            e = add_ref(&v[i], res->refs[i].ref);
    if (e != NULL)
        inline_caches_free(v, count);
    else
        *ret = v;
    return e;
}

void inline_caches_free(struct cache_source *v, size_t count)
{
    for (size_t i = 0; v != NULL && i < count; i++)
        cache_source_deinit(&v[i]);
    free(v);
}

struct cache_task {
    const struct cache_exporter *exporter;
    struct export_context context;
    const struct cache_source *source;
    struct map response;
};

static struct error *cache_main(void *arg)
{
    struct cache_task *t = arg;

    return cache_export(t->exporter, &t->context, t->source, &t->response);
}

static struct error *run_all(struct cache_task *tasks, size_t count)
{
    struct error *e = NULL;
    struct group g;

    if (count == 1)
        return cache_main(&tasks[0]);
    group_open(&g, 0);
    for (size_t i = 0; e == NULL && i < count; i++)
        e = group_spawn(&g, "export-cache", cache_main, &tasks[i]);
    return group_finish(&g, e);
}

struct error *export_caches(const struct cache_exporter_list *l, const struct frontend_result *res,
                            const struct export_context *c, struct map *response)
{
    CLEANUP(freep) struct cache_task *tasks = xcalloc(l->len + 1, sizeof(*tasks));
    CLEANUP(cache_source_deinit) struct cache_source source = { 0 };
    struct error *e = NULL;
    size_t n = 0;

    for (size_t i = 0; i < l->len; i++) {
        if (cache_exporter_is_inline(l->v[i]))
            continue;
        tasks[n] = (struct cache_task){ .exporter = l->v[i], .context = *c, .source = &source };
        tasks[n].context.index = (int)n;
        strmap_init(&tasks[n++].response);
    }
    for (size_t i = 0; e == NULL && n > 0 && i < res->ref_count; i++)
        if (res->refs[i].ref != NULL)
            e = add_ref(&source, res->refs[i].ref);
    if (e == NULL && n > 0)
        e = run_all(tasks, n);
    for (size_t i = 0; i < n; i++) {
        if (e == NULL)
            strmap_copy(response, &tasks[i].response);
        map_deinit(&tasks[i].response);
    }
    return e;
}
