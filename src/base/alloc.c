/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <errno.h>
#include <unistd.h>

/* Nothing that runs can be trusted to clean up without memory: stop where we stand, the store is crash-safe.
 */
static _Noreturn void out_of_memory(void)
{
    static const char text[] = "minke: out of memory\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

    (void)n;
    abort();
}

void *xmalloc(size_t size)
{
    void *p = malloc(size > 0 ? size : 1);

    if (p == NULL)
        out_of_memory();
    return p;
}

void *xcalloc(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size > 0 ? size : 1);

    if (p == NULL)
        out_of_memory();
    return p;
}

void *xrealloc(void *p, size_t size)
{
    p = realloc(p, size > 0 ? size : 1);
    if (p == NULL)
        out_of_memory();
    return p;
}

void *xreallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes))
        out_of_memory();
    return xrealloc(p, bytes);
}

void *xmemdup(const void *p, size_t size)
{
    size_t bytes;

    if (__builtin_add_overflow(size, (size_t)1, &bytes))
        out_of_memory();
    char *copy = xmalloc(bytes);

    if (size > 0)
        memcpy(copy, p, size);
    copy[size] = '\0';
    return copy;
}

char *xstrdup(const char *s)
{
    return s == NULL ? NULL : xmemdup(s, strlen(s));
}

char *xstrndup(const char *s, size_t n)
{
    return s == NULL ? NULL : xmemdup(s, strnlen(s, n));
}

char *xvasprintf(const char *fmt, va_list ap)
{
    char *s;

    if (vasprintf(&s, fmt, ap) < 0)
        out_of_memory();
    return s;
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *s = xvasprintf(fmt, ap);
    va_end(ap);
    return s;
}

void closep(int *fd)
{
    if (*fd < 0)
        return;
    int saved = errno;

    (void)close(*fd);
    errno = saved;
    *fd = -1;
}
