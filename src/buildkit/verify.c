/* SPDX-License-Identifier: Apache-2.0 */
/* verify.c - does a result have the platforms that were asked for?  Where it has not, the build is warned. */
#include "buildkit/internal.h"
#include "buildkit/provenance.h"

struct wanted {
    struct strv names; /* normalised, each once */
    struct strv complaints;
};

static void wanted_deinit(struct wanted *w)
{
    strv_deinit(&w->names);
    strv_deinit(&w->complaints);
}

static void want_one(struct wanted *w, const char *text)
{
    CLEANUP(platform_deinit) struct platform p = { 0 };
    struct error *e = platform_parse(text, &p);

    if (e != NULL) {
        strv_take(&w->complaints,
                  xasprintf("Invalid platform result requested \"%s\": %s", text, e->message));
        err_free(e);
        return;
    }
    platform_normalize(&p);
    CLEANUP(freep) char *name = platform_format_all(&p);

    if (strv_has(&w->names, name))
        strv_take(&w->complaints, xasprintf("Duplicate platform result requested \"%s\"", text));
    else
        strv_take(&w->names, TAKE(name));
}

/* The option "platform" of the frontend; without it this host's. */
static void read_wanted(const struct map *attrs, struct wanted *ret)
{
    const char *text = attrs == NULL ? NULL : strmap_get(attrs, "platform");
    CLEANUP(strv_deinit) struct strv list = { 0 };

    if (text != NULL)
        strv_split(&list, text, ',');
    else
        strv_take(&list, platform_format(platform_host()));
    for (size_t i = 0; i < list.len; i++)
        want_one(ret, list.v[i]);
    strv_sort(&ret->names);
}

/* A version of the system that nobody asked for is no other platform. */
static bool is_wanted(const struct wanted *w, const struct platform *p)
{
    CLEANUP(freep) char *all = platform_format_all(p);
    CLEANUP(freep) char *plain = platform_format(p);

    return strv_has(&w->names, all) || strv_has(&w->names, plain);
}

static void compare_many(const struct wanted *w, const struct result_platforms *have, struct strv *ret)
{
    bool mismatch = w->names.len != have->len;
    CLEANUP(strv_deinit) struct strv names = { 0 };

    for (size_t i = 0; i < have->len; i++) {
        mismatch = mismatch || !is_wanted(w, &have->v[i].platform);
        strv_take(&names, platform_format_all(&have->v[i].platform));
    }
    if (!mismatch)
        return;
    strv_sort(&names);
    CLEANUP(freep) char *asked = strv_join(&w->names, ",");
    CLEANUP(freep) char *made = strv_join(&names, ",");

    strv_take(ret, xasprintf("Requested platforms %s do not match result platforms %s", asked, made));
}

static void compare(const struct wanted *w, const struct result_platforms *have, bool multi, struct strv *ret)
{
    if (w->names.len == 1 && have->len == 1) {
        CLEANUP(freep) char *made = platform_format_all(&have->v[0].platform);

        if (!is_wanted(w, &have->v[0].platform))
            strv_take(ret, xasprintf("Requested platform \"%s\" does not match result platform \"%s\"",
                                     w->names.v[0], made));
    } else if (!multi && w->names.len > 1) {
        strv_add(ret, "Multiple platforms requested but result is not multi-platform");
    } else {
        compare_many(w, have, ret);
    }
}

static void show(struct progress *p, const struct strv *warnings)
{
    struct vertex_reporter *r = reporter_new(p, NULL, "Verifying build result");

    reporter_start(r);
    for (size_t i = 0; i < warnings->len; i++) {
        struct progress_event e = {
            .kind = PROGRESS_WARNING,
            .vertex = reporter_digest(r),
            .warning = { .short_text = warnings->v[i] },
        };

        reporter_warn(r, &e);
    }
    reporter_complete(r, NULL);
    reporter_free(r);
}

struct error *verify_platforms(struct build *u, const struct map *frontend_attrs)
{
    const struct frontend_result *res = &u->result;
    bool listed = frontend_result_metadata(res, "refs.platforms") != NULL;
    CLEANUP(result_platforms_deinit) struct result_platforms have = { 0 };
    CLEANUP(wanted_deinit) struct wanted w = { 0 };

    if (!listed && (res->multi || res->ref_count == 0 || res->refs[0].ref == NULL))
        return NULL; /* nothing was built, or nobody says for what */
    TRY(result_platforms(res, &have));
    read_wanted(frontend_attrs, &w);
    if (w.complaints.len == 0)
        compare(&w, &have, res->multi, &w.complaints);
    if (w.complaints.len > 0)
        show(job_progress(u->job), &w.complaints);
    return NULL;
}
