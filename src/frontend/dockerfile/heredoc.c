/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/node.h"

#include <ctype.h>
#include <limits.h>

#include "base/rune.h"
#include "frontend/dockerfile/words.h"

static size_t count_quotes(const char *s)
{
    size_t n = 0;

    for (; *s != '\0'; s++)
        n += *s == '\'' || *s == '"';
    return n;
}

/* The name behind "<<": one word; whether a part of it was quoted shows in the quotes that are gone. */
static struct error *parse_name(struct arena *mem, const char *rest, struct df_heredoc *h, bool *ret_found)
{
    CLEANUP(strv_deinit) struct strv plain = { 0 };
    CLEANUP(strv_deinit) struct strv raw = { 0 };
    struct words_options o = { .escape = '\\', .skip_unset = true };

    TRY(words_split(&o, rest, NULL, &plain));
    *ret_found = plain.len == 1;
    if (plain.len != 1)
        return NULL;
    o.raw_quotes = true;
    TRY(words_split(&o, rest, NULL, &raw));
    if (raw.len != 1)
        return err_new(ERR_INVALID, "internal lexing of heredoc produced inconsistent results: %s", rest);
    h->expand = count_quotes(plain.v[0]) == count_quotes(raw.v[0]);
    h->name = arena_str(mem, plain.v[0]);
    h->content = "";
    return NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r';
}

static struct error *parse_word(struct arena *mem, const char *word, struct df_heredoc *ret, bool *ret_found)
{
    struct df_heredoc h = { 0 };
    const char *p = word;

    *ret_found = false;
    for (; *p >= '0' && *p <= '9'; p++)
        h.fd = h.fd > (UINT_MAX - 9) / 10 ? UINT_MAX : h.fd * 10 + (unsigned)(*p - '0');
    p = str_skip_prefix(p, "<<");
    if (p == NULL)
        return NULL;
    h.chomp = *p == '-';
    if (h.chomp)
        p++;
    while (is_blank(*p))
        p++;
    if (*p == '\0' || strchr(p, '<') != NULL)
        return NULL;
    TRY(parse_name(mem, p, &h, ret_found));
    if (*ret_found)
        *ret = h;
    return NULL;
}

bool heredoc_parse(struct arena *mem, const char *word, struct df_heredoc *ret)
{
    bool found;
    struct error *e = parse_word(mem, word, ret, &found);

    if (e != NULL)
        err_free(e); /* not a heredoc, then */
    return e == NULL && found;
}

const char *heredoc_chomp(struct arena *mem, const char *content)
{
    char *chomped = arena_str(mem, content), *out = chomped;
    bool at_start = true;

    for (const char *p = content; *p != '\0'; p++) {
        if (at_start && *p == '\t')
            continue;
        *out++ = *p;
        at_start = *p == '\n';
    }
    *out = '\0';
    return chomped;
}

struct error *df_node_find_heredocs(struct arena *mem, struct df_node *n, const char *line)
{
    CLEANUP(strv_deinit) struct strv words = { 0 };
    struct words_options o = { .escape = '\\', .raw_quotes = true, .raw_escapes = true, .skip_unset = true };
    struct error *e = words_split(&o, line, NULL, &words);

    err_free(e); /* a line that does not split announces nothing */
    for (size_t i = 0; i < words.len; i++) {
        struct df_heredoc h;
        bool found;
        TRY(parse_word(mem, words.v[i], &h, &found));
        if (!found)
            continue;
        n->heredocs = arena_grow(mem, n->heredocs, n->heredoc_count, sizeof(h));
        n->heredocs[n->heredoc_count++] = h;
    }
    return NULL;
}
