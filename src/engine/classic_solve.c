/* SPDX-License-Identifier: Apache-2.0 */
/* classic_solve.c - a step of a classic build through the solver, its events as lines of the answer */
#include "engine/classic_impl.h"

#include "base/bytes.h"
#include "op/held.h"
#include "task/task.h"

#define EVENT_BATCH 64

struct solve {
    struct classic *classic;
    struct ref *ref;
    struct snapshot *result;
    struct vertex_reporter *end; /* a vertex of our own that completes when the step is over */
    enum classic_watch watch;
    char vertex[DIGEST_LEN + 1]; /* of the step */
    bool ran, ended;
};

static struct error *solve_task(void *arg)
{
    struct solve *s = arg;
    struct error *e = ref_result(s->ref, &s->result);

    reporter_cached(s->end);
    return e;
}

/* ---- events
 * --------------------------------------------------------------------------------------------------------------
 */

static struct error *say_download(struct solve *s, const struct progress_event *e)
{
    return s->classic->out->line(
        s->classic->out->ctx,
        json_pack("{s:s, s:{s:I, s:I}}", "status",
                  s->classic->context == NULL ? "Downloading context" : "Downloading", "progressDetail",
                  "current", (json_int_t)e->status.current, "total", (json_int_t)e->status.total));
}

static struct error *on_vertex(struct solve *s, const struct progress_event *e)
{
    if (e->v.started_ns == 0 || e->v.cached || s->ran)
        return NULL;
    s->ran = true;
    return s->watch == CLASSIC_PROCESS ? classic_say_running(s->classic) : NULL;
}

static struct error *on_event(struct solve *s, const struct progress_event *e)
{
    if (e->kind == PROGRESS_VERTEX && e->v.completed_ns != 0 && streq(e->vertex, reporter_digest(s->end)))
        s->ended = true;
    if (!streq(e->vertex, s->vertex))
        return NULL;
    if (e->kind == PROGRESS_VERTEX)
        return on_vertex(s, e);
    if (e->kind == PROGRESS_LOG && s->watch == CLASSIC_PROCESS)
        return classic_say_bytes(s->classic, e->log.stream == 2, e->log.data, e->log.len);
    if (e->kind == PROGRESS_STATUS && s->watch == CLASSIC_DOWNLOAD)
        return say_download(s, e);
    return NULL;
}

static struct error *follow(struct solve *s)
{
    const struct progress_event *events[EVENT_BATCH];

    while (!s->ended) {
        ssize_t n = progress_read(s->classic->events, events, EVENT_BATCH);

        if (n < 0)
            return task_error((int)n, "follow the build");
        for (ssize_t i = 0; i < n; i++)
            TRY(on_event(s, events[i]));
        if (n == 0)
            break;
    }
    return NULL;
}

/* ---- running
 * -------------------------------------------------------------------------------------------------------------
 */

static struct error *run(struct solve *s)
{
    struct error *e, *failure;
    struct group g;

    group_open(&g, GROUP_KEEP_GOING);
    e = group_spawn(&g, "classic step", solve_task, s);
    if (e == NULL)
        e = follow(s);
    if (e != NULL)
        group_cancel(&g); /* the client is gone */
    failure = group_join(&g);
    if (failure == NULL)
        return e;
    err_free(e);
    return failure;
}

struct error *classic_solve(struct classic *c, struct llb_builder *b, struct llb_state state,
                            enum classic_watch watch, struct snapshot **ret, bool *ret_cached)
{
    CLEANUP(llb_def_unrefp) struct llb_def *asked = NULL;
    CLEANUP(llb_def_unrefp) struct llb_def *def = NULL;
    struct solve s = { .classic = c, .watch = watch };
    struct digest head;
    int64_t index;
    char id[26];

    TRY(llb_marshal(b, state, platform_is_set(&c->platform) ? &c->platform : NULL, &asked));
    TRY(builder_apply_policy(c->engine->builder, asked, &def));
    *ret = NULL;
    *ret_cached = true;
    if (llb_def_is_scratch(def))
        return NULL;
    TRY(llb_def_head(def, &head, &index));
    memcpy(s.vertex, head.s, sizeof(s.vertex));
    TRY(job_ref(c->job, def, &s.ref));
    def = NULL;
    random_id(id, 25);
    s.end = reporter_new(job_progress(c->job), NULL, id);
    struct error *e = run(&s);

    reporter_free(s.end);
    if (e != NULL) {
        snapshot_unref(s.result);
        return e;
    }
    *ret = s.result;
    *ret_cached = !s.ran;
    return NULL;
}

/* ---- states
 * --------------------------------------------------------------------------------------------------------------
 */

const struct platform *classic_platform(const struct classic *c, const struct classic_stage *s)
{
    if (platform_is_set(&s->image.config.platform))
        return &s->image.config.platform;
    return platform_is_set(&c->platform) ? &c->platform : platform_host();
}

static Pb__NetMode network_of(const struct classic_options *o)
{
    if (o->network != NULL && streq(o->network, "host"))
        return PB__NET_MODE__HOST;
    if (o->network != NULL && streq(o->network, "none"))
        return PB__NET_MODE__NONE;
    return PB__NET_MODE__UNSET;
}

struct llb_state classic_state(struct classic *c, struct llb_builder *b, const struct classic_stage *s,
                               const struct held *held)
{
    const struct df_image *i = &s->image.config;
    struct llb_state st = llb_set_platform(b, held_state(held, b), classic_platform(c, s));

    for (size_t k = 0; k < i->env.len; k++) {
        size_t len = strcspn(i->env.v[k], "=");

        st = llb_add_env(b, st, llb_strndup(b, i->env.v[k], len),
                         i->env.v[k][len] == '=' ? i->env.v[k] + len + 1 : "");
    }
    if (i->working_dir != NULL && *i->working_dir != '\0')
        st = llb_dir(b, st, i->working_dir);
    if (i->user != NULL && *i->user != '\0')
        st.user = llb_strdup(b, i->user);
    st.network = network_of(c->o);
    return st;
}
