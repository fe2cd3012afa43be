/* SPDX-License-Identifier: Apache-2.0 */
#include "session/session.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/log.h"
#include "session/impl.h"

#define APPEAR_NS (5 * NS_PER_SEC)
#define HEALTH_INTERVAL_NS (5 * NS_PER_SEC)
#define HEALTH_TIMEOUT_NS (15 * NS_PER_SEC)
#define HEALTH_FAILURES 2
#define DRAIN_NS (60 * NS_PER_SEC) /* between two words about it in the log */

struct session_manager *session_manager_new(void)
{
    struct session_manager *m = NEW(struct session_manager);

    mutex_init(&m->lock);
    cond_init(&m->changed);
    random_bytes(m->salt, sizeof(m->salt));
    m->tokens.free_value = free;
    return m;
}

void session_manager_free(struct session_manager *m)
{
    if (m == NULL)
        return;
    assert(m->sessions.len == 0);
    map_deinit(&m->sessions);
    map_deinit(&m->tokens);
    cond_deinit(&m->changed);
    mutex_deinit(&m->lock);
    free(m);
}

/* ---- one session ---- */

static struct session *session_new(struct session_manager *m, const struct session_hello *h,
                                   struct rpc_conn *conn)
{
    struct session *s = NEW(struct session);

    s->manager = m;
    s->conn = conn;
    s->id = xstrdup(h->id);
    s->name = xstrdup(h->name != NULL ? h->name : "");
    s->shared_key = h->shared_key == NULL   ? xstrdup("")
                    : h->shared_key_encoded ? session_query_unescape(h->shared_key)
                                            : xstrdup(h->shared_key);
    for (size_t i = 0; h->methods != NULL && i < h->methods->len && i < LIMIT_SESSION_METHODS; i++)
        strv_take(&s->methods, str_lower(h->methods->v[i]));
    return s;
}

static void session_free(struct session *s)
{
    free(s->id);
    free(s->name);
    free(s->shared_key);
    strv_deinit(&s->methods);
    free(s);
}

const char *session_id(const struct session *s)
{
    return s->id;
}

const char *session_shared_key(const struct session *s)
{
    return s->shared_key;
}

struct rpc_conn *session_conn(struct session *s)
{
    return s->conn;
}

bool session_supports(const struct session *s, const char *method)
{
    CLEANUP(freep) char *lower = str_lower(method);

    return strv_has(&s->methods, lower);
}

void session_unref(struct session *s)
{
    if (s == NULL)
        return;
    struct session_manager *m = s->manager;

    mutex_lock(&m->lock);
    assert(s->refs > 0);
    if (--s->refs == 0)
        cond_broadcast(&m->changed);
    mutex_unlock(&m->lock);
}

void session_unrefp(struct session **s)
{
    session_unref(TAKE(*s));
}

/* ---- serving ---- */

struct error *session_check(struct session_manager *m, const char *id)
{
    mutex_lock(&m->lock);
    bool there = map_has(&m->sessions, id);

    mutex_unlock(&m->lock);
    return there ? err_new(ERR_EXISTS, "session %s already exists", id) : NULL;
}

static struct error *enter(struct session *s)
{
    struct session_manager *m = s->manager;
    struct error *e = NULL;

    mutex_lock(&m->lock);
    if (map_has(&m->sessions, s->id))
        e = err_new(ERR_EXISTS, "session %s already exists", s->id);
    else if (m->sessions.len >= LIMIT_SESSIONS)
        e = err_new(ERR_EXHAUSTED, "too many sessions");
    else
        map_set(&m->sessions, s->id, s);
    cond_broadcast(&m->changed);
    mutex_unlock(&m->lock);
    return e;
}

/* false: it is still in use after a while. */
static bool drained(struct session *s)
{
    struct session_manager *m = s->manager;
    struct deadline d;
    bool done;

    shield_begin(&d, DRAIN_NS);
    mutex_lock(&m->lock);
    while (s->refs > 0 && cond_wait(&m->changed, &m->lock) == 0)
        ;
    done = s->refs == 0;
    mutex_unlock(&m->lock);
    shield_end(&d);
    return done;
}

/* Off the list, its calls failed, its last reference dropped. */
static void leave(struct session *s)
{
    struct session_manager *m = s->manager;

    mutex_lock(&m->lock);
    s->ended = true;
    map_remove(&m->sessions, s->id);
    cond_broadcast(&m->changed);
    mutex_unlock(&m->lock);
    rpc_conn_abort(s->conn);
    /* whoever holds one is about to see its call fail; memory that is in use cannot be given up earlier */
    while (!drained(s))
        log_warn("a session that ended is still in use", "session", s->id);
}

struct health {
    int64_t interval_ns, timeout_ns, last_ns;
    int failures, threshold;
};

static struct health health_of(const struct session_hello *h)
{
    struct health health = { HEALTH_INTERVAL_NS, HEALTH_TIMEOUT_NS, 0, 0, HEALTH_FAILURES };
    int64_t ms;

    if (h->health_ms != NULL && parse_i64(h->health_ms, &ms) == 0 && ms > 0) {
        health.interval_ns = health.timeout_ns = MIN(MAX(ms, INT64_C(1000)), INT64_C(3600000)) * NS_PER_MS;
        health.threshold = 1;
    }
    return health;
}

static struct error *ask_health(struct session *s, int64_t timeout_ns)
{
    CLEANUP(pb_arena_deinit) struct pb_arena arena = { 0 };
    Health__CheckRequest request = HEALTH__CHECK_REQUEST__INIT;
    Health__CheckResponse *response;
    struct deadline d;

    deadline_begin(&d, timeout_ns);
    struct error *e = rpc_unary(s->conn, "/grpc.health.v1.Health/Check", NULL, &request.base,
                                &health__check_response__descriptor, &arena, &response);

    deadline_end(&d);
    if (err_is(e, ERR_UNIMPLEMENTED))
        err_freep(&e); /* a client without the service is alive as long as it answers */
    return e;
}

/* One check; an error when the session is given up. */
static struct error *check_health(struct session *s, struct health *h)
{
    int64_t start = monotonic_ns();
    struct error *e = ask_health(s, MAX(h->timeout_ns, h->last_ns * 3 / 2));

    h->last_ns = monotonic_ns() - start;
    if (e == NULL) {
        h->failures = 0;
        return NULL;
    }
    if (task_check_sys() < 0 || rpc_conn_closed(s->conn)) {
        err_free(e);
        return NULL; /* it ends anyway */
    }
    if (++h->failures < h->threshold) {
        err_free(e);
        return NULL;
    }
    err_free(e);
    return err_new(ERR_UNAVAILABLE, "session healthcheck failed fatally");
}

static struct error *watch(struct session *s, struct health h)
{
    for (;;) {
        struct deadline d;

        deadline_begin(&d, h.interval_ns);
        struct error *e = rpc_conn_wait(s->conn);

        deadline_end(&d);
        if (e == NULL)
            return NULL;
        err_free(e);
        TRY(task_check());
        TRY(check_health(s, &h));
    }
}

struct error *session_serve(struct session_manager *m, const struct session_hello *h, struct stream *stream)
{
    struct rpc_conn *conn;

    TRY(rpc_connect(stream, &conn));
    struct session *s = session_new(m, h, conn);
    struct error *e = enter(s);

    if (e == NULL) {
        e = watch(s, health_of(h));
        leave(s);
    }
    rpc_conn_close(conn);
    session_free(s);
    return e;
}

/* ---- finding ---- */

static struct session *find_locked(struct session_manager *m, const char *id)
{
    struct session *s = map_get(&m->sessions, id);

    if (s != NULL)
        s->refs++;
    return s;
}

/* "prefix:id" tells vertices apart; the id alone is what the client announced. */
static const char *bare_id(const char *id)
{
    const char *colon = strchr(id, ':');

    return colon != NULL && colon[1] != '\0' ? colon + 1 : id;
}

static int wait_for(struct session_manager *m, const char *id, struct session **ret)
{
    struct deadline d;
    int r = 0;

    deadline_begin(&d, APPEAR_NS);
    mutex_lock(&m->lock);
    while ((*ret = find_locked(m, id)) == NULL && r == 0)
        r = cond_wait(&m->changed, &m->lock);
    mutex_unlock(&m->lock);
    deadline_end(&d);
    return *ret != NULL ? 0 : r;
}

struct error *session_get(struct session_manager *m, const char *id, struct session **ret)
{
    struct session *s = NULL;

    id = bare_id(id);
    TRY(task_check());
    if (*id == '\0')
        return err_new(ERR_NOT_FOUND, "no active sessions");
    task_waiting("a session");
    int r = wait_for(m, id, &s);

    task_waiting(NULL);
    if (r < 0) {
        TRY(task_check());
        return err_new(ERR_NOT_FOUND, "no active session for %s: context deadline exceeded", id);
    }
    *ret = s;
    return NULL;
}

static struct session *find_now(struct session_manager *m, const char *id)
{
    mutex_lock(&m->lock);
    struct session *s = find_locked(m, bare_id(id));

    mutex_unlock(&m->lock);
    return s;
}

struct error *session_group_get(const struct session_group *g, const char *method, struct session **ret)
{
    struct session *s;

    for (size_t i = 0; i < g->ids.len; i++) {
        s = find_now(g->manager, g->ids.v[i]);
        if (s != NULL && session_supports(s, method)) {
            *ret = s;
            return NULL;
        }
        session_unref(s);
    }
    for (size_t i = 0; i < g->ids.len; i++) {
        struct error *e = session_get(g->manager, g->ids.v[i], &s);

        if (e != NULL && (!err_is(e, ERR_NOT_FOUND) || i + 1 == g->ids.len))
            return e;
        err_free(e);
        if (e == NULL && session_supports(s, method)) {
            *ret = s;
            return NULL;
        }
        if (e == NULL)
            session_unref(s);
    }
    if (g->ids.len == 0)
        return err_new(ERR_NOT_FOUND, "no active sessions");
    return err_new(ERR_NOT_FOUND, "method %s not supported by the client", method);
}

struct error *session_group_any(const struct session_group *g,
                                struct error *(*fn)(struct session *s, void *ctx), void *ctx)
{
    CLEANUP(err_freep) struct error *last = NULL;

    for (size_t i = 0; i < g->ids.len; i++) {
        CLEANUP(session_unrefp) struct session *s = NULL;

        err_freep(&last);
        last = session_get(g->manager, g->ids.v[i], &s);
        if (last == NULL)
            last = fn(s, ctx);
        if (last == NULL)
            return NULL;
        TRY(task_check());
    }
    return last != NULL ? TAKE(last) : err_new(ERR_NOT_FOUND, "no active sessions");
}
