/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - a growable byte buffer, always NUL-terminated
 *
 * A zeroed struct is an empty buffer.  `data` is NULL or holds `len` bytes and a NUL behind them.
 */
#ifndef MINKE_BASE_BUF_H
#define MINKE_BASE_BUF_H

#include "base/base.h"

struct buf {
    char *data;
    size_t len;
    size_t cap;
};

void buf_deinit(struct buf *b); /* frees; b is empty again */
void buf_clear(struct buf *b);  /* keeps the memory */
void buf_reserve(struct buf *b, size_t extra);
void buf_add(struct buf *b, const void *p, size_t len);
static inline void buf_addc(struct buf *b, char c)
{
    if (b->cap - b->len < 2) /* the byte and the NUL */
        buf_reserve(b, 1);
    b->data[b->len++] = c;
    b->data[b->len] = '\0';
}
void buf_adds(struct buf *b, const char *s);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) PRINTF(2, 0);
void buf_drop(struct buf *b, size_t n); /* remove n bytes at the front */
void buf_truncate(struct buf *b, size_t len);
/* The content as a malloc'd NUL-terminated string, never NULL; b is empty again. */
char *buf_take(struct buf *b);
const char *buf_str(const struct buf *b); /* borrowed, "" when empty */

/* JSON string literal with quotes, escaped as Go's encoding/json does with HTML escaping off or on. */
void buf_add_json_string(struct buf *b, const char *s, size_t len, bool html);
/* RFC 3986 percent-encoding as Go's url.QueryEscape (space becomes '+'). */
void buf_add_query_escaped(struct buf *b, const char *s);

#endif
