/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PIECES_APART
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define PIECES_APART
#endif

#ifdef PIECES_APART /* the sanitizer sees where each piece ends */
#define FIRST_BLOCK ((size_t)0)
#define LAST_BLOCK ((size_t)0)
#else
#define FIRST_BLOCK ((size_t)2 * 1024) /* few arenas hold much; those that do get blocks that double .. */
#define LAST_BLOCK ((size_t)64 * 1024) /* .. up to this */
#endif

struct arena_block {
    struct arena_block *next;
    size_t size;
    _Alignas(16) char data[];
};

/* A block of one big piece goes second, so that the room left in the first is still used. */
static void *take_apart(struct arena *a, size_t size)
{
    struct arena_block *b = xmalloc(sizeof(*b) + size);

    b->size = size;
    b->next = NULL;
    if (a->blocks == NULL) {
        a->blocks = b;
    } else {
        b->next = a->blocks->next;
        a->blocks->next = b;
    }
    return b->data;
}

static void add_block(struct arena *a, size_t least)
{
    size_t twice = a->blocks != NULL ? a->blocks->size * 2 : FIRST_BLOCK;
    size_t size = MAX(MIN(twice, LAST_BLOCK), least);
    struct arena_block *b = xmalloc(sizeof(*b) + size);

    b->size = size;
    b->next = a->blocks;
    a->blocks = b;
    a->at = b->data;
    a->left = size;
}

void *arena_take(struct arena *a, size_t size, size_t align)
{
    size_t skip = -(uintptr_t)a->at & (align - 1);
    char *p;

    size = MAX(size, (size_t)1);
    a->used += size;
    if (a->left < skip || a->left - skip < size) {
        if (size > LAST_BLOCK / 4)
            return take_apart(a, size);
        add_block(a, size);
        skip = 0;
    }
    p = a->at + skip;
    a->at = p + size;
    a->left -= skip + size;
    return p;
}

void arena_deinit(struct arena *a)
{
    struct arena_block *next;

    for (struct arena_block *b = a->blocks; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    *a = (struct arena){ 0 };
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = a->blocks;

    if (a->at == NULL) { /* nothing, or but big pieces */
        arena_deinit(a);
        return;
    }
    a->blocks = keep->next;
    arena_deinit(a);
    keep->next = NULL;
    *a = (struct arena){ .blocks = keep, .at = keep->data, .left = keep->size };
}

void *arena_alloc(struct arena *a, size_t size)
{
    void *p = arena_take(a, size, 16);

    memset(p, 0, size);
    return p;
}

void *arena_mem(struct arena *a, const void *p, size_t len)
{
    void *copy = arena_take(a, len, 16);

    if (len > 0)
        memcpy(copy, p, len);
    return copy;
}

char *arena_strn(struct arena *a, const char *s, size_t len)
{
    char *copy = arena_take(a, len + 1, 1);

    if (len > 0)
        memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *arena_str(struct arena *a, const char *s)
{
    return s != NULL ? arena_strn(a, s, strlen(s)) : NULL;
}

char *arena_strf(struct arena *a, const char *fmt, ...)
{
    CLEANUP(freep) char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = xvasprintf(fmt, ap);
    va_end(ap);
    return arena_str(a, text);
}

void *arena_grow(struct arena *a, void *array, size_t count, size_t size)
{
    size_t bytes;
    void *grown;

    if ((count & (count - 1)) != 0)
        return array;
    if (__builtin_mul_overflow(MAX(count * 2, (size_t)1), size, &bytes) || count > SIZE_MAX / 2)
        abort();
    grown = arena_take(a, bytes, 16);
    if (count > 0)
        memcpy(grown, array, count * size);
    return grown;
}

void arena_strv_add(struct arena *a, struct strv *v, const char *s)
{
    if (v->len + 1 >= v->cap) { /* the NULL at the end */
        size_t cap = MAX(v->cap * 2, (size_t)4);
        char **grown = arena_take(a, cap * sizeof(*grown), sizeof(*grown));

        if (v->len > 0)
            memcpy(grown, v->v, v->len * sizeof(*grown));
        v->v = grown;
        v->cap = cap;
    }
    v->v[v->len++] = (char *)s;
    v->v[v->len] = NULL;
}

void arena_strv_copy(struct arena *a, struct strv *dst, const struct strv *src)
{
    for (size_t i = 0; i < src->len; i++)
        arena_strv_add(a, dst, arena_str(a, src->v[i]));
}
