/* SPDX-License-Identifier: Apache-2.0 */
#include "solver/solver.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "solver/node.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the solver
 * --------------------------------------------------------------------------------------------------------------
 */

/* Whole logs of clipped steps lie in ROOT/steplogs; without that folder they are only shown clipped. */
static int open_log_dir(struct store *store)
{
    int fd = store == NULL ? -1 : store_root_fd(store);

    if (fd < 0 || (mkdirat(fd, "steplogs", 0700) < 0 && errno != EEXIST))
        return -1;
    return openat(fd, "steplogs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

struct solver *solver_new(const struct solver_config *c)
{
    struct solver *s = NEW(struct solver);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    s->config = *c;
    s->slots[SLOT_CPU].limit = c->max_parallelism > 0 ? c->max_parallelism : (int)MAX(cpus, 1) + 2;
    s->slots[SLOT_IO].limit = LIMIT_SOLVER_IO;
    s->log_dir_fd = open_log_dir(c->store);
    mutex_init(&s->lock);
    cond_init(&s->settled);
    semaphore_init(&s->hash_slots, MAX(cpus, 1));
    s->content = content_cache_new();
    atomic_init(&s->imported, -1);
    group_open(&s->group, GROUP_KEEP_GOING | GROUP_DAEMON);
    return s;
}

void solver_free(struct solver *s)
{
    if (s == NULL)
        return;
    assert(s->jobs.len == 0);
    group_cancel(&s->group);
    err_free(group_join(&s->group));
    assert(s->nodes.len == 0);
    for (size_t i = 0; i < s->impl_count; i++)
        free(s->impls[i].scheme);
    free(s->impls);
    map_deinit(&s->nodes);
    map_deinit(&s->lent);
    map_deinit(&s->running);
    for (int kind = 0; kind < SLOT_KINDS; kind++)
        ptrv_deinit(&s->slots[kind].lanes);
    map_deinit(&s->jobs);
    ptrv_deinit(&s->demands);
    assert(s->caches.len == 0);
    ptrv_deinit(&s->caches);
    semaphore_deinit(&s->hash_slots);
    content_cache_free(s->content);
    closep(&s->log_dir_fd);
    cond_deinit(&s->settled);
    mutex_deinit(&s->lock);
    free(s);
}

void solver_register(struct solver *s, int op_case, const char *scheme, const struct op_impl *impl,
                     void *op_ctx)
{
    s->impls = xreallocarray(s->impls, s->impl_count + 1, sizeof *s->impls);
    s->impls[s->impl_count++] = (struct impl_entry){ op_case, xstrdup(scheme), impl, op_ctx };
}

void solver_on_load(struct solver *s, struct error *(*fn)(void *ctx, const struct llb_graph *g), void *ctx)
{
    s->on_load = fn;
    s->on_load_ctx = ctx;
}

void solver_on_fetch(struct solver *s,
                     struct error *(*fn)(void *ctx, const char *ref, const char *url, char **ret_url),
                     void *ctx)
{
    s->on_fetch = fn;
    s->on_fetch_ctx = ctx;
}

struct graph_box *graph_box_ref(struct graph_box *b)
{
    atomic_fetch_add(&b->refs, 1);
    return b;
}

void graph_box_unref(struct graph_box *b)
{
    if (b == NULL || atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    llb_graph_free(b->graph);
    free(b);
}

/* ---- jobs
 * --------------------------------------------------------------------------------------------------------------------
 */

static void ref_free(void *arg)
{
    struct ref *r = arg;

    graph_box_unref(r->box);
    free(r->nodes);
    free(r);
}

static void result_free(void *arg)
{
    snapshot_unref(arg);
}

struct error *job_open(struct solver *s, const struct job_options *o, struct job **ret)
{
    struct job *j = NEW(struct job);
    bool taken;

    j->solver = s;
    j->exports_layers = o->exports_layers;
    j->allow = o->allow;
    j->allow_ctx = o->allow_ctx;
    for (int kind = 0; kind < SLOT_KINDS; kind++)
        j->lanes[kind].job = j;
    j->ref = xstrdup(o->ref);
    if (o->entitlements != NULL)
        strv_copy(&j->entitlements, o->entitlements);
    j->sessions.manager = s->config.sessions;
    if (o->session_id != NULL && o->session_id[0] != '\0')
        strv_add(&j->sessions.ids, o->session_id);
    j->progress = progress_new();
    j->scope = scope_new(NULL);
    j->refs.free_value = ref_free;
    strmap_init(&j->noted);
    j->results.free_value = result_free;
    mutex_lock(&s->lock);
    taken = map_has(&s->jobs, j->ref);
    if (!taken)
        map_set(&s->jobs, j->ref, j);
    mutex_unlock(&s->lock);
    if (taken) {
        struct error *e = err_new(ERR_EXISTS, "job ID %s exists", j->ref);

        free(TAKE(j->ref));
        job_close(j);
        return e;
    }
    *ret = j;
    return NULL;
}

void job_close(struct job *j)
{
    struct solver *s;

    if (j == NULL)
        return;
    s = j->solver;
    scope_cancel(j->scope, NULL);
    job_detach(j);
    mutex_lock(&s->lock);
    if (j->ref != NULL)
        map_remove(&s->jobs, j->ref);
    mutex_unlock(&s->lock);
    progress_close(j->progress);
    progress_unref(j->progress);
    for (size_t i = 0; i < j->caches.len; i++)
        remote_cache_unref(j->caches.v[i]);
    ptrv_deinit(&j->caches);
    map_deinit(&j->refs);
    map_deinit(&j->noted);
    map_deinit(&j->results);
    strv_deinit(&j->entitlements);
    strv_deinit(&j->sessions.ids);
    scope_unref(j->scope);
    free(j->ref);
    free(j);
}

struct progress *job_progress(struct job *j)
{
    return j->progress;
}

const struct session_group *job_sessions(struct job *j)
{
    return &j->sessions;
}

struct scope *job_scope(struct job *j)
{
    return j->scope;
}

bool job_allows(const struct job *j, const char *entitlement)
{
    return strv_has(&j->entitlements, entitlement);
}

/* ---- refs
 * --------------------------------------------------------------------------------------------------------------------
 */

static struct error *check_entitlements(const struct job *j, const struct llb_graph *g)
{
    for (size_t i = 0; i < g->vertex_count; i++) {
        const Pb__Op *op = g->vertices[i].op;
        const struct impl_entry *m = impl_find(j->solver, &g->vertices[i]);

        if (m != NULL && m->impl->check != NULL)
            TRY(m->impl->check(m->ctx, &j->entitlements, &g->vertices[i]));
        if (op->op_case != PB__OP__OP_EXEC)
            continue;
        if (op->exec->network == PB__NET_MODE__HOST && !job_allows(j, "network.host"))
            return err_new(ERR_UNKNOWN, "network.host is not allowed");
        if (op->exec->security == PB__SECURITY_MODE__INSECURE && !job_allows(j, "security.insecure"))
            return err_new(ERR_UNKNOWN, "security.insecure is not allowed");
    }
    return NULL;
}

struct error *job_ref(struct job *j, struct llb_def *def, struct ref **ret)
{
    CLEANUP(llb_graph_freep) struct llb_graph *g = NULL;
    struct error *e;
    struct ref *r;

    if (llb_def_is_scratch(def)) {
        llb_def_unref(def);
        *ret = NULL;
        return NULL;
    }
    e = llb_load(def, &g);
    if (e == NULL)
        e = check_entitlements(j, g);
    if (e != NULL) {
        e->kind = ERR_UNKNOWN; /* of which clients print no name, as of the errors of steps */
        return err_wrap(e, "failed to load LLB");
    }
    r = NEW(struct ref);
    random_id(r->id, 25);
    r->job = j;
    r->box = NEW(struct graph_box);
    atomic_init(&r->box->refs, 1);
    r->box->graph = TAKE(g);
    mutex_lock(&j->solver->lock);
    map_set(&j->refs, r->id, r);
    mutex_unlock(&j->solver->lock);
    llb_def_unref(def);
    *ret = r;
    return NULL;
}

/* The error of a failed vertex as clients draw it: where in the source, which vertex, then what the op says
 * of itself. */
static struct error *vertex_error(const struct ref *r, const struct error *cause, const struct digest *vertex)
{
    enum error_kind kind =
        cause->kind == ERR_CANCELLED || cause->kind == ERR_DEADLINE ? cause->kind : ERR_UNKNOWN;
    const struct llb_def *def = r->box->graph->def;
    struct error *e = err_new(kind, "%s", cause->message);
    CLEANUP(freep) char *json = xasprintf("{\"digest\":\"%s\"}", vertex->s);

    llb_add_source_detail(e, def, llb_def_locations(def, vertex->s));
    err_add_detail(e, "github.com/moby/buildkit/errdefs.Vertex+json", json, strlen(json));
    for (size_t i = 0; i < cause->detail_count; i++)
        err_add_detail(e, cause->details[i].type_url, cause->details[i].value, cause->details[i].len);
    return e;
}

/* Solves of one ref that begin together may both do it: it is no harm twice. */
static struct error *load(struct ref *r)
{
    struct solver *s = r->job->solver;
    bool loaded;

    mutex_lock(&s->lock);
    loaded = r->loaded;
    mutex_unlock(&s->lock);
    if (loaded || s->on_load == NULL)
        return NULL;
    TRY(s->on_load(s->on_load_ctx, r->box->graph));
    mutex_lock(&s->lock);
    r->loaded = true;
    mutex_unlock(&s->lock);
    return NULL;
}

/* The ref's result, when it is here; what the demand has come to otherwise. */
static struct error *outcome_locked(const struct ref *r, const struct demand *d, int waited,
                                    struct snapshot **ret)
{
    switch (d->head->state) {
    case NODE_DONE: {
        struct snapshot *out = d->head->outputs[r->box->graph->result.index];

        *ret = out == NULL ? NULL : snapshot_ref(out);
        return NULL;
    }
    case NODE_FAILED:
        return vertex_error(r, d->head->error, &d->head->failed_vertex);
    default:
        return d->lazy && waited == 0 ? NULL : task_error(waited, "solve");
    }
}

static struct error *solve(struct ref *r, bool lazy, struct snapshot **ret)
{
    struct solver *s = r->job->solver;
    struct demand d = { .lazy = lazy };
    struct error *e;

    *ret = NULL;
    TRY(load(r));
    cond_init(&d.wake);
    mutex_lock(&s->lock);
    e = demand_enter_locked(&d, r);
    if (e == NULL) {
        int waited = demand_wait_locked(&d);

        e = outcome_locked(r, &d, waited, ret);
        demand_leave_locked(&d, r);
    }
    mutex_unlock(&s->lock);
    cond_deinit(&d.wake);
    if (e == NULL && *ret != NULL)
        e = snapshot_load(*ret);
    if (e != NULL)
        snapshot_unref(TAKE(*ret));
    return e;
}

struct error *ref_result(struct ref *r, struct snapshot **ret)
{
    return solve(r, false, ret);
}

struct error *ref_find(struct ref *r)
{
    struct snapshot *here = NULL;
    struct error *e = solve(r, true, &here);

    snapshot_unref(here);
    return e;
}

static bool lies_elsewhere(const struct ref *r)
{
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&r->job->solver->lock);
    const struct llb_edge *result = &r->box->graph->result;
    const struct node *n = r->nodes[result->vertex->position];

    return n->state == NODE_PROMISED && n->hits != NULL && n->hits[result->index].cache != NULL;
}

struct error *ref_evaluate(struct ref *r)
{
    struct snapshot *here = NULL;

    TRY(ref_find(r));
    if (lies_elsewhere(r))
        return NULL;
    TRY(ref_result(r, &here));
    snapshot_unref(here);
    return NULL;
}

const char *ref_id(const struct ref *r)
{
    return r->id;
}

const struct llb_def *ref_def(const struct ref *r)
{
    return r->box->graph->def;
}

struct ref *job_find_ref(struct job *j, const char *id)
{
    struct ref *r;

    mutex_lock(&j->solver->lock);
    r = map_get(&j->refs, id);
    mutex_unlock(&j->solver->lock);
    return r;
}
