/* SPDX-License-Identifier: Apache-2.0 */
/*
 * text.h - lines of the texts that keys are made of; for this room only
 */
#ifndef MINKE_OP_TEXT_H
#define MINKE_OP_TEXT_H

#include "base/buf.h"

/* "name "value"\n", quoted; nothing for an empty value. */
static inline void text_str(struct buf *b, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    buf_addf(b, "%s ", name);
    buf_add_json_string(b, value, strlen(value), false);
    buf_addc(b, '\n');
}
static inline void text_strs(struct buf *b, const char *name, char *const *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_addf(b, "%s ", name);
        buf_add_json_string(b, v[i], strlen(v[i]), false);
        buf_addc(b, '\n');
    }
}
/* A word among others of a line: as it is when it can be nothing else, else quoted. */
static inline void text_word(struct buf *b, const char *value)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:=@+*";

    if (value[strspn(value, plain)] == '\0')
        buf_adds(b, value);
    else
        buf_add_json_string(b, value, strlen(value), false);
}
/* Nothing for `none`. */
static inline void text_int(struct buf *b, const char *name, long long value, long long none)
{
    if (value != none)
        buf_addf(b, "%s %lld\n", name, value);
}

#endif
