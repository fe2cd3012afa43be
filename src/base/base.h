/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base.h - what every file of the project leans on
 *
 * Cleanup attributes, ownership transfer, checked allocation.  Out of memory for a size that we chose aborts;
 * a size that came from outside is compared with a limit of limits.h first.
 */
#ifndef MINKE_BASE_BASE_H
#define MINKE_BASE_BASE_H

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/banned.h"

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED __attribute__((unused))

/* Move a pointer out of a variable that owns it. */
#define TAKE(p)                                                                                              \
    ({                                                                                                       \
        __typeof__(p) t_ = (p);                                                                              \
        (p) = NULL;                                                                                          \
        t_;                                                                                                  \
    })
/* Move a file descriptor out of a variable that owns it. */
#define TAKE_FD(fd)                                                                                          \
    ({                                                                                                       \
        int t_ = (fd);                                                                                       \
        (fd) = -1;                                                                                           \
        t_;                                                                                                  \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
/* Each use has names of its own, so that they nest without shadowing. */
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define PICK_(a, op, b, x, y)                                                                                \
    ({                                                                                                       \
        __typeof__(a) x = (a);                                                                               \
        __typeof__(b) y = (b);                                                                               \
        x op y ? x : y;                                                                                      \
    })
#define MIN(a, b) PICK_(a, <, b, JOIN(min_a_, __COUNTER__), JOIN(min_b_, __COUNTER__))
#define MAX(a, b) PICK_(a, >, b, JOIN(max_a_, __COUNTER__), JOIN(max_b_, __COUNTER__))

/* Allocation that cannot fail: aborts when out of memory. Zeroed where it says so. */
void *xmalloc(size_t size);
void *xcalloc(size_t count, size_t size); /* zeroed; aborts on overflow */
void *xrealloc(void *p, size_t size);
void *xreallocarray(void *p, size_t count, size_t size);
void *xmemdup(const void *p, size_t size); /* one NUL byte is added behind */
char *xstrdup(const char *s);              /* NULL in, NULL out */
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) PRINTF(1, 2);
char *xvasprintf(const char *fmt, va_list ap) PRINTF(1, 0);
#define NEW(type) ((type *)xcalloc(1, sizeof(type)))

/* Cleanup helpers: CLEANUP(freep) char *s = NULL; */
static inline void freep(void *p)
{
    free(*(void **)p);
    *(void **)p = NULL;
}
void closep(int *fd); /* closes fd >= 0, keeps errno */

/* Strings. */
static inline bool streq(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}
bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);
/* The rest of `s` behind `prefix`, or NULL. Borrowed. */
const char *str_skip_prefix(const char *s, const char *prefix);
char *str_lower(const char *s); /* new string, ASCII only */
/* Strict numbers: the whole string, base 10. 0 or -EINVAL, -ERANGE; *ret untouched on failure. */
int parse_i64(const char *s, int64_t *ret);
int parse_u64(const char *s, uint64_t *ret);
/* Go's strconv.ParseBool: 1 t T TRUE true True / 0 f F FALSE false False. 0 or -EINVAL. */
int parse_bool(const char *s, bool *ret);

#endif
