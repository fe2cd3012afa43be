/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - memory that is released as a whole
 *
 * For many small pieces that live as long as what they belong to: nothing in an arena is freed on its own,
 * and who takes from one says in his header what it lives as long as.  A zeroed struct is an empty arena; the
 * first piece makes the first block.  One task at a time.
 */
#ifndef MINKE_BASE_ARENA_H
#define MINKE_BASE_ARENA_H

#include "base/base.h"
#include "base/vec.h"

struct arena {
    struct arena_block *blocks; /* the one at hand first */
    char *at;                   /* free from here .. */
    size_t left;                /* .. as many bytes */
    size_t used;                /* bytes handed out */
};
void arena_deinit(struct arena *a);
/* Forget all that was taken; one block may stay, for loops that fill the arena again and again. */
void arena_reset(struct arena *a);
/* Not zeroed; aligned to `align`, a power of two up to 16. Never NULL: for sizes of our own choice. */
void *arena_take(struct arena *a, size_t size, size_t align);
void *arena_alloc(struct arena *a, size_t size); /* zeroed, aligned to 16 */
#define ARENA_NEW(a, type) ((type *)arena_alloc(a, sizeof(type)))
void *arena_mem(struct arena *a, const void *p, size_t len);  /* a copy, aligned to 16 */
char *arena_str(struct arena *a, const char *s);              /* a copy; NULL gives NULL */
char *arena_strn(struct arena *a, const char *s, size_t len); /* `s` may be NULL when len is 0 */
char *arena_strf(struct arena *a, const char *fmt, ...) PRINTF(2, 3);
/* Room for one more behind `count` entries of `size` bytes: `array` itself, or a copy of twice the size when
 * `count` is a power of two.  NULL with 0 entries begins one. */
void *arena_grow(struct arena *a, void *array, size_t count, size_t size);
/* A vector of strings that lies in the arena, to be read as any other, but changed only by this: `s` is
 * borrowed and must live as long. */
void arena_strv_add(struct arena *a, struct strv *v, const char *s);
void arena_strv_copy(struct arena *a, struct strv *dst, const struct strv *src); /* append copies of all */

#endif
