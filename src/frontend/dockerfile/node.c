/* SPDX-License-Identifier: Apache-2.0 */
#include "frontend/dockerfile/node.h"

#include <errno.h>

#include "base/rune.h"
#include "frontend/dockerfile/json_args.h"

/* How the arguments of a keyword are written. */
enum syntax {
    SYNTAX_UNKNOWN,
    SYNTAX_STRING,      /* all of it is one argument */
    SYNTAX_BLANKS,      /* separated by blanks */
    SYNTAX_JSON_STRING, /* JSON array, else one argument */
    SYNTAX_JSON_BLANKS, /* JSON array, else separated by blanks */
    SYNTAX_NAMES,       /* name or name=value, quotes hold blanks */
    SYNTAX_KEY_VALUES,  /* name=value, or the old "name value" */
    SYNTAX_HEALTH,      /* a keyword, then JSON array or one argument */
    SYNTAX_INSTRUCTION, /* another instruction */
};

static const struct {
    const char *keyword;
    enum syntax syntax;
    bool heredocs;
} keywords[] = {
    { "ADD", SYNTAX_JSON_BLANKS, true },         { "ARG", SYNTAX_NAMES, false },
    { "CMD", SYNTAX_JSON_STRING, false },        { "COPY", SYNTAX_JSON_BLANKS, true },
    { "ENTRYPOINT", SYNTAX_JSON_STRING, false }, { "ENV", SYNTAX_KEY_VALUES, false },
    { "EXPOSE", SYNTAX_BLANKS, false },          { "FROM", SYNTAX_BLANKS, false },
    { "HEALTHCHECK", SYNTAX_HEALTH, false },     { "LABEL", SYNTAX_KEY_VALUES, false },
    { "MAINTAINER", SYNTAX_STRING, false },      { "ONBUILD", SYNTAX_INSTRUCTION, false },
    { "RUN", SYNTAX_JSON_STRING, true },         { "SHELL", SYNTAX_JSON_STRING, false },
    { "STOPSIGNAL", SYNTAX_STRING, false },      { "USER", SYNTAX_STRING, false },
    { "VOLUME", SYNTAX_JSON_BLANKS, false },     { "WORKDIR", SYNTAX_STRING, false },
};

#define ONBUILD_DEPTH 8 /* chains are refused later; this bounds what must be read to say so */

static bool is_separator(char c)
{
    return c == '\t' || c == '\v' || c == '\f' || c == '\r' || c == ' ';
}

/* ---- flags ---- */

struct flag_scan {
    const char *s;
    size_t len, pos;
    char escape;
    struct buf word;
    bool blank_ok; /* quotes make an empty word a word */
};

/* One word, quotes and escapes resolved; byte by byte, as it has always been. */
static void scan_flag(struct flag_scan *f)
{
    char quote = '\0';

    for (; f->pos < f->len; f->pos++) {
        unsigned char c = (unsigned char)f->s[f->pos];
        if (quote == '\0' && rune_is_space(c))
            return;
        if (quote == '\0' && (c == '\'' || c == '"')) {
            quote = (char)c;
            f->blank_ok = true;
            continue;
        }
        if (quote != '\0' && c == quote) {
            quote = '\0';
            continue;
        }
        if (c == f->escape) {
            if (f->pos + 1 == f->len)
                continue;
            c = (unsigned char)f->s[++f->pos];
        }
        buf_add_rune(&f->word, c);
    }
}

/* Take the words in front that begin with "--"; a lone "--" ends them.  Answers where the arguments begin. */
static size_t scan_flags(struct arena *mem, const char *s, size_t len, char escape, struct strv *flags)
{
    struct flag_scan f = { .s = s, .len = len, .escape = escape };

    for (;;) {
        while (f.pos < len && rune_is_space((unsigned char)s[f.pos]))
            f.pos++;
        if (f.pos == len || s[f.pos] != '-' || f.pos + 1 == len || s[f.pos + 1] != '-')
            break;
        f.blank_ok = false;
        scan_flag(&f);
        bool end = streq(buf_str(&f.word), "--");
        if (!end && (f.blank_ok || f.word.len > 0))
            arena_strv_add(mem, flags, arena_strn(mem, buf_str(&f.word), f.word.len));
        buf_clear(&f.word);
        if (end)
            break;
    }
    buf_deinit(&f.word);
    return f.pos;
}

/* ---- words ---- */

/* How many bytes in front mean nothing but themselves. */
static size_t plain_length(const char *s, size_t len, char escape)
{
    size_t n = 0;

    while (n < len) {
        unsigned char c = (unsigned char)s[n];

        if (c <= ' ' || c >= 0x80 || c == '\'' || c == '"' || c == (unsigned char)escape)
            break;
        n++;
    }
    return n;
}

/* A word at `pos`, quotes and escapes kept; false when it is empty and not quoted.  Answers the place behind
 * it. */
static bool scan_word(const char *s, size_t len, size_t *pos, char escape, struct buf *out)
{
    int32_t quote = 0;
    bool blank_ok = false;
    size_t width;

    for (; *pos < len; *pos += width) {
        size_t plain = plain_length(s + *pos, len - *pos, escape);
        buf_add(out, s + *pos, plain);
        *pos += plain;
        if (*pos == len)
            break;
        int32_t r = rune_decode(s + *pos, len - *pos, &width);
        if (quote == 0 && rune_is_space(r))
            break;
        if (quote == 0 && (r == '\'' || r == '"')) {
            quote = r;
            blank_ok = true;
        } else if (r == quote) {
            quote = 0;
        }
        if (r == escape && quote != '\'') {
            if (*pos + width == len) {
                quote = 0;
                continue;
            }
            buf_add_rune(out, r);
            *pos += width;
            r = rune_decode(s + *pos, len - *pos, &width);
        }
        buf_add_rune(out, r);
    }
    return blank_ok || out->len > 0;
}

static void split_quoted(struct arena *mem, const char *s, char escape, struct strv *ret)
{
    CLEANUP(buf_deinit) struct buf word = { 0 };
    size_t len = strlen(s), pos = 0;

    for (;;) {
        pos += str_skip_space(s + pos, len - pos);
        if (pos == len)
            return;
        buf_clear(&word);
        if (scan_word(s, len, &pos, escape, &word))
            arena_strv_add(mem, ret, arena_strn(mem, buf_str(&word), word.len));
    }
}

static void split_blanks(struct arena *mem, const char *s, struct strv *ret)
{
    while (*s != '\0') {
        size_t n = 0;
        while (s[n] != '\0' && !is_separator(s[n]))
            n++;
        arena_strv_add(mem, ret, arena_strn(mem, s, n));
        s += n;
        if (*s == '\0')
            return;
        while (is_separator(*s))
            s++;
        if (*s == '\0')
            arena_strv_add(mem, ret, "");
    }
}

/* `value` and `separator` are borrowed. */
static void add_key_value(struct arena *mem, struct strv *args, const char *key, size_t key_len,
                          const char *value, const char *separator)
{
    arena_strv_add(mem, args, arena_strn(mem, key, key_len));
    arena_strv_add(mem, args, value);
    arena_strv_add(mem, args, separator);
}

static struct error *parse_key_values(struct arena *mem, const char *keyword, const char *rest, char escape,
                                      struct strv *args)
{
    struct strv words = { 0 };

    split_quoted(mem, rest, escape, &words);
    if (words.len == 0)
        return NULL;
    if (strchr(words.v[0], '=') == NULL) {
        size_t n = 0;
        while (rest[n] != '\0' && !is_separator(rest[n]))
            n++;
        if (rest[n] == '\0')
            return err_new(ERR_INVALID, "%s must have two arguments", keyword);
        const char *value = rest + n;
        while (is_separator(*value))
            value++;
        add_key_value(mem, args, rest, n, value, "");
        return NULL;
    }
    for (size_t i = 0; i < words.len; i++) {
        const char *eq = strchr(words.v[i], '=');
        if (eq == NULL) {
            CLEANUP(freep) char *quoted = str_quote(words.v[i]);
            return err_new(ERR_INVALID, "Syntax error - can't find = in %s. Must be of the form: name=value",
                           quoted);
        }
        add_key_value(mem, args, words.v[i], (size_t)(eq - words.v[i]), eq + 1, "=");
    }
    return NULL;
}

/* ---- JSON ---- */

/* *ret_json: it was an array.  A text that is no array is not an error. */
static struct error *parse_array(struct arena *mem, const char *rest, struct strv *args, bool *ret_json)
{
    size_t len = strlen(rest), skip = str_skip_space(rest, len);
    CLEANUP(strv_deinit) struct strv found = { 0 };
    int r = json_string_array(rest + skip, len - skip, &found);

    *ret_json = r == 0;
    arena_strv_copy(mem, args, &found);
    if (r == -EDOM)
        return err_new(ERR_INVALID, "when using JSON array syntax, arrays must be comprised of strings only");
    if (r == -EILSEQ)
        return err_new(ERR_INVALID, "arguments must not contain NUL characters");
    return NULL;
}

static struct error *parse_json_string(struct arena *mem, const char *rest, struct df_node *n)
{
    if (*rest == '\0')
        return NULL;
    TRY(parse_array(mem, rest, &n->args, &n->json));
    if (!n->json)
        arena_strv_add(mem, &n->args, rest);
    return NULL;
}

static struct error *parse_health(struct arena *mem, const char *rest, struct df_node *n)
{
    size_t type = 0;

    while (rest[type] != '\0' && !rune_is_space((unsigned char)rest[type]))
        type++;
    if (type == 0)
        return NULL;
    size_t next = type;
    while (rest[next] != '\0' && rune_is_space((unsigned char)rest[next]))
        next++;
    arena_strv_add(mem, &n->args, arena_strn(mem, rest, type));
    return parse_json_string(mem, rest + next, n);
}

/* ---- nodes ---- */

static size_t find_keyword(const char *word)
{
    size_t i = 0;

    /* Letters of both cases differ in one bit: most keywords are passed over at their first one. */
    while (i < ARRAY_LEN(keywords) &&
           (((keywords[i].keyword[0] ^ word[0]) & ~0x20) != 0 || !str_equal_fold(keywords[i].keyword, word)))
        i++;
    return i;
}

static struct error *parse_line(struct arena *mem, const char *line, size_t line_len, char escape, int depth,
                                struct df_node **ret);

static struct error *parse_inner(struct arena *mem, const char *rest, char escape, int depth,
                                 struct df_node *n)
{
    if (*rest == '\0')
        return NULL;
    if (depth >= ONBUILD_DEPTH)
        return err_new(ERR_INVALID, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
    TRY(parse_line(mem, rest, strlen(rest), escape, depth + 1, &n->child));
    arena_strv_add(mem, &n->args, n->child->value);
    for (size_t i = 0; i < n->child->args.len; i++)
        arena_strv_add(mem, &n->args, n->child->args.v[i]);
    return NULL;
}

/* `rest` lies in the arena: arguments may be parts of it. */
static struct error *parse_args(struct arena *mem, const char *rest, char escape, int depth,
                                struct df_node *n)
{
    size_t k = find_keyword(n->value);

    switch (k < ARRAY_LEN(keywords) ? keywords[k].syntax : SYNTAX_UNKNOWN) {
    case SYNTAX_STRING:
        if (*rest != '\0')
            arena_strv_add(mem, &n->args, rest);
        return NULL;
    case SYNTAX_BLANKS:
        split_blanks(mem, rest, &n->args);
        return NULL;
    case SYNTAX_JSON_STRING:
        return parse_json_string(mem, rest, n);
    case SYNTAX_JSON_BLANKS:
        TRY(parse_array(mem, rest, &n->args, &n->json));
        if (!n->json)
            split_blanks(mem, rest, &n->args);
        return NULL;
    case SYNTAX_NAMES:
        split_quoted(mem, rest, escape, &n->args);
        return NULL;
    case SYNTAX_KEY_VALUES:
        return parse_key_values(mem, keywords[k].keyword, rest, escape, &n->args);
    case SYNTAX_HEALTH:
        return parse_health(mem, rest, n);
    case SYNTAX_INSTRUCTION:
        return parse_inner(mem, rest, escape, depth, n);
    default:
        return NULL;
    }
}

static struct error *parse_line(struct arena *mem, const char *line, size_t line_len, char escape, int depth,
                                struct df_node **ret)
{
    struct df_node *n = ARENA_NEW(mem, struct df_node);
    size_t len, keyword = 0, rest_len;
    const char *s;

    n->original = arena_strn(mem, line, line_len);
    n->lines = DF_NOWHERE;
    s = str_trim_space(n->original, line_len, &len);
    while (keyword < len && !is_separator(s[keyword]))
        keyword++;
    n->value = arena_strn(mem, s, keyword);
    size_t args = keyword;
    while (args < len && is_separator(s[args]))
        args++;
    args += scan_flags(mem, s + args, len - args, escape, &n->flags);
    const char *rest = str_trim_space(s + args, len - args, &rest_len);
    if (rest[rest_len] != '\0')
        rest = arena_strn(mem, rest, rest_len);
    TRY(parse_args(mem, rest, escape, depth, n));
    *ret = n;
    return NULL;
}

struct error *df_node_parse(struct arena *mem, const char *line, size_t len, char escape,
                            struct df_node **ret)
{
    return parse_line(mem, line, len, escape, 0, ret);
}

bool df_node_takes_heredocs(const struct df_node *n)
{
    if (n->child != NULL)
        n = n->child;
    size_t k = find_keyword(n->value);
    return k < ARRAY_LEN(keywords) && keywords[k].heredocs && !n->json;
}
