/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/suggest.h"

#include "base/rune.h"

#define MAX_DISTANCE 3 /* suggestions are nearer than this */
#define MAX_RUNES 64   /* longer words get no suggestion */

static bool decode(const char *s, int32_t *runes, size_t *ret_count)
{
    size_t len = strlen(s), count = 0, width;

    for (size_t i = 0; i < len; i += width) {
        if (count == MAX_RUNES)
            return false;
        runes[count++] = rune_decode(s + i, len - i, &width);
    }
    *ret_count = count;
    return true;
}

/* Insertions, deletions and substitutions that make one of the other. */
static size_t edit_distance(const int32_t *a, size_t a_len, const int32_t *b, size_t b_len)
{
    size_t row[MAX_RUNES + 1];

    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t substitute = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t shift = MIN(row[j - 1], row[j]) + 1;
            row[j] = MIN(substitute, shift);
        }
    }
    return row[b_len];
}

static char *take_case(char *match, const char *val)
{
    CLEANUP(freep) char *lower = str_lower_valid(val);
    CLEANUP(freep) char *upper = str_upper(val);

    if (streq(val, lower) || !streq(val, upper))
        return match;
    char *r = str_upper(match);
    free(match);
    return r;
}

char *suggest_find(const char *val, const char *const *options, size_t count, bool case_sensitive)
{
    CLEANUP(freep) char *wanted = case_sensitive ? xstrdup(val) : str_lower_valid(val);
    int32_t a[MAX_RUNES], b[MAX_RUNES];
    size_t a_len, b_len, best = MAX_DISTANCE;
    char *match = NULL;

    if (!decode(wanted, a, &a_len))
        return NULL;
    for (size_t i = 0; i < count; i++) {
        CLEANUP(freep) char *option = case_sensitive ? xstrdup(options[i]) : str_lower_valid(options[i]);
        if (streq(wanted, option)) {
            free(match);
            return NULL;
        }
        if (!decode(option, b, &b_len))
            continue;
        size_t distance = edit_distance(a, a_len, b, b_len);
        if (distance < best) {
            free(match);
            match = TAKE(option);
            best = distance;
        }
    }
    return match == NULL || case_sensitive ? match : take_case(match, val);
}

struct error *suggest_wrap(struct error *e, const char *val, const char *const *options, size_t count,
                           bool case_sensitive, bool *ret_done)
{
    CLEANUP(freep) char *match = e != NULL ? suggest_find(val, options, count, case_sensitive) : NULL;

    if (ret_done != NULL)
        *ret_done = match != NULL && *match != '\0';
    if (match == NULL || *match == '\0')
        return e;
    char *message = xasprintf("%s (did you mean %s?)", e->message, match);
    free(e->message);
    e->message = message;
    return e;
}
