/* SPDX-License-Identifier: Apache-2.0 */
/*
 * explain.c - why a step ran: its newest pre-image against the one most like it before
 *
 * Pre-images are lines (stage.c).  What is in both is no reason; the rest is told, inputs first.
 */
#include "solver/node.h"

#include "store/store.h"

struct record {
    char *key;
    struct strv lines; /* "op ..", "name ..", facts */
};

struct search {
    const char *step;    /* a key, or a step's name */
    struct record found; /* the newest of it */
    struct record near;  /* the earlier one with most lines in common */
    size_t common;
    bool same_name;
};

static void record_deinit(struct record *r)
{
    free(r->key);
    strv_deinit(&r->lines);
}

static void record_set(struct record *r, const char *key, struct strv *lines)
{
    record_deinit(r);
    r->key = xstrdup(key);
    r->lines = *lines;
    *lines = (struct strv){ 0 };
}

static const char *name_of(const struct record *r)
{
    const char *name = r->lines.len > 1 ? str_skip_prefix(r->lines.v[1], "name ") : NULL;

    return name == NULL ? "" : name;
}

static size_t count_common(const struct strv *a, const struct strv *b)
{
    size_t n = 0;

    for (size_t i = 2; i < a->len; i++)
        n += strv_has(b, a->v[i]);
    return n;
}

/* The same step by name stands before any other of its kind; among those the one with most in common, the
 * newest first. */
static void consider(struct search *s, const char *key, struct strv *lines)
{
    const struct strv *mine = &s->found.lines;
    bool same = lines->len > 1 && streq(lines->v[1], mine->v[1]);
    size_t common = count_common(mine, lines);

    if (!streq(lines->v[0], mine->v[0]) || (s->same_name && !same))
        return;
    if (s->near.key != NULL && same == s->same_name && common <= s->common)
        return;
    s->same_name = same;
    s->common = common;
    record_set(&s->near, key, lines);
}

static bool look(void *ctx, const char *key, const char *result, const void *preimage, size_t len)
{
    struct search *s = ctx;
    CLEANUP(strv_deinit) struct strv lines = { 0 };
    CLEANUP(freep) char *text = xstrndup(preimage, len);
    struct record this = { (char *)key, { 0 } };

    strv_split(&lines, text, '\n');
    if (lines.len > 0 && lines.v[lines.len - 1][0] == '\0')
        strv_remove(&lines, lines.len - 1);
    if (lines.len < 2)
        return true;
    this.lines = lines;
    if (s->found.key != NULL)
        consider(s, key, &lines);
    else if (streq(key, s->step) || streq(name_of(&this), s->step))
        record_set(&s->found, key, &lines);
    return true;
}

static void tell_lines(struct buf *out, const struct strv *these, const struct strv *those, const char *what,
                       bool inputs)
{
    for (size_t i = 2; i < these->len; i++)
        if (str_has_prefix(these->v[i], "in ") == inputs && !strv_has(those, these->v[i]))
            buf_addf(out, "  %s %s\n", what, these->v[i]);
}

static char *tell(const struct search *s)
{
    const struct strv *now = &s->found.lines, *before = &s->near.lines;
    struct buf out = { 0 };

    buf_addf(&out, "%s\n", name_of(&s->found));
    if (s->near.key == NULL) {
        buf_adds(&out, "  ran for the first time: no step of its kind is in the cache\n");
        return buf_take(&out);
    }
    buf_addf(&out, "  compared with %s\n", s->same_name ? "its run before" : name_of(&s->near));
    for (int inputs = 1; inputs >= 0; inputs--) {
        tell_lines(&out, before, now, "was", inputs);
        tell_lines(&out, now, before, "is ", inputs);
    }
    return buf_take(&out);
}

struct error *solver_explain(struct solver *s, const char *step, char **ret)
{
    struct search search = { .step = step };
    struct error *e = cache_walk(s->config.store, look, &search);

    if (e == NULL && search.found.key == NULL)
        e = err_new(ERR_NOT_FOUND, "no step \"%s\" in the cache", step);
    if (e == NULL)
        *ret = tell(&search);
    record_deinit(&search.found);
    record_deinit(&search.near);
    return e;
}
