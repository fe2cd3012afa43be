/* SPDX-License-Identifier: Apache-2.0 */
#include "buildkit/ahead.h"

#include "base/buf.h"
#include "buildkit/internal.h"
#include "session/session.h"

/* A question, and in a request that asks it ahead its answer. */
struct ahead_image {
    char *ref, *mode;
    struct platform platform;
    bool has_platform;
    struct ahead *ahead;
    enum { ASKED, ANSWERED, GONE } state; /* GONE: taken, or never asked */
    struct resolved_manifest answer;
    struct error *failure; /* the answer, when not NULL */
};

struct ahead {
    struct request *request;
    struct group group;
    struct mutex lock; /* of what follows */
    struct cond changed;
    struct digest key; /* "" = not known yet */
    struct ahead_image asked[LIMIT_AHEAD_IMAGES], noted[LIMIT_AHEAD_IMAGES];
    size_t asked_count, noted_count;
    struct strv needed_before, needed;
    bool recalled; /* what there is to know of the last request is here */
};

static const char *or_empty(const char *s)
{
    return s == NULL ? "" : s;
}

static void image_set(struct ahead_image *i, const char *ref, const struct image_resolve_options *o)
{
    *i = (struct ahead_image){ .ref = xstrdup(ref),
                               .mode = xstrdup(or_empty(o->mode)),
                               .has_platform = o->platform != NULL };
    if (o->platform != NULL)
        platform_copy(&i->platform, o->platform);
}

static struct image_resolve_options image_options(const struct ahead_image *i)
{
    return (struct image_resolve_options){ .mode = i->mode,
                                           .platform = i->has_platform ? &i->platform : NULL };
}

static void image_deinit(struct ahead_image *i)
{
    free(i->ref);
    free(i->mode);
    platform_deinit(&i->platform);
    resolved_manifest_deinit(&i->answer);
    err_free(i->failure);
}

static bool same_question(const struct ahead_image *i, const char *ref, const struct image_resolve_options *o)
{
    if (!streq(i->ref, ref) || !streq(i->mode, or_empty(o->mode)) || i->has_platform != (o->platform != NULL))
        return false;
    if (!i->has_platform)
        return true;
    CLEANUP(freep) char *mine = platform_format_all(&i->platform), *other = platform_format_all(o->platform);

    return streq(mine, other);
}

static size_t find(const struct ahead_image *v, size_t count, const char *ref,
                   const struct image_resolve_options *o)
{
    size_t i = 0;

    while (i < count && !same_question(&v[i], ref, o))
        i++;
    return i;
}

/* ---- the memory ---- */

void ahead_memory_init(struct ahead_memory *m)
{
    mutex_init(&m->lock);
}

static void forget(struct ahead_images *e)
{
    for (size_t i = 0; i < e->count; i++)
        image_deinit(&e->v[i]);
    free(e->v);
    strv_deinit(&e->needs);
    *e = (struct ahead_images){ 0 };
}

void ahead_memory_deinit(struct ahead_memory *m)
{
    for (size_t i = 0; i < ARRAY_LEN(m->entries); i++)
        forget(&m->entries[i]);
    mutex_deinit(&m->lock);
}

static struct ahead_images *find_locked(struct ahead_memory *m, const struct digest *key)
{
    for (size_t i = 0; i < ARRAY_LEN(m->entries); i++) {
        if (digest_eq(&m->entries[i].key, key))
            return &m->entries[i];
    }
    return NULL;
}

static void recall(struct ahead *a)
{
    struct ahead_memory *m = &a->request->build->builder->ahead;
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&m->lock);
    const struct ahead_images *e = find_locked(m, &a->key);

    if (e == NULL)
        return;
    strv_copy(&a->needed_before, &e->needs);
    for (size_t i = 0; i < e->count; i++) {
        struct image_resolve_options o = image_options(&e->v[i]);

        image_set(&a->asked[a->asked_count], e->v[i].ref, &o);
        a->asked[a->asked_count++].ahead = a;
    }
}

/* What was noted takes the place of what was known of such requests, or of the oldest. */
static void remember(struct ahead *a)
{
    struct ahead_memory *m = &a->request->build->builder->ahead;
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&m->lock);
    struct ahead_images *e = find_locked(m, &a->key);

    if (e == NULL)
        e = &m->entries[m->next++ % ARRAY_LEN(m->entries)];
    forget(e);
    e->key = a->key;
    e->v = xcalloc(a->noted_count + 1, sizeof(*e->v));
    memcpy(e->v, a->noted, a->noted_count * sizeof(*e->v));
    e->count = a->noted_count;
    a->noted_count = 0; /* moved */
    strv_copy(&e->needs, &a->needed);
}

/* ---- a request ---- */

/* Requests are alike when the same client sends the same files with the same options. */
static struct digest request_key(const struct request *r, const struct session *s)
{
    CLEANUP(buf_deinit) struct buf text = { 0 };

    buf_addf(&text, "%s\n%s\n", session_shared_key(s), r->frontend);
    for (size_t i = 0; i < r->args.len; i++)
        buf_addf(&text, "%zu %s=%s\n", strlen(r->args.entries[i].key), r->args.entries[i].key,
                 (const char *)r->args.entries[i].value);
    return digest_of(text.data, text.len);
}

static struct error *ask(void *arg)
{
    struct ahead_image *i = arg;
    struct ahead *a = i->ahead;
    struct build *u = a->request->build;
    struct image_access access = { .sessions = job_sessions(u->job) };
    struct image_resolve_options o = image_options(i);
    struct resolved_manifest m = { 0 };
    struct error *e = op_image_resolve(u->builder->config->ops, i->ref, &o, &access, u->lease, &m);

    mutex_lock(&a->lock);
    i->state = ANSWERED;
    i->answer = m;
    i->failure = e;
    cond_broadcast(&a->changed);
    mutex_unlock(&a->lock);
    return NULL;
}

/* The first in this task, the others each in its own. */
static void ask_all(struct ahead *a)
{
    for (size_t i = 1; i < a->asked_count; i++) {
        struct error *e = group_spawn(&a->group, "ask-ahead", ask, &a->asked[i]);

        if (e == NULL)
            continue;
        err_free(e); /* no task to spare: it is not asked ahead */
        mutex_lock(&a->lock);
        a->asked[i].state = GONE;
        cond_broadcast(&a->changed);
        mutex_unlock(&a->lock);
    }
    if (a->asked_count > 0)
        err_free(ask(&a->asked[0]));
}

/* The client's session may come after its request. */
static struct error *begin(void *arg)
{
    struct ahead *a = arg;
    const struct request *r = a->request;
    CLEANUP(session_unrefp) struct session *s = NULL;
    struct error *e = session_get(r->build->builder->config->ops->sessions, r->bridge.session_id, &s);

    err_free(e); /* who needs it tells */
    mutex_lock(&a->lock);
    if (s != NULL) {
        a->key = request_key(r, s);
        recall(a);
    }
    a->recalled = true;
    cond_broadcast(&a->changed);
    mutex_unlock(&a->lock);
    session_unrefp(&s); /* is not held while registries take their time */
    ask_all(a);
    return NULL;
}

static bool has_policies(const struct build *u)
{
    return u->policy != NULL || u->builder->policy != NULL || *or_empty(u->policy_session) != '\0';
}

struct ahead *ahead_begin(struct request *r)
{
    if (has_policies(r->build) || *or_empty(r->bridge.session_id) == '\0')
        return NULL;
    struct ahead *a = NEW(struct ahead);

    a->request = r;
    mutex_init(&a->lock);
    cond_init(&a->changed);
    group_open(&a->group, 0);
    struct error *e = group_spawn(&a->group, "ask-ahead", begin, a);

    if (e != NULL)
        a->recalled = true; /* no task to spare: nothing is asked ahead */
    err_free(e);
    return a;
}

struct error *ahead_take(struct ahead *a, const char *ref, const struct image_resolve_options *o,
                         struct resolved_manifest *ret, bool *ret_asked)
{
    int r = 0;

    *ret_asked = false;
    if (a == NULL || *or_empty(o->checksum) != '\0')
        return NULL;
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&a->lock);
    size_t at = find(a->asked, a->asked_count, ref, o);

    if (at == a->asked_count)
        return NULL;
    while (r == 0 && a->asked[at].state == ASKED)
        r = cond_wait(&a->changed, &a->lock);
    if (r < 0)
        return task_error(r, "wait for the metadata of %s", ref);
    if (a->asked[at].state == GONE)
        return NULL;
    *ret = a->asked[at].answer;
    a->asked[at].answer = (struct resolved_manifest){ 0 };
    a->asked[at].state = GONE;
    *ret_asked = true;
    return TAKE(a->asked[at].failure);
}

void ahead_note(struct ahead *a, const char *ref, const struct image_resolve_options *o)
{
    if (a == NULL || strchr(ref, '@') != NULL) /* what is known by its digest mostly needs no registry */
        return;
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&a->lock);

    if (a->noted_count < ARRAY_LEN(a->noted) && find(a->noted, a->noted_count, ref, o) == a->noted_count)
        image_set(&a->noted[a->noted_count++], ref, o);
}

bool ahead_needed_before(struct ahead *a, const char *what)
{
    int r = 0;

    if (a == NULL)
        return false;
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&a->lock);

    while (r == 0 && !a->recalled)
        r = cond_wait(&a->changed, &a->lock);
    return r == 0 && strv_has(&a->needed_before, what);
}

void ahead_note_needed(struct ahead *a, const char *what)
{
    if (a == NULL)
        return;
    CLEANUP(mutex_unlockp) UNUSED struct mutex *l = mutex_guard(&a->lock);

    if (!strv_has(&a->needed, what))
        strv_add(&a->needed, what);
}

void ahead_end(struct ahead *a, bool keep)
{
    if (a == NULL)
        return;
    group_deinit(&a->group);
    if (keep && a->key.s[0] != '\0')
        remember(a);
    for (size_t i = 0; i < a->asked_count; i++)
        image_deinit(&a->asked[i]);
    for (size_t i = 0; i < a->noted_count; i++)
        image_deinit(&a->noted[i]);
    strv_deinit(&a->needed_before);
    strv_deinit(&a->needed);
    cond_deinit(&a->changed);
    mutex_deinit(&a->lock);
    free(a);
}
