/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/word_pattern.h"

#include "base/limits.h"
#include "base/regex.h"
#include "base/rune.h"

#define BOM "\xef\xbb\xbf" /* read over at the front */

/* A shell pattern as a regular expression: `*` and `?` are wild, brackets are not. */
static struct error *compile_pattern(const char *pattern, size_t len, bool greedy, bool anchored,
                                     struct regex **ret)
{
    CLEANUP(buf_deinit) struct buf re = { 0 };
    struct rune_reader l = { pattern, len, 0 };

    if (len >= 3 && memcmp(pattern, BOM, 3) == 0)
        l.pos = 3;
    if (anchored)
        buf_addc(&re, '^');
    for (int32_t r = rune_next(&l); r != RUNE_EOF; r = rune_next(&l)) {
        if (r == '*') {
            buf_adds(&re, greedy ? ".*" : ".*?");
            continue;
        }
        if (r == '?') {
            buf_addc(&re, '.');
            continue;
        }
        if (r == '\\') {
            if (rune_peek(&l) == '}' || rune_peek(&l) == '/')
                continue; /* escaped for ${..}, not for the pattern */
            buf_addc(&re, '\\');
            r = rune_next(&l);
            if (r != '*' && r != '?' && r != '\\') {
                CLEANUP(buf_deinit) struct buf bad = { 0 };
                buf_add_rune(&bad, r);
                return err_new(ERR_INVALID, "invalid escape '\\%s'", buf_str(&bad));
            }
        } else if (r < 0x80 && strchr("[]{}.+()|^$", (int)r) != NULL) {
            buf_addc(&re, '\\');
        }
        buf_add_rune(&re, r);
    }
    if (regex_compile(buf_str(&re), re.len, ret) < 0)
        return err_new(ERR_INVALID, "pattern is longer than %zu bytes", LIMIT_REGEX_BYTES);
    return NULL;
}

static struct error *wrap_pattern(struct error *e, const char *pattern)
{
    return err_wrap(e, "invalid pattern (%s) in substitution", pattern);
}

/* Code points back to front; with `keep_escapes` a backslash stays in front of what it escapes. */
static void reverse(const char *s, size_t len, bool keep_escapes, struct buf *out)
{
    struct rune_reader l = { s, len, 0 };
    CLEANUP(freep) int32_t *runes = xcalloc(len + 1, sizeof(*runes));
    size_t count = 0;

    while (rune_peek(&l) != RUNE_EOF)
        runes[count++] = rune_next(&l);
    CLEANUP(freep) int32_t *back = xcalloc(count + 1, sizeof(*back));
    for (size_t i = 0; i < count; i++) {
        if (keep_escapes && runes[i] == '\\' && i + 1 < count) {
            back[count - 2 - i] = '\\';
            back[count - 1 - i] = runes[i + 1];
            i++;
        } else {
            back[count - 1 - i] = runes[i];
        }
    }
    for (size_t i = 0; i < count; i++)
        buf_add_rune(out, back[i]);
}

static struct error *trim_prefix(const struct buf *pattern, const char *value, size_t len, bool greedy,
                                 struct buf *out)
{
    struct regex *re = NULL;
    size_t start, end = 0;
    struct error *e = compile_pattern(buf_str(pattern), pattern->len, greedy, true, &re);

    if (e != NULL)
        return wrap_pattern(e, buf_str(pattern));
    if (!regex_find(re, value, len, 0, &start, &end))
        end = 0;
    regex_free(re);
    buf_add(out, value + end, len - end);
    return NULL;
}

/* The shortest match at the end is the leftmost one of everything reversed. */
static struct error *trim_suffix(const struct buf *pattern, const char *value, bool greedy, struct buf *out)
{
    CLEANUP(buf_deinit) struct buf back_pattern = { 0 };
    CLEANUP(buf_deinit) struct buf back = { 0 };
    CLEANUP(buf_deinit) struct buf left = { 0 };

    reverse(buf_str(pattern), pattern->len, true, &back_pattern);
    reverse(value, strlen(value), false, &back);
    TRY(trim_prefix(&back_pattern, buf_str(&back), back.len, greedy, &left));
    reverse(buf_str(&left), left.len, false, out);
    return NULL;
}

struct error *word_pattern_trim(const struct buf *pattern, const char *value, bool suffix, bool greedy,
                                struct buf *out)
{
    return suffix ? trim_suffix(pattern, value, greedy, out)
                  : trim_prefix(pattern, value, strlen(value), greedy, out);
}

struct error *word_pattern_replace(const struct buf *pattern, const char *value, bool all,
                                   const struct buf *with, struct buf *out, bool *ret_too_big)
{
    struct regex *re = NULL;
    size_t start, end, len = strlen(value);
    struct error *e = compile_pattern(buf_str(pattern), pattern->len, true, false, &re);

    *ret_too_big = false;
    if (e != NULL)
        return wrap_pattern(e, buf_str(pattern));
    if (all) {
        *ret_too_big = regex_replace_all(re, value, len, buf_str(with), LIMIT_WORD_BYTES, out) < 0;
    } else if (regex_find(re, value, len, 0, &start, &end)) {
        buf_add(out, value, start);
        buf_add(out, buf_str(with), with->len);
        buf_add(out, value + end, len - end);
    } else {
        buf_add(out, value, len);
    }
    regex_free(re);
    return NULL;
}
