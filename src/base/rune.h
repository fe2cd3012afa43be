/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rune.h - UTF-8 text as Go sees it
 *
 * Clients compare our texts with those of Go programs: invalid bytes read as U+FFFD one byte at a time,
 * blanks are Unicode's, and %q quotes as strconv.Quote does.
 */
#ifndef MINKE_BASE_RUNE_H
#define MINKE_BASE_RUNE_H

#include "base/base.h"
#include "base/buf.h"

#define RUNE_ERROR 0xfffd
#define RUNE_EOF (-1)

/* The code point at `s`; RUNE_EOF with width 0 when len is 0, RUNE_ERROR with width 1 for an invalid byte. */
int32_t rune_decode(const char *s, size_t len, size_t *ret_width);
void buf_add_rune(struct buf *b, int32_t r); /* not a scalar value: U+FFFD */

/* Reading text one code point after the other, RUNE_EOF at its end. */
struct rune_reader {
    const char *s; /* borrowed */
    size_t len, pos;
};
static inline int32_t rune_peek(const struct rune_reader *r)
{
    size_t width;

    return rune_decode(r->s + r->pos, r->len - r->pos, &width);
}
static inline int32_t rune_next(struct rune_reader *r)
{
    size_t width;
    int32_t c = rune_decode(r->s + r->pos, r->len - r->pos, &width);

    r->pos += width;
    return c;
}

bool rune_is_space(int32_t r);
bool rune_is_letter(int32_t r);
bool rune_is_digit(int32_t r); /* decimal digits of all scripts */
bool rune_is_print(int32_t r);

/* The part of s[0..len) without blanks around. Borrowed. */
const char *str_trim_space(const char *s, size_t len, size_t *ret_len);
/* Index behind the blanks at the front. */
size_t str_skip_space(const char *s, size_t len);
/* ASCII: compare without case. */
bool str_equal_fold(const char *a, const char *b);
/* New strings: invalid bytes become U+FFFD, letters of all scripts change. */
char *str_upper(const char *s);
char *str_lower_valid(const char *s);

/* Go's %q: a double-quoted string with escapes. */
void buf_add_quoted(struct buf *b, const char *s, size_t len);
char *str_quote(const char *s); /* new string */
bool utf8_is_valid(const char *s, size_t len);
/* Every invalid byte replaced by U+FFFD. New string. */
char *str_valid_utf8(const char *s, size_t len);

#endif
