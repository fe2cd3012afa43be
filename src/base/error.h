/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - the upper error tier
 *
 * Low-tier code (base, io, protocol engines) returns 0 or a negative errno and no text.  Everything above
 * returns `struct error *`: NULL is success; anything else is owned by the caller, who returns it, wraps it,
 * logs it once, or frees it. A kind maps to exactly one HTTP status and one gRPC code, so that a handler
 * never picks a number. Messages are lower case, quote the object, and say what was tried; where a real
 * client scrapes a text, that text stands.
 */
#ifndef MINKE_BASE_ERROR_H
#define MINKE_BASE_ERROR_H

#include "base/base.h"

enum error_kind {
    ERR_UNKNOWN,       /* 500, gRPC 2: a failed step; clients print the bare message */
    ERR_CANCELLED,     /* 499, gRPC 1 */
    ERR_INVALID,       /* 400, gRPC 3 */
    ERR_DEADLINE,      /* 504, gRPC 4 */
    ERR_NOT_FOUND,     /* 404, gRPC 5 */
    ERR_EXISTS,        /* 409, gRPC 6 */
    ERR_FORBIDDEN,     /* 403, gRPC 7 */
    ERR_EXHAUSTED,     /* 503, gRPC 8 */
    ERR_CONFLICT,      /* 409, gRPC 9 failed precondition */
    ERR_ABORTED,       /* 409, gRPC 10 */
    ERR_RANGE,         /* 416, gRPC 11 */
    ERR_UNIMPLEMENTED, /* 501, gRPC 12 */
    ERR_INTERNAL,      /* 500, gRPC 13 */
    ERR_UNAVAILABLE,   /* 503, gRPC 14 */
    ERR_DATA_LOSS,     /* 500, gRPC 15 */
    ERR_UNAUTHORIZED,  /* 401, gRPC 16 */
    ERR_NOT_MODIFIED,  /* 304, gRPC 6: start of a running container, stop of a stopped one */
};

/* One google.protobuf.Any of google.rpc.Status.details, carried through unchanged (protocol.md 3.7: the value
 * is JSON). */
struct error_detail {
    char *type_url; /* e.g. "github.com/moby/buildkit/errdefs.Vertex+json" */
    void *value;
    size_t len;
};

struct error {
    enum error_kind kind;
    int errnum; /* errno where a system call failed, else 0 */
    char *message;
    struct error_detail *details;
    size_t detail_count;
};

/* Return from the calling function when `call` fails. */
#define TRY(call)                                                                                            \
    do {                                                                                                     \
        struct error *try_ = (call);                                                                         \
        if (try_ != NULL)                                                                                    \
            return try_;                                                                                     \
    } while (0)
/* The same for a low-tier call that returns a negative errno: TRY_SYS(expr, "open %s", path). */
#define TRY_SYS(call, ...)                                                                                   \
    do {                                                                                                     \
        long try_sys_ = (long)(call);                                                                        \
        if (try_sys_ < 0)                                                                                    \
            return err_sys((int)-try_sys_, __VA_ARGS__);                                                     \
    } while (0)

struct error *err_new(enum error_kind kind, const char *fmt, ...) PRINTF(2, 3) MUST_CHECK;
/* From an errno: "<text>: <strerror>". Kind from errno: ENOENT not found, EEXIST exists, EACCES/EPERM
 * forbidden, ENOSPC/EMFILE/ENFILE/EDQUOT exhausted, ECANCELED cancelled, ETIMEDOUT deadline, else internal.
 */
struct error *err_sys(int errnum, const char *fmt, ...) PRINTF(2, 3) MUST_CHECK;
/* Prefix the message with "<text>: ". Takes `e`; NULL passes through. Keeps kind and details. */
struct error *err_wrap(struct error *e, const char *fmt, ...) PRINTF(2, 3) MUST_CHECK;
/* Add a detail at the end; the value is copied. No-op when `e` is NULL. */
void err_add_detail(struct error *e, const char *type_url, const void *value, size_t len);
/* The first detail whose type_url ends in `suffix`, or NULL. Borrowed. */
const struct error_detail *err_find_detail(const struct error *e, const char *suffix);
struct error *err_clone(const struct error *e) MUST_CHECK;
void err_free(struct error *e);
void err_freep(struct error **e);
/* Is this error of that kind? False for NULL. */
bool err_is(const struct error *e, enum error_kind kind);

int err_http_status(enum error_kind kind);
int err_grpc_code(enum error_kind kind);      /* 1..16 */
enum error_kind err_kind_from_grpc(int code); /* unknown codes: ERR_UNKNOWN */
enum error_kind err_kind_from_errno(int errnum);
const char *err_kind_name(enum error_kind kind); /* "NotFound" as gRPC's codes print */

#endif
