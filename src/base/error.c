/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <errno.h>

struct kind_facts {
    const char *name;
    int http;
    int grpc;
};

static const struct kind_facts facts[] = {
    [ERR_UNKNOWN] = { "Unknown", 500, 2 },
    [ERR_CANCELLED] = { "Canceled", 499, 1 },
    [ERR_INVALID] = { "InvalidArgument", 400, 3 },
    [ERR_DEADLINE] = { "DeadlineExceeded", 504, 4 },
    [ERR_NOT_FOUND] = { "NotFound", 404, 5 },
    [ERR_EXISTS] = { "AlreadyExists", 409, 6 },
    [ERR_FORBIDDEN] = { "PermissionDenied", 403, 7 },
    [ERR_EXHAUSTED] = { "ResourceExhausted", 503, 8 },
    [ERR_CONFLICT] = { "FailedPrecondition", 409, 9 },
    [ERR_ABORTED] = { "Aborted", 409, 10 },
    [ERR_RANGE] = { "OutOfRange", 416, 11 },
    [ERR_UNIMPLEMENTED] = { "Unimplemented", 501, 12 },
    [ERR_INTERNAL] = { "Internal", 500, 13 },
    [ERR_UNAVAILABLE] = { "Unavailable", 503, 14 },
    [ERR_DATA_LOSS] = { "DataLoss", 500, 15 },
    [ERR_UNAUTHORIZED] = { "Unauthenticated", 401, 16 },
    [ERR_NOT_MODIFIED] = { "AlreadyExists", 304, 6 },
};

static const struct kind_facts *facts_of(enum error_kind kind)
{
    assert((size_t)kind < ARRAY_LEN(facts));
    return &facts[kind];
}

static struct error *error_new(enum error_kind kind, int errnum, char *message)
{
    struct error *e = NEW(struct error);

    e->kind = kind;
    e->errnum = errnum;
    e->message = message;
    return e;
}

struct error *err_new(enum error_kind kind, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *message = xvasprintf(fmt, ap);
    va_end(ap);
    return error_new(kind, 0, message);
}

struct error *err_sys(int errnum, const char *fmt, ...)
{
    CLEANUP(freep) char *text = NULL;
    char space[128];
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    return error_new(err_kind_from_errno(errnum), errnum,
                     xasprintf("%s: %s", text, strerror_r(errnum, space, sizeof(space))));
}

struct error *err_wrap(struct error *e, const char *fmt, ...)
{
    CLEANUP(freep) char *text = NULL;
    va_list ap;

    if (e == NULL)
        return NULL;
    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    char *message = xasprintf("%s: %s", text, e->message);

    free(e->message);
    e->message = message;
    return e;
}

void err_add_detail(struct error *e, const char *type_url, const void *value, size_t len)
{
    if (e == NULL)
        return;
    e->details = xreallocarray(e->details, e->detail_count + 1, sizeof(*e->details));
    e->details[e->detail_count++] = (struct error_detail){
        .type_url = xstrdup(type_url),
        .value = xmemdup(value, len),
        .len = len,
    };
}

const struct error_detail *err_find_detail(const struct error *e, const char *suffix)
{
    if (e == NULL)
        return NULL;
    for (size_t i = 0; i < e->detail_count; i++)
        if (str_has_suffix(e->details[i].type_url, suffix))
            return &e->details[i];
    return NULL;
}

struct error *err_clone(const struct error *e)
{
    if (e == NULL)
        return NULL;
    struct error *copy = error_new(e->kind, e->errnum, xstrdup(e->message));

    for (size_t i = 0; i < e->detail_count; i++)
        err_add_detail(copy, e->details[i].type_url, e->details[i].value, e->details[i].len);
    return copy;
}

void err_free(struct error *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < e->detail_count; i++) {
        free(e->details[i].type_url);
        free(e->details[i].value);
    }
    free(e->details);
    free(e->message);
    free(e);
}

void err_freep(struct error **e)
{
    err_free(TAKE(*e));
}

bool err_is(const struct error *e, enum error_kind kind)
{
    return e != NULL && e->kind == kind;
}

int err_http_status(enum error_kind kind)
{
    return facts_of(kind)->http;
}

int err_grpc_code(enum error_kind kind)
{
    return facts_of(kind)->grpc;
}

enum error_kind err_kind_from_grpc(int code)
{
    for (size_t kind = 0; kind < ARRAY_LEN(facts); kind++)
        if (facts[kind].grpc == code)
            return (enum error_kind)kind;
    return ERR_UNKNOWN;
}

enum error_kind err_kind_from_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EACCES:
    case EPERM:
        return ERR_FORBIDDEN;
    case ENOSPC:
    case EMFILE:
    case ENFILE:
    case EDQUOT:
        return ERR_EXHAUSTED;
    case ECANCELED:
        return ERR_CANCELLED;
    case ETIMEDOUT:
        return ERR_DEADLINE;
    default:
        return ERR_INTERNAL;
    }
}

const char *err_kind_name(enum error_kind kind)
{
    return facts_of(kind)->name;
}
