/* SPDX-License-Identifier: Apache-2.0 */
/*
 * containerd's filter syntax: `field`, `field==value`, `field!=value`, `field~=regexp`; a
 * comma is AND, list entries are OR.  Values may be quoted.
 */
#include "base/buf.h"
#include "base/regex.h"
#include "store/internal.h"

#define FILTER_MAX 4096

struct clause {
    char *field, *value;
    enum { PRESENT, EQUAL, NOT_EQUAL, MATCHES } op;
    struct regex *regex; /* NULL: another op */
};

struct filter {
    struct clause *clauses; /* none: all pass */
    size_t count;
};

struct filters {
    struct filter *v; /* none: all pass */
    size_t len;
};

static void filter_deinit(struct filter *f)
{
    for (size_t i = 0; i < f->count; i++) {
        free(f->clauses[i].field);
        free(f->clauses[i].value);
        regex_free(f->clauses[i].regex);
    }
    free(f->clauses);
}

static bool is_field_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == '/';
}

static struct error *syntax(const char *text)
{
    return err_new(ERR_INVALID, "parse error: [%s]: invalid argument", text);
}

/* A bare word up to the next comma, or a quoted string. */
static struct error *parse_value(const char *text, const char **p, char **ret)
{
    CLEANUP(buf_deinit) struct buf out = { 0 };
    if (**p != '"' && **p != '\'') {
        size_t len = strcspn(*p, ",");
        *ret = xstrndup(*p, len);
        *p += len;
        return NULL;
    }
    char quote = *(*p)++;
    for (; **p != quote; (*p)++) {
        if (**p == '\\' && (*p)[1] != '\0')
            (*p)++;
        if (**p == '\0')
            return syntax(text);
        buf_addc(&out, **p);
    }
    (*p)++;
    *ret = buf_take(&out);
    return NULL;
}

static struct error *parse_clause(const char *text, const char **p, struct clause *c)
{
    const char *start = *p;
    while (is_field_char(**p))
        (*p)++;
    if (*p == start)
        return syntax(text);
    c->field = xstrndup(start, (size_t)(*p - start));
    if (**p == '\0' || **p == ',') {
        c->op = PRESENT;
        return NULL;
    }
    if (strncmp(*p, "==", 2) == 0)
        c->op = EQUAL;
    else if (strncmp(*p, "!=", 2) == 0)
        c->op = NOT_EQUAL;
    else if (strncmp(*p, "~=", 2) == 0)
        c->op = MATCHES;
    else
        return syntax(text);
    *p += 2;
    TRY(parse_value(text, p, &c->value));
    if (c->op != MATCHES)
        return NULL;
    return regex_compile(c->value, strlen(c->value), &c->regex) < 0 ? syntax(text) : NULL;
}

static struct error *filter_parse(const char *text, struct filter *f)
{
    const char *p = text;
    if (strlen(text) > FILTER_MAX)
        return err_new(ERR_INVALID, "filter is longer than %d bytes", FILTER_MAX);
    while (*p != '\0') {
        f->clauses = xreallocarray(f->clauses, f->count + 1, sizeof(*f->clauses));
        struct clause *c = &f->clauses[f->count++];
        memset(c, 0, sizeof(*c));
        TRY(parse_clause(text, &p, c));
        if (*p == ',')
            p++;
        else if (*p != '\0')
            return syntax(text);
    }
    return NULL;
}

static bool clause_passes(const struct clause *c, filter_field_fn field, const void *record)
{
    CLEANUP(freep) char *made = NULL;
    const char *value = field(record, c->field, &made);

    switch (c->op) {
    case PRESENT:
        return value != NULL;
    case EQUAL:
        return value != NULL && streq(value, c->value);
    case NOT_EQUAL:
        return value == NULL || !streq(value, c->value);
    case MATCHES:
        return value != NULL && regex_matches(c->regex, value, strlen(value));
    }
    return false;
}

static bool filter_passes(const struct filter *f, filter_field_fn field, const void *record)
{
    for (size_t i = 0; i < f->count; i++) {
        if (!clause_passes(&f->clauses[i], field, record))
            return false;
    }
    return true;
}

void filters_free(struct filters *f)
{
    for (size_t i = 0; f != NULL && i < f->len; i++)
        filter_deinit(&f->v[i]);
    if (f != NULL)
        free(f->v);
    free(f);
}

void filters_freep(struct filters **f)
{
    filters_free(*f);
}

struct error *filters_parse(const struct strv *list, struct filters **ret)
{
    CLEANUP(filters_freep) struct filters *f = NEW(struct filters);

    f->v = xcalloc((list == NULL ? 0 : list->len) + 1, sizeof(*f->v));
    for (size_t i = 0; list != NULL && i < list->len; i++)
        TRY(filter_parse(list->v[i], &f->v[f->len++]));
    *ret = TAKE(f);
    return NULL;
}

bool filters_pass(const struct filters *f, filter_field_fn field, const void *record)
{
    for (size_t i = 0; i < f->len; i++) {
        if (filter_passes(&f->v[i], field, record))
            return true;
    }
    return f->len == 0;
}

/* ---- usage records ---------------------------------------------------------------------------------------
 */

static const char *usage_field(const void *record, const char *field, char **joined)
{
    const struct usage_record *r = record;

    if (streq(field, "id"))
        return *r->id != '\0' ? r->id : NULL;
    if (streq(field, "parents")) {
        *joined = strv_join(&r->parents, ";");
        return r->parents.len > 0 ? *joined : NULL;
    }
    if (streq(field, "description"))
        return r->description != NULL && *r->description != '\0' ? r->description : NULL;
    if (streq(field, "type"))
        return r->type;
    bool flag = (streq(field, "inuse") && r->in_use) || (streq(field, "mutable") && r->mutable_) ||
                (streq(field, "immutable") && !r->mutable_) || (streq(field, "shared") && r->shared) ||
                (streq(field, "private") && !r->shared);
    return flag ? "" : NULL;
}

struct error *usage_filter(struct usage_record *list, size_t count, const struct strv *filters,
                           bool *ret_pass)
{
    CLEANUP(filters_freep) struct filters *f = NULL;

    CLEANUP(freep) char *all = filters == NULL ? NULL : strv_join(filters, " ");

    TRY(err_wrap(filters_parse(filters, &f), "failed to parse prune filters [%s]", all == NULL ? "" : all));
    for (size_t i = 0; i < count; i++)
        ret_pass[i] = filters_pass(f, usage_field, &list[i]);
    return NULL;
}
