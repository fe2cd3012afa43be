/* SPDX-License-Identifier: Apache-2.0 */
/*
 * history_filter.c - which records a listing asks for
 *
 * An entry is a list of conditions, all of which must hold; one entry that passes is enough.  startedAt,
 * completedAt and duration are compared with <, <=, > and >=; a duration in place of a time is that long ago.
 * ref, status and repository are asked in containerd's syntax.
 */
#include "buildkit/history_impl.h"

#include "base/bytes.h"
#include "base/csv.h"
#include "frontend/dockerfile/gitref.h"

struct comparison {
    enum { STARTED_AT, COMPLETED_AT, DURATION } what;
    bool greater, or_equal;
    int64_t value; /* seconds since the epoch; of a duration ns */
};

struct entry {
    struct comparison *comparisons;
    size_t count;
    struct filters *rest;
};

struct history_filters {
    struct entry *v;
    size_t len;
};

void history_filters_free(struct history_filters *f)
{
    if (f == NULL)
        return;
    for (size_t i = 0; i < f->len; i++) {
        free(f->v[i].comparisons);
        filters_free(f->v[i].rest);
    }
    free(f->v);
    free(f);
}

/* ---- reading ---- */

static struct error *read_value(const char *text, struct comparison *c)
{
    int64_t ns;

    if (c->what == DURATION)
        return parse_duration(text, &c->value) == 0 ? NULL
                                                    : err_new(ERR_INVALID, "invalid duration %s", text);
    if (parse_duration(text, &ns) == 0)
        ns = now_ns() - ns;
    else if (parse_time(text, &ns) < 0)
        return err_new(ERR_INVALID, "invalid time %s", text);
    c->value = ns / NS_PER_SEC;
    return NULL;
}

/* *ret_is: is it a comparison at all? */
static struct error *read_comparison(const char *text, struct comparison *c, bool *ret_is)
{
    static const char *const names[] = {
        [STARTED_AT] = "startedAt", [COMPLETED_AT] = "completedAt", [DURATION] = "duration"
    };
    size_t len = strcspn(text, "<>");

    for (size_t i = 0; text[len] != '\0' && i < ARRAY_LEN(names); i++) {
        if (strlen(names[i]) != len || strncmp(text, names[i], len) != 0)
            continue;
        *ret_is = true;
        c->what = i;
        c->greater = text[len] == '>';
        c->or_equal = text[len + 1] == '=';
        return read_value(text + len + (c->or_equal ? 2 : 1), c);
    }
    return NULL;
}

static struct error *read_entry(const char *text, struct entry *ret)
{
    CLEANUP(strv_deinit) struct strv fields = { 0 }, rest = { 0 }, list = { 0 };
    CLEANUP(freep) char *joined = NULL;

    if (text[0] != '\0')
        TRY(csv_fields(text, &fields));
    ret->comparisons = xcalloc(fields.len + 1, sizeof(*ret->comparisons));
    for (size_t i = 0; i < fields.len; i++) {
        bool is = false;

        TRY(read_comparison(fields.v[i], &ret->comparisons[ret->count], &is));
        if (is)
            ret->count++;
        else
            strv_add(&rest, fields.v[i]);
    }
    joined = strv_join(&rest, ",");
    strv_add(&list, joined);
    return err_wrap(filters_parse(&list, &ret->rest), "failed to parse history filters %s", text);
}

struct error *history_filters_parse(char *const *v, size_t n, struct history_filters **ret)
{
    struct history_filters *f = NEW(struct history_filters);
    struct error *e = NULL;

    f->v = xcalloc(n + 1, sizeof(*f->v));
    while (e == NULL && f->len < n) {
        f->len++;
        e = read_entry(v[f->len - 1], &f->v[f->len - 1]);
    }
    if (e != NULL)
        history_filters_free(f);
    else
        *ret = f;
    return e;
}

/* ---- asking ---- */

static const char *status_name(const struct history_record *r)
{
    if (r->completed_ns == 0)
        return "running";
    if (r->error == NULL)
        return "completed";
    return r->error->kind == ERR_CANCELLED || strstr(r->error->message, "context canceled") != NULL
               ? "canceled"
               : "error";
}

/* What the client says that it built, or the git repository that was the context. */
static const char *repository(const struct history_record *r, char **made)
{
    const char *source = strmap_get(&r->attrs, "vcs:source"), *context = strmap_get(&r->attrs, "context");
    CLEANUP(git_ref_deinit) struct git_ref git = { 0 };
    bool is_git = false;

    if (source != NULL || context == NULL)
        return source;
    err_free(git_ref_parse(context, &git, &is_git)); /* wrong parameters: of no repository */
    if (is_git && git.remote != NULL)
        *made = xstrdup(git.remote);
    return *made;
}

static const char *field(const void *record, const char *name, char **made)
{
    const struct history_record *r = record;

    if (streq(name, "ref"))
        return r->ref;
    if (streq(name, "status"))
        return status_name(r);
    return streq(name, "repository") ? repository(r, made) : NULL;
}

static bool holds(const struct comparison *c, const struct history_record *r)
{
    int64_t have = c->what == STARTED_AT     ? r->created_ns / NS_PER_SEC
                   : c->what == COMPLETED_AT ? r->completed_ns / NS_PER_SEC
                   : r->completed_ns == 0    ? 0
                                             : r->completed_ns - r->created_ns;

    if (have == c->value)
        return c->or_equal;
    return c->greater == (have > c->value);
}

bool history_filters_pass(const struct history_filters *f, const struct history_record *r)
{
    for (size_t i = 0; i < f->len; i++) {
        const struct entry *e = &f->v[i];
        size_t k = 0;

        while (k < e->count && holds(&e->comparisons[k], r))
            k++;
        if (k == e->count && filters_pass(e->rest, field, r))
            return true;
    }
    return f->len == 0;
}
